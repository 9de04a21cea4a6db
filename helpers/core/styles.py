"""The same picture in other hands: a pen drawing, a photograph without colour, a watercolour, a poster, pixels.

    PIL picture (RGB)  --STYLES[name].paint(picture, rng)-->  PIL picture of the same size

A style changes how things look and nothing of what is there, so a plan (`scenes.py`) drawn plainly and in a style makes a pair in
which only the style differs. Where a style takes the colours away, what a model says of colours can only be guessed: `colours` tells.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from helpers.core.pen import INK, PALETTE


@dataclass(frozen=True)
class Style:
    """A way to paint. colours: whether the colours of things can still be seen."""

    paint: Callable[[Image.Image, random.Random], Image.Image]
    colours: bool


def greyscale(picture: Image.Image, rng: random.Random) -> Image.Image:
    """Lightness alone (ITU-R 601), as in a black-and-white photograph."""
    return ImageOps.grayscale(picture).convert("RGB")


def _edges(picture: Image.Image) -> np.ndarray:
    """How much a shape's edge each pixel is, 0 to 1: the strongest edge of the colour channels (Sobel)."""
    from skimage.filters import sobel

    values = np.asarray(picture, dtype=np.float64) / 255
    return np.clip((np.max([sobel(values[..., channel]) for channel in range(3)], axis=0) - 0.05) * 5, 0, 1)


def line_drawing(picture: Image.Image, rng: random.Random) -> Image.Image:
    """Ink on white paper: the edge of every shape, and no fill."""
    ink = _edges(picture)[..., None]
    return Image.fromarray((255 * (1 - ink) + np.array(INK) * ink).astype(np.uint8))


def watercolour(picture: Image.Image, rng: random.Random) -> Image.Image:
    """Flat patches that run into each other at wavering edges, thinned with water, on grained paper."""
    from scipy.ndimage import gaussian_filter, map_coordinates

    dice = np.random.default_rng(rng.getrandbits(32))
    values = np.asarray(picture.filter(ImageFilter.ModeFilter(7)), dtype=np.float64)
    height, width = values.shape[:2]
    waver = [gaussian_filter(dice.normal(size=(height, width)), 4) * 14 for _ in range(2)]
    rows, columns = np.mgrid[:height, :width]
    wet = np.stack([gaussian_filter(map_coordinates(values[..., c], [rows + waver[0], columns + waver[1]], order=1, mode="nearest"), 1.1)
                    for c in range(3)], axis=-1)
    blotch = gaussian_filter(dice.normal(size=(height, width)), 9)
    blotch *= 0.1 / blotch.std()
    grain = gaussian_filter(dice.normal(size=(height, width)), 0.7) * 0.05
    pale = 255 - (255 - wet) * 0.74 * (1 + blotch[..., None])
    return Image.fromarray(np.clip(pale * (1 + grain[..., None]), 0, 255).astype(np.uint8))


def poster(picture: Image.Image, rng: random.Random) -> Image.Image:
    """Flat inks with white seams: every patch in that of the kit's eleven colours that it is nearest to (in CIELAB)."""
    from skimage.color import rgb2lab

    inks = np.array(list(PALETTE.values()), dtype=np.uint8)
    lab, named = rgb2lab(np.asarray(picture.filter(ImageFilter.MedianFilter(5)))), rgb2lab(inks[None])[0]
    flat = inks[np.linalg.norm(lab[:, :, None] - named, axis=-1).argmin(axis=-1)]
    seam = _edges(picture)[..., None]
    return Image.fromarray((flat * (1 - seam) + 255 * seam).astype(np.uint8))


def pixels(picture: Image.Image, rng: random.Random) -> Image.Image:
    """Squares of 5 pixels, as on an old screen."""
    small = picture.resize((picture.width // 5, picture.height // 5), Image.Resampling.BOX)
    return small.resize(picture.size, Image.Resampling.NEAREST)


STYLES: dict[str, Style] = {
    "greyscale": Style(greyscale, colours=False), "line drawing": Style(line_drawing, colours=False), "watercolour": Style(watercolour, colours=True),
    "poster": Style(poster, colours=True), "pixels": Style(pixels, colours=True),
}
