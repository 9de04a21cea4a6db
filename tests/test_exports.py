"""Exports, read by the tools that they are for: `datasets`, pycocotools, and LLaMA-Factory's documented keys."""

import contextlib
import io
import json
import os

import pytest
import yaml
from PIL import Image

from helpers.core.conversations import Sample, Turn, write_conversations
from helpers.core.errors import InputError
from helpers.core.exports import DATASET_INFO, FORMATS, RECIPE, export


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Where `datasets` keeps what it has read."""
    import datasets.config

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def data(tmp_path):
    """train.json with four samples of three pictures, two of one name, and eval.json with one; Chinese among them."""
    for number, name in enumerate(("a/1.png", "b/1.png", "a/2.jpg", "a/3.png")):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (30 + number, 20), (60 * number, 10, 10)).save(path)

    def sample(name, image, answer, **more):
        return Sample(name, image, tmp_path / "data" / image, "What is it?", answer, **more)

    longer = [Turn("user", "What is it?"), Turn("assistant", "A wall."), Turn("user", "Colour?"), Turn("assistant", "Red.")]
    train = [sample("a_1", "a/1.png", "A dark picture."), sample("a_1/mood", "a/1.png", "安静。"), sample("b_1", "b/1.png", "A red picture."),
             sample("2", "a/2.jpg", "A wall.", turns=longer)]
    write_conversations(tmp_path / "data" / "train.json", train)
    write_conversations(tmp_path / "data" / "eval.json", [sample("3", "a/3.png", "Another one.")])
    return tmp_path / "data"


def export_both(data, format, out):
    return [export(data / f"{side}.json", format, out) for side in ("train", "eval")]


def test_llama_factory_finds_messages_and_pictures(data, tmp_path):
    from datasets import load_dataset

    export_both(data, "llama-factory", tmp_path / "out")
    info = json.loads((tmp_path / "out" / DATASET_INFO).read_text(encoding="ascii"))
    recipe = yaml.safe_load((tmp_path / "out" / RECIPE).read_text(encoding="utf-8"))
    for name, number in ((recipe["dataset"], 4), (recipe["eval_dataset"], 1)):
        entry = info[name]
        assert entry["formatting"] == "sharegpt" and entry["columns"] == {"messages": "messages", "images": "images"}
        rows = load_dataset("json", data_files=str(tmp_path / "out" / entry["file_name"]), split="train")
        assert len(rows) == number
        tags = entry["tags"]
        for row in rows:
            roles = [message[tags["role_tag"]] for message in row["messages"]]
            assert roles == [tags["user_tag"], tags["assistant_tag"]] * (len(roles) // 2)
            assert sum(message[tags["content_tag"]].count("<image>") for message in row["messages"]) == len(row["images"]) == 1
            with Image.open(os.path.join(tmp_path / "out", row["images"][0])) as image:  # as LLaMA-Factory joins them: media_dir is dataset_dir
                image.load()
    assert [len(row["messages"]) for row in load_dataset("json", data_files=str(tmp_path / "out" / "captionlab_train.json"), split="train")] == [2, 2, 2, 4]
    assert recipe["template"] == "minicpm_v_4_6" and recipe["model_name_or_path"] == "openbmb/MiniCPM-V-4.6" and recipe["dataset_dir"] == "."


def test_entries_and_settings_that_are_there_already_stay(data, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    theirs = {"identity": {"file_name": "identity.json"}, "captionlab_train": {"file_name": "old.json"}}
    (out / DATASET_INFO).write_text(json.dumps(theirs))
    export(data / "train.json", "llama-factory", out)
    (out / RECIPE).write_text((out / RECIPE).read_text(encoding="utf-8").replace("lora_rank: 64", "lora_rank: 8") + "seed: 7\n")
    export(data / "eval.json", "llama-factory", out)
    info, recipe = json.loads((out / DATASET_INFO).read_text()), yaml.safe_load((out / RECIPE).read_text(encoding="utf-8"))
    assert list(info) == ["identity", "captionlab_train", "captionlab_eval"] and info["identity"] == theirs["identity"]
    assert info["captionlab_train"]["file_name"] == "captionlab_train.json"
    assert (recipe["lora_rank"], recipe["seed"], recipe["dataset"], recipe["eval_dataset"]) == (8, 7, "captionlab_train", "captionlab_eval")


@pytest.mark.parametrize("name, text", [(DATASET_INFO, "{broken"), (DATASET_INFO, "[]"), (RECIPE, "a: [")])
def test_a_file_of_theirs_that_cannot_be_read_is_left_alone(data, tmp_path, name, text):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text(text)
    with pytest.raises(InputError, match=name):
        export(data / "train.json", "llama-factory", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name] and (tmp_path / "out" / name).read_text() == text


def test_coco_is_read_by_pycocotools(data, tmp_path):
    from pycocotools.coco import COCO

    export_both(data, "coco", tmp_path / "out")
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(tmp_path / "out" / "captions_train.json")
    images = coco.loadImgs(coco.getImgIds())
    assert [(image["file_name"], image["width"], image["height"]) for image in images] == [("1.png", 30, 20), ("1_2.png", 31, 20), ("2.jpg", 32, 20)]
    captions = {image["file_name"]: [a["caption"] for a in coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))] for image in images}
    assert captions == {"1.png": ["A dark picture.", "安静。"], "1_2.png": ["A red picture."], "2.jpg": ["A wall."]}
    for image in images:
        with Image.open(tmp_path / "out" / "train" / image["file_name"]) as picture:
            assert picture.size == (image["width"], image["height"])


def test_jsonl_is_an_imagefolder_with_two_splits(data, tmp_path):
    from datasets import load_dataset

    export_both(data, "jsonl", tmp_path / "out")
    loaded = load_dataset("imagefolder", data_dir=str(tmp_path / "out"))
    assert {name: len(split) for name, split in loaded.items()} == {"train": 4, "test": 1}
    rows = {row["id"]: row for row in loaded["train"]}
    assert rows["a_1/mood"]["text"] == "安静。" and rows["a_1/mood"]["image"].size == (30, 20) == rows["a_1"]["image"].size
    assert rows["b_1"]["image"].size == (31, 20) and rows["2"]["question"] == "What is it?"


@pytest.mark.parametrize("format", FORMATS)
def test_exporting_again_replaces_and_copies_stand_alone(data, tmp_path, format):
    first = export(data / "train.json", format, tmp_path / "out")
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert (first.samples, first.pictures) == (4, 3) and all(path.is_file() for path in first.files)
    export(data / "train.json", format, tmp_path / "out")
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before
    copy = next(path for path in before if path.suffix == ".png")
    copy.write_bytes(b"")
    assert (data / "a" / "1.png").stat().st_size and (data / "b" / "1.png").stat().st_size


def test_what_cannot_be_exported_is_named(data, tmp_path):
    with pytest.raises(InputError, match="choose from llama-factory, coco, jsonl"):
        export(data / "train.json", "voc", tmp_path / "out")
    (data / "a" / "2.jpg").unlink()
    with pytest.raises(InputError, match="sample 2: the picture a/2.jpg"):
        export(data / "train.json", "coco", tmp_path / "out")
    assert not (tmp_path / "out").exists()
