/* chat.c -- conversations to tokens, and which of them the assistant said.
 *
 * A conversation is rendered once and tokenised once.  What is trained is found in one of three ways, in this
 * order:
 *
 *  1. {% generation %} blocks of the template say it.
 *  2. Prefixes: rendering messages[0..i) up to where the assistant begins, and messages[0..i], gives the two
 *     borders of turn i, if both are prefixes of the whole.  For most templates they are.
 *  3. Some templates treat earlier turns unlike the last one (they drop its thoughts, or always ask for an answer
 *     at the end).  Then the marks that the template engine gives each byte tell which of them came out of the
 *     assistant's messages; the end-of-turn token behind joins them. The last turn still has its prefix, and what the
 *     template writes of its thoughts ("<think>") is the assistant's.
 *
 * Text is never searched for.  The same marks keep special tokens that a message spells plain text. */
#include "data/sample_parts.h"

#include <stdlib.h>
#include <string.h>

mg_status mg_turns_begin(mg_turns *t, mg_error *err) {
    *t = (mg_turns){ .doc = yyjson_mut_doc_new(NULL), .assistant_only = true };
    if (t->doc) t->messages = yyjson_mut_arr(t->doc);
    if (t->messages) return MG_OK;
    mg_turns_free(t);
    return mg_fail(err, MG_NOMEM, "no memory for a conversation");
}

void mg_turns_free(mg_turns *t) {
    yyjson_mut_doc_free(t->doc);
    *t = (mg_turns){ 0 };
}

bool mg_turns_add(mg_turns *t, const char *role, const char *text, size_t n) {
    yyjson_mut_val *m = yyjson_mut_arr_add_obj(t->doc, t->messages);
    return m && yyjson_mut_obj_add_strcpy(t->doc, m, "role", role) &&
           yyjson_mut_obj_add_strncpy(t->doc, m, "content", text, n);
}

/* ---- rendering */

static bool add_token(yyjson_mut_doc *doc, yyjson_mut_val *root, const char *key, const char *text) {
    return text ? yyjson_mut_obj_add_str(doc, root, key, text) : yyjson_mut_obj_add_null(doc, root, key);
}

/* Further variables of a record, except those that are ours to say. */
static bool add_variables(yyjson_mut_doc *doc, yyjson_mut_val *root, yyjson_val *variables) {
    yyjson_obj_iter it = yyjson_obj_iter_with(variables);
    for (yyjson_val *k; (k = yyjson_obj_iter_next(&it));) {
        yyjson_mut_val *key = yyjson_mut_strncpy(doc, yyjson_get_str(k), yyjson_get_len(k));
        yyjson_mut_val *v = yyjson_val_mut_copy(doc, yyjson_obj_iter_get_val(k));
        if (!key || !v) return false;
        if (!yyjson_mut_obj_get(root, yyjson_get_str(k)) && !yyjson_mut_obj_add(root, key, v)) return false;
    }
    return true;
}

/* The variables that transformers hands to a template, with the first `n` messages. */
static yyjson_doc *context_of(const mg_turns *t, size_t n, bool prompt, const mg_chat *chat) {
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = doc ? yyjson_mut_obj(doc) : NULL, *messages = root ? yyjson_mut_arr(doc) : NULL;
    yyjson_doc     *out = NULL;
    bool            ok = messages && yyjson_mut_obj_add_val(doc, root, "messages", messages);
    size_t          i = 0;
    for (yyjson_mut_val *m = yyjson_mut_arr_get_first(t->messages); ok && i < n; m = m->next, i++) {
        yyjson_mut_val *copy = yyjson_mut_val_mut_copy(doc, m);
        ok = copy && yyjson_mut_arr_append(messages, copy);
    }
    yyjson_mut_val *tools = !ok ? NULL : t->tools ? yyjson_val_mut_copy(doc, t->tools) : yyjson_mut_null(doc);
    ok = tools && yyjson_mut_obj_add_val(doc, root, "tools", tools) &&
         yyjson_mut_obj_add_null(doc, root, "documents") &&
         yyjson_mut_obj_add_bool(doc, root, "add_generation_prompt", prompt) &&
         add_token(doc, root, "bos_token", chat->bos_token) &&
         add_token(doc, root, "eos_token", chat->eos_token) &&
         (!t->variables || add_variables(doc, root, t->variables));
    if (ok) {
        yyjson_mut_doc_set_root(doc, root);
        out = yyjson_mut_doc_imut_copy(doc, NULL);
    }
    yyjson_mut_doc_free(doc);
    return out;
}

static mg_status render(mg_rendered *out, const mg_turns *t, size_t n, bool prompt, const mg_chat *chat,
                        mg_error *err) {
    if (!chat->chat_template)
        return mg_fail(err, MG_TEMPLATE,
                       "the model has no chat template and the records are conversations;"
                       " name one with chat_template (gemma, chatml, llama2, llama3, mistral or a file)");
    yyjson_doc *context = context_of(t, n, prompt, chat);
    if (!context) return mg_fail(err, MG_NOMEM, "no memory for a conversation");
    mg_status st = mg_template_render(chat->chat_template, yyjson_doc_get_root(context), out, err);
    yyjson_doc_free(context);
    return st;
}

