/* option.c -- read options from four sources into one struct.
 *
 * Everything goes through `assign`: one row, one or more texts, an origin.  A
 * value is read into a temporary of the row's type first and only then replaces
 * the field, so a refused value changes nothing.  Because a value replaces only
 * one of the same or a lower origin, the command line can be read first (it
 * names the config file) and still win. */
#include "base/option_impl.h"

#include "base/file.h"
#include "base/yaml.h"

#include <ctype.h>
#include <libintl.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { KEY_MAX = 256 };

/* ---- names ---- */

static char fold(char c) { return c == '-' ? '_' : (char)tolower((unsigned char)c); }

bool mg_option_name_equal(const char *a, size_t na, const char *b, size_t nb) {
    if (na != nb) return false;
    for (size_t i = 0; i < na; i++)
        if (fold(a[i]) != fold(b[i])) return false;
    return true;
}

bool mg_option_alias_next(const char **at, mg_option_alias *out) {
    const char *s = *at;
    if (!s) return false;
    s += strspn(s, " ,");
    if (!*s) return false;
    *out = (mg_option_alias){ .name = s, .len = strcspn(s, ",{ ") };
    s += out->len;
    if (*s == '{') {
        out->rule = s + 1;
        out->rule_len = strcspn(out->rule, "}");
        s = out->rule + out->rule_len + 1;
    }
    *at = s;
    return true;
}

/* Does `key` name this row?  Then *alias is how: with a rule, or an empty one for the plain name. */
static bool row_has_name(const mg_option *row, const char *key, size_t n, mg_option_alias *alias) {
    mg_option_alias a;
    bool            found = mg_option_name_equal(row->name, strlen(row->name), key, n);
    if (found) *alias = (mg_option_alias){ row->name, strlen(row->name), NULL, 0 };
    for (const char *at = row->aliases; mg_option_alias_next(&at, &a);)
        if (mg_option_name_equal(a.name, a.len, key, n)) {
            *alias = a;
            return true;
        }
    return found;
}

static mg_option_slot *find_slot(const mg_options *o, const char *key, size_t n, mg_option_alias *alias) {
    for (size_t i = 0; i < o->n; i++)
        if (row_has_name(o->slot[i].row, key, n, alias)) return &o->slot[i];
    return NULL;
}

static mg_option_slot *slot_named(const mg_options *o, const char *name) {
    for (size_t i = 0; i < o->n; i++)
        if (!strcmp(o->slot[i].row->name, name)) return &o->slot[i];
    return NULL;
}

const mg_option *mg_options_find(const mg_options *o, const char *name) {
    mg_option_alias alias;
    mg_option_slot *s = find_slot(o, name, strlen(name), &alias);
    return s ? s->row : NULL;
}

mg_origin mg_options_origin(const mg_options *o, const char *name) {
    const mg_option_slot *s = slot_named(o, name);
    MG_ASSERT(s != NULL);
    return s->origin;
}

void mg_options_value(mg_buf *b, const mg_options *o, const char *name) {
    const mg_option_slot *s = slot_named(o, name);
    MG_ASSERT(s != NULL);
    s->row->type->print(b, s->field, s->row);
}

/* Optimal string alignment distance of a[na] to b[nb], in folded characters. */
static int distance(const char *a, size_t na, const char *b, size_t nb) {
    int row[3][KEY_MAX + 1];
    if (na > KEY_MAX || nb > KEY_MAX) return KEY_MAX;
    for (size_t j = 0; j <= nb; j++) row[0][j] = (int)j;
    for (size_t i = 1; i <= na; i++) {
        int *now = row[i % 3], *above = row[(i + 2) % 3], *two = row[(i + 1) % 3];
        now[0] = (int)i;
        for (size_t j = 1; j <= nb; j++) {
            bool same = fold(a[i - 1]) == fold(b[j - 1]);
            int  best = above[j - 1] + !same;
            if (above[j] + 1 < best) best = above[j] + 1;
            if (now[j - 1] + 1 < best) best = now[j - 1] + 1;
            if (i > 1 && j > 1 && fold(a[i - 1]) == fold(b[j - 2]) && fold(a[i - 2]) == fold(b[j - 1])
                && two[j - 2] + 1 < best)
                best = two[j - 2] + 1;
            now[j] = best;
        }
    }
    return row[na % 3][nb];
}

