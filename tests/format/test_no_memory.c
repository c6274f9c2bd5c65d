/* test_no_memory.c -- malloc fails at every single allocation of opening and saving, once and
 * from there on for good: the answer is MG_NOMEM, outputs stay untouched, and all that was allocated is freed.
 * A check that needs memory is not left out: a key that stands twice is found or MG_NOMEM is said.
 *
 * The allocator is replaced in this program by one that counts; address sanitizer has an
 * allocator of its own, so there the test says that it is skipped. */
#include "support.h"

#include "base/file.h"
#include "base/json.h"
#include "format/sample_gguf.h"
#include "format/use.h"
#include "train/checkpoint.h"

#include <errno.h>

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
    errno = ENOMEM;
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

/* More keys than fit a plain double loop, one of them twice. */
static mg_status parse_twice(mg_error *err) {
    static const char text[] = "{\"a\":1,\"b\":1,\"c\":1,\"d\":1,\"e\":1,\"f\":1,\"g\":1,\"h\":1,\"i\":1,\"j\":1,\"k\":1,\"l\":1,\"m\":1,\"a\":2}";
    mg_json   j = { 0 };
    mg_status st = mg_json_parse(&j, text, sizeof text - 1, "sample", err);
    if (!st || j.doc) abort();
    return st == MG_FORMAT && strstr(err->text, "'a' stands twice") ? MG_OK : st;
}

static mg_status read_whole(mg_error *err) {
    mg_buf    b = { 0 };
    mg_status st = mg_read_file(&b, path, SIZE_MAX, err);
    if (st && b.data) abort();
    mg_buf_free(&b);
    return st;
}

/* A function of the C library may be the one that runs out, opendir for example. */
static mg_status ran_out(mg_status st, const mg_error *err) {
    return st == MG_IO && strstr(err->text, strerror(ENOMEM)) ? MG_NOMEM : st;
}

static mg_status save_checkpoint(mg_error *err) {
    mg_checkpoint_writer *w = NULL;
    mg_checkpoint_info    info = { .run_id = "r", .step = 7 };
    mg_status             st = mg_checkpoint_begin(&w, folder, &info, err);
    if (st) return ran_out(st, err);
    st = mg_checkpoint_add_bytes(w, "a.json", "{}", 2, err);
    if (!st) st = mg_checkpoint_add_bytes(w, "b.json", "[]", 2, err);
    if (!st)
        st = mg_checkpoint_commit(w, err);
    else
        mg_checkpoint_abort(w);
    return ran_out(st, err);
}

static mg_status find_checkpoint(mg_error *err) {
    mg_checkpoint_info info;
    char              *newest = NULL;
    mg_status          st = mg_checkpoint_newest(&newest, &info, folder, NULL, err);
    if (!st && info.step != 7) abort();
    free(newest);
    return ran_out(st, err);
}

static void survives(void **state) {
    static const attempt attempts[] = { parse_gguf, parse_safetensors, save_safetensors, parse_twice, read_whole, save_checkpoint,
                                        find_checkpoint };
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
                if (st && st != MG_NOMEM)
                    fail_msg("attempt %zu, allocation %ld: E%d %s", a, at, st, err.text);
            }
            if (at < 2) fail_msg("attempt %zu: only %ld allocations were seen", a, at);
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
