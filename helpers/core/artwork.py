"""Draws one object of each kind: flat colours, a dark outline, recognisable at 30 pixels.

Every drawing is a function `(pen, colour)` that works in a unit box: x runs from 0 (left) to 1
(right), y from 0 (top) to 1 (the ground). `Pen` records the shapes, then paints their common
silhouette in a dark outline and the shapes on top of it, on a canvas `SUPERSAMPLING` times the size of
the picture; scaling the canvas down smooths every edge.
"""

from __future__ import annotations

import math
from collections.abc import Callable

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


def _eye(p: Pen, x: float, y: float, radius: float = 0.03) -> None:
    p.circle(x, y, radius * 1.5, (255, 255, 255))
    p.circle(x, y, radius, INK)


def _wheel(p: Pen, x: float, y: float, radius: float) -> None:
    p.circle(x, y, radius, DARK)
    p.circle(x, y, radius * 0.5, (200, 200, 205))


def dog(p: Pen, c: Colour) -> None:
    """A dog in profile: floppy ear, tail up."""
    p.line([(0.14, 0.52), (0.03, 0.26)], 0.09, c)
    for x in (0.2, 0.34, 0.58, 0.7):
        p.line([(x, 0.6), (x, 0.95)], 0.11, shade(c, 0.8) if x in (0.34, 0.58) else c)
    p.curve([(0.1, 0.5), (0.4, 0.42), (0.74, 0.42), (0.76, 0.66), (0.4, 0.72), (0.13, 0.68)], c)
    p.curve([(0.6, 0.22), (0.74, 0.08), (0.86, 0.2), (0.99, 0.3), (0.97, 0.42), (0.8, 0.48), (0.64, 0.44)], c)
    p.curve([(0.62, 0.14), (0.7, 0.16), (0.69, 0.42), (0.6, 0.48), (0.55, 0.3)], shade(c, 0.6))
    p.circle(0.98, 0.3, 0.05, INK)
    _eye(p, 0.81, 0.24)
    p.line([(0.66, 0.49), (0.76, 0.5)], 0.06, (210, 50, 50))


def cat(p: Pen, c: Colour) -> None:
    """A sitting cat seen from the front, pointed ears, tail curled up."""
    p.line([(0.72, 0.9), (0.95, 0.8), (0.96, 0.55), (0.86, 0.42)], 0.09, c)
    p.curve([(0.3, 0.45), (0.62, 0.45), (0.8, 0.8), (0.74, 0.98), (0.18, 0.98), (0.12, 0.8)], c)
    p.polygon([(0.13, 0.3), (0.14, 0.0), (0.42, 0.14)], c)
    p.polygon([(0.79, 0.3), (0.78, 0.0), (0.5, 0.14)], c)
    p.ellipse(0.46, 0.31, 0.36, 0.23, c)
    p.polygon([(0.2, 0.2), (0.2, 0.07), (0.33, 0.14)], (240, 160, 170))
    p.polygon([(0.72, 0.2), (0.72, 0.07), (0.59, 0.14)], (240, 160, 170))
    for x in (0.31, 0.61):
        p.ellipse(x, 0.28, 0.075, 0.06, (196, 226, 90))
        p.ellipse(x, 0.28, 0.028, 0.055, INK)
    p.polygon([(0.41, 0.36), (0.51, 0.36), (0.46, 0.42)], (235, 120, 130))
    p.ellipse(0.36, 0.95, 0.09, 0.05, shade(c, 1.3))
    p.ellipse(0.58, 0.95, 0.09, 0.05, shade(c, 1.3))


def bird(p: Pen, c: Colour) -> None:
    """A small bird in profile with a raised wing."""
    p.polygon([(0.02, 0.34), (0.02, 0.62), (0.32, 0.62)], shade(c, 0.7))
    p.curve([(0.2, 0.55), (0.45, 0.36), (0.75, 0.4), (0.8, 0.65), (0.55, 0.92), (0.32, 0.82)], c)
    p.circle(0.76, 0.4, 0.23, c)
    p.polygon([(0.88, 0.32), (1.0, 0.43), (0.88, 0.5)], (245, 165, 30))
    p.curve([(0.3, 0.6), (0.26, 0.02), (0.52, 0.28), (0.62, 0.62), (0.45, 0.72)], shade(c, 0.75))
    p.ellipse(0.56, 0.78, 0.13, 0.1, shade(c, 1.6))
    _eye(p, 0.8, 0.36, 0.045)


