/* template_lex.c -- template source to tokens, with jinja2's rules for white space.
 *
 * Text between tags is one DATA token, already trimmed: {%- and -%} take all white space on their side, a block or
 * comment tag takes the newline behind it (trim_blocks) and blanks before it on its line (lstrip_blocks) unless it
 * has a '+' there.  Comments vanish here, raw blocks become DATA.  One newline at the end of the source goes. */
#include "text/template_parts.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

typedef struct {
    tpl_arena  *arena;
    const char *src, *name;
    size_t      n, pos;
    int         line;
    size_t      line_pos; /* lines were counted up to here */
    tpl_token  *token;    /* heap while it grows */
    size_t      n_tokens, cap;
    char        bracket[TPL_MAX_NESTING];
    int         n_brackets;
    mg_error   *err;
} lexer;

static mg_status fail(lexer *lx, const char *what) {
    return mg_fail(lx->err, MG_TEMPLATE, "%s: line %d: %s", lx->name, lx->line, what);
}

static int line_at(lexer *lx, size_t pos) {
    for (; lx->line_pos < pos; lx->line_pos++) lx->line += lx->src[lx->line_pos] == '\n';
    return lx->line;
}

static mg_status push(lexer *lx, tpl_token_kind kind, tpl_str text, tpl_token **out) {
    if (!MG_GROW(lx->token, lx->cap, lx->n_tokens + 1))
        return mg_fail(lx->err, MG_NOMEM, "%s: no memory", lx->name);
    lx->token[lx->n_tokens] = (tpl_token){ .kind = kind, .line = line_at(lx, lx->pos), .text = text };
    if (out) *out = &lx->token[lx->n_tokens];
    lx->n_tokens++;
    return MG_OK;
}

static tpl_str piece(const lexer *lx, size_t begin, size_t end) {
    return (tpl_str){ .s = lx->src + begin, .n = end - begin };
}

static size_t skip_space(const lexer *lx, size_t pos) {
    tpl_str s = piece(lx, 0, lx->n);
    while (pos < lx->n) {
        size_t at = pos;
        if (!mg_tpl_is_space(mg_tpl_code(s, &at))) break;
        pos = at;
    }
    return pos;
}

static bool at(const lexer *lx, size_t pos, const char *what) {
    size_t k = strlen(what);
    return pos <= lx->n && lx->n - pos >= k && !memcmp(lx->src + pos, what, k);
}

static size_t find(const lexer *lx, size_t pos, const char *what) {
    const char *p = memmem(lx->src + pos, lx->n - pos, what, strlen(what));
    return p ? (size_t)(p - lx->src) : SIZE_MAX;
}

/* Text before a tag with this sign ('-', '+' or 0) at lx->pos..end. */
static mg_status data_before(lexer *lx, size_t end, char sign, bool is_print) {
    tpl_str text = piece(lx, lx->pos, end);
    if (sign == '-')
        text = mg_tpl_strip(text, TPL_RIGHT, NULL);
    else if (sign != '+' && !is_print) {
        size_t line = text.n;
        while (line && text.s[line - 1] != '\n') line--;
        bool starts_line = line > 0 || lx->pos == 0 || lx->src[lx->pos - 1] == '\n';
        if (starts_line && mg_tpl_strip(mg_tpl_sub(text, line, text.n), TPL_RIGHT, NULL).n == 0) text.n = line;
    }
    return text.n ? push(lx, TOK_DATA, text, NULL) : MG_OK;
}

/* Behind a closing "%}" or "#}" at `pos`, whose sign was `sign`. */
static size_t after_tag(const lexer *lx, size_t pos, char sign) {
    pos += 2;
    if (sign == '-') return skip_space(lx, pos);
    return sign != '+' && pos < lx->n && lx->src[pos] == '\n' ? pos + 1 : pos;
}

