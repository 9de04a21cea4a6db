"""Merging an adapter into its model: the same logits, a whole folder that `captionlab caption` takes, and refusals in one sentence."""

import json
import shutil

import pytest
import torch
from typer.testing import CliRunner

from helpers.cli import app
from helpers.core import merging, runs
from helpers.core.conversations import read_conversations
from helpers.core.encoding import collate, encode_sample
from helpers.core.errors import InputError, ResourceError
from helpers.core.images import open_image
from helpers.core.student import load_student
from helpers.finetuning import launch, merge_adapter
from tests.small_student import make_samples, make_student


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A student, six samples, and one LoRA and one full run on them."""
    folder = tmp_path_factory.mktemp("merging")
    make_student(folder / "student")
    make_samples(folder)
    common = dict(model=folder / "student", data=folder / "train.json", processes=1, deepspeed=None, micro_batch_size=3, epochs=20)
    launch("lora", output_dir=folder / "lora", learning_rate=5e-3, rank=8, alpha=16, **common)
    launch("full", output_dir=folder / "full", learning_rate=2e-3, **common)
    return folder


@pytest.fixture(scope="module")
def merged(folder):
    """The folder of the merged model."""
    return merge_adapter(folder / "student", folder / "lora", folder / "merged")


def logits(model, processor, samples):
    """What a model says of every token of `samples`."""
    batch = collate([encode_sample(processor, open_image(sample.path), sample.turns, 512) for sample in samples], processor.tokenizer.pad_token_id, "right")
    with torch.inference_mode():
        return model.eval()(**batch).logits


def test_merged_weights_give_the_logits_of_the_adapter(folder, merged):
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText, AutoProcessor

    samples = read_conversations(folder / "train.json")
    processor = AutoProcessor.from_pretrained(merged)
    base = AutoModelForImageTextToText.from_pretrained(folder / "student")
    before = logits(base, processor, samples)
    beside = logits(PeftModel.from_pretrained(base, folder / "lora"), processor, samples)  # the adapter as PEFT runs it, not merged
    after = logits(AutoModelForImageTextToText.from_pretrained(merged), processor, samples)
    assert (after - beside).abs().max() < 1e-5 < 0.1 < (before - beside).abs().max()
    assert not (merged / "adapter_config.json").exists() and not list(folder.glob(".*"))


def test_the_merged_model_the_adapter_and_the_full_one_go_through_caption(folder, merged, tmp_path):
    said = {}
    for name, words in {"adapter": ["--model", folder / "student", "--adapter", folder / "lora"], "merged": ["--model", merged],
                        "full": ["--model", folder / "full"], "pretrained": ["--model", folder / "student"]}.items():
        output = tmp_path / f"{name}.json"
        result = CliRunner().invoke(app, ["caption", *map(str, words), "--data", str(folder / "train.json"), "--output", str(output), "--max-new-tokens", "60"])
        assert result.exit_code == 0, result.output
        said[name] = [entry["conversations"][1]["content"] for entry in json.loads(output.read_text(encoding="utf-8"))]
    assert said["merged"] == said["adapter"] != said["pretrained"] and said["full"] != said["pretrained"] and all(said["merged"])


def test_the_command_merges(folder, merged, tmp_path):
    words = ["merge", "--model", str(folder / "student"), "--adapter", str(folder / "lora"), "--output"]
    result = CliRunner().invoke(app, [*words, str(tmp_path / "made")])
    assert result.exit_code == 0 and str(tmp_path / "made") in result.output
    assert (tmp_path / "made" / "model.safetensors").read_bytes() == (merged / "model.safetensors").read_bytes()
    again = CliRunner().invoke(app, [*words, str(tmp_path / "made")])
    assert again.exit_code == 1 and "does not overwrite" in again.output.replace("\n", " ")


def test_precision_is_the_models_or_the_one_asked_for(folder, tmp_path):
    half = load_student(merge_adapter(folder / "student", folder / "lora", tmp_path / "half", "bf16"), device="cpu")
    config = json.loads((tmp_path / "half" / "config.json").read_text())
    assert config["dtype"] == "bfloat16" and half.describe([folder / "train" / "0000.png"], "?", max_new_tokens=4)
    kept = merge_adapter(tmp_path / "half", _copy_without_record(folder / "lora", tmp_path / "adapter"), tmp_path / "kept")
    assert json.loads((kept / "config.json").read_text())["dtype"] == "bfloat16"
    wide = merge_adapter(tmp_path / "half", tmp_path / "adapter", tmp_path / "wide", "fp32")
    assert json.loads((wide / "config.json").read_text())["dtype"] == "float32"


def _copy_without_record(adapter, target):
    """The adapter without the run's settings, as one from elsewhere comes."""
    shutil.copytree(adapter, target)
    (target / runs.SETTINGS).unlink()
    return target


def test_refusals_are_one_sentence_and_leave_nothing(folder, tmp_path):
    other = make_student(tmp_path / "other")
    from transformers import AutoModelForImageTextToText

    torch.manual_seed(5)
    changed = AutoModelForImageTextToText.from_pretrained(other)
    changed.model.merger.requires_grad_(False)
    for parameter in changed.model.merger.parameters():
        parameter.add_(1.0)
    changed.save_pretrained(other)
    full = tmp_path / "occupied"
    full.mkdir()
    (full / "note.txt").write_text("mine")
    for model, adapter, output, precision, words in [
        (other, folder / "lora", tmp_path / "out", "same", "trained on another model"),
        (folder / "student", folder / "full", tmp_path / "out", "same", "is a whole model"),
        (folder / "student", folder / "lora", full, "same", "does not overwrite"),
        (folder / "student", folder / "lora", tmp_path / "out", "int3", "no precision"),
        (tmp_path / "none", folder / "lora", tmp_path / "out", "same", "There is no model"),
    ]:
        with pytest.raises(InputError, match=words) as caught:
            merge_adapter(model, adapter, output, precision)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists() and [path.name for path in full.iterdir()] == ["note.txt"]


def test_a_full_disk_leaves_nothing_half(folder, tmp_path, monkeypatch):
    from transformers import PreTrainedModel

    def save(self, target, **kwargs):
        (target / "model.safetensors").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(PreTrainedModel, "save_pretrained", save)
    with pytest.raises(ResourceError, match="is full"):
        merging.merge(folder / "student", folder / "lora", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
