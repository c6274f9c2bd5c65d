/* test_run.c -- the run folder and the database made from it. */
#include "support.h"

#include "base/file.h"
#include "base/json.h"
#include "train/run.h"
#include "train/runs.h"

#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char *root;

static int setup(void **state) {
    (void)state;
    root = make_temp_folder();
    return setenv("MIGAKI_RUNS", root, 1);
}

static int teardown(void **state) {
    (void)state;
    remove_temp_folder(root);
    return 0;
}

static char *in(const mg_run *r, const char *name) {
    static char path[4300];
    snprintf(path, sizeof path, "%s/%s", mg_run_folder(r), name);
    return path;
}

static void log_step(mg_run *r, int64_t step, double loss) {
    mg_error  err;
    mg_metric m[] = { { "loss", loss }, { "learning_rate", 1e-4 }, { "grad_norm", 0.5 } };
    assert_ok(mg_run_log(r, step, (double)step / 10, m, 3, &err), err);
}

static void test_names(void **state) {
    (void)state;
    mg_run  *a = NULL, *b = NULL, *c = NULL;
    mg_error err;
    char    *folder = NULL;
    assert_ok(mg_run_create(&a, NULL, NULL, "/x/Gemma-3 270m.gguf", "sft", NULL, &err), err);
    assert_ok(mg_run_create(&b, NULL, NULL, "/x/Gemma-3 270m.gguf", "sft", NULL, &err), err);
    assert_int_equal(strncmp(mg_run_name(a), "gemma-3-270m-20", 15), 0);
    assert_string_not_equal(mg_run_name(a), mg_run_name(b));
    assert_string_not_equal(mg_run_id(a), mg_run_id(b));
    assert_ok(mg_run_create(&c, NULL, "mine", "m/", "sft", "seed: 1\n", &err), err);
    assert_fails(mg_run_create(&b, NULL, "mine", "m", "sft", NULL, &err), err, MG_CONFIG, "mine");
    assert_fails(mg_run_create(&b, NULL, "../mine", "m", "sft", NULL, &err), err, MG_CONFIG, "slashes");
    assert_fails(mg_run_create(&b, mg_run_folder(c), NULL, "m", "sft", NULL, &err), err, MG_CONFIG, "holds a run");
    assert_ok(mg_runs_resolve(&folder, root, "mine", &err), err);
    assert_string_equal(mg_path_base(folder), "mine");
    free(folder);
    assert_fails(mg_runs_resolve(&folder, root, "mien", &err), err, MG_NOTFOUND, "did you mean 'mine'");
    assert_fails(mg_runs_resolve(&folder, root, "nothing-like-it", &err), err, MG_NOTFOUND, "runs ls");
    assert_fails(mg_runs_resolve(&folder, "/nonexistent", "last", &err), err, MG_NOTFOUND, "no run yet");
    assert_string_equal(mg_run_notes(a), "");
    mg_run_close(a);
    mg_run_close(b);
    mg_run_close(c);
}

/* Two processes in one folder: the second is refused; a killed one leaves no lock behind. */
static void test_lock(void **state) {
    (void)state;
    mg_run  *r = NULL, *again = NULL;
    mg_error err;
    char     folder[4096];
    assert_ok(mg_run_create(&r, NULL, "locked", "m", "sft", NULL, &err), err);
    snprintf(folder, sizeof folder, "%s", mg_run_folder(r));
    assert_fails(mg_run_open(&again, folder, &err), err, MG_MISMATCH, "another process");
    mg_run_close(r);
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (!child) {
        if (mg_run_open(&r, folder, &err)) _exit(1);
        if (write(ready[1], "x", 1) != 1) _exit(2);
        pause();
    }
    char x;
    assert_int_equal(read(ready[0], &x, 1), 1);
    assert_fails(mg_run_open(&again, folder, &err), err, MG_MISMATCH, "another process");
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    assert_ok(mg_run_open(&again, folder, &err), err);
    mg_run_close(again);
}

