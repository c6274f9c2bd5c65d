#!/bin/bash
# step.sh BUILD: one LoRA step, ours beside transformers + peft + torch, on this machine in one go.
#
# The peer is installed for the comparison alone, into a virtual environment (PEER=DIR to use one that is there);
# it gets the same weights, dequantised to fp32, in a Hugging Face folder made from the GGUF file.  Both sides: LoRA
# r = 16 on all linear layers, T = 512, B = 1, AdamW, median of the steps after the first two.  The peer runs eager and
# compiled (COMPILE=no leaves that out); the better one counts.
set -euo pipefail
build=${1:-build/release}
models=${MIGAKI_MODELS:-models}
shared=${MIGAKI_SHARED:-../shared}
work=${WORK:-build/bench}
peer=${PEER:-$work/venv}
steps=${STEPS:-8}
mkdir -p "$work"
[ -x "$peer/bin/python" ] || { python3 -m venv "$peer"; "$peer/bin/pip" install -q torch transformers peft gguf numpy; }

folder() { # NAME: the model as a Hugging Face folder in fp32
    [ -e "$work/$1/model.safetensors" ] || HF_HUB_OFFLINE=1 "$peer/bin/python" - "$models" "$1" "$work/$1" <<'EOF'
import sys, torch
from transformers import AutoModelForCausalLM
folder, name, out = sys.argv[1:]
m = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name + '.gguf', dtype=torch.float32)
if hasattr(m.config, 'quantization_config'): del m.config.quantization_config
plain = AutoModelForCausalLM.from_config(m.config, dtype=torch.float32)
plain.load_state_dict(m.state_dict())
plain.save_pretrained(out)
EOF
}

speed() { sed -n 's/.*: \([0-9.]*\) tok\/s.*peak \([0-9.]*\) GB.*/\1 \2/p' <<<"$1"; }

row() { # MODEL DTYPE LABELS [environment of the peer...]
    local name=$1 dtype=$2 labels=$3 ours best=0 memory=0 line tok gb how
    ours=$("$build/bin/step" "$models/$name.gguf" --dtype "$dtype" --labels "$labels" --steps "$steps")
    echo "  $ours"
    for how in "" ${COMPILE:---compile}; do
        [ "$how" = no ] && continue
        line=$(HF_HUB_OFFLINE=1 "$peer/bin/python" "$shared/peers/cpu_peer.py" "$work/$name" --dtype "$dtype" --labels "$labels" \
            --steps "$steps" $how 2>/dev/null | tail -n 1)
        echo "  $line"
        read -r tok gb <<<"$(speed "$line")"
        if awk "BEGIN { exit !(${tok:-0} > $best) }"; then best=$tok memory=$gb; fi
    done
    read -r tok gb <<<"$(speed "$ours")"
    awk "BEGIN { printf \"| %s | %s | %g%% | %.0f | %.2f | %.0f | %.2f | **%.2f** | **1/%.1f** |\n\", \"$name\", \"$dtype\", 100 * $labels, $tok, $gb, $best, $memory, $tok / $best, $memory / $gb }" |
        tee -a "$work/table.md"
}

: >"$work/table.md"
for name in smollm2 gemma3; do folder $name; done
dtypes=fp32
grep -q avx512_bf16 /proc/cpuinfo && [ -z "${MIGAKI_CPU_ISA:-}" ] && dtypes="fp32 bf16"
for dtype in $dtypes; do
    row smollm2 $dtype 1.0
    row gemma3 $dtype 1.0
    row gemma3 $dtype 0.3
done
echo
echo "| model | arithmetic | labelled | ours tok/s | GB | peer tok/s | GB | speed | memory |"
echo "|---|---|---|---|---|---|---|---|---|"
cat "$work/table.md"
