/* template.h -- chat templates: the subset of Jinja that real models use.
 *
 * Follows jinja2 as transformers sets it up: trim_blocks, lstrip_blocks,
 * loop controls, {% generation %}, tojson without ASCII escapes, raise_exception,
 * strftime_now.  A template is hostile: evaluation has fuel (1,000,000 steps),
 * an output cap, depth at most 64, range at most 10,000; attributes reach data only. */
#ifndef MG_TEXT_TEMPLATE_H
#define MG_TEXT_TEMPLATE_H

#include "base/json.h"

typedef struct mg_template mg_template;

mg_status mg_template_parse(mg_template **out, const char *text, size_t n, const char *name, mg_error *err);
void      mg_template_free(mg_template *t);

typedef struct mg_span {
    size_t begin, end; /* bytes of the rendered text */
} mg_span;

/* Marks: 0 is the template's own text, bos_token, a role's name. */
enum {
    MG_MARK_USER = 1,      /* out of a list or object of the context (a message, a tool): never a control token */
    MG_MARK_ASSISTANT = 2, /* and that object has the role "assistant" */
};

typedef struct mg_rendered {
    mg_buf   text;
    mg_span *span; /* what {% generation %} blocks produced, in order */
    size_t   n_spans, cap_spans;
    bool     has_generation_tags; /* the template has such blocks at all */
    uint8_t *mark;                /* [text.len] who wrote each byte, see below */
} mg_rendered;
void mg_rendered_free(mg_rendered *r);

/* `context` is a JSON object whose members are the template's variables:
 * messages, add_generation_prompt, bos_token, eos_token, tools, enable_thinking, ... */
mg_status mg_template_render(const mg_template *t, yyjson_val *context, mg_rendered *out, mg_error *err);

/* Templates for models whose files carry none, by name ("gemma", "chatml", ...); NULL: unknown. */
const char *mg_template_builtin(const char *name);

#endif
