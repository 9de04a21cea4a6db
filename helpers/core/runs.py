"""What a training run leaves in its output folder, and how to read it: by the run itself, its launcher and whoever follows.

    OUTPUT_DIR/
      settings.json        what was asked: options, and the digests of the model, the data and every picture
      progress.jsonl       {"step", "of"} when a session begins; {"step", "loss", "learning_rate", "epoch", "seconds"} after each
                           step; {"step", "eval_loss", …} after an evaluation. Only ever appended to
      checkpoint-40/       weights, optimizer, random states; counts only once it holds complete.json, written last
      run.json             written last of all: the run is finished
      training.log         what the processes printed
      model.safetensors … or adapter_model.safetensors …, with the processor's files: the result

`seconds` is the time spent in training so far, over all sessions of a run that was interrupted and continued.
"""

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from helpers.core.conversations import load_list, picture_and_messages, resolve_image
from helpers.core.errors import InputError

SETTINGS, PROGRESS, FINISHED, COMPLETE, LOG = "settings.json", "progress.jsonl", "run.json", "complete.json", "training.log"
LAUNCH_VARIABLE = "CAPTIONLAB_LAUNCH"  # what the launcher asked for, as one digest; kept in run.json
WEIGHTS = ("*.safetensors", "*.bin", "*.index.json", "config.json", "adapter_config.json", "tokenizer.json",
           "*processor_config.json", "chat_template.*")


@dataclass
class Run:
    """A finished run. `losses` and `eval_losses` are (step, mean loss per answer token), in order; `samples_per_second` counts
    training samples over the `seconds` from the first step to the last, evaluations and checkpoints included. `peak_memory` is in
    bytes, the sum of the processes' peaks (of the GPUs' where there are any), and `memory` says more (helpers/core/footprint.py; None for a run of an earlier version);
    `settings` holds all that decides the result, `launch` the launcher's digest of it. `best_step` is the step whose weights the result
    holds, where the best were asked for; None: the last. `examined` names, for "train" and "eval", the ids of the samples that the
    length limit "cut" and of those "untagged", without <image> in the file."""

    output_dir: Path
    strategy: str
    model: str
    losses: list[tuple[int, float]]
    eval_losses: list[tuple[int, float]]
    seconds: float
    steps: int
    samples_per_second: float
    peak_memory: int
    settings: dict
    launch: str | None = None
    memory: dict | None = None
    best_step: int | None = None
    examined: dict | None = None

    @property
    def model_path(self) -> str:
        """What to give `load_student` as `model`: the output folder after full fine-tuning, else the model it began with."""
        return str(self.output_dir) if self.strategy == "full" else self.model

    @property
    def adapter_path(self) -> Path | None:
        """What to give `load_student` as `adapter`: the output folder after LoRA, None after full fine-tuning."""
        return self.output_dir if self.strategy == "lora" else None


def digest_model(model: str) -> str:
    """The SHA-256 of what makes the model in the folder `model`; a hub id stands for itself."""
    folder = Path(model)
    if not folder.is_dir():
        return model
    digest = hashlib.sha256()
    for path in sorted({path for pattern in WEIGHTS for path in folder.glob(pattern)}):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def digest_data(data: str | Path) -> str:
    """The SHA-256 of a conversation file and of every picture that it names (one that is missing counts as empty).

    Raises InputError when the file cannot be read.
    """
    entries = load_list(Path(data))
    digest = hashlib.sha256(Path(data).read_bytes())
    for entry in entries:
        image = picture_and_messages(entry)[0] if isinstance(entry, dict) else None
        path = resolve_image(image, Path(data)) if isinstance(image, str) else None
        digest.update(path.read_bytes() if path else b"")
    return digest.hexdigest()


def write_json(path: Path, content: dict) -> None:
    """Write `content` to `path`, whole or not at all."""
    unfinished = path.with_name(f".{path.name}")
    unfinished.write_text(json.dumps(content, ensure_ascii=False, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    os.replace(unfinished, path)


def read_json(path: Path) -> dict | None:
    """The object in the file `path`; None when there is no such file. Raises InputError when it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise InputError(f"{path} is damaged; delete the folder {path.parent} and train again.") from None


def step_of(checkpoint: Path) -> int:
    """The number of optimizer steps after which `checkpoint` (".../checkpoint-40") was written."""
    return int(checkpoint.name.removeprefix("checkpoint-"))


def checkpoints(output_dir: Path) -> list[Path]:
    """All checkpoints of a run, complete or not, oldest first."""
    found = [path for path in Path(output_dir).glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdigit()]
    return sorted(found, key=step_of)


def last_complete_checkpoint(output_dir: Path) -> Path | None:
    """The newest checkpoint that was written to its end; None when there is none."""
    complete = [path for path in checkpoints(output_dir) if (path / COMPLETE).is_file()]
    return complete[-1] if complete else None


def clear(output_dir: Path, everything: bool) -> None:
    """Remove checkpoints that were not written to their end; with `everything`, all that a run left (its log stays)."""
    for path in checkpoints(output_dir):
        if everything or not (path / COMPLETE).is_file():
            shutil.rmtree(path)
    if everything:
        for name in (FINISHED, SETTINGS, PROGRESS):
            (Path(output_dir) / name).unlink(missing_ok=True)


def changed_settings(old: dict, new: dict) -> list[str]:
    """The names of the settings in which two runs differ, sorted."""
    return sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))


def read_progress(output_dir: Path, start: int = 0) -> tuple[list[dict], int]:
    """The lines of progress.jsonl from byte `start` on, and the byte after the last whole one."""
    try:
        with (Path(output_dir) / PROGRESS).open("rb") as file:
            file.seek(start)
            text = file.read()
    except FileNotFoundError:
        return [], start
    whole = text[:text.rfind(b"\n") + 1]
    return [json.loads(line) for line in whole.splitlines()], start + len(whole)


def mend_progress(output_dir: Path) -> None:
    """Cut off a last line that a killed run did not finish writing."""
    path = Path(output_dir) / PROGRESS
    if path.exists():
        os.truncate(path, read_progress(output_dir)[1])


def counted_lines(lines: list[dict]) -> list[dict]:
    """The lines that count: a session that begins at step k repeats the steps after k, which an earlier one did in vain."""
    counted: list[dict] = []
    for line in lines:
        if "of" in line:
            counted = [earlier for earlier in counted if earlier["step"] <= line["step"]]
        else:
            counted.append(line)
    return counted


def load_run(output_dir: str | Path) -> Run:
    """Read the finished run in `output_dir`. Raises InputError when there is none, or it has not finished."""
    output_dir = Path(output_dir)
    finished, settings = read_json(output_dir / FINISHED), read_json(output_dir / SETTINGS)
    if finished is None or settings is None:
        state = "a run that has not finished; start it again and it continues" if settings else "no training run; train first"
        raise InputError(f"{output_dir} holds {state}.")
    lines = counted_lines(read_progress(output_dir)[0])
    return Run(
        output_dir=output_dir,
        losses=[(line["step"], line["loss"]) for line in lines if "loss" in line],
        eval_losses=[(line["step"], line["eval_loss"]) for line in lines if "eval_loss" in line],
        settings=settings,
        **finished,
    )
