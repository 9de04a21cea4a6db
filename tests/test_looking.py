"""Whether attention is held against the right boxes, and the drawings of the captioner."""

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from helpers.core.beam_search import Hypothesis
from helpers.core.captioner_drawings import model_drawing, similarity_map
from helpers.core.errors import InputError
from helpers.core.looking import coverage, looks, names_of_kinds
from helpers.core.scenes import plan_scene
from helpers.core.vocabulary import END, Vocabulary

GRID = 8


@pytest.fixture(scope="module")
def scene():
    """A scene of one kind that has a one-word name at least."""
    return plan_scene(3, {}, evaluation=True)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_kinds_are_found_by_the_words_that_name_them(language):
    names = names_of_kinds(language)
    assert names["dog" if language == "en" else "狗"] == "dog"
    assert language == "zh" or names["dogs"] == "dog"


def test_an_object_covers_the_places_under_its_box(scene):
    thing = scene.objects[0]
    covered = coverage(scene, thing.kind, GRID).reshape(GRID, GRID)
    left, top, right, bottom = (edge * GRID / 224 for edge in thing.box)
    middle = covered[int((top + bottom) / 2), int((left + right) / 2)]
    assert middle > 0 and covered.max() <= 1 and not coverage(scene, "no such kind", GRID).any()


def test_attention_on_an_object_is_what_lies_on_its_places(scene):
    kind = scene.groups[0].kind
    word = next(name for name, named in names_of_kinds("en").items() if named == kind)
    vocabulary = Vocabulary.build([f"a {word}"], "en", "word", 1)
    ids = vocabulary.encode(f"a {word}")
    ids = [*ids] if ids[-1] == END else [*ids, END]
    covered = coverage(scene, kind, GRID)
    on_it, even = torch.zeros(GRID**2), torch.full((GRID**2,), 1 / GRID**2)
    on_it[int(np.argmax(covered))] = 1.0
    for attention, expected in ((on_it, covered.max()), (even, covered.mean())):
        [(named, share, area)] = looks(Hypothesis(ids, [0.0] * len(ids), [attention] * len(ids)), scene, vocabulary, GRID)
        assert named == kind and share == pytest.approx(expected, abs=1e-5) and area == pytest.approx(covered.mean())


def test_drawings_show_the_model_and_refuse_what_cannot_be_drawn():
    picture = Image.new("RGB", (64, 64), "white")
    assert isinstance(model_drawing(picture, ["a", "dog"]), Figure)
    assert isinstance(similarity_map(picture, np.random.default_rng(0).normal(size=(GRID**2, 4)), [(0, 0)]), Figure)
    with pytest.raises(InputError, match="no words to draw"):
        model_drawing(picture, [])
    with pytest.raises(InputError, match="Places are"):
        similarity_map(picture, np.ones((GRID**2, 4)), [(GRID, 0)])
