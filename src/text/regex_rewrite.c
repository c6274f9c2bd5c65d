/* regex_rewrite.c -- from Oniguruma's Ruby syntax and Unicode 16 to PCRE2.
 *
 * What differs, and what becomes of it:
 *   \p{L} and other categories, \d, \w   a class with the characters that PCRE2 10.42 does
 *                                        not know yet (unicode_new.def)
 *   \s                                   without U+180E, which PCRE2 counts as a space
 *   \p{Han} and other scripts            \p{sc:Han}; PCRE2's own means Script_Extensions
 *   [..\S..], [[:alpha:]], nested sets   alternatives; PCRE2's classes cannot say them
 *   \h \v \uXXXX {,n} (?m) x{1,3}+       hex digit, VT, \x{XXXX}, {0,n}, (?s), (?:x{1,3})+
 *   [a&&b]                               (?=[a])[b]
 * The rest is the same in both and is copied.  Escapes that only Oniguruma has
 * are refused by name. */
#include "text/regex.h"
#include "text/unicode.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { REWRITE_MAX_DEPTH = 32 };

typedef struct {
    uint32_t    first, last;
    const char *kind; /* two letters: general category, else script */
} new_range;

static const new_range newer[] = {
#define NEW(first, last, kind) { first, last, kind },
#include "text/unicode_new.def"
#undef NEW
};

/* A named set: what stands in PCRE2's class, and which new ranges join it (prefixes of
 * categories, blank-separated). */
typedef struct {
    const char *name; /* lower case without blank, '_' and '-' */
    const char *pcre, *joins;
} named_set;

#define SPACE_SET "\\p{Z}\\t-\\r\\x{85}"
#define WORD_SET                                                                                              \
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{" \
    "1f149}"                                                                                                  \
    "\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}"

static const named_set sets[] = {
    { "l", "\\p{L}", "L" },
    { "letter", "\\p{L}", "L" },
    { "lu", "\\p{Lu}", "Lu" },
    { "uppercaseletter", "\\p{Lu}", "Lu" },
    { "ll", "\\p{Ll}", "Ll" },
    { "lowercaseletter", "\\p{Ll}", "Ll" },
    { "lt", "\\p{Lt}", "Lt" },
    { "titlecaseletter", "\\p{Lt}", "Lt" },
    { "lm", "\\p{Lm}", "Lm" },
    { "modifierletter", "\\p{Lm}", "Lm" },
    { "lo", "\\p{Lo}", "Lo" },
    { "otherletter", "\\p{Lo}", "Lo" },
    { "m", "\\p{M}", "M" },
    { "mark", "\\p{M}", "M" },
    { "mn", "\\p{Mn}", "Mn" },
    { "nonspacingmark", "\\p{Mn}", "Mn" },
    { "mc", "\\p{Mc}", "Mc" },
    { "me", "\\p{Me}", "Me" },
    { "n", "\\p{N}", "N" },
    { "number", "\\p{N}", "N" },
    { "nd", "\\p{Nd}", "Nd" },
    { "decimalnumber", "\\p{Nd}", "Nd" },
    { "digit", "\\p{Nd}", "Nd" },
    { "d", "\\p{Nd}", "Nd" },
    { "nl", "\\p{Nl}", "Nl" },
    { "no", "\\p{No}", "No" },
    { "p", "\\p{P}", "P" },
    { "punctuation", "\\p{P}", "P" },
    { "punct", "\\p{P}", "P" },
    { "pc", "\\p{Pc}", "Pc" },
    { "pd", "\\p{Pd}", "Pd" },
    { "ps", "\\p{Ps}", "Ps" },
    { "pe", "\\p{Pe}", "Pe" },
    { "pi", "\\p{Pi}", "Pi" },
    { "pf", "\\p{Pf}", "Pf" },
    { "po", "\\p{Po}", "Po" },
    { "s", "\\p{S}", "S" },
    { "symbol", "\\p{S}", "S" },
    { "sm", "\\p{Sm}", "Sm" },
    { "sc", "\\p{Sc}", "Sc" },
    { "sk", "\\p{Sk}", "Sk" },
    { "so", "\\p{So}", "So" },
    { "z", "\\p{Z}", "" },
    { "separator", "\\p{Z}", "" },
    { "zs", "\\p{Zs}", "" },
    { "zl", "\\p{Zl}", "" },
    { "zp", "\\p{Zp}", "" },
    { "cc", "\\p{Cc}", "" },
    { "control", "\\p{Cc}", "" },
    { "cf", "\\p{Cf}", "Cf" },
    { "co", "\\p{Co}", "" },
    { "space", SPACE_SET, "" },
    { "whitespace", SPACE_SET, "" },
    { "word", WORD_SET, "L M Nd Nl Pc" },
    { "xdigit", "0-9A-Fa-f", "" },
    { "cntrl", "\\p{Cc}", "" },
    { "alpha", "\\p{Alphabetic}", "L Mc" },
    { "alnum", "\\p{Alphabetic}\\p{Nd}", "L Mc Nd" },
};
/* [:punct:] in a class is wider than \p{Punct}. */
static const named_set posix_punct = { "punct", "\\p{P}\\p{S}", "P S" };

