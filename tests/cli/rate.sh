#!/bin/bash
# rate.sh -- blind ratings from outside: in the terminal, stopped and gone on with, from a page's file, and by a judge
# behind a small HTTP server, with the faults that servers have.  No model is needed: the report is there already.
set -u
. "$(dirname "$0")/check.bash"
M=${MIGAKI_BIN:?}
T=$(mktemp -d) && trap 'kill $server 2>/dev/null; rm -rf "$T"' EXIT
server=
cd "$T" || exit 1
unset LANGUAGE LC_MESSAGES LANG XDG_CONFIG_HOME OPENAI_API_KEY http_proxy HTTP_PROXY https_proxy all_proxy ALL_PROXY
for name in $(env | sed -n 's/^\(MIGAKI_[A-Z_]*\)=.*/\1/p'); do unset "$name"; done
export HOME=$T LC_ALL=C.UTF-8 MIGAKI_RUNS=$T/runs
fail() { echo "FAILED $*"; bad=1; }
query() { python3 -c 'import sqlite3, sys; print(*sqlite3.connect("file:%s?mode=ro" % sys.argv[1], uri=True).execute(sys.argv[2]).fetchall()[0])' "$T/runs/ratings.db" "$1"; }

mkdir -p run
python3 - <<'PY'
import json
rows = [{"question": "質問%d" % i, "category": "c", "expected": "答え", "before": "前%d" % i, "after": "後%d" % i if i != 3 else "前3", "ok_before": None, "ok_after": None}
        for i in range(4)] + [{"question": "ruled", "category": "c", "before": "a", "after": "b", "ok_before": False, "ok_after": True}]
json.dump({"format": "migaki report 1", "title": "run", "model": "m", "run": "run", "created": 1, "seed": 42, "rows": rows}, open("run/report.json", "w"))
PY
here() { "$M" compare -o run "$@"; }

# in the terminal: four criteria, preference, remark; then the end of input, as a lost terminal gives it
blind() { here --blind --rater "$@"; }
check nothing-yet 0 '' "$M" compare -h
printf '45\n4 5\n４ ５\n9 9\n54\n1\nよい答え\n3 3\n' | blind 佐藤 > out || fail "first sitting: $?"
grep -q 'two numbers' out || fail "9 9 is taken for points"
grep -q 'rated: 1 of 4 questions by 佐藤' out || fail "first sitting: $(tail -3 out)"
grep -q 'win rate' out && fail "an unfinished rater is told the result"
[ "$(query 'select count(*) from points')" = 10 ] || fail "points after the first sitting: $(query 'select count(*) from points')"
grep -q '^\[1\]$' out && ! grep -qE 'before|after|学習' <(sed -n '/── 1/,/── 2/p' out) || fail "the terminal is not blind"
# interrupted: SIGINT at a prompt loses nothing and says 130
mkfifo pipe; "$M" compare -o run --blind --rater 佐藤 < pipe > out2 2> err2 & pid=$!; exec 3> pipe
printf '2 2\n' >&3
for i in $(seq 100); do [ "$(query 'select count(*) from points')" = 12 ] && break; sleep 0.05; done
kill -INT $pid; wait $pid; [ $? = 130 ] || fail "SIGINT: exit code"
exec 3>&-
[ "$(query 'select count(*) from points')" = 12 ] || fail "a line was lost: $(query 'select count(*) from points')"
# the third sitting asks only for what is open: question 2 has two criteria to go
printf '3 4\n3 4\n0\n\n33\n33\n33\n33\n2\n\n44\n44\n44\n44\n0\n\n' | blind 佐藤 > out || fail "third sitting: $?"
grep -q 'rated: 4 of 4 questions by 佐藤' out || fail "third sitting: $(tail -5 out)"
grep -q 'win rate' out || fail "the result is not told at the end"
before=$(query 'select group_concat(item || swapped) from items')
[ "$(query "select count(*) from ratings where rater='佐藤' and note='よい答え'")" = 1 ] || fail "the remark is gone"
# right or wrong by hand, where no rule has judged; equal answers once
printf 'ox\n\nxo\n\n○×\n\no\n\n' | blind 鈴木 --form ox > out || fail "ox: $?"
grep -q 'rated: 4 of 4' out && grep -q 'both answers are the same' out || fail "ox: $(tail -5 out)"
[ "$(query "select count(*) from points where criterion='ok'")" = 8 ] || fail "ox: points"
[ "$(query 'select group_concat(item || swapped) from items')" = "$before" ] || fail "the order has changed"
python3 - <<'PY' || fail "report.json after the ratings"
import json
r = json.load(open("run/report.json"))
p = r["ratings"]["people"]
assert p["raters"] == 2 and p["wins"] + p["ties"] + p["losses"] == 4, p
assert [c["criterion"] for c in p["criteria"]] == ["terms", "context", "consistency", "culture", "ok"], p
assert [type(x.get("people_ok_after")) for x in r["rows"]] == [bool] * 4 + [type(None)], r["rows"]
assert r["rows"][3]["people_ok_after"] is True and r["rows"][4]["ok_after"] is True
assert "佐藤" in open("run/report.html").read()
PY

