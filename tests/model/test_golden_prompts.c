/* test_golden_prompts.c -- adapters with virtual tokens against PEFT, and bottleneck adapters against AdapterHub's formulas in
 * torch: logits, loss, gradients, five AdamW steps, fp32, 1e-4.
 *
 * golden/NAME/peft_prompt and peft_prefix train what they save.  Of encoders the golden folders keep only what they made
 * (logits and loss of that); prompt_cases, written by tests/interop/prompt_cases.py, has encoders with their gradients. */
#include "support.h"

#include "format/safetensors.h"
#include "optim/optim.h"
#include "peft/adapter.h"
#include "train/step.h"

#include <math.h>

enum { ARENA = 64 << 20, NODES = 8192, MOST = 8 };
static mg_error err;
#define OK(call) assert_ok(call, err)

typedef struct {
    mg_model   *m;
    mg_params   params;
    mg_adapter *adapter;
    mg_arena    mem;
    mg_tape     tape;
    mg_packed   packed;
    mg_sample   sample[MOST];
    int         n;
    int32_t     row[256], label[256];
} rig;

static int64_t at_i64(const mg_st_entry *e, int64_t i) {
    int64_t v;
    memcpy(&v, (const char *)e->data + 8 * i, 8);
    return v;
}

static void read_samples(rig *r, const mg_safetensors *io) {
    const mg_st_entry *ids = mg_safetensors_find(io, "input_ids"), *mask = mg_safetensors_find(io, "attention_mask"),
                      *labels = mg_safetensors_find(io, "labels");
    const mg_sample *list[MOST];
    int64_t          T = ids->dims[1];
    r->n = (int)ids->dims[0];
    for (int b = 0; b < r->n; b++) {
        mg_sample *s = &r->sample[b];
        *s = (mg_sample){ .ids = calloc((size_t)T, 4), .label = calloc((size_t)T, 4) };
        for (int64_t i = 0; i < T; i++) {
            if (!at_i64(mask, b * T + i)) continue;
            s->ids[s->n] = (int32_t)at_i64(ids, b * T + i);
            s->label[s->n] = s->n ? (int32_t)at_i64(labels, b * T + i) : MG_IGNORE;
            s->n_labels += s->label[s->n++] != MG_IGNORE;
        }
        list[b] = s;
    }
    r->packed.virtual_rows = mg_net_virtual(&r->m->net, false);
    OK(mg_pack(&r->packed, list, r->n, &err));
}

/* Where virtual tokens are rows of the embedding, PEFT's labels have the last of them predict the first token of the text; the
 * trainer leaves a first token out, so the test adds it. */
static void add_first_labels(rig *r, const mg_safetensors *io) {
    const mg_st_entry *labels = mg_safetensors_find(io, "labels"), *mask = mg_safetensors_find(io, "attention_mask");
    mg_batch          *b = &r->packed.batch;
    int64_t            n = 0;
    for (int s = 0; s < b->n_seq; s++) {
        int64_t first = at_i64(labels, s * labels->dims[1]);
        assert_int_equal(at_i64(mask, s * labels->dims[1]), 1);
        if (first == MG_IGNORE) continue;
        r->row[n] = b->start[s] + (int32_t)r->packed.virtual_rows - 1;
        r->label[n++] = (int32_t)first;
    }
    for (int64_t i = 0; i < b->n_labels; i++, n++) {
        r->row[n] = b->label_row[i];
        r->label[n] = b->label[i];
    }
    b->label_row = r->row;
    b->label = r->label;
    b->n_labels = n;
}

