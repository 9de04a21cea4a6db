"""Loads the processor and the weights of an image-text model from a folder or the hub, for training and for describing alike.

Weights come from safetensors files only: a `.bin` is a Python pickle, which can run code when it is opened. Python code that
comes with a model is run only where `trust_remote_code` was asked for by name.
"""

from __future__ import annotations

from pathlib import Path

from helpers.core.errors import InputError


def first_line(error: Exception) -> str:
    """The first line of an error's text, without its full stop."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".:") if lines else type(error).__name__


def refuse(model: str, error: Exception) -> InputError:
    """The sentence for a `model` that was not loaded, with a remedy where one is known."""
    folder, text = Path(model), str(error)
    if "trust_remote_code" in text:
        return InputError(f"{model} brings Python code of its own, which is not run unasked: "
                          "read it, and if you trust it add --trust_remote_code true (in training) or --trust-remote-code (for descriptions).")
    if folder.is_dir() and not list(folder.glob("*.safetensors")) and list(folder.glob("*.bin")):
        return InputError(f"{model} has its weights only as .bin, which can run code when opened: get the .safetensors of the model, "
                          "or convert them where you trust their source (AutoModelForImageTextToText, then save_pretrained).")
    remedy = "" if folder.exists() else "; without a way to the hub, set HF_ENDPOINT to a mirror or give a folder"
    return InputError(f"{model} cannot be loaded as a model that describes pictures: {first_line(error)}{remedy}.")


def load_processor(model: str, trust_remote_code: bool = False):
    """The processor of the folder or hub id `model`: tokenizer, image processor, chat template. Raises InputError."""
    from transformers import AutoProcessor

    try:
        processor = AutoProcessor.from_pretrained(model, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise refuse(model, error) from error
    if not hasattr(processor, "image_processor"):
        raise InputError(f"{model} cannot be loaded as a model that describes pictures: it has no image processor.")
    if not processor.chat_template:
        raise InputError(f"{model} cannot be asked anything, for it has no chat template: choose its instruct or chat version.")
    return processor


def load_weights(model: str, dtype, trust_remote_code: bool = False):
    """The model of the folder or hub id `model` with parameters of the torch `dtype`. Raises InputError in one sentence."""
    from transformers import AutoModelForImageTextToText

    try:
        weights = AutoModelForImageTextToText.from_pretrained(model, dtype=dtype, use_safetensors=True, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        if "out of memory" in str(error):
            raise
        raise refuse(model, error) from error
    # A model is saved under the names that it was loaded from. Under ZeRO-3 transformers notes every renaming that its class knows,
    # where otherwise it notes those that were needed, and the saved names would be another version's.
    renamings = getattr(weights, "_weight_conversions", None)
    if renamings:
        weights._weight_conversions = [renaming for renaming in renamings if renaming.was_used()]
    return weights
