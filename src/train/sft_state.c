/* sft_state.c -- what of a training run is kept on disk, and coming back from it.
 *
 * A checkpoint holds the adapter, the optimizer's state and the position; everything
 * else (order of data, dropout masks, learning rate) is computed again from the
 * seed.  identity.json holds every setting that the numbers depend on: a resume
 * with another one is refused, field by field. */
#include "base/file.h"
#include "base/thread.h"
#include "format/safetensors.h"
#include "train/sft_parts.h"

#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { IDENTITY_BYTES = 1 << 20, MOST_THREADS = 1024 };

/* ---- identity ---- */

/* Templates may write today's date into every sample (Llama 3 does), so the day of a run stays the day it began:
 * SOURCE_DATE_EPOCH, which the template engine follows.  Sums are cut at the threads, so their number stays, too,
 * unless the user gives one: another one is refused, with all else that differs. */
void mg_trainer_recall(mg_trainer *r) {
    const mg_sft_options *o = r->o;
    char    text[32];
    char   *folder = NULL, *path = NULL;
    mg_json was = { 0 };
    double  date = (double)time(NULL);
    mg_checkpoint_info info;
    if (o->resume_from_checkpoint && o->output_dir && !mg_checkpoint_newest(&folder, &info, o->output_dir, NULL, NULL)) {
        path = mg_path_join(folder, "identity.json");
        if (path && !mg_json_open(&was, path, IDENTITY_BYTES, NULL)) {
            yyjson_val *then = yyjson_obj_get(was.root, "date"), *threads = yyjson_obj_get(was.root, "threads");
            if (yyjson_is_num(then)) date = yyjson_get_num(then);
            if (yyjson_is_num(threads) && yyjson_get_num(threads) >= 1 && yyjson_get_num(threads) <= MOST_THREADS)
                r->threads_then = (int)yyjson_get_num(threads);
        }
        mg_json_free(&was);
    }
    free(path);
    free(folder);
    snprintf(text, sizeof text, "%.0f", date);
    setenv("SOURCE_DATE_EPOCH", text, 0); /* the user's own wins */
}

/* A digest of ids and labels of all samples, in order. */
static void digest(char out[65], const mg_dataset *d) {
    mg_buf b = { 0 };
    memset(out, 0, 65);
    for (size_t i = 0; i < d->n; i++) {
        const mg_sample *s = &d->sample[i];
        b.len = 0;
        mg_buf_add(&b, out, 64);
        mg_buf_add(&b, s->ids, (size_t)s->n * sizeof *s->ids);
        mg_buf_add(&b, s->label, (size_t)(s->goal ? s->n_labels : s->n) * sizeof *s->label);
        if (s->goal) { /* tasks, rows, numbers */
            mg_buf_printf(&b, "%d %.9g %d", s->task, (double)s->value, s->second);
            mg_buf_add(&b, s->row, (size_t)s->n_labels * sizeof *s->row);
        }
        mg_sha256_hex(out, b.data, b.len);
    }
    mg_buf_free(&b);
}

static void text_field(mg_buf *b, const char *key, const char *value) {
    mg_buf_printf(b, "%s\n  \"%s\": ", b->len > 1 ? "," : "", key);
    mg_json_quote(b, value, strlen(value));
}

static void number_field(mg_buf *b, const char *key, double value) {
    mg_buf_printf(b, "%s\n  \"%s\": %.17g", b->len > 1 ? "," : "", key, value);
}

/* The options of a table, as config.yaml has them. */
static void table_fields(mg_buf *b, const mg_option *row, const void *values) {
    for (; row && row->name; row++) {
        mg_buf text = { 0 };
        row->type->print(&text, (const char *)values + row->offset, row);
        text_field(b, row->name, text.data ? text.data : "");
        b->failed |= text.failed;
        mg_buf_free(&text);
    }
}

/* A digest of the first bytes of a weight in the middle of the model: another checkpoint of one architecture differs there. */
void mg_trainer_digest_weights(mg_trainer *r) {
    const mg_model  *m = r->bundle.model;
    const mg_tensor *w = m->layer[m->c.layers / 2].down.w;
    MG_ASSERT(m->device->host);
    mg_sha256_hex(r->weights_sum, w->data, (size_t)(w->cols / w->format->block) * w->format->block_bytes);
}

