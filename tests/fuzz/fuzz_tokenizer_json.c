/* fuzz_tokenizer_json.c -- any text is refused or is a tokenizer that can be used. */
#include "fuzz/use_tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    mg_error      err;
    mg_tokenizer *t = NULL;
    if (!mg_tokenizer_parse_json(&t, (const char *)bytes, n, "fuzz", &err)) use_tokenizer(t);
    mg_tokenizer_free(t);
    return 0;
}
