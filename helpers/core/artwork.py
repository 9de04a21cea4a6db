"""Draws one object of each kind: flat colours, a dark outline, recognisable at 30 pixels.

The drawings are in `living.py` and `things.py`, one function a kind; the pen they draw with is in `pen.py`. Kinds that no student
knows are drawn by `strange.py`.
"""

from __future__ import annotations

from collections.abc import Callable

from PIL import ImageDraw

from helpers.core import living, strange, things
from helpers.core.pen import Colour, Pen

DRAWINGS: dict[str, Callable[[Pen, Colour], None]] = {
    f.__name__: f for f in (
        living.dog, living.cat, living.bird, living.horse, living.cow, living.sheep, living.duck, living.rabbit, living.butterfly, living.elephant,
        things.car, things.bus, things.truck, things.bicycle, things.boat, things.airplane, things.balloon,
        things.house, things.castle, things.lighthouse, things.tent,
        living.tree, living.palm, living.cactus, living.flower, living.mushroom, living.man, living.woman, living.child,
        things.ball, things.umbrella, things.bench, things.table, things.box, things.cup, things.kite)
}


def draw_object(draw: ImageDraw.ImageDraw, kind: str, colour: Colour, box_pixels: tuple[float, float, float, float],
                flip: bool = False, outline: float = 4.0) -> None:
    """Draw one `kind` in `colour` (RGB) into `box_pixels` = (left, top, width, height) of the canvas behind `draw`."""
    pen = Pen(draw, box_pixels, flip)
    (DRAWINGS.get(kind) or strange.DRAWINGS[kind])(pen, colour)
    pen.paint(outline)
