/* test_methods_slow.c -- every method trained, stopped, gone on with and used.
 *
 * On a tiny model, in fp32 and on an NF4 base, packed or not, with one batch a step or four: a run that is stopped after
 * three of six steps and resumed equals one that was not, bit for bit (adapter and loss of every step); the loss goes down;
 * the saved folder, opened as an adapter, gives the last evaluation's loss. */
#include "rig.h"

#include "infer/bundle.h"
#include "peft/adapter.h"
#include "train/step.h"

enum { STEPS = 6, CUT = 3 };

/* What a method needs beyond the usual; every row of peft.def is tested, whether it stands here or not. */
typedef struct { const char *name, *model, *option, *value; bool packed_only; } need;
static const need needs[] = {
    { "vera", "llama2", "lora_r", "16", false },      { "loha", "llama2", "lora_dropout", "0", false }, { "lokr", "llama2", "lora_dropout", "0", false },
    { "loftq", "llama2", "lora_r", "4", true },       { "bitfit", "qwen2", "lora_r", "4", false }, /* Llama has no biases */
    { "full", "llama2", "dequantize", "true", false }, { "freeze", "llama2", "dequantize", "true", false },
};

static const need *need_of(const char *method) {
    static const need usual = { "", "llama2", "lora_r", "4", false };
    for (size_t i = 0; i < sizeof needs / sizeof *needs; i++)
        if (!strcmp(needs[i].name, method)) return &needs[i];
    return &usual;
}

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
        "learning_rate", "1e-2", "lora_r", "4", "init_r", "4", "target_r", "2", "lora_dropout", "0.1", need_of(method)->option,
        need_of(method)->value, resume ? "resume_from_checkpoint" : NULL, "last");
}

static double losses_of(const rig *r, double *loss) {
    for (int i = 0; i < r->steps; i++) loss[i] = r->step[i].loss;
    return r->evals ? r->eval[r->evals - 1] : NAN;
}

/* Where a run keeps what it trained as an adapter: a run that leaves a model has it in its last checkpoint. */
static const char *trained(const char *run, const char *method) {
    static char ring[2][100];
    static int  at;
    at = !at;
    snprintf(ring[at], sizeof ring[0], mg_method_find(method)->whole ? "%s/checkpoint-6" : "%s", run);
    return ring[at];
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
    double apart = rig_distance(r, trained(whole, method), trained(cut, method));
    if (apart != 0) fail_msg("%s: the resumed adapter differs by %g", whole, apart);

    /* a model keeps the blocks that did not train as its base's file has them, not as they were packed beside the training */
    if (!strcmp(method, "freeze") && variant & 1) return;
    /* as everybody else opens it: another run, from this adapter, whose first evaluation is this one's last */
    bool model_too = mg_method_find(method)->whole; /* a model by itself, in the fp32 of its base: nothing is packed any more */
    SET(r, "model_name_or_path", model_too ? rig_path(r, whole) : model, "dataset", rows, "output_dir", rig_path(r, strcat(cut, "-on")),
        "load_in_4bit", variant & 1 && !model_too ? "true" : "false", "max_steps", "1", "val_size", "4", "append_eos", "false",
        model_too ? NULL : "adapter", rig_path(r, whole));
    assert_ok(rig_train(r), r->err);
    if (!(fabs(r->eval[0] - last) <= 1e-5 * fabs(last))) fail_msg("%s: its folder has the loss %.9g, the run had %.9g", whole, r->eval[0], last);
}

/* LoftQ needs what was packed. */
static void loftq_mends_a_packed_base(void **state) {
    (void)state;
    rig r;
    rig_open(&r);
    const char *model = rig_golden(&r, "llama2"), *rows = write_rows(&r);
    settings(&r, model, rows, "plain", "loftq", 0, false);
    assert_fails(rig_train(&r), r.err, MG_CONFIG, "load_in_4bit");
    rig_close(&r);
}

static void every_method_goes_on(void **state) {
    (void)state;
    rig r;
    rig_open(&r);
    const char      *rows = write_rows(&r);
    const mg_method *m;
    for (size_t i = 0; (m = mg_method_at(i)); i++)
        for (int variant = 0; variant < 8; variant++)
            if (variant & 1 || !need_of(m->name)->packed_only) one(&r, rig_golden(&r, need_of(m->name)->model), rows, m->name, variant);
    rig_close(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_method_goes_on), cmocka_unit_test(loftq_mends_a_packed_base) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
