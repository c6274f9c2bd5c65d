/* delivery.c -- from a run to a file that others load, checked before it gets its name. */
#include "cli/delivery.h"

#include "cli/terminal.h"

#include "base/file.h"
#include "base/interrupt.h"
#include "base/json.h"
#include "base/thread.h"
#include "base/yaml.h"
#include "deliver/deliver.h"
#include "deliver/replay.h"

#include <dirent.h>
#include <errno.h>
#include <libintl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

typedef struct work work;

/* A kind of output. */
typedef struct {
    const char *name;
    bool        folder, typed;
    mg_status (*write)(work *w, mg_error *err);
    mg_status (*open_back)(work *w, mg_bundle *after, mg_error *err);
    double (*bound)(const work *w);
} target;

struct work {
    const mg_delivery_options *o;
    mg_cli                    *cli;
    const target              *to;
    const mg_mix              *mix; /* NULL: as it is */
    mg_inference_paths         paths;
    mg_model_options           training; /* how the run had its base */
    char                       skip[512]; /* modules that were not packed */
    mg_bundle                  before;
    const mg_backend          *backend;
    mg_piece_progress          progress;
    mg_delivery                delivery;
    mg_new_file                file; /* or: */
    char                      *folder;
    mg_replay_texts            texts;
    mg_replay_result           result;
    uint64_t                   bytes;
    double                     started;
    bool                       drawn;
};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ---- being stopped ---- */

static volatile sig_atomic_t terminated;

static void on_terminate(int signal) {
    (void)signal;
    terminated = 1;
}

static bool wanted(void) { return !mg_interrupted() && !terminated; }

/* ---- targets ---- */

static const mg_format *const dtypes[] = { NULL, &mg_format_f32, &mg_format_f16, &mg_format_bf16 };

/* What a number format alone may lose. */
static double plain_bound(const mg_format *f) { return mg_mix_find(f && mg_format_is_plain(f) ? f->name : "bf16")->max_kl; }

static mg_status write_hf(work *w, mg_error *err) {
    return mg_deliver_hf(&w->delivery, w->folder, dtypes[w->o->dtype], w->o->max_shard_size, err);
}
static double bound_hf(const work *w) {
    const mg_format *f = dtypes[w->o->dtype] ? dtypes[w->o->dtype] : w->before.model->embed->format;
    return plain_bound(f);
}

static mg_status write_gguf(work *w, mg_error *err) {
    mg_status st = mg_deliver_gguf(&w->delivery, &w->file, w->mix, err);
    return st ? st : mg_new_file_settle(&w->file, err);
}
/* The base's own formats: what merging into them may lose is what the coarsest of them may. */
static double bound_gguf(const work *w) {
    double most = 0;
    if (w->mix) return w->mix->max_kl;
    for (size_t i = 0; i < w->before.model->net.n_linear; i++) {
        const mg_mix *m = mg_mix_find(w->before.model->net.linear[i]->w->format->name);
        most = fmax(most, m ? m->max_kl : mg_mix_find("q4_k_m")->max_kl);
    }
    return most;
}

static mg_status write_lora(work *w, mg_error *err) {
    const mg_format *f = dtypes[w->o->dtype] ? dtypes[w->o->dtype] : &mg_format_f32;
    mg_status        st = mg_deliver_gguf_lora(&w->delivery, &w->file, f, err);
    return st ? st : mg_new_file_settle(&w->file, err);
}
static double bound_lora(const work *w) { return plain_bound(dtypes[w->o->dtype] ? dtypes[w->o->dtype] : &mg_format_f32); }

static const mg_model_options plain_model = { .positions = MG_REPLAY_TOKENS };

static mg_status open_written(work *w, mg_bundle *after, mg_error *err) {
    mg_status st = mg_bundle_open(after, w->folder ? w->folder : w->file.temp, &plain_model, NULL, err);
    return st ? mg_fail_in(err, gettext("reading back")) : MG_OK;
}

static mg_status open_lora(work *w, mg_bundle *after, mg_error *err) {
    mg_status st = mg_bundle_open(after, w->paths.model, &w->training, w->paths.chat_template, err);
    return st ? st : mg_gguf_lora_load(after, &w->before.adapter->c, w->file.temp, w->backend, err);
}

static const target targets[] = {
    { "hf", true, false, write_hf, open_written, bound_hf },
    { "vllm", true, false, write_hf, open_written, bound_hf }, /* it loads the same folder */
    { "gguf", false, true, write_gguf, open_written, bound_gguf },
    { "gguf-lora", false, false, write_lora, open_lora, bound_lora },
};

