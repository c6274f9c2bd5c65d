/* adapter.c -- choosing layers by role or name, and PEFT's folder. */
#include "peft/adapter.h"

#include "base/file.h"
#include "format/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define METHOD(x) extern const mg_method mg_method_##x;
#include "peft/peft.def"
#undef METHOD

static const mg_method *const methods[] = {
#define METHOD(x) &mg_method_##x,
#include "peft/peft.def"
#undef METHOD
    NULL,
};

static const char PREFIX[] = "base_model.model.";

const mg_method *mg_method_find(const char *name) {
    for (int i = 0; methods[i]; i++)
        if (!strcmp(methods[i]->name, name) || !strcmp(methods[i]->peft_type, name)) return methods[i];
    return NULL;
}

static const struct { const char *name; mg_role role; } roles[] = {
    { "q", MG_ROLE_Q },       { "k", MG_ROLE_K },   { "v", MG_ROLE_V },       { "o", MG_ROLE_O },
    { "gate", MG_ROLE_GATE }, { "up", MG_ROLE_UP }, { "down", MG_ROLE_DOWN }, { "all-linear", MG_ROLES_ALL_LINEAR },
};

/* One entry of the target list: a role, or the end of a module path as PEFT matches it. */
static bool target_is(const char *target, size_t len, const mg_linear *l) {
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        if (strlen(roles[i].name) == len && !memcmp(roles[i].name, target, len)) return l->role & roles[i].role;
    size_t n = strlen(l->name);
    return n >= len && !memcmp(l->name + n - len, target, len) && (n == len || l->name[n - len - 1] == '.');
}

/* Calls f for each comma-separated entry until it returns true. */
static bool any_target(const char *list, const mg_linear *l, const char **unmatched, const mg_net *net) {
    bool hit = false;
    for (const char *p = list; *p;) {
        size_t len = strcspn(p, ", ");
        if (len) {
            hit |= l && target_is(p, len, l);
            bool known = false;
            for (size_t i = 0; net && !known && i < net->n_linear; i++) known = target_is(p, len, net->linear[i]);
            if (net && !known && !*unmatched) *unmatched = p;
        }
        p += len;
        p += strspn(p, ", ");
    }
    return hit;
}

mg_status mg_adapter_attach(mg_adapter **out, const mg_adapter_config *c, mg_net *net, mg_params *p, mg_error *err) {
    const char *unmatched = NULL;
    any_target(c->targets, NULL, &unmatched, net);
    if (unmatched)
        return mg_fail(err, MG_CONFIG,
                       "lora_target_modules: '%.*s' names no layer of this model; use all-linear, roles (q, k, v, o, gate, up, down) "
                       "or module names such as q_proj",
                       (int)strcspn(unmatched, ", "), unmatched);
    mg_adapter *a = mg_calloc(1, sizeof *a);
    mg_status   st = a ? MG_OK : mg_fail(err, MG_NOMEM, "no memory for an adapter");
    if (st) return st;
    a->c = *c;
    a->params = p;
    a->hook = mg_calloc(net->n_linear, sizeof *a->hook);
    if (!a->hook) st = mg_fail(err, MG_NOMEM, "no memory for an adapter");
    for (size_t i = 0; !st && i < net->n_linear; i++) {
        mg_linear *l = net->linear[i];
        if (!any_target(c->targets, l, &unmatched, NULL)) continue;
        mg_hook *h = &a->hook[a->n_hooks];
        st = c->method->attach(c, l, h, p, err);
        if (st) break;
        a->n_hooks++;
        h->site = (uint32_t)(i % 0xfff);
        mg_hook_attach(&l->hooks, h);
        for (int k = 0; k < MG_HOOK_PARAMS && h->p[k]; k++) a->parameters += h->p[k]->rows * h->p[k]->cols;
    }
    if (!st && !a->n_hooks) st = mg_fail(err, MG_CONFIG, "lora_target_modules is empty: nothing would train; use all-linear");
    if (st)
        mg_adapter_detach(a, net);
    else
        *out = a;
    return st;
}

void mg_adapter_detach(mg_adapter *a, mg_net *net) {
    if (!a) return;
    for (size_t i = 0; i < net->n_linear; i++)
        for (mg_hook **at = &net->linear[i]->hooks; *at;)
            if (*at >= a->hook && *at < a->hook + a->n_hooks)
                *at = (*at)->next;
            else
                at = &(*at)->next;
    free(a->hook);
    free(a);
}

void mg_adapter_init(mg_adapter *a, uint64_t seed) {
    for (size_t i = 0; i < a->n_hooks; i++) a->c.method->init(&a->c, a->params, &a->hook[i], seed, (uint32_t)i);
    mg_params_push(a->params);
}

void mg_adapter_switch(mg_adapter *a, bool on) {
    for (size_t i = 0; i < a->n_hooks; i++) a->hook[i].off = !on;
}

