/* test_embed_real.c -- sentence vectors of all-MiniLM-L6-v2 against what transformers computes.
 *
 * Ids equal; mean-pooled vectors, and the first numbers of the first token's, within 1e-5 of the vector's largest
 * number; cosines within 1e-5.  Batches of any size give the same vectors. */
#include "../support.h"

#include "base/json.h"
#include "infer/embed.h"
#include "text/tokenizer.h"

enum { TEXTS = 9 };

static mg_error err;
#define OK(call) assert_ok(call, err)

typedef struct {
    mg_model      *m;
    mg_json        json;
    mg_ids         ids[TEXTS];
    mg_embed_text  text[TEXTS];
    const mg_backend *b;
} rig;

static yyjson_val *sentence(const rig *r, size_t i) { return yyjson_arr_get(yyjson_obj_get(r->json.root, "sentences"), i); }

static void open_rig(rig *r) {
    mg_tokenizer    *t;
    mg_model_options o = { .positions = 512 };
    memset(r, 0, sizeof *r);
    r->b = mg_backend_find("cpu");
    OK(mg_model_open(&r->m, model_path("minilm"), &o, &err));
    OK(mg_tokenizer_open(&t, model_path("minilm"), &err));
    OK(mg_json_open(&r->json, ref_path("real/minilm.json"), 1 << 20, &err));
    assert_int_equal(yyjson_arr_size(yyjson_obj_get(r->json.root, "sentences")), TEXTS);
    for (size_t i = 0; i < TEXTS; i++) {
        yyjson_val *text = yyjson_obj_get(sentence(r, i), "text"), *want = yyjson_obj_get(sentence(r, i), "ids");
        OK(mg_tokenize(t, yyjson_get_str(text), yyjson_get_len(text), MG_TOKENIZE_SPECIAL, &r->ids[i], &err));
        assert_int_equal(r->ids[i].len, yyjson_arr_size(want));
        for (size_t k = 0; k < r->ids[i].len; k++) assert_int_equal(r->ids[i].data[k], yyjson_get_sint(yyjson_arr_get(want, k)));
        r->text[i] = (mg_embed_text){ r->ids[i].data, (int64_t)r->ids[i].len };
    }
    mg_tokenizer_free(t);
}

static void close_rig(rig *r) {
    for (int i = 0; i < TEXTS; i++) mg_ids_free(&r->ids[i]);
    mg_json_free(&r->json);
    mg_model_close(r->m);
}

static void near_list(const float *got, yyjson_val *want, const char *what, size_t text) {
    size_t n = yyjson_arr_size(want);
    double most = 0, worst = 0;
    for (size_t k = 0; k < n; k++) {
        double x = yyjson_get_num(yyjson_arr_get(want, k));
        most = fmax(most, fabs(x));
        worst = fmax(worst, fabs((double)got[k] - x));
    }
    if (!(worst <= 1e-5 * fmax(most, 1))) fail_msg("%s of text %zu differs by %.3g", what, text, worst);
}

static void vectors_and_cosines(void **state) {
    (void)state;
    rig r;
    open_rig(&r);
    int64_t          D = r.m->c.dim;
    float           *mean = malloc(TEXTS * (size_t)D * 4), *cls = malloc(TEXTS * (size_t)D * 4), *unit = malloc(TEXTS * (size_t)D * 4);
    mg_embed_options o = { 0 }, first = { .pooling = mg_pooling_find("cls"), .batch_tokens = 20 }, one = { .normalise = true, .batch_tokens = 1 };
    OK(mg_embed_texts(r.m, r.b, r.text, TEXTS, &o, mean, &err));
    OK(mg_embed_texts(r.m, r.b, r.text, TEXTS, &first, cls, &err));
    OK(mg_embed_texts(r.m, r.b, r.text, TEXTS, &one, unit, &err));
    for (size_t i = 0; i < TEXTS; i++) {
        near_list(mean + (int64_t)i * D, yyjson_obj_get(sentence(&r, i), "mean"), "the mean", i);
        near_list(cls + (int64_t)i * D, yyjson_obj_get(sentence(&r, i), "cls_first8"), "the first token", i);
        for (size_t k = 0; k < TEXTS; k++) {
            double dot = 0, want = yyjson_get_num(yyjson_arr_get(yyjson_arr_get(yyjson_obj_get(r.json.root, "cosine"), i), k));
            for (int64_t c = 0; c < D; c++) dot += (double)unit[(int64_t)i * D + c] * unit[(int64_t)k * D + c];
            if (!(fabs(dot - want) <= 1e-5)) fail_msg("cosine of %zu and %zu: %.7f, wanted %.6f", i, k, dot, want);
        }
    }
    free(mean);
    free(cls);
    free(unit);
    close_rig(&r);
}

