"""Reference numbers of heads from transformers: losses, logits and gradients, for tests/model/head_cases.json.

    python heads_peer.py GOLDEN > tests/model/head_cases.json

GOLDEN is the folder of tiny models.  Heads and inputs are formulas that the test has, too; sequences run one by one,
so nothing is padded.  torch in float32 on the CPU, dropout off."""
import json
import math
import sys

import torch
import transformers
from safetensors.torch import load_file

LENGTHS = [9, 5, 12, 1]
KINDS = {"classification": ("SequenceClassification", 3), "regression": ("SequenceClassification", 1),
         "token_classification": ("TokenClassification", 5), "question_answering": ("QuestionAnswering", 2)}


def ids_of(s, n, vocab):
    return [3 + (7 * i * i + 13 * s + 5 * i) % (vocab - 3) for i in range(n)]


def fill(tensor, phase):
    flat = torch.tensor([0.1 * math.sin(0.7 * i + phase) for i in range(tensor.numel())], dtype=torch.float64)
    with torch.no_grad():
        tensor.copy_(flat.reshape(tensor.shape).float())


def loss_of(model, goal, s, ids):
    n = len(ids)
    x = torch.tensor([ids])
    types = {}
    if model.config.model_type == "bert":
        types = {"token_type_ids": torch.tensor([[int(n > 3 and i >= n // 2) for i in range(n)]])}
    out = model(input_ids=x, **types)
    ce = torch.nn.functional.cross_entropy
    if goal == "classification":
        return out.logits, ce(out.logits, torch.tensor([s % 3])), 1
    if goal == "regression":
        return out.logits, (out.logits[0, 0] - (0.5 * s - 0.7)) ** 2, 1
    if goal == "token_classification":  # every second token has a tag
        rows = list(range(0, n, 2))
        return out.logits[0], ce(out.logits[0][rows], torch.tensor([(r + s) % 5 for r in rows]), reduction="sum"), len(rows)
    start, end = n // 3, n // 2
    z = torch.stack([out.start_logits[0], out.end_logits[0]], -1)
    return z, ce(z[:, 0][None], torch.tensor([start])) + ce(z[:, 1][None], torch.tensor([end])), 2


def case(golden, name, goal):
    kind, labels = KINDS[goal]
    config = transformers.AutoConfig.from_pretrained(f"{golden}/{name}", num_labels=labels)
    if goal == "regression":
        config.problem_type = "regression"
    model = getattr(transformers, f"AutoModelFor{kind}").from_config(config, attn_implementation="eager").eval()
    prefix = model.base_model_prefix + "."
    state = load_file(f"{golden}/{name}/model.safetensors")
    own = "bert." if name == "bert" else "model."
    state = {prefix + (k[len(own):] if k.startswith(own) else k): v for k, v in state.items()}
    missing, _ = model.load_state_dict(state, strict=False)
    head = {k: p for k, p in model.named_parameters() if not k.startswith(prefix)}
    assert all(k in head or "position_ids" in k for k in missing), missing
    weight, bias = [p for k, p in head.items() if k.endswith("weight")][0], [p for k, p in head.items() if k.endswith("bias")]
    fill(weight, 0.3)
    if bias:
        fill(bias[0], 1.1)
    total, count, logits = 0, 0, []
    for s, n in enumerate(LENGTHS):
        z, loss, k = loss_of(model, goal, s, ids_of(s, n, config.vocab_size))
        total, count = total + loss, count + k
        logits += z.detach().reshape(-1).tolist()
    loss = total / count
    loss.backward()
    q = dict(model.named_parameters())[prefix + ("encoder.layer.0.attention.self.query.weight" if name == "bert" else "layers.0.self_attn.q_proj.weight")]
    return {"model": name, "goal": goal, "module": next(iter(head)).rsplit(".", 1)[0], "bias": bool(bias), "loss": loss.item(), "logits": logits,
            "weight_grad": weight.grad.reshape(-1).tolist(), "bias_grad": bias[0].grad.tolist() if bias else [],
            "query_grad": q.grad.reshape(-1)[:16].tolist(), "query_norm": q.grad.norm().item()}


cases = [case(sys.argv[1], m, g) for m in ("llama2", "gemma2", "bert") for g in KINDS
         if not (m == "gemma2" and g == "question_answering")]  # there is no such class
text = json.dumps({"transformers": transformers.__version__, "cases": cases})
print(json.dumps(json.loads(text, parse_float=lambda x: float(f"{float(x):.9g}"))))
