/* cmd_chat.c -- `chat`: talk to a model, and switch its adapter off to hear the difference.
 *
 * The conversation is rendered and tokenised anew for each answer, because templates may treat older turns
 * differently; what the cache holds already is not computed again.  When the context is full the oldest turns
 * go, and that is said.
 *
 * Lines are read with libedit on a terminal, where a key press can be interrupted: its own reader would start a
 * read again after SIGINT, and miss one that comes between prompt and read, so ours stands in its place.  Elsewhere
 * lines come from standard input. */
#include "cli/inference.h"

#include "base/json.h"

#include <histedit.h>
#include <libintl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

enum { LINE_HISTORY = 1000, LEAST_ANSWER = 64 };

typedef struct {
    mg_inference_options model;
    mg_answer_options    answer;
    char                *target, *system;
} chat_options;

#define AT(field) offsetof(chat_options, field)

static const mg_option rows[] = {
    { .name = "target", .type = &mg_option_string, .offset = AT(target), .positional = true, .metavar = "RUN|MODEL", .group = "",
      .help = MG_N("a run's name, `last`, or a model") },
    { .name = "system", .aliases = "system_prompt", .type = &mg_option_string, .offset = AT(system), .metavar = "TEXT", .group = "",
      .help = MG_N("a system message before the conversation") },
    MG_TEXT_ROWS(chat_options, model), MG_TEMPLATE_ROW(chat_options, model), MG_ANSWER_ROWS(chat_options, answer, "0.7", "512"),
    MG_CONTEXT_ROW(chat_options, model), MG_MACHINE_ROWS(chat_options, model), { 0 },
};

typedef struct {
    char *user, *assistant; /* assistant NULL: not answered yet */
} turn;

typedef struct {
    const chat_options *o;
    mg_bundle           b;
    mg_generator       *g;
    turn               *turn;
    size_t              n, cap;
    char               *system;
    bool                base, leave;
    bool                terminal; /* keyboard and screen */
    EditLine           *edit;
    History            *history;
    mg_buf              line;
} chat;

/* ---- lines ---- */

static char *prompt_text(EditLine *e) {
    chat *c = NULL;
    el_get(e, EL_CLIENTDATA, &c);
    return c->base ? "base> " : "> ";
}

/* One character of the keyboard; -1 ends the line (EOF, or an interrupt). */
static int read_key(EditLine *e, wchar_t *out) {
    mbstate_t state = { 0 };
    (void)e;
    for (;;) {
        char byte;
        int  n = mg_read_byte(&byte);
        if (n <= 0) return n;
        size_t got = mbrtowc(out, &byte, 1, &state);
        if (got == (size_t)-2) continue;
        if (got == (size_t)-1) *out = 0xfffd;
        return 1;
    }
}

static mg_status start_edit(chat *c, mg_error *err) {
    HistEvent event;
    c->edit = el_init("migaki", stdin, stdout, stderr);
    c->history = history_init();
    if (!c->edit || !c->history) return mg_fail(err, MG_LIBRARY, "libedit cannot be started; use a pipe instead of the terminal");
    history(c->history, &event, H_SETSIZE, LINE_HISTORY);
    history(c->history, &event, H_SETUNIQUE, 1);
    el_set(c->edit, EL_CLIENTDATA, c);
    el_set(c->edit, EL_PROMPT, prompt_text);
    el_set(c->edit, EL_EDITOR, "emacs");
    el_set(c->edit, EL_HIST, history, c->history);
    el_set(c->edit, EL_GETCFN, read_key);
    return MG_OK;
}

typedef enum { LINE, END, INTERRUPT } input;

