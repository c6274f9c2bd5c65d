#!/bin/bash
# The commands that run a model, on SmolLM2: what scripts may rely on, what users see, and a talk on a terminal.
set -eu
migaki=${MIGAKI_BIN:?}
reference=${MIGAKI_REF:?}/real/smollm2/reference.json
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
fail() { echo "FAIL: $*" >&2; exit 1; }

# tokenize and score: ids equal, nll within 1e-3, mean within 1e-4; greedy tokens equal up to a stop token.
python3 - "$migaki" "$reference" <<'PY'
import json, subprocess, sys
migaki, reference = sys.argv[1], json.load(open(sys.argv[2]))
def run(*args, text=None):
    return json.loads(subprocess.run([migaki, *args], input=text, capture_output=True, text=True, check=True).stdout)
for t in reference["texts"]:
    out = run("tokenize", "-m", "smollm2", "--json", text=t["text"])
    assert list(out) == ["ids"] and out["ids"] == t["ids"], t["text"]
    for text in (t["text"], json.dumps({"ids": t["ids"]})):
        out = run("score", "-m", "smollm2", "--json", text=text)
        assert list(out) == ["ids", "nll"] and out["ids"] == t["ids"] and len(out["nll"]) == len(t["ids"]) - 1
        assert abs(sum(out["nll"]) / len(out["nll"]) - t["nll_mean"]) < 1e-4
for g in reference["greedy"]:
    out = run("generate", "-m", "smollm2", "-p", g["prompt"], "--raw", "--temperature", "0", "--max_new_tokens", "32", "--json")
    assert list(out) == ["ids", "text"]
    want = g["continuation"]
    if len(out["ids"]) < len(want):
        assert out["ids"][-1] == 2  # the end of a turn ends the answer
    assert out["ids"] == want[:len(out["ids"])], (out["ids"], want)
for text in ("", "x"):
    assert run("score", "-m", "smollm2", "--json", text=text)["nll"] == []
assert run("tokenize", "-m", "smollm2", "--json", text="")["ids"] == []
PY

