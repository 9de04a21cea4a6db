"""The drawn world: same seed, same pixels; truth that fits the picture; evaluation that shares nothing with training."""

import json
from collections import Counter

import numpy
import pytest
from PIL import Image, ImageDraw

from helpers.core import artwork, pen
from helpers.core.errors import InputError, ResourceError
from helpers.core.lexicon import COLOURS, KINDS, KINDS_OF_SETTING, RARE_KINDS, SETTINGS, WEATHERS
from helpers.core.scenes import Scene, draw_scenes, is_evaluation, plan_scene, read_scenes, render


@pytest.fixture(scope="module")
def planned():
    return [plan_scene(seed) for seed in range(1500)]


def test_the_world_is_as_rich_as_promised():
    assert len(KINDS) >= 24 and len(COLOURS) >= 8 and len(SETTINGS) >= 8 and len(WEATHERS) >= 3
    assert {kind.group for kind in KINDS.values()} == {"animal", "vehicle", "building", "plant", "person", "thing"}
    assert set(artwork.DRAWINGS) == set(KINDS)
    homes = Counter(kind for kinds in KINDS_OF_SETTING.values() for kind in kinds)
    assert all(homes[kind] >= 2 for kind in KINDS)


def test_every_kind_colour_setting_count_and_relation_occurs(planned):
    seen = Counter((g.kind, g.colour) for s in planned for g in s.groups)
    missing = [(k, c) for k, kind in KINDS.items() for c in (kind.colours or (None,)) if not seen[k, c]]
    assert not missing
    assert {s.setting for s in planned} == set(SETTINGS)
    assert {g.count for s in planned for g in s.groups} == {1, 2, 3, 4}
    assert {r.relation for s in planned for r in s.relations} == {"left of", "right of", "above", "in front of", "on"}
    assert {g.size for s in planned for g in s.groups} == {"small", "medium", "large"}


def test_objects_lie_in_the_picture_and_groups_agree_with_their_members(planned):
    for scene in planned:
        assert len({g.kind for g in scene.groups}) == len(scene.groups)
        for group in scene.groups:
            assert len(group.members) == group.count
            assert {(scene.objects[m].kind, scene.objects[m].colour) for m in group.members} == {(group.kind, group.colour)}
        for thing in scene.objects:
            left, top, right, bottom = thing.box
            assert -16 <= left < right <= 240 and 0 <= top < bottom <= 224, (scene.seed, thing)


def test_relations_hold_in_the_picture(planned):
    for scene in planned:
        for relation in scene.relations:
            subject, target = ([scene.objects[m].box for m in scene.groups[i].members] for i in (relation.subject, relation.object))
            if relation.relation == "left of":
                assert max(b[2] for b in subject) <= min(b[0] for b in target) + 2
            elif relation.relation == "right of":
                assert min(b[0] for b in subject) >= max(b[2] for b in target) - 2
            elif relation.relation == "above":
                assert max(b[3] for b in subject) <= min(b[1] for b in target)
            elif relation.relation == "in front of":
                assert subject[0][3] > target[0][3], "what stands in front has its foot nearer to the viewer"
                assert subject[0][0] < max(b[2] for b in target) and subject[0][2] > min(b[0] for b in target)
            else:
                assert target[0][1] - 1 <= subject[0][3] <= target[0][3], "what lies on something ends within it"


def test_a_drawn_object_shows_its_colour():
    for kind, colour in (("car", "red"), ("ball", "blue"), ("house", "green"), ("tent", "purple")):
        canvas = Image.new("RGB", (400, 400), "white")
        artwork.draw_object(ImageDraw.Draw(canvas), kind, pen.PALETTE[colour], (20, 20, 360, 360))
        pixels = numpy.asarray(canvas).reshape(-1, 3)
        assert (abs(pixels.astype(int) - pen.PALETTE[colour]).sum(1) < 6).mean() > 0.1


