/* test_sft.c -- the trainer on tiny golden models: what must be equal is equal, what must stop stops.
 *
 * Tolerances: 1e-6 relative where sums are only taken in another order, bits where nothing differs. */
#include "rig.h"

#include "tensor/nf4.h"
#include "train/checkpoint.h"

#include <glob.h>
#include <signal.h>
#include <sys/resource.h>

#define MODEL(path) "model_name_or_path", path

static void assert_same_losses(const rig *r, const double *want, int n, double limit) {
    assert_int_equal(r->steps, n);
    for (int i = 0; i < n; i++) assert_near(r->step[i].loss, want[i], limit, "loss");
}

static int keep_losses(const rig *r, double *out) {
    for (int i = 0; i < r->steps; i++) out[i] = r->step[i].loss;
    return r->steps;
}

static int count_paths(const rig *r, const char *pattern) {
    glob_t g;
    int    n = glob(rig_path(r, pattern), GLOB_PERIOD, NULL, &g) ? 0 : (int)g.gl_pathc;
    globfree(&g);
    return n;
}

/* ---- equal however it is cut ---- */

/* AdamW divides by the size of the gradient, so rounding in gradients near zero would be blown up; a large epsilon
 * makes an update as smooth as the sums that are compared. */
#define SMOOTH "adam_epsilon", "1", "learning_rate", "0.1", "lr_scheduler_type", "constant"

static void accumulate(const char *name) {
    rig    r;
    double loss[RIG_STEPS];
    rig_open(&r);
    const char *model = rig_golden(&r, name), *rows = rig_rows(&r, "rows.jsonl", 24, 5, 40, 320);
#define CUT(run, batch, steps)                                                                                              \
    TRAIN(&r, run, MODEL(model), "dataset", rows, "per_device_train_batch_size", batch, "gradient_accumulation_steps", steps, \
          "num_train_epochs", "4", SMOOTH)
    CUT("one", "8", "1");
    int n = keep_losses(&r, loss);
    assert_int_equal(n, 12);
    assert_true(loss[9] + loss[10] + loss[11] < loss[0] + loss[1] + loss[2]); /* whole epochs: it learns */
    CUT("eight", "1", "8");
    assert_same_losses(&r, loss, n, 1e-6);
    CUT("four", "2", "4");
    assert_same_losses(&r, loss, n, 1e-6);
#undef CUT
    double a = rig_distance(&r, "one", "eight"), b = rig_distance(&r, "one", "four");
    print_message("%s: 8x1, 1x8 and 2x4 differ by %.1e and %.1e\n", name, a, b);
    assert_true(a <= 1e-6 && b <= 1e-6);
    rig_close(&r);
}

static void test_accumulation(void **state) {
    (void)state;
    accumulate("llama2");
    accumulate("gemma3");
}

/* Samples that share rows of a packed batch do not see each other: the same steps as with padding-free batches. */
static void test_packing(void **state) {
    (void)state;
    rig    r;
    double loss[RIG_STEPS];
    rig_open(&r);
    /* 16 rows of 32 tokens: a packed micro-batch of 4 x 32 tokens holds the very four samples of a plain one */
    const char *model = rig_golden(&r, "gemma3"), *rows = rig_rows(&r, "rows.jsonl", 16, 32, 32, 320);
    TRAIN(&r, "plain", MODEL(model), "dataset", rows, "packing", "false", "max_length", "32", "num_train_epochs", "2");
    int n = keep_losses(&r, loss);
    TRAIN(&r, "packed", MODEL(model), "dataset", rows, "packing", "true", "max_length", "32", "num_train_epochs", "2");
    assert_int_equal(n, 8);
    assert_same_losses(&r, loss, n, 0);
    assert_true(rig_distance(&r, "plain", "packed") == 0);
    /* all of an epoch in one step: whatever the packing, it is the same sum */
    rows = rig_rows(&r, "ragged.jsonl", 16, 5, 40, 320);
    TRAIN(&r, "all", MODEL(model), "dataset", rows, "packing", "false", "per_device_train_batch_size", "16", "num_train_epochs", "4", SMOOTH);
    n = keep_losses(&r, loss);
    TRAIN(&r, "bins", MODEL(model), "dataset", rows, "packing", "true", "max_length", "48", "per_device_train_batch_size", "1",
          "gradient_accumulation_steps", "16", "num_train_epochs", "4", SMOOTH);
    assert_same_losses(&r, loss, n, 1e-6);
    double d = rig_distance(&r, "all", "bins");
    print_message("packed and plain differ by %.1e\n", d);
    assert_true(d <= 1e-6);
    rig_close(&r);
}

