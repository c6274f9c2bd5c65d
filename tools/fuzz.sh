#!/bin/bash
# fuzz.sh BUILD SECONDS: run every fuzz target for SECONDS each, starting from its corpus.
# New inputs are kept in BUILD/found/NAME, a crashing one in BUILD/crash-NAME-*; any crash fails.
set -euo pipefail
build=${1:?usage: fuzz.sh BUILD SECONDS}; seconds=${2:-60}
corpus=$(dirname "$0")/../tests/fuzz/corpus
failed=0 ran=0
for program in "$build"/fuzz/fuzz_*; do
    [ -x "$program" ] || continue
    name=${program##*/fuzz_}
    mkdir -p "$build/found/$name"
    echo "== $name, ${seconds} s"
    ran=$((ran + 1))
    "$program" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -max_len=65536 -print_final_stats=1 \
        -artifact_prefix="$build/crash-$name-" "$build/found/$name" "$corpus/$name" \
        2>"$build/fuzz-$name.log" && grep -E '^stat::(number_of_executed_units|peak_rss_mb)|DONE' "$build/fuzz-$name.log" || {
            tail -n 40 "$build/fuzz-$name.log"; failed=$((failed + 1)); }
done
[ $ran -gt 0 ] || { echo "no fuzz target was built"; exit 1; }
echo "$((ran - failed)) passed, $failed failed"
[ $failed = 0 ]
