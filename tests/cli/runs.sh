#!/bin/bash
# runs.sh -- `runs` over folders made by hand: list, show, compare, rebuild, remove.
set -u
. "$(dirname "$0")/check.bash"
M=${MIGAKI_BIN:?}
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
cd "$T" || exit 1
export HOME=$T LC_ALL=C.UTF-8 LANGUAGE=
# make NAME CREATED STATUS LOSS RANK
make_run() {
    mkdir -p "runs/$1/samples" "runs/$1/checkpoint-10"
    echo "{\"run\": {\"id\": \"id-$1\", \"name\": \"$1\", \"model\": \"m/gemma\", \"method\": \"sft\", \"created\": $2}}" > "runs/$1/environment.json"
    echo "{\"status\": \"$3\", \"global_step\": 10, \"max_steps\": 20}" > "runs/$1/trainer_state.json"
    printf '{"step": 5, "epoch": 0.5, "loss": 3}\n{"step": 10, "epoch": 1, "loss": %s}\n' "$4" > "runs/$1/trainer_log.jsonl"
    printf 'lora_r: %s  # default\nlearning_rate: 0.0002\n' "$5" > "runs/$1/config.yaml"
    echo '{"step": 10, "index": 0, "prompt": "q", "answer": "a"}' > "runs/$1/samples/step-000010.jsonl"
}
make_run 青い実行 1700000000 finished 1.5 8
make_run second 1700000100 running 1.25 16
make_run broken 1700000050 failed '"NaN"' 16
mkdir runs/stray; echo '{' > runs/stray/environment.json

check ls 0 '^青い実行 +finished +10/20 +1\.5000' "$M" runs
check killed 0 '^second +interrupted' "$M" runs ls
check nan 0 '^broken +failed +10/20 +–' "$M" runs ls
check ls-json 0 '^\{"name": "second", "id": "id-second".*"loss": 1.25, "eval_loss": null\}' "$M" runs ls --json
[ "$("$M" runs ls | wc -l)" = 4 ] || { echo "FAILED: the stray folder is listed"; bad=1; }
check show-last 0 '^second$' "$M" runs show last
check show 0 'Checkpoints +10' "$M" runs show 青い実行
check show-folder 0 '^second$' "$M" runs show runs/second
check near 2 "did you mean 'second'" "$M" runs show secnod
check compare 0 '^lora_r +8 +16' "$M" runs compare 青い実行 second
"$M" runs compare 青い実行 second | grep -q learning_rate && { echo "FAILED: equal settings are shown"; bad=1; }
check compare-one 2 'at least 2' "$M" runs compare second
rm -rf runs/broken
check gone 0 '^second' "$M" runs ls
"$M" runs ls | grep -q broken && { echo "FAILED: a deleted folder is listed"; bad=1; }
rm -f runs/runs.db*
check rebuild 0 '^青い実行' "$M" runs rebuild
echo junk > runs/runs.db; rm -f runs/runs.db-*
check damaged 0 '^青い実行' "$M" runs ls
check lock 2 'E204.*another process' flock runs/second/.lock "$M" runs rm second
check inside 2 'E201.*folder you work in' bash -c "cd runs/second && MIGAKI_RUNS='$T/runs' '$M' runs rm second"
check rm 0 'removed .*second' "$M" runs rm second
[ ! -e runs/second ] || { echo "FAILED: second is still there"; bad=1; }
check rm-again 2 'E203' "$M" runs rm second
check ja 0 '名前 .*状態' env -u LC_ALL LANG=ja_JP.UTF-8 "$M" runs ls
exit $bad
