/* tokenizer_spm.c -- SentencePiece's tokenizer.model.
 *
 * The file is a protocol buffer (sentencepiece_model.proto): a message is a
 * series of fields, each a number and a wire type (varint, 8 bytes, length and
 * bytes, 4 bytes).  Five kinds of field matter here, so the reader is by hand.
 * What becomes of pieces, scores and flags follows transformers'
 * conversion (convert_slow_tokenizer.py), because its result is the authority. */
#include "text/tokenizer_charsmap.h"
#include "text/tokenizer_impl.h"

#include <stdlib.h>
#include <string.h>

enum { WIRE_VARINT = 0, WIRE_8 = 1, WIRE_BYTES = 2, WIRE_4 = 5 };
enum { PIECE_NORMAL = 1, PIECE_UNKNOWN, PIECE_CONTROL, PIECE_USER, PIECE_UNUSED, PIECE_BYTE };
enum { MODEL_UNIGRAM = 1, MODEL_BPE = 2 };

/* --- wire format --- */

typedef struct {
    const uint8_t *p, *end, *base;
    const char    *name;
} reader;

typedef struct {
    uint32_t       number;
    int            wire;
    uint64_t       value; /* varint and fixed */
    const uint8_t *bytes;
    size_t         n;
} field;

static mg_status malformed(const reader *r, const char *what, mg_error *err) {
    return mg_fail(err, MG_FORMAT, "%s: %s at byte %zu; the file is damaged or no SentencePiece model", r->name,
                   what, (size_t)(r->p - r->base));
}

static bool varint(reader *r, uint64_t *out) {
    *out = 0;
    for (int shift = 0; shift < 64 && r->p < r->end; shift += 7) {
        uint8_t b = *r->p++;
        if (shift == 63 && b > 1) return false;
        *out |= (uint64_t)(b & 0x7f) << shift;
        if (b < 0x80) return true;
    }
    return false;
}

static bool fixed(reader *r, size_t n, uint64_t *out) {
    if ((size_t)(r->end - r->p) < n) return false;
    *out = 0;
    for (size_t i = 0; i < n; i++) *out |= (uint64_t)*r->p++ << 8 * i;
    return true;
}

static mg_status next_field(reader *r, field *f, mg_error *err) {
    uint64_t tag, n;
    if (!varint(r, &tag) || !(tag >> 3) || tag >> 3 > 0x1fffffff)
        return malformed(r, "a field without number", err);
    *f = (field){ .number = (uint32_t)(tag >> 3), .wire = (int)(tag & 7) };
    switch (f->wire) { /* a wire type is a layout, not a kind that grows */
    case WIRE_VARINT: return varint(r, &f->value) ? MG_OK : malformed(r, "a number that does not end", err);
    case WIRE_8: return fixed(r, 8, &f->value) ? MG_OK : malformed(r, "a field beyond the end", err);
    case WIRE_4: return fixed(r, 4, &f->value) ? MG_OK : malformed(r, "a field beyond the end", err);
    case WIRE_BYTES:
        if (!varint(r, &n) || n > (size_t)(r->end - r->p)) return malformed(r, "a field beyond the end", err);
        f->bytes = r->p;
        f->n = (size_t)n;
        r->p += n;
        return MG_OK;
    default: return malformed(r, "a field of unknown layout", err);
    }
}

/* --- the messages --- */

typedef struct {
    const char *text;
    size_t      len;
    float       score;
    uint64_t    type;
} piece;

typedef struct {
    const char   *name;
    piece        *piece;
    size_t        n, cap, bytes;
    uint64_t      model_type;
    bool          byte_fallback;
    int32_t       unk, bos, eos, pad;
    tok_spm_style style;
    bool          escape, suffix; /* escape_whitespaces, treat_whitespace_as_suffix */
} spm;

typedef mg_status (*on_field)(spm *m, const field *f, mg_error *err);

static mg_status each_field(spm *m, const uint8_t *bytes, size_t n, const uint8_t *base, on_field fn,
                            mg_error *err) {
    reader    r = { bytes, bytes + n, base, m->name };
    mg_status st = MG_OK;
    while (!st && r.p < r.end) {
        field f;
        st = next_field(&r, &f, err);
        if (!st) st = fn(m, &f, err);
    }
    return st;
}

static mg_status piece_field(spm *m, const field *f, mg_error *err) {
    (void)err;
    piece *p = &m->piece[m->n - 1];
    if (f->number == 1 && f->wire == WIRE_BYTES) {
        p->text = (const char *)f->bytes;
        p->len = f->n;
    } else if (f->number == 2 && f->wire == WIRE_4) {
        uint32_t bits = (uint32_t)f->value;
        memcpy(&p->score, &bits, sizeof bits);
    } else if (f->number == 3 && f->wire == WIRE_VARINT)
        p->type = f->value;
    return MG_OK;
}

