#!/bin/bash
# sft_json_real.sh -- what scripts read from `migaki sft --json`, on a real model: the keys are a promise.
set -u
M=${MIGAKI_BIN:?} MODEL=${MIGAKI_MODELS:?}/smollm2.gguf
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
cd "$T" || exit 1
export HOME=$T LC_ALL=C.UTF-8 LANGUAGE= MIGAKI_RUNS=$T/runs
bad=0
fail() { echo "FAILED $*"; bad=1; }
for i in 1 2 3 4; do
    echo "{\"input_ids\": [$((100 + i)), 200, 300, 400, 500, 600, 700, 800], \"labels\": [-100, -100, 300, 400, 500, 600, 700, 800]}"
done > rows.jsonl
train() { "$M" sft -m "$MODEL" -d rows.jsonl --json --dtype float32 --lr 1e-3 --lr_scheduler_type constant --warmup_steps 0 \
    --batch_size 2 --shuffle false --max_length 64 "$@"; }

train -o first --max_steps 6 > out 2> err || fail "sft: exit $?: $(cat err)"
[ -s err ] && fail "something on standard error: $(cat err)"
N='-?[0-9]+(\.[0-9]+)?(e[-+]?[0-9]+)?'
grep -vqE '^\{.*\}$' out && fail "a line that is no object: $(grep -vE '^\{.*\}$' out)"
step="^\{\"step\": [0-9]+, \"loss\": $N, \"grad_norm\": $N, \"lr\": $N, \"tokens\": [0-9]+, \"tokens_per_s\": $N[,}]"
[ "$(grep -cE "$step" out)" = 6 ] || fail "not one object a step: $(cat out)"
[ "$(grep -oE '^\{"step": [0-9]+' out | grep -oE '[0-9]+$' | tr '\n' ' ')" = "1 2 3 4 5 6 " ] || fail "steps do not count from 1"
grep -E "$step" out | grep -vq '"lr": 0.001, "tokens": 16,' && fail "rate or tokens are wrong: $(cat out)"
tail -n 1 out | grep -qE '"run": "[^"]*/first"' || fail "the last object does not name the run's folder: $(tail -n 1 out)"
tail -n 1 out | grep -qE '"peak_memory": [1-9][0-9]{7,}, "planned_memory": [1-9][0-9]{7,}' || fail "no peak memory: $(tail -n 1 out)"
for f in adapter_config.json adapter_model.safetensors tokenizer.json tokenizer_config.json chat_template.jinja README.md config.yaml \
         environment.json trainer_state.json trainer_log.jsonl train_results.json all_results.json figures/loss.svg \
         checkpoint-6/MANIFEST checkpoint-6/optimizer.safetensors; do
    [ -s "first/$f" ] || fail "first/$f is missing"
done

# -a goes on from an adapter: the first loss is about the last one, not that of the bare model
loss() { grep -oE '"loss": [0-9.]+' "$1" | sed -n "$2p" | grep -oE '[0-9.]+$'; }
train -a first -o second --max_steps 1 > out2 2> err || fail "sft -a: exit $?: $(cat err)"
awk -v bare="$(loss out 1)" -v last="$(loss out 6)" -v now="$(loss out2 1)" \
    'BEGIN { exit !(last < bare * 0.9 && now < bare * 0.9) }' || fail "-a: loss $(loss out2 1) after $(loss out 1) to $(loss out 6)"
train -a "$T" -o third --max_steps 1 > out3 2> err; [ $? = 2 ] || fail "-a with a folder that holds no adapter"
[ -e third ] && fail "a refused run left a folder"

# errors are one object, too
"$M" sft -m "$MODEL" -d nothing.jsonl --json -o fourth > out4 2> err; [ $? = 2 ] || fail "missing data: exit code"
grep -qE '^\{"error": "E203", "message": ".*nothing.jsonl' err || fail "missing data: $(cat err)"
exit $bad
