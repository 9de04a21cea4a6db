"""Merges a LoRA adapter into the model that it was trained on, and writes the result as a model folder like any other.

    base model + adapter  --merge-->  DIR/: config.json, model.safetensors, the processor's files

W and (alpha / r) B A become one matrix; vision tower and merger, which were trained whole, take the place of the old ones.
The sum is made in float32. Afterwards no adapter is needed, and nothing that reads such models knows that there was one.
"""

from __future__ import annotations

import os
import re
import shutil
import warnings
from pathlib import Path

from helpers.core import runs
from helpers.core.errors import InputError, ResourceError, is_disk_full
from helpers.core.paths import STUDENT
from helpers.core.student import load_pretrained, merge_adapter

PRECISIONS = ("same", "fp32", "bf16")


def check_base(model: str, adapter: Path) -> None:
    """Raise InputError when the run that made `adapter` says that it began with other weights than those of the folder `model`.

    Shapes alone do not tell two models of one kind apart. An adapter from elsewhere has no such record, and its shapes must do.
    """
    settings = runs.read_json(adapter / runs.SETTINGS) or {}
    trained_on, here = str(settings.get("model", "")), runs.digest_model(model)
    if all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in (trained_on, here)) and trained_on != here:
        raise InputError(f"The adapter {adapter} was trained on another model than {model}: its {runs.SETTINGS} records other files; "
                         "give the one it was trained on.")


def merge(model: str | Path, adapter: str | Path, output: str | Path, precision: str = "same") -> Path:
    """Write `model` with `adapter` merged into it to the new folder `output`; returns that folder.

    model: "tiny", a folder or a hub id.  precision: of the written weights: "same" as the base's, "fp32" or "bf16". In bf16 (also as
    "same" of a bf16 base) changes smaller than a 256th of a weight are rounded away; fp32 keeps them.
    The folder is there whole or not at all. Raises: InputError for a model or adapter that is none or do not belong together, and for
    an output that holds something already; ResourceError for a full disk.
    """
    import torch

    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # DeepSpeed, which saving imports, else looks for a GPU and says that there is none
    model, adapter, output = str(STUDENT) if str(model) == "tiny" else str(model), Path(adapter), Path(output)
    if precision not in PRECISIONS:
        raise InputError(f"There is no precision {precision!r}: choose {', '.join(PRECISIONS)}.")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"{output} holds something already, which a merge does not overwrite: choose another output folder.")
    check_base(model, adapter)
    processor, weights = load_pretrained(model, adapter, "cpu")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)  # PEFT still uses transformers' old name for it
        merged = merge_adapter(weights, adapter, model)
    wanted = {"fp32": torch.float32, "bf16": torch.bfloat16}.get(precision) or _dtype_of(model) or torch.float32
    draft = output.with_name(f".{output.name}.part")
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
            merged.to(wanted).save_pretrained(draft)
        processor.save_pretrained(draft)
        if output.is_dir():
            output.rmdir()  # an empty one
        os.replace(draft, output)
    except Exception as error:
        shutil.rmtree(draft, ignore_errors=True)
        if is_disk_full(error):
            raise ResourceError(f"The disk of {output} is full: free space or choose another output folder; nothing was written.") from error
        if isinstance(error, OSError):
            raise ResourceError(f"{output} cannot be written ({error.strerror or error}); choose another output folder.") from error
        raise
    return output


def _dtype_of(model: str):
    """The precision that a model's configuration states for its weights; None when it does not."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(model).dtype
