#!/bin/bash
# embed_real.sh -- `embed` on real models: tables, files of every form, wrong input.
set -u
. "$(dirname "$0")/check.bash"
M=${MIGAKI_BIN:?} MODELS=${MIGAKI_MODELS:?}
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
cd "$T" || exit 1
export HOME=$T LC_ALL=C.UTF-8 LANGUAGE=
mini="$M embed -m $MODELS/minilm"

printf '%s\n' "The cat sits on the mat." "A dog sleeps." "レストラン" "" "食堂" > texts.txt
printf '%s\n' '{"sentence": "a", "category": "x"}' '{"sentence": "b", "category": "y", "name": "B"}' > records.jsonl
echo '{"q_id": 836, "question": "食事する場所は？", "choice0": "鉛筆", "choice1": "レストラン", "choice2": "ノート", "choice3": "引き出し", "choice4": "食堂", "label": 1}' > jcq.jsonl
printf 'text,group\n"one, two",g\nthree,h\n' > table.csv
python3 - <<'PY' > many.txt
for i in range(60): print(["the cat number %d", "stocks fell by %d points", "rain in town %d"][i % 3] % i)
PY

check table 0 '^レストラン +[-0-9.]+ +[-0-9.]+ +1\.000' $mini -d texts.txt
check words-first 0 '^minilm: 2 texts, vectors of 384 numbers \(layer 6 of 6, mean\)' $M embed "$MODELS/minilm" cat dog
check layer 0 'layer 2 of 6, cls' $mini cat dog --layer 2 --pooling cls
check layer-from-end 0 'layer 5 of 6' $mini cat dog --layer -2
check input-table 0 'input table' $mini cat dog --words
check csv-in 0 '^one, two ' $mini -d table.csv
check jcq 0 '^食事する場所… +1.000' $mini -d jcq.jsonl
check names 0 '^B ' $mini -d records.jsonl --label_field name
check near 0 '^the cat numb… +0.[0-9]+ the cat' $mini -d many.txt
check tsne 0 't-SNE +perplexity 19 · KL divergence 0\.[0-9]+ · trustworthiness 0\.[0-9]+' $mini -d many.txt
check tsne-options 0 'perplexity 7 ' $mini -d many.txt --projection tsne --perplexity 7 --learning_rate 60 --early_exaggeration 4 --max_iter 300 --angle 0.3 --init random --seed 3 --n_neighbors 3
check seed-1 0 . $mini -d many.txt --projection tsne --init random --seed 3 --json
$mini -d many.txt --projection tsne --init random --seed 3 --json > a.json; $mini -d many.txt --projection tsne --init random --seed 3 --threads 1 --json > b.json
python3 - <<'PY' || bad=1
import json
a, b = json.load(open("a.json")), json.load(open("b.json"))
assert len(a["items"]) == 60 and len(a["items"][0]["embedding"]) == 384 and len(a["cosine"]) == 60
assert a["items"][7]["t-SNE"] == b["items"][7]["t-SNE"] and a["t-SNE"]["perplexity"] == 19 and a["t-SNE"]["rounds"] >= 250 and 0 < a["t-SNE"]["trustworthiness"] <= 1
PY
check files 0 'written: out/embed.html' $mini -d jcq.jsonl -o out --format jsonl,safetensors,csv --normalize
python3 - <<'PY' || bad=1
import csv, json, struct
rows = [json.loads(l) for l in open("out/embeddings.jsonl")]
assert [r["group"] for r in rows] == ["question", "choice", "right choice", "choice", "choice", "choice"], rows
assert abs(sum(v * v for v in rows[2]["embedding"]) - 1) < 1e-5
table = list(csv.DictReader(open("out/embeddings.csv")))
assert table[2]["text"] == "レストラン" and table[2]["side"] == "after" and abs(float(table[2]["v3"]) - rows[2]["embedding"][3]) < 1e-9
raw = open("out/embeddings.safetensors", "rb").read()
n = struct.unpack("<Q", raw[:8])[0]
head = json.loads(raw[8:8 + n])
assert head["embeddings"]["shape"] == [6, 384] and json.loads(head["__metadata__"]["texts"])[2] == "レストラン"
begin = 8 + n + head["embeddings"]["data_offsets"][0]
assert abs(struct.unpack_from("<f", raw, begin + 4 * (2 * 384 + 3))[0] - rows[2]["embedding"][3]) < 1e-8
page = open("out/embed.html").read()
assert page.count("<svg") == 1 and ">レストラン</text>" in page and "<script" not in page and "http" not in page.replace("http://www.w3.org", "").replace("http-equiv", "")
assert ">レストラン</text>" in open("out/pca.svg").read()
assert "embedding" not in json.load(open("out/embed.json"))["items"][0]
PY
if "$M" doctor | grep -q 'HTML and PNG'; then [ -s out/pca.png ] || { echo "FAILED: no pca.png"; bad=1; }
else check no-png 0 'no PNG can be drawn: .*install' $mini -d jcq.jsonl -o out; fi
check cut 0 '^minilm: 2 texts' $mini "$(printf 'word %.0s' $(seq 700))" b --truncation cut
check cut-words 0 'minilm: 2 texts' $mini "a b c d e f g" b --truncation cut --max_length 4

check decoder 0 'layer 15 of 30, last' "$M" embed -m "$MODELS/smollm2.gguf" cat dog --layer 15 --pooling last

check no-text 2 'no text is given' $mini
check empty-text 4 'text 1 is empty' $mini ""
check no-model 2 'no such model|no model' "$M" embed nowhere cat
check long 4 'text 1 has 702 tokens, the context is 512' $mini "$(printf 'word %.0s' $(seq 700))"
check no-field 4 'jcq.jsonl, line 1: has no text .body.' $mini -d jcq.jsonl --text_field body
check unknown-fields 4 'x.jsonl, line 1: has no text, sentence' bash -c "echo '{\"a\": 1}' > x.jsonl; $mini -d x.jsonl"
check broken 4 'y.jsonl, line 2' bash -c "printf '{\"text\": \"a\"}\n{\"text\": \n' > y.jsonl; $mini -d y.jsonl"
check empty-file 4 'e.txt: holds no text' bash -c ": > e.txt; $mini -d e.txt"
check bad-utf8 4 'text 1 is no UTF-8' $mini $'\xff\xfe'
check far-layer 2 'layer 9: this model has 6' $mini cat --layer 9
check pooler-inside 2 'pooler belongs to the last layer' $mini cat --layer 2 --pooling pooler
check no-pooler 2 'has no pooler' "$M" embed -m "$MODELS/smollm2.gguf" cat --pooling pooler
check before 2 'before compares a run' $mini cat --before
check perplexity 2 'perplexity 5: with 4 points' $mini -d texts.txt --projection tsne --perplexity 5
check rate 2 'learning_rate is .fast.' $mini -d texts.txt --learning_rate fast
check two-points 2 'at least 3 texts' $mini cat dog --projection pca
check folder 1 'cannot' $mini cat dog -o /proc/nowhere
exit $bad