static mg_status comment(lexer *lx, size_t begin) {
    size_t end = find(lx, begin, "#}");
    if (end == SIZE_MAX) return fail(lx, "a comment {# has no end #}");
    char sign = end > begin && (lx->src[end - 1] == '-' || lx->src[end - 1] == '+') ? lx->src[end - 1] : 0;
    lx->pos = after_tag(lx, end, sign);
    return MG_OK;
}

/* Is there "word" and the end of the tag at `pos`?  Gives the place of the tag's end and its sign. */
static bool lone_word(const lexer *lx, size_t pos, const char *word, size_t *end, char *sign) {
    pos = skip_space(lx, pos);
    if (!at(lx, pos, word)) return false;
    pos = skip_space(lx, pos + strlen(word));
    *sign = at(lx, pos, "-%}") ? '-' : at(lx, pos, "+%}") ? '+' : 0;
    *end = pos + (*sign != 0);
    return at(lx, *end, "%}");
}

static mg_status raw(lexer *lx, size_t body) {
    for (size_t tag = body; (tag = find(lx, tag, "{%")) != SIZE_MAX; tag += 2) {
        char   before = at(lx, tag + 2, "-") ? '-' : at(lx, tag + 2, "+") ? '+' : 0, sign;
        size_t end;
        if (!lone_word(lx, tag + 2 + (before != 0), "endraw", &end, &sign)) continue;
        lx->pos = body;
        mg_status st = data_before(lx, tag, before, false);
        lx->pos = after_tag(lx, end, sign);
        return st;
    }
    return fail(lx, "{% raw %} has no {% endraw %}");
}

static void put_utf8(char *out, size_t *n, uint32_t c) {
    *n += (size_t)utf8proc_encode_char((utf8proc_int32_t)c, (utf8proc_uint8_t *)out + *n);
}

