/* test_map.c -- PCA, neighbours, trustworthiness and t-SNE beside scikit-learn 1.9.1 (make_map_cases.py), on points that
 * both sides make with one generator.
 *
 * PCA to 1e-5, trustworthiness to 1e-9, the divergence of t-SNE to 2%; one picture with one thread and with two. */
#include "../support.h"

#include "base/thread.h"
#include "eval/map/neighbours.h"
#include "eval/map/pca.h"
#include "eval/map/tsne.h"

enum { N = 400, D = 16 };

static mg_error err;
#define OK(call) assert_ok(call, err)

static float points[N * D];

static double draw(void) {
    static int64_t state = 1;
    state = state * 16807 % 2147483647;
    return (double)state / 2147483647 - 0.5;
}

static int make_points(void **state) {
    double centre[5][D];
    (void)state;
    for (int k = 0; k < 5; k++)
        for (int c = 0; c < D; c++) centre[k][c] = draw() * 4;
    for (int i = 0; i < N; i++)
        for (int c = 0; c < D; c++) points[i * D + c] = (float)(centre[i % 5][c] + draw() * (1 + c % 3));
    mg_threads_start(2);
    return 0;
}

static void pca_equals(void **state) {
    static const double want[] = { -1.1861269906127565, 2.4378412935406595, 3.7881079996993208, 0.45450877322108824, 0.2211020262707996, -3.7569741467278366 };
    double y[2 * N], part[2];
    (void)state;
    OK(mg_pca(points, N, D, 2, y, part, &err));
    for (int k = 0; k < 6; k++) assert_near(y[k < 4 ? k : 2 * (N - 1) + k - 4], want[k], 1e-5, "PCA");
    assert_near(part[0], 0.2942235831088052, 1e-6, "explained variance");
    assert_near(part[1], 0.21848571702976408, 1e-6, "explained variance");
}

/* Points on a line have one component; equal points none. */
static void pca_of_few_dimensions(void **state) {
    float  line[5 * 3], same[4 * 2] = { 1, 2, 1, 2, 1, 2, 1, 2 };
    double y[10], part[2];
    (void)state;
    for (int i = 0; i < 5; i++)
        for (int c = 0; c < 3; c++) line[i * 3 + c] = (float)(i * (c + 1));
    OK(mg_pca(line, 5, 3, 2, y, part, &err));
    for (int i = 0; i < 5; i++) {
        assert_near(y[2 * i], (i - 2) * sqrt(14), 1e-6, "line");
        assert_true(fabs(y[2 * i + 1]) <= 0);
    }
    OK(mg_pca(same, 4, 2, 2, y, part, &err));
    for (int i = 0; i < 8; i++) assert_true(fabs(y[i]) <= 0);
    same[3] = NAN;
    assert_fails(mg_pca(same, 4, 2, 2, y, part, &err), err, MG_DATA, "column 2");
}

/* Against the plain way: all distances, sorted. */
static void neighbours_are_exact(void **state) {
    enum { K = 7 };
    static int32_t index[N * K];
    static double  distance2[N * K];
    (void)state;
    OK(mg_neighbours(points, N, D, K, index, distance2, &err));
    for (int i = 0; i < N; i++)
        for (int k = 0; k < K; k++) {
            int    closer = 0;
            double d2 = distance2[i * K + k];
            for (int j = 0; j < N; j++) {
                double sum = 0;
                for (int c = 0; c < D; c++) sum += ((double)points[i * D + c] - points[j * D + c]) * ((double)points[i * D + c] - points[j * D + c]);
                closer += j != i && sum < d2 - 1e-12;
                if (j == index[i * K + k]) assert_near(sum, d2, 1e-12, "distance");
            }
            assert_int_equal(closer, k);
            assert_int_not_equal(index[i * K + k], i);
        }
}

