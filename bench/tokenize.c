/* tokenize.c -- a tokenizer over many texts: how fast it is, or what it gives.
 *
 *     tokenize TOKENIZER TEXTS [--ids | --repeat N] [--special]
 *
 * TOKENIZER is a model folder, a tokenizer.json, a SentencePiece .model or a .gguf file; TEXTS has a JSON string on each
 * line. Without --ids: "BYTES TOKENS SECONDS", the best of N (3) rounds on one thread, each
 * with a fresh tokenizer. With --ids: a line
 * for each text, [[ids], "decoded"]. bench/tokenize.py puts Hugging Face tokenizers beside it. */
#include "base/file.h"
#include "base/json.h"
#include "format/gguf_tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { FILE_LIMIT = 1 << 30 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static bool ends_with(const char *s, const char *end) {
    size_t n = strlen(s), k = strlen(end);
    return n >= k && !strcmp(s + n - k, end);
}

static mg_status open_gguf(mg_tokenizer **t, const char *path, mg_error *err) {
    mg_gguf  *g = NULL;
    mg_status st = mg_gguf_open(&g, path, err);
    if (!st) st = mg_gguf_tokenizer(t, g, err);
    mg_gguf_close(g);
    return st;
}

static mg_status open_tokenizer(mg_tokenizer **t, const char *path, mg_error *err) {
    mg_buf    text = { 0 };
    mg_status st;
    if (ends_with(path, ".gguf")) return open_gguf(t, path, err);
    if (!ends_with(path, ".json") && !ends_with(path, ".model")) return mg_tokenizer_open(t, path, err);
    st = mg_read_file(&text, path, FILE_LIMIT, err);
    if (!st)
        st = ends_with(path, ".json") ? mg_tokenizer_parse_json(t, text.data, text.len, path, err)
                                      : mg_tokenizer_parse_spm(t, text.data, text.len, path, err);
    mg_buf_free(&text);
    return st;
}

typedef struct {
    mg_json *line;
    size_t   n, cap, bytes;
} texts;

static mg_status read_texts(texts *out, const char *path, mg_error *err) {
    mg_buf    file = { 0 };
    mg_status st = mg_read_file(&file, path, FILE_LIMIT, err);
    for (char *p = file.data, *end = p ? p + file.len : p; !st && p < end;) {
        char *stop = memchr(p, '\n', (size_t)(end - p));
        if (!stop) stop = end;
        if (!MG_GROW(out->line, out->cap, out->n + 1)) st = mg_fail(err, MG_NOMEM, "no memory");
        if (!st) st = mg_json_parse(&out->line[out->n], p, (size_t)(stop - p), path, err);
        if (!st) out->bytes += yyjson_get_len(out->line[out->n++].root);
        p = stop + 1;
    }
    mg_buf_free(&file);
    return st;
}

static mg_status encode_all(const mg_tokenizer *t, const texts *in, unsigned flags, size_t *tokens, mg_error *err) {
    mg_ids    ids = { 0 };
    mg_status st = MG_OK;
    *tokens = 0;
    for (size_t i = 0; i < in->n && !st; i++) {
        ids.len = 0;
        st = mg_tokenize(t, yyjson_get_str(in->line[i].root), yyjson_get_len(in->line[i].root), flags, &ids, err);
        *tokens += ids.len;
    }
    mg_ids_free(&ids);
    return st;
}

static mg_status print_ids(const mg_tokenizer *t, const texts *in, unsigned flags, mg_error *err) {
    mg_ids    ids = { 0 };
    mg_buf    text = { 0 }, out = { 0 };
    mg_status st = MG_OK;
    for (size_t i = 0; i < in->n && !st; i++) {
        ids.len = text.len = out.len = 0;
        st = mg_tokenize(t, yyjson_get_str(in->line[i].root), yyjson_get_len(in->line[i].root), flags, &ids, err);
        if (!st) st = mg_detokenize(t, ids.data, ids.len, false, &text, err);
        mg_buf_str(&out, "[[");
        for (size_t k = 0; k < ids.len; k++) mg_buf_printf(&out, k ? ",%d" : "%d", (int)ids.data[k]);
        mg_buf_str(&out, "],");
        mg_json_quote(&out, text.data ? text.data : "", text.len);
        mg_buf_str(&out, "]\n");
        if (!st) fwrite(out.data, 1, out.len, stdout);
    }
    mg_ids_free(&ids);
    mg_buf_free(&text);
    mg_buf_free(&out);
    return st;
}

int main(int argc, char **argv) {
    mg_error      err = { 0 };
    mg_tokenizer *t = NULL;
    texts         in = { 0 };
    unsigned      flags = MG_TOKENIZE_PARSE;
    bool          ids = false;
    int           repeat = 3;
    size_t        tokens = 0;
    double        best = 1e30;
    if (argc < 3) {
        fprintf(stderr, "usage: tokenize TOKENIZER TEXTS [--ids | --repeat N] [--special]\n");
        return 2;
    }
    for (int i = 3; i < argc; i++) {
        if (!strcmp(argv[i], "--ids")) ids = true;
        if (!strcmp(argv[i], "--special")) flags |= MG_TOKENIZE_SPECIAL;
        if (!strcmp(argv[i], "--repeat") && i + 1 < argc) repeat = atoi(argv[++i]);
    }
    mg_status st = open_tokenizer(&t, argv[1], &err);
    if (!st) st = read_texts(&in, argv[2], &err);
    if (!st && ids) st = print_ids(t, &in, flags, &err);
    for (int i = 0; i < repeat && !ids && !st; i++) {
        mg_tokenizer_free(t);
        t = NULL;
        st = open_tokenizer(&t, argv[1], &err);
        double begin = now();
        if (!st) st = encode_all(t, &in, flags, &tokens, &err);
        double seconds = now() - begin;
        if (seconds < best) best = seconds;
    }
    if (!st && !ids) printf("%zu %zu %.6f\n", in.bytes, tokens, best);
    if (st) fprintf(stderr, "tokenize: %s\n", err.text);
    for (size_t i = 0; i < in.n; i++) mg_json_free(&in.line[i]);
    free(in.line);
    mg_tokenizer_free(t);
    return mg_exit_code(st);
}
