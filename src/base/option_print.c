/* option_print.c -- what the option table says in help, files, schema and man page.
 *
 * All of it is generated from the rows, so a new option is documented the
 * moment it exists. */
#include "base/option_impl.h"

#include "base/json.h"
#include "base/width.h"

#include <libintl.h>
#include <math.h>
#include <string.h>

enum { HELP_LEFT = 30 };

static const char *translated(const char *text) { return text && *text ? gettext(text) : ""; }

static void print_value(mg_buf *b, const mg_option_slot *s) { s->row->type->print(b, s->field, s->row); }

static void print_origin(mg_buf *b, const mg_option_slot *s) {
    mg_buf_str(b, s->origin == MG_ORIGIN_DEFAULT ? gettext("default") : s->where);
}

/* Options about this one invocation (--help, --print-config) are no part of a run's config. */
static bool in_config(const mg_option *row) { return row->group && *row->group && !row->positional; }

void mg_options_print(mg_buf *b, const mg_options *o) {
    for (size_t i = 0; i < o->n; i++) {
        mg_buf value = { 0 }, line = { 0 };
        if (!in_config(o->slot[i].row)) continue;
        mg_buf_printf(&value, "%s: ", o->slot[i].row->name);
        print_value(&value, &o->slot[i]);
        mg_buf_str(&line, value.data ? value.data : "");
        for (int n = mg_width(line.data ? line.data : ""); n < 44; n++) mg_buf_char(&line, ' ');
        mg_buf_str(b, line.data ? line.data : "");
        mg_buf_str(b, "  # ");
        print_origin(b, &o->slot[i]);
        mg_buf_char(b, '\n');
        if (value.failed || line.failed) b->failed = true;
        mg_buf_free(&value);
        mg_buf_free(&line);
    }
}

void mg_options_write_yaml(mg_buf *b, const mg_options *o) {
    for (size_t i = 0; i < o->n; i++) {
        const mg_option_slot *s = &o->slot[i];
        if (!in_config(s->row)) continue;
        mg_buf_printf(b, "%s: ", s->row->name);
        print_value(b, s);
        mg_buf_printf(b, "  # %s\n", s->origin == MG_ORIGIN_DEFAULT ? "default" : s->where);
    }
}

static const char *metavar(const mg_option *row) { return row->metavar ? row->metavar : row->type->metavar; }

/* "  -m, --model_name_or_path DIR" */
static void print_left(mg_buf *b, const mg_option *row) {
    if (row->positional) {
        mg_buf_printf(b, "  %s", metavar(row));
        return;
    }
    if (row->flag)
        mg_buf_printf(b, "  -%c, --%s", row->flag, row->name);
    else
        mg_buf_printf(b, "  --%s", row->name);
    if (*metavar(row)) mg_buf_printf(b, " %s", metavar(row));
}

static void print_choices(mg_buf *b, const mg_option *row) {
    mg_buf_str(b, " (");
    mg_option_choices_print(b, row->choices);
    mg_buf_char(b, ')');
}

static void print_right(mg_buf *b, const mg_option *row) {
    mg_buf_str(b, translated(row->help));
    if (row->choices) print_choices(b, row);
    if (row->def && !(row->type == &mg_option_bool && !strcmp(row->def, "false")) && *row->def)
        mg_buf_printf(b, " [%s]", row->def);
}

static void help_row(mg_buf *b, const mg_option *row, int columns) {
    mg_buf left = { 0 }, right = { 0 };
    print_left(&left, row);
    print_right(&right, row);
    if (left.failed || right.failed) {
        b->failed = true;
    } else {
        int width = mg_width(left.data);
        mg_buf_str(b, left.data);
        if (width + 2 > HELP_LEFT) {
            mg_buf_char(b, '\n');
            width = 0;
        }
        for (; width < HELP_LEFT; width++) mg_buf_char(b, ' ');
        mg_wrap(b, right.data, HELP_LEFT, columns);
        mg_buf_char(b, '\n');
    }
    mg_buf_free(&left);
    mg_buf_free(&right);
}

/* Groups in the order of their first row. */
void mg_options_help(mg_buf *b, const mg_options *o, int columns) {
    for (size_t i = 0; i < o->n; i++) {
        const char *group = o->slot[i].row->group;
        bool        seen = false;
        for (size_t k = 0; k < i && !seen; k++) seen = !strcmp(o->slot[k].row->group, group);
        if (seen) continue;
        mg_buf_printf(b, "\n%s\n", *group ? translated(group) : gettext("General"));
        for (size_t k = i; k < o->n; k++)
            if (!strcmp(o->slot[k].row->group, group)) help_row(b, o->slot[k].row, columns);
    }
}

static void explain_line(mg_buf *b, const char *name, const char *text, int columns) {
    if (!*text) return;
    mg_buf_str(b, "  ");
    mg_pad(b, name, 12);
    mg_wrap(b, text, 14, columns);
    mg_buf_char(b, '\n');
}

void mg_options_explain(mg_buf *b, const mg_options *o, const mg_option *row, int columns) {
    mg_buf          names = { 0 }, values = { 0 };
    mg_option_alias a;
    const char     *separator = "";
    for (const char *at = row->aliases; mg_option_alias_next(&at, &a); separator = ", ")
        if (a.rule)
            mg_buf_printf(&names, "%s%.*s (%.*s)", separator, (int)a.len, a.name, (int)a.rule_len, a.rule);
        else
            mg_buf_printf(&names, "%s%.*s", separator, (int)a.len, a.name);
    mg_buf_str(&names, "");
    mg_option_range_print(&values, row);
    if (row->choices) mg_option_choices_print(&values, row->choices);
    mg_buf_str(&values, "");
    mg_buf_printf(b, "%s\n", row->name);
    if (!names.failed && !values.failed) {
        explain_line(b, gettext("Meaning"), translated(row->help), columns);
        explain_line(b, gettext("Type"), row->type->name, columns);
        explain_line(b, gettext("Values"), values.data, columns);
        explain_line(b, gettext("Default"), row->def ? row->def : gettext("not set"), columns);
        explain_line(b, gettext("Also"), names.data, columns);
    }
    (void)o;
    mg_buf_free(&names);
    mg_buf_free(&values);
}