mg_status mg_trainer_make_identity(mg_trainer *r, mg_error *err) {
    const mg_sft_options *o = r->o;
    const mg_model       *m = r->bundle.model;
    const mg_adapter_config *a = &r->adapter->c;
    mg_buf               *b = &r->identity;
    char                  train[65], eval[65];
    digest(train, &r->train);
    digest(eval, &r->eval);
    b->len = 0;
    mg_buf_char(b, '{');
    text_field(b, "model", m->arch->name);
    text_field(b, "weights", r->weights_sum);
    number_field(b, "parameters", (double)m->parameters);
    text_field(b, "formats", m->format_summary);
    text_field(b, "compute", r->backend->compute);
    text_field(b, "machine", r->backend->machine ? r->backend->machine() : r->backend->name);
    number_field(b, "threads", mg_threads());
    number_field(b, "date", strtod(getenv("SOURCE_DATE_EPOCH"), NULL));
    text_field(b, "train_data", train);
    text_field(b, "eval_data", eval);
    text_field(b, "method", a->method->name);
    text_field(b, "lora_target_modules", a->targets);
    number_field(b, "lora_r", a->r);
    number_field(b, "lora_alpha", (double)a->alpha);
    number_field(b, "lora_dropout", (double)a->dropout);
    number_field(b, "use_rslora", a->rslora);
    if (*a->layers) text_field(b, "layers_to_transform", a->layers);
    if (*a->rank_pattern) text_field(b, "rank_pattern", a->rank_pattern);
    if (*a->alpha_pattern) text_field(b, "alpha_pattern", a->alpha_pattern);
    if (*a->modules_to_save) text_field(b, "modules_to_save", a->modules_to_save);
    table_fields(b, a->method->options, a->own);
    number_field(b, "seed", (double)o->seed);
    number_field(b, "total_steps", (double)r->total_steps);
    number_field(b, "per_device_train_batch_size", (double)o->per_device_train_batch_size);
    number_field(b, "gradient_accumulation_steps", (double)o->gradient_accumulation_steps);
    number_field(b, "packing", o->packing);
    for (size_t i = 0; r->n_shares > 1 && i < r->n_shares; i++) {
        char key[40];
        snprintf(key, sizeof key, "part of %s", r->share[i].name);
        number_field(b, key, r->share[i].plan.part);
    }
    number_field(b, "shuffle", o->shuffle);
    number_field(b, "train_fraction", o->train_fraction);
    for (size_t i = 0; i < o->stages.n; i++) {
        char name[32];
        snprintf(name, sizeof name, "stage_%zu", i + 1);
        text_field(b, name, o->stages.item[i]);
    }
    number_field(b, "stage_threshold", o->stage_threshold);
    number_field(b, "max_length", (double)o->max_length);
    text_field(b, "optim", mg_optimizer_at((size_t)o->optim)->name);
    text_field(b, "lr_scheduler_type", r->schedule->name);
    number_field(b, "learning_rate", o->learning_rate);
    number_field(b, "warmup_steps", (double)r->warmup);
    number_field(b, "weight_decay", o->weight_decay);
    number_field(b, "max_grad_norm", o->max_grad_norm);
    number_field(b, "adam_beta1", o->adam_beta1);
    number_field(b, "adam_beta2", o->adam_beta2);
    number_field(b, "adam_epsilon", o->adam_epsilon);
    number_field(b, "neftune_noise_alpha", o->neftune_noise_alpha);
    table_fields(b, mg_optim_rows, &o->optimisation);
    mg_buf_str(b, "\n}\n");
    if (b->failed) return mg_fail(err, MG_NOMEM, "no memory for the run's identity");
    mg_sha256_hex(r->info.config_hash, b->data, b->len);
    return MG_OK;
}

/* What is no option of that name, and what could be done about it. */
static const struct { const char *key, *how; } no_options[] = {
    { "model", "-m" }, { "weights", "-m" }, { "parameters", "-m" }, { "formats", "-m or --load_in_4bit" }, { "compute", "--dtype" },
    { "machine", "the CPU or the library is another one; bits would differ" }, { "date", "SOURCE_DATE_EPOCH" },
    { "train_data", "-d" }, { "eval_data", "--eval_dataset or --val_size" },
    { "total_steps", "--max_steps or --num_train_epochs" },
};

/* "\n  threads: 2 → 1 (give --threads 2)" */
static void one_difference(mg_buf *out, yyjson_val *key, yyjson_val *was, yyjson_val *is) {
    char       *a = was ? yyjson_val_write(was, 0, NULL) : NULL, *b = yyjson_val_write(is, 0, NULL);
    const char *how = NULL;
    for (size_t i = 0; i < sizeof no_options / sizeof *no_options; i++)
        if (yyjson_equals_str(key, no_options[i].key)) how = no_options[i].how;
    mg_buf_printf(out, "\n  %s: %.60s → %.60s", yyjson_get_str(key), a ? a : "-", b ? b : "-");
    if (how)
        mg_buf_printf(out, " (%s)", how);
    else if (a)
        mg_buf_printf(out, " (give --%s %s)", yyjson_get_str(key), a);
    free(a);
    free(b);
}

