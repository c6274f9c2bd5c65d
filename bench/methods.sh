#!/bin/bash
# methods.sh MODEL DATA OUT [METHOD...]: every way to fine-tune, on one task, with one budget of tokens.
#
# DATA is JCommonsenseQA's folder (train.jsonl, valid.jsonl).  Each question is written with its five choices and asked
# through the chat template; a choice is made by log-likelihood (`migaki eval`).  Every method sees the same samples in the
# same order, so the tokens are equal.  For each, three learning rates (a third of, once and three times the usual one)
# are tried for a quarter of the steps on the same data, and the best on 100 other training questions is trained for all
# steps.  Needs only the program and awk; OUT/table.md is the result, OUT/METHOD/log what was said.
#
#   MIGAKI   the program                  DEVICE   cpu or cuda           DTYPE    auto, float32, bfloat16
#   STEPS    updates of a training        BATCH    samples an update     JOBS     processes at a time
#   THREADS  of each process              TRAIN    training questions    VALID    questions of the test
#   SWEEP    updates of a trial; 0: the usual learning rate is taken
set -euo pipefail
model=$1 data=$2 out=$3
shift 3
migaki=${MIGAKI:-build/release/bin/migaki} device=${DEVICE:-cpu} dtype=${DTYPE:-auto}
steps=${STEPS:-128} batch=${BATCH:-16} jobs=${JOBS:-1} threads=${THREADS:-0} train=${TRAIN:-0} valid=${VALID:-373}
sweep=${SWEEP:-$((steps / 4))}
mkdir -p "$out"

# name, usual learning rate, further options
methods() {
    cat <<'END'
full            3e-5
freeze          3e-5
norms           3e-3
bitfit          1e-3
lora            3e-4
dora            3e-4
pissa           1e-4
olora           1e-4
loftq           3e-4    --load_in_4bit
adalora         1e-3
loha            1e-3
lokr            1e-3
vera            3e-3
ia3             3e-3
houlsby         3e-4
pfeiffer        3e-4
parallel        3e-4
prefix_tuning   3e-3
p_tuning        1e-3
prompt_tuning   1e-2    --prompt_tuning_init sample_vocab
END
}

# JCommonsenseQA with its choices in the question: for training (pairs), and for the test (choices).
write() { # FILE FORM FIRST LAST COUNT: evenly COUNT of the lines FIRST to LAST; LAST 0: to the end, COUNT 0: all
    awk -v form="$2" -v first="$3" -v last="$4" -v count="$5" '
    function between(s, a, b,   i, t) {
        i = index(s, a); if (!i) { print FILENAME ", line " FNR ": not as JCommonsenseQA has it" >"/dev/stderr"; exit 1 }
        t = substr(s, i + length(a)); return substr(t, 1, index(t, b) - 1)
    }
    NR >= first && (!last || NR <= last) { line[n++] = $0 }
    END {
        if (!count || count > n) count = n
        for (k = 0; k < count; k++) {
            s = line[int(k * n / count)]; listed = quoted = ""
            for (i = 0; i < 5; i++) {
                c[i] = between(s, "\"choice" i "\": \"", i < 4 ? "\", \"choice" i + 1 "\"" : "\", \"label\"")
                listed = listed (i ? "、" : "") c[i]; quoted = quoted (i ? ", " : "") "\"" c[i] "\""
            }
            q = "質問：" between(s, "\"question\": \"", "\", \"choice0\"") "\\n選択肢：" listed "\\n回答："
            label = between(s, "\"label\": ", "}") + 0
            if (form == "pairs") printf "{\"prompt\": \"%s\", \"completion\": \"%s\"}\n", q, c[label]
            else printf "{\"question\": \"%s\", \"choices\": [%s], \"answer\": %d}\n", q, quoted, label
        }
    }' "$1"
}
write "$data/train.jsonl" pairs 101 0 "$train" >"$out/train.jsonl"
write "$data/train.jsonl" pairs 1 100 0 >"$out/dev.jsonl"
write "$data/valid.jsonl" choices 1 0 "$valid" >"$out/test.jsonl"

value() { # KEY FILE: the number behind "KEY": in a JSON file, the last one there is
    awk -v key="\"$1\":" '{ for (s = $0; i = index(s, key); s = t) { t = substr(s, i + length(key)); v = t + 0; seen = 1 } } END { if (seen) printf "%.9g", v }' "$2"
}

fit() { # FOLDER METHOD RATE STEPS [OPTIONS]: one training
    local folder=$1 method=$2 rate=$3 n=$4
    shift 4
    "$migaki" sft -m "$model" -d "$out/train.jsonl" --method "$method" --learning_rate "$rate" --max_steps "$n" --seed 0 \
        --per_device_train_batch_size "$batch" --device "$device" --dtype "$dtype" --threads "$threads" --warmup_steps 0.05 \
        --logging_steps 1 --save_steps 1000000 --output_dir "$folder" --json "$@"
}