static input read_line(chat *c) {
    c->line.len = 0;
    mg_interrupts_clear();
    if (c->terminal) {
        int         n = 0;
        const char *text = el_gets(c->edit, &n);
        if (mg_interrupted()) return INTERRUPT;
        if (!text || n <= 0) return END;
        mg_buf_add(&c->line, text, (size_t)n);
        HistEvent event;
        if (*text != '\n') history(c->history, &event, H_ENTER, text);
    } else {
        char byte;
        int  n;
        while ((n = mg_read_byte(&byte)) == 1 && byte != '\n') mg_buf_char(&c->line, byte);
        if (n < 0 && mg_interrupted()) return INTERRUPT;
        if (n <= 0 && !c->line.len) return END;
    }
    while (c->line.len && strchr("\r\n", c->line.data[c->line.len - 1])) c->line.len--;
    if (c->line.data) c->line.data[c->line.len] = 0;
    return LINE;
}

/* Remarks of the program, apart from what the model says. */
static void say(const chat *c, const char *text) {
    if (c->terminal)
        printf("\033[2m%s\033[0m\n", text);
    else
        fprintf(stderr, "%s\n", text);
}

/* ---- the conversation ---- */

static void drop_turns(chat *c, size_t n) {
    if (!n) return;
    for (size_t i = 0; i < n; i++) {
        free(c->turn[i].user);
        free(c->turn[i].assistant);
    }
    memmove(c->turn, c->turn + n, (c->n - n) * sizeof *c->turn);
    c->n -= n;
}

static void add_message(mg_buf *b, const char *role, const char *text) {
    if (!text) return;
    mg_buf_printf(b, "%s{\"role\": \"%s\", \"content\": ", b->len > 1 ? ", " : "", role);
    mg_json_quote(b, text, strlen(text));
    mg_buf_char(b, '}');
}

static mg_status render(const chat *c, mg_ids *ids, mg_error *err) {
    mg_buf  text = { 0 };
    mg_json json = { 0 };
    mg_buf_char(&text, '[');
    add_message(&text, "system", c->system);
    for (size_t i = 0; i < c->n; i++) {
        add_message(&text, "user", c->turn[i].user);
        add_message(&text, "assistant", c->turn[i].assistant);
    }
    mg_buf_char(&text, ']');
    mg_status st = text.failed ? mg_fail(err, MG_NOMEM, "no memory for the conversation")
                               : mg_json_parse(&json, text.data, text.len, "the conversation", err);
    ids->len = 0;
    if (!st) st = mg_chat_prompt(&c->b.chat, json.root, ids, err);
    mg_json_free(&json);
    mg_buf_free(&text);
    return st;
}

/* Tokens that the answer should find free. */
static int64_t reserve(const chat *c) {
    int64_t want = c->o->answer.max_new_tokens, context = mg_generator_context(c->g);
    if (!want || want > context / 4) want = context / 4;
    return want < LEAST_ANSWER && context > 4 * LEAST_ANSWER ? LEAST_ANSWER : want;
}

/* The prompt, without as many old turns as must go. */
static mg_status fit(chat *c, mg_ids *ids, mg_error *err) {
    size_t    dropped = 0;
    mg_status st;
    while (!(st = render(c, ids, err)) && c->n > 1 && (int64_t)ids->len + reserve(c) > mg_generator_context(c->g)) {
        drop_turns(c, 1);
        dropped++;
    }
    if (!st && dropped) {
        mg_buf text = { 0 };
        mg_buf_printf(&text, gettext("(the context is full: the oldest %zu turns are forgotten)"), dropped);
        if (!text.failed) say(c, text.data);
        mg_buf_free(&text);
    }
    return st;
}

static bool show(void *context, size_t prompt, const char *text, size_t n) {
    (void)context, (void)prompt;
    return mg_show_text(text, n);
}

static void end_answer(const chat *c, const mg_generation *out) {
    mg_show_text("\n", 1);
    if (out->finish == MG_FINISH_CANCELLED) say(c, gettext("(stopped)"));
    if (out->finish == MG_FINISH_LENGTH) say(c, gettext("(cut off: the answer reached max_new_tokens)"));
    if (out->finish == MG_FINISH_CONTEXT) say(c, gettext("(cut off: the context is full)"));
}

