/* test_golden.c -- tiny models of each architecture against what transformers computed in fp32.
 *
 * Logits, loss, final hidden states, every weight's gradient and five AdamW steps, on the reference kernels and on the
 * fast CPU kernels, with each policy of keeping activations.  Tolerances: 1e-4 of the tensor's largest entry for tensors,
 * 1e-4 relative for losses and gradient norms; greedy tokens equal. */
#include "../support.h"

#include "base/file.h"
#include "cli/sft_options.h"
#include "format/safetensors.h"
#include "model/model.h"
#include "optim/optimizer.h"
#include "peft/adapter.h"
#include "train/step.h"

/* The sanitizers are 15 times slower: there one way of each architecture, all ways of the first. */
#if defined(__SANITIZE_ADDRESS__)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif
enum { ARENA = 256 << 20, NODES = 4096 };

typedef struct {
    mg_model  *m;
    mg_params  params;
    mg_arena   mem;
    mg_tape    tape;
    mg_packed  packed;
    mg_sample  sample[8];
    int        n;
    mg_adapter *adapter;
} rig;

static mg_error err;
#define OK(call) assert_ok(call, err)

static const char *under(const char *folder, const char *name) {
    static char ring[8][1200];
    static int  i;
    char *s = ring[i++ % 8];
    snprintf(s, sizeof ring[0], "%s/%s", folder, name);
    return s;
}

static int64_t at_i64(const mg_st_entry *e, int64_t i) {
    int64_t v;
    memcpy(&v, (const char *)e->data + 8 * i, 8);
    return v;
}

/* Rows of ids whose attention mask is one, with their labels, as samples. */
static void read_samples(rig *r, const mg_safetensors *io) {
    const mg_st_entry *ids = mg_safetensors_find(io, "input_ids"), *mask = mg_safetensors_find(io, "attention_mask"),
                      *labels = mg_safetensors_find(io, "labels");
    int64_t B = ids->dims[0], T = ids->dims[1];
    bool    tokens = labels && labels->n_dims == 2; /* else of whole sequences, or none */
    r->n = (int)B;
    for (int64_t b = 0; b < B; b++) {
        mg_sample *s = &r->sample[b];
        s->ids = calloc((size_t)T, 4), s->label = calloc((size_t)T, 4), s->n = s->n_labels = 0;
        for (int64_t i = 0; i < T; i++) {
            if (!at_i64(mask, b * T + i)) continue;
            s->ids[s->n] = (int32_t)at_i64(ids, b * T + i);
            s->label[s->n] = tokens && s->n ? (int32_t)at_i64(labels, b * T + i) : MG_IGNORE;
            s->n_labels += s->label[s->n] != MG_IGNORE;
            s->n++;
        }
    }
    const mg_sample *list[8];
    for (int i = 0; i < r->n; i++) list[i] = &r->sample[i];
    OK(mg_pack(&r->packed, list, r->n, &err));
}

static void open_rig(rig *r, const char *folder, const char *name) {
    memset(r, 0, sizeof *r);
    mg_model_options  o = { .positions = 128 };
    static mg_backend joined; /* the CPU, with adapters of one input as one product */
    const mg_backend *backend = mg_backend_find(name);
    if (!strcmp(name, "joined")) {
        joined = mg_backend_cpu;
        joined.joins_adapters = true;
        backend = &joined;
    }
    if (!backend) OK(mg_backend_open(&backend, name, "float32", &err)); /* a device */
    OK(mg_model_open(&r->m, folder, &o, &err));
    OK(mg_arena_open(&r->mem, backend->device, ARENA, false, &err));
    OK(mg_tape_open(&r->tape, backend, &r->mem, NODES, &err));
}

/* `n` numbers of the device, until the next call. */
static float *fetched(const rig *r, const void *from, int64_t n) {
    static float room[1 << 20];
    assert_true(n <= 1 << 20);
    r->mem.device->get(room, from, (size_t)n * sizeof *room);
    return room;
}