def horse(p: Pen, c: Colour) -> None:
    """A horse in profile: long neck, mane, long tail."""
    hair = shade(c, 0.5) if sum(c) > 250 else (120, 110, 100)
    p.curve([(0.12, 0.4), (0.02, 0.5), (0.02, 0.8), (0.1, 0.76), (0.16, 0.5)], hair)
    for x in (0.17, 0.28, 0.58, 0.68):
        p.line([(x, 0.6), (x, 0.95)], 0.075, shade(c, 0.8) if x in (0.28, 0.58) else c)
        p.rect(x - 0.04, 0.94, x + 0.04, 1.0, INK)
    p.curve([(0.08, 0.42), (0.3, 0.37), (0.6, 0.38), (0.74, 0.5), (0.7, 0.68), (0.4, 0.68), (0.14, 0.66)], c)
    p.polygon([(0.52, 0.42), (0.68, 0.1), (0.82, 0.16), (0.76, 0.56)], c)
    p.curve([(0.66, 0.08), (0.8, 0.06), (0.99, 0.28), (0.94, 0.36), (0.74, 0.26)], c)
    p.polygon([(0.69, 0.08), (0.72, 0.0), (0.77, 0.07)], c)
    p.curve([(0.66, 0.04), (0.7, 0.12), (0.57, 0.42), (0.48, 0.42), (0.54, 0.22)], hair)
    _eye(p, 0.8, 0.15, 0.02)


def cow(p: Pen, c: Colour) -> None:
    """A cow in profile: horns, pink muzzle and udder, light patch."""
    p.line([(0.07, 0.36), (0.03, 0.72)], 0.05, shade(c, 0.7))
    for x in (0.15, 0.27, 0.57, 0.68):
        p.line([(x, 0.65), (x, 0.94)], 0.11, shade(c, 0.8) if x in (0.27, 0.57) else c)
    p.ellipse(0.34, 0.74, 0.08, 0.08, (245, 165, 175))
    p.curve([(0.06, 0.36), (0.4, 0.28), (0.74, 0.32), (0.76, 0.64), (0.4, 0.74), (0.08, 0.7)], c)
    p.curve([(0.26, 0.36), (0.42, 0.33), (0.46, 0.5), (0.3, 0.55)], shade(c, 0.45) if sum(c) > 600 else (245, 245, 240))
    p.line([(0.75, 0.14), (0.71, 0.02)], 0.055, (240, 228, 190))
    p.line([(0.88, 0.14), (0.93, 0.02)], 0.055, (240, 228, 190))
    p.curve([(0.7, 0.16), (0.82, 0.1), (0.94, 0.18), (0.93, 0.44), (0.82, 0.52), (0.7, 0.44)], c)
    p.ellipse(0.66, 0.22, 0.05, 0.05, shade(c, 0.7))
    p.ellipse(0.85, 0.45, 0.12, 0.11, (245, 175, 180))
    p.circle(0.81, 0.45, 0.025, INK)
    p.circle(0.89, 0.45, 0.025, INK)
    _eye(p, 0.79, 0.25, 0.03)
    _eye(p, 0.89, 0.25, 0.03)


def sheep(p: Pen, c: Colour) -> None:
    """A sheep: a cloud of wool with a dark face and thin legs."""
    for x in (0.28, 0.4, 0.58, 0.68):
        p.line([(x, 0.7), (x, 0.96)], 0.08, DARK)
    for x, y, r in ((0.2, 0.5, 0.2), (0.36, 0.34, 0.2), (0.54, 0.32, 0.2), (0.7, 0.44, 0.2), (0.3, 0.66, 0.18), (0.52, 0.68, 0.18), (0.68, 0.62, 0.16), (0.45, 0.5, 0.24)):
        p.circle(x, y, r, c)
    p.curve([(0.72, 0.26), (0.84, 0.16), (0.98, 0.3), (0.96, 0.54), (0.86, 0.64), (0.76, 0.52)], DARK)
    p.ellipse(0.73, 0.3, 0.07, 0.06, DARK)
    p.circle(0.83, 0.19, 0.1, c)
    _eye(p, 0.86, 0.36, 0.035)


