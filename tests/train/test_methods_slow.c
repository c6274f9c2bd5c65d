/* test_methods_slow.c -- every method trained, stopped, gone on with and used.
 *
 * On a tiny model, in fp32 and on an NF4 base, packed or not, with one batch a step or four: a run that is stopped after
 * three of six steps and resumed equals one that was not, bit for bit (adapter and loss of every step); the loss goes down;
 * the saved folder, opened as an adapter, gives the last evaluation's loss. */
#include "rig.h"

#include "infer/bundle.h"
#include "peft/adapter.h"
#include "train/step.h"

static const char *const methods[] = { "lora", "dora", "pissa", "olora", "adalora", "loha", "lokr", "vera", "ia3" };
enum { METHODS = sizeof methods / sizeof *methods, STEPS = 6, CUT = 3 };

static const char *write_rows(rig *r) {
    mg_buf      b = { 0 };
    const char *path = rig_path(r, "rows.jsonl");
    for (int i = 0; i < 24; i++)
        mg_buf_printf(&b, "{\"prompt\": \"%d plus %d?\", \"completion\": \"It is %d, of course.\"}\n", i, i % 5, i + i % 5);
    assert_false(b.failed);
    rig_write(path, b.data);
    mg_buf_free(&b);
    return path;
}

static const char *number(int64_t n) {
    static char ring[4][24];
    static int  at;
    snprintf(ring[at = (at + 1) % 4], sizeof ring[0], "%lld", (long long)n);
    return ring[at];
}

static void settings(rig *r, const char *model, const char *rows, const char *run, const char *method, int variant, bool resume) {
    bool nf4 = variant & 1, packing = variant & 2, four = variant & 4;
    SET(r, "model_name_or_path", model, "dataset", rows, "output_dir", rig_path(r, run), "method", method, "load_in_4bit",
        nf4 ? "true" : "false", "packing", packing ? "true" : "false", "per_device_train_batch_size", four ? "1" : "2",
        "gradient_accumulation_steps", four ? "4" : "1", "max_steps", number(STEPS), "save_steps", number(CUT), "val_size", "4", "append_eos", "false",
        "learning_rate", "1e-2", "lora_r", strcmp(method, "vera") ? "4" : "16", "init_r", "4", "target_r", "2", "lora_dropout",
        !strcmp(method, "loha") || !strcmp(method, "lokr") ? "0" : "0.1", resume ? "resume_from_checkpoint" : NULL, "last");
}

static double losses_of(const rig *r, double *loss) {
    for (int i = 0; i < r->steps; i++) loss[i] = r->step[i].loss;
    return r->evals ? r->eval[r->evals - 1] : NAN;
}

static void one(rig *r, const char *model, const char *rows, const char *method, int variant) {
    char   whole[64], cut[64];
    double loss[STEPS], again[STEPS];
    snprintf(whole, sizeof whole, "%s-%d", method, variant);
    snprintf(cut, sizeof cut, "%s-%d-cut", method, variant);
    settings(r, model, rows, whole, method, variant, false);
    r->stop_after = 0;
    assert_ok(rig_train(r), r->err);
    assert_int_equal(r->steps, STEPS);
    double last = losses_of(r, loss);
    if (!(last < r->eval[0])) fail_msg("%s: validation loss %g, before %g", whole, last, r->eval[0]);

    settings(r, model, rows, cut, method, variant, false);
    r->stop_after = CUT;
    assert_int_equal(rig_train(r), MG_STOPPED);
    losses_of(r, again);
    settings(r, model, rows, cut, method, variant, true);
    r->stop_after = 0;
    assert_ok(rig_train(r), r->err);
    assert_int_equal(r->steps, STEPS - CUT);
    for (int i = 0; i < r->steps; i++) again[CUT + i] = r->step[i].loss;
    for (int i = 0; i < STEPS; i++)
        if (loss[i] != again[i]) fail_msg("%s: loss of step %d is %.9g, resumed %.9g", whole, i + 1, loss[i], again[i]);
    if (rig_distance(r, whole, cut) != 0) fail_msg("%s: the resumed adapter differs by %g", whole, rig_distance(r, whole, cut));

    /* as everybody else opens it: another run, from this adapter, whose first evaluation is this one's last */
    SET(r, "model_name_or_path", model, "dataset", rows, "output_dir", rig_path(r, strcat(cut, "-on")), "adapter", rig_path(r, whole),
        "load_in_4bit", variant & 1 ? "true" : "false", "max_steps", "1", "val_size", "4", "append_eos", "false");
    assert_ok(rig_train(r), r->err);
    if (!(fabs(r->eval[0] - last) <= 1e-5 * fabs(last))) fail_msg("%s: its folder has the loss %.9g, the run had %.9g", whole, r->eval[0], last);
}

/* LoftQ needs what was packed. */
static void loftq_mends_a_packed_base(void **state) {
    (void)state;
    rig r;
    rig_open(&r);
    const char *model = rig_golden(&r, "llama2"), *rows = write_rows(&r);
    for (int variant = 1; variant < 8; variant += 2) one(&r, model, rows, "loftq", variant);
    settings(&r, model, rows, "plain", "loftq", 0, false);
    assert_fails(rig_train(&r), r.err, MG_CONFIG, "load_in_4bit");
    rig_close(&r);
}

static void every_method_goes_on(void **state) {
    (void)state;
    rig r;
    rig_open(&r);
    const char *model = rig_golden(&r, "llama2"), *rows = write_rows(&r);
    for (int m = 0; m < METHODS; m++)
        for (int variant = 0; variant < 8; variant++) one(&r, model, rows, methods[m], variant);
    rig_close(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_method_goes_on), cmocka_unit_test(loftq_mends_a_packed_base) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
