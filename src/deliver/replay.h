/* replay.h -- does what was written compute what was trained?
 *
 * Prompts go through both models, the one in memory and the one that was read back from the file.  Token ids
 * must be equal; logits are compared position by position. */
#ifndef MG_DELIVER_REPLAY_H
#define MG_DELIVER_REPLAY_H

#include "infer/bundle.h"

typedef struct mg_replay_result {
    size_t  prompts;
    int64_t tokens;  /* positions compared */
    double  kl, worst_kl; /* KL(before || after) in nats: mean over positions, and the largest */
    double  top1;    /* part of the positions at which both find the same token most likely */
    double  error;   /* largest difference of two logits, relative to the largest logit of that position */
} mg_replay_result;

/* Texts to replay: those stored in a run's folder (samples/step-*.jsonl, the newest), else a few in English and Japanese.
 * Each is {"prompt", "answer"}; answer may be NULL. */
typedef struct mg_replay_text {
    char *prompt, *answer;
} mg_replay_text;
typedef struct mg_replay_texts {
    mg_replay_text *item;
    size_t          n, cap;
} mg_replay_texts;
mg_status mg_replay_texts_load(mg_replay_texts *out, const char *run_folder, mg_error *err); /* folder may be NULL */
/* From a file: a prompt a line, or JSON objects with "prompt" or "question", and "answer". */
mg_status mg_replay_texts_read(mg_replay_texts *out, const char *path, mg_error *err);
void      mg_replay_texts_free(mg_replay_texts *t);

enum { MG_REPLAY_TOKENS = 128 }; /* of one prompt at most; models must be open for so many positions */

/* MG_SELFCHECK: token ids differ.  How much the logits may differ is the caller's to say.  `go_on` may be NULL. */
mg_status mg_replay(mg_replay_result *out, const mg_bundle *before, const mg_bundle *after, const mg_backend *backend,
                    const mg_replay_texts *texts, bool (*go_on)(void *context), void *context, mg_error *err);

#endif
