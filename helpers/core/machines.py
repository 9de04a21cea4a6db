"""What several machines that train together must agree on before the first step; on one machine, all of it is true at once.

    settings of each process, the folder that each was given → nothing, or an InputError that every process raises together

Machines are started one by one, by hand or by Slurm, so one of them may have other options or other data: its processes would compute
other numbers of steps, and all would wait for each other until a timeout. And each writes its part of a checkpoint (ZeRO cuts the
optimizer's states up between the processes), so a run that saves checkpoints needs a folder that all machines see.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from helpers.core import ranks, runs
from helpers.core.errors import InputError


def several_machines() -> bool:
    """Whether this process trains together with those of other machines; torchrun and DeepSpeed's launcher tell."""
    here = os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("LOCAL_SIZE") or ranks.world()
    return ranks.world() > int(here)


def agree_on_settings(settings: dict) -> None:
    """Raise InputError, on all processes, when one was started with other settings (runs.SETTINGS) than the first."""
    everyone = ranks.gather([settings])
    for number, theirs in enumerate(everyone):
        changed = runs.changed_settings(everyone[0], theirs)
        if changed:
            raise InputError(f"Process {number} was started with other settings than the first ({', '.join(changed)}): give all machines "
                             "the same options, the same data and the same model.")


def folder_is_shared(folder: Path) -> bool:
    """Whether all processes see in `folder` what the first writes there; the folder is made if need be."""
    token = ranks.gather([uuid.uuid4().hex])[0]
    mark = folder / f".seen-{token}"  # a name that no machine has looked for before: a network folder may remember what was not there
    if ranks.rank() == 0:
        folder.mkdir(parents=True, exist_ok=True)
        mark.touch()
    ranks.barrier()
    seen = all(ranks.gather([mark.exists()]))
    if ranks.rank() == 0:
        mark.unlink()
    return seen


def check_folder(folder: Path, saves_checkpoints: bool) -> None:
    """Raise InputError, on all processes, when checkpoints are to be saved to a `folder` that not all machines share.

    Without checkpoints such a folder will do, and it is said where the result goes.
    """
    if not several_machines() or folder_is_shared(folder):
        return
    if saves_checkpoints:
        raise InputError(f"Not all machines see the same {folder}: set OUTPUT_DIR to a folder that they share, or train without "
                         "checkpoints (--save_strategy no); the result is then on the first machine.")
    ranks.say(f"Not all machines see the same {folder}: the result will be on the first machine.")