score() { # FOLDER WHAT...: accuracy on the test and its interval
    local folder=$1
    shift
    "$migaki" eval "$@" -d "$out/test.jsonl" --device "$device" --dtype "$dtype" --threads "$threads" -o "$folder" -q >/dev/null || return 1
    awk '/"accuracy",/ { sub(/.*"accuracy", "score": /, ""); gsub(/"score_interval": \[/, ""); gsub(/[],]/, " "); print $1, $2, $3; exit }' "$folder/scores.json"
}

whole() { case " full freeze " in *" $1 "*) return 0 ;; esac; return 1; }

one() { # METHOD RATE [OPTIONS]: trials, training, test; its row in OUT/METHOD/row
    local method=$1 usual=$2 dir=$out/$1 rate=$2 best="" loss tried="" r begin
    rm -f "$out/$1/row" "$out/$1/failed"
    shift 2
    mkdir -p "$dir"
    whole "$method" && set -- "$@" --dequantize
    if [ "$sweep" -gt 0 ]; then
        for r in $(awk -v r="$usual" 'BEGIN { printf "%.1e %.1e %.1e", r / 3, r, r * 3 }'); do
            rm -rf "$dir/trial"
            fit "$dir/trial" "$method" "$r" "$sweep" --eval_dataset "$out/dev.jsonl" "$@" >"$dir/trial.out" || return 1
            loss=$(value eval_loss "$dir/trial/all_results.json")
            tried="$tried $r:$loss"
            if [ -z "$best" ] || awk "BEGIN { exit !($loss < $best) }"; then best=$loss rate=$r; fi
            rm -rf "$dir/trial"
        done
    fi
    echo "rates$tried, taken $rate"
    begin=$(date +%s.%N)
    rm -rf "$dir/run"
    fit "$dir/run" "$method" "$rate" "$steps" "$@" >"$dir/out" || return 1
    local wall acc
    wall=$(date +%s.%N | awk -v b="$begin" '{ print $1 - b }')
    acc=$(score "$dir/eval" "$dir/run") && [ -n "$acc" ] || return 1
    # Median speed of the steps after the third; the memory is what was planned on a GPU, resident on a CPU.
    local speed memory
    speed=$(awk '{ if (match($0, /"tokens_per_second": [0-9.]+/)) v[n++] = substr($0, RSTART + 21, RLENGTH - 21) + 0 }
        END { for (i = 3; i < n; i++) for (j = i; j > 3 && v[j - 1] > v[j]; j--) { t = v[j]; v[j] = v[j - 1]; v[j - 1] = t }
              print v[int((n + 3) / 2)] }' "$dir/run/trainer_log.jsonl")
    case $device in cpu) memory=$(value peak_memory_bytes "$dir/run/all_results.json") ;; *) memory=$(value planned_memory "$dir/out") ;; esac
    echo "$method $(value trainable "$dir/out") $memory $speed $acc $wall $rate $(value train_tokens "$dir/run/all_results.json")" \
        "$(value train_loss "$dir/run/all_results.json")" >"$dir/row"
    rm -rf "$dir/run/"checkpoint-*
}

wanted=${*:-$(methods | awk '{ print $1 }')}
base=$(score "$out/base" -m "$model")
for m in $wanted; do
    while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n || true; done
    mkdir -p "$out/$m"
    # shellcheck disable=SC2046 # the words of a row
    { one $(methods | awk -v m="$m" '$1 == m') || { tail -n 1 "$out/$m/log" >"$out/$m/failed"; rm -f "$out/$m/row"; }; } >"$out/$m/log" 2>&1 &
done
wait

{
    echo "| method | trained | memory, GB | tok/s | accuracy before | after | 95% | training, s | learning rate | loss |"
    echo "|---|---|---|---|---|---|---|---|---|---|"
    for m in $wanted; do
        [ -e "$out/$m/row" ] || { echo "| $m | not run: $(cat "$out/$m/failed") |"; continue; }
        awk -v base="$base" '{ split(base, b); n = $2 >= 1e6 ? sprintf("%.2f M", $2 / 1e6) : sprintf("%.1f k", $2 / 1e3)
            printf "| %s | %s | %.2f | %.0f | %.1f [%.1f, %.1f] | **%.1f** | %.1f – %.1f | %.0f | %s | %.3f |\n",
                $1, n, $3 / 1e9, $4, b[1], b[2], b[3], $5, $6, $7, $8, $9, $11 }' "$out/$m/row"
    done
    for m in $wanted; do [ -e "$out/$m/row" ] && { echo; awk '{ print $10 " tokens in each training" }' "$out/$m/row"; break; }; done
} | tee "$out/table.md"
