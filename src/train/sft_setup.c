/* sft_setup.c -- everything before step 0: model, data, adapter, schedule of batches, memory. */
#include "base/file.h"
#include "base/machine.h"
#include "base/thread.h"
#include "train/sft_parts.h"

#include <libintl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Scratch of the kernels (some megabytes a thread) and what the GEMM library compiles and keeps; measured. */
enum { LIBRARY_BYTES = 16 << 20, SCRATCH_BYTES = 4 << 20 };

/* ---- schedule ---- */

/* The part of the data of a stage: "0.25". */
static mg_status part_of(const mg_sft_options *o, size_t stage, double *part, mg_error *err) {
    if (!o->stages.n) {
        *part = o->train_fraction;
        return MG_OK;
    }
    char  *end;
    double before = stage ? strtod(o->stages.item[stage - 1], NULL) : 0;
    *part = strtod(o->stages.item[stage], &end);
    if (*end || !(*part > before && *part <= 1))
        return mg_fail(err, MG_CONFIG, "stages: '%s' is no part of the data that is larger than the one before it; write rising numbers up to 1, "
                                       "such as 0.1,0.3,1", o->stages.item[stage]);
    return MG_OK;
}

typedef struct { size_t epochs, first; } rooms;

static mg_status add_epoch(mg_trainer *r, const mg_batch_options *b, double part, rooms *cap, mg_error *err) {
    if (!MG_GROW(r->epoch, cap->epochs, (size_t)r->n_epochs + 1) || !MG_GROW(r->epoch_first, cap->first, (size_t)r->n_epochs + 2))
        return mg_fail(err, MG_NOMEM, "no memory for the order of %zu samples", r->train.n);
    mg_epoch *e = &r->epoch[r->n_epochs];
    *e = (mg_epoch){ 0 };
    mg_portion *share = mg_calloc(r->n_shares, sizeof *share);
    if (!share) return mg_fail(err, MG_NOMEM, "no memory for the order of %zu samples", r->train.n);
    for (size_t i = 0; i < r->n_shares; i++) share[i] = r->share[i].plan;
    mg_status st = r->n_shares > 1 ? mg_plan_mixture(e, &r->train, share, r->n_shares, b, (uint64_t)r->n_epochs, err)
                                   : mg_plan_epoch(e, &r->train, b, (uint64_t)r->n_epochs, err);
    free(share);
    if (st) return st;
    r->epoch_first[r->n_epochs] = r->total_steps;
    r->total_steps += (int64_t)ceil(part * (double)e->n_steps);
    r->epoch_first[++r->n_epochs] = r->total_steps;
    return MG_OK;
}

/* Every stage is num_train_epochs long; the last goes on until max_steps where that is set. */
static mg_status make_schedule(mg_trainer *r, mg_error *err) {
    const mg_sft_options *o = r->o;
    mg_batch_options      b = { .seed = (uint64_t)o->seed, .shuffle = o->shuffle, .packing = o->packing,
                                .batch_size = (int32_t)o->per_device_train_batch_size,
                                .gradient_accumulation_steps = (int32_t)o->gradient_accumulation_steps, .max_length = (int32_t)o->max_length };
    rooms     cap = { 0 };
    mg_status st = MG_OK;
    r->n_stages = o->stages.n ? o->stages.n : 1;
    r->stage_end = mg_calloc(r->n_stages, sizeof *r->stage_end);
    if (!r->stage_end) return mg_fail(err, MG_NOMEM, "no memory for %zu stages", r->n_stages);
    for (size_t s = 0; !st && s < r->n_stages; s++) {
        double epochs = o->max_steps > 0 && s + 1 == r->n_stages ? 1e9 : o->num_train_epochs, done = 0;
        st = part_of(o, s, &b.part, err);
        for (; !st && done < epochs && (o->max_steps < 0 || r->total_steps < o->max_steps); done++)
            st = add_epoch(r, &b, fmin(epochs - done, 1), &cap, err);
        r->stage_end[s] = r->total_steps;
    }
    if (o->max_steps > 0 && r->total_steps > o->max_steps) r->total_steps = o->max_steps;
    r->warmup = o->warmup_steps < 1 ? (int64_t)ceil(o->warmup_steps * (double)r->total_steps) : (int64_t)o->warmup_steps;
    r->tokens_per_epoch = r->train.tokens;
    return st;
}

