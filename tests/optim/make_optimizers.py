"""Writes optimizers.json: what torch, transformers and bitsandbytes make of one small problem.

    python make_optimizers.py > optimizers.json        (torch 2.15, transformers 5.23, bitsandbytes 0.50.2)

Four tensors, 25 steps; the gradient is a hash of (step, place) plus 0.2 p, so that every step depends on the ones
before.  test_optimizers.c computes the same hash.  Kept are some values after steps 1 and 25 and their norms.

Two authorities are run with one change, which the test's comment repeats:
- bitsandbytes' CPU code rounds 8-bit state by way of a grid without a zero; here, as on CUDA, it takes the nearest value.
- torch's Muon iterates in bf16; here the same code runs in fp32.
And galore_torch gets singular vectors whose largest component is positive, since a library may give either.
"""
import inspect
import json
import sys

import numpy as np
import torch

SHAPES = {"a.weight": (48, 200), "b.weight": (200, 48), "norm.weight": (300,), "embed_tokens.weight": (8, 16)}
STEPS, KEPT, LR = 25, 24, 1e-2
NO_DECAY = ("norm.weight",)


def noise(seed, n):
    x = (np.arange(1, n + 1, dtype=np.uint64) * 747796405 + seed * 2891336453).astype(np.uint64) & 0xFFFFFFFF
    x ^= x >> 16
    x = x * 0x7FEB352D & 0xFFFFFFFF
    x ^= x >> 15
    x = x * 0x846CA68B & 0xFFFFFFFF
    x ^= x >> 16
    return ((x >> 8).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)).astype(np.float32)


def run(make):
    params = {}
    for t, (name, shape) in enumerate(SHAPES.items()):
        params[name] = torch.nn.Parameter(torch.from_numpy(noise(t + 1, int(np.prod(shape))).reshape(shape).copy()))
    optimizers = make(params)
    kept = {}
    for step in range(1, STEPS + 1):
        for t, (name, p) in enumerate(params.items()):
            g = torch.from_numpy(noise(1000 + 7 * step + t, p.numel()).reshape(tuple(p.shape)).copy())
            p.grad = (np.float32(0.3) * g + np.float32(0.2) * p.detach()).float()
        for o in optimizers:
            o.step()
        if step in (1, STEPS):
            kept[str(step)] = {n: {"norm": float(p.detach().double().norm()),
                                   "values": [float(p.detach().flatten()[i * 97 % p.numel()]) for i in range(KEPT)]}
                               for n, p in params.items()}
    return kept


def groups(params, decay):
    """As transformers' trainer groups them."""
    return [{"params": [p for n, p in params.items() if n not in NO_DECAY], "weight_decay": decay},
            {"params": [p for n, p in params.items() if n in NO_DECAY], "weight_decay": 0.0}]


