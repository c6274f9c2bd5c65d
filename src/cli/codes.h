/* codes.h -- what each error code means and what helps, for `migaki help E301`. */
#ifndef MG_CLI_CODES_H
#define MG_CLI_CODES_H

#include "base/error.h"

typedef struct mg_code {
    mg_status   status;
    const char *name;  /* "MG_NOFIT" without the prefix, in lower case */
    const char *title; /* MG_N */
    const char *text;  /* MG_N */
} mg_code;

extern const mg_code mg_codes[]; /* ends with a NULL name; MG_OK is not among them */
const mg_code *mg_code_find(int status); /* NULL: no such code */

#endif
