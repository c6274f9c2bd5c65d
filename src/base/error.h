/* error.h -- the error ladder: three kinds of failure, three ways to say it.
 *
 * 1. Our bug: MG_ASSERT stops the program with file and line, in release too.
 * 2. The world's fault (file, network, config, memory at set-up): the function
 *    returns an mg_status other than MG_OK, fills the caller's mg_error and
 *    leaves its outputs untouched.
 * 3. On the tape: sticky, see autograd/tape.h.
 *
 * A status is a stable code that users can look up (`migaki help E301`); its
 * hundreds digit is the exit code of the program.  Libraries never print. */
#ifndef MG_BASE_ERROR_H
#define MG_BASE_ERROR_H

typedef enum mg_status {
    MG_OK          = 0,
    MG_INTERNAL    = 101, /* a broken promise inside the program */
    MG_IO          = 102, /* read, write, rename or fsync failed; disk full */
    MG_USAGE       = 201, /* a flag or argument is wrong */
    MG_CONFIG      = 202, /* a configuration key or value is wrong */
    MG_NOTFOUND    = 203, /* a named file, run or thing does not exist */
    MG_MISMATCH    = 204, /* two things that must agree do not (adapter and model, resume) */
    MG_UNSUPPORTED = 205, /* valid, but this program does not do it */
    MG_NOFIT       = 301, /* the plan does not fit into memory */
    MG_NOMEM       = 302, /* an allocation failed at set-up */
    MG_DATA        = 401, /* a training or input record is invalid */
    MG_FORMAT      = 402, /* a model, tokenizer or adapter file is malformed */
    MG_TEMPLATE    = 403, /* a chat template is invalid or refuses the conversation */
    MG_MASK        = 404, /* a sample has no trained token */
    MG_TRUNCATED   = 405, /* a sample does not fit into max_length */
    MG_DEVICE      = 501, /* the device asked for is not there */
    MG_LIBRARY     = 502, /* a library is missing or failed */
    MG_NETWORK     = 601,
    MG_SELFCHECK   = 701, /* what was written does not compute what was trained */
    MG_STOPPED     = 130, /* stopped by the user; state is saved */
} mg_status;

/* Filled by the function that fails; owned by the caller, no heap. */
typedef struct mg_error {
    mg_status status;
    char      text[1000]; /* UTF-8: what happened, what was found and wanted, what to do */
} mg_error;

/* Fill `err` (may be NULL) and return `status`.  `format` is translated by
 * gettext when a catalogue is loaded, so pass it as a literal. */
mg_status mg_fail(mg_error *err, mg_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Put "context: " before the text of an error that came from below. */
mg_status mg_fail_in(mg_error *err, const char *context);

/* The static analyzer does not see into error.c; without this it follows paths on which failing is success. */
#ifdef __clang_analyzer__
#define mg_fail(err, status, ...) ((mg_fail)(err, status, __VA_ARGS__), (status))
#endif

/* The exit code of the program for a status: 0, 1..7 or 130. */
int mg_exit_code(mg_status status);

#ifdef __cplusplus /* the kernels of the CUDA backend include this */
#define MG_NORETURN extern "C" [[noreturn]]
#else
#define MG_NORETURN _Noreturn
#endif
MG_NORETURN void mg_bug(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define MG_ASSERT(cond) ((cond) ? (void)0 : mg_bug(__FILE__, __LINE__, "%s is false", #cond))
/* For shape checks: says the numbers that disagreed. */
#define MG_ASSERT_EQ(a, b)                                                                        \
    ((long long)(a) == (long long)(b)                                                             \
         ? (void)0                                                                                \
         : mg_bug(__FILE__, __LINE__, "%s = %lld, but %s = %lld", #a, (long long)(a), #b,         \
                  (long long)(b)))

#endif
