/* test_generate.c -- generation with the cache, on the tiny golden models, with both sets of kernels.
 *
 * Greedy tokens equal transformers' and those of a full recomputation; a prompt gives the same ids alone and
 * among others (drawn at temperature 2, where the smallest difference would show); every way an answer ends. */
#include "../support.h"

#include "base/json.h"
#include "base/rng.h"
#include "infer/generate.h"
#include "infer/score.h"
#include "peft/adapter.h"

enum { PROMPTS = 21, CONTEXT = 96 };

static mg_error err;
#define OK(call) assert_ok(call, err)

static const char *const backends[] = { "ref32", "cpu" };
static const char *const names[] = { "llama2", "llama3", "gemma3", "qwen2", "mistral", "qwen3", "gemma2", "phi3", "gpt2", "gpt_neox" };
enum { MODELS = sizeof names / sizeof *names };

static mg_model *open_model(const char *name) {
    char             path[64];
    mg_model        *m;
    mg_model_options o = { .positions = CONTEXT };
    snprintf(path, sizeof path, "golden/%s", name);
    OK(mg_model_open(&m, ref_path(path), &o, &err));
    return m;
}

static void read_ids(mg_ids *ids, yyjson_val *list) {
    size_t      i, n;
    yyjson_val *v;
    yyjson_arr_foreach(list, i, n, v) assert_true(mg_ids_push(ids, (int32_t)yyjson_get_sint(v)));
}

static void assert_ids(const mg_ids *got, const mg_ids *want, const char *what) {
    if (got->len != want->len) fail_msg("%s: %zu tokens, wanted %zu", what, got->len, want->len);
    for (size_t i = 0; i < got->len; i++)
        if (got->data[i] != want->data[i])
            fail_msg("%s: token %zu is %d, wanted %d", what, i, got->data[i], want->data[i]);
}

/* Prompts of 3 to 60 tokens. */
static void make_prompts(mg_ids *prompt, const mg_model *m) {
    for (uint32_t p = 0; p < PROMPTS; p++) {
        mg_rng r = { 11, mg_rng_where(p, 0, 0) };
        size_t n = 3 + mg_rng_u32(r, 1000) % 58;
        for (size_t i = 0; i < n; i++)
            assert_true(mg_ids_push(&prompt[p], (int32_t)(mg_rng_u32(r, i) % (uint32_t)m->c.vocab)));
    }
}

static void free_prompts(mg_ids *prompt) {
    for (int i = 0; i < PROMPTS; i++) mg_ids_free(&prompt[i]);
}

static void golden_greedy(void **state) {
    (void)state;
    for (size_t b = 0; b < 2; b++)
        for (size_t i = 0; i < MODELS; i++) {
            char      path[64];
            mg_json   j;
            mg_ids    prompt = { 0 }, want = { 0 };
            mg_model *m = open_model(names[i]);
            snprintf(path, sizeof path, "golden/%s/greedy.json", names[i]);
            OK(mg_json_open(&j, ref_path(path), 1 << 20, &err));
            read_ids(&prompt, yyjson_obj_get(j.root, "prompt"));
            read_ids(&want, yyjson_obj_get(j.root, "tokens"));
            mg_generate_options o = { .sampling = mg_sampling_greedy(), .max_new_tokens = (int64_t)want.len };
            mg_generation       out;
            OK(mg_generate_all(m, NULL, mg_backend_find(backends[b]), &prompt, 1, &o, &out, &err));
            assert_ids(&out.ids, &want, names[i]);
            assert_int_equal(out.finish, MG_FINISH_LENGTH);
            mg_generation_free(&out);
            mg_ids_free(&prompt);
            mg_ids_free(&want);
            mg_json_free(&j);
            mg_model_close(m);
        }
}

typedef struct {
    const int32_t *ids;
    int64_t        prompt, n, V;
    const char    *what;
} recomputation;

/* The logits at position i must be largest at ids[i + 1], where that was generated. */
static void check_position(void *context, int64_t i, const float *logit) {
    const recomputation *r = context;
    if (i + 1 < r->prompt || i + 1 >= r->n) return;
    int64_t best = 0;
    for (int64_t k = 1; k < r->V; k++)
        if (logit[k] > logit[best]) best = k;
    if (best != r->ids[i + 1])
        fail_msg("%s: position %d: %d without the cache, %d with it", r->what, (int)i, (int)best, r->ids[i + 1]);
}

