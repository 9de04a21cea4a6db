"""The sizes of DeepSpeed's buffers, read from the JSON configuration that the training gets: what the memory planner needs of it.

    finetune/ds_config_zero2.json, ds_config_zero3_offload.json, or any other → Buffers (elements, not bytes)

Missing values are DeepSpeed's own (deepspeed/runtime/zero/config.py); "auto" is what transformers puts there from the width of the
language model (transformers/integrations/deepspeed.py).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from helpers.core.errors import InputError
from helpers.core.paths import FINETUNE

OFFLOADS = ("none", "optimizer", "all")


@dataclass(frozen=True)
class Buffers:
    """Elements, all of them: of a bucket of gradients to reduce (`overlap`: two of them) and of parameters to gather; of parameters
    fetched ahead, kept at most, kept when used again soon (stage 3), and never cut up; of one round of stage 3's optimizer."""

    reduce: int = 500_000_000
    allgather: int = 500_000_000
    prefetch: int = 50_000_000
    live: int = 1_000_000_000
    reuse: int = 1_000_000_000
    persistent: int = 100_000
    sub_group: int = 1_000_000_000
    overlap: bool = False


@dataclass(frozen=True)
class DeepSpeedSettings:
    """What a configuration says: ZeRO's stage, what is kept on the CPU ("none", "optimizer", "all"), the buffers."""

    stage: int
    offload: str
    buffers: Buffers


def read_settings(config: dict | Path | None, hidden: int, where: str = "the DeepSpeed configuration") -> DeepSpeedSettings:
    """Settings from a configuration's content or file; None: training without DeepSpeed, which is stage 0.

    hidden: width of the language model, for "auto".  Raises: InputError for a missing file or one that is no JSON.
    """
    if config is None:
        return DeepSpeedSettings(0, "none", Buffers())
    if isinstance(config, Path):
        where = str(config)
        try:
            config = json.loads(config.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"There is no DeepSpeed configuration {where}.") from error
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{where} is no JSON: compare it with finetune/ds_config_zero2.json.") from error
    zero = config.get("zero_optimization", {})
    devices = [(zero.get(part) or {}).get("device", "none") for part in ("offload_optimizer", "offload_param")]
    if devices[0] == "none" and devices[1] != "none":
        raise InputError(f"{where} offloads parameters but not the optimizer, which the planner does not know; offload both.")
    offload = "all" if devices[1] != "none" else "optimizer" if devices[0] != "none" else "none"
    return DeepSpeedSettings(int(zero.get("stage", 0)), offload, read_buffers(zero, hidden))


def read_buffers(zero: dict, hidden: int) -> Buffers:
    """Buffers from a configuration's "zero_optimization"."""
    automatic = {"reduce_bucket_size": hidden**2, "stage3_prefetch_bucket_size": int(0.9 * hidden**2),
                 "stage3_param_persistence_threshold": 10 * hidden}

    def elements(key: str, otherwise: int) -> int:
        value = zero.get(key, otherwise)
        return int(automatic[key] if value == "auto" and key in automatic else otherwise if value == "auto" else float(value))

    usual = Buffers()
    return Buffers(elements("reduce_bucket_size", usual.reduce), elements("allgather_bucket_size", usual.allgather),
                   elements("stage3_prefetch_bucket_size", usual.prefetch), elements("stage3_max_live_parameters", usual.live),
                   elements("stage3_max_reuse_distance", usual.reuse), elements("stage3_param_persistence_threshold", usual.persistent),
                   elements("sub_group_size", usual.sub_group), zero.get("overlap_comm", zero.get("stage") == 3) is True)


def kit_buffers(stage: int, hidden: int) -> Buffers:
    """Those of the kit's own configuration for a stage (0 has none)."""
    if stage == 0:
        return Buffers()
    return read_settings(FINETUNE / f"ds_config_zero{stage}.json", hidden).buffers
