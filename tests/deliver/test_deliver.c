/* test_deliver.c -- ways there and back are equal bit for bit, merged models compute what the adapter did, and a
 * failed write leaves nothing behind.
 *
 * The models are the tiny references of each architecture, in fp32. */
#include "rig.h"

#include "cli/sft_options.h"
#include "model/source.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>

static const char *const names[] = { "llama2", "llama3", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "gpt2", "gpt_neox" };
enum { NAMES = sizeof names / sizeof *names };

/* llama.cpp's files of Mistral have no window, which is 8 tokens in the reference; those of Gemma 2 have no
 * query_pre_attn_scalar, which is not the head's width there. */
static bool gguf_holds_all(const char *name) { return strcmp(name, "mistral") != 0 && strcmp(name, "gemma2") != 0; }

static void same_gguf(const char *a, const char *b) {
    mg_gguf *x, *y;
    OK(mg_gguf_open(&x, a, &err));
    OK(mg_gguf_open(&y, b, &err));
    assert_int_equal(x->n_tensors, y->n_tensors);
    assert_int_equal(x->n_values, y->n_values);
    for (size_t i = 0; i < x->n_tensors; i++) {
        const mg_gguf_tensor *t = &x->tensors[i], *u = mg_gguf_find_tensor(y, t->name);
        if (!u || u->format != t->format || u->bytes != t->bytes || memcmp(u->data, t->data, t->bytes)) fail_msg("%s differs", t->name);
    }
    for (size_t i = 0; i < x->n_values; i++) {
        char                 *key = mg_strndup(x->values[i].key.data, x->values[i].key.len);
        const mg_gguf_value  *v = &x->values[i], *w = mg_gguf_find(y, key);
        size_t                n = mg_gguf_value_bytes(v);
        if (strcmp(key, "general.name") && (!w || w->kind != v->kind || mg_gguf_value_bytes(w) != n || memcmp(w->bytes, v->bytes, n)))
            fail_msg("%s differs", key);
        free(key);
    }
    mg_gguf_close(x);
    mg_gguf_close(y);
}

static mg_source open_folder(const char *folder) {
    mg_source s;
    OK(mg_source_open_folder(&s, folder, &err));
    return s;
}

/* Tensors by name; `limit` 0: equal bytes. */
static void same_folder(const char *a, const char *b, float limit) {
    mg_source x = open_folder(a), y = open_folder(b);
    assert_int_equal(x.n, y.n);
    for (size_t i = 0; i < x.n; i++) {
        mg_found f = x.all[i], g;
        if (!mg_source_find(&y, f.name, &g) || g.bytes != f.bytes || g.rows != f.rows || g.format != f.format) fail_msg("%s differs in shape", f.name);
        if (!memcmp(f.data, g.data, f.bytes)) continue;
        if (limit == 0 || f.format != &mg_format_f32) fail_msg("%s differs", f.name);
        for (size_t k = 0; k < f.bytes / 4; k++)
            if (!(fabsf(((const float *)f.data)[k] - ((const float *)g.data)[k]) <= limit)) fail_msg("%s differs", f.name);
    }
    mg_source_close(&x);
    mg_source_close(&y);
}

/* config.json of a model with `old` replaced by as many bytes of `new`. */
static void edit_config(const char *folder, const char *old, const char *new) {
    mg_buf text = { 0 };
    OK(mg_read_file(&text, under(folder, "config.json"), 1 << 20, &err));
    char *at = memmem(text.data, text.len, old, strlen(old));
    assert_non_null(at);
    assert_int_equal(strlen(old), strlen(new));
    memcpy(at, new, strlen(new));
    OK(mg_replace_file(under(folder, "config.json"), text.data, text.len, &err));
    mg_buf_free(&text);
}

static void refuse_gguf(const char *folder, const char *out, const char *why) {
    mg_new_file f;
    mg_bundle   b = open_bundle(folder);
    mg_delivery d = { .bundle = &b };
    OK(mg_new_file_begin(&f, out, &err));
    assert_fails(mg_deliver_gguf(&d, &f, NULL, &err), err, MG_UNSUPPORTED, why);
    mg_new_file_end(&f);
    mg_bundle_close(&b);
}

