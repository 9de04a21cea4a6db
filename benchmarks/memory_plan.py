"""Measures how far off the memory planner is: trains a random student in every way, and holds each plan against the process that took most.

    python benchmarks/memory_plan.py [--out DIR] [--runs full-2 lora-3 …] [--processes 1 2] [--layers N]

The student is large enough (80 M parameters) that its states outweigh what a process has anyway; one process and two, three steps. The peer, on
the same runs: DeepSpeed's own estimators of model states. They are written for 16-bit training, so their 2 bytes of parameters and
gradients are doubled here, which float32 on a CPU has. MALLOC_MMAP_THRESHOLD_ makes glibc give freed tensors back to the system; without
it (--keep-heap) resident memory counts holes in the heap, which no plan can know.
"""

import argparse
import json
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from helpers.core.memory_report import measured, print_plans  # noqa: E402
from helpers.core.tiny import build_student  # noqa: E402
from helpers.finetuning import launch  # noqa: E402
from tests.small_student import ANSWERS, QUESTIONS, make_samples  # noqa: E402

RUNS = ("full-0", "full-2", "full-3", "lora-0", "lora-2", "lora-3")
SMALL = 2**16


def deepspeed_estimate(comparison) -> float:
    """What DeepSpeed's estimator says for the same run, in bytes a process; its own 16-bit parts doubled for float32."""
    from deepspeed.runtime.zero.stage3 import estimate_zero3_model_states_mem_needs
    from deepspeed.runtime.zero.stage_1_and_2 import estimate_zero2_model_states_mem_needs

    plan = comparison.plan
    gpus, total = plan.setup.gpus, plan.resident
    if plan.setup.zero == 2:
        return estimate_zero2_model_states_mem_needs(total, gpus, cpu_offload=False)[1] + 2 * total + 2 * total / gpus
    states = estimate_zero3_model_states_mem_needs(total, plan.size.largest_parameter, gpus, cpu_offload=False, cpu_offload_params=False)[1]
    return states + 4 * total / gpus + 4 * plan.size.largest_parameter


def main() -> None:
    """Train, compare, print; the numbers also go to DIR/memory_plan.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "memory_plan")
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=RUNS)
    parser.add_argument("--processes", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--layers", type=int, default=10)
    parser.add_argument("--keep-heap", action="store_true", help="leave malloc as it is")
    options = parser.parse_args()
    if not options.keep_heap:
        os.environ["MALLOC_MMAP_THRESHOLD_"] = os.environ["MALLOC_TRIM_THRESHOLD_"] = str(SMALL)
    student = options.out / f"student-{options.layers}"
    if not (student / "config.json").is_file():
        build_student(student, [answer for _, answer in ANSWERS] * 3 + list(QUESTIONS.values()), hidden_size=768, layers=options.layers,
                      vision_size=256, vision_layers=4, vocabulary=512)
    data = make_samples(options.out, 12)
    comparisons, lines = [], []
    for name, processes in ((name, processes) for processes in options.processes for name in options.runs):
        strategy, stage = name.split("-")
        folder = options.out / (f"{name}-x{processes}" + ("-heap" if options.keep_heap else ""))
        launch(strategy, model=student, data=data, output_dir=folder, processes=processes, micro_batch_size=2, max_length=256,
               save_strategy="no", deepspeed=None if stage == "0" else ROOT / "finetune" / f"ds_config_zero{stage}.json")
        one = measured(folder)
        comparisons.append(one)
        lines.append({"run": name, "processes": processes, "measured": one.measured, "planned": one.planned, "error_percent": one.error,
                      "deepspeed_error_percent": None if stage == "0" else 100 * (deepspeed_estimate(one) / one.measured - 1)})
    print_plans([], comparisons)
    for line in lines:
        peer = line["deepspeed_error_percent"]
        print(f"{line['run']}, {line['processes']} processes: planner {line['error_percent']:+.1f} %"
              + ("" if peer is None else f", DeepSpeed's estimator {peer:+.1f} %"))
    (options.out / "memory_plan.json").write_text(json.dumps(lines, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
