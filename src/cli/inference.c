/* inference.c -- finding out what MODEL, RUN and ADAPTER stand for, and small things around standard streams. */
#include "cli/inference.h"

#include "base/file.h"
#include "base/interrupt.h"
#include "base/thread.h"
#include "base/yaml.h"
#include "nn/virtual.h"
#include "train/runs.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { INPUT_BYTES = 64 << 20 };

/* ---- names ---- */

static bool holds(const char *folder, const char *name) {
    char *path = mg_path_join(folder, name);
    bool  there = path && mg_is_file(path);
    free(path);
    return there;
}

/* The folder of a run whose result is a model: full fine-tuning. */
static bool is_whole_run(const char *folder) {
    return holds(folder, "config.json") && holds(folder, "config.yaml") && !holds(folder, "adapter_config.json");
}

/* A folder with an adapter, by path or by the name of a run.  MG_NOTFOUND: neither. */
static mg_status find_adapter(char **out, const char *name, mg_error *err) {
    char *folder = NULL;
    if (mg_is_folder(name)) {
        if (!(folder = mg_strdup(name))) return mg_fail(err, MG_NOMEM, "%s: no memory", name);
    } else {
        mg_status st = mg_runs_resolve(&folder, mg_runs_root(), name, err);
        if (st) return st;
    }
    if (!holds(folder, "adapter_config.json") && !is_whole_run(folder)) {
        mg_status st = mg_fail(err, MG_NOTFOUND,
                               "%s: holds no adapter_config.json; give the folder of a run or adapter", folder);
        free(folder);
        return st;
    }
    *out = folder;
    return MG_OK;
}

/* The model that a run of full fine-tuning began with: config.yaml says. */
static mg_status base_of_run(char **out, const char *run, mg_error *err) {
    mg_yaml   y = { 0 };
    char     *path = mg_path_join(run, "config.yaml");
    mg_status st = path ? mg_yaml_open(&y, path, err) : mg_fail(err, MG_NOMEM, "%s: no memory", run);
    const char *base = NULL;
    for (size_t i = 0; !st && i < y.n; i++)
        if (!strcmp(y.entry[i].key, "model_name_or_path") && y.entry[i].n) base = y.entry[i].item[0];
    if (!st && !base) st = mg_fail(err, MG_CONFIG, "%s: config.yaml does not say which model it began with; give it with -m", run);
    if (!st && !(*out = mg_strdup(base))) st = mg_fail(err, MG_NOMEM, "%s: no memory", run);
    mg_yaml_free(&y);
    free(path);
    return st;
}

/* The model that an adapter was trained on. */
static mg_status base_of(char **out, const char *adapter, mg_error *err) {
    mg_adapter_config c;
    if (is_whole_run(adapter)) return base_of_run(out, adapter, err);
    mg_status         st = mg_adapter_read_config(&c, adapter, err);
    if (st) return st;
    if (!*c.base)
        return mg_fail(err, MG_CONFIG,
                       "%s: adapter_config.json does not say which model it belongs to; give it with -m", adapter);
    *out = mg_strdup(c.base);
    return *out ? MG_OK : mg_fail(err, MG_NOMEM, "%s: no memory", adapter);
}

/* Fill p->model, and p->adapter when the name means a run. */
static mg_status find_model(mg_inference_paths *p, const char *name, mg_error *err) {
    mg_error none;
    bool     folder = mg_is_folder(name);
    if (folder ? (holds(name, "adapter_config.json") && !holds(name, "config.json")) || is_whole_run(name) : !strcmp(name, "last"))
        return find_adapter(&p->adapter, name, err);
    mg_status st = mg_bundle_find(&p->model, name, err);
    if (st == MG_NOTFOUND && !find_adapter(&p->adapter, name, &none)) st = MG_OK;
    return st;
}