# An adapter: scores change, the base model is asked for beside it, a run may stand for the model.
adapter=$MIGAKI_REF/real/smollm2/lora-start
mkdir run
python3 - "$adapter" run <<'PY'
# The adapter is fresh (its B are zero, so it changes nothing): give it numbers, and the name of its model.
import json, struct, sys
source, target = sys.argv[1:]
c = json.load(open(source + "/adapter_config.json"))
c["base_model_name_or_path"] = "smollm2"
json.dump(c, open(target + "/adapter_config.json", "w"))
raw = bytearray(open(source + "/adapter_model.safetensors", "rb").read())
n, = struct.unpack_from("<Q", raw)
for name, t in json.loads(raw[8:8 + n]).items():
    if "lora_B" in name:
        begin, end = t["data_offsets"]
        for i in range((end - begin) // 4): struct.pack_into("<f", raw, 8 + n + begin + 4 * i, 0.02 * (i % 5 - 2))
open(target + "/adapter_model.safetensors", "wb").write(raw)
PY
echo -n "Hello world" | "$migaki" score -m smollm2 --json > plain
echo -n "Hello world" | "$migaki" score -m smollm2 -a run --json > tuned
echo -n "Hello world" | "$migaki" score -m run --json > same
cmp -s plain tuned && fail "the adapter changes nothing"
cmp tuned same
"$migaki" compare run -p "What is the capital of France?" -p "1 + 1 =" --max_new_tokens 8 --json > compared
python3 -c 'import json; r = json.load(open("compared")); assert [list(x) for x in r] == [["prompt", "base", "tuned"]] * 2, r; assert "Paris" in r[0]["base"]'
printf 'What is the capital of France?\n\n1 + 1 =\n' > questions
"$migaki" compare run --prompts questions --max_new_tokens 8 --json | cmp - compared
"$migaki" compare run -p "What is the capital of France?" --max_new_tokens 8 | grep -q "Base model"

# Sampling: one seed, one text; another seed, another one.
say() { "$migaki" generate -m smollm2 -p "Tell me a story." --temperature 1.5 --max_new_tokens 12 --seed "$1" --json; }
[ "$(say 1)" = "$(say 1)" ] || fail "a seed gives two texts"
[ "$(say 1)" != "$(say 2)" ] || fail "two seeds give one text"
[ "$("$migaki" generate -m smollm2 -p "The capital of France is" --raw --temperature 0 --max_new_tokens 12 --stop answer)" = $' Paris.\n\nThe ' ] \
    || fail "a stop text does not end the answer"

# Templates.
"$migaki" template check -m smollm2 > /dev/null
"$migaki" template show -m smollm2 | grep -q im_start
echo '[{"role": "user", "content": "hi"}]' | "$migaki" template render -m smollm2 --json | grep -q 'assistant\\n"}'

# What goes wrong is said, with the promised exit code.
expect() {
    local code=$1 part=$2
    shift 2
    local out status=0
    out=$("$@" 2>&1 < /dev/null) || status=$?
    [ "$status" = "$code" ] || fail "$*: exit code $status, wanted $code: $out"
    [[ $out == *"$part"* ]] || fail "$*: '$out' does not say '$part'"
}
expect 2 "downloaded" "$migaki" generate -m some/model -p x
expect 2 "no model" "$migaki" generate -p x
expect 2 "holds no adapter_config.json" "$migaki" generate -m smollm2 -a . -p x
expect 4 "context" "$migaki" generate -m smollm2 -p "one two three four five six" --max_length 8
expect 4 "empty" "$migaki" generate -m smollm2 --raw
expect 2 "leave out -a" "$migaki" generate -m run -a run -p x
expect 2 "no question" "$migaki" compare run
echo '{"ids":[1,-2]}' | "$migaki" score -m smollm2 --json 2> message && fail "a negative id is scored"
grep -q "no token id" message
echo '{"ids":[1,49152]}' | "$migaki" score -m smollm2 --json 2> message && fail "an id beyond the vocabulary is scored"
grep -q "does not exist" message

# A talk through a pipe: the history is there until /reset, old turns go when the context is full.
printf '%s\n' "My name is Taro." "/base" "/tuned" "What is my name?" "/reset" "/nothing known" "/quit" \
    | "$migaki" chat run --temperature 0 --max_new_tokens 24 > talk 2> remarks
grep -q Taro talk || fail "the conversation is not remembered: $(cat talk)"
grep -q "adapter off" remarks && grep -q "adapter on" remarks && grep -q "new conversation" remarks || fail "$(cat remarks)"
for i in 1 2 3 4 5 6; do echo "Question number $i: what comes after $i?"; done \
    | "$migaki" chat smollm2 --temperature 0 --max_new_tokens 16 --max_length 160 > talk 2> remarks
grep -q "forgotten" remarks || fail "the context never overflowed: $(cat remarks)"

# A talk on a terminal: Ctrl-C stops an answer, twice at the prompt leaves, at once or late; a deleted kanji takes
# both its columns.  What is waited for says that the program is there, never a time.
python3 - "$migaki" <<'PY'
import os, pty, select, sys, termios, time
PATIENCE = 240 # seconds, for a machine that is busy with other things
pid, fd = pty.fork()
if pid == 0:
    os.environ["TERM"] = "xterm"
    os.execv(sys.argv[1], [sys.argv[1], "chat", "smollm2", "--temperature", "0", "--max_new_tokens", "2000"])
seen = b""
def wait(part):
    global seen
    end = time.time() + PATIENCE
    while part not in seen:
        if time.time() > end: raise SystemExit(f"{part!r} never came: {seen!r}")
        if select.select([fd], [], [], 0.2)[0]:
            try: seen += os.read(fd, 4096)
            except OSError: raise SystemExit(f"{part!r} never came, the program has left: {seen!r}")
    seen = seen[seen.find(part) + len(part):]
def wait_for_editor(): # until it reads key by key, the terminal itself would echo and delete
    end = time.time() + PATIENCE
    while termios.tcgetattr(fd)[3] & termios.ICANON:
        if time.time() > end: raise SystemExit("the line editor never started")
        time.sleep(0.05)
wait(b"> ")
wait_for_editor()
os.write(fd, "\u6f22".encode()); wait("\u6f22".encode())
os.write(fd, b"\x7f"); wait(b"\x1b[")
os.write(fd, b"Count from 1 to 1000, all numbers in one line.\r"); wait(b"line.\r\n")
wait(b" ")
os.write(fd, b"\x03"); wait(b"(stopped)"); wait(b"> ")
for _ in range(20): # the moment between the prompt and the read of a key
    os.write(fd, b"\x03"); wait(b"Ctrl-C again"); wait(b"> ")
    os.write(fd, b"/help\r"); wait(b"/quit"); wait(b"> ")
os.write(fd, b"\x03"); wait(b"Ctrl-C again"); wait(b"> ")
os.write(fd, b"\x03")
end = time.time() + PATIENCE
while time.time() < end:
    done, status = os.waitpid(pid, os.WNOHANG)
    if done: break
    if select.select([fd], [], [], 0.1)[0]:
        try: os.read(fd, 4096)
        except OSError: time.sleep(0.1) # its end of the terminal is closed
else:
    raise SystemExit("the second Ctrl-C does not leave")
assert os.waitstatus_to_exitcode(status) == 0, status
PY
echo ok
