#!/bin/bash
# export_real.sh: export, merge and quantize from the command line on SmolLM2: what is refused leaves nothing behind, what
# is stopped too, and exit codes are those of the manual.
set -u
model=$MIGAKI_MODELS/smollm2.gguf
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
echo "The capital of Japan is Tokyo." > prompts.txt
failed=0
wants() { # CODE WHAT COMMAND...
    local code=$1 what=$2 got
    shift 2
    "$@" > out 2> err
    got=$?
    [ $got = "$code" ] && return
    echo "$what: exit code $got, wanted $code"; cat out err
    failed=1
}
nothing() { # NAME: neither the file nor a part of it
    ls -d "$1"* > /dev/null 2>&1 && { echo "$1 is there: $(ls -d "$1"*)"; failed=1; }
}
quick="--prompts prompts.txt"

wants 2 "no format" "$MIGAKI_BIN" export -m "$model" -o a
wants 2 "unknown format" "$MIGAKI_BIN" export -m "$model" --to onnx -o a
wants 2 "unknown type" "$MIGAKI_BIN" quantize "$model" a q9_9
wants 2 "no output" "$MIGAKI_BIN" export -m "$model" --to hf
wants 2 "its own source" "$MIGAKI_BIN" export -m "$model" --to gguf -o "$model" --overwrite
wants 2 "no adapter" "$MIGAKI_BIN" export -m "$model" --to gguf-lora -o a
mkfifo pipe
wants 1 "a pipe" "$MIGAKI_BIN" export -m "$model" --to gguf -o pipe --overwrite
[ -p pipe ] || { echo "the pipe was replaced"; failed=1; }
nothing a

wants 7 "drift" "$MIGAKI_BIN" quantize "$model" drift.gguf q4_0 --max_kl 0 $quick
nothing drift.gguf
grep -q "max_kl" err || { echo "the way out is not named"; failed=1; }

wants 0 "as it is" "$MIGAKI_BIN" export -m "$model" --to gguf -o same.gguf $quick --json
grep -q '"kl":0,' out || { echo "a copy drifts: $(cat out)"; failed=1; }
wants 2 "there already" "$MIGAKI_BIN" export -m "$model" --to gguf:q8_0 -o same.gguf $quick
wants 0 "replaced" "$MIGAKI_BIN" export -m "$model" --to gguf:q8_0 -o same.gguf $quick --overwrite
wants 0 "a folder" "$MIGAKI_BIN" export -m same.gguf --to hf -o folder $quick --max_shard_size 100MB
[ -f folder/model.safetensors.index.json ] && [ -f folder/tokenizer.json ] && [ -f folder/config.json ] || { ls folder; failed=1; }
wants 0 "a folder over a folder" "$MIGAKI_BIN" export -m same.gguf --to hf -o folder $quick --overwrite
[ -f folder/model.safetensors ] && [ ! -f folder/model.safetensors.index.json ] || { echo "old files stay in the folder"; failed=1; }

for signal in INT TERM; do
    "$MIGAKI_BIN" export -m "$model" --to gguf:f32 -o stopped.gguf > out 2> err &
    for i in $(seq 200); do ls stopped.gguf.tmp-* > /dev/null 2>&1 && break; sleep 0.02; done
    kill -$signal $!
    wait $!
    code=$?
    [ $code = 130 ] || { echo "SIG$signal: exit code $code"; cat err; failed=1; }
    nothing stopped.gguf
done

# killed in the middle: nothing has the name, an old file stays whole, and what lies beside is swept later
before=$(sha256sum < same.gguf)
for to in stopped.gguf same.gguf; do
    "$MIGAKI_BIN" export -m "$model" --to gguf:f32 -o $to --overwrite > out 2> err &
    for i in $(seq 200); do ls $to.tmp-* > /dev/null 2>&1 && break; sleep 0.02; done
    kill -KILL $!
    wait $! 2> /dev/null
    ls $to.tmp-* > /dev/null 2>&1 || { echo "it was not killed in the middle"; failed=1; }
done
[ ! -e stopped.gguf ] && [ "$(sha256sum < same.gguf)" = "$before" ] || { echo "half a file has a name"; failed=1; }
touch -d '2 minutes ago' ./*.tmp-*
touch -d '2 minutes ago' same.gguf.tmp-$$ same.gguf.tmp-1x # of a living process; no such name
wants 0 "after a kill" "$MIGAKI_BIN" export -m "$model" --to gguf -o same.gguf $quick --overwrite
[ "$(ls -d same.gguf.tmp-* | sort | tr '\n' ' ')" = "$(printf '%s\n' same.gguf.tmp-$$ same.gguf.tmp-1x | sort | tr '\n' ' ')" ] || { echo "left: $(ls -d same.gguf.*)"; failed=1; }
[ -e stopped.gguf.tmp-* ] || { echo "what belongs to another output went, too"; failed=1; }
exit $failed
