/* test_metrics.c -- every score against the tool that defines it.
 *
 * sacreBLEU's own cases and Japanese sets to 1e-9 (where a test of theirs states fewer digits, to those), ROUGE-1.5.5
 * over Japanese words to its five decimals, and metric_cases.json (see make_metric_cases.py): odd texts, every
 * tokenizer, smoothing and option, to 1e-9. */
#include "support.h"

#include "base/json.h"
#include "eval/metrics/bleu.h"
#include "eval/metrics/classify.h"
#include "eval/metrics/diversity.h"
#include "eval/metrics/resample.h"
#include "eval/metrics/metric.h"

enum { MOST = 2000 };

typedef struct corpus {
    const char *hyp[MOST], *ref[MOST][4];
    size_t      n, refs;
} corpus;

static mg_json open_json(const char *path) {
    mg_json  j = { 0 };
    mg_error err = { 0 };
    assert_ok(mg_json_open(&j, path, 1 << 26, &err), err);
    return j;
}

static yyjson_val *get(yyjson_val *v, const char *key) {
    yyjson_val *x = yyjson_obj_get(v, key);
    if (!x) fail_msg("no '%s' in the reference", key);
    return x;
}

/* hypotheses: [segment]; references: [stream][segment] */
static void read_corpus(corpus *c, yyjson_val *hyps, yyjson_val *streams) {
    size_t      i, k, max, streams_n;
    yyjson_val *v, *stream;
    c->n = yyjson_arr_size(hyps);
    c->refs = yyjson_arr_size(streams);
    assert_true(c->n <= MOST && c->refs >= 1 && c->refs <= 4);
    yyjson_arr_foreach(hyps, i, max, v) c->hyp[i] = yyjson_get_str(v);
    yyjson_arr_foreach(streams, k, streams_n, stream) {
        assert_int_equal(yyjson_arr_size(stream), c->n);
        yyjson_arr_foreach(stream, i, max, v) c->ref[i][k] = yyjson_get_str(v);
    }
}

/* The score of all, those of the segments into `each` (may be NULL), the signature into sign (may be NULL). */
static double evaluate(const char *name, const mg_metric_settings *s, const corpus *c, double *sum, double *each,
                       mg_buf *sign) {
    mg_scorer        x;
    mg_error         err = { 0 };
    double           one[MG_METRIC_WIDTH], total;
    const mg_metric *m = mg_metric_find(name);
    assert_non_null(m);
    assert_ok(mg_scorer_open(&x, m, s, &err), err);
    int width = mg_scorer_width(&x);
    assert_true(width <= MG_METRIC_WIDTH);
    memset(sum, 0, sizeof *sum * MG_METRIC_WIDTH);
    for (size_t i = 0; i < c->n; i++) {
        assert_ok(mg_score_segment(&x, c->hyp[i], c->ref[i], c->refs, one, &err), err);
        for (int k = 0; k < width; k++) sum[k] += one[k];
        if (each) each[i] = mg_scorer_score(&x, one);
    }
    total = mg_scorer_score(&x, sum);
    if (sign) mg_scorer_sign(&x, sign);
    mg_scorer_close(&x);
    return total;
}

static mg_metric_settings read_settings(yyjson_val *v) {
    mg_metric_settings s = mg_metric_defaults();
    const char        *tokenize = yyjson_get_str(yyjson_obj_get(v, "tokenize"));
    const char        *smooth = yyjson_get_str(yyjson_obj_get(v, "smooth"));
    if (!smooth) smooth = yyjson_get_str(yyjson_obj_get(v, "smooth_method"));
    if (tokenize) s.splitter = mg_splitter_find(tokenize);
    if (tokenize) assert_non_null(s.splitter);
    if (smooth) s.smoothing = mg_smoothing_find(smooth);
    if (smooth) assert_non_null(s.smoothing);
    if (yyjson_is_num(yyjson_obj_get(v, "value"))) s.smooth_value = yyjson_get_num(yyjson_obj_get(v, "value"));
    if (yyjson_obj_get(v, "order")) s.max_order = yyjson_get_int(yyjson_obj_get(v, "order"));
    if (yyjson_obj_get(v, "beta")) s.beta = yyjson_get_int(yyjson_obj_get(v, "beta"));
    s.effective_order = yyjson_is_true(yyjson_obj_get(v, "effective"));
    s.lowercase = yyjson_is_true(yyjson_obj_get(v, "lowercase"));
    s.whitespace = yyjson_is_true(yyjson_obj_get(v, "whitespace"));
    s.eps = yyjson_is_true(yyjson_obj_get(v, "eps_smoothing"));
    s.ter_normalized = yyjson_is_true(yyjson_obj_get(v, "normalized"));
    s.ter_no_punct = yyjson_is_true(yyjson_obj_get(v, "no_punct"));
    s.ter_asian = yyjson_is_true(yyjson_obj_get(v, "asian_support"));
    s.ter_case = yyjson_is_true(yyjson_obj_get(v, "case_sensitive"));
    return s;
}