def duck(p: Pen, c: Colour) -> None:
    """A duck in profile: flat orange bill, tail turned up, orange feet."""
    p.line([(0.42, 0.85), (0.42, 0.97), (0.52, 0.97)], 0.06, (240, 130, 30))
    p.line([(0.58, 0.85), (0.58, 0.97), (0.68, 0.97)], 0.06, (240, 130, 30))
    p.curve([(0.0, 0.4), (0.2, 0.52), (0.5, 0.48), (0.78, 0.56), (0.72, 0.84), (0.4, 0.92), (0.12, 0.8)], c)
    p.polygon([(0.56, 0.3), (0.8, 0.3), (0.78, 0.62), (0.56, 0.62)], c)
    p.circle(0.69, 0.22, 0.21, c)
    p.curve([(0.82, 0.22), (0.98, 0.22), (1.0, 0.32), (0.84, 0.34)], (243, 140, 30))
    p.curve([(0.2, 0.58), (0.5, 0.58), (0.52, 0.74), (0.3, 0.8)], shade(c, 0.8))
    _eye(p, 0.73, 0.17, 0.04)


def rabbit(p: Pen, c: Colour) -> None:
    """A sitting rabbit seen from the front: two long ears, big teeth."""
    for x in (0.33, 0.63):
        p.ellipse(x, 0.2, 0.12, 0.21, c)
        p.ellipse(x, 0.2, 0.055, 0.15, (244, 168, 180))
    p.ellipse(0.48, 0.8, 0.36, 0.2, c)
    p.circle(0.86, 0.82, 0.09, shade(c, 1.4))
    p.ellipse(0.48, 0.5, 0.32, 0.19, c)
    for x in (0.36, 0.6):
        p.circle(x, 0.47, 0.035, INK)
    p.ellipse(0.48, 0.54, 0.05, 0.025, (235, 110, 130))
    p.rect(0.43, 0.58, 0.53, 0.65, (255, 255, 255))
    p.ellipse(0.3, 0.96, 0.14, 0.04, shade(c, 1.3))
    p.ellipse(0.66, 0.96, 0.14, 0.04, shade(c, 1.3))


def butterfly(p: Pen, c: Colour) -> None:
    """A butterfly seen from above, wings spread."""
    p.line([(0.5, 0.22), (0.38, 0.02)], 0.035, INK)
    p.line([(0.5, 0.22), (0.62, 0.02)], 0.035, INK)
    p.curve([(0.48, 0.4), (0.3, 0.06), (0.02, 0.1), (0.08, 0.48), (0.46, 0.56)], c)
    p.curve([(0.52, 0.4), (0.7, 0.06), (0.98, 0.1), (0.92, 0.48), (0.54, 0.56)], c)
    p.curve([(0.47, 0.52), (0.14, 0.54), (0.14, 0.94), (0.38, 0.94)], shade(c, 0.8))
    p.curve([(0.53, 0.52), (0.86, 0.54), (0.86, 0.94), (0.62, 0.94)], shade(c, 0.8))
    for x in (0.22, 0.78):
        p.circle(x, 0.28, 0.08, (255, 255, 255))
    p.ellipse(0.5, 0.52, 0.06, 0.34, INK)


def elephant(p: Pen, c: Colour) -> None:
    """An elephant in profile: big ear, trunk to the ground, tusk."""
    c = (140, 146, 160)
    p.line([(0.05, 0.35), (0.02, 0.62)], 0.03, shade(c, 0.7))
    for x in (0.16, 0.3, 0.5, 0.62):
        p.line([(x, 0.65), (x, 0.93)], 0.14, shade(c, 0.82) if x in (0.3, 0.5) else c)
    p.curve([(0.06, 0.3), (0.3, 0.14), (0.6, 0.18), (0.72, 0.4), (0.68, 0.72), (0.36, 0.76), (0.08, 0.7)], c)
    p.circle(0.76, 0.32, 0.23, c)
    p.line([(0.86, 0.42), (0.93, 0.62), (0.9, 0.8), (0.96, 0.9)], 0.1, c)
    p.line([(0.83, 0.5), (0.9, 0.56)], 0.05, (255, 250, 235))
    p.curve([(0.56, 0.14), (0.7, 0.16), (0.72, 0.42), (0.64, 0.58), (0.52, 0.44)], shade(c, 0.75))
    _eye(p, 0.81, 0.27, 0.022)


