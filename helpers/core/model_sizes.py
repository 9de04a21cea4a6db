"""How large a model is, part by part, without its weights: what the memory planner counts with.

    a folder's config.json  ─┐
    data/model_sizes.yaml   ─┴→ the model on the meta device (shapes, no numbers) → ModelSize

A model that transformers has no class for is known by counts in the data file. Nothing is downloaded, ever.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from helpers.core.errors import InputError
from helpers.core.model_parts import IDLE, LANGUAGE_ATTENTION, find_parts
from helpers.core.paths import DATA, STUDENT

SIZES = DATA / "model_sizes.yaml"
ADAPTED = LANGUAGE_ATTENTION  # what the kit's LoRA adapts


@dataclass(frozen=True)
class Text:
    """The language model: `query` and `key` are the widths of all query and of all key heads together. `linear` of its `layers` have
    linear attention with values `linear_value` wide. `normed_heads`: queries and keys pass an RMSNorm; `gated`: Qwen3.5's layers,
    whose attention's output passes a gate."""

    layers: int
    hidden: int
    intermediate: int
    query: int
    key: int
    vocabulary: int
    linear: int = 0
    linear_value: int = 0
    normed_heads: bool = False
    gated: bool = False


@dataclass(frozen=True)
class Vision:
    """The vision tower. After layer number `merges_after` (from 0) it goes on with a quarter of the patches; None: it never does.
    `checkpoints`: whether gradient checkpointing reaches its layers; `joins_views`: whether all views pass through it at once."""

    layers: int
    hidden: int
    intermediate: int
    merges_after: int | None = None
    checkpoints: bool = True
    joins_views: bool = True

    @property
    def whole_layers(self) -> float:
        """Layers, each counted by the share of a view's patches that passes through it."""
        if self.merges_after is None:
            return self.layers
        before = self.merges_after + 1
        return before + (self.layers - before) / 4


@dataclass(frozen=True)
class ModelSize:
    """Parameters by part (tied ones once), and the sizes that activations follow from.

    `text_parameters` hold the words' embeddings and head; `idle_parameters` are in the vision tower and never used.
    `adapter_width`: inputs and outputs of all adapted layers, summed; times the rank it is the adapter's parameters (LoRA,
    Hu et al., 2021, arXiv:2106.09685, section 4.1). `views`, `patches`, `image_tokens`: most views of a picture; of each, the
    patches that the vision tower sees and the tokens that the language model sees.
    """

    name: str
    text: Text
    vision: Vision
    text_parameters: int
    vision_parameters: int
    merger_parameters: int
    largest_parameter: int
    adapter_width: int
    views: int
    patches: int
    image_tokens: int
    idle_parameters: int = 0
    sources: tuple[str, ...] = ()

    @property
    def parameters(self) -> int:
        """All of them."""
        return self.text_parameters + self.vision_parameters + self.merger_parameters + self.idle_parameters


