/* error.c -- fill error records, and die loudly on our own bugs. */
#include "base/error.h"

#include <libintl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

mg_status(mg_fail)(mg_error *err, mg_status status, const char *format, ...) {
    if (!err) return status;
    mg_error filled = { .status = status };
    va_list args;
    va_start(args, format);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* a translation of the literal */
    vsnprintf(filled.text, sizeof filled.text, gettext(format), args);
#pragma GCC diagnostic pop
    va_end(args);
    *err = filled; /* last, because an argument may point into *err */
    return status;
}

mg_status mg_fail_in(mg_error *err, const char *context) {
    if (!err) return MG_INTERNAL;
    char text[sizeof err->text];
    int  n = snprintf(text, sizeof text, "%s: ", context);
    if (n >= 0 && (size_t)n < sizeof text) snprintf(text + n, sizeof text - (size_t)n, "%s", err->text);
    memcpy(err->text, text, sizeof text);
    return err->status;
}

int mg_exit_code(mg_status status) {
    return status == MG_STOPPED ? 130 : (int)status / 100;
}

_Noreturn void mg_bug(const char *file, int line, const char *format, ...) {
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s:%d: bug in migaki: ", file, line);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    abort();
}
