/* labelled.c -- files of labelled records to items, and items to samples.
 *
 * Labels are collected from the training data and sorted (numbers by value), so their order does not depend on which
 * record stands first. */
#include "data/labelled.h"

#include "base/file.h"
#include "base/rng.h"
#include "data/records.h"
#include "data/sample_parts.h"
#include "text/unicode.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define GOAL(x) extern const mg_goal mg_goal_##x;
#include "data/goals.def"
#undef GOAL

static const mg_goal *const goals[] = {
#define GOAL(x) &mg_goal_##x,
#include "data/goals.def"
#undef GOAL
    NULL,
};

enum { DOCUMENT_BYTES = 256 << 20, SITE_SPLIT = 0x5b1 };

/* ---- goals ---- */

static bool in_list(const char *list, const char *name) {
    size_t n = strlen(name);
    for (const char *p = list; *p; p += strspn(p, ",")) {
        size_t len = strcspn(p, ",");
        if (len == n && !memcmp(p, name, n)) return true;
        p += len;
    }
    return false;
}

const mg_goal *mg_goal_find(const char *name) {
    char plain[64];
    snprintf(plain, sizeof plain, "%s", name);
    for (char *c = plain; *c; c++) *c = *c == '-' ? '_' : *c;
    for (int i = 0; goals[i]; i++)
        if (!strcmp(goals[i]->name, plain) || in_list(goals[i]->other_names, plain)) return goals[i];
    return NULL;
}

const mg_goal *mg_goal_of(yyjson_val *row) {
    for (int i = 0; goals[i]; i++)
        if (goals[i]->fits(row)) return goals[i];
    return NULL;
}

/* ---- labels ---- */

int32_t mg_labels_find(const mg_labels *l, const char *name) {
    for (size_t i = 0; i < l->n; i++)
        if (!strcmp(l->name[i], name)) return (int32_t)i;
    return -1;
}

static mg_status labels_add(mg_labels *l, const char *name, mg_error *err) {
    char *copy = MG_GROW(l->name, l->cap, l->n + 1) ? mg_strdup(name) : NULL;
    if (!copy) return mg_fail(err, MG_NOMEM, "no memory for a label");
    l->name[l->n++] = copy;
    return MG_OK;
}

void mg_labels_free(mg_labels *l) {
    for (size_t i = 0; i < l->n; i++) free(l->name[i]);
    free(l->name);
    *l = (mg_labels){ 0 };
}

mg_status mg_labels_copy(mg_labels *to, const mg_labels *from, mg_error *err) {
    mg_status st = MG_OK;
    *to = (mg_labels){ 0 };
    for (size_t i = 0; !st && i < from->n; i++) st = labels_add(to, from->name[i], err);
    if (st) mg_labels_free(to);
    return st;
}

static void list_some(const mg_labels *l, char *out, size_t size) {
    size_t at = 0;
    *out = 0;
    for (size_t i = 0; i < l->n && at + 40 < size; i++) at += (size_t)snprintf(out + at, size - at, "%s%.30s", i ? ", " : "", l->name[i]);
}

enum { MOST_LABELS = 4096 };
mg_status mg_labelled_class(mg_labelled_set *s, const char *name, bool collect, int32_t *out, mg_error *err) {
    char there[200];
    if (!*name) return mg_fail(err, MG_DATA, "the label is empty");
    *out = mg_labels_find(&s->labels, name);
    if (*out >= 0) return MG_OK;
    list_some(&s->labels, there, sizeof there);
    if (!collect) return mg_fail(err, MG_DATA, "the label '%.60s' is none of the head's (%s)", name, there);
    if (s->labels.n == MOST_LABELS)
        return mg_fail(err, MG_DATA, "more than %d different labels; are they numbers? then say task: regression", MOST_LABELS);
    *out = (int32_t)s->labels.n;
    return labels_add(&s->labels, name, err);
}

static bool is_number(const char *s, double *x) {
    char *end;
    *x = strtod(s, &end);
    return *s && !*end;
}

static int by_name(const void *a, const void *b) {
    const char *const *x = a, *const *y = b;
    double             p, q;
    if (is_number(*x, &p) && is_number(*y, &q) && p != q) return p < q ? -1 : 1;
    return strcmp(*x, *y);
}

