/* folder.c -- PEFT's folder: adapter_config.json, adapter_model.safetensors, and what only training needs. */
#include "peft/adapter.h"

#include "base/file.h"
#include "format/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char PREFIX[] = "base_model.model.";
static const char MODEL_FILE[] = "adapter_model.safetensors", TRAINING_FILE[] = "adapter_training.safetensors";

static mg_status in_folder(char **out, const char *folder, const char *name, mg_error *err) {
    *out = mg_path_join(folder, name);
    return *out ? MG_OK : mg_fail(err, MG_NOMEM, "%s: no memory", folder);
}

/* ---- settings ---- */

/* Keys that say nothing about what is computed, and those that are read for every method. */
static const char *const common[] = { "peft_type", "target_modules", "base_model_name_or_path", "task_type", "inference_mode",
                                      "auto_mapping", "revision", "peft_version", "megatron_core", "qalora_group_size",
                                      "fan_in_fan_out", "runtime_config", "corda_config", "eva_config", "modules_to_save",
                                      "layers_to_transform", NULL };

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

/* The row that a file means: the one that claims it, else the plain one of its type. */
static const mg_method *method_of(yyjson_val *json) {
    const char *type = yyjson_get_str(yyjson_obj_get(json, "peft_type"));
    const mg_method *m;
    for (size_t i = 0; type && (m = mg_method_at(i)); i++)
        if (!strcmp(m->peft_type, type) && m->claims && m->claims(json)) return m;
    return type ? mg_method_find(type) : NULL;
}

/* Heads are no modules of the model below them: PEFT lists them among modules_to_save. */
static void leave_heads_out(char *list) {
    static const char *const heads[] = { "score", "classifier", "qa_outputs", NULL };
    char *to = list;
    for (const char *p = list; *p; p += strspn(p, ", ")) {
        size_t len = strcspn(p, ", ");
        char   name[64];
        snprintf(name, sizeof name, "%.*s", (int)len, p);
        if (!listed(heads, name)) {
            if (to > list) *to++ = ',';
            memmove(to, p, len);
            to += len;
        }
        p += len;
    }
    *to = 0;
}

static mg_status read_common(mg_adapter_config *c, yyjson_val *json, const char *path, mg_error *err) {
    mg_status st = mg_config_names(c->targets, sizeof c->targets, yyjson_obj_get(json, "target_modules"), "target_modules", path, err);
    if (!st)
        st = mg_config_names(c->modules_to_save, sizeof c->modules_to_save, yyjson_obj_get(json, "modules_to_save"), "modules_to_save", path,
                             err);
    const char *task = yyjson_get_str(yyjson_obj_get(json, "task_type"));
    if (!st && task && (!strcmp(task, "SEQ_CLS") || !strcmp(task, "TOKEN_CLS") || !strcmp(task, "QUESTION_ANS"))) {
        snprintf(c->task_type, sizeof c->task_type, "%s", task);
        leave_heads_out(c->modules_to_save);
    }
    yyjson_val *layers = yyjson_obj_get(json, "layers_to_transform");
    if (!st && yyjson_is_int(layers))
        snprintf(c->layers, sizeof c->layers, "%lld", (long long)yyjson_get_sint(layers));
    else if (!st)
        st = mg_config_names(c->layers, sizeof c->layers, layers, "layers_to_transform", path, err);
    const char *base = yyjson_get_str(yyjson_obj_get(json, "base_model_name_or_path"));
    if (!st) snprintf(c->base, sizeof c->base, "%s", base ? base : "");
    return st;
}

mg_status mg_adapter_read_config(mg_adapter_config *out, const char *folder, mg_error *err) {
    return mg_adapter_read_config_over(out, NULL, folder, err);
}

