/* Optimizers against torch, transformers and bitsandbytes (optimizers.json; make_optimizers.py says how it was made), on
 * ref32 and cpu: values after 1 and after 25 steps within 1e-5 of the largest, norms within 1e-6.
 *
 * In 8 bits a number that falls beside a border between two codes may take the other one, because sums are rounded
 * in another order: a twentieth of the kept numbers may then be off by up to a step (lr), all others are within 1e-5.
 *
 * Beside that, for every row of the table: a state saved and loaded goes on bit for bit, paged equals unpaged bit for
 * bit on a device with memory of its own, sizes are those that the plan counts. */
#include "support.h"
#include "far_device.h"

#include "base/file.h"
#include "base/json.h"
#include "base/thread.h"
#include "format/safetensors.h"
#include "optim/optimizer.h"

static mg_error err;
#define OK(call) assert_ok(call, err)
#define LR 1e-2

static const struct { const char *name; int64_t rows, cols; } shapes[] = {
    { "a.weight", 48, 200 }, { "b.weight", 200, 48 }, { "norm.weight", 1, 300 }, { "embed_tokens.weight", 8, 16 },
};
enum { TENSORS = sizeof shapes / sizeof *shapes };

/* The hash of make_optimizers.py. */
static float noise(uint64_t seed, uint64_t i) {
    uint32_t x = (uint32_t)((i + 1) * 747796405u + seed * 2891336453u);
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    x ^= x >> 16;
    return (float)(x >> 8) * 0x1p-23f - 1;
}

typedef struct {
    mg_params  p;
    mg_optim  *o;
    mg_tensor *x[TENSORS];
} rig;

static void open_rig(rig *r, const mg_backend *b, const char *optim, const mg_optimizer_settings *s, int64_t times) {
    *r = (rig){ 0 };
    for (int t = 0; t < TENSORS; t++) assert_non_null(r->x[t] = mg_params_add(&r->p, shapes[t].name, shapes[t].rows * times, shapes[t].cols));
    mg_optim_spare_norms(&r->p);
    assert_non_null(mg_optimizer_find(optim));
    OK(mg_optim_open(&r->o, mg_optimizer_find(optim), s, &r->p, &err));
    OK(mg_params_seal(&r->p, b, &err));
    OK(mg_optim_allocate(r->o, &err));
    for (int t = 0; t < TENSORS; t++)
        for (int64_t i = 0; i < r->x[t]->rows * r->x[t]->cols; i++) mg_params_values(&r->p, r->x[t])[i] = noise((uint64_t)t + 1, (uint64_t)i);
    mg_params_push(&r->p);
}

static void close_rig(rig *r) {
    mg_optim_close(r->o);
    mg_params_free(&r->p);
}

static void step(rig *r, int64_t s, double lr) {
    double norm;
    float *g = calloc((size_t)r->p.count, sizeof *g);
    mg_params_pull(&r->p);
    for (int t = 0; t < TENSORS; t++) {
        const float *p = mg_params_values(&r->p, r->x[t]);
        float       *to = g + mg_params_at(&r->p, r->x[t]);
        for (int64_t i = 0; i < r->x[t]->rows * r->x[t]->cols; i++)
            to[i] = 0.3f * noise((uint64_t)(1000 + 7 * s + t), (uint64_t)i) + 0.2f * p[i];
    }
    r->p.backend->device->put(r->p.grad, g, (size_t)r->p.count * sizeof *g);
    assert_true(mg_optim_update(r->o, lr, s, &norm));
    r->p.backend->device->get(g, r->p.grad, (size_t)r->p.count * sizeof *g);
    for (int64_t i = 0; i < r->p.count; i++) assert_true(g[i] == 0);
    free(g);
    mg_params_pull(&r->p);
}

/* ---- the authorities ---- */

