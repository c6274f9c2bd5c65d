/* tokenizer_reference.h -- compare a tokenizer with what Hugging Face tokenizers gave.
 *
 * A reference is a list of {text, ids, ids_with_special, decoded}; SOURCE.txt beside it
 * says how it was made. */
#ifndef MG_TESTS_TOKENIZER_REFERENCE_H
#define MG_TESTS_TOKENIZER_REFERENCE_H

#include "support.h"

#include "base/file.h"
#include "base/json.h"
#include "text/tokenizer.h"

enum { REFERENCE_FILE_LIMIT = 64 << 20 };

static inline mg_tokenizer *tokenizer_of_file(const char *path) {
    mg_error      err;
    mg_buf        text = { 0 };
    mg_tokenizer *t = NULL;
    assert_ok(mg_read_file(&text, path, REFERENCE_FILE_LIMIT, &err), err);
    assert_ok(mg_tokenizer_parse_json(&t, text.data, text.len, path, &err), err);
    mg_buf_free(&text);
    return t;
}

static inline mg_tokenizer *spm_of_file(const char *path) {
    mg_error      err;
    mg_mapping    m = { 0 };
    mg_tokenizer *t = NULL;
    assert_ok(mg_map_file(&m, path, &err), err);
    assert_ok(mg_tokenizer_parse_spm(&t, m.data, m.size, path, &err), err);
    mg_unmap_file(&m);
    return t;
}

static inline bool same_ids(const mg_ids *got, yyjson_val *want) {
    size_t      i, n;
    yyjson_val *id;
    if (got->len != yyjson_arr_size(want)) return false;
    yyjson_arr_foreach(want, i, n, id) if (got->data[i] != yyjson_get_int(id)) return false;
    return true;
}

static inline void show_ids(const char *what, const mg_ids *got, yyjson_val *want) {
    char *json = yyjson_val_write(want, 0, NULL);
    print_error("%s wanted %.600s\n    got", what, json);
    for (size_t i = 0; i < got->len && i < 100; i++) print_error(" %d", (int)got->data[i]);
    print_error("\n");
    free(json);
}

/* The ids of one text with these flags are those of the reference. */
static inline int ids_differ(const mg_tokenizer *t, yyjson_val *text, unsigned flags, yyjson_val *want) {
    mg_error err;
    mg_ids   got = { 0 };
    if (!want) return 0;
    assert_ok(mg_tokenize(t, yyjson_get_str(text), yyjson_get_len(text), flags, &got, &err), err);
    int differ = !same_ids(&got, want);
    if (differ) show_ids(yyjson_get_str(text), &got, want);
    mg_ids_free(&got);
    return differ;
}

static inline int text_differs(const mg_tokenizer *t, yyjson_val *ids, yyjson_val *want) {
    mg_error    err;
    mg_ids      list = { 0 };
    mg_buf      whole = { 0 }, streamed = { 0 };
    size_t      i, n;
    yyjson_val *id;
    if (!want) return 0;
    yyjson_arr_foreach(ids, i, n, id) assert_true(mg_ids_push(&list, (int32_t)yyjson_get_int(id)));
    assert_ok(mg_detokenize(t, list.data, list.len, false, &whole, &err), err);
    mg_detok_stream *s = mg_detok_new(t, false);
    for (i = 0; i < list.len; i++) assert_true(mg_detok_feed(s, list.data[i], &streamed));
    assert_true(mg_detok_flush(s, &streamed));
    mg_detok_free(s);
    int differ =
        whole.len != yyjson_get_len(want) || memcmp(whole.data ? whole.data : "", yyjson_get_str(want), whole.len);
    differ |= streamed.len != whole.len ||
              memcmp(whole.data ? whole.data : "", streamed.data ? streamed.data : "", whole.len);
    if (differ)
        print_error("decoded '%s'\n wanted '%s'\n stream '%s'\n", whole.data ? whole.data : "",
                    yyjson_get_str(want), streamed.data ? streamed.data : "");
    mg_ids_free(&list);
    mg_buf_free(&whole);
    mg_buf_free(&streamed);
    return differ;
}

/* Compare with a reference file; returns how many strings it has. */
static inline size_t compare_with(const mg_tokenizer *t, const char *path, unsigned flags, bool decode) {
    mg_error    err;
    mg_json     j = { 0 };
    size_t      i, n;
    yyjson_val *item;
    int         differ = 0;
    assert_ok(mg_json_open(&j, path, REFERENCE_FILE_LIMIT, &err), err);
    yyjson_arr_foreach(j.root, i, n, item) {
        yyjson_val *text = yyjson_obj_get(item, "text"), *ids = yyjson_obj_get(item, "ids");
        differ += ids_differ(t, text, flags, ids);
        differ += ids_differ(t, text, flags | MG_TOKENIZE_SPECIAL, yyjson_obj_get(item, "ids_with_special"));
        if (decode) differ += text_differs(t, ids, yyjson_obj_get(item, "decoded"));
    }
    mg_json_free(&j);
    if (differ) fail_msg("%s: %d differences in %zu strings", path, differ, n);
    return n;
}

/* Written as tokenizer.json and read again. */
static inline mg_tokenizer *written_and_read(const mg_tokenizer *t) {
    mg_error      err;
    mg_buf        json = { 0 };
    mg_tokenizer *again = NULL;
    assert_ok(mg_tokenizer_write_json(t, &json, &err), err);
    assert_ok(mg_tokenizer_parse_json(&again, json.data, json.len, "written tokenizer.json", &err), err);
    mg_buf_free(&json);
    return again;
}

/* Described as a GGUF file does, with some unused rows behind, and built from that again. */
static inline mg_tokenizer *through_gguf(const mg_tokenizer *t) {
    mg_error      err;
    mg_gguf_vocab v = { 0 };
    mg_tokenizer *again = NULL;
    assert_ok(mg_tokenizer_to_gguf(t, (size_t)mg_tokenizer_size(t) + 5, &v, &err), err);
    assert_ok(mg_tokenizer_from_gguf(&again, &v, "written GGUF", &err), err);
    mg_gguf_vocab_free(&v);
    return again;
}

#endif