/* ---- our cases ---- */

static void check_entry(const corpus *c, yyjson_val *entry, size_t set) {
    const char        *name = yyjson_get_str(get(entry, "metric"));
    mg_metric_settings s = read_settings(get(entry, "settings"));
    static double      each[MOST];
    double             sum[MG_METRIC_WIDTH];
    char               what[400];
    mg_buf             sign = { 0 };
    char              *settings = yyjson_val_write(get(entry, "settings"), 0, NULL);
    double             got = evaluate(name, &s, c, sum, each, &sign);
    snprintf(what, sizeof what, "set %zu, %s %s", set, name, settings);
    size_t      i, n;
    yyjson_val *v;
    yyjson_arr_foreach(get(entry, "sentences"), i, n, v) {
        char where[500];
        snprintf(where, sizeof where, "%s, sentence %zu", what, i);
        assert_near(each[i], yyjson_get_num(v), 1e-9, where);
    }
    assert_near(got, yyjson_get_num(get(entry, "score")), 1e-9, what);
    const char *want = yyjson_get_str(yyjson_obj_get(entry, "signature"));
    if (want && (strncmp(sign.data, want, strlen(want)) != 0 || strcmp(sign.data + strlen(want), "|version:2.6.0+migaki") != 0))
        fail_msg("%s: signed %s, wanted %s", what, sign.data, want);
    mg_buf_free(&sign);
    free(settings);
}

static void odd_texts_as_the_reference_tools(void **state) {
    (void)state;
    mg_json       j = open_json(source_path("tests/eval/metric_cases.json"));
    size_t        i, n, k, entries, checked = 0;
    yyjson_val   *set, *entry;
    static corpus c;
    yyjson_arr_foreach(get(j.root, "texts"), i, n, set) {
        read_corpus(&c, get(set, "hypotheses"), get(set, "references"));
        yyjson_arr_foreach(get(set, "scores"), k, entries, entry) {
            check_entry(&c, entry, i);
            checked++;
        }
    }
    assert_int_equal(checked, 7 * 39);
    mg_json_free(&j);
}

/* ---- sacreBLEU's own tests ---- */

static double own(const char *metric, yyjson_val *one, mg_metric_settings s, double *sum) {
    static corpus c;
    double        unused[MG_METRIC_WIDTH];
    read_corpus(&c, get(one, "hypotheses"), get(one, "references"));
    return evaluate(metric, &s, &c, sum ? sum : unused, NULL, NULL);
}

