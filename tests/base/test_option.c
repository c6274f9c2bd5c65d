/* test_option.c -- the option table: every key and alias of training, all sources, all refusals. */
#include "support.h"

#include "base/option.h"
#include "base/option_impl.h"
#include "base/width.h"
#include "cli/sft_options.h"

#include <sys/stat.h>

static mg_options *fresh(mg_sft_options *values) {
    mg_error    err;
    mg_options *o = mg_options_new(mg_foreign_options);
    assert_non_null(o);
    assert_ok(mg_options_add(o, mg_sft_option_rows, values, &err), err);
    return o;
}

/* Every row, the methods' own included, of a set that lives as long as the test. */
static const mg_option *row_after(const mg_option *row) {
    static mg_options    *all;
    static mg_sft_options values;
    size_t                i = 0;
    if (!all) all = fresh(&values);
    while (row && mg_options_row(all, i++) != row) continue;
    return mg_options_row(all, i);
}

static mg_status arguments(mg_options *o, const char *a, const char *b, mg_error *err) {
    char *argv[] = { (char *)a, (char *)b };
    return mg_options_arguments(o, b ? 2 : 1, argv, err);
}

static mg_status yaml(mg_options *o, const char *text, mg_error *err) {
    return mg_options_yaml_text(o, MG_ORIGIN_CONFIG, text, strlen(text), "my.yaml", err);
}

static void printed(const mg_options *o, const char *name, char *out, size_t size) {
    for (size_t i = 0; i < o->n; i++) {
        mg_buf b = { 0 };
        if (strcmp(o->slot[i].row->name, name)) continue;
        o->slot[i].row->type->print(&b, o->slot[i].field, o->slot[i].row);
        snprintf(out, size, "%s", b.data ? b.data : "");
        mg_buf_free(&b);
    }
}

/* A text that is valid for the row and is not its default, and how it prints. */
static void other_value(const mg_option *row, char *text, char *print) {
    const char *name = NULL;
    size_t      len = 0;
    if (row->type == &mg_option_bool)
        strcpy(text, row->def && !strcmp(row->def, "true") ? "false" : "true");
    else if (row->type == &mg_option_int || row->type == &mg_option_float)
        strcpy(text, row->max && row->max <= 1 ? "0.25" : !strcmp(row->name, "bnb_4bit_blocksize") ? "128" : !strcmp(row->def, "5") ? "6e0" : "5e0");
    else if (row->type == &mg_option_size)
        strcpy(text, "3MiB");
    else if (row->choices) {
        int i = row->choices[0] && strcmp(row->name, "optim") ? 1 : 0;
        if (!mg_option_choice(row->choices, i, &name, &len)) assert_true(mg_option_choice(row->choices, 0, &name, &len));
        memcpy(text, name, len);
        text[len] = 0;
    } else
        strcpy(text, "some/file");
    strcpy(print, text);
    if (!strcmp(text + 1, "e0")) print[1] = 0;
    if (row->type->is_list) sprintf(print, "[%s]", text);
}

/* Every row, by its name, on the command line, in YAML and in the environment, changes its field and no other. */
static void test_every_key(void **state) {
    (void)state;
    for (const mg_option *row = row_after(NULL); row; row = row_after(row))
        for (int how = 0; how < 3; how++) {
            mg_sft_options values, plain;
            mg_options    *o = fresh(&values), *before = fresh(&plain);
            mg_error       err;
            char           text[64], want[80], line[200], got[200], old[200];
            other_value(row, text, want);
            snprintf(line, sizeof line, how == 0 ? "--%s=%s" : how == 1 ? "%s: %s" : "MIGAKI_%s=%s", row->name, text);
            if (how == 2)
                for (char *p = line; *p != '='; p++)
                    if (*p >= 'a' && *p <= 'z') *p = (char)(*p - 32);
            char *environment[] = { line, NULL };
            if (how == 0) assert_ok(arguments(o, line, NULL, &err), err);
            if (how == 1) assert_ok(yaml(o, line, &err), err);
            if (how == 2) assert_ok(mg_options_environment(o, environment, &err), err);
            for (const mg_option *r = row_after(NULL); r; r = row_after(r)) {
                printed(o, r->name, got, sizeof got);
                printed(before, r->name, old, sizeof old);
                if (r == row) {
                    if (strcmp(got, want)) fail_msg("%s: printed %s, wanted %s", line, got, want);
                    if (strcmp(row->name, "optim") && strcmp(text, row->def ? row->def : "") && !strcmp(got, old)) fail_msg("%s: unchanged", line);
                } else if (strcmp(got, old))
                    fail_msg("%s also changed %s to %s", line, r->name, got);
            }
            assert_int_equal(mg_options_origin(o, row->name), how == 0   ? MG_ORIGIN_COMMAND_LINE
                                                              : how == 1 ? MG_ORIGIN_CONFIG
                                                                         : MG_ORIGIN_ENV);
            mg_options_free(o);
            mg_options_free(before);
        }
}

