"""A training file written elsewhere, in the format of OpenBMB's fine-tuning scripts, trains as it is.

The format: finetune/readme.md of OpenBMB/MiniCPM-V. The texts here are our own.
"""

import json
import shutil

import pytest

from finetune import finetune
from helpers.core.conversations import check_conversations, read_conversations, write_conversations
from helpers.core.encoding import IGNORED, encode_question, encode_sample
from helpers.core.exports import export
from helpers.core.images import open_image
from helpers.core.runs import digest_data, load_run
from helpers.core.student import load_student
from tests.small_student import make_samples, make_student


def turns(*words):
    """Messages in turn, the user's first."""
    return [{"role": ("user", "assistant")[number % 2], "content": content} for number, content in enumerate(words)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """pictures/, beside it data/openbmb.json with every freedom that the format leaves."""
    folder = tmp_path_factory.mktemp("openbmb")
    make_student(folder / "student")
    make_samples(folder, 6, "pictures")
    (folder / "data").mkdir()
    shutil.copy(folder / "pictures" / "0003.png", folder / "data" / "近景 3.png")
    entries = [
        {"id": 0, "image": "pictures/0000.png", "conversations": turns("<image>\nWhat is this?", "A red house.")},
        {"id": "1", "image": str(folder / "pictures" / "0001.png"), "source": {"licence": "CC0"}, "width": 96, "conversations": turns(
            "<image>\n图中有什么？", "一只猫。", "它是什么颜色的？", "白色。", "Where is it?", "Left of the car.")},
        {"id": 2, "image": "pictures/0002.png", "conversations": turns("Look at <image> and name the birds.", "Two gulls.")},
        {"id": "3", "image": "近景 3.png", "conversations": turns("What do you see?\n<image>", "Three bicycles.")},
        {"id": "4", "image": {"<image_00>": "./pictures/0004.png"}, "conversations": turns("Describe <image_00> in a word.", "Snow.")},
        {"id": "5", "image": "pictures\\0005.png", "conversations": turns("没有标记的问题？", "一把伞。")},
    ]
    (folder / "data" / "openbmb.json").write_text(json.dumps(entries, ensure_ascii=False), encoding="utf-8-sig")
    return folder


@pytest.fixture(scope="module")
def samples(folder):
    return read_conversations(folder / "data" / "openbmb.json", need_answers=True)


def test_exactly_the_answers_are_learned_and_the_picture_stands_where_the_file_puts_it(folder, samples):
    processor = load_student(folder / "student", device="cpu").processor
    supervised, texts = [], []
    for sample in samples:
        encoded = encode_sample(processor, open_image(sample.path), sample.turns, 512)
        supervised.append(processor.tokenizer.decode(encoded["labels"][encoded["labels"] != IGNORED]).split("<|im_end|>")[:-1])
        texts.append(processor.tokenizer.decode(encoded["input_ids"]).replace("<|image_pad|>" * 16, "PICTURE"))
        if len(sample.turns) == 2:  # describing asks as training does
            asked = encode_question(processor, open_image(sample.path), sample.question)["input_ids"]
            assert asked.equal(encoded["input_ids"][encoded["labels"] == IGNORED])
    assert supervised == [["A red house."], ["一只猫。", "白色。", "Left of the car."], ["Two gulls."], ["Three bicycles."], ["Snow."], ["一把伞。"]]
    asked = [text.split("user\n", 1)[1].split("<|im_end|>")[0].replace("<image>", "").replace("</image>", "") for text in texts]
    assert asked == ["PICTURE\nWhat is this?", "PICTURE\n图中有什么？", "Look at PICTURE\n and name the birds.", "What do you see?\nPICTURE\n",
                     "Describe PICTURE\n in a word.", "PICTURE\n没有标记的问题？"]
    assert [sample.id for sample in samples] == ["0", "1", "2", "3", "4", "5"]
    assert [fault.sample for fault in check_conversations(folder / "data" / "openbmb.json")] == ["5"]  # the one without a tag


def test_it_trains_to_the_end_as_it_is(folder, samples, monkeypatch, capsys):
    written = (folder / "data" / "openbmb.json").read_bytes()
    monkeypatch.setattr("sys.argv", ["finetune.py", *f"--model_name_or_path {folder}/student --data_path {folder}/data/openbmb.json --output_dir "
                                     f"{folder}/out --use_lora true --num_train_epochs 6 --per_device_train_batch_size 3 --learning_rate 1e-2 "
                                     "--save_strategy no --use_cpu true".split()])
    assert finetune.main() == 0, capsys.readouterr().err
    run = load_run(folder / "out")
    assert run.steps == 12 and run.losses[-1][1] < run.losses[0][1] - 0.3
    assert "no <image> in 1 sample (5)" in capsys.readouterr().out
    assert (folder / "data" / "openbmb.json").read_bytes() == written


def test_the_pictures_place_survives_writing_and_export(folder, samples):
    again = read_conversations(write_conversations(folder / "data" / "again.json", samples))
    assert [sample.turns for sample in again] == [sample.turns for sample in samples]
    export(folder / "data" / "again.json", "llama-factory", folder / "exported")
    exported = json.loads((folder / "exported" / "captionlab_again.json").read_text(encoding="utf-8"))
    assert [entry["messages"][0]["content"] for entry in exported][2:] == [
        "Look at <image> and name the birds.", "What do you see?\n<image>", "Describe <image> in a word.", "<image>\n没有标记的问题？"]


def test_a_picture_in_a_dictionary_counts_for_what_the_data_is(folder):
    before = digest_data(folder / "data" / "openbmb.json")
    kept = (folder / "pictures" / "0004.png").read_bytes()
    shutil.copy(folder / "pictures" / "0000.png", folder / "pictures" / "0004.png")
    changed = digest_data(folder / "data" / "openbmb.json")
    (folder / "pictures" / "0004.png").write_bytes(kept)
    assert changed != before == digest_data(folder / "data" / "openbmb.json")
