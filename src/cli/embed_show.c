/* embed_show.c -- the tables of the terminal, the one JSON object, and the vectors' files. */
#include "cli/embed_show.h"

#include "base/file.h"
#include "base/json.h"
#include "base/width.h"
#include "cli/embed_page.h"
#include "format/safetensors.h"

#include <libintl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TABLE_MOST = 12, NEAR_ROWS = 10, NEAR = 3, LABEL = 20, CELL = 10, COSINES_MOST = 200 };

double mg_embed_cosine(const float *a, const float *b, int64_t d) {
    double ab = 0, aa = 0, bb = 0;
    for (int64_t i = 0; i < d; i++) {
        ab += (double)a[i] * (double)b[i];
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * (double)b[i];
    }
    return aa > 0 && bb > 0 ? ab / sqrt(aa) / sqrt(bb) : 0;
}

static double cosine(const mg_embed_result *r, int side, size_t i, size_t k) {
    return mg_embed_cosine(r->vector[side] + (int64_t)i * r->dim, r->vector[side] + (int64_t)k * r->dim, r->dim);
}

/* ---- the terminal ---- */

/* All cosines: a column a text, named as far as it fits. */
static void show_table(mg_buf *b, const mg_embed_result *r, int side, int columns) {
    size_t n = r->items->n;
    int    label = columns - (int)n * (CELL + 1), cell = CELL;
    label = label < 8 ? 8 : label > LABEL ? LABEL : label;
    if (label + (int)n * (cell + 1) > columns) cell = (columns - label) / (int)n - 1;
    cell = cell < 6 ? 6 : cell;
    mg_pad(b, "", label);
    for (size_t k = 0; k < n; k++) {
        mg_buf_char(b, ' ');
        mg_pad_left(b, r->items->item[k].label, cell);
    }
    mg_buf_char(b, '\n');
    for (size_t i = 0; i < n; i++) {
        mg_pad(b, r->items->item[i].label, label);
        for (size_t k = 0; k < n; k++) {
            char text[16];
            snprintf(text, sizeof text, "%.3f", cosine(r, side, i, k));
            mg_buf_char(b, ' ');
            mg_pad_left(b, text, cell);
        }
        mg_buf_char(b, '\n');
    }
}

/* The first texts, each with those nearest to it. */
static void show_near(mg_buf *b, const mg_embed_result *r, int side, int columns) {
    size_t n = r->items->n;
    int    cell = (columns - 7 * NEAR) / (NEAR + 1) - 1;
    cell = cell < 8 ? 8 : cell > 40 ? 40 : cell;
    for (size_t i = 0; i < n && i < NEAR_ROWS; i++) {
        size_t best[NEAR];
        double value[NEAR];
        int    found = 0;
        for (size_t k = 0; k < n; k++) {
            double c = k == i ? -2 : cosine(r, side, i, k);
            int    at = found;
            if (k == i || (found == NEAR && !(c > value[NEAR - 1]))) continue;
            if (found < NEAR) found++;
            else at--;
            for (; at > 0 && value[at - 1] < c; at--) {
                value[at] = value[at - 1];
                best[at] = best[at - 1];
            }
            value[at] = c;
            best[at] = k;
        }
        mg_pad(b, r->items->item[i].label, cell);
        for (int k = 0; k < found; k++) {
            mg_buf_printf(b, " %6.3f ", value[k]);
            mg_pad(b, r->items->item[best[k]].label, cell - 1);
        }
        mg_buf_char(b, '\n');
    }
    if (n > NEAR_ROWS) mg_buf_printf(b, gettext("… and %zu more; -o DIR writes all of them\n"), n - NEAR_ROWS);
}

static const char *side_name(const mg_embed_result *r, int side) {
    return !r->vector[1] ? NULL : side ? gettext("before") : gettext("after");
}

void mg_embed_show(mg_buf *b, const mg_embed_result *r, int columns) {
    mg_buf_printf(b, gettext("%s: %zu texts, vectors of %lld numbers (%s)\n"), r->run ? r->run : r->model, r->items->n, (long long)r->dim, r->source);
    for (int side = r->vector[1] ? 1 : 0; side >= 0 && r->items->n > 1; side--) {
        mg_buf_char(b, '\n');
        if (side_name(r, side)) mg_buf_printf(b, "%s\n", side_name(r, side));
        if (r->items->n <= TABLE_MOST) show_table(b, r, side, columns);
        else show_near(b, r, side, columns);
    }
    if (r->maps) mg_buf_char(b, '\n');
    for (size_t m = 0; m < r->maps; m++)
        for (int side = r->vector[1] ? 1 : 0; side >= 0; side--) {
            mg_buf line = { 0 };
            mg_embed_note(&line, r, &r->map[m], side);
            mg_buf_printf(b, "%-6s ", r->map[m].name);
            if (side_name(r, side)) mg_buf_printf(b, "%s: ", side_name(r, side));
            mg_buf_printf(b, "%s\n", line.data ? line.data : "");
            if (line.failed) b->failed = true;
            mg_buf_free(&line);
        }
}