/* ---- spans */

typedef struct {
    mg_span *span;
    size_t   n, cap;
    bool     runs; /* of marked bytes, not yet turns */
} span_list;

static mg_status add_span(span_list *l, size_t begin, size_t end, mg_error *err) {
    if (!MG_GROW(l->span, l->cap, l->n + 1)) return mg_fail(err, MG_NOMEM, "no memory for a conversation");
    l->span[l->n++] = (mg_span){ begin, end };
    return MG_OK;
}

static bool is_assistant(yyjson_mut_val *message) {
    return yyjson_mut_equals_str(yyjson_mut_obj_get(message, "role"), "assistant");
}

/* Does the template show where an assistant begins when asked?  Some do not (their answer stands right behind the
 * question), and some forget to. */
static bool shows_beginning(const mg_turns *t, size_t n, const mg_chat *chat) {
    mg_rendered with = { 0 }, without = { 0 };
    bool        both = !render(&with, t, n, true, chat, NULL) && !render(&without, t, n, false, chat, NULL);
    bool        shows = both && with.text.len != without.text.len;
    mg_rendered_free(&with);
    mg_rendered_free(&without);
    return shows;
}

static size_t first_marked(const mg_rendered *r, size_t begin, size_t end) {
    for (size_t i = begin; i < end; i++)
        if (r->mark[i] & MG_MARK_ASSISTANT) return i;
    return begin;
}

static size_t last_marked(const mg_rendered *r, size_t begin, size_t end) {
    while (end > begin && !(r->mark[end - 1] & MG_MARK_ASSISTANT)) end--;
    return end;
}

/* The length of a rendering of the first messages when it is a prefix of the whole. */
static bool prefix_length(const mg_rendered *whole, const mg_turns *t, size_t n, bool prompt, const mg_chat *chat,
                          size_t *out) {
    mg_rendered r = { 0 };
    if (render(&r, t, n, prompt, chat, NULL)) return false;
    bool is_prefix = r.text.len <= whole->text.len && !memcmp(r.text.data, whole->text.data, r.text.len);
    *out = r.text.len;
    mg_rendered_free(&r);
    return is_prefix;
}

static mg_status spans_from_prefixes(span_list *l, const mg_rendered *whole, const mg_turns *t,
                                     const mg_chat *chat, bool *found, mg_error *err) {
    size_t    n = yyjson_mut_arr_size(t->messages), i = 0;
    mg_status st = MG_OK;
    *found = true;
    for (yyjson_mut_val *m = yyjson_mut_arr_get_first(t->messages); !st && *found && i < n; m = m->next, i++) {
        size_t begin = 0, end = whole->text.len;
        if (!is_assistant(m) || i < t->first_trained) continue;
        *found = prefix_length(whole, t, i, true, chat, &begin) &&
                 (i + 1 == n || prefix_length(whole, t, i + 1, false, chat, &end)) && begin <= end;
        if (*found && !shows_beginning(t, i, chat)) begin = first_marked(whole, begin, end);
        /* some ask for an answer behind the last one, unasked: that is not the assistant's, its end token is (mask.c) */
        if (*found && i + 1 == n && !shows_beginning(t, n, chat)) end = last_marked(whole, begin, end);
        if (*found) st = add_span(l, begin, end, err);
    }
    return st;
}

/* Runs of bytes out of assistants' messages; join_runs makes turns of them. */
static mg_status spans_from_marks(span_list *l, const mg_rendered *whole, size_t n, mg_error *err) {
    mg_status st = MG_OK;
    for (size_t i = 0; !st && i < n;) {
        size_t begin = i;
        bool   inside = whole->mark[i] & MG_MARK_ASSISTANT;
        while (i < n && inside == (bool)(whole->mark[i] & MG_MARK_ASSISTANT)) i++;
        if (inside) st = add_span(l, begin, i, err);
    }
    return st;
}

/* Where the last message, an assistant's, begins by the prefix before it, and where it ends; false: that cannot be told. */
static bool last_turn(const mg_rendered *whole, const mg_turns *t, const mg_chat *chat, size_t *begin, size_t *end) {
    size_t n = yyjson_mut_arr_size(t->messages);
    *end = whole->text.len;
    if (t->first_trained && t->first_trained + 1 < n) return false; /* others must be told, too */
    return n && is_assistant(yyjson_mut_arr_get_last(t->messages)) && prefix_length(whole, t, n - 1, true, chat, begin) &&
           shows_beginning(t, n - 1, chat) && shows_beginning(t, n, chat);
}

/* What a template writes within a turn (around a thought) is the assistant's too: two runs are one turn when
 * neither a byte of somebody else's message nor a special token, which would end the turn, lies between them. */