static void open_rig(rig *r, const char *model, const char *adapter, const char *backend, bool training) {
    memset(r, 0, sizeof *r);
    mg_model_options  o = { .positions = 128 };
    mg_adapter_config c;
    const mg_backend *b = mg_backend_find(backend);
    char              folder[1024];
    snprintf(folder, sizeof folder, "golden/%s", model);
    OK(mg_model_open(&r->m, ref_path(folder), &o, &err));
    OK(mg_arena_open(&r->mem, b->device, ARENA, false, &err));
    OK(mg_tape_open(&r->tape, b, &r->mem, NODES, &err));
    OK(mg_adapter_read_config(&c, adapter, &err));
    c.frozen = !training;
    OK(mg_adapter_attach(&r->adapter, &c, &r->m->net, &r->params, &err));
    OK(mg_params_seal(&r->params, b, &err));
    OK(mg_adapter_load(r->adapter, adapter, &err));
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

/* Logits of the text's rows; PEFT shows those of the virtual tokens, too, where it has them as rows. */
static void logits_match(rig *r, const mg_safetensors *io, const char *label) {
    const mg_st_entry *want = mg_safetensors_find(io, "logits"), *mask = mg_safetensors_find(io, "attention_mask");
    mg_tape *t = &r->tape;
    mg_tape_reset(t);
    mg_tape_batch(t, &r->packed.batch);
    t->off = true;
    mg_tensor *h = mg_model_hidden(t, r->m);
    int64_t    n = mg_batch_rows(t->batch), T = mask->dims[1], V = r->m->c.vocab, P = r->packed.virtual_rows, front = want->dims[1] - T;
    int32_t    rows[512];
    for (int64_t i = 0; i < n; i++) rows[i] = (int32_t)i;
    mg_tensor *z = mg_model_logits(t, r->m, h, rows, n);
    t->off = false;
    OK(mg_tape_status(t, &err));
    float *got = z->data;
    double cap = r->m->c.final_softcap;
    for (int64_t i = 0; cap > 0 && i < n * V; i++) got[i] = (float)(cap * tanh(got[i] / cap));
    int64_t row = 0;
    for (int64_t b = 0; b < mask->dims[0]; b++) {
        for (int64_t i = front ? -P : 0; i < T; i++) {
            if (i >= 0 && !at_i64(mask, b * T + i)) continue;
            int64_t mine = row + (front ? 0 : P);
            double  d = relative_distance(got + mine * V, (const float *)want->data + (b * (T + front) + front + i) * V, (size_t)V);
            if (!(d <= 1e-4)) fail_msg("%s: logits of sequence %d row %d differ by %.2e", label, (int)b, (int)i, d);
            row++;
        }
        if (!front) row += P;
    }
}

static double loss_of(rig *r) {
    double loss = 0;
    OK(mg_step_train(&r->tape, r->m, &r->packed.batch, 1.0f / (float)r->packed.batch.n_labels, &loss, &err));
    return loss;
}

static void near(double got, double want, const char *label, const char *what) {
    if (!(fabs(got - want) <= 1e-4 * fabs(want))) fail_msg("%s: %s is %.8g, wanted %.8g", label, what, got, want);
}

static void gradients_match(rig *r, const char *path, const char *label) {
    mg_safetensors *f;
    OK(mg_safetensors_open(&f, path, &err));
    size_t seen = 0;
    for (size_t i = 0; i < r->params.n; i++) {
        const mg_tensor   *w = r->params.item[i];
        const char        *name = !strcmp(w->name, "prompt_embeddings") ? "prompt_encoder.default.embedding.weight" : w->name;
        const mg_st_entry *e = mg_safetensors_find(f, name);
        if (!e) fail_msg("%s: no reference gradient for %s", label, name);
        double d = relative_distance(w->grad, e->data, (size_t)(w->rows * w->cols));
        if (!(d <= 1e-4)) fail_msg("%s: gradient of %s differs by %.2e", label, name, d);
        seen++;
    }
    assert_int_equal(seen, f->n);
    mg_safetensors_close(f);
}

static void steps_match(rig *r, const char *path, const char *label) {
    mg_json j;
    OK(mg_json_open(&j, path, 1 << 20, &err));
    yyjson_val           *set = yyjson_obj_get(j.root, "settings"), *step;
    mg_optimizer_settings s = mg_optimizer_defaults();
    s.beta1 = 0.9f;
    s.beta2 = 0.999f;
    s.eps = 1e-8f;
    s.weight_decay = (float)yyjson_get_num(yyjson_obj_get(set, "weight_decay"));
    s.max_grad_norm = (float)yyjson_get_num(yyjson_obj_get(set, "max_grad_norm"));
    mg_optim *o;
    size_t    i, n;
    OK(mg_optim_open(&o, mg_optimizer_find("adamw"), &s, &r->params, &err));
    OK(mg_optim_allocate(o, &err));
    mg_params_zero_grad(&r->params);
    yyjson_arr_foreach(yyjson_obj_get(j.root, "steps"), i, n, step) {
        double norm, loss = loss_of(r);
        assert_true(mg_optim_update(o, yyjson_get_num(yyjson_obj_get(step, "lr")), (int64_t)i + 1, &norm));
        near(loss, yyjson_get_num(yyjson_obj_get(step, "loss")), label, "a step's loss");
        near(norm, yyjson_get_num(yyjson_obj_get(step, "grad_norm")), label, "a gradient's norm");
    }
    assert_int_equal(n, 5);
    mg_optim_close(o);
    mg_json_free(&j);
}

/* What was trained, saved, and attached anew only to be used, gives the same logits: the encoder's result is what is saved. */
static void saved_is_the_same(rig *r, const char *model, const char *backend, const char *label) {
    rig      again;
    char    *folder = make_temp_folder();
    double   before = loss_of(r);
    OK(mg_adapter_save(r->adapter, folder, &err));
    const mg_sample *list[MOST];
    open_rig(&again, model, folder, backend, false);
    again.packed.virtual_rows = mg_net_virtual(&again.m->net, false);
    assert_int_equal(again.packed.virtual_rows, r->packed.virtual_rows);
    for (int i = 0; i < r->n; i++) list[i] = &r->sample[i];
    OK(mg_pack(&again.packed, list, r->n, &err));
    again.packed.batch = r->packed.batch;
    double   nll = 0;
    int64_t  right = 0;
    int32_t  top[512];
    OK(mg_step_evaluate(&again.tape, again.m, &again.packed.batch, top, &nll, &right, &err));
    near(nll / (double)again.packed.batch.n_labels, before, label, "the loss of the saved adapter");
    close_rig(&again);
    remove_temp_folder(folder);
}

/* `trains`: the folder has gradients of what is in it. */
static void one(const char *model, const char *adapter, bool own, const char *backend, mg_keep keep, bool trains) {
    rig             r;
    char            label[200], folder[1024], path[1200], io_path[1200];
    mg_safetensors *io;
    mg_keep         policy[MG_CONFIG_LAYERS];
    for (int i = 0; i < MG_CONFIG_LAYERS; i++) policy[i] = keep;
    snprintf(label, sizeof label, "%s %s on %s, keep %d", model, adapter, backend, (int)keep);
    snprintf(path, sizeof path, own ? "tests/model/prompt_cases/%s_%s" : "golden/%s/%s", model, adapter);
    snprintf(folder, sizeof folder, "%s", own ? source_path(path) : ref_path(path));
    snprintf(path, sizeof path, "golden/%s", model);
    snprintf(io_path, sizeof io_path, own ? "%s/io.safetensors" : "%s/adapter_io.safetensors", own ? ref_path(path) : folder);
    open_rig(&r, model, folder, backend, trains);
    OK(mg_safetensors_open(&io, io_path, &err));
    read_samples(&r, io);
    if (r.packed.virtual_rows && strncmp(adapter, own ? "prefix" : "peft_prefix", own ? 6 : 11) != 0) add_first_labels(&r, io);
    r.tape.keep = policy;
    r.tape.training = false;
    if (!own) {
        logits_match(&r, io, label);
        mg_params_zero_grad(&r.params);
        near(loss_of(&r), *(const float *)mg_safetensors_find(io, "loss")->data, label, "the loss");
    }
    if (trains) {
        mg_params_zero_grad(&r.params);
        loss_of(&r);
        snprintf(path, sizeof path, "%s/adapter_grads.safetensors", folder);
        gradients_match(&r, path, label);
        snprintf(path, sizeof path, "%s/adamw.json", folder);
        steps_match(&r, path, label);
        saved_is_the_same(&r, model, backend, label);
    }
    mg_safetensors_close(io);
    close_rig(&r);
}

static void as_peft(void **state) {
    (void)state;
    static const char *const models[] = { "llama2", "gemma2" }, *const backends[] = { "ref32", "cpu" };
    static const struct { const char *name; bool own, trains; } cases[] = {
        { "peft_prompt", false, true },      { "peft_prefix", false, true },      { "peft_prefix_proj", false, false },
        { "peft_ptuning_mlp", false, false }, { "peft_ptuning_lstm", false, false }, { "p_tuning_mlp", true, true },
        { "p_tuning_lstm", true, true },     { "prefix_projection", true, true },  { "houlsby", true, true },
        { "pfeiffer", true, true },          { "parallel", true, true },
    };
    for (size_t m = 0; m < 2; m++)
        for (size_t b = 0; b < 2; b++)
            for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
                for (mg_keep k = MG_KEEP_ALL; k <= MG_KEEP_NONE; k++) one(models[m], cases[c].name, cases[c].own, backends[b], k, cases[c].trains);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(as_peft) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