static void cache_equals_recomputation(void **state) {
    (void)state;
    for (size_t b = 0; b < 2; b++)
        for (size_t i = 0; i < MODELS; i++) {
            mg_model         *m = open_model(names[i]);
            const mg_backend *backend = mg_backend_find(backends[b]);
            mg_ids            prompt[PROMPTS] = { 0 };
            mg_generation     out[PROMPTS];
            make_prompts(prompt, m);
            mg_generate_options o = { .sampling = mg_sampling_greedy(), .max_new_tokens = 36 };
            OK(mg_generate_all(m, NULL, backend, prompt, PROMPTS, &o, out, &err));
            for (int p = 0; p < PROMPTS; p++) {
                recomputation r = { .prompt = (int64_t)prompt[p].len, .V = m->c.vocab, .what = names[i] };
                for (size_t k = 0; k < out[p].ids.len; k++)
                    assert_true(mg_ids_push(&prompt[p], out[p].ids.data[k]));
                assert_int_equal(out[p].ids.len, 36);
                r.ids = prompt[p].data;
                r.n = (int64_t)prompt[p].len;
                OK(mg_score_logits(m, backend, prompt[p].data, r.n, false, check_position, &r, &err));
                mg_generation_free(&out[p]);
            }
            free_prompts(prompt);
            mg_model_close(m);
        }
}

static void alone_equals_together(void **state) {
    (void)state;
    for (size_t b = 0; b < 2; b++)
        for (size_t i = 0; i < MODELS; i++) {
            mg_model         *m = open_model(names[i]);
            const mg_backend *backend = mg_backend_find(backends[b]);
            mg_ids            prompt[PROMPTS] = { 0 };
            mg_generation     out[PROMPTS], one;
            make_prompts(prompt, m);
            mg_generate_options o = {
                .sampling = mg_sampling_greedy(), .max_new_tokens = 30, .stop = &(int32_t){ 5 }, .n_stop = 1
            };
            o.sampling.temperature = 2;
            o.sampling.repetition_penalty = 1.3;
            OK(mg_generate_all(m, NULL, backend, prompt, PROMPTS, &o, out, &err));
            for (int p = 0; p < PROMPTS; p++) {
                OK(mg_generate_all(m, NULL, backend, &prompt[p], 1, &o, &one, &err));
                assert_ids(&one.ids, &out[p].ids, names[i]);
                assert_int_equal(one.finish, out[p].finish);
                mg_generation_free(&one);
                mg_generation_free(&out[p]);
            }
            free_prompts(prompt);
            mg_model_close(m);
        }
}

static bool never(void *context) {
    (void)context;
    return false;
}

static bool after_three(void *context) { return ++*(int *)context > 3; }

static void how_answers_end(void **state) {
    (void)state;
    mg_model     *m = open_model("llama2");
    mg_generator *g;
    mg_generation full, out;
    mg_ids        prompt = { 0 };
    for (int i = 0; i < 6; i++) assert_true(mg_ids_push(&prompt, 10 + i));
    OK(mg_generator_open(&g, m, NULL, mg_backend_find("ref32"), 2, 40, &err));
    mg_generate_options o = { .sampling = mg_sampling_greedy(), .cancelled = never };
    o.sampling.temperature = 3;
    OK(mg_generate(g, &prompt, 1, &o, &full, &err));
    assert_int_equal(full.finish, MG_FINISH_CONTEXT);
    assert_int_equal(full.ids.len, 34);

    o.max_new_tokens = 1;
    OK(mg_generate(g, &prompt, 1, &o, &out, &err));
    assert_int_equal(out.finish, MG_FINISH_LENGTH);
    assert_int_equal(out.ids.len, 1);
    mg_generation_free(&out);

    o.max_new_tokens = 0;
    o.stop = &full.ids.data[9];
    o.n_stop = 1;
    OK(mg_generate(g, &prompt, 1, &o, &out, &err));
    assert_int_equal(out.finish, MG_FINISH_STOP);
    assert_int_equal(out.ids.data[out.ids.len - 1], full.ids.data[9]);
    assert_in_range(out.ids.len, 1, 10);
    mg_generation_free(&out);

    int           passes = 0;
    mg_generation both[3];
    mg_ids        three[3] = { prompt, prompt, prompt };
    o.n_stop = 0;
    o.cancelled = after_three;
    o.context = &passes;
    OK(mg_generate(g, three, 3, &o, both, &err));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(both[i].finish, MG_FINISH_CANCELLED);
        assert_true(both[i].ids.len < 4);
        mg_generation_free(&both[i]);
    }
    mg_generation_free(&full);
    mg_ids_free(&prompt);
    mg_generator_close(g);
    mg_model_close(m);
}