/* Sort what was collected and give the items their new numbers. */
static mg_status sort_labels(mg_labelled_set *s, mg_error *err) {
    mg_labels was;
    if (!s->labels.n) return MG_OK;
    int32_t  *now = mg_calloc(s->labels.n, sizeof *now);
    mg_status st = now ? mg_labels_copy(&was, &s->labels, err) : mg_fail(err, MG_NOMEM, "no memory for labels");
    if (st) {
        free(now);
        return st;
    }
    qsort(s->labels.name, s->labels.n, sizeof *s->labels.name, by_name);
    for (size_t i = 0; i < was.n; i++) now[i] = mg_labels_find(&s->labels, was.name[i]);
    for (size_t i = 0; i < s->n; i++) {
        mg_labelled *x = &s->item[i];
        if (x->label >= 0) x->label = now[x->label];
        for (size_t k = 0; k < x->n_words; k++)
            if (x->tag[k] >= 0) x->tag[k] = now[x->tag[k]];
    }
    mg_labels_free(&was);
    free(now);
    return MG_OK;
}

/* ---- items ---- */

static void free_item(mg_labelled *x) {
    for (size_t i = 0; i < x->n_answers; i++) free(x->answer[i]);
    free(x->answer);
    free(x->place);
    free(x->word);
    free(x->tag);
    free(x->text);
    free(x->pair);
    free(x->id);
}

void mg_labelled_free(mg_labelled_set *s) {
    for (size_t i = 0; i < s->n; i++) free_item(&s->item[i]);
    free(s->item);
    mg_labels_free(&s->labels);
    mg_buf_free(&s->notes);
    *s = (mg_labelled_set){ 0 };
}

mg_labelled *mg_labelled_add(mg_labelled_set *s, int64_t line) {
    if (!MG_GROW(s->item, s->cap, s->n + 1)) return NULL;
    s->item[s->n] = (mg_labelled){ .line = line, .label = -1, .value = NAN };
    return &s->item[s->n++];
}

yyjson_val *mg_labelled_key(yyjson_val *row, const char *keys) {
    for (const char *p = keys; *p; p += strspn(p, ",")) {
        size_t      len = strcspn(p, ",");
        yyjson_val *v = yyjson_obj_getn(row, p, len);
        if (v && !yyjson_is_null(v)) return v;
        p += len;
    }
    return NULL;
}

mg_status mg_labelled_text(char **out, yyjson_val *row, const char *keys, mg_error *err) {
    yyjson_val *v = mg_labelled_key(row, keys);
    *out = NULL;
    if (!v) return MG_OK;
    if (!yyjson_is_str(v)) return mg_fail(err, MG_DATA, "'%.*s' is no text", (int)strcspn(keys, ","), keys);
    if (strlen(yyjson_get_str(v)) != yyjson_get_len(v)) return mg_fail(err, MG_DATA, "'%.*s' holds a NUL character", (int)strcspn(keys, ","), keys);
    *out = mg_strdup(yyjson_get_str(v));
    return *out ? MG_OK : mg_fail(err, MG_NOMEM, "no memory for a record");
}

size_t mg_labelled_bytes(const char *text, int64_t n) {
    const char *p = text;
    if (n < 0) return SIZE_MAX;
    for (; n > 0; n--) {
        if (!*p) return SIZE_MAX;
        p += mg_utf8_width(*p);
    }
    return (size_t)(p - text);
}

/* ---- files ---- */

typedef struct {
    mg_labelled_set *set;
    const char      *path;
    bool             collect, targets;
    mg_on_trouble    on_bad;
    int64_t          limit, n_notes;
} loader;

static bool full(const loader *l) { return l->limit && (int64_t)l->set->n >= l->limit; }

/* Items from `first` on lack a target. */
static mg_status check_targets(const loader *l, size_t first, mg_error *err) {
    for (size_t i = first; l->targets && i < l->set->n; i++)
        if (!l->set->item[i].has_target) return mg_fail(err, MG_DATA, "the record has no %s", l->set->goal->target);
    return MG_OK;
}

static mg_status refuse(loader *l, mg_error *why, int64_t line, mg_error *err) {
    char place[400];
    snprintf(place, sizeof place, "%s:%lld", mg_path_base(l->path), (long long)line);
    mg_fail_in(why, place);
    if (why->status != MG_DATA || l->on_bad == MG_TROUBLE_REFUSE) {
        if (err) *err = *why;
        return why->status;
    }
    l->set->bad++;
    if (l->n_notes++ < MG_NOTES_MAX) mg_buf_printf(&l->set->notes, "%s\n", why->text);
    return MG_OK;
}

