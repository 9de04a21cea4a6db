"""Opens, checks, turns and scales any picture, and names what is wrong with one.

Shape of the data: a path or the file's bytes go in; an upright 8-bit RGB `PIL.Image.Image` comes out
(`open_image`), or a base64 JPEG data URI for the teacher (`encode_image`, `to_data_uri`). `walk_images` finds the files
of a folder, `check_picture` tells beforehand which of them can be sent. Whatever a folder of photographs may hold is
dealt with here, once: EXIF orientation, palettes, transparency, CMYK, 16 bits, animations (first frame), truncated
files, files that are no pictures, decompression bombs.
"""

from __future__ import annotations

import base64
import hashlib
import io
import math
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from helpers.core.errors import InputError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
MAX_PIXELS = 80_000_000     # about 240 MB as RGB; more is a mistake or an attack
MIN_SIDE = 11               # DashScope wants both sides over 10 px …
MAX_ASPECT = 200            # … and an aspect ratio of at most 200:1 …
MAX_ENCODED = 10_000_000    # … and at most 10 MB after base64
JPEG_QUALITY = 90

# What Pillow's decoders raise on damaged files, seen with truncated and mutated files of every format above.
_DECODER_ERRORS = (OSError, SyntaxError, ValueError, TypeError, IndexError, struct.error, EOFError, OverflowError)
# A JPEG whose metadata is only this can be sent as it is: nothing to turn, nothing private.
_PLAIN_JPEG = frozenset({"jfif", "jfif_version", "jfif_unit", "jfif_density", "dpi", "progressive", "progression"})


@dataclass(frozen=True)
class EncodedImage:
    """A picture ready to send: `uri` is "data:image/jpeg;base64,…", `width` and `height` are pixels as sent."""

    uri: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Found:
    """A picture file as its folder lists it: path, size in bytes, time of its last change in nanoseconds, whether it is a link."""

    path: str
    bytes: int
    modified_ns: int
    link: bool = False


@dataclass(frozen=True, slots=True)
class Checked:
    """What there is to know of a picture file before it is sent.

    sha256: of its bytes.  width, height: upright, in pixels.  plain: a JPEG that may go as it is.  fault: why it cannot be sent,
    as a sentence whose subject is the file ("is not a picture …"), or "".
    """

    sha256: str
    width: int = 0
    height: int = 0
    plain: bool = False
    fault: str = ""


def open_image(source: Path | str | bytes, name: str | None = None) -> Image.Image:
    """Open a picture as an upright, fully decoded 8-bit RGB image.

    source: a path, or the bytes of a picture file.  name: what messages call it; the path where there is one.
    An animation gives its first frame; transparent parts become white; 16-bit pictures keep their upper 8 bits.
    Raises InputError naming the file and what is wrong with it.
    """
    name = name or ("the picture" if isinstance(source, bytes) else str(source))
    image = _open(source, name)
    try:
        image.load()
        return _to_rgb(ImageOps.exif_transpose(image))
    except _DECODER_ERRORS as error:
        raise _damaged(name, error) from error


def find_images(folder: Path | str) -> list[Path]:
    """Every picture file under `folder`, at any depth, sorted by path; hidden files and folders are left out.

    Raises InputError when the folder does not exist or holds no pictures.
    """
    found = [Path(file.path) for file in walk_images(folder)]
    if not found:
        raise no_pictures(folder)
    return found


def walk_images(folder: Path | str) -> Iterator[Found]:
    """The picture files of `find_images`, one by one in the same order; holds one folder's names at a time.

    Raises InputError when the folder does not exist.
    """
    if not Path(folder).is_dir():
        raise InputError(f"there is no folder {folder}: give one that holds pictures with --images")
    yield from _walk(str(folder))


def _walk(folder: str) -> Iterator[Found]:
    with os.scandir(folder) as listing:
        entries = sorted((entry for entry in listing if not entry.name.startswith(".")), key=lambda entry: entry.name)
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path)
        elif entry.name.lower().endswith(SUFFIXES) and entry.is_file():
            state = entry.stat()
            yield Found(entry.path, state.st_size, state.st_mtime_ns, entry.is_symlink())


