/* generate.c -- reading prompts, stepping together, and when an answer ends.
 *
 * Nothing is allocated for a token but the text itself: the arena is as large as a dry run of the largest
 * pass found, ids have their room from the beginning, and the cache is a slab.  A prompt is read in pieces of
 * READ tokens, so activations do not grow with its length, and the pieces depend on the prompt alone.  Its last
 * token is not read but takes part in the first common step: so the head, more than half of the weights in a
 * small model with a large vocabulary, is never used for one prompt alone. */
#include "infer/generate.h"

#include "autograd/cache.h"
#include "infer/plan.h"
#include "nn/virtual.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { READ = 256, SLOTS_LEAST = 4, SLOTS_MOST = 32, CACHED_BYTES = 640 << 10 };

struct mg_generator {
    const mg_model     *m;
    const mg_tokenizer *tokenizer;
    const mg_backend   *backend;
    int                 slots;
    int64_t             context, longest; /* tokens; longest: of a prompt */
    mg_cache            cache;
    mg_arena            mem;
    mg_tape             tape;
    mg_sampler          sampler;
    int32_t            *numbers;                 /* the arrays below */
    int32_t     *start, *ids, *pos, *slot, *row; /* of a pass: [slots + 1], [rows], [rows], [slots], [slots] */
    mg_batch     batch;
    float       *logits; /* of the last pass, [n_rows, vocab]: of the tape, or in `room` */
    float       *room;   /* [slots, vocab], for devices whose memory cannot be read; else NULL */
    int          n_rows;
    mg_ids       held;     /* tokens whose keys are in slot 0, when only one prompt used it */
    bool         held_off; /* they were read with adapters off */
    int64_t      front, front_most; /* virtual tokens before a prompt: of this call, of any adapter */
    int32_t     *virtual_row, *virtual_id; /* of a pass, [READ] */
};

/* A sequence on its way. */
typedef struct {
    size_t           prompt;
    int              slot;
    int32_t          next; /* the token that takes the next step */
    int64_t          room; /* most tokens of the answer */
    size_t           sent; /* bytes of the text that the listener has */
    mg_detok_stream *detok;
    mg_generation   *out;
} live;

typedef struct {
    mg_generator              *g;
    const mg_ids              *prompt;
    size_t                     n, next; /* prompts, and the first that has not begun */
    const mg_generate_options *o;
    mg_generation             *out;
    live                      *live;
    int                        n_live;
    bool                      *busy; /* [slots] */
    mg_error                  *err;
} job;

/* ---- a pass ---- */

static void forward(mg_tape *t, mg_generator *g) {
    mg_tape_reset(t);
    mg_tape_batch(t, &g->batch);
    t->off = true;
    t->training = false;
    mg_tensor *h = mg_model_hidden(t, g->m);
    mg_tensor *z = g->n_rows ? mg_model_logits(t, g->m, h, g->row, g->n_rows) : NULL;
    g->logits = z ? (float *)mg_tape_floats(t, z, g->room) : NULL;
}

static void softcap(float *logit, int64_t n, double cap) {
    for (int64_t i = 0; i < n; i++) logit[i] = (float)(cap * tanh(logit[i] / cap));
}

static mg_status run_pass(mg_generator *g, mg_error *err) {
    forward(&g->tape, g);
    mg_status st = mg_tape_status(&g->tape, err);
    if (st) return st;
    mg_cache_advance(&g->cache, &g->batch);
    if (g->logits && g->m->c.final_softcap > 0) softcap(g->logits, g->n_rows * g->m->c.vocab, g->m->c.final_softcap);
    return MG_OK;
}

static void set_batch(mg_generator *g, int n_seq) {
    g->batch = (mg_batch){
        .n_seq = n_seq, .start = g->start, .ids = g->ids, .pos = g->pos, .cache = &g->cache, .slot = g->slot
    };
}