typedef struct {
    const char *p, *end; /* what is left of the pattern */
    const char *pattern, *name;
    mg_buf     *out;
    size_t      atom; /* where the last atom begins in out */
    size_t      group[REWRITE_MAX_DEPTH * 8];
    int         groups, depth;
    mg_error   *err;
} rewriter;

static mg_status refuse(rewriter *r, const char *what) {
    return mg_fail(r->err, MG_UNSUPPORTED, "%s: the regular expression '%.200s' uses %s, which is not supported",
                   r->name, r->pattern, what);
}

static void add_new_ranges(mg_buf *b, const char *kinds) {
    for (const char *k = kinds; *k;) {
        size_t len = strcspn(k, " ");
        for (size_t i = 0; i < sizeof newer / sizeof *newer; i++)
            if (strlen(newer[i].kind) >= len && !memcmp(newer[i].kind, k, len) &&
                (len <= 2 ? strlen(newer[i].kind) == 2 : strlen(newer[i].kind) == len))
                mg_buf_printf(b, "\\x{%x}-\\x{%x}", (unsigned)newer[i].first, (unsigned)newer[i].last);
        k += len;
        k += *k == ' ';
    }
}

static void add_set(mg_buf *b, const named_set *s) {
    mg_buf_str(b, s->pcre);
    add_new_ranges(b, s->joins);
}

static const named_set *find_set(const char *name) {
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
        if (!strcmp(sets[i].name, name)) return &sets[i];
    return NULL;
}

/* \p{Name}, \P{Name} or \p{^Name}: append the members of a class; *negated says which. */
static mg_status property(rewriter *r, mg_buf *b, bool *negated) {
    char        name[64], folded[64];
    size_t      n = 0, m = 0;
    const char *close = memchr(r->p, '}', (size_t)(r->end - r->p));
    *negated = r->p[-1] == 'P';
    if (*r->p != '{' || !close || close - r->p > 60) return refuse(r, "a property without braces");
    for (const char *q = r->p + 1; q < close; q++) {
        if (*q == '^' && q == r->p + 1) {
            *negated = !*negated;
            continue;
        }
        if (!isalnum((unsigned char)*q) && !strchr(" _-", *q)) return refuse(r, "a property with an odd name");
        name[n++] = *q;
        if (isalnum((unsigned char)*q)) folded[m++] = (char)tolower((unsigned char)*q);
    }
    name[n] = folded[m] = 0;
    r->p = close + 1;
    const named_set *s = find_set(folded);
    if (s)
        add_set(b, s);
    else if (!strcmp(folded, "c") || !strcmp(folded, "cn") || !strcmp(folded, "other") || !strcmp(folded, "any"))
        return refuse(r, "a property of unassigned characters");
    else {
        mg_buf_printf(b, "\\p{sc:%s}", name);
        add_new_ranges(b, name);
    }
    return MG_OK;
}