static mg_status find_target(work *w, mg_error *err) {
    const char *to = w->o->to, *colon = strchr(to, ':');
    size_t      len = colon ? (size_t)(colon - to) : strlen(to);
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++)
        if (strlen(targets[i].name) == len && !memcmp(targets[i].name, to, len)) w->to = &targets[i];
    if (!w->to || (colon && !w->to->typed))
        return mg_fail(err, MG_USAGE, "--to %s: unknown; there are hf, vllm, gguf, gguf:TYPE and gguf-lora", to);
    if (!colon || !strcasecmp(colon + 1, "auto")) return MG_OK;
    w->mix = mg_mix_find(colon + 1);
    if (w->mix) return MG_OK;
    mg_buf names = { 0 };
    mg_mix_names(&names);
    mg_status st = mg_fail(err, MG_USAGE, "'%s' is no type of GGUF file that is written here; there are auto (as the model is), %s", colon + 1,
                           names.data ? names.data : "");
    mg_buf_free(&names);
    return st;
}

/* ---- opening ---- */

/* A list of the file as one text, "lm_head,down_proj". */
static void keep_names(char *out, size_t size, const mg_yaml_entry *e) {
    size_t n = 0;
    for (size_t i = 0; i < e->n && n < size; i++) n += (size_t)snprintf(out + n, size - n, "%s%s", i ? "," : "", e->item[i] ? e->item[i] : "");
}

/* How the run had the weights of its base: config.yaml says. */
static mg_status read_training(work *w, mg_error *err) {
    mg_yaml     y = { 0 };
    mg_error    none;
    bool        in_4bit = false, in_8bit = false;
    char       *path = w->paths.adapter ? mg_path_join(w->paths.adapter, "config.yaml") : NULL;
    (void)err;
    w->training = (mg_model_options){ .positions = MG_REPLAY_TOKENS, .quant_block = 64 };
    const mg_format *quant = &mg_format_nf4;
    if (path && mg_is_file(path) && !mg_yaml_open(&y, path, &none))
        for (size_t i = 0; i < y.n; i++) {
            const char *key = y.entry[i].key, *v = y.entry[i].n && y.entry[i].item[0] ? y.entry[i].item[0] : "";
            if (!strcmp(key, "load_in_4bit")) in_4bit = !strcmp(v, "true");
            if (!strcmp(key, "load_in_8bit")) in_8bit = !strcmp(v, "true");
            if (!strcmp(key, "llm_int8_threshold")) w->training.outlier = strtof(v, NULL);
            if (!strcmp(key, "llm_int8_skip_modules")) keep_names(w->skip, sizeof w->skip, &y.entry[i]);
            if (!strcmp(key, "bnb_4bit_quant_type") && !strcmp(v, "fp4")) quant = &mg_format_fp4;
            if (!strcmp(key, "bnb_4bit_blocksize") && !strcmp(v, "128")) w->training.quant_block = 128;
            if (!strcmp(key, "use_bnb_nested_quant")) w->training.quant_nested = !strcmp(v, "true");
        }
    w->training.quant_skip = w->skip;
    if (in_8bit) quant = &mg_format_int8;
    if ((in_4bit || in_8bit) && w->o->merge_base == 0) w->training.quant = quant;
    mg_yaml_free(&y);
    free(path);
    return MG_OK;
}

static mg_status open_model(work *w, mg_error *err) {
    mg_status st = mg_inference_find(&w->paths, &w->o->model, err);
    if (!st) st = read_training(w, err);
    if (!st) st = mg_inference_open(&w->before, &w->paths, true, err);
    mg_threads_start((int)w->o->model.threads);
    w->backend = mg_backend_find("cpu");
    if (!st) st = mg_bundle_load(&w->before, &w->training, err);
    if (!st) st = mg_model_require_text(w->before.model, err); /* the check compares next tokens */
    if (!st && w->paths.adapter) st = mg_bundle_adapt(&w->before, w->paths.adapter, w->backend, err);
    return st;
}

static bool is_empty_folder(const char *path) { return mg_is_folder(path) && (!rmdir(path) || (errno != ENOTEMPTY && errno != EEXIST)); }

static bool same_place(const char *a, const char *b) {
    char *x = realpath(a, NULL), *y = realpath(b, NULL);
    bool  same = x && y && !strcmp(x, y);
    free(x);
    free(y);
    return same;
}

