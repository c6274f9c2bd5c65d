#!/bin/sh
# messages.sh -- bring po/ja.po up to date with the messages in src, and list those without a translation.
# Run it in the source folder after texts have changed.  Exit code 1: something is not translated.
set -eu
pot=$(mktemp)
trap 'rm -f "$pot"' EXIT
find src -name '*.[ch]' | LC_ALL=C sort | xgettext --from-code=UTF-8 --language=C -k -kgettext -kMG_N -kmg_fail:3 \
    --no-location --sort-output --files-from=- --output="$pot"
for po in po/*.po; do
    msgmerge --quiet --update --backup=none --no-fuzzy-matching --no-location --sort-output --no-wrap "$po" "$pot"
    msgattrib --no-obsolete -o "$po" --no-wrap "$po"
    msgfmt --check-format -o /dev/null "$po"
    if [ -n "$(msgattrib --untranslated --no-obsolete "$po")" ]; then
        msgattrib --untranslated --no-obsolete --no-wrap "$po" | sed -n 's/^msgid "\(..*\)"$/untranslated: \1/p'
        missing=1
    fi
done
exit ${missing:-0}
