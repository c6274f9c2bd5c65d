/* mix.c -- llama.cpp's choices: the head in q6_k, and of the _M mixes the first and last eighth and every third of the
 * other layers finer in v and down, where errors hurt most.
 *
 * Its rules for experts, Falcon and importance matrices are left out: no such model is known here.
 * Source: github.com/ggml-org/llama.cpp src/llama-quant.cpp. */
#include "deliver/mix.h"

#include <string.h>
#include <strings.h>

static const mg_mix mixes[] = {
#define MIX(name, type, usual, finer, max_kl) { #name, type, &mg_format_##usual, finer, max_kl },
#include "deliver/mixes.def"
#undef MIX
};
enum { N_MIXES = sizeof mixes / sizeof *mixes };

const mg_mix *mg_mix_find(const char *name) {
    for (int i = 0; i < N_MIXES; i++)
        if (!strcasecmp(mixes[i].name, name)) return &mixes[i];
    return NULL;
}

void mg_mix_names(mg_buf *b) {
    for (int i = 0; i < N_MIXES; i++) mg_buf_printf(b, "%s%s", i ? ", " : "", mixes[i].name);
}

/* What takes the place of a format whose blocks do not fill the rows. */
static const struct {
    const mg_format *format, *instead;
} smaller[] = {
    { &mg_format_q4_k, &mg_format_q5_0 },
    { &mg_format_q5_k, &mg_format_q5_1 },
    { &mg_format_q6_k, &mg_format_q8_0 },
};

static const mg_format *fitting(const mg_format *f, int64_t cols) {
    for (size_t i = 0; cols % f->block && i < sizeof smaller / sizeof *smaller; i++)
        if (smaller[i].format == f) f = smaller[i].instead;
    return cols % f->block ? &mg_format_f16 : f;
}

static bool layer_matters(int64_t i, int64_t n) { return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2; }

/* Llama 2 and 3 of 70 billion weights: eight query heads share a v, so its errors count eightfold. */
static bool is_70b(const mg_model *m) { return !strcmp(m->arch->name, "llama") && m->c.layers == 80 && m->c.kv_heads < m->c.heads; }

const mg_format *mg_mix_format(const mg_mix *mix, const mg_piece *p, const mg_model *m) {
    const mg_format *f = mix->usual;
    bool             head = !strcmp(p->name, "output.weight") || (m->head.w == m->embed && !strcmp(p->name, "token_embd.weight"));
    if (p->n_dims == 1 || strstr(p->name, "_norm.weight")) return &mg_format_f32;
    if (mg_format_is_plain(f)) return f;
    if (!strcmp(p->name, "position_embd.weight") || !strcmp(p->name, "token_types.weight")) return &mg_format_f32;
    if (head)
        f = p->cols % f->block || f == &mg_format_q8_0 ? &mg_format_q8_0 : &mg_format_q6_k;
    else if (mix->finer && strstr(p->name, "attn_qkv.weight"))
        f = f == &mg_format_q4_k ? &mg_format_q5_k : mix->finer;
    else if (mix->finer && p->role & (MG_ROLE_V | MG_ROLE_DOWN) && layer_matters(p->layer, m->c.layers))
        f = mix->finer;
    if (p->role == MG_ROLE_V && f == &mg_format_q4_k && is_70b(m)) f = &mg_format_q5_k;
    return fitting(f, p->cols);
}
