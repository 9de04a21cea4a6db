"""Corruptions: stronger is worse, the same seed gives the same pixels, and what is in the picture stays in it."""

import numpy as np
import pytest
from PIL import Image

from helpers.core.corruptions import CORRUPTIONS, GREY, STRENGTHS, corrupt
from helpers.core.errors import InputError
from helpers.core.scenes import SCENE_SIZE
from helpers.core.splits import BASE, make_case


@pytest.fixture(scope="module")
def picture():
    return make_case(BASE, 4).picture


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_stronger_is_farther_from_the_picture(picture, name):
    plain = np.asarray(picture, float)
    far = [np.sqrt(np.square(np.asarray(corrupt(picture, name, strength, "x"), float) - plain).mean()) for strength in (0, *STRENGTHS)]
    assert far[0] == 0 and far == sorted(far) and far[1] > 1


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_size_and_pixels_are_kept(picture, name):
    one, again = corrupt(picture, name, 3, "a"), corrupt(picture, name, 3, "a")
    assert one.size == picture.size and one.mode == "RGB" and np.array_equal(one, again)
    if name in ("noise", "occlusion"):
        assert not np.array_equal(corrupt(picture, name, 3, "b"), one)


def test_a_rotation_loses_nothing():
    marked = Image.new("RGB", (SCENE_SIZE,) * 2, "white")
    for x, y in ((0, 0), (SCENE_SIZE - 12, 0), (0, SCENE_SIZE - 12), (SCENE_SIZE - 12, SCENE_SIZE - 12)):
        marked.paste((255, 0, 0), (x, y, x + 12, y + 12))
    from scipy.ndimage import label

    for strength in STRENGTHS:
        values = np.asarray(corrupt(marked, "rotation", strength, "x"), int)
        red = (values[..., 0] > 200) & (values[..., 1] < 120)
        assert label(red)[1] == 4  # all four corners are still there


def test_occlusion_hides_as_much_as_it_says_and_no_object_whole():
    for number in range(40):
        case = make_case(BASE, number)
        white = Image.new("RGB", (SCENE_SIZE,) * 2, "white")
        hidden = (np.asarray(corrupt(white, "occlusion", 5, case.id)) == GREY).all(axis=2)
        assert hidden.mean() == pytest.approx(0.5, abs=0.01)
        for thing in case.scene.objects:
            left, top, right, bottom = (int(v) for v in thing.box)
            assert 1 - hidden[top:bottom, left:right].mean() > 0.15


def test_other_sizes_are_corrupted_alike():
    large = make_case(BASE, 4).picture.resize((448, 300))
    for name in CORRUPTIONS:
        assert corrupt(large, name, 5).size == (448, 300)


def test_what_is_no_corruption_is_refused(picture):
    with pytest.raises(InputError, match="no corruption 'fog'; choose from noise"):
        corrupt(picture, "fog", 1)
    with pytest.raises(InputError, match="strengths 1 to 5"):
        corrupt(picture, "noise", 6)
