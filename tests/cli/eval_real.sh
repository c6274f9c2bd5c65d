#!/bin/bash
# eval_real.sh -- `eval` on a real model: every form of test set, every score and every option of scores, wrong input.
set -u
. "$(dirname "$0")/check.bash"
M=${MIGAKI_BIN:?} MODELS=${MIGAKI_MODELS:?}
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
cd "$T" || exit 1
export HOME=$T LC_ALL=C.UTF-8 LANGUAGE=
eval="$M eval -m $MODELS/smollm2.gguf --max_new_tokens 6"

# ---- every form ----
echo '{"q_id": 1, "question": "食事する場所は？", "choice0": "鉛筆", "choice1": "レストラン", "choice2": "ノート", "choice3": "机", "choice4": "山", "label": 1}' > jcqa.jsonl
printf '%s\n' '{"sentence1": "犬が走る。", "sentence2": "動物が走る。", "label": "entailment"}' '{"sentence1": "a", "sentence2": "b", "label": "neutral"}' > jnli.jsonl
echo '{"data": [{"title": "都市", "paragraphs": [{"context": "都市 [SEP] 日本の首都は東京である。", "qas": [{"question": "首都は？", "answers": [{"text": "東京"}, {"text": "東京都"}]}]}]}]}' > jsquad.json
printf 'question,A,B,C,D,answer,subject\n"1 + 1 = ?",1,2,3,4,B,math\n' > jmmlu.csv
echo '{"question": "1 + 1 = ?", "A": "1", "B": "2", "C": "3", "D": "4", "answer": "B"}' > jmmlu.jsonl
printf '%s\n' '{"question": "The sky is", "choices": ["blue", "loud"], "answer": 0}' '{"prompt": "Water is", "choices": ["wet", "dry"], "answer": "wet", "category": "c"}' > choices.jsonl
printf '%s\n' '{"question": "Capital of France?", "expect": [["Paris", "パリ"]], "reject": ["London"]}' > judged.jsonl
printf '%s\n' '{"question": "日本の首都は？", "answer": "東京です。"}' '{"question": "Say hello", "answers": ["hello", "hi"]}' > answers.jsonl
printf '%s\n' '{"instruction": "Translate", "input": "cat", "output": "猫"}' > alpaca.jsonl
printf '%s\n' '{"text": "The cat sat on the mat and looked at the dog."}' '{"text": "It rained all day long."}' > texts.jsonl
printf 'The quick brown fox jumps over the lazy dog. %.0s' 1 2 3 4 5 6 > plain.txt
all=$($eval -d jcqa.jsonl -d jnli.jsonl -d jsquad.json -d jmmlu.csv -d jmmlu.jsonl -d choices.jsonl -d judged.jsonl -d answers.jsonl -d alpaca.jsonl -d texts.jsonl \
    -d plain.txt 2>&1)
for form in jcqa:jcommonsenseqa:accuracy_bytes jnli:jnli:macro_f1 jsquad:jsquad:char_f1 jmmlu:jmmlu:accuracy choices:choices:accuracy_tokens judged:judged:accuracy \
    answers:answers:rougeL alpaca:answers:exact_match texts:text:token_accuracy plain:text:perplexity; do
    IFS=: read -r file name score <<<"$form"
    check "form $file" 0 "^$file: $name, [0-9]+ items" echo "$all"
    check "score $file" 0 "^$score " echo "$(sed -n "/^$file: /,/^\$/p" <<<"$all")"
done
check generation 0 '^accuracy ' $eval -d jcqa.jsonl --choice_by generation
check few-shot 0 '^jnli: jnli' $eval -d jnli.jsonl --num_fewshot 1 --fewshot_file jnli.jsonl
check limit 0 'jnli, 1 items' $eval -d jnli.jsonl --limit 1
check raw 0 '^accuracy ' $eval -d judged.jsonl --raw
[ "$($eval -d answers.jsonl --json)" != "$($eval -d answers.jsonl --json --num_fewshot 2 --fewshot_file answers.jsonl)" ] || { echo "FAILED: examples change nothing"; bad=1; }

# ---- every score, and every option, told by its signature ----
names=bleu,chrf,chrf++,ter,rouge1,rouge2,rougeL,rougeLsum,exact_match,char_f1,repetition
$eval -d answers.jsonl --json --metrics $names > usual.json
$eval -d answers.jsonl --json --metrics $names --tokenize char --lowercase --smooth_method floor --smooth_value 0.25 --max_ngram_order 1 --effective_order \
    --chrf_beta 5 --chrf_whitespace --chrf_eps_smoothing --ter_normalized false --ter_asian_support false --ter_no_punct --ter_case_sensitive \
    --rouge_tokenize rouge --rouge_score recall > other.json