static void trustworthiness_equals(void **state) {
    static double y[2 * N];
    double        got;
    (void)state;
    for (int i = 0; i < N; i++)
        for (int c = 0; c < 2; c++) y[2 * i + c] = (double)points[i * D + c];
    OK(mg_trustworthiness(points, N, D, y, 5, &got, &err));
    assert_near(got, 0.8884375, 1e-9, "trustworthiness of 5");
    OK(mg_trustworthiness(points, N, D, y, 12, &got, &err));
    assert_near(got, 0.8976496286588029, 1e-9, "trustworthiness of 12");
    assert_fails(mg_trustworthiness(points, 10, D, y, 5, &got, &err), err, MG_CONFIG, "more than 10 points");
}

static void tsne_is_as_good(void **state) {
    static double   y[2 * N], again[2 * N];
    mg_tsne_options o = mg_tsne_defaults();
    mg_tsne_result  r;
    double          trust;
    (void)state;
    OK(mg_tsne(points, N, D, &o, y, &r, &err));
    assert_near(r.kl, 0.46337705850601196, 0.02 * 0.463, "divergence at perplexity 30");
    assert_int_equal(r.rounds, 1000);
    OK(mg_trustworthiness(points, N, D, y, 5, &trust, &err));
    assert_near(trust, 0.9856632653061225, 0.005, "trustworthiness");
    mg_threads_start(1);
    OK(mg_tsne(points, N, D, &o, again, &r, &err));
    mg_threads_start(2);
    assert_memory_equal(y, again, sizeof y);
    o.perplexity = 5;
    OK(mg_tsne(points, N, D, &o, y, &r, &err));
    assert_near(r.kl, 0.8441413044929504, 0.02 * 0.844, "divergence at perplexity 5");
    o.random_start = true;
    o.seed = 7;
    OK(mg_tsne(points, N, D, &o, y, &r, &err));
    OK(mg_tsne(points, N, D, &o, again, &r, &err));
    assert_memory_equal(y, again, sizeof y);
    o.angle = 0; /* exact: another sum, the same picture as good */
    OK(mg_tsne(points, N, D, &o, again, &r, &err));
    assert_true(r.kl < 1.1 && memcmp(y, again, sizeof y) != 0);
}

static bool at_once(void *context) { return ++*(int *)context > 3; }

static void odd_points_and_options(void **state) {
    float           same[6 * 2] = { 0 }, two[4 * 1] = { 1, 1, 2, 2 };
    double          y[12] = { 0 };
    int             rounds = 0;
    mg_tsne_options o = mg_tsne_defaults();
    mg_tsne_result  r;
    (void)state;
    assert_fails(mg_tsne(points, 20, D, &o, y, &r, &err), err, MG_CONFIG, "perplexity 30: with 20 points");
    o.perplexity = 2;
    OK(mg_tsne(same, 6, 2, &o, y, &r, &err)); /* equal points: no division by zero */
    for (int i = 0; i < 12; i++) assert_true(isfinite(y[i]));
    OK(mg_tsne(two, 4, 1, &o, y, &r, &err));
    for (int i = 0; i < 8; i++) assert_true(isfinite(y[i]));
    assert_fails(mg_tsne(same, 2, 2, &o, y, &r, &err), err, MG_CONFIG, "at least 3 points");
    o.max_iter = 100;
    assert_fails(mg_tsne(same, 6, 2, &o, y, &r, &err), err, MG_CONFIG, "max_iter >= 250");
    o.max_iter = 300;
    o.cancelled = at_once;
    o.context = &rounds;
    memset(y, 0, sizeof y);
    assert_fails(mg_tsne(points, 6, D, &o, y, &r, &err), err, MG_STOPPED, "stopped");
    for (int i = 0; i < 12; i++) assert_true(fabs(y[i]) <= 0); /* untouched */
    same[5] = INFINITY;
    o.cancelled = NULL;
    o.random_start = true;
    assert_fails(mg_tsne(same, 6, 2, &o, y, &r, &err), err, MG_DATA, "not finite");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pca_equals),           cmocka_unit_test(pca_of_few_dimensions), cmocka_unit_test(neighbours_are_exact),
        cmocka_unit_test(trustworthiness_equals), cmocka_unit_test(tsne_is_as_good),     cmocka_unit_test(odd_points_and_options),
    };
    return cmocka_run_group_tests(tests, make_points, NULL);
}
