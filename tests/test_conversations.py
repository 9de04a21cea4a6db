"""The conversation format: what is read, where pictures are found, and that every fault is named with its sample."""

import json

import pytest
from PIL import Image

from helpers.core.conversations import Sample, Turn, check_conversations, read_conversations, shared_pictures, write_conversations
from helpers.core.errors import InputError


def entry(sample_id="0001", image="pictures/0001.jpg", question="<image>\nWhat is this?", answer="A red house."):
    """One entry as OpenBMB's files write it."""
    return {"id": sample_id, "image": image, "conversations": [
        {"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


@pytest.fixture
def folder(tmp_path):
    """A folder data/ with pictures beside and above it, as in the course and in the original project."""
    (tmp_path / "data" / "pictures").mkdir(parents=True)
    for path in (tmp_path / "data/pictures/0001.jpg", tmp_path / "data/0002.jpg", tmp_path / "0003.jpg"):
        Image.new("RGB", (20, 20), "red").save(path)
    return tmp_path / "data"


def write(folder, entries):
    """Write `entries` as they are to train.json."""
    path = folder / "train.json"
    path.write_text(json.dumps(entries, ensure_ascii=False), encoding="utf-8")
    return path


def test_a_file_of_the_original_project_loads_and_is_written_unchanged(folder):
    entries = [entry(), entry("2002", "data/0002.jpg", "<image>\n图中有什么？", "一座红色的房子。")]
    samples = read_conversations(write(folder, entries))
    assert samples[1].question == "图中有什么？" and samples[1].answer == "一座红色的房子。"
    written = write_conversations(folder / "again.json", samples)
    assert json.loads(written.read_text(encoding="utf-8")) == entries
    assert "一座红色的房子" in written.read_text(encoding="utf-8")
    assert sorted(path.name for path in folder.iterdir() if path.is_file()) == ["0002.jpg", "again.json", "train.json"]


def test_pictures_are_looked_for_beside_the_file_in_its_parent_and_in_the_current_folder(folder, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    Image.new("RGB", (20, 20)).save(tmp_path / "elsewhere" / "0004.jpg")
    monkeypatch.chdir(tmp_path / "elsewhere")
    path = write(folder, [entry("a", "pictures/0001.jpg"), entry("b", "data/0002.jpg"), entry("c", "0003.jpg"), entry("d", "0004.jpg"),
                          entry("e", "pictures\\0001.jpg"), entry("f", str(folder / "0002.jpg"))])
    found = [sample.path.resolve().relative_to(tmp_path).as_posix() for sample in read_conversations(path)]
    assert found == ["data/pictures/0001.jpg", "data/0002.jpg", "0003.jpg", "elsewhere/0004.jpg", "data/pictures/0001.jpg", "data/0002.jpg"]


def test_several_turns_stay_together(folder):
    long = entry()
    long["conversations"] += [{"role": "user", "content": "What colour?"}, {"role": "assistant", "content": "Red."}]
    sample = read_conversations(write(folder, [long]))[0]
    assert [turn.role for turn in sample.turns] == ["user", "assistant", "user", "assistant"]
    assert sample.turns[2:] == [Turn("user", "What colour?"), Turn("assistant", "Red.")]
    assert json.loads(write_conversations(folder / "again.json", [sample]).read_text())[0] == long


def test_a_missing_picture_is_named_with_sample_and_places(folder):
    path = write(folder, [entry(), entry("0009", "nowhere.jpg")])
    with pytest.raises(InputError, match=r"train\.json, sample 0009: the picture nowhere\.jpg is neither in .*parent"):
        read_conversations(path)
    assert len(read_conversations(path, need_images=False)) == 2


@pytest.mark.parametrize("broken, words", [
    ({"id": ""}, 'no "id"'),
    ({"image": None}, 'no "image"'),
    ({"image": {"<image_00>": "a.jpg", "<image_01>": "b.jpg"}}, "2 pictures"),
    ({"conversations": []}, "must be a list of messages"),
    ({"conversations": [{"role": "assistant", "content": "?"}]}, "the user begins"),
    ({"conversations": [{"role": "user", "content": "<image>?"}]}, "ends with a question"),
    ({"conversations": [{"role": "user", "content": "<image><image>?"}, {"role": "assistant", "content": "!"}]}, "2 <image> tags"),
    ({"conversations": [{"role": "user", "content": "<image>?"}, {"role": "assistant", "content": "<image>"}]}, "2 <image> tags"),
    ({"conversations": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "<image>!"}]}, "belongs to the first question"),
    ({"conversations": [{"role": "system", "content": "<image>?"}, {"role": "assistant", "content": "!"}]}, "the role 'system'"),
    ({"conversations": [{"role": "user", "content": "<image>\n"}, {"role": "assistant", "content": "!"}]}, "question is empty"),
])
def test_each_fault_is_named(folder, broken, words):
    path = write(folder, [entry("0000"), entry() | broken])
    faults = check_conversations(path)
    assert len(faults) == 1 and words in faults[0].message
    assert faults[0].sample == ("number 2" if "id" in broken else "0001")
    with pytest.raises(InputError, match="train.json, sample"):
        read_conversations(path)


def test_check_opens_pictures_and_finds_every_fault(folder):
    (folder / "broken.jpg").write_bytes((folder / "0002.jpg").read_bytes()[:200])
    path = write(folder, [entry(), entry(), entry("2", "broken.jpg"), entry("3", "gone.jpg"), entry("4", answer=" ")])
    faults = check_conversations(path)
    assert [fault.sample for fault in faults] == ["0001", "3", "4", "2"]
    assert "twice" in faults[0].message and "broken.jpg" in faults[3].message


def test_an_empty_answer_is_a_prediction_but_no_training_sample(folder):
    path = write(folder, [entry(answer="")])
    assert read_conversations(path)[0].answer == ""
    with pytest.raises(InputError, match="the answer is empty"):
        read_conversations(path, need_answers=True)


@pytest.mark.parametrize("text, words", [("[", "not valid JSON"), ("{}", "holds a JSON dict"), ("[]", "holds no samples")])
def test_a_file_without_samples_is_refused(folder, text, words):
    (folder / "train.json").write_text(text)
    with pytest.raises(InputError, match=words):
        read_conversations(folder / "train.json")
    with pytest.raises(InputError, match="There is no file"):
        read_conversations(folder / "other.json")


def test_samples_made_in_python_need_no_turns(folder):
    sample = Sample("7", "0002.jpg", folder / "0002.jpg", "What?", "This.")
    path = write_conversations(folder / "output.json", [sample])
    assert read_conversations(path)[0] == sample


def test_a_question_without_the_tag_is_read_but_is_a_fault(folder):
    path = write(folder, [entry(), entry("7", question="What is this?")])
    assert len(read_conversations(path)) == 2
    faults = check_conversations(path)
    assert [fault.sample for fault in faults] == ["7"] and "no <image> tag" in faults[0].message


def test_pictures_in_two_files_are_named_copies_and_near_duplicates_too(folder):
    noise = Image.effect_noise((9, 9), 90).resize((200, 200), Image.Resampling.BICUBIC).convert("RGB")
    noise.save(folder / "one.png")
    noise.transpose(Image.Transpose.FLIP_LEFT_RIGHT).resize((150, 150)).save(folder / "mirrored.jpg")
    (folder / "copy.jpg").write_bytes((folder / "0002.jpg").read_bytes())
    train = write(folder, [entry("a", "one.png"), entry("b", "0002.jpg")])
    (folder / "eval.json").write_text(json.dumps([entry("a", "mirrored.jpg"), entry("c", "copy.jpg"), entry("d", "one.png")]))
    found = shared_pictures([train, folder / "eval.json"])
    assert list(found) == [folder / "eval.json"] and [fault.sample for fault in found[folder / "eval.json"]] == ["a", "c", "d"]
    assert "near-duplicate of the picture of a in" in found[folder / "eval.json"][0].message and "same picture as a in" in found[folder / "eval.json"][2].message
    assert shared_pictures([train, train]) == {} == shared_pictures([train])
