#!/bin/bash
# export.sh: what `export`, `merge` and `quantize` write, loaded by transformers, PEFT and llama.cpp.
#
#   PEER=/path/to/python MIGAKI_BIN=build/release/bin/migaki MIGAKI_MODELS=models bash tests/interop/export.sh [RUN]
#
# PEER is a Python that has torch, transformers, peft, gguf and llama-cpp-python.  A whole circle on SmolLM2-135M: GGUF file,
# Hugging Face folder, the demo's training on it (some five minutes; RUN is one that was made before), merged folder,
# GGUF files and GGUF LoRA.  Its last output is in docs/INTEROP.md.
set -eu
peer=${PEER:?a Python with torch, transformers, peft, gguf and llama-cpp-python}
migaki=$(realpath "${MIGAKI_BIN:-build/release/bin/migaki}")
model=$(realpath "${MIGAKI_MODELS:-models}")/smollm2.gguf
here=$(cd "$(dirname "$0")" && pwd)
demo=$(realpath "$here/../../demo")
run=${1:+$(realpath "$1")}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export PYTHONWARNINGS=ignore HF_HUB_OFFLINE=1 HF_HUB_DISABLE_PROGRESS_BARS=1 TQDM_DISABLE=1 TRANSFORMERS_VERBOSITY=error LC_ALL=C.UTF-8
peer() { "$peer" "$here/export_peer.py" "$@"; }

echo "== GGUF to folder and back"
"$migaki" export -m "$model" --to hf --dtype float32 -o hf
peer scores "$migaki" hf hf ""
peer tokens "$migaki" hf
"$migaki" export -m hf --to gguf -o back.gguf
"$migaki" export -m back.gguf --to hf -o hf2
"$migaki" export -m hf2 --to gguf -o back2.gguf
peer same-gguf back.gguf back2.gguf

if [ -z "$run" ]; then
    echo "== training"
    "$migaki" sft -m hf -d "$demo/ja/train.jsonl" -d "$demo/ja/plain.jsonl" -c "$demo/smollm2.yaml" --dtype float32 -o run -q
    run=$work/run
fi

echo "== merged"
"$migaki" merge "$run" -m hf --dtype float32 -o merged
peer scores "$migaki" merged hf "$run"
peer merged hf "$run" merged

echo "== GGUF and LoRA"
"$migaki" export "$run" -m hf --to gguf -o merged.gguf
"$migaki" export "$run" -m hf --to gguf-lora -o lora.gguf
"$migaki" export "$run" -m hf --to gguf:q4_k_m -o q4.gguf
peer greedy "$migaki" merged merged.gguf "" "$demo/ja/heldout.jsonl" exact
peer greedy "$migaki" merged back.gguf lora.gguf "$demo/ja/heldout.jsonl" exact
# the packed weights themselves: decoded by us, multiplied by llama.cpp in fp32
"$migaki" export -m q4.gguf --to gguf:f32 -o q4-f32.gguf
peer greedy "$migaki" q4.gguf q4-f32.gguf "" "$demo/ja/heldout.jsonl" exact
peer greedy "$migaki" q4.gguf q4.gguf "" "$demo/ja/heldout.jsonl" near

echo "== quantised as llama.cpp does"
for type in q8_0 q4_0 q4_k_m q5_k_m q6_k; do
    "$migaki" quantize merged.gguf "ours-$type.gguf" "$type" --max_kl 10 > /dev/null
    peer quantized merged.gguf "ours-$type.gguf" "$type"
done
