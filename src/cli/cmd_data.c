/* cmd_data.c -- `data check | preview`: look at training data before anything is trained on it.
 *
 * Both go through the same code that training uses, with the model's own tokenizer and template, so what is shown
 * is what would be learned. */
#include "cli/inference.h"

#include "data/check.h"
#include "data/preview.h"

#include <libintl.h>
#include <unistd.h>

typedef struct {
    int                  action;
    mg_list              file;
    mg_inference_options model;
    int64_t              max_length, samples;
    bool                 assistant_only_loss, completion_only_loss, append_eos;
} data_options;

enum { CHECK, PREVIEW };

#define AT(field) offsetof(data_options, field)

static const mg_option rows[] = {
    { .name = "action", .type = &mg_option_enum, .offset = AT(action), .def = "check", .choices = "check|preview", .positional = true,
      .metavar = "check|preview", .group = "", .help = MG_N("look for trouble, or show what is learned, token by token") },
    { .name = "file", .aliases = "dataset", .type = &mg_option_texts, .offset = AT(file), .positional = true, .flag = 'd',
      .metavar = "FILE", .group = "", .help = MG_N("training data: JSONL, JSON, CSV or TSV") },
    { .name = "samples", .type = &mg_option_int, .offset = AT(samples), .flag = 'n', .def = "3", .min = 1, .max = 1e9, .group = "",
      .help = MG_N("preview: show so many samples") },
    { .name = "max_length", .aliases = "max_seq_length,cutoff_len,sequence_len", .type = &mg_option_int, .offset = AT(max_length),
      .def = "1024", .min = 2, .max = 1 << 20, .group = "", .help = MG_N("longest sample in tokens") },
    { .name = "assistant_only_loss", .type = &mg_option_bool, .offset = AT(assistant_only_loss), .def = "true", .group = "",
      .help = MG_N("conversations: learn only what the assistant says") },
    { .name = "completion_only_loss", .type = &mg_option_bool, .offset = AT(completion_only_loss), .def = "true", .group = "",
      .help = MG_N("prompt and completion: learn only the completion") },
    { .name = "append_eos", .type = &mg_option_bool, .offset = AT(append_eos), .def = "true", .group = "",
      .help = MG_N("end texts and completions with the end token, and learn it") },
    MG_TEXT_ROWS(data_options, model), MG_TEMPLATE_ROW(data_options, model), { 0 },
};

static mg_status check(const mg_cli *cli, const data_options *o, const mg_data_options *d, const mg_bundle *b, mg_error *err) {
    mg_status st = MG_OK;
    for (size_t i = 0; !st && i < o->file.n; i++) {
        mg_data_report report = { 0 };
        mg_buf         out = { 0 };
        st = mg_data_check(&report, o->file.item[i], d, &b->chat, err);
        if (!st && cli->global.json)
            mg_data_report_json(&report, &out);
        else if (!st)
            mg_data_report_text(&report, &out);
        if (!st) st = mg_print(&out, err);
        mg_buf_free(&out);
        mg_data_report_free(&report);
    }
    return st;
}

static mg_status preview(const data_options *o, const mg_data_options *d, const mg_bundle *b, mg_error *err) {
    mg_status st = MG_OK;
    bool      color = isatty(STDOUT_FILENO);
    for (size_t i = 0; !st && i < o->file.n; i++) {
        mg_dataset set = { 0 };
        mg_buf     out = { 0 };
        st = mg_dataset_load(&set, o->file.item[i], d, &b->chat, err);
        if (!st) mg_buf_printf(&out, gettext("%s: %lld samples, form %s\n"), o->file.item[i], (long long)set.n, set.form);
        for (size_t k = 0; !st && k < set.n && k < (size_t)o->samples; k++) {
            mg_buf_char(&out, '\n');
            st = mg_data_preview(&set.sample[k], b->tokenizer, color, &out, err);
        }
        if (!st && out.failed) st = mg_fail(err, MG_NOMEM, "no memory for the output");
        if (!st) st = mg_print(&out, err);
        mg_buf_free(&out);
        mg_dataset_free(&set);
    }
    return st;
}

static mg_status run(mg_cli *cli, void *values, mg_error *err) {
    const data_options *o = values;
    mg_inference_paths  paths = { 0 };
    mg_bundle           b = { 0 };
    mg_data_options     d = { .max_length = (int32_t)o->max_length, .assistant_only_loss = o->assistant_only_loss,
                              .completion_only_loss = o->completion_only_loss, .append_eos = o->append_eos,
                              .on_truncation = MG_TROUBLE_KEEP, .on_empty_mask = MG_TROUBLE_KEEP, .on_bad_line = MG_TROUBLE_DROP,
                              .max_samples = o->action == PREVIEW ? o->samples : 0 };
    mg_status st = MG_OK;
    if (!o->file.n) st = mg_fail(err, MG_USAGE, "no file is named: migaki data check FILE -m MODEL");
    if (!st && !o->model.model && !o->model.adapter && o->action == PREVIEW)
        st = mg_fail(err, MG_USAGE, "no model is named; tokens and template are its own: give -m");
    if (!st && (o->model.model || o->model.adapter)) {
        st = mg_inference_find(&paths, &o->model, err);
        if (!st) st = mg_inference_open(&b, &paths, true, err);
    }
    if (!st) st = o->action == PREVIEW ? preview(o, &d, &b, err) : check(cli, o, &d, &b, err);
    mg_bundle_close(&b);
    mg_inference_paths_free(&paths);
    return st;
}

const mg_command mg_command_data = {
    .name = "data", .group = "prepare", .usage = "check FILE [-m MODEL] | preview FILE -m MODEL",
    .summary = MG_N("look at training data: what is wrong with it, and what would be learned"), .rows = rows,
    .values_size = sizeof(data_options), .run = run,
};