static void test_checkpointing(void **state) {
    (void)state;
    static const char *const models[] = { "llama2", "gemma3", "phi3", "gpt_neox" };
    rig r;
    rig_open(&r);
    const char *rows = rig_rows(&r, "rows.jsonl", 12, 5, 60, 320);
    for (size_t i = 0; i < 4; i++) {
        const char *model = rig_golden(&r, models[i]);
        char        name[3][40];
        for (int k = 0; k < 3; k++) {
            static const char *const how[] = { "false", "true", "auto" };
            snprintf(name[k], sizeof name[k], "%s-%s", models[i], how[k]);
            TRAIN(&r, name[k], MODEL(model), "dataset", rows, "gradient_checkpointing", how[k], "lora_dropout", "0.1", "num_train_epochs", "2");
        }
        assert_true(rig_distance(&r, name[0], name[1]) == 0);
        assert_true(rig_distance(&r, name[0], name[2]) == 0);
    }
    rig_close(&r);
}

/* ---- four bits ---- */

typedef struct { mg_st_entry entry[64]; float *copy[64]; size_t n; } decoded;

static bool decode_weight(mg_tensor *w, void *context) {
    decoded *d = context;
    int64_t  n = w->rows * w->cols;
    float   *copy = malloc((size_t)n * sizeof *copy);
    assert_true(copy && d->n < 64);
    w->format->decode(copy, w->data, w->side, 0, n);
    d->entry[d->n] = (mg_st_entry){ .name = w->name, .dtype = "F32", .n_dims = w->rows == 1 ? 1 : 2, .data = copy,
                                    .bytes = (size_t)n * sizeof *copy };
    d->entry[d->n].dims[0] = w->rows == 1 ? w->cols : w->rows;
    d->entry[d->n].dims[1] = w->rows == 1 ? 0 : w->cols;
    d->copy[d->n++] = copy;
    return true;
}

/* A folder beside `model` that holds in fp32 what the packed weights stand for. */
static const char *write_decoded(rig *r, const char *model, const mg_format *format, int block, bool nested, const char *name) {
    static decoded   d;
    mg_model        *m;
    mg_model_options o = { .positions = 128, .quant = format, .quant_block = block, .quant_nested = nested };
    char             path[100], from[4300];
    d.n = 0;
    assert_ok(mg_model_open(&m, model, &o, &r->err), r->err);
    mg_model_each_weight(m, decode_weight, &d);
    assert_ok(mg_make_folder(rig_path(r, name), &r->err), r->err);
    snprintf(path, sizeof path, "%s/model.safetensors", name);
    assert_ok(mg_safetensors_save(rig_path(r, path), d.entry, d.n, NULL, &r->err), r->err);
    mg_model_close(m);
    for (size_t i = 0; i < d.n; i++) free(d.copy[i]);
    static const char *const files[] = { "config.json", "tokenizer.json" };
    for (int i = 0; i < 2; i++) {
        snprintf(from, sizeof from, "%s/%s", model, files[i]);
        snprintf(path, sizeof path, "%s/%s", name, files[i]);
        assert_int_equal(symlink(from, rig_path(r, path)), 0);
    }
    return rig_path(r, name);
}

