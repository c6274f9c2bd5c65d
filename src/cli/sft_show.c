/* sft_show.c -- training in the terminal: three lines before step 0 say what will
 * happen and what it costs, one line moves, one line says what came out.
 *
 * With --json every step is one object a line, then one for the result; keys are
 * stable: step, loss, grad_norm, lr, tokens, tokens_per_s. */
#include "cli/sft_show.h"

#include "base/interrupt.h"
#include "base/json.h"
#include "base/width.h"
#include "cli/sft_judge.h"
#include "cli/terminal.h"

#include <libintl.h>
#include <math.h>
#include <string.h>

typedef struct {
    mg_cli              *cli;
    const mg_sft_options *o;
    mg_terminal          terminal;
    double               eval_loss;
} show;

static volatile sig_atomic_t stop_requested;

/* The first signal asks the loop to save and end; a second one kills (SA_RESETHAND). */
static void on_signal(int number) {
    (void)number;
    stop_requested = 1;
}

const volatile sig_atomic_t *mg_sft_catch_signals(void) {
    mg_interrupt_catch(SIGINT, on_signal, SA_RESTART | SA_RESETHAND, NULL);
    mg_interrupt_catch(SIGTERM, on_signal, SA_RESTART | SA_RESETHAND, NULL);
    return &stop_requested;
}

static void say(show *s, const mg_buf *b) {
    if (!b->failed) mg_terminal_line(&s->terminal, b->data ? b->data : "");
}

static void json_number(mg_buf *b, const char *key, double x) {
    if (isfinite(x))
        mg_buf_printf(b, ", \"%s\": %.9g", key, x);
    else
        mg_buf_printf(b, ", \"%s\": null", key);
}

static void print_json(const mg_buf *b) {
    if (b->failed) return;
    fputs(b->data, stdout);
    fputc('\n', stdout);
    fflush(stdout);
}

#define GB(x) ((double)(x) / 1e9)

static void facts_text(show *s, const mg_sft_facts *f) {
    const mg_memory_plan *p = f->plan;
    const mg_model       *m = f->bundle->model;
    mg_buf                b = { 0 };
    const char           *name = strrchr(f->bundle->path, '/');
    char                  method[96] = "";
    if (f->adapter->c.method->ranked)
        snprintf(method, sizeof method, " r=%d α=%g", f->adapter->c.r, (double)f->adapter->c.alpha);
    mg_buf_printf(&b, gettext("migaki sft  %s · %s · %s%s (%.2fM of %.0fM train = %.2f%%) · cpu %d threads, %s, %s"),
                  name ? name + 1 : f->bundle->path, m->format_summary, f->adapter->c.method->title, method,
                  (double)f->adapter->parameters / 1e6, (double)m->parameters / 1e6,
                  100.0 * (double)f->adapter->parameters / (double)m->parameters, f->threads, f->backend->compute, mg_cpu_isa());
    say(s, &b);
    b.len = 0;
    mg_buf_printf(&b, gettext("Data     %lld for training (%s), %lld for validation · %.0f tokens on average · trained on %.1f%%"),
                  (long long)f->train->n, f->train->form, (long long)(f->eval ? f->eval->n : 0),
                  (double)f->train->tokens / (double)f->train->n, 100.0 * (double)f->train->labelled / (double)f->train->tokens);
    if (f->train->truncated) mg_buf_printf(&b, gettext(" · cut %lld"), (long long)f->train->truncated);
    if (f->train->dropped) mg_buf_printf(&b, gettext(" · left out %lld"), (long long)f->train->dropped);
    say(s, &b);
    b.len = 0;
    mg_buf_printf(&b, gettext("Plan     memory %.2f of %.1f GB (weights %.2f, adapter and optimizer %.2f, activations %.2f, rest %.2f)"
                              " · %lld steps · %.1f MB a checkpoint"),
                  GB(p->total), GB(p->available), GB(p->weights), GB(p->adapter + p->optimizer), GB(p->arena), GB(p->program),
                  (long long)f->total_steps, (double)f->checkpoint_bytes / 1e6);
    if (p->rerun_layers) mg_buf_printf(&b, gettext(" · %d of %lld layers are computed twice"), p->rerun_layers, (long long)m->c.layers);
    say(s, &b);
    b.len = 0;
    if (f->train->notes.len) mg_terminal_warn(&s->terminal, f->train->notes.data);
    if (f->run_folder) {
        mg_buf_printf(&b, gettext("Run      %s"), f->run_folder);
        if (f->start_step) mg_buf_printf(&b, gettext(" · goes on from step %lld"), (long long)f->start_step);
        say(s, &b);
    }
    mg_buf_free(&b);
}

