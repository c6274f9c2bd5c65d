"""Writes schedules.json: the factors of transformers' get_scheduler at every step.

    python make_schedules.py > schedules.json        (transformers 5.23)
"""
import json
import sys

import torch
from transformers import get_scheduler

LR = 2e-4
CASES = [
    ("constant", "constant", {}, [(0, 20)]),
    ("constant_with_warmup", "constant_with_warmup", {}, [(5, 20)]),
    ("linear", "linear", {}, [(0, 20), (5, 30), (1, 1)]),
    ("cosine", "cosine", {}, [(0, 20), (7, 33)]),
    ("cosine", "cosine", {"num_cycles": 1.5}, [(3, 30)]),
    ("cosine_with_restarts", "cosine_with_restarts", {}, [(4, 24)]),
    ("cosine_with_restarts", "cosine_with_restarts", {"num_cycles": 3}, [(4, 40)]),
    ("cosine_with_min_lr", "cosine_with_min_lr", {"min_lr_rate": 0.1}, [(4, 24)]),
    ("cosine_with_min_lr", "cosine_with_min_lr", {"min_lr": 1e-5, "num_cycles": 1.0}, [(0, 24)]),
    ("cosine_warmup_with_min_lr", "cosine_warmup_with_min_lr", {"min_lr_rate": 0.2}, [(4, 24)]),
    ("cosine_warmup_with_min_lr", "cosine_warmup_with_min_lr", {"min_lr": 3e-5, "warmup_lr_rate": 0.3}, [(6, 30)]),
    ("polynomial", "polynomial", {}, [(4, 24)]),
    ("polynomial", "polynomial", {"lr_end": 1e-5, "power": 2.5}, [(0, 24), (5, 40)]),
    ("inverse_sqrt", "inverse_sqrt", {}, [(0, 20), (6, 40)]),
    ("inverse_sqrt", "inverse_sqrt", {"timescale": 50}, [(6, 40)]),
    ("warmup_stable_decay", "warmup_stable_decay", {"num_decay_steps": 10}, [(4, 40)]),
    ("warmup_stable_decay", "warmup_stable_decay",
     {"num_decay_steps": 10, "num_stable_steps": 12, "decay_type": "linear", "warmup_type": "cosine", "min_lr_ratio": 0.1}, [(5, 30)]),
    ("warmup_stable_decay", "warmup_stable_decay",
     {"num_decay_steps": 12, "decay_type": "1-sqrt", "warmup_type": "1-sqrt", "min_lr_ratio": 0.05}, [(5, 40)]),
]

out = []
for name, kind, kwargs, shapes in CASES:
    for warmup, total in shapes:
        o = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)
        s = get_scheduler(kind, o, num_warmup_steps=warmup, num_training_steps=total, scheduler_specific_kwargs=kwargs)
        factors = [s.lr_lambdas[0](step) for step in range(total + 1)]
        out.append({"schedule": name, "settings": kwargs, "warmup": warmup, "total": total, "factors": factors})
# torch's own, as factors of the first rate; it goes up as well as down
for warmup, total, end in [(0, 20, 2e-6), (0, 40, 2e-1)]:
    o = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)
    s = torch.optim.lr_scheduler.ExponentialLR(o, gamma=(end / LR) ** (1 / (total - 1)))
    factors = []
    for step in range(total):
        factors.append(s.get_last_lr()[0] / LR)
        o.step()
        s.step()
    out.append({"schedule": "exponential", "settings": {"lr_end": end}, "warmup": warmup, "total": total, "factors": factors + factors[-1:]})
json.dump(out, sys.stdout, indent=0)
print()
