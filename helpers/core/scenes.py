"""Draws illustrated scenes whose contents are known exactly, and writes that truth beside them.

A `Scene` is planned first (what stands where), then drawn from its own numbers alone, so the same
scene always has the same pixels. `draw_scenes` writes

    out/Train/0000.jpg …   out/Val/1957.jpg …   224×224 JPEG
    out/scenes.jsonl       one `Scene` a line: objects with box, colour and size; groups; relations; setting; time; weather

Boxes are [left, top, right, bottom] in picture pixels. A *group* is what a caption speaks of at once
("three red balls"); a scene has one to four groups of different kinds. Training and evaluation scenes never
share a combination of objects, colours and setting: a combination's hash decides its side.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from PIL import Image, ImageDraw
from tqdm.auto import tqdm

from helpers.core.artwork import draw_object
from helpers.core.backdrops import GROUND_FAR, GROUND_NEAR, HORIZON, SCENE_SIZE, Backdrop
from helpers.core.errors import InputError, ResourceError
from helpers.core.lexicon import KINDS, KINDS_OF_SETTING, SETTINGS, TIMES, WEATHERS_OF_SETTING
from helpers.core.pen import PALETTE, SUPERSAMPLING
from helpers.core.processes import die_with_parents

SIZE_FACTORS = {"small": 0.76, "medium": 1.0, "large": 1.3}
EVALUATION_SHARE = 8  # one combination in so many belongs to evaluation
JPEG_QUALITY = 92
# Fliers fit nearly everywhere, large things rarely: these weights even out who keeps the focus company.
_EXTRA_WEIGHTS = {"bird": 0.25, "butterfly": 0.6, "airplane": 0.6, "balloon": 0.6, "kite": 0.7, "man": 0.6, "woman": 0.7,
                  "house": 2.0, "tree": 2.0, "bus": 3.0, "lighthouse": 2.0, "boat": 3.0, "cow": 3.0, "sheep": 3.0, "palm": 2.0,
                  "castle": 1.5, "bench": 2.0, "table": 1.5, "car": 2.5, "cactus": 2.5, "elephant": 2.0}


@dataclass
class SceneObject:
    """One drawn object; `box` is [left, top, right, bottom] in picture pixels, `tint` its exact RGB."""

    kind: str
    colour: str | None
    size: str
    box: list[float]
    flip: bool = False
    tint: list[int] = field(default_factory=list)


@dataclass
class Group:
    """Objects of one kind, colour and size that stand together; `members` are indices into `Scene.objects`."""

    kind: str
    colour: str | None
    size: str
    count: int
    members: list[int]

    @property
    def signature(self) -> tuple[str, str]:
        """Kind and colour, what a caption names it by."""
        return self.kind, self.colour or ""


@dataclass
class Relation:
    """`subject` stands in `relation` ("left of", "above", "in front of", "on") to `object`; both index `Scene.groups`."""

    subject: int
    relation: str
    object: int


@dataclass
class Scene:
    """A planned scene and its truth."""

    id: str
    file: str
    seed: int
    setting: str
    time: str
    weather: str
    objects: list[SceneObject]
    groups: list[Group]
    relations: list[Relation]

    @property
    def combination(self) -> str:
        """The objects, colours and setting, as one string; what training and evaluation never share."""
        return self.setting + "|" + "|".join(sorted(f"{kind}:{colour}" for kind, colour in (g.signature for g in self.groups)))

    def to_json(self) -> str:
        """One line of scenes.jsonl."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_dict(cls, record: dict) -> Scene:
        """A scene from a parsed line of scenes.jsonl."""
        return cls(**{**record, "objects": [SceneObject(**o) for o in record["objects"]],
                      "groups": [Group(**g) for g in record["groups"]], "relations": [Relation(**r) for r in record["relations"]]})


def is_evaluation(combination: str) -> bool:
    """Whether a combination of objects, colours and setting belongs to the evaluation side."""
    return int.from_bytes(hashlib.sha256(combination.encode()).digest()[:4], "big") % EVALUATION_SHARE == 0