def no_pictures(folder: Path | str) -> InputError:
    """What is wrong with a folder without pictures."""
    return InputError(f"{folder} holds no pictures ({', '.join(SUFFIXES)}): give another folder with --images")


def check_picture(path: Path | str) -> Checked:
    """Open and decode a picture file, to know before any request whether it can be sent.

    A JPEG is decoded at an eighth of its size, which reads every byte of it but takes a fraction of the time.
    Raises InputError when the file cannot be read at all; what is wrong inside it is the result's `fault`.
    """
    data = _read(Path(path))
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        image = _open(data, "")
        plain, size = _is_plain_jpeg(image), image.size
        if image.format == "JPEG":
            image.draft(image.mode, (1, 1))
        try:
            image.load()
            turned = image.getexif().get(0x0112, 1) >= 5
        except _DECODER_ERRORS as error:
            raise _damaged("", error) from error
        width, height = (size if image.format == "JPEG" else image.size)[::-1 if turned else 1]
        _check_shape(width, height, "")
    except InputError as error:
        return Checked(sha256, fault=str(error).strip())
    return Checked(sha256, width, height, plain)


def encode_checked(path: Path | str, checked: Checked, max_side: int | None = None) -> EncodedImage:
    """`encode_image` for a file that `check_picture` has found good: one that may go as it is, goes without being decoded again.

    Raises InputError like `encode_image`, and when the file is another one by now.
    """
    data = _read(Path(path))
    if hashlib.sha256(data).hexdigest() != checked.sha256:
        raise InputError(f"{path} has changed since it was checked: run the same command again")
    if checked.plain and max(checked.width, checked.height) <= (max_side or math.inf) and (uri := _uri(data)):
        return EncodedImage(uri, checked.width, checked.height)
    return encode_image(data, max_side, str(path))


def sent_size(width: int, height: int, max_side: int | None) -> tuple[int, int]:
    """A picture's (width, height) as it is sent: the longer side at most `max_side`."""
    factor = min(1.0, max_side / max(width, height)) if max_side else 1.0
    return max(1, round(width * factor)), max(1, round(height * factor))


def image_size(path: Path | str) -> tuple[int, int]:
    """(width, height) in pixels as the file stores it, from its header alone. Raises InputError like `open_image`."""
    return _open(path, str(path)).size


def encode_image(source: Image.Image | Path | str | bytes, max_side: int | None = None, name: str | None = None) -> EncodedImage:
    """Encode a picture as the teacher takes it: JPEG, base64, the longer side at most `max_side` pixels.

    A plain JPEG that needs neither turning nor scaling is sent as it is, so that teacher and student see the same
    pixels; everything else is decoded and written anew, without its metadata.
    Raises InputError for a picture that cannot be opened or is outside the protocol's limits.
    """
    if isinstance(source, Image.Image):
        image, data, name = source.convert("RGB"), None, name or "the picture"
    else:
        name = name or ("the picture" if isinstance(source, bytes) else str(source))
        data = source if isinstance(source, bytes) else _read(Path(source))
        image = open_image(data, name)
        if not _is_plain_jpeg(Image.open(io.BytesIO(data))):
            data = None
    _check_shape(*image.size, name)
    if max_side and max(image.size) > max_side:
        image, data = scale_down(image, max_side), None
        if min(image.size) < MIN_SIDE:
            raise InputError(f"{name} would be {image.width}×{image.height} pixels after scaling to {max_side}: "
                             "raise the largest side, or cut the picture")
    uri = _uri(data) if data else None
    if uri is None:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=JPEG_QUALITY, comment=b"")  # Pillow carries a comment over where none is given
        uri = _uri(buffer.getvalue())
    if uri is None:
        raise InputError(f"{name} is over {MAX_ENCODED / 1e6:.0f} MB once encoded, and the teacher takes no more: "
                         "scale it down with a smaller largest side")
    return EncodedImage(uri, image.width, image.height)


