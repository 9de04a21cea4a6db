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
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from helpers.core import errors, runs
from helpers.core.conversations import read_conversations
from helpers.core.errors import InputError, ResourceError, Stopped, TrainingError
from helpers.core.following import follow
from helpers.core.memory import Plan, Setup, plan_memory
from helpers.core.paths import FINETUNE, STUDENT
from helpers.core.processes import OWNER_VARIABLE, port_is_free, stop_tree, undisturbed
from helpers.core.profiles import Profile
from helpers.core.run_comparison import RunComparison, compare
from helpers.core.runs import Run, load_run

__all__ = ["Plan", "Run", "RunComparison", "Setup", "compare_runs", "launch", "launch_options", "load_run", "merge_adapter", "plan_memory"]

SCRIPTS = {"lora": "finetune_lora.sh", "full": "finetune_ds.sh"}
LOG_TAIL = 12  # lines of the log that an error shows
DISK_END = 2**16  # bytes free under which a disk counts as full


def command_line(options: dict) -> list[str]:
    """finetune.py's words for `options`: {"learning_rate": 1e-4, "tune_vision": True} → --learning_rate 0.0001 --tune_vision true."""
    words = []
    for name, value in options.items():
        if value is not None:
            words += [f"--{name}", str(value).lower() if isinstance(value, bool) else str(value)]
    return words


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
    noise = re.compile(r"^\s*$|^[EWI]\d{4} |^=+$|^-+$|^(\[rank\d+\]:)?[\s^~]*$|site-packages/torch/distributed|Loading weights:|"
                       r"FutureWarning|warnings\.warn")
    tail = [line for line in text.splitlines() if not noise.search(line)][-LOG_TAIL:]
    return TrainingError(f"The training run stopped: {what}. Launch it again and it continues from its last checkpoint. "
                         f"The end of {log}:\n" + "\n".join(tail))


def launch_options(profile: Profile, strategy: str) -> dict:
    """What `launch` is told of a profile's student, processes, batch, length, and of its settings for "lora" or "full"."""
    train = profile.train
    return {"model": profile.student, "processes": train.processes, "micro_batch_size": train.micro_batch_size,
            "accumulation": train.accumulation, "max_length": train.max_length, **asdict(getattr(train, strategy))}


def stopped(output_dir: Path) -> str:
    """The sentence for a run that the user has stopped: what is kept, and how to go on."""
    checkpoint = runs.last_complete_checkpoint(output_dir)
    kept = f"Launch it again and it continues after step {runs.step_of(checkpoint)}" if checkpoint else \
        "It had no checkpoint yet; launched again it begins anew"
    return f"The training run was stopped, and none of its processes is left. {kept} ({output_dir.name})."


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
    if processes < 1:
        raise InputError(f"processes is {processes}: at least one must train.")
    output_dir = Path(output_dir).resolve()
    model = str(STUDENT) if str(model) == "tiny" else str(model)
    if Path(model).is_dir():
        model = str(Path(model).resolve())
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResourceError(f"{output_dir} cannot be made ({error.strerror}); choose another output folder.") from error
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
        start, process = file.tell(), None
        try:
            with undisturbed():
                process = subprocess.Popen(["bash", str(FINETUNE / SCRIPTS[strategy]), *words], env=environment, stdin=subprocess.DEVNULL,
                                           stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
            code = follow(process, output_dir, strategy)
        except KeyboardInterrupt:
            raise Stopped(stopped(output_dir)) from None
        finally:
            if process:
                with undisturbed():
                    stop_tree(process)
    if code:
        raise explain(log, start, code)
    return load_run(output_dir)


def compare_runs(*given: Run | str | Path, names: Sequence[str] | None = None) -> RunComparison:
    """Lay runs side by side, finished or under way: `Run`s or their folders.

    A notebook shows a table (losses, learning rate, trained parameters, seconds, samples a second, memory) and curves; `print` prints
    the table; `.figure` is the curves. names: of the columns; None takes what tells the folders apart.
    Raises: InputError for a folder without a run.
    """
    return compare(given, names)


def merge_adapter(model: str | Path, adapter: Run | str | Path, output: str | Path, precision: str = "same") -> Path:
    """Write `model` with a LoRA adapter merged into it to the new folder `output`, a model folder like any other; returns it.

    adapter: its folder, or the finished LoRA run.  precision: of the weights: "same" as the model's, "fp32" or "bf16".
    Raises: InputError for an adapter of another model and for an output that holds something already, ResourceError for a full disk.
    """
    from helpers.core.merging import merge

    return merge(model, adapter.output_dir if isinstance(adapter, Run) else adapter, output, precision)