class _Planner:
    """Plans one scene: picks groups, places them in columns left to right, then on, in front of and above them."""

    def __init__(self, rng: random.Random, kind_weights: dict[str, float], focus: str):
        self.rng, self.weights, self.focus = rng, kind_weights, focus
        self.objects: list[SceneObject] = []
        self.groups: list[Group] = []
        self.boxes: list[list[float]] = []
        self.placed: list[Relation] = []

    def _pick(self, kinds: list[str]) -> str | None:
        used = {g.kind for g in self.groups}
        kinds = [k for k in kinds if k not in used]
        if self.focus in kinds:
            return self.focus
        return self.rng.choices(kinds, [self.weights.get(k, 1.0) for k in kinds])[0] if kinds else None

    def _count(self, kind: str, most: int) -> int:
        return min(self.rng.choices((1, 2, 3, 4), (60, 18, 13, 9))[0], most, KINDS[kind].most)

    def _measure(self, kind: str, size: str) -> tuple[float, float]:
        height = KINDS[kind].height * SIZE_FACTORS[size] * self.rng.uniform(0.95, 1.05)
        return height * KINDS[kind].aspect, height

    def _new_group(self, kind: str, size: str, spots: list[tuple[float, float, float, float]]) -> int:
        """Adds a group whose members have the boxes `spots` = (left, top, width, height)."""
        colour = self.rng.choice(KINDS[kind].colours) if KINDS[kind].colours else None
        members = list(range(len(self.objects), len(self.objects) + len(spots)))
        flip = self.rng.random() < 0.5
        for left, top, width, height in spots:
            tint = [min(255, max(0, c + self.rng.randint(-7, 7))) for c in PALETTE[colour or "grey"]]
            self.objects.append(SceneObject(kind, colour, size, [round(v, 1) for v in (left, top, left + width, top + height)], flip, tint))
        self.groups.append(Group(kind, colour, size, len(spots), members))
        lefts, tops, rights, bottoms = zip(*[self.objects[m].box for m in members])
        self.boxes.append([min(lefts), min(tops), max(rights), max(bottoms)])
        return len(self.groups) - 1

    def _size(self) -> str:
        return self.rng.choices(("small", "medium", "large"), (22, 56, 22))[0]

    def columns(self, setting: str, number: int) -> bool:
        """Places `number` groups side by side; False if they do not fit."""
        chosen: list[tuple[str, str, int, float, float]] = []
        pool = [k for k in KINDS_OF_SETTING[setting] if "flies" not in KINDS[k].roles or k == "bird"]
        for _ in range(number):
            kind = self._pick([k for k in pool if k not in {c[0] for c in chosen}])
            if kind is None:
                return False
            size = self._size()
            width, height = self._measure(kind, size)
            chosen.append((kind, size, self._count(kind, 4 if number == 1 else 3), width, height))
        self.rng.shuffle(chosen)
        widths = [width * count + 3 * (count - 1) for _, _, count, width, _ in chosen]
        slack = SCENE_SIZE - 8 - sum(widths) - 8 * (number - 1)
        if slack < 0 or any(height > 158 for *_, height in chosen):
            return False
        gaps = sorted(self.rng.uniform(0, slack) for _ in range(number))
        left = 4.0
        for i, (kind, size, count, width, height) in enumerate(chosen):
            x = left + gaps[i]
            near = GROUND_NEAR if height < 82 else GROUND_NEAR - 24
            far = 188 if setting == "harbour" else GROUND_FAR
            floor = self.rng.uniform(far, max(near, far + 4))
            if "floats" in KINDS[kind].roles:
                floor = self.rng.uniform(150, 166) if setting == "harbour" else self.rng.uniform(140, 150)
            spots = []
            for c in range(count):
                bottom = min(GROUND_NEAR, floor + (self.rng.uniform(-5, 5) if count > 1 else 0))
                spots.append((x + c * (width + 3), max(4.0, bottom - height), width, height))
            self._new_group(kind, size, spots)
            left += widths[i] + 8
        return True

    def attach(self, setting: str) -> bool:
        """Adds one more group on, in front of or above one that stands; False if none fits."""
        ways = [w for w in ("on", "in front of", "above") for _ in range({"on": 6, "in front of": 6, "above": 3}[w])]
        self.rng.shuffle(ways)
        return any(getattr(self, "_attach_" + way.replace(" ", "_"))(setting) for way in dict.fromkeys(ways))

    def _free(self, box: list[float], but: int | None, margin: float = 2) -> bool:
        if box[0] < 2 or box[1] < 2 or box[2] > SCENE_SIZE - 2 or box[3] > SCENE_SIZE - 2:
            return False
        return all(i == but or box[2] + margin <= b[0] or b[2] + margin <= box[0] or box[3] + margin <= b[1] or b[3] + margin <= box[1]
                   for i, b in enumerate(self.boxes))

    def _attach_on(self, setting: str) -> bool:
        kind = self._pick([k for k in KINDS_OF_SETTING[setting] if "rests" in KINDS[k].roles])
        hosts = [i for i, g in enumerate(self.groups) if "holds" in KINDS[g.kind].roles and g.count == 1 and "rests" not in KINDS[g.kind].roles or
                 g.kind == "box" and g.count == 1]
        hosts = [i for i in hosts if not (self.groups[i].kind in ("house", "car") and kind not in ("bird", "cat"))]
        if kind is None or kind == "box" or not hosts:
            return False
        host = self.rng.choice(hosts)
        left, top, right, _ = self.boxes[host]
        seat = {"bench": 0.56, "table": 0.08, "box": 0.14, "car": 0.09, "house": 0.06}[self.groups[host].kind]
        width, height = self._measure(kind, "small" if self.groups[host].kind in ("box", "house") else self.rng.choice(("small", "medium")))
        if width > (right - left) * (1.3 if self.groups[host].kind == "box" else 0.75):
            return False
        middle = (left + right) / 2
        x = middle - width / 2 + (self.rng.uniform(-0.5, 0.5) * max(0.0, (right - left) * 0.8 - width) if self.groups[host].kind != "house" else 0)
        y = top + seat * (self.boxes[host][3] - top) - height
        box = [x, y, x + width, y + height]
        if not self._free([x, y, x + width, min(y + height, top - 0.1)] if y + height > top else box, host):
            return False
        size = "small" if height < 0.88 * KINDS[kind].height else "medium"
        self.placed.append(Relation(self._new_group(kind, size, [(x, y, width, height)]), "on", host))
        return True

    def _attach_in_front_of(self, setting: str) -> bool:
        pool = [k for k in KINDS_OF_SETTING[setting]
                if not KINDS[k].roles & {"flies", "floats", "backs"} and KINDS[k].height <= 92 and KINDS[k].aspect < 1.6]
        kind = self._pick(pool)
        hosts = [i for i, g in enumerate(self.groups) if "backs" in KINDS[g.kind].roles and self.boxes[i][3] <= 196]
        if kind is None or not hosts:
            return False
        host = self.rng.choice(hosts)
        left, top, right, bottom = self.boxes[host]
        size = self.rng.choice(("small", "medium"))
        width, height = self._measure(kind, size)
        if height > 0.62 * (bottom - top) or width > 0.7 * (right - left) and self.groups[host].kind != "lighthouse":
            return False
        foot = self.rng.uniform(bottom + 10, GROUND_NEAR + 4)
        x = self.rng.uniform(left - 0.25 * width, right - 0.75 * width)
        box = [x, foot - height, x + width, foot]
        if not self._free(box, host):
            return False
        self.placed.append(Relation(self._new_group(kind, size, [(x, foot - height, width, height)]), "in front of", host))
        return True

    def _attach_above(self, setting: str) -> bool:
        kind = self._pick([k for k in KINDS_OF_SETTING[setting] if "flies" in KINDS[k].roles])
        if kind is None:
            return False
        size, most = self._size(), KINDS[kind].most
        count = self._count(kind, most)
        width, height = self._measure(kind, size)
        for _ in range(12):
            total = count * width + 4 * (count - 1)
            if total > SCENE_SIZE - 12:
                count -= 1
                continue
            x = self.rng.uniform(5, SCENE_SIZE - 5 - total)
            y = self.rng.uniform(4, max(5, HORIZON - 14 - height))
            spots = [(x + c * (width + 4), max(4.0, y + (self.rng.uniform(-7, 7) if count > 1 else 0)), width, height) for c in range(count)]
            box = [x, min(s[1] for s in spots), x + total, max(s[1] for s in spots) + height]
            if self._free(box, None, 4):
                under = [i for i, b in enumerate(self.boxes) if box[3] <= b[1] and min(b[2], box[2]) - max(b[0], box[0]) > 0.3 * min(width, b[2] - b[0])]
                index = self._new_group(kind, size, spots)
                if under:
                    self.placed.append(Relation(index, "above", under[0]))
                return True
        return False

    def relations(self) -> list[Relation]:
        """What was placed on, in front of or above something, and who stands left of whom (right of is its mirror)."""
        found = list(self.placed)
        attached = {r.subject for r in self.placed}
        standing = sorted((i for i in range(len(self.groups)) if i not in attached), key=lambda i: self.boxes[i][0])
        for a, b in zip(standing, standing[1:]):
            if self.boxes[a][2] <= self.boxes[b][0] + 2:
                found += [Relation(a, "left of", b), Relation(b, "right of", a)]
        return found


