/* template_parts.h -- what the files of the template engine share; nothing outside includes it.
 *
 * Source text -> tokens (template_lex.c) -> a tree (template_parse.c) -> text (template_eval.c), over values
 * (template_value.c, template_string.c) with named functions in tables of rows (template_filter.c,
 * template_test.c, template_method.c, template_global.c).  Tokens and tree live in the arena of the template,
 * everything that a rendering makes lives in an arena that ends with it; nothing is freed one by one.
 *
 * Every byte of a string carries marks: did a user write it (it came out of the context's messages), was it
 * written within {% generation %}.  Marks travel through slices, joins, replacements and escapes, so that the
 * rendered text knows of each byte whose it is, without placeholders and without searching. */
#ifndef MG_TEXT_TEMPLATE_PARTS_H
#define MG_TEXT_TEMPLATE_PARTS_H

#include "text/template.h"

enum {
    TPL_MAX_SOURCE = 4 << 20,
    TPL_MAX_NESTING = 64,     /* brackets and blocks in each other, values in values */
    TPL_MAX_MACRO_DEPTH = 64, /* macros that call macros */
    TPL_MAX_DEPTH = 1000,     /* all recursion of one rendering: keeps the C stack below 1 MiB */
    TPL_MAX_RANGE = 10000,
    TPL_MAX_TEXT = 64 << 20, /* bytes of one string, and so of the output */
    TPL_FUEL = 1000000,
};
#define TPL_MAX_ARENA ((size_t)512 << 20)

/* ---- memory */
typedef struct tpl_chunk tpl_chunk;
typedef struct tpl_arena {
    tpl_chunk *chunk; /* newest first */
    size_t     used, limit;
} tpl_arena;
void *mg_tpl_alloc(tpl_arena *a, size_t count, size_t size); /* zeroed; NULL: no memory or over the limit */
void  mg_tpl_arena_free(tpl_arena *a);

/* ---- strings */
enum { TPL_USER = MG_MARK_USER, TPL_ASSISTANT = MG_MARK_ASSISTANT, TPL_GENERATED = 4 };

typedef struct tpl_str {
    const char    *s;
    size_t         n;
    const uint8_t *mark; /* [n] TPL_ bits of each byte; NULL: every byte has `all` */
    uint8_t        all;
    bool           safe; /* Markup: joining it with a plain string escapes that one for HTML */
} tpl_str;

/* ---- values */
#define TPL_KINDS(K)                                                                                             \
    K(UNDEFINED)                                                                                                 \
    K(NONE) K(BOOL) K(INT) K(FLOAT) K(STRING) K(LIST) K(TUPLE) K(ITERATOR) K(VIEW) K(RANGE) K(DICT) K(NAMESPACE) \
        K(LOOP) K(MACRO) K(FUNCTION)
typedef enum tpl_kind {
#define K(name) TPL_##name,
    TPL_KINDS(K)
#undef K
        TPL_N_KINDS
} tpl_kind;

typedef struct tpl_list  tpl_list;
typedef struct tpl_dict  tpl_dict;
typedef struct tpl_loop  tpl_loop;
typedef struct tpl_macro tpl_macro;
typedef struct tpl_bound tpl_bound;
typedef struct tpl_node  tpl_node;
typedef struct tpl_eval  tpl_eval;

typedef struct tpl_value {
    tpl_kind kind;
    union {
        int64_t          i; /* BOOL, INT */
        double           f;
        tpl_str          s;    /* STRING; UNDEFINED: the name that was looked for, s.s NULL: argument not given */
        tpl_list        *list; /* LIST, TUPLE, ITERATOR, VIEW, RANGE */
        tpl_dict        *dict; /* DICT, NAMESPACE */
        tpl_loop        *loop;
        const tpl_macro *macro;
        const tpl_bound *bound; /* FUNCTION */
    };
} tpl_value;

