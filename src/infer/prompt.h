/* prompt.h -- from a user's words to the tokens that a model is asked with, the same way everywhere. */
#ifndef MG_INFER_PROMPT_H
#define MG_INFER_PROMPT_H

#include "infer/bundle.h"

/* A text for a model, special tokens parsed; a BOS that it spells itself is not doubled. */
mg_status mg_raw_prompt(const mg_bundle *b, const char *text, size_t n, mg_ids *out, mg_error *err);
/* One question, with a system message or NULL, through the chat template. */
mg_status mg_question_prompt(const mg_bundle *b, const char *system, const char *question, mg_ids *out, mg_error *err);

#endif
