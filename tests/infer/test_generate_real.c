/* test_generate_real.c -- the three real models, packed as they are, against transformers on the same weights in
 * fp32.
 *
 * Per-token nll within 1e-3, its mean within 1e-4; logsumexp, the logits of transformers' top 8 and every 64th
 * last logit within 1e-3; the top 8 in order where neighbours are further apart than that; greedy continuations
 * equal where the gap to the second choice is larger than 1e-3.  Then text: streamed pieces are whole characters
 * and together the text, stop texts cut, and a prompt has one answer alone and among others.  Prints tokens per
 * second. */
#include "../support.h"

#include "base/thread.h"
#include "format/safetensors.h"
#include "infer/bundle.h"
#include "infer/generate.h"
#include "infer/score.h"

#include <time.h>

static mg_error err;
#define OK(call) assert_ok(call, err)

enum { TOP = 8, EVERY = 64 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static const mg_backend *backend(void) { return mg_backend_find("cpu"); }

typedef struct {
    mg_bundle       b;
    mg_json         j;
    mg_safetensors *f;
} rig;

static void open_rig(rig *r, const char *name) {
    char             path[64];
    mg_model_options o = { .positions = 512 };
    snprintf(path, sizeof path, "%s.gguf", name);
    OK(mg_bundle_open(&r->b, model_path(path), &o, NULL, &err));
    snprintf(path, sizeof path, "real/%s/reference.json", name);
    OK(mg_json_open(&r->j, ref_path(path), 1 << 24, &err));
    snprintf(path, sizeof path, "real/%s/reference.safetensors", name);
    OK(mg_safetensors_open(&r->f, ref_path(path), &err));
}

static void close_rig(rig *r) {
    mg_safetensors_close(r->f);
    mg_json_free(&r->j);
    mg_bundle_close(&r->b);
}

static void read_ids(mg_ids *ids, yyjson_val *list) {
    size_t      i, n;
    yyjson_val *v;
    yyjson_arr_foreach(list, i, n, v) assert_true(mg_ids_push(ids, (int32_t)yyjson_get_sint(v)));
}

static const void *part(const rig *r, size_t text, const char *what, int64_t *n) {
    char name[64];
    snprintf(name, sizeof name, "%zu/%s", text, what);
    const mg_st_entry *e = mg_safetensors_find(r->f, name);
    if (!e) fail_msg("no %s in the reference", name);
    *n = e->dims[0];
    return e->data;
}

typedef struct {
    const int32_t *top_id; /* [n, TOP] */
    const float   *top_logit, *lse, *every;
    int64_t        n, V, n_every;
    const char    *what;
} wanted;

static void compare_logits(void *context, int64_t i, const float *logit) {
    const wanted *w = context;
    double        sum = 0, most = -INFINITY;
    for (int64_t k = 0; k < w->V; k++) most = fmax(most, (double)logit[k]);
    for (int64_t k = 0; k < w->V; k++) sum += exp((double)logit[k] - most);
    double lse = most + log(sum);
    if (!(fabs(lse - (double)w->lse[i]) <= 1e-3))
        fail_msg("%s: logsumexp %d is %g, wanted %g", w->what, (int)i, lse, (double)w->lse[i]);
    const int32_t *id = w->top_id + i * TOP;
    const float   *want = w->top_logit + i * TOP;
    for (int k = 0; k < TOP; k++) {
        double got = (double)logit[id[k]];
        if (!(fabs(got - (double)want[k]) <= 1e-3))
            fail_msg("%s: logit %d of top %d is %g, wanted %g", w->what, (int)i, k, got, (double)want[k]);
        int64_t larger = 0; /* tokens clearly above: exactly those before it */
        for (int64_t v = 0; v < w->V; v++) larger += (double)logit[v] > got + 1e-3;
        if (larger > k)
            fail_msg("%s: position %d: token %d has rank %d, wanted %d", w->what, (int)i, (int)id[k], (int)larger,
                     k);
    }
    for (int64_t k = 0; i == w->n - 1 && k < w->n_every; k++)
        if (!(fabs((double)logit[k * EVERY] - (double)w->every[k]) <= 1e-3))
            fail_msg("%s: last logit %d differs", w->what, (int)(k * EVERY));
}

static void texts(rig *r, const char *name) {
    size_t      i, n;
    yyjson_val *t;
    double      worst = 0, worst_mean = 0;
    yyjson_arr_foreach(yyjson_obj_get(r->j.root, "texts"), i, n, t) {
        mg_ids      ids = { 0 };
        yyjson_val *text = yyjson_obj_get(t, "text"), *list = yyjson_obj_get(t, "ids");
        float       nll[512];
        double      sum = 0;
        int64_t     count, unused;
        OK(mg_tokenize(r->b.tokenizer, yyjson_get_str(text), yyjson_get_len(text), MG_TOKENIZE_SPECIAL, &ids,
                       &err));
        assert_int_equal(ids.len, yyjson_arr_size(list));
        for (size_t k = 0; k < ids.len; k++)
            assert_int_equal(ids.data[k], yyjson_get_sint(yyjson_arr_get(list, k)));
        const float *want = part(r, i, "nll", &count);
        assert_int_equal(count, ids.len - 1);
        OK(mg_score(r->b.model, backend(), ids.data, (int64_t)ids.len, false, nll, &err));
        for (int64_t k = 0; k < count; k++) {
            double d = fabs((double)nll[k] - (double)want[k]);
            if (!(d <= 1e-3))
                fail_msg("%s, text %zu: nll %d is %g, wanted %g", name, i, (int)k, (double)nll[k],
                         (double)want[k]);
            worst = fmax(worst, d);
            sum += (double)nll[k];
        }
        double d = fabs(sum / (double)count - yyjson_get_num(yyjson_obj_get(t, "nll_mean")));
        if (!(d <= 1e-4)) fail_msg("%s, text %zu: mean nll differs by %g", name, i, d);
        worst_mean = fmax(worst_mean, d);
        wanted w = { .n = (int64_t)ids.len, .V = r->b.model->c.vocab, .what = name };
        w.lse = part(r, i, "logsumexp", &unused);
        w.top_id = part(r, i, "top8_ids", &unused);
        w.top_logit = part(r, i, "top8_logits", &unused);
        w.every = part(r, i, "last_logits_every_64", &w.n_every);
        OK(mg_score_logits(r->b.model, backend(), ids.data, (int64_t)ids.len, false, compare_logits, &w, &err));
        mg_ids_free(&ids);
    }
    assert_int_equal(n, 5);
    print_message("%s: nll within %.1e, mean within %.1e\n", name, worst, worst_mean);
}

static void greedy(rig *r, const char *name) {
    size_t      i, n;
    yyjson_val *g;
    yyjson_arr_foreach(yyjson_obj_get(r->j.root, "greedy"), i, n, g) {
        mg_ids      prompt = { 0 };
        yyjson_val *want = yyjson_obj_get(g, "continuation"), *gap = yyjson_obj_get(g, "gap_to_second");
        read_ids(&prompt, yyjson_obj_get(g, "ids"));
        mg_generation       out;
        mg_generate_options o = { .sampling = mg_sampling_greedy(),
                                  .max_new_tokens = (int64_t)yyjson_arr_size(want) };
        OK(mg_generate_all(r->b.model, r->b.tokenizer, backend(), &prompt, 1, &o, &out, &err));
        size_t k = 0;
        for (; k < out.ids.len && out.ids.data[k] == yyjson_get_sint(yyjson_arr_get(want, k)); k++) {
        }
        if (k < yyjson_arr_size(want) && yyjson_get_num(yyjson_arr_get(gap, k)) > 1e-3)
            fail_msg("%s: greedy token %zu of prompt %zu differs", name, k, i);
        mg_generation_free(&out);
        mg_ids_free(&prompt);
    }
    assert_int_equal(n, 3);
}

/* ---- text ---- */

static void chat_ids(const rig *r, const char *question, mg_ids *ids) {
    mg_json j;
    mg_buf  b = { 0 };
    mg_buf_str(&b, "[{\"role\": \"user\", \"content\": ");
    mg_json_quote(&b, question, strlen(question));
    mg_buf_str(&b, "}]");
    OK(mg_json_parse(&j, b.data, b.len, "question", &err));
    OK(mg_chat_prompt(&r->b.chat, j.root, ids, &err));
    mg_json_free(&j);
    mg_buf_free(&b);
}

typedef struct {
    mg_buf text;
    int    pieces;
} heard;

static bool listen(void *context, size_t prompt, const char *text, size_t n) {
    heard *h = context;
    assert_int_equal(prompt, 0);
    assert_true(n > 0);
    assert_true(((unsigned char)text[0] & 0xc0) != 0x80); /* begins with a character, */
    size_t last = n - 1;
    while (last && ((unsigned char)text[last] & 0xc0) == 0x80) last--;
    unsigned char c = (unsigned char)text[last];
    assert_int_equal(n - last, c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4); /* ends with a whole one */
    mg_buf_add(&h->text, text, n);
    h->pieces++;
    return true;
}

static void streaming(rig *r) {
    heard         h = { 0 };
    mg_ids        prompt = { 0 };
    mg_generation out, cut;
    chat_ids(r, "日本の首都はどこですか。", &prompt);
    mg_generate_options o = { .sampling = mg_sampling_greedy(),
                              .max_new_tokens = 40,
                              .stop = r->b.stop,
                              .n_stop = r->b.n_stop,
                              .on_text = listen,
                              .context = &h };
    OK(mg_generate_all(r->b.model, r->b.tokenizer, backend(), &prompt, 1, &o, &out, &err));
    assert_true(h.pieces > 1);
    assert_string_equal(h.text.data, out.text.data);
    print_message("  %s\n", out.text.data);

    /* the middle character and what follows as a stop text */
    size_t half = out.text.len / 2;
    while (((unsigned char)out.text.data[half] & 0xc0) == 0x80) half++;
    char stop[8] = { 0 };
    memcpy(stop, out.text.data + half, 6);
    if (((unsigned char)out.text.data[half + 6] & 0xc0) == 0x80) stop[1] = 0;
    const char *stops[] = { "no such text", stop };
    mg_buf_free(&h.text);
    o.stop_text = stops;
    o.n_stop_texts = 2;
    OK(mg_generate_all(r->b.model, r->b.tokenizer, backend(), &prompt, 1, &o, &cut, &err));
    assert_int_equal(cut.finish, MG_FINISH_STOP);
    assert_true(cut.text.len <= half && !strstr(cut.text.data ? cut.text.data : "", stop));
    assert_memory_equal(out.text.data, cut.text.data ? cut.text.data : "", cut.text.len);
    assert_memory_equal(out.text.data + cut.text.len, stop, strlen(stop));
    assert_int_equal(h.text.len, cut.text.len);
    mg_generation_free(&out);
    mg_generation_free(&cut);
    mg_buf_free(&h.text);
    mg_ids_free(&prompt);
}

static void alone_and_together(rig *r) {
    static const char *const questions[] = { "Hello",  "日本の首都は",  "1+1=", "What is the capital of France?",
                                             "富士山", "Name a colour." };
    enum { N = sizeof questions / sizeof *questions };
    mg_ids        prompt[N] = { 0 };
    mg_generation all[N], one;
    for (int i = 0; i < N; i++) chat_ids(r, questions[i], &prompt[i]);
    mg_generate_options o = {
        .sampling = { .temperature = 1.2, .top_p = 0.98, .repetition_penalty = 1.1, .seed = 5 },
        .max_new_tokens = 12,
        .stop = r->b.stop,
        .n_stop = r->b.n_stop
    };
    OK(mg_generate_all(r->b.model, r->b.tokenizer, backend(), prompt, N, &o, all, &err));
    for (int i = 0; i < N; i++) {
        if (i % 2) {
            OK(mg_generate_all(r->b.model, r->b.tokenizer, backend(), &prompt[i], 1, &o, &one, &err));
            assert_int_equal(one.ids.len, all[i].ids.len);
            assert_memory_equal(one.ids.data, all[i].ids.data, one.ids.len * sizeof *one.ids.data);
            mg_generation_free(&one);
        }
        mg_generation_free(&all[i]);
        mg_ids_free(&prompt[i]);
    }
}

static void speed(rig *r, const char *name) {
    enum { N = 16, TOKENS = 24 };
    mg_ids              prompt[N] = { 0 };
    mg_generation       out[N];
    mg_generator       *g;
    mg_generate_options o = { .sampling = mg_sampling_greedy(), .max_new_tokens = 1 };
    double              seconds[2][2];
    for (int i = 0; i < N; i++) chat_ids(r, "What is the capital of France?", &prompt[i]);
    OK(mg_generator_open(&g, r->b.model, r->b.tokenizer, backend(), N, 256, &err));
    for (int many = 0; many < 2; many++)
        for (int tokens = 0; tokens < 2; tokens++) {
            size_t n = many ? N : 1;
            double t = now();
            o.max_new_tokens = tokens ? TOKENS + 1 : 1;
            OK(mg_generate(g, prompt, n, &o, out, &err));
            seconds[many][tokens] = now() - t;
            for (size_t i = 0; i < n; i++) mg_generation_free(&out[i]);
        }
    print_message(
        "%s: %d threads: reads a prompt of %zu tokens in %.0f ms, then %.1f tok/s alone, %.1f with %d together\n",
        name, mg_threads(), prompt[0].len, seconds[0][0] * 1e3, TOKENS / (seconds[0][1] - seconds[0][0]),
        N * TOKENS / (seconds[1][1] - seconds[1][0]), N);
    mg_generator_close(g);
    for (int i = 0; i < N; i++) mg_ids_free(&prompt[i]);
}

static void real(const char *name) {
    rig r;
    mg_threads_start(0);
    open_rig(&r, name);
    texts(&r, name);
    greedy(&r, name);
    streaming(&r);
    alone_and_together(&r);
    speed(&r, name);
    close_rig(&r);
    mg_threads_stop();
}

static void smollm2(void **state) { (void)state, real("smollm2"); }
static void gemma3(void **state) { (void)state, real("gemma3"); }
static void qwen(void **state) { (void)state, real("qwen"); }

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(smollm2), cmocka_unit_test(gemma3),
                                        cmocka_unit_test(qwen) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
