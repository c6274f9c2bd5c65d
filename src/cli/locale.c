/* locale.c -- gettext, also where the wanted locale was never generated.
 *
 * Containers and fresh servers have LANG=ja_JP.UTF-8 but only the C.UTF-8 locale;
 * setlocale then fails and gettext falls silent.  C.UTF-8 with LANGUAGE=ja gives
 * Japanese there.  The catalogue is looked for beside the binary first, so a
 * build folder speaks its own texts. */
#include "cli/locale.h"

#include <langinfo.h>
#include <libintl.h>
#include <locale.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool japanese;

static const char *wanted(void) {
    static const char *const name[] = { "LC_ALL", "LC_MESSAGES", "LANG" };
    const char              *value = NULL;
    for (size_t i = 0; i < 3 && !(value && *value); i++) value = getenv(name[i]);
    if (!value || !*value || !strcmp(value, "C") || !strcmp(value, "POSIX")) return "en";
    const char *list = getenv("LANGUAGE"); /* gettext's own: only looked at outside the C locale */
    return !strncmp(list && *list ? list : value, "ja", 2) ? "ja" : "en";
}

static bool has_catalogue(const char *folder) {
    char path[4200];
    snprintf(path, sizeof path, "%s/ja/LC_MESSAGES/migaki.mo", folder);
    return !access(path, R_OK);
}

static void bind_catalogue(void) {
    static const char *const below[] = { "locale", "../locale", "../share/locale" };
    char                     exe[4000], folder[4100];
    ssize_t                  n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    bool                     found = false;
    if (n > 0) {
        exe[n] = 0;
        *strrchr(exe, '/') = 0;
        for (size_t i = 0; !found && i < sizeof below / sizeof *below; i++) {
            snprintf(folder, sizeof folder, "%s/%s", exe, below[i]);
            found = has_catalogue(folder);
        }
    }
#ifdef MG_LOCALE_DIR
    if (!found) snprintf(folder, sizeof folder, "%s", MG_LOCALE_DIR);
    found = true;
#endif
    if (found) bindtextdomain("migaki", folder);
    bind_textdomain_codeset("migaki", "UTF-8");
    textdomain("migaki");
}

void mg_locale_start(const char *lang) {
    japanese = !strcmp(lang ? lang : wanted(), "ja");
    /* texts are UTF-8 whatever the environment says: in the C locale a line editor would take a kanji for bytes */
    if (!setlocale(LC_CTYPE, "") || strcmp(nl_langinfo(CODESET), "UTF-8") != 0) setlocale(LC_CTYPE, "C.UTF-8");
    if (!japanese) {
        setlocale(LC_MESSAGES, "C");
        return;
    }
    setenv("LANGUAGE", "ja", 1);
    const char *now = setlocale(LC_MESSAGES, "");
    if (!now || !strcmp(now, "C") || !strcmp(now, "POSIX")) setlocale(LC_MESSAGES, "C.UTF-8");
    bind_catalogue();
}

const char *mg_locale_lang(void) { return japanese ? "ja" : "en"; }
