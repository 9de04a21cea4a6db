"""The photographs: all there, described in full, credited."""

from helpers.core.images import open_image
from helpers.core.paths import DATA
from helpers.core.photos import load_photos, photo_paths
from helpers.core.prompts import DIMENSIONS, load_prompts


def test_every_photograph_opens_and_is_described_in_every_dimension_and_language():
    photos = load_photos()
    assert len(photos) == 8
    for photo in photos:
        assert min(open_image(photo.path).size) >= 300
        assert tuple(photo.descriptions) == DIMENSIONS == tuple(load_prompts())
        for texts in photo.descriptions.values():
            assert texts["en"].isascii() and texts["en"].endswith(".")
            assert texts["zh"].endswith("。") and not any("a" <= c <= "z" for c in texts["zh"])
    assert photo_paths() == [photo.path for photo in photos]


def test_every_photograph_is_credited_with_its_licence():
    credits = (DATA / "photos" / "CREDITS.md").read_text(encoding="utf-8")
    for photo in load_photos():
        assert photo.path.name in credits and photo.licence.split(",")[0].lower() in credits.lower()


def test_the_licences_are_those_that_the_package_states():
    import skimage.data

    for name in ("astronaut", "camera", "chelsea", "clock", "coffee", "coins", "hubble_deep_field", "rocket"):
        stated = " ".join(getattr(skimage.data, name).__doc__.split()).lower()
        assert any(words in stated for words in ("public domain", "cc0 by the photographer", "no known copyright restrictions")), name
