"""What a person can get wrong, or a machine run out of: each is one sentence, before the first step or with the last checkpoint kept.

The program runs in this process, as by hand without torchrun (`main`, its words on the command line, what it prints).
"""

import json
import os
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from finetune import finetune
from helpers.core import runs
from helpers.core.errors import ResourceError, TrainingError
from helpers.core.runs import load_run
from tests.small_student import ANSWERS, QUESTIONS, make_samples, make_student


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    make_student(folder / "student")
    make_samples(folder, 4)
    return folder


@pytest.fixture
def program(folder, tmp_path, monkeypatch, capsys):
    """Runs finetune.py on the four samples, changed as asked; returns (exit code, what it printed to stdout, to stderr)."""

    def run(change=lambda entries: entries, data=None, **options):
        entries = json.loads((folder / "train.json").read_text(encoding="utf-8"))
        (folder / "changed.json").write_text(json.dumps(change(entries), ensure_ascii=False), encoding="utf-8")
        asked = {"model_name_or_path": folder / "student", "data_path": data or folder / "changed.json", "output_dir": tmp_path / "out",
                 "use_lora": "false", "num_train_epochs": 2, "per_device_train_batch_size": 2, "save_strategy": "steps", "save_steps": 1,
                 "use_cpu": "true", **options}
        monkeypatch.setattr("sys.argv", ["finetune.py", *(str(word) for name, value in asked.items() for word in (f"--{name}", value))])
        code = finetune.main()
        printed = capsys.readouterr()
        return code, printed.out, printed.err.replace("\r", "\n")

    return run


def sentence_of(result, kind):
    """The one sentence of this kind of error that the program printed; it failed, and printed no traceback."""
    code, _, err = result
    told = [line for line in err.splitlines() if line.startswith(f"{kind}: ")]
    assert code == 1 and len(told) == 1 and "Traceback" not in err
    return told[0]


def changed(number, **values):
    """A change of one entry."""
    return lambda entries: [entry | values if at == number else entry for at, entry in enumerate(entries)]


@pytest.mark.parametrize(("change", "options", "words"), [
    (changed(2, image="broken.png"), {}, "sample 0002: .*broken.png is cut off or damaged"),
    (changed(2, image="nowhere.png"), {}, "sample 0002: the picture nowhere.png is neither in"),
    (changed(1, conversations=[]), {}, 'sample 0001: "conversations" must be a list of messages that is not empty'),
    (changed(1, conversations=[{"role": "user", "content": "<image>\nWhat?"}]), {}, "sample 0001: the conversation ends with a question"),
    (changed(3, conversations=[{"role": "user", "content": "<image>\nWhat?"}, {"role": "assistant", "content": " "}]), {},
     "sample 0003: the answer is empty"),
    (changed(3, conversations=[{"role": "user", "content": "<image>\n" + "What is it? " * 60}, {"role": "assistant", "content": "A cat."}]),
     {"model_max_length": 100}, r"sample 0003: the picture and the question take \d+ tokens, more than --model_max_length 100"),
])
def test_a_sample_that_cannot_be_learned_is_named_before_the_first_step(program, folder, tmp_path, change, options, words):
    (folder / "broken.png").write_bytes((folder / "train" / "0002.png").read_bytes()[:60])
    told = sentence_of(program(change, **options), "InputError")
    assert re.search(words, told), told
    assert not (tmp_path / "out").exists()


def test_a_missing_tag_is_said_and_trained_with_the_picture_first(program, folder, tmp_path):
    untagged = changed(1, conversations=[{"role": "user", "content": QUESTIONS["zh"]}, {"role": "assistant", "content": ANSWERS[1][1]}])
    code, out, _ = program(untagged)
    assert code == 0 and [line for line in out.splitlines() if "no <image> in" in line and "0001" in line]
    with_tags = load_run(shutil.copytree(tmp_path / "out", tmp_path / "untagged"))
    program(output_dir=tmp_path / "tagged")
    assert load_run(tmp_path / "tagged").losses == with_tags.losses


def test_a_checkpoint_of_another_model_is_neither_continued_nor_lost(program, folder, tmp_path):
    code, _, err = program(keep_checkpoints="true")
    assert code == 0, err
    kept = tmp_path / "out" / "checkpoint-4"
    before = {path.name: path.read_bytes() for path in kept.iterdir()}
    if not (folder / "other").exists():
        shutil.copytree(folder / "student", folder / "other")
        weights = folder / "other" / "model.safetensors"
        save_file({name: tensor + 1 for name, tensor in load_file(weights).items()}, weights, metadata={"format": "pt"})
    told = sentence_of(program(model_name_or_path=folder / "other"), "InputError")
    assert "holds checkpoint-4 of another model" in told and "choose another OUTPUT_DIR" in told
    (tmp_path / "out" / runs.SETTINGS).unlink()  # then it is nobody's known run
    told = sentence_of(program(), "InputError")
    assert "holds checkpoint-4 of a run of another program" in told
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == before


def test_a_loss_that_is_no_number_stops_the_run_at_its_step(program, tmp_path):
    told = sentence_of(program(learning_rate=1e37, warmup_steps=0), "TrainingError")
    assert "The loss at step 2 is nan" in told and "a smaller --learning_rate" in told
    checkpoint = runs.last_complete_checkpoint(tmp_path / "out")
    assert runs.step_of(checkpoint) == 1
    assert [line["step"] for line in runs.read_progress(tmp_path / "out")[0] if "loss" in line] == [1]


def test_weights_that_are_no_numbers_are_not_saved(program, tmp_path):
    told = sentence_of(program(optim="sgd", learning_rate=3e38, weight_decay=1000, warmup_steps=0), "TrainingError")
    assert "The weights after step 1 are no numbers any more, so they are not saved" in told
    assert not runs.checkpoints(tmp_path / "out")


def test_what_the_libraries_say_of_full_memory_and_full_disks_becomes_a_sentence(tmp_path):
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**15)
    assert isinstance(finetune.plain(caught.value), TrainingError)
    assert "The memory is full: use a smaller --per_device_train_batch_size" in str(finetune.plain(caught.value))
    assert isinstance(finetune.plain(torch.OutOfMemoryError("CUDA out of memory.")), TrainingError)
    if not os.path.exists("/dev/full"):
        pytest.skip("/dev/full, a disk without room, is Linux's")
    with pytest.raises(OSError) as caught, open("/dev/full", "w") as full:
        full.write("x" * 10**5)
    assert isinstance(finetune.plain(caught.value), ResourceError)
    with pytest.raises(Exception) as caught:
        torch.save(torch.zeros(10**5), "/dev/full")
    assert isinstance(finetune.plain(caught.value), ResourceError)
    assert finetune.plain(RuntimeError("a bug")) is None
