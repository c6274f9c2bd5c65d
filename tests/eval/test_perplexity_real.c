/* test_perplexity_real.c -- Hugging Face's recipe on a real model: windows, strides, and the recipe's weights.
 *
 * What transformers 5.23 computes (fp32, weights of the same GGUF file) for the first 2,200 characters of a text stands
 * here; the texts lie in the reference data. */
#include "support.h"

#include "base/file.h"
#include "base/thread.h"
#include "eval/perplexity.h"
#include "infer/bundle.h"
#include "infer/score.h"
#include "text/unicode.h"

static size_t first_characters(const mg_buf *text, size_t count) {
    size_t at = 0;
    for (size_t i = 0; i < count; i++) at += mg_utf8_width(text->data[at]);
    return at;
}

typedef struct recipe {
    int64_t window, stride;
    double  want;
} recipe;

static void recipes(const char *model, size_t tokens, const recipe *row, size_t n, mg_perplexity *p) {
    mg_bundle        b = { 0 };
    mg_error         err = { 0 };
    mg_buf           text = { 0 };
    mg_ids           ids = { 0 };
    mg_model_options o = { .positions = 1024 };
    mg_threads_start(0);
    assert_ok(mg_bundle_open(&b, model_path(model), &o, "none", &err), err);
    assert_ok(mg_read_file(&text, ref_path("data/aozora/serohiki.txt"), 1 << 20, &err), err);
    assert_ok(mg_tokenize(b.tokenizer, text.data, first_characters(&text, 2200), MG_TOKENIZE_SPECIAL, &ids, &err), err);
    assert_int_equal(ids.len, tokens);
    for (size_t i = 0; i < n; i++) {
        assert_ok(mg_perplexity_of(b.model, &mg_backend_cpu, ids.data, (int64_t)ids.len, row[i].window, row[i].stride, false,
                                   &p[i], &err), err);
        assert_near(p[i].perplexity / row[i].want, 1, 1e-4, "perplexity by transformers");
        /* every token but the first, once; windows without overlap cannot score their first one */
        if (!i) {
            int64_t count = mg_perplexity_windows((int64_t)tokens, row[i].window, row[i].stride);
            double *w = calloc((size_t)count, 4 * sizeof *w), sum[4] = { 0 };
            assert_int_equal(count, p[i].windows);
            assert_ok(mg_perplexity_by_window(b.model, &mg_backend_cpu, ids.data, (int64_t)ids.len, row[i].window, row[i].stride, false, w, &p[i], &err), err);
            for (int64_t k = 0; k < 4 * count; k++) sum[k % 4] += w[k];
            assert_near(exp(sum[0] / sum[1]), p[i].perplexity, 1e-12, "perplexity from its windows");
            assert_true(sum[2] >= (double)p[i].tokens && sum[2] <= (double)p[i].tokens && sum[3] >= (double)p[i].correct && sum[3] <= (double)p[i].correct);
            free(w);
        }
        size_t windows = (tokens + (size_t)row[i].stride - 1) / (size_t)row[i].stride;
        assert_int_equal(p[i].tokens, row[i].window == row[i].stride ? tokens - windows : tokens - 1);
        assert_true(p[i].correct > 0 && p[i].correct < p[i].tokens);
    }
    mg_error e;
    assert_fails(mg_perplexity_of(b.model, &mg_backend_cpu, ids.data, 10, 8, 9, false, p, &e), e, MG_CONFIG, "stride");
    assert_fails(mg_perplexity_of(b.model, &mg_backend_cpu, ids.data, 1, 8, 4, false, p, &e), e, MG_DATA, "1 tokens");
    mg_ids_free(&ids);
    mg_buf_free(&text);
    mg_bundle_close(&b);
}

static void as_transformers(void **state) {
    static const recipe row[] = { { 512, 512, 11.922682254942513 } };
    mg_perplexity p[1];
    (void)state;
    recipes("smollm2.gguf", 3945, row, 1, p);
    assert_int_equal(p[0].windows, 8);
}

/* A vocabulary of 262,144, a BOS of its own, windows of sliding attention inside the recipe's. */
static void gemma_as_transformers(void **state) {
    static const recipe row[] = { { 512, 256, 229.48267754624084 } };
    mg_perplexity p[1];
    (void)state;
    recipes("gemma3.gguf", 1328, row, 1, p);
}

/* Several texts side by side are scored as each alone. */
static void side_by_side(void **state) {
    (void)state;
    mg_bundle        b = { 0 };
    mg_error         err = { 0 };
    mg_model_options o = { .positions = 64 };
    int32_t          ids[] = { 1, 400, 31, 77, 1200, 5, 9, 400, 31, 20, 21 }, top[8];
    float            alone[8], together[2][8];
    assert_ok(mg_bundle_open(&b, model_path("smollm2.gguf"), &o, "none", &err), err);
    mg_score_text two[2] = { { ids, 6, 3, together[0], top }, { ids + 6, 5, 1, together[1], NULL } };
    assert_ok(mg_score_texts(b.model, &mg_backend_cpu, two, 2, false, &err), err);
    assert_ok(mg_score(b.model, &mg_backend_cpu, ids, 6, false, alone, &err), err);
    for (int i = 0; i < 3; i++) assert_near((double)together[0][i], (double)alone[2 + i], 1e-4, "first text");
    assert_ok(mg_score(b.model, &mg_backend_cpu, ids + 6, 5, false, alone, &err), err);
    for (int i = 0; i < 4; i++) assert_near((double)together[1][i], (double)alone[i], 1e-4, "second text");
    mg_bundle_close(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(as_transformers), cmocka_unit_test(gemma_as_transformers), cmocka_unit_test(side_by_side) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