static int hex_digit(char c) {
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

/* Python's escapes; an unknown one keeps its backslash.  Decoded text is never longer than its source. */
static mg_status escape(lexer *lx, const char *s, size_t n, size_t *i, char *out, size_t *len) {
    static const char from[] = "abfnrtv\\'\"", to[] = "\a\b\f\n\r\t\v\\'\"";
    char              c = s[*i + 1];
    const char       *simple = c ? strchr(from, c) : NULL;
    *i += 2;
    if (simple) {
        out[(*len)++] = to[simple - from];
    } else if (c >= '0' && c <= '7') {
        uint32_t code = (uint32_t)(c - '0');
        for (int k = 0; k < 2 && *i < n && s[*i] >= '0' && s[*i] <= '7'; k++)
            code = code * 8 + (uint32_t)(s[(*i)++] - '0');
        put_utf8(out, len, code);
    } else if (c == 'x' || c == 'u' || c == 'U') {
        int      digits = c == 'x' ? 2 : c == 'u' ? 4 : 8;
        uint32_t code = 0;
        for (int k = 0; k < digits; k++, (*i)++) {
            int d = *i < n ? hex_digit(s[*i]) : -1;
            if (d < 0 || code > 0x10ffff) return fail(lx, "a \\x, \\u or \\U escape is malformed");
            code = code * 16 + (uint32_t)d;
        }
        if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return fail(lx, "an escape names no character");
        put_utf8(out, len, code);
    } else if (c == 'N') {
        return fail(lx, "\\N escapes are not supported; write the character itself");
    } else if (c != '\n') {
        out[(*len)++] = '\\';
        *i -= 1;
    }
    return MG_OK;
}

static mg_status string(lexer *lx) {
    char   quote = lx->src[lx->pos];
    size_t end = lx->pos + 1;
    bool   plain = true;
    while (end < lx->n && lx->src[end] != quote) {
        if (lx->src[end] == '\\') {
            plain = false;
            end++;
        }
        end++;
    }
    if (end >= lx->n) return fail(lx, "a string has no closing quote");
    tpl_str   text = piece(lx, lx->pos + 1, end);
    mg_status st = MG_OK;
    if (!plain) {
        char  *copy = mg_tpl_alloc(lx->arena, text.n + 1, 1);
        size_t len = 0;
        if (!copy) return mg_fail(lx->err, MG_NOMEM, "%s: no memory", lx->name);
        for (size_t i = 0; !st && i < text.n;)
            if (text.s[i] == '\\')
                st = escape(lx, text.s, text.n, &i, copy, &len);
            else
                copy[len++] = text.s[i++];
        text = (tpl_str){ .s = copy, .n = len };
    }
    if (!st) st = push(lx, TOK_STRING, text, NULL);
    lx->pos = end + 1;
    return st;
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* Copy digits without underscores; returns the place behind them. */
static size_t digits(const lexer *lx, size_t pos, char *out, size_t *len) {
    while (pos < lx->n &&
           (is_digit(lx->src[pos]) || (lx->src[pos] == '_' && pos + 1 < lx->n && is_digit(lx->src[pos + 1])))) {
        if (lx->src[pos] != '_' && *len < 60) out[(*len)++] = lx->src[pos];
        pos++;
    }
    return pos;
}

static mg_status number(lexer *lx) {
    char       text[80];
    size_t     len = 0, pos = digits(lx, lx->pos, text, &len), k;
    bool       is_float = false;
    tpl_token *t;
    /* behind a dot ("a.0.b") there are integers only */
    bool after_dot = lx->n_tokens && lx->token[lx->n_tokens - 1].kind == TOK_OP &&
                     TPL_IS(lx->token[lx->n_tokens - 1].text, ".");
    if (!after_dot && pos + 1 < lx->n && lx->src[pos] == '.' && is_digit(lx->src[pos + 1])) {
        is_float = true;
        text[len++] = '.';
        pos = digits(lx, pos + 1, text, &len);
    }
    if (!after_dot && pos + 1 < lx->n && (lx->src[pos] | 32) == 'e') {
        k = pos + 1 + (lx->src[pos + 1] == '-' || lx->src[pos + 1] == '+');
        if (k < lx->n && is_digit(lx->src[k])) {
            is_float = true;
            text[len++] = 'e';
            if (k > pos + 1) text[len++] = lx->src[k - 1];
            pos = digits(lx, k, text, &len);
        }
    }
    text[len] = 0;
    mg_status st = push(lx, is_float ? TOK_FLOAT : TOK_INT, piece(lx, lx->pos, pos), &t);
    if (st) return st;
    lx->pos = pos;
    if (is_float) {
        t->f = strtod(text, NULL);
        return MG_OK;
    }
    for (size_t i = 0; i < len; i++)
        if (__builtin_mul_overflow(t->i, 10, &t->i) || __builtin_add_overflow(t->i, text[i] - '0', &t->i))
            return fail(lx, "an integer does not fit into 64 bits");
    return MG_OK;
}

static bool is_name_byte(char c) {
    return ((c | 32) >= 'a' && (c | 32) <= 'z') || is_digit(c) || c == '_' || (unsigned char)c >= 0x80;
}

static mg_status operator_token(lexer *lx) {
    static const char *const ops[] = { "//", "**", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~", "<",
                                       ">",  "=",  "(",  ")",  "[",  "]",  "{", "}", ",", ":", ".", "|", ";" };
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        if (!at(lx, lx->pos, ops[i])) continue;
        char c = ops[i][0];
        if (c == '(' || c == '[' || c == '{') {
            if (lx->n_brackets == TPL_MAX_NESTING) return fail(lx, "brackets are nested deeper than 64");
            lx->bracket[lx->n_brackets++] = c == '(' ? ')' : c == '[' ? ']' : '}';
        } else if ((c == ')' || c == ']' || c == '}') && (!lx->n_brackets || lx->bracket[--lx->n_brackets] != c))
            return fail(lx, "a closing bracket without its opening one");
        mg_status st = push(lx, TOK_OP, piece(lx, lx->pos, lx->pos + strlen(ops[i])), NULL);
        lx->pos += strlen(ops[i]);
        return st;
    }
    return fail(lx, "a character that means nothing inside a tag");
}

/* The end of the tag at `pos`: its sign through *sign. */
static bool tag_end(const lexer *lx, const char *close, char *sign) {
    *sign = 0;
    if (lx->n_brackets) return false;
    char c = lx->src[lx->pos];
    if ((c == '-' || (c == '+' && close[0] == '%')) && at(lx, lx->pos + 1, close)) *sign = c;
    return *sign || at(lx, lx->pos, close);
}

static mg_status tag(lexer *lx, bool is_print) {
    mg_status st = push(lx, is_print ? TOK_PRINT_BEGIN : TOK_BLOCK_BEGIN, (tpl_str){ 0 }, NULL);
    lx->n_brackets = 0;
    while (!st) {
        char   sign;
        size_t start = lx->pos = skip_space(lx, lx->pos);
        line_at(lx, start);
        if (lx->pos >= lx->n) return fail(lx, "the template ends inside a tag");
        char c = lx->src[lx->pos];
        if (tag_end(lx, is_print ? "}}" : "%}", &sign)) {
            st = push(lx, is_print ? TOK_PRINT_END : TOK_BLOCK_END, (tpl_str){ 0 }, NULL);
            size_t end = lx->pos + (sign != 0);
            lx->pos = !is_print ? after_tag(lx, end, sign) : sign == '-' ? skip_space(lx, end + 2) : end + 2;
            return st;
        }
        if (is_digit(c))
            st = number(lx);
        else if (c == '"' || c == '\'')
            st = string(lx);
        else if (is_name_byte(c)) {
            while (lx->pos < lx->n && is_name_byte(lx->src[lx->pos])) lx->pos++;
            st = push(lx, TOK_NAME, piece(lx, start, lx->pos), NULL);
        } else
            st = operator_token(lx);
    }
    return st;
}

static mg_status run(lexer *lx) {
    mg_status st = MG_OK;
    while (!st && lx->pos < lx->n) {
        size_t open = lx->pos;
        while (open + 1 < lx->n &&
               !(lx->src[open] == '{' && strchr("{%#", lx->src[open + 1]) && lx->src[open + 1]))
            open++;
        if (open + 1 >= lx->n) {
            st = push(lx, TOK_DATA, piece(lx, lx->pos, lx->n), NULL);
            break;
        }
        char   kind = lx->src[open + 1], sign = open + 2 < lx->n ? lx->src[open + 2] : 0, raw_sign;
        size_t end;
        if (sign != '-' && sign != '+') sign = 0;
        st = data_before(lx, open, sign, kind == '{');
        line_at(lx, open);
        lx->pos = open + 2 + (sign != 0);
        if (st) break;
        if (kind == '#')
            st = comment(lx, lx->pos);
        else if (kind == '%' && lone_word(lx, lx->pos, "raw", &end, &raw_sign) && raw_sign != '+')
            st = raw(lx, raw_sign == '-' ? skip_space(lx, end + 2) : end + 2);
        else
            st = tag(lx, kind == '{');
    }
    if (!st) {
        lx->pos = lx->n;
        st = push(lx, TOK_END, (tpl_str){ 0 }, NULL);
    }
    return st;
}

/* Newlines of every kind become "\n", one at the end goes. */
static char *normalise(tpl_arena *a, const char *text, size_t n, size_t *out_n) {
    char *s = mg_tpl_alloc(a, n + 1, 1);
    if (!s) return NULL;
    size_t len = 0;
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '\r' && i + 1 < n && text[i + 1] == '\n') continue;
        s[len++] = text[i] == '\r' ? '\n' : text[i];
    }
    if (len && s[len - 1] == '\n') len--;
    *out_n = len;
    return s;
}

mg_status mg_tpl_lex(tpl_arena *a, const char *text, size_t n, const char *name, tpl_token **out, mg_error *err) {
    lexer lx = { .arena = a, .name = name, .line = 1, .err = err };
    lx.src = normalise(a, text, n, &lx.n);
    if (!lx.src) return mg_fail(err, MG_NOMEM, "%s: no memory", name);
    mg_status st = run(&lx);
    if (st)
        free(lx.token);
    else
        *out = lx.token;
    return st;
}
