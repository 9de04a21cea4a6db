"""Reading free text in two languages and scoring it against a scene's truth."""

import pytest

from helpers.core.naming import Placed
from helpers.core.scenes import Group, Relation, Scene, SceneObject, plan_scene
from helpers.core.speech import answer
from helpers.core.truth import RATES, Marks, holds, mentions, score, summarise

# (text, language, what must be read: (kind, colour, count, denied))
MARKED = [
    ("There is no dog, but a red car stands near two trees.", "en", [("dog", None, None, True), ("car", "red", 1, False), ("tree", None, 2, False)]),
    ("A man in a blue shirt and a woman wearing red walk with their white dog.", "en", [("man", "blue", 1, False), ("woman", "red", 1, False), ("dog", "white", 1, False)]),
    ("The car is red. I can't see any horses or cows.", "en", [("car", "red", 1, False), ("horse", None, None, True), ("cow", None, None, True)]),
    ("Three small yellow ducklings beside a wooden table.", "en", [("duck", "yellow", 3, False), ("table", None, 1, False)]),
    ("Two people sit in the living room; a pair of orange kittens play.", "en", [("cat", "orange", 2, False)]),
    ("A hot-air balloon floats above a palm tree.", "en", [("balloon", None, 1, False), ("palm", None, 1, False)]),
    ("Butterflies and a bicycle, without any bus.", "en", [("butterfly", None, None, False), ("bicycle", None, 1, False), ("bus", None, None, True)]),
    ("图中没有狗，有一辆红色小汽车和两棵树，一个穿蓝色衣服的男人。", "zh", [("dog", None, None, True), ("car", "red", 1, False), ("tree", None, 2, False), ("man", "blue", 1, False)]),
    ("花园旁有一只猫，猫是黑色的，没有牛。", "zh", [("cat", None, 1, False), ("cat", "black", None, False), ("cow", None, None, True)]),
    ("天空飘着雪花，马路边停着三辆自行车。", "zh", [("bicycle", None, 3, False)]),
    ("三个粉色的热气球飘在棕榈树上方。", "zh", [("balloon", "pink", 3, False), ("palm", None, None, False)]),
]


@pytest.mark.parametrize("text, language, expected", MARKED, ids=[m[0][:30] for m in MARKED])
def test_free_text_is_read(text, language, expected):
    found = mentions(text, language)
    assert [(m.kind, m.colour) for m in found] == [(kind, colour) for kind, colour, _, _ in expected]
    assert [m.denied for m in found] == [denied for *_, denied in expected]
    for mention, (_, _, count, denied) in zip(found, expected):
        if count is not None and not denied:
            assert mention.count == count


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("dimension", ["main", "objects"])
def test_a_faithful_answer_scores_full_marks(language, dimension):
    scenes = [plan_scene(i) for i in range(300)]
    marks = summarise(score(answer(s, language, dimension, seed="t"), s, language) for s in scenes)
    assert set(marks.values()) == {1.0}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_an_invented_object_costs_precision_only(language):
    scenes = [plan_scene(i) for i in range(300)]
    marks = summarise(score(answer(s, language, "main", seed="t", invent=1.0), s, language) for s in scenes)
    groups = sum(len(s.groups) for s in scenes)
    assert marks["object_recall"] == 1.0 and marks["colour_accuracy"] == 1.0
    # One object too many a scene, but for a tree or house that the backdrop shows anyway.
    assert groups / (groups + 300) <= marks["object_precision"] < groups / (groups + 250)


def _scene(*groups: Group, setting: str = "park") -> Scene:
    return Scene("0", "Val/0.jpg", 0, setting, "day", "clear", [], list(groups), [])


def test_marks_of_a_wrong_answer():
    scene = _scene(Group("dog", "brown", "medium", 2, []), Group("car", "red", "medium", 1, []))
    marks = score("A black dog and a horse in a park.", scene, "en")
    assert marks == Marks({"dog"}, {"horse"}, {"car"}, colours_named=1, colours_right=0, counts_named=1, counts_right=0, namings=2, false_namings=1)
    summary = summarise([marks])
    assert summary["object_recall"] == summary["object_precision"] == 0.5 and summary["colour_accuracy"] == 0.0


def test_the_backdrop_is_no_hallucination_and_silence_is_no_score():
    assert not score("Trees in a forest.", _scene(Group("dog", "brown", "medium", 1, []), setting="forest"), "en").hallucinated
    assert score("Trees in a park.", _scene(Group("dog", "brown", "medium", 1, [])), "en").hallucinated == {"tree"}
    assert "object_precision" not in summarise([score("", _scene(Group("dog", None, "medium", 1, [])), "en")])


def test_chair_counts_namings_and_texts():
    scene = _scene(Group("dog", "brown", "medium", 1, []), Group("car", "red", "medium", 1, []))
    texts = ["A dog and a car. The dog waits.", "A dog and a cat. The cat sleeps; the cat is grey.", "No cat, but a dog."]
    rates = summarise([score(text, scene, "en") for text in texts], RATES)
    assert rates["chair_i"] == 3 / 8       # of eight namings, "cat" three times; "no cat" is none
    assert rates["chair_s"] == 1 / 3       # one text of three
    assert rates["object_precision"] == 4 / 5 and rates["object_recall"] == 4 / 6


def test_relations_are_found_and_judged_by_the_truth_and_by_the_boxes():
    things = [SceneObject(kind, None, "medium", box) for kind, box in (("dog", [0, 100, 50, 150]), ("house", [60, 40, 140, 150]), ("bird", [150, 10, 180, 30]))]
    groups = [Group(thing.kind, None, "medium", 1, [i]) for i, thing in enumerate(things)]
    scene = Scene("0", "Val/0.jpg", 0, "park", "day", "clear", things, groups, [Relation(0, "left of", 1), Relation(1, "right of", 0)])
    marks = score("The house is to the right of the dog. The dog is on the house and left of the bird. The cat is left of the dog.", scene, "en")
    assert (marks.relations_there, marks.relations_found) == (1, 1)
    assert (marks.relations_told, marks.relations_right) == (3, 2)  # what is said of the cat, which is not there, is not judged
    assert holds(Placed("bird", "above", "house"), scene) and not holds(Placed("bird", "left of", "house"), scene)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_faithful_relations_are_all_found(language):
    scenes = [plan_scene(i) for i in range(300)]
    rates = summarise([score(answer(s, language, "relations", seed="t"), s, language) for s in scenes], RATES)
    assert rates["relation_recall"] == rates["relation_precision"] == 1.0
