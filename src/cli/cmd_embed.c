/* cmd_embed.c -- `embed`: texts to vectors; who is near whom, as tables and pictures, of a model or before and after. */
#include "cli/embed_show.h"
#include "cli/inference.h"
#include "cli/locale.h"

#include "base/file.h"
#include "base/width.h"
#include "eval/map/neighbours.h"
#include "eval/map/pca.h"
#include "infer/embed.h"

#include <libintl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TSNE_FROM = 50, CUT = 1 }; /* so many texts before t-SNE says more than PCA; the second choice of `truncation` */

typedef struct {
    mg_inference_options model;
    mg_list              text, data, formats, projection;
    char                *text_field, *label_field, *group_field, *learning_rate, *out;
    int                  pooling, truncation, init;
    int64_t              layer, limit, max_iter, neighbours, seed;
    double               perplexity, early_exaggeration, angle;
    bool                 before, words, normalise;
} embed_options;

#define AT(field) offsetof(embed_options, field)
#define PICTURE MG_N("Picture")

static const mg_option rows[] = {
    { .name = "text", .type = &mg_option_texts, .offset = AT(text), .positional = true, .metavar = "RUN|MODEL|TEXT", .group = "",
      .help = MG_N("words or sentences; the first is the run or model when neither -m nor -a is given") },
    { .name = "data", .aliases = "dataset", .type = &mg_option_texts, .offset = AT(data), .flag = 'd', .metavar = "FILE", .group = "",
      .help = MG_N("a .txt file with a text a line, or JSONL, JSON, CSV or TSV; may be given several times") },
    { .name = "before", .type = &mg_option_bool, .offset = AT(before), .def = "false", .group = "",
      .help = MG_N("also the model without its adapter, side by side") },
    { .name = "words", .type = &mg_option_bool, .offset = AT(words), .def = "false", .group = "",
      .help = MG_N("word embeddings: rows of the input table, averaged over a word's tokens") },
    { .name = "layer", .type = &mg_option_int, .offset = AT(layer), .def = "-1", .min = -1000, .max = 1000, .group = "",
      .help = MG_N("layer whose hidden states are taken: 0 is what enters the first, -1 the last") },
    { .name = "pooling", .aliases = "pooling_mode", .type = &mg_option_enum, .offset = AT(pooling), .def = "mean", .choices = "mean|cls|last,lasttoken|pooler", .group = "",
      .help = MG_N("what stands for a text: the mean of its tokens, its first or last token, or BERT's pooler") },
    { .name = "normalize", .aliases = "normalize_embeddings", .type = &mg_option_bool, .offset = AT(normalise), .def = "false", .group = "",
      .help = MG_N("vectors of length 1") },
    { .name = "truncation", .type = &mg_option_enum, .offset = AT(truncation), .def = "refuse", .choices = "refuse|cut", .group = "",
      .help = MG_N("a text longer than the context: stop, or cut it") },
    { .name = "limit", .type = &mg_option_int, .offset = AT(limit), .def = "0", .max = 1 << 30, .group = "",
      .help = MG_N("at most so many records of each file; 0: all") },
    { .name = "text_field", .aliases = "dataset_text_field", .type = &mg_option_string, .offset = AT(text_field), .metavar = "NAME", .group = "",
      .help = MG_N("field of a record that holds the text") },
    { .name = "label_field", .type = &mg_option_string, .offset = AT(label_field), .metavar = "NAME", .group = "",
      .help = MG_N("field that names a text in tables and pictures; otherwise the text itself") },
    { .name = "group_field", .type = &mg_option_string, .offset = AT(group_field), .metavar = "NAME", .group = "",
      .help = MG_N("field that gives a text its colour; otherwise category or group") },
    { .name = "output_dir", .type = &mg_option_string, .offset = AT(out), .flag = 'o', .metavar = "DIR", .group = "",
      .help = MG_N("folder for vectors, embed.html, embed.json and pictures (SVG, PNG)") },
    { .name = "format", .aliases = "formats", .type = &mg_option_list, .offset = AT(formats), .def = "jsonl", .choices = "jsonl|safetensors|csv|none", .group = "",
      .help = MG_N("how vectors are written: jsonl, safetensors, csv, or none") },
    { .name = "projection", .type = &mg_option_list, .offset = AT(projection), .def = "auto", .choices = "auto|pca|tsne,t-sne|none", .group = PICTURE,
      .help = MG_N("pictures: pca, tsne, both, or none; auto: both from 50 texts on, else pca") },
    { .name = "perplexity", .type = &mg_option_float, .offset = AT(perplexity), .def = "0", .max = 1e6, .group = PICTURE,
      .help = MG_N("t-SNE: about how many neighbours count; 0: 30, less for few texts") },
    { .name = "learning_rate", .type = &mg_option_string, .offset = AT(learning_rate), .def = "auto", .metavar = "auto|NUMBER", .group = PICTURE,
      .help = MG_N("t-SNE: step width; auto: texts / early_exaggeration / 4, at least 50") },
    { .name = "early_exaggeration", .type = &mg_option_float, .offset = AT(early_exaggeration), .def = "12", .min = 1, .max = 1e6, .group = PICTURE,
      .help = MG_N("t-SNE: how much stronger attraction is at the beginning") },
    { .name = "max_iter", .aliases = "n_iter", .type = &mg_option_int, .offset = AT(max_iter), .def = "1000", .min = 250, .max = 1e6, .group = PICTURE,
      .help = MG_N("t-SNE: rounds") },
    { .name = "angle", .type = &mg_option_float, .offset = AT(angle), .def = "0.5", .max = 1, .group = PICTURE,
      .help = MG_N("t-SNE: accuracy of far points; 0 is exact and slow") },
    { .name = "init", .type = &mg_option_enum, .offset = AT(init), .def = "pca", .choices = "pca|random", .group = PICTURE,
      .help = MG_N("t-SNE: where points begin") },
    { .name = "seed", .aliases = "random_state", .type = &mg_option_int, .offset = AT(seed), .def = "42", .max = 9007199254740991.0, .group = PICTURE,
      .help = MG_N("t-SNE: seed of a random beginning") },
    { .name = "n_neighbors", .aliases = "neighbors", .type = &mg_option_int, .offset = AT(neighbours), .def = "5", .min = 1, .max = 1000, .group = PICTURE,
      .help = MG_N("neighbours that trustworthiness looks at") },
    MG_TEXT_ROWS(embed_options, model), MG_CONTEXT_ROW(embed_options, model), MG_MACHINE_ROWS(embed_options, model), { 0 },
};

