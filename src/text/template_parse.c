/* template_parse.c -- tokens to a tree, by recursive descent with jinja2's precedences.
 *
 * From loose to tight: a if b else c, or, and, not, comparisons and `in`, + -, ~, * / // %, **, signs, then
 * .name [index] (call), then |filter and `is test`.  Every recursion is counted against TPL_MAX_NESTING, because a
 * template is a hostile file; chains of one operator are loops. */
#include "text/template_parts.h"

#include <string.h>

typedef struct {
    mg_template     *t;
    const tpl_token *at;
    int              nesting, loops;
    mg_error        *err;
    mg_status        status;
} parser;

static tpl_node *expression(parser *p);
static tpl_node *tuple(parser *p, bool with_choice, bool may_be_empty);
static tpl_node *unary(parser *p, bool with_filter);
static tpl_node *block_until(parser *p, const char *const *ends);

static tpl_node *fail(parser *p, const char *what) {
    if (p->status) return NULL;
    const tpl_token *k = p->at;
    p->status = k->text.n ? mg_fail(p->err, MG_TEMPLATE, "%s: line %d: %s, found '%.*s'", p->t->name, k->line,
                                    what, (int)(k->text.n < 60 ? k->text.n : 60), k->text.s)
                          : mg_fail(p->err, MG_TEMPLATE, "%s: line %d: %s", p->t->name, k->line, what);
    return NULL;
}

static tpl_node *node(parser *p, tpl_node_kind kind) {
    tpl_node *n = p->status ? NULL : mg_tpl_alloc(&p->t->arena, 1, sizeof *n);
    if (n) {
        n->kind = kind;
        n->line = p->at->line;
    } else if (!p->status)
        p->status = mg_fail(p->err, MG_NOMEM, "%s: no memory for the template", p->t->name);
    return n;
}

static tpl_node *node2(parser *p, tpl_node_kind kind, tpl_node *a, tpl_node *b) {
    tpl_node *n = node(p, kind);
    if (!n) return NULL;
    n->a = a;
    n->b = b;
    return n;
}

/* Lists are built through a pointer to the place of the next member. */
static void append(tpl_node ***end, tpl_node *n) {
    if (!n || !*end) return; /* the parser has failed */
    **end = n;
    *end = &n->next;
}

static bool is_op(const parser *p, const char *op) {
    return p->at->kind == TOK_OP && tpl_same(p->at->text, op, strlen(op));
}
static bool is_word(const parser *p, const char *word) {
    return p->at->kind == TOK_NAME && tpl_same(p->at->text, word, strlen(word));
}
static bool skip_op(parser *p, const char *op) {
    if (p->status || !is_op(p, op)) return false;
    p->at++;
    return true;
}
static bool skip_word(parser *p, const char *word) {
    if (p->status || !is_word(p, word)) return false;
    p->at++;
    return true;
}
static void expect_op(parser *p, const char *op) {
    char what[40] = "expected '";
    if (skip_op(p, op)) return;
    strcat(strcat(what, op), "'");
    fail(p, what);
}

static bool enter(parser *p) {
    if (p->status) return false;
    if (++p->nesting <= TPL_MAX_NESTING) return true;
    fail(p, "expressions and blocks are nested deeper than 64");
    return false;
}

/* ---- primary expressions */

static tpl_node *constant(parser *p, tpl_value v) {
    tpl_node *n = node(p, N_constant);
    if (n) n->value = v;
    return n;
}

static tpl_node *strings(parser *p) {
    if (p->at[1].kind != TOK_STRING) return constant(p, tpl_string((p->at++)->text));
    mg_buf b = { 0 };
    while (p->at->kind == TOK_STRING) {
        mg_buf_add(&b, p->at->text.s, p->at->text.n);
        p->at++;
    }
    char *copy = b.failed ? NULL : mg_tpl_alloc(&p->t->arena, b.len + 1, 1);
    if (copy && b.len) memcpy(copy, b.data, b.len);
    tpl_node *n = copy ? constant(p, tpl_string((tpl_str){ .s = copy, .n = b.len })) : fail(p, "no memory");
    mg_buf_free(&b);
    return n;
}

