/* test_heads.c -- heads on tiny models against transformers: loss, logits, gradients of the head and of a weight below it.
 *
 * Numbers are those of heads_peer.py; heads and inputs are the formulas that stand there.  Tolerance: 1e-4 of the
 * largest entry, on the reference kernels and the fast ones, with each policy of keeping activations. */
#include "../support.h"

#include "base/json.h"
#include "train/step.h"

enum { ARENA = 64 << 20, NODES = 4096, SEQUENCES = 4, MOST = 1024 };
static const int lengths[SEQUENCES] = { 9, 5, 12, 1 };
static mg_error  err;
#define OK(call) assert_ok(call, err)

typedef struct rig {
    mg_model  *m;
    mg_params  params;
    mg_arena   mem;
    mg_tape    tape;
    mg_packed  packed;
    mg_head    head;
    mg_tensor  eye;
    float      unit[64];
    int32_t    numbers[SEQUENCES][64];
    mg_sample  sample[SEQUENCES];
} rig;

static void fill(rig *r, mg_tensor *x, double phase) {
    float *v = mg_params_values(&r->params, x);
    for (int64_t i = 0; i < x->rows * x->cols; i++) v[i] = (float)(0.1 * sin(0.7 * (double)i + phase));
}

static void add_label(mg_sample *x, int row, int label) {
    x->row[x->n_labels] = row;
    x->label[x->n_labels++] = label;
}

static void make_sample(rig *r, int s) {
    mg_sample  *x = &r->sample[s];
    int         n = lengths[s], vocab = (int)r->m->c.vocab;
    bool        first = r->m->arch->encoder;
    const char *goal = r->head.kind->goal->name;
    *x = (mg_sample){ .ids = r->numbers[s], .row = r->numbers[s] + 16, .label = r->numbers[s] + 32, .n = n, .goal = r->head.kind->goal };
    for (int i = 0; i < n; i++) x->ids[i] = 3 + (7 * i * i + 13 * s + 5 * i) % (vocab - 3);
    x->second = first && n > 3 ? n / 2 : 0;
    x->value = (float)(0.5 * s - 0.7);
    if (!strcmp(goal, "classification") || !strcmp(goal, "regression"))
        add_label(x, first ? 0 : n - 1, goal[0] == 'c' ? s % 3 : 0);
    else if (r->head.kind->goal->columns) {
        add_label(x, 0, n / 3);
        add_label(x, 1, n / 2);
    } else
        for (int i = 0; i < n; i += 2) add_label(x, i, (i + s) % 5);
}

static bool adopt_query(mg_tensor *w, void *context) {
    rig *r = context;
    if (strstr(w->name, ".0.") && (strstr(w->name, "q_proj.weight") || strstr(w->name, "query.weight"))) assert_true(mg_params_adopt(&r->params, w));
    return true;
}

static void open_rig(rig *r, yyjson_val *c, const char *backend) {
    char                 folder[200];
    mg_model_options     o = { .positions = 64 };
    const mg_backend    *b = mg_backend_find(backend);
    const mg_head_kind  *kind = mg_head_kind_of(mg_goal_find(yyjson_get_str(yyjson_obj_get(c, "goal"))));
    bool                 bias;
    memset(r, 0, sizeof *r);
    snprintf(folder, sizeof folder, "golden/%s", yyjson_get_str(yyjson_obj_get(c, "model")));
    OK(mg_model_open(&r->m, ref_path(folder), &o, &err));
    OK(mg_arena_open(&r->mem, b->device, ARENA, false, &err));
    OK(mg_tape_open(&r->tape, b, &r->mem, NODES, &err));
    assert_string_equal(mg_head_module(kind, r->m->arch, &bias), yyjson_get_str(yyjson_obj_get(c, "module")));
    assert_int_equal(bias, yyjson_get_bool(yyjson_obj_get(c, "bias")));
    int64_t D = r->m->c.dim, K = (int64_t)yyjson_arr_size(yyjson_obj_get(c, "weight_grad")) / D;
    r->head = (mg_head){ .kind = kind, .columns = K, .eye = &r->eye };
    r->head.l.w = mg_params_add(&r->params, "w", K, D);
    if (bias) r->head.l.bias = mg_params_add(&r->params, "b", 1, K);
    mg_model_each_weight(r->m, adopt_query, r);
    assert_int_equal(r->params.n, bias ? 3 : 2);
    OK(mg_params_seal(&r->params, b, &err));
    fill(r, r->head.l.w, 0.3);
    if (bias) fill(r, r->head.l.bias, 1.1);
    for (int64_t i = 0; i < K; i++) r->unit[i * K + i] = 1;
    r->eye = (mg_tensor){ .rows = K, .cols = K, .format = &mg_format_f32, .data = r->unit };
    const mg_sample *list[SEQUENCES];
    for (int s = 0; s < SEQUENCES; s++) make_sample(r, s), list[s] = &r->sample[s];
    OK(mg_pack_for(&r->packed, list, SEQUENCES, &r->head, &err));
}