def to_data_uri(source: Image.Image | Path | str | bytes, max_side: int | None = None) -> str:
    """The "data:image/jpeg;base64,…" of a picture; see `encode_image`."""
    return encode_image(source, max_side).uri


def scale_down(image: Image.Image, max_side: int) -> Image.Image:
    """The picture with its longer side at most `max_side` pixels; never enlarged."""
    size = sent_size(*image.size, max_side)
    return image if size == image.size else image.resize(size, Image.Resampling.LANCZOS)


def _uri(data: bytes) -> str | None:
    """The data URI of a JPEG file's bytes; None when it would be longer than the teacher takes."""
    uri = "data:image/jpeg;base64," + base64.b64encode(data).decode("ascii")
    return uri if len(uri) <= MAX_ENCODED else None


def _check_shape(width: int, height: int, name: str) -> None:
    """Raises InputError for a shape that the protocol does not allow."""
    if min(width, height) < MIN_SIDE:
        raise InputError(f"{name} is {width}×{height} pixels, and the teacher takes none under {MIN_SIDE} on a side: "
                         "enlarge or remove it")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise InputError(f"{name} is {width}×{height} pixels, longer than {MAX_ASPECT}:1: cut or remove it")


def _damaged(name: str, error: Exception) -> InputError:
    """What a decoder's complaint means."""
    kind = "is cut off or damaged" if "truncat" in str(error) or isinstance(error, EOFError) else "is damaged"
    return InputError(f"{name} {kind} ({_short(error)}): copy or download it again, or remove it")


def _read(path: Path) -> bytes:
    """The bytes of a picture file, or an InputError that says why not."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"there is no picture {path}: check the path") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check the path and its permissions") from error


def _open(source: Path | str | bytes, name: str) -> Image.Image:
    """A picture with its header read and its size checked, not yet decoded."""
    data = source if isinstance(source, bytes) else _read(Path(source))
    if not data:
        raise InputError(f"{name} is empty: copy or download it again, or remove it")
    try:
        image = Image.open(io.BytesIO(data))
    except UnidentifiedImageError:
        raise InputError(f"{name} is not a picture that can be read: convert it to JPEG or PNG, or remove it") from None
    except Image.DecompressionBombError:
        raise InputError(f"{name} claims more than {MAX_PIXELS // 1_000_000} million pixels, too large to open safely: "
                         "scale it down or remove it") from None
    except _DECODER_ERRORS as error:
        raise InputError(f"{name} is damaged ({_short(error)}): copy or download it again, or remove it") from error
    if image.width * image.height > MAX_PIXELS:
        raise InputError(f"{name} has {image.width}×{image.height} pixels, more than {MAX_PIXELS // 1_000_000} million, "
                         "too large to open safely: scale it down or remove it")
    return image


def _to_rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB from any mode Pillow knows; transparency is laid over white."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_to_eight_bits(np.asarray(image))).convert("RGB")
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _to_eight_bits(values: np.ndarray) -> np.ndarray:
    """Grey values of more than 8 bits, shape (height, width), as uint8.

    Integers are taken as 16-bit unless all fit 8 bits; floats as 0…1 unless some are larger, then as 0…maximum.
    """
    values = values.astype(np.float64)
    top = float(values.max(initial=0.0))
    whole = 255.0 if top <= 255 and top > 1 else 65535.0 if 255 < top <= 65535 else max(top, 1.0)
    return np.clip(np.nan_to_num(values) * (255.0 / whole), 0, 255).astype(np.uint8)


def _is_plain_jpeg(image: Image.Image) -> bool:
    """Whether an opened JPEG file needs no conversion and carries no metadata beyond its own header."""
    return image.format == "JPEG" and image.mode == "RGB" and _PLAIN_JPEG.issuperset(image.info) and not image.getexif()


def _short(error: Exception) -> str:
    """A decoder's complaint, short enough for one sentence."""
    text = str(error).split("\n")[0] or type(error).__name__
    return text if len(text) <= 100 else text[:97] + "…"
