/* option_type.c -- the kinds of option values, one row each.
 *
 * Numbers are read with strtod and strtoll under the C locale's LC_NUMERIC,
 * which the program never changes.  Floats print with the fewest digits that
 * read back to the same double, so a resolved config reproduces a run exactly. */
#include "base/option_impl.h"
#include "base/yaml.h"

#include <errno.h>
#include <libintl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- choices ---- */

/* The `i`-th piece of `s` up to `end` characters of `between`; false behind the last. */
static bool piece(const char *s, size_t n, char between, int i, const char **out, size_t *len) {
    const char *end = s + n;
    for (;; i--) {
        const char *stop = memchr(s, between, (size_t)(end - s));
        if (!stop) stop = end;
        if (!i) {
            *out = s;
            *len = (size_t)(stop - s);
            return true;
        }
        if (stop == end) return false;
        s = stop + 1;
    }
}

bool mg_option_choice(const char *choices, int i, const char **name, size_t *len) {
    const char *all;
    size_t      n;
    return piece(choices, strlen(choices), '|', i, &all, &n) && piece(all, n, ',', 0, name, len);
}

int mg_option_choice_find(const char *choices, const char *text) {
    const char *all, *name;
    size_t      n, len, want = strlen(text);
    for (int i = 0; piece(choices, strlen(choices), '|', i, &all, &n); i++)
        for (int k = 0; piece(all, n, ',', k, &name, &len); k++)
            if (len == want && !strncasecmp(name, text, len)) return i;
    /* a choice "true" or "false" is also spelt yes, off, 1 ... */
    bool value;
    if (!mg_option_bool_word(text, &value) || !strcasecmp(text, value ? "true" : "false")) return -1;
    return mg_option_choice_find(choices, value ? "true" : "false");
}

void mg_option_choices_print(mg_buf *b, const char *choices) {
    const char *name;
    size_t      len;
    for (int i = 0; mg_option_choice(choices, i, &name, &len); i++) {
        if (i) mg_buf_str(b, ", ");
        mg_buf_add(b, name, len);
    }
}

/* ---- numbers ---- */

void mg_option_number_print(mg_buf *b, double x) {
    char text[40];
    if (x == floor(x) && fabs(x) < 1e15) {
        mg_buf_printf(b, "%.0f", x);
        return;
    }
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, x);
        if (strtod(text, NULL) == x) break;
    }
    mg_buf_str(b, text);
}

void mg_option_range_print(mg_buf *b, const mg_option *row) {
    if (row->min == 0 && row->max == 0) return;
    if (isinf(row->max)) {
        mg_buf_str(b, "≥ ");
        mg_option_number_print(b, row->min);
    } else {
        mg_option_number_print(b, row->min);
        mg_buf_str(b, "..");
        mg_option_number_print(b, row->max);
    }
}

static bool in_range(const mg_option *row, double x) {
    return (row->min == 0 && row->max == 0) || (x >= row->min && x <= row->max);
}

static bool want_number(mg_buf *why, const char *kind, const mg_option *row) {
    mg_buf_str(why, kind);
    if (row->min == 0 && row->max == 0) return false;
    mg_buf_char(why, ' ');
    mg_option_range_print(why, row);
    return false;
}

static bool number(const char *text, double *out) {
    char *end;
    if (!*text || strspn(text, "+-0123456789.eE") != strlen(text)) return false; /* no hex, inf, nan */
    *out = strtod(text, &end);
    return !*end && isfinite(*out);
}

static bool int_read(void *field, const mg_option *row, const char *text, mg_buf *why) {
    char   *end;
    double  x;
    int64_t value;
    if (!number(text, &x)) return want_number(why, gettext("a whole number"), row);
    errno = 0;
    value = strtoll(text, &end, 10);
    if (*end && x == floor(x) && fabs(x) < 0x1p53) {
        value = (int64_t)x; /* 1e3 */
        end = "";
    }
    if (*end || errno || !in_range(row, (double)value)) return want_number(why, gettext("a whole number"), row);
    *(int64_t *)field = value;
    return true;
}

static void int_print(mg_buf *b, const void *field, const mg_option *row) {
    (void)row;
    mg_buf_printf(b, "%lld", (long long)*(const int64_t *)field);
}

static bool float_read(void *field, const mg_option *row, const char *text, mg_buf *why) {
    double x;
    if (!number(text, &x) || !in_range(row, x)) return want_number(why, gettext("a number"), row);
    *(double *)field = x;
    return true;
}

static void float_print(mg_buf *b, const void *field, const mg_option *row) {
    (void)row;
    mg_option_number_print(b, *(const double *)field);
}

/* Units of 1024 without B or with iB, of 1000 with B. */
static bool size_read(void *field, const mg_option *row, const char *text, mg_buf *why) {
    static const char letters[] = "KMGT";
    char              digits[32];
    size_t            n = strspn(text, "0123456789.");
    double            x;
    if (n && n < sizeof digits) {
        memcpy(digits, text, n);
        digits[n] = 0;
        const char *unit = text + n + strspn(text + n, " ");
        if (number(digits, &x)) {
            const char *letter = *unit ? strchr(letters, *unit & ~0x20) : NULL;
            bool        decimal = letter && !strcasecmp(unit + 1, "B");
            bool known = !*unit || !strcasecmp(unit, "B") || decimal || (letter && (!unit[1] || !strcasecmp(unit + 1, "iB")));
            if (letter) x *= pow(decimal ? 1000 : 1024, (double)(letter - letters + 1));
            if (known && x < 0x1p63 && in_range(row, x)) {
                *(uint64_t *)field = (uint64_t)x;
                return true;
            }
        }
    }
    mg_buf_str(why, gettext("a size such as 512MB, 8GB, 1.5GiB"));
    return false;
}

