/* fuzz_option.c -- any bytes as a configuration file.
 *
 * What is accepted is then used: written as YAML and read again, which must give
 * the same text, and printed in every form. */
#include "cli/sft_options.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static mg_options *fresh(mg_sft_options *values) {
    mg_options *o = mg_options_new(mg_foreign_options);
    if (o && mg_options_add(o, mg_sft_option_rows, values, NULL)) abort();
    return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    mg_sft_options a, b;
    mg_error       err = { 0 };
    mg_buf         first = { 0 }, second = { 0 };
    mg_options    *o = fresh(&a), *p = fresh(&b);
    if (!o || !p) abort();
    if (!mg_options_yaml_text(o, MG_ORIGIN_CONFIG, (const char *)data, size, "fuzz", &err)) {
        mg_options_write_yaml(&first, o);
        if (mg_options_yaml_text(p, MG_ORIGIN_CONFIG, first.data, first.len, "again", &err)) abort();
        mg_sft_options_check(&a, &err);
        mg_options_print(&second, p);
        mg_buf_free(&second);
        mg_options_free(p);
        p = fresh(&b);
        if (!p || mg_options_yaml_text(p, MG_ORIGIN_CONFIG, first.data, first.len, "again", &err)) abort();
        mg_options_write_yaml(&second, p);
        for (char *x = first.data, *y = second.data; *x || *y;) { /* equal up to the origins */
            size_t n = strcspn(x, "\n"), m = strcspn(y, "\n"), i = 0;
            while (i < n && i < m && x[i] == y[i]) i++;
            if (i < n && (i < 2 || !strstr(y, "  # "))) abort();
            x += n + (x[n] == '\n');
            y += m + (y[m] == '\n');
        }
    } else if (!err.text[0])
        abort();
    mg_buf_free(&first);
    mg_buf_free(&second);
    mg_options_free(o);
    mg_options_free(p);
    return 0;
}
