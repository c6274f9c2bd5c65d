/* Frozen bases of every kind: two steps on each type that GGUF files have, on plain folders packed to NF4, FP4 and int8,
 * with modules left out, and on folders that bitsandbytes has packed; a run that goes on half-way has the same bits. */
#include "rig.h"

static void train(rig *r, const char *model, const char *run, const char *steps, const char *resume, const char *const *extra) {
    const char *pairs[40] = { "model_name_or_path", model, "dataset", rig_rows(r, "rows.jsonl", 8, 8, 24, 96), "output_dir", rig_path(r, run),
                              "max_steps", steps, "per_device_train_batch_size", "8", "max_length", "64", "learning_rate", "3e-3", "save_steps", "1" };
    int n = 0;
    while (pairs[n]) n++;
    if (resume) pairs[n++] = "resume_from_checkpoint", pairs[n++] = resume;
    for (int i = 0; extra && extra[i]; i++) pairs[n++] = extra[i];
    rig_set(r, pairs);
}

/* Two steps with a finite, falling loss, once in one go and once stopped between them. */
static void two_steps(rig *r, const char *model, const char *what, const char *const *extra) {
    char whole[80], parts[80];
    snprintf(whole, sizeof whole, "%s-whole", what);
    snprintf(parts, sizeof parts, "%s-parts", what);
    train(r, model, whole, "2", NULL, extra);
    mg_status st = rig_train(r);
    if (st) fail_msg("%s: %s", what, r->err.text);
    assert_int_equal(r->steps, 2);
    for (int i = 0; i < 2; i++)
        if (!isfinite(r->step[i].loss) || !(r->step[i].grad_norm > 0)) fail_msg("%s: loss %g, norm %g", what, r->step[i].loss, r->step[i].grad_norm);
    if (!(r->step[1].loss < r->step[0].loss)) fail_msg("%s: loss %g -> %g", what, r->step[0].loss, r->step[1].loss);
    train(r, model, parts, "2", NULL, extra);
    r->stop_after = 1;
    assert_int_equal(rig_train(r), MG_STOPPED);
    r->stop_after = 0;
    train(r, model, parts, "2", "last", extra);
    assert_ok(rig_train(r), r->err);
    if (rig_distance(r, whole, parts) != 0) fail_msg("%s: the run that went on has other bits", what);
}

static void every_gguf_type(void **state) {
    (void)state;
    rig r;
    int types = 0;
    rig_open(&r);
    for (const mg_format *const *f = mg_formats(); *f; f++) {
        char name[40];
        if ((*f)->gguf_type < 0 || *f == &mg_format_f64) continue;
        snprintf(name, sizeof name, "%s.gguf", (*f)->name);
        two_steps(&r, rig_gguf_of(&r, name, *f, 256), (*f)->name, NULL);
        types++;
    }
    assert_true(types >= 13);
    rig_close(&r);
}

static void packed_while_loading(void **state) {
    (void)state;
    static const char *const cases[][12] = {
        { "load_in_4bit", "true" },
        { "load_in_4bit", "true", "bnb_4bit_quant_type", "fp4", "use_bnb_nested_quant", "true" },
        { "load_in_8bit", "true" },
        { "load_in_8bit", "true", "llm_int8_threshold", "0" },
        { "load_in_8bit", "true", "llm_int8_skip_modules", "down_proj,self_attn" },
    };
    rig r;
    rig_open(&r);
    size_t weights[8];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[40];
        snprintf(name, sizeof name, "case%zu", i);
        two_steps(&r, rig_golden(&r, "llama2"), name, cases[i]);
        weights[i] = r.plan.weights;
    }
    assert_true(weights[0] < weights[2] && weights[2] < weights[4]); /* skipped modules are larger */
    train(&r, rig_golden(&r, "llama2"), "both", "1", NULL, (const char *const[]){ "load_in_8bit", "true", "load_in_4bit", "true", NULL });
    assert_fails(rig_train(&r), r.err, MG_CONFIG, "both set");
    train(&r, rig_gguf(&r, "packed.gguf"), "twice", "1", NULL, (const char *const[]){ "load_in_8bit", "true", NULL });
    assert_fails(rig_train(&r), r.err, MG_CONFIG, "packed as q8_0 already");
    rig_close(&r);
}

/* The tiny models of tests/model/bnb with a tokenizer beside them; their vocabulary is 96. */
static void packed_by_bitsandbytes(void **state) {
    (void)state;
    static const char *const kinds[] = { "nf4", "nf4_nested", "fp4", "int8" };
    static const char *const files[] = { "config.json", "model.safetensors" };
    rig r;
    rig_open(&r);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char        from[200], to[200];
        mg_error    err;
        const char *folder = rig_path(&r, kinds[i]);
        assert_ok(mg_make_folder(folder, &err), err);
        for (size_t k = 0; k < 2; k++) {
            snprintf(from, sizeof from, "tests/model/bnb/%s/%s", kinds[i], files[k]);
            snprintf(to, sizeof to, "%s/%s", kinds[i], files[k]);
            assert_int_equal(symlink(source_path(from), rig_path(&r, to)), 0);
        }
        snprintf(to, sizeof to, "%s/tokenizer.json", kinds[i]);
        rig_write_tokenizer(rig_path(&r, to));
        two_steps(&r, folder, kinds[i], (const char *const[]){ "load_in_4bit", i < 3 ? "true" : "false", NULL });
    }
    rig_close(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_gguf_type), cmocka_unit_test(packed_while_loading), cmocka_unit_test(packed_by_bitsandbytes) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