mg_status mg_adapter_read_config_over(mg_adapter_config *out, char (*own)[MG_METHOD_OWN], const char *folder, mg_error *err) {
    mg_adapter_config c = { .frozen = !own };
    mg_json           json = { 0 };
    char             *path = NULL;
    mg_status         st = in_folder(&path, folder, "adapter_config.json", err);
    if (!st) st = mg_json_open(&json, path, 1 << 20, err);
    if (st) goto done;
    const char *type = yyjson_get_str(yyjson_obj_get(json.root, "peft_type"));
    c.method = method_of(json.root);
    if (!c.method) {
        st = mg_fail(err, MG_UNSUPPORTED, "%s: peft_type '%s' is not known here", path, type ? type : "(none)");
        goto done;
    }
    if (own) mg_method_own(&c, own);
    yyjson_obj_iter it = yyjson_obj_iter_with(json.root);
    for (yyjson_val *k; !st && (k = yyjson_obj_iter_next(&it));) {
        const char *key = yyjson_get_str(k);
        if (!listed(common, key) && !listed(c.method->keys, key) && !is_unused(yyjson_obj_iter_get_val(k)))
            st = mg_fail(err, MG_UNSUPPORTED, "%s: the setting '%s' is not supported here and is not at its default", path, key);
    }
    if (!st) st = read_common(&c, json.root, path, err);
    if (!st) st = c.method->read_config(&c, json.root, path, err);
    if (!st) *out = c;
done:
    mg_json_free(&json);
    free(path);
    return st;
}

/* The last part of a module path. */
static const char *last_part(const char *name) {
    const char *dot = strrchr(name, '.');
    return dot ? dot + 1 : name;
}

typedef bool (*pick_fn)(const mg_adapter *, const mg_linear *);

/* Does each layer of the model whose path ends like one of the chosen belong to them, too?  Then the ends say it all. */
static bool ends_suffice(const mg_adapter *a, pick_fn pick) {
    for (size_t i = 0; i < a->net->n_linear; i++) {
        const mg_linear *l = a->net->linear[i];
        bool chosen = false, same_end = false;
        for (size_t k = 0; k < a->n_linear; k++) {
            if (pick && !pick(a, a->linear[k])) continue;
            chosen |= a->linear[k] == l;
            same_end |= !strcmp(last_part(a->linear[k]->name), last_part(l->name));
        }
        if (same_end && !chosen) return false;
    }
    return true;
}

void mg_adapter_write_modules(const mg_adapter *a, const char *key, pick_fn pick, mg_buf *out) {
    bool    ends = ends_suffice(a, pick);
    size_t  n = 0;
    mg_map *seen = mg_map_new(64);
    mg_buf_printf(out, "  \"%s\": [", key);
    for (size_t i = 0; seen && i < a->n_linear; i++) {
        const char *name = ends ? last_part(a->linear[i]->name) : a->linear[i]->name;
        if (pick && !pick(a, a->linear[i])) continue;
        if (mg_map_put(seen, name, strlen(name), 0) == 1) mg_buf_printf(out, "%s\"%s\"", n++ ? ", " : "", name);
    }
    if (!seen) out->failed = true;
    mg_map_free(seen);
    mg_buf_str(out, "],\n");
}

void mg_config_write_names(const char *list, const char *key, mg_buf *out) {
    mg_buf_printf(out, "  \"%s\": [", key);
    const char *between = "";
    for (const char *p = list; *p; p += strspn(p, ", ")) {
        size_t len = strcspn(p, ", ");
        if (len) mg_buf_printf(out, "%s\"%.*s\"", between, (int)len, p);
        between = ", ";
        p += len;
    }
    mg_buf_str(out, "],\n");
}

static mg_status save_config(const mg_adapter *a, const char *folder, mg_error *err) {
    mg_buf b = { 0 };
    char  *path = NULL;
    mg_buf_printf(&b, "{\n  \"peft_type\": \"%s\",\n  \"task_type\": \"%s\",\n  \"base_model_name_or_path\": ", a->c.method->peft_type,
                  *a->c.task_type ? a->c.task_type : "CAUSAL_LM");
    mg_json_quote(&b, a->c.base, strlen(a->c.base));
    mg_buf_str(&b, ",\n");
    a->c.method->write_config(a, &b);
    if (a->n_linear) mg_adapter_write_modules(a, "target_modules", NULL, &b);
    char modules[600];
    snprintf(modules, sizeof modules, "%s%s%s", a->c.modules_to_save, *a->c.modules_to_save && *a->c.head ? "," : "", a->c.head);
    if (*modules) mg_config_write_names(modules, "modules_to_save", &b);
    mg_buf_str(&b, "  \"inference_mode\": true\n}\n");
    mg_status st = b.failed ? mg_fail(err, MG_NOMEM, "%s: no memory", folder) : in_folder(&path, folder, "adapter_config.json", err);
    if (!st) st = mg_replace_file(path, b.data, b.len, err);
    mg_buf_free(&b);
    free(path);
    return st;
}