static void sacrebleu_bleu(yyjson_val *root) {
    size_t             i, n;
    yyjson_val        *v;
    mg_metric_settings s = mg_metric_defaults();
    double             sum[MG_METRIC_WIDTH];
    yyjson_arr_foreach(get(root, "corpus_bleu"), i, n, v)
        assert_near(own("bleu", v, read_settings(get(v, "kwargs")), NULL), yyjson_get_num(get(v, "expected")), 1e-8, "corpus_bleu");
    s.splitter = mg_splitter_find("none");
    s.smoothing = mg_smoothing_find("floor");
    s.smooth_value = 0.01;
    yyjson_arr_foreach(get(root, "raw_corpus_bleu_tokenize_none_smooth_floor_0.01"), i, n, v)
        assert_near(own("bleu", v, s, NULL) / 100, yyjson_get_num(get(v, "expected_over_1")), 1e-9, "raw_corpus_bleu");
    s = mg_metric_defaults();
    s.effective_order = true;
    s.splitter = mg_splitter_find("none");
    s.smoothing = mg_smoothing_find("floor");
    s.smooth_value = 0.01;
    yyjson_arr_foreach(get(root, "effective_order"), i, n, v)
        assert_near(own("bleu", v, s, NULL) / 100, yyjson_get_num(get(v, "expected_over_1")), 1e-9, "effective_order");
    yyjson_arr_foreach(get(root, "statistics"), i, n, v) {
        own("bleu", v, mg_metric_defaults(), sum);
        for (size_t k = 0; k < 4; k++) {
            assert_near(sum[2 + k], yyjson_get_num(yyjson_arr_get(get(v, "counts"), k)), 0, "counts");
            assert_near(sum[6 + k], yyjson_get_num(yyjson_arr_get(get(v, "totals"), k)), 0, "totals");
        }
    }
    yyjson_arr_foreach(get(root, "max_ngram_order"), i, n, v) {
        char text[32];
        s = mg_metric_defaults();
        s.max_order = yyjson_get_int(get(v, "order"));
        snprintf(text, sizeof text, "%.2f", own("bleu", v, s, NULL));
        assert_string_equal(text, yyjson_get_str(get(v, "expected_2dp")));
    }
}

static void sacrebleu_statistics(yyjson_val *root) {
    static const char *const list[] = { "scoring_from_statistics", "degenerate_statistics_floor" };
    for (size_t l = 0; l < 2; l++) {
        size_t      i, n;
        yyjson_val *v;
        yyjson_arr_foreach(get(root, list[l]), i, n, v) {
            mg_metric_settings s = mg_metric_defaults();
            double             sum[10] = { yyjson_get_num(get(v, "hyp_len")), yyjson_get_num(get(v, "ref_len")) };
            for (size_t k = 0; k < 4; k++) {
                sum[2 + k] = yyjson_get_num(yyjson_arr_get(get(v, "counts"), k));
                sum[6 + k] = yyjson_get_num(yyjson_arr_get(get(v, "totals"), k));
            }
            s.smoothing = mg_smoothing_find("floor");
            if (l) s.smooth_value = yyjson_get_num(get(v, "smooth_value"));
            double want = l ? yyjson_get_num(get(v, "expected")) : 100 * yyjson_get_num(get(v, "expected_over_1"));
            assert_near(mg_bleu_score(&s, sum), want, 1e-8, list[l]);
        }
    }
}

static void sacrebleu_sentences(yyjson_val *root) {
    static const char *const list[] = { "sentence_bleu", "sentence_bleu_zero" };
    static corpus            c;
    double                   sum[MG_METRIC_WIDTH];
    for (size_t l = 0; l < 2; l++) {
        yyjson_val *one = get(root, list[l]), *v;
        size_t      i, n;
        c.n = c.refs = 1;
        c.hyp[0] = yyjson_get_str(get(one, "hypothesis"));
        c.ref[0][0] = yyjson_get_str(get(one, "reference"));
        yyjson_arr_foreach(get(one, "cases"), i, n, v) {
            mg_metric_settings s = read_settings(v);
            if (yyjson_is_num(get(v, "smooth_value"))) s.smooth_value = yyjson_get_num(get(v, "smooth_value"));
            s.effective_order = true;
            double got = evaluate("bleu", &s, &c, sum, NULL, NULL), want = yyjson_get_num(get(v, "expected"));
            if (!(fabs(got - want) < 1e-3)) fail_msg("%s %zu: %.9g, wanted %.9g", list[l], i, got, want); /* 3 digits there */
        }
    }
}

/* Some of their expectations have four decimals, which is what their tests look at. */
static void assert_stated(double got, double want, const char *what) {
    if (!(fabs(got - want) <= 1e-4)) fail_msg("%s: %.9g, wanted %.9g", what, got, want);
}

