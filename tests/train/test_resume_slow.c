/* test_resume_slow.c -- the program itself, killed and stopped at any moment, ends with the bits of a run that never was.
 *
 * `migaki sft` runs as a child that is killed with SIGKILL after a random time, or while a checkpoint is being written;
 * `migaki resume` goes on, and is killed in turn, until the run is through. */
#include "rig.h"

#include "train/checkpoint.h"

#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

enum { MAX_ARGUMENTS = 80 };

typedef struct {
    const char *model;
    const char *rows;
    const char *extra[24]; /* options of this case, NULL ends */
} job;

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void pause_for(double s) {
    if (s > 0) nanosleep(&(struct timespec){ (time_t)s, (long)((s - (double)(time_t)s) * 1e9) }, NULL);
}

/* Start the program; what it says goes to HOME/log. */
static pid_t start(const rig *r, const char *const *argument) {
    const char *program = getenv("MIGAKI_BIN");
    char       *argv[MAX_ARGUMENTS + 2] = { (char *)"migaki" };
    int         n = 1;
    if (!program || access(program, X_OK)) fail_msg("MIGAKI_BIN does not name the program");
    while (*argument && n < MAX_ARGUMENTS) argv[n++] = (char *)*argument++;
    assert_null(*argument);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid) return pid;
    int log = open(rig_path(r, "log"), O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (log < 0 || dup2(log, 1) < 0 || dup2(log, 2) < 0) _exit(126);
    execv(program, argv);
    _exit(127);
}

/* The exit code, or 1000 + the signal that ended it. */
static int wait_for(pid_t pid) {
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static char *said(const rig *r) {
    static mg_buf b;
    mg_error      err;
    mg_buf_free(&b);
    assert_ok(mg_read_file(&b, rig_path(r, "log"), 1 << 20, &err), err);
    return b.data ? b.data : (char *)"";
}

static void assert_said(const rig *r, const char *part) {
    if (!strstr(said(r), part)) fail_msg("'%s' is not said: %s", part, said(r));
}

static pid_t start_sft(const rig *r, const job *j, const char *run) {
    const char *a[MAX_ARGUMENTS] = { "sft", "-m", j->model, "-d", j->rows, "-o", rig_path(r, run), "--dtype", "float32", "--lora_r", "4",
                                     "--threads", "1", "--max_length", "64", "--per_device_train_batch_size", "2", "--learning_rate", "1e-3",
                                     "--max_steps", "10", "--val_size", "3", "--json" };
    int n = 0;
    while (a[n]) n++;
    for (const char *const *e = j->extra; *e; e++) a[n++] = *e;
    return start(r, a);
}

static pid_t start_resume(const rig *r, const char *run) { return start(r, (const char *const[]){ "resume", rig_path(r, run), "--json", NULL }); }

static void assert_exits(const rig *r, pid_t pid, int code, const char *what) {
    int got = wait_for(pid);
    if (got != code) fail_msg("%s: exit code %d, wanted %d: %s", what, got, code, said(r));
}

static bool exists(const rig *r, const char *run, const char *name) {
    char path[300];
    snprintf(path, sizeof path, "%s/%s", run, name);
    return mg_is_file(rig_path(r, path));
}

static void sum_of(const rig *r, const char *run, const char *file, char out[65]) {
    mg_buf   b = { 0 };
    mg_error err;
    char     path[300];
    snprintf(path, sizeof path, "%s/%s", run, file);
    assert_ok(mg_read_file(&b, rig_path(r, path), 64 << 20, &err), err);
    mg_sha256_hex(out, b.data, b.len);
    mg_buf_free(&b);
}

static void assert_same_run(const rig *r, const char *a, const char *b) {
    static const char *const files[] = { "adapter_model.safetensors", "checkpoint-10/optimizer.safetensors",
                                         "checkpoint-10/adapter_model.safetensors", "adapter_config.json",
                                         "samples/step-000000.jsonl", "samples/step-000010.jsonl" };
    char x[65], y[65];
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        if (strstr(files[i], "samples/") && !exists(r, a, files[i])) continue; /* without sample_prompts */
        sum_of(r, a, files[i], x);
        sum_of(r, b, files[i], y);
        if (strcmp(x, y)) fail_msg("%s of %s is not that of %s", files[i], b, a);
    }
}

