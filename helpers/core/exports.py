"""Writes a conversation file in the formats of other tools, with copies of its pictures, so that a folder goes as a whole.

Shape of the data: train.json or eval.json (`helpers.core.conversations`) → a folder:

    llama-factory   NAME.json ("messages" and "images"), an entry NAME in dataset_info.json, a training YAML, NAME/ (pictures)
    coco            captions_NAME.json ("images" and "annotations"), NAME/ (pictures)
    jsonl           NAME/metadata.jsonl ("file_name", "text", …), beside its pictures, as the imagefolder of `datasets` has it

NAME is the file's: "train" or "eval"; for LLaMA-Factory "captionlab_train", since its data folder holds the data of many.
Exporting train.json and eval.json into one folder makes one data set of them. Sources of the formats: the README of
LLaMA-Factory's data/ folder and its version 0.9.5; https://cocodataset.org/#format-data; the page "Create an image
dataset" of the `datasets` documentation.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml

from helpers.core.conversations import Sample, read_conversations, with_tag, write_text
from helpers.core.errors import InputError, ResourceError
from helpers.core.images import image_size
from helpers.core.profiles import load_profile

DATASET_INFO = "dataset_info.json"
RECIPE = "minicpm_v_4_6_lora_sft.yaml"
_RECIPE_HEAD = f"""\
# LLaMA-Factory: fine-tune MiniCPM-V 4.6 with LoRA on the data sets of this folder. Start it in this folder:
#     DISABLE_VERSION_CHECK=1 llamafactory-cli train {RECIPE}
# (LLaMA-Factory 0.9.5 asks for transformers up to 5.6, and MiniCPM-V 4.6 for 5.7 or newer; hence the switch. With transformers
# 5.23 it also needs the line "disable_gradient_checkpointing: true".)
# Values are those of the course's lab profile. What you change here stays when you export again; comments do not.
"""


@dataclass(frozen=True)
class ExportReport:
    """What `export` wrote: number of samples and of pictures, and the files, the one to load first."""

    samples: int
    pictures: int
    files: list[Path]

    def __str__(self) -> str:
        return f"{self.samples} samples and {self.pictures} pictures in {', '.join(str(path) for path in self.files)}"


def export(file: Path | str, format: str, out: Path | str) -> ExportReport:
    """Write the conversation file `file` to the folder `out` in a format: "llama-factory", "coco" or "jsonl".

    Pictures are copied. Files of an earlier export of the same name are replaced; everything else in `out` stays.
    Raises InputError for an unknown format, a faulty file or picture, or a dataset_info.json that is none; ResourceError
    when the disk is full.
    """
    if format not in FORMATS:
        raise InputError(f"there is no format {format!r}: choose from {', '.join(FORMATS)}")
    file, out = Path(file), Path(out)
    return FORMATS[format](read_conversations(file, need_answers=True), file.stem, out)


def _llama_factory(samples: list[Sample], stem: str, out: Path) -> ExportReport:
    """LLaMA-Factory's sharegpt format in the manner of OpenAI; pictures are found from dataset_dir."""
    name = f"captionlab_{stem}"
    info = _dataset_info(out / DATASET_INFO)
    recipe = _recipe(out / RECIPE)  # both are read before anything is written
    pictures = _copy_pictures(samples, out / name)
    entries = []
    for sample in samples:
        messages = [{"role": turn.role, "content": turn.content} for turn in sample.turns]
        messages[0]["content"] = with_tag(messages[0]["content"])
        entries.append({"messages": messages, "images": [f"{name}/{pictures[sample.path]}"]})
    info[name] = {
        "file_name": f"{name}.json", "formatting": "sharegpt", "columns": {"messages": "messages", "images": "images"},
        "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"},
    }
    if stem == "eval":
        recipe |= {"eval_dataset": name, "eval_strategy": "epoch", "per_device_eval_batch_size": 1}
    else:
        recipe["dataset"] = name
    # A recipe names the training set even when the evaluation set is exported first.
    recipe.setdefault("dataset", "captionlab_train")
    return ExportReport(len(samples), len(pictures), [
        write_text(out / f"{name}.json", json.dumps(entries, ensure_ascii=False, indent=1) + "\n"),
        # LLaMA-Factory opens this one in the system's encoding, so it is ASCII.
        write_text(out / DATASET_INFO, json.dumps(info, indent=2) + "\n"),
        write_text(out / RECIPE, _RECIPE_HEAD + yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True)),
    ])