def car(p: Pen, c: Colour) -> None:
    """A saloon car from the side."""
    p.curve([(0.18, 0.42), (0.32, 0.06), (0.66, 0.06), (0.82, 0.42)], c)
    p.curve([(0.02, 0.5), (0.2, 0.38), (0.82, 0.38), (0.98, 0.52), (0.98, 0.8), (0.5, 0.84), (0.02, 0.8)], c)
    p.polygon([(0.27, 0.4), (0.36, 0.15), (0.48, 0.15), (0.48, 0.4)], WINDOW)
    p.polygon([(0.53, 0.4), (0.53, 0.15), (0.64, 0.15), (0.74, 0.4)], WINDOW)
    p.rect(0.92, 0.52, 0.99, 0.62, (255, 238, 150))
    p.rect(0.01, 0.52, 0.06, 0.62, (200, 30, 40))
    for x in (0.24, 0.76):
        _wheel(p, x, 0.8, 0.2)


def bus(p: Pen, c: Colour) -> None:
    """A bus: one long box with a row of windows."""
    p.rect(0.02, 0.06, 0.98, 0.84, c)
    for i in range(5):
        p.rect(0.06 + i * 0.155, 0.18, 0.18 + i * 0.155, 0.46, WINDOW)
    p.rect(0.84, 0.18, 0.95, 0.78, shade(WINDOW, 0.85))
    p.rect(0.02, 0.56, 0.82, 0.63, (255, 255, 255))
    for x in (0.22, 0.7):
        _wheel(p, x, 0.85, 0.145)


def truck(p: Pen, c: Colour) -> None:
    """A truck: grey cargo box behind a coloured cab."""
    p.rect(0.02, 0.02, 0.64, 0.78, (206, 208, 212))
    for x in (0.16, 0.33, 0.5):
        p.line([(x, 0.08), (x, 0.72)], 0.02, (165, 168, 175))
    p.polygon([(0.67, 0.2), (0.85, 0.2), (0.97, 0.5), (0.97, 0.82), (0.67, 0.82)], c)
    p.polygon([(0.72, 0.28), (0.83, 0.28), (0.91, 0.5), (0.72, 0.5)], WINDOW)
    p.rect(0.02, 0.76, 0.7, 0.84, DARK)
    p.rect(0.92, 0.6, 0.98, 0.68, (255, 238, 150))
    for x in (0.18, 0.36, 0.82):
        _wheel(p, x, 0.85, 0.145)


def bicycle(p: Pen, c: Colour) -> None:
    """A bicycle from the side."""
    for x in (0.21, 0.79):
        ring = [(x + 0.19 * math.cos(a / 12 * math.pi), 0.7 + 0.28 * math.sin(a / 12 * math.pi)) for a in range(25)]
        p.line(ring, 0.06, DARK)
    p.line([(0.21, 0.7), (0.4, 0.32), (0.69, 0.28), (0.48, 0.7), (0.21, 0.7)], 0.08, c)
    p.line([(0.37, 0.2), (0.48, 0.7)], 0.08, c)
    p.line([(0.67, 0.14), (0.79, 0.7)], 0.08, c)
    p.line([(0.28, 0.19), (0.46, 0.19)], 0.08, INK)
    p.line([(0.66, 0.14), (0.78, 0.06)], 0.07, INK)


def boat(p: Pen, c: Colour) -> None:
    """A sailing boat."""
    p.line([(0.48, 0.04), (0.48, 0.76)], 0.035, WOOD)
    p.polygon([(0.53, 0.05), (0.94, 0.64), (0.53, 0.64)], (252, 250, 240))
    p.polygon([(0.43, 0.14), (0.43, 0.64), (0.12, 0.64)], (236, 232, 220))
    p.polygon([(0.02, 0.72), (0.98, 0.72), (0.82, 0.98), (0.18, 0.98)], c)
    p.rect(0.07, 0.77, 0.93, 0.81, shade(c, 1.6) if sum(c) < 600 else (90, 130, 190))


