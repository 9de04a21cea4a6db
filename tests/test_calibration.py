"""Calibration: which word has which probability, which of them are right, and the error computed by hand."""

import numpy as np
import pytest

from helpers.core.calibration import JudgedWord, bins_of, calibration, judged_words, object_probabilities, piece_spans
from helpers.core.scenes import Group, Scene


def scene(setting, *groups):
    return Scene("", "", 0, setting, "day", "clear", [], [Group(kind, colour, "medium", count, []) for kind, colour, count in groups], [])


def test_tokens_find_their_place_in_the_text():
    text = "A red dog, two balls."
    assert piece_spans(text, [("A", .9), (" red", .8), (" do", .7), ("g", .6), (",", 1), (" two", .5), (" balls", .4), (".", 1)])[2:4] == [(6, 8, .7), (8, 9, .6)]
    # bare words of a captioner, in lower case, one of them unknown to it
    assert piece_spans(text, [("a", .9), ("<unk>", .2), ("dog", .6), ("two", .5), ("balls", .4)]) == [(0, 1, .9), (6, 9, .6), (11, 14, .5), (15, 20, .4)]
    # a token that adds nothing yet counts with the one that completes the character
    assert piece_spans("鸭", [("", .5), ("鸭", .5)]) == [(0, 1, .25)]
    # no leap over words to a later place of the same word
    assert piece_spans("there is a dog; there", [("there", .9), ("there", .8)]) == [(0, 5, .9)]


def test_words_are_right_or_wrong_by_the_scene():
    truth = scene("park", ("dog", "brown", 1), ("ball", "red", 2))
    text = "A brown dog and a blue ball. The dog is left of a red cat."
    pieces = [(word, 1 - i / 100) for i, word in enumerate(text.replace(".", " .").split())]
    found = judged_words(text, pieces, truth, "en")
    assert [(w.sort, w.word, w.right) for w in found] == [("object", "dog", True), ("colour", "brown", True), ("object", "ball", True), ("colour", "blue", False),
                                                           ("object", "cat", False)]
    assert [w.probability for w in found] == pytest.approx([0.98, 0.99, 0.94, 0.95, 0.85])  # the second dog is no decision, the cat's colour neither right nor wrong
    assert {w.sort for w in judged_words(text, pieces, truth, "en", colours=False)} == {"object"}
    assert object_probabilities(text, pieces, "en") == pytest.approx([0.98, 0.94, 0.85])


def test_what_the_backdrop_shows_and_what_is_denied_is_not_judged():
    text = "A tree, no dog"
    pieces = [(word, 0.5) for word in ("A", " tree", ",", " no", " dog")]
    assert judged_words(text, pieces, scene("forest", ("cat", None, 1)), "en") == []
    assert [w.word for w in judged_words(text, pieces, scene("park", ("cat", None, 1)), "en")] == ["tree"]


def test_chinese_words_of_several_tokens_multiply():
    text, truth = "有一只棕色的狗", scene("park", ("dog", "brown", 1))
    found = judged_words(text, [("有", 1.0), ("一只", 1.0), ("棕", 0.5), ("色", 0.8), ("的", 1.0), ("狗", 0.9)], truth, "zh")
    assert {(w.sort, w.word): (round(w.probability, 3), w.right) for w in found} == {("object", "狗"): (0.9, True), ("colour", "棕色"): (0.4, True)}


def test_the_error_is_guos():
    words = [JudgedWord("object", "", p, right) for p, right in ((0.95, True), (0.95, False), (0.55, True), (0.55, True))]
    statistic = calibration([words[:2], words[2:], []], "object")
    # two bins of two words each: |0.5 - 0.95| and |1 - 0.55|, each of half the weight
    assert dict(zip(statistic.metrics, statistic.of_all())) == pytest.approx({"ece": 0.45, "confidence": 0.75, "accuracy": 0.75, "overconfidence": 0.0})
    assert statistic.rows.shape[0] == 3
    assert bins_of(statistic)[9] == (2, 0.95, 0.5) and bins_of(statistic)[5] == (2, 0.55, 1.0) and bins_of(statistic)[0][0] == 0
    assert calibration([words], "colour") is None


def test_who_knows_how_sure_to_be_has_no_error():
    dice = np.random.default_rng(0)
    sure = dice.uniform(0, 1, (400, 20))
    words = [[JudgedWord("object", "", p, dice.random() < p) for p in row] for row in sure]
    found = dict(zip(*(lambda s: (s.metrics, s.of_all()))(calibration(words, "object"))))
    assert found["ece"] < 0.02 and abs(found["overconfidence"]) < 0.02
    boasting = [[JudgedWord(w.sort, w.word, min(1.0, w.probability + 0.3), w.right) for w in row] for row in words]
    assert dict(zip(*(lambda s: (s.metrics, s.of_all()))(calibration(boasting, "object"))))["overconfidence"] > 0.2