/* Nothing is replaced unasked, and never the model that is read or the run. */
static mg_status check_place(const work *w, mg_error *err) {
    const char *out = w->o->out;
    if (!out || !*out) return mg_fail(err, MG_USAGE, "say where to write: -o PATH");
    if (same_place(out, w->paths.model) || (w->paths.adapter && same_place(out, w->paths.adapter)))
        return mg_fail(err, MG_USAGE, "%s: is what is read here; choose another output", out);
    if (mg_is_folder(out) && !w->to->folder) return mg_fail(err, MG_USAGE, "%s: is a folder; %s is written as a file", out, w->to->name);
    if (mg_is_file(out) && w->to->folder) return mg_fail(err, MG_USAGE, "%s: is a file; %s is written as a folder", out, w->to->name);
    if (w->o->overwrite || (!mg_is_file(out) && !mg_is_folder(out)) || is_empty_folder(out)) return MG_OK;
    return mg_fail(err, MG_USAGE, "%s: exists already; choose another output, or replace it with --overwrite", out);
}

/* ---- writing ---- */

static bool go_on(void *context, uint64_t done, uint64_t total) {
    work  *w = context;
    mg_buf line = { 0 };
    static double last;
    if (isatty(STDERR_FILENO) && !w->cli->global.quiet && !w->cli->global.json && (now() - last > 0.1 || done >= total)) {
        last = now();
        mg_buf_printf(&line, "\r%3.0f%% ", total ? 100.0 * (double)done / (double)total : 100.0);
        mg_print_bytes(&line, (double)done);
        mg_buf_str(&line, " / ");
        mg_print_bytes(&line, (double)total);
        mg_buf_str(&line, "\x1b[K");
        if (!line.failed) fputs(line.data, stderr);
        fflush(stderr);
        w->drawn = true;
    }
    mg_buf_free(&line);
    return wanted();
}

static bool still_wanted(void *context) {
    (void)context;
    return wanted();
}

enum { STALE_SECONDS = 60 }; /* in which somebody with other process ids, on a shared disk, has written something */

/* `name` is `base`.tmp-PID or .old-PID of a process that is no more. */
static bool is_stale(const char *folder, const char *name, const char *base) {
    size_t      n = strlen(base);
    struct stat info;
    char       *end, *path;
    if (strncmp(name, base, n) || (strncmp(name + n, ".tmp-", 5) && strncmp(name + n, ".old-", 5))) return false;
    long pid = strtol(name + n + 5, &end, 10);
    if (*end || pid <= 0 || (!kill((pid_t)pid, 0) || errno != ESRCH)) return false;
    path = mg_path_join(folder, name);
    bool stale = path && !lstat(path, &info) && time(NULL) - info.st_mtime > STALE_SECONDS;
    free(path);
    return stale;
}

/* What a killed process left beside `path`: nothing reads it, and it is as large as a model. */
static void sweep(const char *path) {
    char       *folder = mg_strdup(path), *slash = folder ? strrchr(folder, '/') : NULL;
    const char *base = slash ? slash + 1 : path;
    if (slash) *slash = 0;
    const char *where = !slash ? "." : *folder ? folder : "/";
    DIR        *d = folder ? opendir(where) : NULL;
    for (struct dirent *e; d && (e = readdir(d));) {
        char *left = is_stale(where, e->d_name, base) ? mg_path_join(where, e->d_name) : NULL;
        if (left && unlink(left)) mg_remove_folder(left, NULL);
        free(left);
    }
    if (d) closedir(d);
    free(folder);
}

static mg_status begin_output(work *w, mg_error *err) {
    const char *out = w->o->out;
    size_t      n = strlen(out);
    char       *path = mg_strdup(out), *slash;
    mg_buf      temp = { 0 };
    mg_status   st = MG_OK;
    if (!path) return mg_fail(err, MG_NOMEM, "%s: no memory", out);
    while (n > 1 && path[n - 1] == '/') path[--n] = 0;
    sweep(path);
    if (w->to->folder) {
        mg_buf_printf(&temp, "%s.tmp-%ld", path, (long)getpid());
        st = temp.failed ? mg_fail(err, MG_NOMEM, "%s: no memory", out) : mg_make_folder(temp.data, err);
        if (st)
            mg_buf_free(&temp);
        else
            w->folder = temp.data;
    } else {
        if ((slash = strrchr(path, '/')) && slash != path) {
            *slash = 0;
            st = mg_make_folder(path, err);
            *slash = '/';
        }
        if (!st) st = mg_new_file_begin(&w->file, path, err);
    }
    free(path);
    return st;
}

/* The folder gets its name. */
static mg_status place_folder(work *w, mg_error *err) {
    char       *parent = mg_strdup(w->folder), *slash = parent ? strrchr(parent, '/') : NULL;
    size_t      n = strlen(w->folder) - strlen(strrchr(w->folder, '.'));
    char       *out = mg_strndup(w->folder, n); /* without .tmp-PID */
    mg_status   st = out && parent ? mg_replace_folder(out, w->folder, err) : mg_fail(err, MG_NOMEM, "%s: no memory", w->o->out);
    if (!st) {
        free(w->folder);
        w->folder = NULL;
        if (slash) slash[slash == parent] = 0;
        st = mg_sync_folder(slash ? parent : ".", err);
    }
    free(parent);
    free(out);
    return st;
}