static void sacrebleu_chrf_and_ter(yyjson_val *root) {
    static const struct {
        const char *list, *expected;
        bool        eps, whitespace;
    } row[] = { { "chrf_char6_word0_beta3_eps_true", "expected", true, false },
                { "chrf_char6_word0_beta3_eps_false", "expected", false, false },
                { "chrf_keep_whitespace_char6_word0_beta3", "expected", false, true } };
    size_t      i, n;
    yyjson_val *v;
    for (size_t l = 0; l < 3; l++) {
        yyjson_arr_foreach(get(root, row[l].list), i, n, v) {
            mg_metric_settings s = mg_metric_defaults();
            s.beta = 3;
            s.eps = row[l].eps;
            s.whitespace = row[l].whitespace;
            assert_stated(own("chrf", v, s, NULL), yyjson_get_num(get(v, "expected")), row[l].list);
        }
    }
    yyjson_arr_foreach(get(root, "sentence_chrf_eps_true_default_beta2"), i, n, v) {
        corpus             c = { .n = 1, .refs = yyjson_arr_size(get(v, "references")) };
        double             sum[MG_METRIC_WIDTH];
        mg_metric_settings s = mg_metric_defaults();
        s.eps = true;
        c.hyp[0] = yyjson_get_str(get(v, "hypothesis"));
        for (size_t k = 0; k < c.refs; k++) c.ref[0][k] = yyjson_get_str(yyjson_arr_get(get(v, "references"), k));
        assert_stated(evaluate("chrf", &s, &c, sum, NULL, NULL), yyjson_get_num(get(v, "expected")), "sentence_chrf");
    }
    yyjson_arr_foreach(get(root, "ter"), i, n, v)
        assert_near(own("ter", v, mg_metric_defaults(), NULL) / 100, yyjson_get_num(get(v, "expected_over_1")), 1e-9, "ter");
}

static void sacrebleus_own_cases(void **state) {
    (void)state;
    mg_json j = open_json(shared_path("metrics/sacrebleu-own-tests.json"));
    sacrebleu_bleu(j.root);
    sacrebleu_statistics(j.root);
    sacrebleu_sentences(j.root);
    sacrebleu_chrf_and_ter(j.root);
    yyjson_val        *v = yyjson_arr_get_first(get(j.root, "offset"));
    mg_metric_settings s = mg_metric_defaults();
    s.splitter = mg_splitter_find("none");
    s.smoothing = mg_smoothing_find("floor");
    s.smooth_value = 0.1;
    assert_near(own("bleu", v, s, NULL) / 100, yyjson_get_num(get(v, "expected_with_floor_0_1")), 1e-9, "offset");
    s.smooth_value = 0;
    assert_near(own("bleu", v, s, NULL) / 100, 0, 1e-9, "offset 0");
    mg_json_free(&j);
}

/* TER's tokenizer shows in the distance: a text and its tokenized form have none. */
static void ters_tokenizer(void **state) {
    (void)state;
    mg_json j = open_json(shared_path("metrics/sacrebleu-own-tests.json"));
    static const struct {
        const char *key;
        bool        normalized, no_punct, asian;
    } row[] = { { "default", false, false, false }, { "no_punct", false, true, false }, { "norm", true, false, false },
                { "asian", true, false, true } };
    for (size_t l = 0; l < 4; l++) {
        size_t      i, n;
        yyjson_val *v;
        yyjson_arr_foreach(get(get(j.root, "ter_tokenizer"), row[l].key), i, n, v) {
            mg_metric_settings plain = mg_metric_defaults(), s = plain;
            corpus             c = { .n = 1, .refs = 1 };
            double             made[MG_METRIC_WIDTH], want[MG_METRIC_WIDTH];
            s.ter_normalized = row[l].normalized;
            s.ter_no_punct = row[l].no_punct;
            s.ter_asian = row[l].asian;
            c.hyp[0] = yyjson_get_str(get(v, "expected"));
            c.ref[0][0] = yyjson_get_str(get(v, "input"));
            assert_near(evaluate("ter", &s, &c, made, NULL, NULL), 0, 0, c.hyp[0]);
            c.ref[0][0] = c.hyp[0];
            evaluate("ter", &plain, &c, want, NULL, NULL);
            assert_near(made[1], want[1], 0, c.hyp[0]); /* as many words */
        }
    }
    mg_json_free(&j);
}

/* ---- Japanese ---- */

