/* forms.c -- the shapes that training records have, one row each.
 *
 * A row says how to know a record of its kind, how to make a sample of it, and what in it is question and answer.
 * The first row that matches counts, so the more particular stand first. */
#include "data/sample_parts.h"

#include <stdlib.h>
#include <string.h>

static bool has_string(yyjson_val *row, const char *key) { return yyjson_is_str(yyjson_obj_get(row, key)); }
static bool has_array(yyjson_val *row, const char *key) { return yyjson_is_arr(yyjson_obj_get(row, key)); }
static bool has_text(yyjson_val *row, const char *key) {
    return yyjson_get_len(yyjson_obj_get(row, key)) > 0 && has_string(row, key);
}

static void add_text(mg_buf *b, yyjson_val *v) {
    if (yyjson_is_str(v)) mg_buf_add(b, yyjson_get_str(v), yyjson_get_len(v));
}

/* ---- input_ids */

static bool ids_matches(yyjson_val *row) { return has_array(row, "input_ids"); }

static mg_status read_ids(yyjson_val *list, mg_ids *out, int64_t least, int64_t below, const char *what,
                          mg_error *err) {
    yyjson_arr_iter it = yyjson_arr_iter_with(list);
    for (yyjson_val *v; (v = yyjson_arr_iter_next(&it));) {
        int64_t id = yyjson_is_int(v) ? yyjson_get_sint(v) : INT64_MIN;
        if (id < least || (id >= below && id != MG_IGNORE))
            return mg_fail(err, MG_DATA, "%s[%zu] is no token of this model (0 to %lld)", what, out->len,
                           (long long)below - 1);
        if (!mg_ids_push(out, (int32_t)id)) return mg_fail(err, MG_NOMEM, "no memory for a record");
    }
    return MG_OK;
}

static mg_status ids_sample(mg_sample *out, yyjson_val *row, const mg_data_options *o, const mg_chat *chat,
                            mg_error *err) {
    int64_t     below = chat->tokenizer ? mg_tokenizer_size(chat->tokenizer) : INT32_MAX;
    yyjson_val *label_list = yyjson_obj_get(row, "labels");
    mg_ids      ids = { 0 }, labels = { 0 };
    uint8_t    *trained = NULL;
    (void)o;
    mg_status st = read_ids(yyjson_obj_get(row, "input_ids"), &ids, 0, below, "input_ids", err);
    if (!st && label_list) st = read_ids(label_list, &labels, MG_IGNORE, below, "labels", err);
    if (!st && label_list && labels.len != ids.len)
        st = mg_fail(err, MG_DATA, "%zu labels for %zu input_ids", labels.len, ids.len);
    if (!st && !(trained = mg_calloc(ids.len + 1, 1))) st = mg_fail(err, MG_NOMEM, "no memory for a record");
    for (size_t i = 0; !st && i < ids.len; i++) {
        trained[i] = !label_list || labels.data[i] == ids.data[i];
        if (!trained[i] && labels.data[i] != MG_IGNORE)
            st = mg_fail(err, MG_DATA,
                         "labels[%zu] is %d where input_ids has %d; a label is the same token or -100", i,
                         (int)labels.data[i], (int)ids.data[i]);
    }
    if (!st) st = mg_sample_make(out, ids.data, trained, ids.len, err);
    free(trained);
    mg_ids_free(&ids);
    mg_ids_free(&labels);
    return st;
}

static bool ids_words(yyjson_val *row, mg_buf *question, mg_buf *answer) {
    yyjson_arr_iter it = yyjson_arr_iter_with(yyjson_obj_get(row, "input_ids"));
    (void)answer;
    for (yyjson_val *v; (v = yyjson_arr_iter_next(&it));)
        mg_buf_printf(question, "%lld ", (long long)yyjson_get_sint(v));
    return false; /* no answer to be judged */
}

/* ---- lists of turns */

typedef struct {
    const char *list, *role, *content;
} turn_keys;
static const turn_keys turn_lists[] = {
    { "messages", "role", "content" },
    { "conversations", "from", "value" },
    { "conversations", "role", "content" },
    { "utterances", "name", "text" },
};

