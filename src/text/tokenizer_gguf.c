/* tokenizer_gguf.c -- a tokenizer from what a GGUF file keeps of it.
 *
 * The file has tokens, scores or merges, and a name ("pre") for how the text is
 * cut; normalizer, regular expressions, decoder and post-processor are lost.
 * The table below gives them back as they stand in the tokenizer.json of the
 * models that the name is for.  Two more things that the conversion to GGUF changes are
 * undone: user-defined runs of spaces, written with blanks, are spelled
 * with U+2581 again, and tokens that are not normal get the score 0, which
 * they have in the SentencePiece file (the conversion writes -1000). */
#include "text/tokenizer_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *pre;        /* tokenizer.ggml.pre */
    const char *normalizer; /* JSON */
    const char *words;      /* JSON of the pre-tokenizers in front of ByteLevel, with a comma behind */
    bool        gpt2_regex; /* ByteLevel cuts words itself */
    bool        ignore_merges;
    bool        adds_bos; /* when the file does not say */
} pre_row;

#define ISOLATED(regex) \
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" regex "\"},\"behavior\":\"Isolated\",\"invert\":false},"
#define DIGITS "{\"type\":\"Digits\",\"individual_digits\":true},"
#define CL100K(digits)                                                                              \
    ISOLATED("(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}" digits \
             "| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+")
#define O200K                                                                                                     \
    ISOLATED(                                                                                                     \
        "[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?[\\\\p{Lu}\\\\p{Lt}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]*[\\\\p{Ll}\\\\p{Lm}\\\\p{"  \
        "Lo}\\\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"                                                              \
        "|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?[\\\\p{Lu}\\\\p{Lt}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]+[\\\\p{Ll}\\\\p{Lm}\\\\p{" \
        "Lo}\\\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"                                                              \
        "|\\\\p{N}{1,3}| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n/]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+")
#define TEKKEN                                                                                                   \
    ISOLATED("[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?[\\\\p{Lu}\\\\p{Lt}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]*[\\\\p{Ll}\\\\p{Lm}"  \
             "\\\\p{Lo}\\\\p{M}]+"                                                                               \
             "|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?[\\\\p{Lu}\\\\p{Lt}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]+[\\\\p{Ll}\\\\p{Lm}" \
             "\\\\p{Lo}\\\\p{M}]*"                                                                               \
             "|\\\\p{N}| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n/]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+")
#define NFC "{\"type\":\"NFC\"}"

static const pre_row pre_rows[] = {
    { .pre = "gpt-2", .gpt2_regex = true },
    { .pre = "default", .gpt2_regex = true },
    { .pre = "phi-2", .gpt2_regex = true },
    { .pre = "jais", .gpt2_regex = true },
    { .pre = "mpt", .gpt2_regex = true },
    { .pre = "olmo", .normalizer = NFC, .gpt2_regex = true },
    { .pre = "smollm", .words = DIGITS, .gpt2_regex = true },
    { .pre = "starcoder", .words = DIGITS, .gpt2_regex = true },
    { .pre = "refact", .words = DIGITS, .gpt2_regex = true },
    { .pre = "codeshell", .words = DIGITS, .gpt2_regex = true },
    { .pre = "exaone", .normalizer = NFC, .words = DIGITS, .gpt2_regex = true },
    { .pre = "command-r", .normalizer = NFC, .words = DIGITS, .gpt2_regex = true, .adds_bos = true },
    { .pre = "qwen2", .normalizer = NFC, .words = CL100K("") },
    { .pre = "stablelm2", .normalizer = NFC, .words = CL100K("") },
    { .pre = "deepseek-r1-qwen", .normalizer = NFC, .words = CL100K(""), .adds_bos = true },
    { .pre = "llama-bpe", .words = CL100K("{1,3}"), .ignore_merges = true, .adds_bos = true },
    { .pre = "llama-v3", .words = CL100K("{1,3}"), .ignore_merges = true, .adds_bos = true },
    { .pre = "llama3", .words = CL100K("{1,3}"), .ignore_merges = true, .adds_bos = true },
    { .pre = "dbrx", .words = CL100K("{1,3}") },
    { .pre = "smaug-bpe", .words = CL100K("{1,3}"), .ignore_merges = true },
    { .pre = "gpt-4o", .words = O200K },
    { .pre = "llama4", .words = O200K, .adds_bos = true },
    { .pre = "tekken", .words = TEKKEN, .ignore_merges = true, .adds_bos = true },
};