typedef struct work {
    const embed_options *o;
    mg_bundle            b;
    const mg_backend    *backend;
    mg_embed_items       items;
    mg_ids              *ids;  /* [n] */
    mg_embed_text       *text; /* [n] */
    mg_embed_result      r;
    mg_buf               source;
} work;

/* ---- texts ---- */

static mg_status collect(work *w, size_t first, mg_error *err) {
    const embed_options *o = w->o;
    mg_embed_fields      f = { o->text_field, o->label_field, o->group_field, (size_t)o->limit };
    mg_status            st = MG_OK;
    for (size_t i = first; !st && i < o->text.n; i++) st = mg_embed_items_add(&w->items, o->text.item[i], NULL, NULL, err);
    for (size_t i = 0; !st && i < o->data.n; i++) st = mg_embed_items_load(&w->items, o->data.item[i], &f, err);
    if (!st && !w->items.n) st = mg_fail(err, MG_USAGE, "no text is given; write words behind the run or -m MODEL, or name a file with -d");
    w->ids = st ? NULL : mg_calloc(w->items.n, sizeof *w->ids);
    w->text = st ? NULL : mg_calloc(w->items.n, sizeof *w->text);
    return st || (w->ids && w->text) ? st : mg_fail(err, MG_NOMEM, "no memory for the texts");
}