def _dataset_info(path: Path) -> dict:
    """The entries of a dataset_info.json; none where there is no file. Raises InputError for a file that is none."""
    if not path.is_file():
        return {}
    try:
        info = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}), and your other data sets stand in it: mend it, or choose another --out") from error
    if not isinstance(info, dict):
        raise InputError(f"{path} holds a JSON {type(info).__name__}, not LLaMA-Factory's entries: choose another --out")
    return info


def _recipe(path: Path) -> dict:
    """LLaMA-Factory's training arguments: the lab profile's values, under those that stand in the file already."""
    lab = load_profile("lab")
    recipe = {
        "model_name_or_path": lab.student, "image_max_pixels": 262144,
        "stage": "sft", "do_train": True, "finetuning_type": "lora", "lora_rank": lab.train.lora.rank, "lora_alpha": lab.train.lora.alpha,
        "lora_target": "q_proj,k_proj,v_proj,o_proj", "freeze_vision_tower": True,
        "dataset_dir": ".", "template": "minicpm_v_4_6", "cutoff_len": lab.train.max_length, "overwrite_cache": True,
        "output_dir": "saves/minicpm_v_4_6/lora", "logging_steps": 10, "save_strategy": "epoch", "plot_loss": True, "report_to": "none",
        "per_device_train_batch_size": lab.train.micro_batch_size, "gradient_accumulation_steps": lab.train.accumulation,
        "learning_rate": lab.train.lora.learning_rate, "num_train_epochs": float(lab.train.lora.epochs),
        "lr_scheduler_type": "cosine", "warmup_steps": 0.1, "bf16": True,
    }
    if not path.is_file():
        return recipe
    try:
        own = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read ({str(error).splitlines()[0]}): mend or remove it, or choose another --out") from error
    return recipe | (own if isinstance(own, dict) else {})


def _coco(samples: list[Sample], stem: str, out: Path) -> ExportReport:
    """COCO captions. Each answer is a caption of its picture; "question" and "sample" are further keys, which COCO's readers skip."""
    pictures = _copy_pictures(samples, out / stem)
    numbers = {path: number for number, path in enumerate(pictures, 1)}
    images = []
    for path, name in pictures.items():
        width, height = image_size(path)
        images.append({"id": numbers[path], "file_name": name, "width": width, "height": height})
    annotations = [{"id": number, "image_id": numbers[s.path], "caption": s.answer, "question": s.question, "sample": s.id}
                   for number, s in enumerate(samples, 1)]
    content = {"info": {"description": f"captions of {stem}, written by CaptionLab"}, "licenses": [], "type": "captions",
               "images": images, "annotations": annotations}
    file = write_text(out / f"captions_{stem}.json", json.dumps(content, ensure_ascii=False, indent=1) + "\n")
    return ExportReport(len(samples), len(pictures), [file])


def _jsonl(samples: list[Sample], stem: str, out: Path) -> ExportReport:
    """One line a sample; `datasets.load_dataset("imagefolder", data_dir=out)` makes splits of train/ and eval/."""
    pictures = _copy_pictures(samples, out / stem)
    lines = [json.dumps({"file_name": pictures[s.path], "text": s.answer, "question": s.question, "id": s.id}, ensure_ascii=False) for s in samples]
    return ExportReport(len(samples), len(pictures), [write_text(out / stem / "metadata.jsonl", "\n".join(lines) + "\n")])


FORMATS: dict[str, Callable[[list[Sample], str, Path], ExportReport]] = {"llama-factory": _llama_factory, "coco": _coco, "jsonl": _jsonl}


def _copy_pictures(samples: Iterable[Sample], folder: Path) -> dict[Path, str]:
    """Copy every picture once into `folder`; returns its name there. Two of one name get numbers, in the samples' order.

    Copies, not links: a picture that is changed in the export must not change the one whose label was paid for.
    """
    names: dict[Path, str] = {}
    taken: set[str] = set()
    for sample in samples:
        if sample.path in names:
            continue
        name, number = sample.path.name, 1
        while name.lower() in taken:  # two names that differ in case are one file on Windows and macOS
            number += 1
            name = f"{sample.path.stem}_{number}{sample.path.suffix}"
        taken.add(name.lower())
        names[sample.path] = name
        target = folder / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not (target.exists() and target.samefile(sample.path)):
                shutil.copyfile(sample.path, target)
        except OSError as error:
            raise ResourceError(f"{target} cannot be written ({error.strerror}); free space or choose another --out") from error
    return names
