#!/usr/bin/env python3
"""mistral_tokenizers.py -- the tokenizers of Mistral v0.3 and Nemo, of which the reference has no tokenizer.json.

    PEER_PYTHON tests/interop/mistral_tokenizers.py BUILD/bin/tokenize REFERENCE TOKENIZER_REFERENCE OUT

Makes OUT/v0.3/tokenizer.json (the merges of v0.1, with every id 768 higher behind the control tokens that vocab.bin names) and
OUT/nemo/tokenizer.json (ranks of tekken as byte-level BPE, as transformers converts them), and compares ours on
both with Hugging Face tokenizers on every string of the reference: ids and decoded text.  The ids that the JavaScript port
gives are no authority; where Hugging Face's differ from them is counted by the kind of string.
tests/interop/tokenizers_fuzz.py --mistral OUT goes on with random texts.
"""
import base64, collections, json, os, subprocess, sys, tempfile
from tokenizers import Tokenizer

program, reference, strings, out = sys.argv[1:]
mistral = f'{reference}/tokenizers/mistral'


def added(names):
    return [{'id': i, 'content': n, 'single_word': False, 'lstrip': False, 'rstrip': False, 'normalized': False, 'special': True}
            for i, n in enumerate(names)]


def v03():
    with open(f'{mistral}/v0.1/tokenizer.json', encoding='utf-8') as f:
        made = json.load(f)
    with open(f'{mistral}/v0.3/vocab.bin') as f:
        names = base64.b64decode(f.read()).decode().split('\n')
    assert all(names[i + 768] == n for n, i in made['model']['vocab'].items() if i >= 3)
    made['model']['vocab'] = {n: i for i, n in enumerate(names)}
    made['added_tokens'] = added(names[:771])
    made['normalizer'] = None
    made['pre_tokenizer'] = {'type': 'Metaspace', 'replacement': '▁', 'prepend_scheme': 'first', 'split': False}
    return made


def letters():
    """GPT-2's printable stand-in of each byte."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    moved = [b for b in range(256) if b not in shown]
    return {**{b: chr(b) for b in shown}, **{b: chr(256 + i) for i, b in enumerate(moved)}}


def nemo():
    with open(f'{mistral}/tekken/tekken-240718.json', encoding='utf-8') as f:
        tekken = json.load(f)
    special, letter, rank = tekken['config']['default_num_special_tokens'], letters(), {}
    for line in tekken['bpe_ranks'].split('\n'):
        mark, first, *tokens = line.split(' ')
        assert mark == '!'
        for i, token in enumerate(tokens):
            rank[base64.b64decode(token)] = int(first) + i
    rank = {t: r for t, r in rank.items() if r < tekken['config']['default_vocab_size'] - special}
    text = {t: ''.join(letter[b] for b in t) for t in rank}
    merges = []
    for token, at in sorted(rank.items(), key=lambda x: x[1]):
        cuts = [(token[:i], token[i:]) for i in range(1, len(token))]
        cuts = [(a, b) for a, b in cuts if a in rank and b in rank]
        merges += [[text[a], text[b]] for a, b in sorted(cuts, key=lambda c: (rank[c[0]], rank[c[1]]))]
    names = ['<unk>', '<s>', '</s>', *(f'<SPECIAL_{i}>' for i in range(3, special))]
    return {'version': '1.0', 'truncation': None, 'padding': None, 'added_tokens': added(names), 'normalizer': None,
            'pre_tokenizer': {'type': 'Sequence', 'pretokenizers': [
                {'type': 'Split', 'pattern': {'Regex': tekken['config']['pattern']}, 'behavior': 'Isolated', 'invert': False},
                {'type': 'ByteLevel', 'add_prefix_space': False, 'trim_offsets': True, 'use_regex': False}]},
            'post_processor': None, 'decoder': {'type': 'ByteLevel', 'add_prefix_space': True, 'trim_offsets': True, 'use_regex': True},
            'model': {'type': 'BPE', 'dropout': None, 'unk_token': None, 'continuing_subword_prefix': None, 'end_of_word_suffix': None,
                      'fuse_unk': False, 'byte_fallback': False, 'ignore_merges': False,
                      'vocab': {**{n: i for i, n in enumerate(names)}, **{text[t]: r + special for t, r in rank.items()}}, 'merges': merges}}


def compare(name, made, port):
    os.makedirs(f'{out}/{name}', exist_ok=True)
    path = f'{out}/{name}/tokenizer.json'
    with open(path, 'w', encoding='utf-8') as f:
        json.dump(made, f, ensure_ascii=False)
    with open(f'{strings}/{port}', encoding='utf-8') as f:
        rows = json.load(f)
    with tempfile.NamedTemporaryFile('w', encoding='utf-8') as f:
        f.writelines(json.dumps(r['text']) + '\n' for r in rows)
        f.flush()
        ours = [json.loads(s) for s in subprocess.run([program, path, f.name, '--ids'], check=True, stdout=subprocess.PIPE,
                                                      encoding='utf-8', errors='surrogateescape').stdout.split('\n') if s]
    theirs = Tokenizer.from_file(path)
    wrong, other = 0, collections.Counter()
    assert len(ours) == len(rows)
    for row, (ids, text) in zip(rows, ours):
        want = theirs.encode(row['text'], add_special_tokens=False).ids
        same = ids == want and text == theirs.decode(want, skip_special_tokens=False)
        if not same:
            print(f'  {row["text"][:60]!r}: {ids[:12]}, {want[:12]} wanted; {text[:60]!r}')
        wrong += not same
        if want != row['ids']:
            other[row['cat']] += 1
    print(f'{name}: {len(rows)} strings, {wrong} differ from Hugging Face tokenizers; the port differs from these in {sum(other.values())}'
          f' {dict(other) if other else ""}', flush=True)
    return wrong


sys.exit(1 if compare('v0.3', v03(), 'mistral-v0.3.js.json') + compare('nemo', nemo(), 'mistral-nemo-tekken-240718.js.json') else 0)