/* Lists and dictionaries that came from JSON are turned into values when first touched, one level at a time. */
struct tpl_list {
    tpl_value  *item;
    size_t      n, cap;
    yyjson_val *json;  /* not yet turned into items */
    uint8_t     mark;  /* of the strings in it */
    bool        spent; /* an ITERATOR that was walked over */
};
struct tpl_dict {
    tpl_value  *key, *value;
    size_t      n, cap, cap_value;
    yyjson_val *json;
    uint8_t     mark;
};
struct tpl_loop {
    const tpl_value *item;
    size_t           n, index;
    int64_t          depth;
    tpl_value        last_changed;
    bool             has_changed;
};

typedef struct tpl_args {
    const tpl_value *pos;
    size_t           n;
    const tpl_str   *name; /* [n_named] */
    const tpl_value *named;
    size_t           n_named;
} tpl_args;

/* Filters, tests, methods and global functions are rows of this kind.  `params` names the parameters, separated by
 * commas, '?' behind one that may be missing (it then arrives as UNDEFINED without a name); at most
 * TPL_MAX_PARAMS. NULL: the function looks at `all` itself. */
enum { TPL_MAX_PARAMS = 6 };
typedef tpl_value (*tpl_fn)(tpl_eval *ev, tpl_value self, const tpl_value *arg, const tpl_args *all);
typedef struct tpl_row {
    const char *name, *params;
    tpl_fn      fn;
} tpl_row;
struct tpl_bound { /* a function together with the value that it is a method of */
    const tpl_row *row;
    tpl_value      self;
};
const tpl_row *mg_tpl_filter(tpl_str name);
const tpl_row *mg_tpl_test(tpl_str name);
const tpl_row *mg_tpl_method(tpl_kind kind, tpl_str name);
const tpl_row *mg_tpl_global(tpl_str name);
const tpl_row *mg_tpl_find_row(const tpl_row *rows, size_t n, tpl_str name);

/* ---- tokens and tree */
typedef enum tpl_token_kind {
    TOK_END,
    TOK_DATA,
    TOK_PRINT_BEGIN,
    TOK_PRINT_END,
    TOK_BLOCK_BEGIN,
    TOK_BLOCK_END,
    TOK_NAME,
    TOK_STRING,
    TOK_INT,
    TOK_FLOAT,
    TOK_OP,
} tpl_token_kind;
typedef struct tpl_token {
    tpl_token_kind kind;
    int            line;
    tpl_str        text; /* DATA, NAME, STRING (decoded), OP */
    int64_t        i;
    double         f;
} tpl_token;

/* Node kinds are in template_nodes.def, which says what each keeps in a, b, c, kids and named. */
typedef enum tpl_node_kind {
#define EXPR(name) N_##name,
#define STMT(name) N_##name,
#include "text/template_nodes.def"
#undef EXPR
#undef STMT
    N_COUNT
} tpl_node_kind;
struct tpl_node {
    tpl_node_kind kind;
    int           line;
    tpl_value     value;
    tpl_str       text;
    tpl_node     *a, *b, *c;
    tpl_node     *kids, *named; /* first of a list */
    tpl_node     *next;
};
struct tpl_macro {
    const tpl_node   *node;
    struct tpl_scope *scope; /* where it was defined */
};

struct mg_template {
    tpl_arena arena;
    char     *name;
    tpl_node *body;
    bool      has_generation_tags;
};

mg_status mg_tpl_lex(tpl_arena *a, const char *text, size_t n, const char *name, tpl_token **out, mg_error *err);
mg_status mg_tpl_parse(mg_template *t, const tpl_token *token, mg_error *err);

/* ---- evaluation */
typedef struct tpl_scope {
    struct tpl_scope *parent;
    tpl_str          *name;
    tpl_value        *value;
    size_t            n, cap, cap_value;
} tpl_scope;

/* A string being written. */
typedef struct tpl_out {
    char    *s;
    uint8_t *mark;
    size_t   n, cap;
} tpl_out;

