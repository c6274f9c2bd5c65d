/* heads.c -- tensors, names and files of heads. */
#include "infer/heads.h"

#include "base/file.h"
#include "format/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_HEADS = 64, FILE_BYTES = 8 << 20 };

mg_status mg_heads_add(mg_heads *h, const mg_goal *goal, const char *name, const mg_labels *labels, mg_error *err) {
    const mg_head_kind *kind = mg_head_kind_of(goal);
    if (h->n == MOST_HEADS) return mg_fail(err, MG_CONFIG, "more than %d heads", MOST_HEADS);
    if (!MG_GROW(h->head, h->cap, h->n + 1)) return mg_fail(err, MG_NOMEM, "no memory for a head");
    mg_head *x = &h->head[h->n];
    *x = (mg_head){ .kind = kind, .columns = kind->columns ? kind->columns : (int64_t)labels->n };
    snprintf(x->name, sizeof x->name, "%s", name);
    mg_status st = mg_labels_copy(&x->labels, labels, err);
    h->n += !st;
    return st;
}

mg_head *mg_heads_find(const mg_heads *h, const char *name) {
    for (size_t i = 0; i < h->n; i++)
        if (!strcmp(h->head[i].name, name)) return &h->head[i];
    return NULL;
}

void mg_heads_free(mg_heads *h) {
    for (size_t i = 0; i < h->n; i++) mg_labels_free(&h->head[i].labels);
    free(h->head);
    *h = (mg_heads){ 0 };
}

/* ---- tensors ---- */

void mg_heads_configure(const mg_heads *h, const mg_model *m, mg_adapter_config *c) {
    bool        bias;
    const char *from, *to;
    if (!h->n || !h->alone) return;
    const mg_head_kind *k = h->head[0].kind;
    mg_head_prefix(k, m->arch, &from, &to);
    snprintf(c->task_type, sizeof c->task_type, "%s", k->task_type);
    snprintf(c->head, sizeof c->head, "%s", mg_head_module(k, m->arch, &bias));
    snprintf(c->inner_from, sizeof c->inner_from, "%s", from);
    snprintf(c->inner_to, sizeof c->inner_to, "%s", to);
}

mg_status mg_heads_attach(mg_heads *h, mg_adapter *a, const mg_model *m, mg_error *err) {
    for (size_t i = 0; i < h->n; i++) {
        mg_head    *x = &h->head[i];
        bool        bias;
        const char *module = mg_head_module(x->kind, m->arch, &bias);
        char        name[160];
        if (h->alone)
            snprintf(name, sizeof name, "%s", module);
        else
            snprintf(name, sizeof name, "heads.%s.%s", x->name, module);
        x->l = (mg_linear){ .role = MG_ROLE_HEAD, .layer = -1 };
        snprintf(x->l.name, sizeof x->l.name, "%.95s", name);
        x->l.w = mg_adapter_add(a, MG_PART_HEAD, x->columns, m->c.dim, "%s.weight", name);
        if (bias) x->l.bias = mg_adapter_add(a, MG_PART_HEAD | MG_PART_VECTOR, 1, x->columns, "%s.bias", name);
        x->eye = mg_adapter_add(a, MG_PART_HEAD | MG_PART_FIXED | MG_PART_UNSAVED, x->columns, x->columns, "%s.eye", name);
        if (!x->l.w || !x->eye || (bias && !x->l.bias)) return mg_fail(err, MG_NOMEM, "no memory for the head %s", x->name);
    }
    return MG_OK;
}

void mg_heads_init(const mg_heads *h, const mg_adapter *a, bool weights) {
    for (size_t i = 0; i < h->n; i++) {
        const mg_head *x = &h->head[i];
        float         *eye = mg_adapter_values(a, x->eye);
        for (int64_t k = 0; k < x->columns * x->columns; k++) eye[k] = k % (x->columns + 1) == 0;
        if (!weights) continue;
        mg_head_values(mg_adapter_values(a, x->l.w), x->l.w->rows * x->l.w->cols, h->seed, (uint32_t)i);
        for (int64_t k = 0; x->l.bias && k < x->columns; k++) mg_adapter_values(a, x->l.bias)[k] = 0;
    }
    mg_params_push(a->params);
}