static mg_status take_record(loader *l, yyjson_val *row, int64_t line, mg_error *err) {
    size_t    before = l->set->n;
    mg_error  why = { 0 };
    mg_status st = l->set->goal->read(l->set, row, line, l->collect, &why);
    l->set->read++;
    if (!st) st = check_targets(l, before, &why);
    if (!st) return MG_OK;
    while (l->set->n > before) free_item(&l->set->item[--l->set->n]);
    return refuse(l, &why, line, err);
}

static mg_status walk(loader *l, mg_records *r, mg_error *err) {
    mg_status st = MG_OK;
    while (!st && !full(l)) {
        yyjson_val     *row;
        int64_t         line = 0;
        mg_error        why = { 0 };
        mg_record_state state = mg_records_next(r, &row, &line, &why);
        if (state == MG_RECORD_END) break;
        if (state == MG_RECORD_BAD) {
            l->set->read++;
            st = refuse(l, &why, line, err);
        } else
            st = take_record(l, row, line, err);
    }
    return st;
}

static bool is_json(const char *path) {
    size_t n = strlen(path);
    return n > 5 && !strcmp(path + n - 5, ".json");
}

static bool is_document(yyjson_val *root) { return yyjson_is_obj(root) && yyjson_is_arr(yyjson_obj_get(root, "data")); }

/* SQuAD's files are one object; each of its paragraphs is a record. */
static mg_status walk_document(loader *l, yyjson_val *root, mg_error *err) {
    size_t      i, n, k, m;
    int64_t     number = 0;
    yyjson_val *page, *paragraph;
    mg_status   st = MG_OK;
    yyjson_arr_foreach(yyjson_obj_get(root, "data"), i, n, page) {
        yyjson_arr_foreach(yyjson_obj_get(page, "paragraphs"), k, m, paragraph) {
            number++;
            if (!st && !full(l)) st = take_record(l, paragraph, number, err);
        }
    }
    return st;
}

static mg_status begin_labels(loader *l, const mg_labels *known, mg_error *err) {
    l->collect = !known && l->set->goal->named;
    return known ? mg_labels_copy(&l->set->labels, known, err) : MG_OK;
}

mg_status mg_labelled_load(mg_labelled_set *out, const char *path, const mg_goal *goal, const mg_labels *known, bool targets,
                           mg_on_trouble on_bad, int64_t limit, mg_error *err) {
    mg_labelled_set s = { .goal = goal, .encoding = "UTF-8" };
    loader          l = { .set = &s, .path = path, .targets = targets, .on_bad = on_bad, .limit = limit };
    mg_records     *r = NULL;
    mg_json         json = { 0 };
    mg_status       st = begin_labels(&l, known, err);
    if (!st && is_json(path) && !mg_json_open(&json, path, DOCUMENT_BYTES, NULL) && is_document(json.root))
        st = walk_document(&l, json.root, err);
    else if (!st && !(st = mg_records_open(&r, path, err))) {
        l.path = mg_records_path(r);
        s.encoding = mg_records_encoding(r);
        st = walk(&l, r, err);
    }
    while (limit && s.n > (size_t)limit) free_item(&s.item[--s.n]); /* a paragraph may have several questions */
    if (!st && !s.n)
        st = mg_fail(err, MG_DATA, "%s: none of %lld records can be used%s%.300s", l.path, (long long)s.read,
                     s.notes.len ? "; the first: " : "", s.notes.len ? s.notes.data : "");
    if (!st && l.collect) st = sort_labels(&s, err);
    if (!st && l.collect && targets && s.labels.n < 2)
        st = mg_fail(err, MG_DATA, "%s: every record has the label '%s'; a head needs two to tell apart", l.path, s.labels.n ? s.labels.name[0] : "");
    mg_json_free(&json);
    mg_records_close(r);
    if (st)
        mg_labelled_free(&s);
    else
        *out = s;
    return st;
}

/* Labels that are no integers are numbers to predict. */
static const mg_goal *with_numbers(const mg_goal *goal, yyjson_val *row) {
    return goal == &mg_goal_classification && mg_goal_regression.fits(row) ? &mg_goal_regression : goal;
}

