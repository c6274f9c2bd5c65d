/* test_watch.c -- is the model learning by heart?  Gap, repetition, scores of generated answers, and stopping by any
 * of them; all the same when the run was stopped on the way. */
#include "rig.h"

#define MODEL(path) "model_name_or_path", path

static char *file_text(const rig *r, const char *name) {
    mg_buf   b = { 0 };
    mg_error err;
    assert_ok(mg_read_file(&b, rig_path(r, name), 1 << 20, &err), err);
    return b.data;
}

/* The value logged under `name` at `step`; NaN: none. */
static double logged(const char *log, int step, const char *name) {
    char line[64], key[64];
    snprintf(line, sizeof line, "{\"step\": %d,", step);
    snprintf(key, sizeof key, "\"%s\": ", name);
    for (const char *at = log; (at = strstr(at, line)); at++) {
        const char *end = strchr(at, '\n'), *hit = strstr(at, key);
        if (hit && hit < end) return strtod(hit + strlen(key), NULL);
    }
    return NAN;
}

static int count(const char *text, const char *part) {
    int n = 0;
    for (; (text = strstr(text, part)); text += strlen(part)) n++;
    return n;
}

/* Rows that can only be learnt by heart: no two have a rule in common. */
static const char *noise(rig *r, const char *name, int n, uint32_t x) {
    mg_buf b = { 0 };
    for (int i = 0; i < n; i++) {
        int ids[16];
        for (int k = 0; k < 16; k++) ids[k] = 64 + (int)((x = x * 1664525u + 1013904223u) >> 16) % 250;
        for (int part = 0; part < 2; part++) {
            mg_buf_str(&b, part ? "], \"labels\": [" : "{\"input_ids\": [");
            for (int k = 0; k < 16; k++) mg_buf_printf(&b, "%s%d", k ? ", " : "", part && k < 3 ? -100 : ids[k]);
        }
        mg_buf_str(&b, "]}\n");
    }
    const char *path = rig_path(r, name);
    rig_write(path, b.data);
    mg_buf_free(&b);
    return path;
}

static void test_gap(void **state) {
    (void)state;
    rig r;
    rig_open(&r);
    const char *model = rig_golden(&r, "llama2"), *rows = noise(&r, "rows.jsonl", 4, 1), *valid = noise(&r, "valid.jsonl", 8, 77);
#define NOISE(...) MODEL(model), "dataset", rows, "eval_dataset", valid, "per_device_train_batch_size", "4", "lora_r", "16", "lora_alpha", "32", \
                   "learning_rate", "1e-2", "lr_scheduler_type", "constant", "max_steps", "60", "eval_steps", "10", "save_steps", "10", __VA_ARGS__
    TRAIN(&r, "whole", NOISE("save_total_limit", "0"));
    char  *log = file_text(&r, "whole/trainer_log.jsonl");
    double sum = 0;
    for (int k = 11; k <= 20; k++) sum += logged(log, k, "loss");
    assert_near(logged(log, 20, "eval_gap"), logged(log, 20, "eval_loss") - sum / 10, 1e-6, "gap");
    assert_near(logged(log, 20, "eval_perplexity"), exp(logged(log, 20, "eval_loss")), 1e-6, "perplexity");
    assert_true(isnan(logged(log, 0, "eval_gap")));
    assert_true(logged(log, 60, "eval_gap") > logged(log, 20, "eval_gap") + 0.2); /* it learns by heart */
    assert_true(isfinite(r.step[59].eval_gap));
    int warned = count(r.warnings.data ? r.warnings.data : "", "over-fitting? The validation loss rises");
    assert_in_range(warned, 1, 3); /* when it begins, not at every evaluation */
    mg_buf said = r.warnings;
    r.warnings = (mg_buf){ 0 };
    /* the smallest gap can decide, too: that of the first evaluation */
    TRAIN(&r, "gap", NOISE("metric_for_best_model", "gap", "early_stopping_patience", "2", "load_best_model_at_end", "true"));
    assert_true(r.result.stopped_early);
    assert_int_equal(r.result.best_step, 10);
    assert_int_equal(r.result.steps, 30);
    /* stopped on the way: the same lines, the same warnings */
    mg_buf parts = { 0 };
    for (int part = 0; part < 2; part++) {
        SET(&r, NOISE("save_total_limit", "0", "output_dir", rig_path(&r, "parts")), "resume_from_checkpoint", part ? "last" : "none");
        if (!part) SET(&r, NOISE("save_total_limit", "0", "output_dir", rig_path(&r, "parts")));
        r.stop_after = part ? 0 : 33;
        assert_int_equal(rig_train(&r), part ? MG_OK : MG_STOPPED);
        if (r.warnings.len) mg_buf_str(&parts, r.warnings.data);
    }
    assert_string_equal(parts.data, said.data);
    char *again = file_text(&r, "parts/trainer_log.jsonl");
    for (int k = 10; k <= 60; k += 10) {
        assert_true(logged(log, k, "eval_gap") == logged(again, k, "eval_gap"));
        assert_true(logged(log, k, "eval_loss") == logged(again, k, "eval_loss"));
    }
    assert_true(rig_distance(&r, "whole", "parts") == 0);
    mg_buf_free(&parts);
    mg_buf_free(&said);
    free(log);
    free(again);
#undef NOISE
    rig_close(&r);
}

