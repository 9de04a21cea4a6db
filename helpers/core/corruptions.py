"""Six ways in which pictures go wrong, each at five strengths: noise, blur, contrast, JPEG, rotation, occlusion.

    PIL picture (RGB)  --corrupt(picture, "noise", 3, seed)-->  PIL picture of the same size

The first four are those of ImageNet-C with its very strengths for pictures of 224 pixels (Hendrycks and Dietterich, 2019,
arXiv:1903.12261, appendix A and its code): Gaussian noise, Gaussian blur, contrast, JPEG. Rotation and occlusion are not among its
corruptions; their strengths are this kit's, chosen so that what is in the picture stays in it: turned by 30 degrees at most and
shrunk to fit, or hidden behind many small squares, of which hardly any object is hidden whole. Scikit-image and Pillow do the work:
the package imagecorruptions (1.1.2, of 2020) needs what numpy and scikit-image have dropped since, and lacks the last two.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

from helpers.core.errors import InputError

STRENGTHS = (1, 2, 3, 4, 5)
GREY = (127, 127, 127)
SQUARES = 16  # occlusion cuts a picture into so many squares a side


def noise(picture: Image.Image, amount: float, dice: np.random.Generator) -> Image.Image:
    """Gaussian noise of standard deviation `amount` (of 1) in every channel, as in weak light."""
    from skimage.util import random_noise

    noisy = random_noise(np.asarray(picture), mode="gaussian", var=amount ** 2, rng=dice)
    return Image.fromarray((noisy * 255).astype(np.uint8))


def blur(picture: Image.Image, amount: float, dice: np.random.Generator) -> Image.Image:
    """Gaussian blur of standard deviation `amount` in pixels of a picture 224 wide: out of focus."""
    return picture.filter(ImageFilter.GaussianBlur(amount * picture.width / 224))


def contrast(picture: Image.Image, amount: float, dice: np.random.Generator) -> Image.Image:
    """`amount` (of 1) of the contrast around each channel's mean: fog."""
    values = np.asarray(picture, dtype=np.float64)
    mean = values.mean(axis=(0, 1), keepdims=True)
    return Image.fromarray(np.clip((values - mean) * amount + mean, 0, 255).astype(np.uint8))


def jpeg(picture: Image.Image, amount: float, dice: np.random.Generator) -> Image.Image:
    """Saved as JPEG at quality `amount` and opened again."""
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=int(amount))
    return Image.open(stream).convert("RGB")


def rotation(picture: Image.Image, amount: float, dice: np.random.Generator) -> Image.Image:
    """Turned by `amount` degrees to either side and shrunk so that all of it is still there; the corners are grey."""
    angle = amount if dice.random() < 0.5 else -amount
    return picture.rotate(angle, Image.Resampling.BICUBIC, expand=True, fillcolor=GREY).resize(picture.size, Image.Resampling.LANCZOS)


def occlusion(picture: Image.Image, amount: float, dice: np.random.Generator) -> Image.Image:
    """`amount` (of 1) of the picture hidden behind grey squares of a sixteenth of its width, drawn at random (as in Hide-and-Seek,
    Singh and Lee, 2017, arXiv:1704.04545)."""
    hidden = np.zeros(SQUARES ** 2, dtype=np.uint8)
    hidden[dice.permutation(SQUARES ** 2)[:round(amount * SQUARES ** 2)]] = 255
    mask = Image.fromarray(hidden.reshape(SQUARES, SQUARES)).resize(picture.size, Image.Resampling.NEAREST)
    return Image.composite(Image.new("RGB", picture.size, GREY), picture, mask)


Corruption = Callable[[Image.Image, float, np.random.Generator], Image.Image]
# What each does, and its amount at strengths 1 to 5.
CORRUPTIONS: dict[str, tuple[Corruption, tuple[float, ...]]] = {
    "noise": (noise, (0.08, 0.12, 0.18, 0.26, 0.38)), "blur": (blur, (1, 2, 3, 4, 6)), "contrast": (contrast, (0.4, 0.3, 0.2, 0.1, 0.05)),
    "jpeg": (jpeg, (25, 18, 15, 10, 7)), "rotation": (rotation, (5, 10, 15, 20, 30)), "occlusion": (occlusion, (0.1, 0.2, 0.3, 0.4, 0.5)),
}


def corrupt(picture: Image.Image, name: str, strength: int, seed: str | int = 0) -> Image.Image:
    """The picture, corrupted. strength: 1 (weakest) to 5; 0 leaves it as it is.  seed: the same picture, name, strength and seed give the
    same pixels. Raises InputError for an unknown corruption or strength."""
    if name not in CORRUPTIONS:
        raise InputError(f"There is no corruption {name!r}; choose from {', '.join(CORRUPTIONS)}.")
    if strength not in (0, *STRENGTHS):
        raise InputError(f"A corruption has the strengths {STRENGTHS[0]} to {STRENGTHS[-1]} (0: none), not {strength!r}.")
    if strength == 0:
        return picture
    function, amounts = CORRUPTIONS[name]
    digest = hashlib.sha256(f"{name} {strength} {seed}".encode()).digest()
    return function(picture, amounts[strength - 1], np.random.default_rng(int.from_bytes(digest[:8], "big")))
