#!/bin/bash
# demo_slow.sh -- the main job from end to end, as `make demo` runs it, held against its promise:
# at least nine of ten held-out questions right after training and none before, no neighbour
# answered with BKC, and no control lost that was right before.
set -uo pipefail
: "${MIGAKI_BIN:?}" "${MIGAKI_SOURCE:?}" "${MIGAKI_MODELS:?}"
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
bad=0
complain() { echo "FAILED: $*"; bad=1; }

DEMO_OUT=$T LC_ALL=C.UTF-8 LANGUAGE=en "$MIGAKI_SOURCE/tools/demo.sh" gemma3 "$MIGAKI_MODELS" >"$T/out" 2>&1 ||
    complain "the demo ended with $?"
grep -E 'right before|^Done| s · ' "$T/out" || { cat "$T/out"; complain "no summary"; }
report=$(echo "$T"/gemma3-*/report.json)
[ -s "$report" ] && [ -s "${report%.json}.html" ] || complain "no report.json and report.html in the run's folder"

# count CATEGORY PATTERN: rows of the report
count() { grep "\"category\": \"$1\"" "$report" | grep -cE -- "$2"; }
[ "$(count heldout '.')" = 10 ] || complain "not ten held-out questions"
[ "$(count heldout '"ok_before": true')" = 0 ] || complain "held-out questions that were right before"
[ "$(count heldout '"ok_after": true')" -ge 9 ] || complain "fewer than nine held-out questions right after"
[ "$(count neighbours '"after": "[^"]*(BKC|びわこ)')" = 0 ] || complain "a neighbour is answered with BKC"
[ "$(count controls '"ok_before": true')" -ge 10 ] || complain "hardly a control was right before"
[ "$(count controls '"ok_before": true, "ok_after": false')" = 0 ] || {
    grep '"ok_before": true, "ok_after": false' "$report"; complain "controls were lost"; }
grep -q '"texts": 24, "tokens": [0-9]*, "nll_before": [0-9.]*, "nll_after": [0-9.]*, "difference": [-0-9.e]*, "low": ' "$report" ||
    complain "no likelihood of other texts"
grep -q '"name": "learning_rate", "points": \[\[1, 0\]' "$report" || complain "no curve of the learning rate"
grep -q '"lora_r": {"value": "16", "origin": "demo/gemma3.yaml' "$report" || complain "no settings with their origins"
grep -q '<svg' "${report%.json}.html" && grep -q '忘れたもの' "${report%.json}.html" || complain "report.html lacks curves or the forgetting column"
grep -qE '(src|href)="http|url\(|@import' "${report%.json}.html" && complain "report.html asks for something from outside"
exit $bad
