/* adapter.c -- putting an adapter together: layers by role or name, parts, hooks, first values, switching. */
#include "peft/adapter.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char PREFIX[] = "base_model.model.";

/* ---- parts ---- */

static mg_tensor *add_part(mg_adapter *a, unsigned how, int64_t rows, int64_t cols, const char *name) {
    if (a->failed || !MG_GROW(a->part, a->cap_parts, a->n_parts + 1)) {
        a->failed = true;
        return NULL;
    }
    mg_tensor *x = how & MG_PART_FIXED ? mg_params_add_fixed(a->params, name, rows, cols) : mg_params_add(a->params, name, rows, cols);
    a->failed = !x;
    if (!x) return NULL;
    mg_part *p = &a->part[a->n_parts++];
    *p = (mg_part){ .x = x, .how = how };
    size_t      from = strlen(a->c.inner_from);
    bool        inner = !(how & (MG_PART_BARE | MG_PART_HEAD)) && !strncmp(name, a->c.inner_from, from);
    snprintf(p->file, sizeof p->file, "%s%s%s", how & MG_PART_BARE ? "" : PREFIX, inner ? a->c.inner_to : "", inner ? name + from : name);
    if (!(how & MG_PART_FIXED)) a->parameters += rows * cols;
    return x;
}

mg_tensor *mg_adapter_add(mg_adapter *a, unsigned how, int64_t rows, int64_t cols, const char *format, ...) {
    char    name[192];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    return add_part(a, how, rows, cols, name);
}

mg_hook *mg_adapter_hook(mg_adapter *a, mg_hook **list, const mg_hook_kind *kind) {
    mg_hook *h = a->failed ? NULL : mg_calloc(1, sizeof *h);
    if (!h || !MG_GROW(a->hook, a->cap_hooks, a->n_hooks + 1)) {
        free(h);
        a->failed = true;
        return NULL;
    }
    *h = (mg_hook){ .kind = kind, .owner = a };
    a->hook[a->n_hooks++] = h;
    if (list) mg_hook_attach(list, h);
    return h;
}

mg_tensor *mg_adapter_replace(mg_adapter *a, mg_tensor *weight, unsigned how, const char *file) {
    mg_tensor *x = add_part(a, how, weight->rows, weight->cols, file ? file : weight->name);
    if (!x || !MG_GROW(a->replaced, a->cap_replaced, a->n_replaced + 1)) {
        a->failed = true;
        return NULL;
    }
    a->part[a->n_parts - 1].from = weight;
    a->replaced[a->n_replaced++] = (mg_replaced){ weight, x };
    weight->instead = x;
    return x;
}

/* ---- choosing layers ---- */

static const struct { const char *name; mg_role role; } roles[] = {
    { "q", MG_ROLE_Q },       { "k", MG_ROLE_K },   { "v", MG_ROLE_V },       { "o", MG_ROLE_O },
    { "gate", MG_ROLE_GATE }, { "up", MG_ROLE_UP }, { "down", MG_ROLE_DOWN }, { "all-linear", MG_ROLES_ALL_LINEAR },
    { "all", MG_ROLES_ALL_LINEAR }, { "linear", MG_ROLES_ALL_LINEAR }, /* what other programs call it */
};

bool mg_target_is(const char *target, size_t len, const mg_linear *l) {
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        if (strlen(roles[i].name) == len && !memcmp(roles[i].name, target, len)) return l->role & roles[i].role;
    size_t n = strlen(l->name);
    return n >= len && !memcmp(l->name + n - len, target, len) && (n == len || l->name[n - len - 1] == '.');
}

bool mg_targets_have(const char *list, const mg_linear *l) {
    bool hit = false;
    for (const char *p = list; *p && !hit; p += strspn(p, ", ")) {
        size_t len = strcspn(p, ", ");
        hit = len && mg_target_is(p, len, l);
        p += len;
    }
    return hit;
}

static mg_status check_targets(const char *list, const mg_net *net, mg_error *err) {
    for (const char *p = list; *p; p += strspn(p, ", ")) {
        size_t len = strcspn(p, ", ");
        bool   known = !len;
        for (size_t i = 0; !known && i < net->n_linear; i++) known = mg_target_is(p, len, net->linear[i]);
        if (!known)
            return mg_fail(err, MG_CONFIG,
                           "lora_target_modules: '%.*s' names no layer of this model; use all-linear, roles (q, k, v, o, gate, up, down) "
                           "or module names such as q_proj",
                           (int)len, p);
        p += len;
    }
    return MG_OK;
}

bool mg_layers_have(const char *list, int layer, const char **bad) {
    bool hit = !*list;
    for (const char *p = list; *p; p += strspn(p, ", ")) {
        char *end;
        long  from = strtol(p, &end, 10), to = from;
        if (end == p || from < 0) return *bad = p, false;
        if (*end == '-') {
            const char *second = end + 1;
            to = strtol(second, &end, 10);
            if (end == second || to < from) return *bad = p, false;
        }
        if (*end && *end != ',' && *end != ' ') return *bad = p, false;
        hit |= layer >= from && layer <= to;
        p = end;
    }
    return hit;
}

bool mg_adapter_takes_layer(const mg_adapter_config *c, int layer) {
    const char *bad = NULL;
    return mg_layers_have(c->layers, layer, &bad);
}

