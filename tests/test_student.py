"""Encoding, loading and describing: what is supervised, that what was learned comes back verbatim, and what is refused."""

import pytest
import torch

from helpers.core.conversations import Turn, read_conversations
from helpers.core.encoding import IGNORED, collate, encode_question, encode_sample, render_prompt
from helpers.core.errors import InputError
from helpers.core.images import open_image
from helpers.core.student import load_student
from tests.small_student import make_samples, make_student


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A random student and six samples in two languages."""
    folder = tmp_path_factory.mktemp("student")
    make_student(folder / "random")
    make_samples(folder)
    return folder


@pytest.fixture(scope="module")
def samples(folder):
    return read_conversations(folder / "train.json")


@pytest.fixture(scope="module")
def trained(folder, samples):
    """The folder of a student that learned the six samples by heart."""
    student = load_student(folder / "random", device="cpu")
    torch.set_num_threads(1)  # so small a model is no faster with more, and far slower when other tests want the cores too
    model = student.model.train()
    encoded = [encode_sample(student.processor, open_image(s.path), s.turns, 512) for s in samples]
    batch = collate(encoded, student.processor.tokenizer.pad_token_id, "right")
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(150):
        loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if loss < 0.005:
            break
    model.save_pretrained(folder / "trained")
    student.processor.save_pretrained(folder / "trained")
    return folder / "trained"


def test_supervised_tokens_are_exactly_the_answers(folder, samples):
    processor = load_student(folder / "random", device="cpu").processor
    for sample in samples:
        encoded = encode_sample(processor, open_image(sample.path), sample.turns, 512)
        supervised = encoded["labels"][encoded["labels"] != IGNORED]
        assert processor.tokenizer.decode(supervised) == sample.answer + "<|im_end|>"
        unsupervised = encoded["input_ids"][encoded["labels"] == IGNORED]
        asked = encode_question(processor, open_image(sample.path), sample.question)
        assert torch.equal(unsupervised, asked["input_ids"])  # training reads the very prompt that describing asks
        assert torch.equal(encoded["pixel_values"], asked["pixel_values"])


def test_every_answer_of_a_longer_conversation_is_supervised(folder, samples):
    processor = load_student(folder / "random", device="cpu").processor
    turns = [*samples[0].turns, Turn("user", "What colour?"), Turn("assistant", "Red.")]
    encoded = encode_sample(processor, open_image(samples[0].path), turns, 512)
    supervised = processor.tokenizer.decode(encoded["labels"][encoded["labels"] != IGNORED])
    assert supervised == f"{samples[0].answer}<|im_end|>Red.<|im_end|>"
    text = processor.tokenizer.decode(encoded["input_ids"]).replace("<|image_pad|>", "")
    assert "What colour?<|im_end|>\n<|im_start|>assistant\nRed." in text


def test_the_prompt_ends_where_the_answer_begins(folder):
    processor = load_student(folder / "random", device="cpu").processor
    assert render_prompt(processor, [Turn("user", "What?")]).endswith("What?<|im_end|>\n<|im_start|>assistant\n")


def test_a_length_without_room_for_an_answer_is_refused(folder, samples):
    processor = load_student(folder / "random", device="cpu").processor
    with pytest.raises(InputError, match="model_max_length 20"):
        encode_sample(processor, open_image(samples[0].path), samples[0].turns, 20)
    cut = encode_sample(processor, open_image(samples[0].path), samples[0].turns, 50)
    assert len(cut["input_ids"]) == 50


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_batch_pads_text_and_joins_patches(side):
    samples = [{"input_ids": torch.arange(1, 1 + n), "labels": torch.arange(1, 1 + n), "pixel_values": torch.full((1, 3, 2, 4), n),
                "target_sizes": torch.tensor([[1, 2]])} for n in (2, 4)]
    batch = collate(samples, 0, side)
    expected = [[0, 0, 1, 2], [1, 2, 3, 4]] if side == "left" else [[1, 2, 0, 0], [1, 2, 3, 4]]
    assert batch["input_ids"].tolist() == expected
    assert batch["attention_mask"].tolist() == [[int(value > 0) for value in row] for row in expected]
    assert batch["labels"].tolist() == [[value or IGNORED for value in row] for row in expected]
    assert batch["pixel_values"].shape == (1, 3, 2, 8) and batch["target_sizes"].tolist() == [[1, 2], [1, 2]]


def test_what_was_learned_comes_back_verbatim_in_both_languages(trained, samples, capsys):
    student = load_student(trained, device="cpu")
    paths, questions, answers = ([getattr(s, name) for s in samples] for name in ("path", "question", "answer"))
    assert student.describe(paths, questions, batch_size=4, max_new_tokens=80, progress="describe") == answers
    assert "describe: 100%" in capsys.readouterr().err
    # padding, batches and the kind of picture change nothing
    assert student.describe([open_image(path) for path in paths], questions, batch_size=1, max_new_tokens=80) == answers
    assert student.describe(paths[:2], questions[:2], num_beams=2, max_new_tokens=80) == answers[:2]
    assert "".join(student.stream(paths[1], questions[1], max_new_tokens=80)).strip() == answers[1]


def test_every_token_comes_with_the_probability_that_the_model_gives_it(trained, samples):
    student = load_student(trained, device="cpu")
    paths, questions = [s.path for s in samples], [s.question for s in samples]
    found = student.describe_with_probabilities(paths, questions, batch_size=4, max_new_tokens=80)
    assert [text for text, _ in found] == student.describe(paths, questions, max_new_tokens=80)
    for sample, (text, pieces) in zip(samples, found):
        assert "".join(piece for piece, _ in pieces) == text and "\N{REPLACEMENT CHARACTER}" not in text
        # The same text read by the model in one go, as in training.
        encoded = collate([encode_sample(student.processor, open_image(sample.path), [Turn("user", sample.question), Turn("assistant", text)], 512)], 0, "right")
        labels = encoded.pop("labels")
        with torch.inference_mode():
            logits = student.model(**encoded).logits.float().log_softmax(-1)[:, :-1]
        told = labels[:, 1:] != IGNORED
        read = logits[told].gather(-1, labels[:, 1:][told][:, None])[:-1, 0].exp()  # without the token that ends the answer
        assert torch.allclose(read, torch.tensor([p for _, p in pieces]), atol=1e-4)
    assert student.describe_with_probabilities([], []) == []


def test_a_stream_can_be_left_and_its_failures_are_seen(trained, samples):
    student = load_student(trained, device="cpu")
    stream = student.stream(samples[0].path, samples[0].question, max_new_tokens=1000)
    next(stream)
    stream.close()
    with pytest.raises(InputError, match="Beam search"):
        next(student.stream(samples[0].path, "?", num_beams=3))
    with pytest.raises(ValueError, match="temperature"):
        list(student.stream(samples[0].path, "?", do_sample=True, temperature=-1.0))


def test_pictures_and_questions_must_match(trained, samples):
    with pytest.raises(InputError, match="1 pictures and 2 questions"):
        load_student(trained, device="cpu").describe([samples[0].path], ["a", "b"])


def test_what_is_no_model_is_refused_in_one_sentence(folder, trained):
    for model, adapter, words in [
        (folder / "nowhere", None, "There is no model"),
        (folder, None, "is no model"),
        (trained, folder, "is no adapter"),
        (trained, folder / "random", "is a whole model"),
    ]:
        with pytest.raises(InputError, match=words) as caught:
            load_student(model, adapter)
        assert "\n" not in str(caught.value)
    (folder / "text").mkdir()
    (folder / "text" / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(InputError, match="cannot be loaded"):
        load_student(folder / "text")