/* The names that others give to the roles. */
static const char *role_name(const char *name) {
    static const char *const rows[][2] = {
        { "human", "user" },      { "gpt", "assistant" },   { "chatgpt", "assistant" }, { "bot", "assistant" },
        { "agent", "assistant" }, { "model", "assistant" }, { "observation", "tool" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (!strcmp(name, rows[i][0])) return rows[i][1];
    return name;
}

static const turn_keys *keys_of(yyjson_val *row) {
    for (size_t i = 0; i < sizeof turn_lists / sizeof *turn_lists; i++) {
        yyjson_val *first = yyjson_arr_get_first(yyjson_obj_get(row, turn_lists[i].list));
        if (has_string(first, turn_lists[i].role)) return &turn_lists[i];
    }
    return NULL;
}

static bool messages_matches(yyjson_val *row) {
    const turn_keys *k = keys_of(row);
    return k && k == turn_lists;
}
static bool sharegpt_matches(yyjson_val *row) { return keys_of(row) != NULL; }

/* Preference records look like conversations, but have their answers elsewhere. */
static bool is_preference(yyjson_val *row) {
    return yyjson_obj_get(row, "chosen") && yyjson_obj_get(row, "rejected");
}

/* One turn as {"role", "content", ...}; keys that are not renamed are kept (tool_calls, name, thinking). */
static mg_status add_turn(mg_turns *t, yyjson_val *turn, const turn_keys *k, mg_error *err) {
    yyjson_val *role = yyjson_obj_get(turn, k->role), *content = yyjson_obj_get(turn, k->content);
    bool        rename = strcmp(k->role, "role") != 0;
    if (!yyjson_is_str(role))
        return mg_fail(err, MG_DATA, "message %zu has no \"%s\"", yyjson_mut_arr_size(t->messages) + 1, k->role);
    if (!content && !yyjson_obj_get(turn, "tool_calls"))
        return mg_fail(err, MG_DATA, "message %zu has no \"%s\"", yyjson_mut_arr_size(t->messages) + 1,
                       k->content);
    yyjson_mut_val *m = yyjson_mut_obj(t->doc);
    bool            ok = m && yyjson_mut_obj_add_strcpy(t->doc, m, "role",
                                             rename ? role_name(yyjson_get_str(role)) : yyjson_get_str(role));
    yyjson_obj_iter it = yyjson_obj_iter_with(turn);
    for (yyjson_val *key; ok && (key = yyjson_obj_iter_next(&it));) {
        if (key == NULL || yyjson_equals_str(key, k->role)) continue;
        bool            is_content = yyjson_equals_str(key, k->content);
        yyjson_mut_val *name = yyjson_mut_strcpy(t->doc, is_content ? "content" : yyjson_get_str(key));
        yyjson_mut_val *v = yyjson_val_mut_copy(t->doc, yyjson_obj_iter_get_val(key));
        ok = name && v && yyjson_mut_obj_add(m, name, v);
    }
    return ok && yyjson_mut_arr_append(t->messages, m) ? MG_OK
                                                       : mg_fail(err, MG_NOMEM, "no memory for a conversation");
}

static mg_status add_turns(mg_turns *t, yyjson_val *list, const turn_keys *k, mg_error *err) {
    yyjson_arr_iter it = yyjson_arr_iter_with(list);
    mg_status       st = MG_OK;
    for (yyjson_val *turn; !st && (turn = yyjson_arr_iter_next(&it));) st = add_turn(t, turn, k, err);
    return st;
}

static mg_status add_string(mg_turns *t, const char *role, const char *s, size_t n, mg_error *err) {
    return mg_turns_add(t, role, s, n) ? MG_OK : mg_fail(err, MG_NOMEM, "no memory for a conversation");
}

/* "tools" is a list, or a list written as a string. */
static mg_status take_tools(mg_turns *t, yyjson_val *row, mg_json *parsed, mg_error *err) {
    yyjson_val *tools = yyjson_obj_get(row, "tools");
    t->variables = yyjson_obj_get(row, "chat_template_kwargs");
    if (yyjson_is_arr(tools) && yyjson_arr_size(tools)) t->tools = tools;
    if (!yyjson_is_str(tools) || !yyjson_get_len(tools)) return MG_OK;
    mg_status st = mg_json_parse(parsed, yyjson_get_str(tools), yyjson_get_len(tools), "tools", err);
    if (!st && yyjson_arr_size(parsed->root)) t->tools = parsed->root;
    return st;
}

static mg_status turns_sample(mg_sample *out, yyjson_val *row, const mg_data_options *o, const mg_chat *chat,
                              mg_error *err) {
    const turn_keys *k = keys_of(row);
    mg_turns         t = { 0 };
    mg_json          tools = { 0 };
    if (is_preference(row))
        return mg_fail(err, MG_DATA, "a preference record (chosen and rejected); train it with dpo");
    mg_status st = mg_turns_begin(&t, err);
    if (!st) st = take_tools(&t, row, &tools, err);
    yyjson_val *system = yyjson_obj_get(row, "system");
    if (!st && has_text(row, "system") && strcmp(k->list, "messages"))
        st = add_string(&t, "system", yyjson_get_str(system), yyjson_get_len(system), err);
    if (!st) st = add_turns(&t, yyjson_obj_get(row, k->list), k, err);
    t.assistant_only = o->assistant_only_loss;
    if (!st) st = mg_turns_sample(out, &t, chat, err);
    mg_turns_free(&t);
    mg_json_free(&tools);
    return st;
}

/* All but the last assistant's turn is the question. */
static bool turns_words(yyjson_val *row, mg_buf *question, mg_buf *answer) {
    const turn_keys *k = keys_of(row);
    yyjson_val      *list = yyjson_obj_get(row, k->list);
    size_t           n = yyjson_arr_size(list), i = 0;
    yyjson_arr_iter  it = yyjson_arr_iter_with(list);
    for (yyjson_val *turn; (turn = yyjson_arr_iter_next(&it)); i++) {
        const char *role = yyjson_get_str(yyjson_obj_get(turn, k->role));
        bool        is_answer = i + 1 == n && role && !strcmp(role_name(role), "assistant");
        if (i && !is_answer) mg_buf_char(question, '\n');
        add_text(is_answer ? answer : question, yyjson_obj_get(turn, k->content));
    }
    return true;
}

/* ---- question and answer as strings */

typedef struct {
    const char *question, *more, *answer; /* keys; more: a second part of the question, or NULL */
} pair_keys;
static const pair_keys prompt_keys = { "prompt", NULL, "completion" };
static const pair_keys alpaca_keys = { "instruction", "input", "output" };
static const pair_keys input_keys = { "input", NULL, "output" };

static bool prompt_matches(yyjson_val *row) {
    return (has_string(row, "prompt") && has_string(row, "completion")) ||
           (has_array(row, "prompt") && has_array(row, "completion"));
}
static bool alpaca_matches(yyjson_val *row) { return has_string(row, "instruction") && has_string(row, "output"); }
static bool input_matches(yyjson_val *row) { return has_string(row, "input") && has_string(row, "output"); }

/* instruction, blank line, input */
static void add_question(mg_buf *b, yyjson_val *row, const pair_keys *k) {
    add_text(b, yyjson_obj_get(row, k->question));
    if (!k->more || !has_text(row, k->more)) return;
    if (b->len) mg_buf_str(b, "\n\n");
    add_text(b, yyjson_obj_get(row, k->more));
}

/* Earlier questions and answers: [["q", "a"], ...]. */
static mg_status add_history(mg_turns *t, yyjson_val *row, mg_error *err) {
    yyjson_arr_iter it = yyjson_arr_iter_with(yyjson_obj_get(row, "history"));
    mg_status       st = MG_OK;
    for (yyjson_val *pair; !st && (pair = yyjson_arr_iter_next(&it));)
        for (size_t i = 0; !st && i < 2; i++) {
            yyjson_val *v = yyjson_arr_get(pair, i);
            st = yyjson_is_str(v)
                     ? add_string(t, i ? "assistant" : "user", yyjson_get_str(v), yyjson_get_len(v), err)
                     : mg_fail(err, MG_DATA, "history holds pairs of question and answer");
        }
    return st;
}

static mg_status pair_as_chat(mg_sample *out, yyjson_val *row, const pair_keys *k, const mg_data_options *o,
                              const mg_chat *chat, mg_error *err) {
    mg_turns    t = { 0 };
    mg_buf      question = { 0 };
    yyjson_val *system = yyjson_obj_get(row, "system"), *answer = yyjson_obj_get(row, k->answer);
    mg_status   st = mg_turns_begin(&t, err);
    add_question(&question, row, k);
    if (!st && question.failed) st = mg_fail(err, MG_NOMEM, "no memory for a record");
    if (!st && has_text(row, "system"))
        st = add_string(&t, "system", yyjson_get_str(system), yyjson_get_len(system), err);
    if (!st) st = add_history(&t, row, err);
    if (!st) st = add_string(&t, "user", question.data ? question.data : "", question.len, err);
    if (!st) st = add_string(&t, "assistant", yyjson_get_str(answer), yyjson_get_len(answer), err);
    t.assistant_only = o->completion_only_loss;
    if (!st) st = mg_turns_sample(out, &t, chat, err);
    mg_buf_free(&question);
    mg_turns_free(&t);
    return st;
}

/* Tokens of `text` with what the tokenizer puts around it, and EOS at the end when asked; what begins at byte
 * `trained_from` is trained. */
static mg_status plain_sample(mg_sample *out, const mg_buf *text, size_t trained_from, bool eos,
                              const mg_chat *chat, mg_error *err) {
    mg_aligned a = { .tokenizer = chat->tokenizer,
                     .text = text->data ? text->data : "",
                     .n = text->len,
                     .flags = MG_TOKENIZE_SPECIAL };
    mg_span    span = { trained_from, text->len };
    int32_t    eos_id = chat->eos_token ? mg_tokenizer_id(chat->tokenizer, chat->eos_token) : -1;
    uint8_t   *trained = NULL;
    if (eos_id < 0) eos_id = mg_tokenizer_eos(chat->tokenizer);
    mg_status st = text->failed ? mg_fail(err, MG_NOMEM, "no memory for a record") : mg_align(&a, err);
    bool      add_eos = !st && eos && eos_id >= 0 && (!a.ids.len || a.ids.data[a.ids.len - 1] != eos_id);
    if (!st && eos && eos_id < 0)
        st = mg_fail(err, MG_CONFIG, "append_eos is on, but the tokenizer has no EOS token");
    if (!st && !(trained = mg_calloc(a.ids.len + 2, 1))) st = mg_fail(err, MG_NOMEM, "no memory for a record");
    if (!st && trained_from && text->len > trained_from) st = mg_mask_spans(&a, &span, 1, false, trained, err);
    if (!st && !trained_from) memset(trained, 1, a.ids.len);
    if (!st && a.ids.len && a.ids.data[a.ids.len - 1] == eos_id) trained[a.ids.len - 1] = 1;
    if (!st && add_eos) {
        trained[a.ids.len] = 1;
        if (!mg_ids_push(&a.ids, eos_id)) st = mg_fail(err, MG_NOMEM, "no memory for a record");
    }
    if (!st) st = mg_sample_make(out, a.ids.data, trained, a.ids.len, err);
    free(trained);
    mg_align_free(&a);
    return st;
}

static mg_status pair_sample(mg_sample *out, yyjson_val *row, const pair_keys *k, const mg_data_options *o,
                             const mg_chat *chat, mg_error *err) {
    if (chat->chat_template) return pair_as_chat(out, row, k, o, chat, err);
    mg_buf text = { 0 };
    add_question(&text, row, k);
    size_t border = text.len;
    add_text(&text, yyjson_obj_get(row, k->answer));
    mg_status st = plain_sample(out, &text, o->completion_only_loss ? border : 0, o->append_eos, chat, err);
    mg_buf_free(&text);
    return st;
}

static bool pair_words(yyjson_val *row, const pair_keys *k, mg_buf *question, mg_buf *answer) {
    add_question(question, row, k);
    add_text(answer, yyjson_obj_get(row, k->answer));
    return true;
}

/* prompt and completion may be lists of messages, too; then the completion's are trained. */
static mg_status prompt_sample(mg_sample *out, yyjson_val *row, const mg_data_options *o, const mg_chat *chat,
                               mg_error *err) {
    mg_turns t = { 0 };
    mg_json  tools = { 0 };
    if (has_string(row, "prompt")) return pair_sample(out, row, &prompt_keys, o, chat, err);
    mg_status st = mg_turns_begin(&t, err);
    if (!st) st = take_tools(&t, row, &tools, err);
    if (!st) st = add_turns(&t, yyjson_obj_get(row, "prompt"), &turn_lists[0], err);
    t.first_trained = t.messages ? yyjson_mut_arr_size(t.messages) : 0;
    if (!st) st = add_turns(&t, yyjson_obj_get(row, "completion"), &turn_lists[0], err);
    t.assistant_only = o->completion_only_loss;
    if (!st) st = mg_turns_sample(out, &t, chat, err);
    mg_turns_free(&t);
    mg_json_free(&tools);
    return st;
}

static bool prompt_words(yyjson_val *row, mg_buf *question, mg_buf *answer) {
    if (has_string(row, "prompt")) return pair_words(row, &prompt_keys, question, answer);
    for (int i = 0; i < 2; i++) {
        yyjson_arr_iter it = yyjson_arr_iter_with(yyjson_obj_get(row, i ? "completion" : "prompt"));
        for (yyjson_val *turn; (turn = yyjson_arr_iter_next(&it));)
            add_text(i ? answer : question, yyjson_obj_get(turn, "content"));
    }
    return true;
}

static mg_status alpaca_sample(mg_sample *out, yyjson_val *row, const mg_data_options *o, const mg_chat *chat,
                               mg_error *err) {
    return pair_sample(out, row, &alpaca_keys, o, chat, err);
}
static bool alpaca_words(yyjson_val *row, mg_buf *question, mg_buf *answer) {
    return pair_words(row, &alpaca_keys, question, answer);
}
static mg_status input_sample(mg_sample *out, yyjson_val *row, const mg_data_options *o, const mg_chat *chat,
                              mg_error *err) {
    return pair_sample(out, row, &input_keys, o, chat, err);
}
static bool input_words(yyjson_val *row, mg_buf *question, mg_buf *answer) {
    return pair_words(row, &input_keys, question, answer);
}

/* ---- text */

static bool text_matches(yyjson_val *row) { return has_string(row, "text"); }

static mg_status text_sample(mg_sample *out, yyjson_val *row, const mg_data_options *o, const mg_chat *chat,
                             mg_error *err) {
    mg_buf text = { 0 };
    add_text(&text, yyjson_obj_get(row, "text"));
    mg_status st =
        text.len ? plain_sample(out, &text, 0, o->append_eos, chat, err) : mg_sample_make(out, NULL, NULL, 0, err);
    mg_buf_free(&text);
    return st;
}

static bool text_words(yyjson_val *row, mg_buf *question, mg_buf *answer) {
    (void)answer;
    add_text(question, yyjson_obj_get(row, "text"));
    return false;
}

/* ---- the table */

static const mg_form forms[] = {
    { "input_ids/labels", false, ids_matches, ids_sample, ids_words },
    { "messages", true, messages_matches, turns_sample, turns_words },
    { "sharegpt", true, sharegpt_matches, turns_sample, turns_words },
    { "prompt/completion", false, prompt_matches, prompt_sample, prompt_words },
    { "alpaca", false, alpaca_matches, alpaca_sample, alpaca_words },
    { "input/output", false, input_matches, input_sample, input_words },
    { "text", false, text_matches, text_sample, text_words },
};

const mg_form *mg_form_find(yyjson_val *row) {
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        if (forms[i].matches(row)) return &forms[i];
    return NULL;
}

mg_status mg_form_unknown(yyjson_val *row, mg_error *err) {
    mg_buf          keys = { 0 };
    yyjson_obj_iter it = yyjson_obj_iter_with(row);
    for (yyjson_val *k; (k = yyjson_obj_iter_next(&it)) && keys.len < 200;)
        mg_buf_printf(&keys, "%s%.60s", keys.len ? ", " : "", yyjson_get_str(k));
    mg_status st =
        mg_fail(err, MG_DATA,
                "a record of no known form (its keys: %s); known are messages, conversations, prompt/completion,"
                " instruction/input/output, input/output, text and input_ids/labels",
                keys.data ? keys.data : "none");
    mg_buf_free(&keys);
    return st;
}

/* ---- one record to a sample */

mg_status mg_sample_judge(mg_sample *s, const mg_data_options *o, mg_error *err) {
    if (o->max_length > 0 && s->n > o->max_length) {
        int32_t n = s->n;
        s->truncated = true;
        if (o->on_truncation != MG_TROUBLE_KEEP)
            return mg_fail(err, MG_TRUNCATED,
                           "%d tokens, max_length is %d; raise max_length, or cut or drop long samples with"
                           " on_truncation",
                           (int)n, (int)o->max_length);
        s->n = o->max_length; /* the labels stay where they are, behind all ids */
        s->n_labels = 0;
        for (int32_t i = 0; i < s->n; i++) s->n_labels += s->label[i] != MG_IGNORE;
    }
    if (!s->n_labels && o->on_empty_mask != MG_TROUBLE_KEEP)
        return s->truncated
                   ? mg_fail(err, MG_MASK, "cut to max_length it has no trained token; raise max_length")
                   : mg_fail(err, MG_MASK, "no trained token (no answer of an assistant, or an empty one)");
    return MG_OK;
}

mg_status mg_form_sample(const mg_form *f, mg_sample *out, yyjson_val *row, const mg_data_options *o,
                         const mg_chat *chat, mg_error *err) {
    mg_sample s = { 0 };
    mg_status st = f->sample(&s, row, o, chat, err);
    if (!st) st = mg_sample_judge(&s, o, err);
    if (st)
        mg_sample_free(&s);
    else
        *out = s;
    return st;
}

mg_status mg_sample_from_json(mg_sample *out, yyjson_val *row, const mg_data_options *o, const mg_chat *chat,
                              mg_error *err) {
    const mg_form *f = mg_form_find(row);
    return f ? mg_form_sample(f, out, row, o, chat, err) : mg_form_unknown(row, err);
}