static void settings_of(yyjson_val *v, mg_optimizer_settings *s) {
    struct { const char *key; float *to; } numbers[] = {
        { "beta1", &s->beta1 }, { "beta2", &s->beta2 }, { "eps", &s->eps }, { "weight_decay", &s->weight_decay },
        { "momentum", &s->sgd.momentum }, { "dampening", &s->sgd.dampening }, { "adafactor_beta1", &s->adafactor.beta1 },
        { "clip_threshold", &s->adafactor.clip_threshold }, { "decay_rate", &s->adafactor.decay_rate }, { "muon_momentum", &s->muon.momentum },
    };
    struct { const char *key; bool *to; } flags[] = {
        { "nesterov", &s->sgd.nesterov }, { "scale_parameter", &s->adafactor.scale_parameter }, { "relative_step", &s->adafactor.relative_step },
        { "warmup_init", &s->adafactor.warmup_init }, { "muon_nesterov", &s->muon.nesterov }, { "match_rms_adamw", &s->muon.match_rms_adamw },
    };
    size_t      known = 0;
    yyjson_val *x;
    *s = mg_optimizer_defaults();
    s->max_grad_norm = 0;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if ((x = yyjson_obj_get(v, numbers[i].key))) *numbers[i].to = (float)yyjson_get_num(x), known++;
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if ((x = yyjson_obj_get(v, flags[i].key))) *flags[i].to = yyjson_get_num(x) != 0, known++;
    if ((x = yyjson_obj_get(v, "galore"))) s->galore.rank = 8, s->galore.gap = 10, known++;
    if ((x = yyjson_obj_get(v, "side"))) s->galore.side = (int)yyjson_get_num(x), known++;
    if ((x = yyjson_obj_get(v, "ns_steps"))) s->muon.ns_steps = (int)yyjson_get_num(x), known++;
    assert_int_equal(known, yyjson_obj_size(v));
}

static void compare(rig *r, yyjson_val *want, const char *label, bool eight) {
    int off = 0, all = 0;
    for (int t = 0; t < TENSORS; t++) {
        yyjson_val  *x = yyjson_obj_get(want, shapes[t].name), *v;
        const float *p = mg_params_values(&r->p, r->x[t]);
        int64_t      n = shapes[t].rows * shapes[t].cols;
        double       square = 0, norm = yyjson_get_num(yyjson_obj_get(x, "norm")), largest = 0;
        size_t       i, count;
        for (int64_t k = 0; k < n; k++) square += (double)p[k] * (double)p[k];
        if (!(fabs(sqrt(square) - norm) <= (eight ? 1e-5 : 1e-6) * norm)) fail_msg("%s, %s: norm %.9g, wanted %.9g", label, shapes[t].name, sqrt(square), norm);
        yyjson_arr_foreach(yyjson_obj_get(x, "values"), i, count, v) largest = fmax(largest, fabs(yyjson_get_num(v)));
        yyjson_arr_foreach(yyjson_obj_get(x, "values"), i, count, v) {
            double got = (double)p[(int64_t)i * 97 % n], d = fabs(got - yyjson_get_num(v));
            all++;
            off += !(d <= 1e-5 * largest);
            if (!(d <= (eight ? LR : 1e-5 * largest))) fail_msg("%s, %s[%zu]: %.9g, wanted %.9g", label, shapes[t].name, i * 97 % (size_t)n, got, yyjson_get_num(v));
        }
        assert_int_equal(count, 24);
    }
    if (off * 20 > all) fail_msg("%s: %d of %d values differ", label, off, all);
}

static void as_the_authorities(void **state) {
    (void)state;
    mg_json      j;
    size_t       i, n, cases = 0;
    yyjson_val  *key, *c;
    const mg_backend *backends[] = { &mg_backend_ref32, &mg_backend_cpu };
    OK(mg_json_open(&j, source_path("tests/optim/optimizers.json"), 1 << 20, &err));
    yyjson_obj_foreach(j.root, i, n, key, c) {
        const char *optim = yyjson_get_str(yyjson_obj_get(c, "optim"));
        for (int b = 0; b < 2; b++) {
            mg_optimizer_settings s;
            rig                   r;
            char                  label[120];
            settings_of(yyjson_obj_get(c, "settings"), &s);
            open_rig(&r, backends[b], optim, &s, 1);
            for (int64_t k = 1; k <= 25; k++) {
                step(&r, k, LR);
                snprintf(label, sizeof label, "%s on %s, step %d", yyjson_get_str(key), backends[b]->name, (int)k);
                char number[8];
                snprintf(number, sizeof number, "%d", (int)k);
                yyjson_val *want = yyjson_obj_get(yyjson_obj_get(c, "steps"), number);
                if (want) compare(&r, want, label, strstr(optim, "8bit") != NULL);
            }
            close_rig(&r);
        }
        cases++;
    }
    assert_true(cases >= 15);
    mg_json_free(&j);
}

/* ---- every row ---- */

static mg_optimizer_settings usual(void) {
    mg_optimizer_settings s = mg_optimizer_defaults();
    s.weight_decay = 0.1f;
    s.sgd.momentum = 0.9f;
    s.adafactor.beta1 = 0.9f;
    s.galore.rank = 8;
    s.galore.gap = 5;
    return s;
}