def plan_scene(seed: int, kind_weights: dict[str, float] | None = None, evaluation: bool | None = None) -> Scene:
    """Plan the scene of a `seed`, without drawing it.

    kind_weights: how often a kind appears relative to the others (1.0 where absent).
    evaluation: keep only combinations of this side (True, False), or of either (None).
    """
    rng, weights = random.Random(f"scene {seed}"), kind_weights or {}
    # Every scene is planned around one kind, drawn evenly, so that large and small kinds are seen equally often.
    focus = rng.choices(list(KINDS), [weights.get(k, 1.0) for k in KINDS])[0]
    while True:
        planner = _Planner(rng, {**_EXTRA_WEIGHTS, **weights}, focus)
        setting = rng.choice([s for s in SETTINGS if focus in KINDS_OF_SETTING[s]])
        time, weather = rng.choice(list(TIMES)), rng.choice(WEATHERS_OF_SETTING[setting])
        groups = rng.choices((1, 2, 3, 4), (12, 40, 36, 12))[0]
        standing = min(groups, rng.choices((1, 2, 3), (35, 45, 20))[0])
        if groups == 1 and "flies" in KINDS[focus].roles:
            standing = 0
        if not planner.columns(setting, standing):
            continue
        if focus not in {g.kind for g in planner.groups} and groups == standing:
            continue
        if not all(planner.attach(setting) for _ in range(groups - standing)) or len(planner.objects) > 7:
            continue
        if focus not in {g.kind for g in planner.groups}:
            continue
        scene = Scene("", "", seed, setting, time, weather, planner.objects, planner.groups, planner.relations())
        if evaluation is None or is_evaluation(scene.combination) == evaluation:
            return scene


