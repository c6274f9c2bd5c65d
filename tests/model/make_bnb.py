"""Writes bnb/{nf4,nf4_nested,fp4,int8}: a tiny llama as transformers saves it with bitsandbytes' weights, and what it
computes: the negative log-likelihoods of 32 tokens.  In 4 bits that is of a plain model with bitsandbytes' dequantised
weights: its own product on a CPU is one of bf16, and repacks the weights.  In 8 bits bitsandbytes quantises inputs and
weights, and the product is formed here with 1 / 127^2: its plain code has 6.200124e-05 for that, 1.8e-5 too much, which
lets codes of the next layer fall to the other side.

    python make_bnb.py tests/model/bnb      (transformers 5.23, bitsandbytes 0.50.2, their CPU code)
"""
import json
import os
import sys
import tempfile

import bitsandbytes as bnb
import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM

KINDS = {
    "nf4": dict(load_in_4bit=True, bnb_4bit_quant_type="nf4"),
    "nf4_nested": dict(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True),
    "fp4": dict(load_in_4bit=True, bnb_4bit_quant_type="fp4"),
    "int8": dict(load_in_8bit=True, llm_int8_threshold=4.5),
}


def int8_product(module, threshold):
    weight = module.weight.CB.float() * (module.weight.SCB / 127).unsqueeze(1)

    def forward(x):
        rows = x.reshape(-1, x.shape[-1])
        codes, scales, outliers = bnb.functional.int8_vectorwise_quant(rows.half(), threshold=threshold)
        seen = codes.float() * (scales / 127).unsqueeze(1)
        seen[:, outliers] = rows[:, outliers]
        return (seen @ weight.T).reshape(*x.shape[:-1], -1)

    return forward


out = sys.argv[1]
torch.manual_seed(3)
plain = LlamaForCausalLM(LlamaConfig(vocab_size=96, hidden_size=64, intermediate_size=128, num_hidden_layers=1, num_attention_heads=4,
                                     num_key_value_heads=2, max_position_embeddings=128, initializer_range=0.1, tie_word_embeddings=True))
with tempfile.TemporaryDirectory() as folder:
    plain.save_pretrained(folder)
    for kind, settings in KINDS.items():
        plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        m = AutoModelForCausalLM.from_pretrained(folder, quantization_config=BitsAndBytesConfig(**settings), device_map="cpu", dtype=torch.float32)
        m.eval()
        m.save_pretrained(f"{out}/{kind}")
        for name, module in m.named_modules():
            if isinstance(module, bnb.nn.Linear8bitLt):
                plain.get_submodule(name).forward = int8_product(module, settings["llm_int8_threshold"])
            else:
                if isinstance(module, bnb.nn.Linear4bit):
                    plain.get_submodule(name).weight.data = bnb.functional.dequantize_4bit(module.weight.data, module.weight.quant_state).float()
        m = plain.eval()
        ids = torch.tensor([[(13 * i + 3) % 96 for i in range(32)]])
        with torch.no_grad():
            logits = m(ids).logits.float()
        nll = torch.nn.functional.cross_entropy(logits[0, :-1], ids[0, 1:], reduction="none")
        os.remove(f"{out}/{kind}/generation_config.json")
        json.dump({"ids": ids[0].tolist(), "nll": [float(f"{float(x):.9g}") for x in nll]}, open(f"{out}/{kind}/expected.json", "w"))
        print(kind, float(nll.mean()))
