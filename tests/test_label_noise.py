"""A teacher that errs: as many false statements as asked for, of the right sorts, and found by whoever reads the labels."""

import pytest

from helpers.core.errors import InputError
from helpers.core.label_noise import MANNERS, false_share, spoil
from helpers.core.lexicon import KINDS
from helpers.core.scenes import plan_scene
from helpers.core.speech import answer
from helpers.core.truth import score

SCENES = [plan_scene((31 << 32) + i, evaluation=False) for i in range(400)]


@pytest.mark.parametrize("manner", MANNERS)
def test_the_share_of_false_statements_is_about_what_was_asked_for(manner):
    for share, room in ((0.0, 0.0), (0.2, 0.07), (0.4, 0.09), (1.0, 0.0)):
        shares = [false_share([spoil(scene, share, manner, seed) for scene in SCENES]) for seed in (0, 1)]
        assert all(abs(found - share) <= room for found in shares)


@pytest.mark.parametrize("manner", MANNERS)
def test_a_reader_finds_every_false_statement_of_a_label_and_no_other(manner):
    for scene in SCENES[:120]:
        told = spoil(scene, 0.4, manner, 3)
        for language in ("en", "zh"):
            marks = score(answer(told.scene, language, "main", "normal", seed="1"), scene, language)
            made_up = sum(a.kind != b.kind for a, b in zip(scene.groups, told.scene.groups))
            # a tree in a forest is neither right nor wrong to name
            assert made_up - 1 <= len(marks.hallucinated) <= made_up and len(marks.missed) == made_up
            same = [(a, b) for a, b in zip(scene.groups, told.scene.groups) if a.kind == b.kind]
            assert marks.colours_named - marks.colours_right == sum(a.colour != b.colour for a, b in same)
            assert marks.counts_named - marks.counts_right == sum(a.count != b.count for a, b in same)


def test_one_fault_a_statement_and_the_wording_stays():
    plain = [answer(scene, "en", "main", "everything", seed="1") for scene in SCENES]
    spoiled = [spoil(scene, 0.4, "scattered") for scene in SCENES]
    for scene, told, text in zip(SCENES, spoiled, plain):
        for a, b in zip(scene.groups, told.scene.groups):
            assert sum((a.kind != b.kind, a.kind == b.kind and a.colour != b.colour, a.count != b.count)) <= 1
        words = answer(told.scene, "en", "main", "everything", seed="1")
        assert (words == text) == (told.false == 0)
        assert words.split(".")[0] == text.split(".")[0] and words.split(".")[-2] == text.split(".")[-2]  # place, and light


def test_a_larger_share_keeps_the_errors_of_a_smaller_one():
    for manner in MANNERS:
        for scene in SCENES[:60]:
            few, more = (spoil(scene, share, manner, 1) for share in (0.2, 0.4))
            wrong = [i for i, (a, b) in enumerate(zip(scene.groups, few.scene.groups)) if a != b]
            assert all(more.scene.groups[i] != scene.groups[i] for i in wrong)


def test_consistent_errors_hit_the_same_kinds_everywhere_and_scattered_ones_any():
    def hit(manner):
        wrong, right = set(), set()
        for scene in SCENES:
            for a, b in zip(scene.groups, spoil(scene, 0.4, manner, 0).scene.groups):
                (right if a == b else wrong).add(a.kind)
        return wrong, right

    wrong, right = hit("consistent")
    assert not wrong & right and abs(len(wrong) - 0.4 * len(KINDS)) <= 1
    wrong, right = hit("scattered")
    assert len(wrong & right) > 30


def test_relations_are_turned_round():
    turned = 0
    for scene in SCENES:
        told = spoil(scene, 1.0, "scattered").scene
        for a, b in zip((r for r in scene.relations if r.relation != "right of"), (r for r in told.relations if r.relation != "right of")):
            assert (a.subject, a.relation, a.object) == (b.object, b.relation, b.subject)
            turned += 1
    assert turned > 100


def test_what_is_no_share_or_manner_is_refused():
    with pytest.raises(InputError, match="between 0 and 1, not at 1.5"):
        spoil(SCENES[0], 1.5)
    with pytest.raises(InputError, match="scattered, consistent"):
        spoil(SCENES[0], 0.1, "sly")