static const pre_row *find_pre(const char *pre) {
    for (size_t i = 0; i < sizeof pre_rows / sizeof *pre_rows; i++)
        if (!strcmp(pre_rows[i].pre, pre)) return &pre_rows[i];
    return NULL;
}

/* --- the way back: which row is this? --- */

/* One line a step: its type and what changes its result, without what only moves offsets. */
static void describe(yyjson_val *config, mg_buf *out) {
    static const char *const keys[] = { "pattern", "behavior", "invert", "individual_digits", "prepend", "content" };
    yyjson_val              *list = yyjson_obj_get(config, "pretokenizers"), *item;
    if (!list) list = yyjson_obj_get(config, "normalizers");
    size_t i, n;
    yyjson_arr_foreach(list, i, n, item) describe(item, out);
    if (list || !yyjson_is_obj(config)) return;
    const char *type = yyjson_get_str(yyjson_obj_get(config, "type"));
    mg_buf_str(out, type ? type : "");
    for (i = 0; i < sizeof keys / sizeof *keys; i++) {
        char *text = yyjson_val_write(yyjson_obj_get(config, keys[i]), YYJSON_WRITE_NOFLAG, NULL);
        mg_buf_printf(out, " %s=", keys[i]);
        mg_buf_str(out, text ? text : "");
        free(text);
    }
    mg_buf_printf(out, " prefix=%d regex=%d\n", tok_parse_bool(config, "add_prefix_space", true),
                  tok_parse_bool(config, "use_regex", true));
}

static bool describe_text(const char *json, mg_buf *out) {
    mg_json  j = { 0 };
    mg_error err;
    if (!json) return true;
    bool ok = !mg_json_parse(&j, json, strlen(json), "component", &err);
    if (ok) describe(j.root, out);
    mg_json_free(&j);
    return ok && !out->failed;
}

static void row_pretokenizer(const pre_row *row, mg_buf *b) {
    mg_buf_printf(b, "{\"type\":\"Sequence\",\"pretokenizers\":[%s", row->words ? row->words : "");
    mg_buf_printf(b,
                  "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":%s}]}",
                  row->gpt2_regex ? "true" : "false");
}

static bool row_is(const pre_row *row, const mg_buf *wanted) {
    mg_buf json = { 0 }, got = { 0 };
    row_pretokenizer(row, &json);
    bool same = !json.failed && describe_text(row->normalizer, &got);
    mg_buf_str(&got, "|");
    same = same && describe_text(json.data, &got) && got.len == wanted->len &&
           !memcmp(got.data, wanted->data, got.len);
    mg_buf_free(&json);
    mg_buf_free(&got);
    return same;
}

const char *tok_gguf_pre(const mg_tokenizer *t, bool ignore_merges) {
    mg_buf         wanted = { 0 };
    const pre_row *found = NULL;
    bool           ok = describe_text(t->normalizer.json, &wanted);
    mg_buf_str(&wanted, "|");
    ok = ok && describe_text(t->pretokenizer.json, &wanted);
    for (size_t i = 0; ok && !found && i < sizeof pre_rows / sizeof *pre_rows; i++)
        if (pre_rows[i].ignore_merges == ignore_merges && row_is(&pre_rows[i], &wanted)) found = &pre_rows[i];
    mg_buf_free(&wanted);
    return found ? found->pre : NULL;
}

static bool has_control_type(const mg_gguf_vocab *g, size_t id, int32_t type) {
    return g->type && g->type[id] == type;
}

/* --- vocabulary --- */

/* How a token of the file is spelled in the tokenizer. */
typedef void (*spelling)(const mg_gguf_vocab *g, size_t id, mg_buf *out);

static void as_it_is(const mg_gguf_vocab *g, size_t id, mg_buf *out) {
    mg_buf_add(out, g->token[id], g->token_len[id]);
}

/* A user's "   " becomes the same number of U+2581. */
static void with_marks(const mg_gguf_vocab *g, size_t id, mg_buf *out) {
    bool blank = has_control_type(g, id, TOK_GGUF_USER) && g->token_len[id];
    for (size_t i = 0; i < g->token_len[id]; i++) blank &= g->token[id][i] == ' ';
    if (!blank) as_it_is(g, id, out);
    for (size_t i = 0; blank && i < g->token_len[id]; i++) mg_buf_str(out, TOK_SPACE_MARK);
}