/* `n` tokens for one slot, behind what it holds. */
static void set_reading(mg_generator *g, int slot, const int32_t *ids, int64_t n) {
    int32_t at = g->cache.len[slot];
    g->start[0] = 0;
    g->start[1] = (int32_t)n;
    g->slot[0] = slot;
    for (int64_t i = 0; i < n; i++) {
        g->ids[i] = ids ? ids[i] : 0;
        g->pos[i] = at + (int32_t)i;
    }
    g->n_rows = 0;
    set_batch(g, 1);
}

/* Virtual tokens first .. first+n-1 for a slot, behind what it holds. */
static void set_front(mg_generator *g, int slot, int64_t first, int64_t n) {
    set_reading(g, slot, NULL, n);
    for (int64_t i = 0; i < n; i++) {
        g->virtual_row[i] = (int32_t)i;
        g->virtual_id[i] = (int32_t)(first + i);
    }
    g->batch.n_virtual = n;
    g->batch.virtual_row = g->virtual_row;
    g->batch.virtual_id = g->virtual_id;
}

/* Row i: one token for the slot of sequence i. */
static void set_step(mg_generator *g, int i, int slot, int32_t id) {
    g->start[i] = i;
    g->start[i + 1] = i + 1;
    g->ids[i] = id;
    g->pos[i] = g->cache.len[slot];
    g->slot[i] = slot;
    g->row[i] = i;
    g->n_rows = i + 1;
    set_batch(g, i + 1);
}

/* ---- opening ---- */

static int64_t piece(const mg_generator *g) { return g->longest < READ ? g->longest : READ; }

/* The largest passes: the last piece of a full context, and a step of all slots. */
static void largest_passes(mg_tape *t, void *context) {
    mg_generator *g = context;
    int64_t       front = mg_net_virtual(&g->m->net, false), all = g->context + front;
    g->cache.len[0] = (int32_t)(all - piece(g));
    set_reading(g, 0, NULL, piece(g));
    forward(t, g);
    g->cache.len[0] = 0;
    if (front) set_front(g, 0, 0, front < READ ? front : READ);
    if (front && !t->error) forward(t, g);
    for (int i = 0; i < g->slots; i++) {
        g->cache.len[i] = (int32_t)all - 1;
        set_step(g, i, i, 0);
    }
    if (!t->error) forward(t, g);
    memset(g->cache.len, 0, (size_t)g->slots * sizeof *g->cache.len);
}

static mg_status make_numbers(mg_generator *g, mg_error *err) {
    size_t rows = (size_t)(g->slots > READ ? g->slots : READ), slots = (size_t)g->slots;
    g->numbers = mg_calloc(slots + 1 + 2 * rows + 2 * slots + 2 * READ, sizeof *g->numbers);
    g->held.data = mg_calloc((size_t)g->context, sizeof *g->held.data);
    if (!g->numbers || !g->held.data) return mg_fail(err, MG_NOMEM, "no memory to generate text");
    g->held.cap = (size_t)g->context;
    g->start = g->numbers;
    g->ids = g->start + slots + 1;
    g->pos = g->ids + rows;
    g->slot = g->pos + rows;
    g->row = g->slot + slots;
    g->virtual_row = g->row + slots;
    g->virtual_id = g->virtual_row + READ;
    return MG_OK;
}

/* All layers have key and value rows of one width. */
static int64_t cache_width(const mg_model *m) { return m->c.kv_heads * m->c.hd; }

mg_status mg_generator_open(mg_generator **out, const mg_model *m, const mg_tokenizer *tokenizer,
                            const mg_backend *b, int slots, int64_t context, mg_error *err) {
    return mg_generator_open_for(out, m, tokenizer, b, slots, context, context, err);
}