static void close_rig(rig *r) {
    for (int i = 0; i < r->n; i++) free(r->sample[i].ids), free(r->sample[i].label);
    mg_packed_free(&r->packed);
    mg_tape_close(&r->tape);
    mg_arena_close(&r->mem);
    mg_adapter_detach(r->adapter, &r->m->net);
    mg_params_free(&r->params);
    mg_model_close(r->m);
}

/* max |got - want| / max |want| over rows picked by the attention mask */
static double worst(const float *got, const float *want, int64_t n) {
    double diff = 0, top = 0;
    for (int64_t i = 0; i < n; i++) {
        diff = fmax(diff, fabs((double)got[i] - (double)want[i]));
        top = fmax(top, fabs((double)want[i]));
    }
    return diff / (top > 0 ? top : 1);
}

#define NEAR(got, want, tol, ...)                                                                          \
    do {                                                                                                   \
        if (!(fabs((got) - (want)) <= (tol) * fmax(fabs(want), 1e-6))) {                                   \
            print_error(__VA_ARGS__);                                                                      \
            fail_msg(": %.8g, wanted %.8g", (double)(got), (double)(want));                                \
        }                                                                                                  \
    } while (0)

static void compare_rows(const rig *r, const mg_safetensors *io, const char *name, const float *got, int64_t C, const char *label) {
    const mg_st_entry *e = mg_safetensors_find(io, name), *mask = mg_safetensors_find(io, "attention_mask");
    assert_non_null(e);
    int64_t T = mask->dims[1], row = 0;
    for (int64_t i = 0; i < mask->dims[0] * T; i++) {
        if (!at_i64(mask, i)) continue;
        double d = worst(got + row++ * C, (const float *)e->data + i * C, C);
        if (!(d <= 1e-4)) fail_msg("%s: %s row %lld differs by %.2e", label, name, (long long)i, d);
    }
    assert_int_equal(row, mg_batch_rows(&r->packed.batch));
}

static void forward_matches(rig *r, const mg_safetensors *io, const char *label) {
    mg_tape *t = &r->tape;
    mg_tape_reset(t);
    mg_tape_batch(t, &r->packed.batch);
    t->off = true;
    t->training = false;
    mg_tensor *h = mg_model_hidden(t, r->m);
    int64_t    n = mg_batch_rows(t->batch);
    int32_t   *rows = calloc((size_t)n, 4);
    for (int64_t i = 0; i < n; i++) rows[i] = (int32_t)i;
    mg_tensor *z = mg_model_logits(t, r->m, h, rows, n);
    t->off = false;
    OK(mg_tape_status(t, &err));
    if (mg_safetensors_find(io, "hidden")) compare_rows(r, io, "hidden", fetched(r, h->data, h->rows * h->cols), r->m->c.dim, label);
    float *logit = fetched(r, z->data, z->rows * z->cols);
    double cap = r->m->c.final_softcap; /* the reader's */
    for (int64_t i = 0; cap > 0 && i < n * r->m->c.vocab; i++) logit[i] = (float)(cap * tanh(logit[i] / cap));
    compare_rows(r, io, "logits", logit, r->m->c.vocab, label);
    free(rows);
}

static double loss_and_gradient(rig *r) {
    double loss = 0;
    OK(mg_step_train(&r->tape, r->m, &r->packed.batch, 1.0f / (float)r->packed.batch.n_labels, &loss, &err));
    return loss;
}

static bool adopt(mg_tensor *w, void *params) { return mg_params_adopt(params, w); }

/* The model's weight in whose place this one trains, else itself. */
static const mg_tensor *original(const rig *r, const mg_tensor *w) {
    for (size_t i = 0; r->adapter && i < r->adapter->n_replaced; i++)
        if (r->adapter->replaced[i].by == w) return r->adapter->replaced[i].weight;
    return w;
}

/* A copy of a reference gradient, turned where Hugging Face stores the weight as [inputs, outputs]. */
static float *oriented(const mg_model *m, const mg_tensor *w, const float *data) {
    bool                 bias = true;
    const mg_weight_row *row = mg_model_weight_row(m, w, &bias);
    float               *copy = malloc((size_t)(w->rows * w->cols) * sizeof *copy);
    memcpy(copy, data, (size_t)(w->rows * w->cols) * sizeof *copy);
    for (int64_t i = 0; row && !bias && row->flags & MG_WEIGHT_TRANSPOSED && i < w->rows * w->cols; i++)
        copy[i] = data[i % w->cols * w->rows + i / w->cols];
    return copy;
}

