#!/usr/bin/env python3
"""architectures.py -- every architecture against transformers and llama.cpp, by files that neither of us wrote.

    PEER_PYTHON tests/interop/architectures.py BUILD/bin REFERENCE/golden

1. Random models of configurations that the golden ones do not cover, made and saved by transformers: logits of one
   text of 40 tokens, loss and the gradient of every weight, ours and theirs (fp32).  BERT and Gemma 1 as classifiers, too.
2. GGUF files of the golden models and of some of these, made here with the gguf package by the rules of llama.cpp's
   converter: our logits from the GGUF file against ours from the folder (bits should be equal), and against
   llama-cpp-python's (whose cache is fp16).  The first prints 0.0 everywhere but for Mistral, whose GGUF files know no
   window.  BERT's are compared by the vector of a text, the mean of its hidden states.

BUILD/bin holds the programs logits and gradients (cmake --build BUILD --target logits gradients).  Needs torch,
transformers, safetensors, gguf and llama-cpp-python.  Fails beyond 1e-5 (logits), 1e-4 (gradients, of each one's
largest number) and 2e-3 (llama.cpp).  Its numbers stand in docs/MODELS.md."""

import json, math, os, shutil, subprocess, sys, tempfile
import gguf, numpy as np, torch, transformers as tf
from llama_cpp import Llama
from safetensors.numpy import load_file

programs, golden, work = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2]), tempfile.mkdtemp()
IDS = list(range(3, 43))
failed = []


def hold(what, found, allowed):
    if not found <= allowed: failed.append(f"{what}: {found:.1e} > {allowed:.0e}")
    return found


def ours(path, ids, width):
    """Logits [len(ids), width]; of an encoder one vector [1, width]."""
    out = f"{work}/out.bin"
    subprocess.run([f"{programs}/logits", path, out] + [str(i) for i in ids], check=True)
    return np.fromfile(out, np.float32).reshape(-1, width)


