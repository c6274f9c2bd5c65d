/* test_lowrank.c -- singular triplets and QR against matrices that were made from them.
 *
 * W = sum of sigma_i u_i v_i^T with orthonormal vectors and known sigma: values within 1e-4 of the largest, what is left
 * over as large as the values that were left out (1e-3), for small matrices (exact) and large ones (by search). */
#include "support.h"
#include "support_random.h"

#include "nn/lowrank.h"
#include "tensor/nf4.h"

static mg_error err;
#define OK(call) assert_ok(call, err)

static double dot(const float *a, const float *b, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)a[i] * (double)b[i];
    return sum;
}

static float *orthonormal_rows(support_random *r, int64_t rows, int64_t n) {
    float *x = malloc((size_t)(rows * n) * sizeof *x);
    for (int64_t k = 0; k < rows; k++) {
        float *row = x + k * n;
        for (int64_t i = 0; i < n; i++) row[i] = (float)random_normal(r);
        for (int twice = 0; twice < 2; twice++)
            for (int64_t q = 0; q < k; q++) {
                double along = dot(row, x + q * n, n);
                for (int64_t i = 0; i < n; i++) row[i] -= (float)(along * (double)x[q * n + i]);
            }
        double by = 1 / sqrt(dot(row, row, n));
        for (int64_t i = 0; i < n; i++) row[i] = (float)(by * (double)row[i]);
    }
    return x;
}

/* |w - u^T s v| over |w| */
static double left_over(const float *w, const float *u, const float *s, const float *v, int r, int64_t out, int64_t in) {
    double sum = 0, all = 0;
    for (int64_t o = 0; o < out; o++)
        for (int64_t i = 0; i < in; i++) {
            double made = 0;
            for (int k = 0; k < r; k++) made += (double)u[k * out + o] * (s ? (double)s[k] : 1) * (double)v[k * in + i];
            sum += ((double)w[o * in + i] - made) * ((double)w[o * in + i] - made);
            all += (double)w[o * in + i] * (double)w[o * in + i];
        }
    return sqrt(sum / all);
}

static void one(int64_t out, int64_t in, double decay) {
    enum { R = 6 };
    support_random r = random_of((uint64_t)(out * 1000 + in));
    int64_t        n = out < in ? out : in;
    float *left = orthonormal_rows(&r, n, out), *right = orthonormal_rows(&r, n, in), *w = calloc((size_t)(out * in), sizeof *w);
    double tail = 0, all = 0;
    for (int64_t k = 0; k < n; k++) {
        double sigma = 3 * pow(decay, (double)k);
        all += sigma * sigma;
        if (k >= R) tail += sigma * sigma;
        for (int64_t o = 0; o < out; o++)
            for (int64_t i = 0; i < in; i++) w[o * in + i] += (float)(sigma * (double)left[k * out + o] * (double)right[k * in + i]);
    }
    mg_tensor t = { .rows = out, .cols = in, .format = &mg_format_f32, .data = w };
    float     u[R * 320], v[R * 320], s[R];
    OK(mg_lowrank_svd(&t, R, 5, u, v, s, &err));
    for (int k = 0; k < R; k++) assert_near((double)s[k], 3 * pow(decay, k), 3e-4, "a singular value");
    for (int k = 0; k < R; k++) {
        assert_near(dot(u + k * out, u + k * out, out), 1, 1e-4, "length of u");
        assert_near(dot(v + k * in, v + k * in, in), 1, 1e-4, "length of v");
    }
    assert_near(left_over(w, u, s, v, R, out, in), sqrt(tail / all), 1e-3, "what is left over");

    OK(mg_lowrank_qr(&t, R, u, v, &err));
    for (int k = 0; k < R; k++) /* the first columns of w are those of Q R */
        for (int64_t o = 0; o < out; o++) {
            double made = 0;
            for (int q = 0; q < R; q++) made += (double)u[q * out + o] * (double)v[q * in + k];
            assert_near(made, (double)w[o * in + k], 1e-4, "a column");
            for (int q = 0; q < k; q++) assert_near(dot(u + q * out, u + k * out, out), 0, 1e-5, "an angle");
        }
    free(left);
    free(right);
    free(w);
}

static void known_triplets_are_found(void **state) {
    (void)state;
    one(24, 40, 0.8);
    one(64, 64, 0.95);
    one(320, 200, 0.9);
    one(150, 300, 0.95);
}

/* What packing to NF4 loses: the best of rank 16 makes it smaller, as much as its values say. */
static void losses_of_packing(void **state) {
    (void)state;
    enum { N = 64, R = 16 };
    support_random r = random_of(3);
    static float   w[N * N], q[N * N], e[N * N], u[R * N], v[R * N], s[R];
    const void    *data, *side;
    mg_packing     how = { .block = 64 };
    size_t         bytes;
    for (int i = 0; i < N * N; i++) w[i] = (float)random_normal(&r);
    assert_true(mg_format_nf4.packed_bytes(N, N, &how, &bytes));
    void *room = aligned_alloc(64, (bytes + 63) & ~(size_t)63);
    mg_format_nf4.pack(&mg_format_nf4, w, N, N, &how, room, &data, &side);
    mg_tensor whole = { .rows = N, .cols = N, .format = &mg_format_f32, .data = w },
              packed = { .rows = N, .cols = N, .format = &mg_format_nf4, .data = (void *)data, .side = side };
    mg_format_nf4.decode(q, data, side, 0, N * N);
    double all = 0, found = 0;
    for (int i = 0; i < N * N; i++) {
        e[i] = w[i] - q[i];
        all += (double)e[i] * (double)e[i];
    }
    OK(mg_lowrank_difference(&whole, &packed, R, 1, u, v, s, &err));
    for (int k = 0; k < R; k++) found += (double)s[k] * (double)s[k];
    assert_true(found > 0.4 * all && found < all);
    assert_near(left_over(e, u, s, v, R, N, N), sqrt(1 - found / all), 1e-3, "what is left of the loss");
    free(room);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(known_triplets_are_found), cmocka_unit_test(losses_of_packing) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
