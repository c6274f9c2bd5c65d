/* LLM.int8 against bitsandbytes (int8.json; make_int8.py): codes and scales of weights bit for bit; the product and the
 * gradient of its input on ref32 and cpu, through the tape.  The gradient within 1e-5 of the largest, the product within
 * 3e-5: bitsandbytes' plain code multiplies by 6.200124e-05, and 1 / 127^2 is 6.2000124e-05, which is 1.8e-5 less.  And
 * that a row's numbers do not depend on other rows while generating. */
#include "support.h"

#include "autograd/ops.h"
#include "base/json.h"
#include "base/thread.h"
#include "tensor/nf4.h"

enum { N = 12, I = 64, O = 32, MOST = O * I };
static mg_error err;
#define OK(call) assert_ok(call, err)

static void floats(yyjson_val *v, const char *key, float *out, size_t want) {
    size_t      i, n;
    yyjson_val *x;
    yyjson_arr_foreach(yyjson_obj_get(v, key), i, n, x) out[i] = (float)yyjson_get_num(x);
    assert_int_equal(n, want);
}

static void one_case(yyjson_val *c, const mg_backend *b) {
    static float x[N * I], w[O * I], dy[N * O], y[N * O], dx[N * I], absmax[O], codes[O * I], grad[N * I];
    size_t       bytes;
    const void  *data, *side;
    mg_arena     mem;
    mg_tape      t;
    floats(c, "x", x, N * I), floats(c, "w", w, O * I), floats(c, "dy", dy, N * O), floats(c, "y", y, N * O);
    floats(c, "dx", dx, N * I), floats(c, "absmax", absmax, O), floats(c, "codes", codes, O * I);
    assert_true(mg_format_int8.packed_bytes(O, I, &(mg_packing){ 0 }, &bytes));
    void *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
    mg_format_int8.pack(&mg_format_int8, w, O, I, &(mg_packing){ 0 }, memory, &data, &side);
    for (int i = 0; i < O * I; i++) assert_int_equal(((const int8_t *)data)[i], (int)codes[i]);
    assert_memory_equal(((const mg_nf4_side *)side)->absmax, absmax, sizeof absmax);

    /* what the product's backward pass does with dy */
    mg_tensor xt = { .rows = N, .cols = I, .format = &mg_format_f32, .data = x, .grad = grad, .param = true, .needs_grad = true };
    mg_tensor wt = { .rows = O, .cols = I, .format = &mg_format_int8, .data = (void *)(uintptr_t)data, .side = side, .param = true,
                     .outlier = (float)yyjson_get_num(yyjson_obj_get(c, "threshold")) };
    mg_tensor dyt = { .rows = N, .cols = O, .format = &mg_format_f32, .data = dy, .param = true };
    memset(grad, 0, sizeof grad);
    OK(mg_arena_open(&mem, b->device, 1 << 20, false, &err));
    OK(mg_tape_open(&t, b, &mem, 16, &err));
    mg_tape_reset(&t);
    mg_tensor *product = mg_matmul(&t, &xt, &wt, NULL, NULL);
    assert_non_null(product);
    assert_close(product->data, y, N * O, 3e-5, b->name);
    mg_linear_dx_args a = { .dx = { grad, N, I, &mg_format_f32, NULL }, .dy = mg_mat_of(&dyt), .w = mg_mat_of(&wt) };
    a.work = aligned_alloc(64, (b->linear_work(N, a.w) + 127) / 64 * 64);
    b->linear_dx(a);
    assert_close(grad, dx, N * I, 1e-5, b->name);
    free(a.work);
    OK(mg_tape_status(&t, &err));
    mg_tape_close(&t);
    mg_arena_close(&mem);
    free(memory);
}

static void as_bitsandbytes(void **state) {
    (void)state;
    mg_json     j;
    size_t      i, n;
    yyjson_val *c;
    OK(mg_json_open(&j, source_path("tests/backend/int8.json"), 8 << 20, &err));
    yyjson_arr_foreach(j.root, i, n, c) {
        one_case(c, &mg_backend_ref32);
        one_case(c, &mg_backend_cpu);
    }
    assert_int_equal(n, 3);
    mg_json_free(&j);
}

/* `alone`: an outlier in one row changes no other row. */
static void rows_alone(void **state) {
    (void)state;
    static float x[2 * I], a[2 * I], b[2 * I], work[I];
    for (int i = 0; i < 2 * I; i++) x[i] = (float)((i * 37 % 19) - 9) / 9;
    mg_int8_round_args args = { .y = { a, 2, I, &mg_format_f32, NULL }, .x = { x, 2, I, &mg_format_f32, NULL }, .threshold = 6, .alone = true, .work = work };
    mg_backend_cpu.int8_round(args);
    x[5] = 50;
    args.y.data = b;
    mg_backend_cpu.int8_round(args);
    assert_memory_equal(a + I, b + I, I * sizeof *a);
    assert_true(b[5] == 50 && memcmp(a, b, I * sizeof *a) != 0);
    args.alone = false;
    mg_backend_cpu.int8_round(args);
    assert_true(b[I + 5] == x[I + 5] && a[I + 5] != b[I + 5]); /* its column stays whole */
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(as_bitsandbytes), cmocka_unit_test(rows_alone) };
    mg_threads_start(2);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