/* Every alias without a rule does what the name does; each with a rule is tested by hand below. */
static void test_every_alias(void **state) {
    (void)state;
    int plain = 0;
    for (const mg_option *row = row_after(NULL); row; row = row_after(row)) {
        mg_option_alias a;
        for (const char *at = row->aliases; mg_option_alias_next(&at, &a);) {
            mg_sft_options values;
            mg_options    *o = fresh(&values);
            mg_error       err;
            char           text[64], want[80], line[200], got[200];
            other_value(row, text, want);
            snprintf(line, sizeof line, "--%.*s=%s", (int)a.len, a.name, text);
            if (!a.rule && !memchr(a.name, '[', a.len)) {
                for (char *p = line + 2; *p && *p != '='; p++)
                    if (*p == '_') *p = '-';
                assert_ok(arguments(o, line, NULL, &err), err);
                printed(o, row->name, got, sizeof got);
                if (strcmp(got, want)) fail_msg("%s: %s is %s, wanted %s", line, row->name, got, want);
                plain++;
            }
            mg_options_free(o);
        }
    }
    assert_true(plain > 80);
}

/* The fields themselves, so that no row writes into its neighbour. */
static void test_fields(void **state) {
    (void)state;
    static const char text[] =
        "base_model: /m\nadapter: /a\nchat_template: t.jinja\ndtype: bf16\nload_in_4bit: yes\nbnb_4bit_quant_type: fp4\n"
        "bnb_4bit_blocksize: 128\nuse_bnb_nested_quant: true\ndatasets:\n  - path: a.jsonl\n    type: alpaca\n  - path: b,c.jsonl\n"
        "val_set_size: 0.05\ncutoff_len: 2048\nmax_samples: 9\ntrain_on_inputs: true\nappend_eos: false\ntruncation: cut\n"
        "empty_mask: drop\nbad_lines: drop\nsample_packing: true\nshuffle: false\nlora_rank: 8\nlora_alpha: 24\n"
        "lora_dropout: .05\nuse_rslora: true\ntarget_modules: [q_proj, v_proj]\nepochs: 2.5\niters: 77\nmicro_batch_size: 3\n"
        "grad_accum: 5\nlr: 1e-4\nlr_scheduler: linear\nwarmup_ratio: 0.1\nweight_decay: 0.01\ngradient_clipping: 0.5\n"
        "adam_beta1: 0.8\nadam_beta2: 0.99\nadam_epsilon: 1e-6\noptimizer: adamw_torch\nseed: 7\noutput_dir: out\n"
        "run_name: 名前\nlogging_steps: 2\nsave_steps: 11\nsave_total_limit: 4\neval_steps: 12\nearly_stopping_patience: 6\n"
        "early_stopping_threshold: 0.001\nload_best_model_at_end: true\nmetric_for_best_model: loss\n"
        "sample_prompts: [\"今日は, 元気?\", two]\nresume_from_checkpoint: last\ngradient_checkpointing: true\nthreads: 2\n"
        "memory_limit: 8GB\n";
    mg_sft_options v;
    mg_options    *o = fresh(&v);
    mg_error       err;
    assert_ok(yaml(o, text, &err), err);
    assert_string_equal(v.model_name_or_path, "/m");
    assert_string_equal(v.adapter, "/a");
    assert_string_equal(v.chat_template, "t.jinja");
    assert_int_equal(v.dtype, MG_DTYPE_BFLOAT16);
    assert_true(v.load_in_4bit && v.use_bnb_nested_quant);
    assert_int_equal(v.bnb_4bit_quant_type, MG_QUANT_FP4);
    assert_int_equal(v.bnb_4bit_blocksize, 128);
    assert_int_equal(v.dataset.n, 2);
    assert_string_equal(v.dataset.item[1], "b,c.jsonl");
    assert_true(v.val_size == 0.05);
    assert_int_equal(v.max_length, 2048);
    assert_int_equal(v.max_samples, 9);
    assert_false(v.assistant_only_loss || v.completion_only_loss || v.append_eos);
    assert_int_equal(v.truncation, MG_TRUNCATION_CUT);
    assert_int_equal(v.empty_mask, MG_STRICT_DROP);
    assert_int_equal(v.bad_lines, MG_STRICT_DROP);
    assert_true(v.packing && !v.shuffle);
    assert_int_equal(v.lora_r, 8);
    assert_true(v.lora_alpha == 24 && v.lora_dropout == 0.05 && v.use_rslora);
    assert_int_equal(v.lora_target_modules.n, 2);
    assert_string_equal(v.lora_target_modules.item[0], "q_proj");
    assert_string_equal(v.lora_target_modules.item[1], "v_proj");
    assert_true(v.num_train_epochs == 2.5);
    assert_int_equal(v.max_steps, 77);
    assert_int_equal(v.per_device_train_batch_size, 3);
    assert_int_equal(v.gradient_accumulation_steps, 5);
    assert_true(v.learning_rate == 1e-4 && v.warmup_steps == 0.1 && v.weight_decay == 0.01 && v.max_grad_norm == 0.5);
    assert_string_equal(mg_schedule_number((size_t)v.lr_scheduler_type)->name, "linear");
    assert_true(v.adam_beta1 == 0.8 && v.adam_beta2 == 0.99 && v.adam_epsilon == 1e-6);
    assert_int_equal(v.optim, 0);
    assert_int_equal(v.seed, 7);
    assert_string_equal(v.output_dir, "out");
    assert_string_equal(v.run_name, "名前");
    assert_int_equal(v.logging_steps, 2);
    assert_int_equal(v.save_steps, 11);
    assert_int_equal(v.save_total_limit, 4);
    assert_int_equal(v.eval_steps, 12);
    assert_int_equal(v.early_stopping_patience, 6);
    assert_true(v.early_stopping_threshold == 0.001 && v.load_best_model_at_end);
    assert_string_equal(v.metric_for_best_model, "loss");
    assert_int_equal(v.sample_prompts.n, 2);
    assert_string_equal(v.sample_prompts.item[0], "今日は, 元気?");
    assert_string_equal(v.resume_from_checkpoint, "last");
    assert_int_equal(v.gradient_checkpointing, MG_YES);
    assert_int_equal(v.threads, 2);
    assert_true(v.memory_limit == 8000000000u);
    assert_non_null(strstr(mg_options_notes(o), "datasets[].type"));

    /* what is written reads back to the same */
    mg_sft_options w;
    mg_options    *p = fresh(&w);
    mg_buf         first = { 0 }, second = { 0 };
    mg_options_write_yaml(&first, o);
    assert_false(first.failed);
    assert_ok(yaml(p, first.data, &err), err);
    for (const mg_option *r = row_after(NULL); r; r = row_after(r)) {
        char a[200], b[200];
        printed(o, r->name, a, sizeof a);
        printed(p, r->name, b, sizeof b);
        assert_string_equal(a, b);
    }
    assert_non_null(strstr(first.data, "learning_rate: 0.0001  # my.yaml:"));
    mg_buf_free(&first);
    mg_buf_free(&second);
    mg_options_free(o);
    mg_options_free(p);
}

