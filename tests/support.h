/* support.h -- what the tests share: where the reference data lies, how close is close.
 *
 * CTest passes the folders in MIGAKI_REF (golden, tokenizers, data, real, quant), MIGAKI_SHARED
 * (chat templates, tokenizer reference, stories260K) and MIGAKI_MODELS (smollm2.gguf, gemma3.gguf,
 * qwen.gguf).  Nothing is skipped: data that is missing fails the test and says how to get it.
 * Include this first; it brings cmocka and what cmocka needs. */
#ifndef MG_TESTS_SUPPORT_H
#define MG_TESTS_SUPPORT_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"

/* "$variable/relative"; the string lives until 32 more have been asked for. */
static inline const char *support_path(const char *variable, const char *relative, const char *how) {
    static char ring[32][4096];
    static int  next;
    const char *folder = getenv(variable);
    if (!folder || !*folder) fail_msg("%s is not set; run the tests through 'make test' or ctest", variable);
    char *path = ring[next++ % 32];
    snprintf(path, sizeof ring[0], "%s/%s", folder, relative);
    if (access(path, R_OK)) fail_msg("%s: is missing; %s", path, how);
    return path;
}

/* A file or folder of the unpacked reference data, for example "golden/llama2/io.safetensors". */
static inline const char *ref_path(const char *relative) {
    return support_path("MIGAKI_REF", relative, "'make reference' unpacks it");
}

/* The same for what is used as it is, for example "models/stories260K/reference.json". */
static inline const char *shared_path(const char *relative) {
    return support_path("MIGAKI_SHARED", relative, "MIGAKI_SHARED must name the folder of shared reference data");
}

/* A real model: "smollm2.gguf", "gemma3.gguf" or "qwen.gguf".  Tests that call this have "real"
 * or "slow" in their path, so that CTest runs them alone. */
static inline const char *model_path(const char *relative) {
    return support_path("MIGAKI_MODELS", relative, "'make models' fetches it");
}

/* A file of the source tree, for example "demo/ja/train.jsonl". */
static inline const char *source_path(const char *relative) {
    return support_path("MIGAKI_SOURCE", relative, "MIGAKI_SOURCE must name the source tree");
}

/* A fresh folder below TMPDIR; remove it with remove_temp_folder. */
static inline char *make_temp_folder(void) {
    const char *tmp = getenv("TMPDIR");
    char       *path = malloc(4096);
    assert_non_null(path);
    snprintf(path, 4096, "%s/migaki-test-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(path)) fail_msg("%s: cannot be made", path);
    return path;
}

static inline void remove_temp_folder(char *path) {
    char command[4200];
    snprintf(command, sizeof command, "rm -rf -- '%s'", path);
    if (system(command)) print_error("%s: cannot be removed\n", path); /* NOLINT: our own path */
    free(path);
}

/* The status is MG_OK, else the error's text is shown. */
#define assert_ok(call, err)                                                             \
    do {                                                                                 \
        mg_status support_status_ = (call);                                              \
        if (support_status_)                                                             \
            fail_msg("%s: E%d: %s", #call, (int)support_status_, (err).text);            \
    } while (0)

/* The status is `wanted` and the text holds `part` (the thing that must be named). */
#define assert_fails(call, err, wanted, part)                                                              \
    do {                                                                                                   \
        (err) = (mg_error){ .status = MG_OK };                                                             \
        mg_status support_status_ = (call);                                                                \
        if (support_status_ != (wanted) || !strstr((err).text, part))                                      \
            fail_msg("%s: wanted E%d naming '%s', got E%d: %s", #call, (int)(wanted), part,                \
                     (int)support_status_, (err).text);                                                    \
    } while (0)

/* max |a - b| / max |b| over n floats: the distance that the golden tests state.  Infinite as
 * soon as one of them is not finite. */
static inline double relative_distance(const float *a, const float *b, size_t n) {
    double most = 0, largest = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)a[i] - (double)b[i]);
        if (!isfinite(a[i]) || !isfinite(b[i])) return INFINITY;
        if (d > most) most = d;
        if (fabs((double)b[i]) > largest) largest = fabs((double)b[i]);
    }
    return most == 0 ? 0 : most / largest;
}

/* relative_distance <= limit, shown with `what` when it is not; NaN fails. */
static inline void assert_close(const float *a, const float *b, size_t n, double limit, const char *what) {
    double d = relative_distance(a, b, n);
    if (!(d <= limit)) fail_msg("%s: relative distance %.3g, at most %.3g is allowed", what, d, limit);
}

/* |a - b| <= limit * max(1, |b|); NaN fails. */
static inline void assert_near(double a, double b, double limit, const char *what) {
    if (!(fabs(a - b) <= limit * fmax(1, fabs(b))))
        fail_msg("%s: %.9g, wanted %.9g within %.3g", what, a, b, limit);
}

#endif
