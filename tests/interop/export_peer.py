"""What export.sh asks of transformers, PEFT and llama.cpp.

    scores MIGAKI FOLDER MODEL ADAPTER   transformers on FOLDER and ours on MODEL (+ ADAPTER): nll of every token
    tokens MIGAKI FOLDER                 AutoTokenizer's ids and chat template against ours
    merged BASE ADAPTER FOLDER           PEFT's merge_and_unload against the weights in FOLDER
    same-gguf A B                        tensors and metadata equal
    greedy MIGAKI MODEL GGUF LORA QUESTIONS exact|near
                                         llama.cpp on GGUF (+ LORA) answers as ours on MODEL
    quantized SOURCE FILE TYPE           llama_model_quantize makes the same tensors

Tolerances: 1e-3 for a token's nll and 1e-4 for their mean, fp32 on both sides; weights 1e-6 of the largest.
"""
import json
import subprocess
import sys
import tempfile
import unicodedata

TEXTS = [
    "What is 3 times 3? It is 9, and BKC is in Kusatsu.",
    "立命館大学びわこ・くさつキャンパスは滋賀県草津市にあります。",
    "To be, or not to be, that is the question: whether 'tis nobler in the mind to suffer",
    "for (int i = 0; i < 10; i++) printf(\"%d\\n\", i);",
]
CHAT = [{"role": "user", "content": "日本の首都は？  What is 2 + 2?"}]


def migaki(binary, *arguments, text=""):
    done = subprocess.run([binary, *arguments], input=text, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{arguments}: {done.stderr}")
    return json.loads(done.stdout)


def load(path):
    import torch
    from transformers import AutoModelForCausalLM
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager").eval()


def demand(ok, what):
    if not ok:
        raise SystemExit(f"failed: {what}")


def scores(binary, folder, model, adapter):
    import torch
    theirs = load(folder)
    worst = means = 0.0
    tokens = 0
    for text in TEXTS:
        ours = migaki(binary, "score", "-m", model, *(["-a", adapter] if adapter else []), "--json", text=text)
        x = torch.tensor([ours["ids"]])
        with torch.no_grad():
            logp = theirs(x).logits[0, :-1].float().log_softmax(-1)
        nll = -logp.gather(1, x[0, 1:, None])[:, 0]
        mine = torch.tensor(ours["nll"])
        worst = max(worst, (mine - nll).abs().max().item())
        means = max(means, (mine.mean() - nll.mean()).abs().item())
        tokens += len(nll)
    print(f"transformers on {folder}: {tokens} tokens, nll differs by at most {worst:.1e}, its mean by {means:.1e}", flush=True)
    demand(worst <= 1e-3 and means <= 1e-4, "scores")


def tokens(binary, folder):
    from transformers import AutoTokenizer
    t = AutoTokenizer.from_pretrained(folder)
    for text in TEXTS + [m["content"] for m in CHAT]:
        ours = migaki(binary, "score", "-m", folder, "--json", text=text)["ids"]
        demand(t(text)["input_ids"] == ours, f"tokens of {text}")
    rendered = subprocess.run([binary, "template", "render", "-m", folder], input=json.dumps(CHAT), capture_output=True, text=True).stdout
    theirs = t.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
    demand(rendered.rstrip("\n") == theirs.rstrip("\n"), f"chat template: {rendered!r} {theirs!r}")
    print(f"AutoTokenizer: ids of {len(TEXTS) + 1} texts and the rendered chat template equal; eos {t.eos_token!r}", flush=True)


def merged(base, adapter, folder):
    from peft import PeftModel
    theirs = PeftModel.from_pretrained(load(base), adapter).merge_and_unload().state_dict()
    ours = load(folder).state_dict()
    demand(set(theirs) == set(ours), "names of weights")
    worst = max(((theirs[k] - ours[k]).abs().max() / theirs[k].abs().max().clamp(min=1e-30)).item() for k in ours)
    print(f"PEFT's merge_and_unload: {len(ours)} weights, largest difference {worst:.1e} of the largest number", flush=True)
    demand(worst <= 1e-6, "merged weights")


def reader(path):
    from gguf import GGUFReader
    return GGUFReader(path)


def same_tensors(a, b):
    import numpy as np
    A, B = ({t.name: t for t in x.tensors} for x in (a, b))
    demand(set(A) == set(B), f"names: {set(A) ^ set(B)}")
    for n in A:
        demand(A[n].tensor_type == B[n].tensor_type, f"{n}: {A[n].tensor_type.name}, {B[n].tensor_type.name}")
        demand(np.array_equal(A[n].data, B[n].data), f"{n}: other bytes")
    return len(A)


def same_gguf(a, b):
    x, y = reader(a), reader(b)
    n = same_tensors(x, y)
    skip = {"general.name"}
    keys = set(x.fields) | set(y.fields)
    for k in keys - skip:
        demand(k in x.fields and k in y.fields and x.fields[k].contents() == y.fields[k].contents(), f"metadata {k}")
    print(f"{a} and {b}: {n} tensors and {len(keys - skip)} metadata values equal", flush=True)


def right(question, answer):
    answer = unicodedata.normalize("NFKC", answer)
    fits = lambda e: any(unicodedata.normalize("NFKC", x) in answer for x in ([e] if isinstance(e, str) else e))
    return all(fits(e) for e in question["expect"]) and not any(fits(r) for r in question.get("reject", []))


def quietly(make):
    """make() with llama.cpp's own lines on stderr thrown away."""
    import os
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        return make()
    finally:
        os.dup2(kept, 2)
        os.close(kept), os.close(null)


def parting(binary, model, peer, prompt, ours, theirs):
    """Where two answers part: by how much, in nats, each side prefers its own token to the other's."""
    import numpy as np
    at = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), None)
    demand(at is not None, "one answer goes on where the other ends")
    head = prompt + ours[:at]
    last = lambda token: migaki(binary, "score", "-m", model, "--json", text=json.dumps({"ids": head + [token]}))["nll"][-1]
    peer.reset()
    peer.eval(head)
    there = np.array(peer.scores[len(head) - 1])
    show = lambda token: peer.detokenize([token]).decode("utf-8", "replace")
    return (f"token {at + 1}, {show(ours[at])!r} here by {last(theirs[at]) - last(ours[at]):.3f} nats, "
            f"{show(theirs[at])!r} there by {there[theirs[at]] - there[ours[at]]:.3f}")


