"""Opens a LoRA adapter: which layers it changes, by what, and what else lies beside it in the file.

    adapter_config.json, adapter_model.safetensors  --read_adapter-->  Adapter: {layer: LowRank}, {name: numbers saved beside}

LoRA (Hu et al., 2021, arXiv:2106.09685, section 4.1): a layer's frozen matrix W [out, in] becomes W + (alpha / r) B A, with
B [out, r] and A [r, in] trained. A starts random and B at zero, so that training begins with exactly W.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from helpers.core.errors import InputError
from helpers.core.model_parts import Parts
from helpers.core.model_sizes import ModelSize
from helpers.core.runs import Run

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


@dataclass(frozen=True)
class LowRank:
    """What is added to one layer: `a` [r, in] and `b` [out, r], float32, and the `scale` alpha / r."""

    a: np.ndarray
    b: np.ndarray
    scale: float

    @property
    def rank(self) -> int:
        """r, the most independent directions that the update can have."""
        return len(self.a)

    @property
    def numbers(self) -> int:
        """Numbers in A and B together."""
        return self.a.size + self.b.size

    @property
    def full_numbers(self) -> int:
        """Numbers in W, and so in an update of any rank."""
        return self.b.shape[0] * self.a.shape[1]

    def update(self) -> np.ndarray:
        """scale · B A [out, in]: what is added to W."""
        return self.scale * self.b @ self.a

    def singular_values(self) -> np.ndarray:
        """The update's singular values, largest first: how strong it is in each of its directions [min(out, in)]."""
        return np.linalg.svd(self.update(), compute_uv=False)


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter. `saved`: whole tensors that were trained beside it (the vision tower, the merger), {name: numbers}."""

    folder: Path
    base: str
    layers: dict[str, LowRank]
    saved: dict[str, int]

    @property
    def numbers(self) -> dict[str, int]:
        """Trained numbers by part: those of all A and B, of the vision tower, of what stands between it and the language model."""
        vision = sum(size for name, size in self.saved.items() if Parts().of(name) == "vision")
        return {"A and B": sum(layer.numbers for layer in self.layers.values()), "vision": vision,
                "merger": sum(self.saved.values()) - vision}

    @property
    def bytes(self) -> int:
        """Size of the weights' file."""
        return (self.folder / WEIGHTS).stat().st_size


def read_adapter(adapter: Run | str | Path) -> Adapter:
    """Read an adapter's folder, or that of a LoRA run. Raises: InputError for a folder that holds none, or a damaged file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file  # torch: numpy has no bfloat16

    folder = (adapter.adapter_path or adapter.output_dir) if isinstance(adapter, Run) else Path(adapter)
    if not (folder / CONFIG).is_file() or not (folder / WEIGHTS).is_file():
        raise InputError(f"{folder} holds no LoRA adapter; give the folder with {CONFIG} and {WEIGHTS}.")
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        tensors = load_file(folder / WEIGHTS)
    except (json.JSONDecodeError, UnicodeDecodeError, SafetensorError) as error:
        raise InputError(f"The adapter in {folder} is damaged ({str(error).splitlines()[0]}); train it again.") from error
    layers, saved = {}, {}
    for name, tensor in tensors.items():
        short = re.sub(r"^base_model\.model\.(model\.)?", "", name)
        if ".lora_A." in name:
            a, b = tensor.float().numpy(), tensors[name.replace(".lora_A.", ".lora_B.")].float().numpy()
            scale = config["lora_alpha"] / (len(a) ** 0.5 if config.get("use_rslora") else len(a))
            layers[short.split(".lora_A.")[0]] = LowRank(a, b, scale)
        elif ".lora_B." not in name:
            saved[short] = prod(tensor.shape)
    return Adapter(folder, str(config.get("base_model_name_or_path") or ""), layers, saved)


def trained_by_part(size: ModelSize, rank: int, tune_vision: bool = True) -> list[tuple[str, int, int, int]]:
    """(part, its parameters, how many of them full training trains, how many numbers LoRA trains for it), the sum last.

    From the model's sizes alone (`model_sizes.read_size`), as finetune.py decides by default: LoRA adapts the language model's attention
    and trains copies of the merger and of the vision tower.
    """
    eyes = size.vision_parameters if tune_vision else 0
    rows = [("language model", size.text_parameters, size.text_parameters, rank * size.adapter_width),
            ("vision tower", size.vision_parameters, eyes, eyes),
            ("merger", size.merger_parameters, size.merger_parameters, size.merger_parameters)]
    if size.idle_parameters:
        rows.append(("never used", size.idle_parameters, 0, 0))
    return [*rows, ("all", *(sum(row[column] for row in rows) for column in (1, 2, 3)))]