/* PEFT names the adapter inside the module: lora_A.default.weight, lm_head.modules_to_save.default.weight, ia3_l.default. */
static const mg_st_entry *adapter_gradient(const mg_safetensors *f, const char *prefix, const char *name) {
    static const char *const forms[] = { "%s%.*s.default.weight", "%s%.*s.modules_to_save.default.weight", "%s%.*s.default" };
    const char *end = strstr(name, ".weight");
    const mg_st_entry *e = NULL;
    for (size_t i = 0; !e && i < sizeof forms / sizeof *forms; i++) {
        char full[256];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(full, sizeof full, forms[i], prefix, end ? (int)(end - name) : (int)strlen(name), name);
#pragma GCC diagnostic pop
        e = mg_safetensors_find(f, full);
    }
    return e;
}

static void gradients_match(rig *r, const char *path, const char *prefix, const char *label) {
    mg_safetensors *f;
    OK(mg_safetensors_open(&f, path, &err));
    size_t seen = 0;
    for (size_t i = 0; i < r->params.n; i++) {
        mg_tensor *w = r->params.item[i];
        const char        *name = w->name;
        const mg_st_entry *e = *prefix ? adapter_gradient(f, prefix, name) : mg_safetensors_find(f, name);
        if (!e && !strcmp(name, "embed_out.weight")) e = mg_safetensors_find(f, "lm_head.weight"); /* of transformers 5's class */
        if (!e) fail_msg("%s: no reference gradient for %s", label, name);
        float *want = oriented(r->m, original(r, w), e->data);
        double d = worst(fetched(r, w->grad, w->rows * w->cols), want, w->rows * w->cols);
        free(want);
        if (!(d <= 1e-4)) fail_msg("%s: gradient of %s differs by %.2e", label, name, d);
        seen++;
    }
    assert_int_equal(seen, f->n);
    mg_safetensors_close(f);
}

/* Five AdamW steps with the learning rates of the reference. */
static void steps_match(rig *r, const char *path, const char *label) {
    mg_json j;
    OK(mg_json_open(&j, path, 1 << 20, &err));
    yyjson_val *set = yyjson_obj_get(j.root, "settings"), *step;
    mg_optimizer_settings s = { .beta1 = (float)yyjson_get_num(yyjson_arr_get(yyjson_obj_get(set, "betas"), 0)),
                                .beta2 = (float)yyjson_get_num(yyjson_arr_get(yyjson_obj_get(set, "betas"), 1)),
                                .eps = (float)yyjson_get_num(yyjson_obj_get(set, "eps")),
                                .weight_decay = (float)yyjson_get_num(yyjson_obj_get(set, "weight_decay")),
                                .max_grad_norm = (float)yyjson_get_num(yyjson_obj_get(set, "max_grad_norm")) };
    mg_optim *o;
    OK(mg_optim_open(&o, mg_optimizer_find("adamw"), &s, &r->params, &err));
    OK(mg_optim_allocate(o, &err));
    mg_params_zero_grad(&r->params);
    size_t i, n;
    yyjson_arr_foreach(yyjson_obj_get(j.root, "steps"), i, n, step) {
        double norm, loss = loss_and_gradient(r), lr = yyjson_get_num(yyjson_obj_get(step, "lr"));
        assert_true(mg_optim_update(o, lr, (int64_t)i + 1, &norm));
        NEAR(loss, yyjson_get_num(yyjson_obj_get(step, "loss")), 1e-4, "%s: loss of step %zu", label, i);
        NEAR(norm, yyjson_get_num(yyjson_obj_get(step, "grad_norm")), 1e-4, "%s: gradient norm of step %zu", label, i);
    }
    assert_int_equal(n, 5);
    mg_optim_close(o);
    mg_json_free(&j);
}