/* A whole model needs no base: where that is gone it answers by itself. */
static void stand_alone(mg_inference_paths *p) {
    char    *base = NULL;
    mg_error none;
    if (p->adapter && is_whole_run(p->adapter) && mg_bundle_find(&base, p->model, &none)) {
        free(p->model);
        p->model = p->adapter;
        p->adapter = NULL;
    }
    free(base);
}

mg_status mg_inference_find(mg_inference_paths *out, const mg_inference_options *o, mg_error *err) {
    mg_inference_paths p = { 0 };
    mg_status          st = MG_OK;
    if (!o->model && !o->adapter) return mg_fail(err, MG_USAGE, "no model is given; name it with -m MODEL");
    if (o->model) st = find_model(&p, o->model, err);
    if (!st && o->adapter && p.adapter)
        st = mg_fail(err, MG_USAGE,
                     "%s is a run with an adapter of its own; leave out -a, or name the base model with -m",
                     o->model);
    if (!st && o->adapter) st = find_adapter(&p.adapter, o->adapter, err);
    if (!st && !p.model) st = base_of(&p.model, p.adapter, err);
    if (!st && o->model) stand_alone(&p);
    if (!st && o->chat_template)
        p.chat_template = mg_strdup(o->chat_template);
    else if (!st && p.adapter && holds(p.adapter, "chat_template.jinja"))
        p.chat_template = mg_path_join(p.adapter, "chat_template.jinja");
    if (st)
        mg_inference_paths_free(&p);
    else
        *out = p;
    return st;
}

void mg_inference_paths_free(mg_inference_paths *p) {
    free(p->model);
    free(p->adapter);
    free(p->chat_template);
    *p = (mg_inference_paths){ 0 };
}

/* ---- opening ---- */

mg_status mg_inference_open(mg_bundle *b, const mg_inference_paths *p, bool wants_template, mg_error *err) {
    return mg_bundle_open_text(b, p->model, wants_template ? p->chat_template : "none", err);
}

mg_status mg_inference_load(mg_bundle *b, const mg_inference_paths *p, const mg_inference_options *o,
                            int64_t positions, const mg_backend **backend, mg_error *err) {
    mg_model_options  m = { .positions = positions < 2 ? 2 : positions };
    mg_adapter_config c;
    static const char *const dtypes[] = { "auto", "float32", "bfloat16", "float16" };
    mg_status                st = mg_backend_open(backend, o->device, dtypes[o->dtype], err);
    /* On the CPU answers are computed in float32 unless the user asks: few rows gain nothing from bfloat16. */
    if (!st && !o->dtype && (*backend)->device->host) *backend = &mg_backend_cpu;
    mg_threads_start((int)o->threads);
    bool adapter = p->adapter && holds(p->adapter, "adapter_config.json"); /* else a whole model */
    if (!st && adapter) st = mg_adapter_read_config(&c, p->adapter, err);
    if (!st && adapter) m.positions += mg_adapter_virtual(&c);
    if (!st) st = mg_bundle_load(b, &m, err);
    if (!st && p->adapter) st = mg_bundle_adapt(b, p->adapter, *backend, err);
    if (!st) st = mg_model_place(b->model, *backend, err);
    return st;
}

int64_t mg_inference_context(const mg_bundle *b, const mg_inference_options *o) {
    int64_t most = b->model->c.max_positions, room = b->model->positions - mg_net_virtual(&b->model->net, true);
    if (room < o->max_length) return room;
    return most > 1 && most < o->max_length ? most : o->max_length;
}

mg_generate_options mg_answer_settings(const mg_answer_options *o, const mg_bundle *b) {
    return (mg_generate_options){
        .sampling = { .temperature = o->temperature,
                      .top_k = o->top_k,
                      .top_p = o->top_p,
                      .min_p = o->min_p,
                      .repetition_penalty = o->repetition_penalty,
                      .seed = (uint64_t)o->seed },
        .max_new_tokens = o->max_new_tokens,
        .stop = b->stop,
        .n_stop = b->n_stop,
        .stop_text = (const char *const *)o->stop.item,
        .n_stop_texts = o->stop.n,
    };
}