static void facts_json(const mg_sft_facts *f) {
    const mg_memory_plan *p = f->plan;
    mg_buf                b = { 0 };
    mg_buf_str(&b, "{\"event\": \"plan\", \"model\": ");
    mg_json_quote(&b, f->bundle->path, strlen(f->bundle->path));
    mg_buf_printf(&b, ", \"compute\": \"%s\", \"threads\": %d, \"trainable\": %lld, \"parameters\": %lld, \"samples\": %zu, \"eval_samples\": %zu",
                  f->backend->compute, f->threads, (long long)f->adapter->parameters, (long long)f->bundle->model->parameters, f->train->n,
                  f->eval ? f->eval->n : 0);
    mg_buf_printf(&b, ", \"steps\": %lld, \"start_step\": %lld, \"memory\": {\"total\": %zu, \"available\": %zu, \"weights\": %zu, \"adapter\": %zu, "
                      "\"optimizer\": %zu, \"activations\": %zu, \"rest\": %zu}, \"rerun_layers\": %d}",
                  (long long)f->total_steps, (long long)f->start_step, p->total, p->available, p->weights, p->adapter, p->optimizer, p->arena,
                  p->program, p->rerun_layers);
    print_json(&b);
    mg_buf_free(&b);
}

static void on_facts(void *context, const mg_sft_facts *f) {
    show *s = context;
    if (s->cli->global.json)
        facts_json(f);
    else
        facts_text(s, f);
}

static void step_json(const mg_sft_step *x) {
    mg_buf b = { 0 };
    mg_buf_printf(&b, "{\"step\": %lld", (long long)x->step);
    json_number(&b, "loss", x->loss);
    json_number(&b, "grad_norm", x->grad_norm);
    json_number(&b, "lr", x->learning_rate);
    mg_buf_printf(&b, ", \"tokens\": %lld", (long long)x->tokens);
    json_number(&b, "tokens_per_s", x->tokens_per_second);
    json_number(&b, "epoch", x->epoch);
    mg_buf_char(&b, '}');
    print_json(&b);
    mg_buf_free(&b);
}

static void on_step(void *context, const mg_sft_step *x) {
    show *s = context;
    if (s->cli->global.json) {
        step_json(x);
        return;
    }
    mg_progress p = { .step = x->step, .steps = x->total, .epoch = x->epoch, .loss = x->loss, .has_eval = isfinite(s->eval_loss),
                      .eval_loss = s->eval_loss, .has_gap = isfinite(x->eval_gap), .eval_gap = x->eval_gap, .learning_rate = x->learning_rate, .grad_norm = x->grad_norm,
                      .tokens_per_second = x->tokens_per_second, .eta_s = x->seconds_left,
                      .log = x->step == 1 || x->step == x->total || x->step % s->o->logging_steps == 0 };
    mg_terminal_progress(&s->terminal, &p);
}

/* Every score of an evaluation: keys as in trainer_log.jsonl, in the terminal without "eval_". */
static void on_scored(void *context, int64_t step, const mg_metric *m, size_t n) {
    show  *s = context;
    mg_buf b = { 0 };
    s->eval_loss = m[0].value;
    if (s->cli->global.json)
        mg_buf_printf(&b, "{\"event\": \"evaluation\", \"step\": %lld", (long long)step);
    else
        mg_buf_printf(&b, gettext("Eval     step %lld"), (long long)step);
    for (size_t i = 0; i < n; i++)
        if (s->cli->global.json)
            json_number(&b, m[i].name, m[i].value);
        else
            mg_buf_printf(&b, " · %s %.4g", strncmp(m[i].name, "eval_", 5) ? m[i].name : m[i].name + 5, m[i].value);
    if (s->cli->global.json) {
        mg_buf_char(&b, '}');
        print_json(&b);
    } else
        say(s, &b);
    mg_buf_free(&b);
}

static void samples_json(int64_t step, const mg_run_sample *x, size_t n) {
    mg_buf b = { 0 };
    mg_buf_printf(&b, "{\"event\": \"samples\", \"step\": %lld, \"samples\": [", (long long)step);
    for (size_t i = 0; i < n; i++) {
        mg_buf_str(&b, i ? ", {\"prompt\": " : "{\"prompt\": ");
        mg_json_quote(&b, x[i].prompt, strlen(x[i].prompt));
        mg_buf_str(&b, ", \"answer\": ");
        mg_json_quote(&b, x[i].answer, strlen(x[i].answer));
        mg_buf_char(&b, '}');
    }
    mg_buf_str(&b, "]}");
    print_json(&b);
    mg_buf_free(&b);
}

/* Append a text as one line: a model must not be able to work the terminal. */
static void add_flat(mg_buf *b, const char *text) {
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        bool c1 = *c == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0;
        mg_buf_char(b, *c < 0x20 || *c == 0x7f || c1 ? ' ' : (char)*c);
        c += c1;
    }
}

