/* heads.h -- the heads of a run: their tensors among an adapter's, their names in heads.json.
 *
 * A run with one head and nothing else is a folder that PEFT loads with its task_type: the head is one of its
 * modules_to_save.  Heads of a mixture lie beside the adapter as heads.NAME.*, and mg_heads_save_task writes each as a
 * folder of its own for PEFT.  A folder that PEFT made has no heads.json; its classes are then called LABEL_0, ... */
#ifndef MG_INFER_HEADS_H
#define MG_INFER_HEADS_H

#include "model/head.h"
#include "peft/adapter.h"

typedef struct mg_heads {
    mg_head *head; /* [n] */
    size_t   n, cap;
    bool     alone;     /* one head and nothing else: PEFT's names */
    bool     no_answer; /* some questions have no answer in their context */
    uint64_t seed;      /* of first values */
} mg_heads;

/* A head for a task; its layer comes with mg_heads_attach.  `labels` are copied. */
mg_status mg_heads_add(mg_heads *h, const mg_goal *goal, const char *name, const mg_labels *labels, mg_error *err);
mg_head  *mg_heads_find(const mg_heads *h, const char *name); /* NULL: none */
void      mg_heads_free(mg_heads *h);

/* How PEFT calls adapter and head in a model of this architecture; before mg_adapter_attach. */
void mg_heads_configure(const mg_heads *h, const mg_model *m, mg_adapter_config *c);
/* The layers join the adapter, before its parameters are sealed; then the heads must not move. */
mg_status mg_heads_attach(mg_heads *h, mg_adapter *a, const mg_model *m, mg_error *err);
/* First values, a pure function of seed; `weights` false: only constants, before a folder is loaded. */
void mg_heads_init(const mg_heads *h, const mg_adapter *a, bool weights);

/* What stands in a folder; n is 0 when it has no heads. */
mg_status mg_heads_read(mg_heads *out, const char *folder, const mg_adapter_config *c, mg_error *err);
mg_status mg_heads_text(const mg_heads *h, mg_buf *out, mg_error *err); /* heads.json */
/* Adapter and one head as PEFT has them. */
mg_status mg_heads_save_task(const mg_heads *h, size_t i, const mg_adapter *a, const mg_model *m, const char *folder, mg_error *err);

#endif
