/* fuzz_report.c -- report.json: what is accepted is shown, written again and read again, and makes a sheet. */
#include "base/json.h"
#include "eval/sheet.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    mg_report_file *file = NULL, *again = NULL;
    mg_buf          json = { 0 }, html = { 0 }, page = { 0 };
    mg_sheet        sheet = { 0 };
    mg_error        err;
    if (size > 20000 || mg_report_parse(&file, (const char *)data, size, "fuzz", &err)) return 0;
    if (mg_report_json(&json, mg_report_of(file), &err) || mg_report_html(&html, mg_report_of(file), size & 1 ? "ja" : "en", &err)) abort();
    if (mg_report_parse(&again, json.data, json.len, "again", &err)) abort();
    if (mg_report_of(again)->rows != mg_report_of(file)->rows) abort();
    if (!mg_sheet_of(&sheet, mg_report_of(file), 1, &err)) {
        mg_sheet_page(&page, &sheet, MG_FORM_BOTH, "ja");
        if (page.failed) abort();
    }
    mg_sheet_free(&sheet);
    mg_buf_free(&json);
    mg_buf_free(&html);
    mg_buf_free(&page);
    mg_report_close(file);
    mg_report_close(again);
    return 0;
}