static void test_four_bits(void **state) {
    (void)state;
    static const struct { const char *type, *block, *nested; const mg_format *format; } kinds[] = {
        { "nf4", "64", "true", &mg_format_nf4 }, { "nf4", "64", "false", &mg_format_nf4 }, { "nf4", "128", "true", &mg_format_nf4 },
        { "fp4", "64", "true", &mg_format_fp4 }, { "fp4", "128", "false", &mg_format_fp4 },
    };
    rig    r;
    double loss[RIG_STEPS], plain_loss = 0;
    rig_open(&r);
    const char *model = rig_golden(&r, "llama2"), *rows = rig_rows(&r, "rows.jsonl", 16, 5, 40, 320);
    TRAIN(&r, "fp32", MODEL(model), "dataset", rows);
    plain_loss = r.step[0].loss;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char packed[40], plain[40], folder[40];
        snprintf(packed, sizeof packed, "packed-%zu", i);
        snprintf(plain, sizeof plain, "plain-%zu", i);
        snprintf(folder, sizeof folder, "decoded-%zu", i);
        TRAIN(&r, packed, MODEL(model), "dataset", rows, "load_in_4bit", "true", "bnb_4bit_quant_type", kinds[i].type,
              "bnb_4bit_blocksize", kinds[i].block, "use_bnb_nested_quant", kinds[i].nested);
        int n = keep_losses(&r, loss);
        assert_true(n == 12 && loss[n - 1] < loss[0]);
        assert_true(fabs(loss[0] - plain_loss) > 1e-6); /* the weights were packed indeed */
        const char *other = write_decoded(&r, model, kinds[i].format, atoi(kinds[i].block), *kinds[i].nested == 't', folder);
        TRAIN(&r, plain, MODEL(other), "dataset", rows);
        assert_same_losses(&r, loss, n, 1e-5);
        double d = rig_distance(&r, packed, plain);
        print_message("%s/%s%s: adapter differs by %.1e from training on the decoded weights\n", kinds[i].type, kinds[i].block,
                      *kinds[i].nested == 't' ? " nested" : "", d);
        assert_true(d <= 1e-3);
    }
    rig_close(&r);
}

/* ---- random numbers ---- */

static void test_seed(void **state) {
    (void)state;
    rig r;
    rig_open(&r);
    const char *model = rig_golden(&r, "llama2"), *rows = rig_rows(&r, "rows.jsonl", 12, 5, 40, 320);
#define SEEDED(run, seed, dropout) TRAIN(&r, run, MODEL(model), "dataset", rows, "seed", seed, "lora_dropout", dropout, "num_train_epochs", "2")
    SEEDED("a", "7", "0.2");
    SEEDED("b", "7", "0.2");
    SEEDED("c", "8", "0.2");
    SEEDED("d", "7", "0");
#undef SEEDED
    assert_true(rig_distance(&r, "a", "b") == 0);
    assert_true(rig_distance(&r, "a", "c") > 1e-4);
    assert_true(rig_distance(&r, "a", "d") > 1e-4);
    /* the masks do not depend on the number of threads; sums may be cut in other places */
    TRAIN(&r, "e", MODEL(model), "dataset", rows, "seed", "7", "lora_dropout", "0.2", "num_train_epochs", "2", "threads", "1");
    assert_true(rig_distance(&r, "a", "e") <= 1e-4);
    rig_close(&r);
}

/* ---- counting ---- */

static double rate(const rig *r, int step) { return r->step[step].learning_rate; }

static void test_schedule(void **state) {
    (void)state;
    rig r;
    rig_open(&r);
    const char *model = rig_golden(&r, "llama2"), *rows = rig_rows(&r, "rows.jsonl", 10, 5, 12, 320);
#define COUNT(run, ...) TRAIN(&r, run, MODEL(model), "dataset", rows, "per_device_train_batch_size", "1", "learning_rate", "1e-3", __VA_ARGS__)
    COUNT("max", "max_steps", "13");
    assert_int_equal(r.steps, 13);
    assert_near(r.step[9].epoch, 1, 1e-12, "epoch");
    assert_near(r.step[12].epoch, 1.3, 1e-12, "epoch");
    assert_int_equal(r.result.steps, 13);
    COUNT("fraction", "num_train_epochs", "1.25"); /* 10 + ceil(2.5) */
    assert_int_equal(r.steps, 13);
    COUNT("less", "num_train_epochs", "0.11", "gradient_accumulation_steps", "4"); /* of 3 steps an epoch */
    assert_int_equal(r.steps, 1);
    COUNT("uneven", "num_train_epochs", "1", "gradient_accumulation_steps", "4"); /* the last step has two samples */
    assert_int_equal(r.steps, 3);
    assert_true(r.step[2].tokens < r.step[1].tokens);
    COUNT("warm", "max_steps", "20", "warmup_steps", "4", "lr_scheduler_type", "linear");
    for (int i = 0; i < 20; i++) assert_near(rate(&r, i), 1e-3 * (i < 4 ? i / 4.0 : (20 - i) / 16.0), 1e-12, "linear");
    COUNT("share", "max_steps", "20", "warmup_steps", "0.12", "lr_scheduler_type", "cosine"); /* ceil(2.4) = 3 */
    for (int i = 0; i < 20; i++)
        assert_near(rate(&r, i), 1e-3 * (i < 3 ? i / 3.0 : 0.5 * (1 + cos(M_PI * (i - 3) / 17.0))), 1e-12, "cosine");
    COUNT("flat", "max_steps", "6", "warmup_steps", "2", "lr_scheduler_type", "constant_with_warmup");
    for (int i = 0; i < 6; i++) assert_near(rate(&r, i), 1e-3 * (i < 2 ? i / 2.0 : 1), 1e-12, "constant");
    int64_t tokens = 0;
    for (int i = 0; i < r.steps; i++) tokens += r.step[i].tokens;
    assert_int_equal(tokens, r.result.tokens);
#undef COUNT
    rig_close(&r);
}

