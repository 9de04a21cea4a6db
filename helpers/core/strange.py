"""What no student of this kit was ever shown: further kinds of object and further places, to see what a model says of the unknown.

Shape of the data: `STRANGE_KINDS["giraffe"]` is a `lexicon.Kind` with its words in two languages, `DRAWINGS["giraffe"]` draws it like
`living.py` and `things.py` do, `PLACES["volcano"]` is a `Word`, `PAINTERS["volcano"]` paints it on a `backdrops.Backdrop`.

They stand apart from `lexicon.py` on purpose. What stands there is planned into scenes, spoken by the stand-in, learned in pretraining and
read by `truth.py`; what stands here appears only where a split (`splits.py`) puts it. So nobody can have learned it.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from helpers.core.lexicon import KINDS, SETTINGS, Kind, Word
from helpers.core.pen import DARK, INK, WINDOW, Colour, Pen, shade

_HORIZON, _SIZE = 128, 224  # as in backdrops.py, which imports this module


def giraffe(p: Pen, c: Colour) -> None:
    """A giraffe in profile: long legs and neck, brown patches, two horns."""
    c, patch = (240, 196, 92), (150, 92, 40)
    p.line([(0.1, 0.58), (0.04, 0.8)], 0.025, patch)
    for x in (0.2, 0.32, 0.56, 0.66):
        p.line([(x, 0.68), (x, 0.97)], 0.055, shade(c, 0.85) if x in (0.32, 0.56) else c)
    p.curve([(0.1, 0.56), (0.4, 0.48), (0.72, 0.48), (0.72, 0.7), (0.4, 0.73), (0.12, 0.7)], c)
    p.polygon([(0.5, 0.52), (0.72, 0.1), (0.86, 0.12), (0.74, 0.58)], c)
    for x in (0.72, 0.8):
        p.line([(x, 0.08), (x - 0.01, 0.01)], 0.022, patch)
    p.curve([(0.66, 0.07), (0.82, 0.04), (1.0, 0.14), (0.97, 0.19), (0.78, 0.18)], c)
    for x, y, r in ((0.24, 0.6, 0.04), (0.4, 0.56, 0.045), (0.54, 0.64, 0.04), (0.66, 0.42, 0.032), (0.72, 0.3, 0.03), (0.77, 0.2, 0.024), (0.36, 0.67, 0.03)):
        p.circle(x, y, r, patch)
    p.circle(0.83, 0.1, 0.014, INK)


def penguin(p: Pen, c: Colour) -> None:
    """A penguin from the front: black back, white belly, orange bill and feet."""
    for x in (0.34, 0.66):
        p.ellipse(x, 0.96, 0.16, 0.04, (245, 150, 40))
    for x, tip in ((0.16, 0.02), (0.84, 0.98)):
        p.curve([(x, 0.36), (tip, 0.6), (x, 0.7)], (44, 46, 60))
    p.ellipse(0.5, 0.56, 0.38, 0.4, (44, 46, 60))
    p.circle(0.5, 0.21, 0.2, (44, 46, 60))
    p.ellipse(0.5, 0.62, 0.26, 0.31, (250, 250, 246))
    for x in (0.36, 0.64):
        p.ellipse(x, 0.19, 0.09, 0.06, (250, 250, 246))
        p.ellipse(x, 0.19, 0.045, 0.03, INK)
    p.polygon([(0.38, 0.25), (0.62, 0.25), (0.5, 0.34)], (245, 150, 40))


def snail(p: Pen, c: Colour) -> None:
    """A snail: a coloured spiral shell on a pale foot, two feelers."""
    foot = (222, 196, 150)
    for x, tip in ((0.82, 0.78), (0.92, 0.98)):
        p.line([(x, 0.5), (tip, 0.2)], 0.04, foot)
        p.circle(tip, 0.17, 0.05, INK)
    p.curve([(0.02, 0.94), (0.2, 0.84), (0.7, 0.84), (0.78, 0.5), (0.92, 0.46), (0.98, 0.6), (0.9, 0.98), (0.3, 1.0)], foot)
    p.circle(0.42, 0.5, 0.42, c)
    for radius, fill in ((0.29, shade(c, 0.7)), (0.2, c), (0.1, shade(c, 0.6))):
        p.circle(0.44, 0.54, radius, fill)


def windmill(p: Pen, c: Colour) -> None:
    """A windmill: a white tower, a dark cap, four sails."""
    p.polygon([(0.34, 0.34), (0.66, 0.34), (0.78, 1.0), (0.22, 1.0)], (236, 230, 216))
    p.polygon([(0.3, 0.36), (0.5, 0.18), (0.7, 0.36)], (110, 70, 60))
    p.rect(0.42, 0.8, 0.58, 1.0, (110, 76, 48))
    p.rect(0.45, 0.52, 0.55, 0.62, WINDOW)
    for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
        ax, ay, bx, by = 0.5 + 0.44 * x, 0.32 + 0.3 * y, 0.1 * y, -0.07 * x
        p.polygon([(0.5, 0.32), (ax, ay), (ax + bx, ay + by), (0.5 + 0.3 * bx, 0.32 + 0.3 * by)], (214, 190, 150))
    p.circle(0.5, 0.32, 0.03, DARK)


def train(p: Pen, c: Colour) -> None:
    """A steam engine from the side: boiler, chimney, cab, three wheels."""
    p.rect(0.12, 0.1, 0.24, 0.42, DARK)
    p.polygon([(0.08, 0.1), (0.28, 0.1), (0.24, 0.02), (0.12, 0.02)], DARK)
    p.circle(0.46, 0.36, 0.1, (222, 180, 70))
    p.curve([(0.04, 0.52), (0.12, 0.38), (0.6, 0.38), (0.64, 0.56), (0.6, 0.78), (0.1, 0.78)], c)
    p.rect(0.6, 0.14, 0.96, 0.8, shade(c, 0.85))
    p.rect(0.56, 0.06, 1.0, 0.16, DARK)
    p.rect(0.68, 0.26, 0.88, 0.48, WINDOW)
    p.polygon([(0.0, 0.94), (0.14, 0.74), (0.14, 0.94)], (120, 124, 132))
    for x, r in ((0.26, 0.13), (0.5, 0.13), (0.8, 0.18)):
        p.circle(x, 0.98 - r, r, (176, 40, 48))
        p.circle(x, 0.98 - r, r * 0.4, (230, 230, 232))


def robot(p: Pen, c: Colour) -> None:
    """A robot: a square head with an aerial, a box for a body, claws."""
    p.line([(0.5, 0.12), (0.5, 0.03)], 0.025, DARK)
    p.circle(0.5, 0.03, 0.03, (230, 60, 60))
    for x in (0.34, 0.66):
        p.rect(x - 0.09, 0.74, x + 0.09, 0.95, (150, 156, 166))
        p.rect(x - 0.14, 0.93, x + 0.14, 1.0, DARK)
    for x, hand in ((0.16, 0.06), (0.84, 0.94)):
        p.line([(x, 0.42), (hand, 0.56), (hand, 0.64)], 0.05, (150, 156, 166))
        p.circle(hand, 0.68, 0.04, DARK)
    p.rect(0.14, 0.36, 0.86, 0.78, c)
    p.rect(0.24, 0.11, 0.76, 0.34, shade(c, 1.3))
    for x in (0.4, 0.6):
        p.circle(x, 0.2, 0.035, (250, 240, 120))
    p.rect(0.36, 0.27, 0.64, 0.3, DARK)
    for x in (0.36, 0.5, 0.64):
        p.circle(x, 0.5, 0.025, (250, 250, 250))


def _kind(en: str, zh: str, measure: str, height: int, aspect: float, group: str, colours: tuple[str, ...] = (),
          en_more: tuple[str, ...] = (), zh_more: tuple[str, ...] = ()) -> Kind:
    return Kind(Word(en, zh, en_more, zh_more), measure, height, aspect, group, colours)


STRANGE_KINDS: dict[str, Kind] = {
    "giraffe": _kind("giraffe", "长颈鹿", "只", 108, 0.72, "animal"),
    "penguin": _kind("penguin", "企鹅", "只", 72, 0.7, "animal"),
    "snail": _kind("snail", "蜗牛", "只", 54, 1.3, "animal", ("red", "blue", "purple", "green", "orange")),
    "windmill": _kind("windmill", "风车", "座", 112, 0.86, "building", (), ("mill",), ("磨坊",)),
    "train": _kind("train", "火车", "列", 70, 1.5, "vehicle", ("red", "blue", "green", "black"), ("steam engine", "locomotive"), ("火车头", "机车")),
    "robot": _kind("robot", "机器人", "个", 92, 0.62, "thing", ("red", "blue", "yellow", "green"), ("android",)),
}
DRAWINGS: dict[str, Callable[[Pen, Colour], None]] = {f.__name__: f for f in (giraffe, penguin, snail, windmill, train, robot)}


def _volcano(b) -> None:
    """A cone with glowing rivers of lava, and dark ground."""
    rock, glow = b._lit((74, 62, 66)), (255, 116, 40)
    x = 112 + b.rng.uniform(-40, 40)
    b._polygon([(x - 96, _HORIZON + 4), (x - 20, 34), (x + 20, 34), (x + 96, _HORIZON + 4)], rock)
    b._polygon([(x - 20, 34), (x + 20, 34), (x + 8, 54), (x + 12, 84), (x + 2, 60), (x - 8, 96), (x - 9, 56)], glow)
    b._gradient((0, _HORIZON, _SIZE, _SIZE), b._lit((86, 72, 74)), b._lit((64, 54, 60)))
    for _ in range(4):
        x, y = b.rng.uniform(0, 190), b.rng.uniform(_HORIZON + 16, 214)
        b._polygon([(x, y), (x + 22, y - 3), (x + 44, y + 3), (x + 40, y + 6), (x + 20, y + 1), (x + 2, y + 4)], glow)


def _ice_field(b) -> None:
    """Icebergs on a green-blue sea, and a white floe with cracks."""
    b._rect(0, _HORIZON - 12, _SIZE, _HORIZON + 22, b._lit((70, 150, 166)))
    for x, h in ((26, 62), (96, 38), (176, 74)):
        x += b.rng.uniform(-12, 12)
        b._polygon([(x - 30, _HORIZON + 2), (x - 18, _HORIZON - h * 0.7), (x, _HORIZON - h), (x + 14, _HORIZON - h * 0.5), (x + 32, _HORIZON + 2)], b._lit((206, 236, 250)))
        b._polygon([(x, _HORIZON - h), (x + 14, _HORIZON - h * 0.5), (x + 32, _HORIZON + 2), (x + 4, _HORIZON + 2)], b._lit((160, 206, 232)))
    b._gradient((0, _HORIZON + 14, _SIZE, _SIZE), b._lit((226, 240, 248)), b._lit((246, 250, 253)))
    for _ in range(6):
        x, y = b.rng.uniform(0, 190), b.rng.uniform(_HORIZON + 24, 216)
        b._polygon([(x, y), (x + 16, y - 5), (x + 36, y + 3), (x + 16, y - 2)], b._lit((150, 196, 220)))


def _stadium(b) -> None:
    """Stands full of dots, and a red running track with white lanes."""
    b._rect(0, 74, _SIZE, _HORIZON + 4, b._lit((122, 128, 146)))
    for row in range(6):
        for column in range(28):
            colour = b.rng.choice(((230, 90, 80), (240, 220, 120), (110, 150, 220), (235, 235, 235), (120, 180, 120)))
            b._ellipse(4 + column * 8 + (row % 2) * 4, 80 + row * 8, 2.3, 2.6, b._lit(colour))
    b._gradient((0, _HORIZON, _SIZE, _SIZE), b._lit((196, 92, 70)), b._lit((208, 104, 80)))
    for y in (136, 150, 168, 190, 216):
        b._rect(0, y, _SIZE, y + 1.6, b._lit((246, 240, 234)))


PLACES: dict[str, Word] = {
    "volcano": Word("volcano", "火山", ("lava", "crater"), ("熔岩",)),
    "ice field": Word("ice field", "冰原", ("ice", "icebergs", "arctic", "antarctica", "glacier"), ("冰山", "冰川", "南极", "北极")),
    "stadium": Word("stadium", "体育场", ("running track", "race track", "arena"), ("跑道", "运动场")),
}
PAINTERS: dict[str, Callable] = {"volcano": _volcano, "ice field": _ice_field, "stadium": _stadium}


def strange_named(text: str, language: str) -> set[str]:
    """The strange kinds that a text names; `truth.py` knows nothing of them. language: "en" or "zh"."""
    return _named(text, language, {name: kind.word for name, kind in STRANGE_KINDS.items()})


def places_named(text: str, language: str) -> list[str]:
    """The places that a text names, the known ones of `lexicon.SETTINGS` and those above, each once, in their order."""
    return sorted(_named(text, language, {**SETTINGS, **PLACES}), key=[*SETTINGS, *PLACES].index)


def _named(text: str, language: str, words: dict[str, Word]) -> set[str]:
    low, found = text.lower(), set()
    for name, word in words.items():
        phrases = "|".join(map(re.escape, word.understood(language)))
        if re.search(rf"\b(?:{phrases})s?\b" if language == "en" else phrases, low):
            found.add(name)
    return found


def kind_of(name: str) -> Kind:
    """The `Kind` of a name, known or strange."""
    return KINDS.get(name) or STRANGE_KINDS[name]