/* U+2581 goes, and what lacks it continues a word, but for "[CLS]" and its like. */
static void with_sharps(const mg_gguf_vocab *g, size_t id, mg_buf *out) {
    const char *s = g->token[id];
    size_t      n = g->token_len[id];
    bool        bracketed = n > 1 && s[0] == '[' && s[n - 1] == ']', begins = n > 3 && !memcmp(s, TOK_SPACE_MARK, 3);
    if (!bracketed && !begins) mg_buf_str(out, "##");
    mg_buf_add(out, s + (begins ? 3 : 0), n - (begins ? 3 : 0));
}

/* Rows that pad the embedding are no tokens: "[PAD151935]". */
static bool is_padding(const mg_gguf_vocab *g, size_t id) {
    char text[32];
    int  n = snprintf(text, sizeof text, "[PAD%zu]", id);
    return has_control_type(g, id, TOK_GGUF_UNUSED) && g->token_len[id] == (size_t)n &&
           !memcmp(g->token[id], text, (size_t)n);
}

static mg_status fill_vocab(mg_tokenizer *t, const mg_gguf_vocab *g, spelling spell, bool drop_unused, mg_error *err) {
    size_t bytes = 0;
    mg_buf text = { 0 };
    if (!g->n) return mg_fail(err, MG_FORMAT, "%s: the vocabulary is empty", t->name);
    for (size_t i = 0; i < g->n; i++)
        if (!mg_size_add(bytes, g->token_len[i], &bytes))
            return mg_fail(err, MG_FORMAT, "%s: tokens too long", t->name);
    mg_status st = tok_vocab_reserve(&t->vocab, g->n, bytes, t->name, err);
    for (size_t i = 0; i < g->n && !st; i++) {
        if (is_padding(g, i) || (drop_unused && has_control_type(g, i, TOK_GGUF_UNUSED))) continue;
        text.len = 0;
        spell(g, i, &text);
        st = text.failed ? tok_no_memory(t, err)
                         : tok_vocab_add(&t->vocab, (int32_t)i, text.data ? text.data : "", text.len, t->name, err);
    }
    mg_buf_free(&text);
    if (!st && !t->vocab.n) st = mg_fail(err, MG_FORMAT, "%s: the vocabulary is empty", t->name);
    t->model_tokens = t->vocab.n;
    t->outside = mg_calloc(t->vocab.n, 1);
    return st || t->outside ? st : tok_no_memory(t, err);
}

