/* mecab.c -- a thin wrapper around libmecab's model, tagger and lattice.
 *
 * The lattice interface is used instead of text output, because it says where a word stands: surfaces point into the
 * text that was given.  MeCab gets a copy with a zero behind it: behind white space at a text's end it asks for the
 * length of what follows, as of a C string.
 *
 * MeCab's costs are ints that overflow after some 100,000 words, and a run of one kind of letters takes it quadratic
 * time.  So a long text goes through it in windows that overlap: the best paths of two windows meet again a few words
 * behind the place where the later one began, and what lies near an end that is none of the text is not believed. */
#include "text/mecab.h"

#include <mecab.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

struct mg_mecab {
    mecab_model_t   *model;
    mecab_t         *tagger;
    mecab_lattice_t *lattice;
    mg_buf           text; /* of the call */
    char             signature[64];
    size_t           words;
};

void mg_spans_free(mg_spans *s) {
    free(s->span);
    *s = (mg_spans){ 0 };
}

static bool holds_dictionary(const char *folder) {
    char path[4200];
    snprintf(path, sizeof path, "%s/sys.dic", folder);
    return !access(path, R_OK);
}

const char *mg_mecab_folder(void) {
    static const char *const debian[] = { "/var/lib/mecab/dic/ipadic-utf8", "/usr/share/mecab/dic/ipadic-utf8" };
    static char              beside[4096];
    const char              *named = getenv("MIGAKI_MECAB_DICT");
    if (named && *named) return named;
    char    exe[4000];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n > 0) {
        exe[n] = 0;
        char *slash = strrchr(exe, '/');
        if (slash) *slash = 0;
        snprintf(beside, sizeof beside, "%s/../share/migaki/ipadic", exe);
        if (holds_dictionary(beside)) return beside;
    }
    for (size_t i = 0; i < sizeof debian / sizeof *debian; i++)
        if (holds_dictionary(debian[i])) return debian[i];
    return NULL;
}

void mg_mecab_close(mg_mecab *m) {
    if (!m) return;
    if (m->lattice) mecab_lattice_destroy(m->lattice);
    if (m->tagger) mecab_destroy(m->tagger);
    if (m->model) mecab_model_destroy(m->model);
    mg_buf_free(&m->text);
    free(m);
}

/* sacreBLEU names the dictionary by its word IPA, or by the base name of its folder. */
static void sign(mg_mecab *m) {
    m->words = mecab_model_dictionary_info(m->model)->size;
    snprintf(m->signature, sizeof m->signature, "%s-IPA", mecab_version());
}

mg_status mg_mecab_open(mg_mecab **out, const char *folder, mg_error *err) {
    mg_mecab *m = NULL;
    mg_status st = MG_OK;
    char      folder_flag[] = "-d", rc_flag[] = "-r", rc[] = "/dev/null", program[] = "mecab", *path = NULL;
    if (!folder) folder = mg_mecab_folder();
    if (!folder || !holds_dictionary(folder))
        return mg_fail(err, MG_LIBRARY, "%s: no MeCab dictionary (sys.dic) is there; run tools/setup.sh, install "
                       "mecab-ipadic-utf8, or name one in MIGAKI_MECAB_DICT", folder ? folder : "share/migaki/ipadic");
    m = mg_calloc(1, sizeof *m);
    path = mg_strdup(folder);
    if (!m || !path) {
        st = mg_fail(err, MG_NOMEM, "%s: not enough memory for the dictionary", folder);
        goto done;
    }
    m->model = mecab_model_new(5, (char *[]){ program, rc_flag, rc, folder_flag, path, NULL });
    m->tagger = m->model ? mecab_model_new_tagger(m->model) : NULL;
    m->lattice = m->model ? mecab_model_new_lattice(m->model) : NULL;
    if (!m->tagger || !m->lattice || !mecab_model_dictionary_info(m->model)) {
        st = mg_fail(err, MG_LIBRARY, "%s: MeCab cannot use the dictionary: %.300s", folder, mecab_strerror(NULL));
        goto done;
    }
    const char *charset = mecab_model_dictionary_info(m->model)->charset;
    if (strcasecmp(charset, "UTF-8") != 0 && strcasecmp(charset, "UTF8") != 0) {
        st = mg_fail(err, MG_LIBRARY, "%s: the dictionary is in %.40s, UTF-8 is needed", folder, charset);
        goto done;
    }
    sign(m);
    *out = m;
    m = NULL;
done:
    mg_mecab_close(m);
    free(path);
    return st;
}

const char *mg_mecab_signature(const mg_mecab *m) { return m->signature; }

size_t mg_mecab_words(const mg_mecab *m) { return m->words; }