/* Wait until a checkpoint is being written (or the child has ended), then a moment more. */
static void wait_for_save(const rig *r, const char *run, pid_t pid, double more) {
    char pattern[300];
    snprintf(pattern, sizeof pattern, "%s/checkpoint-*.tmp-*", run);
    for (double end = seconds() + 20; seconds() < end;) {
        glob_t g;
        int    none = glob(rig_path(r, pattern), GLOB_NOSORT, NULL, &g);
        globfree(&g);
        siginfo_t info = { 0 };
        if (!none || (!waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) && info.si_pid)) break;
        pause_for(0.0001);
    }
    pause_for(more);
}

/* Kill `kills` times, each second one inside a save; then let it finish.  How often it was killed indeed. */
static int killed_run(const rig *r, const job *j, const char *run, int kills, double whole, unsigned *seed) {
    int dead = 0;
    for (int i = 0; i <= kills; i++) {
        bool  fresh = !exists(r, run, "config.yaml");
        pid_t pid = fresh ? start_sft(r, j, run) : start_resume(r, run);
        if (i < kills) {
            double part = (double)rand_r(seed) / RAND_MAX;
            if (i % 2)
                wait_for_save(r, run, pid, 0.004 * part);
            else
                pause_for(whole * part);
            kill(pid, SIGKILL);
        }
        int code = wait_for(pid);
        if (code != 0 && code != 1000 + SIGKILL) fail_msg("%s, round %d: exit code %d: %s", run, i, code, said(r));
        dead += code != 0;
    }
    return dead;
}

static double uninterrupted(const rig *r, const job *j, const char *run) {
    double begin = seconds();
    assert_exits(r, start_sft(r, j, run), 0, run);
    return seconds() - begin;
}

static int all_kills; /* that found the program running */

static void kills_of(const char *kind, int kills_each) {
    rig      r;
    unsigned seed = 1;
    int      dead = 0, cases = 0;
    rig_open(&r);
    job j = { .rows = rig_rows(&r, "rows.jsonl", 19, 5, 40, 320) };
    j.model = strcmp(kind, "gguf") ? rig_golden(&r, "llama2") : rig_gguf(&r, "tiny.gguf");
    for (int k = 0; k < 8; k++) {
        const char *const extra[] = { "--packing", k & 1 ? "true" : "false", "--gradient_accumulation_steps", k & 2 ? "4" : "1",
                                      "--lora_dropout", k & 4 ? "0.1" : "0", "--save_steps", k % 3 ? "1" : "2", "--sample_prompts", "abc",
                                      strcmp(kind, "gguf") ? "--load_in_4bit" : NULL, NULL };
        char whole[40], cut[40];
        memcpy(j.extra, extra, sizeof extra);
        snprintf(whole, sizeof whole, "whole-%d", k);
        snprintf(cut, sizeof cut, "cut-%d", k);
        double time = uninterrupted(&r, &j, whole);
        dead += killed_run(&r, &j, cut, kills_each, time, &seed);
        assert_same_run(&r, whole, cut);
        cases++;
    }
    print_message("%s: %d kills in %d runs, all with the bits of a run never interrupted\n", kind, dead, cases);
    all_kills += dead;
    rig_close(&r);
}

static void test_kills_gguf(void **state) {
    (void)state;
    kills_of("gguf", 6);
}

static void test_kills_four_bits(void **state) {
    (void)state;
    kills_of("nf4", 6);
    assert_true(all_kills >= 20);
}