/* ---- the folder ---- */

static mg_status in_folder(char **out, const char *folder, const char *name, mg_error *err) {
    *out = mg_path_join(folder, name);
    return *out ? MG_OK : mg_fail(err, MG_NOMEM, "%s: no memory", folder);
}

/* Keys that say nothing about what is computed. */
static const char *const harmless[] = { "peft_type", "target_modules", "base_model_name_or_path", "task_type", "inference_mode",
                                        "auto_mapping", "revision", "peft_version", "megatron_core", "qalora_group_size",
                                        "fan_in_fan_out", "runtime_config", "corda_config", "eva_config", NULL };

static bool listed(const char *const *list, const char *key) {
    for (; *list; list++)
        if (!strcmp(*list, key)) return true;
    return false;
}

/* null, false, 0, "" and empty lists and objects are what PEFT writes for "not used". */
static bool is_unused(yyjson_val *v) {
    return yyjson_is_null(v) || yyjson_is_false(v) || (yyjson_is_num(v) && yyjson_get_num(v) == 0) ||
           (yyjson_is_str(v) && yyjson_get_len(v) == 0) || (yyjson_is_ctn(v) && unsafe_yyjson_get_len(v) == 0);
}

static mg_status read_targets(mg_adapter_config *c, yyjson_val *v, const char *name, mg_error *err) {
    mg_buf list = { 0 };
    if (yyjson_is_str(v)) mg_buf_str(&list, yyjson_get_str(v));
    size_t      i, n;
    yyjson_val *item;
    yyjson_arr_foreach(v, i, n, item) mg_buf_printf(&list, "%s%s", i ? "," : "", yyjson_get_str(item) ? yyjson_get_str(item) : "");
    mg_status st = MG_OK;
    if (list.failed || !list.len || list.len >= sizeof c->targets)
        st = mg_fail(err, MG_FORMAT, "%s: 'target_modules' must be a list of module names", name);
    else
        memcpy(c->targets, list.data, list.len + 1);
    mg_buf_free(&list);
    return st;
}

mg_status mg_adapter_read_config(mg_adapter_config *out, const char *folder, mg_error *err) {
    mg_adapter_config c = { 0 };
    mg_json           json = { 0 };
    char             *path = NULL;
    mg_status         st = in_folder(&path, folder, "adapter_config.json", err);
    if (!st) st = mg_json_open(&json, path, 1 << 20, err);
    if (st) goto done;
    const char *type = yyjson_get_str(yyjson_obj_get(json.root, "peft_type"));
    c.method = type ? mg_method_find(type) : NULL;
    if (!c.method) {
        st = mg_fail(err, MG_UNSUPPORTED, "%s: peft_type '%s' is not known here", path, type ? type : "(none)");
        goto done;
    }
    yyjson_obj_iter it = yyjson_obj_iter_with(json.root);
    for (yyjson_val *k; !st && (k = yyjson_obj_iter_next(&it));) {
        const char *key = yyjson_get_str(k);
        if (!listed(harmless, key) && !listed(c.method->keys, key) && !is_unused(yyjson_obj_iter_get_val(k)))
            st = mg_fail(err, MG_UNSUPPORTED, "%s: the setting '%s' is not supported here and is not at its default", path, key);
    }
    if (!st) st = c.method->read_config(&c, json.root, path, err);
    if (!st) st = read_targets(&c, yyjson_obj_get(json.root, "target_modules"), path, err);
    const char *base = yyjson_get_str(yyjson_obj_get(json.root, "base_model_name_or_path"));
    if (!st) snprintf(c.base, sizeof c.base, "%s", base ? base : "");
    if (!st) *out = c;
done:
    mg_json_free(&json);
    free(path);
    return st;
}

/* The entry for a parameter; PEFT before 0.3 and some converters leave the prefix out. */
static const mg_st_entry *entry_of(const mg_safetensors *f, const mg_tensor *x) {
    char name[256];
    snprintf(name, sizeof name, "%s%s", PREFIX, x->name);
    const mg_st_entry *e = mg_safetensors_find(f, name);
    return e ? e : mg_safetensors_find(f, x->name);
}

static mg_status check_entry(const mg_st_entry *e, const mg_tensor *x, const char *path, mg_error *err) {
    if (!e) return mg_fail(err, MG_MISMATCH, "%s: '%s' is missing; was it trained on other layers?", path, x->name);
    int64_t rows = e->n_dims == 2 ? e->dims[0] : 1, cols = e->n_dims ? e->dims[e->n_dims - 1] : 0;
    if (rows != x->rows || cols != x->cols)
        return mg_fail(err, MG_MISMATCH, "%s: '%s' is %lldx%lld, the model wants %lldx%lld; was the rank changed?", path, e->name,
                       (long long)rows, (long long)cols, (long long)x->rows, (long long)x->cols);
    const mg_format *f = mg_format_of_safetensors(e->dtype);
    if (!f || !mg_format_is_plain(f)) return mg_fail(err, MG_FORMAT, "%s: '%s' has the number type %s", path, e->name, e->dtype);
    return MG_OK;
}

