"""Writes int8.json: bitsandbytes' LLM.int8 product and its gradient, on inputs with and without outlier columns.

    python make_int8.py > int8.json        (bitsandbytes 0.50.2, its CPU code)
"""
import json
import sys

import bitsandbytes as bnb
import torch
from bitsandbytes.autograd._functions import MatMul8bitLt, MatmulLtState

out = []
for case, threshold in (("plain", 6.0), ("outliers", 6.0), ("outliers", 0.0)):
    g = torch.Generator().manual_seed(7)
    x = torch.randn(12, 64, generator=g)
    w = torch.randn(32, 64, generator=g) * 0.1
    w[3] = 0  # a row of zeros
    dy = torch.randn(12, 32, generator=g)
    x[5] = x[5] * 0.01
    if case == "outliers":
        x[2, 7], x[9, 7], x[4, 40] = 11.5, -3.0, -20.25
    x = x.requires_grad_()
    state = MatmulLtState()
    state.threshold, state.has_fp16_weights, state.is_training = threshold, False, True
    cb, scb, _ = bnb.functional.int8_vectorwise_quant(w.half())
    state.CB, state.SCB = cb, scb
    y = MatMul8bitLt.apply(x, w, None, None, state)
    y.backward(dy)
    flat = lambda t: [float(f"{v:.9g}") for v in t.detach().flatten()]
    out.append({"case": case, "threshold": threshold, "x": flat(x), "w": flat(w), "dy": flat(dy), "y": flat(y), "dx": flat(x.grad),
                "codes": [int(v) for v in cb.flatten()], "absmax": flat(scb)})
json.dump(out, sys.stdout)
print()