/* ---- evaluation and stopping ---- */

static void test_early_stopping(void **state) {
    (void)state;
    rig r;
    rig_open(&r);
    const char *model = rig_golden(&r, "llama2"), *rows = rig_rows(&r, "rows.jsonl", 24, 8, 30, 320);
#define STOP(run, ...)                                                                                                           \
    TRAIN(&r, run, MODEL(model), "dataset", rows, "val_size", "0.25", "eval_steps", "2", "save_steps", "2", "save_total_limit", "2", \
          "early_stopping_patience", "3", "load_best_model_at_end", "true", "lr_scheduler_type", "constant", __VA_ARGS__)
    /* a learning rate that destroys: nothing gets better after the first evaluations */
    STOP("broken", "learning_rate", "2", "max_steps", "60");
    assert_true(r.result.stopped_early && r.result.steps < 60);
    int best = 0, since = 0, i = 1;
    for (int k = 1; k < r.evals; k++) /* eval[0] is before the first step */
        if (!best || r.eval[k] < r.eval[best]) best = k;
    for (int k = best + 1; k < r.evals; k++) since++;
    assert_int_equal(since, 3);
    assert_int_equal(r.result.best_step, r.eval_step[best]);
    assert_true(r.result.best_eval_loss == r.eval[best]);
    char name[100];
    snprintf(name, sizeof name, "broken/checkpoint-%lld", (long long)r.result.best_step);
    assert_true(rig_distance(&r, "broken", name) == 0); /* the best one was taken, and is still there */
    assert_true(count_paths(&r, "broken/checkpoint-*") <= 3);
    /* a threshold that no improvement reaches: the first evaluation counts, then three that do not */
    STOP("threshold", "val_size", "0", "eval_dataset", rows, "learning_rate", "1e-3", "max_steps", "60", "early_stopping_threshold", "100");
    assert_true(r.result.stopped_early);
    assert_int_equal(r.result.steps, 8);
    for (i = 2; i < r.evals; i++) assert_true(r.eval[i] < r.eval[i - 1]); /* although it got better all the time */
    assert_int_equal(r.result.best_step, 8);
    STOP("fine", "val_size", "0", "eval_dataset", rows, "learning_rate", "1e-3", "max_steps", "20");
    assert_false(r.result.stopped_early);
    assert_int_equal(r.result.steps, 20);
#undef STOP
    rig_close(&r);
}

static void test_validation(void **state) {
    (void)state;
    rig r;
    rig_open(&r);
    const char *model = rig_golden(&r, "llama2"), *rows = rig_rows(&r, "rows.jsonl", 20, 8, 30, 320);
    TRAIN(&r, "part", MODEL(model), "dataset", rows, "val_size", "0.2", "per_device_train_batch_size", "1", "num_train_epochs", "1");
    assert_int_equal(r.steps, 16);
    assert_int_equal(r.evals, 2); /* before, and with the last checkpoint */
    TRAIN(&r, "count", MODEL(model), "dataset", rows, "val_size", "3", "per_device_train_batch_size", "1", "num_train_epochs", "1");
    assert_int_equal(r.steps, 17);
    double before = r.eval[0];
    TRAIN(&r, "batch", MODEL(model), "dataset", rows, "val_size", "3", "per_device_train_batch_size", "4", "num_train_epochs", "1");
    assert_near(r.eval[0], before, 1e-6, "evaluation does not depend on the batch size");
    SET(&r, MODEL(model), "output_dir", rig_path(&r, "none"), "dataset", rows, "val_size", "20");
    assert_fails(rig_train(&r), r.err, MG_CONFIG, "val_size");
    assert_int_equal(count_paths(&r, "none*"), 0);
    rig_close(&r);
}

/* ---- numbers that are none ---- */