/* Gemma 2's reference is one that GGUF cannot hold; with the head's width it can, but not without caps. */
static void make_gemma2_plain(const char *source, const char *out) {
    refuse_gguf(source, out, "query_pre_attn_scalar");
    edit_config(source, "\"query_pre_attn_scalar\": 16", "\"query_pre_attn_scalar\": 32");
    edit_config(source, "\"attn_logit_softcapping\": 50.0", "\"attn_logit_softcapping\": null");
    refuse_gguf(source, out, "soft caps");
    edit_config(source, "\"attn_logit_softcapping\": null", "\"attn_logit_softcapping\": 50.0");
}

/* Folder -> GGUF -> folder -> GGUF, in fp32 and in half precision: the two GGUF files hold the same bytes, and so
 * do the two folders, but for Gemma's norms, which are stored as g - 1 and lose the last bit of fp32 on the way. */
static void circles(void **state) {
    char *folder = *state, label[64];
    for (int i = 0; i < NAMES; i++)
        for (int half = 0; half < 3; half++) {
            static const char *const mixes[] = { NULL, "f16", "bf16" };
            snprintf(label, sizeof label, "circle-%d-%d", i, half);
            char     *base = under(folder, label), *source;
            OK(mg_make_folder(base, &err));
            source = make_model(base, names[i]);
            if (!strcmp(names[i], "gemma2")) make_gemma2_plain(source, under(base, "a.gguf"));
            mg_bundle b = open_bundle(source);
            to_gguf(&b, under(base, "a.gguf"), mixes[half]);
            mg_bundle_close(&b);
            b = open_bundle(under(base, "a.gguf"));
            to_hf(&b, under(base, "hf"), NULL, half ? 40000 : 0);
            mg_bundle_close(&b);
            b = open_bundle(under(base, "hf"));
            to_gguf(&b, under(base, "b.gguf"), NULL);
            mg_bundle_close(&b);
            same_gguf(under(base, "a.gguf"), under(base, "b.gguf"));
            if (half)
                assert_true(mg_is_file(under(base, "hf/model.safetensors.index.json")));
            else
                same_folder(source, under(base, "hf"), strncmp(names[i], "gemma", 5) ? 0 : 2.4e-7f);
        }
}

/* An adapter on all linears whose B is not zero. */
static void adapt(mg_bundle *b, bool rslora) {
    mg_adapter_config c = { .method = mg_method_find("lora"), .r = 3, .alpha = 5, .rslora = rslora, .targets = "all-linear" };
    support_random    random = random_of(9);
    const mg_backend *backend = mg_backend_find("cpu");
    OK(mg_adapter_attach(&b->adapter, &c, &b->model->net, &b->params, &err));
    OK(mg_params_seal(&b->params, backend, &err));
    for (int64_t i = 0; i < b->params.count; i++) ((float *)b->params.value)[i] = (float)(0.1 * random_normal(&random));
}

static double drift(const mg_bundle *want, const char *path) {
    mg_replay_texts  texts;
    mg_replay_result r;
    mg_bundle        got = open_bundle(path);
    OK(mg_replay_texts_load(&texts, NULL, &err));
    OK(mg_replay(&r, want, &got, mg_backend_find("cpu"), &texts, NULL, NULL, &err));
    assert_int_equal(r.prompts, 5);
    assert_true(r.tokens > 100);
    mg_replay_texts_free(&texts);
    mg_bundle_close(&got);
    return r.error;
}

/* An adapter of any method with its usual settings, away from its start. */
static void adapt_by(mg_bundle *b, const char *method) {
    static mg_sft_options o; /* defaults of the methods' own options */
    mg_options           *options = mg_options_new(mg_foreign_options);
    mg_adapter_config     c = { .method = mg_method_find(method), .r = 4, .alpha = 8, .targets = "all-linear" };
    support_random        random = random_of(11);
    OK(mg_options_add(options, mg_sft_option_rows, &o, &err));
    mg_method_own(&c, o.method_own);
    OK(mg_adapter_attach(&b->adapter, &c, &b->model->net, &b->params, &err));
    OK(mg_params_seal(&b->params, mg_backend_find("cpu"), &err));
    OK(mg_adapter_init(b->adapter, 3, &err));
    for (int64_t i = 0; i < b->params.count; i++) ((float *)b->params.value)[i] += (float)(0.1 * random_normal(&random));
    mg_options_free(options);
}

