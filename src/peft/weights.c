/* weights.c -- choosing weights of the model to train: by kind, block and module, as LLaMA-Factory's freeze names them. */
#include "peft/weights.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- which ---- */

/* The block of "model.layers.3.mlp.up_proj.weight": the first part that is a number; -1: outside. */
static int block_of(const char *name) {
    for (const char *p = name; p; p = strchr(p, '.')) {
        p += *p == '.';
        size_t digits = strspn(p, "0123456789");
        if (digits && digits < 9 && (p[digits] == '.' || !p[digits])) return atoi(p);
    }
    return -1;
}

/* Is `word`, or several parts of a path with dots between, a part of this weight's path? */
static bool has_part(const char *name, const char *word, size_t len) {
    for (const char *p = name; p; p = strchr(p, '.')) {
        p += *p == '.';
        if (!strncmp(p, word, len) && (p[len] == '.' || !p[len])) return true;
    }
    return false;
}

static bool listed(const char *list, const char *name) {
    for (const char *p = list; *p; p += strspn(p, ", ")) {
        size_t len = strcspn(p, ", ");
        if (len && has_part(name, p, len)) return true;
        p += len;
    }
    return false;
}

static const char *modules_of(const mg_weights_settings *s) {
    return s->freeze_trainable_modules ? s->freeze_trainable_modules : *s->modules ? s->modules : "all";
}
static const char *extra_of(const mg_weights_settings *s) { return s->freeze_extra_modules ? s->freeze_extra_modules : s->extra; }

static bool is_linear_bias(const mg_net *net, const mg_tensor *w) {
    bool found = net->head->bias == w;
    for (size_t i = 0; i < net->n_linear && !found; i++) found = net->linear[i]->bias == w;
    return found;
}

bool mg_weight_is_norm(const mg_net *net, const mg_tensor *w) {
    return w->rows == 1 && w != net->head->w && w != net->embed && !is_linear_bias(net, w);
}

typedef struct {
    mg_adapter    *a;
    mg_net        *net;
    mg_weight_pick pick;
    mg_weight_keep keep;
    const char    *bad; /* where the list of blocks is none */
    mg_error      *err;
    mg_status      st;
} choice;

static bool in_blocks(choice *c, int block) {
    const mg_weights_settings *s = (const void *)c->a->c.own;
    int64_t                    n = s->freeze_trainable_layers;
    bool listed_there = mg_layers_have(c->a->c.layers, block, &c->bad);
    return listed_there && (!n || (n > 0 ? block >= c->net->layers - n : block < -n));
}

/* PEFT's lists name modules by the ends of their paths. */
static bool is_target(const choice *c, const mg_tensor *w) { return !*c->a->c.targets || listed(c->a->c.targets, w->name); }

static bool chosen(choice *c, const mg_tensor *w) {
    const mg_weights_settings *s = (const void *)c->a->c.own;
    const char                *modules = modules_of(s);
    int                        block = block_of(w->name);
    if (c->pick && !c->pick(c->net, w)) return false;
    if (!is_target(c, w)) return false;
    if (listed(extra_of(s), w->name)) return true;
    bool all = !strcmp(modules, "all");
    if (block < 0) return all && !*c->a->c.layers && !s->freeze_trainable_layers;
    return in_blocks(c, block) && (all || listed(modules, w->name));
}

/* ---- attaching ---- */

static mg_status refuse_packed(const mg_adapter *a, const mg_tensor *w, mg_error *err) {
    return mg_fail(err, MG_CONFIG,
                   "%s: '%s' is packed as %s, and packed numbers cannot train. Give the model in bf16, f16 or f32 (without load_in_4bit and "
                   "load_in_8bit), decode what trains with --dequantize, or train an adapter on it: --method lora",
                   a->c.method->name, w->name, w->format->name);
}

static bool take(mg_tensor *w, void *context) {
    choice                    *c = context;
    const mg_weights_settings *s = (const void *)c->a->c.own;
    char                       name[192];
    if (!chosen(c, w)) return true;
    if (!c->a->c.frozen && !mg_format_is_plain(w->format) && !s->dequantize) {
        c->st = refuse_packed(c->a, w, c->err);
        return false;
    }
    snprintf(name, sizeof name, "%s", w->name);
    unsigned how = c->keep(w, name, sizeof name);
    if (!mg_adapter_replace(c->a, w, how | (w->rows == 1 ? MG_PART_VECTOR : 0), name)) return false;
    w->idle = !c->a->c.frozen;
    return true;
}

/* What each list names must be there: a word that names nothing would train less than was asked for. */
static mg_status check_names(const mg_adapter *a, const char *list, const char *option, mg_error *err);

