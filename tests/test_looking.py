"""Whether attention is held against the right boxes, and the drawings of the captioner."""

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from helpers.core.baseline_student import DECODERS, Baseline
from helpers.core.beam_search import Hypothesis
from helpers.core.captioner_drawings import model_drawing, similarity_map
from helpers.core.cnn_encoder import Encoder
from helpers.core.errors import InputError
from helpers.core.looking import attention_on_objects, coverage, looks, names_of_kinds
from helpers.core.scenes import Group, Scene, SceneObject, plan_scene, render
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


def scene_of(*kinds_and_boxes) -> Scene:
    """A scene with one object of each kind in its box."""
    things = [SceneObject(kind, None, "medium", list(box)) for kind, box in kinds_and_boxes]
    return Scene("", "", 0, "park", "day", "clear", things, [Group(o.kind, None, "medium", 1, [i]) for i, o in enumerate(things)], [])


def test_coverage_is_the_share_of_each_place_under_a_kinds_boxes():
    scene = scene_of(("dog", (0, 0, 112, 112)), ("cat", (112, 112, 224, 168)), ("dog", (56, 0, 112, 56)))
    assert coverage(scene, "dog", 2).tolist() == [1, 0, 0, 0]
    assert coverage(scene, "cat", 2).tolist() == [0, 0, 0, 0.5]
    assert coverage(scene, "boat", 2).sum() == 0


def test_attention_is_counted_where_a_word_names_what_is_there():
    scene = scene_of(("dog", (0, 0, 112, 112)), ("palm", (112, 0, 224, 112)), ("tree", (0, 112, 112, 224)))
    vocabulary = Vocabulary.build(["a dog , a palm tree , two cats and a tree"], "en")
    words = ["dog", "palm", "tree", "cats", "tree"]
    said = Hypothesis(vocabulary.encode(" ".join(words)), [0.0] * 6, [torch.eye(4)[i] for i in (0, 1, 0, 0, 2)] + [torch.full((4,), 0.25)])
    # "palm" is on the palm, the "tree" of "palm tree" counts no more, cats are not there, and the last tree is on the tree.
    assert looks(said, scene, vocabulary, 2) == [("dog", 1.0, 0.25), ("palm", 1.0, 0.25), ("tree", 1.0, 0.25)]


def captioner(kind: str) -> Baseline:
    """An untrained captioner that knows a few words."""
    torch.manual_seed(3)
    vocabulary = Vocabulary.build(["a red house and two cups"], "en")
    return Baseline(Encoder(), DECODERS[kind](len(vocabulary)), vocabulary, "What is there?")


def test_attention_on_objects_needs_attention_and_words():
    scenes = [plan_scene(i) for i in range(3)]
    images = [render(scene) for scene in scenes]
    with pytest.raises(InputError, match="looks nowhere"):
        attention_on_objects(captioner("show_and_tell"), images, scenes)
    baseline = captioner("show_attend_tell")
    with torch.no_grad():
        baseline.decoder.output.bias[baseline.vocabulary.encode("house")[0]] = 99.0  # it says nothing but "house"
    with pytest.raises(InputError, match="name nothing"):
        attention_on_objects(baseline, images, [scene_of(("boat", (0, 0, 50, 50)))] * 3)
    found = attention_on_objects(baseline, images, [scene_of(("house", (0, 0, 112, 224)))] * 3)
    assert set(found) == {"house"} and found["house"][1] == pytest.approx(0.5) and 0 < found["house"][0] < 1


def test_drawings_show_the_model_and_refuse_what_cannot_be_drawn():
    picture = Image.new("RGB", (64, 64), "white")
    assert isinstance(model_drawing(picture, ["a", "dog"]), Figure)
    assert isinstance(similarity_map(picture, np.random.default_rng(0).normal(size=(GRID**2, 4)), [(0, 0)]), Figure)
    with pytest.raises(InputError, match="no words to draw"):
        model_drawing(picture, [])
    with pytest.raises(InputError, match="Places are"):
        similarity_map(picture, np.ones((GRID**2, 4)), [(GRID, 0)])
