/* test_real_curves.c -- LoRA training of three real models, step by step, against transformers + peft.
 *
 * The reference was made in fp32 on the weights dequantised; here the packed GGUF file is trained as it is.  Loss and
 * gradient norm of every step within 1e-3 relative. */
#include "rig.h"

#include "base/json.h"

static void read_reference(mg_json *j, const char *model) {
    mg_error err;
    char     name[100];
    snprintf(name, sizeof name, "real/%s/reference.json", model);
    assert_ok(mg_json_open(j, ref_path(name), 64 << 20, &err), err);
}

/* The rows as a data file: the first 16 labels of each are not trained. */
static void write_rows(const char *path, yyjson_val *rows) {
    mg_buf      b = { 0 };
    size_t      i, n, k, m;
    yyjson_val *row, *id;
    yyjson_arr_foreach(rows, i, n, row) {
        mg_buf_str(&b, "{\"input_ids\": [");
        yyjson_arr_foreach(row, k, m, id) mg_buf_printf(&b, "%s%d", k ? ", " : "", yyjson_get_int(id));
        mg_buf_str(&b, "], \"labels\": [");
        yyjson_arr_foreach(row, k, m, id) mg_buf_printf(&b, "%s%d", k ? ", " : "", k < 16 ? -100 : yyjson_get_int(id));
        mg_buf_str(&b, "]}\n");
    }
    assert_false(b.failed);
    rig_write(path, b.data);
    mg_buf_free(&b);
}

static double number(yyjson_val *object, const char *key) {
    assert_true(yyjson_is_num(yyjson_obj_get(object, key)));
    return yyjson_get_num(yyjson_obj_get(object, key));
}

static void curve_of(const char *model, const char *file) {
    rig     r;
    mg_json j = { 0 };
    char    start[100], steps[20];
    double  worst_loss = 0, worst_norm = 0;
    rig_open(&r);
    read_reference(&j, model);
    yyjson_val *lora = yyjson_obj_get(j.root, "lora"), *wanted = yyjson_obj_get(lora, "steps"), *w;
    size_t      i, n = yyjson_arr_size(wanted);
    const char *rows = rig_path(&r, "rows.jsonl");
    write_rows(rows, yyjson_obj_get(lora, "rows"));
    snprintf(start, sizeof start, "real/%s/lora-start", model);
    snprintf(steps, sizeof steps, "%zu", n);
    TRAIN(&r, "run", "model_name_or_path", model_path(file), "dataset", rows, "adapter", ref_path(start), "dtype", "float32", "learning_rate", "1e-3",
          "lr_scheduler_type", "constant", "warmup_steps", "0", "per_device_train_batch_size", "2", "max_steps", steps, "shuffle", "false",
          "weight_decay", "0.01", "max_grad_norm", "1");
    assert_int_equal(r.steps, n);
    yyjson_arr_foreach(wanted, i, n, w) {
        double loss = number(w, "loss"), norm = number(w, "grad_norm");
        double a = fabs(r.step[i].loss - loss) / loss, b = fabs(r.step[i].grad_norm - norm) / norm;
        if (!(a <= 1e-3) || !(b <= 1e-3))
            fail_msg("%s step %zu: loss %.7g, wanted %.7g; gradient norm %.7g, wanted %.7g", model, i + 1, r.step[i].loss, loss,
                     r.step[i].grad_norm, norm);
        worst_loss = fmax(worst_loss, a);
        worst_norm = fmax(worst_norm, b);
    }
    print_message("%s: %zu steps, loss within %.1e, gradient norm within %.1e\n", model, n, worst_loss, worst_norm);
    mg_json_free(&j);
    rig_close(&r);
}

static void test_smollm2(void **state) {
    (void)state;
    curve_of("smollm2", "smollm2.gguf");
}

static void test_gemma3(void **state) {
    (void)state;
    curve_of("gemma3", "gemma3.gguf");
}

static void test_qwen(void **state) {
    (void)state;
    curve_of("qwen", "qwen.gguf");
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_smollm2), cmocka_unit_test(test_gemma3), cmocka_unit_test(test_qwen) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
