/* source.h -- where weights come from: a GGUF file, or the safetensors files of a folder, seen as one. */
#ifndef MG_MODEL_SOURCE_H
#define MG_MODEL_SOURCE_H

#include "format/gguf.h"
#include "format/safetensors.h"

typedef struct mg_found {
    const char      *name;
    const mg_format *format;
    const void      *data; /* mapped */
    size_t           bytes;
    int64_t          rows, cols; /* a vector has one row */
} mg_found;

typedef struct mg_source {
    const char      *path;
    mg_gguf         *gguf;  /* else: */
    mg_safetensors **shard; /* [n_shards] */
    size_t           n_shards;
    const char      *canonical, *prefix; /* what stands for the first in this folder's names */
    mg_map          *names;  /* of all tensors -> index */
    mg_found        *all;
    bool            *used;
    size_t           n;
} mg_source;

mg_status mg_source_open_gguf(mg_source *s, const char *path, mg_error *err);
mg_status mg_source_open_folder(mg_source *s, const char *folder, mg_error *err);
void      mg_source_close(mg_source *s);

/* Hugging Face's base models save without the prefix that their tasks have, multimodal ones with a longer one.  Finds
 * out what stands for `canonical` in front of `probe`, the name (without ".weight") of a
 * weight that every model has. */
void mg_source_choose_prefix(mg_source *s, const char *canonical, const char *probe);

/* By the name in this file; marks it used.  False: absent. */
bool mg_source_find(mg_source *s, const char *name, mg_found *out);
/* A tensor of the file that nobody asked for and that changes what is computed; NULL: none. */
const char *mg_source_leftover(const mg_source *s);

#endif
