/* test_stages.c -- parts of the data, stages of them, and a run that pauses. */
#include "train/rig.h"

#include "data/batch.h"

#define COMMON(model, rows) \
    "model_name_or_path", model, "dataset", rows, "val_size", "0.25", "per_device_train_batch_size", "1", "seed", "7"

/* A smaller part lies in every larger one, in every epoch the same samples in another order. */
static void parts_are_nested(void **state) {
    (void)state;
    enum { N = 101 };
    static mg_sample s[N];
    mg_dataset       d = { .sample = s, .n = N };
    mg_error         err;
    bool             in[3][N] = { { false } };
    static const double part[] = { 0.1, 0.35, 1 };
    for (size_t i = 0; i < N; i++) s[i] = (mg_sample){ .n = 4 + (int32_t)i % 9, .n_labels = 2 };
    for (int k = 0; k < 3; k++)
        for (uint64_t epoch = 0; epoch < 2; epoch++) {
            mg_batch_options o = { .seed = 5, .shuffle = true, .packing = k == 1, .batch_size = 3, .max_length = 16, .part = part[k] };
            mg_epoch         e = { 0 };
            assert_ok(mg_plan_epoch(&e, &d, &o, epoch, &err), err);
            assert_int_equal(e.n, (size_t)ceil(part[k] * N));
            assert_int_equal(e.micro_start[e.n_micro], e.n);
            for (size_t i = 0; i < e.n; i++) {
                if (epoch == 0) {
                    assert_false(in[k][e.order[i]]);
                    in[k][e.order[i]] = true;
                }
                assert_true(in[k][e.order[i]]);
            }
            mg_epoch_free(&e);
        }
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < N; i++) assert_true(!in[k][i] || in[k + 1][i]);
    mg_batch_options o = { .batch_size = 1, .part = 1.5 };
    mg_epoch         e;
    assert_fails(mg_plan_epoch(&e, &d, &o, 0, &err), err, MG_CONFIG, "part of the data");
}

static void stages_grow_and_stop(void **state) {
    (void)state;
    rig r;
    rig_open(&r);
    const char *model = rig_golden(&r, "llama2"), *rows = rig_rows(&r, "rows.jsonl", 32, 8, 30, 320); /* 24 to train on */
    TRAIN(&r, "all", COMMON(model, rows), "stages", "0.25,0.5,1", "num_train_epochs", "2");
    assert_int_equal(r.result.steps, 2 * (6 + 12 + 24));
    assert_false(r.result.stopped_early);
    int found = 0;
    for (int i = 0; i < r.evals; i++) found += r.eval_step[i] == 12 || r.eval_step[i] == 36 || r.eval_step[i] == 84;
    assert_int_equal(found, 3); /* each stage is judged at its end */
    /* nothing is learnt: the first stage helps nothing, the others are not begun */
    TRAIN(&r, "still", COMMON(model, rows), "stages", "0.25,0.5,1", "num_train_epochs", "2", "learning_rate", "0");
    assert_true(r.result.stopped_early);
    assert_int_equal(r.result.steps, 12);
    TRAIN(&r, "threshold", COMMON(model, rows), "stages", "0.25,1", "num_train_epochs", "2", "stage_threshold", "50");
    assert_int_equal(r.result.steps, 12);
    TRAIN(&r, "part", COMMON(model, rows), "train_fraction", "0.5", "num_train_epochs", "1");
    assert_int_equal(r.result.steps, 12);
    static const char *const wrong[] = { "0.5,0.25", "0", "1.5", "half", "0.5,0.5" };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        SET(&r, COMMON(model, rows), "stages", wrong[i], "output_dir", rig_path(&r, "none"));
        assert_fails(rig_train(&r), r.err, MG_CONFIG, "stages");
    }
    assert_false(mg_is_folder(rig_path(&r, "none")));
    rig_close(&r);
}

/* Paused, evaluated and gone on with, also within a stage: the same bits as without a pause. */
static void a_pause_changes_nothing(void **state) {
    (void)state;
    rig r;
    rig_open(&r);
    const char *model = rig_golden(&r, "llama2"), *rows = rig_rows(&r, "rows.jsonl", 32, 8, 30, 320);
    TRAIN(&r, "whole", COMMON(model, rows), "stages", "0.25,1", "num_train_epochs", "1", "lora_dropout", "0.1");
    assert_int_equal(r.result.steps, 30);
    assert_false(r.result.paused);
    r.pause = 0.37;
    TRAIN(&r, "parts", COMMON(model, rows), "stages", "0.25,1", "num_train_epochs", "1", "lora_dropout", "0.1");
    assert_true(r.result.paused);
    assert_int_equal(r.result.steps, 12); /* 0.37 of 30, upwards */
    assert_int_equal(r.eval_step[r.evals - 1], 12);
    r.pause = 0;
    SET(&r, "output_dir", rig_path(&r, "parts"), COMMON(model, rows), "stages", "0.25,1", "num_train_epochs", "1", "lora_dropout", "0.1",
        "resume_from_checkpoint", "last");
    assert_ok(rig_train(&r), r.err);
    assert_int_equal(r.result.steps, 30);
    assert_int_equal(r.steps, 18);
    assert_true(rig_distance(&r, "whole", "parts") == 0);
    rig_close(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(parts_are_nested), cmocka_unit_test(stages_grow_and_stop),
                                        cmocka_unit_test(a_pause_changes_nothing) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