/* Refuse to go on with other settings, and say which. */
static mg_status same_identity(mg_trainer *r, const char *folder, mg_error *err) {
    char     *path = mg_path_join(folder, "identity.json");
    mg_json   was = { 0 }, is = { 0 };
    mg_buf    differences = { 0 };
    mg_status st = path ? mg_json_open(&was, path, IDENTITY_BYTES, err) : mg_fail(err, MG_NOMEM, "%s", folder);
    if (!st) st = mg_json_parse(&is, r->identity.data, r->identity.len, "identity", err);
    if (st) goto done;
    yyjson_obj_iter it = yyjson_obj_iter_with(is.root);
    for (yyjson_val *k; (k = yyjson_obj_iter_next(&it));) {
        yyjson_val *now = yyjson_obj_iter_get_val(k), *then = yyjson_obj_get(was.root, yyjson_get_str(k));
        bool same = then && (yyjson_is_num(now) ? yyjson_get_num(now) == yyjson_get_num(then) : yyjson_equals(now, then));
        if (!same) one_difference(&differences, k, then, now);
    }
    if (differences.len)
        st = mg_fail(err, MG_MISMATCH, "%s: the run was made with other settings, so it cannot go on bit for bit:%.700s", folder,
                     differences.data);
done:
    mg_buf_free(&differences);
    mg_json_free(&was);
    mg_json_free(&is);
    free(path);
    return st;
}

/* ---- writing ---- */

static mg_status write_optimizer(void *context, const char *path, mg_error *err) {
    const mg_trainer *r = context;
    return mg_optim_save(r->optimizer, path, err);
}

/* mg_adapter_save writes several files into a folder; the checkpoint wants them one by one. */
typedef struct { mg_trainer *r; const char *name; } adapter_file;
static mg_status write_adapter(void *context, const char *path, mg_error *err) {
    const adapter_file *f = context;
    char               *folder = mg_strdup(path), *slash = folder ? strrchr(folder, '/') : NULL;
    if (!slash) {
        free(folder);
        return mg_fail(err, MG_NOMEM, "%s: no memory", path);
    }
    *slash = 0;
    mg_status st = mg_is_file(path) ? MG_OK : mg_adapter_save(f->r->adapter, folder, err);
    free(folder);
    return st;
}

static mg_run_state state_of(const mg_trainer *r, const char *status) {
    return (mg_run_state){ .step = r->info.step, .max_steps = r->total_steps, .epoch = r->info.epoch,
                           .num_train_epochs = r->o->num_train_epochs, .train_batch_size = r->o->per_device_train_batch_size,
                           .tokens = r->info.tokens, .has_best = r->info.has_best, .best_metric = r->info.best_metric,
                           .best_step = r->info.best_step, .status = status };
}

static mg_status write_checkpoint(mg_trainer *r, mg_error *err) {
    mg_checkpoint_writer *w = NULL;
    mg_buf                state = { 0 }, schedule = { 0 }, random = { 0 };
    mg_run_state          now = state_of(r, "running");
    mg_run_state_json(&state, r->run, &now);
    mg_buf_printf(&schedule, "{\"type\": \"%s\", \"step\": %lld, \"warmup\": %lld, \"total\": %lld}\n", r->schedule->name,
                  (long long)r->info.step, (long long)r->warmup, (long long)r->total_steps);
    mg_buf_printf(&random, "{\"generator\": \"philox4x32-10\", \"seed\": %lld, \"step\": %lld}\n", (long long)r->o->seed,
                  (long long)r->info.step);
    mg_status st = mg_checkpoint_begin(&w, mg_run_folder(r->run), &r->info, err);
    const char *name;
    for (size_t i = 0; !st && (name = mg_adapter_file(r->adapter, i)); i++)
        st = mg_checkpoint_add_file(w, name, write_adapter, &(adapter_file){ r, name }, err);
    mg_buf heads = { 0 };
    if (!st && r->heads.n) st = mg_heads_text(&r->heads, &heads, err);
    if (!st && r->heads.n) st = mg_checkpoint_add_bytes(w, "heads.json", heads.data, heads.len, err);
    mg_buf_free(&heads);
    if (!st) st = mg_checkpoint_add_file(w, "optimizer.safetensors", write_optimizer, r, err);
    if (!st) st = mg_checkpoint_add_bytes(w, "scheduler.json", schedule.data, schedule.len, err);
    if (!st) st = mg_checkpoint_add_bytes(w, "rng_state.json", random.data, random.len, err);
    if (!st) st = mg_checkpoint_add_bytes(w, "trainer_state.json", state.data, state.len, err);
    if (!st) st = mg_checkpoint_add_bytes(w, "identity.json", r->identity.data, r->identity.len, err);
    if (st)
        mg_checkpoint_abort(w);
    else
        st = mg_checkpoint_commit(w, err);
    mg_buf_free(&state);
    mg_buf_free(&schedule);
    mg_buf_free(&random);
    return st;
}

