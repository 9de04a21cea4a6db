"""Keeps a run's folder while it trains: which run lies there, its progress, its checkpoints, and at the end its result.

The files are described in helpers/core/runs.py, which reads them. Of all checkpoints the newest stays, and with
`--load_best_model_at_end true` the one with the lowest evaluation loss, whose weights become the result.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

from transformers import Trainer, TrainerCallback, TrainerState

from helpers.core import runs
from helpers.core.batches import LengthSampler
from helpers.core.errors import InputError
from helpers.core.ranks import barrier, rank, say, world
from helpers.core.training_options import DataArguments, ModelArguments

# Options that say where things lie or what is shown, not what the run ends with.
PLACES = {"--output_dir", "--model_name_or_path", "--data_path", "--eval_data_path", "--deepspeed", "--resume_from_checkpoint",
          "--report_to", "--keep_checkpoints"}
EVENTS = "tensorboard"  # the folder of TensorBoard's events, in the run's


def settings_of(argv: list[str], data: DataArguments, model: ModelArguments, deepspeed: dict | None) -> dict:
    """All that decides what a run ends with; what the files hold counts, not where they lie."""
    options = {name.removeprefix("--"): value for name, value in zip(argv, argv[1:], strict=False)
               if name.startswith("--") and name not in PLACES}
    return options | {
        "model": runs.digest_model(model.model_name_or_path),
        "data": runs.digest_data(data.data_path),
        "eval_data": runs.digest_data(data.eval_data_path) if data.eval_data_path else None,
        "deepspeed": deepspeed,
        "processes": world(),
    }


def prepare_folder(folder: Path, settings: dict, asked: str | None = None) -> Path | None:
    """Make `folder` ready for a run with `settings`; returns the checkpoint to continue from, if any.

    asked: a checkpoint named by the user ("true" means the folder's own). A later checkpoint of this very run goes before one
    that lies elsewhere. Raises InputError rather than delete or continue from a checkpoint of another model.
    """
    asked_path = Path(asked) if asked and asked.lower() not in ("true", "false") else None
    if asked_path:
        check_checkpoint(asked_path, settings["model"])
    before = runs.read_json(folder / runs.SETTINGS)
    held = runs.checkpoints(folder)
    if held and (before is None or before.get("model") != settings["model"]):
        raise InputError(f"{folder} holds {held[-1].name} of {'a run of another program' if before is None else 'another model'}: "
                         "choose another OUTPUT_DIR, or remove that folder.")
    barrier()  # every process has looked
    if rank() == 0:
        changed = runs.changed_settings(before, settings) if before else []
        if changed and asked_path and asked_path.resolve().parent == folder.resolve():
            raise InputError(f"{asked_path} was written with other settings ({', '.join(changed)}): choose another OUTPUT_DIR.")
        if changed:
            say(f"{folder} holds a run with other settings ({', '.join(changed)}): starting afresh.")
        runs.clear(folder, everything=bool(changed) or before is None)
        if changed or before is None:
            shutil.rmtree(folder / EVENTS, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        runs.write_json(folder / runs.SETTINGS, settings)
    barrier()
    checkpoint = runs.last_complete_checkpoint(folder)
    if asked_path and (checkpoint is None or asked_path.resolve().parent == folder.resolve()):
        checkpoint = asked_path
    if checkpoint:
        say(f"Continuing after step {runs.step_of(checkpoint)}.")
    return checkpoint


def check_checkpoint(checkpoint: Path, model: str) -> None:
    """Raise InputError unless `checkpoint` is a complete one of a run that began with the model of this digest."""
    complete = runs.read_json(checkpoint / runs.COMPLETE)
    if complete is None:
        raise InputError(f"--resume_from_checkpoint {checkpoint} is no complete checkpoint: give a folder checkpoint-N that holds {runs.COMPLETE}.")
    if complete.get("model", model) != model:
        raise InputError(f"--resume_from_checkpoint {checkpoint} is of another model: give the model it was trained from, or leave it out.")


def check_learning(checkpoint: Path | None, learning: str) -> None:
    """Raise InputError when `checkpoint` was written by a run in which something else learned (see `digest_learning`)."""
    written = (runs.read_json(checkpoint / runs.COMPLETE) or {}).get("learning", learning) if checkpoint else learning
    if written != learning:
        raise InputError(f"{checkpoint} was written by a run in which other parts learned (LoRA or full, rank, frozen parts): "
                         "give the settings it was trained with, or leave it out.")


def best_checkpoint(folder: Path, state: TrainerState) -> Path | None:
    """The checkpoint in `folder` with the lowest evaluation loss so far, as the Trainer's state names it; None before there is one."""
    return folder / Path(state.best_model_checkpoint).name if state.best_model_checkpoint else None


class RunFolder(TrainerCallback):
    """Writes progress.jsonl, marks checkpoints as complete, and keeps the sampler's epoch and the clock across interruptions.

    facts: what each checkpoint's mark says besides step and seconds.  keep_best: spare the best checkpoint too.
    """

    def __init__(self, folder: Path, sampler: LengthSampler, seconds_before: float, facts: dict, keep_best: bool):
        self.folder, self.sampler, self.seconds_before = folder, sampler, seconds_before
        self.facts, self.keep_best = facts, keep_best
        self.start = 0.0

    def seconds(self) -> float:
        """Time spent in training, in this session and those before the checkpoint that it began with."""
        return self.seconds_before + time.perf_counter() - self.start

    def write(self, **line) -> None:
        """Append one line to progress.jsonl."""
        with (self.folder / runs.PROGRESS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def on_train_begin(self, args, state, control, **kwargs):
        self.start = time.perf_counter()
        if state.is_world_process_zero:
            runs.mend_progress(self.folder)
            self.write(step=state.global_step, of=state.max_steps)

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.sampler.epoch = int(state.epoch or 0)

    def on_log(self, args, state, control, logs, **kwargs):
        wanted = {key: logs[key] for key in ("loss", "eval_loss", "learning_rate", "grad_norm", "epoch") if key in logs}
        if state.is_world_process_zero and ("loss" in wanted or "eval_loss" in wanted):
            self.write(step=state.global_step, seconds=round(self.seconds(), 3), **wanted)

    def on_save(self, args, state, control, **kwargs):
        barrier()  # every process has written its part
        if state.is_world_process_zero:
            newest = self.folder / f"checkpoint-{state.global_step}"
            runs.write_json(newest / runs.COMPLETE, {"step": state.global_step, "seconds": self.seconds(), **self.facts})
            best = best_checkpoint(self.folder, state) if self.keep_best else None
            for older in runs.checkpoints(self.folder):
                if older not in (newest, best):
                    shutil.rmtree(older)


def save_result(trainer: Trainer, folder: Path, facts: dict, best: Path | None, keep_checkpoints: bool) -> None:
    """Write the trained weights (of the checkpoint `best`, where there is one) and the processor to `folder`, then the mark that
    the run is finished."""
    draft = folder / ".result"
    trainer.save_model(str(draft))
    if rank() == 0:
        (draft / "training_args.bin").unlink(missing_ok=True)
        if best:
            for path in draft.glob("*.safetensors*"):
                path.unlink()
            for path in best.glob("*.safetensors*"):
                shutil.copy(path, draft / path.name)
        for path in draft.iterdir():
            os.replace(path, folder / path.name)
        draft.rmdir()
        runs.write_json(folder / runs.FINISHED, facts)
        if not keep_checkpoints:
            for path in runs.checkpoints(folder):
                shutil.rmtree(path)
    barrier()
