/* bundle.h -- what belongs together to talk to a model: weights, tokenizer, chat template, stop tokens.
 *
 * Training, generation and scoring open models through this, so a prompt is built the same way in all of
 * them.  A bundle may be opened for text alone (no weights), which `tokenize` and `template` do. */
#ifndef MG_INFER_BUNDLE_H
#define MG_INFER_BUNDLE_H

#include "data/dataset.h"
#include "infer/heads.h"
#include "model/model.h"
#include "peft/adapter.h"

typedef struct mg_bundle {
    char         *path;  /* of the file or folder, as mg_bundle_find found it */
    mg_model     *model; /* NULL: opened for text */
    mg_tokenizer *tokenizer;
    mg_template  *chat_template; /* NULL: the model has none */
    char         *template_text; /* its source */
    char *template_origin; /* where that came from: a path, "tokenizer.chat_template of FILE", "built-in gemma" */
    char *bos_text, *eos_text; /* as the template's variables have them; NULL: none */
    int32_t    *stop;          /* [n_stop] tokens that end an answer, ascending */
    size_t      n_stop;
    mg_adapter *adapter; /* NULL: none */
    mg_params   params;  /* the adapter's numbers */
    mg_heads    heads;   /* of tasks, on the adapter; n 0: none */
    mg_model   *whole;   /* whose weights stand in place of those of `model`: a run that trained them all; NULL: none */
    mg_chat     chat;    /* borrows from the above */
} mg_bundle;

/* MODEL as users write it, as a path on the heap: a .gguf file or a folder, or the name of one under
 * $MIGAKI_MODELS or ./models (NAME or NAME.gguf).  MG_NOTFOUND otherwise; nothing is ever downloaded here. */
mg_status mg_bundle_find(char **path, const char *name, mg_error *err);

/* Open `name` (see mg_bundle_find).  The template is the first of: `chat_template` (a file, or the name of a
 * built-in one), chat_template.jinja, tokenizer_config.json, the GGUF file's own, a built-in one whose control
 * tokens the vocabulary has.  "none" looks for no template at all: for work on raw text, which a template
 * that this program cannot read must not stop. */
mg_status mg_bundle_open(mg_bundle *out, const char *name, const mg_model_options *o, const char *chat_template,
                         mg_error *err);
/* The same without weights: tokenizer and template only.  The stop tokens are known, too. */
mg_status mg_bundle_open_text(mg_bundle *out, const char *name, const char *chat_template, mg_error *err);
/* Weights for a bundle that was opened for text. */
mg_status mg_bundle_load(mg_bundle *b, const mg_model_options *o, mg_error *err);
void      mg_bundle_close(mg_bundle *b); /* zeroed is fine */

/* Hook a saved adapter in, for inference; or a model of the same shape (a run of full fine-tuning), whose weights then
 * answer where an adapter would.  At most one; from then on the bundle must not move. */
mg_status mg_bundle_adapt(mg_bundle *b, const char *folder, const mg_backend *backend, mg_error *err);

bool mg_bundle_is_tuned(const mg_bundle *b); /* there is a base model to go back to */
bool mg_bundle_stops(const mg_bundle *b, int32_t id);

#endif