/* ---- JSON ---- */

static void json_text(mg_buf *b, const char *key, const char *text) {
    mg_buf_printf(b, "\"%s\": ", key);
    mg_json_quote(b, text, strlen(text));
}

static void json_vector(mg_buf *b, const char *key, const float *v, int64_t d) {
    mg_buf_printf(b, ", \"%s\": [", key);
    for (int64_t i = 0; i < d; i++) mg_buf_printf(b, i ? ", %.9g" : "%.9g", (double)v[i]);
    mg_buf_char(b, ']');
}

static void json_item(mg_buf *b, const mg_embed_result *r, size_t i, bool maps, bool vectors) {
    const mg_embed_item *x = &r->items->item[i];
    mg_buf_char(b, '{');
    json_text(b, "text", x->text);
    if (strcmp(x->label, x->text) != 0) {
        mg_buf_str(b, ", ");
        json_text(b, "label", x->label);
    }
    if (*r->items->group[x->group]) {
        mg_buf_str(b, ", ");
        json_text(b, "group", r->items->group[x->group]);
    }
    for (size_t m = 0; maps && m < r->maps; m++)
        for (int side = 0; side < MG_EMBED_SIDES; side++)
            if (r->map[m].y[side])
                mg_buf_printf(b, ", \"%s%s\": [%.9g, %.9g]", r->map[m].name, side ? "_before" : "", r->map[m].y[side][2 * i], r->map[m].y[side][2 * i + 1]);
    if (vectors) json_vector(b, "embedding", r->vector[0] + (int64_t)i * r->dim, r->dim);
    if (vectors && r->vector[1]) json_vector(b, "embedding_before", r->vector[1] + (int64_t)i * r->dim, r->dim);
    mg_buf_char(b, '}');
}

static void json_cosines(mg_buf *b, const mg_embed_result *r, int side) {
    mg_buf_printf(b, ",\n \"cosine%s\": [", side ? "_before" : "");
    for (size_t i = 0; i < r->items->n; i++) {
        mg_buf_str(b, i ? ",\n  [" : "[");
        for (size_t k = 0; k < r->items->n; k++) mg_buf_printf(b, k ? ", %.7f" : "%.7f", cosine(r, side, i, k));
        mg_buf_char(b, ']');
    }
    mg_buf_char(b, ']');
}

static void json_map(mg_buf *b, const mg_embed_result *r, const mg_embed_map *m, int side) {
    mg_buf_printf(b, ",\n \"%s%s\": {", m->name, side ? "_before" : "");
    if (m->tsne[side].rounds)
        mg_buf_printf(b, "\"perplexity\": %.9g, \"learning_rate\": %.9g, \"rounds\": %lld, \"kl_divergence\": %.9g", r->perplexity,
                      m->tsne[side].learning_rate, (long long)m->tsne[side].rounds, m->tsne[side].kl);
    else
        mg_buf_printf(b, "\"explained_variance_ratio\": %.9g", m->part[side]);
    if (isfinite(m->trust[side]))
        mg_buf_printf(b, ", \"trustworthiness\": %.9g, \"neighbors\": %lld", m->trust[side], (long long)r->neighbours);
    mg_buf_char(b, '}');
}

void mg_embed_json(mg_buf *b, const mg_embed_result *r, bool vectors) {
    mg_buf_char(b, '{');
    json_text(b, "model", r->model);
    if (r->run) {
        mg_buf_str(b, ", ");
        json_text(b, "run", r->run);
    }
    mg_buf_str(b, ", ");
    if (r->layer >= 0) {
        mg_buf_printf(b, "\"layer\": %lld, ", (long long)r->layer);
        json_text(b, "pooling", r->pooling);
    } else
        json_text(b, "source", "input table");
    mg_buf_printf(b, ", \"dim\": %lld", (long long)r->dim);
    for (size_t m = 0; m < r->maps; m++)
        for (int side = 0; side < MG_EMBED_SIDES; side++)
            if (r->map[m].y[side]) json_map(b, r, &r->map[m], side);
    for (int side = 0; side < MG_EMBED_SIDES; side++)
        if (r->vector[side] && r->items->n <= COSINES_MOST) json_cosines(b, r, side);
    mg_buf_str(b, ",\n \"items\": [\n  ");
    for (size_t i = 0; i < r->items->n; i++) {
        if (i) mg_buf_str(b, ",\n  ");
        json_item(b, r, i, true, vectors);
    }
    mg_buf_str(b, "]}\n");
}

