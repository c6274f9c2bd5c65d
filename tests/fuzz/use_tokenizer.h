/* use_tokenizer.h -- put an accepted tokenizer to work: whatever it is, using it must be safe. */
#ifndef MG_TESTS_USE_TOKENIZER_H
#define MG_TESTS_USE_TOKENIZER_H

#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

static inline void use_ids(const mg_tokenizer *t, const mg_ids *ids) {
    mg_error         err;
    mg_buf           whole = { 0 }, streamed = { 0 };
    mg_detok_stream *s = mg_detok_new(t, false);
    bool             ok = s && !mg_detokenize(t, ids->data, ids->len, false, &whole, &err);
    for (size_t i = 0; i < ids->len && ok; i++) ok = mg_detok_feed(s, ids->data[i], &streamed);
    ok = ok && mg_detok_flush(s, &streamed);
    /* streaming and decoding at once are the same text */
    if (ok && (whole.len != streamed.len || (whole.len && memcmp(whole.data, streamed.data, whole.len)))) abort();
    mg_detok_free(s);
    mg_buf_free(&whole);
    mg_buf_free(&streamed);
}

static inline void use_tokenizer(const mg_tokenizer *t) {
    static const char *const texts[] = {
        "",
        "a",
        " Hello  world\n\n123",
        "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e\xe3\x81\xa7\xe3\x81\x99",
        "\xf0\x9f\x98\x80<s>x</s>",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab",
        "\xff\xc3(",
        "abc abcabc ab",
        "\xe2\x96\x81\xe2\x96\x81 a\xe2\x96\x81",
    };
    mg_error err;
    mg_ids   ids = { 0 };
    mg_buf   json = { 0 };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        for (unsigned flags = 0; flags < 4; flags++) {
            ids.len = 0;
            if (mg_tokenize(t, texts[i], strlen(texts[i]), flags, &ids, &err)) continue;
            for (size_t k = 0; k < ids.len; k++) /* only ids that exist, and no special ones out of text */
                if (!mg_tokenizer_token(t, ids.data[k], NULL)) abort();
            use_ids(t, &ids);
        }
    ids.len = 0;
    for (int32_t id = -1; id <= mg_tokenizer_size(t) && id < 300; id++)
        if (!mg_ids_push(&ids, id)) break;
    use_ids(t, &ids);
    if (!mg_tokenizer_write_json(t, &json, &err)) { /* what is written can be read */
        mg_tokenizer *again = NULL;
        if (mg_tokenizer_parse_json(&again, json.data, json.len, "again", &err)) abort();
        mg_tokenizer_free(again);
    }
    mg_gguf_vocab v;
    if (!mg_tokenizer_to_gguf(t, 0, &v, &err)) { /* so can GGUF metadata, or it is refused */
        mg_tokenizer *again = NULL;
        if (!mg_tokenizer_from_gguf(&again, &v, "again", &err)) mg_tokenizer_free(again);
        mg_gguf_vocab_free(&v);
    }
    mg_buf_free(&json);
    mg_ids_free(&ids);
}

#endif
