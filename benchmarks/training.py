"""Measures finetune/finetune.py against TRL's SFTTrainer: samples a second on the same tiny model, data, batch and precision, in turns.

    python benchmarks/training.py              every case, three rounds: about half an hour on two quiet cores
    python benchmarks/training.py --quick      LoRA and full in one process, two short rounds: about five minutes

Needs TRL: pip install -c constraints.txt ".[benchmark]". A case is LoRA or full, in one process or two, without DeepSpeed or under it. A
round runs both sides one after the other, each in fresh processes, and the next round in the other order, so that a machine that grows
slower or busier meets both alike. What counts is the training loop after its first two steps: not the start, not the saving.

Both sides train the same parameters (SFTTrainer gets the adapter's configuration, or the names of what is frozen, from our run), in
float32 on a CPU, with the same optimizer, schedule, logging and supervised tokens; the script stops where their numbers differ. Each has
its own batches: ours are of like lengths and encoded once (`cache_gib`), SFTTrainer encodes each batch when it comes. The first epoch,
where ours must encode as well, is therefore given by itself. CPU seconds count all threads of all processes and feel other programs less
than the clock does.

Where the time goes: benchmarks/stopwatch.py, around the same methods of transformers' Trainer on both sides. `other` is what is left of the
loop: logging, callbacks, the scheduler, zeroing gradients.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.stopwatch import watch  # noqa: E402

PHASES = ("data", "forward", "backward", "optimizer", "other")
CASES = {f"{strategy}-{processes}{suffix}": (strategy, processes, stage)
         for processes, stage, suffix in ((1, None, ""), (2, None, ""), (2, 2, "-zero2"), (2, 3, "-zero3")) for strategy in ("lora", "full")}
PACKAGES = ("torch", "transformers", "peft", "accelerate", "deepspeed", "trl")


def ours(words: list[str], record: Path) -> None:
    """finetune/finetune.py as it is, watched; `words` are its command line."""
    import runpy

    import torch

    if not torch.cuda.is_available():
        os.environ["DS_ACCELERATOR"] = "cpu"  # as finetune.py does, before transformers is imported
    watch(record)
    sys.argv = ["finetune.py", *words]
    runpy.run_path(str(ROOT / "finetune" / "finetune.py"), run_name="__main__")


def theirs(spec: dict, record: Path) -> None:
    """SFTTrainer on what `spec` says, as its documentation shows for pictures."""
    os.environ["DS_ACCELERATOR"] = "cpu"
    import torch
    from datasets import Dataset, Image
    from peft import PeftConfig
    from transformers import AutoModelForImageTextToText, AutoProcessor
    from trl import SFTConfig, SFTTrainer

    from helpers.core.conversations import read_conversations

    config = None
    if spec["deepspeed"]:
        import deepspeed

        config = json.loads(Path(spec["deepspeed"]).read_text(encoding="utf-8"))
        for part in ("offload_optimizer", "offload_param"):
            config["zero_optimization"].pop(part, None)
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        deepspeed.init_distributed("gloo", auto_mpi_discovery=False)
    samples = read_conversations(spec["data"], need_answers=True)
    rows = [{"images": [str(sample.path)], "messages": [{"role": turn.role, "content": turn.content} for turn in sample.turns]}
            for sample in samples]
    data = Dataset.from_list(rows).cast_column("images", [Image()])
    processor = AutoProcessor.from_pretrained(spec["model"])
    processor.chat_template = with_markers(processor.chat_template)
    training = SFTConfig(
        output_dir=spec["output_dir"], per_device_train_batch_size=spec["batch"], num_train_epochs=spec["epochs"], learning_rate=1e-4,
        warmup_steps=0.05, lr_scheduler_type="cosine", weight_decay=0.0, optim="adamw_torch", logging_steps=1, save_strategy="no",
        report_to="none", disable_tqdm=True, seed=spec["seed"], bf16=False, fp16=False, gradient_checkpointing=False, max_length=None,
        assistant_only_loss=True, use_cpu=True, ddp_backend="gloo", dataloader_pin_memory=False, deepspeed=config)
    model = AutoModelForImageTextToText.from_pretrained(spec["model"], dtype=torch.float32)
    adapter = None
    if spec["strategy"] == "lora":
        adapter = PeftConfig.from_pretrained(spec["like"])
        adapter.inference_mode = False
    else:
        frozen = set(json.loads(Path(f"{spec['like_record']}-0.json").read_text(encoding="utf-8"))["frozen"])
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name not in frozen)
    check_same(processor, samples[:4], [data[place] for place in range(4)])
    watch(record)
    SFTTrainer(model=model, args=training, train_dataset=data, processing_class=processor, peft_config=adapter).train()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def check_same(processor, samples: list, rows: list[dict]) -> None:
    """Stop unless TRL's collator makes the same tokens, supervised places and pixels of `rows` as ours of `samples`."""
    import torch
    from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

    from helpers.core.encoding import encode_sample
    from helpers.core.images import open_image

    batch = DataCollatorForVisionLanguageModeling(processor=processor, assistant_only_loss=True)(rows)
    encoded = [encode_sample(processor, open_image(sample.path), sample.turns, 2048) for sample in samples]
    pixels = [one["pixel_values"].reshape(1, *batch["pixel_values"].shape[1:3], -1) for one in encoded]
    same = torch.equal(torch.cat(pixels, dim=-1), batch["pixel_values"])
    for place, one in enumerate(encoded):
        length = len(one["input_ids"])  # TRL's rows go on with a newline and padding, which are not supervised
        same &= all(torch.equal(one[key], batch[key][place, :length]) for key in ("input_ids", "labels"))
        same &= bool((batch["labels"][place, length:] == -100).all())
    if not same:
        raise SystemExit("The two sides make different tensors of the same samples: this is no comparison.")