def airplane(p: Pen, c: Colour) -> None:
    """An airliner from the side, nose to the right."""
    p.polygon([(0.04, 0.0), (0.15, 0.0), (0.28, 0.42), (0.1, 0.42)], shade(c, 0.75))
    p.polygon([(0.48, 0.4), (0.58, 0.4), (0.5, 0.06), (0.42, 0.06)], shade(c, 0.8))
    p.curve([(0.02, 0.42), (0.3, 0.32), (0.8, 0.32), (0.99, 0.5), (0.8, 0.64), (0.3, 0.64), (0.06, 0.52)], c)
    p.polygon([(0.44, 0.54), (0.62, 0.54), (0.36, 1.0), (0.26, 1.0)], shade(c, 0.7))
    for i in range(5):
        p.circle(0.3 + i * 0.11, 0.44, 0.055, (60, 110, 160))
    p.polygon([(0.85, 0.38), (0.93, 0.42), (0.93, 0.48), (0.85, 0.48)], (60, 110, 160))


def balloon(p: Pen, c: Colour) -> None:
    """A hot-air balloon with white stripes and a basket."""
    p.line([(0.3, 0.62), (0.4, 0.86)], 0.015, WOOD)
    p.line([(0.7, 0.62), (0.6, 0.86)], 0.015, WOOD)
    p.curve([(0.5, 0.0), (0.86, 0.12), (0.98, 0.36), (0.68, 0.68), (0.32, 0.68), (0.02, 0.36), (0.14, 0.12)], c)
    for x, r in ((0.26, 0.06), (0.74, 0.06)):
        p.ellipse(x, 0.35, r, 0.24, (252, 250, 240))
    p.rect(0.37, 0.84, 0.63, 1.0, WOOD)


def house(p: Pen, c: Colour) -> None:
    """A house: coloured wall, dark pitched roof, door and two windows."""
    p.rect(0.7, 0.04, 0.8, 0.3, (120, 70, 60))
    p.rect(0.1, 0.42, 0.9, 1.0, c)
    p.polygon([(0.0, 0.46), (0.5, 0.04), (1.0, 0.46)], (104, 66, 60))
    p.rect(0.42, 0.64, 0.58, 1.0, WOOD)
    p.circle(0.545, 0.83, 0.018, (250, 220, 90))
    for x in (0.17, 0.65):
        p.rect(x, 0.56, x + 0.18, 0.74, (255, 255, 255))
        p.rect(x + 0.025, 0.585, x + 0.155, 0.715, WINDOW)


def castle(p: Pen, c: Colour) -> None:
    """A grey castle: two round towers with red roofs, battlements, a gate."""
    stone = (168, 168, 178)
    p.rect(0.2, 0.45, 0.8, 1.0, stone)
    for i in range(4):
        p.rect(0.27 + i * 0.13, 0.38, 0.34 + i * 0.13, 0.47, stone)
    for x in (0.03, 0.71):
        p.rect(x, 0.3, x + 0.26, 1.0, shade(stone, 0.88))
        p.polygon([(x - 0.03, 0.32), (x + 0.13, 0.02), (x + 0.29, 0.32)], (176, 60, 60))
        p.rect(x + 0.09, 0.45, x + 0.17, 0.58, DARK)
    p.curve([(0.38, 1.0), (0.38, 0.74), (0.5, 0.64), (0.62, 0.74), (0.62, 1.0)], (92, 58, 36))


def lighthouse(p: Pen, c: Colour) -> None:
    """A white lighthouse with coloured bands and a yellow lamp."""
    def band(top: float, bottom: float, fill: Colour) -> None:
        def edge(y: float) -> float:
            return 0.22 - 0.16 * (y - 0.24) / 0.76
        p.polygon([(edge(top), top), (1 - edge(top), top), (1 - edge(bottom), bottom), (edge(bottom), bottom)], fill)
    for i in range(5):
        band(0.24 + i * 0.152, 0.24 + (i + 1) * 0.152, c if i % 2 == 0 else (250, 250, 246))
    p.rect(0.12, 0.2, 0.88, 0.25, DARK)
    p.rect(0.28, 0.1, 0.72, 0.21, (255, 236, 120))
    p.polygon([(0.18, 0.11), (0.5, 0.0), (0.82, 0.11)], c)