int mg_name_distance(const char *a, const char *b) { return distance(a, strlen(a), b, strlen(b)); }

/* The nearest name in `o` and its distance; a near one differs in at most a third. */
static mg_option_alias nearest(const mg_options *o, const char *name, size_t n, int *least) {
    mg_option_alias best = { 0 }, a;
    *least = KEY_MAX;
    for (size_t i = 0; i < o->n; i++) {
        const mg_option *row = o->slot[i].row;
        const char      *at = row->aliases;
        a = (mg_option_alias){ row->name, strlen(row->name), NULL, 0 };
        do {
            int d = distance(name, n, a.name, a.len);
            if (d < *least) {
                *least = d;
                best = a;
            }
        } while (mg_option_alias_next(&at, &a));
    }
    if (*least > (n < 4 ? 1 : (int)n / 3 > 3 ? 3 : (int)n / 3)) best.name = NULL;
    return best;
}

const char *mg_options_nearest(const mg_options *o, const char *name) {
    int             least;
    mg_option_alias a = nearest(o, name, strlen(name), &least);
    if (!a.name) return NULL;
    const mg_option *row = find_slot(o, a.name, a.len, &a)->row;
    return row->name;
}

/* ---- rules of aliases ---- */

typedef enum { RULE_AS_IS, RULE_REPLACED, RULE_NOTHING, RULE_REFUSED } rule_result;

static bool same_value(const char *from, size_t n, const char *text) {
    char word[32];
    bool a, b;
    if (strlen(text) == n && !strncasecmp(from, text, n)) return true;
    if (n >= sizeof word) return false;
    memcpy(word, from, n);
    word[n] = 0;
    return mg_option_bool_word(word, &a) && mg_option_bool_word(text, &b) && a == b;
}

/* What the rule makes of `text`; a replacement is put into `word`. */
static rule_result apply_rule(const mg_option_alias *a, const char *text, char word[KEY_MAX]) {
    if (!a->rule) return RULE_AS_IS;
    rule_result otherwise = RULE_REFUSED;
    const char *s = a->rule, *end = a->rule + a->rule_len;
    while (s < end) {
        const char *stop = memchr(s, '|', (size_t)(end - s)), *arrow;
        if (!stop) stop = end;
        arrow = memchr(s, '>', (size_t)(stop - s));
        if (!arrow)
            otherwise = RULE_AS_IS; /* `*` */
        else if (same_value(s, (size_t)(arrow - s), text)) {
            size_t n = (size_t)(stop - arrow - 1);
            if (!n) return RULE_NOTHING;
            memcpy(word, arrow + 1, n);
            word[n] = 0;
            return RULE_REPLACED;
        }
        s = stop + 1;
    }
    return otherwise;
}

static mg_status refuse_rule(const mg_option_alias *a, const mg_option *row, const char *where, const char *text,
                             mg_error *err) {
    mg_buf words = { 0 };
    for (const char *s = a->rule, *end = s + a->rule_len; s < end;) {
        size_t n = strcspn(s, "|}"), from = strcspn(s, ">");
        if (words.len) mg_buf_str(&words, ", ");
        mg_buf_add(&words, s, from < n ? from : n);
        s += n + 1;
    }
    mg_status st = mg_fail(err, MG_UNSUPPORTED, "%s: '%.*s: %.80s' is not supported; wanted one of %s (it stands for %s)",
                           where, (int)a->len, a->name, text, words.data ? words.data : "", row->name);
    mg_buf_free(&words);
    return st;
}

/* ---- one value into one row ---- */

typedef struct {
    const char  *where;   /* in messages and as origin */
    mg_origin    origin;
    char *const *item;    /* [n] texts, none NULL */
    size_t       n;
    bool         is_list; /* items are whole */
} given;