/* The words of a text that MeCab takes at once; `at`: where it stands in the caller's. */
static mg_status split_whole(mg_mecab *m, const char *text, size_t n, size_t at, mg_spans *out, mg_error *err) {
    m->text.len = 0;
    mg_buf_add(&m->text, text, n);
    mg_buf_char(&m->text, 0);
    if (m->text.failed) {
        mg_buf_free(&m->text);
        return mg_fail(err, MG_NOMEM, "not enough memory for the words of a text of %zu bytes", n);
    }
    mecab_lattice_set_sentence2(m->lattice, m->text.data, n);
    if (!mecab_parse_lattice(m->tagger, m->lattice))
        return mg_fail(err, MG_LIBRARY, "MeCab cannot split a text of %zu bytes: %.300s", n,
                       mecab_lattice_strerror(m->lattice));
    const mecab_node_t *bos = mecab_lattice_get_bos_node(m->lattice);
    const char         *base = mecab_lattice_get_sentence(m->lattice);
    for (const mecab_node_t *w = bos->next; w && w->next; w = w->next) {
        if (!MG_GROW(out->span, out->cap, out->n + 1)) {
            mecab_lattice_clear(m->lattice);
            return mg_fail(err, MG_NOMEM, "not enough memory for the words of a text of %zu bytes", n);
        }
        out->span[out->n++] = (mg_place){ .at = at + (size_t)(w->surface - base), .len = w->length };
    }
    mecab_lattice_clear(m->lattice);
    return MG_OK;
}

enum {
    WHOLE = 32 << 10,  /* bytes up to which MeCab sees the text as it is */
    WINDOW = 1 << 10,
    MARGIN = 192,      /* of a window's end that is not believed */
    LOOK_BACK = 16,    /* words before the first new one with which a window begins */
};

static size_t end_of(const mg_place *w) { return w->at + w->len; }

/* The first character that begins at or before `at`, which is no middle of one. */
static size_t character_at(const char *text, size_t at) {
    for (int i = 0; i < 3 && at && ((unsigned char)text[at] & 0xc0) == 0x80; i++) at--;
    return at;
}

/* Move the words of `seen` that begin at `done` or later, and end before `limit`, to `out`; at least one.  Without a
 * place where a word of `seen` ends at `done` the two windows disagree: false, nothing is moved. */
static bool take_over(mg_spans *out, const mg_spans *seen, size_t done, size_t limit, mg_error *err, mg_status *st) {
    size_t i = 0, from;
    while (i < seen->n && seen->span[i].at < done) i++;
    if (i && end_of(&seen->span[i - 1]) > done) return false;
    for (from = i; i < seen->n && (i == from || end_of(&seen->span[i]) <= limit); i++) {
        if (!MG_GROW(out->span, out->cap, out->n + 1)) {
            *st = mg_fail(err, MG_NOMEM, "not enough memory for the words of a long text");
            return true;
        }
        out->span[out->n++] = seen->span[i];
    }
    return true;
}

/* Where a window begins whose first new word is behind `done`: some words before, at most half a window. */
static size_t looking_back(const mg_spans *out, size_t first, size_t done) {
    size_t begin = done;
    for (size_t k = 1; k <= LOOK_BACK && out->n - first >= k; k++) {
        size_t at = out->span[out->n - k].at;
        if (done - at > WINDOW / 2) break;
        begin = at;
    }
    return begin;
}

static mg_status split_long(mg_mecab *m, const char *text, size_t n, mg_spans *out, mg_error *err) {
    mg_spans  seen = { 0 };
    size_t    first = out->n, done = 0, begin = 0; /* words up to `done` stand in out */
    mg_status st = MG_OK;
    while (!st && begin < n) {
        size_t end = n - begin > WINDOW ? character_at(text, begin + WINDOW) : n, had = out->n;
        seen.n = 0;
        st = split_whole(m, text + begin, end - begin, begin, &seen, err);
        if (!st && !take_over(out, &seen, done, end < n ? end - MARGIN : n, err, &st)) {
            begin = done; /* words were cut otherwise: from here on as from the start of a text */
            continue;
        }
        if (end == n) break;
        done = out->n > had ? end_of(&out->span[out->n - 1]) : end; /* else nothing but white space */
        begin = looking_back(out, first, done);
    }
    mg_spans_free(&seen);
    return st;
}

mg_status mg_mecab_split(mg_mecab *m, const char *text, size_t n, mg_spans *out, mg_error *err) {
    size_t before = out->n;
    if (!n) return MG_OK;
    mg_status st = n <= WHOLE ? split_whole(m, text, n, 0, out, err) : split_long(m, text, n, out, err);
    if (st) out->n = before;
    return st;
}
