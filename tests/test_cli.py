"""The command line: every command with real parts on a few scenes; faults as one line with the right exit code."""

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from helpers import cli
from helpers.core.errors import InputError
from helpers.core.paths import ROOT, STUDENT

COMMANDS = {"doctor", "scenes", "pretrain", "label", "build", "check", "export", "caption", "merge", "metrics", "fetch", "plan", "course", "splits", "study",
            "chat", "standin", "baseline", "pretrain-encoder", "edition", "release", "grade"}


def run(*words: object):
    """One command in this process: result.exit_code, .stdout, .stderr."""
    return CliRunner().invoke(cli.app, [str(word) for word in words])


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    """Six training and two evaluation scenes, labelled by the stand-in and built into train.json and eval.json."""
    folder = tmp_path_factory.mktemp("drawn")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("DASHSCOPE_API_KEY", "DASHSCOPE_API_KEY_FILE_PATH", "DASHSCOPE_HTTP_BASE_URL"):
            patch.delenv(name, raising=False)
        patch.setattr("pathlib.Path.home", lambda: folder)
        for words in (
            ("scenes", "--out", folder, "--train", 6, "--eval", 2, "--seed", 5),
            ("label", "--images", folder, "--store", folder / "labels.sqlite"),
            ("build", "--store", folder / "labels.sqlite", "--out", folder),
        ):
            result = run(*words)
            assert result.exit_code == 0, result.output
    return folder


def test_help_names_every_command():
    result = run("--help")
    assert result.exit_code == 0
    assert COMMANDS <= set(re.findall(r"[a-z]+(?:-[a-z]+)*", result.stdout))
    assert {command.name or command.callback.__name__.replace("_", "-") for command in cli.app.registered_commands} == COMMANDS


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_explains_itself(command):
    result = run(command, "--help")
    assert result.exit_code == 0 and "Usage" in result.stdout


def test_help_loads_nothing_heavy():
    code = ("import sys, helpers.cli\n"
            "print(*[name for name in ('torch', 'transformers', 'numpy', 'PIL', 'dashscope', 'matplotlib') if name in sys.modules])")
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert answer.stdout.strip() == ""


def test_scenes_labels_and_files_are_there(drawn):
    assert len(list((drawn / "Train").glob("*.jpg"))) == 6
    assert len(json.loads((drawn / "train.json").read_text(encoding="utf-8"))) == 6
    assert len(json.loads((drawn / "eval.json").read_text(encoding="utf-8"))) == 2


def test_dry_run_sends_nothing_and_makes_no_store(drawn, tmp_path):
    store = tmp_path / "labels.sqlite"
    result = run("label", "--images", drawn, "--store", store, "--dimension", "main", "--dimension", "mood", "--dry-run")
    assert result.exit_code == 0 and "16 requests" in result.stdout
    assert not store.exists()


def test_a_run_that_got_no_label_at_all_says_so_to_the_shell(drawn, tmp_path):
    own, store = tmp_path / "own", tmp_path / "labels.sqlite"
    own.mkdir()
    Image.effect_noise((64, 64), 80).save(own / "mine.png")  # which the stand-in does not know
    result = run("label", "--images", own, "--store", store)
    assert result.exit_code == 1 and "1 failed (1 UnknownPicture)" in result.stdout
    for name in ("Train", "Val", "scenes.jsonl"):
        (shutil.copytree if (drawn / name).is_dir() else shutil.copy)(drawn / name, own / name)
    result = run("label", "--images", own, "--store", store)
    assert result.exit_code == 0 and "8 labels from" in result.stdout and "1 failed" in result.stdout, result.output


def test_labels_are_not_asked_for_twice(drawn, monkeypatch):
    monkeypatch.setattr("pathlib.Path.home", lambda: drawn)
    result = run("label", "--images", drawn, "--store", drawn / "labels.sqlite", "--dry-run")
    assert "0 requests" in result.stdout and "8 labels are there already" in result.stdout


def test_check_passes_a_good_file_and_names_faults(drawn, tmp_path):
    assert run("check", drawn / "train.json").exit_code == 0
    samples = json.loads((drawn / "train.json").read_text(encoding="utf-8"))
    samples[2]["image"] = "Train/nowhere.jpg"
    broken = tmp_path / "train.json"
    broken.write_text(json.dumps(samples), encoding="utf-8")
    result = run("check", broken)
    assert result.exit_code == 1
    assert samples[2]["id"] in result.stdout and "nowhere.jpg" in result.stdout


def test_check_of_two_files_names_what_they_share(drawn, tmp_path):
    assert run("check", drawn / "train.json", drawn / "eval.json").exit_code == 0
    samples = json.loads((drawn / "train.json").read_text(encoding="utf-8"))
    (drawn / "leak.json").write_text(json.dumps(samples[:1]), encoding="utf-8")
    result = run("check", drawn / "train.json", drawn / "leak.json")
    assert result.exit_code == 1 and f"{samples[0]['id']}: the picture" in result.stdout and "train.json: no fault" in result.stdout


@pytest.mark.parametrize(("format", "file"), [("llama-factory", "dataset_info.json"), ("coco", "captions_train.json"), ("jsonl", "train/metadata.jsonl")])
def test_export_writes_every_format(drawn, tmp_path, format, file):
    result = run("export", drawn / "train.json", "--format", format, "--out", tmp_path)
    assert result.exit_code == 0 and "6 samples and 6 pictures" in result.stdout and (tmp_path / file).is_file()
    assert run("export", drawn / "train.json", "--format", "voc", "--out", tmp_path).exit_code == 2