def nearest_codes():
    import bitsandbytes.backends.cpu.ops as ops

    def quantize(a, code, absmax_out, out, blocksize):
        flat = a.flatten()
        for b in range(0, flat.numel(), blocksize):
            x = flat[b:b + blocksize]
            m = x.abs().max()
            scaled = (x / m if m > 0 else torch.zeros_like(x)).double()
            middle = (code[:-1].double() + code[1:].double()) / 2
            out.view(-1)[b:b + blocksize] = torch.bucketize(scaled, middle).to(torch.uint8)
            absmax_out[b // blocksize] = m

    ops._quant_blockwise_fp32_direct = quantize


def signed_svd():
    svd = torch.linalg.svd

    def signed(a, full_matrices=True):
        u, s, v = svd(a, full_matrices=full_matrices)
        side = lambda x: torch.where(x.gather(1, x.abs().argmax(1, keepdim=True)) < 0, -1.0, 1.0)
        return (side(u.T) * u.T).T, s, side(v) * v

    torch.linalg.svd = signed


def muon_in_fp32():
    import torch.optim._muon as m
    source = inspect.getsource(m._zeropower_via_newtonschulz)
    assert source.count("torch.bfloat16") == 1
    exec(source.replace("torch.bfloat16", "torch.float32"), m.__dict__)


def main():
    import bitsandbytes as bnb
    import galore_torch
    from transformers import Adafactor
    nearest_codes()
    muon_in_fp32()
    cases = {}

    def case(name, optim, settings, make):
        cases[name] = {"optim": optim, "settings": settings, "steps": run(make)}

    case("adamw", "adamw", {"weight_decay": 0.1}, lambda p: [torch.optim.AdamW(groups(p, 0.1), lr=LR)])
    case("adamw betas", "adamw", {"beta1": 0.8, "beta2": 0.95, "eps": 1e-4},
         lambda p: [torch.optim.AdamW(groups(p, 0.0), lr=LR, betas=(0.8, 0.95), eps=1e-4)])
    case("adamw 8 bit", "adamw_8bit", {"weight_decay": 0.1}, lambda p: [bnb.optim.AdamW8bit(groups(p, 0.1), lr=LR)])
    case("lion", "lion_32bit", {"weight_decay": 0.1, "beta2": 0.99},
         lambda p: [bnb.optim.Lion32bit(groups(p, 0.1), lr=LR, betas=(0.9, 0.99))])
    case("lion 8 bit", "lion_8bit", {"weight_decay": 0.1, "beta2": 0.99},
         lambda p: [bnb.optim.Lion8bit(groups(p, 0.1), lr=LR, betas=(0.9, 0.99))])
    case("sgd", "sgd", {"weight_decay": 0.1}, lambda p: [torch.optim.SGD(groups(p, 0.1), lr=LR)])
    case("sgd momentum", "sgd", {"momentum": 0.9, "dampening": 0.3},
         lambda p: [torch.optim.SGD(groups(p, 0.0), lr=LR, momentum=0.9, dampening=0.3)])
    case("sgd nesterov", "sgd", {"momentum": 0.9, "nesterov": 1, "weight_decay": 0.1},
         lambda p: [torch.optim.SGD(groups(p, 0.1), lr=LR, momentum=0.9, nesterov=True)])
    case("adafactor", "adafactor", {"weight_decay": 0.1},
         lambda p: [Adafactor(groups(p, 0.1), lr=LR, scale_parameter=False, relative_step=False)])
    case("adafactor relative", "adafactor", {"scale_parameter": 1, "relative_step": 1, "warmup_init": 1},
         lambda p: [Adafactor(groups(p, 0.0), lr=None, scale_parameter=True, relative_step=True, warmup_init=True)])
    case("adafactor moment", "adafactor", {"adafactor_beta1": 0.9, "clip_threshold": 0.5, "decay_rate": -0.6, "scale_parameter": 1},
         lambda p: [Adafactor(groups(p, 0.0), lr=LR, beta1=0.9, clip_threshold=0.5, decay_rate=-0.6, relative_step=False)])

    def muon(decay, **more):
        matrices = ("a.weight", "b.weight")
        return lambda p: [torch.optim.Muon([p[n] for n in matrices], lr=LR, weight_decay=decay, **more),
                          torch.optim.AdamW(groups({n: x for n, x in p.items() if n not in matrices}, decay), lr=LR)]

    case("muon", "muon", {"weight_decay": 0.1}, muon(0.1))
    case("muon rms", "muon", {"match_rms_adamw": 1, "muon_nesterov": 0, "muon_momentum": 0.9, "ns_steps": 3},
         muon(0.0, adjust_lr_fn="match_rms_adamw", nesterov=False, momentum=0.9, ns_steps=3))
    def galore(decay, **more):
        matrices = ("a.weight", "b.weight")
        return lambda p: [galore_torch.GaLoreAdamW([{"params": [x for n, x in p.items() if n not in matrices and n not in NO_DECAY]},
                                                    {"params": [p["norm.weight"]], "weight_decay": 0.0},
                                                    {"params": [p[n] for n in matrices], "rank": 8, "update_proj_gap": 10, "scale": 0.25,
                                                     "proj_type": "std", **more}], lr=LR, eps=1e-8, weight_decay=decay, no_deprecation_warning=True)]

    signed_svd()
    case("galore", "galore_adamw", {"weight_decay": 0.1, "galore": 1}, galore(0.1))
    case("galore reverse", "galore_adamw", {"galore": 1, "side": 1}, galore(0.0, proj_type="reverse_std"))
    json.dump(cases, sys.stdout, indent=0)
    print()


main()
