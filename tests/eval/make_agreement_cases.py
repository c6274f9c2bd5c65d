#!/usr/bin/env python3
"""make_agreement_cases.py: Krippendorff's alpha and Wilson intervals by PyPI's krippendorff and scipy.

Writes agreement_cases.json beside itself.  The first two cases are the package's own examples, the others are drawn
with missing values, one-sided raters and half points.  Run with krippendorff and scipy installed."""
import json, os, random
import krippendorff, numpy as np
from scipy.stats import binomtest

nan = float("nan")
def table(text): return [[nan if v == "*" else float(v) for v in row.split()] for row in text]
cases = [
    ("example of the package", table(["* * * * * 3 4 1 2 1 1 3 3 * 3", "1 * 2 1 3 3 4 3 * * * * * * *", "* * 2 1 3 4 4 * 2 1 1 3 3 * 4"])),
    ("Krippendorff 2011, C", table(["1 2 3 3 2 1 4 1 2 * * *", "1 2 3 3 2 2 4 1 2 5 * 3", "* 3 3 3 2 3 4 2 2 5 1 *", "1 2 3 3 2 4 4 1 2 5 1 *"])),
    ("two, never together but once", table(["1 * 2 *", "* 3 2 1"])),
    ("three values once", table(["5 1", "5 3", "* *"])),
]
r = random.Random(7)
for i in range(40):
    raters, units = r.randint(2, 6), r.randint(3, 60)
    step, missing, noise = r.choice([1, 0.5]), r.choice([0, 0.1, 0.5]), r.choice([0, 1, 2])
    truth = [r.randint(1, 5) for _ in range(units)]
    cases.append((f"drawn {i}", [[nan if r.random() < missing else float(min(5, max(1, t + step * r.randint(-noise, noise)))) for t in truth] for _ in range(raters)]))
out = []
for name, data in cases:
    a = np.array(data)
    row = {"name": name, "raters": a.shape[0], "units": a.shape[1], "value": [None if v != v else v for v in a.ravel().tolist()]}
    for level in ("nominal", "ordinal", "interval"):
        try:
            v = float(krippendorff.alpha(reliability_data=a, level_of_measurement=level))
            row[level] = None if v != v else v
        except ValueError:
            row[level] = None
    out.append(row)
wilson = []
for hits, n in [(0, 1), (1, 1), (0, 10), (10, 10), (5, 10), (13, 14), (1, 1000), (617, 1000)]:
    ci = binomtest(hits, n).proportion_ci(method="wilson")
    wilson.append([hits, n, float(ci.low), float(ci.high)])
path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "agreement_cases.json")
with open(path, "w") as f:
    f.write('{"krippendorff": "%s",\n "alpha": [\n  ' % krippendorff.__version__ if hasattr(krippendorff, "__version__") else '{"alpha": [\n  ')
    f.write(",\n  ".join(json.dumps(c) for c in out) + '\n ],\n "wilson": %s}\n' % json.dumps(wilson))