/* Cut "a, b" or "[a, b]" at commas and read each piece. */
static bool read_split(void *field, const mg_option *row, const char *text, mg_buf *why) {
    size_t n = strlen(text);
    bool   ok = true;
    if (n >= 2 && text[0] == '[' && text[n - 1] == ']') {
        text++;
        n -= 2;
    }
    for (const char *s = text, *end = text + n; ok && s < end;) {
        const char *stop = memchr(s, ',', (size_t)(end - s)), *next = stop ? stop + 1 : end;
        if (!stop) stop = end;
        while (s < stop && *s == ' ') s++;
        while (stop > s && stop[-1] == ' ') stop--;
        if (stop - s >= 2 && (*s == '"' || *s == '\'') && stop[-1] == *s) {
            s++;
            stop--;
        }
        char *word = stop > s ? mg_strndup(s, (size_t)(stop - s)) : NULL;
        if (word) ok = row->type->read(field, row, word, why);
        free(word);
        s = next;
    }
    return ok;
}

static bool read_all(void *field, const mg_option *row, const given *g, mg_buf *why) {
    const mg_option_type *t = row->type;
    if (!t->is_list && g->n != 1) {
        mg_buf_str(why, gettext("a single value"));
        return false;
    }
    for (size_t i = 0; i < g->n; i++)
        if (t->split && !g->is_list ? !read_split(field, row, g->item[i], why) : !t->read(field, row, g->item[i], why))
            return false;
    return true;
}

static bool same_field(const mg_option *row, const void *a, const void *b) {
    mg_buf x = { 0 }, y = { 0 };
    row->type->print(&x, a, row);
    row->type->print(&y, b, row);
    bool same = x.len == y.len && (!x.len || !memcmp(x.data, y.data, x.len));
    mg_buf_free(&x);
    mg_buf_free(&y);
    return same;
}

/* Append the items of `from` to `to`; `from` is emptied. */
static bool list_join(mg_list *to, mg_list *from) {
    if (!MG_GROW(to->item, to->cap, to->n + from->n)) return false;
    for (size_t i = 0; i < from->n; i++) to->item[to->n++] = from->item[i];
    free(from->item);
    *from = (mg_list){ 0 };
    return true;
}

static void set_where(mg_option_slot *s, const char *where) {
    snprintf(s->where, sizeof s->where, "%s", where);
    for (char *p = s->where; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f) *p = '?'; /* it becomes a comment in config.yaml */
}

typedef union {
    max_align_t align;
    char        bytes[sizeof(mg_list)];
} any_field;

static mg_status assign(mg_options *o, mg_option_slot *s, const given *g, mg_error *err) {
    const mg_option_type *t = s->row->type;
    any_field             fresh = { .bytes = { 0 } };
    mg_buf                why = { 0 };
    mg_status             st = MG_OK;
    bool                  again = s->origin == g->origin && s->source == o->source;
    MG_ASSERT(t->size <= sizeof fresh);
    if (!read_all(&fresh, s->row, g, &why)) {
        st = mg_fail(err, g->origin == MG_ORIGIN_COMMAND_LINE ? MG_USAGE : MG_CONFIG,
                     "%s: '%.80s' is no value for %s; wanted %s", g->where, g->n ? g->item[0] : "", s->row->name,
                     why.data ? why.data : "");
    } else if (again && t->is_list && g->origin == MG_ORIGIN_COMMAND_LINE) {
        if (!list_join(s->field, (mg_list *)&fresh)) st = mg_fail(err, MG_NOMEM, "%s: no memory", g->where);
    } else if (again && g->origin != MG_ORIGIN_COMMAND_LINE && g->origin != MG_ORIGIN_PROGRAM) {
        if (!same_field(s->row, s->field, &fresh))
            st = mg_fail(err, MG_CONFIG, "%s: %s was set to another value at %s; keep one of the two", g->where,
                         s->row->name, s->where);
    } else if (g->origin >= s->origin) {
        if (t->clear) t->clear(s->field);
        memcpy(s->field, &fresh, t->size);
        memset(&fresh, 0, sizeof fresh);
        s->origin = g->origin;
        s->source = o->source;
        set_where(s, g->where);
    }
    if (t->clear) t->clear(&fresh);
    mg_buf_free(&why);
    return st;
}