static void refusals(void **state) {
    (void)state;
    mg_model     *m = open_model("llama2");
    mg_generator *g = NULL;
    mg_generation out;
    int32_t       ids[40] = { 0 };
    mg_ids        prompt = { ids, 40, 40 };
    assert_fails(mg_generator_open(&g, m, NULL, mg_backend_find("ref32"), 1, CONTEXT + 1, &err), err, MG_CONFIG,
                 "max_length");
    assert_null(g);
    OK(mg_generator_open(&g, m, NULL, mg_backend_find("ref32"), 1, 40, &err));
    mg_generate_options o = { .sampling = mg_sampling_greedy() };
    assert_fails(mg_generate(g, &prompt, 1, &o, &out, &err), err, MG_TRUNCATED, "40 tokens");
    prompt.len = 0;
    assert_fails(mg_generate(g, &prompt, 1, &o, &out, &err), err, MG_DATA, "empty");
    prompt.len = 39;
    ids[7] = (int32_t)m->c.vocab;
    assert_fails(mg_generate(g, &prompt, 1, &o, &out, &err), err, MG_MISMATCH, "does not exist");
    ids[7] = -1;
    assert_fails(mg_generate(g, &prompt, 1, &o, &out, &err), err, MG_MISMATCH, "does not exist");
    ids[7] = 0;
    OK(mg_generate(g, &prompt, 1, &o, &out, &err));
    assert_int_equal(out.ids.len, 1);
    assert_int_equal(out.finish, MG_FINISH_CONTEXT);
    mg_generation_free(&out);
    mg_generator_close(g);
    mg_model_close(m);
}

/* A second turn reads only what is new, and comes to the same tokens. */
static void kept_prefix(void **state) {
    (void)state;
    mg_model     *m = open_model("gemma3");
    mg_generator *g;
    mg_generation first, second, fresh;
    mg_ids        prompt = { 0 };
    for (int i = 0; i < 20; i++) assert_true(mg_ids_push(&prompt, 20 + 3 * i));
    OK(mg_generator_open(&g, m, NULL, mg_backend_find("ref32"), 1, CONTEXT, &err));
    mg_generate_options o = { .sampling = mg_sampling_greedy(), .max_new_tokens = 10, .keep = true };
    OK(mg_generate(g, &prompt, 1, &o, &first, &err));
    assert_int_equal(first.reused, 0);
    for (size_t i = 0; i < first.ids.len; i++) assert_true(mg_ids_push(&prompt, first.ids.data[i]));
    for (int i = 0; i < 5; i++) assert_true(mg_ids_push(&prompt, 50 + i));
    OK(mg_generate(g, &prompt, 1, &o, &second, &err));
    assert_int_equal(second.reused, 29); /* the last token of the first answer was never read */
    mg_generator_forget(g);
    OK(mg_generate(g, &prompt, 1, &o, &fresh, &err));
    assert_int_equal(fresh.reused, 0);
    assert_ids(&second.ids, &fresh.ids, "kept");
    mg_generation_free(&second);
    o.adapters_off = true; /* other weights: nothing may be kept */
    OK(mg_generate(g, &prompt, 1, &o, &second, &err));
    assert_int_equal(second.reused, 0);
    mg_generation_free(&first);
    mg_generation_free(&second);
    mg_generation_free(&fresh);
    mg_ids_free(&prompt);
    mg_generator_close(g);
    mg_model_close(m);
}

static void adapters_on_and_off(void **state) {
    (void)state;
    mg_model         *plain = open_model("llama2"), *m = open_model("llama2");
    mg_adapter_config c;
    mg_adapter       *a;
    mg_params         params = { 0 };
    const char       *folder = ref_path("golden/llama2/peft_lora_all");
    mg_ids            prompt[PROMPTS] = { 0 };
    mg_generation     base[PROMPTS], off[PROMPTS], on[PROMPTS];
    int               differ = 0;
    OK(mg_adapter_read_config(&c, folder, &err));
    OK(mg_adapter_attach(&a, &c, &m->net, &params, &err));
    OK(mg_params_seal(&params, &mg_backend_cpu, &err));
    OK(mg_adapter_load(a, folder, &err));
    make_prompts(prompt, m);
    mg_generate_options o = { .sampling = mg_sampling_greedy(), .max_new_tokens = 12 };
    OK(mg_generate_all(plain, NULL, mg_backend_find("cpu"), prompt, PROMPTS, &o, base, &err));
    OK(mg_generate_all(m, NULL, mg_backend_find("cpu"), prompt, PROMPTS, &o, on, &err));
    o.adapters_off = true;
    OK(mg_generate_all(m, NULL, mg_backend_find("cpu"), prompt, PROMPTS, &o, off, &err));
    for (int i = 0; i < PROMPTS; i++) {
        assert_ids(&off[i].ids, &base[i].ids, "adapters off");
        differ += memcmp(on[i].ids.data, base[i].ids.data, on[i].ids.len * sizeof *on[i].ids.data) != 0;
        mg_generation_free(&base[i]);
        mg_generation_free(&on[i]);
        mg_generation_free(&off[i]);
    }
    assert_true(differ > 0);
    free_prompts(prompt);
    mg_adapter_detach(a, &m->net);
    mg_params_free(&params);
    mg_model_close(m);
    mg_model_close(plain);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(golden_greedy),
                                        cmocka_unit_test(cache_equals_recomputation),
                                        cmocka_unit_test(alone_equals_together),
                                        cmocka_unit_test(how_answers_end),
                                        cmocka_unit_test(refusals),
                                        cmocka_unit_test(kept_prefix),
                                        cmocka_unit_test(adapters_on_and_off) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
