"""Finds pictures that show the same thing twice: copies, and copies that were saved, scaled, cut, lit or mirrored anew.

Shape of the data: n paths → fingerprints, two perceptual hashes of 256 bits a picture, as it is and mirrored, uint64
(n, 2, 4) → pairs whose hashes differ in few bits → pairs that still look alike when laid over each other → groups, the
connected parts of what is left. A data set whose training and evaluation side share a picture measures memory, so
`helpers.core.building` keeps each group on one side.

Two steps, because each alone is wrong. The hash is ImageHash's `phash` with 16 × 16 bits (the signs of a picture's lowest
frequencies, after http://www.hackerfactor.com/blog/index.php?/archives/432-Looks-Like-It.html); it is quick, sees no
colour, and drawn scenes with one backdrop come near each other. The residual lays two pictures over each other, 32 × 32
RGB, at cuts of 0 to 3 % all around or at one side, after the brightness and contrast that fit best, and takes the worst of
8 × 8 tiles: a picture with another object in one place has one bad tile.

Measured on the 2325 scenes of `captionlab scenes --train 1957 --eval 368 --seed 0`, all 2 701 650 pairs, and on every
20th of them changed (117 pictures), by `python -m benchmarks.duplicates --every 20`: of the different scenes none were
joined. 26 pairs came within 48 bits, the nearest with a residual of 12.9; hence the limit of 11. Of the changed copies:

    | change | found | bits, median and most | residual, most |
    |---|---|---|---|
    | saved as JPEG 40 | 100% | 2, 6 | 2.9 |
    | scaled to a half | 100% | 0, 4 | 1.2 |
    | scaled to three times | 100% | 0, 2 | 0.4 |
    | brightened by 20 % | 91% | 8, 34 | 13.0 |
    | darkened by 20 % | 100% | 2, 4 | 1.0 |
    | contrast up by 20 % | 100% | 2, 12 | 7.9 |
    | mirrored | 100% | 0, 0 | 0.0 |
    | mirrored, half, JPEG 60 | 100% | 2, 8 | 7.1 |
    | cut by 1 % all around | 100% | 14, 24 | 5.4 |
    | cut by 2 % all around | 100% | 28, 44 | 5.5 |
    | cut by 3 % all around | 34% | 52, 74 | 5.2 |
    | cut by 2 % at one side | 100% | 20, 40 | 5.5 |

Brightening by 20 % drives light scenes into white, and a cut of 3 % moves too much for the hash: there it ends.

A picture without structure (a plain colour) has no hash that says anything, and is a duplicate of its exact copies only.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from helpers.core.errors import InputError
from helpers.core.images import open_image

DISTANCE = 48           # of 256 bits, at most, for a pair to be looked at
RESIDUAL = 11.0         # of 255 grey levels, at most, in the worst tile, for a pair to be the same picture
_SIDE, _TILES = 32, 8   # a residual's picture and its tiles, a side
_BASE = 128             # pixels a side from which cuts are taken
# Shares of a side cut off left, top, right and bottom: evenly all around, or at one side.
_CUTS = (*((c,) * 4 for c in (0.0, 0.01, 0.02, 0.03)), *(tuple(c * (k == side) for k in range(4)) for c in (0.01, 0.02, 0.03) for side in range(4)))
_FLAT = 2.0             # grey levels of standard deviation under which a picture has no structure
_BLOCK = 256            # pictures compared with all later ones at once: 256 × n × 4 words of 8 bytes


@dataclass(frozen=True)
class Pair:
    """Two pictures that are the same. `distance`: bits of 256.  `residual`: grey levels of 255.  `mirrored`: one is the other's mirror image."""

    one: Path
    other: Path
    distance: int
    residual: float
    mirrored: bool


@dataclass(frozen=True)
class Duplicates:
    """Groups of two or more pictures each, every picture in at most one; the pairs that join them; pictures that cannot be read, and why."""

    groups: list[list[Path]] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    unreadable: dict[Path, str] = field(default_factory=dict)


def find_duplicates(paths: Sequence[Path], progress: str | None = "comparing pictures", distance: int = DISTANCE,
                    residual: float = RESIDUAL) -> Duplicates:
    """Group the pictures among `paths` that show the same.

    progress: the bar's name, None for no bar.  distance, residual: see DISTANCE and RESIDUAL; a larger number finds more.
    Groups and their pictures come in the order of `paths`. Each picture is decoded once, in all threads; a pair that a
    group already joins is not looked at again, so that a folder of one picture many times takes no square of time.
    """
    paths = list(dict.fromkeys(paths))
    hashes, sums, unreadable = _read_all(paths, progress)
    parents = list(range(len(paths)))
    pairs = []
    for i, j, bits, mirrored in _exact(sums) + _near(hashes, distance):
        if _root(parents, i) == _root(parents, j):
            continue
        left = 0.0 if bits < 0 else residual_of(paths[i], paths[j], mirrored)
        if left <= residual:
            parents[_root(parents, i)] = _root(parents, j)
            pairs.append(Pair(paths[i], paths[j], max(bits, 0), left, mirrored))
    groups: dict[int, list[Path]] = {}
    for place, path in enumerate(paths):
        groups.setdefault(_root(parents, place), []).append(path)
    return Duplicates([group for group in groups.values() if len(group) > 1], pairs, unreadable)