static void size_print(mg_buf *b, const void *field, const mg_option *row) {
    static const char *const unit[] = { "", "KiB", "MiB", "GiB" };
    uint64_t                 x = *(const uint64_t *)field;
    int                      u = 0;
    (void)row;
    while (x && x % 1024 == 0 && u < 3) {
        x /= 1024;
        u++;
    }
    mg_buf_printf(b, "%llu%s", (unsigned long long)x, unit[u]);
}

/* ---- words ---- */

bool mg_option_bool_word(const char *text, bool *value) {
    static const char *const yes[] = { "true", "yes", "on", "1" }, *const no[] = { "false", "no", "off", "0" };
    for (size_t i = 0; i < 4; i++) {
        if (!strcasecmp(text, yes[i])) return *value = true, true;
        if (!strcasecmp(text, no[i])) return *value = false, true;
    }
    return false;
}

static bool bool_read(void *field, const mg_option *row, const char *text, mg_buf *why) {
    (void)row;
    if (mg_option_bool_word(text, field)) return true;
    mg_buf_str(why, gettext("true or false"));
    return false;
}

static void bool_print(mg_buf *b, const void *field, const mg_option *row) {
    (void)row;
    mg_buf_str(b, *(const bool *)field ? "true" : "false");
}

static bool string_read(void *field, const mg_option *row, const char *text, mg_buf *why) {
    (void)row;
    char *copy = mg_strdup(text);
    if (!copy) {
        mg_buf_str(why, gettext("more memory"));
        return false;
    }
    *(char **)field = copy;
    return true;
}

static void string_print(mg_buf *b, const void *field, const mg_option *row) {
    const char *s = *(char *const *)field;
    (void)row;
    if (s)
        mg_yaml_quote(b, s);
    else
        mg_buf_str(b, "null");
}

static void string_clear(void *field) {
    free(*(char **)field);
    *(char **)field = NULL;
}

static bool want_choice(mg_buf *why, const mg_option *row) {
    mg_buf_str(why, gettext("one of "));
    mg_option_choices_print(why, row->choices);
    return false;
}

static bool enum_read(void *field, const mg_option *row, const char *text, mg_buf *why) {
    int i = mg_option_choice_find(row->choices, text);
    if (i < 0) return want_choice(why, row);
    *(int *)field = i;
    return true;
}

static void enum_print(mg_buf *b, const void *field, const mg_option *row) {
    const char *name = "";
    size_t      len = 0;
    mg_option_choice(row->choices, *(const int *)field, &name, &len);
    mg_buf_add(b, name, len);
}

/* ---- lists: read appends one item ---- */

static bool list_read(void *field, const mg_option *row, const char *text, mg_buf *why) {
    mg_list    *list = field;
    const char *name = text;
    size_t      len = strlen(text);
    if (row->choices) {
        int i = mg_option_choice_find(row->choices, text);
        if (i < 0) return want_choice(why, row);
        mg_option_choice(row->choices, i, &name, &len);
    }
    char *copy = mg_strndup(name, len);
    if (copy && MG_GROW(list->item, list->cap, list->n + 1)) {
        list->item[list->n++] = copy;
        return true;
    }
    free(copy);
    mg_buf_str(why, gettext("more memory"));
    return false;
}

static void list_print(mg_buf *b, const void *field, const mg_option *row) {
    const mg_list *list = field;
    (void)row;
    mg_buf_char(b, '[');
    for (size_t i = 0; i < list->n; i++) {
        if (i) mg_buf_str(b, ", ");
        mg_yaml_quote(b, list->item[i]);
    }
    mg_buf_char(b, ']');
}

static void list_clear(void *field) {
    mg_list *list = field;
    for (size_t i = 0; i < list->n; i++) free(list->item[i]);
    free(list->item);
    *list = (mg_list){ 0 };
}

const mg_option_type mg_option_int = { .name = "int", .schema = "integer", .metavar = "N", .size = sizeof(int64_t),
                                       .read = int_read, .print = int_print };
const mg_option_type mg_option_float = { .name = "float", .schema = "number", .metavar = "X", .size = sizeof(double),
                                         .read = float_read, .print = float_print };
const mg_option_type mg_option_bool = { .name = "bool", .schema = "boolean", .metavar = "", .size = sizeof(bool),
                                        .flag = true, .read = bool_read, .print = bool_print };
const mg_option_type mg_option_string = { .name = "string", .schema = "string", .metavar = "TEXT",
                                          .size = sizeof(char *), .read = string_read, .print = string_print,
                                          .clear = string_clear };
const mg_option_type mg_option_enum = { .name = "enum", .schema = "string", .metavar = "WORD", .size = sizeof(int),
                                        .flag = true, .read = enum_read, .print = enum_print };
const mg_option_type mg_option_size = { .name = "size", .schema = "string", .metavar = "SIZE",
                                        .size = sizeof(uint64_t), .read = size_read, .print = size_print };
const mg_option_type mg_option_list = { .name = "list", .schema = "array", .metavar = "A,B", .size = sizeof(mg_list),
                                        .is_list = true, .split = true, .read = list_read, .print = list_print,
                                        .clear = list_clear };
const mg_option_type mg_option_texts = { .name = "list", .schema = "array", .metavar = "TEXT",
                                         .size = sizeof(mg_list), .is_list = true, .read = list_read,
                                         .print = list_print, .clear = list_clear };