def load_sizes(path: Path = SIZES) -> dict:
    """The data file: {"date", "models", "published"}."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def read_size(model: str | Path, adapted: str = ADAPTED) -> ModelSize:
    """The size of `model`: "tiny", a folder with config.json, or a name in data/model_sizes.yaml.

    adapted: regular expression over the names of the layers that LoRA adapts.
    Raises: InputError for a model that is neither, or whose configuration says no size.
    """
    name = str(STUDENT) if str(model) == "tiny" else str(model)
    known = load_sizes()["models"]
    if name in known:
        entry = known[name]
        if "config" not in entry:
            return _from_counts(name, entry)
        return _from_config(name, entry["config"], entry["image"], adapted, tuple(entry["sources"]))
    path = Path(name) / "config.json"
    if not path.is_file():
        raise InputError(f"There is no model {name}: give a folder with a config.json, or one of tiny, {', '.join(known)}.")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no JSON; copy it from the model's repository again.") from error
    return _from_config(name, config, _image(Path(name), config), adapted, (str(path),))


def _image(folder: Path, config: dict) -> dict:
    """What the processor's files in `folder`, or else `config`, say about views: {"views", "patches", "tokens"}."""
    settings: dict = {}
    for name in ("preprocessor_config.json", "processor_config.json"):
        if (folder / name).is_file():
            content = json.loads((folder / name).read_text(encoding="utf-8"))
            settings = content.get("image_processor", content)
    vision = config.get("vision_config") or {}
    side = settings.get("scale_resolution") or vision.get("image_size") or config.get("image_size") or 448
    patches = (int(side) // int(settings.get("patch_size") or vision.get("patch_size") or 14)) ** 2
    views = 1 + settings["max_slice_nums"] if settings.get("slice_mode") else 1
    return {"views": views, "patches": patches, "tokens": patches // (4 if config.get("downsample_mode") == "4x" else 16)}


def _from_counts(name: str, entry: dict) -> ModelSize:
    counts, image = entry["counts"], entry["image"]
    return ModelSize(name, Text(**entry["text"]), Vision(**entry["vision"]), counts["text"], counts["vision"], counts["merger"],
                     counts["embedding"], entry["adapter_width"], image["views"], image["patches"], image["tokens"],
                     sources=tuple(entry["sources"]))


def _from_config(name: str, content: dict, image: dict, adapted: str, sources: tuple[str, ...]) -> ModelSize:
    model, config = build_on_meta(name, content)
    text, vision = config.get_text_config(), config.vision_config
    sizes = {key: getattr(text, key, None) for key in ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads")}
    missing = [key for key, value in sizes.items() if not value]
    if missing:
        raise InputError(f"The configuration of {name} says no {', '.join(missing)} of its language model; "
                         "the planner needs one of a transformer with an image-text head.")
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    linear = list(getattr(text, "layer_types", None) or []).count("linear_attention")
    whole = getattr(config, "downsample_mode", None) == "4x"
    merges = vision.insert_layer_id if getattr(vision, "insert_layer_id", None) is not None and not whole else None
    parts, counts = find_parts(model), {"language": 0, "vision": 0, "merger": 0, IDLE: 0}
    for parameter_name, parameter in model.named_parameters():
        counts[parts.of(parameter_name) or "merger"] += parameter.numel()
    widths = [sum(module.weight.shape) for module_name, module in model.named_modules()
              if re.fullmatch(adapted, module_name) and getattr(module, "weight", None) is not None]
    return ModelSize(
        name,
        Text(text.num_hidden_layers, text.hidden_size, text.intermediate_size, text.num_attention_heads * head,
             (getattr(text, "num_key_value_heads", None) or text.num_attention_heads) * head, text.vocab_size, linear,
             text.linear_num_value_heads * text.linear_value_head_dim if linear else 0,
             any(module_name.endswith("self_attn.q_norm") for module_name, _ in model.named_modules()),
             text.model_type.startswith("qwen3_5")),
        Vision(vision.num_hidden_layers, vision.hidden_size, vision.intermediate_size, merges),
        counts["language"], counts["vision"], counts["merger"], max(parameter.numel() for parameter in model.parameters()), sum(widths),
        image["views"], image["patches"], image["tokens"], counts[IDLE], sources)


def build_on_meta(name: str, content: dict):
    """The model of the configuration `content`, with shapes and no numbers, and its configuration object.

    Raises: InputError, naming `name`, for a configuration that transformers makes no image-text model of.
    """
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    settings = {key: value for key, value in content.items() if key != "model_type"}
    model_type = content.get("model_type")
    if not model_type or not (content.get("text_config") and content.get("vision_config")):
        lack = "model_type" if not model_type else "text_config and vision_config"
        raise InputError(f"The configuration of {name} has no {lack}, so the model's size cannot be known from it; "
                         "give the config.json of an image-text model.")
    try:
        config = AutoConfig.for_model(model_type, **settings)
        with torch.device("meta"):
            return AutoModelForImageTextToText.from_config(config), config
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"The configuration of {name} makes no image-text model of transformers ({str(error).splitlines()[0]}).") from error
