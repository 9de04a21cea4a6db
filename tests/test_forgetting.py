"""Forgetting: the taught answers are right, descriptions are no answers, and what is lost is found with its interval."""

import pytest

from helpers.core.forgetting import PARTS, brief, compare, make_exam, right, sit
from helpers.core.speech import answer
from helpers.core.student import load_student


@pytest.fixture(scope="module")
def exam():
    return make_exam(24)


def test_every_lesson_is_asked_in_both_languages_about_scenes_of_its_own(exam):
    assert {one.part for one in exam} == set(PARTS)
    for part in PARTS:
        assert {one.language for one in exam if one.part == part} == {"en", "zh"}
    assert len({one.scene.seed for one in exam}) == len(exam)
    assert exam == make_exam(24) and exam != make_exam(24, seed=1)


def test_taught_answers_are_right_and_descriptions_are_not(exam):
    for one in exam:
        long = answer(one.scene, one.language, "main", "everything")
        assert right(one, one.answer) and right(one, f" {one.answer}. ")
        assert not right(one, "") and not right(one, long)
        assert brief(one, one.answer) and not (brief(one, long) and right(one, long))


def test_yes_and_no_decide_on_presence(exam):
    for one in (one for one in exam if one.part == "presence"):
        yes, no = ("yes", "no") if one.language == "en" else ("有", "没有")
        there = one.answer.startswith(yes)
        assert right(one, yes) == there and right(one, no) == (not there)


def test_a_forgotten_language_is_lost_and_the_other_is_not(exam):
    perfect = [one.answer for one in exam]
    english = [one.answer if one.language == "en" else answer(one.scene, "en") for one in exam]
    half = [text if i % 2 or one.language == "en" else "" for i, (text, one) in enumerate(zip(perfect, exam))]
    found = compare(exam, {"pretrained": perfect, "lora": half, "full": english}, "pretrained", ("lora", "full"))
    assert found["scores"]["pretrained"]["all"].value == 1
    assert found["lost"]["full"]["zh"].value == -1 and found["lost"]["full"]["en"].value == 0
    assert found["lost"]["full"]["all"].high < -0.3 < found["lost"]["full"]["en"].low
    assert found["tests"]["zh"]["p"] < 0.05 and found["tests"]["en"]["p"] > 0.5
    assert found["tests"]["zh"]["difference"].low > 0  # LoRA forgets less
    assert found["brief"]["pretrained"] == 1 > found["brief"]["full"]


def test_the_students_own_answers_are_marked(exam):
    chosen = [one for one in exam if one.part in ("caption", "surroundings")][::4]
    replies = sit(load_student("tiny", device="cpu"), chosen)
    assert sum(map(right, chosen, replies)) >= 0.7 * len(chosen)
