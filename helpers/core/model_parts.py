"""Finds the eyes, the language and what lies between them in any image-text model of transformers, by the names of its modules.

    model.vision_tower.encoder.layers.0.mlp.fc1.weight   → "vision"      SigLIP, in MiniCPM-V and LLaVA
    model.visual.blocks.0.attn.qkv.weight                → "vision"      Qwen-VL, which keeps its merger inside: visual.merger
    model.connector.modality_projection.proj.weight      → "merger"      Idefics3, SmolVLM
    model.language_model.layers.0.self_attn.q_proj       → "language"    as is the head that chooses the next word

transformers gives these parts no common name; the table below holds those that its classes use. A model with other names is
served by patterns given by hand. Used to freeze parts, to tell an adapter what to train beside it, and to count parameters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from helpers.core.errors import InputError

# Part → words of a dotted name. The first line that matches decides: Qwen's merger is named inside its `visual`.
WORDS = {
    "merger": ("merger", "deepstack_merger_list", "connector", "multi_modal_projector", "aligner", "embed_vision"),
    "vision": ("vision_tower", "vision_model", "visual"),
    "language": ("language_model", "text_model", "lm_head"),
}
# Attention of the language model: softmax attention, and the linear attention of the Qwen3.5 layers in MiniCPM-V 4.6.
LANGUAGE_ATTENTION = (
    r".*(language_model|text_model)\.layers\.\d+\.(self_attn\.[qkvo]_proj|linear_attn\.(in_proj_qkv|in_proj_z|out_proj))")
IDLE = "idle"  # parameters that the forward pass never touches


@dataclass(frozen=True)
class Parts:
    """Says which part a parameter or module belongs to. `given` holds regular expressions by part, searched in the name, that
    replace the table's words; `idle` words of modules that are there and never used."""

    given: Mapping[str, str] = field(default_factory=dict)
    idle: tuple[str, ...] = ()

    def of(self, name: str) -> str | None:
        """"merger", "vision", "language" or "idle"; None for a name that no line of the table knows."""
        words = name.split(".")
        if any(word in words for word in self.idle):
            return IDLE
        for part, known in WORDS.items():
            pattern = self.given.get(part)
            if re.search(pattern, name) if pattern else any(word in words for word in known):
                return part
        return None


def find_parts(model, given: Mapping[str, str] | None = None) -> Parts:
    """The parts of `model`, with the patterns `given` by hand for some of them ({"vision": r"\\.eye\\."}).

    Raises InputError when no module is found for the vision tower or the language model; a model may do without a merger.
    """
    # With downsample_mode "4x" MiniCPM-V's tower skips the merger inside it: nothing there would ever learn.
    idle = ("vit_merger",) if getattr(model.config, "downsample_mode", None) == "4x" else ()
    parts = Parts({part: pattern for part, pattern in (given or {}).items() if pattern}, idle)
    found = {parts.of(name) for name, _ in model.named_parameters()}
    missing = [part for part in ("vision", "language") if part not in found]
    if missing:
        branches = sorted({".".join(name.split(".")[:2]) for name, _ in model.named_parameters()})
        raise InputError(
            f"{type(model).__name__} has no modules known as its {' or '.join(missing)} part: name them by a regular expression, "
            f"{' and '.join(f'--{part}_modules PATTERN' for part in missing)}; its branches are {', '.join(branches)}.")
    return parts


def largest_modules(model, parts: Parts, part: str) -> list[str]:
    """The names of the largest modules that hold all of `part` and nothing else, in the model's order.

    Models inside the model (a tower) and lists are opened: an adapter can hold a copy of a plain module only.
    """
    from torch import nn
    from transformers import PreTrainedModel

    def search(prefix: str, module: nn.Module) -> list[str]:
        kinds = {parts.of(f"{prefix}.{name}".lstrip(".")) for name, _ in module.named_parameters()}
        if part not in kinds:
            return []
        if kinds == {part} and not isinstance(module, PreTrainedModel | nn.ModuleList | nn.ModuleDict):
            return [prefix]
        return [name for child, inner in module.named_children() for name in search(f"{prefix}.{child}".lstrip("."), inner)]

    return search("", model)
