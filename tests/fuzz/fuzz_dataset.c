/* fuzz_dataset.c -- a data file: the first byte names its format and the options, the rest is its content.
 *
 * The tokenizer is the smallest byte-level one (256 bytes and three special tokens), so the accepted samples are
 * used: every label is the token or ignored, the counts agree, check and preview take them too. */
#include "data/check.h"
#include "data/preview.h"
#include "base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static mg_tokenizer *tokenizer;
static mg_template *template;
static char folder[] = "/tmp/migaki-fuzz-XXXXXX";

/* GPT-2's character for a byte. */
static void put_char(mg_buf *b, int byte) {
    static int next;
    int  c = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174 ? byte : 256 + next++;
    char utf8[3] = { (char)c, 0, 0 };
    if (c >= 0x80) {
        utf8[0] = (char)(0xc0 | c >> 6);
        utf8[1] = (char)(0x80 | (c & 0x3f));
    }
    mg_json_quote(b, utf8, strlen(utf8));
}

static void set_up(void) {
    mg_buf   b = { 0 };
    mg_error err;
    mg_buf_str(&b, "{\"version\": \"1.0\", \"truncation\": null, \"padding\": null, \"added_tokens\": [");
    const char *const special[] = { "<|endoftext|>", "<|im_start|>", "<|im_end|>" };
    for (int i = 0; i < 3; i++)
        mg_buf_printf(
            &b,
            "%s{\"id\": %d, \"content\": \"%s\", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, "
            "\"normalized\": false, \"special\": true}",
            i ? ", " : "", 256 + i, special[i]);
    mg_buf_str(
        &b,
        "], \"normalizer\": null, \"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false, "
        "\"trim_offsets\": true, \"use_regex\": true}, \"post_processor\": null, \"decoder\": {\"type\": "
        "\"ByteLevel\", "
        "\"add_prefix_space\": true, \"trim_offsets\": true, \"use_regex\": true}, \"model\": {\"type\": \"BPE\", "
        "\"dropout\": null, \"unk_token\": null, \"continuing_subword_prefix\": null, \"end_of_word_suffix\": "
        "null, "
        "\"fuse_unk\": false, \"byte_fallback\": false, \"merges\": [], \"vocab\": {");
    for (int i = 0; i < 256; i++) {
        if (i) mg_buf_char(&b, ',');
        put_char(&b, i);
        mg_buf_printf(&b, ": %d", i);
    }
    mg_buf_str(&b, "}}}");
    if (mg_tokenizer_parse_json(&tokenizer, b.data, b.len, "tiny", &err)) {
        fprintf(stderr, "%s\n", err.text);
        abort();
    }
    mg_buf_free(&b);
    const char *text = mg_template_builtin("chatml");
    if (mg_template_parse(&template, text, strlen(text), "chatml", &err) || !mkdtemp(folder)) abort();
}

static void use(const mg_dataset *d) {
    int64_t tokens = 0, labelled = 0;
    mg_buf  out = { 0 };
    for (size_t i = 0; i < d->n; i++) {
        const mg_sample *s = &d->sample[i];
        int32_t          labels = 0;
        for (int32_t k = 0; k < s->n; k++) {
            if (s->ids[k] < 0 || s->ids[k] >= mg_tokenizer_size(tokenizer)) abort();
            if (s->label[k] != MG_IGNORE && (s->label[k] != s->ids[k] || k == 0)) abort();
            labels += s->label[k] != MG_IGNORE;
        }
        if (labels != s->n_labels) abort();
        tokens += s->n;
        labelled += labels;
        if (i < 3 && mg_data_preview(s, tokenizer, i & 1, &out, NULL)) abort();
    }
    if (tokens != d->tokens || labelled != d->labelled || (int64_t)d->n + d->dropped != d->read) abort();
    mg_buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const suffix[] = { "jsonl", "json", "csv", "tsv" };
    char                     path[100];
    mg_error                 err;
    mg_dataset               d = { 0 };
    mg_data_report           r = { 0 };
    if (!size) return 0;
    if (!tokenizer) set_up();
    mg_on_trouble   how = data[0] & 4 ? MG_TROUBLE_DROP : MG_TROUBLE_KEEP;
    mg_data_options o = { .max_length = data[0] & 8 ? 40 : 0,
                          .assistant_only_loss = !(data[0] & 16),
                          .completion_only_loss = !(data[0] & 32),
                          .append_eos = data[0] & 64,
                          .on_truncation = how,
                          .on_empty_mask = how,
                          .on_bad_line = MG_TROUBLE_DROP };
    mg_chat         chat = { tokenizer, data[0] & 128 ? NULL : template, NULL, "<|im_end|>" };
    snprintf(path, sizeof path, "%s/data.%s", folder, suffix[data[0] & 3]);
    FILE *f = fopen(path, "wb"); /* without the fsync of mg_replace_file */
    if (!f || fwrite(data + 1, 1, size - 1, f) != size - 1 || fclose(f)) abort();
    if (!mg_dataset_load(&d, path, &o, &chat, &err)) use(&d);
    mg_dataset_free(&d);
    if (!mg_data_check(&r, path, &o, &chat, &err)) {
        mg_buf  out = { 0 };
        mg_json json = { 0 };
        mg_data_report_json(&r, &out);
        if (mg_json_parse(&json, out.data, out.len, "report", &err)) abort();
        mg_json_free(&json);
        mg_buf_free(&out);
        mg_data_report_free(&r);
    }
    unlink(path);
    return 0;
}