const mg_epoch *mg_trainer_locate(const mg_trainer *r, int64_t step, size_t *begin, size_t *end, double *epoch) {
    int64_t e = 0;
    while (step >= r->epoch_first[e + 1]) e++;
    const mg_epoch *found = &r->epoch[e];
    size_t          n, at = (size_t)(step - r->epoch_first[e]);
    mg_epoch_step(found, at, begin, &n);
    *end = *begin + n;
    *epoch = (double)e + (double)(at + 1) / (double)found->n_steps;
    return found;
}

int mg_trainer_micro(mg_trainer *r, const mg_epoch *e, size_t i) {
    int n = 0;
    for (uint32_t k = e->micro_start[i]; k < e->micro_start[i + 1]; k++) r->list[n++] = &r->train.sample[e->order[k]];
    return n;
}

int mg_trainer_eval_batch(mg_trainer *r, int64_t i) {
    size_t size = (size_t)r->o->per_device_train_batch_size, at = (size_t)i;
    int    n = 0;
    for (size_t s = 0; s < r->n_shares; s++) { /* a batch is of one share */
        const mg_run_share *x = &r->share[s];
        size_t              batches = (x->eval_n + size - 1) / size;
        if (at >= batches) {
            at -= batches;
            continue;
        }
        for (size_t k = at * size; k < (at + 1) * size && k < x->eval_n; k++) r->list[n++] = &r->eval.sample[x->eval_first + k];
        break;
    }
    return n;
}

/* ---- opening ---- */

static mg_status choose_backend(mg_trainer *r, mg_error *err) {
    static const char *const names[] = { [MG_DTYPE_AUTO] = "auto", [MG_DTYPE_FLOAT32] = "float32", [MG_DTYPE_BFLOAT16] = "bfloat16" };
    mg_status st = mg_backend_open(&r->backend, r->o->device, names[r->o->dtype], err);
    /* a GPU without bf16: gradients in fp16 would fall to zero, since the loss is not scaled */
    if (!st && r->backend->element == &mg_format_f16) st = mg_backend_open(&r->backend, r->o->device, "float32", err);
    return st;
}

static mg_status join(const mg_list *list, char *out, size_t size, const char *what, mg_error *err) {
    size_t n = 0;
    for (size_t i = 0; i < list->n; i++) n += (size_t)snprintf(out + n, n < size ? size - n : 0, "%s%s", i ? "," : "", list->item[i]);
    return n < size ? MG_OK : mg_fail(err, MG_CONFIG, "%s is too long", what);
}

static mg_status adapter_of_options(mg_adapter_config *c, const mg_sft_options *o, mg_error *err) {
    *c = (mg_adapter_config){ .method = mg_method_at((size_t)o->method), .r = (int)o->lora_r, .alpha = (float)o->lora_alpha,
                              .rslora = o->use_rslora };
    struct { const mg_list *list; char *out; size_t size; const char *what; } text[] = {
        { &o->lora_target_modules, c->targets, sizeof c->targets, "lora_target_modules" },
        { &o->layers_to_transform, c->layers, sizeof c->layers, "layers_to_transform" },
        { &o->rank_pattern, c->rank_pattern, sizeof c->rank_pattern, "rank_pattern" },
        { &o->alpha_pattern, c->alpha_pattern, sizeof c->alpha_pattern, "alpha_pattern" },
        { &o->modules_to_save, c->modules_to_save, sizeof c->modules_to_save, "modules_to_save" },
    };
    mg_status st = MG_OK;
    for (size_t i = 0; !st && i < sizeof text / sizeof *text; i++) st = join(text[i].list, text[i].out, text[i].size, text[i].what, err);
    return st;
}

/* What is to be trained; known before the model is opened, which must have room for virtual tokens. */
static mg_status choose_adapter(mg_trainer *r, mg_error *err) {
    const mg_sft_options *o = r->o;
    mg_adapter_config    *c = &r->adapter_config;
    char(*own)[MG_METHOD_OWN] = (char(*)[MG_METHOD_OWN])o->method_own;
    mg_status st = o->adapter ? mg_adapter_read_config_over(c, own, o->adapter, err) : adapter_of_options(c, o, err);
    if (st) return st;
    if (!o->adapter) mg_method_own(c, own);
    c->frozen = false;
    c->dropout = (float)o->lora_dropout;
    return MG_OK;
}

