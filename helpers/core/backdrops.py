"""Paints where a scene happens: sky or wall, ground, landmarks of the setting, time of day and weather.

A backdrop is painted on the enlarged canvas of `artwork.py` (`SUPERSAMPLING` pixels per picture pixel).
`SCENE_SIZE` is the picture's width and height; the horizon lies at `HORIZON`; objects stand between
`GROUND_FAR` and `GROUND_NEAR` (all in picture pixels from the top).
"""

from __future__ import annotations

import math
import random

from PIL import Image, ImageDraw

from helpers.core import strange
from helpers.core.pen import SUPERSAMPLING, Colour, shade

SCENE_SIZE = 224
HORIZON = 128
GROUND_FAR = 168
GROUND_NEAR = 212

SKY: dict[str, tuple[Colour, Colour]] = {  # top and bottom of the sky's gradient
    "day": ((96, 176, 240), (206, 234, 250)),
    "sunset": ((120, 84, 150), (255, 176, 98)),
    "night": ((14, 18, 52), (50, 58, 110)),
}
_CLOUDED: dict[str, tuple[Colour, Colour]] = {
    "day": ((168, 184, 200), (216, 224, 230)),
    "sunset": ((126, 104, 136), (226, 170, 140)),
    "night": ((26, 30, 50), (66, 72, 98)),
}
_GROUND: dict[str, Colour] = {
    "park": (128, 196, 96), "beach": (242, 220, 160), "street": (176, 178, 184), "farm": (176, 192, 88),
    "desert": (236, 194, 118), "forest": (98, 148, 78), "mountains": (150, 178, 120), "harbour": (186, 172, 152),
}
_LIGHT = {"day": 1.0, "sunset": 0.86, "night": 0.62}


def _mix(a: Colour, b: Colour, share: float) -> Colour:
    return tuple(int(x + (y - x) * share) for x, y in zip(a, b))