static void wrong_texts_are_refused(void **state) {
    (void)state;
    rig r;
    open_rig(&r);
    float           *out = calloc(2 * (size_t)r.m->c.dim, 4);
    int32_t          foreign = (int32_t)r.m->c.vocab, ids[600] = { 0 };
    mg_embed_options o = { 0 };
    mg_embed_text    none[] = { r.text[0], { ids, 0 } }, beyond[] = { { &foreign, 1 } }, longer[] = { { ids, 513 } };
    assert_fails(mg_embed_texts(r.m, r.b, none, 2, &o, out, &err), err, MG_DATA, "text 2");
    assert_fails(mg_embed_texts(r.m, r.b, beyond, 1, &o, out, &err), err, MG_MISMATCH, "30522");
    assert_fails(mg_embed_texts(r.m, r.b, longer, 1, &o, out, &err), err, MG_TRUNCATED, "513");
    for (int64_t i = 0; i < 2 * r.m->c.dim; i++) assert_true(out[i] == 0);
    assert_null(mg_pooling_find("max"));
    free(out);
    close_rig(&r);
}

/* SmolLM2-135M, the weights of smollm2.gguf in float32, transformers 5's hidden_states (and the input table's rows): the
 * first six numbers within 2e-4 of the largest of them. */
static void any_layer_of_a_decoder(void **state) {
    static const struct { mg_embed_from from; int layer; const char *pooling; float want[6]; } cases[] = {
        { MG_EMBED_TABLE, 0, "mean", { -0.036289f, -0.001775f, -0.012785f, 0.027516f, 0.124442f, 0.004943f } },
        { MG_EMBED_LAYER, 0, "mean", { -0.036289f, -0.001775f, -0.012785f, 0.027516f, 0.124442f, 0.004943f } },
        { MG_EMBED_LAYER, 0, "last", { -0.01066f, 0.019544f, -0.065738f, 0.131475f, 0.051524f, -0.017767f } },
        { MG_EMBED_LAYER, 15, "last", { -9.067985f, 2.651305f, -11.403852f, -10.347557f, -4.605539f, -0.118849f } },
        { MG_EMBED_LAYER, 29, "last", { 1.136728f, -6.83489f, 13.960527f, -22.285295f, 16.674915f, -4.340367f } },
        { MG_EMBED_LAYER, 30, "last", { -0.664395f, -0.519255f, -0.264548f, -0.366261f, 1.26521f, -0.887392f } },
        { MG_EMBED_LAST, 0, "mean", { -0.655759f, -0.660331f, 0.040514f, 0.495683f, 0.819058f, -0.609676f } },
    };
    int32_t          ids[] = { 504, 2365, 260, 6330, 28, 284, 338, 314, 253, 1837 };
    mg_embed_text    text = { ids, 10 };
    mg_model        *m;
    mg_model_options mo = { .positions = 16 };
    float            out[4096];
    (void)state;
    OK(mg_model_open(&m, model_path("smollm2.gguf"), &mo, &err));
    assert_true(m->c.dim <= 4096);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mg_embed_options o = { .from = cases[i].from, .layer = cases[i].layer, .pooling = mg_pooling_find(cases[i].pooling) };
        OK(mg_embed_texts(m, &mg_backend_cpu, &text, 1, &o, out, &err));
        assert_close(out, cases[i].want, 6, 2e-4, "hidden states");
    }
    mg_embed_options far = { .from = MG_EMBED_LAYER, .layer = 31 };
    assert_fails(mg_embed_texts(m, &mg_backend_cpu, &text, 1, &far, out, &err), err, MG_CONFIG, "layer 31: this model has 30");
    mg_model_close(m);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(vectors_and_cosines), cmocka_unit_test(wrong_texts_are_refused),
                                        cmocka_unit_test(any_layer_of_a_decoder) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
