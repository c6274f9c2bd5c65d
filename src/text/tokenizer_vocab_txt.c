/* tokenizer_vocab_txt.c -- BERT's vocab.txt, one token a line, with what tokenizer_config.json says about it.
 *
 * What the classes BertTokenizer and BertJapaneseTokenizer of transformers make of the two files is said as a
 * tokenizer.json, which the one reader then reads. Japanese words: "mecab" (or "basic"), then word pieces or
 * characters; "sudachi", "jumanpp" and SentencePiece behind words are errors that name them.  A configuration without
 * mecab_kwargs means ipadic, as when those models were made (transformers before 4.40). */
#include "text/tokenizer_impl.h"

#include <stdlib.h>
#include <string.h>

static const char *setting(yyjson_val *config, const char *key, const char *fallback) {
    const char *s = yyjson_get_str(yyjson_obj_get(config, key));
    return s ? s : fallback;
}

/* "x" or {"content": "x"} */
static const char *token_setting(yyjson_val *config, const char *key, const char *fallback) {
    yyjson_val *v = yyjson_obj_get(config, key);
    return yyjson_is_obj(v) ? setting(v, "content", fallback) : setting(config, key, fallback);
}

static void quote(mg_buf *out, const char *s) { mg_json_quote(out, s, strlen(s)); }

static const char *truth(bool b) { return b ? "true" : "false"; }

/* --- the vocabulary --- */

static mg_status add_vocab(mg_buf *out, mg_map *ids, const char *text, size_t n, const char *name, mg_error *err) {
    int64_t id = 0;
    mg_buf_str(out, "\"vocab\":{");
    for (const char *p = text, *end = text + n; p < end; id++) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        size_t      len = (size_t)((stop ? stop : end) - p);
        const char *next = stop ? stop + 1 : end;
        if (len && p[len - 1] == '\r') len--;
        if (!mg_utf8_valid(p, len))
            return mg_fail(err, MG_FORMAT, "%s: line %lld is not UTF-8", name, (long long)id + 1);
        int added = mg_map_put(ids, p, len, id);
        if (added < 0) return mg_fail(err, MG_NOMEM, "%s: no memory", name);
        if (!added)
            return mg_fail(err, MG_FORMAT, "%s: line %lld has the token '%.*s' for the second time", name, (long long)id + 1,
                           (int)(len < 80 ? len : 80), p);
        if (id) mg_buf_char(out, ',');
        mg_json_quote(out, p, len);
        mg_buf_printf(out, ":%lld", (long long)id);
        p = next;
    }
    mg_buf_char(out, '}');
    return MG_OK;
}

/* --- added tokens --- */

typedef struct {
    const char *key, *fallback;
} special_row;

static const special_row specials[] = { { "unk_token", "[UNK]" },
                                        { "sep_token", "[SEP]" },
                                        { "pad_token", "[PAD]" },
                                        { "cls_token", "[CLS]" },
                                        { "mask_token", "[MASK]" } };

static void add_token(mg_buf *out, int64_t id, const char *text, yyjson_val *how, bool special) {
    mg_buf_printf(out, "%s{\"id\":%lld,\"content\":", out->data[out->len - 1] == '[' ? "" : ",", (long long)id);
    quote(out, text);
    mg_buf_printf(out,
                  ",\"single_word\":%s,\"lstrip\":%s,\"rstrip\":%s,\"normalized\":%s,\"special\":%s}",
                  truth(tok_parse_bool(how, "single_word", false)), truth(tok_parse_bool(how, "lstrip", false)),
                  truth(tok_parse_bool(how, "rstrip", false)), truth(tok_parse_bool(how, "normalized", false)),
                  truth(tok_parse_bool(how, "special", special)));
}

/* The five special tokens, and "added_tokens_decoder": {"5": {"content": ...}}, which goes before. */
static void add_added(mg_buf *out, yyjson_val *config, const mg_map *ids) {
    yyjson_val *decoder = yyjson_obj_get(config, "added_tokens_decoder"), *key, *how;
    size_t      i, n;
    int64_t     id;
    mg_buf_str(out, "\"added_tokens\":[");
    for (i = 0; i < sizeof specials / sizeof *specials; i++) {
        const char *text = token_setting(config, specials[i].key, specials[i].fallback);
        if (mg_map_get(ids, text, strlen(text), &id)) add_token(out, id, text, NULL, true);
    }
    if (yyjson_is_obj(decoder)) {
        yyjson_obj_foreach(decoder, i, n, key, how) {
            const char *text = setting(how, "content", NULL);
            char       *end;
            id = strtoll(yyjson_get_str(key), &end, 10);
            if (text && !*end && id >= 0) add_token(out, id, text, how, false);
        }
    }
    mg_buf_char(out, ']');
}

/* --- words --- */

static void add_bert_words(mg_buf *out, yyjson_val *config, bool chinese, bool lower) {
    yyjson_val *accents = yyjson_obj_get(config, "strip_accents");
    mg_buf_printf(out,
                  "\"normalizer\":{\"type\":\"BertNormalizer\",\"clean_text\":true,\"handle_chinese_chars\":%s,"
                  "\"strip_accents\":%s,\"lowercase\":%s},\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"}",
                  truth(tok_parse_bool(config, "tokenize_chinese_chars", chinese)),
                  yyjson_is_bool(accents) ? truth(yyjson_get_bool(accents)) : "null",
                  truth(tok_parse_bool(config, "do_lower_case", lower)));
}

