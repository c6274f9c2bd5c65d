#!/usr/bin/env python3
"""bleu.py TOKENIZER HYPOTHESES REFERENCES: sacreBLEU's time on the files that bench/bleu.c reads."""
import sys, time
from sacrebleu.metrics import BLEU
hyp, ref = (open(p, encoding="utf-8", newline="\n").read().split("\n")[:-1] for p in sys.argv[2:4])
start = time.time()
score = BLEU(tokenize=sys.argv[1], force=True).corpus_score(hyp, [ref])
print(f"sacreBLEU {sys.argv[1]}: {score.score:.10f}, {len(hyp)} pairs, {time.time() - start:.3f} s")