mg_status mg_generator_open_for(mg_generator **out, const mg_model *m, const mg_tokenizer *tokenizer,
                                const mg_backend *b, int slots, int64_t context, int64_t longest, mg_error *err) {
    MG_ASSERT(slots > 0);
    mg_status st = mg_model_require_text(m, err);
    if (st) return st;
    int64_t front = mg_net_virtual(&m->net, true);
    if (context < 2 || context > m->positions - front)
        return mg_fail(err, MG_CONFIG, "a context of %lld tokens: the model was opened for %lld (max_length)",
                       (long long)context, (long long)(m->positions - front));
    mg_generator *g = mg_calloc(1, sizeof *g);
    if (!g) return mg_fail(err, MG_NOMEM, "no memory to generate text");
    if (b->steady_rows && slots > b->steady_rows) slots = (int)b->steady_rows;
    *g = (mg_generator){ .m = m, .tokenizer = tokenizer, .backend = b, .slots = slots, .context = context,
                          .longest = longest, .front_most = front };
    st = make_numbers(g, err);
    if (!st) st = mg_cache_open(&g->cache, b->device, (int)m->c.layers, slots, context + front, cache_width(m), b->element, err);
    if (!st && !b->device->host && !(g->room = mg_calloc((size_t)m->c.vocab * (size_t)slots, sizeof *g->room)))
        st = mg_fail(err, MG_NOMEM, "no memory for the logits of %d sequences", slots);
    if (!st) st = mg_sampler_open(&g->sampler, m->c.vocab, err);
    if (!st) st = mg_plan_open(&g->tape, &g->mem, b, largest_passes, g, err);
    if (st)
        mg_generator_close(g);
    else
        *out = g;
    return st;
}

void mg_generator_close(mg_generator *g) {
    if (!g) return;
    mg_plan_close(&g->tape, &g->mem);
    mg_sampler_close(&g->sampler);
    mg_cache_close(&g->cache);
    mg_ids_free(&g->held);
    free(g->room);
    free(g->numbers);
    free(g);
}

int64_t mg_generator_context(const mg_generator *g) { return g->context; }

size_t mg_generator_bytes(const mg_generator *g) {
    return g->mem.cap + (g->room ? (size_t)g->m->c.vocab * (size_t)g->slots * sizeof *g->room : 0) +
           mg_cache_bytes(g->cache.layers, g->slots, g->cache.capacity, g->cache.width, g->cache.element);
}

void mg_generator_forget(mg_generator *g) { g->held.len = 0; }

mg_status mg_generator_adapted(mg_generator *g, mg_error *err) {
    MG_ASSERT(mg_net_virtual(&g->m->net, true) <= g->front_most);
    mg_generator_forget(g);
    mg_plan_close(&g->tape, &g->mem);
    return mg_plan_open(&g->tape, &g->mem, g->backend, largest_passes, g, err);
}

/* ---- the text of an answer ---- */

/* Where the first stop text begins, looking from `from` on; text.len: nowhere. */
static size_t find_stop(const mg_generate_options *o, const mg_buf *text, size_t from) {
    size_t at = text->len;
    for (size_t i = 0; i < o->n_stop_texts; i++) {
        const char *hit = text->data && *o->stop_text[i] ? strstr(text->data + from, o->stop_text[i]) : NULL;
        if (hit && (size_t)(hit - text->data) < at) at = (size_t)(hit - text->data);
    }
    return at;
}

static size_t longest_stop(const mg_generate_options *o) {
    size_t most = 0;
    for (size_t i = 0; i < o->n_stop_texts; i++) {
        size_t n = strlen(o->stop_text[i]);
        if (n > most) most = n;
    }
    return most;
}

/* Bytes at the end that may be the beginning of a stop text. */
static size_t undecided(const mg_generate_options *o, const mg_buf *text) {
    size_t most = 0;
    for (size_t i = 0; i < o->n_stop_texts; i++) {
        size_t n = strlen(o->stop_text[i]);
        for (size_t k = n < text->len ? n : text->len; k > most; k--)
            if (!memcmp(text->data + text->len - k, o->stop_text[i], k)) most = k;
    }
    return most;
}

/* Give the listener what is certain by now; false: it wants no more. */
static bool send(const job *j, live *l, bool all) {
    const mg_buf *text = &l->out->text;
    size_t        end = all ? text->len : text->len - undecided(j->o, text);
    if (end <= l->sent || !j->o->on_text) return true;
    size_t from = l->sent;
    l->sent = end;
    return j->o->on_text(j->o->context, l->prompt, text->data + from, end - from);
}

