"""Pictures of every kind, checked before any request: what can be sent is converted, what cannot is named, nothing is opened twice."""

import base64
import io
import os
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from teacher_scenes import drawn

from helpers.core.errors import InputError
from helpers.core.images import MAX_ENCODED, check_picture, encode_checked, find_images, sent_size
from helpers.core.label_jobs import JobQueue
from helpers.core.labels import LabelStore
from helpers.core.prices import load_prices
from helpers.core.standin import StandIn
from helpers.core.survey import find_pictures, survey
from helpers.dataset import label_images

SIZE = (60, 40)
GOOD = ("plain.jpg", "cmyk.jpg", "cmyk.tif", "sixteen-bit.png", "palette.png", "clear.gif", "animated.gif", "turned.jpg", "bitmap.bmp", "grey.webp", "noted.jpg")
BAD = {"truncated.jpg": "cut off", "truncated.png": "damaged", "no-picture.png": "not a picture", "empty.jpg": "is empty", "small.png": "none under",
       "long.png": "longer than", "bomb.png": "too large to open safely", "huge-bomb.png": "too large to open safely", "thin.jpg": "after scaling"}


def png_that_claims(width: int, height: int) -> bytes:
    """A PNG whose header says so much, with nothing to fill it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")


@pytest.fixture(scope="module")
def zoo(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("zoo")
    values = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    values[..., 0] = np.linspace(0, 255, SIZE[0])
    values[..., 1] = np.linspace(0, 200, SIZE[1])[:, None]
    picture = Image.fromarray(values)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 300, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(folder / "plain.jpg")
    picture.convert("CMYK").save(folder / "cmyk.jpg")
    picture.convert("CMYK").save(folder / "cmyk.tif")
    Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257).save(folder / "sixteen-bit.png")
    picture.convert("P").save(folder / "palette.png")
    picture.convert("P").save(folder / "clear.gif", transparency=3)
    picture.save(folder / "animated.gif", save_all=True, append_images=[picture.rotate(180), picture.rotate(90, expand=False)])
    picture.save(folder / "turned.jpg", exif=exif)
    picture.save(folder / "bitmap.bmp")
    picture.convert("L").save(folder / "grey.webp")
    picture.save(folder / "noted.jpg", comment="a private remark")
    for name in ("truncated.jpg", "truncated.png"):
        noise.save(folder / name)
        (folder / name).write_bytes((folder / name).read_bytes()[:-9000])
    (folder / "no-picture.png").write_text("a text")
    (folder / "empty.jpg").touch()
    picture.resize((8, 40)).save(folder / "small.png")
    picture.resize((2600, 12)).save(folder / "long.png")
    (folder / "bomb.png").write_bytes(png_that_claims(9_200, 9_000))
    (folder / "huge-bomb.png").write_bytes(png_that_claims(60_000, 60_000))
    picture.resize((2300, 20)).save(folder / "thin.jpg")
    return folder


def surveyed(images, store_path, **options):
    with LabelStore(store_path) as store, JobQueue(store, {"main": "What is it?"}, "qwen3-vl-plus", "{}", stand_in=True) as queue:
        result = survey(images, store, queue, load_prices().model("qwen3-vl-plus"), 1024, **options)
        return result, queue.counts()


@pytest.mark.parametrize("name", GOOD)
def test_what_can_be_sent_is_sent_upright_as_rgb(zoo, name):
    checked = check_picture(zoo / name)
    upright = SIZE[::-1] if name == "turned.jpg" else SIZE
    assert not checked.fault and (checked.width, checked.height) == upright and checked.plain == (name == "plain.jpg")
    encoded = encode_checked(zoo / name, checked, 1024)
    data = base64.b64decode(encoded.uri.partition(",")[2])
    sent = Image.open(io.BytesIO(data))
    assert (sent.format, sent.mode, sent.size) == ("JPEG", "RGB", upright) == ("JPEG", "RGB", (encoded.width, encoded.height))
    assert b"private remark" not in data and (data == (zoo / name).read_bytes()) == checked.plain
    small = encode_checked(zoo / name, checked, 30)
    assert (small.width, small.height) == sent_size(*upright, 30) and max(small.width, small.height) == 30


@pytest.mark.parametrize("name", sorted(BAD))
def test_what_cannot_be_sent_is_named_with_the_reason(zoo, tmp_path, name):
    result, counts = surveyed([zoo / "plain.jpg", zoo / name], tmp_path / "l.sqlite")
    (path, why), = result.rejected.items()
    assert path == zoo / name and why.startswith(str(zoo / name)) and BAD[name] in why and "\n" not in why and counts[0] == 1


def test_a_run_names_the_bad_ones_and_asks_about_the_rest(zoo, tmp_path):
    lines = []
    with StandIn() as teacher:
        report = label_images(zoo, tmp_path / "l.sqlite", endpoint=teacher.base_url, progress=None, say=lines.append)
        assert teacher.meter.requests == {"200": len(GOOD)}
    assert {path.name for path in report.rejected} == set(BAD) and report.pictures == len(GOOD) + len(BAD)
    assert all(f"{zoo / name} " in str(report) for name in BAD) and f"{len(BAD)} pictures rejected" in lines[0]
    dry = label_images(zoo, tmp_path / "none.sqlite", dry_run=True, progress=None)
    assert (dry.requests, len(dry.rejected)) == (len(GOOD), len(BAD)) and not (tmp_path / "none.sqlite").exists()


def test_nothing_is_opened_twice_until_it_changes(zoo, tmp_path):
    folder = tmp_path / "zoo"
    shutil.copytree(zoo, folder)
    first, counts = surveyed(folder, tmp_path / "l.sqlite")
    again, same = surveyed(folder, tmp_path / "l.sqlite")
    assert (first.opened, again.opened) == (len(GOOD) + len(BAD), 0) and counts == same and first.rejected == again.rejected
    shutil.copy(folder / "plain.jpg", folder / "small.png")  # mended
    mended, more = surveyed(folder, tmp_path / "l.sqlite")
    assert mended.opened == 1 and set(first.rejected) - set(mended.rejected) == {folder / "small.png"}
    assert more[0] == counts[0]  # a copy of another picture: no further question
    shutil.move(tmp_path, tmp_path.with_name(tmp_path.name + "-moved"))
    moved = tmp_path.with_name(tmp_path.name + "-moved")
    assert surveyed(moved / "zoo", moved / "l.sqlite")[0].opened == 0


def test_a_picture_that_changes_before_it_is_sent_is_not_sent_under_its_old_name(zoo, tmp_path):
    shutil.copy(zoo / "plain.jpg", tmp_path / "a.jpg")
    checked = check_picture(tmp_path / "a.jpg")
    shutil.copy(zoo / "turned.jpg", tmp_path / "a.jpg")
    with pytest.raises(InputError, match="changed"):
        encode_checked(tmp_path / "a.jpg", checked)
    (tmp_path / "a.jpg").unlink()
    with pytest.raises(InputError, match="there is no picture"):
        encode_checked(tmp_path / "a.jpg", checked)


def test_a_plain_jpeg_that_is_too_large_as_a_file_is_written_anew(zoo, tmp_path):
    (tmp_path / "heavy.jpg").write_bytes((zoo / "plain.jpg").read_bytes() + bytes(MAX_ENCODED))
    checked = check_picture(tmp_path / "heavy.jpg")
    assert checked.plain and len(encode_checked(tmp_path / "heavy.jpg", checked).uri) < 10_000


def test_folders_are_walked_in_the_order_of_their_paths(tmp_path, zoo):
    for name in ("b/2.PNG", "a/1.jpg", "a.jpg", "a/.hidden.jpg", ".cache/3.jpg", "a/notes.txt", "a/deep/9.webp", "c.jpg/0.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(zoo / "plain.jpg", tmp_path / name)
    found = [Path(file.path) for file in find_pictures(tmp_path)]
    assert found == find_images(tmp_path) == sorted(found) and len(found) == 5
    assert [Path(file.path) for file in find_pictures(found[:2])] == found[:2]


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_link_counts_as_the_picture_it_leads_to(tmp_path, zoo):
    (tmp_path / "links").mkdir()
    shutil.copy(zoo / "plain.jpg", tmp_path / "a.jpg")
    (tmp_path / "links" / "b.jpg").symlink_to(tmp_path / "a.jpg")
    surveyed(tmp_path, tmp_path / "l.sqlite")
    with LabelStore(tmp_path / "l.sqlite") as store:
        assert store._db.execute("SELECT path FROM pictures").fetchall() == [("a.jpg",)]


def test_a_name_that_is_no_text_is_named_and_the_rest_go_on(tmp_path, zoo):
    try:
        shutil.copy(zoo / "plain.jpg", os.fsencode(tmp_path) + b"/\xff.jpg")
    except OSError:
        pytest.skip("this file system takes no such name")
    shutil.copy(zoo / "plain.jpg", tmp_path / "a.jpg")
    result, counts = surveyed(tmp_path, tmp_path / "l.sqlite")
    assert counts[0] == 1 and [why.encode() for why in result.rejected.values() if "UTF-8" in why]


def test_a_limit_takes_the_first_by_path(tmp_path):
    drawn(tmp_path, 6, 2)
    result, counts = surveyed(tmp_path, tmp_path / "l.sqlite", limit=5)
    assert (result.pictures, counts[0], result.first) == (5, 5, tmp_path / "Train" / "0000.jpg")
