"""Near-duplicate pictures: changed copies are found, different pictures are not, and nothing else is taken for the same."""

import shutil

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from teacher_scenes import drawn

from helpers.core.duplicates import find_duplicates, residual_of


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    return [folder / scene.file for scene in drawn(folder, 80, 20)]


CHANGES = {
    "saved again": lambda im: im,
    "half as large": lambda im: im.resize((im.width // 2, im.height // 2)),
    "three times as large": lambda im: im.resize((im.width * 3, im.height * 3)),
    "cut": lambda im: im.crop((4, 4, im.width - 4, im.height - 4)),
    "cut at one side": lambda im: im.crop((4, 0, im.width, im.height)),
    "darker": lambda im: ImageEnhance.Brightness(im).enhance(0.8),
    "mirrored": ImageOps.mirror,
    "mirrored and smaller": lambda im: ImageOps.mirror(im).resize((im.width // 2, im.height // 2)),
}


def test_different_scenes_are_different(scenes):
    found = find_duplicates(scenes, progress=None)
    assert (found.groups, found.pairs, found.unreadable) == ([], [], {})


@pytest.mark.parametrize("change", CHANGES)
def test_changed_copies_are_found_among_other_scenes(scenes, tmp_path, change):
    copies = []
    for path in scenes[::10]:
        copies.append(tmp_path / f"copy_{path.name}")
        with Image.open(path) as image:
            CHANGES[change](image.convert("RGB")).save(copies[-1], quality=70)
    found = find_duplicates([*scenes, *copies], progress=None)
    assert found.groups == [[path, copy] for path, copy in zip(scenes[::10], copies)]
    assert all(pair.mirrored == change.startswith("mirrored") for pair in found.pairs)


def test_a_chain_of_copies_is_one_group_and_the_order_does_not_matter(scenes, tmp_path):
    with Image.open(scenes[0]) as image:
        image = image.convert("RGB")
        steps = [image, image.crop((3, 3, 221, 221)), ImageOps.mirror(image), image.resize((100, 100))]
    paths = []
    for number, step in enumerate(steps):
        paths.append(tmp_path / f"{number}.png")
        step.save(paths[-1])
    for order in (paths, paths[::-1]):
        found = find_duplicates([*order, *scenes[1:4]], progress=None)
        assert [set(group) for group in found.groups] == [set(paths)] and len(found.pairs) == 3


def test_a_plain_colour_is_like_its_copies_alone(tmp_path):
    paths = []
    for number in range(4):
        paths.append(tmp_path / f"{number}.png")
        Image.new("RGB", (40, 40), (200, 40 * number, 0)).save(paths[-1])
    paths.append(tmp_path / "copy.png")
    shutil.copy(paths[0], paths[-1])
    assert find_duplicates(paths, progress=None).groups == [[paths[0], paths[-1]]]


def test_another_object_in_one_place_makes_another_picture(scenes, tmp_path):
    with Image.open(scenes[0]) as image:
        changed = image.convert("RGB")
    changed.paste((250, 20, 20), (20, 150, 60, 190))
    changed.save(tmp_path / "other.png")
    assert residual_of(scenes[0], tmp_path / "other.png") > 11
    assert find_duplicates([scenes[0], tmp_path / "other.png"], progress=None).groups == []


def test_a_copy_turned_by_its_exif_and_a_grey_16_bit_picture_are_read(tmp_path):
    rng = np.random.default_rng(3)
    image = Image.fromarray(rng.integers(0, 255, (8, 12, 3), dtype=np.uint8)).resize((240, 160), Image.Resampling.BICUBIC)
    image.save(tmp_path / "upright.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    image.rotate(90, expand=True).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257).save(tmp_path / "deep.png")
    found = find_duplicates([tmp_path / "upright.png", tmp_path / "turned.jpg", tmp_path / "deep.png"], progress=None)
    assert [tmp_path / "upright.png", tmp_path / "turned.jpg"] in found.groups and not found.unreadable


def test_a_damaged_picture_is_named_and_the_rest_compared(scenes, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(scenes[0].read_bytes()[:900])
    shutil.copy(scenes[1], tmp_path / "copy.jpg")
    found = find_duplicates([scenes[1], tmp_path / "broken.jpg", tmp_path / "copy.jpg"], progress=None)
    assert found.groups == [[scenes[1], tmp_path / "copy.jpg"]]
    assert list(found.unreadable) == [tmp_path / "broken.jpg"] and "broken.jpg" in found.unreadable[tmp_path / "broken.jpg"]
    assert find_duplicates([], progress=None).groups == []