/* Text has grown behind `before`: cut it at a stop text.  True: there is one. */
static bool stops_here(const job *j, live *l, size_t before) {
    size_t  longest = longest_stop(j->o);
    mg_buf *text = &l->out->text;
    size_t  at = find_stop(j->o, text, before > longest ? before - longest : 0);
    if (at == text->len) return false;
    text->len = at;
    text->data[at] = 0;
    return true;
}

static bool is_stop(const mg_generate_options *o, int32_t id) {
    for (size_t i = 0; i < o->n_stop; i++)
        if (o->stop[i] == id) return true;
    return false;
}

/* ---- a sequence ---- */

static void end_live(job *j, live *l, mg_finish why) {
    if (l->detok) {
        size_t before = l->out->text.len;
        bool   cut = why == MG_FINISH_STOP && !is_stop(j->o, l->out->ids.data[l->out->ids.len - 1]);
        if (!cut && mg_detok_flush(l->detok, &l->out->text)) stops_here(j, l, before);
        send(j, l, true);
        mg_detok_free(l->detok);
        l->detok = NULL;
    }
    l->out->finish = why;
    j->busy[l->slot] = false;
    j->live[l - j->live] = j->live[--j->n_live];
}

/* Take a new token in; ends the sequence when it is its last. */
static void accept(job *j, live *l, int32_t id) {
    mg_generation *out = l->out;
    out->ids.data[out->ids.len++] = l->next = id;
    mg_finish why = MG_FINISH_STOP;
    bool      ends = is_stop(j->o, id);
    if (!ends && l->detok) {
        size_t before = out->text.len;
        if (!mg_detok_feed(l->detok, id, &out->text)) out->text.failed = true;
        ends = stops_here(j, l, before);
        if (!ends && !send(j, l, false)) {
            ends = true;
            why = MG_FINISH_CANCELLED;
        }
    }
    if (!ends && (int64_t)out->ids.len == l->room) {
        ends = true;
        why = j->o->max_new_tokens && l->room == j->o->max_new_tokens ? MG_FINISH_LENGTH : MG_FINISH_CONTEXT;
    }
    if (ends) end_live(j, l, why);
}

static mg_status choose(job *j, const live *l, int row, int32_t *id) {
    mg_generator      *g = j->g;
    const mg_sampling *s = &j->o->sampling;
    const mg_ids      *prompt = &j->prompt[l->prompt], *made = &l->out->ids;
    float             *logit = g->logits + row * g->m->c.vocab;
    if (s->repetition_penalty != 1) {
        mg_sampler_begin(&g->sampler);
        mg_sampler_penalize(&g->sampler, logit, s->repetition_penalty, prompt->data, prompt->len);
        mg_sampler_penalize(&g->sampler, logit, s->repetition_penalty, made->data, made->len);
    }
    *id = mg_sampler_choose(&g->sampler, logit, s, (int64_t)(prompt->len + made->len));
    if (*id >= 0) return MG_OK;
    return mg_fail(j->err, MG_FORMAT,
                   "the model computes no finite logits; are its weights or the adapter damaged?");
}

static bool is_cancelled(const job *j) { return j->o->cancelled && j->o->cancelled(j->o->context); }

/* ---- reading a prompt ---- */

/* Tokens that slot 0 holds already; the last one is not among them, it takes a step. */
static size_t reuse(job *j, const mg_ids *prompt) {
    mg_generator *g = j->g;
    size_t        n = 0;
    if (j->n > 1 || !j->o->keep || g->held_off != j->o->adapters_off) return 0;
    while (n < g->held.len && n + 1 < prompt->len && g->held.data[n] == prompt->data[n]) n++;
    return n;
}

static void hold(job *j, const int32_t *ids, size_t n) {
    mg_generator *g = j->g;
    if (j->n > 1) return;
    memcpy(g->held.data + g->held.len, ids, n * sizeof *ids);
    g->held.len += n;
}

/* The prompt that the adapter puts before every text. */
static mg_status read_front(job *j, int slot) {
    mg_generator *g = j->g;
    mg_status     st = MG_OK;
    for (int64_t at = 0, n; !st && at < g->front; at += n) {
        n = g->front - at < READ ? g->front - at : READ;
        set_front(g, slot, at, n);
        st = run_pass(g, j->err);
    }
    return st;
}

