/* rig.h -- a tiny reference model with a tokenizer of bytes, as a bundle. */
#ifndef MG_TESTS_DELIVER_RIG_H
#define MG_TESTS_DELIVER_RIG_H

#include "../support.h"
#include "../support_random.h"

#include "base/file.h"
#include "deliver/deliver.h"
#include "deliver/replay.h"
#include "format/safetensors.h"

static mg_error err;
#define OK(call) assert_ok(call, err)

/* GPT-2's printable stand-in of a byte, as a JSON string's content. */
static inline void byte_token(mg_buf *b, int byte) {
    static const struct { int first, last; } printable[] = { { 33, 126 }, { 161, 172 }, { 174, 255 } };
    int moved = 0, code = -1;
    for (int i = 0; i <= byte; i++) {
        bool shown = false;
        for (size_t k = 0; k < 3; k++) shown |= i >= printable[k].first && i <= printable[k].last;
        code = shown ? i : 256 + moved++;
    }
    mg_buf_printf(b, "\\u%04x", code);
}

/* 256 bytes, one merge, two control tokens at ids 0 and 1: the tokenizer.json of every model here. */
static inline void write_tokenizer(const char *folder) {
    mg_buf b = { 0 };
    char  *path = mg_path_join(folder, "tokenizer.json");
    mg_buf_str(&b, "{\"version\":\"1.0\",\"added_tokens\":[");
    const char *names[] = { "<s>", "</s>" };
    for (int i = 0; i < 2; i++)
        mg_buf_printf(&b, "%s{\"id\":%d,\"content\":\"%s\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":true}",
                      i ? "," : "", i, names[i]);
    mg_buf_str(&b, "],\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":true},"
                   "\"post_processor\":null,\"decoder\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"trim_offsets\":true,\"use_regex\":true},"
                   "\"model\":{\"type\":\"BPE\",\"merges\":[\"t h\"],\"vocab\":{\"<s>\":0,\"</s>\":1");
    for (int i = 0; i < 256; i++) {
        mg_buf_str(&b, ",\"");
        byte_token(&b, i);
        mg_buf_printf(&b, "\":%d", i + 2);
    }
    mg_buf_str(&b, ",\"th\":258}}}");
    OK(mg_replace_file(path, b.data, b.len, &err));
    mg_buf_free(&b);
    free(path);
    static const char config[] = "{\"bos_token\":\"<s>\",\"eos_token\":\"</s>\",\"chat_template\":\"{% for m in messages %}<s>{{ m.content }}</s>{% endfor %}\"}";
    path = mg_path_join(folder, "tokenizer_config.json");
    OK(mg_replace_file(path, config, strlen(config), &err));
    free(path);
}

/* "folder/name"; lives until free_paths. */
static char *paths[1024];
static int   n_paths;
static inline char *under(const char *folder, const char *name) {
    assert_true(n_paths < 1024);
    return paths[n_paths++] = mg_path_join(folder, name);
}
static inline void free_paths(void) {
    while (n_paths) free(paths[--n_paths]);
}

/* A copy of the reference model NAME with the tokenizer, in FOLDER/NAME. */
static inline char *make_model(const char *folder, const char *name) {
    char  golden[128], *out = under(folder, name);
    static const char *const files[] = { "config.json", "model.safetensors" };
    OK(mg_make_folder(out, &err));
    for (size_t i = 0; i < 2; i++) {
        mg_buf text = { 0 };
        snprintf(golden, sizeof golden, "golden/%s/%s", name, files[i]);
        OK(mg_read_file(&text, ref_path(golden), 64 << 20, &err));
        OK(mg_replace_file(under(out, files[i]), text.data, text.len, &err));
        mg_buf_free(&text);
    }
    write_tokenizer(out);
    return out;
}

static inline mg_bundle open_bundle(const char *path) {
    mg_bundle        b;
    mg_model_options o = { .positions = 128 };
    OK(mg_bundle_open(&b, path, &o, NULL, &err));
    return b;
}

static inline void to_gguf(const mg_bundle *b, const char *path, const char *mix) {
    mg_new_file f;
    mg_delivery d = { .bundle = b };
    OK(mg_new_file_begin(&f, path, &err));
    OK(mg_deliver_gguf(&d, &f, mix ? mg_mix_find(mix) : NULL, &err));
    OK(mg_new_file_commit(&f, &err));
    mg_new_file_end(&f);
}

static inline void to_hf(const mg_bundle *b, const char *folder, const mg_format *dtype, uint64_t shard) {
    mg_delivery d = { .bundle = b };
    OK(mg_make_folder(folder, &err));
    OK(mg_deliver_hf(&d, folder, dtype, shard, &err));
}

#endif
