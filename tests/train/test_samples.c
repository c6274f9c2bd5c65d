/* test_samples.c -- what a run looks at between its steps: answers to sample_prompts and evaluations, complete after
 * a stop at any moment; and that a run goes on only where its bits can be had again. */
#include "rig.h"

#include "base/json.h"

#include <signal.h>

#define MODEL(path) "model_name_or_path", path
#define USUAL MODEL(model), "dataset", rows, "num_train_epochs", "4", "per_device_train_batch_size", "2", "val_size", "4", "save_steps", "4"

static char *text_of(const rig *r, const char *name) {
    mg_buf   b = { 0 };
    mg_error err;
    assert_ok(mg_read_file(&b, rig_path(r, name), 1 << 20, &err), err);
    return b.data;
}

/* The answers in RUN/samples/step-N.jsonl, whose prompts must be these. */
static void read_samples(const rig *r, const char *run, int step, const char *const *prompt, int n, char answer[][400]) {
    char name[200], *rest = NULL;
    snprintf(name, sizeof name, "%s/samples/step-%06d.jsonl", run, step);
    char *text = text_of(r, name), *line = strtok_r(text, "\n", &rest);
    for (int i = 0; i < n; i++, line = strtok_r(NULL, "\n", &rest)) {
        mg_json  j = { 0 };
        mg_error err;
        assert_non_null(line);
        assert_ok(mg_json_parse(&j, line, strlen(line), name, &err), err);
        assert_int_equal(yyjson_get_int(yyjson_obj_get(j.root, "step")), step);
        assert_int_equal(yyjson_get_int(yyjson_obj_get(j.root, "index")), i);
        assert_string_equal(yyjson_get_str(yyjson_obj_get(j.root, "prompt")), prompt[i]);
        snprintf(answer[i], 400, "%s", yyjson_get_str(yyjson_obj_get(j.root, "answer")));
        mg_json_free(&j);
    }
    assert_null(line);
    free(text);
}

/* Before, with every evaluation, at the end; the same in every run; and the training does not notice. */
static void test_samples(void **state) {
    (void)state;
    static const char *const prompts[] = { "abc", "second line", "third" };
    rig  r;
    char first[3][400], again[3][400], last[3][400];
    rig_open(&r);
    const char *model = rig_golden(&r, "llama2"), *rows = rig_rows(&r, "rows.jsonl", 20, 8, 30, 320), *file = rig_path(&r, "prompts");
    rig_write(file, "abc\nsecond line\r\n\nthird");
#define SAMPLES "sample_prompts", file
    TRAIN(&r, "plain", USUAL, "lora_dropout", "0.1", "learning_rate", "1e-2");
    size_t without = r.plan.total;
    TRAIN(&r, "run", USUAL, "lora_dropout", "0.1", "learning_rate", "1e-2", SAMPLES);
    assert_true(rig_distance(&r, "plain", "run") == 0);
    assert_true(r.plan.total > without);
    static const int steps[] = { 0, 4, 8, 12, 16, 20, 24, 28, 32 };
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        assert_int_equal(r.sampled_step[i], steps[i]);
        read_samples(&r, "run", steps[i], prompts, 3, i ? last : first);
    }
    assert_int_equal(r.sampled, 9);
    int changed = 0;
    for (int i = 0; i < 3; i++) changed += strcmp(first[i], last[i]) != 0;
    assert_true(changed > 0); /* it is the adapter at hand that answers */
    TRAIN(&r, "again", USUAL, "lora_dropout", "0.1", "learning_rate", "1e-2", SAMPLES);
    read_samples(&r, "again", 32, prompts, 3, again);
    for (int i = 0; i < 3; i++) assert_string_equal(again[i], last[i]);
    TRAIN(&r, "alone", MODEL(model), "dataset", rows, "max_steps", "2", "sample_prompts", "abc"); /* without validation data */
    read_samples(&r, "alone", 0, prompts, 1, again);
    assert_string_equal(again[0], first[0]); /* whatever is answered beside it */
    read_samples(&r, "alone", 2, prompts, 1, again);
    /* refused before there is a folder */
    SET(&r, MODEL(model), "dataset", rows, "output_dir", rig_path(&r, "none"), "max_length", "31", "sample_prompts",
        "a prompt that is longer than the model was opened for");
    assert_fails(rig_train(&r), r.err, MG_TRUNCATED, "sample_prompts: prompt 1");
    rig_write(file, "\n\n");
    SET(&r, MODEL(model), "dataset", rows, "output_dir", rig_path(&r, "none"), "sample_prompts", file);
    assert_fails(rig_train(&r), r.err, MG_DATA, "holds no prompt");
    assert_false(mg_is_folder(rig_path(&r, "none")));