/* Early stopping is decided once: a run that had stopped early does not train on after a kill. */
static void test_kill_after_early_stop(void **state) {
    (void)state;
    rig r;
    rig_open(&r);
    job j = { .rows = rig_rows(&r, "rows.jsonl", 19, 5, 40, 320), .model = rig_gguf(&r, "tiny.gguf"),
              .extra = { "--early_stopping_patience", "2", "--early_stopping_threshold", "100", "--save_steps", "1",
                         "--load_best_model_at_end" } };
    assert_exits(&r, start_sft(&r, &j, "run"), 0, "early stopping");
    assert_said(&r, "\"steps\": 3,");
    char before[65], after[65];
    sum_of(&r, "run", "adapter_model.safetensors", before);
    assert_int_equal(unlink(rig_path(&r, "run/adapter_model.safetensors")), 0); /* as if killed behind the last checkpoint */
    assert_exits(&r, start_resume(&r, "run"), 0, "resume");
    assert_said(&r, "\"steps\": 3,");
    assert_said(&r, "\"stopped_early\": true");
    sum_of(&r, "run", "adapter_model.safetensors", after);
    assert_string_equal(before, after);
    rig_close(&r);
}

/* ---- Ctrl-C ---- */

/* Wait until the child has said this many steps. */
static void wait_for_steps(const rig *r, int steps) {
    for (double end = seconds() + 20; seconds() < end; pause_for(0.0005)) {
        if (!mg_is_file(rig_path(r, "log"))) continue;
        int n = 0;
        for (char *p = said(r); (p = strstr(p, "{\"step\": ")); p++) n++;
        if (n >= steps) return;
    }
    fail_msg("no %d steps in 20 s: %s", steps, said(r));
}

static void test_interrupt(void **state) {
    (void)state;
    rig r;
    rig_open(&r);
    job j = { .rows = rig_rows(&r, "rows.jsonl", 19, 5, 40, 320), .model = rig_gguf(&r, "tiny.gguf"),
              .extra = { "--save_steps", "100", "--lora_dropout", "0.1" } };
    uninterrupted(&r, &j, "whole");
    for (int k = 0; k < 3; k++) {
        char run[40], path[100];
        static const int signals[] = { SIGINT, SIGTERM, SIGINT };
        snprintf(run, sizeof run, "stopped-%d", k);
        unlink(rig_path(&r, "log"));
        pid_t pid = start_sft(&r, &j, run);
        wait_for_steps(&r, 1 + 2 * k);
        kill(pid, signals[k]);
        int code = wait_for(pid);
        if (!code) continue; /* it was faster */
        if (code != 130) fail_msg("exit code %d: %s", code, said(&r));
        assert_said(&r, "migaki resume");
        int64_t *steps, last;
        size_t   n;
        assert_ok(mg_checkpoint_list(&steps, &n, rig_path(&r, run), &r.err), r.err);
        assert_int_equal(n, 1); /* none was due: this one was made for the signal */
        last = steps[0];
        free(steps);
        snprintf(path, sizeof path, "%s/checkpoint-%lld", run, (long long)last);
        assert_ok(mg_checkpoint_verify(rig_path(&r, path), NULL, &r.err), r.err);
        assert_exits(&r, start_resume(&r, run), 0, "resume");
        assert_same_run(&r, "whole", run);
    }
    rig_close(&r);
}