class Backdrop:
    """Paints one setting at one time and weather onto `image`; `rng` places its details."""

    def __init__(self, image: Image.Image, setting: str, time: str, weather: str, rng: random.Random):
        self.image, self.draw = image, ImageDraw.Draw(image)
        self.setting, self.time, self.weather, self.rng = setting, time, weather, rng
        self.light = _LIGHT[time]

    def _lit(self, colour: Colour) -> Colour:
        lit = shade(colour, self.light)
        return _mix(lit, (235, 240, 248), 0.7 * self.light + 0.05) if self.weather == "snowy" else lit

    def _ellipse(self, x: float, y: float, rx: float, ry: float, fill: Colour) -> None:
        s = SUPERSAMPLING
        self.draw.ellipse(((x - rx) * s, (y - ry) * s, (x + rx) * s, (y + ry) * s), fill=fill)

    def _polygon(self, points: list[tuple[float, float]], fill: Colour) -> None:
        self.draw.polygon([(x * SUPERSAMPLING, y * SUPERSAMPLING) for x, y in points], fill=fill)

    def _rect(self, x0: float, y0: float, x1: float, y1: float, fill: Colour) -> None:
        self._polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], fill)

    def _gradient(self, box: tuple[int, int, int, int], top: Colour, bottom: Colour) -> None:
        left, upper, right, lower = (v * SUPERSAMPLING for v in box)
        column = Image.new("RGB", (1, 2))
        column.putdata([top, bottom])
        self.image.paste(column.resize((right - left, lower - upper), Image.Resampling.BILINEAR), (left, upper))

    def paint(self) -> None:
        """Paint everything that lies behind the objects."""
        if self.setting == "room":
            self._room()
            return
        self._sky((0, 0, SCENE_SIZE, HORIZON + 6))
        if self.setting in strange.PAINTERS:
            strange.PAINTERS[self.setting](self)
        else:
            getattr(self, f"_{self.setting}")()

    def _sky(self, box: tuple[int, int, int, int]) -> None:
        clouded = self.weather != "clear"
        self._gradient(box, *(_CLOUDED if clouded else SKY)[self.time])
        left, top, right, bottom = box
        width, height = right - left, bottom - top
        scale = min(1.0, width / 120)
        if not clouded:
            side = self.rng.choice((0.13, 0.87))
            if self.time == "day":
                self._ellipse(left + side * width, top + 0.16 * height, 13 * scale, 13 * scale, (255, 224, 70))
            elif self.time == "sunset":
                self._ellipse(left + side * width, top + 0.8 * height, 19 * scale, 19 * scale, (255, 108, 56))
            else:
                x, y = left + side * width, top + 0.17 * height
                self._ellipse(x, y, 12 * scale, 12 * scale, (246, 240, 205))
                self._ellipse(x + 6 * scale, y - 3 * scale, 10 * scale, 10 * scale, SKY["night"][0])
                for _ in range(int(22 * scale)):
                    self._ellipse(left + self.rng.random() * width, top + self.rng.random() * 0.7 * height, 0.9, 0.9, (250, 246, 220))
            return
        colour = {"cloudy": (240, 243, 246), "rainy": (120, 128, 142), "snowy": (216, 222, 230)}[self.weather]
        colour = shade(colour, {"day": 1.0, "sunset": 0.86, "night": 0.55}[self.time])
        for i in range(4):
            x = left + width * (i + 0.2 + 0.6 * self.rng.random()) / 4
            y = top + height * (0.1 + 0.14 * self.rng.random())
            for dx, dy, r in ((-13, 3, 8), (0, -2, 11), (13, 3, 8), (0, 5, 9)):
                self._ellipse(x + dx * scale, y + dy * scale, r * scale * 1.2, r * scale * 0.8, colour)

    def _ground(self) -> None:
        base = self._lit(_GROUND[self.setting])
        self._gradient((0, HORIZON, SCENE_SIZE, SCENE_SIZE), shade(base, 0.94), shade(base, 1.06))

    def _tufts(self, count: int, colour: Colour) -> None:
        for _ in range(count):
            x, y = self.rng.uniform(4, 220), self.rng.uniform(HORIZON + 14, 220)
            self._polygon([(x - 3, y), (x - 1.5, y - 5), (x, y), (x + 1.5, y - 6), (x + 3, y)], colour)

    def _hills(self, colour: Colour, height: float) -> None:
        for x in (20, 110, 200):
            self._ellipse(x + self.rng.uniform(-12, 12), HORIZON + 10, 74, height + self.rng.uniform(-4, 4), colour)

    def _park(self) -> None:
        self._hills(self._lit((108, 178, 110)), 24)
        self._ground()
        self._polygon([(92, 224), (150, 224), (132, HORIZON), (124, HORIZON)], self._lit((222, 204, 164)))
        self._tufts(10, self._lit((84, 156, 66)))

    def _beach(self) -> None:
        sea = self._lit((56, 146, 204))
        self._rect(0, HORIZON - 16, SCENE_SIZE, HORIZON + 20, sea)
        self._gradient((0, HORIZON + 14, SCENE_SIZE, SCENE_SIZE), self._lit((236, 212, 150)), self._lit((246, 226, 172)))
        shore = [(x, HORIZON + 16 + 3 * math.sin(x / 14)) for x in range(0, 232, 8)]
        self._polygon([(0, HORIZON + 9), *shore, (224, HORIZON + 9)], self._lit((236, 246, 250)))
        self._polygon([(0, HORIZON), *[(x, y - 4) for x, y in shore], (224, HORIZON)], sea)

    def _street(self) -> None:
        x = -6
        while x < SCENE_SIZE:
            width, height = self.rng.randint(26, 40), self.rng.randint(40, 82)
            wall = self._lit(self.rng.choice([(150, 158, 178), (172, 160, 164), (140, 150, 160)]))
            self._rect(x, HORIZON + 4 - height, x + width, HORIZON + 6, wall)
            pane = (250, 224, 130) if self.time == "night" else self._lit((196, 218, 232))
            for wx in range(int(x) + 5, int(x + width) - 6, 9):
                for wy in range(HORIZON + 10 - height, HORIZON - 6, 12):
                    self._rect(wx, wy, wx + 4, wy + 6, pane)
            x += width + 1
        self._ground()
        self._rect(0, 176, SCENE_SIZE, SCENE_SIZE, self._lit((98, 100, 108)))
        self._rect(0, 173, SCENE_SIZE, 177, self._lit((214, 214, 218)))
        for x in range(6, 224, 44):
            self._rect(x, 197, x + 24, 201, self._lit((244, 244, 236)))

    def _farm(self) -> None:
        self._hills(self._lit((166, 186, 96)), 18)
        self._ground()
        for i in range(9):
            self._polygon([(i * 50 - 110, 224), (i * 50 - 92, 224), (80 + i * 8.5, HORIZON + 4), (77 + i * 8.5, HORIZON + 4)], self._lit((160, 140, 66)))
        for x in range(4, 228, 24):
            self._rect(x, HORIZON - 5, x + 4, HORIZON + 15, self._lit((222, 210, 186)))
        for y in (HORIZON, HORIZON + 7):
            self._rect(0, y, SCENE_SIZE, y + 3, self._lit((222, 210, 186)))

    def _desert(self) -> None:
        self._hills(self._lit((222, 170, 96)), 26)
        self._ground()
        for _ in range(3):
            x, y = self.rng.uniform(20, 200), self.rng.uniform(150, 214)
            self._ellipse(x, y, 30, 3, self._lit((222, 176, 100)))

    def _forest(self) -> None:
        self._rect(0, HORIZON - 34, SCENE_SIZE, HORIZON + 6, self._lit((46, 96, 62)))
        for i in range(15):
            x, h = i * 16 + self.rng.uniform(-4, 4), self.rng.uniform(44, 80)
            self._polygon([(x - 14, HORIZON + 6), (x, HORIZON - h), (x + 14, HORIZON + 6)], self._lit(self.rng.choice([(40, 92, 62), (52, 108, 70)])))
        self._ground()
        self._tufts(14, self._lit((66, 116, 54)))

    def _mountains(self) -> None:
        for x, h in ((30, 84), (112, 104), (190, 78)):
            x += self.rng.uniform(-12, 12)
            self._polygon([(x - 74, HORIZON + 4), (x, HORIZON + 4 - h), (x + 74, HORIZON + 4)], self._lit((124, 128, 150)))
            self._polygon([(x - 0.3 * 74, HORIZON + 4 - 0.7 * h), (x, HORIZON + 4 - h), (x + 0.3 * 74, HORIZON + 4 - 0.7 * h),
                           (x + 12, HORIZON + 4 - 0.78 * h), (x, HORIZON + 4 - 0.66 * h), (x - 11, HORIZON + 4 - 0.78 * h)], self._lit((246, 248, 252)))
        self._ground()
        self._tufts(6, self._lit((110, 140, 88)))

    def _harbour(self) -> None:
        sea = self._lit((62, 124, 168))
        self._rect(0, HORIZON - 14, SCENE_SIZE, 178, sea)
        for _ in range(12):
            x, y = self.rng.uniform(0, 214), self.rng.uniform(HORIZON - 6, 168)
            self._rect(x, y, x + 12, y + 1.5, shade(sea, 1.35))
        self._rect(0, 176, SCENE_SIZE, SCENE_SIZE, self._lit((170, 130, 88)))
        for x in range(0, 224, 28):
            self._rect(x, 178, x + 1.5, SCENE_SIZE, self._lit((120, 88, 58)))
        self._rect(0, 174, SCENE_SIZE, 179, self._lit((128, 94, 62)))

    def _room(self) -> None:
        dim = {"day": 1.0, "sunset": 0.95, "night": 0.82}[self.time]
        self._rect(0, 0, SCENE_SIZE, 150, shade((244, 226, 204), dim))
        self._rect(0, 150, SCENE_SIZE, SCENE_SIZE, shade((206, 160, 116), dim))
        for y in (166, 184, 204):
            self._rect(0, y, SCENE_SIZE, y + 1, shade((180, 134, 94), dim))
        self._rect(0, 146, SCENE_SIZE, 152, shade((255, 250, 240), dim))
        self._rect(66, 12, 158, 86, (252, 250, 246))
        self._sky((71, 17, 153, 81))
        self._fall(71, 17, 153, 81, 26)
        self._rect(110, 12, 114, 86, (252, 250, 246))
        self._rect(66, 47, 158, 51, (252, 250, 246))
        for x0, x1 in ((50, 70), (154, 174)):
            self._polygon([(x0, 8), (x1, 8), (x1 - 2, 96), (x0 - 2, 96)], shade((196, 120, 120), dim))

    def _fall(self, left: float, top: float, right: float, bottom: float, count: int) -> None:
        if self.weather not in ("rainy", "snowy"):
            return
        s = SUPERSAMPLING
        for _ in range(count):
            x, y = self.rng.uniform(left + 3, right - 1), self.rng.uniform(top, bottom - 9)
            if self.weather == "rainy":
                self.draw.line([(x * s, y * s), ((x - 2.5) * s, (y + 9) * s)], fill=(206, 226, 246), width=round(1.2 * s))
            else:
                self._ellipse(x, y + 4, 1.9, 1.9, (255, 255, 255))

    def paint_front(self) -> None:
        """Paint the rain or snow that falls before the objects."""
        if self.setting != "room":
            self._fall(0, 0, SCENE_SIZE, SCENE_SIZE, 95 if self.weather == "rainy" else 110)
