"""The pen that draws objects: shapes in a unit box, painted with a dark outline around their common silhouette.

x runs from 0 (left) to 1 (right), y from 0 (top) to 1 (the ground). A canvas is `SUPERSAMPLING` times the size of the
picture; scaling it down smooths every edge.
"""

from __future__ import annotations

from PIL import ImageDraw

SUPERSAMPLING = 4
Colour = tuple[int, int, int]
Points = list[tuple[float, float]]

PALETTE: dict[str, Colour] = {
    "red": (219, 48, 48), "orange": (245, 140, 30), "yellow": (250, 216, 54), "green": (46, 158, 72),
    "blue": (44, 108, 220), "purple": (138, 70, 196), "pink": (246, 140, 186), "brown": (136, 86, 48),
    "black": (52, 52, 60), "white": (247, 247, 244), "grey": (150, 155, 163),
}
INK = (38, 34, 44)
SKIN = (241, 194, 152)
WINDOW = (178, 222, 240)
LEAF = (66, 150, 62)
WOOD = (128, 82, 46)
DARK = (58, 58, 66)


def shade(colour: Colour, factor: float) -> Colour:
    """`colour` made darker (factor < 1) or mixed with white (factor > 1, up to 2)."""
    if factor <= 1:
        return tuple(int(c * factor) for c in colour)
    return tuple(int(c + (255 - c) * (factor - 1)) for c in colour)


class Pen:
    """Records shapes of a unit box and paints them into `box` = (left, top, width, height) in canvas pixels."""

    def __init__(self, draw: ImageDraw.ImageDraw, box: tuple[float, float, float, float], flip: bool = False):
        self.draw, self.box, self.flip = draw, box, flip
        self.shapes: list[tuple[str, Points, float, Colour]] = []

    def _at(self, x: float, y: float) -> tuple[float, float]:
        left, top, width, height = self.box
        return left + (1 - x if self.flip else x) * width, top + y * height

    def polygon(self, points: Points, fill: Colour) -> None:
        """A filled polygon through `points`."""
        self.shapes.append(("polygon", [self._at(x, y) for x, y in points], 0, fill))

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: Colour) -> None:
        """An ellipse around (x, y); `rx` in box widths, `ry` in box heights."""
        (cx, cy), (_, _, width, height) = self._at(x, y), self.box
        self.shapes.append(("ellipse", [(cx - rx * width, cy - ry * height), (cx + rx * width, cy + ry * height)], 0, fill))

    def circle(self, x: float, y: float, radius: float, fill: Colour) -> None:
        """A circle around (x, y); `radius` in box heights."""
        self.ellipse(x, y, radius * self.box[3] / self.box[2], radius, fill)

    def rect(self, x0: float, y0: float, x1: float, y1: float, fill: Colour) -> None:
        """An upright rectangle."""
        self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], fill)

    def line(self, points: Points, width: float, fill: Colour) -> None:
        """A stroke through `points` with round ends; `width` in box heights."""
        self.shapes.append(("line", [self._at(x, y) for x, y in points], width * self.box[3], fill))

    def curve(self, points: Points, fill: Colour, steps: int = 8) -> None:
        """A filled closed curve through `points` (Catmull-Rom spline)."""
        path, n = [], len(points)
        for i in range(n):
            a, b, c, d = points[i - 1], points[i], points[(i + 1) % n], points[(i + 2) % n]
            for k in range(steps):
                t = k / steps
                path.append(tuple(0.5 * (2 * q + (r - p) * t + (2 * p - 5 * q + 4 * r - s) * t * t + (3 * q - p - 3 * r + s) * t ** 3)
                                  for p, q, r, s in zip(a, b, c, d)))
        self.polygon(path, fill)

    def _stroke(self, points: Points, width: float, fill: Colour) -> None:
        self.draw.line(points, fill=fill, width=max(1, round(width)), joint="curve")
        for x, y in (points[0], points[-1]):
            self.draw.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=fill)

    def paint(self, outline: float) -> None:
        """Paint all recorded shapes, with an outline of `outline` canvas pixels around their union."""
        for shape, points, width, _ in self.shapes:
            if shape == "polygon":
                self._stroke([*points, points[0]], 2 * outline, INK)
            elif shape == "ellipse":
                (x0, y0), (x1, y1) = points
                self.draw.ellipse((x0 - outline, y0 - outline, x1 + outline, y1 + outline), fill=INK)
            else:
                self._stroke(points, width + 2 * outline, INK)
        for shape, points, width, fill in self.shapes:
            if shape == "polygon":
                self.draw.polygon(points, fill=fill)
            elif shape == "ellipse":
                self.draw.ellipse((*points[0], *points[1]), fill=fill)
            else:
                self._stroke(points, width, fill)
