/* locale.h -- which language the program speaks.
 *
 * The order: --lang, then LANGUAGE, LC_ALL, LC_MESSAGES, LANG.  Only messages and
 * character types follow the locale; numbers stay in the C locale, because
 * configuration and logs must read the same everywhere. */
#ifndef MG_CLI_LOCALE_H
#define MG_CLI_LOCALE_H

/* Load the catalogue; `lang` is "ja", "en" or NULL for the environment's.  May be
 * called again with another language. */
void mg_locale_start(const char *lang);
const char *mg_locale_lang(void); /* "ja" or "en" */

#endif
