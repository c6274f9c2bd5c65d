"""Writes tests/model/prompt_cases: prompts with encoders as peft trains them, on the golden models.

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
        model.zero_grad()
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
        print(base, name, loss.item(), sum(p.numel() for p in trained.values()))