mg_status mg_trainer_save(mg_trainer *r, mg_error *err) {
    /* with ema_decay the adapter of a checkpoint is the average, and the weights that train are among the state */
    mg_optim_swap_average(r->optimizer);
    mg_status st = write_checkpoint(r, err);
    mg_optim_swap_average(r->optimizer);
    if (st) return st;
    mg_run_state now = state_of(r, "running");
    st = mg_run_write_state(r->run, &now, err);
    if (!st)
        st = mg_checkpoint_rotate(mg_run_folder(r->run), r->o->save_total_limit, r->info.has_best ? r->info.best_step : -1, err);
    return st;
}

size_t mg_trainer_checkpoint_bytes(const mg_trainer *r) {
    return (size_t)r->params.count * sizeof(float) + mg_optim_bytes(r->optimizer, &mg_device_host);
}

static mg_status write_tokenizer_config(mg_trainer *r, mg_error *err) {
    const mg_bundle *b = &r->bundle;
    mg_buf           t = { 0 };
    mg_buf_char(&t, '{');
    if (b->bos_text) text_field(&t, "bos_token", b->bos_text);
    if (b->eos_text) text_field(&t, "eos_token", b->eos_text);
    int32_t pad = mg_tokenizer_pad(b->tokenizer);
    size_t  len;
    const char *pad_text = pad >= 0 ? mg_tokenizer_token(b->tokenizer, pad, &len) : NULL;
    if (pad_text) {
        mg_buf_printf(&t, "%s\n  \"pad_token\": ", t.len > 1 ? "," : "");
        mg_json_quote(&t, pad_text, len);
    }
    text_field(&t, "tokenizer_class", "PreTrainedTokenizerFast");
    number_field(&t, "model_max_length", (double)b->model->c.max_positions);
    mg_buf_str(&t, "\n}\n");
    mg_status st = t.failed ? mg_fail(err, MG_NOMEM, "no memory for tokenizer_config.json")
                            : mg_run_write(r->run, "tokenizer_config.json", t.data, t.len, err);
    mg_buf_free(&t);
    return st;
}

/* A vocabulary of 262,144 takes 50 MB to write, so this is done before the arena is touched, and given back. */
mg_status mg_trainer_write_text(mg_trainer *r, mg_error *err) {
    mg_buf    json = { 0 };
    mg_status st = mg_tokenizer_write_json(r->bundle.tokenizer, &json, err);
    if (!st) st = mg_run_write(r->run, "tokenizer.json", json.data, json.len, err);
    if (!st) st = write_tokenizer_config(r, err);
    if (!st && r->bundle.template_text)
        st = mg_run_write(r->run, "chat_template.jinja", r->bundle.template_text, strlen(r->bundle.template_text), err);
    mg_buf_free(&json);
    malloc_trim(0);
    mg_buf heads = { 0 };
    if (!st && r->heads.n) st = mg_heads_text(&r->heads, &heads, err);
    if (!st && r->heads.n) st = mg_run_write(r->run, "heads.json", heads.data, heads.len, err);
    mg_buf_free(&heads);
    return st;
}

/* ---- coming back ---- */

static mg_status read_optimizer(mg_trainer *r, const char *folder, mg_error *err) {
    char     *path = mg_path_join(folder, "optimizer.safetensors");
    mg_status st = path ? mg_optim_load(r->optimizer, path, err) : mg_fail(err, MG_NOMEM, "%s", folder);
    free(path);
    return st;
}

mg_status mg_trainer_restore(mg_trainer *r, const char *which, mg_error *err) {
    mg_checkpoint_info info;
    char              *folder = NULL;
    mg_buf             notes = { 0 };
    bool      newest = !strcmp(which, "last") || !strcmp(which, "true");
    mg_status st = newest ? mg_checkpoint_newest(&folder, &info, mg_run_folder(r->run), &notes, err)
                          : mg_checkpoint_verify(which, &info, err);
    if (!newest && !st && !(folder = mg_strdup(which))) st = mg_fail(err, MG_NOMEM, "%s", which);
    if (notes.len && r->listener->warn) r->listener->warn(r->listener->context, notes.data);
    if (newest && st == MG_NOTFOUND) { /* stopped before the first checkpoint: begin again */
        st = MG_OK;
        goto done;
    }
    if (!st) st = same_identity(r, folder, err);
    if (!st) st = read_optimizer(r, folder, err);
    if (!st) st = mg_adapter_load(r->adapter, folder, err);
    if (!st) {
        mg_optim_swap_average(r->optimizer);
        memcpy(info.config_hash, r->info.config_hash, sizeof info.config_hash);
        r->info = info;
    }
done:
    if (!st) st = mg_run_rewind(r->run, r->info.step, err);
    mg_buf_free(&notes);
    free(folder);
    return st;
}
