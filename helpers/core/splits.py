"""Test pictures that each differ from the course's evaluation scenes in one thing, drawn from the same plans.

    base plans (evaluation side) --SPLITS[name].change--> changed plans --draw--> Case(id, split, scene, picture)

A split asks one question: does the model still see what is there when only *this* is new? Therefore every split but "seen" changes
the same plans, and "0007" of one split is "0007" of every other: the drop is measured picture by picture (`robustness.py`). A plan that
leaves no room for a change is left out of that split alone. Same seed, same pixels.

`known(scene)` is the truth that `truth.py` can judge: what no student has a word for is not counted as missed, and every known kind that is
named in its place is made up.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image
from tqdm.auto import tqdm

from helpers.core.backdrops import HORIZON, SCENE_SIZE
from helpers.core.crowds import strew
from helpers.core.errors import InputError, ResourceError
from helpers.core.lexicon import COLOURS, KINDS, KINDS_OF_SETTING, RARE_KINDS, SETTINGS, WEATHERS_OF_SETTING
from helpers.core.pen import PALETTE
from helpers.core.scenes import JPEG_QUALITY, Group, Relation, Scene, plan_scene, render
from helpers.core.strange import PLACES, STRANGE_KINDS, kind_of
from helpers.core.styles import STYLES

PLAN_SEED = 1 << 52  # far from every seed of draw_scenes, pretraining and the model card's examination
SMALL = 0.5  # of the sizes that scenes have; the smallest that any training shows is 0.72
CROWD = 8  # groups in a crowded scene; training has four at most
BASE = "combinations"

Change = Callable[[Scene, random.Random], Scene | None]


@dataclass(frozen=True)
class Split:
    """change: makes the split's plan of a base plan, None where there is no room for it.  cause: the one thing that is new.
    style: in which the picture is painted, "" for plainly.  against: the split that a drop is measured against, "" for none."""

    change: Change
    cause: str
    style: str = ""
    against: str = BASE

    @property
    def paired(self) -> bool:
        """Whether a case here and the case of the same id in `against` are drawn from the same plan."""
        return self.against == BASE

    @property
    def colours(self) -> bool:
        """Whether the colours of things can be seen."""
        return not self.style or STYLES[self.style].colours


@dataclass(frozen=True)
class Case:
    """One test picture: `scene` is its truth; `picture` is drawn when it is asked for."""

    id: str
    split: str
    scene: Scene

    @property
    def picture(self) -> Image.Image:
        """224×224 RGB, always the same."""
        plain, style = render(self.scene), SPLITS[self.split].style
        return STYLES[style].paint(plain, random.Random(f"{style} {self.scene.seed}")) if style else plain


def mirrored(scene: Scene, rng: random.Random) -> Scene:
    """Left and right exchanged: the same combination of things, colours and place, in a picture that nobody has seen."""
    scene = deepcopy(scene)
    for thing in scene.objects:
        left, _, right, _ = thing.box
        thing.box[0], thing.box[2], thing.flip = round(SCENE_SIZE - right, 1), round(SCENE_SIZE - left, 1), not thing.flip
    other = {"left of": "right of", "right of": "left of"}
    scene.relations = [replace(relation, relation=other.get(relation.relation, relation.relation)) for relation in scene.relations]
    return scene


def strangely_coloured(scene: Scene, rng: random.Random) -> Scene | None:
    """Every thing that comes in colours in one that its kind never has, such as a blue cow (as in CLEVR-CoGenT, Johnson et al., 2017)."""
    scene = deepcopy(scene)
    if not any(group.colour for group in scene.groups):
        return None
    for group in scene.groups:
        if group.colour:
            group.colour = rng.choice([colour for colour in COLOURS if colour not in KINDS[group.kind].colours])
            for member in group.members:
                scene.objects[member].colour, scene.objects[member].tint = group.colour, list(PALETTE[group.colour])
    return scene


def misplaced(scene: Scene, rng: random.Random) -> Scene | None:
    """The same things in a known place where as few of them as possible ever stand: cows on a beach (Beery et al., 2018)."""
    kinds = {group.kind for group in scene.groups}
    places = [place for place in SETTINGS if place not in (scene.setting, "room") and scene.weather in WEATHERS_OF_SETTING[place]]
    at_home = {place: len(kinds & set(KINDS_OF_SETTING[place])) for place in places}
    if scene.setting == "room" or not places or min(at_home.values()) == len(kinds):
        return None
    return replace(deepcopy(scene), setting=rng.choice([place for place in places if at_home[place] == min(at_home.values())]))


def elsewhere(scene: Scene, rng: random.Random) -> Scene | None:
    """The same things in a place that no student knows."""
    return None if scene.setting == "room" else replace(deepcopy(scene), setting=rng.choice(list(PLACES)))


def swapped(scene: Scene, rng: random.Random, kinds: Sequence[str]) -> Scene | None:
    """One group exchanged for one of `kinds`, standing or flying on the same spot and no wider."""
    busy = {index for relation in scene.relations if relation.relation not in ("left of", "right of") for index in (relation.subject, relation.object)}
    fits = []
    for index, group in enumerate(scene.groups):
        boxes = [scene.objects[member].box for member in group.members]
        for kind in kinds:
            shape, flies = kind_of(kind), max(box[3] for box in boxes) < HORIZON
            factor = min(1.3, *((box[2] - box[0]) / (shape.height * shape.aspect) for box in boxes))
            if index not in busy and kind not in {g.kind for g in scene.groups} and flies == ("flies" in shape.roles) and factor >= 0.76:
                made = [[(b[0] + b[2] - w) / 2, b[3] - h, (b[0] + b[2] + w) / 2, b[3]] for b in boxes
                        for w, h in [(shape.height * shape.aspect * factor, shape.height * factor)]]
                others = [thing.box for number, thing in enumerate(scene.objects) if number not in group.members]
                if all(box[1] >= 2 and not any(_meet(box, other) for other in others) for box in made):
                    fits.append((index, kind, made))
    if not fits:
        return None
    scene, (index, kind, boxes) = deepcopy(scene), rng.choice(fits)
    group = scene.groups[index]
    group.kind, group.colour = kind, rng.choice(kind_of(kind).colours) if kind_of(kind).colours else None
    for member, box in zip(group.members, boxes):
        thing = scene.objects[member]
        thing.kind, thing.colour, thing.tint, thing.box = kind, group.colour, list(PALETTE[group.colour or "grey"]), [round(v, 1) for v in box]
    return scene


def crowded(scene: Scene, rng: random.Random) -> Scene | None:
    """More things strewn around those that are there, until there are `CROWD` groups: twice as many as any caption was ever about."""
    scene = deepcopy(scene)
    kinds = [kind for kind in KINDS if kind not in {group.kind for group in scene.groups}]
    rng.shuffle(kinds)
    for kind in 3 * kinds:  # what found no room at one size may find it at another
        if kind not in {group.kind for group in scene.groups} and len(scene.groups) < CROWD and (thing := strew(rng, kind, scene.objects)):
            scene.objects.append(thing)
            scene.groups.append(Group(kind, thing.colour, thing.size, 1, [len(scene.objects) - 1]))
    return scene if len(scene.groups) == CROWD else None


def shrunk(scene: Scene, rng: random.Random) -> Scene:
    """Everything at half its size, on the same spot; what stands on something stays on it."""
    scene = deepcopy(scene)
    carrier = {relation.subject: relation.object for relation in scene.relations if relation.relation == "on"}
    boxes = [[scene.objects[member].box for member in group.members] for group in scene.groups]
    feet = [((min(b[0] for b in own) + max(b[2] for b in own)) / 2, max(b[3] for b in own)) for own in boxes]
    for index, group in enumerate(scene.groups):
        x, y = feet[carrier.get(index, index)]
        group.size = "small"
        for member in group.members:
            thing = scene.objects[member]
            left, top, right, bottom = thing.box
            thing.size, thing.box = "small", [round(v, 1) for v in (x + (left - x) * SMALL, y + (top - y) * SMALL, x + (right - x) * SMALL, y + (bottom - y) * SMALL)]
    return scene


def _same(scene: Scene, rng: random.Random) -> Scene:
    return scene


def _meet(a: Sequence[float], b: Sequence[float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


SPLITS: dict[str, Split] = {
    "seen": Split(mirrored, "nothing: training scenes, mirrored", against=""),
    BASE: Split(_same, "objects, colours and place were never together in one picture", against="seen"),
    "colours": Split(strangely_coloured, "kinds in colours that they never have"),
    "misplaced": Split(misplaced, "known things in a known place where they never stand"),
    "settings": Split(elsewhere, "a place that nobody has shown it: " + ", ".join(PLACES)),
    "rare kinds": Split(lambda scene, rng: swapped(scene, rng, RARE_KINDS), "one of the kinds that pretraining showed rarely"),
    "new kinds": Split(lambda scene, rng: swapped(scene, rng, list(STRANGE_KINDS)), "a kind that nobody has shown it: " + ", ".join(STRANGE_KINDS)),
    "crowded": Split(crowded, f"{CROWD} groups of things instead of at most 4"),
    "small": Split(shrunk, "everything at half its size"),
    **{name: Split(_same, "the same picture in another style", style=name) for name in STYLES},
}


def known(scene: Scene) -> Scene:
    """The scene without the groups that no student has a word for."""
    kept = [index for index, group in enumerate(scene.groups) if group.kind in KINDS]
    place = {index: position for position, index in enumerate(kept)}
    relations = [Relation(place[r.subject], r.relation, place[r.object]) for r in scene.relations if r.subject in place and r.object in place]
    return replace(scene, groups=[scene.groups[index] for index in kept], relations=relations)


def plan_of(name: str, number: int, seed: int = 0, training_seed: int = 0) -> Scene:
    """The plan number `number` that the split `name` changes: of a training scene for "seen", else of the evaluation side."""
    scene_seed = (training_seed * 2 << 32) + number if name == "seen" else PLAN_SEED + (seed << 24) + number
    return replace(plan_scene(scene_seed, evaluation=name != "seen"), id=f"{number:04d}")


def make_case(name: str, number: int, seed: int = 0, training_seed: int = 0) -> Case | None:
    """The case number `number` of a split; None where the plan leaves no room for the change. Raises InputError for an unknown split."""
    if name not in SPLITS:
        raise InputError(f"There is no split {name!r}; choose from {', '.join(SPLITS)}.")
    plan = plan_of(name, number, seed, training_seed)
    changed = SPLITS[name].change(plan, random.Random(f"{name} {plan.seed}"))
    return Case(changed.id, name, changed) if changed else None


def make_split(name: str, number: int, seed: int = 0, training_seed: int = 0) -> list[Case]:
    """The cases of the split `name` among the first `number` plans: at most so many.

    training_seed: that of the training scenes (`captionlab course --seed`) which "seen" mirrors. Raises InputError for an unknown name
    or a number below 1.
    """
    if number < 1:
        raise InputError(f"A split needs at least one picture, not {number}.")
    return [case for case in (make_case(name, i, seed, training_seed) for i in range(number)) if case]


def draw_splits(out: Path | str, number: int, seed: int = 0, names: Sequence[str] = tuple(SPLITS), progress: str | None = "drawing splits") -> dict[str, int]:
    """Write every split into a folder of its own: out/<split>/0000.jpg …, and their truth in out/<split>/scenes.jsonl.

    Returns the number of pictures a split. Pictures already there are kept, so that a killed run continues. Raises InputError for a folder
    that holds others, ResourceError when it cannot be written.
    """
    out, cases = Path(out), {name: make_split(name, number, seed) for name in names}
    with tqdm(total=sum(map(len, cases.values())), desc=progress, unit="picture", disable=progress is None) as bar:
        for name, found in cases.items():
            folder = out / name.replace(" ", "-")
            truth = folder / "scenes.jsonl"
            lines = "".join(replace(case.scene, file=f"{case.id}.jpg").to_json() + "\n" for case in found)
            if truth.exists() and truth.read_text(encoding="utf-8") != lines:
                raise InputError(f"{folder} already holds another split (another seed or number): choose another --out, or delete that folder.")
            try:
                folder.mkdir(parents=True, exist_ok=True)
                truth.write_text(lines, encoding="utf-8")
                for case in found:
                    path = folder / f"{case.id}.jpg"
                    if not path.exists():
                        case.picture.save(path.with_suffix(".part"), "JPEG", quality=JPEG_QUALITY)
                        os.replace(path.with_suffix(".part"), path)
                    bar.update()
            except OSError as error:
                raise ResourceError(f"{folder} cannot be written ({error.strerror}); free some space or choose another --out, then run it again.") from error
    return {name: len(found) for name, found in cases.items()}
