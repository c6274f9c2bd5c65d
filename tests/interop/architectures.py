#!/usr/bin/env python3
"""architectures.py -- every architecture against transformers and llama.cpp, by files that neither of us wrote.

    PEER_PYTHON tests/interop/architectures.py build/release/bin/logits build/reference/golden

1. Random models of configurations that the golden ones do not cover, made and saved by transformers: logits of ours
   and theirs (fp32, one text of 40 tokens).
2. GGUF files of the golden models, made here with the gguf package by the rules of llama.cpp's converter: our logits
   from the GGUF file against ours from the folder (bits should be equal), and against llama-cpp-python's (whose
   cache is fp16).  The first prints 0.0 everywhere but for Mistral, whose GGUF files know no window.

Needs torch, transformers, safetensors, gguf and llama-cpp-python.  Its numbers stand in docs/MODELS.md."""

import json, os, shutil, subprocess, sys, tempfile
import gguf, numpy as np, torch, transformers as tf
from llama_cpp import Llama
from safetensors.numpy import load_file

logits, golden, work = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2]), tempfile.mkdtemp()


def ours(path, ids, vocab):
    out = f"{work}/out.bin"
    subprocess.run([logits, path, out] + [str(i) for i in ids], check=True)
    return np.fromfile(out, np.float32).reshape(len(ids), vocab)


def distance(x, y):
    return float(np.abs(x - y).max() / np.abs(y).max())