static void check_japanese(const corpus *c, yyjson_val *set) {
    static const struct {
        const char *key, *metric, *tokenize;
    } row[] = { { "BLEU-ja-mecab", "bleu", "ja-mecab" }, { "BLEU-char", "bleu", "char" }, { "BLEU-13a", "bleu", "13a" },
                { "BLEU-intl", "bleu", "intl" }, { "BLEU-none", "bleu", "none" }, { "BLEU-zh", "bleu", "zh" },
                { "chrF2", "chrf", NULL }, { "chrF2++", "chrf++", NULL }, { "TER_asian_normalized", "ter", NULL } };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        mg_metric_settings s = mg_metric_defaults();
        yyjson_val        *want = get(set, row[i].key);
        const char        *signature = yyjson_get_str(get(want, "signature"));
        double             sum[MG_METRIC_WIDTH];
        mg_buf             sign = { 0 };
        if (row[i].tokenize) s.splitter = mg_splitter_find(row[i].tokenize);
        s.ter_normalized = s.ter_asian = true;
        assert_near(evaluate(row[i].metric, &s, c, sum, NULL, &sign), yyjson_get_num(get(want, "score")), 1e-9, row[i].key);
        size_t same = (size_t)(strstr(signature, "+") - signature);
        if (strncmp(sign.data, signature, same) != 0) fail_msg("signed %s, wanted %s", sign.data, signature);
        for (size_t k = 0; row[i].tokenize && k < 4; k++) {
            assert_near(sum[2 + k], yyjson_get_num(yyjson_arr_get(get(want, "counts"), k)), 0, row[i].key);
            assert_near(sum[6 + k], yyjson_get_num(yyjson_arr_get(get(want, "totals"), k)), 0, row[i].key);
        }
        mg_buf_free(&sign);
    }
}

static void check_sentences(const corpus *c, yyjson_val *want, const char *metric, bool effective) {
    mg_metric_settings s = mg_metric_defaults();
    static double      each[MOST];
    double             sum[MG_METRIC_WIDTH];
    size_t             i, n;
    yyjson_val        *v;
    s.effective_order = effective;
    if (effective) s.splitter = mg_splitter_find("ja-mecab");
    evaluate(metric, &s, c, sum, each, NULL);
    assert_true(yyjson_arr_size(want) > 0);
    yyjson_arr_foreach(want, i, n, v) { /* six decimals there */
        if (!(fabs(each[i] - yyjson_get_num(v)) <= 5.1e-7)) fail_msg("%s, sentence %zu: %.9g, wanted %.9g", metric, i, each[i], yyjson_get_num(v));
    }
}

static void japanese_sets(void **state) {
    (void)state;
    mg_json       pairs = open_json(shared_path("metrics/japanese/pairs.json"));
    mg_json       want = open_json(shared_path("metrics/japanese/expected.json"));
    static corpus c;
    size_t        i, n, k, m;
    yyjson_val   *key, *set, *pair;
    yyjson_obj_foreach(get(want.root, "sets"), i, n, key, set) {
        yyjson_val *list = get(pairs.root, yyjson_get_str(key));
        c.refs = 1;
        c.n = yyjson_arr_size(list);
        yyjson_arr_foreach(list, k, m, pair) {
            c.hyp[k] = yyjson_get_str(get(pair, "hyp"));
            c.ref[k][0] = yyjson_get_str(get(pair, "ref"));
        }
        check_japanese(&c, set);
        check_sentences(&c, get(set, "sentence_BLEU_ja-mecab_effective"), "bleu", true);
        check_sentences(&c, get(set, "sentence_chrF2"), "chrf", false);
    }
    assert_int_equal(n, 2);
    mg_json_free(&pairs);
    mg_json_free(&want);
}

