/* modules.c -- modules_to_save: the head, the table of tokens or a layer trained as a whole beside any method.
 *
 * PEFT trains a copy of the module, so a head that shares its weight with the table is no longer tied to it; here a
 * hook puts the copy in the weight's place, at that seam alone. */
#include "peft/adapter.h"

#include <string.h>

static mg_tensor *whole(const mg_hook *h) { return h->p[0]; }

static void merge_whole(const mg_hook *h, const mg_linear *l, float *w, int64_t first, int64_t n) {
    (void)l;
    const mg_tensor *x = h->p[0];
    x->format->decode(w, x->data, x->side, first * x->cols, n * x->cols);
}

static const mg_hook_kind hook_whole = { .name = "modules_to_save", .additive = true, .weight = whole, .merge = merge_whole };

/* The last part of "model.embed_tokens.weight" without ".weight" is name[len]. */
static bool is_module(const char *weight, const char *name, size_t len) {
    static const char end[] = ".weight";
    size_t n = strlen(weight);
    if (n > sizeof end - 1 && !strcmp(weight + n - (sizeof end - 1), end)) n -= sizeof end - 1;
    return n >= len && !memcmp(weight + n - len, name, len) && (n == len || weight[n - len - 1] == '.');
}

static mg_status take(mg_adapter *a, mg_hook **list, mg_tensor *w, const char *module, size_t len, mg_error *err) {
    mg_tensor *x = mg_adapter_add(a, 0, w->rows, w->cols, "%.*s.weight", (int)len, module);
    mg_hook   *h = mg_adapter_hook(a, NULL, &hook_whole);
    if (!x || !h) return mg_fail(err, MG_NOMEM, "no memory to train %.*s", (int)len, module);
    a->part[a->n_parts - 1].from = w;
    h->p[0] = x;
    h->next = *list; /* before what only adds */
    *list = h;
    return MG_OK;
}

static mg_status take_named(mg_adapter *a, mg_net *net, const char *name, size_t len, mg_error *err) {
    mg_status st = MG_OK;
    bool      found = false;
    const char *embed = net->embed ? net->embed->name : "";
    if (is_module(embed, name, len)) {
        found = true;
        st = take(a, &net->embed_hooks, net->embed, embed, strlen(embed) - strlen(".weight"), err);
    }
    for (size_t i = 0; !st && i <= net->n_linear; i++) {
        mg_linear *l = i < net->n_linear ? net->linear[i] : net->head;
        if (!l->w || !is_module(l->name, name, len)) continue;

        found = true;
        st = take(a, &l->hooks, l->w, l->name, strlen(l->name), err);
        if (!st && l->bias && !mg_adapter_replace(a, l->bias, MG_PART_VECTOR, NULL)) st = mg_fail(err, MG_NOMEM, "no memory to train %s", l->name);
    }
    if (!st && !found)
        st = mg_fail(err, MG_CONFIG, "modules_to_save: '%.*s' names no module of this model; lm_head and embed_tokens are usual", (int)len, name);
    return st;
}

mg_status mg_adapter_attach_modules(mg_adapter *a, mg_net *net, mg_error *err) {
    mg_status st = MG_OK;
    for (const char *p = a->c.modules_to_save; !st && *p; p += strspn(p, ", ")) {
        size_t len = strcspn(p, ", ");
        if (len) st = take_named(a, net, p, len, err);
        p += len;
    }
    return st;
}