static mg_status open_model(mg_trainer *r, mg_error *err) {
    const mg_sft_options *o = r->o;
    mg_model_options      mo = { .positions = o->max_length + mg_adapter_virtual(&r->adapter_config) };
    char                  skip[512];
    mg_status             st = MG_OK;
    if (o->load_in_4bit && o->load_in_8bit) return mg_fail(err, MG_CONFIG, "load_in_4bit and load_in_8bit are both set; choose one");
    if (o->load_in_4bit) mo.quant = o->bnb_4bit_quant_type == MG_QUANT_NF4 ? &mg_format_nf4 : &mg_format_fp4;
    if (o->load_in_8bit) mo.quant = &mg_format_int8;
    mo.quant_block = (int)o->bnb_4bit_blocksize;
    mo.quant_nested = o->use_bnb_nested_quant;
    mo.outlier = (float)o->llm_int8_threshold;
    mo.quant_skip = skip;
    st = join(&o->llm_int8_skip_modules, skip, sizeof skip, "llm_int8_skip_modules", err);
    if (!st) st = mg_bundle_open(&r->bundle, o->model_name_or_path, &mo, o->chat_template, err);
    if (!st && r->bundle.model->c.labels) st = mg_model_require_text(r->bundle.model, err); /* its head is not one of ours */
    if (!st && r->bundle.model->positions < mo.positions)
        st = mg_fail(err, MG_CONFIG, "max_length is %lld, but this model has learned %lld positions; set max_length to %lld or less",
                     (long long)o->max_length, (long long)r->bundle.model->positions,
                     (long long)(r->bundle.model->positions - mg_adapter_virtual(&r->adapter_config)));
    return st;
}

static mg_status attach_adapter(mg_trainer *r, mg_error *err) {
    mg_adapter_config *c = &r->adapter_config;
    snprintf(c->base, sizeof c->base, "%s", r->bundle.path);
    c->tokenizer = r->bundle.tokenizer;
    c->task_type[0] = 0; /* what an adapter that is gone on with was for */
    mg_heads_configure(&r->heads, r->bundle.model, c);
    mg_status st = mg_adapter_attach(&r->adapter, c, &r->bundle.model->net, &r->params, err);
    if (!st) st = mg_heads_attach(&r->heads, r->adapter, r->bundle.model, err);
    if (st) return st;
    r->adapter->total_steps = &r->total_steps;
    r->packed.virtual_rows = mg_net_virtual(&r->bundle.model->net, false);
    return MG_OK;
}

static mg_status check_ids(const mg_trainer *r, const mg_dataset *d, mg_error *err) {
    for (size_t i = 0; i < d->n; i++)
        for (int32_t k = 0; k < d->sample[i].n; k++) {
            int32_t id = d->sample[i].ids[k], label = d->sample[i].goal ? 0 : d->sample[i].label[k];
            if (id < 0 || id >= r->bundle.model->c.vocab || label >= r->bundle.model->c.vocab)
                return mg_fail(err, MG_DATA, "line %lld: the token %d is outside the model's vocabulary of %lld", (long long)d->sample[i].line,
                               id, (long long)r->bundle.model->c.vocab);
        }
    return MG_OK;
}

static mg_status plan_schedule(mg_trainer *r, mg_error *err) {
    r->schedule = mg_schedule_number((size_t)r->o->lr_scheduler_type);
    r->schedule_settings.learning_rate = r->o->learning_rate;
    mg_optim_apply_schedule(&r->o->optimisation, &r->schedule_settings);
    return mg_schedule_check(r->schedule, &r->schedule_settings, err);
}

static mg_status plan_optimizer(mg_trainer *r, mg_error *err) {
    const mg_sft_options *o = r->o;
    mg_optimizer_settings s = mg_optimizer_defaults();
    s.beta1 = (float)o->adam_beta1;
    s.beta2 = (float)o->adam_beta2;
    s.eps = (float)o->adam_epsilon;
    s.weight_decay = (float)o->weight_decay;
    s.max_grad_norm = (float)o->max_grad_norm;
    mg_optim_apply(&o->optimisation, &s);
    s.noise.seed = (uint64_t)o->seed;
    mg_optim_spare_norms(&r->params);
    return mg_optim_open(&r->optimizer, mg_optimizer_at((size_t)o->optim), &s, &r->params, err);
}

