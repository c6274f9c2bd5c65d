#!/bin/bash
# sweep_real.sh -- `migaki sweep` on a real model: every search, interrupted and gone on with, refused when it cannot be.
set -u
M=${MIGAKI_BIN:?} MODEL=${MIGAKI_MODELS:?}/gemma3.gguf DEMO=${MIGAKI_SOURCE:?}/demo/ja/train.jsonl
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
cd "$T" || exit 1
export HOME=$T LC_ALL=C.UTF-8 LANGUAGE=en MIGAKI_RUNS=$T/runs
bad=0
fail() { echo "FAILED $*"; bad=1; }
COMMON=(sweep -m "$MODEL" -d "$DEMO" --max_length 96 --truncation drop --val_size 4 --max_samples 16 --batch_size 2 --warmup_steps 0)
sweep() { "$M" "${COMMON[@]}" "$@"; }

# a grid of 2 x 2; the sensible learning rate wins
sweep --vary learning_rate=1e-6,1e-3 --vary lora_target_modules=q+v,all-linear -o grid > out 2>&1 || fail "grid: $(cat out)"
[ "$(grep -c '^Trial' out)" = 4 ] || fail "grid: not four trials: $(cat out)"
grep -A1 '^trial' out | tail -n 1 | grep -qE '^ +4 +(0\.001|1e-3) +all-linear' || fail "grid: the best is another one: $(cat out)"
grep -q '^learning_rate: 0.001$\|^learning_rate: 1e-3$' grid/best.yaml && grep -q '^lora_target_modules: \[all-linear\]$' grid/best.yaml || fail "best.yaml: $(cat grid/best.yaml)"
"$M" plan grid/best.yaml > out 2>&1 || fail "best.yaml is no configuration: $(cat out)"
for f in sweep.yaml sweep.json sweep.html trials.jsonl trial-004/adapter_model.safetensors; do [ -s "grid/$f" ] || fail "grid/$f is missing"; done
# the same again trains nothing; other settings are refused
sweep --vary learning_rate=1e-6,1e-3 --vary lora_target_modules=q+v,all-linear -o grid > out 2>&1 || fail "again: $(cat out)"
grep -q '^Trial' out && fail "again: it trained: $(cat out)"
sweep --vary learning_rate=1e-6,2e-3 -o grid > out 2>&1; [ $? = 2 ] || fail "other settings in one folder"

# halving, stopped half-way: the same result as without a stop
H=(--vary learning_rate=1e-5..1e-2/4 --search halving --halving_factor 2)
sweep "${H[@]}" -o whole > out 2>&1 || fail "halving: $(cat out)"
[ "$(grep -c '^Trial' out)" = 7 ] || fail "halving: 4 + 2 + 1 trials were wanted: $(cat out)"
"$M" "${COMMON[@]}" "${H[@]}" -o parts > out 2>&1 & child=$!
for i in $(seq 600); do [ "$(wc -l 2> /dev/null < parts/trials.jsonl || echo 0)" -ge 5 ] && break; sleep 0.05; done
kill -TERM $child; wait $child; [ $? = 130 ] || fail "stopped: exit code, $(cat out)"
echo '{"trial": 1, "rou' >> parts/trials.jsonl # killed while writing
"$M" sweep parts/sweep.yaml > out 2>&1 || fail "going on: $(cat out)"
strip() { sed -E 's/"seconds": [^,]*, //; s/"peak_memory": [^,]*, //' "$1"; }
[ "$(strip whole/sweep.json)" = "$(strip parts/sweep.json)" ] || fail "going on gave another result: $(diff <(strip whole/sweep.json) <(strip parts/sweep.json))"

# a rising learning rate proposes one, and a learning curve says something of more data
sweep --search lr_range --range_steps 60 -o range > out 2>&1 || fail "range: $(cat out)"
rate=$(sed -n 's/.*Proposed: --learning_rate //p' out)
awk -v r="${rate:-0}" 'BEGIN { exit !(r >= 1e-5 && r <= 2e-2) }' || fail "range: proposed '$rate': $(cat out)"
"$M" sft -m "$MODEL" -d "$DEMO" --max_length 96 --truncation drop --val_size 6 --max_samples 30 --batch_size 2 --lr 1e-3 --num_train_epochs 1 --learning_curve --repeats 1 \
    -o curve > out 2>&1 || fail "curve: $(cat out)"
grep -q 'with twice the data' out || fail "curve: no forecast: $(cat out)"

# refused before anything is trained
refuse() { local why=$1; shift; sweep "$@" -o none > out 2>&1; [ $? = 2 ] && grep -q "$why" out || fail "wanted /$why/: $(cat out)"; }
refuse 'nothing is varied'
refuse 'did you mean learning_rate' --vary lerning_rate=1,2
refuse 'no value for lora_r' --vary lora_r=0,4
refuse 'cannot be varied' --vary output_dir=a,b
refuse 'named twice' --vary lora_r=4,8 --vary lora_r=4
refuse 'learning rate alone' --search lr_range --vary lora_r=4,8
sweep --val_size 0 --vary lora_r=4,8 -o none > out 2>&1; [ $? = 2 ] || fail "without validation data"
[ -e none ] && fail "a refused sweep left a folder"
# a trial that fails is a result, not the end
sweep --vary max_length=96,2 --truncation cut --empty_mask refuse -o some > out 2>&1 || fail "one bad trial: $(cat out)"
grep -q 'failed: ' out || fail "one bad trial: nothing failed: $(cat out)"
exit $bad