mg_status mg_adapter_load(mg_adapter *a, const char *folder, mg_error *err) {
    mg_safetensors *f = NULL;
    char           *path = NULL;
    size_t          tensors = 0;
    mg_status       st = in_folder(&path, folder, "adapter_model.safetensors", err);
    if (!st) st = mg_safetensors_open(&f, path, err);
    for (size_t i = 0; !st && i < a->n_hooks; i++)
        for (int k = 0; !st && k < MG_HOOK_PARAMS && a->hook[i].p[k]; k++, tensors++)
            st = check_entry(entry_of(f, a->hook[i].p[k]), a->hook[i].p[k], path, err);
    if (!st && f->n != tensors)
        st = mg_fail(err, MG_MISMATCH, "%s: holds %zu tensors, %zu belong to this model and adapter_config.json", path, f->n, tensors);
    for (size_t i = 0; !st && i < a->n_hooks; i++)
        for (int k = 0; k < MG_HOOK_PARAMS && a->hook[i].p[k]; k++) {
            mg_tensor         *x = a->hook[i].p[k];
            const mg_st_entry *e = entry_of(f, x);
            mg_format_of_safetensors(e->dtype)->decode(mg_params_values(a->params, x), e->data, NULL, 0, x->rows * x->cols);
        }
    if (!st) mg_params_push(a->params);
    mg_safetensors_close(f);
    free(path);
    return st;
}

static mg_status save_config(const mg_adapter *a, const char *folder, mg_error *err) {
    mg_buf b = { 0 };
    char  *path = NULL;
    mg_buf_printf(&b, "{\n  \"peft_type\": \"%s\",\n  \"task_type\": \"CAUSAL_LM\",\n  \"base_model_name_or_path\": ", a->c.method->peft_type);
    mg_json_quote(&b, a->c.base, strlen(a->c.base));
    mg_buf_str(&b, ",\n");
    a->c.method->write_config(&a->c, &b);
    mg_buf_str(&b, "  \"inference_mode\": true,\n  \"target_modules\": [");
    /* the last part of each module path, once: what PEFT matches by */
    mg_map *seen = mg_map_new(64);
    for (size_t i = 0, n = 0; seen && i < a->n_hooks; i++) {
        const char *name = a->hook[i].p[0]->name, *end = strstr(name, ".lora_");
        const char *begin = end ? end : name + strlen(name);
        while (begin > name && begin[-1] != '.') begin--;
        size_t len = end ? (size_t)(end - begin) : strlen(begin);
        if (mg_map_put(seen, begin, len, 0) == 1) mg_buf_printf(&b, "%s\"%.*s\"", n++ ? ", " : "", (int)len, begin);
    }
    mg_map_free(seen);
    mg_buf_str(&b, "]\n}\n");
    mg_status st = b.failed ? mg_fail(err, MG_NOMEM, "%s: no memory", folder) : in_folder(&path, folder, "adapter_config.json", err);
    if (!st) st = mg_replace_file(path, b.data, b.len, err);
    mg_buf_free(&b);
    free(path);
    return st;
}

mg_status mg_adapter_save(const mg_adapter *a, const char *folder, mg_error *err) {
    size_t       n = 0, cap = a->n_hooks * MG_HOOK_PARAMS;
    mg_st_entry *e = mg_calloc(cap, sizeof *e);
    char(*names)[256] = mg_calloc(cap, sizeof *names);
    char     *path = NULL;
    mg_status st = e && names ? MG_OK : mg_fail(err, MG_NOMEM, "%s: no memory", folder);
    mg_params_pull(a->params);
    for (size_t i = 0; !st && i < a->n_hooks; i++)
        for (int k = 0; k < MG_HOOK_PARAMS && a->hook[i].p[k]; k++, n++) {
            const mg_tensor *x = a->hook[i].p[k];
            snprintf(names[n], sizeof names[n], "%s%s", PREFIX, x->name);
            e[n] = (mg_st_entry){ names[n], "F32", 2, { x->rows, x->cols }, mg_params_values(a->params, x), (size_t)(x->rows * x->cols) * sizeof(float) };
        }
    if (!st) st = mg_make_folder(folder, err);
    if (!st) st = in_folder(&path, folder, "adapter_model.safetensors", err);
    if (!st) st = mg_safetensors_save(path, e, n, (const char *const[]){ "format", "pt", NULL }, err);
    if (!st) st = save_config(a, folder, err);
    free(path);
    free(names);
    free(e);
    return st;
}