static void *values_of(rig *r) {
    void *copy = malloc((size_t)r->p.count * sizeof(float));
    memcpy(copy, r->p.host, (size_t)r->p.count * sizeof(float));
    return copy;
}

/* 12 steps in one go, and 6, saved, loaded elsewhere, 6 more. */
static void going_on(void **state) {
    (void)state;
    mg_optimizer_settings s = usual();
    char                 *folder = make_temp_folder(), path[4200];
    mg_backend            far = mg_backend_cpu;
    far.device = &far_device;
    snprintf(path, sizeof path, "%s/optimizer.safetensors", folder);
    for (size_t i = 0; mg_optimizer_at(i); i++)
        for (int b = 0; b < 2; b++) {
            const char       *name = mg_optimizer_at(i)->name;
            const mg_backend *backend = b ? &far : &mg_backend_cpu;
            rig               whole, first, second;
            open_rig(&whole, backend, name, &s, 1);
            open_rig(&first, backend, name, &s, 1);
            open_rig(&second, backend, name, &s, 1);
            for (int64_t k = 1; k <= 12; k++) step(&whole, k, LR);
            for (int64_t k = 1; k <= 6; k++) step(&first, k, LR);
            OK(mg_optim_save(first.o, path, &err));
            OK(mg_optim_load(second.o, path, &err));
            memcpy(second.p.host, first.p.host, (size_t)first.p.count * sizeof(float));
            mg_params_push(&second.p);
            for (int64_t k = 7; k <= 12; k++) step(&second, k, LR);
            if (memcmp(whole.p.host, second.p.host, (size_t)whole.p.count * sizeof(float))) fail_msg("%s on %s: resumed values differ", name, backend->device->name);
            close_rig(&whole);
            close_rig(&first);
            close_rig(&second);
        }
    assert_int_equal(far_held, 0);
    remove_temp_folder(folder);
}

/* State of another optimizer or another shape is refused, and nothing changes. */
static void wrong_state(void **state) {
    (void)state;
    mg_optimizer_settings s = usual();
    char                 *folder = make_temp_folder(), path[4200];
    rig                   a, b, c;
    snprintf(path, sizeof path, "%s/optimizer.safetensors", folder);
    open_rig(&a, &mg_backend_cpu, "adamw", &s, 1);
    open_rig(&b, &mg_backend_cpu, "lion_32bit", &s, 1);
    open_rig(&c, &mg_backend_cpu, "adamw", &s, 2);
    step(&b, 1, LR);
    OK(mg_optim_save(a.o, path, &err));
    assert_fails(mg_optim_load(b.o, path, &err), err, MG_MISMATCH, "another optimizer");
    assert_fails(mg_optim_load(c.o, path, &err), err, MG_MISMATCH, "exp_avg");
    OK(mg_optim_save(b.o, path, &err));
    assert_fails(mg_optim_load(a.o, path, &err), err, MG_MISMATCH, "exp_avg_sq");
    assert_fails(mg_optim_load(a.o, "/nowhere/optimizer.safetensors", &err), err, MG_NOTFOUND, "nowhere");
    close_rig(&a);
    close_rig(&b);
    close_rig(&c);
    remove_temp_folder(folder);
}

/* Tensors of several pages, two tensors with a rule of their own: pages begin and end everywhere. */
static void paged_is_unpaged(void **state) {
    (void)state;
    static const char *const pairs[][2] = { { "adamw", "paged_adamw_32bit" }, { "adamw_8bit", "paged_adamw_8bit" },
                                            { "lion_32bit", "paged_lion_32bit" }, { "lion_8bit", "paged_lion_8bit" } };
    mg_optimizer_settings s = usual();
    mg_backend            far = mg_backend_cpu;
    far.device = &far_device;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        rig plain, paged;
        open_rig(&plain, &mg_backend_cpu, pairs[i][0], &s, 120);
        open_rig(&paged, &far, pairs[i][1], &s, 120);
        assert_true(plain.p.count > 2 << 20);
        mg_params_set_rule(&plain.p, plain.x[1], (mg_param_rule){ 4, 1 });
        mg_params_set_rule(&paged.p, paged.x[1], (mg_param_rule){ 4, 1 });
        far_pages = 0;
        for (int64_t k = 1; k <= 3; k++) step(&plain, k, LR), step(&paged, k, LR);
        assert_true(far_pages > 10);
        void *a = values_of(&plain), *b = values_of(&paged);
        assert_memory_equal(a, b, (size_t)plain.p.count * sizeof(float));
        free(a);
        free(b);
        close_rig(&plain);
        close_rig(&paged);
    }
    assert_int_equal(far_held, 0);
}

