/* state.c -- an optimizer's arrays in a safetensors file, under their names. */
#include "format/safetensors.h"
#include "optim/optim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool far(const mg_optim *o, const mg_state *s) { return !s->paged && !o->p->backend->device->host; }

/* One array at a time: a copy of all of them might not fit. */
static mg_status write_far(void *context, const mg_st_entry *e, mg_new_file *out, mg_error *err) {
    const mg_optim *o = context;
    void           *copy = NULL;
    mg_status       st = MG_OK;
    for (size_t i = 0; i < o->n_states; i++) {
        if (strcmp(o->state[i].name, e->name)) continue;
        if (!(copy = mg_calloc(1, e->bytes))) return mg_fail(err, MG_NOMEM, "no memory to save '%s'", e->name);
        o->p->backend->device->get(copy, o->state[i].data, e->bytes);
        st = mg_new_file_write(out, copy, e->bytes, err);
        break;
    }
    free(copy);
    return st;
}

mg_status mg_optim_save(const mg_optim *o, const char *path, mg_error *err) {
    mg_st_entry *e = mg_calloc(o->n_states + 1, sizeof *e);
    char         format[64];
    if (!e) return mg_fail(err, MG_NOMEM, "%s: no memory", path);
    mg_error  ignored;
    mg_status st = o->p->backend->device->status(&ignored); /* pages are on their way until all kernels are done */
    if (st) *err = ignored;
    for (size_t i = 0; i < o->n_states; i++) {
        const mg_state *s = &o->state[i];
        e[i] = (mg_st_entry){ s->name, s->dtype, 1, { s->n }, far(o, s) ? NULL : s->data, (size_t)s->n * s->size };
    }
    snprintf(format, sizeof format, "migaki-%s", o->kind->name);
    if (!st) st = mg_safetensors_stream(path, e, o->n_states, (const char *const[]){ "format", format, NULL }, write_far, (void *)o, err);
    free(e);
    return st;
}

static mg_status check(const mg_optim *o, const mg_safetensors *f, const char *path, mg_error *err) {
    for (size_t i = 0; i < o->n_states; i++) {
        const mg_state    *s = &o->state[i];
        const mg_st_entry *e = mg_safetensors_find(f, s->name);
        if (!e || strcmp(e->dtype, s->dtype) || e->bytes != (size_t)s->n * s->size)
            return mg_fail(err, MG_MISMATCH, "%s: holds no state '%s' of %lld numbers for %s; was another optimizer or adapter used?", path,
                           s->name, (long long)s->n, o->kind->name);
    }
    if (f->n != o->n_states)
        return mg_fail(err, MG_MISMATCH, "%s: holds %zu arrays, %s has %zu; was another optimizer used?", path, f->n, o->kind->name,
                       o->n_states);
    return MG_OK;
}

mg_status mg_optim_load(mg_optim *o, const char *path, mg_error *err) {
    mg_safetensors *f = NULL;
    mg_status       st = mg_safetensors_open(&f, path, err);
    if (!st) st = check(o, f, path, err);
    for (size_t i = 0; !st && i < o->n_states; i++) {
        const mg_state    *s = &o->state[i];
        const mg_st_entry *e = mg_safetensors_find(f, s->name);
        if (far(o, s))
            o->p->backend->device->put(s->data, e->data, e->bytes);
        else
            memcpy(s->data, e->data, e->bytes);
    }
    mg_safetensors_close(f);
    return st;
}
