"""What the tests of the training program share: the program as a module of this process, and its words for a short run.

What needs several processes, or DeepSpeed, starts the shell scripts instead (tests/test_finetuning.py).
"""

import importlib.util
import sys
from pathlib import Path

from helpers.core.runs import Run, load_run

PROGRAM = Path(__file__).resolve().parents[1] / "finetune" / "finetune.py"


def load_program():
    """finetune/finetune.py, imported; `train(words)` runs it."""
    name = "finetune_program"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, PROGRAM)
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


def words(model: Path, data: Path, output_dir: Path, **options) -> list[str]:
    """The command line of a run of 4 epochs of 2 steps over six samples, with `options` put in or changed."""
    settings = dict(model_name_or_path=model, data_path=data, output_dir=output_dir, num_train_epochs=4, per_device_train_batch_size=3,
                    learning_rate=3e-3, seed=3, save_strategy="no", eval_strategy="epoch", lora_r=8, lora_alpha=16, lora_dropout=0.0)
    return [word for name, value in (settings | options).items() for word in (f"--{name}", str(value))]


def run(model: Path, data: Path, output_dir: Path, **options) -> Run:
    """Train in this process."""
    load_program().train(words(model, data, output_dir, **options))
    return load_run(output_dir)