/* ---- files ---- */

static mg_status write_text(const char *folder, const char *name, const mg_buf *b, mg_error *err) {
    char     *path = b->failed ? NULL : mg_path_join(folder, name);
    mg_status st = path ? mg_replace_file(path, b->data, b->len, err) : mg_fail(err, MG_NOMEM, "no memory for %s", name);
    free(path);
    return st;
}

static mg_status write_jsonl(const mg_embed_result *r, const char *folder, mg_error *err) {
    mg_buf b = { 0 };
    for (size_t i = 0; i < r->items->n; i++) {
        json_item(&b, r, i, false, true);
        mg_buf_char(&b, '\n');
    }
    mg_status st = write_text(folder, "embeddings.jsonl", &b, err);
    mg_buf_free(&b);
    return st;
}

static void csv_text(mg_buf *b, const char *text) {
    mg_buf_char(b, '"');
    for (const char *c = text; *c; c++) {
        if (*c == '"') mg_buf_char(b, '"');
        mg_buf_char(b, *c);
    }
    mg_buf_char(b, '"');
}

/* A row a text and side. */
static mg_status write_csv(const mg_embed_result *r, const char *folder, mg_error *err) {
    mg_buf b = { 0 };
    mg_buf_str(&b, "text,group,side");
    for (int64_t i = 0; i < r->dim; i++) mg_buf_printf(&b, ",v%lld", (long long)i);
    mg_buf_char(&b, '\n');
    for (int side = 0; side < MG_EMBED_SIDES; side++)
        for (size_t i = 0; r->vector[side] && i < r->items->n; i++) {
            csv_text(&b, r->items->item[i].text);
            mg_buf_char(&b, ',');
            csv_text(&b, r->items->group[r->items->item[i].group]);
            mg_buf_str(&b, side ? ",before" : ",after");
            for (int64_t k = 0; k < r->dim; k++) mg_buf_printf(&b, ",%.9g", (double)r->vector[side][(int64_t)i * r->dim + k]);
            mg_buf_char(&b, '\n');
        }
    mg_status st = write_text(folder, "embeddings.csv", &b, err);
    mg_buf_free(&b);
    return st;
}

static mg_status write_safetensors(const mg_embed_result *r, const char *folder, mg_error *err) {
    static const char *const names[] = { "embeddings", "embeddings_before" };
    mg_st_entry e[MG_EMBED_SIDES] = { { 0 } };
    mg_buf      texts = { 0 };
    char       *path = mg_path_join(folder, "embeddings.safetensors");
    size_t      n = 0;
    for (int side = 0; side < MG_EMBED_SIDES; side++)
        if (r->vector[side])
            e[n++] = (mg_st_entry){ names[side], "F32", 2, { (int64_t)r->items->n, r->dim }, r->vector[side], r->items->n * (size_t)r->dim * sizeof(float) };
    mg_buf_char(&texts, '[');
    for (size_t i = 0; i < r->items->n; i++) {
        if (i) mg_buf_str(&texts, ", ");
        mg_json_quote(&texts, r->items->item[i].text, strlen(r->items->item[i].text));
    }
    mg_buf_char(&texts, ']');
    const char *meta[] = { "format", "pt", "texts", texts.data, "pooling", r->pooling, NULL };
    mg_status   st = path && !texts.failed ? mg_safetensors_save(path, e, n, meta, err) : mg_fail(err, MG_NOMEM, "no memory for the vectors");
    free(path);
    mg_buf_free(&texts);
    return st;
}

static const struct {
    const char *name;
    mg_status (*write)(const mg_embed_result *r, const char *folder, mg_error *err);
} formats[] = { { "jsonl", write_jsonl }, { "safetensors", write_safetensors }, { "csv", write_csv } };

mg_status mg_embed_write(const mg_embed_result *r, const char *folder, const mg_list *wanted, const char *lang, mg_buf *note, mg_error *err) {
    mg_buf    json = { 0 };
    mg_status st = mg_make_folder(folder, err);
    for (size_t i = 0; !st && i < wanted->n; i++)
        for (size_t f = 0; !st && f < sizeof formats / sizeof *formats; f++)
            if (!strcmp(formats[f].name, wanted->item[i])) st = formats[f].write(r, folder, err);
    if (!st) {
        mg_embed_json(&json, r, false);
        st = write_text(folder, "embed.json", &json, err);
    }
    if (!st) st = mg_embed_write_pictures(r, folder, lang, note, err);
    mg_buf_free(&json);
    return st;
}
