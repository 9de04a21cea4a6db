"""Figures of a data set: that they draw what they are given, and refuse what they cannot draw."""

from collections import Counter

import pytest
from PIL import Image

from helpers.core.dataset_figures import lengths_figure, pairs_figure, sizes_figure, vocabulary, words_figure
from helpers.core.duplicates import Pair
from helpers.core.errors import InputError


def test_words_are_counted_in_both_languages():
    assert vocabulary(["The red house.", "A red dog's ball"], "en") == Counter({"red": 2, "house": 1, "dog's": 1, "ball": 1})
    chinese = vocabulary(["画面中有一只狗。", "画面中有一只猫。"], "zh")
    assert chinese["画面"] == 2 and chinese["狗"] == 1 and "。" not in chinese


def test_lengths_have_a_panel_each_and_their_median():
    figure = lengths_figure({"English words": [3, 5, 5, 9, 40], "Chinese characters": [7, 7, 8]})
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["English words", "Chinese characters"]
    assert [sum(bar.get_height() for bar in axes.patches) for axes in figure.axes] == [5, 3]
    assert [axes.texts[0].get_text() for axes in figure.axes] == ["median 5", "median 7"]


def test_words_and_sizes_say_how_many():
    words = words_figure(Counter({"dog": 5, "cat": 2, "bus": 1}), most=2)
    assert [bar.get_height() for bar in words.axes[0].patches] == [5, 2]
    assert [label.get_text() for label in words.axes[0].get_xticklabels()] == ["dog", "cat"]
    sizes = sizes_figure([(224, 224)] * 3 + [(640, 480)])
    assert {text.get_text() for text in sizes.axes[0].texts} == {"3 of 224 × 224", "1 of 640 × 480"}


def test_pairs_stand_above_each_other(tmp_path):
    pairs = []
    for number in range(5):
        for name in ("a", "b"):
            Image.new("RGB", (12, 12), (50 * number, 0, 0)).save(tmp_path / f"{name}{number}.png")
        pairs.append(Pair(tmp_path / f"a{number}.png", tmp_path / f"b{number}.png", number, 1.5, number == 4))
    axes = pairs_figure(pairs).axes
    assert len(axes) == 10 and axes[0].get_title(loc="left").endswith("/a0.png") and axes[1].get_title(loc="left").endswith("/b0.png")
    assert axes[9].get_xlabel() == "4 of 256 bits apart\nresidual 1.5, mirrored"
    assert axes[0].get_position().y0 > axes[1].get_position().y0 and axes[0].get_position().x0 == axes[1].get_position().x0


@pytest.mark.parametrize("draw, words", [
    (lambda: lengths_figure({"English words": []}), "English words"), (lambda: words_figure(Counter()), "no words"),
    (lambda: words_figure(Counter(["狗"])), "Chinese"), (lambda: sizes_figure([]), "no picture sizes"), (lambda: pairs_figure([]), "no near-duplicates"),
])
def test_nothing_to_draw_is_said(draw, words):
    with pytest.raises(InputError, match=words):
        draw()