/* Greedy tokens by running the whole sequence again for each: slow, and independent of the cache. */
static void greedy_matches(rig *r, const char *path, const char *label) {
    mg_json j;
    OK(mg_json_open(&j, path, 1 << 20, &err));
    int32_t ids[256], n = 0, pos[256], start[2];
    size_t  i, count;
    yyjson_val *v;
    yyjson_arr_foreach(yyjson_obj_get(j.root, "prompt"), i, count, v) ids[n++] = (int32_t)yyjson_get_sint(v);
    yyjson_arr_foreach(yyjson_obj_get(j.root, "tokens"), i, count, v) {
        for (int k = 0; k < n; k++) pos[k] = k;
        start[0] = 0, start[1] = n;
        mg_batch b = { .n_seq = 1, .start = start, .ids = ids, .pos = pos };
        mg_tape_reset(&r->tape);
        mg_tape_batch(&r->tape, &b);
        r->tape.off = true;
        int32_t    last = n - 1;
        mg_tensor *z = mg_model_logits(&r->tape, r->m, mg_model_hidden(&r->tape, r->m), &last, 1);
        r->tape.off = false;
        OK(mg_tape_status(&r->tape, &err));
        const float *logit = fetched(r, z->data, z->cols);
        int32_t      best = 0;
        for (int32_t k = 1; k < r->m->c.vocab; k++) best = logit[k] > logit[best] ? k : best;
        if (best != yyjson_get_sint(v)) fail_msg("%s: greedy token %zu is %d, wanted %d", label, i, best, (int)yyjson_get_sint(v));
        ids[n++] = best;
    }
    mg_json_free(&j);
}

static void full_model(const char *name, const char *backend, mg_keep policy) {
    char label[96], folder[512];
    snprintf(label, sizeof label, "%s on %s, keep %d", name, backend, policy);
    snprintf(folder, sizeof folder, "%s", ref_path(under("golden", name)));
    rig             r;
    mg_safetensors *io;
    open_rig(&r, folder, backend);
    OK(mg_safetensors_open(&io, under(folder, "io.safetensors"), &err));
    read_samples(&r, io);
    OK(mg_adapter_attach(&r.adapter, &(mg_adapter_config){ .method = mg_method_find("full") }, &r.m->net, &r.params, &err));
    OK(mg_params_seal(&r.params, r.tape.backend, &err));
    OK(mg_adapter_init(r.adapter, 0, &err));
    OK(mg_model_place(r.m, r.tape.backend, &err));
    forward_matches(&r, io, label);
    greedy_matches(&r, under(folder, "greedy.json"), label);
    mg_keep keep[MG_CONFIG_LAYERS];
    for (int i = 0; i < MG_CONFIG_LAYERS; i++) keep[i] = policy;
    r.tape.keep = keep;
    float want;
    memcpy(&want, mg_safetensors_find(io, "loss")->data, 4);
    NEAR(loss_and_gradient(&r), (double)want, 1e-5, "%s: loss", label);
    gradients_match(&r, under(folder, "grads.safetensors"), "", label);
    steps_match(&r, under(folder, "adamw.json"), label);
    mg_safetensors_close(io);
    close_rig(&r);
}

