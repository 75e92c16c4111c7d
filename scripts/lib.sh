# SPDX-License-Identifier: GPL-2.0-or-later
#
# What every shell script of the build shares: where things are, and how to
# speak.  Sourced, never run.
#
# Messages go to stderr, so that stdout stays free for results.

set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BUILD=${VTOE_BUILD:-$ROOT/build}

# Debian's own interpreter: another python3 that comes first in PATH does not
# see Debian's meson package.
PYTHON=/usr/bin/python3

say() {
    printf '%s\n' "$*" >&2
}

# die WHAT [WHAT TO DO]...: one line what is wrong, the rest what to do.
die() {
    printf '%s: error: %s\n' "${0##*/}" "$1" >&2
    shift
    local line
    for line in "$@"; do
        printf '    %s\n' "$line" >&2
    done
    exit 1
}

# need_space DIR MIB PURPOSE: stop unless DIR's file system has MIB free.
need_space() {
    local dir=$1 need=$2 purpose=$3 avail
    mkdir -p "$dir"
    avail=$(df --output=avail -B1M "$dir" | tail -n 1 | tr -d ' ')
    if [ "$avail" -lt "$need" ]; then
        die "$purpose needs $need MiB in $dir, $avail MiB are available" \
            "Free some space there, or put the build elsewhere:" \
            "make VTOE_BUILD=/a/larger/folder ..."
    fi
}

# need_root PURPOSE: stop unless we are root or can become it.
need_root() {
    [ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null ||
        die "$1 needs root, and there is no sudo" \
            "Run 'make setup' once as root, then build as yourself."
}

# root_do COMMAND...: run it as root, by sudo if we are not; see need_root.
root_do() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}