static void test_rules(void **state) {
    (void)state;
    mg_sft_options v;
    mg_error       err;
    static const struct {
        const char *argument, *key, *print;
    } rows[] = {
        { "--bf16", "dtype", "bfloat16" },          { "--bf16=true", "dtype", "bfloat16" },
        { "--no-bf16", "dtype", "float32" },        { "bf16=False", "dtype", "float32" },
        { "--fp16=false", "dtype", "auto" },        { "--quantization_bit=4", "load_in_4bit", "true" },
        { "--quantization_bit=8", "load_in_8bit", "true" },   { "--quantization_bit=8", "load_in_4bit", "false" },
        { "--quantization_bit=4", "load_in_8bit", "false" },
        { "quantization_bit=none", "load_in_4bit", "false" },
        { "--train-on-inputs", "assistant_only_loss", "false" },
        { "--train_on_inputs", "completion_only_loss", "false" },
        { "--no-train_on_inputs", "completion_only_loss", "true" },
        { "--no-shuffle", "shuffle", "false" },     { "--shuffle=off", "shuffle", "false" },
        { "--adapter=qlora", "adapter", "null" },   { "--adapter=./qlora", "adapter", "./qlora" },
        { "--lora_target_linear", "lora_target_modules", "[all-linear]" },
        { "--lora_target=q_proj,v_proj", "lora_target_modules", "[q_proj, v_proj]" },
        { "--lora_target=[q_proj, 'o']", "lora_target_modules", "[q_proj, o]" },
        { "--gradient_checkpointing", "gradient_checkpointing", "true" },
        { "--no-gradient-checkpointing", "gradient_checkpointing", "false" },
        { "use_gradient_checkpointing=unsloth", "gradient_checkpointing", "true" },
        { "--max_steps=1e3", "max_steps", "1000" }, { "memory_limit=1.5GiB", "memory_limit", "1536MiB" },
        { "memory_limit=2k", "memory_limit", "2KiB" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        mg_options *o = fresh(&v);
        char        got[200];
        assert_ok(arguments(o, rows[i].argument, NULL, &err), err);
        printed(o, rows[i].key, got, sizeof got);
        if (strcmp(got, rows[i].print)) fail_msg("%s: %s is %s, wanted %s", rows[i].argument, rows[i].key, got, rows[i].print);
        mg_options_free(o);
    }
}

static void test_refusals(void **state) {
    (void)state;
    mg_sft_options v;
    mg_error       err;
    static const struct {
        const char *a, *b;
        mg_status   status;
        const char *part;
    } lines[] = {
        { "--lerning_rate", "1", MG_USAGE, "did you mean 'learning_rate'" },
        { "--lora_rnak=4", NULL, MG_USAGE, "did you mean 'lora_rank'" },
        { "--zzzzzzzzz=4", NULL, MG_USAGE, "-h lists" },
        { "--lora_r", NULL, MG_USAGE, "value is missing" },
        { "--lora_r", "--lora_alpha=3", MG_USAGE, "value is missing" },
        { "--lora_r=0", NULL, MG_USAGE, "1..4096" },
        { "--lora_r=2.5", NULL, MG_USAGE, "whole number" },
        { "--lora_r=0x10", NULL, MG_USAGE, "whole number" },
        { "--lora_r=99999999999999999999", NULL, MG_USAGE, "whole number" },
        { "--learning_rate=nan", NULL, MG_USAGE, "number" },
        { "--learning_rate=1e999", NULL, MG_USAGE, "number" },
        { "--load_in_4bit=maybe", NULL, MG_USAGE, "true or false" },
        { "--lr_scheduler_type=poly", NULL, MG_USAGE, "cosine, linear" },
        { "--fp16", NULL, MG_UNSUPPORTED, "dtype" },
        { "--quantization_bit", "3", MG_UNSUPPORTED, "load_in_4bit" },
        { "--method=qlora2", NULL, MG_USAGE, "lora" },
        { "--memory_limit=8 apples", NULL, MG_USAGE, "8GB" },
        { "-x", NULL, MG_USAGE, "-m" },
        { "stray", NULL, MG_USAGE, "argument too many" },
        { "-m", NULL, MG_USAGE, "value is missing" },
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        mg_options *o = fresh(&v);
        assert_fails(arguments(o, lines[i].a, lines[i].b, &err), err, lines[i].status, lines[i].part);
        mg_options_free(o);
    }
    static const struct {
        const char *text, *part;
        mg_status   status;
    } files[] = {
        { "lr: 1e-4\nlearning_rate: 2e-4\n", "another value at my.yaml:1", MG_CONFIG },
        { "lr: 1e-4\nlr: 1e-4\n", "my.yaml:2: the key 'lr' stands twice", MG_CONFIG },
        { "lr: [1, 2]\n", "single value", MG_CONFIG },
        { "a: &x 1\n", "anchor", MG_CONFIG },
        { "- a\n- b\n", "key: value", MG_CONFIG },
        { "lr: 1\n---\nlr: 2\n", "second document", MG_CONFIG },
        { "lr: !!float 1\n", "tag", MG_CONFIG },
        { "dataset: [[a]]\n", "list of lists", MG_CONFIG },
        { "dataset: [a, null]\n", "empty element", MG_CONFIG },
        { "lora:\n  lora_r: 4\n", "unknown option 'lora.lora_r'", MG_CONFIG },
        { "lr: \"\n", "not valid YAML", MG_CONFIG },
        { "seed: 1\n  x: 2\n", "not valid YAML", MG_CONFIG },
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        mg_options *o = fresh(&v);
        assert_fails(yaml(o, files[i].text, &err), err, files[i].status, files[i].part);
        mg_options_free(o);
    }
}

static void test_notes(void **state) {
    (void)state;
    mg_sft_options v;
    mg_error       err;
    mg_options    *o = fresh(&v);
    assert_ok(yaml(o, "deepspeed: {zero: 2}\nflash_attn: auto\nuse_unsloth: true\nreport_to: [none]\nuse_dora: false\n"
                      "gradient_checkpointing_kwargs:\n  use_reentrant: false\nlearning_rate:\nwandb_project: ~\nfsdp: {}\n"
                      "lr: 3e-4\n", &err), err);
    assert_non_null(strstr(mg_options_notes(o), "my.yaml:1: 'deepspeed.zero' has no effect here"));
    assert_non_null(strstr(mg_options_notes(o), "report_to"));
    assert_non_null(strstr(mg_options_notes(o), "use_reentrant"));
    assert_null(strstr(mg_options_notes(o), "use_dora"));
    assert_true(v.learning_rate == 3e-4);
    assert_ok(arguments(o, "--deepspeed", "ds.json", &err), err);
    assert_ok(mg_options_yaml_text(o, MG_ORIGIN_USER, "lerning_rate: 3", 15, "user.yaml", &err), err);
    assert_non_null(strstr(mg_options_notes(o), "nearest is 'learning_rate'"));
    mg_options_free(o);
}

static void test_precedence(void **state) {
    (void)state;
    mg_sft_options v;
    mg_error       err;
    char           got[100];
    char          *environment[] = { "MIGAKI_LORA_R=3", "MIGAKI_SEED=3", "MIGAKI_UNRELATED=1", "MIGAKI_THREADS=", NULL };
    const char    *user = "lora_r: 1\nseed: 1\nlr: 0.1\nlora_alpha: 9";
    mg_options    *o = fresh(&v);
    assert_ok(arguments(o, "--lora_r=4", NULL, &err), err);
    assert_ok(mg_options_environment(o, environment, &err), err);
    assert_ok(mg_options_yaml_text(o, MG_ORIGIN_USER, user, strlen(user), "u", &err), err);
    assert_ok(yaml(o, "lora_r: 2\nseed: 2\nlr: 0.2\n", &err), err);
    assert_int_equal(v.lora_r, 4);
    assert_int_equal(v.seed, 3);
    assert_true(v.learning_rate == 0.2 && v.lora_alpha == 9);
    mg_buf b = { 0 };
    mg_options_print(&b, o);
    assert_non_null(strstr(b.data, "# --lora_r"));
    assert_non_null(strstr(b.data, "# MIGAKI_SEED"));
    assert_non_null(strstr(b.data, "# my.yaml:3"));
    assert_non_null(strstr(b.data, "# u:4"));
    assert_non_null(strstr(b.data, "# default"));
    mg_buf_free(&b);

    /* on the command line the last scalar wins, lists add up and replace those of files */
    assert_ok(yaml(o, "dataset: z.jsonl", &err), err);
    char *argv[] = { "-d", "a", "--dataset", "b,c", "--seed", "5", "--seed=6", "--max_steps", "-1" };
    assert_ok(mg_options_arguments(o, 9, argv, &err), err);
    printed(o, "dataset", got, sizeof got);
    assert_string_equal(got, "[a, b, c]");
    assert_int_equal(v.seed, 6);
    assert_ok(mg_options_set(o, "gradient_checkpointing", "true", "planner", &err), err);
    assert_int_equal(mg_options_origin(o, "gradient_checkpointing"), MG_ORIGIN_PROGRAM);
    mg_options_free(o);
}

static void test_check(void **state) {
    (void)state;
    mg_sft_options v;
    mg_error       err;
    mg_options    *o = fresh(&v);
    assert_fails(mg_sft_options_check(&v, &err), err, MG_USAGE, "-m");
    assert_ok(yaml(o, "model: m\n", &err), err);
    assert_fails(mg_sft_options_check(&v, &err), err, MG_USAGE, "-d");
    assert_ok(yaml(o, "dataset: a\nearly_stopping_patience: 3\n", &err), err);
    assert_fails(mg_sft_options_check(&v, &err), err, MG_CONFIG, "val_size");
    assert_ok(yaml(o, "val_size: 0.1\n", &err), err);
    assert_ok(mg_sft_options_check(&v, &err), err);
    assert_ok(yaml(o, "bnb_4bit_blocksize: 96\n", &err), err);
    assert_fails(mg_sft_options_check(&v, &err), err, MG_CONFIG, "64 or 128");
    mg_options_free(o);
}

/* -h fits 80 columns; the schema is JSON; widths count kanji twice. */
static void test_printing(void **state) {
    (void)state;
    mg_sft_options v;
    mg_options    *o = fresh(&v);
    mg_buf         b = { 0 };
    mg_options_help(&b, o, 80);
    for (char *line = strtok(b.data, "\n"); line; line = strtok(NULL, "\n"))
        if (mg_width(line) > 80) fail_msg("%d columns: %s", mg_width(line), line);
    mg_buf_free(&b);
    mg_options_schema(&b, o);
    assert_non_null(strstr(b.data, "\"learning_rate\": {\"type\": [\"number\", \"null\"], \"minimum\": 0, \"maximum\": 10, \"default\": 2e-4"));
    mg_buf_free(&b);
    mg_options_man(&b, o);
    assert_non_null(strstr(b.data, "\\-\\-lora_r N"));
    mg_buf_free(&b);
    mg_options_free(o);

    assert_int_equal(mg_width("磨き"), 4);
    assert_int_equal(mg_width("e\xcc\x81"), 1);
    assert_int_equal(mg_width("\xff\xfe"), 2);
    assert_int_equal(mg_width_cut("磨きa", 3), 3);
    mg_pad(&b, "磨き", 6);
    assert_string_equal(b.data, "磨き  ");
    mg_buf_free(&b);
    mg_pad(&b, "磨き直し", 6);
    assert_string_equal(b.data, "磨き… ");
    mg_buf_free(&b);
    mg_wrap(&b, "日本語の文章、です。 and words", 2, 12);
    assert_string_equal(b.data, "日本語の文\n  章、です。\n  and words");
    mg_buf_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_key), cmocka_unit_test(test_every_alias), cmocka_unit_test(test_fields),
        cmocka_unit_test(test_rules),     cmocka_unit_test(test_refusals),    cmocka_unit_test(test_notes),
        cmocka_unit_test(test_precedence), cmocka_unit_test(test_check),      cmocka_unit_test(test_printing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