/* User-defined tokens are plain text of the model, but these steer it. */
static bool steers(const tok_added *a) {
    static const char *const names[] = { "<start_of_image>", "<end_of_image>", "<image_soft_token>",
                                         "<start_of_turn>", "<end_of_turn>" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (a->len == strlen(names[i]) && !memcmp(a->text, names[i], a->len)) return true;
    return false;
}

static mg_status add_tokens(mg_tokenizer *t, const mg_gguf_vocab *g, mg_error *err) {
    mg_status st = MG_OK;
    for (size_t i = 0; g->type && i < g->n && !st; i++) {
        if (g->type[i] < TOK_GGUF_UNKNOWN || g->type[i] > TOK_GGUF_USER || i >= t->vocab.n || !t->vocab.text[i]) continue;
        tok_added a = { .id = (int32_t)i, .text = t->vocab.text[i], .len = t->vocab.len[i], .special = true };
        if (g->type[i] == TOK_GGUF_USER) a.special = steers(&a);
        st = tok_add(t, a, err);
    }
    return st;
}

static mg_status check_id(const mg_tokenizer *t, const char *what, int32_t id, mg_error *err) {
    if (id >= -1 && (id < 0 || mg_tokenizer_token(t, id, NULL))) return MG_OK;
    return mg_fail(err, MG_FORMAT, "%s: the %s token has the id %d, which no token has", t->name, what, (int)id);
}

static mg_status set_ids(mg_tokenizer *t, const mg_gguf_vocab *g, mg_error *err) {
    mg_status st = check_id(t, "BOS", g->bos, err);
    if (!st) st = check_id(t, "EOS", g->eos, err);
    if (!st) st = check_id(t, "padding", g->pad, err);
    if (!st) st = check_id(t, "unknown", g->unk, err);
    if (st) return st;
    t->bos = g->bos;
    t->eos = g->eos;
    t->pad = g->pad;
    t->unk = g->unk;
    return MG_OK;
}

/* --- components --- */

mg_status tok_set_components_text(mg_tokenizer *t, const char *json, mg_error *err) {
    mg_json   j = { 0 };
    mg_status st = mg_json_parse(&j, json, strlen(json), t->name, err);
    if (!st)
        st = tok_set_components(t, yyjson_obj_get(j.root, "normalizer"), yyjson_obj_get(j.root, "pre_tokenizer"),
                                yyjson_obj_get(j.root, "decoder"), err);
    mg_json_free(&j);
    return st;
}

static mg_status byte_level_components(mg_tokenizer *t, const pre_row *row, mg_error *err) {
    mg_buf b = { 0 };
    mg_buf_printf(&b, "{\"normalizer\":%s,\"pre_tokenizer\":", row->normalizer ? row->normalizer : "null");
    row_pretokenizer(row, &b);
    mg_buf_str(&b, ",\"decoder\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"trim_offsets\":true,\"use_"
                   "regex\":true}}");
    mg_status st = b.failed ? tok_no_memory(t, err) : tok_set_components_text(t, b.data, err);
    mg_buf_free(&b);
    return st;
}

static mg_status build_byte_level(mg_tokenizer *t, const mg_gguf_vocab *g, bool *adds_bos, mg_error *err) {
    const pre_row *row = find_pre(g->pre ? g->pre : "default");
    if (!row)
        return mg_fail(
            err, MG_UNSUPPORTED,
            "%s: how '%.60s' cuts text (tokenizer.ggml.pre) is not known here; use the model's tokenizer.json",
            t->name, g->pre);
    if (!g->n_merges) return mg_fail(err, MG_FORMAT, "%s: a byte-level tokenizer without merges", t->name);
    *adds_bos = row->adds_bos;
    t->pre = mg_strdup(row->pre);
    if (!t->pre) return tok_no_memory(t, err);
    mg_status st = tok_bpe_from_merges(t, g->merge, g->merge_len, g->n_merges, row->ignore_merges, err);
    return st ? st : byte_level_components(t, row, err);
}

/* With bytes for what no token covers, when all of them are there. */
static mg_status build_unigram(mg_tokenizer *t, const mg_gguf_vocab *g, bool *adds_bos, mg_error *err) {
    *adds_bos = false;
    if (!g->score) return mg_fail(err, MG_FORMAT, "%s: a Unigram tokenizer without scores", t->name);
    int32_t unk = g->unk >= 0 && mg_tokenizer_token(t, g->unk, NULL) ? g->unk : mg_tokenizer_id(t, "<unk>");
    bool    bytes = true;
    for (int b = 0; b < 256 && bytes; b++) {
        char text[8];
        snprintf(text, sizeof text, "<0x%02X>", (unsigned)b);
        bytes = mg_tokenizer_id(t, text) >= 0;
    }
    mg_status     st = tok_unigram_from_scores(t, g->score, unk, bytes, NULL, err);
    tok_spm_style style = { .prefix = g->add_space_prefix != 0,
                            .legacy = true,
                            .squeeze = g->remove_extra_whitespaces > 0,
                            .charsmap = g->charsmap,
                            .charsmap_bytes = g->charsmap_bytes };
    return st ? st : tok_set_spm_components(t, style, err);
}

static bool has_capitals(const mg_tokenizer *t) {
    for (size_t id = 0; id < t->vocab.n; id++)
        for (size_t i = 0; t->vocab.text[id] && t->vocab.text[id][0] != '[' && i < t->vocab.len[id]; i++)
            if (t->vocab.text[id][i] >= 'A' && t->vocab.text[id][i] <= 'Z') return true;
    return false;
}

/* The file does not say whether text is lower-cased: a vocabulary without capitals wants that. */
static mg_status build_wordpiece(mg_tokenizer *t, const mg_gguf_vocab *g, bool *adds_bos, mg_error *err) {
    mg_buf b = { 0 };
    (void)g;
    *adds_bos = true;
    if (t->bos < 0) t->bos = mg_tokenizer_id(t, "[CLS]");
    if (t->eos < 0) t->eos = mg_tokenizer_id(t, "[SEP]");
    if (t->pad < 0) t->pad = mg_tokenizer_id(t, "[PAD]");
    mg_status st = tok_wordpiece_over_vocab(t, t->unk >= 0 ? t->unk : mg_tokenizer_id(t, "[UNK]"), err);
    mg_buf_printf(&b,
                  "{\"normalizer\":{\"type\":\"BertNormalizer\",\"clean_text\":true,\"handle_chinese_chars\":true,"
                  "\"strip_accents\":null,\"lowercase\":%s},\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},"
                  "\"decoder\":{\"type\":\"WordPiece\",\"prefix\":\"##\",\"cleanup\":true}}",
                  has_capitals(t) ? "false" : "true");
    if (!st) st = b.failed ? tok_no_memory(t, err) : tok_set_components_text(t, b.data, err);
    mg_buf_free(&b);
    return st;
}

/* Gemma 1 and 2: their tokenizer.json lists the merges in the order of ids. */
static bool is_gemma2(const mg_tokenizer *t) {
    return t->vocab.n == 256000 && mg_tokenizer_id(t, "<start_of_turn>") == 106;
}

static mg_status build_spm(mg_tokenizer *t, const mg_gguf_vocab *g, bool *adds_bos, mg_error *err) {
    float *score = mg_calloc(t->vocab.n, sizeof *score);
    if (!score) return tok_no_memory(t, err);
    if (!g->score) {
        free(score);
        return mg_fail(err, MG_FORMAT, "%s: a SentencePiece tokenizer without scores", t->name);
    }
    for (size_t i = 0; i < t->vocab.n; i++) score[i] = g->type && g->type[i] != TOK_GGUF_NORMAL ? 0 : g->score[i];
    int32_t   unk = g->unk >= 0 && mg_tokenizer_token(t, g->unk, NULL) ? g->unk : mg_tokenizer_id(t, "<unk>");
    mg_status st = tok_bpe_from_scores(t, score, unk, is_gemma2(t), err);
    free(score);
    *adds_bos = true;
    tok_spm_style style = { .prefix = g->add_space_prefix != 0, .legacy = true };
    return st ? st : tok_set_spm_components(t, style, err);
}

/* --- the table of models --- */

typedef struct {
    const char *model;
    spelling    spell;
    bool        drop_unused; /* rows of that type are no tokens */
    bool        adds_eos;    /* when the file does not say */
    mg_status (*build)(mg_tokenizer *t, const mg_gguf_vocab *g, bool *adds_bos, mg_error *err);
} gguf_row;

static const gguf_row gguf_rows[] = {
    { "llama", with_marks, false, false, build_spm },
    { "gpt2", as_it_is, true, false, build_byte_level },
    { "t5", with_marks, false, false, build_unigram },
    { "bert", with_sharps, false, true, build_wordpiece },
};

mg_status mg_tokenizer_from_gguf(mg_tokenizer **out, const mg_gguf_vocab *g, const char *name, mg_error *err) {
    const gguf_row *row = NULL;
    for (size_t i = 0; i < sizeof gguf_rows / sizeof *gguf_rows; i++)
        if (!strcmp(gguf_rows[i].model, g->model)) row = &gguf_rows[i];
    if (!row)
        return mg_fail(err, MG_UNSUPPORTED,
                       "%s: the tokenizer model '%.60s' (tokenizer.ggml.model) is not known here; use the model's "
                       "tokenizer.json",
                       name, g->model);
    mg_tokenizer *t = tok_new(name);
    if (!t) return mg_fail(err, MG_NOMEM, "%s: no memory", name);
    bool      bos = false, eos = g->add_eos > 0 || (g->add_eos < 0 && row->adds_eos);
    mg_status st = fill_vocab(t, g, row->spell, row->drop_unused, err);
    if (!st) st = set_ids(t, g, err);
    if (!st) st = row->build(t, g, &bos, err);
    if (!st) st = add_tokens(t, g, err);
    if (g->add_bos >= 0) bos = g->add_bos;
    if (!st) st = tok_set_bos_eos(t, bos ? t->bos : -1, eos ? t->eos : -1, err);
    if (!st) st = tok_finish(t, err);
    if (st)
        mg_tokenizer_free(t);
    else
        *out = t;
    return st;
}