/* A classifier's labels are those of whole sequences. */
static void classifier(const char *backend, mg_keep policy) {
    const char *label = "llama_seqcls", *folder = ref_path("golden/llama_seqcls");
    rig             r;
    mg_safetensors *io;
    open_rig(&r, folder, backend);
    OK(mg_safetensors_open(&io, under(folder, "io.safetensors"), &err));
    read_samples(&r, io);
    int32_t            row[8], class[8];
    const mg_st_entry *want = mg_safetensors_find(io, "logits"), *labels = mg_safetensors_find(io, "labels");
    mg_batch          *b = &r.packed.batch;
    for (int s = 0; s < r.n; s++) {
        row[s] = mg_model_class_row(r.m, b, s);
        class[s] = (int32_t)at_i64(labels, s);
    }
    b->n_labels = r.n, b->label_row = row, b->label = class;
    mg_model_each_weight(r.m, adopt, &r.params);
    OK(mg_params_seal(&r.params, r.tape.backend, &err));
    OK(mg_model_place(r.m, r.tape.backend, &err));
    mg_tape_reset(&r.tape);
    mg_tape_batch(&r.tape, b);
    mg_tensor *z = mg_model_class_logits(&r.tape, r.m, mg_model_hidden(&r.tape, r.m), r.tape.batch->label_row, r.n);
    OK(mg_tape_status(&r.tape, &err));
    assert_int_equal(z->cols, 3);
    double d = worst(fetched(&r, z->data, r.n * 3), (const float *)want->data, r.n * 3);
    if (!(d <= 1e-4)) fail_msg("%s: logits differ by %.2e", label, d);
    mg_keep keep[MG_CONFIG_LAYERS];
    for (int i = 0; i < MG_CONFIG_LAYERS; i++) keep[i] = policy;
    r.tape.keep = keep;
    float loss;
    memcpy(&loss, mg_safetensors_find(io, "loss")->data, 4);
    NEAR(loss_and_gradient(&r), (double)loss, 1e-5, "%s: loss", label);
    gradients_match(&r, under(folder, "grads.safetensors"), "", label);
    assert_int_equal(mg_model_require_text(r.m, &err), MG_UNSUPPORTED);
    mg_safetensors_close(io);
    close_rig(&r);
}

static void encoder(const char *backend) {
    const char     *folder = ref_path("golden/bert");
    rig             r;
    mg_safetensors *io;
    open_rig(&r, folder, backend);
    OK(mg_safetensors_open(&io, under(folder, "io.safetensors"), &err));
    read_samples(&r, io);
    OK(mg_model_place(r.m, r.tape.backend, &err));
    mg_tape *t = &r.tape;
    mg_tape_reset(t);
    mg_tape_batch(t, &r.packed.batch);
    t->off = true;
    mg_tensor *h = mg_model_hidden(t, r.m), *pooled = mg_model_pooled(t, r.m, h, mg_batch_starts(t->batch), r.n);
    OK(mg_tape_status(t, &err));
    compare_rows(&r, io, "hidden", fetched(&r, h->data, h->rows * h->cols), r.m->c.dim, "bert");
    double d = worst(fetched(&r, pooled->data, r.n * r.m->c.dim), (const float *)mg_safetensors_find(io, "pooled")->data, r.n * r.m->c.dim);
    if (!(d <= 1e-4)) fail_msg("bert: pooled output differs by %.2e", d);
    assert_int_equal(mg_model_require_text(r.m, &err), MG_UNSUPPORTED);
    mg_safetensors_close(io);
    close_rig(&r);
}

/* `where` NULL: beside the model */
static void adapter_case(const char *base, const char *where, const char *name, const char *backend, mg_keep policy) {
    char label[96], folder[512], adapter[1000];
    snprintf(label, sizeof label, "%s/%s on %s, keep %d", base, name, backend, policy);
    snprintf(folder, sizeof folder, "%s", ref_path(under("golden", base)));
    snprintf(adapter, sizeof adapter, "%s/%s", where ? where : folder, name);
    rig               r;
    mg_safetensors   *io;
    mg_adapter_config c;
    open_rig(&r, folder, backend);
    OK(mg_adapter_read_config(&c, adapter, &err));
    OK(mg_adapter_attach(&r.adapter, &c, &r.m->net, &r.params, &err));
    OK(mg_params_seal(&r.params, r.tape.backend, &err));
    OK(mg_model_place(r.m, r.tape.backend, &err));
    OK(mg_adapter_load(r.adapter, adapter, &err));
    OK(mg_safetensors_open(&io, under(adapter, "adapter_io.safetensors"), &err));
    read_samples(&r, io);
    forward_matches(&r, io, label);
    mg_keep keep[MG_CONFIG_LAYERS];
    for (int i = 0; i < MG_CONFIG_LAYERS; i++) keep[i] = policy;
    r.tape.keep = keep;
    float want;
    memcpy(&want, mg_safetensors_find(io, "loss")->data, 4);
    NEAR(loss_and_gradient(&r), (double)want, 1e-5, "%s: loss", label);
    gradients_match(&r, under(adapter, "adapter_grads.safetensors"), "base_model.model.", label);
    steps_match(&r, under(adapter, "adamw.json"), label);

    /* what we save is what we load, and names and settings are PEFT's */
    const char *keep_saved = getenv("MIGAKI_PEFT_SAVE"); /* for tests/interop/peft_cases.py --check */
    char       *saved = keep_saved ? strdup(under(keep_saved, name)) : make_temp_folder();
    OK(mg_adapter_load(r.adapter, adapter, &err));
    OK(mg_adapter_save(r.adapter, saved, &err));
    mg_safetensors *a, *b;
    OK(mg_safetensors_open(&a, under(adapter, "adapter_model.safetensors"), &err));
    OK(mg_safetensors_open(&b, under(saved, "adapter_model.safetensors"), &err));
    assert_int_equal(a->n, b->n);
    for (size_t i = 0; i < a->n; i++) {
        const mg_st_entry *e = mg_safetensors_find(b, a->entries[i].name);
        assert_non_null(e);
        assert_memory_equal(e->data, a->entries[i].data, e->bytes);
    }
    mg_adapter_config again;
    OK(mg_adapter_read_config(&again, saved, &err));
    assert_true(again.r == c.r && again.alpha == c.alpha && again.rslora == c.rslora && again.dropout == c.dropout);
    mg_safetensors_close(a);
    mg_safetensors_close(b);
    if (keep_saved)
        free(saved);
    else
        remove_temp_folder(saved);
    mg_safetensors_close(io);
    close_rig(&r);
}

