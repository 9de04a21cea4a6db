#!/usr/bin/env bash
# Proves the offline bundle: installs it and runs a small course in a network namespace that holds nothing but loopback.
#
#   BUNDLE=dist/captionlab-offline bash scripts/try_offline.sh        Linux; root, or a kernel that lets users make namespaces
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
BUNDLE=$(realpath "${BUNDLE:-dist/captionlab-offline}")
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cp -R "$BUNDLE/captionlab" "$place/captionlab"

as_root=$([ "$(id -u)" -eq 0 ] || echo --map-root-user)
# shellcheck disable=SC2086,SC2016  # $as_root is one word or none; the inner shell expands what stands in quotes
unshare --net $as_root env -u PIP_INDEX_URL -u PIP_EXTRA_INDEX_URL -u PIP_FIND_LINKS -u UV_CACHE_DIR PIP_CONFIG_FILE=/dev/null PIP_NO_CACHE_DIR=1 UV_NO_CACHE=1 \
    HOME="$place" BUNDLE="$BUNDLE" bash -euo pipefail -c '
    python3 -c "import fcntl, socket, struct
s = socket.socket()  # what \`ip link set lo up\` does, where there is no ip
fcntl.ioctl(s, 0x8914, struct.pack(\"16sh\", b\"lo\", 0x1 | 0x40))"
    if python3 -c "import socket; socket.create_connection((\"192.0.2.1\", 443), 3)" 2>/dev/null; then echo "the network is not cut off" >&2; exit 1; fi
    cd "$HOME/captionlab"
    start=$SECONDS
    make .venv WHEELS="$BUNDLE/wheels"
    echo "installed without a network in $((SECONDS - start)) s"
    start=$SECONDS
    .venv/bin/captionlab course --train 48 --eval 12
    test -s results/report.html
    echo "a course of 48 + 12 scenes without a network in $((SECONDS - start)) s"
'
