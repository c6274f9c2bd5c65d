/* repeat.h -- the same pass again, without asking for its kernels one by one.
 *
 * A pass over batches of one shape asks the device for the same kernels with the same arguments, because the arena hands
 * out the same addresses and the batch is copied to the same place.  On a device that can record (mg_device.record) such a
 * pass is noted once and from then on started as a whole: a small model's step waits for its launches, not for its kernels. */
#ifndef MG_AUTOGRAD_REPEAT_H
#define MG_AUTOGRAD_REPEAT_H

#include "autograd/tape.h"

/* What must be equal for a pass to ask for the same kernels. */
typedef struct mg_repeat_key {
    const void *model;
    int64_t     n_seq, rows, n_labels;
} mg_repeat_key;

/* f runs on the tape and gives its result, a scalar; or, when it ran under this key before, its kernels run again.  The batch
 * is placed, and everything else that f's kernels read has its address.  *out: where the result lies.  Errors stay on the tape. */
typedef mg_tensor *(*mg_repeat_fn)(mg_tape *t, void *context);
void mg_repeat(mg_tape *t, const mg_repeat_key *key, mg_repeat_fn f, void *context, mg_tensor *out);
void mg_repeats_free(mg_tape *t);

#endif
