"""Fine-tunes a student in one process, without DeepSpeed: for studies that train many small models one after the other.

    train.json --fine_tune("full", …)--> a run's folder (runs.py), the same as finetune/'s scripts leave

It starts finetune/finetune.py itself, so what is learned, the checkpoints and the continuing after a kill are those of the course. Two
processes under DeepSpeed, which `helpers.finetuning.launch` starts, take a quarter of a minute to meet; a run of a minute has no use for them.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from helpers.core import errors, runs
from helpers.core.conversations import read_conversations
from helpers.core.errors import ResourceError, TrainingError
from helpers.core.following import follow
from helpers.core.paths import FINETUNE, STUDENT
from helpers.core.processes import OWNER_VARIABLE, stop_tree, undisturbed
from helpers.core.runs import Run, load_run

LOG_TAIL = 8  # lines of the log that an error shows


def fine_tune(
    strategy: str, *, data: str | Path, output_dir: str | Path, model: str | Path = STUDENT, epochs: float, learning_rate: float, seed: int = 0,
    batch: int = 16, max_length: int = 256, rank: int = 64, alpha: int = 64, threads: int = 1,
) -> Run:
    """Fine-tune `model` with LoRA ("lora") or in full ("full") on a conversation file; returns the finished Run.

    batch: samples a step.  threads: of torch; with one the numbers are the same on every machine, and a second gains little on two cores.
    Called again after a kill it continues from the last epoch,
    and a finished run is recognised. Raises InputError for data or a model that cannot be used, ResourceError when the folder cannot be
    written, TrainingError with the end of the log.
    """
    read_conversations(data, need_answers=True)  # a fault in the data needs no process to be found
    output_dir = Path(output_dir).resolve()
    options = {
        "model_name_or_path": str(model), "data_path": str(Path(data).resolve()), "output_dir": str(output_dir), "num_train_epochs": epochs,
        "learning_rate": learning_rate, "seed": seed, "per_device_train_batch_size": batch, "model_max_length": max_length,
        **({"use_lora": "true", "lora_r": rank, "lora_alpha": alpha} if strategy == "lora" else {"use_lora": "false"}),
    }
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    environment = os.environ | {OWNER_VARIABLE: str(os.getpid()), "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": str(threads)}
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        log = (output_dir / runs.LOG).open("ab")
    except OSError as error:
        raise ResourceError(f"{output_dir} cannot be written ({error.strerror}); choose another folder.") from error
    with log:
        start, process = log.tell(), None
        try:
            with undisturbed():
                process = subprocess.Popen([sys.executable, str(FINETUNE / "finetune.py"), *words], env=environment, stdin=subprocess.DEVNULL,
                                           stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
            code = follow(process, output_dir, strategy)
        finally:
            if process:
                with undisturbed():
                    stop_tree(process)
    if code:
        raise _why(output_dir / runs.LOG, start, code)
    return load_run(output_dir)


def _why(log: Path, start: int, code: int) -> errors.CaptionLabError:
    """The error for a run that ended with `code`: the sentence it printed itself, else the end of its log."""
    text = log.read_bytes()[start:].decode("utf-8", errors="replace")
    named = re.search(r"^(InputError|ResourceError|TrainingError): (.+(?:\n  sample .+|\n  and \d+ more)*)$", text, re.MULTILINE)
    if named:
        return getattr(errors, named[1])(named[2])
    tail = "\n".join(text.strip().splitlines()[-LOG_TAIL:])
    return TrainingError(f"The training run stopped with exit code {code}; the same command continues from its last checkpoint. The end of {log}:\n{tail}")
