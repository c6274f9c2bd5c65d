/* fuzz_safetensors.c -- any bytes are refused or can be used: every tensor is read.
 *
 * Half of the mutations put another number in the place of one of the header's and set the
 * length in front right again, so that they get past the JSON; the other half are libFuzzer's. */
#include "format/use.h"

#include <ctype.h>

int                          LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);
size_t                       LLVMFuzzerCustomMutator(uint8_t *bytes, size_t n, size_t most, unsigned seed);
__attribute__((weak)) size_t LLVMFuzzerMutate(uint8_t *bytes, size_t n, size_t most); /* absent in a replay */

static volatile uint64_t sink; /* what was read goes here, so that it is read */

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    mg_error        err;
    mg_safetensors *f = NULL;
    if (!mg_safetensors_parse(&f, bytes, n, "fuzz", &err)) sink = use_safetensors(f);
    mg_safetensors_close(f);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t n, size_t most, unsigned seed) {
    static const char *const numbers[] = { "0",
                                           "1",
                                           "2",
                                           "3",
                                           "4",
                                           "6",
                                           "8",
                                           "24",
                                           "4294967296",
                                           "4611686018427387904",
                                           "9223372036854775807",
                                           "18446744073709551615" };
    uint64_t                 header;
    if (seed & 1 || n < 10) return LLVMFuzzerMutate(bytes, n, most);
    memcpy(&header, bytes, 8);
    if (header > n - 8 || !header) return LLVMFuzzerMutate(bytes, n, most);
    size_t begin = 8 + (seed >> 8) % header, stop = 8 + (size_t)header;
    while (begin < stop && !isdigit(bytes[begin])) begin++;
    size_t end = begin;
    while (end < stop && isdigit(bytes[end])) end++;
    const char *number = numbers[(seed >> 1) % (sizeof numbers / sizeof *numbers)];
    size_t      length = strlen(number);
    if (begin == end || n - (end - begin) + length > most) return LLVMFuzzerMutate(bytes, n, most);
    memmove(bytes + begin + length, bytes + end, n - end);
    memcpy(bytes + begin, number, length);
    header = header - (end - begin) + length;
    memcpy(bytes, &header, 8);
    return n - (end - begin) + length;
}
