"""However a run is cut into processes and whatever DeepSpeed shards, it learns the same; and what it learned is what it saves.

Every way of training runs here for real, on the same seven samples with answers of very different lengths: ZeRO-2, ZeRO-3 and no
DeepSpeed, on one process and on two, LoRA and full, and with accumulated gradients. Seven do not divide by the batch of four.
"""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from helpers.core.batches import LengthSampler
from helpers.core.conversations import read_conversations
from helpers.core.encoding import IGNORED, collate, encode_sample
from helpers.core.images import open_image
from helpers.core.runs import counted_lines, load_run, read_progress
from helpers.core.student import load_student
from tests.small_student import make_samples, make_student

ROOT = Path(__file__).resolve().parents[1]
ZEROS, BATCH, EPOCHS, RATE, SEED = (0, 2, 3), 4, 3, 2e-3, 3
WAYS = {f"{strategy}-zero{zero}-{processes}x{accumulation}": (strategy, zero, processes, accumulation)
        for strategy in ("lora", "full") for zero in ZEROS for processes, accumulation in ((1, 1), (2, 1))}
WAYS |= {f"{strategy}-zero{zero}-1x2": (strategy, zero, 1, 2) for strategy, zero in (("lora", 0), ("full", 2), ("full", 3))}


def words(folder, name, strategy, zero, processes, accumulation):
    """finetune.py's words for one way of training the same thing."""
    options = {
        "model_name_or_path": folder / "student", "data_path": folder / "train.json", "eval_data_path": folder / "eval.json",
        "output_dir": folder / name, "num_train_epochs": EPOCHS, "learning_rate": RATE, "lr_scheduler_type": "constant",
        "warmup_steps": 0, "seed": SEED, "save_strategy": "no", "use_lora": strategy == "lora", "lora_r": 8, "lora_dropout": 0,
        "per_device_train_batch_size": BATCH // processes // accumulation, "gradient_accumulation_steps": accumulation,
        "per_device_eval_batch_size": 2,
    }
    if zero:
        options["deepspeed"] = ROOT / "finetune" / f"ds_config_zero{zero}.json"
    return [word for name, value in options.items() for word in (f"--{name}", str(value).lower() if isinstance(value, bool) else str(value))]


def digest(folder):
    """The SHA-256 of every file in `folder`, by name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A random student, seven samples whose answers are one to seven sentences long, five to evaluate, a batch to compare answers on."""
    folder = tmp_path_factory.mktemp("equivalence")
    make_student(folder / "student")
    for count, name in ((7, "train"), (5, "eval")):
        entries = json.loads(make_samples(folder, count, name).read_text(encoding="utf-8"))
        for number, entry in enumerate(entries):
            answer = entry["conversations"][1]
            answer["content"] = " ".join([answer["content"]] * (1 + number % 4 * 2))
        (folder / f"{name}.json").write_text(json.dumps(entries, ensure_ascii=False), encoding="utf-8")
    batch = encoded(folder, "eval")
    torch.save(collate(batch[:3], 0, "right"), folder / "batch.pt")
    return folder


def encoded(folder, name):
    """The encoded samples of a conversation file, in its order."""
    processor = load_student(folder / "student", device="cpu").processor
    return [encode_sample(processor, open_image(sample.path), sample.turns, 2048) for sample in read_conversations(folder / f"{name}.json")]


@pytest.fixture(scope="module")
def base_files(folder):
    """The digests of the base model's files before anything was trained."""
    return digest(folder / "student")


@pytest.fixture(scope="module")
def trained(folder, base_files):
    """All ways, run in one group of processes for each number of them: {way: (Run, what was in memory at the end)}."""
    for processes in (1, 2):
        jobs = [words(folder, name, *way) for name, way in WAYS.items() if way[2] == processes]
        (folder / "jobs.json").write_text(json.dumps(jobs))
        group = subprocess.run(
            [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes),
             str(ROOT / "tests" / "training_group.py"), str(folder / "jobs.json")],
            env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT)
        assert group.returncode == 0, group.stdout[-3000:]
    return {name: (load_run(folder / name), torch.load(folder / name / "in_memory.pt")) for name in WAYS}


@pytest.mark.parametrize("strategy", ["lora", "full"])
def test_every_way_of_training_gives_the_same_curve(trained, folder, strategy):
    alone = trained[f"{strategy}-zero0-1x1"][0]
    assert alone.steps == 2 * EPOCHS and alone.losses[-1][1] < alone.losses[0][1] - 0.1
    norms = {name: [line["grad_norm"] for line in counted_lines(read_progress(folder / name)[0]) if "loss" in line] for name in trained}
    for name, (run, _) in trained.items():
        if name.startswith(strategy):
            assert run.losses == [(step, pytest.approx(loss, abs=1e-3)) for step, loss in alone.losses], name
            assert run.eval_losses == [(step, pytest.approx(loss, abs=1e-3)) for step, loss in alone.eval_losses], name
            assert norms[name] == pytest.approx(norms[f"{strategy}-zero0-1x1"], rel=1e-3), name