/* ---- JSON schema (draft 2020-12): editors complete and check config files with it ---- */

static void schema_items(mg_buf *b, const char *choices) {
    const char *name;
    size_t      len;
    mg_buf_str(b, "\"enum\": [");
    for (int i = 0; mg_option_choice(choices, i, &name, &len); i++) {
        bool truth = len == 4 && !strncmp(name, "true", 4), lie = len == 5 && !strncmp(name, "false", 5);
        if (i) mg_buf_str(b, ", ");
        if (truth || lie)
            mg_buf_add(b, name, len); /* YAML's own words */
        else
            mg_json_quote(b, name, len);
    }
    mg_buf_char(b, ']');
}

static void schema_default(mg_buf *b, const mg_option *row) {
    bool raw = row->type == &mg_option_int || row->type == &mg_option_float || row->type == &mg_option_bool;
    if (!row->def || row->type->is_list) return;
    mg_buf_str(b, ", \"default\": ");
    if (raw)
        mg_buf_str(b, row->def);
    else
        mg_json_quote(b, row->def, strlen(row->def));
}

static void schema_row(mg_buf *b, const mg_option *row) {
    bool has_enum = row->choices && !row->type->is_list;
    mg_buf_printf(b, "    \"%s\": {", row->name);
    if (has_enum)
        schema_items(b, row->choices);
    else if (row->type->is_list)
        mg_buf_str(b, "\"type\": [\"array\", \"string\"], \"items\": {\"type\": \"string\"}");
    else
        mg_buf_printf(b, "\"type\": [\"%s\", \"null\"]", row->type->schema);
    if (row->min != 0 || row->max != 0) {
        mg_buf_str(b, ", \"minimum\": ");
        mg_option_number_print(b, row->min);
        if (!isinf(row->max)) {
            mg_buf_str(b, ", \"maximum\": ");
            mg_option_number_print(b, row->max);
        }
    }
    schema_default(b, row);
    mg_buf_str(b, ", \"description\": ");
    mg_json_quote(b, translated(row->help), strlen(translated(row->help)));
    mg_buf_char(b, '}');
}

static bool schema_key(const char *name, size_t n) { /* nested keys are checked by the program itself */
    return !memchr(name, '.', n) && !memchr(name, '[', n) && !memchr(name, '*', n);
}

void mg_options_schema(mg_buf *b, const mg_options *o) {
    const char *separator = "\n";
    mg_buf_str(b, "{\n  \"$schema\": \"https://json-schema.org/draft/2020-12/schema\",\n"
                  "  \"title\": \"migaki\",\n  \"type\": \"object\",\n  \"properties\": {");
    for (size_t i = 0; i < o->n; i++) {
        const mg_option *row = o->slot[i].row;
        mg_option_alias  a, first;
        if (!in_config(row)) continue;
        mg_buf_str(b, separator);
        separator = ",\n";
        schema_row(b, row);
        for (const char *at = row->aliases; mg_option_alias_next(&at, &a);) {
            bool again = mg_option_name_equal(a.name, a.len, row->name, strlen(row->name));
            for (size_t k = 0; k < i && !again; k++) { /* an alias on several rows */
                const mg_option *other = o->slot[k].row;
                for (const char *p = other->aliases; !again && mg_option_alias_next(&p, &first);)
                    again = mg_option_name_equal(first.name, first.len, a.name, a.len);
            }
            if (again || !schema_key(a.name, a.len)) continue;
            if (a.rule)
                mg_buf_printf(b, ",\n    \"%.*s\": {\"description\": \"%s\"}", (int)a.len, a.name, row->name);
            else
                mg_buf_printf(b, ",\n    \"%.*s\": {\"$ref\": \"#/properties/%s\"}", (int)a.len, a.name, row->name);
        }
    }
    for (const mg_option_foreign *f = o->foreign; f && f->key; f++)
        if (schema_key(f->key, strlen(f->key))) mg_buf_printf(b, ",\n    \"%s\": {}", f->key);
    mg_buf_str(b, "\n  },\n  \"additionalProperties\": true\n}\n");
}

void mg_options_words(mg_buf *b, const mg_options *o) {
    for (size_t i = 0; i < o->n; i++)
        if (!o->slot[i].row->positional) mg_buf_printf(b, "--%s\n", o->slot[i].row->name);
}

/* roff: a line must not begin with `.` or `'`, and backslash and hyphen are escaped. */
static void roff(mg_buf *b, const char *s) {
    for (; *s; s++)
        if (*s == '-' || *s == '\\')
            mg_buf_printf(b, "\\%c", *s);
        else
            mg_buf_char(b, *s);
}

void mg_options_man(mg_buf *b, const mg_options *o) {
    for (size_t i = 0; i < o->n; i++) {
        mg_buf left = { 0 }, right = { 0 };
        print_left(&left, o->slot[i].row);
        print_right(&right, o->slot[i].row);
        if (!left.failed && !right.failed) {
            mg_buf_str(b, ".TP\n\\fB");
            roff(b, left.data + 2);
            mg_buf_str(b, "\\fR\n\\&");
            roff(b, right.data);
            mg_buf_char(b, '\n');
        }
        mg_buf_free(&left);
        mg_buf_free(&right);
    }
}
