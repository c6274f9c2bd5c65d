/* fuzz_tokenizer_vocab_txt.c -- a line of tokenizer_config.json, then vocab.txt. */
#include "fuzz/use_tokenizer.h"

#include "text/tokenizer_impl.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    const char   *text = (const char *)bytes, *line = n ? memchr(text, '\n', n) : NULL;
    size_t        config_n = line ? (size_t)(line - text) : n, skip = line ? config_n + 1 : n;
    mg_error      err;
    mg_json       config = { 0 };
    mg_tokenizer *t = NULL;
    mg_status     st = mg_json_parse(&config, text, config_n, "config", &err);
    if (!tok_parse_vocab_txt(&t, text + skip, n - skip, st ? NULL : config.root, "fuzz", &err)) use_tokenizer(t);
    mg_tokenizer_free(t);
    mg_json_free(&config);
    return 0;
}
