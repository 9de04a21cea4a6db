"""A run's folder: the best weights, checkpoints that are continued or refused, precision by name, and TensorBoard's events."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch

from helpers.core import runs
from helpers.core.conversations import read_conversations
from helpers.core.encoding import collate, encode_sample
from helpers.core.errors import InputError
from helpers.core.images import open_image
from helpers.core.run_folder import best_checkpoint, check_learning, sharding_of
from helpers.core.student import load_student
from tests.small_families import build_family
from tests.small_student import make_samples
from tests.training_program import load_program, run, words


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The course's own family and another one, six samples to train on and four to evaluate, and those four with other answers."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs")
    build_family("minicpmv4_6", folder / "model")
    build_family("smolvlm", folder / "other")
    make_samples(folder)
    entries = json.loads(make_samples(folder, 4, "eval").read_text(encoding="utf-8"))
    for entry in entries:
        entry["conversations"][1]["content"] = "Zebras quickly jump over 7 boxes; 鲸鱼很大。"
    (folder / "strange.json").write_text(json.dumps(entries), encoding="utf-8")
    return folder


def eval_loss(done: runs.Run, file) -> float:
    """The mean loss per answer token of the four samples of `file`, as one batch, under a run's result."""
    student = load_student(done.model_path, done.adapter_path, device="cpu")
    samples = [encode_sample(student.processor, open_image(s.path), s.turns, 512) for s in read_conversations(file)]
    with torch.inference_mode():
        return float(student.model(**collate(samples, student.processor.tokenizer.pad_token_id, "right")).loss)


@pytest.mark.parametrize("strategy", ["lora", "full"])
def test_the_result_holds_the_best_weights_and_their_checkpoint_was_spared(folder, strategy):
    """The more it learns of its own answers, the less it expects others."""
    strange, model = folder / "strange.json", folder / "model"
    if strategy == "lora":  # beside random weights an adapter can do little; it continues from a model that has begun to learn
        model = run(model, folder / "train.json", folder / "begun", learning_rate=1e-2, num_train_epochs=3).output_dir
    options = dict(eval_data_path=strange, use_lora=strategy == "lora", num_train_epochs=12, learning_rate=1e-2,
                   lr_scheduler_type="constant", per_device_eval_batch_size=4, save_strategy="epoch", keep_checkpoints=True)
    best = run(model, folder / "train.json", folder / f"best-{strategy}", load_best_model_at_end=True, **options)
    last = run(model, folder / "train.json", folder / f"last-{strategy}", **options)
    assert best.eval_losses == last.eval_losses and last.best_step is None
    step, lowest = min(best.eval_losses, key=lambda point: point[1])
    assert best.best_step == step < best.steps == 24
    assert eval_loss(best, strange) == pytest.approx(lowest, abs=1e-5)
    assert eval_loss(last, strange) == pytest.approx(last.eval_losses[-1][1], abs=1e-5) and last.eval_losses[-1][1] > lowest
    assert [path.name for path in runs.checkpoints(best.output_dir)] == [f"checkpoint-{step}", "checkpoint-24"]
    assert [path.name for path in runs.checkpoints(last.output_dir)] == ["checkpoint-24"]


def test_the_best_cannot_be_told_without_pictures_to_tell_it_by(folder, tmp_path):
    with pytest.raises(InputError, match="set EVAL_DATA"):
        run(folder / "model", folder / "train.json", tmp_path / "out", load_best_model_at_end=True, save_strategy="epoch")
    with pytest.raises(InputError, match="--save_strategy and --eval_strategy"):
        run(folder / "model", folder / "train.json", tmp_path / "out", load_best_model_at_end=True, save_strategy="no")


@pytest.fixture(scope="module")
def checkpoint(folder):
    """The second of four epochs' checkpoint of a LoRA run, and the whole run."""
    options = dict(use_lora=True, save_strategy="epoch")
    kept = {}

    class Stop(Exception):
        pass

    program = load_program()
    save = program.RunFolder.on_save

    def on_save(self, args, state, control, **kwargs):
        save(self, args, state, control, **kwargs)
        if state.global_step == 4:
            shutil.copytree(self.folder, folder / "stopped")
            raise Stop

    program.RunFolder.on_save = on_save
    try:
        with pytest.raises(Stop):
            run(folder / "model", folder / "train.json", folder / "halfway", **options)
    finally:
        program.RunFolder.on_save = save
    kept["whole"] = run(folder / "model", folder / "train.json", folder / "whole", **options)
    return folder / "stopped" / "checkpoint-4", kept["whole"]


def test_a_checkpoint_from_elsewhere_is_continued(folder, tmp_path, checkpoint):
    path, whole = checkpoint
    continued = run(folder / "model", folder / "train.json", tmp_path / "out", use_lora=True, save_strategy="epoch", resume_from_checkpoint=path)
    assert [step for step, _ in continued.losses] == [5, 6, 7, 8] and continued.losses == whole.losses[4:]
    assert path.is_dir()
    weights = "adapter_model.safetensors"
    assert (tmp_path / "out" / weights).read_bytes() == (whole.output_dir / weights).read_bytes()


def test_the_best_checkpoint_is_found_in_the_folder_or_where_the_continued_run_left_it(tmp_path):
    """Where it was looked for in the folder alone, a run continued from elsewhere that found nothing better ended without weights."""
    state = SimpleNamespace(best_model_checkpoint=str(tmp_path / "before" / "checkpoint-4"))
    assert best_checkpoint(tmp_path / "now", state) is None
    for place in ("before", "now"):
        (tmp_path / place / "checkpoint-4").mkdir(parents=True)
        assert best_checkpoint(tmp_path / "now", state) != tmp_path / place / "checkpoint-4"  # not written to its end
        (tmp_path / place / "checkpoint-4" / runs.COMPLETE).touch()
        assert best_checkpoint(tmp_path / "now", state) == tmp_path / place / "checkpoint-4"
    assert best_checkpoint(tmp_path / "now", SimpleNamespace(best_model_checkpoint=None)) is None


