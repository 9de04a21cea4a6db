"""How well and how fast near-duplicate pictures are found.

    python -m benchmarks.duplicates [--scenes DIR] [--every N]

Wrongly joined: all pairs of the drawn scenes, which are all different. Rightly joined: every Nth scene against a changed
copy of it. Fast: the hashes of all scenes compared in blocks, and the same pairs one by one with ImageHash's own
subtraction, on a sample, in the same run.
"""

from __future__ import annotations

import argparse
import io
import itertools
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from helpers.core import duplicates
from helpers.core.duplicates import DISTANCE, RESIDUAL, find_duplicates, fingerprint, residual_of
from helpers.core.images import find_images, open_image
from helpers.core.scenes import draw_scenes


def cut(left: float, top: float, right: float, bottom: float) -> Callable[[Image.Image], Image.Image]:
    """A change that takes shares of width and height off the edges."""
    return lambda im: im.crop((round(im.width * left), round(im.height * top), im.width - round(im.width * right), im.height - round(im.height * bottom)))


def saved(quality: int) -> Callable[[Image.Image], Image.Image]:
    """A change that saves as JPEG of a quality."""
    def change(image: Image.Image) -> Image.Image:
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=quality)
        return Image.open(io.BytesIO(stream.getvalue())).convert("RGB")
    return change


CHANGES = {
    "saved as JPEG 40": saved(40),
    "scaled to a half": lambda im: im.resize((im.width // 2, im.height // 2)),
    "scaled to three times": lambda im: im.resize((im.width * 3, im.height * 3)),
    "brightened by 20 %": lambda im: ImageEnhance.Brightness(im).enhance(1.2),
    "darkened by 20 %": lambda im: ImageEnhance.Brightness(im).enhance(0.8),
    "contrast up by 20 %": lambda im: ImageEnhance.Contrast(im).enhance(1.2),
    "mirrored": ImageOps.mirror,
    "mirrored, half, JPEG 60": lambda im: saved(60)(ImageOps.mirror(im).resize((im.width // 2, im.height // 2))),
    "cut by 1 % all around": cut(0.01, 0.01, 0.01, 0.01),
    "cut by 2 % all around": cut(0.02, 0.02, 0.02, 0.02),
    "cut by 3 % all around": cut(0.03, 0.03, 0.03, 0.03),
    "cut by 2 % at one side": cut(0.02, 0, 0, 0),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=Path, help="drawn scenes; without it, 2325 are drawn")
    parser.add_argument("--every", type=int, default=40, help="every Nth scene is changed")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        if options.scenes is None:
            options.scenes = Path(folder) / "scenes"
            draw_scenes(options.scenes, 1957, 368, 0)
        paths = find_images(options.scenes)
        wrongly(paths)
        rightly(paths[::options.every], Path(folder))
        fast(paths)


def wrongly(paths: list[Path]) -> None:
    """Pairs of different scenes that are taken for one."""
    started = time.perf_counter()
    found = find_duplicates(paths, progress=None)
    print(f"{len(paths)} different scenes, {len(paths) * (len(paths) - 1) // 2} pairs: {len(found.pairs)} wrongly joined "
          f"({time.perf_counter() - started:.1f} s)")
    hashes, *_ = duplicates._read_all(paths, None)
    near = [(residual_of(paths[i], paths[j], mirrored), bits) for i, j, bits, mirrored in duplicates._near(hashes, 80)]
    below = sorted(residual for residual, bits in near if bits <= DISTANCE)
    print(f"pairs at most {DISTANCE} bits apart: {len(below)}, least residuals {[round(r, 1) for r in below[:4]]}; "
          f"at most 80 bits: {len(near)}, least {[round(r, 1) for r in sorted(near)[0]]}; joined up to {RESIDUAL}")


def rightly(paths: list[Path], folder: Path) -> None:
    """Changed copies that are taken for the picture they were made from."""
    print(f"\n{len(paths)} scenes and a changed copy of each\n\n| change | found | bits, median and most | residual, most |\n|---|---|---|---|")
    for name, change in CHANGES.items():
        hits, bits, residuals = 0, [], []
        for path in paths:
            original, copy = open_image(path), folder / "copy.png"
            change(original).save(copy)
            a, b = fingerprint(original), fingerprint(open_image(copy))
            apart = [int(np.bitwise_count(view ^ b[0]).sum()) for view in a]
            bits.append(min(apart))
            residuals.append(min(residual_of(path, copy), residual_of(path, copy, mirrored=True)))
            hits += len(find_duplicates([path, copy], progress=None).groups) == 1
        print(f"| {name} | {hits / len(paths):.0%} | {np.median(bits):.0f}, {max(bits)} | {max(residuals):.1f} |")


def fast(paths: list[Path], sample: int = 300) -> None:
    """Pairs a second, against ImageHash's subtraction."""
    from imagehash import phash

    hashes, *_ = duplicates._read_all(paths, None)
    many = [hashed.copy() for hashed in itertools.islice(itertools.cycle(hashes), 10_000)]
    for place, hashed in enumerate(many):  # no two alike, as in a folder of different photographs
        hashed ^= np.random.default_rng(place).integers(0, 2**63, hashed.shape, dtype=np.uint64)
    started = time.perf_counter()
    duplicates._near(many, DISTANCE)
    ours = len(many) * (len(many) - 1) / 2 / (time.perf_counter() - started)
    peers = [phash(Image.open(path), 16) for path in paths[:sample]]
    started = time.perf_counter()
    near = sum(one - other <= DISTANCE for one, other in itertools.combinations(peers, 2))
    theirs = sample * (sample - 1) / 2 / (time.perf_counter() - started)
    print(f"\n10 000 pictures, mirrored too: {len(many) * (len(many) - 1) / 2 / ours:.1f} s, {ours / 1e6:.1f} M pairs/s; "
          f"one by one {theirs / 1e6:.3f} M pairs/s ({near} near); ratio {ours / theirs:.0f}")


if __name__ == "__main__":
    main()
