/* test_mixture.c -- several tasks in one run: it learns, goes on bit for bit after a stop, and refuses what makes no sense. */
#include "rig.h"

#include "data/batch.h"
#include "infer/heads.h"

/* Records that can be learnt from a letter. */
static const char *records(rig *r, const char *name, int kind) {
    mg_buf b = { 0 };
    for (int i = 0; i < 24; i++) {
        char c = (char)('a' + i % 3);
        if (kind == 0) mg_buf_printf(&b, "{\"text\": \"%c%c%c\", \"label\": \"%s\"}\n", c, c, c, c == 'a' ? "no" : "yes");
        if (kind == 1) mg_buf_printf(&b, "{\"text\": \"%c%c\", \"label\": %d.5}\n", c, c, i % 3);
        if (kind == 2) mg_buf_printf(&b, "{\"tokens\": [\"x\", \"%c\", \"y\"], \"tags\": [\"O\", \"B-%c\", \"O\"]}\n", c, c);
        if (kind == 3) mg_buf_printf(&b, "{\"context\": \"x y %c z\", \"question\": \"?\", \"answer\": \"%c\"}\n", c, c);
        if (kind == 4) mg_buf_printf(&b, "{\"prompt\": \"%c\", \"completion\": \"%c%c\"}\n", c, c, c);
    }
    const char *path = rig_path(r, name);
    rig_write(path, b.data);
    mg_buf_free(&b);
    return path;
}

#define MIX(r) "model_name_or_path", model, "dataset", list, "val_size", "6", "per_device_train_batch_size", "4", "append_eos", "false", \
               "gradient_accumulation_steps", "2", "max_steps", "30", "learning_rate", "1e-2", "save_steps", "10", "seed", "3"

static void several_tasks_learn_and_go_on(void **state) {
    (void)state;
    rig r;
    rig_open(&r);
    const char *model = rig_golden(&r, "llama2");
    char        list[2000];
    snprintf(list, sizeof list, "%s,%s,%s,%s,%s", records(&r, "cls.jsonl", 0), records(&r, "num.jsonl", 1), records(&r, "tag.jsonl", 2),
             records(&r, "ask.jsonl", 3), records(&r, "gen.jsonl", 4));
    TRAIN(&r, "whole", MIX(&r));
    assert_true(r.eval[r.evals - 1] < r.eval[0] * 0.8);
    /* stopped in the middle, then on: bit for bit */
    SET(&r, "output_dir", rig_path(&r, "parts"), MIX(&r));
    r.stop_after = 14;
    assert_int_equal(rig_train(&r), MG_STOPPED);
    r.stop_after = 0;
    TRAIN(&r, "parts", MIX(&r), "resume_from_checkpoint", "last");
    assert_true(rig_distance(&r, "whole", "parts") == 0);
    /* each task as a folder of its own for PEFT, with the head that it names */
    mg_adapter_config c;
    mg_heads          h;
    assert_ok(mg_adapter_read_config(&c, rig_path(&r, "whole/tasks/tag"), &r.err), r.err);
    assert_string_equal(c.task_type, "TOKEN_CLS");
    assert_ok(mg_heads_read(&h, rig_path(&r, "whole/tasks/tag"), &c, &r.err), r.err);
    assert_true(h.alone && h.n == 1 && h.head[0].labels.n == 4);
    mg_heads_free(&h);
    assert_ok(mg_adapter_read_config(&c, rig_path(&r, "whole"), &r.err), r.err);
    assert_ok(mg_heads_read(&h, rig_path(&r, "whole"), &c, &r.err), r.err);
    assert_true(!h.alone && h.n == 4 && mg_heads_find(&h, "ask") != NULL);
    mg_heads_free(&h);
    /* weights say how an epoch is made up, packing works, another weight is another run */
    TRAIN(&r, "weighted", MIX(&r), "dataset_weight", "1,1,1,1,4", "packing", "true", "max_steps", "4");
    SET(&r, "output_dir", rig_path(&r, "wrong"), MIX(&r), "dataset_weight", "1,2");
    assert_fails(rig_train(&r), r.err, MG_CONFIG, "dataset_weight");
    SET(&r, "output_dir", rig_path(&r, "wrong"), MIX(&r), "dataset_task", "poetry");
    assert_fails(rig_train(&r), r.err, MG_CONFIG, "'poetry' is not known");
    SET(&r, "output_dir", rig_path(&r, "wrong"), MIX(&r), "dataset_weight", "1,1,1,1,1", "sampling_temperature", "2");
    assert_fails(rig_train(&r), r.err, MG_CONFIG, "keep one of the two");
    rig_close(&r);
}

/* 300 and 30 samples: in proportion to n, to sqrt(n), and over epochs each sample equally often. */
static void shares_are_drawn_as_said(void **state) {
    (void)state;
    mg_sample        sample[330];
    mg_dataset       d = { .sample = sample, .n = 330 };
    mg_batch_options o = { .seed = 5, .shuffle = true, .batch_size = 4, .gradient_accumulation_steps = 2 };
    mg_portion       p[2] = { { 0, 300, 0.76 }, { 300, 30, 0.24 } };
    int              seen[330] = { 0 };
    mg_error         err;
    for (int i = 0; i < 330; i++) sample[i] = (mg_sample){ .n = 10, .n_labels = 1 };
    for (uint64_t epoch = 0; epoch < 6; epoch++) {
        mg_epoch e, again;
        assert_ok(mg_plan_mixture(&e, &d, p, 2, &o, epoch, &err), err);
        assert_ok(mg_plan_mixture(&again, &d, p, 2, &o, epoch, &err), err);
        assert_memory_equal(e.order, again.order, e.n * sizeof *e.order);
        int small = 0;
        for (size_t i = 0; i < e.n; i++) seen[e.order[i]]++, small += e.order[i] >= 300;
        assert_int_equal(small, 79); /* 0.24 of 330 */
        for (size_t b = 0; b < e.n_micro; b++)
            for (uint32_t k = e.micro_start[b]; k < e.micro_start[b + 1]; k++)
                assert_int_equal(e.order[k] >= 300, e.order[e.micro_start[b]] >= 300); /* one share */
        mg_epoch_free(&e);
        mg_epoch_free(&again);
    }
    for (int i = 0; i < 330; i++) assert_in_range(seen[i], i < 300 ? 5 : 15, i < 300 ? 6 : 16);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(several_tasks_learn_and_go_on), cmocka_unit_test(shares_are_drawn_as_said) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
