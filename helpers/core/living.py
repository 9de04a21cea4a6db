"""Drawings of animals, plants and people: functions `(pen, colour)` in the unit box of `pen.py`."""

from __future__ import annotations

import math

from helpers.core.pen import DARK, INK, LEAF, SKIN, WOOD, Colour, Pen, shade


def _eye(p: Pen, x: float, y: float, radius: float = 0.03) -> None:
    p.circle(x, y, radius * 1.5, (255, 255, 255))
    p.circle(x, y, radius, INK)


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