static mg_status place(work *w, mg_error *err) { return w->to->folder ? place_folder(w, err) : mg_new_file_commit(&w->file, err); }

/* ---- checking ---- */

static double bound(const work *w) { return w->o->max_kl >= 0 ? w->o->max_kl : w->to->bound(w); }

static mg_status check(work *w, mg_error *err) {
    mg_bundle after = { 0 };
    mg_status st = w->o->prompts ? mg_replay_texts_read(&w->texts, w->o->prompts, err) : mg_replay_texts_load(&w->texts, w->paths.adapter, err);
    if (!st) st = w->to->open_back(w, &after, err);
    if (!st) st = mg_replay(&w->result, &w->before, &after, w->backend, &w->texts, still_wanted, NULL, err);
    if (!st && !(w->result.kl <= bound(w)))
        st = mg_fail(err, MG_SELFCHECK,
                     "%s: what was written drifts from the model: KL divergence %.4g a token (worst %.3g), at most %.4g is allowed; the most likely "
                     "token agrees at %.1f%% of %lld positions. Nothing was kept. Choose a finer type, or allow more with --max_kl",
                     w->o->out, w->result.kl, w->result.worst_kl, bound(w), 100 * w->result.top1, (long long)w->result.tokens);
    mg_bundle_close(&after);
    return st;
}

static uint64_t written_bytes(const work *w) { return w->to->folder ? w->progress.done : w->file.bytes; }

static mg_status report(const work *w, mg_error *err) {
    const mg_replay_result *r = &w->result;
    mg_buf                  b = { 0 };
    if (w->cli->global.json) {
        mg_buf_str(&b, "{\"output\":");
        mg_json_quote(&b, w->o->out, strlen(w->o->out));
        mg_buf_printf(&b, ",\"to\":\"%s\",\"type\":\"%s\",\"bytes\":%llu,\"prompts\":%zu,\"tokens\":%lld", w->to->name,
                      w->mix ? w->mix->name : "auto", (unsigned long long)w->bytes, r->prompts, (long long)r->tokens);
        mg_buf_printf(&b, ",\"kl\":%.9g,\"worst_kl\":%.9g,\"max_kl\":%.9g,\"top1\":%.9g,\"logit_error\":%.9g,\"seconds\":%.3f}\n", r->kl, r->worst_kl,
                      bound(w), r->top1, r->error, now() - w->started);
    } else {
        mg_buf_printf(&b, gettext("%zu prompts replayed: token ids equal, KL divergence %.3g a token (worst %.3g, allowed %.3g), most likely token equal at %.1f%% of %lld positions\n"),
                      r->prompts, r->kl, r->worst_kl, bound(w), 100 * r->top1, (long long)r->tokens);
        mg_buf_printf(&b, gettext("written: %s ("), w->o->out);
        mg_print_bytes(&b, (double)w->bytes);
        mg_buf_printf(&b, ", %.1f s)\n", now() - w->started);
    }
    mg_status st = mg_print(&b, err);
    mg_buf_free(&b);
    return st;
}

static mg_status work_through(work *w, mg_error *err) {
    mg_status st = find_target(w, err);
    if (!st) st = open_model(w, err);
    if (!st) st = check_place(w, err);
    if (!st) st = begin_output(w, err);
    if (st) return st;
    w->progress = (mg_piece_progress){ .go_on = go_on, .context = w };
    w->delivery = (mg_delivery){ .bundle = &w->before, .progress = &w->progress };
    st = w->to->write(w, err);
    if (w->drawn) fputs("\r\x1b[K", stderr);
    w->bytes = written_bytes(w);
    if (!st) st = check(w, err);
    return st ? st : place(w, err);
}

mg_status mg_deliver(mg_cli *cli, const mg_delivery_options *o, mg_error *err) {
    work w = { .o = o, .cli = cli, .file = { .fd = -1 }, .started = now() };
    struct sigaction before;
    terminated = 0;
    mg_interrupts_begin();
    mg_interrupt_catch(SIGTERM, on_terminate, 0, &before);
    mg_status st = work_through(&w, err);
    sigaction(SIGTERM, &before, NULL);
    mg_interrupts_end();
    if (!st) st = report(&w, err);
    mg_error ignored;
    if (w.folder) mg_remove_folder(w.folder, &ignored);
    free(w.folder);
    mg_new_file_end(&w.file);
    mg_replay_texts_free(&w.texts);
    mg_bundle_close(&w.before);
    mg_inference_paths_free(&w.paths);
    return st;
}