/* A factor of the rule is a factor of the learning rate: LoRA+. */
static void rules(void **state) {
    (void)state;
    static const char *const names[] = { "adamw", "adamw_8bit", "lion_32bit", "sgd", "adafactor", "muon" };
    mg_optimizer_settings s = usual();
    s.max_grad_norm = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        rig one, four;
        open_rig(&one, &mg_backend_cpu, names[i], &s, 1);
        open_rig(&four, &mg_backend_cpu, names[i], &s, 1);
        mg_params_set_rule(&four.p, four.x[1], (mg_param_rule){ 4, 1 });
        step(&one, 1, 4 * LR);
        step(&four, 1, LR);
        int64_t n = shapes[1].rows * shapes[1].cols;
        assert_close(mg_params_values(&four.p, four.x[1]), mg_params_values(&one.p, one.x[1]), (size_t)n, 1e-6, names[i]);
        assert_true(memcmp(mg_params_values(&four.p, four.x[0]), mg_params_values(&one.p, one.x[0]), 4000) != 0);
        close_rig(&one);
        close_rig(&four);
    }
}

/* Bytes a number: what the memory plan counts. */
static void sizes(void **state) {
    (void)state;
    static const struct { const char *name; double bytes; } want[] = {
        { "adamw", 8 }, { "adamw_8bit", 2 + 2.0 * 4 / 256 }, { "lion_32bit", 4 }, { "lion_8bit", 1 + 4.0 / 256 }, { "sgd", 4 }, { "muon", 4 },
    };
    mg_optimizer_settings s = usual();
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        rig small, large;
        open_rig(&small, &mg_backend_cpu, want[i].name, &s, 100);
        open_rig(&large, &mg_backend_cpu, want[i].name, &s, 200);
        double more = (double)(mg_optim_bytes(large.o, &mg_device_host) - mg_optim_bytes(small.o, &mg_device_host));
        double numbers = (double)(large.p.count - small.p.count);
        if (strcmp(want[i].name, "muon") && !(fabs(more / numbers - want[i].bytes) < 0.02))
            fail_msg("%s: %.3f bytes a number, wanted %.3f", want[i].name, more / numbers, want[i].bytes);
        close_rig(&small);
        close_rig(&large);
    }
}

/* A gradient that is not finite changes nothing. */
static void not_finite(void **state) {
    (void)state;
    mg_optimizer_settings s = usual();
    for (size_t i = 0; mg_optimizer_at(i); i++) {
        rig    r;
        double norm;
        open_rig(&r, &mg_backend_cpu, mg_optimizer_at(i)->name, &s, 1);
        step(&r, 1, LR);
        void *before = values_of(&r);
        ((float *)r.p.grad)[77] = INFINITY;
        assert_false(mg_optim_update(r.o, LR, 2, &norm));
        assert_memory_equal(before, r.p.host, (size_t)r.p.count * sizeof(float));
        assert_true(((float *)r.p.grad)[77] == 0);
        free(before);
        close_rig(&r);
    }
}

/* Settings that contradict each other. */
static void refused(void **state) {
    (void)state;
    mg_params             p = { 0 };
    mg_optim             *o;
    mg_optimizer_settings s = mg_optimizer_defaults();
    assert_non_null(mg_params_add(&p, "a.weight", 4, 4));
    s.sgd.nesterov = true;
    assert_fails(mg_optim_open(&o, mg_optimizer_find("sgd"), &s, &p, &err), err, MG_CONFIG, "sgd_momentum");
    s.adafactor.warmup_init = true;
    assert_fails(mg_optim_open(&o, mg_optimizer_find("adafactor"), &s, &p, &err), err, MG_CONFIG, "relative_step");
    assert_null(mg_optimizer_find("nothing"));
    mg_params_free(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_the_authorities), cmocka_unit_test(going_on), cmocka_unit_test(wrong_state), cmocka_unit_test(paged_is_unpaged),
        cmocka_unit_test(rules), cmocka_unit_test(sizes), cmocka_unit_test(not_finite), cmocka_unit_test(refused),
    };
    mg_threads_start(2);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