def test_the_loss_is_the_mean_over_the_answer_tokens_of_each_global_batch(trained, folder):
    """The same training written out in twenty lines of torch: whole batches of four, one loss over all their answer tokens."""
    student = load_student(folder / "student", device="cpu")
    train, held_out = encoded(folder, "train"), collate(encoded(folder, "eval"), 0, "right")
    sampler = LengthSampler([sum(len(turn.content) for turn in sample.turns) for sample in read_conversations(folder / "train.json")],
                            BATCH, SEED)
    optimizer = torch.optim.AdamW(student.model.parameters(), lr=RATE, weight_decay=0.0)

    def loss_of(batch):
        logits = student.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], pixel_values=batch["pixel_values"],
                               target_sizes=batch["target_sizes"]).logits
        answers = batch["labels"][:, 1:] != IGNORED
        chances = logits[:, :-1].log_softmax(-1).gather(-1, batch["input_ids"][:, 1:, None])[..., 0]
        return -chances[answers].mean()

    losses, eval_losses = [], []
    for epoch in range(EPOCHS):
        sampler.epoch = epoch
        order = list(sampler)
        for at in range(0, len(order), BATCH):
            loss = loss_of(collate([train[index] for index in order[at:at + BATCH]], 0, "right"))
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(student.model.parameters(), 1.0)
            optimizer.step()
            losses.append(loss.item())
        with torch.no_grad():
            eval_losses.append(loss_of(held_out).item())
    for name in ("full-zero0-1x1", "full-zero3-2x1"):
        run = trained[name][0]
        assert [loss for _, loss in run.losses] == pytest.approx(losses, abs=1e-3), name
        assert [loss for _, loss in run.eval_losses] == pytest.approx(eval_losses, abs=1e-3), name


def test_lora_changes_nothing_but_the_adapter_and_what_is_saved_with_it(trained, folder, base_files):
    base = dict(load_student(folder / "student", device="cpu").model.named_parameters())
    for name, (run, memory) in trained.items():
        if run.strategy != "lora":
            continue
        frozen = {key.removeprefix("base_model.model.").replace(".base_layer.", ".").replace(".original_module.", "."): tensor
                  for key, tensor in memory["state"].items() if "lora_" not in key and ".modules_to_save." not in key}
        assert frozen.keys() == base.keys(), name
        assert [key for key in base if not torch.equal(frozen[key], base[key])] == [], name
        assert all("lora_" in key or ".modules_to_save." in key for key in memory["trainable"])
        saved = load_file(run.output_dir / "adapter_model.safetensors")
        assert len(saved) == len(memory["trainable"]), name
        for key, tensor in saved.items():  # PEFT leaves the adapter's name out of the file
            inside = [inner for inner in memory["trainable"] if inner.replace(".default", "").replace(".modules_to_save", "") == key]
            assert len(inside) == 1 and torch.equal(memory["state"][inside[0]], tensor), (name, key)
    assert digest(folder / "student") == base_files


def test_full_fine_tuning_changes_every_trainable_tensor_and_no_other(trained, folder):
    base = dict(load_student(folder / "student", device="cpu").model.named_parameters())
    for name, (run, memory) in trained.items():
        if run.strategy != "full":
            continue
        assert memory["state"].keys() == base.keys(), name
        frozen = {key for key in base if "vit_merger" in key}  # this student's eyes skip it
        assert set(memory["trainable"]) == base.keys() - frozen and frozen, name
        assert {key for key in base if torch.equal(memory["state"][key], base[key])} == frozen, name
        saved = load_file(run.output_dir / "model.safetensors")
        state = memory["state"] | {"lm_head.weight": memory["state"]["model.language_model.embed_tokens.weight"]}  # one tensor, tied
        assert saved.keys() - {"lm_head.weight"} == base.keys() and all(torch.equal(saved[key], state[key]) for key in saved), name


def test_saved_loaded_and_merged_give_the_logits_that_were_in_memory(trained, folder):
    from peft import PeftModel

    batch = torch.load(folder / "batch.pt")
    with torch.no_grad():
        untrained = load_student(folder / "student", device="cpu").model(**batch).logits
        for name, (run, memory) in trained.items():
            loaded = load_student(run.model_path, run.adapter_path, device="cpu").model(**batch).logits
            assert (loaded - memory["logits"]).abs().max() < 1e-5, name
            assert (loaded - untrained).abs().max() > 0.1, name
            if run.adapter_path:
                unmerged = PeftModel.from_pretrained(load_student(folder / "student", device="cpu").model, run.adapter_path).eval()
                assert (unmerged(**batch).logits - loaded).abs().max() < 1e-5, name