static void assert_finite(const rig *r, const char *run) {
    size_t n;
    float *x = rig_adapter(r, run, &n);
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i])) fail_msg("%s: number %zu is %g", run, i, (double)x[i]);
    free(x);
}

/* llama2 with NaN in place of the embedding of one token. */
static const char *write_poisoned(rig *r, const char *model, int token) {
    mg_safetensors *f = NULL;
    mg_st_entry     entry[64];
    char            path[4300];
    snprintf(path, sizeof path, "%s/model.safetensors", model);
    assert_ok(mg_safetensors_open(&f, path, &r->err), r->err);
    assert_true(f->n <= 64);
    memcpy(entry, f->entries, f->n * sizeof *entry);
    float *copy = NULL;
    for (size_t i = 0; i < f->n; i++) {
        if (strcmp(entry[i].name, "model.embed_tokens.weight")) continue;
        copy = malloc(entry[i].bytes);
        assert_non_null(copy);
        memcpy(copy, entry[i].data, entry[i].bytes);
        for (int64_t k = 0; k < entry[i].dims[1]; k++) copy[token * entry[i].dims[1] + k] = NAN;
        entry[i].data = copy;
    }
    assert_non_null(copy);
    const char *folder = rig_golden(r, "llama2");
    assert_int_equal(unlink(path), 0); /* a link to the reference data */
    assert_ok(mg_safetensors_save(path, entry, f->n, NULL, &r->err), r->err);
    mg_safetensors_close(f);
    free(copy);
    return folder;
}

/* A token whose embedding is NaN stands in lines 3 and 8 of ten: just the steps that see them are left out. */
static void test_not_finite(void **state) {
    (void)state;
    rig    r;
    mg_buf data = { 0 }, all = { 0 };
    rig_open(&r);
    const char *model = write_poisoned(&r, rig_golden(&r, "llama2"), 300), *rows = rig_rows(&r, "rows.jsonl", 8, 8, 30, 300);
    assert_ok(mg_read_file(&data, rows, 1 << 20, &r.err), r.err);
    int line = 0;
    for (char *p = data.data, *end; (end = strchr(p, '\n')); p = end + 1) {
        if (line == 2 || line == 6) mg_buf_str(&all, "{\"input_ids\": [70, 300, 71, 72], \"labels\": [-100, 300, 71, 72]}\n");
        mg_buf_add(&all, p, (size_t)(end + 1 - p));
        line++;
    }
    rig_write(rows, all.data);
    mg_buf_free(&data);
    mg_buf_free(&all);
    TRAIN(&r, "run", MODEL(model), "dataset", rows, "per_device_train_batch_size", "1", "shuffle", "false", "num_train_epochs", "2",
          "eval_dataset", rows, "eval_steps", "5", "load_best_model_at_end", "true", "save_steps", "1", "save_total_limit", "0");
    assert_int_equal(r.steps, 20);
    for (int i = 0; i < 20; i++) {
        bool bad = i % 10 == 2 || i % 10 == 7;
        assert_int_equal(r.step[i].finite, !bad);
        assert_int_equal(isfinite(r.step[i].loss) && isfinite(r.step[i].grad_norm), !bad); /* shown as it is */
        char name[40], before[40];
        snprintf(name, sizeof name, "run/checkpoint-%d", i + 1);
        snprintf(before, sizeof before, "run/checkpoint-%d", i);
        assert_finite(&r, name);
        if (i) assert_int_equal(rig_distance(&r, name, before) == 0, bad); /* the update was left out, and only then */
    }
    assert_non_null(strstr(r.warnings.data, "step 3: loss or gradient is not finite; the update is left out (lines 3 "));
    assert_non_null(strstr(r.warnings.data, "step 18: loss or gradient is not finite; the update is left out (lines 8 "));
    assert_int_equal(r.result.best_step, -1); /* an evaluation that is NaN is never the best */
    assert_finite(&r, "run");
    rig_close(&r);
}

/* ---- what does not fit ---- */

