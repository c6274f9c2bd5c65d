"""The tiny reference models of all architectures through GGUF: transformers loads the folder that comes back, llama.cpp the file.

    export_archs.py MIGAKI GOLDEN [NAME...]

GOLDEN is the folder of unpacked references (build/reference/golden).  Each gets a tokenizer of bytes.  Logits of 24 tokens:
transformers on the folder within 1e-4 of the largest, llama.cpp on the f32 file within 1e-3 (it keeps its cache in half precision).
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

import torch
import transformers
from transformers import AutoModelForCausalLM

NAMES = ["llama2", "llama3", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "gpt2", "gpt_neox", "gemma", "longrope"]
SIZES = dict(vocab_size=320, hidden_size=64, intermediate_size=128, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=128, pad_token_id=0, bos_token_id=0, eos_token_id=1)
LONGROPE = dict(rope_type="longrope", rope_theta=10000.0, short_factor=[1 + .1 * i for i in range(8)], long_factor=[2 + .3 * i for i in range(8)],
                original_max_position_embeddings=16)
# no reference has these: random numbers.  Longer than 16 tokens is long for both sides.
MADE = {
    "gemma": lambda: (transformers.GemmaForCausalLM, transformers.GemmaConfig(**SIZES, head_dim=32)),
    "longrope": lambda: (transformers.Phi3ForCausalLM, transformers.Phi3Config(**SIZES, rope_parameters=LONGROPE, original_max_position_embeddings=16)),
}


def tokenizer(folder):
    from tokenizers.pre_tokenizers import ByteLevel
    vocab = {"<s>": 0, "</s>": 1}
    shown = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    moved = 0
    for byte in range(256):
        vocab[chr(byte if byte in shown else 256 + moved)] = byte + 2
        moved += byte not in shown
    vocab["th"] = 258
    assert set(ByteLevel.alphabet()) <= set(vocab)
    added = [{"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
             for t, i in (("<s>", 0), ("</s>", 1))]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    json.dump({"version": "1.0", "added_tokens": added, "normalizer": None, "pre_tokenizer": level, "post_processor": None, "decoder": level,
               "model": {"type": "BPE", "merges": ["t h"], "vocab": vocab}}, open(f"{folder}/tokenizer.json", "w"))
    json.dump({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}, open(f"{folder}/tokenizer_config.json", "w"))


@torch.no_grad()
def logits(folder, ids):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    return model(torch.tensor([ids])).logits[0].float()


def in_llama_cpp(path, ids):
    import numpy as np
    from llama_cpp import Llama
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        m = Llama(path, n_ctx=128, logits_all=True, verbose=False, n_threads=2, type_k=0, type_v=0, flash_attn=False)
        m.eval(ids)
        return torch.tensor(np.array(m.scores[: len(ids)]))
    finally:
        os.dup2(kept, 2)


def make(name, folder):
    torch.manual_seed(1)
    model_class, config = MADE[name]()
    model = model_class(config)
    for p in model.parameters():
        p.data = torch.randn_like(p) * (.08 if p.dim() > 1 else .3) + (.7 if p.dim() == 1 and name != "gemma" else 0)
    model.save_pretrained(folder)


def far(a, b):
    return ((a - b).abs().max() / b.abs().max()).item()


def main(migaki, golden, *names):
    work = tempfile.mkdtemp()
    failed = []
    ids = [5, 40, 300 % 259, 77, 12, 200, 99, 33, 180, 7, 250, 64, 3, 18, 222, 111, 45, 90, 140, 66, 31, 8, 170, 219]
    run = lambda *a: subprocess.run([migaki, "export", *a, "--overwrite", "-q"], check=True, capture_output=True, text=True)
    for name in names or NAMES:
        # a general.name of "phi3" would make llama.cpp look for that model's own tokens
        base, file, back = (f"{work}/{name}/{end}" for end in ("tiny", "tiny.gguf", "back"))
        if name in MADE:
            make(name, base)
        else:
            shutil.copytree(f"{golden}/{name}", base, dirs_exist_ok=True)
        if name == "gemma2":  # the reference's query_pre_attn_scalar is one that GGUF cannot say
            c = json.load(open(f"{base}/config.json"))
            json.dump(c | {"query_pre_attn_scalar": c["head_dim"]}, open(f"{base}/config.json", "w"))
        tokenizer(base)
        n = 8 if name == "mistral" else len(ids)  # llama.cpp's files of Mistral have no window, which is 8 here
        want = logits(base, ids[:n])
        try:
            run("-m", base, "--to", "gguf:f32", "-o", file, *(["--max_kl", "9"] if name == "mistral" else []))
            run("-m", file, "--to", "hf", "-o", back)
            theirs = far(logits(back, ids[:n]), want)
        except subprocess.CalledProcessError as e:
            print(f"{name}: {e.stderr}")
            failed.append(name)
            continue
        try:
            cpp = far(in_llama_cpp(file, ids[:n]), want)
        except Exception as e:
            print(f"{name}: llama.cpp: {e!r}")
            cpp = float("inf")
        print(f"{name}: transformers on the folder from GGUF {theirs:.1e}, llama.cpp on the GGUF file {cpp:.1e}", flush=True)
        if not (theirs <= 1e-4 and cpp <= 1e-3):
            failed.append(name)
    shutil.rmtree(work)
    raise SystemExit(f"failed: {failed}" if failed else 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
