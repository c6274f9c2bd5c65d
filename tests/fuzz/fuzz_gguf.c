/* fuzz_gguf.c -- any bytes are refused or can be used: every value, string and tensor is read.
 *
 * Half of the mutations write a number that is interesting to a reader of sizes over four or
 * eight bytes somewhere, because counts, lengths, dimensions and offsets are what a GGUF file
 * is made of; the other half are libFuzzer's own. */
#include "format/use.h"

int                          LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);
size_t                       LLVMFuzzerCustomMutator(uint8_t *bytes, size_t n, size_t most, unsigned seed);
__attribute__((weak)) size_t LLVMFuzzerMutate(uint8_t *bytes, size_t n, size_t most); /* absent in a replay */

static volatile uint64_t sink; /* what was read goes here, so that it is read */

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    mg_error err;
    mg_gguf *g = NULL;
    if (!mg_gguf_parse(&g, bytes, n, "fuzz", &err)) sink = use_gguf(g);
    mg_gguf_close(g);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t n, size_t most, unsigned seed) {
    static const uint64_t numbers[] = {
        0,          1,
        2,          3,
        4,          8,
        12,         13,
        31,         32,
        64,         255,
        256,        INT32_MAX,
        UINT32_MAX, 1ull << 32,
        1ull << 60, 1ull << 61,
        1ull << 62, INT64_MAX,
        1ull << 63, UINT64_MAX - 31,
        UINT64_MAX,
    };
    size_t width = seed & 2 ? 8 : 4;
    if (seed & 1 || n < width) return LLVMFuzzerMutate(bytes, n, most);
    uint64_t value = numbers[(seed >> 2) % (sizeof numbers / sizeof *numbers)];
    if (seed >> 7 & 1) value += n; /* around the end of the file */
    memcpy(bytes + (seed >> 8) % (n - width + 1), &value, width);
    return n;
}
