#!/bin/bash
# basics.sh -- the program from outside: help, codes, languages, exit codes, origins, runs.
set -u
. "$(dirname "$0")/check.bash"
M=${MIGAKI_BIN:?}
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
cd "$T" || exit 1
unset LANGUAGE LC_ALL LC_MESSAGES LANG XDG_CONFIG_HOME MIGAKI_RUNS
for name in $(env | sed -n 's/^\(MIGAKI_[A-Z_]*\)=.*/\1/p'); do unset "$name"; done
export HOME=$T

check version 0 '^migaki [0-9]+\.[0-9]' "$M" --version
check help 0 '^  sft ' "$M" --help
check help-verb 0 'migaki --help|Usage' "$M" help
check none 2 'error\[E201\]: no command' "$M"
check unknown 2 "did you mean 'doctor'" "$M" docter
check flag 2 "unknown option 'jsno'; did you mean 'json'" "$M" doctor --jsno
check json-error 2 '^\{"error": "E201", "message": "' "$M" doctor --json --nope
check doctor 0 'SQLite' "$M" doctor
check doctor-json 0 '^\{"version": .*"libraries"' "$M" doctor --json
check explain 0 'lora_rank, r, rank' "$M" config explain r
check schema 0 '"lora_r": \{"type"' "$M" config schema
check completion 0 'complete -o default -F _migaki migaki' "$M" completion
check completion-runs 0 '^--learning_rate$' bash -c "eval \"\$($M completion)\"; COMP_WORDS=(migaki sft --learning); COMP_CWORD=2; _migaki; printf '%s\n' \"\${COMPREPLY[@]}\""
check man 0 '^\.TH MIGAKI-sft 1' "$M" help sft --man
check full 1 'E102' bash -c "'$M' --help > /dev/full"

# every code of error.h is explained in both languages
for code in $("$M" help codes | sed -n 's/^E\([0-9]*\) .*/\1/p'); do
    check "E$code" 0 '^exit code' "$M" help "E$code"
    check "E$code-ja" 0 '^終了コード' "$M" --lang ja help "E$code"
done
check ja 2 '^エラー\[E201\]' "$M" --lang ja nothing
check ja-locale 2 '^エラー\[E201\]' env LANG=ja_JP.UTF-8 "$M" nothing
check en-wins 2 '^error\[E201\]' env LANG=ja_JP.UTF-8 "$M" nothing --lang en
check c-locale 2 '^error\[E201\]' env LANG=ja_JP.UTF-8 LC_ALL=C "$M" nothing
check env-lang 0 '命令セット' env MIGAKI_LANG=ja "$M" doctor

# the five sources and their order
mkdir -p .config/migaki
printf 'lora_r: 2\nlora_alpha: 2\nseed: 2\nthreads: 2\n' > .config/migaki/config.yaml
printf 'lora_r: 3\nlora_alpha: 3\nseed: 3\n' > my.yaml
export MIGAKI_LORA_R=4 MIGAKI_LORA_ALPHA=4
for line in 'lora_r: 5 +# --lora_r' 'lora_alpha: 4 +# MIGAKI_LORA_ALPHA' 'seed: 3 +# my.yaml:3' \
    'threads: 2 +# .*/config.yaml:4' 'max_length: 1024 +# default'; do
    check "origin $line" 0 "^$line" "$M" sft my.yaml --print-config --lora_r 5
done
unset MIGAKI_LORA_R MIGAKI_LORA_ALPHA
check unknown-key 2 "my2.yaml:1: unknown option 'learning_rat'; did you mean 'learning_rate'" \
    bash -c "echo 'learning_rat: 1' > my2.yaml; '$M' sft -c my2.yaml"
check foreign 0 "note: .*'deepspeed' has no effect" "$M" sft --deepspeed=x --print-config

# -h fits 80 columns in both languages
for lang in en ja; do
    for verb in sft runs config help; do
        "$M" --lang $lang $verb -h > h.txt || bad=1
        wide=$(LC_ALL=C.UTF-8 wc -L < h.txt)
        [ "$wide" -le 80 ] || { echo "FAILED $lang $verb -h: $wide columns"; bad=1; }
    done
done

# looking makes nothing
check no-runs 0 'no run yet' "$M" runs
[ ! -e runs ] || { echo "FAILED: runs made a folder"; bad=1; }
check no-last 2 'E203.*no run yet' "$M" runs show last
check no-rm 2 'E203' "$M" runs rm x

# --help in at most 10 ms: the best of twenty, because others may be using the machine
best=999999
for _ in $(seq 20); do
    a=$(date +%s%N); "$M" --help > /dev/null; b=$(date +%s%N)
    [ $(( (b - a) / 1000 )) -lt $best ] && best=$(( (b - a) / 1000 ))
done
limit=10000; grep -q __asan_init "$M" && limit=200000 # a sanitizer build starts slowly
[ $best -le $limit ] || { echo "FAILED: --help takes $best us"; bad=1; }
exit $bad