def fingerprint(image: Image.Image) -> np.ndarray | None:
    """Two hashes of a picture, as it is and mirrored: uint64, shape (2, 4). None for a picture without structure."""
    from imagehash import phash

    # phash takes 64 × 64 for 16 × 16 bits; given that, it scales no further, and the mirror image costs no second scaling.
    small = image.convert("L").resize((64, 64), Image.Resampling.LANCZOS)
    if np.asarray(small, dtype=float).std() < _FLAT:
        return None
    return np.stack([np.packbits(phash(view, 16).hash.ravel()).view(np.uint64) for view in (small, ImageOps.mirror(small))])


def residual_of(one: Path, other: Path, mirrored: bool = False) -> float:
    """How far two pictures are from each other where they differ most: grey levels, 0 to 255. mirrored: against the other's mirror image."""
    first, second = (_small(path, _BASE).resize((_BASE, _BASE), Image.Resampling.LANCZOS) for path in (one, other))
    if mirrored:
        second = ImageOps.mirror(second)
    least = np.inf
    for cut in _CUTS:
        for a, b in ((_cut(first, cut), _cut(second, _CUTS[0])), (_cut(first, _CUTS[0]), _cut(second, cut))):
            least = min(least, _worst_tile(a, b))
        if least <= RESIDUAL / 2:  # good enough; a better cut would not change the answer
            break
    return float(least)


def _read_all(paths: list[Path], progress: str | None) -> tuple[list[np.ndarray | None], list[str | None], dict[Path, str]]:
    """The fingerprint of each picture, the SHA-256 of each file, and what cannot be read, with the reason."""
    from tqdm.auto import tqdm

    def read(path: Path) -> tuple[np.ndarray | None, str | None, str]:
        try:
            return fingerprint(_small(path, 64)), hashlib.sha256(path.read_bytes()).hexdigest(), ""
        except InputError as error:
            return None, None, str(error)

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        found = list(tqdm(threads.map(read, paths), desc=progress, total=len(paths), unit="picture", disable=progress is None))
    return [hashed for hashed, *_ in found], [digest for _, digest, _ in found], {path: why for path, (*_, why) in zip(paths, found) if why}


def _exact(sums: list[str | None]) -> list[tuple[int, int, int, bool]]:
    """Pairs of files with the same bytes: (place, place, -1, False), each file with the first of its kind."""
    first: dict[str, int] = {}
    return [(first[digest], place, -1, False) for place, digest in enumerate(sums) if digest and first.setdefault(digest, place) != place]


def _near(hashes: list[np.ndarray | None], distance: int) -> list[tuple[int, int, int, bool]]:
    """Pairs of hashes at most `distance` bits apart, nearest first: (place, place, bits, whether mirrored)."""
    places = [place for place, hashed in enumerate(hashes) if hashed is not None]
    if len(places) < 2:
        return []
    plain, mirror = np.stack([hashes[place] for place in places]).transpose(1, 0, 2)
    found = []
    for start in range(0, len(places), _BLOCK):
        for mirrored, left in ((False, plain), (True, mirror)):
            bits = np.bitwise_count(left[start:start + _BLOCK, None] ^ plain[None, start:]).sum(2, dtype=np.uint16)
            rows, columns = np.nonzero(bits <= distance)
            found += [(places[start + i], places[start + j], int(bits[i, j]), mirrored)
                      for i, j in zip(rows, columns) if i < j]
    return sorted(found, key=lambda pair: (pair[2], pair[0], pair[1], pair[3]))


def _root(parents: list[int], place: int) -> int:
    """The place that stands for the group of `place` (union–find with halved paths)."""
    while parents[place] != place:
        parents[place] = parents[parents[place]]
        place = parents[place]
    return place


def _small(path: Path, side: int) -> Image.Image:
    """A picture as upright RGB, of at least `side` pixels a side where it has them; a large JPEG is decoded small at once.

    Raises InputError like `open_image`.
    """
    try:
        with Image.open(path) as image:
            if image.format == "JPEG" and image.mode in ("RGB", "L"):
                image.draft(None, (4 * side, 4 * side))
                return ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return open_image(path)  # which says what is wrong with it
    return open_image(path)


def _cut(image: Image.Image, shares: tuple[float, float, float, float]) -> np.ndarray:
    """A square picture without `shares` of it left, top, right and bottom, as (32, 32, 3) float."""
    left, top, right, bottom = (share * _BASE for share in shares)
    # BILINEAR blurs over tile borders, so that thin lines (rain, branches) a pixel beside themselves make no bad tile.
    return np.asarray(image.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR, box=(left, top, _BASE - right, _BASE - bottom)), dtype=float)


def _worst_tile(a: np.ndarray, b: np.ndarray) -> float:
    """Mean absolute difference in the worst of 8 × 8 tiles, once a's brightness and contrast are fitted to b's."""
    # Values at either end may have been cut off by brightening, and would bend the fit.
    inside = (np.minimum(a, b) > 5) & (np.maximum(a, b) < 250)
    x, y = (a[inside], b[inside]) if inside.sum() > 100 else (a.ravel(), b.ravel())
    spread = x.var()
    gain = max(((x - x.mean()) * (y - y.mean())).mean() / spread, 0.1) if spread > 1e-6 else 1.0
    fitted = np.clip(gain * (a - x.mean()) + y.mean(), 0, 255)
    size = _SIDE // _TILES
    return float(np.abs(fitted - b).mean(2).reshape(_TILES, size, _TILES, size).mean((1, 3)).max())