def greedy(binary, model, gguf, lora, questions, how):
    import llama_cpp
    from llama_cpp import Llama
    m = quietly(lambda: Llama(gguf, lora_path=lora or None, n_ctx=512, n_batch=512, verbose=False, n_threads=2, seed=0, logits_all=True))
    same = verdicts = ours_right = theirs_right = 0
    parted = []
    rows = [json.loads(line) for line in open(questions, encoding="utf-8")]
    for row in rows:
        ours = migaki(binary, "generate", "-m", model, "--temperature", "0", "--max_new_tokens", "40", "--json", "-p", row["question"])
        prompt = subprocess.run([binary, "template", "render", "-m", model], capture_output=True, text=True,
                                input=json.dumps([{"role": "user", "content": row["question"]}])).stdout
        ids = m.tokenize(prompt.rstrip("\n").encode() + b"\n", add_bos=False, special=True)
        m.reset()
        out = []
        for token in m.generate(ids, temp=0.0, repeat_penalty=1.0):
            out.append(token)
            if len(out) >= 40 or llama_cpp.llama_vocab_is_eog(llama_cpp.llama_model_get_vocab(m.model), token):
                break
        text = m.detokenize(out).decode("utf-8", "replace")
        mine, other = right(row, ours["text"]), right(row, text)
        ours_right, theirs_right, verdicts = ours_right + mine, theirs_right + other, verdicts + (mine == other)
        if out == ours["ids"]:
            same += 1
        else:
            parted.append(f"    {row['question']}  {parting(binary, model, m, ids, ours['ids'], out)}\n"
                          f"        here {'○' if mine else '×'} {ours['text']}\n        there {'○' if other else '×'} {text}")
    print(f"llama.cpp on {gguf}{' + ' + lora if lora else ''}: {same} of {len(rows)} answers have the same greedy tokens, "
          f"{verdicts} the same verdict; right: ours {ours_right}, llama.cpp {theirs_right}", *parted, sep="\n", flush=True)
    # llama.cpp multiplies packed weights with activations rounded to 8 bits: near ties may part
    demand(same == len(rows) if how == "exact" else same >= 0.8 * len(rows) and verdicts >= 0.9 * len(rows), "greedy answers")


def quantized(source, path, name):
    import ctypes
    import os
    from llama_cpp import llama_cpp as L
    out = tempfile.mktemp(suffix=".gguf")
    p = L.llama_model_quantize_default_params()
    p.ftype = {"q8_0": 7, "q4_0": 2, "q4_k_m": 15, "q5_k_m": 17, "q6_k": 18}[name]
    p.nthread = 2
    failed = quietly(lambda: L.llama_model_quantize(source.encode(), out.encode(), ctypes.byref(p)))
    demand(not failed, "llama_model_quantize")
    n = same_tensors(reader(out), reader(path))
    os.unlink(out)
    print(f"{name}: {n} tensors have the types and bytes of llama_model_quantize", flush=True)


if __name__ == "__main__":
    {"scores": scores, "tokens": tokens, "merged": merged, "same-gguf": same_gguf, "greedy": greedy,
     "quantized": quantized}[sys.argv[1]](*sys.argv[2:])