mg_status mg_trainer_open(mg_trainer *r, mg_error *err) {
    const mg_sft_options *o = r->o;
    mg_threads_start(o->threads ? (int)o->threads : r->threads_then);
    r->eval_loss = r->eval_accuracy = r->first_eval_loss = r->eval_gap = NAN;
    mg_status st = mg_trainer_scores_open(r, err);
    if (!st) st = plan_schedule(r, err);
    if (!st) st = choose_backend(r, err);
    if (!st) st = choose_adapter(r, err);
    if (!st) st = open_model(r, err);
    if (!st) st = mg_trainer_read_data(r, err);
    if (!st) st = check_ids(r, &r->train, err);
    if (!st) st = check_ids(r, &r->eval, err);
    if (!st) st = attach_adapter(r, err);
    if (!st) st = plan_optimizer(r, err);
    if (!st) st = make_schedule(r, err);
    if (!st) st = mg_trainer_samples_open(r, err);
    if (st) return st;
    mg_trainer_digest_weights(r);
    r->list = mg_calloc(r->train.n + (size_t)o->per_device_train_batch_size, sizeof *r->list);
    return r->list ? MG_OK : mg_fail(err, MG_NOMEM, "no memory for a list of %zu samples", r->train.n);
}

/* ---- memory ---- */

/* The micro-batches that can be the largest: the leaders by tokens, by labels and by longest sample.
 * A dry run of each costs some 50 us, so the rest is not looked at. */
enum { LEADERS = 48, KEYS = 3 };
typedef struct { const mg_epoch *epoch; size_t micro; int64_t key[KEYS]; } candidate;
typedef struct { mg_trainer *r; candidate lead[KEYS][LEADERS]; int n[KEYS]; int64_t cut_to; int64_t limit_batch; mg_sample *cut; } candidates;

static void measure(mg_trainer *r, int n, int64_t key[KEYS]) {
    key[0] = key[1] = key[2] = 0;
    for (int i = 0; i < n; i++) {
        key[0] += r->list[i]->n;
        key[1] += r->list[i]->n_labels;
        if (r->list[i]->n > key[2]) key[2] = r->list[i]->n;
    }
}

static void offer(candidates *c, const candidate *x) {
    for (int k = 0; k < KEYS; k++) {
        int at = c->n[k];
        while (at > 0 && c->lead[k][at - 1].key[k] < x->key[k]) at--;
        if (at == LEADERS) continue;
        if (c->n[k] < LEADERS) c->n[k]++;
        memmove(&c->lead[k][at + 1], &c->lead[k][at], (size_t)(c->n[k] - at - 1) * sizeof *x);
        c->lead[k][at] = *x;
    }
}

static void collect(candidates *c) {
    mg_trainer *r = c->r;
    for (int64_t e = 0; e < r->n_epochs; e++)
        for (size_t i = 0; i < r->epoch[e].n_micro; i++) {
            candidate x = { &r->epoch[e], i, { 0 } };
            measure(r, mg_trainer_micro(r, x.epoch, i), x.key);
            offer(c, &x);
        }
}

/* What a batch would be with shorter samples or fewer of them: the price of a way out. */
static int shrink(candidates *c, int n) {
    if (c->limit_batch && n > c->limit_batch) n = (int)c->limit_batch;
    for (int i = 0; c->cut_to && i < n; i++) {
        c->cut[i] = *c->r->list[i];
        if (c->cut[i].n > c->cut_to) {
            c->cut[i].n = (int32_t)c->cut_to;
            if (c->cut[i].goal) continue; /* its labels may lie behind the end: another sample takes its place */
            c->cut[i].n_labels = 0;
            for (int32_t k = 1; k < c->cut[i].n; k++) c->cut[i].n_labels += c->cut[i].label[k] != MG_IGNORE;
        }
        c->r->list[i] = &c->cut[i];
    }
    return n;
}

static bool next_candidate(void *context, int64_t i, mg_batch *b, bool *evaluation) {
    candidates *c = context;
    mg_trainer *r = c->r;
    mg_error    err;
    int         n = 0;
    for (int k = 0; k < KEYS; k++) {
        if (i < c->n[k]) {
            n = mg_trainer_micro(r, c->lead[k][i].epoch, c->lead[k][i].micro);
            break;
        }
        i -= c->n[k];
    }
    *evaluation = n == 0;
    if (!n) n = mg_trainer_eval_batch(r, i);
    if (n) n = shrink(c, n);
    if (!n || mg_pack_for(&r->packed, r->list, n, mg_trainer_head(r, r->list[0]), &err)) return false;
    *b = r->packed.batch;
    return true;
}

