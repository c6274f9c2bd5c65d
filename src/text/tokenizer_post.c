/* tokenizer_post.c -- post-processors, read down to what they add before and behind a text. */
#include "text/tokenizer_impl.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *type;
    mg_status (*parse)(mg_tokenizer *t, yyjson_val *config, mg_error *err);
} post_row;

/* Add an id to the end of a list, or to its front. */
static mg_status put(mg_tokenizer *t, tok_ids *list, size_t at, yyjson_val *id, mg_error *err) {
    if (!yyjson_is_uint(id) || yyjson_get_uint(id) >= t->vocab.n || !t->vocab.text[yyjson_get_uint(id)])
        return mg_fail(err, MG_FORMAT, "%s: the post-processor adds an id that is no token", t->name);
    int32_t *bigger = mg_realloc(list->id, list->n + 1, sizeof *bigger);
    if (!bigger) return tok_no_memory(t, err);
    memmove(bigger + at + 1, bigger + at, (list->n - at) * sizeof *bigger);
    bigger[at] = (int32_t)yyjson_get_uint(id);
    list->id = bigger;
    list->n++;
    return MG_OK;
}

static mg_status template(mg_tokenizer *t, yyjson_val *config, mg_error *err) {
    yyjson_val *single = yyjson_obj_get(config, "single"), *known = yyjson_obj_get(config, "special_tokens"),
               *piece, *id;
    size_t    i, n, j, m, fresh = 0, texts = 0;
    mg_status st = MG_OK;
    yyjson_arr_foreach(single, i, n, piece) {
        const char *name = yyjson_get_str(yyjson_obj_get(yyjson_obj_get(piece, "SpecialToken"), "id"));
        if (yyjson_obj_get(piece, "Sequence")) {
            texts++;
            continue;
        }
        yyjson_val *ids = name ? yyjson_obj_get(yyjson_obj_get(known, name), "ids") : NULL;
        if (!yyjson_is_arr(ids))
            return mg_fail(err, MG_FORMAT,
                           "%s: piece %zu of the post-processor's template is neither text nor a known token",
                           t->name, i);
        yyjson_arr_foreach(ids, j, m, id) {
            st = texts ? put(t, &t->behind, t->behind.n, id, err) : put(t, &t->before, fresh++, id, err);
            if (st) return st;
        }
    }
    return texts == 1
               ? MG_OK
               : mg_fail(err, MG_UNSUPPORTED, "%s: the post-processor's template has the text %zu times, not once",
                         t->name, texts);
}

/* {"sep": ["</s>", 2], "cls": ["<s>", 0]} */
static mg_status two_ends(mg_tokenizer *t, yyjson_val *config, mg_error *err) {
    mg_status st = put(t, &t->before, 0, yyjson_arr_get(yyjson_obj_get(config, "cls"), 1), err);
    return st ? st : put(t, &t->behind, t->behind.n, yyjson_arr_get(yyjson_obj_get(config, "sep"), 1), err);
}

/* ByteLevel only moves offsets. */
static mg_status nothing(mg_tokenizer *t, yyjson_val *config, mg_error *err) {
    (void)t, (void)config, (void)err;
    return MG_OK;
}

static mg_status parse_post(mg_tokenizer *t, yyjson_val *config, mg_error *err);

static mg_status sequence(mg_tokenizer *t, yyjson_val *config, mg_error *err) {
    yyjson_val *item;
    size_t      i, n;
    mg_status   st = MG_OK;
    yyjson_arr_foreach(yyjson_obj_get(config, "processors"), i, n, item) {
        st = parse_post(t, item, err);
        if (st) return st;
    }
    return st;
}

static const post_row rows[] = {
    { "TemplateProcessing", template }, { "ByteLevel", nothing },          { "Sequence", sequence },
    { "BertProcessing", two_ends },     { "RobertaProcessing", two_ends },
};

static mg_status parse_post(mg_tokenizer *t, yyjson_val *config, mg_error *err) {
    const char *type = yyjson_get_str(yyjson_obj_get(config, "type"));
    for (size_t i = 0; type && i < sizeof rows / sizeof *rows; i++)
        if (!strcmp(rows[i].type, type)) return rows[i].parse(t, config, err);
    return mg_fail(err, MG_UNSUPPORTED, "%s: the post-processor '%.60s' is not known here", t->name,
                   type ? type : "");
}

mg_status tok_set_post(mg_tokenizer *t, yyjson_val *post, mg_error *err) {
    if (!post || yyjson_is_null(post)) return MG_OK;
    mg_status st = parse_post(t, post, err);
    if (st) return st;
    t->post_json = yyjson_val_write(post, YYJSON_WRITE_NOFLAG, NULL);
    return t->post_json ? MG_OK : tok_no_memory(t, err);
}

static void add_piece(mg_buf *b, const mg_tokenizer *t, int32_t id, int type_id) {
    mg_buf_str(b, "{\"SpecialToken\":{\"id\":");
    mg_json_quote(b, t->vocab.text[id], t->vocab.len[id]);
    mg_buf_printf(b, ",\"type_id\":%d}}", type_id);
}

static void add_sequence(mg_buf *b, const mg_tokenizer *t, int32_t bos, int32_t eos, char name, int type_id) {
    if (bos >= 0) {
        add_piece(b, t, bos, type_id);
        mg_buf_char(b, ',');
    }
    mg_buf_printf(b, "{\"Sequence\":{\"id\":\"%c\",\"type_id\":%d}}", name, type_id);
    if (eos < 0) return;
    mg_buf_char(b, ',');
    add_piece(b, t, eos, type_id);
}

static void add_known(mg_buf *b, const mg_tokenizer *t, int32_t id) {
    mg_json_quote(b, t->vocab.text[id], t->vocab.len[id]);
    mg_buf_str(b, ":{\"id\":");
    mg_json_quote(b, t->vocab.text[id], t->vocab.len[id]);
    mg_buf_printf(b, ",\"ids\":[%d],\"tokens\":[", (int)id);
    mg_json_quote(b, t->vocab.text[id], t->vocab.len[id]);
    mg_buf_str(b, "]}");
}

mg_status tok_set_bos_eos(mg_tokenizer *t, int32_t bos, int32_t eos, mg_error *err) {
    mg_buf  b = { 0 };
    mg_json json = { 0 };
    if (bos < 0 && eos < 0) return MG_OK;
    mg_buf_str(&b, "{\"type\":\"TemplateProcessing\",\"single\":[");
    add_sequence(&b, t, bos, eos, 'A', 0);
    mg_buf_str(&b, "],\"pair\":[");
    add_sequence(&b, t, bos, eos, 'A', 0);
    mg_buf_char(&b, ',');
    add_sequence(&b, t, bos, eos, 'B', 1);
    mg_buf_str(&b, "],\"special_tokens\":{");
    if (bos >= 0) add_known(&b, t, bos);
    if (bos >= 0 && eos >= 0 && eos != bos) mg_buf_char(&b, ',');
    if (eos >= 0 && eos != bos) add_known(&b, t, eos);
    mg_buf_str(&b, "}}");
    mg_status st = b.failed ? tok_no_memory(t, err) : mg_json_parse(&json, b.data, b.len, t->name, err);
    if (!st) st = tok_set_post(t, json.root, err);
    mg_json_free(&json);
    mg_buf_free(&b);
    return st;
}
