#!/usr/bin/env python3
"""Make bert_cases.json: what transformers' BERT tokenizers give for small vocabularies.

    make_bert_cases.py REFERENCE SHARED > bert_cases.json

Needs the PyPI packages transformers, fugashi and ipadic. Each set has "config" (tokenizer_config.json), "vocab"
(vocab.txt), the ids of each of the texts, and in the first set what they decode to. With special tokens they stand between
[CLS] (2) and [SEP] (3). The vocabularies are made from the words of real text,
whole and cut in pieces, so that known words, pieces and unknown words all occur.
"""
import json, os, random, sys, tempfile
from collections import Counter
os.environ['HF_HUB_OFFLINE'] = '1'
from transformers import BertTokenizer, BertJapaneseTokenizer
from transformers.models.bert_japanese.tokenization_bert_japanese import MecabTokenizer

reference, shared = sys.argv[1:]
SPECIAL = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']
strings = [c['text'] for c in json.load(open(f'{shared}/tokenizer-reference/gpt2.json'))]
strings = [s for s in strings if '\0' not in s and len(s) < 400][::2]  # fugashi stops at NUL
japanese = open(f'{reference}/data/aozora/gingatetsudou.txt', encoding='utf-8').read()
strings += [s for s in japanese.split('\n') if s][40:70]
strings += ['昨日は㋿元年、ﾊﾝｶｸとＡＢＣ。', '㌔と①', 'か\u3099き\u3099', '東京都に[MASK]した。', ' 　空　白 \u2028\x1cの間\x85', 'ΟΔΟΣ Σ ΑΣΑ',
            'İstanbul Éclair naïve', "I do not know , don't you ? It 's 'm .", 'x' * 101, 'x' * 100, '##a ##', '[CLS]a[SEP]', '髙﨑𠮷野家',
            'これは\t改行\nです\r\n。', '\ufeffBOM', 'a\u200bb\u00adc', '한국어 텍스트', '🇯🇵👨\u200d👩\u200d👧👍🏽', '〜～―ー−‐', 'ﬁﬂﬀ', '１２３４５']


def vocabulary(words, seed, most):
    r = random.Random(seed)
    common = [w for w, _ in Counter(words).most_common(most)]
    out = dict.fromkeys(SPECIAL)
    for w in common:
        k = r.random()
        if k < .5:
            out[w] = None
        elif len(w) > 1:
            at = r.randrange(1, len(w))
            out[w[:at]] = None
            out['##' + w[at:]] = None
        for c in w[:4] if k < .8 else '':
            out[c] = None
            out['##' + c] = None
    return [w for w in out if w and '\n' not in w and '\r' not in w]


def basic_words(lower):
    from tokenizers import normalizers, pre_tokenizers
    n = normalizers.BertNormalizer(lowercase=lower)
    return [w for s in strings for w, _ in pre_tokenizers.BertPreTokenizer().pre_tokenize_str(n.normalize_str(s))]


def make(name, cls, config, words, seed, most):
    vocab = vocabulary(words, seed, most)
    with tempfile.TemporaryDirectory() as d:
        open(f'{d}/vocab.txt', 'w', encoding='utf-8').write(''.join(w + '\n' for w in vocab))
        json.dump(config, open(f'{d}/tokenizer_config.json', 'w'))
        t = cls(vocab=dict(zip(vocab, range(len(vocab)))), **config) if cls is BertTokenizer else cls.from_pretrained(d)
        ids = [t(s, add_special_tokens=False)['input_ids'] for s in strings]
        assert all(t(s)['input_ids'] == [2] + i + [3] for s, i in zip(strings, ids))
        out = {'name': name, 'config': config, 'vocab': vocab, 'ids': ids}
        if seed == 1:
            out['decoded'] = [t._tokenizer.decode(i, skip_special_tokens=False) for i in ids]
    return out


mecab = MecabTokenizer(mecab_dic='ipadic')
words = [w for s in strings for w in mecab.tokenize(s)]
characters = [c for s in strings for c in s]
ja = {'tokenizer_class': 'BertJapaneseTokenizer', 'word_tokenizer_type': 'mecab', 'do_lower_case': False, 'mecab_kwargs': {'mecab_dic': 'ipadic'}}
en = {'tokenizer_class': 'BertTokenizer'}
sets = [
    make('uncased', BertTokenizer, en | {'do_lower_case': True}, basic_words(True), 1, 900),
    make('cased', BertTokenizer, en | {'do_lower_case': False}, basic_words(False), 2, 900),
    make('accents kept, Chinese together', BertTokenizer, en | {'do_lower_case': True, 'strip_accents': False, 'tokenize_chinese_chars': False},
         basic_words(True), 3, 600),
    make('Japanese word pieces', BertJapaneseTokenizer, ja, words, 4, 1200),
    make('Japanese word pieces, lower case', BertJapaneseTokenizer, ja | {'do_lower_case': True}, [w.lower() for w in words], 5, 800),
    make('Japanese characters', BertJapaneseTokenizer, ja | {'subword_tokenizer_type': 'character'}, characters, 6, 500),
]
json.dump({'texts': strings, 'sets': sets}, sys.stdout, ensure_ascii=False, separators=(',', ':'))
print()
