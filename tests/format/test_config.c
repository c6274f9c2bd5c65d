/* test_config.c -- config.json: both generations, what transformers takes for keys that are left out, and every
 * value that would be computed otherwise than it says is refused by name. */
#include "support.h"

#include "format/config.h"

static mg_error err;

static mg_status read_config(mg_config *c, const char *text) {
    mg_json   j;
    mg_status st = mg_json_parse(&j, text, strlen(text), "config.json", &err);
    if (st) return st;
    st = mg_config_from_json(c, &j, "config.json", &err);
    mg_json_free(&j);
    return st;
}

#define SIZES "\"vocab_size\":320,\"hidden_size\":64,\"num_hidden_layers\":2,\"num_attention_heads\":4,\"intermediate_size\":128"
#define OF(type, more) "{\"model_type\":\"" type "\"," SIZES more "}"

static void left_out_keys_are_the_class_defaults(void **state) {
    (void)state;
    mg_config c;
    assert_ok(read_config(&c, OF("llama", "")), err);
    assert_true(c.kv_heads == 4 && c.hd == 16 && c.rope.theta == 10000 && c.eps == 1e-6 && !c.tied && !c.window && !c.labels);
    mg_config_free(&c);
    assert_ok(read_config(&c, OF("mistral", ",\"num_key_value_heads\":2")), err);
    assert_true(c.window == 4096 && c.windowed[0] && c.windowed[1]);
    mg_config_free(&c);
    assert_ok(read_config(&c, OF("mistral", ",\"num_key_value_heads\":2,\"sliding_window\":null")), err);
    assert_true(c.window == 0 && !c.windowed[0]);
    mg_config_free(&c);
    assert_ok(read_config(&c, OF("qwen3", ",\"sliding_window\":64")), err);
    assert_true(c.hd == 128 && c.window == 0); /* it must be asked for by use_sliding_window */
    mg_config_free(&c);
    assert_ok(read_config(&c, OF("gemma2", "")), err);
    assert_true(c.tied && c.hd == 256 && c.attention_softcap == 50 && c.final_softcap == 30 && c.query_scale == 256);
    mg_config_free(&c);
    assert_ok(read_config(&c, OF("gemma2", ",\"attn_logit_softcapping\":null")), err);
    assert_true(c.attention_softcap == 0 && c.final_softcap == 30);
    mg_config_free(&c);
    assert_ok(read_config(&c, "{\"model_type\":\"gemma3\",\"text_config\":{\"model_type\":\"gemma3_text\",\"hidden_size\":64,"
                       "\"intermediate_size\":128,\"num_hidden_layers\":2}}"), err);
    assert_true(c.vocab == 262208 && c.heads == 8 && c.kv_heads == 4 && c.hd == 256 && c.has_local && c.rope.theta == 1e6 &&
                c.rope_local.theta == 1e4 && c.tied);
    mg_config_free(&c);
    assert_ok(read_config(&c, OF("gpt_neox", ",\"rotary_emb_base\":5000,\"use_parallel_residual\":false")), err);
    assert_true(c.rope.partial == 0.25 && c.rope.theta == 5000 && c.serial_residual && c.eps == 1e-5);
    mg_config_free(&c);
    assert_ok(read_config(&c, "{\"model_type\":\"gpt2\",\"n_embd\":64,\"n_layer\":2,\"n_head\":4,\"n_inner\":null,\"n_positions\":99}"), err);
    assert_true(c.vocab == 50257 && c.ffn == 256 && c.max_positions == 99 && c.tied && c.eps == 1e-5);
    mg_config_free(&c);
    assert_ok(read_config(&c, OF("llama", ",\"architectures\":[\"LlamaForSequenceClassification\"]")), err);
    assert_int_equal(c.labels, 2);
    mg_config_free(&c);
}

static void both_generations_of_longrope(void **state) {
    (void)state;
    static const char *const texts[] = {
        OF("phi3", ",\"original_max_position_embeddings\":32,\"rope_theta\":1e4,\"rope_scaling\":{\"type\":\"su\",\"short_factor\":"
                   "[1,2,3,4,5,6,7,8],\"long_factor\":[2,3,4,5,6,7,8,9]}"),
        OF("phi3", ",\"rope_parameters\":{\"rope_type\":\"longrope\",\"rope_theta\":1e4,\"original_max_position_embeddings\":32,"
                   "\"short_factor\":[1,2,3,4,5,6,7,8],\"long_factor\":[2,3,4,5,6,7,8,9]}"),
    };
    for (int i = 0; i < 2; i++) {
        mg_config c;
        assert_ok(read_config(&c, texts[i]), err);
        assert_true(c.rope.kind == MG_ROPE_LONGROPE && c.rope.original_positions == 32 && c.rope.long_factor[7] == 9);
        mg_config_free(&c);
    }
}

static void what_would_be_computed_otherwise_is_refused(void **state) {
    (void)state;
    static const struct { const char *text; mg_status st; const char *named; } cases[] = {
        { OF("llama", ",\"quantization_config\":{\"quant_method\":\"gptq\"}"), MG_UNSUPPORTED, "gptq" },
        { OF("llama", ",\"num_local_experts\":8"), MG_UNSUPPORTED, "mixture" },
        { OF("llama", ",\"rope_scaling\":{\"rope_type\":\"mrope\",\"factor\":2}"), MG_UNSUPPORTED, "mrope" },
        { OF("qwen2", ",\"layer_types\":[\"full_attention\",\"linear_attention\"]"), MG_UNSUPPORTED, "linear_attention" },
        { OF("qwen2", ",\"layer_types\":[\"full_attention\"]"), MG_FORMAT, "layer_types" },
        { OF("bert", ",\"position_embedding_type\":\"relative_key\""), MG_UNSUPPORTED, "position_embedding_type" },
        { OF("bert", ",\"is_decoder\":true"), MG_UNSUPPORTED, "is_decoder" },
        { OF("gpt2", ",\"scale_attn_by_inverse_layer_idx\":true"), MG_UNSUPPORTED, "scale_attn_by_inverse_layer_idx" },
        { OF("gemma3_text", ",\"use_bidirectional_attention\":true"), MG_UNSUPPORTED, "use_bidirectional_attention" },
        { OF("phi3", ",\"rope_scaling\":{\"type\":\"longrope\",\"short_factor\":[1],\"long_factor\":[1]}"), MG_FORMAT, "short_factor" },
        { OF("phi3", ",\"partial_rotary_factor\":1e300,\"rope_scaling\":{\"type\":\"longrope\"}"), MG_FORMAT, "partial_rotary_factor" },
        { OF("phi3", ",\"partial_rotary_factor\":-1"), MG_FORMAT, "partial_rotary_factor" },
        { OF("gemma2", ",\"final_logit_softcapping\":-3"), MG_FORMAT, "final_logit_softcapping" },
        { OF("llama", ",\"num_key_value_heads\":3"), MG_FORMAT, "3 KV heads" },
        { OF("llama", ",\"architectures\":[\"LlamaForSequenceClassification\"],\"id2label\":{}"), MG_FORMAT, "id2label" },
        { "{\"vocab_size\":3}", MG_FORMAT, "model_type" },
        { "{\"model_type\":\"llama\"}", MG_FORMAT, "vocabulary" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mg_config c = { .vocab = 77 };
        assert_fails(read_config(&c, cases[i].text), err, cases[i].st, cases[i].named);
        assert_int_equal(c.vocab, 77);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(left_out_keys_are_the_class_defaults),
                                        cmocka_unit_test(both_generations_of_longrope),
                                        cmocka_unit_test(what_would_be_computed_otherwise_is_refused) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
