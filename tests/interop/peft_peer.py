"""What peft.sh asks of transformers and PEFT.

    base GGUF FOLDER                        the weights of a GGUF file as a folder in fp32
    ours MIGAKI BASE RUN TITLE              PEFT loads our run; nll of both sides, tokenizers of both sides
    theirs MIGAKI HF GGUF NEW TARGETS R RS  PEFT makes an adapter with random numbers; nll of both sides
    same A B                                two adapters are equal bit for bit

Tolerances: 1e-3 for a token's nll and 1e-4 for their mean, fp32 on both sides.
"""
import json
import os
import subprocess
import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

TEXTS = [
    "What is 3 times 3? It is 9, and BKC is in Kusatsu.",
    "立命館大学びわこ・くさつキャンパスは滋賀県草津市にあります。",
    "To be, or not to be, that is the question: whether 'tis nobler in the mind to suffer",
    "for (int i = 0; i < 10; i++) printf(\"%d\\n\", i);",
]


def load(path):
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager")
    return model.eval()


def migaki(binary, *arguments, text):
    done = subprocess.run([binary, *arguments], input=text, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{arguments}: {done.stderr}")
    return json.loads(done.stdout)


@torch.no_grad()
def nll(model, ids):
    x = torch.tensor([ids])
    logp = model(x).logits[0, -len(ids):-1].float().log_softmax(-1)  # behind virtual tokens
    return -logp.gather(1, x[0, 1:, None])[:, 0]


def compare(title, model, binary, base, adapter):
    worst = means = effect = 0.0
    tokens = 0
    for text in TEXTS:
        ours = migaki(binary, "score", "-m", base, "-a", adapter, "--json", text=text)
        plain = migaki(binary, "score", "-m", base, "--json", text=text)
        mine, theirs = torch.tensor(ours["nll"]), nll(model, ours["ids"])
        worst = max(worst, (mine - theirs).abs().max().item())
        means = max(means, (mine.mean() - theirs.mean()).abs().item())
        effect = max(effect, (mine - torch.tensor(plain["nll"])).abs().max().item())
        tokens += len(ours["nll"])
    print(f"{title}: {tokens} tokens, nll differs by at most {worst:.1e}, its mean by {means:.1e} "
          f"(the adapter moves it by up to {effect:.1f})", flush=True)
    if not (worst <= 1e-3 and means <= 1e-4 and effect > 0.1):
        raise SystemExit("FAILED: too far apart, or an adapter without effect")


def base(gguf, folder):
    where, name = os.path.split(gguf)
    model = AutoModelForCausalLM.from_pretrained(where, gguf_file=name, dtype=torch.float32)
    model.hf_quantizer = None  # the numbers are plain fp32 by now
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(where, gguf_file=name).save_pretrained(folder)


def ours(binary, base_path, run, title):
    model = PeftModel.from_pretrained(load("hf"), run).eval()
    compare(f"ours in PEFT, {title}", model, binary, base_path, run)
    tokenizer = AutoTokenizer.from_pretrained(run)
    for text in TEXTS:
        mine = migaki(binary, "tokenize", "-m", base_path, "--no-special", "--json", text=text)["ids"]
        theirs = tokenizer(text, add_special_tokens=False)["input_ids"]
        if mine != theirs:
            raise SystemExit(f"FAILED: tokenizer.json of {run}: {theirs} instead of {mine}")


def theirs(binary, hf, gguf, new, targets, r, rslora):
    torch.manual_seed(int(r))
    config = LoraConfig(r=int(r), lora_alpha=2 * int(r), use_rslora=rslora == "true", task_type="CAUSAL_LM",
                        target_modules=targets if targets == "all-linear" else targets.split(","))
    model = get_peft_model(load(hf), config).eval()
    for name, p in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=0.01)
    model.save_pretrained(new)
    compare(f"PEFT's here, {targets}, r {r}, on the folder", model, binary, hf, new)
    compare(f"PEFT's here, {targets}, r {r}, on the packed GGUF", model, binary, gguf, new)


def same(a, b):
    x, y = (load_file(f"{f}/adapter_model.safetensors") for f in (a, b))
    if sorted(x) != sorted(y) or not all(torch.equal(x[k], y[k]) for k in x):
        raise SystemExit("FAILED: an adapter of PEFT, read and written again, is another one")
    print(f"PEFT's adapter, read and written again: {len(x)} tensors, names and bits equal")


globals()[sys.argv[1]](*sys.argv[2:])