static mg_status answer(chat *c, mg_error *err) {
    mg_ids              ids = { 0 };
    mg_generation       out = { 0 };
    mg_generate_options g = mg_answer_settings(&c->o->answer, &c->b);
    g.adapters_off = c->base;
    g.keep = true;
    g.on_text = show;
    g.cancelled = mg_cancelled; /* counts from the line on: Ctrl-C right behind it stops the answer */
    mg_status st = fit(c, &ids, err);
    if (!st) st = mg_generate(c->g, &ids, 1, &g, &out, err);
    if (!st) {
        end_answer(c, &out);
        c->turn[c->n - 1].assistant = mg_strdup(out.text.data ? out.text.data : "");
        if (!c->turn[c->n - 1].assistant) st = mg_fail(err, MG_NOMEM, "no memory for the conversation");
    }
    mg_generation_free(&out);
    mg_ids_free(&ids);
    return st;
}

/* A question that cannot be asked (too long, refused by the template) is taken back; the talk goes on. */
static mg_status ask(chat *c, mg_error *err) {
    mg_error why;
    if (!MG_GROW(c->turn, c->cap, c->n + 1)) return mg_fail(err, MG_NOMEM, "no memory for the conversation");
    c->turn[c->n] = (turn){ .user = mg_strdup(c->line.data) };
    if (!c->turn[c->n++].user) return mg_fail(err, MG_NOMEM, "no memory for the conversation");
    mg_status st = answer(c, &why);
    if (!st) return MG_OK;
    free(c->turn[--c->n].user);
    if (st != MG_TRUNCATED && st != MG_TEMPLATE && st != MG_DATA) return mg_fail(err, st, "%s", why.text);
    say(c, why.text);
    return MG_OK;
}

/* ---- commands ---- */

static void use_base(chat *c, const char *argument) {
    (void)argument;
    if (!mg_bundle_is_tuned(&c->b)) {
        say(c, gettext("(there is no adapter: this is the base model)"));
        return;
    }
    c->base = true;
    say(c, gettext("(adapter off: the base model answers)"));
}

static void use_tuned(chat *c, const char *argument) {
    (void)argument;
    if (!mg_bundle_is_tuned(&c->b)) {
        say(c, gettext("(there is no adapter: this is the base model)"));
        return;
    }
    c->base = false;
    say(c, gettext("(adapter on: the tuned model answers)"));
}

static void reset(chat *c, const char *argument) {
    (void)argument;
    drop_turns(c, c->n);
    say(c, gettext("(a new conversation)"));
}

static void set_system(chat *c, const char *argument) {
    free(c->system);
    c->system = *argument ? mg_strdup(argument) : NULL;
    drop_turns(c, c->n);
    say(c, c->system ? gettext("(a new conversation with this system message)") : gettext("(a new conversation without a system message)"));
}

static void quit(chat *c, const char *argument) {
    (void)argument;
    c->leave = true;
}

static void help(chat *c, const char *argument);

static const struct {
    const char *name, *what;
    void (*run)(chat *c, const char *argument);
} commands[] = {
    { "/base", MG_N("the adapter off: the base model answers"), use_base },
    { "/tuned", MG_N("the adapter on"), use_tuned },
    { "/reset", MG_N("forget the conversation"), reset },
    { "/system", MG_N("TEXT: a system message; forgets the conversation"), set_system },
    { "/help", MG_N("this list"), help },
    { "/quit", MG_N("leave (also Ctrl-D, or Ctrl-C twice)"), quit },
};

static void help(chat *c, const char *argument) {
    mg_buf b = { 0 };
    (void)argument;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        mg_buf_printf(&b, "%s%-9s %s", i ? "\n" : "", commands[i].name, gettext(commands[i].what));
    if (!b.failed) say(c, b.data);
    mg_buf_free(&b);
}