/* Escapes that stand for a set, at r->p just behind the letter.  True when it was one. */
static bool is_set_escape(char c) { return c && strchr("pPsSdDwWhH", c) != NULL; }

static mg_status set_escape(rewriter *r, mg_buf *b, bool *negated) {
    static const named_set hex = { "h", "0-9A-Fa-f", "" };
    char                   c = *r->p++;
    if (c == 'p' || c == 'P') {
        if (r->p == r->end) return refuse(r, "a property without braces");
        return property(r, b, negated);
    }
    *negated = isupper((unsigned char)c) != 0;
    c = (char)tolower((unsigned char)c);
    add_set(b, c == 'h' ? &hex : find_set(c == 's' ? "space" : c == 'd' ? "nd" : "word"));
    return MG_OK;
}

static int hex_digit(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* A literal character at r->p, escaped or not; *c is its code. */
static mg_status character(rewriter *r, uint32_t *c) {
    static const char from[] = "nrtfvae", to[] = "\n\r\t\f\v\a\x1b";
    if (*r->p != '\\') {
        size_t len = mg_utf8_next(r->p, (size_t)(r->end - r->p), c);
        if (!len) return refuse(r, "bytes that are not UTF-8");
        r->p += len;
        return MG_OK;
    }
    r->p++;
    if (r->p == r->end) return refuse(r, "a lone backslash");
    const char *known = memchr(from, *r->p, sizeof from - 1);
    if (known) {
        *c = (uint32_t)to[known - from];
        r->p++;
        return MG_OK;
    }
    bool braces = r->end - r->p > 2 && r->p[0] == 'x' && r->p[1] == '{';
    if (*r->p == 'x' || *r->p == 'u') {
        int most = braces ? 6 : *r->p == 'x' ? 2 : 4, digits = 0;
        r->p += braces ? 2 : 1;
        for (*c = 0; digits < most && r->p < r->end && hex_digit(*r->p) >= 0; digits++)
            *c = *c << 4 | (uint32_t)hex_digit(*r->p++);
        bool closed = !braces || (r->p < r->end && *r->p++ == '}');
        if (!digits || !closed || *c > 0x10ffff || (*c >= 0xd800 && *c < 0xe000))
            return refuse(r, "an escape of no character");
        return MG_OK;
    }
    if (isalnum((unsigned char)*r->p)) {
        if (*r->p != '0') return refuse(r, "an escape that is unknown here");
        for (*c = 0; r->p < r->end && *r->p >= '0' && *r->p <= '7' && *c < 32;)
            *c = *c * 8 + (uint32_t)(*r->p++ - '0');
        return MG_OK;
    }
    size_t len = mg_utf8_next(r->p, (size_t)(r->end - r->p), c);
    if (!len) return refuse(r, "bytes that are not UTF-8");
    r->p += len;
    return MG_OK;
}

static void add_literal(mg_buf *b, uint32_t c) { mg_buf_printf(b, "\\x{%x}", (unsigned)c); }

static mg_status class(rewriter *r, mg_buf *b);

/* [:name:] inside a class; r->p at the '['. */
static mg_status posix_class(rewriter *r, mg_buf *b, bool *negated) {
    char        name[16] = { 0 };
    const char *q = r->p + 2;
    *negated = q < r->end && *q == '^';
    q += *negated;
    for (size_t n = 0; q < r->end && islower((unsigned char)*q) && n < sizeof name - 1; q++) name[n++] = *q;
    if (r->end - q < 2 || q[0] != ':' || q[1] != ']') return refuse(r, "a malformed [:class:]");
    r->p = q + 2;
    const named_set *s = strcmp(name, "punct") ? find_set(name) : &posix_punct;
    if (!s || strlen(name) < 3) return refuse(r, "an unknown [:class:]");
    add_set(b, s);
    return MG_OK;
}

/* One member of a class: characters and positive sets go to `simple`, what PCRE2 cannot
 * hold in a class becomes an alternative in `more`. */
static mg_status class_member(rewriter *r, mg_buf *simple, mg_buf *more) {
    mg_status st;
    bool      negated = false;
    uint32_t  c, last;
    bool      posix = r->end - r->p > 1 && r->p[0] == '[' && r->p[1] == ':';
    bool      set = r->end - r->p > 1 && r->p[0] == '\\' && is_set_escape(r->p[1]);
    if (*r->p == '[' && !posix) {
        r->p++;
        mg_buf_char(more, '|');
        return class(r, more);
    }
    if (posix || set) {
        mg_buf b = { 0 };
        r->p += set;
        st = posix ? posix_class(r, &b, &negated) : set_escape(r, &b, &negated);
        if (!st && b.data && negated)
            mg_buf_printf(more, "|[^%s]", b.data);
        else if (!st && b.data)
            mg_buf_str(simple, b.data);
        mg_buf_free(&b);
        return st;
    }
    st = character(r, &c);
    if (st) return st;
    add_literal(simple, c);
    bool range = r->end - r->p > 1 && r->p[0] == '-' && r->p[1] != ']' && r->p[1] != '[';
    if (!range || (r->end - r->p > 2 && r->p[1] == '\\' && is_set_escape(r->p[2]))) return MG_OK;
    r->p++;
    st = character(r, &last);
    if (st) return st;
    if (last < c) return refuse(r, "a range that runs backwards");
    mg_buf_char(simple, '-');
    add_literal(simple, last);
    return MG_OK;
}

/* Append what matches one character of a set gathered by class_member. */
static void add_gathered(mg_buf *b, const mg_buf *simple, const mg_buf *more) {
    if (!simple->len && !more->len) {
        mg_buf_str(b, "(?!)"); /* the empty set */
        return;
    }
    if (!more->len) {
        mg_buf_printf(b, "[%s]", simple->data);
        return;
    }
    mg_buf_str(b, "(?:");
    if (simple->len) mg_buf_printf(b, "[%s]", simple->data);
    mg_buf_str(b, simple->len ? more->data : more->data + 1); /* alternatives begin with '|' */
    mg_buf_char(b, ')');
}

/* A bracket expression, r->p just behind the '['.  Of sets joined by && all but the last
 * become a look-ahead. */
static mg_status class(rewriter *r, mg_buf *b) {
    mg_buf    simple = { 0 }, more = { 0 }, ahead = { 0 };
    mg_status st = MG_OK;
    bool      negated = r->p < r->end && *r->p == '^';
    if (++r->depth > REWRITE_MAX_DEPTH) return refuse(r, "sets nested too deep");
    r->p += negated;
    for (bool first = true; !st; first = false) {
        if (r->p == r->end) {
            st = refuse(r, "a set that does not end");
        } else if (*r->p == ']' && !first) {
            break;
        } else if (r->end - r->p > 1 && r->p[0] == '&' && r->p[1] == '&') {
            mg_buf_str(&ahead, "(?=");
            add_gathered(&ahead, &simple, &more);
            mg_buf_char(&ahead, ')');
            simple.len = more.len = 0;
            r->p += 2;
        } else
            st = class_member(r, &simple, &more);
    }
    r->p++;
    r->depth--;
    bool plain = !more.len && !ahead.len && simple.len;
    if (!st && plain)
        mg_buf_printf(b, "[%s%s]", negated ? "^" : "", simple.data);
    else if (!st) {
        mg_buf_str(b, negated ? "(?:(?!" : "(?:");
        if (ahead.len) mg_buf_str(b, ahead.data);
        add_gathered(b, &simple, &more);
        mg_buf_str(b, negated ? ")(?s:.))" : ")");
    }
    b->failed |= simple.failed | more.failed | ahead.failed;
    mg_buf_free(&simple);
    mg_buf_free(&more);
    mg_buf_free(&ahead);
    return st;
}

/* '(' with what follows it: options have other letters, groups are remembered as atoms. */
static mg_status open_group(rewriter *r) {
    if (r->groups == (int)(sizeof r->group / sizeof *r->group)) return refuse(r, "groups nested too deep");
    r->group[r->groups++] = r->out->len;
    mg_buf_char(r->out, *r->p++);
    if (r->p == r->end || *r->p != '?') return MG_OK;
    const char *q = r->p + 1;
    while (q < r->end && (strchr("imx-", *q) && *q)) q++;
    if (q > r->p + 1 && q < r->end && (*q == ':' || *q == ')')) {
        for (q += *q == ':'; r->p < q; r->p++) mg_buf_char(r->out, *r->p == 'm' ? 's' : *r->p);
        return MG_OK;
    }
    if (r->end - r->p > 1 && !strchr(":=!><#", r->p[1])) return refuse(r, "a kind of group that is unknown here");
    do mg_buf_char(r->out, *r->p++);
    while (r->p < r->end && strchr("?<=!>:", *r->p)); /* (?<= and the like are one opening */
    return MG_OK;
}

/* {n}, {n,m}, {,m} and a '+' behind it, which repeats again in Ruby. */
static bool interval(rewriter *r) {
    const char *q = r->p + 1;
    bool        digits = false, comma = false;
    for (; q < r->end && (isdigit((unsigned char)*q) || (*q == ',' && !comma)); q++)
        *(*q == ',' ? &comma : &digits) = true;
    if (q == r->end || *q != '}' || !digits) return false;
    if (r->p[1] == ',') {
        mg_buf_str(r->out, "{0");
        r->p++;
    }
    mg_buf_add(r->out, r->p, (size_t)(q + 1 - r->p));
    r->p = q + 1;
    if (r->p < r->end && *r->p == '+') {
        mg_buf tail = { 0 };
        mg_buf_add(&tail, r->out->data + r->atom, r->out->len - r->atom);
        r->out->len = r->atom;
        mg_buf_printf(r->out, "(?:%s)+", tail.data ? tail.data : "");
        r->out->failed |= tail.failed;
        mg_buf_free(&tail);
        r->p++;
    }
    return true;
}

static mg_status escape(rewriter *r) {
    uint32_t c;
    if (r->p[1] && strchr("AzZbBGKRX123456789", r->p[1])) { /* the same in both */
        mg_buf_add(r->out, r->p, 2);
        r->p += 2;
        return MG_OK;
    }
    mg_status st = character(r, &c);
    if (!st) add_literal(r->out, c);
    return st;
}

static mg_status set_atom(rewriter *r) {
    mg_buf b = { 0 };
    bool   negated = false;
    r->p++;
    mg_status st = set_escape(r, &b, &negated);
    if (!st && b.data) mg_buf_printf(r->out, "[%s%s]", negated ? "^" : "", b.data);
    r->out->failed |= b.failed;
    mg_buf_free(&b);
    return st;
}

static mg_status step(rewriter *r) {
    char c = *r->p;
    if (c == '(') return open_group(r);
    if (c == '{' && interval(r)) return MG_OK;
    if (c == ')') {
        r->atom = r->groups ? r->group[--r->groups] : r->out->len;
        mg_buf_char(r->out, *r->p++);
        return MG_OK;
    }
    if (strchr("*+?|^$", c) && c) {
        mg_buf_char(r->out, *r->p++);
        return MG_OK;
    }
    r->atom = r->out->len;
    if (c == '[') {
        r->p++;
        return class(r, r->out);
    }
    if (c == '.') {
        mg_buf_char(r->out, *r->p++);
        return MG_OK;
    }
    if (c == '\\' && r->end - r->p < 2) return refuse(r, "a lone backslash");
    if (c == '\\') return is_set_escape(r->p[1]) ? set_atom(r) : escape(r);
    uint32_t  code;
    mg_status st = character(r, &code);
    if (!st) add_literal(r->out, code);
    return st;
}

mg_status mg_regex_rewrite(mg_buf *out, const char *pattern, size_t n, const char *name, mg_error *err) {
    rewriter  r = { .p = pattern, .end = pattern + n, .pattern = pattern, .name = name, .out = out, .err = err };
    mg_status st = MG_OK;
    mg_buf_add(out, "", 0);
    while (!st && r.p < r.end) st = step(&r);
    if (!st && out->failed) st = mg_fail(err, MG_NOMEM, "%s: no memory for a regular expression", name);
    return st;
}
