/* eval_options.h -- how BLEU, chrF, TER and ROUGE count, as options: sacreBLEU's and rouge_score's names. */
#ifndef MG_CLI_EVAL_OPTIONS_H
#define MG_CLI_EVAL_OPTIONS_H

#include "base/option.h"
#include "eval/metrics/bleu.h"

typedef struct mg_metric_options {
    char   *tokenize, *rouge_tokenize;
    int     smooth_method, ter_normalized, ter_asian, rouge_score; /* the TER ones: auto, true, false */
    double  smooth_value; /* negative: the method's own */
    int64_t max_order, beta;
    bool    lowercase, effective_order, whitespace, eps, no_punct, ter_case;
} mg_metric_options;

/* MG_CONFIG: no such tokenizer, or a value for a smoothing that takes none. */
mg_status mg_metric_options_check(const mg_metric_options *o, mg_error *err);
/* The settings of a metric; the splitter is the caller's, who knows the texts.  `asian`: the texts are Japanese or the like. */
mg_metric_settings mg_metric_options_settings(const mg_metric_options *o, bool asian);

/* Rows of an option table for a struct that holds mg_metric_options as member `f`. */
#define MG_METRIC_GROUP MG_N("How scores count")
#define MG_METRIC_ROWS(T, f) \
    { .name = "tokenize", .aliases = "bleu_tokenize", .type = &mg_option_string, .offset = offsetof(T, f.tokenize), .metavar = "NAME", .group = MG_METRIC_GROUP, \
      .help = MG_N("words of BLEU and ROUGE: 13a, intl, zh, char, ja-mecab, none or rouge; otherwise by the language of the texts") }, \
    { .name = "lowercase", .type = &mg_option_bool, .offset = offsetof(T, f.lowercase), .def = "false", .group = MG_METRIC_GROUP, \
      .help = MG_N("BLEU, chrF, ROUGE: in lower case") }, \
    { .name = "smooth_method", .aliases = "bleu_smooth_method", .type = &mg_option_enum, .offset = offsetof(T, f.smooth_method), .def = "exp", \
      .choices = "exp|none|floor|add-k,add_k", .group = MG_METRIC_GROUP, .help = MG_N("BLEU: what n-grams without a match get") }, \
    { .name = "smooth_value", .aliases = "bleu_smooth_value", .type = &mg_option_float, .offset = offsetof(T, f.smooth_value), .def = "-1", .min = -1, .max = 1000, \
      .group = MG_METRIC_GROUP, .help = MG_N("BLEU: value of floor and add-k; -1: 0.1 and 1") }, \
    { .name = "max_ngram_order", .aliases = "bleu_max_order", .type = &mg_option_int, .offset = offsetof(T, f.max_order), .def = "4", .min = 1, .max = MG_NGRAM_MAX, \
      .group = MG_METRIC_GROUP, .help = MG_N("BLEU: longest n-grams") }, \
    { .name = "effective_order", .aliases = "bleu_effective_order", .type = &mg_option_bool, .offset = offsetof(T, f.effective_order), .def = "false", \
      .group = MG_METRIC_GROUP, .help = MG_N("BLEU: leave out orders that the answers are too short for") }, \
    { .name = "chrf_beta", .type = &mg_option_int, .offset = offsetof(T, f.beta), .def = "2", .min = 1, .max = 100, .group = MG_METRIC_GROUP, \
      .help = MG_N("chrF: recall counts so many times as much as precision") }, \
    { .name = "chrf_whitespace", .type = &mg_option_bool, .offset = offsetof(T, f.whitespace), .def = "false", .group = MG_METRIC_GROUP, \
      .help = MG_N("chrF: spaces count, too") }, \
    { .name = "chrf_eps_smoothing", .type = &mg_option_bool, .offset = offsetof(T, f.eps), .def = "false", .group = MG_METRIC_GROUP, \
      .help = MG_N("chrF: smoothing of the first implementation") }, \
    { .name = "ter_normalized", .type = &mg_option_enum, .offset = offsetof(T, f.ter_normalized), .def = "auto", .choices = "auto|true|false", \
      .group = MG_METRIC_GROUP, .help = MG_N("TER: part words from punctuation; auto: in Japanese and Chinese") }, \
    { .name = "ter_asian_support", .type = &mg_option_enum, .offset = offsetof(T, f.ter_asian), .def = "auto", .choices = "auto|true|false", \
      .group = MG_METRIC_GROUP, .help = MG_N("TER: every kanji and kana is a word of its own; auto: in Japanese and Chinese") }, \
    { .name = "ter_no_punct", .type = &mg_option_bool, .offset = offsetof(T, f.no_punct), .def = "false", .group = MG_METRIC_GROUP, \
      .help = MG_N("TER: without punctuation") }, \
    { .name = "ter_case_sensitive", .type = &mg_option_bool, .offset = offsetof(T, f.ter_case), .def = "false", .group = MG_METRIC_GROUP, \
      .help = MG_N("TER: capital letters count") }, \
    { .name = "rouge_tokenize", .type = &mg_option_string, .offset = offsetof(T, f.rouge_tokenize), .metavar = "NAME", .group = MG_METRIC_GROUP, \
      .help = MG_N("other words for ROUGE than for BLEU") }, \
    { .name = "rouge_score", .type = &mg_option_enum, .offset = offsetof(T, f.rouge_score), .def = "fmeasure", .choices = "fmeasure,f1|precision|recall", \
      .group = MG_METRIC_GROUP, .help = MG_N("ROUGE: which of the three is shown") }

#endif
