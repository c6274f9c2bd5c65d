#!/usr/bin/env python3
"""Print the rows of test_gguf_real.c: what the Python package gguf reads from the real models.

usage: gguf_reference.py MODEL.gguf...       (needs gguf 0.19 and numpy; not part of the program)

For each tensor type: how many tensors there are, and over all of them, in file order, the sum of
the bits of the decoded floats times their position (1, 2, ...), modulo 2^64.  Types with more
than LIMIT elements are decoded up to the tensor that reaches the limit.
"""
import sys

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize

LIMIT = 100_000_000


def bits(values):
    return values.astype(np.float32).ravel().view(np.uint32).astype(np.uint64)


def weighted(values, start):
    positions = np.arange(start + 1, start + 1 + values.size, dtype=np.uint64)
    return int(np.sum(values * positions, dtype=np.uint64))


def fnv(data, h=0xCBF29CE484222325):
    for byte in data:
        h = ((h ^ byte) * 0x100000001B3) & (2**64 - 1)
    return h


for path in sys.argv[1:]:
    reader = GGUFReader(path)
    listing = "".join(
        f"{t.name} {t.tensor_type.name.lower()} {' '.join(str(int(d)) for d in t.shape)}\n" for t in reader.tensors
    )
    tokens = reader.fields["tokenizer.ggml.tokens"]
    text = b"".join(bytes(tokens.parts[i]) + b"\n" for i in tokens.data)
    print(f"{path.split('/')[-1]}: values {len(reader.fields) - 3}, tensors {len(reader.tensors)}, "
          f"listing {fnv(listing.encode()):#x}, tokens {len(tokens.data)} {fnv(text):#x}")
    by_type = {}
    for t in reader.tensors:
        row = by_type.setdefault(t.tensor_type.name.lower(), [0, 0, 0])
        row[0] += 1
        if row[1] < LIMIT:
            values = bits(dequantize(t.data, t.tensor_type))
            row[2] = (row[2] + weighted(values, row[1])) % 2**64
            row[1] += values.size
    for name, (count, elements, total) in by_type.items():
        print(f'    {{ "{name}", {count}, {elements}, {total:#x} }},')