static void test_records(void **state) {
    (void)state;
    mg_run       *r = NULL;
    mg_error      err;
    mg_buf        b = { 0 };
    mg_json       j = { 0 };
    char          folder[4096];
    size_t        n;
    mg_run_state  s = { .step = 3, .max_steps = 10, .epoch = 0.3, .num_train_epochs = 1, .has_best = true, .best_metric = 1.5,
                        .best_step = 2, .status = "stopped" };
    mg_run_sample samples[] = { { "こんにちは", "bad \xff byte" }, { "q", "a\n\"b\"" } };
    mg_run_card   card = { .base_model = "google/gemma", .dataset = "a.jsonl", .method = "lora", .title = "LoRA", .lora_r = 8, .lora_alpha = 16,
                           .train_samples = 9, .eval_loss_before = NAN, .eval_loss_after = NAN, .config_yaml = "lora_r: 8\n" };
    mg_metric     results[] = { { "train_loss", 1.25 }, { "eval_loss", NAN } };
    char         *argv[] = { "migaki", "sft" };
    assert_ok(mg_run_create(&r, NULL, "records", "m", "sft", NULL, &err), err);
    snprintf(folder, sizeof folder, "%s", mg_run_folder(r));
    for (int i = 1; i <= 5; i++) log_step(r, i, i == 4 ? NAN : 2.0 / i);
    mg_metric e = { "eval_loss", 1.5 };
    assert_ok(mg_run_log(r, 3, 0.3, &e, 1, &err), err);
    assert_ok(mg_run_samples(r, 0, samples, 2, &err), err);
    assert_ok(mg_run_write_state(r, &s, &err), err);
    assert_ok(mg_run_write_environment(r, 2, 2, argv, &err), err);
    assert_ok(mg_run_write_figures(r, &err), err);
    assert_ok(mg_run_write_card(r, &card, &s, &err), err);
    assert_ok(mg_run_write_results(r, "all_results.json", results, 2, &err), err);
    assert_string_equal(mg_run_notes(r), "");

    assert_ok(mg_json_open(&j, in(r, "trainer_state.json"), 1 << 20, &err), err);
    assert_int_equal(yyjson_get_int(yyjson_obj_get(j.root, "global_step")), 3);
    assert_string_equal(yyjson_get_str(yyjson_obj_get(j.root, "best_model_checkpoint")), "checkpoint-2");
    assert_int_equal(yyjson_arr_size(yyjson_obj_get(j.root, "log_history")), 10); /* nothing behind step 3 */
    mg_json_free(&j);
    assert_ok(mg_json_open(&j, in(r, "environment.json"), 1 << 20, &err), err);
    assert_int_equal(yyjson_get_int(yyjson_obj_get(j.root, "threads")), 2);
    mg_json_free(&j);
    assert_ok(mg_json_open(&j, in(r, "all_results.json"), 1 << 20, &err), err);
    assert_string_equal(yyjson_get_str(yyjson_obj_get(j.root, "eval_loss")), "NaN");
    mg_json_free(&j);
    assert_ok(mg_read_file(&b, in(r, "samples/step-000000.jsonl"), 1 << 20, &err), err);
    assert_non_null(strstr(b.data, "こんにちは"));
    assert_non_null(strstr(b.data, "bad \xef\xbf\xbd byte"));
    mg_buf_free(&b);
    assert_ok(mg_read_file(&b, in(r, "figures/loss.svg"), 1 << 20, &err), err);
    assert_non_null(strstr(b.data, "eval_loss"));
    assert_null(strstr(b.data, "nan"));
    mg_buf_free(&b);
    assert_ok(mg_read_file(&b, in(r, "README.md"), 1 << 20, &err), err);
    assert_non_null(strstr(b.data, "base_model: \"google/gemma\""));
    mg_buf_free(&b);
    mg_run_close(r);

    /* a killed process leaves half a line; opening takes it away, history is back, rewinding forgets */
    char path[4200];
    snprintf(path, sizeof path, "%s/trainer_log.jsonl", folder);
    FILE *f = fopen(path, "ae");
    fputs("{\"step\": 6, \"lo", f);
    fclose(f);
    assert_ok(mg_run_open(&r, folder, &err), err);
    mg_run_history(r, &n);
    assert_int_equal(n, 16);
    assert_true(isnan(mg_run_history(r, &n)[9].value));
    assert_ok(mg_run_rewind(r, 2, &err), err);
    log_step(r, 3, 9);
    mg_run_close(r);
    assert_ok(mg_run_open(&r, folder, &err), err);
    const mg_run_point *p = mg_run_history(r, &n);
    assert_int_equal(n, 9);
    assert_true(p[6].step == 3 && p[6].value == 9);
    mg_run_close(r);
}