def render(scene: Scene, size: int = SCENE_SIZE) -> Image.Image:
    """Draw a planned scene as an RGB picture of `size`×`size` pixels."""
    canvas = Image.new("RGB", (SCENE_SIZE * SUPERSAMPLING,) * 2)
    backdrop = Backdrop(canvas, scene.setting, scene.time, scene.weather, random.Random(f"backdrop {scene.seed}"))
    backdrop.paint()
    draw = ImageDraw.Draw(canvas)
    fronts = {r.subject for r in scene.relations if r.relation in ("on", "in front of")}
    order = sorted(range(len(scene.groups)), key=lambda g: (g in fronts, max(scene.objects[m].box[3] for m in scene.groups[g].members)))
    for index in order:
        for member in scene.groups[index].members:
            thing = scene.objects[member]
            left, top, right, bottom = (v * SUPERSAMPLING for v in thing.box)
            draw_object(draw, thing.kind, tuple(thing.tint), (left, top, right - left, bottom - top), thing.flip, SUPERSAMPLING * 1.1)
    backdrop.paint_front()
    picture = canvas.reduce(SUPERSAMPLING)
    return picture if size == SCENE_SIZE else picture.resize((size, size), Image.Resampling.BICUBIC)


def _plan_many(number: int, seed: int, evaluation: bool) -> Iterator[Scene]:
    for i in range(number):
        yield plan_scene(((seed * 2 + evaluation) << 32) + i, evaluation=evaluation)


