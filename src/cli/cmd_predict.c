/* cmd_predict.c -- `predict`: what the heads of a run say of records, one line of JSON each, and how often they are right. */
#include "cli/inference.h"
#include "cli/predict_run.h"

#include "base/file.h"
#include "base/json.h"
#include "base/width.h"

#include <libintl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    mg_inference_options model;
    mg_list              data;
    char                *task, *out;
    int64_t              limit, stride;
    bool                 before, scores;
} predict_options;

#define AT(field) offsetof(predict_options, field)

static const mg_option rows[] = {
    { .name = "run", .type = &mg_option_string, .offset = AT(model.adapter), .positional = true, .metavar = "RUN", .group = "",
      .help = MG_N("a run with heads: its name, its folder, or `last`") },
    { .name = "data", .aliases = "dataset", .type = &mg_option_texts, .offset = AT(data), .flag = 'd', .metavar = "FILE", .group = "",
      .help = MG_N("records to look at, with or without labels; may be given several times") },
    { .name = "task", .type = &mg_option_string, .offset = AT(task), .metavar = "NAME", .group = "",
      .help = MG_N("which head answers, where the run has several of one kind") },
    { .name = "output", .aliases = "predictions", .type = &mg_option_string, .offset = AT(out), .flag = 'o', .metavar = "FILE", .group = "",
      .help = MG_N("write the lines into this file instead of standard output") },
    { .name = "scores", .type = &mg_option_bool, .offset = AT(scores), .def = "false", .group = "",
      .help = MG_N("print scores instead of lines; the records must have labels") },
    { .name = "before", .type = &mg_option_bool, .offset = AT(before), .def = "false", .group = "",
      .help = MG_N("with --scores: also the base model under a head that has learned nothing") },
    { .name = "limit", .type = &mg_option_int, .offset = AT(limit), .def = "0", .max = 1 << 30, .group = "",
      .help = MG_N("at most so many records of each file; 0: all") },
    { .name = "doc_stride", .aliases = "stride", .type = &mg_option_int, .offset = AT(stride), .def = "128", .min = 0, .max = 1 << 20, .group = "",
      .help = MG_N("question answering: tokens that two windows of a long context share") },
    { .name = "model_name_or_path", .aliases = "model,base_model,model_id", .type = &mg_option_string, .offset = AT(model.model), .flag = 'm',
      .metavar = "MODEL", .group = MG_N("Model"), .help = MG_N("a model without a run, or another base for the run") },
    { .name = "max_length", .aliases = "max_seq_length", .type = &mg_option_int, .offset = AT(model.max_length), .def = "512", .min = 8,
      .max = 1 << 20, .group = MG_N("Machine"), .help = MG_N("longest sample in tokens, as in training") },
    MG_MACHINE_ROWS(predict_options, model), { 0 },
};

static mg_status write_lines(const predict_options *o, const mg_buf *b, mg_error *err) {
    return o->out ? mg_replace_file(o->out, b->data ? b->data : "", b->len, err) : mg_print(b, err);
}

static mg_status each_file(const predict_options *o, mg_cli *cli, mg_bundle *b, const mg_backend *backend, mg_error *err) {
    mg_buf    out = { 0 };
    mg_status st = MG_OK;
    for (size_t i = 0; !st && i < o->data.n; i++) {
        mg_head_job job = { .bundle = b, .backend = backend, .path = o->data.item[i], .task = o->task, .limit = o->limit, .stride = o->stride,
                            .max_length = o->model.max_length, .targets = o->scores, .before = o->before };
        mg_head_result r = { 0 };
        st = mg_head_run(&job, &r, err);
        if (!st && o->scores)
            mg_head_show(&r, o->data.item[i], cli->global.json, &out);
        for (size_t k = 0; !st && !o->scores && k < r.set.n; k++) mg_predictions_write(&r.after, k, &out);
        mg_head_result_free(&r);
    }
    if (!st && out.failed) st = mg_fail(err, MG_NOMEM, "no memory for the predictions");
    if (!st) st = write_lines(o, &out, err);
    mg_buf_free(&out);
    return st;
}

static mg_status check(const predict_options *o, mg_error *err) {
    if (!o->data.n) return mg_fail(err, MG_USAGE, "no records are given; name a file with -d FILE");
    if (o->before && o->data.n > 1) return mg_fail(err, MG_USAGE, "--before undoes what was learned, so it takes one file");
    return o->before && !o->scores ? mg_fail(err, MG_USAGE, "--before compares scores; add --scores") : MG_OK;
}

static mg_status run(mg_cli *cli, void *values, mg_error *err) {
    const predict_options *o = values;
    mg_inference_paths     paths = { 0 };
    mg_bundle              b = { 0 };
    const mg_backend      *backend;
    mg_status              st = check(o, err);
    if (!st) st = mg_inference_find(&paths, &o->model, err);
    if (!st) st = mg_inference_open(&b, &paths, false, err);
    if (!st) st = mg_inference_load(&b, &paths, &o->model, o->model.max_length, &backend, err);
    if (!st && !b.heads.n) st = mg_fail(err, MG_USAGE, "this run has no head; `generate` and `chat` are for runs that write text");
    if (!st) st = each_file(o, cli, &b, backend, err);
    mg_bundle_close(&b);
    mg_inference_paths_free(&paths);
    return st;
}

const mg_command mg_command_predict = {
    .name = "predict", .group = "try", .usage = "RUN -d FILE [--scores [--before]]",
    .summary = MG_N("labels, tags, numbers and answers from the heads of a run"),
    .details = MG_N("Each record gives one line of JSON: label and probabilities, value, tokens and tags, or answer, start and score. A head is "
                    "chosen by the form of the records; --task names it where several fit."),
    .rows = rows, .values_size = sizeof(predict_options), .run = run,
};
