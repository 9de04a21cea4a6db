"""Training runs through the shell scripts on two processes: they learn, survive kills, and leave nothing running behind."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from helpers.cli import app
from helpers.core import runs
from helpers.core.conversations import read_conversations
from helpers.core.errors import InputError, ResourceError, TrainingError
from helpers.core.student import load_student
from helpers.finetuning import explain, launch, load_run
from tests.small_student import ANSWERS, make_samples, make_student

ROOT = Path(__file__).resolve().parents[1]
WAIT_SECONDS = 180


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A random student, six samples to train on and four to evaluate."""
    folder = tmp_path_factory.mktemp("finetuning")
    make_student(folder / "student")
    make_samples(folder)
    make_samples(folder, 4, "eval")
    return folder


def lora(folder, output_dir):
    """The settings of the LoRA run that several tests start: 5 epochs of 2 steps."""
    return dict(model=folder / "student", data=folder / "train.json", eval_data=folder / "eval.json", output_dir=output_dir, epochs=5,
                micro_batch_size=2, learning_rate=3e-3, rank=8, alpha=16, seed=3)


def processes_of(output_dir):
    """Every running process that names `output_dir` in its command."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if str(output_dir) in words and "finetune" in " ".join(words):
            found.append(process)
    return found


def wait_for(condition, what):
    """Wait until `condition()` is true; fail, saying `what` did not happen, when it takes far too long."""
    end = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def finished(folder):
    """An uninterrupted LoRA run."""
    return launch("lora", **lora(folder, folder / "lora"))


def test_a_lora_run_reports_itself_and_loads(folder, finished):
    assert finished.steps == 10 and [step for step, _ in finished.losses] == list(range(1, 11))
    assert [step for step, _ in finished.eval_losses] == [2, 4, 6, 8, 10]
    assert finished.losses[-1][1] < finished.losses[0][1]
    assert finished.seconds > 0 and finished.samples_per_second == pytest.approx(10 * 4 / finished.seconds)
    assert finished.peak_memory > 100 * 2**20 and finished.settings["lora_r"] == "8" and finished.settings["processes"] == 2
    assert not list(finished.output_dir.glob("checkpoint-*")) and (finished.output_dir / "training.log").stat().st_size
    student = load_student(finished.model_path, finished.adapter_path, device="cpu")
    base = load_student(folder / "student", device="cpu")
    learned = {name for name, value in student.model.named_parameters() if not value.equal(base.model.get_parameter(name))}
    assert any("language_model" in name for name in learned) and any("vision_tower" in name for name in learned)
    assert all(".self_attn." in name for name in learned if "language_model" in name)


def test_a_finished_run_is_recognised_and_its_settings_count(folder, finished):
    before = (finished.output_dir / "training.log").stat().st_size
    assert launch("lora", **lora(folder, finished.output_dir)) == finished
    assert (finished.output_dir / "training.log").stat().st_size == before


def test_an_adapter_of_another_model_is_refused(folder, finished):
    from helpers.core.tiny import build_student

    other = build_student(folder / "other", ["another"], hidden_size=48, layers=1, vision_size=32, vision_layers=1, vocabulary=300)
    with pytest.raises(InputError, match="was trained on another model") as caught:
        load_student(other, finished.adapter_path)
    assert "\n" not in str(caught.value)


def test_kills_leave_nothing_behind_and_the_continued_run_ends_the_same(folder, finished):
    output_dir = folder / "killed"
    settings = lora(folder, output_dir)
    script = textwrap.dedent(f"""
        from pathlib import Path, PosixPath
        from helpers.finetuning import launch
        launch("lora", **{settings!r})
    """)
    caller = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stderr=subprocess.DEVNULL)
    wait_for(lambda: runs.last_complete_checkpoint(output_dir), "the first checkpoint")
    assert len(processes_of(output_dir)) >= 3  # torchrun and two ranks
    caller.send_signal(signal.SIGKILL)
    caller.wait()
    wait_for(lambda: not processes_of(output_dir), "the end of all processes")

    # What a kill in the middle of saving leaves: a later checkpoint without its mark, and half a line.
    newest = runs.last_complete_checkpoint(output_dir)
    shutil.copytree(newest, output_dir / "checkpoint-9")
    (output_dir / "checkpoint-9" / runs.COMPLETE).unlink()
    with (output_dir / runs.PROGRESS).open("a") as file:
        file.write('{"step": 9, "lo')

    # Then a rank dies under the launcher.
    log_size = (output_dir / runs.LOG).stat().st_size
    script = f"import helpers.finetuning as f; from pathlib import PosixPath\n" \
             f"try: f.launch('lora', **{settings!r})\nexcept f.TrainingError as error: print(error)"
    caller = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    wait_for(lambda: b"Continuing after step" in (output_dir / runs.LOG).read_bytes()[log_size:], "the second start")
    ranks = [process for process in processes_of(output_dir) if not any(word.endswith("start.py") for word in process.info["cmdline"])]
    os.kill(ranks[-1].pid, signal.SIGKILL)
    words = caller.communicate(timeout=WAIT_SECONDS)[0]
    assert "The training run stopped: a process was ended by signal 9" in words and "training.log" in words
    assert not processes_of(output_dir)

    continued = launch("lora", **settings)
    assert continued.losses == finished.losses and continued.eval_losses == finished.eval_losses
    weights = "adapter_model.safetensors"
    assert (output_dir / weights).read_bytes() == (finished.output_dir / weights).read_bytes()


@pytest.fixture(scope="module")
def by_heart(folder):
    """Eight pictures learned by heart in full, four in each language; then an adapter on top that learned other answers to them."""
    data = make_samples(folder, 8, "heart")
    entries = json.loads(data.read_text(encoding="utf-8"))
    for entry, (_, answer) in zip(entries, ANSWERS[2:] + ANSWERS[:2], strict=True):
        entry["conversations"][1]["content"] = answer
    (folder / "other.json").write_text(json.dumps(entries, ensure_ascii=False), encoding="utf-8")
    settings = dict(micro_batch_size=4, save_strategy="no", lr_scheduler_type="constant_with_warmup")
    full = launch("full", model=folder / "student", data=data, output_dir=folder / "full", epochs=120, learning_rate=2e-3, **settings)
    adapter = launch("lora", model=full.output_dir, data=folder / "other.json", output_dir=folder / "adapter", epochs=60, learning_rate=5e-3,
                     rank=16, alpha=32, lora_dropout=0, **settings)
    return full, adapter


def test_what_was_learned_comes_back_to_the_letter_from_the_command(folder, by_heart, tmp_path):
    """The checkpoint's and the adapter's answers, in both languages, batched and alone: training and describing read the same prompt."""
    assert by_heart[0].steps == 120 and by_heart[0].eval_losses == [] and by_heart[0].adapter_path is None
    for run, file in zip(by_heart, ("heart", "other"), strict=True):
        assert run.losses[-1][1] < 0.05
        learned = [sample.answer for sample in read_conversations(folder / f"{file}.json")]
        assert len(set(learned)) == 8 and sum(answer.isascii() for answer in learned) == 4
        for batch_size in (8, 1):
            output = tmp_path / f"{file}-{batch_size}.json"
            words = ["caption", "--model", run.model_path, "--data", str(folder / f"{file}.json"), "--output", str(output),
                     "--batch-size", str(batch_size), "--max-new-tokens", "100"]
            done = CliRunner().invoke(app, words + (["--adapter", str(run.adapter_path)] if run.adapter_path else []))
            assert done.exit_code == 0, done.output
            assert [sample.answer for sample in read_conversations(output)] == learned, (file, batch_size)


def test_a_broken_picture_stops_the_run_before_its_first_step(folder, tmp_path):
    data = make_samples(tmp_path)
    (tmp_path / "train" / "0004.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="sample 0004"):
        launch("lora", model=folder / "student", data=data, output_dir=tmp_path / "out", processes=1, deepspeed=None)
    assert not (tmp_path / "out" / runs.PROGRESS).exists()


def test_what_needs_no_processes_to_be_refused(folder, tmp_path):
    settings = lora(folder, tmp_path)
    (tmp_path / "empty.json").write_text("[]")
    for changed, kind, words in [
        ({"data": tmp_path / "none.json"}, InputError, "There is no file"),
        ({"data": tmp_path / "empty.json"}, InputError, "holds no samples"),
        ({"deepspeed": tmp_path / "zero9.json"}, InputError, "no DeepSpeed configuration"),
    ]:
        with pytest.raises(kind, match=words):
            launch("lora", **settings | changed)
    with pytest.raises(InputError, match="no strategy"):
        launch("qlora", **settings)
    with pytest.raises(InputError, match="no training run"):
        load_run(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(ResourceError, match="Port .* is in use"):
        launch("lora", **settings, master_port=server.getsockname()[1])


def test_a_full_disk_is_told_in_one_sentence(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 99, 1))
    with pytest.raises(ResourceError, match="MiB free and the run needs about"):
        launch("lora", **lora(folder, tmp_path))


def test_the_log_is_put_into_plain_words(tmp_path):
    log = tmp_path / "training.log"
    log.write_text("old\nResourceError: The disk is full: free space.\nTraceback …\n")
    assert isinstance(explain(log, 0, 1), ResourceError) and str(explain(log, 0, 1)) == "The disk is full: free space."
    log.write_text("something else\n  exitcode  : -9 (pid: 7)\n")
    assert isinstance(explain(log, 0, 1), TrainingError) and "signal 9" in str(explain(log, 0, 1))
    log.write_text("RuntimeError: EADDRINUSE, message: address already in use\n")
    assert isinstance(explain(log, 0, 1), ResourceError)


def test_a_disk_too_full_for_the_log_is_told_nevertheless(tmp_path, monkeypatch):
    log = tmp_path / "training.log"
    log.write_text("{'loss': '3.1'}\n")
    assert isinstance(explain(log, 0, 1), TrainingError)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 99, 1))
    assert isinstance(explain(log, 0, 1), ResourceError) and "not even the log" in str(explain(log, 0, 1))


def test_a_python_without_torch_is_told_before_anything_starts(tmp_path):
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S -I "$@"\n')
    bare.chmod(0o755)
    run = subprocess.run(["bash", "finetune/finetune_lora.sh"], cwd=ROOT, env={**os.environ, "PYTHON": str(bare)}, capture_output=True, text=True)
    assert run.returncode == 1 and run.stdout == ""
    assert run.stderr == f"error: {bare} has no torch: make .venv first, or activate the environment that has it\n"
