/* preview.c -- a sample on the terminal. */
#include "data/preview.h"

/* Bytes of the text, made visible: newline as ⏎ and a real one, other control characters as U+2400 + code. */
static void show(mg_buf *out, const char *s, size_t n) {
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c == '\n')
            mg_buf_str(out, "⏎\n");
        else if (c < 0x20) {
            char picture[4] = { (char)0xe2, (char)0x90, (char)(0x80 + c), 0 };
            mg_buf_str(out, picture);
        } else if (c == 0x7f)
            mg_buf_str(out, "\xe2\x90\xa1");
        else if (c == 0xc2 && i + 1 < n && (unsigned char)s[i + 1] < 0xa0) { /* C1 controls */
            mg_buf_printf(out, "\\x%02x", (unsigned char)s[i + 1]);
            i++;
        } else
            mg_buf_char(out, s[i]);
    }
}

static void mark(mg_buf *out, bool color, bool trained, bool begin) {
    if (color)
        mg_buf_str(out, !begin ? "\x1b[0m" : trained ? "\x1b[32m" : "\x1b[2m");
    else if (trained)
        mg_buf_str(out, begin ? "【" : "】");
}

mg_status mg_data_preview(const mg_sample *s, const mg_tokenizer *t, bool color, mg_buf *out, mg_error *err) {
    mg_buf           text = { 0 };
    mg_detok_stream *stream = mg_detok_new(t, false);
    bool             ok = stream != NULL, inside = false;
    mg_buf_printf(out, "tokens %d   trained %d (%.1f%%)   line %lld%s\n", (int)s->n, (int)s->n_labels,
                  s->n ? 100.0 * s->n_labels / s->n : 0.0, (long long)s->line, s->truncated ? "   cut" : "");
    for (int32_t i = 0; ok && i < s->n; i++) {
        bool trained = s->label[i] != MG_IGNORE;
        if (i == 0 || trained != inside) {
            if (i) mark(out, color, inside, false);
            mark(out, color, trained, true);
            inside = trained;
        }
        ok = ok && mg_detok_feed(stream, s->ids[i], &text);
        show(out, text.data ? text.data : "", text.len);
        text.len = 0;
    }
    ok = ok && mg_detok_flush(stream, &text);
    show(out, text.data ? text.data : "", text.len);
    if (s->n) mark(out, color, inside, false);
    mg_buf_char(out, '\n');
    ok = ok && !text.failed && !out->failed;
    mg_buf_free(&text);
    mg_detok_free(stream);
    return ok ? MG_OK : mg_fail(err, MG_NOMEM, "no memory to show a sample");
}
