"""Splits: each changes one thing of the same plans and nothing else, and the truth beside it stays true."""

import numpy as np
import pytest

from helpers.core.errors import InputError
from helpers.core.lexicon import KINDS, KINDS_OF_SETTING, RARE_KINDS, SETTINGS
from helpers.core.reading import read
from helpers.core.scenes import is_evaluation, read_scenes
from helpers.core.speech import answer
from helpers.core.splits import BASE, CROWD, SMALL, SPLITS, draw_splits, known, make_case, make_split, mirrored, plan_of
from helpers.core.strange import PLACES, STRANGE_KINDS, places_named, strange_named
from helpers.core.truth import score

NUMBER = 40


@pytest.fixture(scope="module")
def cases():
    """Every split's cases of the first plans, by id."""
    return {name: {case.id: case for case in make_split(name, NUMBER)} for name in SPLITS}


@pytest.fixture(scope="module")
def pairs(cases):
    """(changed scene, base scene) of every paired split."""
    return {name: [(case.scene, cases[BASE][identity].scene) for identity, case in found.items()] for name, found in cases.items() if SPLITS[name].paired}


def boxes(scene):
    return [thing.box for thing in scene.objects]


def kinds(scene):
    return [group.kind for group in scene.groups]


def test_every_split_changes_enough_of_the_plans(cases):
    assert min(map(len, cases.values())) >= NUMBER // 2
    assert all(len(cases[name]) == NUMBER for name in ("seen", BASE, "small", "greyscale", "pixels"))


def test_same_seed_same_pixels_and_another_seed_others():
    for name in SPLITS:
        case = next(case for i in range(NUMBER) if (case := make_case(name, i)))
        again, other = make_case(name, int(case.id)), plan_of(name, int(case.id), seed=1, training_seed=1)
        assert np.array_equal(case.picture, again.picture), name
        assert other.seed != case.scene.seed


def test_the_base_is_the_evaluation_side_and_seen_is_a_training_scene_in_the_mirror(cases):
    assert all(is_evaluation(case.scene.combination) for case in cases[BASE].values())
    for number, case in enumerate(cases["seen"].values()):
        plan = plan_of("seen", number)
        assert not is_evaluation(case.scene.combination) and case.scene.combination == plan.combination
        assert boxes(mirrored(case.scene, None)) == boxes(plan) and mirrored(case.scene, None).relations == plan.relations
        assert boxes(case.scene) != boxes(plan)


def test_the_training_scenes_are_those_of_the_course(tmp_path):
    from helpers.core.scenes import draw_scenes

    drawn = draw_scenes(tmp_path, train=3, eval=0, seed=4, progress=None)
    assert [scene.seed for scene in drawn] == [plan_of("seen", i, training_seed=4).seed for i in range(3)]


def test_colours_are_changed_to_ones_that_the_kind_never_has(pairs):
    for changed, base in pairs["colours"]:
        assert (changed.setting, kinds(changed), boxes(changed)) == (base.setting, kinds(base), boxes(base))
        assert any(group.colour for group in changed.groups)
        for group in changed.groups:
            assert group.colour not in KINDS[group.kind].colours if KINDS[group.kind].colours else group.colour is None
            assert {changed.objects[member].colour for member in group.members} == {group.colour}


@pytest.mark.parametrize("name", ["misplaced", "settings"])
def test_only_the_place_is_changed(pairs, name):
    for changed, base in pairs[name]:
        assert changed.objects == base.objects and changed.groups == base.groups and (changed.time, changed.weather) == (base.time, base.weather)
        if name == "settings":
            assert changed.setting in PLACES
        else:
            assert changed.setting in SETTINGS and not set(kinds(changed)) <= set(KINDS_OF_SETTING[changed.setting])


@pytest.mark.parametrize(("name", "allowed"), [("rare kinds", RARE_KINDS), ("new kinds", tuple(STRANGE_KINDS))])
def test_one_group_is_exchanged_and_stands_where_the_old_one_stood(pairs, name, allowed):
    for changed, base in pairs[name]:
        index, = [i for i, (a, b) in enumerate(zip(kinds(changed), kinds(base))) if a != b]
        assert kinds(changed)[index] in allowed and changed.setting == base.setting
        for member, (new, old) in enumerate(zip(boxes(changed), boxes(base))):
            if member in changed.groups[index].members:
                assert new[3] == pytest.approx(old[3], abs=0.11) and new[2] - new[0] <= old[2] - old[0] + 0.2
            else:
                assert new == old