static void test_does_not_fit(void **state) {
    (void)state;
    rig r;
    rig_open(&r);
    const char *model = rig_golden(&r, "gemma3"), *rows = rig_rows(&r, "rows.jsonl", 12, 30, 100, 320);
    SET(&r, MODEL(model), "output_dir", rig_path(&r, "no"), "dataset", rows, "memory_limit", "4M", "gradient_checkpointing", "false");
    assert_fails(rig_train(&r), r.err, MG_NOFIT, "not enough memory");
    static const char *const wanted[] = { "way 1", "--gradient_checkpointing", "--per_device_train_batch_size 1", "--max_length 64",
                                          "--load_in_4bit", " GB" };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        if (!strstr(r.err.text, wanted[i])) fail_msg("'%s' is not offered: %s", wanted[i], r.err.text);
    assert_int_equal(mg_exit_code(r.err.status), 3);
    assert_true(r.plan.total > r.plan.available && r.plan.available == 4 << 20); /* the facts were told */
    assert_int_equal(r.steps, 0);
    assert_int_equal(count_paths(&r, "no*"), 0);
    assert_int_equal(count_paths(&r, "runs/*"), 0);
    /* a limit between the two policies: it runs, with some blocks computed twice, and the same bits come out */
    TRAIN(&r, "all", MODEL(model), "dataset", rows, "num_train_epochs", "1");
    size_t most = r.plan.total, arena = r.plan.arena;
    assert_int_equal(r.plan.rerun_layers, 0);
    TRAIN(&r, "least", MODEL(model), "dataset", rows, "num_train_epochs", "1", "gradient_checkpointing", "true");
    assert_true(r.plan.arena < arena);
#ifndef __SANITIZE_ADDRESS__ /* whose own memory grows from run to run, and is counted */
    char limit[40];
    snprintf(limit, sizeof limit, "%zu", most - (arena - r.plan.arena) / 2);
    TRAIN(&r, "some", MODEL(model), "dataset", rows, "num_train_epochs", "1", "memory_limit", limit);
    assert_true(r.plan.rerun_layers > 0 && r.plan.total <= r.plan.available);
    assert_true(rig_distance(&r, "all", "some") == 0);
#else
    (void)most;
#endif
    rig_close(&r);
}

/* ---- a full disk ---- */

/* From step `begin` on no file can grow beyond 16 KB (a checkpoint's adapter has 40), until step `end`. */
typedef struct { rig *r; int64_t begin, end; } narrow;
static narrow disk;

static void limit_files(rlim_t bytes) {
    struct rlimit l;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &l), 0);
    l.rlim_cur = bytes < l.rlim_max ? bytes : l.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &l), 0);
}

static void on_step_full(void *context, const mg_sft_step *s) {
    rig_on_step(context, s);
    if (s->step == disk.begin) limit_files(16384);
    if (s->step == disk.end) limit_files(RLIM_INFINITY);
}

static mg_status train_on_full_disk(rig *r, int64_t begin, int64_t end) {
    mg_sft_listener l = { .context = r, .step = on_step_full, .warn = rig_on_warn };
    disk = (narrow){ r, begin, end };
    r->steps = 0;
    mg_buf_free(&r->warnings);
    mg_status st = mg_sft_train(&r->o, "", 0, NULL, &l, &r->result, &r->err);
    limit_files(RLIM_INFINITY);
    return st;
}

static void assert_checkpoints(rig *r, const char *run, const char *wanted) {
    int64_t *steps;
    size_t   n;
    char     text[200] = "", name[100];
    assert_ok(mg_checkpoint_list(&steps, &n, rig_path(r, run), &r->err), r->err);
    for (size_t i = 0; i < n; i++) {
        snprintf(text + strlen(text), sizeof text - strlen(text), "%lld ", (long long)steps[i]);
        snprintf(name, sizeof name, "%s/checkpoint-%lld", run, (long long)steps[i]);
        assert_ok(mg_checkpoint_verify(rig_path(r, name), NULL, &r->err), r->err);
    }
    free(steps);
    assert_string_equal(text, wanted);
}

