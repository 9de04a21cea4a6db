"""What a linter and a type checker find in the whole tree, under the rules of pyproject.toml."""

import subprocess
import sys

from helpers.core.paths import ROOT


def run(*command: str) -> subprocess.CompletedProcess:
    """The finished command, run from the repository's root by this Python."""
    return subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)


def test_ruff_finds_nothing():
    found = run("ruff", "check", "--no-cache", "--output-format", "concise", ".")
    assert found.returncode == 0, found.stdout + found.stderr


def test_ruff_finds_what_is_wrong(tmp_path):
    (tmp_path / "wrong.py").write_text("import os\n\n\ndef f(x=[]):\n    return y\n", encoding="utf-8")
    found = run("ruff", "check", "--no-cache", "--config", str(ROOT / "pyproject.toml"), "--output-format", "concise", str(tmp_path))
    assert found.returncode == 1
    assert all(rule in found.stdout for rule in ("F401", "F821", "B006"))


def test_types_agree_where_they_are_checked(tmp_path):
    found = run("mypy", "--cache-dir", str(tmp_path))
    assert found.returncode == 0, found.stdout + found.stderr
