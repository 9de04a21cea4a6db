"""Drawings of vehicles, buildings and things: functions `(pen, colour)` in the unit box of `pen.py`."""

from __future__ import annotations

import math

from helpers.core.pen import DARK, INK, WINDOW, WOOD, Colour, Pen, shade


def _wheel(p: Pen, x: float, y: float, radius: float) -> None:
    p.circle(x, y, radius, DARK)
    p.circle(x, y, radius * 0.5, (200, 200, 205))


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
