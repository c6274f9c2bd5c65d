/* Optimizers, schedules, NEFTune, noise and averages in a whole run: each changes the run, learns, and a run that was
 * stopped half-way and went on ends with the same bits. */
#include "rig.h"

static const char *const cases[][16] = {
    { "optim", "adamw_bnb_8bit" },
    { "optim", "paged_adamw_8bit", "weight_decay", "0.1" },
    { "optim", "paged_adamw_32bit" },
    { "optim", "lion_32bit", "learning_rate", "2e-4" },
    { "optim", "lion_8bit", "learning_rate", "2e-4" },
    { "optim", "adafactor", "adafactor_beta1", "0.9" },
    { "optim", "adafactor", "adafactor_relative_step", "true", "adafactor_scale_parameter", "true" },
    { "optim", "sgd", "sgd_momentum", "0.9", "sgd_nesterov", "true", "learning_rate", "0.1" },
    { "optim", "muon", "learning_rate", "2e-3", "muon_adjust_lr_fn", "match_rms_adamw" },
    { "optim", "galore_adamw", "galore_rank", "16", "galore_update_proj_gap", "3", "galore_scale", "1" },
    { "neftune_noise_alpha", "5" },
    { "gradient_noise_eta", "1e-6" },
    { "ema_decay", "0.9" },
    { "ema_decay", "0.5", "optim", "adamw_8bit", "neftune_noise_alpha", "5", "loraplus_lr_ratio", "4" },
    { "lr_scheduler_type", "wsd", "lr_scheduler_num_decay_steps", "4" },
    { "lr_scheduler_type", "cosine_with_restarts", "lr_scheduler_num_cycles", "2", "lora_dropout", "0.1" },
};

static void set_case(rig *r, const char *const *extra, const char *run, const char *steps, const char *resume) {
    const char *pairs[64] = { "model_name_or_path", rig_golden(r, "llama2"), "dataset", rig_rows(r, "rows.jsonl", 24, 8, 40, 256), "output_dir",
                              rig_path(r, run), "max_steps", steps, "per_device_train_batch_size", "2", "val_size", "4", "eval_steps", "4",
                              "save_steps", "4", "learning_rate", "3e-3", "gradient_accumulation_steps", "2", "lora_r", "64" }; /* 8 bits from 4096 numbers on */
    int n = 0;
    while (pairs[n]) n++;
    if (resume) pairs[n++] = "resume_from_checkpoint", pairs[n++] = resume;
    for (int i = 0; extra[i]; i++) pairs[n++] = extra[i];
    rig_set(r, pairs);
}

static void one_case(const char *const *extra, const float *plain, size_t plain_n) {
    rig    r;
    size_t n, m;
    rig_open(&r);
    set_case(&r, extra, "whole", "8", NULL);
    assert_ok(rig_train(&r), r.err);
    double first = r.eval[0], last = r.eval[r.evals - 1];
    if (!(last < first)) fail_msg("%s %s: loss %.4f -> %.4f", extra[0], extra[1], first, last);
    double evals[RIG_STEPS];
    memcpy(evals, r.eval, sizeof evals);
    int   evaluations = r.evals;
    float *whole = rig_adapter(&r, "whole", &n);
    if (plain && n == plain_n && !memcmp(whole, plain, n * sizeof *whole)) {
        bool paged = !strcmp(extra[1], "paged_adamw_32bit"); /* the same numbers in another place */
        if (!paged) fail_msg("%s %s changes nothing", extra[0], extra[1]);
    }

    set_case(&r, extra, "parts", "8", NULL);
    r.stop_after = 4;
    assert_int_equal(rig_train(&r), MG_STOPPED);
    r.stop_after = 0;
    set_case(&r, extra, "parts", "8", "last");
    assert_ok(rig_train(&r), r.err);
    float *parts = rig_adapter(&r, "parts", &m);
    assert_int_equal(n, m);
    if (memcmp(whole, parts, n * sizeof *whole)) fail_msg("%s %s: the run that went on has other bits", extra[0], extra[1]);
    assert_true(r.eval[r.evals - 1] == evals[evaluations - 1]);
    free(whole);
    free(parts);
    rig_close(&r);
}

static void every_case(void **state) {
    (void)state;
    static const char *const nothing[] = { NULL };
    rig    r;
    size_t n;
    rig_open(&r);
    set_case(&r, nothing, "plain", "8", NULL);
    assert_ok(rig_train(&r), r.err);
    float *plain = rig_adapter(&r, "plain", &n);
    rig_close(&r);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) one_case(cases[i], plain, n);
    free(plain);
}

/* The adapter of a run with an average is that average: between the last values and those before. */
static void averages(void **state) {
    (void)state;
    static const char *const with[] = { "ema_decay", "0.99", NULL }, *const without[] = { "ema_decay", "0", NULL };
    rig r;
    rig_open(&r);
    set_case(&r, without, "values", "8", NULL);
    assert_ok(rig_train(&r), r.err);
    double loss = r.step[r.steps - 1].loss;
    size_t n;
    set_case(&r, with, "average", "8", NULL);
    assert_ok(rig_train(&r), r.err);
    assert_true(r.step[r.steps - 1].loss == loss); /* training is the same */
    float *values = rig_adapter(&r, "values", &n), *average = rig_adapter(&r, "average", &n);
    double v = 0, a = 0;
    for (size_t i = 0; i < n; i++) v += (double)values[i] * (double)values[i], a += (double)average[i] * (double)average[i];
    assert_true(a < v && a > 0.1 * v);
    free(values);
    free(average);
    rig_close(&r);
}

/* What the plan says of each optimizer's memory, and what is refused. */
static void plans(void **state) {
    (void)state;
    static const char *const full[] = { "optim", "adamw", NULL }, *const eight[] = { "optim", "adamw_8bit", NULL },
                            *const wrong[] = { "optim", "sgd", "sgd_nesterov", "true", NULL },
                            *const low[] = { "lr_scheduler_type", "cosine_with_min_lr", NULL };
    rig    r;
    rig_open(&r);
    set_case(&r, full, "full", "1", NULL);
    assert_ok(rig_train(&r), r.err);
    size_t bytes = r.plan.optimizer;
    assert_true(r.plan.adapter > 0 && bytes >= 3 * r.plan.adapter && bytes < 3 * r.plan.adapter + 4096);
    set_case(&r, eight, "eight", "1", NULL);
    assert_ok(rig_train(&r), r.err);
    assert_true(r.plan.optimizer != bytes);
    set_case(&r, wrong, "wrong", "1", NULL);
    assert_fails(rig_train(&r), r.err, MG_CONFIG, "sgd_momentum");
    set_case(&r, low, "low", "1", NULL);
    assert_fails(rig_train(&r), r.err, MG_CONFIG, "lr_scheduler_min_lr");
    rig_close(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_case), cmocka_unit_test(averages), cmocka_unit_test(plans) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