/* A second signal ends the program at once; what was saved before is valid and can be gone on with. */
static void test_interrupt_twice(void **state) {
    (void)state;
    rig r;
    rig_open(&r);
    job j = { .rows = rig_rows(&r, "rows.jsonl", 19, 5, 40, 320), .model = rig_gguf(&r, "tiny.gguf"), .extra = { "--save_steps", "1" } };
    uninterrupted(&r, &j, "whole");
    int twice = 0;
    for (int k = 0; k < 4; k++) {
        char run[40];
        snprintf(run, sizeof run, "stopped-%d", k);
        unlink(rig_path(&r, "log"));
        pid_t pid = start_sft(&r, &j, run);
        wait_for_steps(&r, 2 + k);
        kill(pid, SIGINT);
        pause_for(0.0003 * k);
        kill(pid, SIGINT);
        int code = wait_for(pid);
        if (code != 0 && code != 130 && code != 1000 + SIGINT) fail_msg("exit code %d: %s", code, said(&r));
        twice += code == 1000 + SIGINT;
        assert_exits(&r, start_resume(&r, run), 0, "resume");
        assert_same_run(&r, "whole", run);
    }
    print_message("%d of 4 runs were ended by the second signal\n", twice);
    rig_close(&r);
}

/* ---- what is refused ---- */

static void test_refused(void **state) {
    (void)state;
    rig r;
    rig_open(&r);
    job j = { .rows = rig_rows(&r, "rows.jsonl", 19, 5, 40, 320), .model = rig_gguf(&r, "tiny.gguf"), .extra = { "--save_steps", "5" } };
    uninterrupted(&r, &j, "run");
    static const struct { const char *name, *value, *field; } changes[] = {
        { "--learning_rate", "2e-3", "\\n  learning_rate: 0.001 → 0.002" }, { "--lora_r", "8", "\\n  lora_r: 4 → 8" },
        { "--max_steps", "12", "\\n  total_steps: 10 → 12" },           { "--seed", "1", "\\n  seed: 42 → 1" },
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        const char *const extra[] = { "--save_steps", "5", "--resume_from_checkpoint", "last", changes[i].name, changes[i].value, NULL };
        memcpy(j.extra, extra, sizeof extra);
        char before[65], after[65];
        sum_of(&r, "run", "adapter_model.safetensors", before);
        assert_exits(&r, start_sft(&r, &j, "run"), 2, changes[i].name);
        assert_said(&r, changes[i].field);
        sum_of(&r, "run", "adapter_model.safetensors", after);
        assert_string_equal(before, after);
    }
    /* another run may not use the folder; and resuming needs to know where */
    memset(j.extra, 0, sizeof j.extra);
    assert_exits(&r, start_sft(&r, &j, "run"), 2, "a folder that is taken");
    assert_said(&r, "holds a run already");
    assert_exits(&r, start(&r, (const char *const[]){ "sft", "-m", j.model, "-d", j.rows, "--resume_from_checkpoint", "last", NULL }), 2,
                 "no folder");
    assert_exits(&r, start(&r, (const char *const[]){ "sft", "-o", rig_path(&r, "run"), "--resume_from_checkpoint", "last", NULL }), 2,
                 "no model");
    /* changed data: named by `resume` itself */
    rig_rows(&r, "rows.jsonl", 19, 5, 41, 320);
    assert_exits(&r, start_resume(&r, "run"), 2, "changed data");
    assert_said(&r, "\\n  train_data: ");
    rig_close(&r);
}

static void test_in_use(void **state) {
    (void)state;
    rig r;
    rig_open(&r);
    job j = { .rows = rig_rows(&r, "rows.jsonl", 19, 5, 40, 320), .model = rig_gguf(&r, "tiny.gguf"), .extra = { "--save_steps", "1" } };
    unlink(rig_path(&r, "log"));
    pid_t pid = start_sft(&r, &j, "run");
    wait_for_steps(&r, 2);
    kill(pid, SIGSTOP);
    assert_exits(&r, start_resume(&r, "run"), 2, "a run in use");
    char number[40];
    snprintf(number, sizeof number, "another process (%ld)", (long)pid);
    assert_said(&r, number);
    kill(pid, SIGCONT);
    assert_exits(&r, pid, 0, "the first");
    rig_close(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kills_gguf), cmocka_unit_test(test_kills_four_bits), cmocka_unit_test(test_kill_after_early_stop),
        cmocka_unit_test(test_interrupt),  cmocka_unit_test(test_interrupt_twice), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_in_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
