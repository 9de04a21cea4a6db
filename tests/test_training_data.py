"""What is checked before the first step: every fault is named at once, cut samples are counted as they will be encoded."""

import json

import pytest
from PIL import Image

from helpers.core.conversations import Turn, read_conversations
from helpers.core.encoding import encode_sample
from helpers.core.errors import InputError
from helpers.core.loading import load_processor
from helpers.core.training_data import TokenCounter, load_data
from helpers.core.training_options import DataArguments
from tests.small_families import FAMILIES, build_family
from tests.small_student import ANSWERS, QUESTIONS, make_samples

SIZES = [(112, 112), (120, 24), (30, 90), (400, 300), (57, 56)]


@pytest.fixture(scope="module", params=FAMILIES)
def processor(request, tmp_path_factory):
    return load_processor(str(build_family(request.param, tmp_path_factory.mktemp("data") / request.param)))


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """The processor of the course's own family."""
    return load_processor(str(build_family("minicpmv4_6", tmp_path_factory.mktemp("data") / "student")))


def change(file, number, **fields):
    """Rewrite some fields of one sample of a conversation file."""
    entries = json.loads(file.read_text(encoding="utf-8"))
    entries[number] |= fields
    file.write_text(json.dumps(entries), encoding="utf-8")


def talk(question, *answers):
    """Messages: a question about the picture and its answer; with more answers, further questions between."""
    return [message for number, answer in enumerate(answers)
            for message in ({"role": "user", "content": "And then?" if number else question}, {"role": "assistant", "content": answer})]


def test_tokens_are_counted_as_they_will_be_encoded(processor):
    counter = TokenCounter(processor)
    turns = [turn for language, answer in ANSWERS[:2] for turn in (Turn("user", QUESTIONS[language]), Turn("assistant", answer))]
    for size in SIZES:
        for conversation in (turns[:2], turns[2:], turns):
            encoded = encode_sample(processor, Image.new("RGB", size, "green"), conversation, 10_000)
            prompt = int((encoded["labels"] != -100).nonzero()[0])
            assert counter.count(conversation, size) == (prompt, len(encoded["input_ids"]))
    assert len({counter.picture(size) for size in SIZES}) > 1  # pictures that do not all become the same


def test_every_fault_is_named_before_anything_is_trained(student, tmp_path):
    file = make_samples(tmp_path)
    assert len(read_conversations(file)) == 6
    change(file, 0, conversations=[])
    change(file, 1, conversations=talk("<image>\nWhat?", ""))
    change(file, 2, image="train/nowhere.png")
    (tmp_path / "train" / "0003.png").write_bytes(b"no picture")
    change(file, 4, conversations=talk("<image>\n" + "Why? " * 400, "So."))
    with pytest.raises(InputError) as caught:
        load_data(DataArguments(str(file), model_max_length=300), student)
    first, *lines = str(caught.value).splitlines()
    assert first.startswith(f"{file} has 5 faults")
    for line, words in zip(lines, [
        'sample 0000: "conversations" must be a list', "sample 0001: the answer is empty", "sample 0002: the picture train/nowhere.png",
        "sample 0003: ", "sample 0004: the picture and the question take ",
    ], strict=True):
        assert line.strip().startswith(words), line
    assert "0003.png" in lines[3] and "more than --model_max_length 300" in lines[4]


def test_of_many_faults_the_first_are_told_and_the_others_counted(student, tmp_path):
    file = make_samples(tmp_path, 26)
    for number in range(25):
        change(file, number, conversations=talk("<image>\nWhat?", " "))
    with pytest.raises(InputError) as caught:
        load_data(DataArguments(str(file)), student)
    lines = str(caught.value).splitlines()
    assert "has 25 faults" in lines[0] and len(lines) == 22 and lines[-1] == "  and 5 more" and "sample 0019" in lines[-2]


def test_one_fault_is_one_sentence(student, tmp_path):
    file = make_samples(tmp_path)
    (tmp_path / "train" / "0004.png").write_bytes(b"")
    with pytest.raises(InputError, match="train.json, sample 0004: .*0004.png") as caught:
        load_data(DataArguments(str(file)), student)
    assert "\n" not in str(caught.value)


def test_a_picture_that_the_models_processor_refuses_is_a_fault_of_its_sample(tmp_path):
    qwen = load_processor(str(build_family("qwen2_5_vl", tmp_path / "model")))
    file = make_samples(tmp_path)
    Image.new("RGB", (3000, 11)).save(tmp_path / "train" / "0001.png")
    with pytest.raises(InputError, match="sample 0001: the model's processor refuses .*0001.png .*ratio"):
        load_data(DataArguments(str(file)), qwen)


def test_cut_samples_and_missing_tags_are_told_and_kept(student, tmp_path, capsys):
    file, held_out = make_samples(tmp_path), make_samples(tmp_path, 2, "eval")
    counter = TokenCounter(student)
    longest = counter.count([Turn("user", "?"), Turn("assistant", ("So. " * 200).strip())], (96, 96))[1] - 1
    change(file, 1, conversations=talk("<image>\n?", "So. " * 200))
    change(file, 5, conversations=talk("<image>\n?", "So.", "So. " * 300))
    change(file, 2, conversations=talk("What is there?", "A house."))  # as OpenBMB's script reads it: the picture comes first
    train, evaluation, kept = load_data(DataArguments(str(file), str(held_out), model_max_length=longest), student)
    assert kept == {"train": {"cut": ["0001", "0005"], "untagged": ["0002"]}, "eval": {"cut": [], "untagged": []}}
    assert (len(train), len(evaluation)) == (6, 2) and len(train[1]["input_ids"]) == longest
    assert student.tokenizer.image_token_id in train[2]["input_ids"]
    told = capsys.readouterr().out
    assert f"--model_max_length {longest} cuts the end of 2 samples (0001, 0005)." in told
    assert "no <image> in 1 sample (0002)" in told
    _, _, kept = load_data(DataArguments(str(file), model_max_length=10_000), student)
    assert kept["train"]["cut"] == []