/* Through the alias's rule into the row. */
static mg_status assign_by(mg_options *o, mg_option_slot *s, const mg_option_alias *a, const given *g, mg_error *err) {
    char        word[KEY_MAX];
    char *const replaced = word;
    given       other = *g;
    if (a->rule && g->n == 1) {
        switch (apply_rule(a, g->item[0], word)) {
        case RULE_NOTHING: return MG_OK;
        case RULE_REFUSED: return refuse_rule(a, s->row, g->where, g->item[0], err);
        case RULE_REPLACED: other.item = &replaced; break;
        case RULE_AS_IS: break;
        }
    }
    return assign(o, s, &other, err);
}

/* ---- foreign and unknown keys ---- */

static const mg_option_foreign *find_foreign(const mg_options *o, const char *key, size_t n) {
    for (const mg_option_foreign *f = o->foreign; f && f->key; f++) {
        size_t len = strlen(f->key);
        bool   family = len && f->key[len - 1] == '*';
        if (mg_option_name_equal(f->key, len, key, n)
            || (family && n >= len - 1 && mg_option_name_equal(f->key, len - 1, key, len - 1)))
            return f;
    }
    return NULL;
}

static mg_status use_foreign(mg_options *o, const mg_option_foreign *f, const char *key, const given *g, mg_error *err) {
    mg_option_alias rule = { f->key, strlen(f->key), NULL, 0 };
    char            word[KEY_MAX];
    mg_buf          wanted = { 0 };
    if (!f->neutral) {
        mg_buf_printf(&o->notes, gettext("%s: '%s' has no effect here: %s"), g->where, key, gettext(f->why));
        mg_buf_char(&o->notes, '\n');
        return MG_OK;
    }
    for (const char *s = f->neutral; *s;) { /* "false|none" as the rule "false>|none>" */
        size_t n = strcspn(s, "|");
        mg_buf_add(&wanted, s, n);
        mg_buf_str(&wanted, ">|");
        s += n + (s[n] == '|');
    }
    rule.rule = wanted.data;
    rule.rule_len = wanted.len;
    mg_status st = MG_OK;
    for (size_t i = 0; !st && i < g->n; i++)
        if (*g->item[i] && apply_rule(&rule, g->item[i], word) != RULE_NOTHING) /* "": an element without the key */
            st = mg_fail(err, MG_UNSUPPORTED, "%s: '%s: %.80s' is not supported: %s", g->where, key, g->item[i],
                         gettext(f->why));
    mg_buf_free(&wanted);
    return st;
}

static mg_status unknown(mg_options *o, const char *key, size_t n, const given *g, mg_error *err) {
    int             least;
    mg_option_alias near = nearest(o, key, n, &least);
    mg_status       code = g->origin == MG_ORIGIN_COMMAND_LINE ? MG_USAGE : MG_CONFIG;
    if (g->origin == MG_ORIGIN_ENV || g->origin == MG_ORIGIN_USER) { /* these two serve every command */
        if (near.name && n >= 8) { /* a short one is another program's, not a slip */
            mg_buf_printf(&o->notes, gettext("%s: this command has no option '%.*s'; the nearest is '%.*s'"), g->where,
                          (int)n, key, (int)near.len, near.name);
            mg_buf_char(&o->notes, '\n');
        }
        return MG_OK;
    }
    if (near.name)
        return mg_fail(err, code, "%s: unknown option '%.*s'; did you mean '%.*s'?", g->where, (int)n, key,
                       (int)near.len, near.name);
    return mg_fail(err, code, "%s: unknown option '%.*s'; -h lists them all", g->where, (int)n, key);
}

/* A key under any name: set each row that has it. */
static mg_status set_key(mg_options *o, const char *key, size_t n, const given *g, mg_error *err) {
    bool      found = false;
    mg_status st = MG_OK;
    for (size_t i = 0; !st && i < o->n; i++) {
        mg_option_alias a;
        if (!row_has_name(o->slot[i].row, key, n, &a)) continue;
        found = true;
        st = assign_by(o, &o->slot[i], &a, g, err);
    }
    if (found || st) return st;
    const mg_option_foreign *f = find_foreign(o, key, n);
    char                     name[KEY_MAX];
    snprintf(name, sizeof name, "%.*s", (int)n, key);
    return f ? use_foreign(o, f, name, g, err) : unknown(o, key, n, g, err);
}

/* ---- the set ---- */

mg_options *mg_options_new(const mg_option_foreign *foreign) {
    mg_options *o = mg_calloc(1, sizeof *o);
    if (o) o->foreign = foreign;
    return o;
}