def tent(p: Pen, c: Colour) -> None:
    """A ridge tent with an open flap."""
    p.polygon([(0.36, 0.04), (0.76, 0.04), (1.0, 1.0), (0.68, 1.0)], shade(c, 0.75))
    p.polygon([(0.36, 0.04), (0.0, 1.0), (0.7, 1.0)], c)
    p.polygon([(0.36, 0.3), (0.22, 1.0), (0.5, 1.0)], (60, 48, 44))
    p.line([(0.36, 0.04), (0.36, 0.3)], 0.03, shade(c, 0.6))


def tree(p: Pen, c: Colour) -> None:
    """A leafy tree with a round crown."""
    p.polygon([(0.42, 0.55), (0.58, 0.55), (0.64, 1.0), (0.36, 1.0)], WOOD)
    for x, y, r in ((0.3, 0.44, 0.2), (0.7, 0.44, 0.2), (0.5, 0.22, 0.21), (0.33, 0.28, 0.16), (0.67, 0.28, 0.16), (0.5, 0.46, 0.2)):
        p.circle(x, y, r, LEAF)
    for x, y in ((0.4, 0.26), (0.62, 0.36), (0.3, 0.46), (0.54, 0.52)):
        p.circle(x, y, 0.045, shade(LEAF, 1.25))


def palm(p: Pen, c: Colour) -> None:
    """A palm tree: bent trunk, fan of long leaves, coconuts."""
    p.polygon([(0.46, 0.28), (0.55, 0.28), (0.62, 0.65), (0.64, 1.0), (0.46, 1.0), (0.5, 0.65)], (168, 120, 70))
    for dx, dy in ((-0.48, 0.02), (-0.4, 0.24), (0.48, 0.02), (0.42, 0.24), (-0.24, -0.2), (0.24, -0.2)):
        x, y = 0.5 + dx, 0.24 + dy
        p.curve([(0.5, 0.24), (0.5 + dx * 0.5, 0.24 + dy * 0.3 - 0.12), (x, y), (0.5 + dx * 0.5, 0.24 + dy * 0.5 - 0.01)], (44, 150, 70))
    for x in (0.45, 0.55):
        p.circle(x, 0.3, 0.04, (100, 62, 36))


def cactus(p: Pen, c: Colour) -> None:
    """A saguaro with two arms."""
    green = (58, 140, 84)
    p.line([(0.5, 0.12), (0.5, 0.94)], 0.2, green)
    p.line([(0.5, 0.62), (0.14, 0.62), (0.14, 0.36)], 0.13, green)
    p.line([(0.5, 0.5), (0.86, 0.5), (0.86, 0.24)], 0.13, green)
    for x in (0.44, 0.56):
        p.line([(x, 0.12), (x, 0.92)], 0.012, shade(green, 0.6))


def flower(p: Pen, c: Colour) -> None:
    """One flower: six petals, yellow heart (brown on yellow), stem and two leaves."""
    p.line([(0.5, 0.4), (0.5, 0.98)], 0.07, LEAF)
    p.curve([(0.5, 0.86), (0.18, 0.7), (0.08, 0.62), (0.2, 0.86)], LEAF)
    p.curve([(0.5, 0.82), (0.82, 0.66), (0.92, 0.58), (0.8, 0.82)], LEAF)
    for i in range(6):
        angle = i * math.pi / 3
        p.circle(0.5 + 0.3 * math.cos(angle), 0.27 + 0.17 * math.sin(angle), 0.12, c)
    p.circle(0.5, 0.27, 0.1, (150, 90, 30) if c[0] > 225 and c[1] > 190 and c[2] < 120 else (252, 205, 50))