/* Every method that a weight can hold: what is merged computes what the adapter computes, biases included (qwen2). */
static void every_method_merges(void **state) {
    static const char *const methods[] = { "lora", "dora", "pissa", "olora", "adalora", "loha", "lokr", "vera", "ia3" };
    char *folder = *state, label[64];
    for (size_t m = 0; m < sizeof methods / sizeof *methods; m++)
        for (int biased = 0; biased < 2; biased++) {
            snprintf(label, sizeof label, "by-%s-%d", methods[m], biased);
            char *base = under(folder, label);
            OK(mg_make_folder(base, &err));
            char     *source = make_model(base, biased ? "qwen2" : "llama2");
            mg_bundle b = open_bundle(source);
            adapt_by(&b, methods[m]);
            double moved = drift(&b, source);
            if (!(moved > 1e-3)) fail_msg("%s: the adapter does nothing (%g)", label, moved);
            to_hf(&b, under(base, "hf"), NULL, 0);
            to_gguf(&b, under(base, "merged.gguf"), NULL);
            double hf = drift(&b, under(base, "hf")), gguf = drift(&b, under(base, "merged.gguf"));
            if (!(hf < 1e-4 && gguf < 1e-4)) fail_msg("%s: merged, logits differ by %g (folder) and %g (GGUF)", label, hf, gguf);
            mg_bundle_close(&b);
        }
}

/* Merged in fp32, as folder and as GGUF, from both kinds of base: logits within 1e-4 of the largest. */
static void merged_computes_the_same(void **state) {
    char *folder = *state;
    for (int i = 0; i < NAMES; i++)
        for (int gguf = 0; gguf < 2; gguf++) {
            char label[64];
            snprintf(label, sizeof label, "merge-%d-%d", i, gguf);
            char *base = under(folder, label);
            OK(mg_make_folder(base, &err));
            char     *source = make_model(base, names[i]);
            mg_bundle b = open_bundle(source);
            if (gguf && !gguf_holds_all(names[i])) {
                mg_bundle_close(&b);
                continue;
            }
            if (gguf) {
                to_gguf(&b, under(base, "base.gguf"), NULL);
                mg_bundle_close(&b);
                b = open_bundle(under(base, "base.gguf"));
            }
            assert_true(drift(&b, source) < 1e-4);
            adapt(&b, i % 2);
            assert_true(drift(&b, source) > 1e-2); /* the adapter does something */
            to_hf(&b, under(base, "hf"), NULL, 0);
            bool   whole = gguf_holds_all(names[i]);
            if (whole) to_gguf(&b, under(base, "out.gguf"), NULL);
            double hf = drift(&b, under(base, "hf")), file = whole ? drift(&b, under(base, "out.gguf")) : 0;
            if (!(hf < 1e-4) || !(file < 1e-4)) fail_msg("%s: logits differ by %g, %g", names[i], hf, file);
            mg_bundle_close(&b);
        }
}

/* What goes into a GGUF LoRA comes out: numbers, scale, and llama.cpp's order of rows. */
static void lora_comes_back(void **state) {
    char *folder = *state;
    for (int i = 0; i < NAMES; i++) {
        char *base = under(folder, "lora");
        OK(mg_make_folder(base, &err));
        char       *source = make_model(base, names[i]);
        mg_bundle   b = open_bundle(source), c = open_bundle(source);
        mg_new_file f;
        mg_delivery d = { .bundle = &b };
        adapt(&b, i % 2);
        OK(mg_new_file_begin(&f, under(base, "lora.gguf"), &err));
        OK(mg_deliver_gguf_lora(&d, &f, &mg_format_f32, &err));
        OK(mg_new_file_commit(&f, &err));
        mg_new_file_end(&f);
        OK(mg_gguf_lora_load(&c, &b.adapter->c, under(base, "lora.gguf"), mg_backend_find("cpu"), &err));
        assert_int_equal(b.params.count, c.params.count);
        assert_memory_equal(b.params.value, c.params.value, (size_t)b.params.count * sizeof(float));
        assert_near(c.adapter->hook[0]->scale, b.adapter->hook[0]->scale, 1e-6, "scale");
        mg_gguf *g;
        OK(mg_gguf_open(&g, under(base, "lora.gguf"), &err));
        const mg_gguf_tensor *q = mg_gguf_find_tensor(g, "blk.1.attn_q.weight.lora_b");
        const float          *mine = b.adapter->hook[0]->p[1]->data;
        for (size_t h = 0; h < b.adapter->n_hooks; h++)
            if (strstr(b.adapter->hook[h]->p[1]->name, "layers.1.self_attn.q_proj")) mine = b.adapter->hook[h]->p[1]->data;
        if (!q) { /* fused there */
            mg_gguf_close(g);
            mg_bundle_close(&b);
            mg_bundle_close(&c);
            continue;
        }
        bool turned = strstr("llama2 llama3 mistral", names[i]) != NULL;
        assert_memory_equal((const char *)q->data + 12, mine + (turned ? b.model->c.hd / 2 : 1) * 3, 12);
        mg_gguf_close(g);
        mg_bundle_close(&b);
        mg_bundle_close(&c);
    }
}

