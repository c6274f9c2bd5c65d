"""Cases of PEFT's methods in the layout of the golden ones, for tests/model/test_golden.c.

    python peft_cases.py GOLDEN/llama2 tests/model/peft_cases [CASE...]

A case is an adapter as PEFT saves it, with numbers away from their start, and what PEFT computes with it in fp32:
adapter_io (logits, loss), adapter_grads, adamw.json (five steps).  `python peft_cases.py --check GOLDEN/llama2 FOLDER...`
loads folders that migaki saved (MIGAKI_PEFT_SAVE names where the test leaves them) and compares logits.
"""
import json
import os
import sys

import torch
from peft import (AdaLoraConfig, IA3Config, LoHaConfig, LoKrConfig, LoraConfig, PeftModel, VeraConfig, get_peft_model)
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

ONE = dict(layers_to_transform=[1], task_type="CAUSAL_LM")  # one layer, so that the files are small
SOME = ["q_proj", "o_proj", "up_proj", "down_proj"]
CASES = {
    "loha": LoHaConfig(r=2, alpha=4, target_modules=SOME, **ONE),
    "lokr": LoKrConfig(r=4, alpha=8, target_modules=SOME, **ONE),
    "lokr_both": LoKrConfig(r=1, alpha=8, decompose_both=True, decompose_factor=4, target_modules=SOME, **ONE),
    "vera": VeraConfig(r=8, target_modules=SOME, projection_prng_key=7, **ONE),
    "vera_seed": VeraConfig(r=8, target_modules=SOME, projection_prng_key=3, save_projection=False, **ONE),
    "adalora": AdaLoraConfig(init_r=4, target_r=2, lora_alpha=8, target_modules=SOME, total_step=5, **ONE),
    "lora_patterns": LoraConfig(r=2, lora_alpha=8, target_modules=SOME, rank_pattern={"q_proj": 3, "layers.1.mlp.up_proj": 1},
                                alpha_pattern={"o_proj": 3}, **ONE),
    "lora_head": LoraConfig(r=2, lora_alpha=8, target_modules=["layers.1.self_attn.q_proj", "lm_head"], task_type="CAUSAL_LM"),
    "lora_embedding": LoraConfig(r=2, lora_alpha=8, target_modules=["layers.1.self_attn.q_proj", "embed_tokens"], task_type="CAUSAL_LM"),
    "lora_tokens": LoraConfig(r=2, lora_alpha=8, target_modules=["layers.1.self_attn.q_proj"], trainable_token_indices=[3, 7, 11, 200],
                              task_type="CAUSAL_LM"),
    "dora_rslora": LoraConfig(r=2, lora_alpha=8, use_dora=True, use_rslora=True, target_modules=SOME, **ONE),
    "ia3_inputs": IA3Config(target_modules=SOME, feedforward_modules=["down_proj", "o_proj"], task_type="CAUSAL_LM"),
}


def batch_of(base):
    io = load_file(os.path.join(base, "io.safetensors"))
    return {k: io[k] for k in ("input_ids", "attention_mask", "labels")}


def loss_of(model, batch):
    return model(**batch).loss


def make(base, out, name, config):
    torch.manual_seed(1)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), config)
    if name.startswith("adalora"):
        model.base_model.peft_config["default"].orth_reg_weight = 0.0  # the penalty is tested by itself
    for p in model.parameters():
        if p.requires_grad:
            p.data += 0.05 * torch.randn_like(p)
    folder = os.path.join(out, name)
    model.save_pretrained(folder)
    os.remove(os.path.join(folder, "README.md"))
    path = os.path.join(folder, "adapter_config.json")
    with open(path) as f:
        saved = json.load(f)
    saved["base_model_name_or_path"] = "llama2"
    with open(path, "w") as f:
        json.dump(saved, f, indent=1)
    batch = batch_of(base)
    model.train()
    result = model(**batch)
    result.loss.backward()
    save_file({**batch, "logits": result.logits.detach().contiguous(), "loss": result.loss.detach().reshape(1)},
              os.path.join(folder, "adapter_io.safetensors"))
    trained = {k: p for k, p in model.named_parameters() if p.requires_grad}
    save_file({k: p.grad.contiguous().clone() for k, p in trained.items()}, os.path.join(folder, "adapter_grads.safetensors"))
    with open(os.path.join(base, "peft_lora_qv", "adamw.json")) as f:
        plan = json.load(f)
    s = plan["settings"]
    optimizer = torch.optim.AdamW(trained.values(), lr=s["lr"], betas=s["betas"], eps=s["eps"], weight_decay=s["weight_decay"])
    for step in plan["steps"]:
        optimizer.zero_grad()
        loss = loss_of(model, batch)
        loss.backward()
        step["loss"] = loss.item()
        step["grad_norm"] = torch.nn.utils.clip_grad_norm_(trained.values(), s["max_grad_norm"]).item()
        for group in optimizer.param_groups:
            group["lr"] = step["lr"]
        optimizer.step()
    with open(os.path.join(folder, "adamw.json"), "w") as f:
        json.dump(plan, f, indent=1)
    print(name, "loss", result.loss.item())