struct tpl_eval {
    tpl_arena          arena;
    const mg_template *tpl;
    yyjson_val        *context;
    tpl_scope         *scope;
    tpl_out           *out;
    mg_rendered       *rendered;
    mg_error          *err;
    mg_status          status; /* sticky: once set everything returns at once */
    int64_t            fuel;
    int                depth, macro_depth, capture_depth, line;
};

/* Set the error, return UNDEFINED.  The first error stays. */
tpl_value mg_tpl_fail(tpl_eval *ev, const char *format, ...) __attribute__((format(printf, 2, 3)));
tpl_value mg_tpl_no_memory(tpl_eval *ev);
/* Use up one evaluation and one more for each KiB that is looked at; false when the fuel is gone. */
bool mg_tpl_burn(tpl_eval *ev, size_t bytes);

tpl_value mg_tpl_call_row(tpl_eval *ev, const tpl_row *row, tpl_value self, const tpl_args *args);
tpl_value mg_tpl_call_value(tpl_eval *ev, tpl_value f, const tpl_args *args);

/* ---- template_value.c */
static inline tpl_value tpl_none(void) { return (tpl_value){ .kind = TPL_NONE }; }
static inline tpl_value tpl_bool(bool b) { return (tpl_value){ .kind = TPL_BOOL, .i = b }; }
static inline tpl_value tpl_int(int64_t i) { return (tpl_value){ .kind = TPL_INT, .i = i }; }
static inline tpl_value tpl_float(double f) { return (tpl_value){ .kind = TPL_FLOAT, .f = f }; }
static inline tpl_value tpl_string(tpl_str s) { return (tpl_value){ .kind = TPL_STRING, .s = s }; }
static inline tpl_value tpl_undefined(tpl_str name) { return (tpl_value){ .kind = TPL_UNDEFINED, .s = name }; }
static inline tpl_value tpl_missing(void) { return (tpl_value){ .kind = TPL_UNDEFINED }; }
static inline bool      tpl_given(tpl_value v) { return v.kind != TPL_UNDEFINED || v.s.s; }
static inline tpl_value tpl_listy(tpl_kind kind, tpl_list *l) { return (tpl_value){ .kind = kind, .list = l }; }
static inline bool      tpl_is_number(tpl_value v) {
         return v.kind == TPL_BOOL || v.kind == TPL_INT || v.kind == TPL_FLOAT;
}
static inline bool tpl_is_sequence(tpl_value v) {
    return v.kind == TPL_LIST || v.kind == TPL_TUPLE || v.kind == TPL_RANGE;
}
static inline double tpl_number(tpl_value v) { return v.kind == TPL_FLOAT ? v.f : (double)v.i; }

const char      *mg_tpl_kind_name(tpl_value v);
tpl_value        mg_tpl_from_json(tpl_eval *ev, yyjson_val *v, uint8_t mark);
tpl_list        *mg_tpl_list_new(tpl_eval *ev);
bool             mg_tpl_list_add(tpl_eval *ev, tpl_list *l, tpl_value v);
bool             mg_tpl_list_ready(tpl_eval *ev, tpl_list *l); /* items are there */
tpl_dict        *mg_tpl_dict_new(tpl_eval *ev);
bool             mg_tpl_dict_ready(tpl_eval *ev, tpl_dict *d);
bool             mg_tpl_dict_put(tpl_eval *ev, tpl_dict *d, tpl_value key, tpl_value v);
const tpl_value *mg_tpl_dict_get(tpl_eval *ev, tpl_dict *d, tpl_value key);
tpl_value        mg_tpl_dict_items(tpl_eval *ev, tpl_dict *d, tpl_kind kind);
tpl_value        mg_tpl_dict_column(tpl_eval *ev, tpl_dict *d, bool keys, tpl_kind kind);