def _draw_one(job: tuple[str, str]) -> None:
    path, line = job
    scene = Scene.from_dict(json.loads(line))
    part = Path(path).with_suffix(".part")
    render(scene).save(part, "JPEG", quality=JPEG_QUALITY)
    os.replace(part, path)


def draw_scenes(out: Path | str, train: int, eval: int, seed: int = 0, progress: str | None = "drawing scenes") -> list[Scene]:
    """Draw `train` + `eval` scenes into `out` and write their truth to `out`/scenes.jsonl.

    Ids count on from training to evaluation ("0000" …). Pictures that are already there from a run with the
    same numbers are kept, so a killed run continues. Returns all scenes, training first.
    Raises ResourceError when the disk is full, InputError for a folder that holds other scenes.
    """
    out = Path(out)
    if train < 0 or eval < 0 or train + eval == 0:
        raise InputError(f"cannot draw {train} training and {eval} evaluation scenes: give numbers of 0 or more, not both 0")
    truth = out / "scenes.jsonl"
    scenes = [*_plan_many(train, seed, False), *_plan_many(eval, seed, True)]
    for number, scene in enumerate(scenes):
        scene.id = f"{number:04d}"
        scene.file = f"{'Train' if number < train else 'Val'}/{scene.id}.jpg"
    lines = "".join(scene.to_json() + "\n" for scene in scenes)
    plan = out / "scenes.jsonl.part"
    try:
        if truth.exists() and truth.read_text(encoding="utf-8") != lines or not truth.exists() and plan.exists() and plan.read_text(encoding="utf-8") != lines:
            raise InputError(f"{out} already holds other scenes (another seed or number): choose another --out, or delete that folder")
        for side in ("Train", "Val"):
            (out / side).mkdir(parents=True, exist_ok=True)
        if not truth.exists():
            plan.write_text(lines, encoding="utf-8")
        jobs = [(str(out / s.file), s.to_json()) for s in scenes if not (out / s.file).exists()]
        with ProcessPoolExecutor(max_workers=min(os.cpu_count() or 1, 8), initializer=die_with_parents) as pool:
            for _ in tqdm(pool.map(_draw_one, jobs, chunksize=16), total=len(jobs), desc=progress, unit="scene", disable=progress is None):
                pass
        if not truth.exists():
            os.replace(plan, truth)
    except OSError as error:
        raise ResourceError(f"cannot write scenes to {out}: {error.strerror}; free some space or choose another --out, then run the same command again") from error
    return scenes


def read_scenes(path: Path | str) -> list[Scene]:
    """Read a scenes.jsonl. Raises InputError naming the file and line that cannot be read."""
    path, scenes = Path(path), []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the scenes' truth {path} ({error}): draw scenes with `captionlab scenes --out DIR --train N --eval N`") from error
    for number, line in enumerate(lines, 1):
        try:
            scenes.append(Scene.from_dict(json.loads(line)))
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f"{path}, line {number} is not a scene ({error}): draw the scenes again into a new folder") from error
    return scenes