/* The folder in "-d FOLDER"; NULL: something else is in the option. */
static char *option_folder(const char *option) {
    while (*option == ' ') option++;
    if (strncmp(option, "-d", 2)) return NULL;
    option += 2;
    while (*option == ' ') option++;
    char   quoted = *option == '"' || *option == '\'' ? *option++ : 0;
    size_t n = strcspn(option, quoted ? (char[]){ quoted, 0 } : " ");
    size_t behind = n + (quoted && option[n]);
    return n && !option[behind + strspn(option + behind, " ")] ? mg_strndup(option, n) : NULL;
}

static mg_status add_mecab_words(mg_buf *out, yyjson_val *config, bool characters, const char *name, mg_error *err) {
    yyjson_val *kwargs = yyjson_obj_get(config, "mecab_kwargs");
    const char *option = setting(kwargs, "mecab_option", "");
    char       *folder = *option ? option_folder(option) : NULL;
    if (*option && !folder)
        return mg_fail(err, MG_UNSUPPORTED, "%s: mecab_option '%.100s'; only \"-d FOLDER\" is supported", name, option);
    mg_buf_str(out, "\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"MeCab\",\"dictionary\":");
    quote(out, setting(kwargs, "mecab_dic", "ipadic"));
    mg_buf_str(out, ",\"folder\":");
    if (folder)
        quote(out, folder);
    else
        mg_buf_str(out, "null");
    mg_buf_printf(out, ",\"normalize\":%s,\"lowercase\":%s,\"characters\":%s}",
                  truth(tok_parse_bool(kwargs, "normalize_text", true)),
                  truth(tok_parse_bool(config, "do_lower_case", false)), truth(characters));
    free(folder);
    return MG_OK;
}

static mg_status add_japanese_words(mg_buf *out, yyjson_val *config, const char *name, mg_error *err) {
    const char *words = setting(config, "word_tokenizer_type", "basic");
    const char *parts = setting(config, "subword_tokenizer_type", "wordpiece");
    bool        characters = !strcmp(parts, "character");
    if ((!characters && strcmp(parts, "wordpiece") != 0) || !tok_parse_bool(config, "do_subword_tokenize", true))
        return mg_fail(err, MG_UNSUPPORTED, "%s: subword_tokenizer_type '%.60s'; wordpiece and character are supported",
                       name, parts);
    if (!strcmp(words, "mecab") && tok_parse_bool(config, "do_word_tokenize", true))
        return add_mecab_words(out, config, characters, name, err);
    if (strcmp(words, "basic") != 0 || characters || !tok_parse_bool(config, "do_word_tokenize", true))
        return mg_fail(err, MG_UNSUPPORTED,
                       "%s: word_tokenizer_type '%.60s'; mecab, and basic with word pieces, are supported", name, words);
    add_bert_words(out, config, false, false);
    return MG_OK;
}

/* --- the whole --- */

static mg_status add_post(mg_buf *out, yyjson_val *config, const mg_map *ids, const char *name, mg_error *err) {
    const char *cls = token_setting(config, "cls_token", "[CLS]"), *sep = token_setting(config, "sep_token", "[SEP]");
    int64_t     cls_id, sep_id;
    if (!mg_map_get(ids, cls, strlen(cls), &cls_id) || !mg_map_get(ids, sep, strlen(sep), &sep_id))
        return mg_fail(err, MG_FORMAT, "%s: '%.60s' or '%.60s', which stand around a text, is no token", name, cls, sep);
    mg_buf_str(out, "\"post_processor\":{\"type\":\"BertProcessing\",\"sep\":[");
    quote(out, sep);
    mg_buf_printf(out, ",%lld],\"cls\":[", (long long)sep_id);
    quote(out, cls);
    mg_buf_printf(out, ",%lld]}", (long long)cls_id);
    return MG_OK;
}

mg_status tok_parse_vocab_txt(mg_tokenizer **out, const char *text, size_t n, yyjson_val *config, const char *name,
                              mg_error *err) {
    const char *class = setting(config, "tokenizer_class", "BertTokenizer");
    bool        japanese = !strcmp(class, "BertJapaneseTokenizer") || yyjson_obj_get(config, "word_tokenizer_type");
    mg_buf      json = { 0 };
    mg_map     *ids = mg_map_new(n / 8 + 16);
    mg_status   st = ids ? MG_OK : mg_fail(err, MG_NOMEM, "%s: no memory", name);
    if (!st && !n) st = mg_fail(err, MG_FORMAT, "%s: the vocabulary is empty", name);
    mg_buf_str(&json, "{\"model\":{\"type\":\"WordPiece\",\"unk_token\":");
    quote(&json, token_setting(config, "unk_token", "[UNK]"));
    mg_buf_str(&json, ",\"continuing_subword_prefix\":\"##\",\"max_input_chars_per_word\":100,");
    if (!st) st = add_vocab(&json, ids, text, n, name, err);
    mg_buf_str(&json, "},");
    if (!st) add_added(&json, config, ids);
    mg_buf_char(&json, ',');
    if (!st && japanese) st = add_japanese_words(&json, config, name, err);
    if (!st && !japanese) add_bert_words(&json, config, true, true);
    mg_buf_char(&json, ',');
    if (!st) st = add_post(&json, config, ids, name, err);
    mg_buf_printf(&json, ",\"decoder\":{\"type\":\"WordPiece\",\"prefix\":\"##\",\"cleanup\":%s}}", truth(!japanese));
    if (!st && json.failed) st = mg_fail(err, MG_NOMEM, "%s: no memory", name);
    if (!st) st = mg_tokenizer_parse_json(out, json.data, json.len, name, err);
    mg_map_free(ids);
    mg_buf_free(&json);
    return st;
}