bool      mg_tpl_truth(tpl_eval *ev, tpl_value v);
bool      mg_tpl_equal(tpl_eval *ev, tpl_value a, tpl_value b);
int       mg_tpl_order(tpl_eval *ev, tpl_value a, tpl_value b); /* <0, 0, >0; fails for what has no order */
bool      mg_tpl_contains(tpl_eval *ev, tpl_value box, tpl_value v);
tpl_value mg_tpl_length(tpl_eval *ev, tpl_value v);
/* What a for loop walks over, as a list; spends iterators.  NULL: failed. */
tpl_list *mg_tpl_iterate(tpl_eval *ev, tpl_value v);
tpl_value mg_tpl_attr(tpl_eval *ev, tpl_value v, tpl_str name);
tpl_value mg_tpl_item(tpl_eval *ev, tpl_value v, tpl_value key);
tpl_value mg_tpl_slice(tpl_eval *ev, tpl_value v, const tpl_value bound[3]);
/* A dotted path like "function.name" or a number, as filters take it. */
tpl_value mg_tpl_path(tpl_eval *ev, tpl_value v, tpl_value path);

/* ---- template_string.c */
tpl_str            mg_tpl_text(const char *literal); /* template text, borrowed */
static inline bool tpl_same(tpl_str a, const char *b, size_t n) {
    return a.n == n && (n == 0 || !__builtin_memcmp(a.s, b, n));
}
#define TPL_IS(str, literal) tpl_same(str, literal, sizeof literal - 1)
tpl_str   mg_tpl_sub(tpl_str s, size_t begin, size_t end); /* by bytes */
bool      mg_tpl_add(tpl_eval *ev, tpl_out *o, tpl_str s);
bool      mg_tpl_add_text(tpl_eval *ev, tpl_out *o, const char *literal);
bool      mg_tpl_add_code(tpl_eval *ev, tpl_out *o, int32_t code, uint8_t mark);
tpl_str   mg_tpl_done(tpl_eval *ev, tpl_out *o);
tpl_value mg_tpl_join2(tpl_eval *ev, tpl_str a, tpl_str b); /* with the rules of Markup */
tpl_str   mg_tpl_escape(tpl_eval *ev, tpl_str s);
int32_t   mg_tpl_code(tpl_str s, size_t *at);           /* code point at *at, moves on */
size_t    mg_tpl_count(tpl_str s);                      /* code points */
size_t    mg_tpl_offset(tpl_str s, size_t code_points); /* bytes of the first so many */
bool      mg_tpl_is_space(int32_t code);
enum { TPL_LEFT = 1, TPL_RIGHT = 2 };
tpl_str mg_tpl_strip(tpl_str s, unsigned sides, const tpl_str *chars); /* chars NULL: white space */
size_t  mg_tpl_find(tpl_str s, tpl_str what, size_t from);             /* SIZE_MAX: not there */
/* str() and repr() of Python, appended. */
bool    mg_tpl_print(tpl_eval *ev, tpl_out *o, tpl_value v);
bool    mg_tpl_repr(tpl_eval *ev, tpl_out *o, tpl_value v, int depth);
tpl_str mg_tpl_str(tpl_eval *ev, tpl_value v);
typedef struct tpl_json_style {
    bool    ascii, sort_keys, pretty;
    tpl_str indent, comma, colon;
} tpl_json_style;
bool mg_tpl_json(tpl_eval *ev, tpl_out *o, tpl_value v, const tpl_json_style *style, int depth);
/* Python's "%" on strings: %s %d %i %r %f %.Nf %%. */
tpl_value mg_tpl_percent(tpl_eval *ev, tpl_str format, const tpl_value *arg, size_t n);
/* Each code point through utf8proc's simple mapping. */
tpl_str   mg_tpl_map_case(tpl_eval *ev, tpl_str s, int32_t (*map)(int32_t));
tpl_value mg_tpl_replace(tpl_eval *ev, tpl_str s, tpl_str old, tpl_str new_text, int64_t count);

#endif