static void join_runs(span_list *l, const mg_aligned *a) {
    size_t kept = 0, token = 0;
    for (size_t k = 1; a->exact && k < l->n; k++) {
        size_t from = l->span[kept].end, to = l->span[k].begin;
        bool   apart = false;
        for (size_t i = from; i < to; i++) apart |= (a->plain[i] & MG_MARK_USER) != 0;
        while (token < a->ids.len && a->end[token] <= from) token++;
        for (size_t i = token; i < a->ids.len && a->end[i] <= to; i++)
            apart |= mg_tokenizer_is_special(a->tokenizer, a->ids.data[i]);
        if (apart)
            l->span[++kept] = l->span[k];
        else
            l->span[kept].end = l->span[k].end;
    }
    if (a->exact && l->n) l->n = kept + 1;
}

static size_t count_assistants(const mg_turns *t, bool with_text) {
    size_t n = yyjson_mut_arr_size(t->messages), count = 0, i = 0;
    for (yyjson_mut_val *m = yyjson_mut_arr_get_first(t->messages); i < n; m = m->next, i++) {
        yyjson_mut_val *content = yyjson_mut_obj_get(m, "content");
        count += is_assistant(m) && i >= t->first_trained && (!with_text || yyjson_mut_get_len(content) > 0);
    }
    return count;
}

static mg_status find_spans(span_list *l, const mg_rendered *whole, const mg_turns *t, const mg_chat *chat,
                            mg_error *err) {
    mg_status st = MG_OK;
    bool      found = false;
    if (!count_assistants(t, false)) return MG_OK;
    if (whole->has_generation_tags && !t->first_trained) {
        for (size_t i = 0; !st && i < whole->n_spans; i++)
            st = add_span(l, whole->span[i].begin, whole->span[i].end, err);
        return st;
    }
    st = spans_from_prefixes(l, whole, t, chat, &found, err);
    if (st || found) return st;
    l->n = 0;
    l->runs = true;
    size_t begin = whole->text.len, end = 0;
    bool   last = last_turn(whole, t, chat, &begin, &end);
    if (!t->first_trained) st = spans_from_marks(l, whole, last ? begin : whole->text.len, err);
    if (!st && last) st = add_span(l, begin, end, err);
    if (st || l->n) return st;
    return !t->first_trained && !count_assistants(t, true)
               ? MG_OK
               : mg_fail(err, MG_TEMPLATE,
                         "the chat template renders a conversation's beginning unlike the whole, so what the"
                         " assistant said cannot be told; use a template with {%% generation %%} blocks");
}

/* ---- samples */

static void all_plain(mg_aligned *a, const mg_rendered *r) {
    a->text = r->text.data ? r->text.data : "";
    a->n = r->text.len;
    a->plain = r->mark;
}

mg_status mg_turns_sample(mg_sample *out, const mg_turns *t, const mg_chat *chat, mg_error *err) {
    mg_rendered r = { 0 };
    span_list   spans = { 0 };
    mg_aligned  a = { .tokenizer = chat->tokenizer, .flags = MG_TOKENIZE_PARSE };
    uint8_t    *trained = NULL;
    mg_status   st = render(&r, t, yyjson_mut_arr_size(t->messages), false, chat, err);
    if (!st && t->assistant_only) st = find_spans(&spans, &r, t, chat, err);
    if (!st) {
        all_plain(&a, &r);
        st = mg_align(&a, err);
    }
    if (!st && !(trained = mg_calloc(a.ids.len + 1, 1)))
        st = mg_fail(err, MG_NOMEM, "no memory for a conversation");
    if (!st && spans.runs) join_runs(&spans, &a);
    if (!st && t->assistant_only) st = mg_mask_spans(&a, spans.span, spans.n, true, trained, err);
    if (!st && !t->assistant_only) memset(trained, 1, a.ids.len);
    if (!st) st = mg_sample_make(out, a.ids.data, trained, a.ids.len, err);
    free(trained);
    free(spans.span);
    mg_align_free(&a);
    mg_rendered_free(&r);
    return st;
}

mg_status mg_chat_prompt(const mg_chat *chat, yyjson_val *messages, mg_ids *out, mg_error *err) {
    mg_rendered r = { 0 };
    mg_turns    t = { 0 };
    if (!yyjson_is_arr(messages)) return mg_fail(err, MG_DATA, "messages are a JSON array of {role, content}");
    mg_status st = mg_turns_begin(&t, err);
    if (!st && !(t.messages = yyjson_val_mut_copy(t.doc, messages)))
        st = mg_fail(err, MG_NOMEM, "no memory for a conversation");
    if (!st) st = render(&r, &t, yyjson_mut_arr_size(t.messages), true, chat, err);
    if (!st)
        st = mg_tokenize_marked(chat->tokenizer, r.text.data ? r.text.data : "", r.text.len, r.mark,
                                MG_TOKENIZE_PARSE, out, err);
    mg_rendered_free(&r);
    mg_turns_free(&t);
    return st;
}
