"""Pictures of every kind that a folder may hold, good and bad."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from helpers.core.errors import InputError
from helpers.core.images import encode_image, find_images, image_size, open_image, to_data_uri


@pytest.fixture
def gradient() -> Image.Image:
    """A 60×40 picture whose left edge is dark and whose right edge is bright red."""
    values = np.zeros((40, 60, 3), np.uint8)
    values[..., 0] = np.linspace(0, 255, 60)
    return Image.fromarray(values)


def decoded(uri: str) -> Image.Image:
    head, _, data = uri.partition(",")
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "LA", "CMYK", "1", "I;16"])
def test_every_mode_opens_as_rgb_with_the_same_contents(tmp_path, gradient, mode):
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    if mode == "I;16":
        Image.fromarray(np.asarray(gradient.convert("L")).astype(np.uint16) * 257).save(path)
    else:
        gradient.convert(mode).save(path)
    opened = open_image(path)
    assert opened.mode == "RGB" and opened.size == (60, 40)
    grey = np.asarray(opened.convert("L")).astype(float)
    assert grey[:, -8:].mean() > grey[:, :8].mean() + 40


def test_exif_orientation_turns_the_picture_upright(tmp_path, gradient):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored on its side: must be turned a quarter clockwise
    gradient.save(tmp_path / "turned.jpg", exif=exif)
    assert open_image(tmp_path / "turned.jpg").size == (40, 60)
    assert decoded(to_data_uri(tmp_path / "turned.jpg")).size == (40, 60)


def test_transparency_becomes_white(tmp_path):
    Image.new("RGBA", (20, 20), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert open_image(tmp_path / "clear.png").getpixel((3, 3)) == (255, 255, 255)


def test_an_animation_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (20, 20), c) for c in ("red", "blue", "green")]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    red, green, blue = open_image(tmp_path / "film.gif").getpixel((5, 5))
    assert red > 200 and blue < 50


def test_faults_name_the_file_and_the_reason(tmp_path, gradient):
    gradient.resize((600, 400)).save(tmp_path / "cut.jpg", quality=95)
    whole = (tmp_path / "cut.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    gradient.save(tmp_path / "cut.png")
    whole = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) - 60])
    (tmp_path / "text.jpg").write_text("not a picture at all")
    (tmp_path / "empty.png").touch()
    for name, reason in [("cut.jpg", "cut off"), ("cut.png", "damaged"), ("text.jpg", "not a picture"), ("empty.png", "empty"), ("none.jpg", "no picture")]:
        with pytest.raises(InputError, match=reason) as caught:
            open_image(tmp_path / name)
        assert name in str(caught.value) and "\n" not in str(caught.value)


def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path):
    Image.new("1", (30_000, 10_000)).save(tmp_path / "bomb.png")
    assert (tmp_path / "bomb.png").stat().st_size < 100_000
    with pytest.raises(InputError, match="too large"):
        open_image(tmp_path / "bomb.png")


def test_find_images_goes_deep_in_order_and_skips_hidden(tmp_path, gradient):
    for name in ("b/2.PNG", "a/1.jpg", "a/.hidden.jpg", ".cache/3.jpg", "a/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        gradient.save(tmp_path / name, "PNG")
    assert [p.relative_to(tmp_path).as_posix() for p in find_images(tmp_path)] == ["a/1.jpg", "b/2.PNG"]
    with pytest.raises(InputError, match="no folder"):
        find_images(tmp_path / "nowhere")
    (tmp_path / "bare").mkdir()
    with pytest.raises(InputError, match="no pictures"):
        find_images(tmp_path / "bare")


def test_encoding_scales_down_never_up_and_keeps_plain_jpegs_as_they_are(tmp_path, gradient):
    gradient.save(tmp_path / "plain.jpg")
    encoded = encode_image(tmp_path / "plain.jpg", max_side=100)
    assert base64.b64decode(encoded.uri.partition(",")[2]) == (tmp_path / "plain.jpg").read_bytes()
    small = encode_image(tmp_path / "plain.jpg", max_side=30)
    assert (small.width, small.height) == decoded(small.uri).size == (30, 20)
    assert image_size(tmp_path / "plain.jpg") == (60, 40)


def test_metadata_does_not_leave_the_machine(tmp_path, gradient):
    exif = Image.Exif()
    exif[0x010E] = "the author's home address"
    gradient.save(tmp_path / "private.jpg", exif=exif)
    assert b"home address" in (tmp_path / "private.jpg").read_bytes()
    assert b"home address" not in base64.b64decode(to_data_uri(tmp_path / "private.jpg").partition(",")[2])


@pytest.mark.parametrize(("size", "reason"), [((8, 40), "none under"), ((3000, 12), "longer than")])
def test_pictures_outside_the_protocol_are_named(size, reason):
    with pytest.raises(InputError, match=reason):
        encode_image(Image.new("RGB", size))
