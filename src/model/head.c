/* head.c -- the kinds of heads, a row each.
 *
 * z is made for all rows of the batch, also where one of them is looked at: it is as wide as there are labels, nothing
 * beside the model below it, and every kind then reads it in the same way. */
#include "model/head.h"

#include <string.h>

enum { SITE_HEAD = 0x4ead & 0xfff };

/* ---- losses ---- */

/* Cross-entropy: z's rows meet the identity as the vocabulary that logprob wants. */
static mg_tensor *classes(mg_tape *t, const mg_head *h, mg_tensor *z, int32_t *top) { return mg_logprob(t, z, h->eye, 0, top); }

static mg_tensor *places(mg_tape *t, const mg_head *h, mg_tensor *z, int32_t *top) {
    (void)top;
    return mg_places(t, z, h->eye);
}

static mg_tensor *numbers(mg_tape *t, const mg_head *h, mg_tensor *z, int32_t *top) {
    (void)h, (void)top;
    return mg_sum(t, mg_square_error(t, mg_rows(t, z, t->batch->label_row, t->batch->n_labels)), -1);
}

#define GOAL(x) extern const mg_goal mg_goal_##x;
#include "data/goals.def"
#undef GOAL

static const mg_head_kind kinds[] = {
    { &mg_goal_classification, "SEQ_CLS", "ForSequenceClassification", "score", "classifier", false, true, true, 0, classes },
    { &mg_goal_regression, "SEQ_CLS", "ForSequenceClassification", "score", "classifier", false, true, true, 1, numbers },
    { &mg_goal_token_classification, "TOKEN_CLS", "ForTokenClassification", "score", "classifier", true, true, false, 0, classes },
    { &mg_goal_question_answering, "QUESTION_ANS", "ForQuestionAnswering", "qa_outputs", "qa_outputs", true, true, false, 2, places },
};

const mg_head_kind *mg_head_kind_of(const mg_goal *goal) {
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (kinds[i].goal == goal) return &kinds[i];
    return NULL;
}

const mg_head_kind *mg_head_kind_named(const char *task_type) {
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(kinds[i].task_type, task_type)) return &kinds[i];
    return NULL;
}

/* ---- names: most of transformers' classes come from one mould, these do not ---- */

static const struct {
    const char    *arch;
    const mg_goal *goal; /* NULL: all */
    const char    *module, *from, *to;
} odd[] = {
    { "llama", &mg_goal_question_answering, NULL, "model.", "transformer." },
    { "gpt2", &mg_goal_token_classification, "classifier", "", "" },
    { "gpt_neox", &mg_goal_token_classification, "classifier", "", "" },
    { "bert", NULL, NULL, "", "bert." },
};

const char *mg_head_module(const mg_head_kind *k, const mg_arch *a, bool *bias) {
    *bias = a->encoder ? k->encoder_bias : k->bias;
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
        if (!strcmp(odd[i].arch, a->name) && odd[i].goal == k->goal && odd[i].module) return odd[i].module;
    return a->encoder ? k->encoder_module : k->module;
}

void mg_head_prefix(const mg_head_kind *k, const mg_arch *a, const char **from, const char **to) {
    *from = *to = "";
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
        if (!strcmp(odd[i].arch, a->name) && (!odd[i].goal || odd[i].goal == k->goal)) *from = odd[i].from, *to = odd[i].to;
}

void mg_head_values(float *w, int64_t n, uint64_t seed, uint32_t number) {
    mg_rng stream = { seed, mg_rng_where(0, number, SITE_HEAD) };
    for (int64_t i = 0; i < n; i++) w[i] = 0.02f * mg_rng_normal(stream, (uint64_t)i);
}

/* ---- the way up ---- */

mg_tensor *mg_head_logits(mg_tape *t, const mg_model *m, const mg_head *h) {
    mg_tensor *x = mg_model_hidden(t, m);
    if (x && h->kind->pooled && m->pooler.w) x = mg_glu(t, mg_linear_apply(t, &m->pooler, x), NULL, MG_TANH);
    return x ? mg_linear_apply(t, &h->l, x) : NULL;
}

mg_tensor *mg_head_logprobs(mg_tape *t, const mg_model *m, const mg_head *h, int32_t *top, mg_tensor **z) {
    mg_tensor *logits = mg_head_logits(t, m, h);
    if (z) *z = logits;
    return logits ? h->kind->logprobs(t, h, logits, top) : NULL;
}
