/* replay.c -- the same prompts through two models.
 *
 * KL(p || q) = sum p (log p - log q) is computed in double from the logits: below 1e-9 it is rounding. */
#include "deliver/replay.h"

#include "base/file.h"
#include "infer/score.h"

#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_BYTES = 16 << 20, MOST_PROMPTS = 16 };

/* ---- texts ---- */

static mg_status add(mg_replay_texts *t, const char *prompt, const char *answer, mg_error *err) {
    if (t->n >= MOST_PROMPTS) return MG_OK;
    char *p = mg_strdup(prompt), *a = answer ? mg_strdup(answer) : NULL;
    if (!p || (answer && !a) || !MG_GROW(t->item, t->cap, t->n + 1)) {
        free(p);
        free(a);
        return mg_fail(err, MG_NOMEM, "no memory for the prompts");
    }
    t->item[t->n++] = (mg_replay_text){ p, a };
    return MG_OK;
}

void mg_replay_texts_free(mg_replay_texts *t) {
    for (size_t i = 0; i < t->n; i++) {
        free(t->item[i].prompt);
        free(t->item[i].answer);
    }
    free(t->item);
    *t = (mg_replay_texts){ 0 };
}

static mg_status add_line(mg_replay_texts *t, const char *line, const char *path, mg_error *err) {
    static const char *const keys[] = { "prompt", "question", "text" };
    mg_json                  json = { 0 };
    const char              *prompt = NULL;
    if (*line != '{') return add(t, line, NULL, err);
    mg_status st = mg_json_parse(&json, line, strlen(line), path, err);
    for (size_t i = 0; !st && !prompt && i < sizeof keys / sizeof *keys; i++) prompt = yyjson_get_str(yyjson_obj_get(json.root, keys[i]));
    if (!st && prompt) st = add(t, prompt, yyjson_get_str(yyjson_obj_get(json.root, "answer")), err);
    if (!st && !prompt) st = mg_fail(err, MG_DATA, "%s: a line has neither \"prompt\" nor \"question\"", path);
    mg_json_free(&json);
    return st;
}

mg_status mg_replay_texts_read(mg_replay_texts *out, const char *path, mg_error *err) {
    mg_replay_texts t = { 0 };
    mg_buf          text = { 0 };
    char           *rest = NULL;
    mg_status       st = mg_read_file(&text, path, FILE_BYTES, err);
    for (char *line = st || !text.data ? NULL : strtok_r(text.data, "\r\n", &rest); !st && line; line = strtok_r(NULL, "\r\n", &rest))
        st = add_line(&t, line, path, err);
    if (!st && !t.n) st = mg_fail(err, MG_DATA, "%s: holds no prompt", path);
    mg_buf_free(&text);
    if (st)
        mg_replay_texts_free(&t);
    else
        *out = t;
    return st;
}

/* The file of the last step in FOLDER/samples, on the heap; NULL: none. */
static char *newest_samples(const char *folder) {
    char *samples = mg_path_join(folder, "samples"), best[256] = "", *path = NULL;
    DIR  *d = samples ? opendir(samples) : NULL;
    for (struct dirent *e; d && (e = readdir(d));) {
        size_t n = strlen(e->d_name);
        if (n > 6 && n < sizeof best && !strncmp(e->d_name, "step-", 5) && !strcmp(e->d_name + n - 6, ".jsonl") && strcmp(e->d_name, best) > 0)
            memcpy(best, e->d_name, n + 1);
    }
    if (d) closedir(d);
    if (*best) path = mg_path_join(samples, best);
    free(samples);
    return path;
}

/* Sentences, numbers, code and Japanese, for models whose run stored no prompts. */
static const char *const common[] = {
    "The capital of Japan is Tokyo, and the capital of France is Paris. Water boils at 100 degrees.",
    "日本の首都は東京です。富士山は日本で一番高い山で、高さは3776メートルあります。",
    "def add(a, b):\n    return a + b\n\nprint(add(2, 3))  # 5",
    "Please explain in one sentence what a computer is.",
    "今日は良い天気ですね。明日の予定を教えてください。",
};

mg_status mg_replay_texts_load(mg_replay_texts *out, const char *run_folder, mg_error *err) {
    char           *path = run_folder ? newest_samples(run_folder) : NULL;
    mg_replay_texts t = { 0 };
    mg_status       st = MG_OK;
    if (path)
        st = mg_replay_texts_read(&t, path, err);
    else
        for (size_t i = 0; !st && i < sizeof common / sizeof *common; i++) st = add(&t, common[i], NULL, err);
    free(path);
    if (st)
        mg_replay_texts_free(&t);
    else
        *out = t;
    return st;
}

/* ---- ids ---- */