def make_budget(base, out, name="adalora_budget"):
    """AdaLoRA's penalty and budget: five updates with update_and_allocate; adapter_after holds A, E and B behind them."""
    torch.manual_seed(2)
    config = AdaLoraConfig(init_r=4, target_r=2, tinit=1, tfinal=1, deltaT=1, total_step=5, orth_reg_weight=0.5, lora_alpha=8,
                           target_modules=SOME, **ONE)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), config)
    trained = {k: p for k, p in model.named_parameters() if p.requires_grad}
    for p in trained.values():
        p.data += 0.05 * torch.randn_like(p)
    folder = os.path.join(out, name)
    model.save_pretrained(folder)
    os.remove(os.path.join(folder, "README.md"))
    path = os.path.join(folder, "adapter_config.json")
    with open(path) as f:
        saved = json.load(f)
    saved["base_model_name_or_path"] = "llama2"
    with open(path, "w") as f:
        json.dump(saved, f, indent=1)
    batch = batch_of(base)
    with open(os.path.join(base, "peft_lora_qv", "adamw.json")) as f:
        plan = json.load(f)
    s = plan["settings"]
    optimizer = torch.optim.AdamW(trained.values(), lr=s["lr"], betas=s["betas"], eps=s["eps"], weight_decay=s["weight_decay"])
    model.train()
    for i, step in enumerate(plan["steps"]):
        optimizer.zero_grad()
        weight = model.base_model.peft_config["default"].orth_reg_weight
        pairs = [p for k, p in trained.items() if "lora_E" not in k]
        cov = [p @ p.T if "lora_A" in k else p.T @ p for k, p in trained.items() if "lora_E" not in k]
        penalty = weight * sum(torch.norm(c - torch.eye(len(c))) for c in cov).item() / len(pairs)
        loss = loss_of(model, batch)
        loss.backward()
        step["loss"] = loss.item() - penalty
        step["grad_norm"] = torch.nn.utils.clip_grad_norm_(trained.values(), s["max_grad_norm"]).item()
        for group in optimizer.param_groups:
            group["lr"] = step["lr"]
        optimizer.step()
        model.base_model.update_and_allocate(i + 1)
    save_file({k.replace(".default", ""): p.detach().clone() for k, p in trained.items()}, os.path.join(folder, "adapter_after.safetensors"))
    with open(os.path.join(folder, "adamw.json"), "w") as f:
        json.dump(plan, f, indent=1)
    print(name, [round(x["loss"], 4) for x in plan["steps"]])


def check(base, folder):
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), folder).eval()
    io = load_file(os.path.join(folder, "adapter_io.safetensors"))
    with torch.no_grad():
        got = model(input_ids=io["input_ids"], attention_mask=io["attention_mask"]).logits
    mask = io["attention_mask"].bool()
    worst = ((got - io["logits"])[mask].abs().max() / io["logits"][mask].abs().max()).item()
    print(f"{folder}: logits differ by {worst:.2e}")
    return worst < 1e-4


if __name__ == "__main__":
    if sys.argv[1] == "--check":
        sys.exit(not all([check(sys.argv[2], f) for f in sys.argv[3:]]))
    for case, settings in CASES.items():
        if len(sys.argv) < 4 or case in sys.argv[3:]:
            make(sys.argv[1], sys.argv[2], case, settings)
    if len(sys.argv) < 4 or "adalora_budget" in sys.argv[3:]:
        make_budget(sys.argv[1], sys.argv[2])