/* ---- tensors ---- */

/* PEFT before 0.3 and some converters leave the prefix out. */
static const mg_st_entry *entry_of(const mg_safetensors *f, const mg_part *p) {
    const mg_st_entry *e = mg_safetensors_find(f, p->file);
    size_t             n = sizeof PREFIX - 1;
    return e || strncmp(p->file, PREFIX, n) != 0 ? e : mg_safetensors_find(f, p->file + n);
}

static mg_status check_entry(const mg_st_entry *e, const mg_part *p, const char *path, mg_error *err) {
    const mg_tensor *x = p->x;
    if (!e) return mg_fail(err, MG_MISMATCH, "%s: '%s' is missing; was it trained on other layers?", path, x->name);
    int64_t rows = e->n_dims == 2 ? e->dims[0] : 1, cols = e->n_dims ? e->dims[e->n_dims - 1] : 0;
    bool    same = p->how & MG_PART_VECTOR ? e->n_dims == 1 && cols == x->rows * x->cols : rows == x->rows && cols == x->cols && e->n_dims <= 2;
    if (!same)
        return mg_fail(err, MG_MISMATCH, "%s: '%s' is %lldx%lld, the model wants %lldx%lld; was the rank changed?", path, e->name,
                       (long long)rows, (long long)cols, (long long)x->rows, (long long)x->cols);
    const mg_format *f = mg_format_of_safetensors(e->dtype);
    if (!f || !mg_format_is_plain(f)) return mg_fail(err, MG_FORMAT, "%s: '%s' has the number type %s", path, e->name, e->dtype);
    return MG_OK;
}

/* Is this part kept in the file for training (`private`) or in PEFT's? */
static bool kept_in(const mg_part *p, bool private) {
    return !(p->how & MG_PART_UNSAVED) && !(p->how & MG_PART_PRIVATE) == !private;
}

static size_t count(const mg_adapter *a, bool private) {
    size_t n = 0;
    for (size_t i = 0; i < a->n_parts; i++) n += kept_in(&a->part[i], private);
    return n;
}

const char *mg_adapter_file(const mg_adapter *a, size_t i) {
    static const char *const names[] = { MODEL_FILE, "adapter_config.json", TRAINING_FILE };
    return i < (count(a, true) ? 3u : 2u) ? names[i] : NULL;
}

static mg_status open_checked(mg_safetensors **f, const mg_adapter *a, const char *folder, bool private, mg_error *err) {
    char     *path = NULL;
    mg_status st = in_folder(&path, folder, private ? TRAINING_FILE : MODEL_FILE, err);
    if (!st) st = mg_safetensors_open(f, path, err);
    for (size_t i = 0; !st && i < a->n_parts; i++)
        if (kept_in(&a->part[i], private)) st = check_entry(entry_of(*f, &a->part[i]), &a->part[i], path, err);
    if (!st && (*f)->n != count(a, private))
        st = mg_fail(err, MG_MISMATCH, "%s: holds %zu tensors, %zu belong to this model and adapter_config.json", path, (*f)->n, count(a, private));
    free(path);
    return st;
}

/* x is the entry's numbers; in F64 the sum is right to the last bit. */
static void add_one(float *x, const mg_st_entry *e, int64_t n) {
    double exact;
    for (int64_t i = 0; i < n; i++) {
        if (!strcmp(e->dtype, "F64"))
            memcpy(&exact, (const char *)e->data + (size_t)i * sizeof exact, sizeof exact);
        else
            exact = (double)x[i];
        x[i] = (float)(exact + 1);
    }
}