mg_status mg_goal_of_file(const mg_goal **out, const char *path, mg_error *err) {
    mg_records  *r = NULL;
    mg_json      json = { 0 };
    yyjson_val  *row;
    int64_t      line;
    mg_error     why = { 0 };
    mg_record_state state;
    *out = NULL;
    if (is_json(path) && !mg_json_open(&json, path, DOCUMENT_BYTES, NULL) && is_document(json.root)) {
        *out = &mg_goal_question_answering;
        mg_json_free(&json);
        return MG_OK;
    }
    mg_json_free(&json);
    mg_status st = mg_records_open(&r, path, err);
    while (!st && (state = mg_records_next(r, &row, &line, &why)) != MG_RECORD_END) {
        if (state == MG_RECORD_BAD) continue; /* whoever loads the file says so */
        const mg_goal *goal = mg_goal_of(row);
        if (!goal) break;
        *out = with_numbers(goal, row);
        if (*out != &mg_goal_classification) break;
    }
    mg_records_close(r);
    return st;
}

mg_status mg_labelled_split(mg_labelled_set *s, double part, uint64_t seed, mg_labelled_set *valid, mg_error *err) {
    double wanted = part < 1 ? floor(part * (double)s->n + 0.5) : floor(part);
    if (!(part >= 0) || !(wanted < (double)s->n))
        return mg_fail(err, MG_CONFIG, "%g of %zu samples for validation leaves none to train on; lower val_size", part, s->n);
    if (part > 0 && wanted < 1) wanted = s->n > 1;
    size_t          k = (size_t)wanted, kept = 0;
    mg_labelled_set v = { .goal = s->goal, .encoding = s->encoding };
    uint32_t       *order = mg_calloc(s->n + 1, sizeof *order);
    bool           *chosen = mg_calloc(s->n + 1, sizeof *chosen);
    mg_status       st = order && chosen && s->n < UINT32_MAX && MG_GROW(v.item, v.cap, k + 1) ? mg_labels_copy(&v.labels, &s->labels, err)
                                                                            : mg_fail(err, MG_NOMEM, "no memory to split %zu samples", s->n);
    if (!st) {
        mg_rng_shuffle((mg_rng){ seed, mg_rng_where(0, 0, SITE_SPLIT) }, order, (uint32_t)s->n);
        for (size_t i = 0; i < k; i++) chosen[order[i]] = true;
        for (size_t i = 0; i < s->n; i++)
            if (chosen[i])
                v.item[v.n++] = s->item[i];
            else
                s->item[kept++] = s->item[i];
        s->n = kept;
        v.read = (int64_t)v.n;
        *valid = v;
    } else
        free(v.item);
    free(order);
    free(chosen);
    return st;
}

/* ---- samples ---- */

mg_status mg_labelled_encode(mg_dataset *out, const mg_labelled_set *s, const mg_windows *w, mg_error *err) {
    mg_dataset d = { .form = s->goal->name, .encoding = s->encoding, .read = s->read, .bad_lines = s->bad, .dropped = s->bad };
    int64_t    n_notes = 0;
    mg_status  st = MG_OK;
    mg_buf_add(&d.notes, s->notes.data ? s->notes.data : "", s->notes.len);
    for (size_t i = 0; !st && i < s->n; i++) {
        mg_error why = { 0 };
        size_t   before = d.n;
        st = s->goal->encode(s, i, w, &d, &why);
        if (!st) {
            for (size_t k = before; k < d.n; k++)
                if (d.sample[k].truncated) {
                    d.truncated++;
                    mg_note(&d, &n_notes, "line", s->item[i].line, "cut to max_length");
                }
            continue;
        }
        char place[64];
        snprintf(place, sizeof place, "line %lld", (long long)s->item[i].line);
        mg_fail_in(&why, place);
        if ((st == MG_TRUNCATED || st == MG_MASK) && w->on_truncation == MG_TROUBLE_DROP) {
            d.dropped++;
            d.truncated += st == MG_TRUNCATED;
            mg_note(&d, &n_notes, "line", s->item[i].line, why.text);
            st = MG_OK;
        } else if (err)
            *err = why;
    }
    for (size_t i = 0; i < d.n; i++) d.tokens += d.sample[i].n, d.labelled += d.sample[i].n_labels;
    mg_notes_end(&d, n_notes);
    if (!st && !d.n) st = mg_fail(err, MG_DATA, "no sample is left (%zu records)", s->n);
    if (st)
        mg_dataset_free(&d);
    else
        *out = d;
    return st;
}