static void rouge_155_over_japanese_words(void **state) {
    (void)state;
    mg_json                  j = open_json(shared_path("metrics/rouge-japanese.json"));
    yyjson_val              *japanese = get(j.root, "japanese"), *v;
    static const char *const row[][2] = { { "ROUGE-1", "rouge1" }, { "ROUGE-2", "rouge2" }, { "ROUGE-L", "rougeL" },
                                          { "ROUGE-L", "rougeLsum" } };
    for (size_t l = 0; l < 4; l++) {
        mg_metric_settings s = mg_metric_defaults();
        mg_scorer          x;
        mg_error           err = { 0 };
        double             one[4], mean = 0;
        size_t             i, n;
        s.splitter = mg_splitter_find("ja-mecab");
        assert_ok(mg_scorer_open(&x, mg_metric_find(row[l][1]), &s, &err), err);
        yyjson_arr_foreach(get(japanese, "cases"), i, n, v) {
            const char *ref = yyjson_get_str(get(v, "ref"));
            yyjson_val *want = get(get(v, "scores"), row[l][0]);
            assert_ok(mg_score_segment(&x, yyjson_get_str(get(v, "hyp")), &ref, 1, one, &err), err);
            /* ROUGE-1.5.5 rounds precision and recall to five decimals before F */
            if (!(fabs(one[0] - yyjson_get_num(get(want, "F"))) <= 1e-5) || !(fabs(one[1] - yyjson_get_num(get(want, "P"))) <= 1e-5) ||
                !(fabs(one[2] - yyjson_get_num(get(want, "R"))) <= 1e-5))
                fail_msg("%s, case %zu: F %.6f P %.6f R %.6f", row[l][1], i, one[0], one[1], one[2]);
            mean += one[0] / (double)yyjson_arr_size(get(japanese, "cases"));
        }
        /* its average is that of 1,000 resamples */
        assert_near(mean, yyjson_get_num(get(get(get(japanese, "average"), row[l][0]), "F")), 2e-3, row[l][1]);
        mg_scorer_close(&x);
    }
    mg_json_free(&j);
}

/* ---- what sets the default, and short answers ---- */

static void japanese_never_gets_13a(void **state) {
    (void)state;
    const char *const ja[] = { "plain", "漢字かな" }, *const zh[] = { "中文" }, *const en[] = { "English, café" };
    assert_string_equal(mg_splitter_for(ja, 2, "13a")->name, "ja-mecab");
    assert_string_equal(mg_splitter_for(zh, 1, "13a")->name, "zh");
    assert_string_equal(mg_splitter_for(en, 1, "13a")->name, "13a");
    const char *const half[] = { "ﾃｽﾄ" };
    assert_string_equal(mg_splitter_for(half, 1, "rouge")->name, "ja-mecab");
}

static double one_score(const char *metric, const char *hyp, const char *ref) {
    corpus             c = { .n = 1, .refs = 1, .hyp = { hyp }, .ref = { { ref } } };
    mg_metric_settings s = mg_metric_defaults();
    double             sum[MG_METRIC_WIDTH];
    s.splitter = mg_splitter_find("char");
    return evaluate(metric, &s, &c, sum, NULL, NULL);
}

static void short_answers(void **state) {
    (void)state;
    assert_near(one_score("exact_match", " ＢＫＣ\n", "BKC"), 100, 0, "NFKC");
    assert_near(one_score("exact_match", "ﾊﾟﾝ", "パン"), 100, 0, "half-width kana");
    assert_near(one_score("exact_match", "BKC。", "BKC"), 0, 0, "another character");
    assert_near(one_score("char_f1", "東京都", "東京"), 100 * 2 * 2. / 5, 1e-12, "2 of 3 and of 2");
    assert_near(one_score("char_f1", "ああ", "あ い"), 50, 1e-12, "a bag counts each once");
    assert_near(one_score("char_f1", "", ""), 100, 0, "both empty");
    assert_near(one_score("char_f1", "x", ""), 0, 0, "one empty");
    assert_near(one_score("exact_match", "\xff", "\xef\xbf\xbd"), 100, 0, "invalid bytes are replaced");
    /* 4-grams of はいはいはいはい: はいはい いはいは はいはい いはいは はいはい, 3 of 5 seen before */
    assert_near(one_score("repetition", "はいはいはいはい", ""), 60, 1e-12, "repetition");
    assert_near(one_score("repetition", "あいうえおかき", ""), 0, 0, "no repetition");
}