def test_a_checkpoint_that_was_cut_up_otherwise_is_refused(tmp_path, monkeypatch):
    runs.write_json(tmp_path / runs.COMPLETE, {"step": 4, "learning": "a", "sharding": sharding_of(None)})
    check_learning(tmp_path, "a", sharding_of(None))
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="was written without DeepSpeed, and this run trains under ZeRO 2 on 2 processes") as caught:
        check_learning(tmp_path, "a", sharding_of({"zero_optimization": {"stage": 2}}))
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="other parts learned"):
        check_learning(tmp_path, "b", sharding_of(None))


def test_a_checkpoint_of_another_model_is_refused_and_stays(folder, tmp_path, checkpoint):
    path, _ = checkpoint
    shutil.copytree(path.parent, tmp_path / "run")
    (tmp_path / "foreign" / "checkpoint-7").mkdir(parents=True)
    for model, output_dir, options, sentence in [
        ("other", "out", {"resume_from_checkpoint": path}, "checkpoint-4 is of another model"),
        ("model", "out", {"resume_from_checkpoint": path.parent}, "is no complete checkpoint"),
        ("model", "out", {"resume_from_checkpoint": path, "lora_r": 4}, "other parts learned"),
        ("model", "out", {"resume_from_checkpoint": path, "use_lora": False}, "other parts learned"),
        ("other", "run", {}, "run holds checkpoint-4 of another model"),
        ("model", "foreign", {}, "foreign holds checkpoint-7 of a run of another program"),
    ]:
        with pytest.raises(InputError, match=sentence) as caught:
            run(folder / model, folder / "train.json", tmp_path / output_dir, **{"use_lora": True, "save_strategy": "epoch"} | options)
        assert "\n" not in str(caught.value)
    assert (tmp_path / "run" / "checkpoint-4" / runs.COMPLETE).is_file() and (tmp_path / "foreign" / "checkpoint-7").is_dir()


@pytest.mark.parametrize("strategy", ["lora", "full"])
def test_half_precision_learns_on_a_cpu_too(folder, strategy):
    options = dict(use_lora=strategy == "lora", num_train_epochs=8)
    half = run(folder / "model", folder / "train.json", folder / f"half-{strategy}", precision="bf16", **options)
    whole = run(folder / "model", folder / "train.json", folder / f"whole-{strategy}", **options)
    assert (half.memory["precision"], whole.memory["precision"]) == ("bf16", "fp32")
    losses, others = ([loss for _, loss in done.losses] for done in (half, whole))
    assert losses != others and losses == pytest.approx(others, rel=0.1) and losses[-1] < 0.95 * losses[0]


def test_precision_follows_the_device_or_the_option(monkeypatch):
    choose = load_program().choose_precision
    assert [choose("auto", False, False, True), choose("bf16", False, False, True), choose("auto", True, False, True)] == ["fp32", "bf16", "bf16"]
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    assert [choose(asked, False, False, False) for asked in ("auto", "fp32", "fp16")] == ["bf16", "fp32", "fp16"]
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: False)
    assert choose("auto", False, False, False) == "fp16"
    for asked, bf16, on_cpu, sentence in [("half", False, True, "is unknown"), ("fp16", False, True, "needs a GPU"),
                                          ("fp32", True, True, "contradicts --bf16"), ("bf16", False, False, "no bfloat16")]:
        with pytest.raises(InputError, match=sentence):
            choose(asked, bf16, False, on_cpu)


def test_tensorboard_draws_the_run_from_its_folder(folder, tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    run(folder / "model", folder / "train.json", tmp_path / "before", report_to="tensorboard")  # whose folder is its own, in one process as well
    done = run(folder / "model", folder / "train.json", tmp_path / "out", report_to="tensorboard", eval_data_path=folder / "eval.json")
    events = EventAccumulator(str(done.output_dir / "tensorboard")).Reload()
    assert [event.value for event in events.Scalars("train/loss")] == pytest.approx([loss for _, loss in done.losses])
    assert [event.step for event in events.Scalars("eval/loss")] == [2, 4, 6, 8]
    assert "report_to" not in done.settings  # what is shown does not make it another run


def test_without_tensorboard_the_remedy_is_named(folder, tmp_path, monkeypatch):
    program = load_program()
    there = program.importlib.util.find_spec
    monkeypatch.setattr(program.importlib.util, "find_spec", lambda name: None if name.startswith("tensorboard") else there(name))
    with pytest.raises(InputError, match="pip install tensorboard"):
        program.train(words(folder / "model", folder / "train.json", tmp_path / "out", report_to="tensorboard"))
    assert not (tmp_path / "out").exists()


def test_run_json_keeps_what_was_cut(folder, tmp_path):
    entries = json.loads((folder / "train.json").read_text(encoding="utf-8"))
    for entry in entries:
        entry["image"] = str(folder / entry["image"])
    entries[3]["conversations"][1]["content"] = "So. " * 300
    (tmp_path / "train.json").write_text(json.dumps(entries), encoding="utf-8")
    done = run(folder / "model", tmp_path / "train.json", tmp_path / "out", num_train_epochs=1, model_max_length=200)
    assert done.examined == {"train": {"cut": ["0003"], "untagged": []}}