static void check_row(const mg_options *o, const mg_option *row) {
    mg_option_alias unused;
    MG_ASSERT(!row->flag || strchr("mdocanqvhp", row->flag));
    MG_ASSERT(!find_slot(o, row->name, strlen(row->name), &unused));
    for (size_t i = 0; i < o->n; i++) MG_ASSERT(!row->flag || o->slot[i].row->flag != row->flag);
}

/* The tables behind one row. */
static mg_status add_tables(mg_options *o, const mg_option *row, void *values, mg_error *err) {
    mg_status        st = MG_OK;
    size_t           offset = 0;
    const mg_option *table;
    for (size_t i = 0; !st && (table = row->tables(i, &offset)); i++)
        st = mg_options_add(o, table, (char *)values + row->offset + offset, err);
    return st;
}

const mg_option *mg_options_row(const mg_options *o, size_t i) { return i < o->n ? o->slot[i].row : NULL; }

mg_status mg_options_add(mg_options *o, const mg_option *rows, void *values, mg_error *err) {
    for (const mg_option *row = rows; row->name; row++) {
        if (row->tables) {
            mg_status st = add_tables(o, row, values, err);
            if (st) return st;
            continue;
        }
        check_row(o, row);
        if (!MG_GROW(o->slot, o->cap, o->n + 1)) return mg_fail(err, MG_NOMEM, "no memory for the options");
        mg_option_slot *s = &o->slot[o->n++];
        *s = (mg_option_slot){ .row = row, .field = (char *)values + row->offset, .source = -1 };
        memset(s->field, 0, row->type->size);
        char *const text = (char *)row->def;
        given       g = { .where = row->name, .item = &text, .n = 1 };
        mg_error    why;
        if (!row->def) continue;
        if (assign(o, s, &g, &why)) mg_bug(__FILE__, __LINE__, "the default of %s: %s", row->name, why.text);
        s->where[0] = 0;
    }
    return MG_OK;
}

void mg_options_free(mg_options *o) {
    if (!o) return;
    for (size_t i = 0; i < o->n; i++)
        if (o->slot[i].row->type->clear) o->slot[i].row->type->clear(o->slot[i].field);
    free(o->slot);
    mg_buf_free(&o->notes);
    free(o);
}

const char *mg_options_notes(const mg_options *o) { return o->notes.data ? o->notes.data : ""; }

mg_status mg_options_set(mg_options *o, const char *name, const char *text, const char *why, mg_error *err) {
    char *const item = (char *)text;
    given       g = { .where = why, .origin = MG_ORIGIN_PROGRAM, .item = &item, .n = 1 };
    MG_ASSERT(slot_named(o, name) != NULL);
    o->source++;
    return assign(o, slot_named(o, name), &g, err);
}

/* ---- YAML ---- */

static mg_status set_entry(mg_options *o, mg_origin origin, const char *name, const mg_yaml_entry *e, mg_error *err) {
    char   where[200];
    size_t n = strlen(name); /* the end of a long path tells more than its beginning */
    snprintf(where, sizeof where, "%s:%zu", n > 150 ? name + n - 150 : name, e->line);
    given g = { .where = where, .origin = origin, .item = e->item, .n = e->n, .is_list = e->is_list };
    if (e->n == 1 && !e->item[0] && !e->is_list) { /* `key:` means not set, but the key must exist */
        mg_option_alias a;
        if (find_slot(o, e->key, strlen(e->key), &a)) return MG_OK;
        g.n = 0;
    }
    for (size_t i = 0; i < g.n; i++)
        if (!e->item[i]) return mg_fail(err, MG_CONFIG, "%s: '%s' has an empty element", where, e->key);
    if (e->is_map) {
        mg_option_alias a;
        if (find_slot(o, e->key, strlen(e->key), &a)) return MG_OK;
    }
    return set_key(o, e->key, strlen(e->key), &g, err);
}

static mg_status set_yaml(mg_options *o, mg_origin origin, const char *name, mg_yaml *y, mg_error *err) {
    mg_status st = MG_OK;
    o->source++;
    for (size_t i = 0; !st && i < y->n; i++) st = set_entry(o, origin, name, &y->entry[i], err);
    mg_yaml_free(y);
    return st;
}