$eval -d answers.jsonl --json --metrics $names --tokenize char --smooth_method add-k --ter_asian_support true --rouge_score precision > third.json
$eval -d answers.jsonl --json --metrics bleu --smooth_method none > fourth.json
python3 - $names <<'PY' || bad=1
import json, sys
def read(name):
    scores = json.load(open(name))[0]["scores"]
    return {s["metric"]: s for s in scores}
usual, other, third, fourth = map(read, ("usual.json", "other.json", "third.json", "fourth.json"))
assert list(usual) == sys.argv[1].split(",") + ["distinct-1", "distinct-2", "distinct-3"], list(usual)
def has(scores, metric, *parts):
    for part in parts: assert part in scores[metric]["signature"].split("|"), (metric, part, scores[metric]["signature"])
has(usual, "bleu", "tok:ja-mecab-0.996-IPA", "case:mixed", "eff:no", "smooth:exp")
has(usual, "chrf", "case:mixed", "eff:yes", "nc:6", "nw:0", "space:no")
has(usual, "chrf++", "nw:2")
has(usual, "ter", "case:lc", "tok:tercom", "norm:yes", "punct:yes", "asian:yes")
has(usual, "rougeL", "tok:ja-mecab-0.996-IPA", "stem:no")
has(other, "bleu", "tok:char", "case:lc", "eff:yes", "smooth:floor[0.25]")
has(other, "chrf", "case:lc", "eff:no", "space:yes")
has(other, "ter", "case:mixed", "norm:no", "punct:no", "asian:no")
has(other, "rougeL", "case:lc", "tok:rouge", "score:recall")
has(third, "bleu", "smooth:add-k[1.00]")
has(third, "ter", "norm:yes", "asian:yes")
has(third, "rouge1", "tok:char", "score:precision")
has(fourth, "bleu", "smooth:none")
for metric in ("chrf", "bleu"): # beta and the order stand in no signature
    assert other[metric]["score"] != usual[metric]["score"], metric
PY

# ---- perplexity ----
for o in "--window 32 --stride 16" "--window 32 --stride 32" "--window 20 --stride 7"; do check "perplexity $o" 0 'max_length:(32|20)\|stride:(16|32|7)\|' $eval -d plain.txt --json $o; done

# ---- wrong input ----
check no-data 2 'no test set is given' $eval
check no-file 2 'nowhere.jsonl' $eval -d nowhere.jsonl
check metric 2 "'blue' is not known" $eval -d answers.jsonl --metrics blue
check tokenize 2 'tokenize mecab: there are 13a' $eval -d answers.jsonl --tokenize mecab
check rouge-tokenize 2 'rouge_tokenize x: there are' $eval -d answers.jsonl --rouge_tokenize x
check smooth 2 "smoothing 'exp' takes none" $eval -d answers.jsonl --smooth_value 0.5
check stride 2 'stride 64 is larger than window 32' $eval -d plain.txt --window 32 --stride 64
check few 2 'num_fewshot needs examples' $eval -d jnli.jsonl --num_fewshot 2
check before 2 'before compares a run' $eval -d jnli.jsonl --before
bad_file() { # NAME PATTERN TEXT
    printf '%s\n' "$3" > "$1.jsonl"
    check "$1" 4 "$2" $eval -d "$1.jsonl"
}
bad_file unknown 'no form of test set has these keys' '{"a": 1}'
bad_file gold 'right answer is number 7 of 5' '{"question": "q", "choice0": "a", "choice1": "b", "choice2": "c", "choice3": "d", "choice4": "e", "label": 7}'
bad_file letter 'right answer is number -1' '{"question": "q", "A": "a", "B": "b", "C": "c", "D": "d", "answer": "E"}'
bad_file mixed 'line 2: the first record has the form text' "$(printf '{"text": "a b"}\n{"question": "q", "answer": "a"}')"
bad_file broken 'line 2' "$(printf '{"text": "a b"}\n{"text":')"
bad_file short 'perplexity needs 2' '{"text": "a"}'
bad_file no-answer 'an answer is no text' '{"question": "q", "answers": [3]}'
: > empty.jsonl
check empty 4 'nothing to evaluate' $eval -d empty.jsonl
exit $bad