/* All but the last token. */
static mg_status read_prompt(job *j, live *l, bool *cancelled) {
    mg_generator *g = j->g;
    const mg_ids *p = &j->prompt[l->prompt];
    size_t        at = reuse(j, p), end = p->len - 1;
    mg_status     st = MG_OK;
    l->next = p->data[end];
    l->out->reused = (int64_t)at;
    g->cache.len[l->slot] = at ? (int32_t)(at + (size_t)g->front) : 0;
    g->held.len = at;
    if (!at) st = read_front(j, l->slot);
    while (!st && at < end && !(*cancelled = is_cancelled(j))) {
        size_t n = end - at < READ ? end - at : READ;
        set_reading(g, l->slot, p->data + at, (int64_t)n);
        st = run_pass(g, j->err);
        if (!st) hold(j, p->data + at, n);
        at += n;
    }
    return st;
}

static int free_slot(const job *j) {
    for (int i = 0; i < j->g->slots; i++)
        if (!j->busy[i]) return i;
    return -1;
}

/* Read the next prompt into a free slot. */
static mg_status begin(job *j, int slot, bool *cancelled) {
    mg_generator *g = j->g;
    live         *l = &j->live[j->n_live];
    int64_t       left = g->context - (int64_t)j->prompt[j->next].len, most = j->o->max_new_tokens;
    *l = (live){
        .prompt = j->next, .slot = slot, .room = most && most < left ? most : left, .out = &j->out[j->next]
    };
    l->out->ids.data = mg_calloc((size_t)l->room, sizeof *l->out->ids.data);
    l->out->ids.cap = (size_t)l->room;
    if (g->tokenizer) l->detok = mg_detok_new(g->tokenizer, true);
    j->n_live++;
    j->next++;
    j->busy[slot] = true;
    if (!l->out->ids.data || (g->tokenizer && !l->detok))
        return mg_fail(j->err, MG_NOMEM, "no memory for an answer");
    return read_prompt(j, l, cancelled);
}

/* One token for every sequence. */
static mg_status step(job *j) {
    mg_generator *g = j->g;
    for (int i = 0; i < j->n_live; i++) set_step(g, i, j->live[i].slot, j->live[i].next);
    mg_status st = run_pass(g, j->err);
    if (!st) hold(j, g->ids, 1);
    /* backwards: an ended sequence is replaced by the last one, which has had its turn */
    for (int i = j->n_live - 1; !st && i >= 0; i--) {
        int32_t id;
        if (!(st = choose(j, &j->live[i], i, &id))) accept(j, &j->live[i], id);
    }
    return st;
}

static mg_status check_prompts(const mg_generator *g, const mg_ids *prompt, size_t n, mg_error *err) {
    for (size_t i = 0; i < n; i++) {
        MG_ASSERT((int64_t)prompt[i].len <= g->longest || (int64_t)prompt[i].len >= g->context);
        if (!prompt[i].len)
            return mg_fail(err, MG_DATA, "prompt %zu is empty: there is nothing to go on from", i + 1);
        if ((int64_t)prompt[i].len >= g->context)
            return mg_fail(err, MG_TRUNCATED,
                           "prompt %zu has %zu tokens and the context %lld, so no answer fits; shorten it or "
                           "raise --max_length",
                           i + 1, prompt[i].len, (long long)g->context);
        for (size_t k = 0; k < prompt[i].len; k++)
            if (prompt[i].data[k] < 0 || prompt[i].data[k] >= g->m->c.vocab)
                return mg_fail(err, MG_MISMATCH, "prompt %zu: token %d does not exist, the model has %lld", i + 1,
                               (int)prompt[i].data[k], (long long)g->m->c.vocab);
    }
    return MG_OK;
}

static void cancel_all(job *j) {
    while (j->n_live) end_live(j, &j->live[0], MG_FINISH_CANCELLED);
    for (; j->next < j->n; j->next++) j->out[j->next].finish = MG_FINISH_CANCELLED;
}

