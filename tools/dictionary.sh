#!/bin/bash
# dictionary.sh DIR: make the MeCab dictionary in DIR, unless it is there.
#
# From the CSV sources of Debian's mecab-ipadic without the one word that Debian added (令和):
# then it holds the 392,126 words of the ipadic that sacreBLEU and Hugging Face's Japanese
# tokenizers use, and Japanese scores can be compared.  MECAB_IPADIC_LEAVE_OUT= makes Debian's.
# In UTF-8, whatever the sources are in.
set -euo pipefail
out=$1
source=${MECAB_IPADIC_SOURCE:-/usr/share/mecab/dic/ipadic}
leave_out=${MECAB_IPADIC_LEAVE_OUT-令和}
index=${MECAB_DICT_INDEX:-$(mecab-config --libexecdir 2>/dev/null || echo /usr/lib/mecab)/mecab-dict-index}
[ ! -e "$out/sys.dic" ] || exit 0
[ -x "$index" ] || index=/usr/lib/mecab/mecab-dict-index
if [ ! -e "$source/matrix.def" ] || [ ! -x "$index" ]; then
    echo "dictionary.sh: no sources in $source or no $index; install them with: apt-get install mecab-ipadic mecab-utils" >&2
    exit 1
fi
mkdir -p "$(dirname "$out")"
new=$(mktemp -d "$out.XXXXXX")
trap 'rm -rf "$new"' EXIT
mkdir "$new/source" "$new/dic"
cp "$source"/*.def "$source"/dicrc "$new/source/"
for csv in "$source"/*.csv; do
    iconv -f euc-jp -t utf-8 "$csv" | sed "/^${leave_out:-,},/d" >"$new/source/$(basename "$csv")"
done
for def in "$new"/source/*.def; do
    iconv -f euc-jp -t utf-8 "$def" >"$def.utf8"
    mv "$def.utf8" "$def"
done
"$index" -d "$new/source" -o "$new/dic" -f utf-8 -t utf-8 >"$new/log" 2>&1 || { tail -5 "$new/log" >&2; exit 1; }
cp "$new/source/dicrc" "$new/dic/"
chmod 755 "$new/dic"
# Two builds may come here together: the first one's dictionary stays.
mv -T "$new/dic" "$out" 2>/dev/null || [ -e "$out/sys.dic" ]