static mg_status tokenize(work *w, int64_t *longest, mg_error *err) {
    mg_status st = MG_OK;
    *longest = 1;
    for (size_t i = 0; !st && i < w->items.n; i++) {
        const char *text = w->items.item[i].text;
        st = mg_tokenize(w->b.tokenizer, text, strlen(text), w->o->words ? 0 : MG_TOKENIZE_SPECIAL, &w->ids[i], err);
        if (!st && !w->ids[i].len) st = mg_fail(err, MG_DATA, "'%.80s' has no tokens", text);
        if ((int64_t)w->ids[i].len > *longest) *longest = (int64_t)w->ids[i].len;
    }
    return st;
}

/* How many special tokens stand behind every text ([SEP]): those that an empty text ends in as well. */
static size_t special_end(const work *w) {
    mg_ids   none = { 0 };
    mg_error ignored;
    size_t   n = 0;
    if (!mg_tokenize(w->b.tokenizer, "", 0, MG_TOKENIZE_SPECIAL, &none, &ignored))
        while (n < none.len && n + 1 < w->ids[0].len && none.data[none.len - 1 - n] == w->ids[0].data[w->ids[0].len - 1 - n]) n++;
    mg_ids_free(&none);
    return n;
}

static mg_status fit(work *w, mg_error *err) {
    size_t most = (size_t)mg_inference_context(&w->b, &w->o->model), end = w->o->words ? 0 : special_end(w);
    for (size_t i = 0; i < w->items.n; i++) {
        mg_ids *ids = &w->ids[i];
        if (ids->len > most && w->o->truncation != CUT)
            return mg_fail(err, MG_TRUNCATED, "text %zu has %zu tokens, the context is %zu; cut with --truncation cut, or raise --max_length "
                           "where the model allows it", i + 1, ids->len, most);
        if (ids->len > most) {
            size_t keep = end < most ? end : 0;
            memmove(ids->data + most - keep, ids->data + ids->len - keep, keep * sizeof *ids->data);
            ids->len = most;
        }
        w->text[i] = (mg_embed_text){ ids->data, (int64_t)ids->len };
    }
    return MG_OK;
}

/* ---- vectors ---- */

static mg_status make_vectors(work *w, mg_error *err) {
    const embed_options *o = w->o;
    int64_t              layers = w->b.model->c.layers, layer = o->layer < 0 ? layers + 1 + o->layer : o->layer;
    bool                 last = layer == layers;
    mg_embed_options e = { .from = o->words ? MG_EMBED_TABLE : last ? MG_EMBED_LAST : MG_EMBED_LAYER, .layer = (int)layer,
                           .pooling = mg_pooling_find(o->words ? "mean" : mg_pooling_name((size_t)o->pooling)), .normalise = o->normalise };
    size_t    cells;
    mg_status st = MG_OK;
    if (layer < 0 || layer > layers)
        return mg_fail(err, MG_CONFIG, "layer %lld: this model has %lld; wanted is 0 to %lld, or -1 to -%lld from the end", (long long)o->layer,
                       (long long)layers, (long long)layers, (long long)layers + 1);
    w->r.dim = w->b.model->c.dim;
    w->r.layer = o->words ? -1 : layer;
    w->r.pooling = e.pooling->name;
    if (o->words) mg_buf_str(&w->source, gettext("input table, mean over a word's tokens"));
    else mg_buf_printf(&w->source, gettext("layer %lld of %lld, %s"), (long long)layer, (long long)layers, e.pooling->name);
    w->r.source = w->source.failed ? "" : w->source.data;
    bool fits = mg_size_mul(w->items.n, (size_t)w->r.dim, &cells);
    for (int side = 0; !st && side <= (int)o->before; side++) {
        w->r.vector[side] = fits ? mg_calloc(cells, sizeof **w->r.vector) : NULL;
        e.adapters_off = side == 1;
        st = w->r.vector[side] ? mg_embed_texts(w->b.model, w->backend, w->text, w->items.n, &e, w->r.vector[side], err)
                               : mg_fail(err, MG_NOMEM, "no memory for %zu vectors", w->items.n);
    }
    return st;
}

/* ---- pictures ---- */