static bool never(void *context, uint64_t done, uint64_t total) {
    (void)context, (void)done, (void)total;
    return false;
}

static void nothing_at(const char *path) {
    mg_buf command = { 0 };
    mg_buf_printf(&command, "ls '%s'* > /dev/null 2>&1", path);
    if (!system(command.data)) fail_msg("%s is there", path); /* NOLINT: our own path */
    mg_buf_free(&command);
}

/* A full disk, a user who stops, numbers that are none: an error, and nothing at the place. */
static void failures_leave_nothing(void **state) {
    char             *base = under(*state, "bad");
    mg_new_file       f;
    mg_piece_progress stop = { .go_on = never };
    OK(mg_make_folder(base, &err));
    mg_bundle     b = open_bundle(make_model(base, "llama3"));
    mg_delivery   d = { .bundle = &b };
    const char   *path = under(base, "out.gguf");
    struct rlimit old, small;
    getrlimit(RLIMIT_FSIZE, &old);
    signal(SIGXFSZ, SIG_IGN);
    for (rlim_t size = 1; size < 400000; size = size * 3 + 5000) {
        small = old;
        small.rlim_cur = size;
        OK(mg_new_file_begin(&f, path, &err));
        setrlimit(RLIMIT_FSIZE, &small);
        mg_status st = mg_deliver_gguf(&d, &f, NULL, &err);
        setrlimit(RLIMIT_FSIZE, &old);
        assert_int_equal(st, MG_IO);
        assert_non_null(strstr(err.text, "out.gguf"));
        mg_new_file_end(&f);
        nothing_at(path);
        OK(mg_make_folder(under(base, "hf"), &err));
        setrlimit(RLIMIT_FSIZE, &small);
        st = mg_deliver_hf(&d, under(base, "hf"), NULL, 0, &err);
        setrlimit(RLIMIT_FSIZE, &old);
        assert_int_equal(st, MG_IO);
        assert_false(mg_is_file(under(base, "hf/model.safetensors")));
    }
    OK(mg_new_file_begin(&f, path, &err));
    d.progress = &stop;
    assert_fails(mg_deliver_gguf(&d, &f, NULL, &err), err, MG_STOPPED, "out.gguf");
    mg_new_file_end(&f);
    d.progress = NULL;
    nothing_at(path);
    adapt(&b, false);
    ((float *)b.params.value)[7] = NAN;
    OK(mg_new_file_begin(&f, path, &err));
    assert_fails(mg_deliver_gguf(&d, &f, NULL, &err), err, MG_DATA, "finite");
    mg_new_file_end(&f);
    ((float *)b.params.value)[7] = 1e9f;
    OK(mg_new_file_begin(&f, path, &err));
    assert_fails(mg_deliver_gguf(&d, &f, mg_mix_find("f16"), &err), err, MG_DATA, "65504");
    mg_new_file_end(&f);
    nothing_at(path);
    mg_bundle_close(&b);
    assert_fails(mg_new_file_begin(&f, under(*state, "no/such/folder/x"), &err), err, MG_IO, "no/such/folder");
}

