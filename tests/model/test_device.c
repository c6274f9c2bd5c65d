/* test_device.c -- a device with memory of its own, played by this process.
 *
 * The CPU's kernels on a device that says it is not the host: whatever the program hands to a kernel must have been
 * put there, and whatever it reads must have been fetched.  Memory of the device lies between guard pages of nothing
 * known (it is poisoned when given out), so a value that was never copied is a NaN.  Same kernels, same bits: training
 * with an adapter and in full, from plain and from 4-bit weights, scores and generated tokens equal the host's exactly. */
#include "../support.h"
#include "../far_device.h"

#include "infer/generate.h"
#include "infer/score.h"
#include "optim/optimizer.h"
#include "peft/adapter.h"
#include "train/step.h"

enum { ARENA = 64 << 20, NODES = 4096, STEPS = 3, T = 24 };

static mg_error err;
#define OK(call) assert_ok(call, err)

typedef struct {
    double   loss[STEPS], norm[STEPS];
    float    nll[T - 1];
    int32_t  made[12];
    size_t   n_made;
    uint8_t *values; /* of all parameters, after the steps */
    size_t   bytes;
} outcome;

static bool adopt(mg_tensor *w, void *params) { return mg_params_adopt(params, w); }

static void make_samples(mg_packed *p, int64_t vocab) {
    static int32_t ids[2][T], label[2][T];
    mg_sample      s[2];
    for (int b = 0; b < 2; b++) {
        for (int i = 0; i < T; i++) ids[b][i] = label[b][i] = (int32_t)((37 * i + 11 * b + 5) % vocab);
        s[b] = (mg_sample){ .ids = ids[b], .label = label[b], .n = T - 3 * b, .n_labels = T - 3 * b - 1 };
    }
    OK(mg_pack(p, (const mg_sample *const[]){ &s[0], &s[1] }, 2, &err));
}

static void train(outcome *o, mg_model *m, const mg_backend *b, mg_params *p, mg_keep policy) {
    mg_arena              mem;
    mg_tape               tape;
    mg_packed             packed = { 0 };
    mg_keep               keep[MG_CONFIG_LAYERS];
    mg_optimizer_settings s = { .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f, .weight_decay = 0.01f, .max_grad_norm = 1 };
    mg_optim             *optimizer;
    for (int i = 0; i < MG_CONFIG_LAYERS; i++) keep[i] = policy;
    OK(mg_arena_open(&mem, b->device, ARENA, false, &err));
    OK(mg_tape_open(&tape, b, &mem, NODES, &err));
    OK(mg_optim_open(&optimizer, mg_optimizer_find("adamw"), &s, p, &err));
    OK(mg_optim_allocate(optimizer, &err));
    tape.keep = keep;
    make_samples(&packed, m->c.vocab);
    for (int i = 0; i < STEPS; i++) {
        OK(mg_step_train(&tape, m, &packed.batch, 1.0f / (float)packed.batch.n_labels, &o->loss[i], &err));
        assert_true(mg_optim_update(optimizer, 1e-3, i + 1, &o->norm[i]));
    }
    mg_optim_close(optimizer);
    mg_params_pull(p);
    o->bytes = (size_t)p->count * sizeof(float);
    o->values = malloc(o->bytes);
    memcpy(o->values, p->host, o->bytes);
    mg_packed_free(&packed);
    mg_tape_close(&tape);
    mg_arena_close(&mem);
}

static outcome run(const char *folder, const mg_backend *b, bool full, bool nf4, mg_keep policy) {
    outcome          o = { 0 };
    mg_model        *m;
    mg_params        params = { 0 };
    mg_adapter      *adapter = NULL;
    mg_model_options mo = { .positions = 128 };
    if (nf4) mo.quant = &mg_format_nf4, mo.quant_block = 64, mo.quant_nested = true;
    OK(mg_model_open(&m, folder, &mo, &err));
    mg_adapter_config c = { .method = mg_method_find("lora"), .r = 4, .alpha = 8, .targets = "all-linear" };
    if (full)
        mg_model_each_weight(m, adopt, &params);
    else
        OK(mg_adapter_attach(&adapter, &c, &m->net, &params, &err));
    OK(mg_params_seal(&params, b, &err));
    if (adapter) OK(mg_adapter_init(adapter, 7, &err));
    OK(mg_model_place(m, b, &err));
    train(&o, m, b, &params, policy);

    int32_t ids[T];
    for (int i = 0; i < T; i++) ids[i] = (int32_t)((13 * i + 3) % m->c.vocab);
    OK(mg_score(m, b, ids, T, false, o.nll, &err));

    mg_generator *g;
    mg_generation made = { 0 };
    mg_ids        prompt = { .data = ids, .len = 9 };
    OK(mg_generator_open(&g, m, NULL, b, 1, 64, &err));
    OK(mg_generate(g, &prompt, 1, &(mg_generate_options){ .max_new_tokens = 12, .sampling = { .repetition_penalty = 1 } }, &made, &err));
    o.n_made = made.ids.len;
    memcpy(o.made, made.ids.data, made.ids.len * sizeof *o.made);
    mg_generation_free(&made);
    mg_generator_close(g);

    mg_adapter_detach(adapter, &m->net);
    mg_params_free(&params);
    mg_model_close(m);
    return o;
}

static void same_as_host(const char *name, bool full, bool nf4) {
    mg_backend far = mg_backend_cpu;
    char       folder[600];
    far.device = &far_device;
    snprintf(folder, sizeof folder, "%s", ref_path(name));
    for (mg_keep k = MG_KEEP_ALL; k <= MG_KEEP_NONE; k++) {
        outcome a = run(folder, &mg_backend_cpu, full, nf4, k);
        far_puts = far_gets = 0;
        outcome b = run(folder, &far, full, nf4, k);
        assert_true(far_puts > 0 && far_gets > 0);
        assert_int_equal(far_held, 0);
        for (int i = 0; i < STEPS; i++) {
            assert_true(isfinite(a.loss[i]));
            if (a.loss[i] != b.loss[i] || a.norm[i] != b.norm[i])
                fail_msg("%s, keep %d, step %d: loss %.9g and %.9g, norm %.9g and %.9g", name, k, i, a.loss[i], b.loss[i], a.norm[i], b.norm[i]);
        }
        assert_memory_equal(a.nll, b.nll, sizeof a.nll);
        assert_int_equal(a.bytes, b.bytes);
        assert_memory_equal(a.values, b.values, a.bytes);
        assert_int_equal(a.n_made, b.n_made);
        assert_memory_equal(a.made, b.made, a.n_made * sizeof *a.made);
        free(a.values);
        free(b.values);
    }
}

static void with_an_adapter(void **state) {
    (void)state;
    same_as_host("golden/llama2", false, false);
    same_as_host("golden/gemma3", false, false);
    same_as_host("golden/qwen2", false, false); /* biases */
}
static void on_4_bit_weights(void **state) {
    (void)state;
    same_as_host("golden/llama2", false, true);
}
static void in_full(void **state) {
    (void)state;
    same_as_host("golden/llama3", true, false);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(with_an_adapter), cmocka_unit_test(on_4_bit_weights), cmocka_unit_test(in_full) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