def test_metrics_of_the_references_themselves_are_perfect(drawn, tmp_path):
    output = tmp_path / "metrics.json"
    result = run("metrics", "--references", drawn / "eval.json", "--predictions", drawn / "eval.json", "--language", "en",
                 "--tokenizer", "none", "--output", output, "--charts", tmp_path / "charts")
    assert result.exit_code == 0, result.output
    assert f"{len(list((tmp_path / 'charts').glob('*.svg')))} charts in" in result.stdout and (tmp_path / "charts" / "bars.svg").is_file()
    scores = json.loads(output.read_text(encoding="utf-8"))
    assert scores["systems"]["eval"]["ROUGE_L"] == pytest.approx(1.0)
    assert "SPICE" in scores["unavailable"] and "SPICE" not in scores["systems"]["eval"]


def test_systems_are_named_after_their_folders(tmp_path):
    files = [tmp_path / "lora" / "output.json", tmp_path / "full" / "output.json", tmp_path / "mine.json"]
    assert list(cli.name_systems(files)) == ["lora", "full", "mine"]
    with pytest.raises(InputError, match="would both be called 'mine'"):
        cli.name_systems([tmp_path / "mine.json", tmp_path / "b" / "mine.json"])


@pytest.mark.skipif(not (STUDENT / "model.safetensors").is_file(), reason="the tiny student's weights are not in this tree yet")
def test_caption_writes_the_conversation_format(drawn, tmp_path):
    result = run("caption", "--model", "tiny", "--data", drawn / "eval.json", "--output", tmp_path / "output.json", "--max-new-tokens", 8)
    assert result.exit_code == 0, result.output
    assert run("check", tmp_path / "output.json").exit_code == 0
    result = run("caption", "--images", drawn / "Val", "--output", tmp_path / "folder.json", "--question", "What is this?", "--max-new-tokens", 8)
    assert result.exit_code == 0, result.output
    first = json.loads((tmp_path / "folder.json").read_text(encoding="utf-8"))[0]
    assert first["conversations"][0]["content"] == "<image>\nWhat is this?"


@pytest.mark.parametrize(("words", "sentence"), [
    (("check", "nowhere.json"), "nowhere.json"),
    (("label", "--images", "nowhere", "--store", "x.sqlite"), "nowhere"),
    (("build", "--store", "nowhere.sqlite", "--out", "."), "nowhere.sqlite"),
    (("doctor", "--profile", "big"), "choose one of: tiny, lab"),
    (("course", "--profile", "big"), "choose one of: tiny, lab"),
    (("course", "--profile", "lab"), "DASHSCOPE_API_KEY"),
    (("standin", "--scenes", "nowhere"), "nowhere"),
])
def test_faults_are_one_line_on_stderr(words, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pathlib.Path.home", lambda: tmp_path)
    result = run(*words)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ") and sentence in result.stderr
    assert result.stderr.count("\n") == 1 and "Traceback" not in result.output


@pytest.mark.skipif(not (STUDENT / "model.safetensors").is_file(), reason="the tiny student's weights are not in this tree yet")
def test_course_on_own_pictures_with_the_stand_in_is_refused_before_anything_starts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("course", "--images", ".")
    assert result.exit_code == 1 and result.stderr.startswith("error: ") and "stand-in" in result.stderr
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("words", [
    ("check",), ("nonsense",), ("label", "--images", ".", "--store", "x", "--language", "fr"),
    ("caption", "--output", "o.json"), ("scenes", "--out", "x", "--train", "-1", "--eval", "0"),
])
def test_wrong_usage_exits_with_two(words):
    assert run(*words).exit_code == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
def test_full_disk_is_one_sentence(monkeypatch, tmp_path):
    def draw(*args, **kwargs):
        with open("/dev/full", "w", encoding="utf-8") as file:
            file.write("scene")

    monkeypatch.setattr("helpers.core.scenes.draw_scenes", draw)
    result = run("scenes", "--out", tmp_path, "--train", 1, "--eval", 1)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: the disk is full") and result.stderr.count("\n") == 1


def test_full_disk_is_seen_behind_other_errors():
    try:
        try:
            raise RuntimeError("I/O error: No space left on device (os error 28)")
        except RuntimeError as error:
            raise ValueError("could not save") from error
    except ValueError as error:
        assert cli.is_disk_full(error)
    assert not cli.is_disk_full(ValueError("could not save"))


def test_bugs_keep_their_traceback(monkeypatch, tmp_path):
    def draw(*args, **kwargs):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("helpers.core.scenes.draw_scenes", draw)
    result = run("scenes", "--out", tmp_path, "--train", 1, "--eval", 1)
    assert isinstance(result.exception, ZeroDivisionError)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_ends_with_130_and_one_line(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "helpers.cli", "scenes", "--out", str(tmp_path), "--train", "1500", "--eval", "10"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.glob("Train/*.jpg")):
        assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGINT)
    stderr = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "Traceback" not in stderr and "stopped" in stderr.splitlines()[-1]


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_standin_tells_its_address_and_ends_on_ctrl_c(drawn):
    process = subprocess.Popen([sys.executable, "-m", "helpers.cli", "standin", "--scenes", str(drawn)],
                               cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    first = process.stdout.readline()
    assert "http://127.0.0.1:" in first and "not Qwen-VL" in first
    process.send_signal(signal.SIGINT)
    assert "Traceback" not in process.communicate(timeout=60)[1]
    assert process.returncode == 0