def our_gradients(path, ids, label):
    out = f"{work}/out.bin"
    lines = subprocess.run([f"{programs}/gradients", path, out, str(label)] + [str(i) for i in ids], check=True,
                           capture_output=True, text=True).stdout.split("\n")
    numbers, at, grads = np.fromfile(out, np.float32), 0, {}
    for line in lines[1:-1]:
        name, rows, cols = line.split()
        n = int(rows) * int(cols)
        grads[name], at = numbers[at:at + n].reshape(int(rows), int(cols)), at + n
    return float(lines[0].split()[1]), grads


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
    rope = c.get("rope_parameters") or c.get("rope_scaling") or {}
    if rope:
        w.add_rope_freq_base(rope["rope_theta"]); w.add_rope_dimension_count(int(hd * rope.get("partial_rotary_factor", 1)))
    if arch == "gptneox": w.add_parallel_residual(c.get("use_parallel_residual", True))
    if arch == "gemma2":
        w.add_attn_logit_softcapping(c["attn_logit_softcapping"]); w.add_final_logit_softcapping(c["final_logit_softcapping"]); w.add_sliding_window(c["sliding_window"])
    if arch == "bert":
        w.add_causal_attention(False); w.add_pooling_type(gguf.PoolingType.MEAN); w.add_token_type_count(c["type_vocab_size"])
    if arch == "phi3": w.add_rope_scaling_orig_ctx_len(c["original_max_position_embeddings"]); w.add_sliding_window(c.get("sliding_window") or 0)
    if arch == "phi3" and (rope.get("short_factor")):
        scale = c["max_position_embeddings"] / c["original_max_position_embeddings"]
        w.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(scale) / math.log(c["original_max_position_embeddings"])))
        for kind in ("long", "short"): w.add_tensor(f"rope_factors_{kind}.weight", np.array(rope[f"{kind}_factor"], np.float32))
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
    V = c["vocab_size"]; w.add_tokenizer_model("llama")
    w.add_token_list(["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)] + [f"t{i}" for i in range(V - 259)])
    w.add_token_scores([0.0] * V); w.add_token_types([2, 3, 3] + [6] * 256 + [1] * (V - 259)); w.add_bos_token_id(1); w.add_eos_token_id(2)
    w.add_add_bos_token(False)
    w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()


base=dict(vocab_size=320,hidden_size=64,intermediate_size=128,num_hidden_layers=3,num_attention_heads=4,num_key_value_heads=2,max_position_embeddings=128)
half=8
lr=dict(rope_type="longrope",rope_theta=10000.0,short_factor=[1+.1*i for i in range(half)],long_factor=[2+.3*i for i in range(half)],original_max_position_embeddings=32)
bert=dict(vocab_size=320,hidden_size=64,intermediate_size=128,num_hidden_layers=3,num_attention_heads=4,max_position_embeddings=128,num_labels=3)
cases={
 "gemma1":(tf.GemmaForCausalLM,tf.GemmaConfig(**base,head_dim=32)),
 "gemma1_class":(tf.GemmaForSequenceClassification,tf.GemmaConfig(**base,head_dim=32,num_labels=3,pad_token_id=0)),
 "bert":(tf.BertForSequenceClassification,tf.BertConfig(**bert)),
 "bert_tanh":(tf.BertForSequenceClassification,tf.BertConfig(**bert,hidden_act="gelu_new")),
 "phi3_long":(tf.Phi3ForCausalLM,tf.Phi3Config(**base,rope_parameters=dict(lr),original_max_position_embeddings=32,pad_token_id=0)),
 "phi3_short":(tf.Phi3ForCausalLM,tf.Phi3Config(**{**base,"max_position_embeddings":1024},rope_parameters={**lr,"original_max_position_embeddings":512},original_max_position_embeddings=512,pad_token_id=0)),
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


def their_gradients(m, ids, label):
    """Loss and the gradients by name, matrices turned as a Linear has them."""
    conv = {f"{n}.weight" for n, x in m.named_modules() if type(x).__name__ == "Conv1D"}
    x = torch.tensor([ids])
    loss = m(x, labels=torch.tensor([label]) if m.config.architectures[0].endswith("Classification") else x).loss
    loss.backward()
    return loss.item(), {n: (p.grad.T if n in conv else p.grad).numpy() for n, p in m.named_parameters()}


def gradients(name, m):
    loss, want = their_gradients(m, IDS, 2)
    mine, got = our_gradients(f"{work}/{name}", IDS, 2)
    hold(f"{name}: loss", abs(mine - loss) / loss, 1e-5)
    got = {{"embed_out.weight": "lm_head.weight"}.get(n, n): x for n, x in got.items()}  # the name in NeoX's files
    if set(got) != set(want): failed.append(f"{name}: gradients of {sorted(set(got) ^ set(want))}")
    # a bias of k changes no softmax: zero but for rounding, on both sides
    noise = 1e-6 * max(np.abs(w).max() for w in want.values())
    far = {n: float(np.abs(got[n] - w.reshape(got[n].shape)).max() / max(np.abs(w).max(), noise)) for n, w in want.items()
           if n in got and max(np.abs(w).max(), np.abs(got[n]).max()) > noise}
    return hold(f"{name}: gradients", max(far.values()), 1e-4), len(far), len(want)


def variants():
    torch.manual_seed(1)
    for name, (model_class, config) in cases.items():
        m = model_class(config).eval()
        for p in m.parameters():
            ones = p.dim() == 1 and not name.startswith("gemma")
            p.data = torch.randn_like(p) * (.08 if p.dim() > 1 else .3) + (.7 if ones else 0)
        m.save_pretrained(f"{work}/{name}")
        m.config.architectures = [model_class.__name__]
        with torch.no_grad():
            x = torch.tensor([IDS])
            want = m.bert(x).last_hidden_state[0].mean(0)[None].numpy() if hasattr(m, "bert") else None
            if want is None and not name.endswith("class"): want = m(x).logits[0].numpy()
        far = hold(f"{name}: logits", distance(ours(f"{work}/{name}", IDS, want.shape[1]), want), 1e-5) if want is not None else None
        grad, n, all_of = gradients(name, m)
        print(f"{name:16s} {'vector' if hasattr(m, 'bert') else 'logits'} {'-' if far is None else f'{far:.1e}':8s} "
              f"gradients {grad:.1e} ({all_of} weights{f', {all_of - n} zero' if n < all_of else ''})", flush=True)


FILES = [("llama2", "llama"), ("mistral", "llama"), ("qwen2", "qwen2"), ("qwen3", "qwen3"), ("gemma2", "gemma2"), ("phi3", "phi3"),
         ("gpt2", "gpt2"), ("gpt_neox", "gptneox"), ("bert", "bert")]
MADE = [("gemma1", "gemma"), ("phi3_long", "phi3"), ("phi3_short", "phi3")]


def quietly(make):
    """make() with llama.cpp's own lines on stderr thrown away."""
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try: return make()
    finally:
        os.dup2(kept, 2); os.close(kept); os.close(null)


def llama_cpp(file, ids, encoder):
    if encoder:
        m = Llama(file, n_ctx=64, embedding=True, verbose=False)
        m.tokenize = lambda *a, **k: ids
        return np.array(m.embed("", normalize=False), np.float32).reshape(1, -1)
    m = Llama(file, n_ctx=64, logits_all=True, verbose=False)
    m.eval(ids)
    return np.array(m.scores[:len(ids)])


def compare_file(name, arch, folder, ids):
    file, c = f"{work}/{name}.gguf", json.load(open(f"{folder}/config.json"))
    convert(folder, file, arch)
    width = c["hidden_size"] if arch == "bert" else c["vocab_size"]
    mine = ours(file, ids, width)
    same = distance(mine, ours(folder, ids, width))
    far = distance(mine, quietly(lambda: llama_cpp(file, ids, arch == "bert")))
    # longrope stretches attention by a number that a GGUF file holds in fp32
    hold(f"{name}: GGUF and folder", same, 1 if name == "mistral" else 1e-6 if name.startswith("phi3_") else 0)
    hold(f"{name}: llama.cpp", far, 2e-3)
    print(f"{name:10s} GGUF and folder {same:.1e}   llama.cpp {far:.1e}", flush=True)


def files():
    for name, arch in FILES:
        folder = f"{work}/hf-{name}"
        shutil.copytree(f"{golden}/{name}", folder)
        c = json.load(open(f"{folder}/config.json"))
        if "query_pre_attn_scalar" in c:  # GGUF cannot say it: both sides take the head width
            c["query_pre_attn_scalar"] = c["head_dim"]
            json.dump(c, open(f"{folder}/config.json", "w"))
        io = load_file(f"{golden}/{name}/io.safetensors")
        compare_file(name, arch, folder, io["input_ids"][0][io["attention_mask"][0] == 1].tolist())
    for name, arch in MADE:
        compare_file(name, arch, f"{work}/{name}", IDS)


try:
    variants()
    files()
finally:
    shutil.rmtree(work)
sys.exit("\n".join(["failed:"] + failed) if failed else 0)