/* MIGAKI_TEST_DEVICE=cuda: on that device alone, for machines that have one. */
static const char *backends[] = { "ref32", "cpu" };
static size_t      n_backends = 2;

static void architectures(void **state) {
    (void)state;
    const char *names[] = { "llama2", "llama3", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "gpt2", "gpt_neox" };
    for (size_t b = 0; b < n_backends; b++)
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
            for (mg_keep k = MG_KEEP_ALL; k <= MG_KEEP_NONE; k++)
                if (!SANITIZED || (b == 1 && k == MG_KEEP_LINEAR) || i == 0) full_model(names[i], backends[b], k);
}

static void adapters(void **state) {
    (void)state;
    const char *names[] = { "peft_lora_qv", "peft_lora_all", "peft_rslora", "peft_lora_embed", "peft_dora", "peft_ia3" };
    for (size_t b = 0; b < n_backends; b++)
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
            for (mg_keep k = MG_KEEP_ALL; k <= MG_KEEP_NONE; k++) {
                if (SANITIZED && k != (mg_keep)(i % 3)) continue;
                adapter_case("llama2", NULL, names[i], backends[b], k);
                adapter_case("gemma2", NULL, names[i], backends[b], k);
            }
    for (size_t i = 0; i < 3; i++) adapter_case("llama2", NULL, names[i], "joined", MG_KEEP_LINEAR);
}

/* What tests/interop/peft_cases.py made: methods and settings that the golden ones leave out. */
static void more_adapters(void **state) {
    (void)state;
    const char *names[] = { "loha", "lokr", "lokr_both", "vera", "vera_seed", "adalora", "lora_patterns", "dora_rslora", "ia3_inputs" };
    for (size_t b = 0; b < n_backends; b++)
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
            for (mg_keep k = MG_KEEP_ALL; k <= MG_KEEP_NONE; k++)
                if (!SANITIZED || k == (mg_keep)(i % 3)) adapter_case("llama2", source_path("tests/model/peft_cases"), names[i], backends[b], k);
}

