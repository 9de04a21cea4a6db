"""From labels to files: sides, near-duplicates across them, and an account of every label that was changed or left out."""

import json
import shutil

import pytest
from PIL import Image, ImageOps
from teacher_scenes import drawn

from helpers.core.building import ACCOUNT, LEAK, build
from helpers.core.conversations import read_conversations
from helpers.core.errors import InputError
from helpers.core.labels import Label, LabelKey, LabelStore

ANSWER = "A small red house stands beside the sea."


@pytest.fixture
def scenes(tmp_path):
    drawn(tmp_path / "scenes", 30, 6)
    return tmp_path / "scenes"


def label(store_path, answers, status="ok", finish_reason="stop", dimension="main"):
    """Puts {picture: answer} into a store, as a run would."""
    with LabelStore(store_path) as store:
        hashes = store.hash_pictures(list(answers))
        store.put(Label(LabelKey(hashes[path], "m", f"What? {dimension}"), dimension, "en", status, answer, finish_reason, {}, "r", "host")
                  for path, answer in answers.items())


def ids(path):
    return [sample["id"] for sample in json.loads(path.read_text(encoding="utf-8"))]


def account(folder):
    return [json.loads(line) for line in (folder / ACCOUNT).read_text(encoding="utf-8").splitlines()]


def test_every_label_is_in_a_file_or_in_the_account(scenes, tmp_path):
    paths = sorted((scenes / "Train").glob("*.jpg"))
    messy = {"0000": f"Sure! Here is a description:\n\n**{ANSWER[:-1]}**.", "0001": "I'm sorry, but I cannot help with that.", "0002": "这是一座红色的房子。",
             "0003": "A dog.", "0004": f"{ANSWER}  "}
    label(tmp_path / "l.sqlite", {path: messy.get(path.stem, ANSWER) for path in paths})
    label(tmp_path / "l.sqlite", {paths[0]: "A house stands by"}, finish_reason="length", dimension="mood")
    label(tmp_path / "l.sqlite", {paths[5]: ""}, status="refused", dimension="mood")
    report = build(tmp_path / "l.sqlite", tmp_path / "out", progress=None)
    assert report.dropped == {"cut off": 1, "refused in words": 1, "wrong language": 1, "too short": 1, "refused": 1}
    assert report.changed == {"spaces": 1, "markdown": 1, "leading phrase": 1}
    lines = account(tmp_path / "out")
    assert {(line["id"], line["why"]) for line in lines if line["what"] == "left out"} == {
        ("0000/mood", "cut off"), ("0001", "refused in words"), ("0002", "wrong language"), ("0003", "too short"), ("0005/mood", "refused")}
    changed = {line["id"]: line for line in lines if line["what"] == "changed"}
    assert changed["0000"]["before"] == messy["0000"] and changed["0000"]["after"] == ANSWER == changed["0004"]["after"]
    assert len(ids(tmp_path / "out" / "train.json")) == report.train == 27 == 32 - 5
    assert {s.answer for s in read_conversations(tmp_path / "out" / "train.json")} == {ANSWER}
    assert all(f"{n} {why}" in str(report) for why, n in report.dropped.items()) and ACCOUNT in str(report)


def test_without_faults_the_account_is_empty_also_after_a_worse_run(scenes, tmp_path):
    path = scenes / "Train" / "0000.jpg"
    label(tmp_path / "l.sqlite", {path: ANSWER, scenes / "Train" / "0001.jpg": "Dog."})
    assert build(tmp_path / "l.sqlite", tmp_path / "out", progress=None).dropped and account(tmp_path / "out")
    assert not build(tmp_path / "l.sqlite", tmp_path / "out", least_words=1, progress=None).dropped and not account(tmp_path / "out")


def test_a_near_duplicate_of_an_evaluation_picture_is_not_trained_on(scenes, tmp_path):
    with Image.open(scenes / "Val" / "0030.jpg") as image:
        ImageOps.mirror(image.resize((180, 180))).save(scenes / "Train" / "leak.png")
    (scenes / "more").mkdir()
    shutil.copy(scenes / "Val" / "0031.jpg", scenes / "more" / "copy.jpg")  # under no folder that says a side
    shutil.copy(scenes / "Train" / "0002.jpg", scenes / "more" / "train_copy.jpg")
    label(tmp_path / "l.sqlite", dict.fromkeys(sorted([*scenes.rglob("*.jpg"), *scenes.rglob("*.png")]), ANSWER))
    report = build(tmp_path / "l.sqlite", tmp_path / "out", progress=None)
    assert report.dropped == {LEAK: 1} and report.duplicates == 6
    assert [(line["id"], line["picture"]) for line in account(tmp_path / "out")] == [("leak", "scenes/Train/leak.png")]
    train, evaluation = ids(tmp_path / "out" / "train.json"), ids(tmp_path / "out" / "eval.json")
    assert "copy" in evaluation and "0030" in evaluation and "train_copy" in train and "leak" not in train + evaluation
    kept = build(tmp_path / "l.sqlite", tmp_path / "out", near_duplicates=False, progress=None)
    assert "leak" in ids(tmp_path / "out" / "train.json") and kept.duplicates == 4


@pytest.mark.parametrize("seed", range(4))
def test_groups_stay_together_where_the_sides_are_drawn(scenes, tmp_path, seed):
    photos = tmp_path / "photos"
    photos.mkdir()
    for path in scenes.rglob("*.jpg"):
        shutil.copy(path, photos / path.name)
        with Image.open(path) as image:
            ImageOps.mirror(image).save(photos / f"{path.stem}m.png")
    label(tmp_path / "l.sqlite", dict.fromkeys(sorted(photos.iterdir()), ANSWER))
    report = build(tmp_path / "l.sqlite", tmp_path / "out", eval_fraction=0.4, seed=seed, progress=None)
    train, evaluation = set(ids(tmp_path / "out" / "train.json")), set(ids(tmp_path / "out" / "eval.json"))
    assert (report.train + report.eval, report.duplicates, report.dropped) == (72, 72, {})
    assert 4 <= len(evaluation) <= 60 and len(evaluation) % 2 == 0
    assert {name.rstrip("m") for name in train} & {name.rstrip("m") for name in evaluation} == set()


def test_pictures_that_broke_or_went_after_labelling_are_left_out(scenes, tmp_path):
    paths = sorted((scenes / "Train").glob("*.jpg"))
    label(tmp_path / "l.sqlite", dict.fromkeys(paths, ANSWER))
    paths[0].write_bytes(paths[0].read_bytes()[:500])
    paths[1].unlink()
    assert build(tmp_path / "l.sqlite", tmp_path / "out", progress=None).dropped == {"picture gone": 1, "picture unreadable": 1}


def test_a_store_of_refusals_says_so(scenes, tmp_path):
    label(tmp_path / "l.sqlite", {scenes / "Train" / "0000.jpg": ""}, status="refused")
    with pytest.raises(InputError, match=r"no label to build from \(1 refused\)"):
        build(tmp_path / "l.sqlite", tmp_path / "out", progress=None)
    assert not (tmp_path / "out").exists()