/* Answers to the validation questions: scored, written, and the training does not notice. */
static void test_generated_scores(void **state) {
    (void)state;
    rig r;
    rig_open(&r);
    const char *model = rig_golden(&r, "llama2"), *rows = rig_rows(&r, "rows.jsonl", 20, 8, 30, 320);
#define USUAL MODEL(model), "dataset", rows, "num_train_epochs", "4", "per_device_train_batch_size", "2", "val_size", "5", "save_steps", "4", \
              "learning_rate", "1e-2", "save_total_limit", "0"
#define ASK "predict_with_generate", "true", "generation_metrics", "char_f1,bleu,chrf,rougeL,exact_match,ter,repetition", "generation_max_new_tokens", "24"
    TRAIN(&r, "plain", USUAL);
    size_t without = r.plan.total;
    TRAIN(&r, "run", USUAL, ASK);
    assert_true(rig_distance(&r, "plain", "run") == 0);
    assert_true(r.plan.total > without);
    char *log = file_text(&r, "run/trainer_log.jsonl");
    static const char *const names[] = { "eval_loss", "eval_char_f1", "eval_bleu", "eval_chrf", "eval_rougeL", "eval_exact_match", "eval_ter", "eval_repetition", "eval_looping" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        for (int step = 0; step <= 28; step += 4) assert_true(isfinite(logged(log, step, names[i])));
    assert_true(logged(log, 28, "eval_char_f1") >= 0 && logged(log, 28, "eval_char_f1") <= 100);
    char *results = file_text(&r, "run/eval_results.json");
    assert_non_null(strstr(results, "\"eval_chrf\": "));
    free(results);
    char *answers = file_text(&r, "run/samples/eval-000004.jsonl");
    assert_int_equal(count(answers, "\"reference\": \""), 5);
    assert_int_equal(count(answers, "\n"), 5);
    free(answers);
    /* fewer questions */
    TRAIN(&r, "fewer", USUAL, ASK, "max_predict_samples", "2");
    answers = file_text(&r, "fewer/samples/eval-000004.jsonl");
    assert_int_equal(count(answers, "\n"), 2);
    free(answers);
    /* the best by a generated score, named without asking for it; its maximum */
    TRAIN(&r, "best", USUAL, "metric_for_best_model", "eval_char_f1", "load_best_model_at_end", "true");
    char  *best = file_text(&r, "best/trainer_log.jsonl");
    int    at = 4;
    for (int step = 8; step <= 28; step += 4)
        if (logged(best, step, "eval_char_f1") > logged(best, at, "eval_char_f1")) at = step;
    assert_int_equal(r.result.best_step, at);
    /* the minimum where it is a lower one that is better, and where the user says so */
    TRAIN(&r, "ter", USUAL, "metric_for_best_model", "ter", "load_best_model_at_end", "true");
    free(best);
    best = file_text(&r, "ter/trainer_log.jsonl");
    at = 4;
    for (int step = 8; step <= 28; step += 4)
        if (logged(best, step, "eval_ter") < logged(best, at, "eval_ter")) at = step;
    assert_int_equal(r.result.best_step, at);
    free(best);
    TRAIN(&r, "worst", USUAL, "metric_for_best_model", "eval_loss", "greater_is_better", "true", "early_stopping_patience", "1");
    assert_int_equal(r.result.best_step, 4); /* the loss falls */
    assert_int_equal(r.result.steps, 8);
    /* stopped inside and behind an evaluation: nothing is left out, nothing twice */
    for (int way = 0; way < 2; way++) {
        const char *run = way ? "late" : "early";
        SET(&r, USUAL, ASK, "output_dir", rig_path(&r, run));
        r.stop_after = way ? 0 : 8;
        r.stop_after_evaluation = way ? 8 : -1;
        assert_int_equal(rig_train(&r), MG_STOPPED);
        SET(&r, USUAL, ASK, "output_dir", rig_path(&r, run), "resume_from_checkpoint", "last");
        r.stop_after = 0;
        r.stop_after_evaluation = -1;
        assert_ok(rig_train(&r), r.err);
        char name[64];
        snprintf(name, sizeof name, "%s/trainer_log.jsonl", run);
        char *again = file_text(&r, name);
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
            for (int step = 4; step <= 28; step += 4) assert_true(logged(log, step, names[i]) == logged(again, step, names[i]));
        assert_int_equal(count(again, "\"eval_loss\""), count(log, "\"eval_loss\""));
        assert_true(rig_distance(&r, "run", run) == 0);
        free(again);
    }
    free(log);
#undef ASK
#undef USUAL
    rig_close(&r);
}

static void test_repetition(void **state) {
    (void)state;
    rig r;
    rig_open(&r);
    /* every sample says one phrase of three letters without end */
    mg_buf b = { 0 };
    for (int i = 0; i < 8; i++) {
        mg_buf_str(&b, "{\"input_ids\": [");
        for (int k = 0; k < 33; k++) mg_buf_printf(&b, "%s%d", k ? ", " : "", 64 + 'a' + (i + k) % 3);
        mg_buf_str(&b, "], \"labels\": [-100");
        for (int k = 1; k < 33; k++) mg_buf_printf(&b, ", %d", 64 + 'a' + (i + k) % 3);
        mg_buf_str(&b, "]}\n");
    }
    const char *model = rig_golden(&r, "llama2"), *rows = rig_path(&r, "loop.jsonl");
    rig_write(rows, b.data);
    mg_buf_free(&b);
    TRAIN(&r, "run", MODEL(model), "dataset", rows, "per_device_train_batch_size", "8", "learning_rate", "2e-2", "lr_scheduler_type", "constant",
          "lora_r", "16", "lora_alpha", "32", "max_steps", "60", "save_steps", "20", "sample_prompts", "ab", "sample_prompts", "bcab");
    char *log = file_text(&r, "run/trainer_log.jsonl");
    assert_true(logged(log, 60, "sample_looping") >= 100);
    assert_true(logged(log, 60, "sample_repetition") > 0 || logged(log, 60, "sample_repetition") <= 0); /* a number */
    assert_non_null(r.warnings.data);
    if (logged(log, 0, "sample_looping") < 100) assert_non_null(strstr(r.warnings.data, "answers repeat a phrase again and again"));
    free(log);
    rig_close(&r);
}

static void test_refused(void **state) {
    (void)state;
    rig r;
    rig_open(&r);
    const char *model = rig_golden(&r, "llama2"), *rows = rig_rows(&r, "rows.jsonl", 20, 8, 30, 320), *texts = rig_path(&r, "t.jsonl");
    rig_write(texts, "{\"text\": \"abc def\"}\n{\"text\": \"ghi jkl\"}\n{\"text\": \"mno\"}\n{\"text\": \"pqr\"}\n");
#define REFUSED(status, part, ...)                                                            \
    do {                                                                                      \
        SET(&r, MODEL(model), "output_dir", rig_path(&r, "none"), "max_steps", "2", __VA_ARGS__); \
        assert_fails(rig_train(&r), r.err, status, part);                                     \
        assert_false(mg_is_folder(rig_path(&r, "none")));                                     \
    } while (0)
    REFUSED(MG_CONFIG, "metric_for_best_model: 'eval_blue' is not known; there are eval_loss", "dataset", rows, "val_size", "4", "metric_for_best_model", "eval_blue");
    REFUSED(MG_CONFIG, "generation_metrics: 'rouge9'", "dataset", rows, "val_size", "4", "generation_metrics", "bleu,rouge9");
    REFUSED(MG_CONFIG, "needs validation data", "dataset", rows, "predict_with_generate", "true");
    REFUSED(MG_DATA, "has no question before what is learned", "dataset", texts, "val_size", "1", "predict_with_generate", "true",
            "append_eos", "false");
#undef REFUSED
    rig_close(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_gap), cmocka_unit_test(test_generated_scores), cmocka_unit_test(test_repetition),
                                        cmocka_unit_test(test_refused) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
