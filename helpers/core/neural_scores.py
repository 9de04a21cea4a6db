"""BERTScore and CLIPScore: metrics that are models. They run where their model is, or where it may be downloaded.

    captions, references   --bert_scores-->   {system: {"BERTScore.precision" | ".recall" | ".f1": (n,)}}
    captions, pictures     --clip_scores-->   {system: {"CLIPScore": (n,)}}

A model is looked for as a folder, then among what the Hugging Face hub has left on this machine. Only with
`Models(download=True)`, or by `captionlab fetch`, is it downloaded, from HF_ENDPOINT where that names a mirror.

Sources: BERTScore, Zhang et al. 2020, computed by the authors' bert-score without rescaling and without IDF weights; its layers are
the authors' choices for these models. CLIPScore, Hessel et al. 2021: 2.5 · max(cosine, 0).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers.core.errors import InputError, ResourceError
from helpers.core.pairing import Pairs

BERT = {"en": ("roberta-large", 17), "zh": ("bert-base-chinese", 8)}
CLIP = {"en": "openai/clip-vit-base-patch32", "zh": "OFA-Sys/chinese-clip-vit-base-patch16"}
FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]
SCALE = 2.5  # of CLIPScore


@dataclass(frozen=True)
class Models:
    """Which models may be used. bert, clip: a folder or hub id, None for the language's usual one.  bert_layer: whose
    states BERTScore compares; needed for a model of one's own.  download: whether the hub may be asked.  device: e.g. "cuda"."""

    bert: str | None = None
    bert_layer: int | None = None
    clip: str | None = None
    download: bool = False
    device: str | None = None
    batch_size: int = 32


def find_model(model: str, metric: str, download: bool) -> Path:
    """The folder of a model: itself, the hub's copy on this machine, or a new download where that is allowed.

    Raises: ResourceError that names the remedy.
    """
    if Path(model).is_dir():
        return Path(model)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        found = Path(snapshot_download(model, allow_patterns=FILES, local_files_only=not download))
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        if download:
            raise ResourceError(f"{metric}'s model {model} could not be downloaded ({type(error).__name__}); "
                                "where the hub is out of reach, set HF_ENDPOINT to a mirror, e.g. https://hf-mirror.com.") from error
        raise ResourceError(f"{metric} needs the model {model}, which is not on this machine; `captionlab fetch {metric.lower()}` gets it "
                            "(HF_ENDPOINT names a mirror), or give a folder that holds a model.") from None
    if not (found / "config.json").is_file() or not [*found.glob("*.safetensors"), *found.glob("*.bin")]:
        raise ResourceError(f"The copy of {model} on this machine is not whole; `captionlab fetch {metric.lower()}` completes it.")
    return found


def bert_scores(pairs: Pairs, language: str, models: Models | None = None) -> tuple[dict[str, dict[str, np.ndarray]], str]:
    """Precision, recall and F1 of every caption, the best of its references; and which model and layer said so.

    Raises: ResourceError without the model; InputError for a layer that it does not have.
    """
    models = models or Models()
    name, layer = (models.bert or BERT[language][0]), models.bert_layer
    if layer is None and name != BERT[language][0]:
        raise InputError(f"BERTScore of {name} needs to know whose layer's states to compare; give --bertscore-layer as well.")
    layer = BERT[language][1] if layer is None else layer
    folder = find_model(name, "BERTScore", models.download)
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder)
    if not 0 <= layer <= config.num_hidden_layers:
        raise InputError(f"{name} has layers 0 to {config.num_hidden_layers}; BERTScore cannot use layer {layer}.")
    from bert_score import BERTScorer

    scorer = BERTScorer(model_type=str(folder), num_layers=layer, batch_size=models.batch_size, device=models.device, lang=language)
    # The tokenizer cuts where its model ends; RoBERTa's first two positions are never words.
    longest = min(512, config.max_position_embeddings - (2 if "roberta" in config.model_type else 0))
    scorer._tokenizer.model_max_length = longest
    found = {}
    for system, column in pairs.captions.items():
        parts = scorer.score(list(column), [list(texts) for texts in pairs.references])
        found[system] = {f"BERTScore.{part}": values.double().numpy() for part, values in zip(("precision", "recall", "f1"), parts)}
    return found, f"model {_shown(name)}, layer {layer}, texts cut after {longest} tokens; not rescaled, no IDF weights; computed by bert-score."


def clip_scores(pairs: Pairs, language: str, models: Models | None = None) -> tuple[dict[str, dict[str, np.ndarray]], str]:
    """How well each caption fits its picture, 0 to 2.5; and which model said so, and how many captions it could not read whole.

    Raises: ResourceError without the model; InputError when a sample's picture is nowhere.
    """
    models = models or Models()
    name = models.clip or CLIP[language]
    folder = find_model(name, "CLIPScore", models.download)
    lost = [identity for identity, path in zip(pairs.ids, pairs.paths) if path is None]
    if lost:
        raise InputError(f"CLIPScore looks at the pictures, and that of sample {lost[0]} was not found ({len(lost)} of {len(pairs.ids)}); "
                         "keep the pictures where the references' file says.")
    import torch
    from transformers import AutoModel, AutoProcessor

    from helpers.core.images import open_image

    device = models.device or ("cuda" if torch.cuda.is_available() else "cpu")
    processor, model = AutoProcessor.from_pretrained(folder), AutoModel.from_pretrained(folder).to(device).eval()
    limit = model.config.text_config.max_position_embeddings
    found = {system: {"CLIPScore": np.zeros(len(pairs.ids))} for system in pairs.captions}
    long = 0
    for start in range(0, len(pairs.ids), models.batch_size):
        rows = range(start, min(start + models.batch_size, len(pairs.ids)))
        texts = [column[row] for column in pairs.captions.values() for row in rows]
        long += sum(len(tokens) > limit for tokens in processor.tokenizer(texts)["input_ids"])
        inputs = processor(text=texts, images=[open_image(pairs.paths[row]) for row in rows], return_tensors="pt",
                           padding=True, truncation=True, max_length=limit).to(device)
        with torch.inference_mode():
            answer = model(**inputs)
        pictures, words = (torch.nn.functional.normalize(part.float(), dim=-1) for part in (answer.image_embeds, answer.text_embeds))
        cosine = (words.view(len(found), len(rows), -1) * pictures).sum(-1).cpu().numpy()
        for column, values in zip(found.values(), cosine):
            column["CLIPScore"][rows.start:rows.stop] = SCALE * np.maximum(values, 0)
    return found, f"model {_shown(name)}; it reads {limit} tokens, and {long} of {len(pairs.ids) * len(found)} captions were longer and cut."


def _shown(name: str) -> str:
    """How a result names a model: its hub id, or its folder's own name without where it lies."""
    return Path(name).resolve().name if Path(name).is_dir() else name
