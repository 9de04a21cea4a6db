"""Measures full-size training on a GPU: peak memory beside its plan, tokens a second, and model FLOP utilisation (MFU).

    python benchmarks/gpu_training.py                        MiniCPM-V 4.6 from its configuration, random weights: LoRA and full, ZeRO 2
                                                             and 3, with and without offloading; nothing is downloaded
    python benchmarks/gpu_training.py --model tiny --device cpu --runs full-2        the same code on a CPU, small

NOT RUN ON A GPU YET: on a CPU its logic is tested (tests/test_gpu_recipe.py). Where the first figures come from a GPU, gpu_training.json has
them with date, versions, card and command.

MFU (Chowdhery et al., 2022, arXiv:2204.02311, appendix B) is the work that the model needs, not what recomputing adds, over what the card can
do: for each token that passes a matrix 2 FLOPs a parameter forward, and backward 2 for the gradient of the input and 2 for that of the weight
where it learns. Patches pass the vision tower, tokens the language model. Attention's own products are left out, so that MFU is a little low.
--peak-tflops is the card's dense 16-bit rate from its data sheet (A100: 312, H100 SXM: 989); without it no MFU is given.
"""

import argparse
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from helpers.core import runs as run_files  # noqa: E402
from helpers.core.memory_report import measured, print_plans  # noqa: E402
from helpers.core.model_sizes import ModelSize, build_on_meta, load_sizes, read_size  # noqa: E402
from helpers.core.paths import FINETUNE, STUDENT  # noqa: E402
from helpers.finetuning import launch  # noqa: E402
from tests.small_student import make_samples  # noqa: E402

# name → strategy, ZeRO's stage, what lives in the CPU's memory
RUNS = {f"{strategy}-{stage}{'' if offload == 'none' else '-' + offload}": (strategy, stage, offload)
        for strategy in ("lora", "full") for stage, offload in ((2, "none"), (2, "optimizer"), (3, "none"), (3, "all"))}
PACKAGES = ("torch", "transformers", "peft", "accelerate", "deepspeed")
FIRST = 2  # steps that are not timed: kernels are chosen, memory is taken


def random_model(name: str, folder: Path, dtype: str = "bfloat16") -> Path:
    """Write the model that data/model_sizes.yaml configures as `name`, with random weights, and the tiny student's processor to `folder`."""
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    if (folder / "config.json").is_file():
        return folder
    content = load_sizes()["models"][name]["config"]
    _, config = build_on_meta(name, content)
    processor = AutoProcessor.from_pretrained(STUDENT)
    # The picture's place is marked by a token of the processor; every id of its small vocabulary is one of the model's large one.
    config.image_token_id = processor.tokenizer.convert_tokens_to_ids(processor.image_token)
    processor.image_processor.scale_resolution, processor.image_processor.downsample_mode = 448, config.downsample_mode
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(config, dtype=getattr(torch, dtype))
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def configuration(stage: int, offload: str, folder: Path) -> Path:
    """The kit's DeepSpeed configuration for a stage with `offload`, written to `folder`."""
    config = run_files.read_json(FINETUNE / f"ds_config_zero{stage}.json")
    zero = config["zero_optimization"]
    for part, wanted in (("offload_optimizer", offload != "none"), ("offload_param", offload == "all")):
        zero.pop(part, None)
        if wanted:
            zero[part] = {"device": "cpu", "pin_memory": True}
    path = folder / f"zero{stage}-{offload}.json"
    run_files.write_json(path, config)
    return path


def step_flops(size: ModelSize, strategy: str, tokens: int, patches: int) -> float:
    """FLOPs that the model needs for one step of `tokens` tokens and `patches` patches (see the module's head).

    The words' input embeddings are looked up, not multiplied: they count once, as the output head that they are tied to. In LoRA the
    language model's own weights get no gradient; the adapter's few are left out.
    """
    text = 4 if strategy == "lora" else 6
    # After some layers the vision tower goes on with a quarter of the patches (Vision.whole_layers).
    seen = patches * size.vision.whole_layers / size.vision.layers
    return text * tokens * size.text_parameters + 6 * seen * size.vision_parameters + 6 * tokens * size.merger_parameters


def seconds_a_step(folder: Path) -> float:
    """The median time between logged steps of the run in `folder`, without the first ones."""
    import statistics

    lines, _ = run_files.read_progress(folder)
    times = [line["seconds"] for line in lines if "loss" in line]
    gaps = [after - before for before, after in zip(times[FIRST - 1:], times[FIRST:])]
    if not gaps:
        raise SystemExit(f"{folder}: a run of more than {FIRST} steps is needed to time one.")
    return statistics.median(gaps)


def measure(name: str, model: Path, size: ModelSize, data: Path, options: argparse.Namespace) -> tuple[dict, object]:
    """Train one of RUNS; returns its figures and the comparison with its plan."""
    strategy, stage, offload = RUNS[name]
    folder = options.out / name
    launch(strategy, model=model, data=data, output_dir=folder, processes=options.processes, micro_batch_size=options.batch,
           max_length=options.max_length, save_strategy="no", deepspeed=configuration(stage, offload, options.out),
           gradient_checkpointing=True, max_steps=options.steps)
    comparison = measured(folder)
    batch = run_files.load_run(folder).memory["batch"]
    tokens, patches = batch["samples"] * batch["tokens"], batch["patches"]
    seconds = seconds_a_step(folder)
    flops = step_flops(size, strategy, tokens, patches) / seconds
    return {
        "run": name, "processes": options.processes, "peak_bytes": comparison.measured, "planned_bytes": comparison.planned,
        "error_percent": comparison.error, "seconds_a_step": seconds, "tokens_a_second": options.processes * tokens / seconds,
        "tflops_a_process": flops / 1e12, "mfu": flops / (options.peak_tflops * 1e12) if options.peak_tflops else None,
        "batch": batch,
    }, comparison


def main() -> None:
    """Every run, beside its plan; DIR/gpu_training.json has the figures with date, versions, device and command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "gpu_training")
    parser.add_argument("--model", default="openbmb/MiniCPM-V-4.6", help="a name in data/model_sizes.yaml with a configuration, or tiny")
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=list(RUNS))
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--processes", type=int, default=1, help="GPUs")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--max-length", type=int, default=2048)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--peak-tflops", type=float, help="the card's dense 16-bit TFLOP/s")
    options = parser.parse_args()
    import torch

    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("There is no GPU here; --model tiny --device cpu --runs full-2 runs the same code on a CPU.")
    if options.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    options.out = options.out.resolve()
    options.out.mkdir(parents=True, exist_ok=True)
    model = STUDENT if options.model == "tiny" else random_model(options.model, options.out / "model")
    data = make_samples(options.out, options.steps * options.batch * options.processes)
    size, figures, comparisons = read_size(options.model), [], []
    for name in options.runs:
        figure, comparison = measure(name, model, size, data, options)
        figures.append(figure)
        comparisons.append(comparison)
        share = "no MFU without --peak-tflops" if figure["mfu"] is None else f"MFU {figure['mfu']:.1%}"
        print(f"{name}: {figure['tokens_a_second']:.0f} tokens/s, {figure['tflops_a_process']:.3g} TFLOP/s, {share}, "
              f"planner {figure['error_percent']:+.1f} %", flush=True)
    print_plans([], comparisons)
    run_files.write_json(options.out / "gpu_training.json", {
        "date": time.strftime("%Y-%m-%d"), "command": sys.argv, "versions": {name: version(name) for name in PACKAGES},
        "device": torch.cuda.get_device_name() if options.device == "cuda" else "cpu", "runs": figures})


if __name__ == "__main__":
    main()
