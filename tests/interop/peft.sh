#!/bin/bash
# peft.sh: our adapters in real PEFT, and PEFT's here, on SmolLM2-135M.
#
#   PEER=/path/to/python MIGAKI_BIN=build/release/bin/migaki MIGAKI_MODELS=models bash tests/interop/peft.sh
#
# PEER is a Python that has torch, transformers, peft and gguf; no part of the build or of `make test`, because a
# machine that only uses this program has none.  transformers reads the same GGUF file and writes the folder that
# both sides then start from.  The numbers it prints are in docs/INTEROP.md.
set -eu
peer=${PEER:?a Python with torch, transformers, peft and gguf}
migaki=$(realpath "${MIGAKI_BIN:-build/release/bin/migaki}")
model=$(realpath "${MIGAKI_MODELS:-models}")/smollm2.gguf
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export PYTHONWARNINGS=ignore MIGAKI_RUNS=$work/runs HF_HUB_OFFLINE=1 HF_HUB_DISABLE_PROGRESS_BARS=1 TQDM_DISABLE=1 TRANSFORMERS_VERBOSITY=error LC_ALL=C.UTF-8

"$peer" "$here/peft_peer.py" base "$model" hf
for i in 1 2 3 4 5 6 7 8; do
    echo "{\"prompt\": \"What is $i times $i?\", \"completion\": \" It is $((i * i)), and BKC is in Kusatsu.\"}"
done > rows.jsonl

train() { # NAME MODEL OPTIONS...: a run whose adapter has moved
    local name=$1 base=$2
    shift 2
    "$migaki" sft -m "$base" -d rows.jsonl -o "$name" --dtype float32 --lr 1e-3 --max_steps 12 -q "$@" 2> "$name.log" || {
        cat "$name.log" >&2; exit 1; }
}
train all hf --lora_r 8 --lora_alpha 16
train packed "$model" --lora_r 16 --use_rslora true
train few hf --lora_r 4 --lora_target_modules q,v,down --lora_dropout 0.1

"$peer" "$here/peft_peer.py" ours "$migaki" hf all "hf folder, all-linear, r 8"
"$peer" "$here/peft_peer.py" ours "$migaki" hf few "hf folder, q v down, r 4"
"$peer" "$here/peft_peer.py" ours "$migaki" "$model" packed "packed GGUF, all-linear, r 16, rsLoRA"

# every method that PEFT has, as we save it
for method in dora pissa olora adalora loha lokr vera ia3; do
    train "$method" hf --method "$method" --lora_r 4
    "$peer" "$here/peft_peer.py" ours "$migaki" hf "$method" "$method"
done
prompt() { # NAME OPTIONS...
    local name=$1
    shift
    train "$name" hf --num_virtual_tokens 7 "$@"
    "$peer" "$here/peft_peer.py" ours "$migaki" hf "$name" "$name"
}
prompt prompt_tuning --method prompt_tuning
prompt p_tuning_mlp --method p_tuning
prompt p_tuning_lstm --method p_tuning --encoder_reparameterization_type lstm
prompt prefix_tuning --method prefix_tuning
prompt prefix_projection --method prefix_tuning --prefix_projection

"$peer" "$here/peft_peer.py" theirs "$migaki" hf "$model" peft-all all-linear 8 false
"$peer" "$here/peft_peer.py" theirs "$migaki" hf "$model" peft-few q_proj,v_proj,gate_proj 4 true

# Read and written again without a change, an adapter of PEFT keeps its bits.
train kept hf -a peft-all --lr 0 --max_steps 1
"$peer" "$here/peft_peer.py" same peft-all kept
