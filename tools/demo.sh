#!/bin/bash
# demo.sh MODEL MODELS: the main job, before and after (`make demo` calls this).
# Trains an adapter on demo/ja/train.jsonl with the settings of demo/MODEL.yaml, then asks the
# questions of demo/ja with and without it.  The table is printed, and report.html and report.json
# lie in the run's folder below demo/out (DEMO_OUT).
set -euo pipefail
cd "$(dirname "$0")/.."
model=${1:?usage: demo.sh gemma3|smollm2|qwen MODELS}
models=${2:-models}
migaki=${MIGAKI_BIN:-build/release/bin/migaki}
config=demo/$model.yaml
[ -e "$config" ] || { echo "demo.sh: MODEL is gemma3, smollm2 or qwen, not '$model'" >&2; exit 2; }

run=${DEMO_OUT:-demo/out}/$model-$(date +%Y%m%d-%H%M%S)
start=$SECONDS
longest=40
[ "$model" = smollm2 ] && longest=100 # its tokenizer spells Japanese in bytes
"$migaki" sft -c "$config" -m "$models/$model.gguf" -d demo/ja/train.jsonl -d demo/ja/plain.jsonl -o "$run"
"$migaki" compare "$run" -d demo/ja/heldout.jsonl -d demo/ja/neighbours.jsonl -d demo/ja/controls.jsonl \
    --forgetting demo/ja/forgetting.txt --max_new_tokens "$longest"
echo
echo "$((SECONDS - start)) s · $run/report.html · $migaki chat $run"
