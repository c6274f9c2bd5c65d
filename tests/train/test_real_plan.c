/* test_real_plan.c -- the memory plan against the process's real peak, on real models.
 *
 * |planned - VmHWM| is at most 5% of the peak, for short and long rows, both ways of computing, and with all blocks run
 * twice.  Each run is a process of its own, because a peak never goes down. */
#include "rig.h"

#include <sys/wait.h>

typedef struct { size_t planned, peak; int steps; char error[300]; } outcome;

static const char *write_rows(rig *r, int length) {
    mg_buf b = { 0 };
    for (int i = 0; i < 4; i++)
        for (int part = 0; part < 2; part++) {
            uint32_t x = 7u + (uint32_t)i;
            mg_buf_str(&b, part ? "], \"labels\": [" : "{\"input_ids\": [");
            for (int k = 0; k < length; k++) mg_buf_printf(&b, "%s%u", k ? ", " : "", 300 + ((x = x * 1664525u + 1013904223u) >> 16) % 20000);
            if (part) mg_buf_str(&b, "]}\n");
        }
    assert_false(b.failed);
    const char *path = rig_path(r, "rows.jsonl");
    rig_write(path, b.data);
    mg_buf_free(&b);
    return path;
}

/* In a child: train two steps and tell the result through a pipe. */
static outcome run_alone(rig *r, const char *const *pairs) {
    int     ends[2];
    outcome o = { 0 };
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (!pid) {
        rig_set(r, pairs);
        mg_status st = rig_train(r);
        o = (outcome){ .planned = r->result.planned_bytes, .peak = r->result.peak_bytes, .steps = r->steps };
        if (st) snprintf(o.error, sizeof o.error, "%.250s", r->err.text);
        _exit(write(ends[1], &o, sizeof o) != sizeof o);
    }
    close(ends[1]);
    if (read(ends[0], &o, sizeof o) != sizeof o) snprintf(o.error, sizeof o.error, "the child said nothing");
    close(ends[0]);
    waitpid(pid, NULL, 0);
    return o;
}

static void plans_of(const char *model) {
    static const struct { int length; const char *dtype, *checkpointing, *samples; } cases[] = {
        { 512, "float32", "auto", NULL }, { 512, "auto", "auto", NULL }, { 512, "auto", "true", NULL },
        { 32, "float32", "auto", NULL }, { 32, "auto", "true", NULL },   { 32, "float32", "auto", "Count from 1 to 100." },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rig r;
        rig_open(&r);
        const char *rows = write_rows(&r, cases[i].length);
        outcome     o = run_alone(&r, (const char *const[]){ "model_name_or_path", model_path(model), "dataset", rows, "output_dir",
                                                         rig_path(&r, "run"), "dtype", cases[i].dtype, "gradient_checkpointing",
                                                         cases[i].checkpointing, "max_length", "512", "per_device_train_batch_size", "1",
                                                         "max_steps", "2", "lora_r", "16", "val_size", "1", cases[i].samples ? "sample_prompts" : NULL,
                                                         cases[i].samples, NULL });
        if (*o.error) fail_msg("%s: %s", model, o.error);
        double off = ((double)o.planned - (double)o.peak) / (double)o.peak;
        print_message("%s, %d tokens, %s, checkpointing %s%s: planned %.1f MB, peak %.1f MB, %+.1f%%\n", model, cases[i].length, cases[i].dtype,
                      cases[i].checkpointing, cases[i].samples ? ", with a sample" : "", (double)o.planned / 1e6, (double)o.peak / 1e6, 100 * off);
        assert_int_equal(o.steps, 2);
        assert_true(fabs(off) <= 0.05);
        rig_close(&r);
    }
}

static void test_smollm2(void **state) {
    (void)state;
    plans_of("smollm2.gguf");
}

static void test_gemma3(void **state) {
    (void)state;
    plans_of("gemma3.gguf");
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_smollm2), cmocka_unit_test(test_gemma3) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
