"""Crowded pictures for training eyes: eight objects of any kind or so, strewn over a backdrop.

A scene shows two or three objects, so it teaches little about what kinds look like; a crowd shows four times as
many for the price of one picture. Crowds make no sense as scenes and are never described: they only supervise the vision tower.
"""

from __future__ import annotations

import random

from helpers.core.backdrops import SCENE_SIZE
from helpers.core.lexicon import KINDS, SETTINGS, TIMES, WEATHERS_OF_SETTING
from helpers.core.pen import PALETTE
from helpers.core.scenes import Group, Scene, SceneObject


def crowd(seed: int, weights: dict[str, float]) -> Scene:
    """The crowd of a `seed`, as a `Scene` without relations; `weights` say how often a kind appears (1.0 where absent)."""
    rng = random.Random(f"crowd {seed}")
    setting = rng.choice(list(SETTINGS))
    time, weather = rng.choice(list(TIMES)), rng.choice(WEATHERS_OF_SETTING[setting])
    kinds = rng.choices(list(KINDS), [weights.get(k, 1.0) for k in KINDS], k=rng.randint(9, 16))
    objects: list[SceneObject] = []
    for kind in kinds:
        objects += filter(None, [strew(rng, kind, objects)])
    groups = [Group(o.kind, o.colour, o.size, 1, [i]) for i, o in enumerate(objects)]
    return Scene("", "", seed, setting, time, weather, objects, groups, [])


def strew(rng: random.Random, kind: str, objects: list[SceneObject]) -> SceneObject | None:
    """One more object of `kind` in any colour, size and place that hides next to nothing of `objects`; None where there is no room."""
    size, factor = rng.choice((("small", 0.76), ("small", 0.76), ("medium", 1.0), ("medium", 1.0), ("large", 1.3)))
    height = KINDS[kind].height * factor * rng.uniform(0.92, 1.08)
    width = height * KINDS[kind].aspect
    if width > SCENE_SIZE - 8:
        return None
    for _ in range(25):
        left, top = rng.uniform(2, SCENE_SIZE - 2 - width), rng.uniform(2, SCENE_SIZE - 2 - height)
        if all(_overlap((left, top, left + width, top + height), o.box) < 0.12 * min(width * height, (o.box[2] - o.box[0]) * (o.box[3] - o.box[1]))
               for o in objects):
            colour = rng.choice(KINDS[kind].colours) if KINDS[kind].colours else None
            tint = [min(255, max(0, c + rng.randint(-7, 7))) for c in PALETTE[colour or "grey"]]
            box = [round(v, 1) for v in (left, top, left + width, top + height)]
            return SceneObject(kind, colour, size, box, rng.random() < 0.5, tint)
    return None


def _overlap(a, b) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