static void diversity(void **state) {
    (void)state;
    const char *const text[] = { "a b a b", "a b c" };
    double            d[MG_DISTINCT_ORDERS];
    mg_error          err = { 0 };
    mg_place           at;
    assert_ok(mg_distinct(mg_splitter_find("none"), text, 2, d, &err), err);
    assert_near(d[0], 3. / 7, 1e-12, "a b c of 7");
    assert_near(d[1], 3. / 5, 1e-12, "ab ba bc of 5");
    assert_near(d[2], 3. / 3, 1e-12, "aba bab abc of 3");
    double without[2][MG_DISTINCT_ORDERS], p;
    assert_ok(mg_distinct_without(mg_splitter_find("none"), text, 2, d, without, &err), err);
    assert_near(d[0], 3. / 7, 1e-12, "the same with its parts");
    assert_near(without[0][0], 1, 1e-12, "a b c of 3");
    assert_near(without[1][0], 2. / 4, 1e-12, "a b of 4");
    assert_near(without[1][1], 2. / 3, 1e-12, "ab ba of 3");
    /* a mean: the jackknife is the usual standard error, here sqrt(2.5 / 5) */
    double mean_without[5];
    for (int i = 0; i < 5; i++) mean_without[i] = (15 - (i + 1)) / 4.;
    mg_interval j = mg_jackknife(3, mean_without, 5, 1, &p);
    assert_near(j.high - j.score, 1.96 * sqrt(0.5), 1e-12, "the interval of a mean");
    assert_near(p, erfc(3 / sqrt(0.5) / sqrt(2)), 1e-12, "the test of a mean");
    assert_true(isnan(mg_jackknife(3, mean_without, 1, 1, &p).low) && isnan(p));
    assert_true(mg_repeated_phrase("いえ。はい。はい。はい。", strlen("いえ。はい。はい。はい。"), 3, &at));
    assert_int_equal(at.at, strlen("いえ")); /* "。はい" comes three times, too, and begins first */
    assert_int_equal(at.len, strlen("。はい"));
    assert_false(mg_repeated_phrase("はい。はい。", strlen("はい。はい。"), 3, &at));
    assert_false(mg_repeated_phrase("a          b", 12, 3, &at));
    assert_false(mg_repeated_phrase("", 0, 3, &at));
}

static void labels_as_scikit_learn(void **state) {
    (void)state;
    mg_json     j = open_json(source_path("tests/eval/metric_cases.json"));
    size_t      i, n;
    yyjson_val *v;
    yyjson_arr_foreach(get(j.root, "labels"), i, n, v) {
        int               classes = yyjson_get_int(get(v, "classes"));
        double            sum[60] = { 0 }, one[60];
        mg_classification c;
        assert_true(mg_confusion_width(classes) <= 60);
        for (size_t k = 0; k < yyjson_arr_size(get(v, "gold")); k++) {
            mg_confusion_item(one, classes, yyjson_get_int(yyjson_arr_get(get(v, "gold"), k)),
                              yyjson_get_int(yyjson_arr_get(get(v, "predicted"), k)));
            for (int x = 0; x < mg_confusion_width(classes); x++) sum[x] += one[x];
        }
        mg_classify(sum, classes, &c);
        assert_near(c.accuracy, yyjson_get_num(get(v, "accuracy")), 1e-12, "accuracy");
        const struct {
            const char            *key;
            const mg_class_scores *s;
        } row[] = { { "macro", &c.macro }, { "micro", &c.micro }, { "weighted", &c.weighted } };
        for (size_t r = 0; r < 3; r++) {
            yyjson_val *want = get(v, row[r].key);
            assert_near(row[r].s->precision, yyjson_get_num(yyjson_arr_get(want, 0)), 1e-12, row[r].key);
            assert_near(row[r].s->recall, yyjson_get_num(yyjson_arr_get(want, 1)), 1e-12, row[r].key);
            assert_near(row[r].s->f1, yyjson_get_num(yyjson_arr_get(want, 2)), 1e-12, row[r].key);
        }
    }
    assert_int_equal(n, 3);
    double            none[6] = { 0 };
    mg_classification c;
    mg_confusion_item(none, 2, 1, -1);
    mg_classify(none, 2, &c);
    assert_near(c.accuracy + c.macro.f1 + c.of[1].recall, 0, 0, "an answer without a label is wrong");
    mg_json_free(&j);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(odd_texts_as_the_reference_tools), cmocka_unit_test(sacrebleus_own_cases),
        cmocka_unit_test(ters_tokenizer),                   cmocka_unit_test(japanese_sets),
        cmocka_unit_test(rouge_155_over_japanese_words),    cmocka_unit_test(japanese_never_gets_13a),
        cmocka_unit_test(short_answers),                    cmocka_unit_test(diversity),
        cmocka_unit_test(labels_as_scikit_learn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