def test_edges_are_smooth():
    scene = plan_scene(5)
    assert len(render(scene).getcolors(100_000)) > 800, "an aliased drawing has few colours"


def test_same_seed_same_pixels_and_another_seed_others(tmp_path):
    draw_scenes(tmp_path / "a", 4, 3, seed=7, progress=None)
    draw_scenes(tmp_path / "b", 4, 3, seed=7, progress=None)
    draw_scenes(tmp_path / "c", 4, 3, seed=8, progress=None)
    files = [f"Train/{i:04d}.jpg" for i in range(4)] + [f"Val/{i:04d}.jpg" for i in range(4, 7)] + ["scenes.jsonl"]
    assert [(tmp_path / "a" / f).read_bytes() for f in files] == [(tmp_path / "b" / f).read_bytes() for f in files]
    assert all((tmp_path / "a" / f).read_bytes() != (tmp_path / "c" / f).read_bytes() for f in files)
    assert Image.open(tmp_path / "a/Train/0000.jpg").size == (224, 224)


def test_training_and_evaluation_share_no_combination():
    train = {plan_scene(i, evaluation=False).combination for i in range(800)}
    evaluation = {plan_scene(10_000 + i, evaluation=True).combination for i in range(300)}
    assert not train & evaluation
    assert all(is_evaluation(c) for c in evaluation) and not any(is_evaluation(c) for c in train)


def test_rare_kinds_can_be_shown_rarely():
    def share(weights):
        kinds = Counter(g.kind for i in range(1200) for g in plan_scene(i, weights).groups)
        return sum(kinds[k] for k in RARE_KINDS) / kinds.total()
    assert share(dict.fromkeys(RARE_KINDS, 0.12)) < 0.35 * share({})


def test_truth_survives_the_file_and_redraws_the_picture(tmp_path):
    scenes = draw_scenes(tmp_path, 3, 2, seed=1, progress=None)
    again = read_scenes(tmp_path / "scenes.jsonl")
    assert again == scenes and isinstance(again[0], Scene)
    picture = numpy.asarray(Image.open(tmp_path / again[4].file)).astype(int)
    assert abs(picture - numpy.asarray(render(again[4])).astype(int)).mean() < 4  # JPEG's loss only


def test_a_killed_run_continues(tmp_path):
    scenes = draw_scenes(tmp_path, 6, 2, seed=3, progress=None)
    kept = tmp_path / scenes[0].file
    age = kept.stat().st_mtime_ns
    whole = (tmp_path / scenes[5].file).read_bytes()
    (tmp_path / scenes[5].file).unlink()
    (tmp_path / "scenes.jsonl").rename(tmp_path / "scenes.jsonl.part")  # as a kill before the end leaves it
    draw_scenes(tmp_path, 6, 2, seed=3, progress=None)
    assert kept.stat().st_mtime_ns == age and (tmp_path / scenes[5].file).read_bytes() == whole


def test_faults_are_one_sentence(tmp_path):
    draw_scenes(tmp_path / "x", 2, 1, seed=0, progress=None)
    with pytest.raises(InputError, match="already holds other scenes"):
        draw_scenes(tmp_path / "x", 2, 1, seed=1, progress=None)
    with pytest.raises(InputError, match="not both 0"):
        draw_scenes(tmp_path / "y", 0, 0)
    with pytest.raises(InputError, match="captionlab scenes"):
        read_scenes(tmp_path / "nowhere.jsonl")
    bad = tmp_path / "scenes.jsonl"
    bad.write_text((tmp_path / "x/scenes.jsonl").read_text().splitlines()[0] + "\n" + json.dumps({"id": "0001"}) + "\n")
    with pytest.raises(InputError, match=r"scenes\.jsonl, line 2"):
        read_scenes(bad)


def test_a_full_disk_is_one_sentence():
    with pytest.raises((ResourceError, InputError), match="/dev/full"):
        draw_scenes("/dev/full/scenes", 1, 1, progress=None)