static double gigabytes(size_t bytes) { return (double)bytes / 1e9; }

/* Ways out of a plan that does not fit, each with its price. */
static void ways_out(mg_trainer *r, candidates *c, mg_error *err) {
    const mg_memory_plan *p = &r->plan;
    mg_buf                b = { 0 };
    int                   nodes, n = 0;
    size_t                fixed = p->total - p->arena;
    mg_buf_printf(&b, gettext("%s\n  weights %.2f · LoRA %.2f · gradients+optimizer %.2f · activations %.2f · rest %.2f"), err->text,
                  gigabytes(p->weights), gigabytes(p->adapter), gigabytes(p->optimizer), gigabytes(p->arena), gigabytes(p->program));
    mg_keep all_again[MG_CONFIG_LAYERS];
    for (int i = 0; i < MG_CONFIG_LAYERS; i++) all_again[i] = MG_KEEP_NONE;
    if (r->o->gradient_checkpointing == MG_NO) {
        size_t arena = mg_plan_arena(r->bundle.model, r->backend, all_again, next_candidate, c, &nodes);
        mg_buf_printf(&b, gettext("\n  way %d  --gradient_checkpointing auto → %.2f GB (speed about −25%%)"), ++n, gigabytes(fixed + arena));
    }
    if (r->o->per_device_train_batch_size > 1) {
        c->limit_batch = 1;
        size_t arena = mg_plan_arena(r->bundle.model, r->backend, all_again, next_candidate, c, &nodes);
        c->limit_batch = 0;
        mg_buf_printf(&b, gettext("\n  way %d  --per_device_train_batch_size 1 --gradient_accumulation_steps %lld → %.2f GB (same result)"), ++n,
                      (long long)(r->o->per_device_train_batch_size * r->o->gradient_accumulation_steps), gigabytes(fixed + arena));
    }
    c->cut_to = r->o->max_length / 2;
    size_t arena = mg_plan_arena(r->bundle.model, r->backend, all_again, next_candidate, c, &nodes);
    int64_t longer = 0;
    for (size_t i = 0; i < r->train.n; i++) longer += r->train.sample[i].n > c->cut_to;
    mg_buf_printf(&b, gettext("\n  way %d  --max_length %lld → %.2f GB (%.1f%% of the samples are longer)"), ++n, (long long)c->cut_to,
                  gigabytes(fixed + arena), 100.0 * (double)longer / (double)r->train.n);
    c->cut_to = 0;
    if (!r->o->load_in_4bit && !r->o->load_in_8bit && !r->bundle.model->from_gguf)
        mg_buf_printf(&b, gettext("\n  way %d  --load_in_4bit → about %.2f GB"), ++n,
                      gigabytes(p->total - p->weights + (size_t)((double)r->bundle.model->parameters * 0.56)));
    if (!b.failed) {
        size_t len = b.len < sizeof err->text ? b.len : sizeof err->text - 1;
        memcpy(err->text, b.data, len);
        err->text[len] = 0;
    }
    mg_buf_free(&b);
}

static size_t less(size_t a, size_t b) { return a > b ? a - b : 0; }

/* Everything but weights, parameters and arena: what is there by now (tokenizer, data, code), and what the first steps add. */
static size_t program_bytes(const mg_trainer *r) {
    const mg_model   *m = r->bundle.model;
    if (!r->backend->device->host) return r->backend->device->program_bytes; /* the plan is of the device's memory */
    mg_process_memory now = mg_process_memory_now();
    const mg_gguf    *g = mg_model_gguf(m);
    /* pages of the model's files that are in memory already hold weights, which are counted as such, and, in a GGUF
     * file, the tokenizer */
    size_t beside_weights = g ? g->file_bytes : 0;
    for (size_t i = 0; g && i < g->n_tensors; i++) beside_weights = less(beside_weights, g->tensors[i].bytes);
    return less(now.anonymous, m->copied_bytes) + less(now.mapped, mg_process_mapped_from(r->bundle.path)) + beside_weights +
           LIBRARY_BYTES + (size_t)mg_threads() * SCRATCH_BYTES + mg_trainer_samples_bytes(r);
}

