/* terminal.c -- the progress line, and tables that align.
 *
 * The line is built from fields with a rank: when the terminal is narrow the
 * least important fields go first, then the bar shrinks, so percentage, step,
 * loss and remaining time stay to the end.  Redrawing is limited to ten times a
 * second, because a terminal over ssh is slower than a training step. */
#include "cli/terminal.h"

#include "base/json.h"
#include "base/option.h"
#include "base/width.h"

#include <libintl.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

/* ---- texts for people ---- */

void mg_print_duration(mg_buf *b, double seconds) {
    if (!(seconds >= 0) || seconds > 8.64e7) {
        mg_buf_str(b, "–");
        return;
    }
    long s = lround(seconds);
    if (s >= 3600)
        mg_buf_printf(b, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    else
        mg_buf_printf(b, "%ld:%02ld", s / 60, s % 60);
}

void mg_print_bytes(mg_buf *b, double bytes) {
    static const char *const unit[] = { "B", "kB", "MB", "GB", "TB" };
    int                      u = 0;
    while (bytes >= 999.5 && u < 4) {
        bytes /= 1000;
        u++;
    }
    mg_buf_printf(b, u && bytes < 99.95 ? "%.1f %s" : "%.0f %s", bytes, unit[u]);
}

void mg_print_count(mg_buf *b, int64_t n) {
    char digits[32];
    int  len = snprintf(digits, sizeof digits, "%lld", (long long)n), skip = n < 0;
    for (int i = 0; i < len; i++) {
        mg_buf_char(b, digits[i]);
        if (i >= skip && i + 1 < len && (len - 1 - i) % 3 == 0) mg_buf_char(b, ',');
    }
}

/* ---- the line ---- */

enum { FIELDS = 5, BAR_LEAST = 8, BAR_MOST = 40 };

/* "1.5e-4": C writes the exponent with two digits at least. */
static void add_rate(mg_buf *b, double x) {
    char text[64], *e;
    snprintf(text, sizeof text, "%.1e", x);
    e = strchr(text, 'e');
    if (!isfinite(x) || !e)
        mg_buf_str(b, "  lr NaN");
    else
        mg_buf_printf(b, "  lr %.*se%d", (int)(e - text), text, atoi(e + 1));
}

static void add_field(mg_buf *b, const char *name, const char *format, double x) {
    mg_buf_printf(b, "  %s ", gettext(name));
    if (isfinite(x)) {
        char text[64];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* one of print_field's literals */
        snprintf(text, sizeof text, format, x);
#pragma GCC diagnostic pop
        mg_buf_str(b, text);
    } else
        mg_buf_str(b, isnan(x) ? "NaN" : "∞");
}

/* Field i of the line, most important first. */
static void print_field(mg_buf *b, int i, const mg_progress *p) {
    if (i == 0) {
        add_field(b, MG_N("loss"), "%.3f", p->loss);
        if (p->has_eval) {
            mg_buf_printf(b, " (%s ", gettext("eval"));
            if (isfinite(p->eval_loss))
                mg_buf_printf(b, "%.3f", p->eval_loss);
            else
                mg_buf_str(b, "NaN");
            if (p->has_gap) mg_buf_printf(b, " %+.2f", p->eval_gap);
            mg_buf_char(b, ')');
        }
    } else if (i == 1) {
        mg_buf_printf(b, "  %s ", gettext("left"));
        mg_print_duration(b, p->eta_s);
    } else if (i == 2)
        add_rate(b, p->learning_rate);
    else if (i == 3)
        mg_buf_printf(b, "  %.0f tok/s", p->tokens_per_second);
    else
        add_field(b, MG_N("grad"), "%.2f", p->grad_norm);
}

static void add_bar(mg_buf *b, double part, int cells) {
    int halves = (int)lround(part * 2 * cells);
    for (int i = 0; i < cells; i++)
        mg_buf_str(b, 2 * i + 2 <= halves ? "━" : 2 * i + 1 == halves ? "╸" : "─");
}

void mg_progress_bar(mg_buf *b, const mg_progress *p, int columns) {
    static const int order[FIELDS] = { 0, 2, 4, 3, 1 }; /* as they stand: loss, lr, gradient, speed, time left */
    double           part = p->steps > 0 ? fmin(1, fmax(0, (double)p->step / (double)p->steps)) : 0;
    mg_buf           head = { 0 }, count = { 0 }, field[FIELDS] = { 0 };
    int              used, cells, shown = FIELDS;
    mg_buf_printf(&head, "%3d%% ", (int)floor(part * 100));
    mg_buf_printf(&count, " %lld/%lld", (long long)p->step, (long long)p->steps);
    used = mg_width(head.data) + mg_width(count.data);
    for (int i = 0; i < FIELDS; i++) {
        print_field(&field[i], i, p);
        used += mg_width(field[i].data ? field[i].data : "");
    }
    while (shown > 0 && used + BAR_LEAST > columns) used -= mg_width(field[--shown].data);
    cells = columns - used > BAR_MOST ? BAR_MOST : columns - used;
    mg_buf_str(b, head.data);
    if (cells > 0) add_bar(b, part, cells);
    mg_buf_str(b, count.data);
    for (int i = 0; i < FIELDS; i++)
        if (order[i] < shown) mg_buf_str(b, field[order[i]].data);
    for (int i = 0; i < FIELDS; i++) mg_buf_free(&field[i]);
    mg_buf_free(&head);
    mg_buf_free(&count);
}

static void add_pair(mg_buf *b, const char *key, double x, bool json) {
    mg_buf_printf(b, json ? ", \"%s\": " : " %s=", key);
    if (isfinite(x))
        mg_buf_printf(b, "%.6g", x);
    else
        mg_buf_str(b, json ? "\"NaN\"" : "NaN");
}

static void print_pairs(mg_buf *b, const mg_progress *p, bool json) {
    mg_buf_printf(b, json ? "{\"step\": %lld, \"steps\": %lld" : "step=%lld steps=%lld", (long long)p->step,
                  (long long)p->steps);
    add_pair(b, "epoch", p->epoch, json);
    add_pair(b, "loss", p->loss, json);
    if (p->has_eval) add_pair(b, "eval_loss", p->eval_loss, json);
    if (p->has_gap) add_pair(b, "eval_gap", p->eval_gap, json);
    add_pair(b, "learning_rate", p->learning_rate, json);
    add_pair(b, "grad_norm", p->grad_norm, json);
    add_pair(b, "tokens_per_second", p->tokens_per_second, json);
    if (p->eta_s >= 0) add_pair(b, "eta_s", round(p->eta_s), json);
    if (json) mg_buf_char(b, '}');
}

void mg_progress_fields(mg_buf *b, const mg_progress *p) { print_pairs(b, p, false); }
void mg_progress_json(mg_buf *b, const mg_progress *p) { print_pairs(b, p, true); }

/* ---- the terminal ---- */

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int width_of(FILE *f) {
    struct winsize w;
    return ioctl(fileno(f), TIOCGWINSZ, &w) || w.ws_col < 20 ? 80 : w.ws_col;
}

mg_terminal mg_terminal_start(bool json, bool quiet) {
    mg_terminal t = { .out = json ? stdout : stderr, .columns = 80 };
    const char *term = getenv("TERM");
    bool        bar = isatty(fileno(t.out)) && term && strcmp(term, "dumb") != 0;
    t.kind = json ? MG_TERMINAL_JSON : quiet ? MG_TERMINAL_QUIET : bar ? MG_TERMINAL_BAR : MG_TERMINAL_LINES;
    if (t.kind == MG_TERMINAL_BAR) t.columns = width_of(t.out);
    return t;
}

static void put(mg_terminal *t, mg_buf *b) {
    if (!b->failed && b->len) {
        fwrite(b->data, 1, b->len, t->out);
        fflush(t->out);
    }
    mg_buf_free(b);
}

static void draw(mg_terminal *t, const mg_progress *p) {
    mg_buf b = { 0 };
    double now = now_s();
    if (t->drawn && now - t->last < 0.1 && p->step != p->steps) return;
    t->columns = width_of(t->out);
    mg_buf_str(&b, "\r");
    mg_progress_bar(&b, p, t->columns - 1); /* the last column stays free: some terminals wrap there */
    mg_buf_str(&b, "\x1b[K");
    t->drawn = true;
    t->last = now;
    put(t, &b);
}

void mg_terminal_progress(mg_terminal *t, const mg_progress *p) {
    mg_buf b = { 0 };
    if (t->kind == MG_TERMINAL_BAR)
        draw(t, p);
    else if (p->log && t->kind != MG_TERMINAL_QUIET) {
        print_pairs(&b, p, t->kind == MG_TERMINAL_JSON);
        mg_buf_char(&b, '\n');
        put(t, &b);
    }
}

/* Lines as wide as the terminal, the further ones under the text behind the first word ("Data     50 for..."). */
static void wrap(mg_buf *b, const char *text, int columns) {
    enum { LABEL = 9 };
    while (*text) {
        size_t n = strcspn(text, "\n"), label = mg_width_cut(text, LABEL);
        char  *line = mg_strndup(text, n);
        if (!line) {
            b->failed = true;
            return;
        }
        if (mg_width(line) < columns)
            mg_buf_str(b, line);
        else {
            mg_buf_add(b, line, label);
            mg_wrap(b, line + label, LABEL, columns - 1); /* the last column stays free: some terminals wrap there */
        }
        text += n;
        if (*text) mg_buf_char(b, *text++);
        free(line);
    }
}

static void say(mg_terminal *t, const char *key, const char *word, const char *text) {
    mg_buf b = { 0 };
    if (t->kind == MG_TERMINAL_JSON) {
        mg_buf_printf(&b, "{\"%s\": ", key);
        mg_json_quote(&b, text, strlen(text));
        mg_buf_str(&b, "}\n");
    } else {
        mg_buf_printf(&b, "%s%s", t->drawn ? "\r\x1b[K" : "", word);
        if (t->kind == MG_TERMINAL_BAR)
            wrap(&b, text, t->columns);
        else
            mg_buf_str(&b, text);
        mg_buf_char(&b, '\n');
    }
    t->drawn = false;
    put(t, &b);
}

void mg_terminal_line(mg_terminal *t, const char *text) {
    if (t->kind != MG_TERMINAL_QUIET) say(t, "message", "", text);
}

void mg_terminal_warn(mg_terminal *t, const char *text) { say(t, "warning", gettext("warning: "), text); }

void mg_terminal_end(mg_terminal *t) {
    if (t->drawn) fputc('\n', t->out);
    t->drawn = false;
    fflush(t->out);
}

/* ---- tables ---- */

bool mg_table_row(mg_table *t, ...) {
    va_list args;
    if (!MG_GROW(t->cell, t->cap, t->n + (size_t)t->fields)) return false;
    va_start(args, t);
    for (int i = 0; i < t->fields; i++) t->cell[t->n++] = va_arg(args, const char *);
    va_end(args);
    return true;
}

bool mg_table_cells(mg_table *t, const char *const *cell) {
    if (!MG_GROW(t->cell, t->cap, t->n + (size_t)t->fields)) return false;
    for (int i = 0; i < t->fields; i++) t->cell[t->n++] = cell[i];
    return true;
}

void mg_table_free(mg_table *t) {
    free(t->cell);
    t->cell = NULL;
    t->n = t->cap = 0;
}

enum { TABLE_FIELDS = 32 };

static void fit(int *width, int fields, int columns) {
    for (;;) {
        int total = 2 * (fields - 1), widest = 0;
        for (int i = 0; i < fields; i++) {
            total += width[i];
            if (width[i] > width[widest]) widest = i;
        }
        if (total <= columns || width[widest] <= 4) return;
        width[widest]--;
    }
}

void mg_table_print(mg_buf *b, const mg_table *t, int columns) {
    int width[TABLE_FIELDS] = { 0 };
    MG_ASSERT(t->fields > 0 && t->fields <= TABLE_FIELDS);
    for (size_t i = 0; i < t->n; i++) {
        int w = mg_width(t->cell[i]), f = (int)(i % (size_t)t->fields);
        if (w > width[f]) width[f] = w;
    }
    fit(width, t->fields, columns);
    for (size_t i = 0; i < t->n; i++) {
        int  f = (int)(i % (size_t)t->fields);
        bool last = f == t->fields - 1, right = t->numbers >> f & 1;
        if (right)
            mg_pad_left(b, t->cell[i], width[f]);
        else if (last && mg_width(t->cell[i]) <= width[f])
            mg_buf_str(b, t->cell[i]); /* no spaces at the end of a line */
        else
            mg_pad(b, t->cell[i], width[f]);
        mg_buf_str(b, last ? "\n" : "  ");
    }
}
