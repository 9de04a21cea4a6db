"""Starts a fine-tuning run from Python, exactly as a user starts it from the shell, and follows it to its end.

`launch` runs finetune/finetune_lora.sh or finetune_ds.sh with settings in the environment, shows a progress bar from the
run's own log, keeps what the processes print in training.log, and returns a Run: losses, seconds, where the weights lie.
Whatever happens to this process, no process of the run outlives it. A run that was broken off continues when it is launched
again with the same settings; a finished one is recognised.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from helpers.core import errors, runs
from helpers.core.conversations import read_conversations
from helpers.core.errors import InputError, ResourceError, TrainingError
from helpers.core.memory import Plan, Setup, plan_memory
from helpers.core.paths import FINETUNE, STUDENT
from helpers.core.processes import OWNER_VARIABLE, port_is_free, stop_tree
from helpers.core.runs import Run, load_run

__all__ = ["Plan", "Run", "Setup", "launch", "load_run", "plan_memory"]

SCRIPTS = {"lora": "finetune_lora.sh", "full": "finetune_ds.sh"}
POLL_SECONDS = 0.2
LOG_TAIL = 12  # lines of the log that an error shows
DISK_END = 2**16  # bytes free under which a disk counts as full
FREE_FACTOR = 8  # a checkpoint holds weights and two moments per weight; two of them lie there for a moment


def command_line(options: dict) -> list[str]:
    """finetune.py's words for `options`: {"learning_rate": 1e-4, "tune_vision": True} → --learning_rate 0.0001 --tune_vision true."""
    words = []
    for name, value in options.items():
        if value is not None:
            words += [f"--{name}", str(value).lower() if isinstance(value, bool) else str(value)]
    return words


def check_room(model: str, output_dir: Path) -> None:
    """Raise ResourceError when the disk of `output_dir` has no room for the checkpoints of the model in the folder `model`."""
    size = sum(path.stat().st_size for path in Path(model).glob("*.safetensors")) if Path(model).is_dir() else 0
    free = shutil.disk_usage(output_dir).free
    if free < FREE_FACTOR * size:
        raise ResourceError(f"{output_dir} has {free / 2**20:.0f} MiB free and the run needs about {FREE_FACTOR * size / 2**20:.0f}: "
                            "free space or choose another output folder.")


def digest_launch(strategy: str, words: list[str], model: str, data: list[Path], processes: int, deepspeed: Path | None) -> str:
    """The SHA-256 of all that a launch asks for, files by their content: equal for runs that end alike."""
    scripts = [FINETUNE / SCRIPTS[strategy], *([deepspeed] if deepspeed else [])]
    asked = [strategy, words, processes, runs.digest_model(model), [runs.digest_data(path) for path in data],
             [path.read_text(encoding="utf-8") for path in scripts]]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


def explain(log: Path, start: int, code: int) -> errors.CaptionLabError:
    """Say in plain words why a run ended with exit code `code`, from what it logged after byte `start`."""
    with log.open("rb") as file:
        file.seek(start)
        text = file.read().decode("utf-8", errors="replace")
    named = re.search(r"^(InputError|ResourceError|TrainingError): (.+(?:\n  sample .+|\n  and \d+ more)*)$", text, re.MULTILINE)
    if named:
        return getattr(errors, named[1])(named[2])
    if "EADDRINUSE" in text or "address already in use" in text.lower():
        return ResourceError(f"The port that the processes meet on is in use: set another master_port, or none ({log}).")
    if shutil.disk_usage(log.parent).free < DISK_END:
        return ResourceError(f"The disk of {log.parent} is full, so that not even the log could be written to its end: free space, then launch "
                             "it again; it continues from its last checkpoint.")
    killed = re.search(r"(?:was ended by signal |exitcode\s*:\s*-)(\d+)", text)
    what = f"a process was ended by signal {killed[1]} (9 often means that memory ran out)" if killed else f"exit code {code}"
    noise = re.compile(r"^\s*$|^[EWI]\d{4} |^=+$|^-+$|site-packages/torch/distributed")
    tail = [line for line in text.splitlines() if not noise.search(line)][-LOG_TAIL:]
    return TrainingError(f"The training run stopped: {what}. Launch it again and it continues from its last checkpoint. "
                         f"The end of {log}:\n" + "\n".join(tail))