static mg_status run_all(job *j) {
    mg_status st = MG_OK;
    bool      cancelled = false;
    while (!st && (j->n_live || j->next < j->n)) {
        for (int slot; !st && !cancelled && j->next < j->n && (slot = free_slot(j)) >= 0;)
            st = begin(j, slot, &cancelled);
        if (!cancelled) cancelled = is_cancelled(j);
        if (!st && cancelled)
            cancel_all(j);
        else if (!st && j->n_live)
            st = step(j);
    }
    return st;
}

mg_status mg_generate(mg_generator *g, const mg_ids *prompt, size_t n, const mg_generate_options *o,
                      mg_generation *out, mg_error *err) {
    job j = { .g = g, .prompt = prompt, .n = n, .o = o, .out = out, .err = err };
    for (size_t i = 0; i < n; i++) out[i] = (mg_generation){ 0 };
    mg_status st = check_prompts(g, prompt, n, err);
    if (st) return st;
    j.live = mg_calloc((size_t)g->slots, sizeof *j.live);
    j.busy = mg_calloc((size_t)g->slots, sizeof *j.busy);
    if (!j.live || !j.busy) st = mg_fail(err, MG_NOMEM, "no memory to generate text");
    g->tape.adapters_off = o->adapters_off;
    g->front = o->adapters_off ? 0 : mg_net_virtual(&g->m->net, false);
    if (!st) st = run_all(&j);
    g->held_off = o->adapters_off;
    if (n > 1 || st) g->held.len = 0;
    for (size_t i = 0; !st && i < n; i++)
        if (out[i].text.failed) st = mg_fail(err, MG_NOMEM, "no memory for an answer");
    for (int i = 0; j.live && i < j.n_live; i++) mg_detok_free(j.live[i].detok);
    for (size_t i = 0; st && i < n; i++) mg_generation_free(&out[i]);
    free(j.live);
    free(j.busy);
    return st;
}

void mg_generation_free(mg_generation *g) {
    mg_ids_free(&g->ids);
    mg_buf_free(&g->text);
    *g = (mg_generation){ 0 };
}

/* Sequences side by side: as many as share the decoding of a weight, while the widest input of a product stays in
 * a core's cache.  Beyond that steps become slower, not faster: Qwen 1.5B (8960 wide) took 224 ms with 16 and
 * 1132 ms with 32; Gemma 3 270M (2048 wide) 41 ms and 66 ms. */
int mg_generator_slots(const mg_model *m, size_t prompts) {
    int64_t fit =
        CACHED_BYTES / (m->c.ffn * (int64_t)sizeof(float)) / 4 * 4; /* kernels take four rows at a time */
    int64_t most = fit < SLOTS_LEAST ? SLOTS_LEAST : fit > SLOTS_MOST ? SLOTS_MOST : fit;
    return (int64_t)prompts < most ? (int)(prompts ? prompts : 1) : (int)most;
}

mg_status mg_generate_all(const mg_model *m, const mg_tokenizer *tokenizer, const mg_backend *b,
                          const mg_ids *prompt, size_t n, const mg_generate_options *o, mg_generation *out,
                          mg_error *err) {
    mg_generator *g = NULL;
    size_t        longest = 1;
    for (size_t i = 0; i < n; i++) {
        out[i] = (mg_generation){ 0 };
        if (prompt[i].len > longest) longest = prompt[i].len;
    }
    int64_t context = m->positions, most = o->max_new_tokens;
    if (m->c.max_positions > 1 && m->c.max_positions < context) context = m->c.max_positions;
    context -= mg_net_virtual(&m->net, true);
    if (most && most < context - (int64_t)longest) context = (int64_t)longest + most;
    if ((int64_t)longest > context) longest = (size_t)context; /* refused below, by its number */
    mg_status st = mg_generator_open_for(&g, m, tokenizer, b, mg_generator_slots(m, n), context, (int64_t)longest, err);
    if (!st) st = mg_generate(g, prompt, n, o, out, err);
    mg_generator_close(g);
    return st;
}
