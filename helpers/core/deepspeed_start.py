"""Whether DeepSpeed can be used here, and what of a configuration: the two questions between a training command and its start.

    why_not()                 → None, or why DeepSpeed cannot be used (not installed; its import fails), after which nobody finds it
    read_config(path, device) → the configuration to train with, and sentences about what was changed in it

DeepSpeed is missing on native Windows, and where it is installed, importing it may still fail: a CUDA toolkit or a compiler that is
not there, a library of another version. Training goes on without it then. But it is not enough to leave it aside: accelerate asks
whether the package is installed and imports it by itself when it saves a model. So a package that cannot be imported is hidden.
"""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path

from helpers.core.errors import InputError

OFFLOADS = {"offload_optimizer": "the optimizer", "offload_param": "parameters"}


@functools.cache
def why_not() -> str | None:
    """None where DeepSpeed can be imported, else the reason as the end of a sentence; then it counts as not installed from now on.

    To be asked before anything of transformers or accelerate is imported, which keep their own answer.
    """
    try:
        import deepspeed  # noqa: F401
    except Exception as error:  # whatever its import runs into: the reason is told, and training goes on without it
        sys.modules["deepspeed"] = None  # type: ignore[assignment]  # Python's mark for: there is no such module
        if isinstance(error, ModuleNotFoundError) and error.name == "deepspeed":
            return "it is not installed"
        lines = str(error).strip().splitlines()
        return f"importing it fails with {type(error).__name__}" + (f": {lines[0].rstrip('.')}" if lines else "")
    return None


def read_config(path: Path, on_cpu: bool) -> tuple[dict, list[str]]:
    """A DeepSpeed configuration as it is used here, and a sentence for each thing that was changed in it.

    On a CPU nothing can be offloaded to the CPU's memory: it is there already. Under ZeRO 3 the weights must be put together to be saved:
    without stage3_gather_16bit_weights_on_model_save transformers writes none, and goes on.  Raises: InputError for a missing or damaged file.
    """
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        zero = config.get("zero_optimization", {})
    except OSError as error:
        raise InputError(f"There is no DeepSpeed configuration {path}; set DS_CONFIG to a JSON file.") from error
    except (ValueError, AttributeError) as error:
        raise InputError(f"{path} is no JSON object ({error}): compare it with finetune/ds_config_zero2.json.") from error
    dropped, changed = [], []
    for part, words in OFFLOADS.items():
        if on_cpu and (zero.pop(part, None) or {}).get("device", "none") != "none":
            dropped.append(words)
    if dropped:
        changed.append(f"On a CPU everything is in its memory already: {path.name} offloads {' and '.join(dropped)}, which is left out.")
    if zero.get("stage") == 3 and zero.get("stage3_gather_16bit_weights_on_model_save") is not True:
        zero["stage3_gather_16bit_weights_on_model_save"] = True
        changed.append(f"{path.name} does not put the weights together for saving (stage3_gather_16bit_weights_on_model_save): it is done, or "
                       "the result would hold none.")
    return config, changed
