"""Encoding for every family of models: what carries loss, what a batch is made of, and that padding changes nothing."""

import pytest
import torch
from PIL import Image

from helpers.core.conversations import Turn
from helpers.core.encoding import IGNORED, answer_frame, collate, encode_question, encode_sample, segments
from helpers.core.errors import InputError
from helpers.core.student import load_student
from tests.small_families import FAMILIES, build_family
from tests.small_student import ANSWERS, QUESTIONS

TURNS = [Turn("user", QUESTIONS["en"]), Turn("assistant", ANSWERS[0][1]), Turn("user", QUESTIONS["zh"]), Turn("assistant", ANSWERS[1][1])]
# Pictures that become different numbers of patches, views and tokens.
PICTURES = [Image.effect_mandelbrot((width, height), (-2, -1.5, 1, 1.5), 50).convert("RGB") for width, height in ((112, 112), (120, 24))]


@pytest.fixture(scope="module", params=FAMILIES)
def student(request, tmp_path_factory):
    """A random student of each family, saved and loaded again."""
    torch.set_num_threads(1)
    return load_student(build_family(request.param, tmp_path_factory.mktemp("encoding") / request.param), device="cpu")


@pytest.mark.parametrize("turns", [TURNS[:2], TURNS[2:], TURNS], ids=["en", "zh", "both"])
def test_exactly_the_answers_and_their_ends_carry_loss(student, turns):
    processor = student.processor
    before, behind = answer_frame(processor)
    encoded = encode_sample(processor, PICTURES[0], turns, 1000)
    supervised = encoded["input_ids"][encoded["labels"] != IGNORED]
    assert torch.equal(supervised, encoded["labels"][encoded["labels"] != IGNORED])
    answers = [turn.content for turn in turns if turn.role == "assistant"]
    assert processor.tokenizer.decode(supervised) == "".join(before + answer + behind for answer in answers)
    assert behind in ("<|im_end|>", "<end_of_utterance>") and before.strip() == ""
    # the rest is what the model is asked at inference, and the picture's tokens
    asked = encode_question(processor, PICTURES[0], turns[0].content)
    first = int((encoded["labels"] != IGNORED).nonzero()[0])
    assert torch.equal(encoded["input_ids"][:first], asked["input_ids"])
    assert all(torch.equal(encoded[key], asked[key]) for key in asked if asked[key].dim() > 1)


def test_the_pieces_make_the_text_that_the_template_writes(student):
    messages = [{"role": turn.role, "content": [{"type": "text", "text": turn.content}]} for turn in TURNS]
    messages[0]["content"].insert(0, {"type": "image"})
    whole = student.processor.apply_chat_template(messages, tokenize=False)
    assert "".join(text for text, _ in segments(student.processor, TURNS)) == whole.rstrip()


def test_a_cut_sample_keeps_its_keys_alike_and_never_loses_its_whole_answer(student):
    whole = encode_sample(student.processor, PICTURES[1], TURNS[:2], 1000)
    length = len(whole["input_ids"])
    cut = encode_sample(student.processor, PICTURES[1], TURNS[:2], length - 4)
    assert all(len(cut[key]) == length - 4 for key in ("input_ids", "labels")) and cut.keys() == whole.keys()
    prompt = int((whole["labels"] != IGNORED).nonzero()[0])
    with pytest.raises(InputError, match=f"take {prompt} tokens, more than --model_max_length {prompt}"):
        encode_sample(student.processor, PICTURES[1], TURNS[:2], prompt)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_padded_batch_computes_what_each_sample_does_alone(student, side):
    processor, turns = student.processor, [TURNS[:2], TURNS]
    samples = [encode_sample(processor, picture, one, 1000) for picture, one in zip(PICTURES, turns, strict=True)]
    assert len(samples[0]["input_ids"]) != len(samples[1]["input_ids"])
    with torch.inference_mode():
        batch = collate(samples, processor.tokenizer.pad_token_id, side)
        together = student.model(**batch).logits
        for row, sample in enumerate(samples):
            alone = student.model(**collate([sample], 0, side)).logits[0]
            inside = together[row][batch["attention_mask"][row].bool()]
            assert torch.allclose(inside, alone, atol=1e-4), (inside - alone).abs().max()


def test_descriptions_do_not_depend_on_the_batch(student):
    questions = [QUESTIONS["en"], QUESTIONS["zh"]]
    together = student.describe(PICTURES, questions, batch_size=2, max_new_tokens=12)
    assert together == [student.describe([picture], question, max_new_tokens=12)[0]
                        for picture, question in zip(PICTURES, questions, strict=True)]


def test_a_template_that_drops_earlier_thoughts_keeps_only_the_last_answer():
    class Thinking:
        """A processor whose template writes an empty thought before the newest answer only, as thinking models do."""

        chat_template = "enable_thinking"
        tokenizer = type("Words", (), {"eos_token": "<e>"})

        def apply_chat_template(self, messages, add_generation_prompt=False, **options):
            text = ""
            for number, message in enumerate(messages):
                thought = "<think></think>" if message["role"] == "assistant" and number == len(messages) - 1 else ""
                text += f"<{message['role']}>{thought}{message['content'][-1]['text']}<e>\n"
            return text + ("<assistant><think></think>" if add_generation_prompt else "")

    assert answer_frame(Thinking()) == ("", "<e>")
    one, two = segments(Thinking(), TURNS)
    assert two == (ANSWERS[1][1] + "<e>", True)
    assert one[0].endswith(f"{QUESTIONS['zh']}<e>\n<assistant><think></think>") and ANSWERS[0][1] in one[0] and not one[1]