# a page, and what it saves
check page 0 '' here --page page.html
grep -q 'ratings 1' page.html && ! grep -qE '"(before|after|swapped)"' page.html || fail "page"
sheet=$(python3 -c 'import json; print(json.load(open("run/report.json"))["sheet"])')
echo "{\"format\": \"migaki ratings 1\", \"sheet\": \"$sheet\", \"rater\": \"田中\", \"ratings\": [{\"item\": 0, \"first\": {\"terms\": 5}, \"second\": {\"terms\": 1}, \"preference\": \"first\"}]}" > mine.json
check import 0 'People: 3 raters' here --import mine.json
check import-again 0 'People: 3 raters' here --import mine.json
sed 's/"terms": 5/"terms": 7/' mine.json > wrong.json
check import-wrong 4 'wrong.json, rating 1: .terms. must be a whole number from 1 to 5' here --import wrong.json
sed "s/$sheet/0000/" mine.json > other.json
check import-other 4 'rates other answers' here --import other.json
check import-none 2 'nowhere.json' here --import nowhere.json
check no-report 2 'there is no report to rate' "$M" compare -o "$T/none" --blind
check rater 2 "rater's name" here --blind --rater $'a\tb'
json=$(here --import mine.json --json) && python3 -c 'import json, sys; assert json.loads(sys.argv[1])["people"]["raters"] == 3' "$json" || fail "json: $json"

# a judge
cat > server.py <<'PY'
import http.server, json, os, sys
log = open("calls", "a")
class H(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        mode = open("mode").read().strip()
        log.write(json.dumps({"path": self.path, "key": self.headers.get("Authorization"), "model": body["model"]}) + "\n"); log.flush()
        code, out = 200, None
        user = body["messages"][1]["content"]
        first, second = user.split("<<<FIRST\n")[1].split("\nFIRST>>>")[0], user.split("<<<SECOND\n")[1].split("\nSECOND>>>")[0]
        points = lambda s: dict.fromkeys(["terms", "context", "consistency", "culture"], 5 if s.startswith("後") else 2)
        better = "first" if mode == "place" or first.startswith("後") else "second"
        said = "Here you are:\n```json\n" + json.dumps({"first": points(first), "second": points(second), "preference": better, "reason": "理由"}, ensure_ascii=False) + "\n```"
        if mode == "key" and self.headers.get("Authorization") != "Bearer s3cret": code = 401
        if mode == "busy" and not os.path.exists("was-busy"): open("was-busy", "w").close(); code = 429
        if mode == "down": code = 500
        if mode == "gone": code = 404
        if mode == "half" and sum(1 for _ in open("calls")) > 3: code = 403
        if mode == "prose": said = "I cannot decide."
        if mode == "html": out = b"<html>"
        if mode == "huge": out = b'{"x": "' + b"a" * (9 << 20) + b'"}'
        if out is None: out = json.dumps({"choices": [{"message": {"role": "assistant", "content": said}}]}).encode()
        self.send_response(code); self.send_header("Retry-After", "1"); self.send_header("Content-Length", str(len(out))); self.end_headers()
        try: self.wfile.write(out)
        except OSError: pass
    def log_message(self, *a): pass
s = http.server.HTTPServer(("127.0.0.1", 0), H)
open("port", "w").write(str(s.server_port)); s.serve_forever()
PY
echo good > mode
: > calls
python3 server.py & server=$!
for i in $(seq 100); do [ -s port ] && break; sleep 0.05; done
url=http://127.0.0.1:$(cat port)/v1
judge() { here --judge "$url" --judge_model "$@" < /dev/null; }
calls() { wc -l < calls; }
check judge-model 2 'judge_model' here --judge "$url"
check judge-url 2 'http://' here --judge ftp://x --judge_model m
check judge 0 'judge good at http://127.0.0.1:[0-9]+/v1/chat/completions: 8 calls .0 more.*about [0-9]+ tokens to send and 1200 to receive, about 0.0' \
    judge good --judge_price_in 1 --judge_price_out 2
[ "$(calls)" = 8 ] || fail "calls: $(calls)"
grep -q '"path": "/v1/chat/completions", "key": null, "model": "good"' calls || fail "request: $(head -1 calls)"
[ "$(query "select count(*) from ratings where machine=1 and preference=1")" = 3 ] || fail "the judge prefers after three times"
check judge-cached 0 '0 calls .8 more' judge good
[ "$(calls)" = 8 ] || fail "asked again for what was answered: $(calls)"
check judge-order 0 'Judges: 2 raters' bash -c "echo place > mode; '$M' compare -o run --judge $url --judge_model place < /dev/null"
[ "$(query "select count(*) from ratings where rater='place' and preference=0")" = 4 ] || fail "a judge that goes by the place is no tie"
python3 - <<'PY' || fail "judges in report.json"
import json
r = json.load(open("run/report.json"))["ratings"]
assert r["machines"]["raters"] == 2 and r["people"]["raters"] == 3, r
assert any(x["note"] and x["note"].startswith("(order)") for x in r["each"] if x["machine"]), r["each"]
PY
set_mode() { echo "$1" > mode; }
set_mode key; check judge-nokey 6 'HTTP 401: the key is missing or wrong' judge key
OPENAI_API_KEY=s3cret check judge-key 0 'judge key' judge key
MINE=s3cret check judge-key-env 0 'judge key2' judge key2 --judge_key_env MINE
set_mode busy; check judge-busy 0 'Judges' judge busy
set_mode gone; check judge-gone 6 'HTTP 404' judge gone
set_mode prose; check judge-prose 0 'I cannot decide' judge prose
[ "$(query "select count(*) from ratings where rater='prose'")" = 0 ] || fail "an unreadable reply was counted"
set_mode html; check judge-html 0 'is no JSON: <html>' judge html
set_mode huge; check judge-huge 6 'longer than 8388608 bytes' judge huge
: > calls; set_mode half; check judge-half 6 'HTTP 403' judge half
set_mode good; check judge-goes-on 0 '5 calls .3 more' judge half
grep -q s3cret run/report.json run/report.html runs/ratings.db* && fail "a key was written down"
kill $server; wait $server 2>/dev/null; server=
check judge-down 6 'E601.*no reply' judge down
exit $bad
