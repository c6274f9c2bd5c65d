/* cmd_export.c -- `export`, `merge` and `quantize`: take a model away, in the form that other programs load.
 *
 * `merge` is an export to a Hugging Face folder, `quantize` one of a model without a run to GGUF. */
#include "cli/delivery.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    mg_delivery_options d;
} export_options;

#define AT(field) offsetof(export_options, d.field)

#define RUN_ROW \
    { .name = "run", .type = &mg_option_string, .offset = AT(model.adapter), .positional = true, .metavar = "RUN", .group = "", \
      .help = MG_N("a run's name, the folder of a run or adapter, or `last`") }
#define BASE_ROW \
    { .name = "model_name_or_path", .aliases = "model,base_model,model_id", .type = &mg_option_string, .offset = AT(model.model), .flag = 'm', \
      .metavar = "MODEL", .group = MG_N("Model"), .help = MG_N("the base model, when it is not where the run found it; without RUN, the model itself") }

static const mg_option export_rows[] = {
    RUN_ROW,
    { .name = "to", .aliases = "format", .type = &mg_option_string, .offset = AT(to), .metavar = "FORMAT[:TYPE]", .group = "",
      .help = MG_N("hf (vllm): a Hugging Face folder; gguf or gguf:TYPE: a file for llama.cpp and Ollama; gguf-lora: the adapter for llama.cpp") },
    MG_DELIVERY_OUT_ROW(export_options, d), BASE_ROW, MG_TEMPLATE_ROW(export_options, d.model),
    MG_DELIVERY_MERGE_ROWS(export_options, d), MG_DELIVERY_ROWS(export_options, d), { 0 },
};

static mg_status run_export(mg_cli *cli, void *values, mg_error *err) {
    const export_options *o = values;
    if (!o->d.to) return mg_fail(err, MG_USAGE, "say into which format: --to hf, gguf, gguf:q4_k_m or gguf-lora");
    return mg_deliver(cli, &o->d, err);
}

const mg_command mg_command_export = {
    .name = "export", .group = "deliver", .usage = "RUN --to hf|gguf[:TYPE]|gguf-lora -o PATH",
    .summary = MG_N("write a trained model in the formats that other programs load"),
    .details = MG_N("TYPE is f32, f16, bf16, q8_0, q4_0, q4_1, q5_0, q5_1, q4_k_m, q5_k_m or q6_k; without it every weight keeps the format of the "
                    "base model. What was written is opened again and prompts are replayed through it: when token ids differ or the logits drift, "
                    "nothing is kept and the exit code is 7."),
    .rows = export_rows, .values_size = sizeof(export_options), .run = run_export,
};

static const mg_option merge_rows[] = {
    RUN_ROW, MG_DELIVERY_OUT_ROW(export_options, d), BASE_ROW, MG_TEMPLATE_ROW(export_options, d.model),
    MG_DELIVERY_MERGE_ROWS(export_options, d), MG_DELIVERY_ROWS(export_options, d), { 0 },
};

static mg_status run_merge(mg_cli *cli, void *values, mg_error *err) {
    export_options *o = values;
    const char     *end = o->d.out ? strrchr(o->d.out, '.') : NULL;
    char            to[8];
    if (!o->d.model.adapter) return mg_fail(err, MG_USAGE, "name the run to merge: migaki merge RUN -o PATH");
    strcpy(to, end && !strcmp(end, ".gguf") ? "gguf" : "hf");
    mg_delivery_options d = o->d;
    d.to = to;
    return mg_deliver(cli, &d, err);
}

const mg_command mg_command_merge = {
    .name = "merge", .group = "deliver", .usage = "RUN -o PATH",
    .summary = MG_N("add an adapter to the weights of its base model"),
    .details = MG_N("PATH becomes a Hugging Face folder, or a GGUF file in the formats of the base model when it ends in .gguf. Merging into a "
                    "quantised base rounds the sum again: how much that changes is measured and shown, and refused beyond --max_kl."),
    .rows = merge_rows, .values_size = sizeof(export_options), .run = run_merge,
};

typedef struct {
    mg_delivery_options d;
    char               *type;
} quantize_options;

static const mg_option quantize_rows[] = {
    { .name = "input", .type = &mg_option_string, .offset = offsetof(quantize_options, d.model.model), .positional = true, .metavar = "IN", .group = "",
      .help = MG_N("the model: a Hugging Face folder, a .gguf file, or a run with its adapter") },
    { .name = "output", .aliases = "out,outfile", .type = &mg_option_string, .offset = offsetof(quantize_options, d.out), .flag = 'o', .positional = true,
      .metavar = "OUT", .group = "", .help = MG_N("the .gguf file to write") },
    { .name = "type", .type = &mg_option_string, .offset = offsetof(quantize_options, type), .positional = true, .metavar = "TYPE", .group = "",
      .help = MG_N("f32, f16, bf16, q8_0, q4_0, q4_1, q5_0, q5_1, q4_k_m, q5_k_m or q6_k") },
    MG_TEMPLATE_ROW(quantize_options, d.model), MG_DELIVERY_ROWS(quantize_options, d), { 0 },
};

static mg_status run_quantize(mg_cli *cli, void *values, mg_error *err) {
    const quantize_options *o = values;
    mg_delivery_options     d = o->d;
    mg_buf                  to = { 0 };
    if (!d.model.model || !d.out || !o->type) return mg_fail(err, MG_USAGE, "three things are needed: migaki quantize IN OUT TYPE");
    mg_buf_printf(&to, "gguf:%s", o->type);
    d.to = to.data;
    mg_status st = to.failed ? mg_fail(err, MG_NOMEM, "no memory") : mg_deliver(cli, &d, err);
    mg_buf_free(&to);
    return st;
}

const mg_command mg_command_quantize = {
    .name = "quantize", .group = "deliver", .usage = "IN OUT TYPE",
    .summary = MG_N("pack a model into fewer bits, as a GGUF file"),
    .details = MG_N("Tensor by tensor the formats are those that llama.cpp's quantiser chooses without an importance matrix, with the same bytes."),
    .rows = quantize_rows, .values_size = sizeof(quantize_options), .run = run_quantize,
};