def follow(process: subprocess.Popen, output_dir: Path, title: str) -> int:
    """Show the run's progress until its processes have ended; returns their exit code."""
    from tqdm.auto import tqdm

    place = runs.read_progress(output_dir)[1]
    with tqdm(desc=f"{title}: starting", unit="step") as bar:
        while True:
            code = process.poll()
            size = (output_dir / runs.PROGRESS).stat().st_size if (output_dir / runs.PROGRESS).exists() else 0
            lines, place = runs.read_progress(output_dir, place if place <= size else 0)
            for line in lines:
                if "of" in line:
                    bar.reset(total=line["of"])
                    bar.set_description(title)
                elif "loss" in line:
                    bar.set_postfix(loss=f"{line['loss']:.3f}", refresh=False)
                bar.update(max(0, line["step"] - bar.n))
            if code is not None:
                return code
            time.sleep(POLL_SECONDS)


def launch(
    strategy: str, *, model: str | Path = STUDENT, data: str | Path, eval_data: str | Path | None = None, output_dir: str | Path,
    processes: int = 2, epochs: float = 1, learning_rate: float | None = None, seed: int = 42, micro_batch_size: int = 8,
    accumulation: int = 1, max_length: int = 2048, rank: int | None = None, alpha: int | None = None,
    deepspeed: str | Path | None = FINETUNE / "ds_config_zero2.json", master_port: int | None = None, **options,
) -> Run:
    """Fine-tune `model` with LoRA ("lora") or all its parameters ("full") and return the finished Run.

    `processes` ranks of `micro_batch_size` samples, `accumulation` times, make one step. `deepspeed` names a configuration (None:
    without). `options` are further words for finetune.py, such as tune_vision=False or save_steps=50. Raises InputError for data
    or a model that cannot be used, ResourceError for a full disk or a port in use, TrainingError with the end of the log.
    """
    if strategy not in SCRIPTS:
        raise InputError(f"There is no strategy {strategy!r}: choose 'lora' or 'full'.")
    output_dir = Path(output_dir).resolve()
    model = str(STUDENT) if str(model) == "tiny" else str(model)
    if Path(model).is_dir():
        model = str(Path(model).resolve())
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResourceError(f"{output_dir} cannot be made ({error.strerror}); choose another output folder.") from error
    check_room(model, output_dir)
    if master_port is not None and not port_is_free("127.0.0.1", master_port):
        raise ResourceError(f"Port {master_port} is in use: choose another master_port, or none for any free one.")
    words = command_line({
        "num_train_epochs": epochs, "learning_rate": learning_rate, "seed": seed, "per_device_train_batch_size": micro_batch_size,
        "per_device_eval_batch_size": micro_batch_size, "gradient_accumulation_steps": accumulation, "model_max_length": max_length,
        "lora_r": rank, "lora_alpha": alpha, **options,
    })
    for path in filter(None, (data, eval_data)):
        read_conversations(path, need_answers=True)  # a fault in the data needs no processes to be found
    data, eval_data = Path(data).resolve(), Path(eval_data).resolve() if eval_data else None
    deepspeed = Path(deepspeed).resolve() if deepspeed else None
    if deepspeed and not deepspeed.is_file():
        raise InputError(f"There is no DeepSpeed configuration {deepspeed}.")
    asked = digest_launch(strategy, words, model, [path for path in (data, eval_data) if path], processes, deepspeed)
    finished = runs.read_json(output_dir / runs.FINISHED)
    if finished and finished["launch"] == asked:
        return load_run(output_dir)
    environment = os.environ | {
        "PYTHON": sys.executable, "MODEL": model, "DATA": str(data), "EVAL_DATA": str(eval_data or ""),
        "OUTPUT_DIR": str(output_dir), "NPROC": str(processes),
        "DS_CONFIG": str(deepspeed or ""), "MASTER_PORT": str(master_port or ""),
        OWNER_VARIABLE: str(os.getpid()), runs.LAUNCH_VARIABLE: asked,
    }
    log = output_dir / runs.LOG
    with log.open("ab") as file:
        start = file.tell()
        process = subprocess.Popen(["bash", str(FINETUNE / SCRIPTS[strategy]), *words], env=environment, stdin=subprocess.DEVNULL,
                                   stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            code = follow(process, output_dir, strategy)
        finally:
            stop_tree(process)
    if code:
        raise explain(log, start, code)
    return load_run(output_dir)