def mushroom(p: Pen, c: Colour) -> None:
    """A mushroom with a spotted cap."""
    p.curve([(0.36, 0.5), (0.64, 0.5), (0.7, 0.94), (0.5, 1.0), (0.3, 0.94)], (245, 234, 210))
    p.curve([(0.02, 0.52), (0.14, 0.18), (0.5, 0.02), (0.86, 0.18), (0.98, 0.52), (0.5, 0.6)], c)
    spot = (170, 140, 110) if sum(c) > 600 else (255, 250, 240)
    for x, y, r in ((0.3, 0.28, 0.07), (0.58, 0.18, 0.08), (0.74, 0.38, 0.07), (0.46, 0.42, 0.06)):
        p.circle(x, y, r, spot)


def _head(p: Pen, y: float, radius: float, hair: Colour) -> None:
    p.circle(0.5, y - radius * 0.25, radius * 1.1, hair)
    p.circle(0.5, y, radius, SKIN)
    for x in (-0.4, 0.4):
        p.circle(0.5 + x * radius * p.box[3] / p.box[2], y, radius * 0.14, INK)


def man(p: Pen, c: Colour) -> None:
    """A man: short hair, coloured shirt, dark trousers."""
    for x in (0.36, 0.64):
        p.line([(x, 0.6), (x, 0.95)], 0.085, (70, 74, 96))
    for x, hand in ((0.2, 0.08), (0.8, 0.92)):
        p.line([(x, 0.33), (hand, 0.56)], 0.075, c)
        p.circle(hand, 0.58, 0.034, SKIN)
    p.polygon([(0.18, 0.27), (0.82, 0.27), (0.76, 0.64), (0.24, 0.64)], c)
    _head(p, 0.15, 0.105, (74, 52, 40))


def woman(p: Pen, c: Colour) -> None:
    """A woman: long hair, coloured dress."""
    p.curve([(0.5, 0.0), (0.76, 0.08), (0.82, 0.38), (0.5, 0.4), (0.18, 0.38), (0.24, 0.08)], (110, 62, 30))
    for x in (0.4, 0.6):
        p.line([(x, 0.78), (x, 0.96)], 0.055, SKIN)
    for x, hand in ((0.3, 0.12), (0.7, 0.88)):
        p.line([(x, 0.34), (hand, 0.54)], 0.055, SKIN)
    p.polygon([(0.32, 0.28), (0.68, 0.28), (0.66, 0.48), (0.95, 0.84), (0.05, 0.84), (0.34, 0.48)], c)
    p.circle(0.5, 0.16, 0.1, SKIN)
    for x in (0.42, 0.58):
        p.circle(x, 0.16, 0.015, INK)
    p.polygon([(0.28, 0.12), (0.5, 0.03), (0.72, 0.12), (0.5, 0.09)], (110, 62, 30))


def child(p: Pen, c: Colour) -> None:
    """A child: large head with a cap, short body with arms raised."""
    for x in (0.4, 0.6):
        p.line([(x, 0.76), (x, 0.94)], 0.1, (70, 74, 96))
    for x, hand in ((0.34, 0.06), (0.66, 0.94)):
        p.line([(x, 0.58), (hand, 0.44)], 0.08, c)
        p.circle(hand, 0.42, 0.045, SKIN)
    p.polygon([(0.27, 0.5), (0.73, 0.5), (0.76, 0.8), (0.24, 0.8)], c)
    p.circle(0.5, 0.3, 0.2, SKIN)
    p.curve([(0.14, 0.24), (0.2, 0.06), (0.5, 0.0), (0.8, 0.06), (0.86, 0.24), (0.5, 0.22)], c)
    p.line([(0.5, 0.23), (0.98, 0.25)], 0.045, c)
    for x in (0.4, 0.6):
        p.circle(x, 0.32, 0.027, INK)


def ball(p: Pen, c: Colour) -> None:
    """A ball with a light band and a shine."""
    p.circle(0.5, 0.5, 0.48, c)
    p.line([(0.04, 0.52), (0.28, 0.62), (0.72, 0.62), (0.96, 0.52)], 0.13, (252, 250, 244))
    p.circle(0.34, 0.26, 0.09, shade(c, 1.7))


def umbrella(p: Pen, c: Colour) -> None:
    """An open umbrella, planted upright."""
    p.line([(0.5, 0.06), (0.5, 0.9), (0.58, 0.97), (0.66, 0.9)], 0.045, WOOD)
    p.curve([(0.0, 0.5), (0.12, 0.18), (0.5, 0.04), (0.88, 0.18), (1.0, 0.5), (0.75, 0.44), (0.5, 0.5), (0.25, 0.44)], c)
    p.polygon([(0.5, 0.06), (0.38, 0.47), (0.62, 0.47)], shade(c, 1.45))