/* Varints are sign-extended to 64 bits; -1 means none. */
static int32_t id_value(uint64_t v) { return v <= INT32_MAX ? (int32_t)v : -1; }

static mg_status trainer_field(spm *m, const field *f, mg_error *err) {
    (void)err;
    if (f->wire != WIRE_VARINT) return MG_OK;
    if (f->number == 3) m->model_type = f->value;
    if (f->number == 24) m->suffix = f->value != 0;
    if (f->number == 35) m->byte_fallback = f->value != 0;
    if (f->number == 40) m->unk = id_value(f->value);
    if (f->number == 41) m->bos = id_value(f->value);
    if (f->number == 42) m->eos = id_value(f->value);
    if (f->number == 43) m->pad = id_value(f->value);
    return MG_OK;
}

static mg_status normalizer_field(spm *m, const field *f, mg_error *err) {
    (void)err;
    if (f->number == 2 && f->wire == WIRE_BYTES) {
        m->style.charsmap = f->bytes;
        m->style.charsmap_bytes = f->n;
    }
    if (f->wire != WIRE_VARINT) return MG_OK;
    if (f->number == 3) m->style.prefix = f->value != 0;
    if (f->number == 4) m->style.squeeze = f->value != 0;
    if (f->number == 5) m->escape = f->value != 0;
    return MG_OK;
}

static mg_status model_field(spm *m, const field *f, mg_error *err) {
    if (f->wire != WIRE_BYTES) return MG_OK;
    if (f->number == 1) {
        if (!MG_GROW(m->piece, m->cap, m->n + 1)) return mg_fail(err, MG_NOMEM, "%s: no memory", m->name);
        m->piece[m->n++] = (piece){ .text = "", .type = PIECE_NORMAL };
        mg_status st = each_field(m, f->bytes, f->n, f->bytes, piece_field, err);
        m->bytes += m->piece[m->n - 1].len; /* at most the file's size */
        return st;
    }
    if (f->number == 2) return each_field(m, f->bytes, f->n, f->bytes, trainer_field, err);
    if (f->number == 3) return each_field(m, f->bytes, f->n, f->bytes, normalizer_field, err);
    return MG_OK;
}

/* --- from the messages to a tokenizer --- */

static void quote_base64(mg_buf *b, const void *bytes, size_t n) {
    mg_buf_char(b, '"');
    tok_base64(b, bytes, n);
    mg_buf_char(b, '"');
}

static void add_normalizers(mg_buf *b, tok_spm_style style) {
    const char *comma = "";
    mg_buf_str(b, "{\"type\":\"Sequence\",\"normalizers\":[");
    if (style.charsmap_bytes) {
        mg_buf_str(b, "{\"type\":\"Precompiled\",\"precompiled_charsmap\":");
        quote_base64(b, style.charsmap, style.charsmap_bytes);
        mg_buf_char(b, '}');
        comma = ",";
    }
    if (style.squeeze) { /* spaces alone, as SentencePiece does it; those at the end go last */
        mg_buf_printf(b, "%s{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"\\\\A +\"},\"content\":\"\"}", comma);
        mg_buf_str(b, ",{\"type\":\"Replace\",\"pattern\":{\"Regex\":\" {2,}\"},\"content\":\" \"}");
        comma = ",";
    }
    if (style.legacy && style.prefix) {
        mg_buf_printf(b, "%s{\"type\":\"Prepend\",\"prepend\":\"\u2581\"}", comma);
        comma = ",";
    }
    if (style.legacy || !style.prefix)
        mg_buf_printf(b, "%s{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\u2581\"}", comma);
    if (style.squeeze && (style.legacy || !style.prefix))
        mg_buf_str(b, ",{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"\u2581+\\\\z\"},\"content\":\"\"}");
    mg_buf_str(b, "]}");
}

mg_status tok_set_spm_components(mg_tokenizer *t, tok_spm_style style, mg_error *err) {
    mg_buf b = { 0 };
    mg_buf_str(&b, "{\"normalizer\":");
    add_normalizers(&b, style);
    if (!style.legacy && style.prefix)
        mg_buf_str(
            &b,
            ",\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"\u2581\",\"prepend_scheme\":\"first\","
            "\"split\":false}");
    mg_buf_str(&b, ",\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{"
                   "\"String\":\"\u2581\"},"
                   "\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"}");
    if (style.prefix) mg_buf_str(&b, ",{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}");
    mg_buf_str(&b, "]}}");
    mg_status st = b.failed ? tok_no_memory(t, err) : tok_set_components_text(t, b.data, err);
    mg_buf_free(&b);
    return st;
}

