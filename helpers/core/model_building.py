"""Makes a loaded model ready to learn: an adapter with whole modules beside it (LoRA), or chosen parts as they are (full).

    LoRA   every weight frozen; B A beside the language model's attention; copies of the vision tower and the merger, trained
    full   vision, merger and language each trained or frozen
"""

from __future__ import annotations

import hashlib
import re

import torch

from helpers.core.errors import InputError
from helpers.core.loading import load_weights
from helpers.core.model_parts import IDLE, Parts, find_parts, largest_modules
from helpers.core.training_options import LoraOptions, ModelArguments

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def build_model(asked: ModelArguments, lora: LoraOptions, precision: str):
    """Load the model and decide what learns. `precision` is fp32, bf16 or fp16.

    What learns is held in fp32, whatever it computes in (mixed precision, Micikevicius et al. 2018, arXiv:1710.03740); weights
    that an adapter leaves as they are need no more than `precision`. Raises InputError when nothing would learn.
    """
    dtype = DTYPES[precision] if lora.use_lora else torch.float32
    model = load_weights(asked.model_name_or_path, dtype, asked.trust_remote_code)
    parts = find_parts(model, asked.part_patterns)
    learns = {"vision": asked.tune_vision, "merger": asked.tune_merger, "language": asked.tune_llm}
    if lora.use_lora:
        model = add_adapter(model, lora, parts, [part for part in ("merger", "vision") if learns[part]])
    else:
        for name, parameter in model.named_parameters():
            part = parts.of(name)
            parameter.requires_grad_(part != IDLE and learns.get(part, True))
    if asked.freeze:
        freeze(model, asked.freeze)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise InputError("Nothing would learn: every part is frozen; set one of --tune_vision, --tune_merger, --tune_llm to true, "
                         "or narrow --freeze.")
    return model


def add_adapter(model, lora: LoraOptions, parts: Parts, beside: list[str]):
    """Wrap `model` with a LoRA adapter; the parts named in `beside` are copied and trained whole."""
    from peft import LoraConfig, get_peft_model

    whole = [name for part in beside for name in largest_modules(model, parts, part)]
    try:
        model = get_peft_model(model, LoraConfig(
            r=lora.lora_r, lora_alpha=lora.lora_alpha, lora_dropout=lora.lora_dropout, target_modules=lora.lora_target_modules,
            modules_to_save=whole or None, task_type="CAUSAL_LM",
        ))
    except (ValueError, re.error) as error:
        raise InputError(f"--lora_target_modules fits no layer of {type(model).__name__} ({str(error).splitlines()[0][:200]}); "
                         "give a regular expression over its layers' names.") from error
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return model


def plain_name(name: str) -> str:
    """A parameter's name as the bare model has it, without what PEFT puts between."""
    return re.sub(r"^base_model\.model\.|\.modules_to_save\.default|\.default|\.base_layer", "", name)


def freeze(model, pattern: str) -> None:
    """Leave every parameter in whose name `pattern` is found as it is. Raises InputError when it is no pattern or finds none."""
    try:
        found = [parameter for name, parameter in model.named_parameters() if re.search(pattern, plain_name(name))]
    except re.error as error:
        raise InputError(f"--freeze {pattern} is no regular expression ({error}).") from error
    if not found:
        raise InputError(f"--freeze {pattern} is found in no parameter's name, as model.language_model.layers.0.mlp.up_proj.weight.")
    for parameter in found:
        parameter.requires_grad_(False)


def digest_learning(model) -> str:
    """The SHA-256 of the names and shapes of all that learns: equal for runs that can continue each other's checkpoints."""
    shapes = [(name, tuple(getattr(parameter, "ds_shape", parameter.shape)))  # ZeRO-3 leaves its share in `shape`
              for name, parameter in model.named_parameters() if parameter.requires_grad]
    return hashlib.sha256(repr(sorted(shapes)).encode()).hexdigest()
