/* Folders with weights that bitsandbytes has packed (bnb, make_bnb.py): loss of every token as transformers and bitsandbytes
 * compute it, within 1e-4, on ref32 and cpu.  (int8: an input that lies between two codes may fall to the other side
 * where sums are rounded in another order, a step of 1/127; four in thirty-one losses may be off by up to 0.05.)  And
 * damaged folders: every part missing, cut, or of another shape is refused by name. */
#include "support.h"
#include "far_device.h"

#include "base/file.h"
#include "base/json.h"
#include "base/thread.h"
#include "format/safetensors.h"
#include "infer/score.h"
#include "peft/adapter.h"
#include "train/step.h"

enum { T = 32 };
static mg_error err;
#define OK(call) assert_ok(call, err)
static const char *const kinds[] = { "nf4", "nf4_nested", "fp4", "int8" };

static const char *folder_of(const char *kind) {
    char name[100];
    snprintf(name, sizeof name, "tests/model/bnb/%s", kind);
    return source_path(name);
}

static void as_transformers(void **state) {
    (void)state;
    mg_backend far = mg_backend_cpu;
    far.device = &far_device;
    const mg_backend *backends[] = { &mg_backend_ref32, &mg_backend_cpu, &far };
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (int b = 0; b < 3; b++) {
            mg_json     j;
            char        path[4200];
            int32_t     ids[T];
            float       nll[T - 1];
            size_t      i, n;
            yyjson_val *v;
            mg_model   *m;
            snprintf(path, sizeof path, "%s/expected.json", folder_of(kinds[k]));
            OK(mg_json_open(&j, path, 1 << 20, &err));
            yyjson_arr_foreach(yyjson_obj_get(j.root, "ids"), i, n, v) ids[i] = (int32_t)yyjson_get_sint(v);
            /* load_in_4bit says nothing new */
            mg_model_options o = { .positions = 64, .quant = b ? &mg_format_nf4 : NULL, .quant_block = 64 };
            OK(mg_model_open(&m, folder_of(kinds[k]), &o, &err));
            assert_non_null(strstr(m->format_summary, k == 3 ? "int8" : k == 2 ? "fp4" : "nf4"));
            OK(mg_model_place(m, backends[b], &err));
            OK(mg_score(m, backends[b], ids, T, false, nll, &err));
            double worst = 0;
            int    off = 0;
            yyjson_arr_foreach(yyjson_obj_get(j.root, "nll"), i, n, v) {
                double d = fabs((double)nll[i] - yyjson_get_num(v));
                worst = fmax(worst, d);
                off += !(d <= 1e-4);
            }
            if (k == 3 ? off > 4 || !(worst <= 0.05) : off)
                fail_msg("%s on %s: %d losses differ, by up to %.3g", kinds[k], backends[b]->name, off, worst);
            assert_int_equal(n, T - 1);
            mg_model_close(m);
            mg_json_free(&j);
        }
    assert_int_equal(far_held, 0);
}

/* ---- damage ---- */

typedef struct { const char *kind, *part; int how; mg_status status; const char *named; } damage; /* how: 0 gone, 1 cut, 2 zeroed */

/* The folder with one entry damaged. */
static void write_damaged(const char *to, const damage *d) {
    mg_safetensors *f;
    char            path[4200], copy[4300];
    mg_buf          text = { 0 };
    snprintf(path, sizeof path, "%s/model.safetensors", folder_of(d->kind));
    OK(mg_safetensors_open(&f, path, &err));
    mg_st_entry *e = calloc(f->n, sizeof *e);
    void        *zeros = NULL;
    size_t       n = 0, hits = 0;
    for (size_t i = 0; i < f->n; i++) {
        size_t len = strlen(f->entries[i].name), end = strlen(d->part);
        bool   hit = !hits && len > end && !strcmp(f->entries[i].name + len - end, d->part);
        hits += hit;
        if (hit && d->how == 0) continue;
        e[n] = f->entries[i];
        if (hit && d->how == 1 && e[n].n_dims) {
            e[n].bytes -= e[n].bytes / (size_t)e[n].dims[0];
            e[n].dims[0]--;
        }
        if (hit && d->how == 2) e[n].data = zeros = calloc(1, e[n].bytes);
        n++;
    }
    if (hits != 1) fail_msg("no entry ends in %s", d->part);
    snprintf(copy, sizeof copy, "%s/model.safetensors", to);
    OK(mg_safetensors_save(copy, e, n, (const char *const[]){ "format", "pt", NULL }, &err));
    mg_safetensors_close(f);
    free(zeros);
    free(e);
    snprintf(path, sizeof path, "%s/config.json", folder_of(d->kind));
    snprintf(copy, sizeof copy, "%s/config.json", to);
    OK(mg_read_file(&text, path, 1 << 20, &err));
    OK(mg_replace_file(copy, text.data, text.len, &err));
    mg_buf_free(&text);
}

static void damaged(void **state) {
    (void)state;
    static const damage all[] = {
        { "nf4", "q_proj.weight.absmax", 0, MG_FORMAT, "scales" },
        { "nf4", "q_proj.weight.absmax", 1, MG_FORMAT, "scales" },
        { "nf4", "q_proj.weight.quant_map", 0, MG_FORMAT, "table" },
        { "nf4", "q_proj.weight.quant_map", 2, MG_FORMAT, "table" },
        { "nf4", "q_proj.weight", 1, MG_FORMAT, "codes" },
        { "nf4", "q_proj.weight.quant_state.bitsandbytes__nf4", 0, MG_FORMAT, "q_proj" },
        { "nf4", "q_proj.weight.quant_state.bitsandbytes__nf4", 1, MG_FORMAT, "q_proj" },
        { "nf4", "q_proj.weight.quant_state.bitsandbytes__nf4", 2, MG_FORMAT, "q_proj" },
        { "nf4_nested", "up_proj.weight.nested_absmax", 1, MG_FORMAT, "scales" },
        { "nf4_nested", "up_proj.weight.nested_quant_map", 0, MG_FORMAT, "scales" },
        { "int8", "up_proj.SCB", 1, MG_FORMAT, "scales" },
        { "int8", "up_proj.SCB", 0, MG_UNSUPPORTED, "up_proj" },
        { "int8", "up_proj.weight", 1, MG_FORMAT, "codes" },
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        mg_model        *m = NULL;
        char            *folder = make_temp_folder();
        mg_model_options o = { .positions = 64 };
        write_damaged(folder, &all[i]);
        mg_status st = mg_model_open(&m, folder, &o, &err);
        if (!st || (st != all[i].status && st != MG_UNSUPPORTED) || !strstr(err.text, all[i].named))
            fail_msg("%s of %s, %d: E%d: %s", all[i].part, all[i].kind, all[i].how, (int)st, st ? err.text : "opened");
        remove_temp_folder(folder);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(as_transformers), cmocka_unit_test(damaged) };
    mg_threads_start(2);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