def with_markers(template: str) -> str:
    """The tiny student's chat template with marks around the assistant's words and the end of its turn, by which TRL supervises."""
    head = "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    if not template.startswith(head) or "<|im_end|>\n{% endfor %}" not in template:
        raise SystemExit("The model's chat template is not the tiny student's: benchmarks/training.py compares on data/models/minicpmv-tiny.")
    rest = template.removeprefix(head)
    words, tail = rest.split("<|im_end|>\n{% endfor %}", 1)
    return (head + "{% if message['role'] == 'assistant' %}{% generation %}" + words + "<|im_end|>{% endgeneration %}{% else %}" + words
            + "<|im_end|>{% endif %}{{ '\\n' }}{% endfor %}" + tail)  # a bare newline after a block is trimmed


def make_data(folder: Path, count: int) -> Path:
    """Draw `count` scenes and write a conversation file of a question and the scene's true description each; returns the file."""
    from helpers.core.conversations import Sample, write_conversations
    from helpers.core.prompts import question
    from helpers.core.scenes import draw_scenes
    from helpers.core.speech import answer

    scenes = draw_scenes(folder, count, 0, seed=1, progress=None)
    asked = question("main", "en")
    return write_conversations(folder / "train.json", [
        Sample(scene.id, scene.file, folder / scene.file, asked, answer(scene, "en", seed=scene.id)) for scene in scenes])