/* ---- text in ---- */

mg_status mg_read_input(mg_buf *out, mg_error *err) {
    char   piece[1 << 16];
    size_t n;
    while ((n = fread(piece, 1, sizeof piece, stdin)) > 0) {
        mg_buf_add(out, piece, n);
        if (out->len > INPUT_BYTES)
            return mg_fail(err, MG_DATA, "standard input has more than %d MiB", INPUT_BYTES >> 20);
    }
    if (ferror(stdin)) return mg_fail(err, MG_IO, "standard input cannot be read: %s", strerror(errno));
    mg_buf_str(out, ""); /* data is never NULL */
    return out->failed ? mg_fail(err, MG_NOMEM, "no memory for standard input") : MG_OK;
}

/* ---- text out ---- */

/* C0 but newline and tab, DEL, and C1 (U+0080 to U+009F, two bytes). */
static size_t control_bytes(const char *s, size_t n) {
    unsigned char c = (unsigned char)s[0];
    if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f) return 1;
    return c == 0xc2 && n > 1 && (unsigned char)s[1] >= 0x80 && (unsigned char)s[1] < 0xa0 ? 2 : 0;
}

bool mg_show_text(const char *text, size_t n) {
    bool   terminal = isatty(STDOUT_FILENO);
    size_t begin = 0;
    for (size_t i = 0; terminal && i < n;) {
        size_t skip = control_bytes(text + i, n - i);
        if (skip && fwrite(text + begin, 1, i - begin, stdout) != i - begin) return false;
        i += skip ? skip : 1;
        if (skip) begin = i;
    }
    return fwrite(text + begin, 1, n - begin, stdout) == n - begin && !fflush(stdout);
}

void mg_json_ids(mg_buf *b, const int32_t *ids, size_t n) {
    mg_buf_char(b, '[');
    for (size_t i = 0; i < n; i++) mg_buf_printf(b, "%s%d", i ? "," : "", (int)ids[i]);
    mg_buf_char(b, ']');
}

/* ---- interrupts ---- */

static volatile sig_atomic_t interrupts;
static int                   alarm_fd = -1; /* readable while an interrupt is not cleared: poll cannot miss it */
static struct sigaction      before;

static void on_interrupt(int signal) {
    int      why = errno;
    uint64_t one = 1;
    (void)signal;
    interrupts = 1;
    if (write(alarm_fd, &one, sizeof one) < 0) { /* without an alarm a read still ends through EINTR */
    }
    errno = why;
}

void mg_interrupts_begin(void) {
    interrupts = 0;
    alarm_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    mg_interrupt_catch(SIGINT, on_interrupt, 0, &before); /* no SA_RESTART: a read of the keyboard ends, too */
}

void mg_interrupts_end(void) {
    sigaction(SIGINT, &before, NULL);
    if (alarm_fd >= 0) close(alarm_fd);
    alarm_fd = -1;
}

bool mg_interrupted(void) { return interrupts != 0; }

bool mg_cancelled(void *nothing) {
    (void)nothing;
    return mg_interrupted();
}

void mg_interrupts_clear(void) {
    uint64_t n;
    interrupts = 0;
    if (read(alarm_fd, &n, sizeof n) < 0) { /* it was not raised */
    }
}

/* A signal may come between any two lines here; the alarm makes the poll return at once. */
int mg_read_byte(char *out) {
    struct pollfd wait[] = { { .fd = STDIN_FILENO, .events = POLLIN }, { .fd = alarm_fd, .events = POLLIN } };
    for (;;) {
        int ready = poll(wait, 2, -1);
        if (mg_interrupted()) return -1;
        if (ready < 0 && errno == EINTR) continue; /* the window changed its size */
        ssize_t n = ready < 0 ? -1 : read(STDIN_FILENO, out, 1);
        if (n < 0 && (errno == EINTR || errno == EAGAIN) && !mg_interrupted()) continue;
        return n < 0 ? -1 : (int)n;
    }
}
