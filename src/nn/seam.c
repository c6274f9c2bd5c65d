/* seam.c -- walking the hooks.  Without hooks each seam is the bare operation, fused as far as it goes. */
#include "nn/seam.h"

void mg_hook_attach(mg_hook **list, mg_hook *h) {
    while (*list) list = &(*list)->next;
    *list = h;
}

static mg_hook *first_on(const mg_tape *t, mg_hook *h) {
    if (t->adapters_off) return NULL;
    while (h && h->off) h = h->next;
    return h;
}

static mg_tensor *replaced(const mg_tape *t, mg_hook *hooks, mg_tensor *w) {
    for (mg_hook *h = first_on(t, hooks); h; h = first_on(t, h->next))
        if (h->kind->weight) w = h->kind->weight(h);
    return w;
}

mg_tensor *mg_linear_weight(const mg_tape *t, const mg_linear *l) { return replaced(t, l->hooks, l->w); }

static mg_tensor *linear_with(mg_tape *t, const mg_linear *l, mg_tensor *x, mg_tensor *residual) {
    mg_hook *first = first_on(t, l->hooks);
    for (mg_hook *h = first; h; h = first_on(t, h->next))
        if (h->kind->before) x = h->kind->before(t, h, l, x);
    mg_tensor *y = mg_matmul(t, x, replaced(t, first, l->w), l->bias, residual);
    for (mg_hook *h = first; h; h = first_on(t, h->next))
        if (h->kind->apply) y = h->kind->apply(t, h, l, x, y);
    return y;
}

/* Those that have a hook have just one, of one kind that says beforehand what it adds. */
static bool all_together(mg_tape *t, const mg_linear *const *l, int n, mg_tensor *x, mg_tensor **y) {
    const mg_hook   *h[MG_LINEARS];
    const mg_linear *hooked[MG_LINEARS];
    mg_tensor       *start[MG_LINEARS];
    int              at[MG_LINEARS], many = 0;
    for (int i = 0; i < n; i++) {
        const mg_hook *own = first_on(t, l[i]->hooks);
        y[i] = NULL;
        if (!own) continue;
        if (first_on(t, own->next) || !own->kind->start_all || (many && own->kind != h[0]->kind)) return false;
        h[many] = own;
        hooked[many] = l[i];
        at[many++] = i;
    }
    if (!many || !h[0]->kind->start_all(t, h, hooked, many, x, start)) return false;
    for (int k = 0; k < many; k++) y[at[k]] = mg_matmul_onto(t, x, hooked[k]->w, hooked[k]->bias, start[k]);
    for (int i = 0; i < n; i++)
        if (!first_on(t, l[i]->hooks)) y[i] = mg_matmul(t, x, l[i]->w, l[i]->bias, NULL);
    return true;
}

void mg_linears_apply(mg_tape *t, const mg_linear *const *l, int n, mg_tensor *x, mg_tensor **y) {
    MG_ASSERT(n <= MG_LINEARS);
    if (t->backend->joins_adapters && all_together(t, l, n, x, y)) return;
    for (int i = 0; i < n; i++) y[i] = linear_with(t, l[i], x, NULL);
}

mg_tensor *mg_linear_apply(mg_tape *t, const mg_linear *l, mg_tensor *x) {
    mg_tensor *y;
    mg_linears_apply(t, MG_LIST(l), x, &y);
    return y;
}

/* The only hook adds its part, y and the residual in one go. */
static mg_tensor *sum_of_three(mg_tape *t, const mg_linear *l, mg_tensor *a, mg_tensor *residual) {
    const mg_hook *h = first_on(t, l->hooks);
    if (!t->backend->joins_adapters || !h || !h->kind->onto || first_on(t, h->next)) return NULL;
    return h->kind->onto(t, h, l, a, mg_matmul(t, a, l->w, l->bias, NULL), residual);
}

mg_tensor *mg_linear_onto(mg_tape *t, const mg_net *net, const mg_linear *l, mg_tensor *a, mg_tensor *x, int layer,
                          mg_site site) {
    mg_hook *at_residual = first_on(t, net->residual_hooks[layer * MG_SITES + (int)site]);
    bool     fused = !at_residual;
    for (mg_hook *h = first_on(t, l->hooks); h; h = first_on(t, h->next)) fused &= h->kind->additive;
    mg_tensor *sum = fused ? sum_of_three(t, l, a, x) : NULL;
    if (sum) return sum;
    if (fused) return linear_with(t, l, a, x);
    mg_tensor *branch = mg_linear_apply(t, l, a);
    for (mg_hook *h = at_residual; h; h = first_on(t, h->next)) branch = h->kind->residual(t, h, branch, x);
    return mg_add(t, x, branch, 1);
}

mg_tensor *mg_linear_end(mg_tape *t, const mg_net *net, const mg_linear *l, mg_tensor *a, mg_tensor *x, int layer, mg_site site) {
    const mg_hook *h = first_on(t, l->hooks);
    /* hooks that only add read no values of y in their backward pass; others may */
    bool plain = !first_on(t, net->residual_hooks[layer * MG_SITES + (int)site]) && (!h || (h->kind->onto && !first_on(t, h->next)));
    t->unread = t->rerunning && plain;
    mg_tensor *y = mg_linear_onto(t, net, l, a, x, layer, site);
    t->unread = false;
    return y;
}

mg_tensor *mg_residual_norm(mg_tape *t, const mg_net *net, mg_tensor *x, mg_tensor *branch, mg_tensor *g, float eps,
                            int layer, mg_site site) {
    mg_hook *at_residual = first_on(t, net->residual_hooks[layer * MG_SITES + (int)site]);
    if (!at_residual) return mg_rmsnorm(t, branch, g, x, eps);
    branch = mg_rmsnorm(t, branch, g, NULL, eps);
    for (mg_hook *h = at_residual; h; h = first_on(t, h->next)) branch = h->kind->residual(t, h, branch, x);
    return mg_add(t, x, branch, 1);
}

mg_tensor *mg_embedding_apply(mg_tape *t, const mg_net *net, mg_tensor *table, float scale) {
    mg_tensor *y = mg_embed(t, replaced(t, net->embed_hooks, table), scale);
    mg_embed_noise(t, y);
    for (mg_hook *h = first_on(t, net->embed_hooks); h; h = first_on(t, h->next))
        if (h->kind->embed) y = h->kind->embed(t, h, y);
    return y;
}

mg_tensor *mg_attend(mg_tape *t, const mg_net *net, mg_tensor *q, mg_tensor *k, mg_tensor *v, mg_attention_kind kind,
                     int layer) {
    mg_hook *h = first_on(t, net->attend_hooks[layer]);
    return h ? h->kind->attend(t, h, q, k, v, kind, layer) : mg_attention(t, q, k, v, kind, layer);
}