/* The first answers, a line each; all of them are in the run's folder. */
static void on_sampled(void *context, int64_t step, const mg_run_sample *x, size_t n) {
    show *s = context;
    enum { SHOWN = 3 };
    if (s->cli->global.json) {
        samples_json(step, x, n);
        return;
    }
    for (size_t i = 0; i < n && i < SHOWN; i++) {
        mg_buf b = { 0 };
        mg_buf_printf(&b, gettext("Sample   step %lld · "), (long long)step);
        add_flat(&b, x[i].prompt);
        mg_buf_str(&b, " → ");
        add_flat(&b, x[i].answer);
        if (!b.failed && mg_width(b.data) >= s->terminal.columns) {
            size_t fits = mg_width_cut(b.data, s->terminal.columns - 2); /* the last column stays free */
            b.len = fits;
            mg_buf_str(&b, "…");
        }
        say(s, &b);
        mg_buf_free(&b);
    }
}

static void on_warn(void *context, const char *text) { mg_terminal_warn(&((show *)context)->terminal, text); }

static void result_json(const mg_sft_result *r) {
    mg_buf b = { 0 };
    mg_buf_str(&b, "{\"event\": \"result\", \"run\": ");
    mg_json_quote(&b, r->folder, strlen(r->folder));
    mg_buf_printf(&b, ", \"steps\": %lld, \"tokens\": %lld, \"peak_memory\": %zu, \"planned_memory\": %zu", (long long)r->steps,
                  (long long)r->tokens, r->peak_bytes, r->planned_bytes);
    json_number(&b, "seconds", r->seconds);
    json_number(&b, "loss", r->last_loss);
    json_number(&b, "eval_loss_before", r->first_eval_loss);
    json_number(&b, "eval_loss", r->last_eval_loss);
    mg_buf_printf(&b, ", \"best_step\": %lld, \"stopped_early\": %s}", (long long)r->best_step, r->stopped_early ? "true" : "false");
    print_json(&b);
    mg_buf_free(&b);
}

static void result_text(show *s, const mg_sft_result *r) {
    mg_buf b = { 0 }, time = { 0 };
    mg_print_duration(&time, r->seconds);
    mg_buf_printf(&b, gettext("Done     %lld steps in %s · peak %.2f GB"), (long long)r->steps, time.data, GB(r->peak_bytes));
    if (isfinite(r->last_eval_loss)) mg_buf_printf(&b, gettext(" · validation loss %.3f → %.3f"), r->first_eval_loss, r->last_eval_loss);
    if (r->stopped_early) mg_buf_str(&b, gettext(" · stopped early: no more improvement"));
    if (r->best_step >= 0) mg_buf_printf(&b, gettext(" · best: checkpoint-%lld"), (long long)r->best_step);
    say(s, &b);
    b.len = 0;
    mg_buf_printf(&b, gettext("Next     migaki chat %s"), r->folder);
    say(s, &b);
    mg_buf_free(&b);
    mg_buf_free(&time);
}

static mg_sft_listener listener_of(show *s) {
    return (mg_sft_listener){ .context = s, .facts = on_facts, .step = on_step, .scored = on_scored, .sampled = on_sampled, .judge = &mg_sft_judge,
                              .warn = on_warn, .stop = &stop_requested };
}

mg_status mg_sft_show_train(mg_cli *cli, const mg_sft_options *o, mg_error *err) {
    show            s = { .cli = cli, .o = o, .terminal = mg_terminal_start(cli->global.json, cli->global.quiet), .eval_loss = NAN };
    mg_sft_listener listener = listener_of(&s);
    mg_sft_result   result;
    mg_buf          yaml = { 0 };
    mg_options_write_yaml(&yaml, cli->options);
    if (yaml.failed) return mg_fail(err, MG_NOMEM, "no memory for the options");
    mg_sft_catch_signals();
    mg_status st = mg_sft_train(o, yaml.data ? yaml.data : "", 0, NULL, &listener, &result, err);
    mg_terminal_end(&s.terminal);
    if (!st && cli->global.json)
        result_json(&result);
    else if (!st)
        result_text(&s, &result);
    mg_buf_free(&yaml);
    return st;
}

mg_status mg_sft_show_plan(mg_cli *cli, const mg_sft_options *o, mg_error *err) {
    show            s = { .cli = cli, .o = o, .terminal = mg_terminal_start(cli->global.json, cli->global.quiet), .eval_loss = NAN };
    mg_sft_listener listener = listener_of(&s);
    mg_status       st = mg_sft_plan(o, &listener, err);
    mg_terminal_end(&s.terminal);
    return st;
}