/* ---- files ---- */

mg_status mg_heads_text(const mg_heads *h, mg_buf *b, mg_error *err) {
    mg_buf_printf(b, "{\n  \"alone\": %s,\n  \"no_answer\": %s,\n  \"seed\": %llu,\n  \"heads\": [", h->alone ? "true" : "false",
                  h->no_answer ? "true" : "false", (unsigned long long)h->seed);
    for (size_t i = 0; i < h->n; i++) {
        const mg_head *x = &h->head[i];
        mg_buf_printf(b, "%s\n    {\"name\": ", i ? "," : "");
        mg_json_quote(b, x->name, strlen(x->name));
        mg_buf_printf(b, ", \"task\": \"%s\", \"labels\": [", x->kind->goal->name);
        for (size_t k = 0; k < x->labels.n; k++) {
            if (k) mg_buf_str(b, ", ");
            mg_json_quote(b, x->labels.name[k], strlen(x->labels.name[k]));
        }
        mg_buf_str(b, "]}");
    }
    mg_buf_str(b, "\n  ]\n}\n");
    return b->failed ? mg_fail(err, MG_NOMEM, "no memory for heads.json") : MG_OK;
}

static mg_status read_head(mg_heads *h, yyjson_val *v, const char *path, mg_error *err) {
    const char    *name = yyjson_get_str(yyjson_obj_get(v, "name")), *task = yyjson_get_str(yyjson_obj_get(v, "task"));
    const mg_goal *goal = task ? mg_goal_find(task) : NULL;
    yyjson_val    *list = yyjson_obj_get(v, "labels"), *one;
    mg_labels      labels = { 0 };
    size_t         i, n;
    mg_status      st = MG_OK;
    if (!name || !goal) return mg_fail(err, MG_FORMAT, "%s: a head has no name, or its task '%s' is not known", path, task ? task : "");
    if (mg_heads_find(h, name)) return mg_fail(err, MG_FORMAT, "%s: two heads are called '%.60s'", path, name);
    yyjson_arr_foreach(list, i, n, one) {
        char *copy = yyjson_is_str(one) && MG_GROW(labels.name, labels.cap, labels.n + 1) ? mg_strdup(yyjson_get_str(one)) : NULL;
        if (!copy) {
            st = yyjson_is_str(one) ? mg_fail(err, MG_NOMEM, "%s: no memory", path) : mg_fail(err, MG_FORMAT, "%s: a label is no text", path);
            break;
        }
        labels.name[labels.n++] = copy;
    }
    if (!st && goal->named && !labels.n) st = mg_fail(err, MG_FORMAT, "%s: the head '%.60s' has no labels", path, name);
    if (!st) st = mg_heads_add(h, goal, name, &labels, err);
    mg_labels_free(&labels);
    return st;
}

static mg_status read_file(mg_heads *h, const char *path, mg_error *err) {
    mg_json     j = { 0 };
    size_t      i, n;
    yyjson_val *v;
    mg_status   st = mg_json_open(&j, path, FILE_BYTES, err);
    if (st) return st;
    h->alone = yyjson_get_bool(yyjson_obj_get(j.root, "alone"));
    h->no_answer = yyjson_get_bool(yyjson_obj_get(j.root, "no_answer"));
    h->seed = yyjson_get_uint(yyjson_obj_get(j.root, "seed"));
    yyjson_arr_foreach(yyjson_obj_get(j.root, "heads"), i, n, v) {
        if (!st) st = read_head(h, v, path, err);
    }
    if (!st && (!h->n || (h->alone && h->n > 1))) st = mg_fail(err, MG_FORMAT, "%s: names %zu heads", path, h->n);
    mg_json_free(&j);
    return st;
}