/* Turn or mirror the points `y` onto those of `to`, both centred, so that two pictures can be compared (orthogonal
 * Procrustes in the plane): of the best rotation and the best reflection the better one. */
static void align(double *y, const double *to, size_t n) {
    double mean[4] = { 0 }, xx = 0, xy = 0, yx = 0, yy = 0;
    for (size_t i = 0; i < n; i++)
        for (int c = 0; c < 2; c++) {
            mean[c] += y[2 * i + (size_t)c] / (double)n;
            mean[2 + c] += to[2 * i + (size_t)c] / (double)n;
        }
    for (size_t i = 0; i < n; i++) {
        double a = y[2 * i] - mean[0], b = y[2 * i + 1] - mean[1], p = to[2 * i] - mean[2], q = to[2 * i + 1] - mean[3];
        xx += a * p, xy += a * q, yx += b * p, yy += b * q;
    }
    bool   mirror = hypot(xx - yy, xy + yx) > hypot(xx + yy, xy - yx);
    double c = mirror ? xx - yy : xx + yy, s = mirror ? xy + yx : xy - yx, length = hypot(c, s);
    if (!(length > 0)) return;
    c /= length, s /= length;
    for (size_t i = 0; i < n; i++) {
        double a = y[2 * i] - mean[0], b = (y[2 * i + 1] - mean[1]) * (mirror ? -1 : 1);
        y[2 * i] = c * a - s * b;
        y[2 * i + 1] = s * a + c * b;
    }
}

static mg_status tsne_options(const embed_options *o, size_t n, mg_tsne_options *out, mg_error *err) {
    *out = (mg_tsne_options){ .early_exaggeration = o->early_exaggeration, .angle = o->angle, .max_iter = o->max_iter,
                              .random_start = o->init == 1, .seed = (uint64_t)o->seed, .cancelled = mg_cancelled };
    out->perplexity = o->perplexity > 0 ? o->perplexity : fmin(30, fmax(1, floor(((double)n - 1) / 3)));
    if (!strcmp(o->learning_rate, "auto")) return MG_OK;
    char *end;
    out->learning_rate = strtod(o->learning_rate, &end);
    return *end || !isfinite(out->learning_rate) || !(out->learning_rate > 0)
               ? mg_fail(err, MG_CONFIG, "learning_rate is '%s'; wanted is auto or a number above 0", o->learning_rate) : MG_OK;
}

static mg_status draw(work *w, bool tsne, const mg_tsne_options *t, mg_error *err) {
    size_t        n = w->items.n;
    mg_embed_map *m = &w->r.map[w->r.maps++];
    mg_status     st = MG_OK;
    m->name = tsne ? "t-SNE" : "PCA";
    for (int side = MG_EMBED_SIDES - 1; !st && side >= 0; side--) {
        const float *x = w->r.vector[side];
        double       part[2];
        m->trust[side] = NAN;
        if (!x) continue;
        if (!(m->y[side] = mg_calloc(n, 2 * sizeof(double)))) return mg_fail(err, MG_NOMEM, "no memory for a picture");
        st = tsne ? mg_tsne(x, (int64_t)n, w->r.dim, t, m->y[side], &m->tsne[side], err)
                  : mg_pca(x, (int64_t)n, w->r.dim, 2, m->y[side], part, err);
        if (!st && !tsne) m->part[side] = part[0] + part[1];
        if (!st && 2 * w->o->neighbours < (int64_t)n)
            st = mg_trustworthiness(x, (int64_t)n, w->r.dim, m->y[side], w->o->neighbours, &m->trust[side], err);
    }
    if (!st && m->y[1]) align(m->y[0], m->y[1], n);
    return st;
}

static bool named(const mg_list *list, const char *name) {
    for (size_t i = 0; i < list->n; i++)
        if (!strcmp(list->item[i], name)) return true;
    return false;
}