mg_status mg_trainer_plan(mg_trainer *r, mg_error *err) {
    static const int  policies[] = { [MG_AUTO] = MG_PLAN_AUTO, [MG_YES] = MG_PLAN_RERUN_ALL, [MG_NO] = MG_PLAN_KEEP_ALL };
    candidates       *c = mg_calloc(1, sizeof *c);
    size_t            program = program_bytes(r);
    mg_sample *cut = mg_calloc(r->train.n + (size_t)r->o->per_device_train_batch_size, sizeof *cut);
    if (!c || !cut) {
        free(c);
        free(cut);
        return mg_fail(err, MG_NOMEM, "no memory for a plan");
    }
    c->r = r;
    c->cut = cut;
    collect(c);
    mg_status st = mg_plan_memory(&r->plan, r->bundle.model, &r->params, r->backend, policies[r->o->gradient_checkpointing],
                                  mg_optim_bytes(r->optimizer, r->backend->device), program, (size_t)r->o->memory_limit, next_candidate, c, err);
    if (st == MG_NOFIT) ways_out(r, c, err);
    free(cut);
    free(c);
    return st;
}

mg_status mg_trainer_allocate(mg_trainer *r, mg_error *err) {
    mg_status st = mg_params_seal(&r->params, r->backend, err);
    if (!st) st = mg_optim_allocate(r->optimizer, err);
    if (!st && r->o->adapter)
        st = mg_adapter_load(r->adapter, r->o->adapter, err);
    else if (!st)
        st = mg_adapter_init(r->adapter, (uint64_t)r->o->seed, err);
    if (!st) mg_heads_init(&r->heads, r->adapter, !r->o->adapter);
    if (!st) st = mg_model_place(r->bundle.model, r->backend, err);
    if (!st) st = mg_arena_open(&r->mem, r->backend->device, r->plan.arena, false, err);
    if (!st) st = mg_tape_open(&r->tape, r->backend, &r->mem, r->plan.nodes, err);
    int64_t most = 1;
    for (size_t i = 0; i < r->eval.n; i++) most = r->eval.sample[i].n_labels > most ? r->eval.sample[i].n_labels : most;
    r->top = st ? NULL : mg_calloc((size_t)(most * r->o->per_device_train_batch_size), sizeof *r->top);
    if (!st && !r->top) st = mg_fail(err, MG_NOMEM, "no memory for an evaluation");
    r->tape.keep = r->plan.keep;
    r->tape.seed = (uint64_t)r->o->seed;
    r->tape.neftune_alpha = (float)r->o->neftune_noise_alpha;
    if (!st) mg_optim_begin_average(r->optimizer);
    return st;
}

void mg_trainer_facts(const mg_trainer *r) {
    if (!r->listener->facts) return;
    mg_sft_facts f = { .bundle = &r->bundle, .adapter = r->adapter, .backend = r->backend, .plan = &r->plan, .train = &r->train,
                       .eval = r->eval.n ? &r->eval : NULL, .total_steps = r->total_steps, .n_stages = r->n_stages,
                       .steps_per_epoch = r->n_epochs ? (int64_t)r->epoch[0].n_steps : 0, .start_step = r->info.step,
                       .tokens_per_epoch = r->tokens_per_epoch, .checkpoint_bytes = mg_trainer_checkpoint_bytes(r),
                       .threads = mg_threads(), .run_folder = r->run ? mg_run_folder(r->run) : NULL };
    r->listener->facts(r->listener->context, &f);
}

void mg_trainer_close(mg_trainer *r) {
    for (int64_t i = 0; i < r->n_epochs; i++) mg_epoch_free(&r->epoch[i]);
    free(r->epoch);
    free(r->epoch_first);
    free(r->stage_end);
    mg_trainer_samples_close(r);
    free(r->list);
    free(r->top);
    free(r->logit);
    mg_trainer_shares_free(r);
    mg_packed_free(&r->packed);
    mg_tape_close(&r->tape);
    mg_arena_close(&r->mem);
    if (r->adapter) mg_adapter_detach(r->adapter, &r->bundle.model->net);
    mg_optim_close(r->optimizer);
    mg_params_free(&r->params);
    mg_dataset_free(&r->train);
    mg_dataset_free(&r->eval);
    mg_run_close(r->run);
    mg_bundle_close(&r->bundle);
    mg_buf_free(&r->identity);
    *r = (mg_trainer){ 0 };
}