#undef SAMPLES
    rig_close(&r);
}

/* Stopped inside a look, or just before it: what was left out is made up for, so best step, patience, answers and
 * weights are those of a run never stopped. */
static void test_stopped_look(void **state) {
    (void)state;
    static const char *const prompts[] = { "abc", "second" };
    rig    r;
    char   want[2][400], got[2][400];
    double eval[RIG_STEPS];
    rig_open(&r);
    const char *model = rig_golden(&r, "llama2"), *rows = rig_rows(&r, "rows.jsonl", 20, 8, 30, 320), *file = rig_path(&r, "prompts");
    rig_write(file, "abc\nsecond\n");
#define LOOKS(run) USUAL, "load_best_model_at_end", "true", "early_stopping_patience", "2", "learning_rate", "2", "lr_scheduler_type", \
                   "constant", "sample_prompts", file, "output_dir", rig_path(&r, run)
    SET(&r, LOOKS("whole"));
    assert_ok(rig_train(&r), r.err);
    int n = r.evals;
    memcpy(eval, r.eval, sizeof eval);
    mg_sft_result whole = r.result;
    assert_true(whole.stopped_early && whole.steps < 32); /* by what the evaluations said */
    read_samples(&r, "whole", 4, prompts, 2, want);
    for (int in_evaluation = 0; in_evaluation < 2; in_evaluation++) {
        const char *run = in_evaluation ? "late" : "early";
        SET(&r, LOOKS(run));
        r.stop_after = in_evaluation ? 0 : 4;           /* behind the step: nothing of the look is made */
        r.stop_after_evaluation = in_evaluation ? 4 : -1; /* behind the evaluation: the answers are missing */
        assert_int_equal(rig_train(&r), MG_STOPPED);
        assert_false(mg_is_file(rig_path(&r, in_evaluation ? "late/samples/step-000004.jsonl" : "early/samples/step-000004.jsonl")));
        int before = r.evals;
        SET(&r, LOOKS(run), "resume_from_checkpoint", "last");
        r.stop_after = 0;
        r.stop_after_evaluation = -1;
        assert_ok(rig_train(&r), r.err);
        assert_int_equal(before + r.evals, n);
        for (int i = 0; i < r.evals; i++) assert_true(r.eval[i] == eval[before + i]);
        assert_int_equal(r.result.best_step, whole.best_step);
        assert_int_equal(r.result.steps, whole.steps);
        assert_true(r.result.best_eval_loss == whole.best_eval_loss);
        assert_true(rig_distance(&r, "whole", run) == 0);
        read_samples(&r, run, 4, prompts, 2, got);
        for (int i = 0; i < 2; i++) assert_string_equal(got[i], want[i]);
    }
#undef LOOKS
    rig_close(&r);
}

/* Sums are cut at the threads: a resumed run takes as many as it had, and refuses others. */
static void test_threads(void **state) {
    (void)state;
    rig r;
    rig_open(&r);
    const char *model = rig_golden(&r, "llama2"), *rows = rig_rows(&r, "rows.jsonl", 20, 8, 30, 320);
    TRAIN(&r, "whole", USUAL, "threads", "1");
    SET(&r, USUAL, "threads", "1", "output_dir", rig_path(&r, "run"));
    r.stop_after = 5;
    assert_int_equal(rig_train(&r), MG_STOPPED);
    r.stop_after = 0;
    SET(&r, USUAL, "threads", "2", "output_dir", rig_path(&r, "run"), "resume_from_checkpoint", "last");
    assert_fails(rig_train(&r), r.err, MG_MISMATCH, "threads: 1 → 2 (give --threads 1)");
    SET(&r, USUAL, "threads", "0", "output_dir", rig_path(&r, "run"), "resume_from_checkpoint", "last"); /* as many as then */
    assert_ok(rig_train(&r), r.err);
    assert_true(rig_distance(&r, "whole", "run") == 0);
    /* another instruction set or library, as far as the checkpoint says */
    char *identity = text_of(&r, "run/checkpoint-32/identity.json");
    assert_non_null(strstr(identity, "\"machine\": \"v") ? identity : strstr(identity, "\"machine\": \"base"));
    assert_non_null(strstr(identity, "\"threads\": 1,"));
    free(identity);
    rig_close(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_samples), cmocka_unit_test(test_stopped_look),
                                        cmocka_unit_test(test_threads) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
