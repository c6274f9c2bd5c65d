/* fixtures.h -- what the tests of src/data share: real tokenizers with a chat template, temporary files. */
#ifndef MG_TESTS_DATA_FIXTURES_H
#define MG_TESTS_DATA_FIXTURES_H

#include "support.h"

#include "base/file.h"
#include "data/dataset.h"

typedef struct {
    mg_tokenizer *tokenizer;
    mg_template  *chat_template;
    mg_chat       chat;
} model_text;

/* `tokenizer`: a folder of ref/tokenizers; `chat_template`: a built-in's name, a path below chat-templates, or
 * NULL. */
static inline model_text open_model_text(const char *tokenizer, const char *chat_template, const char *bos,
                                         const char *eos) {
    model_text m = { 0 };
    mg_error   err;
    char       path[300];
    snprintf(path, sizeof path, "tokenizers/%s", tokenizer);
    assert_ok(mg_tokenizer_open(&m.tokenizer, ref_path(path), &err), err);
    const char *text = chat_template ? mg_template_builtin(chat_template) : NULL;
    mg_buf      file = { 0 };
    if (chat_template && !text) {
        snprintf(path, sizeof path, "chat-templates/%s", chat_template);
        assert_ok(mg_read_file(&file, shared_path(path), 1 << 20, &err), err);
        text = file.data;
    }
    if (text) assert_ok(mg_template_parse(&m.chat_template, text, strlen(text), chat_template, &err), err);
    mg_buf_free(&file);
    m.chat = (mg_chat){ m.tokenizer, m.chat_template, bos, eos };
    return m;
}

static inline void close_model_text(model_text *m) {
    mg_template_free(m->chat_template);
    mg_tokenizer_free(m->tokenizer);
}

static inline mg_data_options usual_options(void) {
    return (mg_data_options){ .assistant_only_loss = true, .completion_only_loss = true, .append_eos = true };
}

/* What the trained tokens of a sample spell, a '|' between runs. */
static inline void trained_text(const mg_sample *s, const mg_tokenizer *t, mg_buf *out) {
    mg_error err;
    for (int32_t i = 0; i < s->n;) {
        int32_t begin = i;
        while (i < s->n && s->label[i] != MG_IGNORE) i++;
        if (i > begin) {
            if (out->len) mg_buf_char(out, '|');
            assert_ok(mg_detokenize(t, s->ids + begin, (size_t)(i - begin), false, out, &err), err);
        } else
            i++;
    }
    mg_buf_add(out, "", 0);
}

static inline mg_status sample_of(mg_sample *out, const char *json, const mg_data_options *o, const model_text *m,
                                  mg_error *err) {
    mg_json j = { 0 };
    assert_ok(mg_json_parse(&j, json, strlen(json), "row", err), *err);
    mg_status st = mg_sample_from_json(out, j.root, o, &m->chat, err);
    mg_json_free(&j);
    return st;
}

/* A record's trained text is `wanted`. */
static inline void assert_trains_with(const mg_data_options *o, const model_text *m, const char *json,
                                      const char *wanted) {
    mg_sample s = { 0 };
    mg_error  err;
    mg_buf    text = { 0 };
    assert_ok(sample_of(&s, json, o, m, &err), err);
    trained_text(&s, m->tokenizer, &text);
    assert_string_equal(text.data, wanted);
    if (s.n) assert_int_equal(s.label[0], MG_IGNORE);
    mg_buf_free(&text);
    mg_sample_free(&s);
}
static inline void assert_trains(const model_text *m, const char *json, const char *wanted) {
    mg_data_options o = usual_options();
    assert_trains_with(&o, m, json, wanted);
}

/* All tokens of a record spell `wanted`. */
static inline void assert_spells(const model_text *m, const char *json, const char *wanted) {
    mg_data_options o = usual_options();
    mg_sample       s = { 0 };
    mg_error        err;
    mg_buf          text = { 0 };
    assert_ok(sample_of(&s, json, &o, m, &err), err);
    assert_ok(mg_detokenize(m->tokenizer, s.ids, (size_t)s.n, false, &text, &err), err);
    assert_string_equal(text.data, wanted);
    mg_buf_free(&text);
    mg_sample_free(&s);
}

/* Write a file into a fresh folder; remove with remove_temp_folder(folder). */
static inline char *write_file(const char *folder, const char *name, const void *bytes, size_t n) {
    static char path[4400];
    mg_error    err;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_ok(mg_replace_file(path, bytes, n, &err), err);
    return path;
}

#endif