/* A folder of PEFT's: the head's tensor says how many labels there are, its task_type the rest. */
static mg_status read_peft(mg_heads *h, const char *folder, const mg_adapter_config *c, mg_error *err) {
    const mg_head_kind *kind = mg_head_kind_named(c->task_type);
    mg_safetensors     *f = NULL;
    mg_labels           labels = { 0 };
    char               *path = kind ? mg_path_join(folder, "adapter_model.safetensors") : NULL;
    int64_t             rows = 0;
    if (!kind) return MG_OK;
    mg_status st = path ? mg_safetensors_open(&f, path, err) : mg_fail(err, MG_NOMEM, "%s: no memory", folder);
    for (size_t i = 0; !st && i < f->n; i++) {
        const char *ends[] = { "score.weight", "classifier.weight", "qa_outputs.weight" }, *name = f->entries[i].name;
        for (size_t k = 0; k < 3; k++) {
            size_t n = strlen(name), m = strlen(ends[k]);
            if (n > m && !strcmp(name + n - m, ends[k]) && name[n - m - 1] == '.' && f->entries[i].n_dims == 2) rows = f->entries[i].dims[0];
        }
    }
    if (!st && (rows < 1 || rows > 4096)) st = mg_fail(err, MG_FORMAT, "%s: holds no head for %s", path, c->task_type);
    for (int64_t i = 0; !st && i < rows && kind->goal->named; i++) {
        char name[32];
        snprintf(name, sizeof name, "LABEL_%lld", (long long)i);
        char *copy = MG_GROW(labels.name, labels.cap, labels.n + 1) ? mg_strdup(name) : NULL;
        if (copy)
            labels.name[labels.n++] = copy;
        else
            st = mg_fail(err, MG_NOMEM, "%s: no memory", path);
    }
    h->alone = true;
    const mg_goal *goal = rows == 1 && kind->goal->named ? mg_goal_find("regression") : kind->goal;
    if (!st) st = mg_heads_add(h, goal, goal->name, &labels, err);
    mg_labels_free(&labels);
    mg_safetensors_close(f);
    free(path);
    return st;
}

mg_status mg_heads_read(mg_heads *out, const char *folder, const mg_adapter_config *c, mg_error *err) {
    mg_heads  h = { 0 };
    char     *path = mg_path_join(folder, "heads.json");
    mg_status st = path ? MG_OK : mg_fail(err, MG_NOMEM, "%s: no memory", folder);
    if (!st) st = mg_is_file(path) ? read_file(&h, path, err) : read_peft(&h, folder, c, err);
    free(path);
    if (st)
        mg_heads_free(&h);
    else
        *out = h;
    return st;
}

mg_status mg_heads_save_task(const mg_heads *h, size_t i, const mg_adapter *a, const mg_model *m, const char *folder, mg_error *err) {
    static const char PREFIX[] = "base_model.model.";
    const size_t      n = sizeof PREFIX - 1;
    mg_adapter        view = *a;
    mg_heads          one = { .head = &h->head[i], .n = 1, .alone = true, .no_answer = h->no_answer, .seed = h->seed };
    mg_buf            text = { 0 };
    char             *path = mg_path_join(folder, "heads.json");
    view.part = mg_calloc(a->n_parts + 1, sizeof *view.part);
    view.n_parts = 0;
    if (!view.part || !path) {
        free(view.part);
        free(path);
        return mg_fail(err, MG_NOMEM, "%s: no memory", folder);
    }
    mg_heads_configure(&one, m, &view.c);
    size_t from = strlen(view.c.inner_from);
    for (size_t k = 0; k < a->n_parts; k++) {
        mg_part p = a->part[k], *q = &view.part[view.n_parts];
        if (p.how & MG_PART_HEAD && p.x != one.head->l.w && p.x != one.head->l.bias) continue;
        *q = p;
        if (p.how & MG_PART_HEAD)
            snprintf(q->file, sizeof q->file, "%s%s.%s", PREFIX, view.c.head, p.x == one.head->l.w ? "weight" : "bias");
        else if (!strncmp(p.file, PREFIX, n) && !strncmp(p.file + n, view.c.inner_from, from) && (from || *view.c.inner_to))
            snprintf(q->file, sizeof q->file, "%s%s%.180s", PREFIX, view.c.inner_to, p.file + n + from);
        view.n_parts++;
    }
    mg_status st = mg_adapter_save(&view, folder, err);
    if (!st) st = mg_heads_text(&one, &text, err);
    if (!st) st = mg_replace_file(path, text.data, text.len, err);
    mg_buf_free(&text);
    free(view.part);
    free(path);
    return st;
}