static const mg_run_row *named(const mg_run_rows *rows, const char *name) {
    for (size_t i = 0; i < rows->n; i++)
        if (!strcmp(rows->row[i].name, name)) return &rows->row[i];
    fail_msg("no run '%s' in the list", name);
    return NULL;
}

/* The database can be deleted or damaged; it comes back from the folders. */
static void test_database(void **state) {
    (void)state;
    mg_runs    *db = NULL;
    mg_run_rows rows = { 0 };
    mg_run     *r = NULL;
    mg_error    err;
    char        path[4200], *outside = make_temp_folder();
    assert_ok(mg_run_create(&r, outside, NULL, "m", "sft", NULL, &err), err);
    for (int i = 1; i <= 3; i++) log_step(r, i, 1.0 / i);
    assert_ok(mg_runs_open(&db, root, &err), err);
    assert_ok(mg_runs_list(&rows, db, &err), err);
    assert_int_equal(rows.n, 6);
    assert_true(named(&rows, mg_run_name(r))->loss == 1.0 / 3);
    assert_string_equal(named(&rows, mg_run_name(r))->status, "running");
    assert_string_equal(named(&rows, "locked")->status, "interrupted");
    assert_string_equal(named(&rows, "records")->status, "interrupted"); /* opened again after it was stopped */
    assert_int_equal(named(&rows, "records")->step, 3);
    mg_run_rows_free(&rows);
    char *folder = NULL;
    assert_ok(mg_runs_resolve(&folder, root, mg_run_name(r), &err), err); /* outside of ROOT, found through runs.db */
    assert_string_equal(folder, mg_run_folder(r));
    free(folder);
    assert_fails(mg_runs_remove(db, mg_run_folder(r), &err), err, MG_MISMATCH, "another process");
    assert_ok(mg_runs_rebuild(db, &err), err);
    assert_ok(mg_runs_list(&rows, db, &err), err);
    assert_int_equal(rows.n, 6);
    assert_string_equal(named(&rows, "records")->status, "stopped"); /* what the folder says */
    assert_true(fabs(named(&rows, mg_run_name(r))->loss - 1.0 / 3) < 1e-8); /* the log keeps nine digits */
    mg_run_rows_free(&rows);
    mg_run_close(r);
    assert_ok(mg_runs_remove(db, outside, &err), err);
    assert_false(mg_is_folder(outside));
    mg_runs_close(db);

    snprintf(path, sizeof path, "%s/runs.db", root);
    for (int how = 0; how < 2; how++) {
        unlink(path);
        if (how) {
            FILE *f = fopen(path, "we");
            for (int i = 0; i < 500; i++) fputs("this is no database ", f);
            fclose(f);
        }
        assert_ok(mg_runs_open(&db, root, &err), err);
        assert_ok(mg_runs_list(&rows, db, &err), err);
        assert_int_equal(rows.n, 5);
        assert_true(named(&rows, "records")->loss == 9);
        mg_run_rows_free(&rows);
        mg_runs_close(db);
        sqlite3      *sql = NULL;
        sqlite3_stmt *count = NULL;
        assert_int_equal(sqlite3_open(path, &sql), SQLITE_OK);
        assert_int_equal(sqlite3_prepare_v2(sql, "SELECT count(*), max(prompt) FROM samples", -1, &count, NULL), SQLITE_OK);
        assert_int_equal(sqlite3_step(count), SQLITE_ROW);
        assert_int_equal(sqlite3_column_int(count, 0), 2); /* the samples of "records" */
        sqlite3_finalize(count);
        sqlite3_close(sql);
    }
    free(outside);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names), cmocka_unit_test(test_lock), cmocka_unit_test(test_records),
        cmocka_unit_test(test_database),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