/* What no weight can say is refused by name: an adapter on a tied head, hooks without a merge. */
static void nothing_is_dropped(void **state) {
    char     *base = under(*state, "parts");
    mg_pieces p;
    OK(mg_make_folder(base, &err));
    mg_bundle          b = open_bundle(make_model(base, "llama3")), c = open_bundle(make_model(base, "llama2"));
    const mg_hook_kind odd = { .name = "odd" };
    mg_hook            h = { .kind = &odd };
    adapt(&b, false);
    mg_hook spare = *b.adapter->hook[0];
    spare.next = NULL;
    b.model->head.hooks = &spare;
    assert_fails(mg_pieces_list(&p, b.model, true, &err), err, MG_UNSUPPORTED, "head");
    spare.off = true;
    OK(mg_pieces_list(&p, b.model, true, &err));
    mg_pieces_free(&p);
    b.model->head.hooks = NULL;
    b.model->net.attend_hooks[1] = &h;
    assert_fails(mg_pieces_list(&p, b.model, false, &err), err, MG_UNSUPPORTED, "odd");
    b.model->net.attend_hooks[1] = NULL;
    c.model->net.linear[3]->hooks = &h;
    assert_fails(mg_pieces_list(&p, c.model, false, &err), err, MG_UNSUPPORTED, "odd");
    c.model->net.linear[3]->hooks = NULL;
    mg_bundle_close(&b);
    mg_bundle_close(&c);
}

/* Quantised files open again and stay near (blocks or rows in another order would be an unrelated model, beyond 1): 64 columns
 * are two blocks of 32 and none of 256. */
static void mixes_fall_back(void **state) {
    char     *base = under(*state, "mix");
    OK(mg_make_folder(base, &err));
    mg_bundle b = open_bundle(make_model(base, "qwen2"));
    static const struct { const char *mix, *q, *down, *embed; double limit; } rows[] = {
        { "q4_k_m", "q5_0", "q8_0", "q8_0", 0.5 }, { "q5_k_m", "q5_1", "q8_0", "q8_0", 0.5 }, { "q6_k", "q8_0", "q8_0", "q8_0", 0.5 },
        { "q4_0", "q4_0", "q4_0", "q8_0", 0.5 },   { "q8_0", "q8_0", "q8_0", "q8_0", 0.5 },   { "F16", "f16", "f16", "f16", 0.005 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        mg_gguf *g;
        to_gguf(&b, under(base, "q.gguf"), rows[i].mix);
        OK(mg_gguf_open(&g, under(base, "q.gguf"), &err));
        assert_string_equal(mg_gguf_find_tensor(g, "blk.0.attn_q.weight")->format->name, rows[i].q);
        assert_string_equal(mg_gguf_find_tensor(g, "blk.2.ffn_down.weight")->format->name, rows[i].down);
        assert_string_equal(mg_gguf_find_tensor(g, "token_embd.weight")->format->name, rows[i].embed);
        assert_string_equal(mg_gguf_find_tensor(g, "blk.0.attn_norm.weight")->format->name, "f32");
        mg_gguf_close(g);
        double d = drift(&b, under(base, "q.gguf"));
        if (!(d < rows[i].limit)) fail_msg("%s: logits differ by %g", rows[i].mix, d);
    }
    mg_bundle_close(&b);
}

/* A written model that computes something else is seen. */
static void replay_sees_a_fault(void **state) {
    char     *base = under(*state, "fault");
    OK(mg_make_folder(base, &err));
    mg_bundle b = open_bundle(make_model(base, "llama3"));
    to_gguf(&b, under(base, "a.gguf"), NULL);
    FILE *f = fopen(under(base, "a.gguf"), "r+b");
    assert_non_null(f);
    fseek(f, -2000, SEEK_END);
    for (int i = 0; i < 400; i++) fwrite(&(float){ 0.5f }, 4, 1, f);
    fclose(f);
    assert_true(drift(&b, under(base, "a.gguf")) > 1e-3);
    mg_bundle_close(&b);
}

static int set_up(void **state) {
    *state = make_temp_folder();
    return 0;
}
static int tear_down(void **state) {
    free_paths();
    remove_temp_folder(*state);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(circles), cmocka_unit_test(every_method_merges), cmocka_unit_test(merged_computes_the_same), cmocka_unit_test(lora_comes_back),
        cmocka_unit_test(failures_leave_nothing), cmocka_unit_test(nothing_is_dropped), cmocka_unit_test(mixes_fall_back),
        cmocka_unit_test(replay_sees_a_fault),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