mg_status mg_options_yaml_text(mg_options *o, mg_origin origin, const char *text, size_t n, const char *name,
                               mg_error *err) {
    mg_yaml   y = { 0 };
    mg_status st = mg_yaml_parse(&y, text, n, name, err);
    return st ? st : set_yaml(o, origin, name, &y, err);
}

mg_status mg_options_yaml(mg_options *o, mg_origin origin, const char *path, mg_error *err) {
    mg_yaml   y = { 0 };
    mg_status st = mg_yaml_open(&y, path, err);
    return st ? st : set_yaml(o, origin, path, &y, err);
}

/* ---- environment ---- */

mg_status mg_options_environment(mg_options *o, char *const *environment, mg_error *err) {
    static const char prefix[] = "MIGAKI_";
    size_t            skip = sizeof prefix - 1;
    mg_status         st = MG_OK;
    o->source++;
    for (; !st && environment && *environment; environment++) {
        const char *equal = strchr(*environment, '=');
        char        where[80];
        char       *text;
        if (strncmp(*environment, prefix, skip) || !equal || !equal[1]) continue;
        size_t n = (size_t)(equal - *environment);
        snprintf(where, sizeof where, "%.*s", (int)n, *environment);
        text = (char *)equal + 1;
        given g = { .where = where, .origin = MG_ORIGIN_ENV, .item = &text, .n = 1 };
        st = set_key(o, *environment + skip, n - skip, &g, err);
    }
    return st;
}

/* ---- command line ---- */

typedef struct {
    mg_options  *o;
    int          argc, at;
    char *const *argv;
    mg_error    *err;
} arguments;

/* Can `--name` stand alone, meaning true?  A rule decides itself when it speaks of true or false. */
static bool stands_alone(const mg_option *row, const mg_option_alias *a) {
    bool speaks = false, passes = false; /* the rule has `true>` or `false>`; ends in `*` */
    for (size_t i = 0; i < a->rule_len; i++) {
        size_t left = a->rule_len - i;
        if (i && a->rule[i - 1] != '|') continue;
        speaks |= (left > 5 && !strncmp(a->rule + i, "true>", 5)) || (left > 5 && !strncmp(a->rule + i, "false>", 6));
        passes |= a->rule[i] == '*';
    }
    if (speaks) return true;
    if ((a->rule && !passes) || !row->type->flag) return false;
    return !row->choices || mg_option_choice_find(row->choices, "true") >= 0;
}

/* Is `text` a value that a flag may take, or the next argument? */
static bool is_flag_value(const mg_option *row, const mg_option_alias *a, const char *text) {
    char word[KEY_MAX];
    bool unused;
    if (mg_option_bool_word(text, &unused) || (row->choices && mg_option_choice_find(row->choices, text) >= 0)) return true;
    rule_result rule = apply_rule(a, text, word);
    return rule == RULE_REPLACED || rule == RULE_NOTHING;
}

static bool looks_like_value(const char *text) { /* "-1" and "-" are values, "-m" and "--x" are not */
    return text[0] != '-' || !text[1] || (text[1] != '-' && strspn(text + 1, "0123456789.eE+-") == strlen(text + 1));
}

static mg_status give(arguments *g, const char *key, size_t n, const char *shown, const char *text) {
    char *const item = (char *)text;
    given       one = { .where = shown, .origin = MG_ORIGIN_COMMAND_LINE, .item = &item, .n = 1 };
    return set_key(g->o, key, n, &one, g->err);
}

/* A named option whose value, if any, is the next argument. */
static mg_status named(arguments *g, const char *key, size_t n, const char *shown) {
    mg_option_alias a;
    mg_option_slot *s = find_slot(g->o, key, n, &a);
    const char     *next = g->at < g->argc ? g->argv[g->at] : NULL;
    if (!s && n > 3 && mg_option_name_equal(key, 3, "no_", 3)) {
        s = find_slot(g->o, key + 3, n - 3, &a);
        if (s && stands_alone(s->row, &a)) return give(g, key + 3, n - 3, shown, "false");
        s = NULL;
    }
    if (!s) { /* foreign or unknown: set_key says which */
        bool takes = find_foreign(g->o, key, n) && next && looks_like_value(next);
        if (takes) g->at++;
        return give(g, key, n, shown, takes ? next : "true");
    }
    if (stands_alone(s->row, &a)) {
        bool takes = next && is_flag_value(s->row, &a, next);
        if (takes) g->at++;
        return give(g, key, n, shown, takes ? next : "true");
    }
    if (!next || !looks_like_value(next))
        return mg_fail(g->err, MG_USAGE, "%s: a value is missing after it", shown);
    g->at++;
    return give(g, key, n, shown, next);
}

