"""Each family of models goes the whole way: trained by the program with LoRA and in full, saved, loaded, asked by `captionlab caption`."""

import json

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from helpers.cli import app
from helpers.core.conversations import read_conversations
from helpers.core.encoding import collate, encode_sample
from helpers.core.images import open_image
from helpers.core.student import load_student
from tests.small_families import FAMILIES, build_family
from tests.small_student import make_samples
from tests.training_program import run


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request, tmp_path_factory):
    """A folder with a random model of the family and six samples; one picture is far wider than the others."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp(request.param)
    build_family(request.param, folder / "model")
    make_samples(folder)
    Image.open(folder / "train" / "0002.png").resize((120, 24)).save(folder / "train" / "0002.png")
    return folder


@pytest.mark.parametrize("strategy", ["lora", "full"])
def test_it_learns_is_saved_is_loaded_and_describes(folder, strategy):
    data = folder / "train.json"
    done = run(folder / "model", data, folder / strategy, use_lora=strategy == "lora", num_train_epochs=10)
    losses = [loss for _, loss in done.losses]
    # Two steps are an epoch, so the same answers. An adapter beside random frozen weights has less to work with than all of them.
    assert done.steps == 20 and sum(losses[-2:]) < {"lora": 0.97, "full": 0.8}[strategy] * sum(losses[:2])
    student = load_student(done.model_path, done.adapter_path, device="cpu")
    base = load_student(folder / "model", device="cpu")
    changed = {name for name, value in student.model.named_parameters() if not value.equal(base.model.get_parameter(name))}
    assert changed and any(".self_attn." in name for name in changed)
    samples = read_conversations(data)
    encoded = [encode_sample(student.processor, open_image(sample.path), sample.turns, 2048) for sample in samples]
    with torch.inference_mode():
        loss = float(student.model(**collate(encoded, student.processor.tokenizer.pad_token_id, "right")).loss)
    assert loss == pytest.approx(sum(losses[-2:]) / 2, rel=0.03)  # what is loaded is what was learned
    paths, questions = [sample.path for sample in samples], [sample.question for sample in samples]
    together = student.describe(paths, questions, batch_size=4, max_new_tokens=16)
    assert together == [student.describe([path], question, max_new_tokens=16)[0] for path, question in zip(paths, questions, strict=True)]

    output = folder / f"{strategy}.json"
    adapter = ["--adapter", str(done.adapter_path)] if done.adapter_path else []
    result = CliRunner().invoke(app, ["caption", "--model", done.model_path, *adapter, "--data", str(data), "--output", str(output),
                                      "--batch-size", "4"])
    assert result.exit_code == 0, result.output
    said = [entry["conversations"][1]["content"] for entry in json.loads(output.read_text(encoding="utf-8"))]
    assert [answer.startswith(start) for answer, start in zip(said, together, strict=True)] == [True] * 6


@pytest.mark.parametrize("strategy", ["lora", "full"])
def test_gradient_checkpointing_computes_the_same(folder, strategy):
    plain = run(folder / "model", folder / "train.json", folder / "plain" / strategy, use_lora=strategy == "lora")
    for name, options in {"saving": {}, "reentrant": {"gradient_checkpointing_kwargs": '{"use_reentrant": true}'}}.items():
        saving = run(folder / "model", folder / "train.json", folder / name / strategy, use_lora=strategy == "lora",
                     gradient_checkpointing=True, **options)
        assert [loss for _, loss in saving.losses] == pytest.approx([loss for _, loss in plain.losses], abs=1e-5)
