/* cmd_score.c -- `score`: how likely a model finds a text, token by token. */
#include "cli/inference.h"
#include "infer/score.h"

#include "base/json.h"

#include <libintl.h>
#include <math.h>
#include <stdlib.h>

typedef struct {
    mg_inference_options model;
} score_options;

static const mg_option rows[] = { MG_TEXT_ROWS(score_options, model), MG_MACHINE_ROWS(score_options, model), { 0 } };

/* {"ids":[...]} as ids; false: the input is something else, a text. */
static bool ids_given(const mg_buf *text, mg_ids *ids, mg_status *st, mg_error *err) {
    mg_json     json;
    yyjson_val *list, *v;
    size_t      i, n;
    mg_error    none;
    if (!text->len || text->data[0] != '{' || mg_json_parse(&json, text->data, text->len, "standard input", &none)) return false;
    list = yyjson_obj_get(json.root, "ids");
    bool given = yyjson_is_arr(list);
    yyjson_arr_foreach(list, i, n, v) {
        int64_t id = yyjson_is_int(v) ? yyjson_get_sint(v) : -1;
        if (id < 0 || id > INT32_MAX)
            *st = mg_fail(err, MG_DATA, "standard input: entry %zu of 'ids' is no token id", i);
        else if (!mg_ids_push(ids, (int32_t)id))
            *st = mg_fail(err, MG_NOMEM, "no memory for the ids");
        if (*st) break;
    }
    mg_json_free(&json);
    return given;
}

static mg_status get_ids(const mg_bundle *b, mg_ids *ids, mg_error *err) {
    mg_buf    text = { 0 };
    mg_status st = mg_read_input(&text, err);
    if (!st && !ids_given(&text, ids, &st, err))
        st = mg_tokenize(b->tokenizer, text.data, text.len, MG_TOKENIZE_SPECIAL | MG_TOKENIZE_PARSE, ids, err);
    mg_buf_free(&text);
    return st;
}

static void print_json(mg_buf *out, const mg_ids *ids, const float *nll) {
    mg_buf_str(out, "{\"ids\":");
    mg_json_ids(out, ids->data, ids->len);
    mg_buf_str(out, ",\"nll\":[");
    for (size_t i = 0; i + 1 < ids->len; i++)
        mg_buf_printf(out, isfinite(nll[i]) ? "%s%.9g" : "%snull", i ? "," : "", (double)nll[i]);
    mg_buf_str(out, "]}\n");
}

static void print_summary(mg_buf *out, const mg_ids *ids, const float *nll) {
    size_t n = ids->len > 1 ? ids->len - 1 : 0;
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)nll[i];
    double mean = n ? sum / (double)n : NAN;
    mg_buf_printf(out, gettext("%zu tokens scored · mean nll %.4f · perplexity %.4f\n"), n, mean, exp(mean));
}

static mg_status run(mg_cli *cli, void *values, mg_error *err) {
    const score_options *o = values;
    mg_inference_paths   paths = { 0 };
    mg_bundle            b = { 0 };
    const mg_backend    *backend;
    mg_buf               out = { 0 };
    mg_ids               ids = { 0 };
    float               *nll = NULL;
    mg_status            st = mg_inference_find(&paths, &o->model, err);
    if (!st) st = mg_inference_open(&b, &paths, false, err);
    if (!st) st = get_ids(&b, &ids, err);
    if (!st) st = mg_inference_load(&b, &paths, &o->model, (int64_t)ids.len, &backend, err);
    if (!st && !(nll = mg_calloc(ids.len + 1, sizeof *nll))) st = mg_fail(err, MG_NOMEM, "no memory for the scores");
    if (!st) st = mg_score(b.model, backend, ids.data, (int64_t)ids.len, false, nll, err);
    if (!st) {
        if (cli->global.json)
            print_json(&out, &ids, nll);
        else
            print_summary(&out, &ids, nll);
        st = mg_print(&out, err);
    }
    free(nll);
    mg_ids_free(&ids);
    mg_buf_free(&out);
    mg_bundle_close(&b);
    mg_inference_paths_free(&paths);
    return st;
}

const mg_command mg_command_score = {
    .name = "score", .group = "try", .usage = "-m MODEL [-a ADAPTER] < TEXT",
    .summary = MG_N("measure how likely a model finds a text"),
    .details = MG_N("Reads a text, or {\"ids\":[...]}, from standard input. With --json prints {\"ids\":[...],\"nll\":[...]}, the "
                    "negative log-likelihoods (natural logarithm) of the second token and on."),
    .rows = rows, .values_size = sizeof(score_options), .run = run,
};