static void take_values(const mg_adapter *a, const mg_safetensors *f, bool private) {
    for (size_t i = 0; i < a->n_parts; i++) {
        const mg_part *p = &a->part[i];
        if (!kept_in(p, private)) continue;
        const mg_st_entry *e = entry_of(f, p);
        float             *x = mg_adapter_values(a, p->x);
        int64_t            n = p->x->rows * p->x->cols;
        mg_format_of_safetensors(e->dtype)->decode(x, e->data, NULL, 0, n);
        if (p->how & MG_PART_LESS_ONE) add_one(x, e, n);
    }
}

static bool is_file_of(const char *folder, const char *name) {
    char *path = mg_path_join(folder, name);
    bool  is = path && mg_is_file(path);
    free(path);
    return is;
}

mg_status mg_adapter_load(mg_adapter *a, const char *folder, mg_error *err) {
    mg_safetensors *f = NULL, *training = NULL;
    bool            both = !a->c.frozen && count(a, true), fresh = both && !is_file_of(folder, TRAINING_FILE);
    mg_status       st = open_checked(&f, a, folder, false, err);
    if (!st && fresh) st = mg_adapter_init(a, 0, err); /* PEFT's: training starts anew from its numbers */
    both = both && !fresh;
    if (!st && both) st = open_checked(&training, a, folder, true, err);
    if (!st) take_values(a, f, false);
    if (!st && both) take_values(a, training, true);
    if (!st && a->c.method->after_load) st = a->c.method->after_load(a, err);
    if (!st) mg_params_push(a->params);
    mg_safetensors_close(f);
    mg_safetensors_close(training);
    return st;
}

/* A part as the file has it; `exact` has room for the numbers of parts that are written less one. */
static mg_st_entry entry_for(const mg_adapter *a, const mg_part *p, double **exact) {
    const mg_tensor *x = p->x;
    int64_t          n = x->rows * x->cols;
    const float     *values = mg_adapter_values(a, x);
    bool             vector = p->how & MG_PART_VECTOR;
    mg_st_entry      e = { p->file, "F32", vector ? 1 : 2, { vector ? n : x->rows, vector ? 1 : x->cols }, values, (size_t)n * sizeof *values };
    if (!(p->how & MG_PART_LESS_ONE)) return e;
    e.dtype = "F64";
    e.data = *exact;
    e.bytes = (size_t)n * sizeof **exact;
    for (int64_t i = 0; i < n; i++) *(*exact)++ = (double)values[i] - 1;
    return e;
}

static mg_status save_parts(const mg_adapter *a, const char *folder, bool private, mg_error *err) {
    mg_st_entry *e = mg_calloc(a->n_parts + 1, sizeof *e);
    char        *path = NULL;
    size_t       n = 0, less_one = 1;
    for (size_t i = 0; i < a->n_parts; i++)
        if (a->part[i].how & MG_PART_LESS_ONE) less_one += (size_t)(a->part[i].x->rows * a->part[i].x->cols);
    double   *room = mg_calloc(less_one, sizeof *room), *exact = room;
    mg_status st = e && room ? in_folder(&path, folder, private ? TRAINING_FILE : MODEL_FILE, err) : mg_fail(err, MG_NOMEM, "%s: no memory", folder);
    for (size_t i = 0; !st && i < a->n_parts; i++)
        if (kept_in(&a->part[i], private)) e[n++] = entry_for(a, &a->part[i], &exact);
    if (!st) st = mg_safetensors_save(path, e, n, (const char *const[]){ "format", "pt", NULL }, err);
    free(path);
    free(room);
    free(e);
    return st;
}

mg_status mg_adapter_save(mg_adapter *a, const char *folder, mg_error *err) {
    mg_params_pull(a->params);
    mg_status st = a->c.method->before_save ? a->c.method->before_save(a, err) : MG_OK;
    if (!st) st = mg_make_folder(folder, err);
    if (!st) st = save_parts(a, folder, false, err);
    if (!st && count(a, true)) st = save_parts(a, folder, true, err);
    return st ? st : save_config(a, folder, err);
}