static void test_full_disk(void **state) {
    (void)state;
    rig r;
    rig_open(&r);
    signal(SIGXFSZ, SIG_IGN);
    const char *model = rig_golden(&r, "llama2"), *rows = rig_rows(&r, "rows.jsonl", 12, 8, 30, 320);
    TRAIN(&r, "whole", MODEL(model), "dataset", rows, "max_steps", "10", "save_steps", "2", "save_total_limit", "0");
    /* room again before the end: warnings, holes among the checkpoints, and the same result */
    SET(&r, MODEL(model), "output_dir", rig_path(&r, "tight"), "dataset", rows, "max_steps", "10", "save_steps", "2", "save_total_limit", "0");
    assert_ok(train_on_full_disk(&r, 3, 7), r.err);
    assert_int_equal(r.steps, 10);
    assert_checkpoints(&r, "tight", "2 8 10 ");
    assert_non_null(strstr(r.warnings.data, "checkpoint-4"));
    assert_non_null(strstr(r.warnings.data, "checkpoint-6"));
    assert_true(rig_distance(&r, "whole", "tight") == 0);
    /* no room any more: the run goes through all steps, then says that its last word is not on the disk */
    SET(&r, MODEL(model), "output_dir", rig_path(&r, "full"), "dataset", rows, "max_steps", "10", "save_steps", "2", "save_total_limit", "1",
        "val_size", "2", "load_best_model_at_end", "true");
    assert_fails(train_on_full_disk(&r, 5, 99), r.err, MG_IO, "checkpoint-10");
    assert_int_equal(r.steps, 10);
    assert_int_equal(mg_exit_code(r.err.status), 1);
    int64_t *steps;
    size_t   n;
    assert_ok(mg_checkpoint_list(&steps, &n, rig_path(&r, "full"), &r.err), r.err);
    assert_true(n >= 1 && steps[n - 1] == 4); /* the last one from before */
    free(steps);
    assert_int_equal(count_paths(&r, "full/*.tmp*"), 0);
    /* with room again it goes on from there */
    SET(&r, MODEL(model), "output_dir", rig_path(&r, "full"), "dataset", rows, "max_steps", "10", "save_steps", "2", "save_total_limit", "1",
        "val_size", "2", "load_best_model_at_end", "true", "resume_from_checkpoint", "last");
    assert_ok(rig_train(&r), r.err);
    assert_int_equal(r.steps, 6);
    rig_close(&r);
}

/* ---- wrong data ---- */

static void refuse(rig *r, const char *model, const char *text, mg_status status, const char *part) {
    const char *path = rig_path(r, "bad.jsonl");
    rig_write(path, text);
    SET(r, MODEL(model), "output_dir", rig_path(r, "bad"), "dataset", path, "max_length", "8");
    assert_fails(rig_train(r), r->err, status, part);
    assert_int_equal(count_paths(r, "bad"), 0);
}

static void test_wrong_data(void **state) {
    (void)state;
    rig r;
    rig_open(&r);
    const char *model = rig_golden(&r, "llama2");
#define GOOD "{\"input_ids\": [70, 71, 72], \"labels\": [-100, 71, 72]}\n"
    refuse(&r, model, GOOD "{\"input_ids\": [70, 320], \"labels\": [-100, 320]}\n", MG_DATA, "bad.jsonl:2");
    refuse(&r, model, GOOD GOOD "{\"input_ids\": [70, -1], \"labels\": [-100, 71]}\n", MG_DATA, "bad.jsonl:3");
    refuse(&r, model, GOOD "{\"input_ids\": [70, 71], \"labels\": [-100]}\n", MG_DATA, "bad.jsonl:2");
    refuse(&r, model, GOOD "{\"input_ids\": [70, 71, \n", MG_DATA, "bad.jsonl:2");
    refuse(&r, model, GOOD "{\"input_ids\": [70, 71], \"labels\": [-100, -100]}\n", MG_MASK, "bad.jsonl:2");
    refuse(&r, model, GOOD "{\"input_ids\": [70,71,72,73,74,75,76,77,78], \"labels\": [-100,71,72,73,74,75,76,77,78]}\n", MG_TRUNCATED,
           "bad.jsonl:2");
    refuse(&r, model, "", MG_DATA, "bad.jsonl");
#undef GOOD
    SET(&r, MODEL(model), "dataset", rig_path(&r, "not-there.jsonl"));
    assert_fails(rig_train(&r), r.err, MG_NOTFOUND, "not-there.jsonl");
    SET(&r, MODEL(rig_path(&r, "no-model")), "dataset", rig_path(&r, "bad.jsonl"));
    assert_fails(rig_train(&r), r.err, MG_NOTFOUND, "no-model");
    rig_close(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accumulation), cmocka_unit_test(test_packing),        cmocka_unit_test(test_checkpointing),
        cmocka_unit_test(test_four_bits),    cmocka_unit_test(test_seed),           cmocka_unit_test(test_schedule),
        cmocka_unit_test(test_early_stopping), cmocka_unit_test(test_validation),   cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_does_not_fit), cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_wrong_data),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