def permute(w, heads, hd):  # LlamaModel.permute
    return w.reshape(heads, 2, hd // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)

def convert(src, dst, arch):
    c = json.load(open(f"{src}/config.json")); t = load_file(f"{src}/model.safetensors")
    g = lambda *k: next((c[x] for x in k if c.get(x) is not None), None)
    D, L, H = g("hidden_size","n_embd"), g("num_hidden_layers","n_layer"), g("num_attention_heads","n_head")
    K = g("num_key_value_heads") or H; hd = g("head_dim") or D // H
    w = gguf.GGUFWriter(dst, arch)
    w.add_context_length(g("max_position_embeddings","n_positions")); w.add_embedding_length(D); w.add_block_count(L)
    w.add_feed_forward_length(g("intermediate_size","n_inner") or 4*D); w.add_head_count(H); w.add_vocab_size(c["vocab_size"])
    rms = g("rms_norm_eps")
    if rms: w.add_layer_norm_rms_eps(rms)
    else: w.add_layer_norm_eps(g("layer_norm_eps","layer_norm_epsilon"))
    if arch not in ("gpt2","gptneox","bert"): w.add_head_count_kv(K)
    if g("head_dim"):
        w.add_key_length(hd)
        w.add_value_length(hd)
    rope = c.get("rope_parameters") or {}
    if rope:
        w.add_rope_freq_base(rope["rope_theta"]); w.add_rope_dimension_count(int(hd * rope.get("partial_rotary_factor", 1)))
    if arch == "gptneox": w.add_parallel_residual(c.get("use_parallel_residual", True))
    if arch == "gemma2":
        w.add_attn_logit_softcapping(c["attn_logit_softcapping"]); w.add_final_logit_softcapping(c["final_logit_softcapping"]); w.add_sliding_window(c["sliding_window"])
    if arch == "bert": w.add_causal_attention(False)
    if arch == "phi3": w.add_rope_scaling_orig_ctx_len(c["original_max_position_embeddings"]); w.add_sliding_window(c.get("sliding_window") or 0)
    if arch == "phi3" and (rope.get("short_factor")):
        w.add_rope_scaling_attn_factors(rope["_attn"]) ; w.add_tensor("rope_factors_long.weight", np.array(rope["long_factor"], np.float32)); w.add_tensor("rope_factors_short.weight", np.array(rope["short_factor"], np.float32))
    names = gguf.get_tensor_name_map(getattr(gguf.MODEL_ARCH, arch.upper()), L)
    for name, x in t.items():
        if name.startswith("pooler."): continue
        x = x.astype(np.float32)
        if arch in ("llama",) and ("q_proj" in name or "k_proj" in name): x = permute(x, H if "q_proj" in name else K, hd)
        if arch == "gpt2" and name.endswith(("c_attn.weight","c_proj.weight","c_fc.weight")): x = x.T
        if arch.startswith("gemma") and name.endswith("norm.weight"): x = x + 1
        if arch == "gptneox" and "query_key_value" in name:
            y = x.reshape(H, 3, hd, -1); y = np.concatenate([y[:, i].reshape(H * hd, -1) for i in range(3)]); x = y.reshape(x.shape)
        new = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if new is None and name == "embed_out.weight": new = "output.weight"
        assert new, name
        w.add_tensor(new, np.ascontiguousarray(x))
    w.add_tokenizer_model("llama"); V = c["vocab_size"]
    w.add_token_list(["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)] + [f"t{i}" for i in range(V - 259)])
    w.add_token_scores([0.0] * V); w.add_token_types([2, 3, 3] + [6] * 256 + [1] * (V - 259)); w.add_bos_token_id(1); w.add_eos_token_id(2)
    w.add_add_bos_token(False)
    w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()


base=dict(vocab_size=320,hidden_size=64,intermediate_size=128,num_hidden_layers=3,num_attention_heads=4,num_key_value_heads=2,max_position_embeddings=128)
half=8
lr=dict(rope_type="longrope",rope_theta=10000.0,short_factor=[1+.1*i for i in range(half)],long_factor=[2+.3*i for i in range(half)],original_max_position_embeddings=32)
cases={
 "gemma1":(tf.GemmaForCausalLM,tf.GemmaConfig(**base,head_dim=32)),
 "phi3_long":(tf.Phi3ForCausalLM,tf.Phi3Config(**base,rope_parameters=dict(lr),original_max_position_embeddings=32,pad_token_id=0)),
 "phi3_short":(tf.Phi3ForCausalLM,tf.Phi3Config(**{**base,"max_position_embeddings":256},rope_parameters={**lr,"original_max_position_embeddings":64},original_max_position_embeddings=64,pad_token_id=0)),
 "phi3_window":(tf.Phi3ForCausalLM,tf.Phi3Config(**base,sliding_window=7,pad_token_id=0)),
 "phi4_partial":(tf.Phi3ForCausalLM,tf.Phi3Config(**base,rope_parameters=dict(rope_type="longrope",rope_theta=10000.0,partial_rotary_factor=.75,short_factor=[1+.1*i for i in range(6)],long_factor=[2+.3*i for i in range(6)],original_max_position_embeddings=32),original_max_position_embeddings=32,pad_token_id=0,tie_word_embeddings=True)),
 "neox_serial":(tf.GPTNeoXForCausalLM,tf.GPTNeoXConfig(**{k:v for k,v in base.items() if k!="num_key_value_heads"},use_parallel_residual=False,rotary_pct=1.0)),
 "neox_nobias":(tf.GPTNeoXForCausalLM,tf.GPTNeoXConfig(**{k:v for k,v in base.items() if k!="num_key_value_heads"},attention_bias=False,hidden_act="gelu_fast")),
 "qwen2_window":(tf.Qwen2ForCausalLM,tf.Qwen2Config(**base,use_sliding_window=True,sliding_window=6,max_window_layers=1)),
 "qwen3_bias":(tf.Qwen3ForCausalLM,tf.Qwen3Config(**base,head_dim=32,attention_bias=True)),
 "llama_bias_yarn":(tf.LlamaForCausalLM,tf.LlamaConfig(**base,attention_bias=True,mlp_bias=True,rope_parameters=dict(rope_type="yarn",rope_theta=10000.0,factor=4.0,original_max_position_embeddings=32))),
 "gpt2_wide":(tf.GPT2LMHeadModel,tf.GPT2Config(vocab_size=320,n_embd=64,n_layer=2,n_head=4,n_positions=64,n_inner=96)),
 "mistral_nowin":(tf.MistralForCausalLM,tf.MistralConfig(**base,sliding_window=None)),
}


def variants():
    ids = list(range(3, 43))
    torch.manual_seed(1)
    for name, (model_class, config) in cases.items():
        m = model_class(config).eval()
        for p in m.parameters():
            ones = p.dim() == 1 and not name.startswith("gemma")
            p.data = torch.randn_like(p) * (.08 if p.dim() > 1 else .3) + (.7 if ones else 0)
        m.save_pretrained(f"{work}/{name}")
        with torch.no_grad():
            want = m(torch.tensor([ids])).logits[0].numpy()
        print(f"{name:16s} {distance(ours(f'{work}/{name}', ids, 320), want):.1e}", flush=True)


def files():
    for name, arch in (("llama2", "llama"), ("mistral", "llama"), ("qwen2", "qwen2"), ("qwen3", "qwen3"), ("gemma2", "gemma2"),
                       ("phi3", "phi3"), ("gpt2", "gpt2"), ("gpt_neox", "gptneox")):
        folder, file = f"{work}/hf-{name}", f"{work}/{name}.gguf"
        shutil.copytree(f"{golden}/{name}", folder)
        c = json.load(open(f"{folder}/config.json"))
        if "query_pre_attn_scalar" in c:  # GGUF cannot say it: both sides take the head width
            c["query_pre_attn_scalar"] = c["head_dim"]
            json.dump(c, open(f"{folder}/config.json", "w"))
        convert(folder, file, arch)
        io = load_file(f"{golden}/{name}/io.safetensors")
        ids = io["input_ids"][0][io["attention_mask"][0] == 1].tolist()
        m = Llama(file, n_ctx=64, logits_all=True, verbose=False)
        m.eval(ids)
        mine = ours(file, ids, c["vocab_size"])
        print(f"{name:10s} GGUF and folder {distance(mine, ours(folder, ids, c['vocab_size'])):.1e}   "
              f"llama.cpp {distance(mine, np.array(m.scores[:len(ids)])):.1e}", flush=True)


try:
    variants()
    files()
finally:
    shutil.rmtree(work)