static void close_rig(rig *r) {
    mg_packed_free(&r->packed);
    mg_tape_close(&r->tape);
    mg_arena_close(&r->mem);
    mg_params_free(&r->params);
    mg_model_close(r->m);
}

static void check(const char *what, const char *label, const float *got, yyjson_val *want) {
    float       expected[MOST];
    size_t      i, n;
    yyjson_val *v;
    assert_true(yyjson_arr_size(want) <= MOST);
    yyjson_arr_foreach(want, i, n, v) expected[i] = (float)yyjson_get_num(v);
    char text[200];
    snprintf(text, sizeof text, "%s: %s", label, what);
    assert_close(got, expected, n, 1e-4, text);
}

static void one_case(yyjson_val *c, const char *backend, mg_keep policy) {
    rig    r;
    char   label[160];
    float  z[MOST];
    double nll, loss;
    const char *model = yyjson_get_str(yyjson_obj_get(c, "model")), *goal = yyjson_get_str(yyjson_obj_get(c, "goal"));
    snprintf(label, sizeof label, "%s %s on %s, keep %d", model ? model : "?", goal ? goal : "?", backend, (int)policy);
    open_rig(&r, c, backend);
    mg_keep keep[MG_CONFIG_LAYERS];
    for (int i = 0; i < MG_CONFIG_LAYERS; i++) keep[i] = policy;
    r.tape.keep = keep;
    double labels = (double)r.packed.batch.n_labels, want = yyjson_get_num(yyjson_obj_get(c, "loss"));
    OK(mg_step_head(&r.tape, r.m, &r.packed.batch, z, &nll, &err));
    assert_near(nll / labels, want, 1e-5, label);
    yyjson_val *logits = yyjson_obj_get(c, "logits");
    int64_t     K = r.head.columns;
    if ((int64_t)yyjson_arr_size(logits) == SEQUENCES * K) /* of whole sequences */
        for (int s = 0; s < SEQUENCES; s++)
            memmove(z + s * K, z + r.packed.batch.label_row[s] * K, (size_t)K * sizeof *z);
    check("logits", label, z, logits);
    OK(mg_step_train(&r.tape, r.m, &r.packed.batch, (float)(1 / labels), &loss, &err));
    assert_near(loss, want, 1e-5, label);
    check("gradient of the head", label, r.head.l.w->grad, yyjson_obj_get(c, "weight_grad"));
    if (r.head.l.bias && !r.head.kind->goal->columns) check("gradient of the bias", label, r.head.l.bias->grad, yyjson_obj_get(c, "bias_grad"));
    for (int64_t i = 0; r.head.kind->goal->columns && i < 2; i++) /* it moves all places alike: no gradient */
        assert_true(fabs((double)((float *)r.head.l.bias->grad)[i]) < 1e-6);
    const mg_tensor *q = r.params.item[r.params.n - 1];
    double           norm = 0;
    for (int64_t i = 0; i < q->rows * q->cols; i++) norm += (double)((float *)q->grad)[i] * (double)((float *)q->grad)[i];
    assert_near(sqrt(norm) / yyjson_get_num(yyjson_obj_get(c, "query_norm")), 1, 1e-4, label);
    check("gradient of a weight below", label, q->grad, yyjson_obj_get(c, "query_grad"));
    close_rig(&r);
}

static void heads_are_those_of_transformers(void **state) {
    (void)state;
    mg_json     j;
    size_t      i, n;
    yyjson_val *c;
    OK(mg_json_open(&j, source_path("tests/model/head_cases.json"), 1 << 20, &err));
    yyjson_arr_foreach(yyjson_obj_get(j.root, "cases"), i, n, c) {
        for (mg_keep k = MG_KEEP_ALL; k <= MG_KEEP_NONE; k++) {
            one_case(c, "ref32", k);
            one_case(c, "cpu", k);
        }
    }
    assert_int_equal(n, 11);
    mg_json_free(&j);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(heads_are_those_of_transformers) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