def test_crowds_keep_what_was_there(pairs):
    for changed, base in pairs["crowded"]:
        assert len(changed.groups) == CROWD and len(set(kinds(changed))) == CROWD
        assert changed.groups[:len(base.groups)] == base.groups and changed.objects[:len(base.objects)] == base.objects


def test_shrunk_things_stay_on_their_spot_and_on_each_other(pairs):
    riders = 0
    for changed, base in pairs["small"]:
        for new, old in zip(boxes(changed), boxes(base)):
            assert (new[2] - new[0], new[3] - new[1]) == pytest.approx(((old[2] - old[0]) * SMALL, (old[3] - old[1]) * SMALL), abs=0.21)
        for relation in base.relations:
            if relation.relation == "on":
                riders += 1
                (rider, host), (old_rider, old_host) = [[scene.objects[scene.groups[i].members[0]].box for i in (relation.subject, relation.object)]
                                                        for scene in (changed, base)]
                assert (rider[3] - host[1]) == pytest.approx((old_rider[3] - old_host[1]) * SMALL, abs=0.3)
    assert riders > 0


def test_styles_change_the_picture_and_nothing_of_the_plan(cases):
    for name in (name for name, split in SPLITS.items() if split.style):
        case = cases[name]["0002"]
        assert case.scene == cases[BASE]["0002"].scene
        plain, styled = np.asarray(cases[BASE]["0002"].picture, float), np.asarray(case.picture, float)
        assert styled.shape == plain.shape and np.abs(styled - plain).mean() > 3
        if not SPLITS[name].colours:
            spread = styled.max(axis=2) - styled.min(axis=2)
            assert spread.max() <= 12  # nothing of a colour is left, but for the tint of the ink


def test_what_nobody_has_a_word_for_is_not_counted_as_missed(cases):
    for case in cases["new kinds"].values():
        truth = known(case.scene)
        assert set(kinds(truth)) == set(kinds(case.scene)) & set(KINDS)
        assert len(truth.groups) == len(case.scene.groups) - 1
        marks = score("A red duck.", truth, "en")
        assert not marks.missed & set(STRANGE_KINDS) and ("duck" in marks.hallucinated) == ("duck" not in kinds(case.scene))
        if truth.groups:
            assert score(answer(truth, "en", seed="1"), truth, "en").relations_told == score(answer(truth, "en", seed="1"), truth, "en").relations_right


def test_the_truth_of_strange_colours_is_read_from_words(cases):
    for case in list(cases["colours"].values())[:20]:
        for language in ("en", "zh"):
            marks = score(answer(case.scene, language, "main", "normal", seed="2"), case.scene, language)
            assert marks.colours_named == marks.colours_right > 0


def test_strange_things_and_places_are_found_in_words():
    assert strange_named("Two giraffes beside a windmill.", "en") == {"giraffe", "windmill"}
    assert strange_named("图中有一只企鹅和一个机器人。", "zh") == {"penguin", "robot"}
    assert strange_named("a training ground with a duck", "en") == set()
    assert places_named("A car in front of a volcano in the desert", "en") == ["desert", "volcano"]
    assert not set(STRANGE_KINDS) & set(KINDS) and not set(PLACES) & set(SETTINGS)
    assert read("a giraffe", "en").said == set()


def test_splits_are_drawn_with_their_truth_and_not_twice(tmp_path):
    found = draw_splits(tmp_path, 3, names=("small", "new kinds"), progress=None)
    assert found["small"] == 3
    scenes = read_scenes(tmp_path / "small" / "scenes.jsonl")
    assert [scene.id for scene in scenes] == ["0000", "0001", "0002"] and all((tmp_path / "small" / scene.file).is_file() for scene in scenes)
    assert len(read_scenes(tmp_path / "new-kinds" / "scenes.jsonl")) == found["new kinds"]
    before = (tmp_path / "small" / "0001.jpg").stat().st_mtime_ns
    (tmp_path / "small" / "0002.jpg").unlink()
    draw_splits(tmp_path, 3, names=("small",), progress=None)
    assert (tmp_path / "small" / "0001.jpg").stat().st_mtime_ns == before and (tmp_path / "small" / "0002.jpg").is_file()
    with pytest.raises(InputError, match="another split"):
        draw_splits(tmp_path, 3, seed=1, names=("small",), progress=None)


def test_what_is_no_split_is_refused():
    with pytest.raises(InputError, match="There is no split 'tiny'; choose from seen"):
        make_split("tiny", 2)
    with pytest.raises(InputError, match="at least one picture"):
        make_split("small", 0)