static mg_status positional(arguments *g, const char *text) {
    for (size_t i = 0; i < g->o->n; i++) {
        mg_option_slot *s = &g->o->slot[i];
        char *const     item = (char *)text;
        bool            filled = s->origin == MG_ORIGIN_COMMAND_LINE && s->source == g->o->source;
        if (!s->row->positional || (filled && !s->row->type->is_list)) continue;
        given one = { .where = s->row->name, .origin = MG_ORIGIN_COMMAND_LINE, .item = &item, .n = 1, .is_list = true };
        return assign(g->o, s, &one, g->err);
    }
    return mg_fail(g->err, MG_USAGE, "'%.80s': an argument too many; options are written --key value or key=value", text);
}

static mg_status short_flag(arguments *g, const char *arg) {
    for (size_t i = 0; !arg[2] && i < g->o->n; i++)
        if (g->o->slot[i].row->flag == arg[1])
            return named(g, g->o->slot[i].row->name, strlen(g->o->slot[i].row->name), arg);
    mg_buf known = { 0 };
    for (size_t i = 0; i < g->o->n; i++)
        if (g->o->slot[i].row->flag) mg_buf_printf(&known, " -%c", g->o->slot[i].row->flag);
    mg_status st = mg_fail(g->err, MG_USAGE, "'%.80s': unknown short flag; there are%s (long names begin with --)", arg,
                           known.data ? known.data : "");
    mg_buf_free(&known);
    return st;
}

static mg_status one_argument(arguments *g, const char *arg) {
    const char *key = arg[0] == '-' && arg[1] == '-' ? arg + 2 : arg;
    const char *equal = strchr(key, '=');
    size_t      n = equal ? (size_t)(equal - key) : strlen(key);
    char        shown[KEY_MAX];
    if (key == arg && arg[0] == '-' && arg[1]) return short_flag(g, arg);
    if (key == arg) { /* key=value, or a positional argument */
        size_t word = strspn(arg, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");
        if (!equal || word != n || !n) return positional(g, arg);
    }
    snprintf(shown, sizeof shown, "--%.*s", (int)n, key);
    return equal ? give(g, key, n, shown, equal + 1) : named(g, key, n, shown);
}

mg_status mg_options_arguments(mg_options *o, int argc, char *const *argv, mg_error *err) {
    arguments g = { .o = o, .argc = argc, .argv = argv, .err = err };
    bool      names = true; /* until `--` */
    mg_status st = MG_OK;
    o->source++;
    while (!st && g.at < argc) {
        const char *arg = argv[g.at++];
        if (names && !strcmp(arg, "--"))
            names = false;
        else
            st = names ? one_argument(&g, arg) : positional(&g, arg);
    }
    return st;
}

/* ---- all beneath the command line ---- */

static char *user_config(void) {
    const char *folder = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    mg_buf      path = { 0 };
    if (folder && *folder == '/')
        mg_buf_printf(&path, "%s/migaki/config.yaml", folder);
    else if (home && *home == '/')
        mg_buf_printf(&path, "%s/.config/migaki/config.yaml", home);
    return path.data;
}

mg_status mg_options_load(mg_options *o, char *const *environment, mg_error *err) {
    mg_status       st = mg_options_environment(o, environment, err);
    mg_option_slot *config = slot_named(o, "config");
    const char     *file = config ? *(char *const *)config->field : NULL;
    char           *user = user_config();
    if (!st && file) st = mg_options_yaml(o, MG_ORIGIN_CONFIG, file, err);
    if (!st && user && mg_is_file(user)) st = mg_options_yaml(o, MG_ORIGIN_USER, user, err);
    free(user);
    return st;
}
