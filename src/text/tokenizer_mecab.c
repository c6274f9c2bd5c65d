/* tokenizer_mecab.c -- the words of Japanese BERT models, as transformers' BertJapaneseTokenizer cuts them.
 *
 * {"type": "MeCab", "dictionary": "ipadic", "folder": null, "normalize": true, "lowercase": false,
 * "characters": false}: no step of Hugging Face tokenizers, which have nothing like it, but of this program's own
 * tokenizer.json; it stands for what tokenizer_config.json of such a model says (tokenizer_vocab_txt.c).
 * "normalize" is NFKC as Python has it, in which U+32FF is two characters (Hugging Face's own NFKC is older).
 * Words are MeCab's; white space that Python's str.split knows parts them once more, as in transformers' WordPiece.
 * "characters": each character of a word is a piece of its own. */
#include "text/tokenizer_impl.h"

#include <stdlib.h>
#include <string.h>

/* str.isspace() of Python: white space and the four separators of ASCII. */
static bool python_space(uint32_t c) { return mg_char_is_space(c) || (c >= 0x1c && c <= 0x1f); }

/* Only ipadic comes with the program; another dictionary must be pointed at. */
static mg_status find_folder(tok_stage *s, yyjson_val *config, const char *name, mg_error *err) {
    const char *wanted = yyjson_get_str(yyjson_obj_get(config, "dictionary"));
    const char *folder = yyjson_get_str(yyjson_obj_get(config, "folder")), *named = getenv("MIGAKI_MECAB_DICT");
    if (!wanted) wanted = "ipadic";
    if (!folder && named && *named) folder = named;
    if (!folder && !strcmp(wanted, "ipadic")) folder = mg_mecab_folder();
    if (!folder)
        return mg_fail(err, MG_LIBRARY,
                       "%s: its words are those of MeCab's dictionary '%.60s', which is not here; install it and name "
                       "its folder (with sys.dic) in MIGAKI_MECAB_DICT",
                       name, wanted);
    s->pattern_len = strlen(folder);
    s->pattern = mg_strdup(folder);
    return s->pattern ? MG_OK : mg_fail(err, MG_NOMEM, "%s: no memory", name);
}

/* The dictionary is opened once here, so that what is wrong with it is said when the model is opened. */
static mg_status parse(tok_stage *s, yyjson_val *config, const char *name, mg_error *err) {
    mg_mecab *m = NULL;
    s->lower = tok_parse_bool(config, "lowercase", false);
    s->clean = tok_parse_bool(config, "normalize", true);
    s->single = tok_parse_bool(config, "characters", false);
    mg_status st = find_folder(s, config, name, err);
    if (!st) st = mg_mecab_open(&m, s->pattern, err);
    mg_mecab_close(m);
    return st;
}

/* Python's str.lower: a capital sigma at the end of a word is the final one. */
static void lower_word(const char *word, size_t n, mg_buf *out) {
    char   put[4];
    size_t len;
    bool   cased = false;
    out->len = 0;
    for (size_t i = 0; i < n; i += len) {
        uint32_t c, next = 0;
        len = mg_utf8_next(word + i, n - i, &c);
        if (i + len < n) mg_utf8_next(word + i + len, n - i - len, &next);
        if (c == 0x130)
            mg_buf_str(out, "i\xcc\x87");
        else if (c == 0x3a3)
            mg_buf_add(out, put, mg_utf8_put(put, cased && !mg_char_is_cased(next) ? 0x3c2 : 0x3c3));
        else
            mg_buf_add(out, put, mg_utf8_put(put, mg_char_lower(c)));
        cased = mg_char_is_cased(c);
    }
}

static mg_status pieces(const tok_stage *s, mg_tok_work *w, int stage, const char *word, size_t n, bool first) {
    mg_status st = MG_OK;
    size_t    begin = 0, len;
    for (size_t i = 0; i < n && !st; i += len) {
        uint32_t c;
        len = mg_utf8_next(word + i, n - i, &c);
        bool space = !s->single && python_space(c);
        if (!s->single && !space) continue;
        if (i > begin) st = tok_pretokenize_from(w, stage + 1, word + begin, i - begin, first && !begin);
        begin = space ? i + len : i;
    }
    return st || begin == n ? st : tok_pretokenize_from(w, stage + 1, word + begin, n - begin, first && !begin);
}

static mg_status split(const tok_stage *s, mg_tok_work *w, int stage, const char *text, size_t n, bool first) {
    mg_spans  words = { 0 };
    mg_buf    normal = { 0 };
    mg_status st = w->mecab ? MG_OK : mg_mecab_open(&w->mecab, s->pattern, w->err);
    if (!st && s->clean && !mg_is_normalized(MG_NFKC, text, n)) {
        if (!mg_normalize_latest(MG_NFKC, text, n, &normal)) st = tok_no_memory(w->t, w->err);
        text = normal.data;
        n = normal.len;
    }
    if (!st) st = mg_mecab_split(w->mecab, text, n, &words, w->err);
    for (size_t i = 0; i < words.n && !st; i++) {
        const char *word = text + words.span[i].at;
        size_t      len = words.span[i].len;
        if (s->lower) {
            lower_word(word, len, &w->stage[stage]);
            word = w->stage[stage].data;
            len = w->stage[stage].len;
            if (w->stage[stage].failed) st = tok_no_memory(w->t, w->err);
        }
        if (!st && len) st = pieces(s, w, stage, word, len, first && i == 0);
    }
    mg_spans_free(&words);
    mg_buf_free(&normal);
    return st;
}

const tok_stage_row tok_row_mecab = { .type = "MeCab", .parse = parse, .split = split };