/* AdaLoRA's penalty, scores and budget: five updates, and the same numbers of E are cut. */
static void adalora_keeps_its_budget(void **state) {
    (void)state;
    static mg_sft_options o;
    static const char *const set[][2] = { { "init_r", "4" }, { "target_r", "2" }, { "tinit", "1" }, { "tfinal", "1" } };
    char                  folder[512];
    const char           *adapter = source_path("tests/model/peft_cases/adalora_budget");
    mg_options           *options = mg_options_new(mg_foreign_options);
    rig                   r;
    mg_adapter_config     c;
    mg_safetensors       *after, *io;
    int64_t               total = 5;
    snprintf(folder, sizeof folder, "%s", ref_path("golden/llama2"));
    OK(mg_options_add(options, mg_sft_option_rows, &o, &err));
    for (size_t i = 0; i < sizeof set / sizeof *set; i++) OK(mg_options_set(options, set[i][0], set[i][1], "test", &err));
    open_rig(&r, folder, "cpu");
    OK(mg_adapter_read_config_over(&c, o.method_own, adapter, &err));
    c.frozen = false;
    OK(mg_adapter_attach(&r.adapter, &c, &r.m->net, &r.params, &err));
    r.adapter->total_steps = &total;
    OK(mg_params_seal(&r.params, r.tape.backend, &err));
    OK(mg_adapter_load(r.adapter, adapter, &err));
    OK(mg_safetensors_open(&io, under(folder, "io.safetensors"), &err));
    read_samples(&r, io);
    steps_match(&r, under(adapter, "adamw.json"), "adalora_budget");
    OK(mg_safetensors_open(&after, under(adapter, "adapter_after.safetensors"), &err));
    int cut = 0;
    for (size_t i = 0; i < r.params.n; i++) {
        char full[256];
        snprintf(full, sizeof full, "base_model.model.%s", r.params.item[i]->name);
        const mg_st_entry *e = mg_safetensors_find(after, full);
        assert_non_null(e);
        const float *got = mg_params_values(&r.params, r.params.item[i]), *want = e->data;
        for (int64_t k = 0; k < r.params.item[i]->rows * r.params.item[i]->cols; k++) {
            if (strstr(full, "lora_E")) {
                assert_true((got[k] == 0) == (want[k] == 0));
                cut += got[k] == 0;
            }
            assert_near((double)got[k], (double)want[k], 2e-4, full);
        }
    }
    assert_int_equal(cut, 4 * (4 - 2)); /* four layers, from 4 to 2 */
    mg_safetensors_close(after);
    mg_safetensors_close(io);
    mg_options_free(options);
    close_rig(&r);
}

static void classifiers_and_encoders(void **state) {
    (void)state;
    for (size_t b = 0; b < n_backends; b++) {
        for (mg_keep k = MG_KEEP_ALL; k <= MG_KEEP_NONE; k++) classifier(backends[b], k);
        encoder(backends[b]);
    }
}

/* Half an adapter, another rank, a foreign tensor: refused before a number is written. */
static void wrong_adapters_are_refused(void **state) {
    (void)state;
    rig               r;
    mg_adapter_config c;
    char              folder[512];
    snprintf(folder, sizeof folder, "%s", ref_path("golden/llama2"));
    open_rig(&r, folder, "ref32");
    OK(mg_adapter_read_config(&c, under(folder, "peft_lora_all"), &err));
    c.r = 3;
    OK(mg_adapter_attach(&r.adapter, &c, &r.m->net, &r.params, &err));
    OK(mg_params_seal(&r.params, &mg_backend_cpu, &err));
    assert_int_equal(mg_adapter_load(r.adapter, under(folder, "peft_lora_all"), &err), MG_MISMATCH);
    assert_non_null(strstr(err.text, "rank"));
    assert_int_equal(mg_adapter_load(r.adapter, under(folder, "peft_lora_qv"), &err), MG_MISMATCH);
    assert_int_equal(mg_adapter_load(r.adapter, under(folder, "no_such"), &err), MG_NOTFOUND);
    for (int64_t i = 0; i < r.params.count; i++) assert_true(((float *)r.params.value)[i] == 0);
    close_rig(&r);
}

/* MIGAKI_TEST_DEVICE=cuda: on that device, in fp32, and nowhere else. */
int main(void) {
    const char *device = getenv("MIGAKI_TEST_DEVICE");
    if (device) {
        backends[0] = device;
        n_backends = 1;
    }
    const struct CMUnitTest tests[] = { cmocka_unit_test(architectures), cmocka_unit_test(adapters), cmocka_unit_test(more_adapters), cmocka_unit_test(adalora_keeps_its_budget), cmocka_unit_test(classifiers_and_encoders),
                                        cmocka_unit_test(wrong_adapters_are_refused) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