static tpl_node *list_or_dict(parser *p, const char *close, bool is_dict) {
    tpl_node *n = node(p, is_dict ? N_dict : N_list), **end = n ? &n->kids : NULL;
    p->at++;
    while (!p->status && !is_op(p, close)) {
        if (n->kids) {
            expect_op(p, ",");
            if (is_op(p, close)) break;
        }
        append(&end, expression(p));
        if (is_dict) {
            expect_op(p, ":");
            append(&end, expression(p));
        }
    }
    expect_op(p, close);
    return n;
}

static tpl_node *named_constant(parser *p) {
    static const struct {
        const char *word;
        tpl_value   value;
    } words[] = {
        { "true", { .kind = TPL_BOOL, .i = 1 } },  { "True", { .kind = TPL_BOOL, .i = 1 } },
        { "false", { .kind = TPL_BOOL, .i = 0 } }, { "False", { .kind = TPL_BOOL, .i = 0 } },
        { "none", { .kind = TPL_NONE } },          { "None", { .kind = TPL_NONE } },
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (is_word(p, words[i].word)) {
            p->at++;
            return constant(p, words[i].value);
        }
    return NULL;
}

static tpl_node *primary(parser *p) {
    tpl_node *n = NULL;
    if (p->at->kind == TOK_NAME) {
        if ((n = named_constant(p)) || p->status) return n;
        n = node(p, N_name);
        if (n) n->text = (p->at++)->text;
    } else if (p->at->kind == TOK_STRING)
        n = strings(p);
    else if (p->at->kind == TOK_INT)
        n = constant(p, tpl_int((p->at++)->i));
    else if (p->at->kind == TOK_FLOAT)
        n = constant(p, tpl_float((p->at++)->f));
    else if (skip_op(p, "(")) {
        n = tuple(p, true, true);
        expect_op(p, ")");
    } else if (is_op(p, "["))
        n = list_or_dict(p, "]", false);
    else if (is_op(p, "{"))
        n = list_or_dict(p, "}", true);
    else
        fail(p, "expected a value");
    return n;
}

/* ---- .name, [index], (call), |filter, is test */

static tpl_node *absent(parser *p) { return constant(p, tpl_missing()); }

/* Behind '[': an index or begin:end:step. */
static tpl_node *subscript(parser *p, tpl_node *of) {
    tpl_node *first = is_op(p, ":") ? absent(p) : expression(p);
    if (!is_op(p, ":")) {
        expect_op(p, "]");
        return node2(p, N_item, of, first);
    }
    tpl_node *n = node2(p, N_slice, of, NULL), **end = n ? &n->kids : NULL;
    append(&end, first);
    for (int i = 0; i < 2 && !p->status; i++)
        append(&end, skip_op(p, ":") && !is_op(p, ":") && !is_op(p, "]") ? expression(p) : absent(p));
    expect_op(p, "]");
    return n;
}

/* Arguments in parentheses, into n->kids and n->named. */
static void arguments(parser *p, tpl_node *n) {
    tpl_node **end = &n->kids, **named_end = &n->named;
    bool       any = false;
    expect_op(p, "(");
    while (!p->status && !is_op(p, ")")) {
        if (any) {
            expect_op(p, ",");
            if (is_op(p, ")")) break;
        }
        any = true;
        if (is_op(p, "*") || is_op(p, "**")) {
            fail(p, "* and ** arguments are not supported");
        } else if (p->at->kind == TOK_NAME && p->at[1].kind == TOK_OP && TPL_IS(p->at[1].text, "=")) {
            tpl_node *a = node(p, N_argument);
            if (!a) return;
            a->text = p->at->text;
            p->at += 2;
            a->a = expression(p);
            append(&named_end, a);
        } else if (n->named)
            fail(p, "a positional argument behind a named one");
        else
            append(&end, expression(p));
    }
    expect_op(p, ")");
}

/* n(...): its parentheses come next. */
static tpl_node *call(parser *p, tpl_node *n) {
    n = node2(p, N_call, n, NULL);
    if (n) arguments(p, n);
    return n;
}

static tpl_node *postfix(parser *p, tpl_node *n) {
    while (!p->status) {
        if (skip_op(p, ".")) {
            tpl_node *outer = node2(p, N_attr, n, NULL);
            if (!outer) break;
            if (p->at->kind == TOK_NAME)
                outer->text = p->at->text;
            else if (p->at->kind == TOK_INT) {
                outer->kind = N_item;
                outer->b = constant(p, tpl_int(p->at->i));
            } else
                return fail(p, "expected a name behind '.'");
            p->at++;
            n = outer;
        } else if (skip_op(p, "["))
            n = subscript(p, n);
        else if (is_op(p, "("))
            n = call(p, n);
        else
            break;
    }
    return n;
}

static tpl_node *filter(parser *p, tpl_node *of) {
    tpl_node *n = node2(p, N_filter, of, NULL);
    if (!n) return NULL;
    if (p->at->kind != TOK_NAME) return fail(p, "expected the name of a filter");
    n->text = (p->at++)->text;
    if (is_op(p, "(")) arguments(p, n);
    return n;
}

static tpl_node *filters(parser *p, tpl_node *n) {
    do n = filter(p, n);
    while (skip_op(p, "|"));
    return n;
}

/* May the next token begin the one argument of a test without parentheses? */
static bool begins_test_argument(const parser *p) {
    static const char *const not_words[] = { "else", "or", "and", "is", "if", "in", "not" };
    if (p->at->kind == TOK_NAME) {
        for (size_t i = 0; i < sizeof not_words / sizeof *not_words; i++)
            if (is_word(p, not_words[i])) return false;
        return true;
    }
    return p->at->kind == TOK_STRING || p->at->kind == TOK_INT || p->at->kind == TOK_FLOAT || is_op(p, "[") ||
           is_op(p, "{");
}

static tpl_node *test(parser *p, tpl_node *of) {
    bool      inverse = skip_word(p, "not");
    tpl_node *n = node2(p, N_test, of, NULL);
    if (!n) return NULL;
    if (p->at->kind != TOK_NAME) return fail(p, "expected the name of a test behind 'is'");
    n->text = (p->at++)->text;
    if (is_op(p, "("))
        arguments(p, n);
    else if (begins_test_argument(p))
        n->kids = postfix(p, primary(p));
    return inverse ? node2(p, N_not, n, NULL) : n;
}

static tpl_node *filters_and_tests(parser *p, tpl_node *n) {
    while (!p->status) {
        if (skip_op(p, "|"))
            n = filter(p, n);
        else if (skip_word(p, "is"))
            n = test(p, n);
        else if (is_op(p, "("))
            n = call(p, n);
        else
            break;
    }
    return n;
}

/* ---- operators */

static tpl_node *unary(parser *p, bool with_filter) {
    if (!enter(p)) return NULL;
    tpl_node *n = skip_op(p, "-")   ? node2(p, N_neg, unary(p, false), NULL)
                  : skip_op(p, "+") ? node2(p, N_pos, unary(p, false), NULL)
                                    : primary(p);
    n = postfix(p, n);
    if (with_filter) n = filters_and_tests(p, n);
    p->nesting--;
    return n;
}

typedef struct {
    const char   *op;
    tpl_node_kind kind;
} binary_row;

static tpl_node *power(parser *p) {
    tpl_node *n = unary(p, true);
    while (skip_op(p, "**")) n = node2(p, N_pow, n, unary(p, true));
    return n;
}

/* left op right op right ..., all operators of one strength */
static tpl_node *chain(parser *p, const binary_row *rows, size_t n_rows, tpl_node *(*operand)(parser *)) {
    tpl_node *n = operand(p);
    for (size_t i = 0; !p->status && i < n_rows;)
        if (skip_op(p, rows[i].op)) {
            n = node2(p, rows[i].kind, n, operand(p));
            i = 0;
        } else
            i++;
    return n;
}

static tpl_node *products(parser *p) {
    static const binary_row rows[] = { { "*", N_mul }, { "/", N_div }, { "//", N_floordiv }, { "%", N_mod } };
    return chain(p, rows, sizeof rows / sizeof *rows, power);
}

static tpl_node *concat(parser *p) {
    tpl_node *first = products(p);
    if (p->status || !is_op(p, "~")) return first;
    tpl_node *n = node(p, N_concat), **end = n ? &n->kids : NULL;
    append(&end, first);
    while (skip_op(p, "~")) append(&end, products(p));
    return n;
}

static tpl_node *sums(parser *p) {
    static const binary_row rows[] = { { "+", N_add }, { "-", N_sub } };
    return chain(p, rows, sizeof rows / sizeof *rows, concat);
}

/* The comparison at p->at, moved over; its text is static. */
static const char *comparison(parser *p) {
    static const char *const ops[] = { "==", "!=", "<=", ">=", "<", ">" };
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (skip_op(p, ops[i])) return ops[i];
    if (skip_word(p, "in")) return "in";
    if (is_word(p, "not") && p->at[1].kind == TOK_NAME && TPL_IS(p->at[1].text, "in")) {
        p->at += 2;
        return "not in";
    }
    return NULL;
}

/* One comparison of a chain; a node of its own, because an operand's text may be in use. */
static tpl_node *compare(parser *p) {
    tpl_node   *left = sums(p), *n = NULL, **end = NULL;
    const char *op;
    while (!p->status && (op = comparison(p))) {
        if (!n) {
            n = node2(p, N_compare, left, NULL);
            if (!n) return NULL;
            end = &n->kids;
        }
        tpl_node *step = node2(p, N_argument, sums(p), NULL);
        if (!step) return NULL;
        step->text = mg_tpl_text(op);
        append(&end, step);
    }
    return n ? n : left;
}

static tpl_node *negation(parser *p) {
    bool inverse = false, any = false;
    while (skip_word(p, "not")) {
        inverse = !inverse;
        any = true;
    }
    tpl_node *n = compare(p);
    if (!any) return n;
    n = node2(p, N_not, n, NULL);
    return inverse ? n : node2(p, N_not, n, NULL);
}

static tpl_node *conjunction(parser *p) {
    tpl_node *n = negation(p);
    while (skip_word(p, "and")) n = node2(p, N_and, n, negation(p));
    return n;
}

static tpl_node *disjunction(parser *p) {
    tpl_node *n = conjunction(p);
    while (skip_word(p, "or")) n = node2(p, N_or, n, conjunction(p));
    return n;
}

static tpl_node *expression(parser *p) {
    if (!enter(p)) return NULL;
    tpl_node *n = disjunction(p);
    while (skip_word(p, "if")) {
        n = node2(p, N_choice, n, NULL);
        tpl_node *condition = disjunction(p);
        if (!n || p->status) break;
        n->b = condition;
        if (skip_word(p, "else")) n->c = expression(p);
    }
    p->nesting--;
    return n;
}

static bool ends_tuple(const parser *p) {
    return p->at->kind == TOK_BLOCK_END || p->at->kind == TOK_PRINT_END || is_op(p, ")");
}

static tpl_node *tuple(parser *p, bool with_choice, bool may_be_empty) {
    if (may_be_empty && is_op(p, ")")) return node(p, N_tuple);
    tpl_node *first = with_choice ? expression(p) : disjunction(p);
    if (p->status || !is_op(p, ",")) return first;
    tpl_node *n = node(p, N_tuple), **end = n ? &n->kids : NULL;
    append(&end, first);
    while (skip_op(p, ",") && !ends_tuple(p)) append(&end, with_choice ? expression(p) : disjunction(p));
    return n;
}

/* ---- statements */

static void block_end(parser *p) {
    if (p->status) return;
    if (p->at->kind == TOK_BLOCK_END)
        p->at++;
    else
        fail(p, "expected the end of the tag");
}

static tpl_node *name(parser *p) {
    if (p->status || p->at->kind != TOK_NAME) return fail(p, "expected a name");
    tpl_node *n = node(p, N_name);
    if (n) n->text = (p->at++)->text;
    return n;
}

/* a, (a, b) or a, b; with `dotted` also namespace.member */
static tpl_node *target(parser *p, bool dotted) {
    bool      in_brackets = skip_op(p, "(");
    tpl_node *first = name(p);
    if (dotted && skip_op(p, ".")) {
        first = node2(p, N_attr, first, NULL);
        if (!first) return NULL;
        if (p->at->kind != TOK_NAME) return fail(p, "expected a name behind '.'");
        first->text = (p->at++)->text;
    }
    if (!is_op(p, ",")) {
        if (in_brackets) expect_op(p, ")");
        return first;
    }
    tpl_node *n = node(p, N_tuple), **end = n ? &n->kids : NULL;
    append(&end, first);
    while (skip_op(p, ",") && p->at->kind == TOK_NAME) append(&end, name(p));
    if (in_brackets) expect_op(p, ")");
    return n;
}

/* A name that closes a block: {% word %}. */
static void close_block(parser *p, const char *word) {
    if (!skip_word(p, word)) fail(p, word);
    block_end(p);
}

static tpl_node *parse_if(parser *p) {
    static const char *const ends[] = { "elif", "else", "endif", NULL };
    tpl_node                *first = NULL, **place = &first;
    do {
        tpl_node *n = node(p, N_if);
        if (!n) return NULL;
        n->a = tuple(p, false, false);
        block_end(p);
        n->kids = block_until(p, ends);
        *place = n;
        place = &n->b;
    } while (skip_word(p, "elif"));
    if (skip_word(p, "else")) {
        block_end(p);
        tpl_node *n = node(p, N_block);
        if (!n) return NULL;
        n->kids = block_until(p, ends + 2);
        *place = n;
    }
    close_block(p, "endif");
    return first;
}

static tpl_node *parse_for(parser *p) {
    static const char *const ends[] = { "else", "endfor", NULL };
    tpl_node                *n = node(p, N_for);
    if (!n) return NULL;
    n->a = target(p, false);
    if (!skip_word(p, "in")) return fail(p, "expected 'in'");
    n->b = tuple(p, false, false);
    if (skip_word(p, "if")) n->c = expression(p);
    if (is_word(p, "recursive")) return fail(p, "recursive loops are not supported");
    block_end(p);
    p->loops++;
    n->kids = block_until(p, ends);
    p->loops--;
    if (skip_word(p, "else")) {
        block_end(p);
        n->named = block_until(p, ends + 1);
    }
    close_block(p, "endfor");
    return n;
}

/* Blocks whose text is caught run apart from the loop around them, so break and continue stop at their border. */
static tpl_node *inner_block(parser *p, const char *word) {
    const char *const ends[] = { word, NULL };
    int               loops = p->loops;
    p->loops = 0;
    tpl_node *kids = block_until(p, ends);
    p->loops = loops;
    close_block(p, word);
    return kids;
}

static tpl_node *parse_set(parser *p) {
    tpl_node *to = target(p, true);
    if (skip_op(p, "=")) {
        tpl_node *n = node2(p, N_set, to, tuple(p, true, false));
        block_end(p);
        return n;
    }
    tpl_node *n = node2(p, N_set_block, to, NULL);
    if (!n) return NULL;
    if (skip_op(p, "|")) n->b = filters(p, NULL);
    block_end(p);
    n->kids = inner_block(p, "endset");
    return n;
}

static tpl_node *parse_macro(parser *p) {
    tpl_node *n = node(p, N_macro), **end = n ? &n->named : NULL;
    if (!n) return NULL;
    if (p->at->kind != TOK_NAME) return fail(p, "expected the name of the macro");
    n->text = (p->at++)->text;
    expect_op(p, "(");
    while (!p->status && !is_op(p, ")")) {
        if (n->named) expect_op(p, ",");
        tpl_node *param = name(p);
        if (!param) return NULL;
        param->kind = N_argument;
        if (skip_op(p, "=")) param->a = expression(p);
        append(&end, param);
    }
    expect_op(p, ")");
    block_end(p);
    n->kids = inner_block(p, "endmacro");
    return n;
}

static tpl_node *parse_filter_block(parser *p) {
    tpl_node *n = node(p, N_filter_block);
    if (!n) return NULL;
    n->b = filters(p, NULL);
    block_end(p);
    n->kids = inner_block(p, "endfilter");
    return n;
}

static tpl_node *parse_generation(parser *p) {
    tpl_node *n = node(p, N_generation);
    if (!n) return NULL;
    p->t->has_generation_tags = true;
    block_end(p);
    n->kids = inner_block(p, "endgeneration");
    return n;
}

static tpl_node *parse_with(parser *p) {
    static const char *const ends[] = { "endwith", NULL };
    tpl_node                *n = node(p, N_with), **end = n ? &n->named : NULL;
    while (!p->status && p->at->kind != TOK_BLOCK_END) {
        if (n->named) expect_op(p, ",");
        tpl_node *to = target(p, false);
        expect_op(p, "=");
        append(&end, node2(p, N_set, to, expression(p)));
    }
    block_end(p);
    if (n) n->kids = block_until(p, ends);
    close_block(p, "endwith");
    return n;
}

static tpl_node *loop_control(parser *p, tpl_node_kind kind) {
    if (!p->loops) return fail(p, "break and continue belong into a for loop");
    tpl_node *n = node(p, kind);
    block_end(p);
    return n;
}
static tpl_node *parse_break(parser *p) { return loop_control(p, N_break); }
static tpl_node *parse_continue(parser *p) { return loop_control(p, N_continue); }

static tpl_node *statement(parser *p) {
    static const struct {
        const char *word;
        tpl_node *(*parse)(parser *);
    } rows[] = {
        { "if", parse_if },
        { "for", parse_for },
        { "set", parse_set },
        { "macro", parse_macro },
        { "filter", parse_filter_block },
        { "generation", parse_generation },
        { "with", parse_with },
        { "break", parse_break },
        { "continue", parse_continue },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (is_word(p, rows[i].word)) {
            p->at++;
            return rows[i].parse(p);
        }
    return fail(p, "this tag is not supported");
}

static tpl_node *piece(parser *p) {
    tpl_node *n = NULL;
    if (p->at->kind == TOK_DATA) {
        n = node(p, N_data);
        if (n) n->text = (p->at++)->text;
    } else if (p->at->kind == TOK_PRINT_BEGIN) {
        p->at++;
        n = node2(p, N_print, tuple(p, true, false), NULL);
        if (p->status) return NULL;
        if (p->at->kind != TOK_PRINT_END) return fail(p, "expected the end of the tag");
        p->at++;
    } else if (p->at->kind == TOK_BLOCK_BEGIN) {
        p->at++;
        n = statement(p);
    } else
        fail(p, "a tag is out of place");
    return n;
}

/* Pieces up to {% word, one of `ends` (NULL: end of the template); the word is left to the caller. */
static tpl_node *block_until(parser *p, const char *const *ends) {
    tpl_node *first = NULL, **end = &first;
    if (!enter(p)) return NULL;
    while (!p->status) {
        if (p->at->kind == TOK_END) {
            if (ends) fail(p, "the template ends inside a block");
            break;
        }
        if (ends && p->at->kind == TOK_BLOCK_BEGIN && p->at[1].kind == TOK_NAME) {
            const char *const *e = ends;
            while (*e && !tpl_same(p->at[1].text, *e, strlen(*e))) e++;
            if (*e) {
                p->at++;
                break;
            }
        }
        append(&end, piece(p));
    }
    p->nesting--;
    return first;
}

mg_status mg_tpl_parse(mg_template *t, const tpl_token *token, mg_error *err) {
    parser p = { .t = t, .at = token, .err = err };
    t->body = block_until(&p, NULL);
    return p.status;
}
