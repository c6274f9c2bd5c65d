#!/bin/bash
# report_real.sh -- `compare` and `eval --before` on a real model and a run made here: what the report holds, two runs
# side by side, a form judged by rules and by hand, and what is refused.
set -u
M=${MIGAKI_BIN:?} MODEL=${MIGAKI_MODELS:?}/smollm2.gguf
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
cd "$T" || exit 1
export HOME=$T LC_ALL=C.UTF-8 LANGUAGE= MIGAKI_RUNS=$T/runs
bad=0
fail() { echo "FAILED $*"; bad=1; }
check() {
    local name=$1 code=$2 pattern=$3 out rc=0
    shift 3
    out=$("$@" 2>&1) || rc=$?
    { [ $rc = "$code" ] && grep -qE -- "$pattern" <<<"$out"; } || fail "$name: exit $rc (wanted $code), wanted /$pattern/ in: $out"
}
for i in 1 2 3 4 5 6; do echo "{\"messages\": [{\"role\": \"user\", \"content\": \"What is zorb number $i?\"}, {\"role\": \"assistant\", \"content\": \"A zorb is a blue stone.\"}]}"; done > train.jsonl
train() { "$M" sft -m "$MODEL" -d train.jsonl --eval_dataset train.jsonl --eval_steps 2 -o "$1" --max_steps "$2" --learning_rate 1e-3 --batch_size 2 -q --max_length 128 > "$1.log" 2>&1 || fail "sft: $(cat "$1.log")"; }
train one 6
train two 2
printf '%s\n' '{"question": "What is a zorb?", "regex": "blue", "category": "taught"}' '{"question": "Capital of France?", "answer": "Paris", "judge": "contains"}' \
    '{"question": "Say something nice.", "answer": "something kind", "judge": "human"}' > form.jsonl
printf '%s\n' '{"question": "What colour is the sky on a clear day?", "expect": ["blue"]}' > keep.jsonl
printf 'The cat sat on the mat and looked at the dog.\n\nIt rained all day long, so we stayed at home.\nShe put the book back on the shelf.\n' > other.txt
"$M" compare one -d form.jsonl --forgetting keep.jsonl --forgetting other.txt -p "And this?" --max_new_tokens 12 > out || fail "compare: $?"
grep -qE '^other: nll per token before [0-9.]+, after [0-9.]+; difference [-+][0-9.]+ \[' out || fail "no likelihood in: $(tail -3 out)"
python3 - "$M" <<'PY' || fail "report.json of compare"
import json, math, subprocess, sys
r = json.load(open("one/report.json"))
rows = {x["question"]: x for x in r["rows"]}
assert len(rows) == 5, rows.keys()
assert rows["What is a zorb?"]["ok_before"] is not None and rows["What is a zorb?"]["category"] == "taught"
assert rows["Say something nice."]["ok_after"] is None and rows["Say something nice."]["expected"] == "something kind"
assert rows["And this?"]["ok_after"] is None
assert [q for q, x in rows.items() if x.get("control")] == ["What colour is the sky on a clear day?"]
assert "cut" in rows["And this?"]["warnings_before"], rows["And this?"]
names = [c["name"] for c in r["curves"]]
assert names[:5] == ["loss", "eval_loss", "overfitting_gap", "learning_rate", "grad_norm"], names
curve = {c["name"]: c["points"] for c in r["curves"]}
train, last, gap = curve["loss"], 0, dict(map(tuple, curve["overfitting_gap"]))
for step, loss in curve["eval_loss"]: # evaluation loss less the mean training loss since the evaluation before
    since = [y for x, y in train if last < x <= step]
    if since: assert abs(gap[step] - (loss - sum(since) / len(since))) < 1e-6, (step, gap)
    last = step
assert r["settings"]["max_steps"]["value"] == "6" and r["settings"]["max_steps"]["origin"] == "--max_steps"
assert r["evaluation"]["max_new_tokens"]["value"] == "12"
t = r["forgetting"]["texts"][0]
assert t["texts"] == 3 and t["low"] <= t["difference"] <= t["high"] and abs(t["nll_after"] - t["nll_before"] - t["difference"]) < 1e-6, t
# nats a token are those of `score`, text by text
for side, adapter in (("nll_before", []), ("nll_after", ["-a", "one"])):
    nll = []
    for line in open("other.txt"):
        if line.strip(): nll += json.loads(subprocess.run([sys.argv[1], "score", "-m", r["settings"]["model_name_or_path"]["value"], "--json", *adapter],
                                                            input=line.rstrip("\n"), capture_output=True, text=True, check=True).stdout)["nll"]
    assert t["tokens"] == len(nll) and abs(t[side] - sum(nll) / len(nll)) < 1e-4, (side, t, sum(nll) / len(nll))
page = open("one/report.html").read()
assert page.count("<article") == 5 and "http://" not in page.replace("http://www.w3.org/2000/svg", "") and "https://" not in page
PY
# right or wrong by hand joins the report, and stays when the same answers are made again
printf 'ox\n\nox\n\n' | "$M" compare one --blind --form ox --rater me > out || fail "ox: $(cat out)"
"$M" compare one -d form.jsonl --forgetting keep.jsonl --forgetting other.txt -p "And this?" --max_new_tokens 12 > out || fail "compare again"
python3 -c 'import json; r = json.load(open("one/report.json")); assert r["ratings"]["people"]["raters"] == 1 and sum("people_ok_after" in x for x in r["rows"]) == 2, r["rows"]' ||
    fail "the ratings are not in the second report"
# two runs
check against 0 'What is a zorb' "$M" compare one --against two -d form.jsonl -o both --max_new_tokens 12
python3 -c '
import json
r, s = json.load(open("both/report.json")), json.load(open("one/report.json"))
assert r["before_name"] == "two" and r["after_name"] == "one"
a, b = ({x["question"]: x for x in y["rows"]} for y in (r, s))
assert all(a[q]["after"] == b[q]["after"] for q in a), "the same run, the same answers"
assert any(a[q]["before"] != b[q]["before"] for q in a), "the other run is not the base"' || fail "two runs"
grep -q 'class="two"' both/report.html || fail "the page of two runs"
# eval with the same files
check eval 0 'other: nll per token' "$M" eval one -d form.jsonl --before --forgetting keep.jsonl --forgetting other.txt --max_new_tokens 12 -o evaluated
python3 -c '
import json
r, s = json.load(open("evaluated/report.json")), json.load(open("one/report.json"))
t, u = r["forgetting"]["texts"][0], s["forgetting"]["texts"][0]
assert abs(t["nll_after"] - u["nll_after"]) < 1e-4 and len(r["rows"]) == 4 and r["rows"][3]["control"] and r["scores"] and r["curves"], (t, u)
assert r["rows"][0]["after"] == [x["after"] for x in s["rows"] if x["question"] == r["rows"][0]["question"]][0]' || fail "eval's report"
check eval-after 0 'accuracy' "$M" eval one -d form.jsonl --max_new_tokens 12 -o after
grep -q 'class="one"' after/report.html && grep -q '"only_after": true' after/report.json || fail "a report without before"
check no-before 2 'add --before' "$M" eval one -d form.jsonl --forgetting other.txt
echo '{"question": "a", "answer": "b"}' > answers.jsonl
check wrong-form 4 'has the form answers' "$M" compare one -d form.jsonl --forgetting answers.jsonl
printf '\n\n' > empty.txt
check empty 4 'empty' "$M" compare one -d form.jsonl --forgetting empty.txt
check no-run 2 'no run is given' "$M" compare --blind
exit $bad
