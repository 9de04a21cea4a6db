"""The pictures of a chat: a gallery to choose from, and what people send, checked before anything believes it.

    bytes of a file  --receive-->  Received(Shown, notes)      or  Refused, one sentence in two languages

Only formats that Pillow decodes by itself are opened: never PostScript (which would start another program), PDF or SVG. The
header is read first, so that a bomb is refused before it is unpacked. What is kept is a new JPEG made of the pixels: upright,
RGB, at most `SIDE` pixels on its longer side, without anything that the file carried beside its picture.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from helpers.core.chat_turns import Shown
from helpers.core.chat_words import Told
from helpers.core.errors import InputError
from helpers.core.images import open_image, scale_down
from helpers.core.scenes import Scene

MAX_BYTES = 20 * 2**20       # of an upload
MAX_PIXELS = 50_000_000      # of an upload; 150 MB once it is unpacked
SIDE, THUMB_SIDE = 1344, 160  # pixels; more than any student here looks at
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")


class Refused(Told):
    """An upload that is not taken, with the reason in two languages."""


@dataclass(frozen=True)
class Received:
    """A picture that was taken. notes[language]: what was done to it, each a sentence."""

    picture: Shown
    notes: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Choice:
    """A picture of the gallery. path: the file.  title[language]: what it is called.  scene: its truth, where it is drawn."""

    key: str
    path: Path
    title: Mapping[str, str]
    scene: Scene | None = None


def gallery_of_scenes(folder: Path | str, scenes: Sequence[Scene]) -> list[Choice]:
    """Choices for drawn scenes in `folder`."""
    return [Choice(f"scene-{scene.id}", Path(folder) / scene.file, {"en": f"Drawn scene {number}", "zh": f"绘制场景 {number}"}, scene)
            for number, scene in enumerate(scenes, 1)]


def gallery_of_photos() -> list[Choice]:
    """Choices for the kit's photographs. Raises ResourceError where they are not installed."""
    from helpers.core.photos import load_photos

    return [Choice(f"photo-{photo.name}", photo.path, photo.title) for photo in load_photos()]


def gallery_of_files(paths: Sequence[Path | str]) -> list[Choice]:
    """Choices for any picture files, called by their names."""
    return [Choice(f"file-{number}", Path(path), {"en": Path(path).name, "zh": Path(path).name}) for number, path in enumerate(paths)]


def shown(choice: Choice, language: str) -> Shown:
    """The picture of a gallery's choice. Raises InputError for a file that cannot be read."""
    return Shown.of(choice.title[language], as_jpeg(scale_down(open_image(choice.path), SIDE)), choice.key if choice.scene else None)


def receive(data: bytes, name: str) -> Received:
    """Check and convert an upload; `name` is what its sender called it. Raises Refused."""
    name = " ".join(name.split())[:80] or "picture"
    if len(data) > MAX_BYTES:
        raise too_large(name)
    if not data:
        raise Refused(f"{name} is empty: choose another file.", f"{name} 是空文件：请换一个。")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as header:
            if header.width * header.height > MAX_PIXELS:  # before anything else is asked: a PNG unpacks itself to look for its EXIF
                raise _too_many_pixels(name)
            # A TIFF has pages; an MPO is a photograph with its own previews behind it.
            kind, mode, frames = header.format, header.mode, getattr(header, "n_frames", 1)
            turned = header.getexif().get(0x0112, 1) not in (0, 1)
    except Refused:
        raise
    except Image.DecompressionBombError:
        raise _too_many_pixels(name) from None
    except UnidentifiedImageError:
        raise Refused(f"{name} is not a picture that can be shown here: send JPEG, PNG, WebP, GIF, BMP or TIFF.",
                      f"{name} 不是可显示的图片：请使用 JPEG、PNG、WebP、GIF、BMP 或 TIFF。") from None
    except Exception as error:  # decoders fed with damaged files raise nearly anything; whatever it is, this file is not taken
        raise _damaged(name) from error
    try:
        image = open_image(data, name)
    except InputError as error:
        raise _damaged(name) from error
    notes = {"en": [], "zh": []}

    def note(true: bool, en: str, zh: str) -> None:
        if true:
            notes["en"].append(en)
            notes["zh"].append(zh)

    if min(image.size) < 16 or max(image.size) > 50 * min(image.size):
        raise Refused(f"{name} is {image.width}×{image.height} pixels, too small or too narrow to see anything: choose another picture.",
                      f"{name} 的尺寸是 {image.width}×{image.height} 像素，太小或太窄，看不清内容：请换一张。")
    note(frames > 1 and kind not in ("TIFF", "MPO"), "It is animated: its first frame is used.", "这是动图：使用第一帧。")
    note(frames > 1 and kind == "TIFF", "It has several pages: its first is used.", "它有多页：使用第一页。")
    note(mode in ("CMYK", "YCbCr", "LAB"), f"Its {mode} colours were converted to RGB.", f"{mode} 颜色已转换为 RGB。")
    note(turned, "It was turned upright, as its camera noted.", "已按相机记录的方向转正。")
    note(max(image.size) > SIDE, f"It was scaled down to {SIDE} pixels.", f"已缩小到 {SIDE} 像素。")
    return Received(Shown.of(name, as_jpeg(scale_down(image, SIDE))), notes)


def as_jpeg(image: Image.Image, quality: int = 90) -> bytes:
    """An RGB picture as JPEG bytes without metadata."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, comment=b"")
    return buffer.getvalue()


def thumbnail(source: Path | bytes, side: int = THUMB_SIDE) -> str:
    """A small version as a "data:image/jpeg;base64,…" address. Raises InputError for a file that cannot be read."""
    return data_uri(as_jpeg(scale_down(open_image(source), side), 80))


def data_uri(jpeg: bytes) -> str:
    """JPEG bytes as an address that a page can show."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")


def too_large(name: str) -> Refused:
    """What is said of a file over the limit."""
    return Refused(f"{name} is larger than {MAX_BYTES // 2**20} MB: send a smaller version.", f"{name} 超过 {MAX_BYTES // 2**20} MB：请发送较小的版本。")


def _too_many_pixels(name: str) -> Refused:
    return Refused(f"{name} has more than {MAX_PIXELS // 1_000_000} million pixels, too large to unpack: send a smaller version.",
                   f"{name} 超过 {MAX_PIXELS // 10_000} 万像素，太大而无法打开：请发送较小的版本。")


def _damaged(name: str) -> Refused:
    return Refused(f"{name} is damaged or cut off: copy it again or choose another picture.", f"{name} 已损坏或不完整：请重新复制，或换一张图片。")
