"""Writes tests/model/prompt_cases: prompts with encoders as peft trains them, and bottleneck adapters, on the golden models.

    python prompt_cases.py GOLDEN OUT        (peft 0.21, transformers 5, torch 2.11, CPU, fp32)

The golden adapters hold what the encoders made, not the encoders; here are their values (adapter_training.safetensors, under
this program's names), gradients, and the losses of five AdamW steps.
"""
import json
import os
import sys

import torch
from peft import PrefixTuningConfig, PromptEncoderConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

golden, out = sys.argv[1:3]
CASES = {
    "p_tuning_mlp": lambda: PromptEncoderConfig(task_type="CAUSAL_LM", num_virtual_tokens=3, encoder_hidden_size=12),
    "p_tuning_lstm": lambda: PromptEncoderConfig(task_type="CAUSAL_LM", num_virtual_tokens=3, encoder_hidden_size=6,
                                                 encoder_reparameterization_type="LSTM", encoder_num_layers=2),
    "prefix_projection": lambda: PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3, encoder_hidden_size=6, prefix_projection=True),
}


def steps_of(model, trained, batch, settings, folder):
    for p in trained.values():
        p.grad = None
    o = torch.optim.AdamW(trained.values(), lr=1e-3, betas=settings["betas"], eps=settings["eps"], weight_decay=settings["weight_decay"])
    steps = []
    for lr in [5e-4, 1e-3, 7.5e-4, 5e-4, 2.5e-4]:
        for group in o.param_groups:
            group["lr"] = lr
        loss = model(**batch).loss
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(trained.values(), settings["max_grad_norm"])
        o.step()
        o.zero_grad()
        steps.append({"loss": loss.item(), "grad_norm": norm.item(), "lr": lr})
    json.dump({"settings": settings, "steps": steps}, open(f"{folder}/adamw.json", "w"), indent=1)


for base in ("llama2", "gemma2"):
    for name, config in CASES.items():
        torch.manual_seed(7)
        model = AutoModelForCausalLM.from_pretrained(f"{golden}/{base}", dtype=torch.float32, attn_implementation="eager")
        model = get_peft_model(model, config())
        model.train()
        io = load_file(f"{golden}/{base}/io.safetensors")
        batch = {k: io[k] for k in ("input_ids", "attention_mask", "labels")}
        folder = f"{out}/{base}_{name}"
        os.makedirs(folder, exist_ok=True)
        settings = json.load(open(f"{golden}/{base}/peft_prompt/adamw.json"))["settings"]
        model.save_pretrained(folder)
        os.remove(f"{folder}/README.md")
        c = json.load(open(f"{folder}/adapter_config.json"))
        c["base_model_name_or_path"] = ".."
        json.dump({k: v for k, v in c.items() if v is not None}, open(f"{folder}/adapter_config.json", "w"), indent=1)
        trained = {k[k.index("prompt_encoder"):]: p for k, p in model.named_parameters() if p.requires_grad}
        save_file({k: p.detach().clone().contiguous() for k, p in trained.items()}, f"{folder}/adapter_training.safetensors")
        loss = model(**batch).loss
        loss.backward()
        save_file({k: p.grad.clone().contiguous() for k, p in trained.items() if p.grad is not None}, f"{folder}/adapter_grads.safetensors")
        steps_of(model, trained, batch, settings, folder)
        print(base, name, loss.item(), sum(p.numel() for p in trained.values()))


class Narrow(torch.nn.Module):
    """AdapterHub's bottleneck: up(f(down(z)))."""

    def __init__(self, dim, width, f):
        super().__init__()
        self.adapter_down, self.adapter_up, self.f = torch.nn.Linear(dim, width), torch.nn.Linear(width, dim), f

    def forward(self, z):
        return self.adapter_up(self.f(self.adapter_down(z)))


def attach(model, base, kind, reduction):
    """The same formulas as src/peft/bottleneck.c, hung on the branches of each layer by hooks."""
    dim, trained = model.config.hidden_size, {}
    for i, layer in enumerate(model.model.layers):
        first = {"llama2": ("input_layernorm", "post_attention_layernorm"), "gemma2": ("input_layernorm", "pre_feedforward_layernorm")}[base]
        last = {"llama2": ("self_attn", "mlp"), "gemma2": ("post_attention_layernorm", "post_feedforward_layernorm")}[base]
        for site in (0, 1) if kind == "houlsby" else (1,):
            a = Narrow(dim, -(-dim // reduction), torch.nn.functional.silu if kind == "houlsby" else torch.relu)
            seen = {}
            getattr(layer, first[site]).register_forward_pre_hook(lambda m, args, seen=seen: seen.update(x=args[0]))

            def joined(m, args, out, a=a, seen=seen):
                b = out[0] if isinstance(out, tuple) else out
                y = b + {"houlsby": lambda: a(b), "pfeiffer": lambda: a(b + seen["x"]), "parallel": lambda: 4 * a(seen["x"])}[kind]()
                return (y, *out[1:]) if isinstance(out, tuple) else y

            getattr(layer, last[site]).register_forward_hook(joined)
            for n, p in a.named_parameters():
                torch.nn.init.normal_(p, std=0.1)
                trained[f"layers.{i}.{('attention', 'ffn')[site]}.{n}"] = p
    return trained


for base in ("llama2", "gemma2"):
    for kind in ("houlsby", "pfeiffer", "parallel"):
        torch.manual_seed(7)
        model = AutoModelForCausalLM.from_pretrained(f"{golden}/{base}", dtype=torch.float32, attn_implementation="eager")
        model.requires_grad_(False)
        trained = attach(model, base, kind, 16)
        io = load_file(f"{golden}/{base}/io.safetensors")
        batch = {k: io[k] for k in ("input_ids", "attention_mask", "labels")}
        folder = f"{out}/{base}_{kind}"
        os.makedirs(folder, exist_ok=True)
        json.dump({"peft_type": "BOTTLENECK", "config": kind, "reduction_factor": 16, "non_linearity": "auto", "scaling": 4}, open(f"{folder}/adapter_config.json", "w"), indent=1)
        save_file({"base_model.model." + k: p.detach().clone() for k, p in trained.items()}, f"{folder}/adapter_model.safetensors")
        model(**batch).loss.backward()
        save_file({k: p.grad.clone() for k, p in trained.items()}, f"{folder}/adapter_grads.safetensors")
        steps_of(model, trained, batch, json.load(open(f"{golden}/{base}/peft_prompt/adamw.json"))["settings"], folder)
        print(base, kind)