def bench(p: Pen, c: Colour) -> None:
    """A garden bench: a back of slats, a seat and legs."""
    for x in (0.1, 0.9):
        p.line([(x, 0.06), (x, 0.96)], 0.07, DARK)
    p.rect(0.03, 0.06, 0.97, 0.22, c)
    p.rect(0.03, 0.3, 0.97, 0.44, c)
    p.rect(0.0, 0.56, 1.0, 0.7, shade(c, 0.85))


def table(p: Pen, c: Colour) -> None:
    """A table: a thick top on four legs."""
    for x in (0.1, 0.26, 0.74, 0.9):
        p.line([(x, 0.2), (x, 0.96)], 0.075, shade(c, 0.75))
    p.polygon([(0.08, 0.02), (0.92, 0.02), (1.0, 0.2), (0.0, 0.2)], c)
    p.rect(0.0, 0.2, 1.0, 0.3, shade(c, 0.8))


def box(p: Pen, c: Colour) -> None:
    """A closed box with a tape across."""
    p.polygon([(0.0, 0.26), (0.2, 0.04), (1.0, 0.04), (0.8, 0.26)], shade(c, 1.25))
    p.polygon([(0.8, 0.26), (1.0, 0.04), (1.0, 0.76), (0.8, 1.0)], shade(c, 0.7))
    p.rect(0.0, 0.26, 0.8, 1.0, c)
    p.rect(0.33, 0.26, 0.47, 1.0, (226, 200, 140))


def cup(p: Pen, c: Colour) -> None:
    """A mug with a handle, steaming."""
    ring = [(0.76 + 0.18 * math.cos(a / 6 * math.pi), 0.62 + 0.2 * math.sin(a / 6 * math.pi)) for a in range(13)]
    p.line(ring, 0.09, c)
    p.polygon([(0.08, 0.34), (0.76, 0.34), (0.7, 0.98), (0.14, 0.98)], c)
    p.ellipse(0.42, 0.35, 0.34, 0.09, (110, 66, 40))
    for x in (0.32, 0.52):
        p.line([(x, 0.2), (x + 0.04, 0.12), (x, 0.04)], 0.04, (225, 228, 232))


def kite(p: Pen, c: Colour) -> None:
    """A diamond kite with a tail of bows."""
    p.line([(0.5, 0.58), (0.6, 0.72), (0.42, 0.84), (0.55, 0.98)], 0.02, INK)
    for x, y in ((0.58, 0.72), (0.44, 0.84), (0.54, 0.96)):
        p.polygon([(x - 0.12, y - 0.03), (x + 0.12, y + 0.03), (x + 0.12, y - 0.03), (x - 0.12, y + 0.03)], c)
    p.polygon([(0.5, 0.0), (0.98, 0.26), (0.5, 0.6), (0.02, 0.26)], c)
    p.polygon([(0.5, 0.0), (0.98, 0.26), (0.5, 0.26)], shade(c, 1.5))
    p.polygon([(0.5, 0.6), (0.02, 0.26), (0.5, 0.26)], shade(c, 1.5))


DRAWINGS: dict[str, Callable[[Pen, Colour], None]] = {
    f.__name__: f for f in (
        dog, cat, bird, horse, cow, sheep, duck, rabbit, butterfly, elephant, car, bus, truck, bicycle, boat, airplane,
        balloon, house, castle, lighthouse, tent, tree, palm, cactus, flower, mushroom, man, woman, child, ball,
        umbrella, bench, table, box, cup, kite)
}


def draw_object(draw: ImageDraw.ImageDraw, kind: str, colour: Colour, box_pixels: tuple[float, float, float, float],
                flip: bool = False, outline: float = 4.0) -> None:
    """Draw one `kind` in `colour` (RGB) into `box_pixels` = (left, top, width, height) of the canvas behind `draw`."""
    pen = Pen(draw, box_pixels, flip)
    DRAWINGS[kind](pen, colour)
    pen.paint(outline)
