# check.bash -- for the shell tests of this folder: `check NAME EXIT PATTERN COMMAND...` wants this exit code and the pattern
# (extended) in what the command prints; a failure is shown and kept in $bad.
bad=0
check() {
    local name=$1 code=$2 pattern=$3
    shift 3
    local out rc=0
    out=$("$@" 2>&1) || rc=$?
    if [ $rc != "$code" ] || ! grep -qE -- "$pattern" <<<"$out"; then
        echo "FAILED $name: exit $rc (wanted $code), wanted /$pattern/ in:"
        head -40 <<<"$out"
        bad=1
    fi
}