/* A line that begins with a slash and a known word; others are for the model. */
static bool command(chat *c) {
    size_t n = strcspn(c->line.data, " \t");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strlen(commands[i].name) == n && !memcmp(commands[i].name, c->line.data, n)) {
            commands[i].run(c, c->line.data + n + strspn(c->line.data + n, " \t"));
            return true;
        }
    return false;
}

/* ---- the loop ---- */

static mg_status talk(chat *c, mg_error *err) {
    mg_status st = MG_OK;
    bool      warned = false; /* one interrupt at the prompt; the next one leaves */
    while (!st && !c->leave) {
        input in = read_line(c);
        if (in == END || (in == INTERRUPT && warned)) break;
        if (in == INTERRUPT) {
            printf("\n");
            say(c, gettext("(Ctrl-C again, Ctrl-D or /quit leaves)"));
            warned = true;
            continue;
        }
        warned = false;
        if (c->line.failed)
            st = mg_fail(err, MG_NOMEM, "no memory for a line");
        else if (c->line.len && !command(c))
            st = ask(c, err);
    }
    if (c->terminal && !c->leave) printf("\n");
    return st;
}

static mg_status open_chat(chat *c, mg_inference_paths *paths, mg_error *err) {
    const mg_backend    *backend;
    mg_inference_options names = c->o->model;
    if (c->o->target && names.model)
        return mg_fail(err, MG_USAGE, "'%s' and -m %s both name what to talk to; leave one out", c->o->target, names.model);
    if (c->o->target) names.model = c->o->target;
    if (!names.model && !names.adapter) names.model = "last";
    if (c->o->system && !(c->system = mg_strdup(c->o->system))) return mg_fail(err, MG_NOMEM, "no memory for a system message");
    mg_status st = mg_inference_find(paths, &names, err);
    if (!st) st = mg_inference_open(&c->b, paths, true, err);
    if (!st && !c->b.chat_template)
        st = mg_fail(err, MG_TEMPLATE, "%s: has no chat template; give one with --chat_template, or use generate --raw", c->b.path);
    if (!st) st = mg_inference_load(&c->b, paths, &c->o->model, c->o->model.max_length, &backend, err);
    if (!st) st = mg_generator_open(&c->g, c->b.model, c->b.tokenizer, backend, 1, mg_inference_context(&c->b, &c->o->model), err);
    return st;
}

static mg_status run(mg_cli *cli, void *values, mg_error *err) {
    chat               c = { .o = values, .terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) };
    mg_inference_paths paths = { 0 };
    mg_status          st = open_chat(&c, &paths, err);
    if (!st && c.terminal) st = start_edit(&c, err);
    if (!st) {
        if (c.terminal && !cli->global.quiet) {
            mg_buf b = { 0 };
            mg_buf_printf(&b, gettext("%s%s%s · /help lists the commands"), c.b.path, paths.adapter ? " + " : "",
                          paths.adapter ? paths.adapter : "");
            if (!b.failed) say(&c, b.data);
            mg_buf_free(&b);
        }
        mg_interrupts_begin();
        st = talk(&c, err);
        mg_interrupts_end();
    }
    if (c.history) history_end(c.history);
    if (c.edit) el_end(c.edit);
    drop_turns(&c, c.n);
    free(c.turn);
    free(c.system);
    mg_buf_free(&c.line);
    mg_generator_close(c.g);
    mg_bundle_close(&c.b);
    mg_inference_paths_free(&paths);
    return st;
}

const mg_command mg_command_chat = {
    .name = "chat", .group = "try", .usage = "[last|RUN|MODEL] [-a ADAPTER]", .summary = MG_N("talk to a model"),
    .details = MG_N("Without an argument: to the newest run. /base and /tuned switch the adapter, /help lists the commands. "
                    "Ctrl-C stops an answer; twice at the prompt leaves."),
    .rows = rows, .values_size = sizeof(chat_options), .run = run,
};