static mg_status fill_vocab(mg_tokenizer *t, const spm *m, mg_error *err) {
    if (!m->n) return mg_fail(err, MG_FORMAT, "%s: no tokens; this is no SentencePiece model", m->name);
    mg_status st = tok_vocab_reserve(&t->vocab, m->n, m->bytes, m->name, err);
    for (size_t i = 0; i < m->n && !st; i++)
        st = tok_vocab_add(&t->vocab, (int32_t)i, m->piece[i].text, m->piece[i].len, m->name, err);
    t->model_tokens = t->vocab.n;
    t->outside = st ? NULL : mg_calloc(t->vocab.n, 1);
    return st || t->outside ? st : tok_no_memory(t, err);
}

static mg_status build_model(mg_tokenizer *t, const spm *m, mg_error *err) {
    float    *score = mg_calloc(m->n, sizeof *score);
    uint8_t  *aside = mg_calloc(m->n, 1);
    mg_status st = MG_OK;
    if (!score || !aside) {
        st = tok_no_memory(t, err);
        goto done;
    }
    for (size_t i = 0; i < m->n; i++) {
        score[i] = m->piece[i].score;
        aside[i] = m->piece[i].type != PIECE_NORMAL && m->piece[i].type != PIECE_USER;
    }
    if (m->model_type == MODEL_BPE)
        st = tok_bpe_from_scores(t, score, t->unk, false, err);
    else if (m->model_type == MODEL_UNIGRAM)
        st = tok_unigram_from_scores(t, score, t->unk, m->byte_fallback, aside, err);
    else
        st = mg_fail(err, MG_UNSUPPORTED, "%s: a SentencePiece model of type %llu; BPE and Unigram are supported",
                     m->name, (unsigned long long)m->model_type);
done:
    free(score);
    free(aside);
    return st;
}

static mg_status add_tokens(mg_tokenizer *t, const spm *m, mg_error *err) {
    mg_status st = MG_OK;
    for (size_t i = 0; i < m->n && !st; i++) {
        uint64_t type = m->piece[i].type;
        if (type != PIECE_UNKNOWN && type != PIECE_CONTROL && type != PIECE_USER) continue;
        st = tok_add(t,
                     (tok_added){ .id = (int32_t)i,
                                  .text = t->vocab.text[i],
                                  .len = t->vocab.len[i],
                                  .special = type != PIECE_USER },
                     err);
    }
    return st;
}

/* An id of the trainer, as far as that piece exists with the type that it must have. */
static int32_t checked_id(const spm *m, int32_t id, uint64_t type) {
    return id >= 0 && (size_t)id < m->n && m->piece[id].type == type ? id : -1;
}

mg_status tok_parse_spm(mg_tokenizer **out, const void *bytes, size_t n, tok_spm_config config, const char *name,
                        mg_error *err) {
    spm           m = { .name = name,
                        .model_type = MODEL_UNIGRAM,
                        .bos = 1,
                        .eos = 2,
                        .pad = -1,
                        .escape = true,
                        .style = { .prefix = true, .squeeze = true, .legacy = config.legacy } }; /* the schema's defaults */
    mg_tokenizer *t = tok_new(name);
    mg_status     st =
        t ? each_field(&m, bytes, n, bytes, model_field, err) : mg_fail(err, MG_NOMEM, "%s: no memory", name);
    if (st) goto done;
    st = fill_vocab(t, &m, err);
    if (st) goto done;
    if (!m.escape || m.suffix) {
        st = mg_fail(err, MG_UNSUPPORTED,
                     "%s: spaces are kept as they are or belong to the word before; not supported", name);
        goto done;
    }
    t->unk = checked_id(&m, m.unk, PIECE_UNKNOWN);
    t->bos = checked_id(&m, m.bos, PIECE_CONTROL);
    t->eos = checked_id(&m, m.eos, PIECE_CONTROL);
    t->pad = checked_id(&m, m.pad, PIECE_CONTROL);
    st = build_model(t, &m, err);
    if (!st) st = tok_set_spm_components(t, m.style, err);
    if (!st) st = add_tokens(t, &m, err);
    if (!st) st = tok_set_bos_eos(t, config.add_bos ? t->bos : -1, config.add_eos ? t->eos : -1, err);
    if (!st) st = tok_finish(t, err);
done:
    free(m.piece);
    if (st)
        mg_tokenizer_free(t);
    else
        *out = t;
    return st;
}

mg_status mg_tokenizer_parse_spm(mg_tokenizer **out, const void *bytes, size_t n, const char *name,
                                 mg_error *err) {
    return tok_parse_spm(out, bytes, n, (tok_spm_config){ .legacy = true, .add_bos = true }, name, err);
}