mg_status mg_weights_attach(mg_adapter *a, mg_net *net, mg_weight_pick pick, mg_weight_keep keep, mg_error *err) {
    const mg_weights_settings *s = (const void *)a->c.own;
    choice                     c = { .a = a, .net = net, .pick = pick, .keep = keep, .err = err };
    if (a->c.method->whole && *a->c.head)
        return mg_fail(err, MG_CONFIG, "%s: leaves a whole model, which has no place for the head of a task; train the task with an adapter, such as "
                       "--method lora", a->c.method->name);
    if (!strcmp(a->c.targets, "all-linear")) *a->c.targets = 0; /* the general default, which is LoRA's */
    net->each_weight(net, take, &c);
    if (c.st || a->failed) return c.st;
    if (c.bad) return mg_fail(err, MG_CONFIG, "layers_to_transform: '%.40s' is no list of blocks such as 0,1,5-8", c.bad);
    if (!a->n_replaced)
        return mg_fail(err, MG_CONFIG, "%s: nothing would train; look at trainable_layers, freeze_trainable_layers (this model has %d blocks) and "
                       "freeze_trainable_modules", a->c.method->name, net->layers);
    if (a->c.frozen) return MG_OK;
    mg_status st = strcmp(modules_of(s), "all") ? check_names(a, modules_of(s), "freeze_trainable_modules", err) : MG_OK;
    return st ? st : check_names(a, extra_of(s), "freeze_extra_modules", err);
}

static mg_status check_names(const mg_adapter *a, const char *list, const char *option, mg_error *err) {
    for (const char *p = list; *p; p += strspn(p, ", ")) {
        size_t len = strcspn(p, ", ");
        bool   there = !len;
        for (size_t i = 0; i < a->n_replaced && !there; i++) there = has_part(a->replaced[i].weight->name, p, len);
        if (!there)
            return mg_fail(err, MG_CONFIG, "%s: '%.*s' names no weight that %s can train here; parts of names are wanted, such as mlp, self_attn, "
                           "q_proj or embed_tokens", option, (int)len, p, a->c.method->name);
        p += len;
    }
    return MG_OK;
}

/* ---- settings ---- */

void mg_weights_write_config(const mg_adapter *a, mg_buf *out) {
    const mg_weights_settings *s = (const void *)a->c.own;
    if (*a->c.layers) mg_config_write_names(a->c.layers, "layers_to_transform", out);
    if (s->freeze_trainable_layers) mg_buf_printf(out, "  \"freeze_trainable_layers\": %lld,\n", (long long)s->freeze_trainable_layers);
    if (strcmp(modules_of(s), "all")) mg_config_write_names(modules_of(s), "freeze_trainable_modules", out);
    if (*extra_of(s)) mg_config_write_names(extra_of(s), "freeze_extra_modules", out);
}

mg_status mg_weights_read_config(mg_adapter_config *c, yyjson_val *json, const char *name, mg_error *err) {
    mg_weights_settings *s = (void *)c->own;
    yyjson_val          *layers = yyjson_obj_get(json, "freeze_trainable_layers");
    bool                 dequantize = s->dequantize;
    *s = (mg_weights_settings){ .dequantize = dequantize };
    if (layers && (!yyjson_is_int(layers) || yyjson_get_sint(layers) < -100000 || yyjson_get_sint(layers) > 100000))
        return mg_fail(err, MG_FORMAT, "%s: 'freeze_trainable_layers' must be a number of blocks", name);
    s->freeze_trainable_layers = yyjson_get_sint(layers);
    mg_status st = mg_config_names(s->modules, sizeof s->modules, yyjson_obj_get(json, "freeze_trainable_modules"), "freeze_trainable_modules", name, err);
    return st ? st : mg_config_names(s->extra, sizeof s->extra, yyjson_obj_get(json, "freeze_extra_modules"), "freeze_extra_modules", name, err);
}

#define OWN(field) offsetof(mg_weights_settings, field)
const mg_option mg_weights_options[] = {
    { .name = "freeze_trainable_layers", .aliases = "num_layer_trainable", .type = &mg_option_int, .offset = OWN(freeze_trainable_layers), .def = "0",
      .min = -100000, .max = 100000, .group = MG_N("Adapter"),
      .help = MG_N("full, freeze, bitfit, norms: train the last so many blocks (below 0: the first); 0: all, freeze: the last 2") },
    { .name = "freeze_trainable_modules", .aliases = "name_module_trainable", .type = &mg_option_string, .offset = OWN(freeze_trainable_modules),
      .def = "all", .metavar = "MODULES", .group = MG_N("Adapter"),
      .help = MG_N("full, freeze, bitfit, norms: only these modules of the blocks, such as mlp,self_attn") },
    { .name = "freeze_extra_modules", .type = &mg_option_string, .offset = OWN(freeze_extra_modules), .def = "", .metavar = "MODULES",
      .group = MG_N("Adapter"), .help = MG_N("full, freeze, bitfit, norms: these modules as well, such as embed_tokens,norm") },
    { .name = "dequantize", .type = &mg_option_bool, .offset = OWN(dequantize), .def = "false", .group = MG_N("Adapter"),
      .help = MG_N("full, freeze: train a packed model (GGUF, 4 or 8 bits) by decoding what trains") },
    { 0 },
};

const char *const mg_weights_keys[] = { "freeze_trainable_layers", "freeze_trainable_modules", "freeze_extra_modules", NULL };
