#!/usr/bin/env bash
# Makes a folder for a USB stick: the kit as committed, every package as a wheel, and on request a model's weights.
#
#   OUT=dist/captionlab-offline [WEIGHTS=FOLDER|HUB-ID] bash scripts/offline_bundle.sh       (make offline-bundle)
#
#   OUT/captionlab/   the repository at HEAD          OUT/wheels/   what pyproject.toml needs, in the versions of constraints.txt
#   OUT/models/NAME/  where WEIGHTS is given          OUT/README.txt
#
# Wheels are of one system, one processor and one Python: make a bundle on one laptop of each kind. Stopped, it goes on with what it has.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
OUT=${OUT:-dist/captionlab-offline}
python=.venv/bin/python

if [ -n "$(git status --porcelain)" ]; then
    echo "note: what is not committed is not in the bundle; it holds the state of $(git rev-parse --short HEAD)" >&2
fi
mkdir -p "$OUT/wheels"
rm -rf "$OUT/captionlab"
mkdir "$OUT/captionlab"
git archive HEAD | tar -x -C "$OUT/captionlab"

# `pip wheel` builds what its authors publish as source only; the tools that build the kit itself travel too.
"$python" -m pip wheel --quiet --progress-bar off --constraint constraints.txt --find-links "$OUT/wheels" --wheel-dir "$OUT/wheels" '.[test]' uv pip 'setuptools>=77' wheel
rm -f "$OUT"/wheels/captionlab-*.whl  # the kit is installed from its folder, so that students can change it

if [ -n "${WEIGHTS:-}" ]; then
    name=$(basename "$WEIGHTS")
    mkdir -p "$OUT/models/$name"
    if [ -d "$WEIGHTS" ]; then cp -R "$WEIGHTS/." "$OUT/models/$name/"; else "$(dirname "$python")/hf" download "$WEIGHTS" --local-dir "$OUT/models/$name"; fi
fi

version=$("$python" -c 'import platform as p; print("Python " + ".".join(p.python_version_tuple()[:2]), p.system(), p.machine())')
cat > "$OUT/README.txt" <<TEXT
CaptionLab without a network, for $version.

    cp -R captionlab ~/captionlab && cd ~/captionlab
    make .venv WHEELS=/path/of/this/stick/wheels
    make course          # or: make lab

没有网络时安装 CaptionLab（$version）：把 captionlab 复制到电脑上，在其中执行上面的命令，WHEELS 指向 U 盘上的 wheels 文件夹。
TEXT
echo "$OUT: $(du -sh "$OUT" | cut -f1), $(find "$OUT/wheels" -name '*.whl' | wc -l) wheels for $version"