def run(side: str, name: str, options: argparse.Namespace, data: Path, number: int) -> dict:
    """One side of one round: its processes, started and ended; returns what was measured (see `merge`)."""
    strategy, processes, stage = CASES[name]
    folder = options.out / name / f"{number}-{side}"
    folder.mkdir(parents=True, exist_ok=True)
    record, like = folder / "record", options.out / name / "0-ours"
    deepspeed = str(ROOT / "finetune" / f"ds_config_zero{stage}.json") if stage else None
    model = ROOT / "data" / "models" / "minicpmv-tiny"
    if side == "ours":
        words = {"model_name_or_path": model, "data_path": data, "output_dir": folder / "run", "use_lora": str(strategy == "lora").lower(),
                 "per_device_train_batch_size": options.batch, "num_train_epochs": options.epochs, "learning_rate": 1e-4, "seed": number,
                 "save_strategy": "no", "deepspeed": deepspeed}
        given = json.dumps([word for key, value in words.items() if value is not None for word in (f"--{key}", str(value))])
    else:
        given = json.dumps({"model": str(model), "data": str(data), "output_dir": str(folder / "run"), "strategy": strategy,
                            "batch": options.batch, "epochs": options.epochs, "seed": number, "deepspeed": deepspeed,
                            "like": str(like / "run"), "like_record": str(like / "record")})
    for old in folder.glob("record-*.json"):
        old.unlink()
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    environment = os.environ | {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    with (folder / "log").open("w", encoding="utf-8") as log:
        code = subprocess.run([*start, __file__, "--side", side, "--given", given, "--record", str(record)], env=environment, stdout=log,
                              stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False).returncode
    if code:
        raise SystemExit(f"{name}, {side}: ended with {code}; the end of {folder / 'log'}:\n" + (folder / "log").read_text()[-2500:])
    return merge([json.loads((folder / f"record-{rank}.json").read_text(encoding="utf-8")) for rank in range(processes)], options.batch)


def merge(ranks: list[dict], batch: int) -> dict:
    """The ranks' records as one: samples a second by the clock and by CPU time, of the whole loop, its first epoch and the rest."""
    def speed(epochs: slice, by: str) -> float | None:
        steps = sum(epoch["steps"] for epoch in ranks[0]["epochs"][epochs])
        # The clock is that of the slowest rank, CPU time that of all together.
        spent = [sum(epoch[by] for epoch in rank["epochs"][epochs]) for rank in ranks]
        return steps * batch * len(ranks) / (max(spent) if by == "seconds" else sum(spent)) if steps else None

    steps = sum(epoch["steps"] for epoch in ranks[0]["epochs"])
    return {
        "wall": speed(slice(None), "seconds"), "cpu": speed(slice(None), "cpu"), "first_epoch_wall": speed(slice(1), "seconds"),
        "first_epoch_cpu": speed(slice(1), "cpu"), "later_wall": speed(slice(1, None), "seconds"), "later_cpu": speed(slice(1, None), "cpu"),
        "phases": {phase: 1000 * ranks[0]["seconds"].get(phase, 0.0) / steps for phase in PHASES},
        "trained": ranks[0]["trained"], "supervised": sum(sum(rank["supervised"]) for rank in ranks),
        "padded": sum(rank["padded"] for rank in ranks), "loss": last_loss(ranks),
    }


def last_loss(ranks: list[dict]) -> float:
    """The mean loss of a token over the last epoch; steps of short answers have few tokens, so that a mean of steps would mislead."""
    steps = ranks[0]["epochs"][-1]["steps"]
    weights = [sum(tokens) for tokens in zip(*(rank["supervised"] for rank in ranks), strict=True)][-steps:]
    return sum(loss * weight for loss, weight in zip(ranks[0]["losses"][-steps:], weights, strict=True)) / sum(weights)


def compare(name: str, options: argparse.Namespace, data: Path) -> dict:
    """All rounds of one case. Raises SystemExit where the two sides did not do the same work."""
    rounds = []
    for number in range(options.rounds):
        order = ("ours", "trl") if number % 2 == 0 else ("trl", "ours")  # ours first: SFTTrainer reads its settings
        pair = {side: run(side, name, options, data, number) for side in order}
        for what in ("trained", "supervised"):
            if pair["ours"][what] != pair["trl"][what]:
                raise SystemExit(f"{name}: ours has {pair['ours'][what]} {what}, SFTTrainer {pair['trl'][what]}: this is no comparison.")
        rounds.append(pair)
        print(f"{name}, round {number + 1}: ours {pair['ours']['wall']:.1f}, TRL {pair['trl']['wall']:.1f} samples/s "
              f"(CPU: {pair['ours']['cpu']:.1f}, {pair['trl']['cpu']:.1f}), loss {pair['ours']['loss']:.3f}, {pair['trl']['loss']:.3f}, "
              f"padded tokens {pair['ours']['padded']}, {pair['trl']['padded']}", flush=True)
    middle = {side: {key: statistics.median(one[side][key] for one in rounds) for key in rounds[0][side]
                     if isinstance(rounds[0][side][key], int | float)} for side in ("ours", "trl")}
    for side in middle:
        middle[side]["phases"] = {phase: statistics.median(one[side]["phases"][phase] for one in rounds) for phase in PHASES}
    # Rounds are pairs: the ratio is the median of the pairs' ratios, not of two medians from different minutes.
    ratios = {key: statistics.median(one["ours"][key] / one["trl"][key] for one in rounds) for key in middle["ours"]
              if key.endswith(("wall", "cpu")) and key in middle["trl"]}
    return {"case": name, "ratios": ratios, "medians": middle, "rounds": rounds}


def show(results: list[dict]) -> None:
    """Print the comparison, then where the time goes."""
    print(f"\n{'case':14} {'ours':>8} {'TRL':>8}  samples/s    ours : TRL    by CPU time   first epoch (CPU)   later (CPU)")
    for one in results:
        ratio, middle = one["ratios"], one["medians"]
        first, later = (f"{ratio[key]:.2f}x ({ratio[key.replace('wall', 'cpu')]:.2f}x)" if key in ratio else "–"
                        for key in ("first_epoch_wall", "later_wall"))
        print(f"{one['case']:14} {middle['ours']['wall']:8.1f} {middle['trl']['wall']:8.1f} {ratio['wall']:20.2f}x {ratio['cpu']:13.2f}x "
              f"{first:>19} {later:>13}")
    print(f"\n{'ms a step':14} {'':5}" + "".join(f"{phase:>11}" for phase in PHASES) + f"{'sum':>11}")
    for one in results:
        for side in ("ours", "trl"):
            phases = one["medians"][side]["phases"]
            print(f"{one['case']:14} {side:5}" + "".join(f"{phases[phase]:11.1f}" for phase in PHASES) + f"{sum(phases.values()):11.1f}")


def main() -> None:
    """Both sides of every case, in turns; prints, and writes DIR/training.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "training_benchmark")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=16, help="samples a process and step, as the course has it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="lora-1 and full-1, 128 samples, 2 epochs, 2 rounds")
    parser.add_argument("--side", choices=("ours", "trl"), help=argparse.SUPPRESS)  # what the processes of a round are started with
    parser.add_argument("--given", help=argparse.SUPPRESS)
    parser.add_argument("--record", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        return (ours if options.side == "ours" else theirs)(json.loads(options.given), options.record)
    if options.quick:
        options.cases, options.samples, options.epochs, options.rounds = ["lora-1", "full-1"], 128, 2, 2
    if options.samples % (2 * options.batch):
        parser.error(f"--samples must be a multiple of {2 * options.batch}, so that every step is full")
    options.out = options.out.resolve()
    versions = {package: version(package) for package in PACKAGES}
    print(f"{time.strftime('%Y-%m-%d %H:%M')}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {versions}", flush=True)
    data = make_data(options.out / f"data-{options.samples}", options.samples)
    results = [compare(name, options, data) for name in options.cases]
    show(results)
    (options.out / "training.json").write_text(json.dumps({
        "date": time.strftime("%Y-%m-%d"), "command": sys.argv, "versions": versions, "cores": os.cpu_count(), "results": results,
    }, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
