/* embed_texts.c -- records to texts, with the names that they go by in pictures. */
#include "cli/embed_texts.h"

#include "base/file.h"
#include "data/records.h"
#include "text/unicode.h"

#include <libintl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_BYTES = 256 << 20 };

static mg_status no_memory(mg_error *err) { return mg_fail(err, MG_NOMEM, "no memory for the texts"); }

static mg_status find_group(mg_embed_items *s, const char *name, int *out, mg_error *err) {
    for (size_t i = 0; i < s->groups; i++)
        if (!strcmp(s->group[i], name)) return *out = (int)i, MG_OK;
    if (!MG_GROW(s->group, s->group_cap, s->groups + 1) || !(s->group[s->groups] = mg_strdup(name))) return no_memory(err);
    *out = (int)s->groups++;
    return MG_OK;
}

mg_status mg_embed_items_add(mg_embed_items *s, const char *text, const char *label, const char *group, mg_error *err) {
    mg_embed_item x = { 0 };
    if (!mg_utf8_valid(text, strlen(text))) return mg_fail(err, MG_DATA, "text %zu is no UTF-8", s->n + 1);
    if (!*text) return mg_fail(err, MG_DATA, "text %zu is empty", s->n + 1);
    mg_status st = find_group(s, group ? group : "", &x.group, err);
    if (st) return st;
    x.text = mg_strdup(text);
    x.label = mg_strdup(label ? label : text);
    if (x.text && x.label && MG_GROW(s->item, s->cap, s->n + 1)) return s->item[s->n++] = x, MG_OK;
    free(x.text);
    free(x.label);
    return no_memory(err);
}

void mg_embed_items_free(mg_embed_items *s) {
    for (size_t i = 0; i < s->n; i++) {
        free(s->item[i].text);
        free(s->item[i].label);
    }
    for (size_t i = 0; i < s->groups; i++) free(s->group[i]);
    free(s->item);
    free(s->group);
    *s = (mg_embed_items){ 0 };
}

/* ---- files ---- */

/* The text of a field: the one that is named, else the first of the usual ones.  Numbers are texts, too: CSV has no others. */
static const char *field(yyjson_val *v, const char *named, const char *const *usual, char number[32]) {
    yyjson_val *found = named ? yyjson_obj_get(v, named) : NULL;
    for (size_t i = 0; !named && !found && usual[i]; i++) found = yyjson_obj_get(v, usual[i]);
    if (yyjson_is_int(found)) {
        snprintf(number, 32, "%lld", (long long)yyjson_get_sint(found));
        return number;
    }
    return yyjson_get_str(found);
}

static bool is_jcommonsenseqa(yyjson_val *v) {
    return yyjson_is_str(yyjson_obj_get(v, "question")) && yyjson_is_str(yyjson_obj_get(v, "choice0"));
}

/* The question, then its choices, the right one in a group of its own. */
static mg_status add_choices(mg_embed_items *s, yyjson_val *v, mg_error *err) {
    mg_status   st = mg_embed_items_add(s, yyjson_get_str(yyjson_obj_get(v, "question")), NULL, gettext("question"), err);
    yyjson_val *label = yyjson_obj_get(v, "label");
    for (int i = 0; !st && i < 10; i++) {
        char        key[] = { 'c', 'h', 'o', 'i', 'c', 'e', (char)('0' + i), 0 };
        const char *choice = yyjson_get_str(yyjson_obj_get(v, key));
        if (!choice) break;
        bool right = yyjson_is_int(label) && yyjson_get_sint(label) == i;
        st = mg_embed_items_add(s, choice, NULL, right ? gettext("right choice") : gettext("choice"), err);
    }
    return st;
}

static mg_status add_record(mg_embed_items *s, yyjson_val *v, const mg_embed_fields *f, mg_error *err) {
    static const char *const texts[] = { "text", "sentence", "question", "prompt", "word", "content", NULL };
    static const char *const labels[] = { NULL }, *const groups[] = { "category", "group", NULL };
    char number[3][32];
    if (!f->text && is_jcommonsenseqa(v)) return add_choices(s, v, err);
    const char *text = field(v, f->text, texts, number[0]);
    if (!text)
        return f->text ? mg_fail(err, MG_DATA, "has no text '%s'", f->text)
                       : mg_fail(err, MG_DATA, "has no text, sentence, question, prompt, word or content; name its field with --text_field");
    return mg_embed_items_add(s, text, field(v, f->label, labels, number[1]), field(v, f->group, groups, number[2]), err);
}

static mg_status load_lines(mg_embed_items *s, const char *path, const mg_embed_fields *f, mg_error *err) {
    mg_buf    text = { 0 };
    char     *rest = NULL;
    size_t    before = s->n;
    mg_status st = mg_read_file(&text, path, FILE_BYTES, err);
    char     *line = st || !text.data ? NULL : strtok_r(text.data, "\r\n", &rest);
    if (line && !strncmp(line, "\xef\xbb\xbf", 3)) line += 3;
    for (; !st && line && (!f->limit || s->n - before < f->limit); line = strtok_r(NULL, "\r\n", &rest))
        if (*line && (st = mg_embed_items_add(s, line, NULL, NULL, err))) mg_fail_in(err, path);
    mg_buf_free(&text);
    return st;
}

static mg_status load_records(mg_embed_items *s, const char *path, const mg_embed_fields *f, mg_error *err) {
    mg_records     *r = NULL;
    yyjson_val     *v;
    int64_t         line;
    size_t          read = 0;
    mg_record_state state;
    mg_status       st = mg_records_open(&r, path, err);
    while (!st && (!f->limit || read < f->limit) && (state = mg_records_next(r, &v, &line, err)) != MG_RECORD_END) {
        char where[600];
        snprintf(where, sizeof where, "%.500s, line %lld", path, (long long)line);
        st = state == MG_RECORD_BAD ? err->status : add_record(s, v, f, err);
        if (st) mg_fail_in(err, where);
        read++;
    }
    mg_records_close(r);
    return st;
}

mg_status mg_embed_items_load(mg_embed_items *s, const char *path, const mg_embed_fields *f, mg_error *err) {
    const char *dot = strrchr(mg_path_base(path), '.');
    size_t      before = s->n;
    mg_status   st = dot && !strcmp(dot, ".txt") ? load_lines(s, path, f, err) : load_records(s, path, f, err);
    return st || s->n > before ? st : mg_fail(err, MG_DATA, "%s: holds no text", path);
}