static mg_status draw_all(work *w, mg_error *err) {
    const embed_options *o = w->o;
    size_t               n = w->items.n;
    mg_tsne_options      t;
    bool                 automatic = named(&o->projection, "auto"), tsne = named(&o->projection, "tsne") || (automatic && n >= TSNE_FROM);
    bool                 pca = named(&o->projection, "pca") || automatic;
    mg_status            st = tsne_options(o, n, &t, err);
    if (n < 3 && automatic) return st;
    if (!st && n < 3 && (pca || tsne)) st = mg_fail(err, MG_CONFIG, "a picture needs at least 3 texts, there are %zu", n);
    w->r.perplexity = t.perplexity;
    w->r.neighbours = o->neighbours;
    if (!st && pca) st = draw(w, false, &t, err);
    if (!st && tsne) st = draw(w, true, &t, err);
    return st;
}

/* ---- the command ---- */

static mg_status print_all(const mg_cli *cli, work *w, mg_error *err) {
    mg_buf    out = { 0 }, note = { 0 };
    mg_status st = MG_OK;
    if (cli->global.json) mg_embed_json(&out, &w->r, true);
    else mg_embed_show(&out, &w->r, cli->columns);
    if (w->o->out) st = mg_embed_write(&w->r, w->o->out, &w->o->formats, mg_locale_lang(), &note, err);
    if (!st && w->o->out && !cli->global.json) mg_buf_printf(&out, gettext("written: %s/embed.html\n"), w->o->out);
    if (!st) st = out.failed ? mg_fail(err, MG_NOMEM, "no memory for the output") : mg_print(&out, err);
    if (!st && note.len && !cli->global.quiet) fprintf(stderr, "migaki embed: %s\n", note.data);
    mg_buf_free(&out);
    mg_buf_free(&note);
    return st;
}

static void close_work(work *w) {
    for (size_t i = 0; w->ids && i < w->items.n; i++) mg_ids_free(&w->ids[i]);
    for (int side = 0; side < MG_EMBED_SIDES; side++) {
        free(w->r.vector[side]);
        for (size_t m = 0; m < w->r.maps; m++) free(w->r.map[m].y[side]);
    }
    free(w->ids);
    free(w->text);
    mg_buf_free(&w->source);
    mg_embed_items_free(&w->items);
    mg_bundle_close(&w->b);
}

static mg_status run(mg_cli *cli, void *values, mg_error *err) {
    embed_options     *o = values;
    work               w = { .o = o };
    mg_inference_paths paths = { 0 };
    int64_t            longest = 0;
    bool               named_first = !o->model.model && !o->model.adapter && o->text.n;
    mg_inference_options model = o->model;
    if (named_first) model.model = o->text.item[0];
    mg_status st = mg_inference_find(&paths, &model, err);
    if (!st) st = collect(&w, named_first, err);
    if (!st && o->before && !paths.adapter) st = mg_fail(err, MG_USAGE, "--before compares a run with its base model; no run is given");
    if (!st) st = mg_inference_open(&w.b, &paths, false, err);
    if (!st) st = tokenize(&w, &longest, err);
    if (!st) st = mg_inference_load(&w.b, &paths, &model, longest < model.max_length ? longest : model.max_length, &w.backend, err);
    if (!st) st = fit(&w, err);
    if (!st) {
        w.r.items = &w.items;
        w.r.model = mg_path_base(paths.model);
        w.r.run = paths.adapter ? mg_path_base(paths.adapter) : NULL;
        mg_interrupts_begin();
        st = make_vectors(&w, err);
        if (!st) st = draw_all(&w, err);
        mg_interrupts_end();
    }
    if (!st) st = print_all(cli, &w, err);
    close_work(&w);
    mg_inference_paths_free(&paths);
    return st;
}

const mg_command mg_command_embed = {
    .name = "embed", .group = "try", .usage = "RUN|MODEL [TEXT...] [-d FILE] [--before] [-o DIR]",
    .summary = MG_N("texts to vectors: similarities, and pictures by PCA and t-SNE"),
    .details = MG_N("Up to 12 texts are shown as a table of cosine similarities, more by their nearest texts. With -o the vectors are written, "
                    "and pictures with the texts as labels. How much a picture can be believed is its trustworthiness (1: near points are near in truth)."),
    .rows = rows, .values_size = sizeof(embed_options), .run = run,
};
