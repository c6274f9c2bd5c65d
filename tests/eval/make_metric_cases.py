#!/usr/bin/env python3
"""Write metric_cases.json: what sacreBLEU 2.6.0 (with ipadic 1.0.0), rouge_score 0.1.2 and scikit-learn make of odd
texts.  Run by hand: pip install sacrebleu[ja]==2.6.0 regex rouge_score==0.1.2 scikit-learn"""
import json, os, random
from sacrebleu.metrics import BLEU, CHRF, TER
from rouge_score.rouge_scorer import RougeScorer

rng = random.Random(7)
pieces = ["The", "dog", "bit", "the", "man", ",", ".", "...", "1,000.5", "a-b", "3-4", "5-", "-6", "(hi)", "\"q\"", "it's",
          "Jim's", "U.S.", "&quot;", "&amp;lt;", "<skipped>", "-\n", "\n", "\n-", "$5", "€7", "x=y", "@#", "ΑΣ", "ΣΑΣ.",
          "İstanbul", "ÉCOLE", "“quote”", "—", "…", "日本語", "令和6年", "です。", "、", "（東京）", "ﾃｽﾄ", "ＡＢＣ", "　",
          "すもももももももものうち", "レストラン", "，", "！", "한국어", "中文文本", "😀", "a\u00a0b", "c\u3000d", "\t", "  ",
          "½", "٣", "Ⅷ", "x²", "_", "~", "`", "[z]", "{k}", "a/b", "c:d", "e;f", "g?h", "i!j", "A.B", ".5", "5.", "5,"]

def text(n):
    return "".join(rng.choice(pieces) + rng.choice([" ", " ", "", "  "]) for _ in range(n))

def mutate(t):
    parts = t.split(" ")
    for _ in range(rng.randrange(4)):
        k = rng.randrange(3)
        i = rng.randrange(len(parts))
        if k == 0: parts[i] = rng.choice(pieces)
        elif k == 1: parts.insert(i, rng.choice(pieces))
        else:
            j = rng.randrange(len(parts)); w = parts.pop(i); parts.insert(min(j, len(parts)), w)
    return " ".join(parts)

sets = []
for s in range(6):
    refs = [[text(rng.randrange(1, 25)) for _ in range(12)] for _ in range(1 + s % 3)]
    hyps = [mutate(rng.choice(refs)[i]) for i in range(12)]
    hyps[rng.randrange(12)] = rng.choice(["", " ", "."])
    if s % 2:
        refs[0][rng.randrange(12)] = ""
    sets.append((hyps, refs))
# long sentences: shifts beyond the limits of TER
words = [f"w{i}" for i in range(40)]
long_refs = [[" ".join(rng.choice(words) for _ in range(n)) for n in (60, 90, 120, 5, 130)]]
long_hyps = [" ".join(sorted(r.split(), key=lambda w: (rng.random() < .3, 0))) for r in long_refs[0]]
long_hyps[3] = " ".join(rng.choice(words) for _ in range(80))
long_hyps[4] = " ".join(rng.choice(words) for _ in range(2))
sets.append((long_hyps, long_refs))

out = []
for hyps, refs in sets:
    case = {"hypotheses": hyps, "references": refs, "scores": []}
    def add(metric, settings, m):
        r = m.corpus_score(hyps, refs)
        entry = {"metric": metric, "settings": settings, "score": r.score,
                 "signature": str(m.get_signature()).rsplit("|", 1)[0]}
        sent = [m.sentence_score(h, [x[i] for x in refs]).score for i, h in enumerate(hyps)]
        entry["sentences"] = sent
        case["scores"].append(entry)
    for tok in ("13a", "intl", "zh", "char", "none", "ja-mecab"):
        add("bleu", {"tokenize": tok}, BLEU(tokenize=tok))
    add("bleu", {"tokenize": "13a", "lowercase": True}, BLEU(tokenize="13a", lowercase=True))
    for smooth, value in (("floor", None), ("floor", .01), ("add-k", None), ("add-k", 2.5), ("none", None)):
        for eff in (False, True):
            kw = {"tokenize": "13a", "smooth": smooth, "effective": eff}
            if value is not None: kw["value"] = value
            add("bleu", kw, BLEU(tokenize="13a", smooth_method=smooth, smooth_value=value, effective_order=eff))
    add("bleu", {"tokenize": "13a", "order": 2}, BLEU(tokenize="13a", max_ngram_order=2))
    for order, name in ((0, "chrf"), (2, "chrf++")):
        for kw in ({}, {"lowercase": True}, {"whitespace": True}, {"eps_smoothing": True}, {"beta": 3}):
            add(name, kw, CHRF(word_order=order, **kw))
    for kw in ({}, {"normalized": True}, {"no_punct": True}, {"case_sensitive": True},
               {"normalized": True, "asian_support": True}, {"no_punct": True, "asian_support": True},
               {"normalized": True, "no_punct": True, "asian_support": True, "case_sensitive": True}):
        add("ter", kw, TER(**kw))
    types = ["rouge1", "rouge2", "rougeL", "rougeLsum"]
    scorer = RougeScorer(types)
    got = [scorer.score_multi([x[i] for x in refs], h) for i, h in enumerate(hyps)]
    for t in types:
        sent = [100 * g[t].fmeasure for g in got]
        case["scores"].append({"metric": t, "settings": {}, "score": sum(sent) / len(sent), "sentences": sent})
    out.append(case)

import numpy as np
from sklearn.metrics import accuracy_score, precision_recall_fscore_support as prfs
labels = []
for k, n in ((2, 30), (3, 50), (5, 200)):
    gold = [rng.randrange(k) for _ in range(n)]
    pred = [g if rng.random() < .6 else rng.randrange(k) for g in gold]
    if k == 5: gold = [0 if g == 4 else g for g in gold]; pred = [0 if p == 4 else p for p in pred]
    e = {"classes": k, "gold": gold, "predicted": pred, "accuracy": accuracy_score(gold, pred)}
    for avg in ("macro", "micro", "weighted"):
        e[avg] = [float(x) for x in prfs(gold, pred, average=avg, zero_division=0)[:3]]
    labels.append(e)
here = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(here, "metric_cases.json"), "w", encoding="utf-8") as f:
    json.dump({"made_by": "make_metric_cases.py: sacreBLEU 2.6.0, rouge_score 0.1.2, scikit-learn", "texts": out,
               "labels": labels}, f, ensure_ascii=False, indent=0)
    f.write("\n")
