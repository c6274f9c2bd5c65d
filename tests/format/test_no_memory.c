/* test_no_memory.c -- malloc fails at every single allocation of opening and saving, once and
 * from there on for good: the answer is MG_NOMEM (MG_FORMAT where the JSON parser runs
 * out, which says so in its text), outputs stay untouched, and all that was allocated is freed.
 *
 * The allocator is replaced in this program by one that counts; address sanitizer has an
 * allocator of its own, so there the test says that it is skipped. */
#include "support.h"

#include "base/file.h"
#include "format/sample_gguf.h"
#include "format/use.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define OWN_ALLOCATOR
#endif
#endif

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(OWN_ALLOCATOR)

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t count, size_t n);
void *__libc_realloc(void *p, size_t n);
void  __libc_free(void *p);

static bool counting, for_good;
static long countdown, live; /* allocations until one fails; blocks allocated since counting began */

static bool fails(void) {
    if (!counting) return false;
    if (countdown > 0) return --countdown, false;
    if (!for_good) countdown = 1L << 40;
    return true;
}

static void *count(void *p) {
    if (p && counting) live++;
    return p;
}

void *malloc(size_t n) { return fails() ? NULL : count(__libc_malloc(n)); }
void *calloc(size_t k, size_t n) { return fails() ? NULL : count(__libc_calloc(k, n)); }
void *realloc(void *p, size_t n) {
    if (fails()) return NULL;
    return p ? __libc_realloc(p, n) : count(__libc_realloc(p, n));
}
void free(void *p) {
    if (p && counting) live--;
    __libc_free(p);
}

typedef mg_status (*attempt)(mg_error *err);

static mg_buf gguf_bytes, st_bytes;
static char  *folder, *path;

static mg_status parse_gguf(mg_error *err) {
    mg_gguf  *g = NULL;
    mg_status st = mg_gguf_parse(&g, gguf_bytes.data, gguf_bytes.len, "sample", err);
    if (st && g) abort();
    mg_gguf_close(g);
    return st;
}

static mg_status parse_safetensors(mg_error *err) {
    mg_safetensors *f = NULL;
    mg_status       st = mg_safetensors_parse(&f, st_bytes.data, st_bytes.len, "sample", err);
    if (st && f) abort();
    mg_safetensors_close(f);
    return st;
}

static const float       data[4] = { 1, 2, 3, 4 };
static const mg_st_entry entries[2] = { { "a", "F32", 1, { 4 }, data, 16 }, { "b", "F32", 1, { 2 }, data, 8 } };

static mg_status save_safetensors(mg_error *err) { return mg_safetensors_save(path, entries, 2, NULL, err); }

static void survives(void **state) {
    static const attempt attempts[] = { parse_gguf, parse_safetensors, save_safetensors };
    (void)state;
    for (size_t a = 0; a < sizeof attempts / sizeof *attempts; a++)
        for (int good = 0; good < 2; good++) {
            long at = 0;
            for (mg_status st = MG_NOMEM; st; at++) {
                mg_error err = { .status = MG_OK };
                countdown = at;
                live = 0;
                for_good = good;
                counting = true;
                st = attempts[a](&err);
                counting = false;
                if (live) fail_msg("attempt %zu, allocation %ld: %ld blocks are left", a, at, live);
                if (st && (st != MG_NOMEM && st != MG_FORMAT))
                    fail_msg("attempt %zu, allocation %ld: E%d %s", a, at, st, err.text);
            }
            if (at < 4) fail_msg("attempt %zu: only %ld allocations were seen", a, at);
        }
}

static int set_up(void **state) {
    mg_error        err;
    mg_safetensors *f = NULL;
    (void)state;
    folder = make_temp_folder();
    path = mg_path_join(folder, "x.safetensors");
    sample_gguf(&gguf_bytes, 3);
    return mg_safetensors_save(path, entries, 2, (const char *const[]){ "format", "pt", NULL }, &err) ||
           mg_read_file(&st_bytes, path, SIZE_MAX, &err) || mg_safetensors_open(&f, path, &err) ||
           (mg_safetensors_close(f), 0);
}

static int tear_down(void **state) {
    (void)state;
    mg_buf_free(&gguf_bytes);
    mg_buf_free(&st_bytes);
    free(path);
    remove_temp_folder(folder);
    return 0;
}

#else

static void survives(void **state) {
    (void)state;
    skip();
}
static int set_up(void **state) { return (void)state, 0; }
static int tear_down(void **state) { return (void)state, 0; }

#endif

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(survives) };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