mg_status mg_adapter_each_linear(mg_adapter *a, mg_net *net, mg_linear_fn f, mg_error *err) {
    const char *bad = NULL;
    mg_status   st = check_targets(a->c.targets, net, err);
    for (size_t i = 0; !st && i < net->n_linear; i++) {
        mg_linear *l = net->linear[i];
        if (!mg_targets_have(a->c.targets, l) || !mg_layers_have(a->c.layers, l->layer, &bad)) continue;
        mg_hook *h = mg_adapter_hook(a, NULL, NULL);
        if (!h || !MG_GROW(a->linear, a->cap_linear, a->n_linear + 1)) return mg_fail(err, MG_NOMEM, "no memory for an adapter");
        h->site = (uint32_t)(i % 0xfff);
        st = f(a, l, h, err);
        if (st) break;
        a->linear[a->n_linear++] = l;
        mg_hook_attach(&l->hooks, h);
    }
    if (!st && bad) st = mg_fail(err, MG_CONFIG, "layers_to_transform: '%.40s' is no list of blocks such as 0,1,5-8", bad);
    if (!st && !a->n_linear)
        st = mg_fail(err, MG_CONFIG, *a->c.layers ? "layers_to_transform chooses no layer of this model: nothing would train"
                                                  : "lora_target_modules is empty: nothing would train; use all-linear");
    return st;
}

/* The value that "q_proj=8,layers.0.mlp.up_proj=4" has for a layer; the first that fits counts. */
static double pattern_value(const char *pattern, const mg_linear *l, double otherwise) {
    for (const char *p = pattern; *p; p += strspn(p, ", ")) {
        size_t len = strcspn(p, ", "), name = strcspn(p, "=");
        if (name < len && mg_target_is(p, name, l)) return strtod(p + name + 1, NULL);
        p += len;
    }
    return otherwise;
}

int   mg_adapter_rank(const mg_adapter_config *c, const mg_linear *l) { return (int)pattern_value(c->rank_pattern, l, c->r); }
float mg_adapter_alpha(const mg_adapter_config *c, const mg_linear *l) { return (float)pattern_value(c->alpha_pattern, l, (double)c->alpha); }

/* ---- the whole ---- */

static void updated(void *context, float grad_scale, int64_t step) {
    mg_adapter *a = context;
    a->c.method->updated(a, grad_scale, step);
}

static void before_update(void *context) {
    mg_adapter *a = context;
    a->c.method->before_update(a);
}

mg_status mg_adapter_attach(mg_adapter **out, const mg_adapter_config *c, mg_net *net, mg_params *p, mg_error *err) {
    mg_adapter *a = mg_calloc(1, sizeof *a);
    if (!a) return mg_fail(err, MG_NOMEM, "no memory for an adapter");
    a->c = *c;
    a->params = p;
    a->net = net;
    mg_status st = c->method->attach(a, net, err);
    if (!st && *a->c.modules_to_save) st = mg_adapter_attach_modules(a, net, err);
    if (!st && a->failed) st = mg_fail(err, MG_NOMEM, "no memory for an adapter");
    if (!st && !c->frozen && c->method->updated) {
        p->updated = updated;
        p->before_update = c->method->before_update ? before_update : NULL;
        p->updated_context = a;
    }
    if (st)
        mg_adapter_detach(a, net);
    else
        *out = a;
    return st;
}

static void leave(const mg_adapter *a, mg_hook **list) {
    while (*list)
        if ((*list)->owner == a)
            *list = (*list)->next;
        else
            list = &(*list)->next;
}

void mg_adapter_detach(mg_adapter *a, mg_net *net) {
    if (!a) return;
    mg_adapter_switch(a, false);
    for (size_t i = 0; i < net->n_linear; i++) leave(a, &net->linear[i]->hooks);
    leave(a, &net->head->hooks);
    leave(a, &net->embed_hooks);
    for (int i = 0; i < net->layers; i++) leave(a, &net->attend_hooks[i]);
    for (int i = 0; i < net->layers * MG_SITES; i++) leave(a, &net->residual_hooks[i]);
    if (a->state && a->c.method->free_state) a->c.method->free_state(a->state);
    for (size_t i = 0; i < a->n_hooks; i++) free(a->hook[i]);
    free(a->hook);
    free(a->linear);
    free(a->part);
    free(a->replaced);
    free(a);
}

mg_status mg_adapter_init(mg_adapter *a, uint64_t seed, mg_error *err) {
    for (size_t i = 0; i < a->n_parts; i++) {
        const mg_tensor *from = a->part[i].from;
        if (!from) continue;
        from->format->decode(mg_adapter_values(a, a->part[i].x), from->data, from->side, 0, from->rows * from->cols);
        if (from->idle) a->net->done_with(a->net, from);
    }
    mg_status st = a->c.method->init ? a->c.method->init(a, seed, err) : MG_OK;
    if (!st) mg_params_push(a->params);
    return st;
}

void mg_adapter_switch(mg_adapter *a, bool on) {
    for (size_t i = 0; i < a->n_hooks; i++) a->hook[i]->off = !on;
    for (size_t i = 0; i < a->n_replaced; i++) {
        mg_replaced *r = &a->replaced[i];
        if (on)
            r->weight->instead = r->by;
        else if (r->weight->instead == r->by)
            r->weight->instead = NULL;
        if (!on) r->weight->idle = false;
    }
}