/* The prompt through the chat template where there is one, then the answer as it was. */
static mg_status ids_of(const mg_bundle *b, const mg_replay_text *t, mg_ids *out, mg_error *err) {
    mg_buf    text = { 0 };
    mg_json   json = { 0 };
    mg_status st = MG_OK;
    if (b->chat_template) {
        mg_buf_str(&text, "[{\"role\": \"user\", \"content\": ");
        mg_json_quote(&text, t->prompt, strlen(t->prompt));
        mg_buf_str(&text, "}]");
        st = text.failed ? mg_fail(err, MG_NOMEM, "no memory for a prompt") : mg_json_parse(&json, text.data, text.len, "a prompt", err);
        if (!st) st = mg_chat_prompt(&b->chat, json.root, out, err);
    } else
        st = mg_tokenize(b->tokenizer, t->prompt, strlen(t->prompt), MG_TOKENIZE_SPECIAL, out, err);
    if (!st && t->answer) st = mg_tokenize(b->tokenizer, t->answer, strlen(t->answer), 0, out, err);
    mg_json_free(&json);
    mg_buf_free(&text);
    return st;
}

static mg_status same_ids(const mg_bundle *before, const mg_bundle *after, const mg_replay_text *t, mg_ids *out, mg_error *err) {
    mg_ids    other = { 0 };
    mg_status st = ids_of(before, t, out, err);
    if (!st) st = ids_of(after, t, &other, err);
    size_t n = out->len < other.len ? out->len : other.len, at = 0;
    while (at < n && out->data[at] == other.data[at]) at++;
    if (!st && (at < n || out->len != other.len))
        st = mg_fail(err, MG_SELFCHECK, "%s: tokens differ from those of training: '%.60s' has %zu tokens, in the file %zu, and they part at number %zu",
                     after->path, t->prompt, out->len, other.len, at + 1);
    mg_ids_free(&other);
    if (out->len > MG_REPLAY_TOKENS) out->len = MG_REPLAY_TOKENS;
    return st;
}

/* ---- logits ---- */

typedef struct {
    float            *logit; /* [n, V] of the first model */
    int64_t           vocab, n;
    mg_replay_result *sum;
} pair;

static void keep(void *context, int64_t position, const float *logit) {
    pair *p = context;
    memcpy(p->logit + position * p->vocab, logit, (size_t)p->vocab * sizeof *logit);
}

typedef struct {
    double log_sum, most;
    int64_t top;
} summary;

static summary summarise(const float *logit, int64_t n) {
    summary s = { .most = -INFINITY };
    double  sum = 0;
    for (int64_t i = 0; i < n; i++)
        if ((double)logit[i] > s.most) {
            s.most = (double)logit[i];
            s.top = i;
        }
    for (int64_t i = 0; i < n; i++) sum += exp((double)logit[i] - s.most);
    s.log_sum = s.most + log(sum);
    return s;
}

static void compare(void *context, int64_t position, const float *after) {
    pair             *p = context;
    mg_replay_result *r = p->sum;
    const float      *before = p->logit + position * p->vocab;
    summary           a = summarise(before, p->vocab), b = summarise(after, p->vocab);
    double            kl = 0, largest = 0, scale = 1e-30;
    for (int64_t i = 0; i < p->vocab; i++) {
        double x = (double)before[i], y = (double)after[i], log_p = x - a.log_sum;
        kl += exp(log_p) * (log_p - (y - b.log_sum));
        largest = fmax(largest, fabs(x - y));
        scale = fmax(scale, fabs(x));
    }
    if (!(kl >= 0)) kl = isnan(kl) ? INFINITY : 0; /* what is no number must not pass */
    r->kl += kl;
    r->worst_kl = fmax(r->worst_kl, kl);
    r->error = fmax(r->error, largest / scale);
    r->top1 += a.top == b.top;
    r->tokens++;
}

mg_status mg_replay(mg_replay_result *out, const mg_bundle *before, const mg_bundle *after, const mg_backend *backend,
                    const mg_replay_texts *texts, bool (*go_on)(void *context), void *context, mg_error *err) {
    mg_replay_result sum = { .prompts = texts->n };
    pair             p = { .vocab = before->model->c.vocab, .sum = &sum };
    mg_ids           ids = { 0 };
    mg_status        st = MG_OK;
    if (before->model->c.vocab != after->model->c.vocab)
        return mg_fail(err, MG_SELFCHECK, "%s: has %lld tokens, the model has %lld", after->path, (long long)after->model->c.vocab,
                       (long long)before->model->c.vocab);
    p.logit = mg_calloc(MG_REPLAY_TOKENS, (size_t)p.vocab * sizeof *p.logit);
    if (!p.logit) return mg_fail(err, MG_NOMEM, "no memory for logits");
    for (size_t i = 0; !st && i < texts->n; i++) {
        ids.len = 0;
        st = same_ids(before, after, &texts->item[i], &ids, err);
        if (!st) st = mg_score_logits(before->model, backend, ids.data, (int64_t)ids.len, false, keep, &p, err);
        if (!st) st = mg_score_logits(after->model, backend, ids.data, (int64_t)ids.len, false, compare, &p, err);
        if (!st && go_on && !go_on(context)) st = mg_fail(err, MG_STOPPED, "stopped; nothing was written");
    }
    mg_ids_free(&ids);
    free(p.logit);
    if (!st && sum.tokens) {
        sum.kl /= (double)sum.tokens;
        sum.top1 /= (double)sum.tokens;
        *out = sum;
    } else if (!st)
        st = mg_fail(err, MG_DATA, "there is no prompt to replay");
    return st;
}
