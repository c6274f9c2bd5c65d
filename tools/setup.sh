#!/bin/bash
# setup.sh [build|test|missing]: install what is missing, and nothing when all is there; or only name what a build
# misses, and fail.
#
# Debian packages go by name through apt-get (as root, or with sudo).  yyjson is taken from the
# system where there is one (Debian 13, Ubuntu 24.04); on Debian 12 its C source comes out of the
# Python package of that name, at a fixed version with a fixed checksum, into build/yyjson.
set -euo pipefail
cd "$(dirname "$0")/.."
what=${1:-build}

build="gcc libc6-dev make cmake ninja-build pkg-config libpcre2-dev libutf8proc-dev libyaml-dev libsqlite3-dev
       libedit-dev libmd-dev libmecab-dev mecab-ipadic mecab-utils libcmocka-dev gettext
       python3 python3-pip unzip util-linux dpkg-dev ca-certificates"
test="clang clang-tidy libclang-rt-dev xz-utils librsvg2-2 fonts-ipafont-gothic curl" # curl brings libcurl, for the test of judges
YYJSON_VERSION=4.0.6
YYJSON_SHA256=fcd4dc15c1e39a30bf9fa85d56903029111506860fc3080ab0d81c6c6dacaa8c

have()      { dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed; }
available() { apt-cache show "$1" 2>/dev/null | grep -q ^Package; }

case $what in
build | missing) packages=$build ;;
test) packages="$build $test" ;;
*)    echo "usage: setup.sh [build|test|missing]" >&2; exit 2 ;;
esac

if ! command -v dpkg-query >/dev/null; then
    echo "setup.sh: no Debian here; install yourself what these packages hold:" $packages libdnnl-dev >&2
else
    missing=
    for p in $packages; do have "$p" || missing+=" $p"; done
    have libdnnl-dev || have libopenblas-openmp-dev || missing+=" libdnnl-dev"
    if [ "$what" = missing ]; then
        echo "missing packages, install them with: apt-get install$missing"
        echo "or let 'make setup' get everything"
        exit 1
    fi
    if [ "$missing" ]; then
        sudo=
        if [ "$(id -u)" != 0 ]; then
            sudo=sudo
            command -v sudo >/dev/null || {
                echo "setup.sh: missing packages; as root: apt-get install$missing" >&2; exit 1; }
        fi
        echo "setup.sh: installing$missing"
        $sudo apt-get update -q || echo "setup.sh: the package lists could not be refreshed; trying with the old ones" >&2
        wanted=
        for p in $missing; do
            # Not every release splits its packages alike, and not every CPU has oneDNN.
            case $p in
            libclang-rt-dev) available $p && wanted+=" $p" ;;
            libdnnl-dev)     available $p && wanted+=" $p" || wanted+=" libopenblas-openmp-dev" ;;
            *)               wanted+=" $p" ;;
            esac
        done
        $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $wanted
    fi
fi

yyjson_found() { pkg-config --atleast-version=0.8 yyjson 2>/dev/null || [ -e build/yyjson/yyjson.c ]; }

if ! yyjson_found; then
    echo "setup.sh: fetching yyjson $YYJSON_VERSION (MIT) by its package name"
    mkdir -p build
    new=$(mktemp -d build/yyjson.XXXXXX)
    trap 'rm -rf "$new"' EXIT
    python3 -m pip download -q --disable-pip-version-check --no-deps --no-binary :all: --dest "$new" \
        "yyjson==$YYJSON_VERSION"
    echo "$YYJSON_SHA256  $new/yyjson-$YYJSON_VERSION.tar.gz" | sha256sum --check --quiet
    tar -C "$new" --strip-components=1 -xzf "$new/yyjson-$YYJSON_VERSION.tar.gz" \
        yyjson-$YYJSON_VERSION/yyjson/yyjson.c yyjson-$YYJSON_VERSION/yyjson/yyjson.h yyjson-$YYJSON_VERSION/LICENSE
    mv "$new/LICENSE" "$new/yyjson/"
    rm -rf build/yyjson
    mv "$new/yyjson" build/yyjson
fi
