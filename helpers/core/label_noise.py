"""A teacher that errs: true scenes in, labels out of which a chosen share of the statements is false.

    scene --spoil(scene, 0.2, "scattered", seed)--> what the teacher believes --speech.answer--> its label

A label states things: each group of objects ("two red balls") and each relation ("the dog is on the bench") is one statement. A false one
has an object that is not there in place of one that is, or another colour, or another number, or its relation turned round. Everything else
about the label, its wording too, is as it would be without the error.

The manner says which statements the errors hit. "scattered": any, each by the throw of a coin, so that the same car is right in one picture
and a bus in the next. "consistent": all that are about certain kinds, and none about the others, so that cars are buses in every picture. The
share of false statements is about the same; what a model can learn from them is not.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

from helpers.core.errors import InputError
from helpers.core.lexicon import KINDS
from helpers.core.scenes import Relation, Scene

MANNERS = ("scattered", "consistent")
FAULTS = ("object", "colour", "count")


@dataclass(frozen=True)
class Spoiled:
    """What a teacher believes of a scene. statements: how many its label makes; false: how many of them are."""

    scene: Scene
    statements: int
    false: int


def spoil(scene: Scene, share: float, manner: str = "scattered", seed: int = 0) -> Spoiled:
    """The scene as a teacher believes it whose statements are false with probability `share` (0 to 1).

    The same arguments give the same errors, and a larger share keeps those of a smaller one. Raises InputError for a share outside 0 to 1
    and for an unknown manner.
    """
    if not 0 <= share <= 1:
        raise InputError(f"A share of false statements lies between 0 and 1, not at {share}.")
    if manner not in MANNERS:
        raise InputError(f"There is no manner of errors {manner!r}; choose from {', '.join(MANNERS)}.")
    believed, false = deepcopy(scene), 0
    for index, group in enumerate(scene.groups):
        if _errs(scene, f"group {index}", group.kind, share, manner, seed):
            believed.groups[index] = _wrong(believed, index, _dice(seed, manner, (scene.seed, index) if manner == "scattered" else group.kind))
            false += 1
    believed.relations = []
    stated = [relation for relation in scene.relations if relation.relation != "right of"]
    for number, relation in enumerate(stated):
        turned = _errs(scene, f"relation {number}", scene.groups[relation.subject].kind, share, manner, seed)
        told = Relation(relation.object, relation.relation, relation.subject) if turned else relation
        believed.relations += [told] + ([Relation(told.object, "right of", told.subject)] if told.relation == "left of" else [])
        false += turned
    return Spoiled(believed, len(scene.groups) + len(stated), false)


def false_share(spoiled: Sequence[Spoiled]) -> float:
    """The share of false statements that it came to, over many scenes."""
    return sum(one.false for one in spoiled) / sum(one.statements for one in spoiled)


def _errs(scene: Scene, place: str, kind: str, share: float, manner: str, seed: int) -> bool:
    """Whether the statement at `place` about a `kind` is false: by a coin of its own, or because the kind is one of `share` of all kinds."""
    if manner == "scattered":
        return _dice(seed, manner, (scene.seed, place, "coin")).random() < share
    order = _dice(seed, manner, place.split()[0]).sample(list(KINDS), len(KINDS))
    return order.index(kind) < round(share * len(order))


def _dice(seed: int, manner: str, key) -> random.Random:
    """The same throws for the same arguments."""
    return random.Random(f"label noise {seed} {manner} {key}")


def _wrong(scene: Scene, index: int, dice: random.Random):
    """A group as it is wrongly believed to be: another kind that is not in the scene, another colour, or another number."""
    group, fault, kinds = scene.groups[index], dice.choice(FAULTS), dice.sample(list(KINDS), len(KINDS))
    colours = [colour for colour in KINDS[group.kind].colours if colour != group.colour]
    if fault == "colour" and colours:
        return replace(group, colour=dice.choice(colours))
    if fault == "count":
        return replace(group, count=dice.choice([number for number in (1, 2, 3, 4) if number != group.count]))
    kind = next(kind for kind in kinds if kind not in {other.kind for other in scene.groups})
    worn = KINDS[kind].colours
    return replace(group, kind=kind, colour=group.colour if group.colour in worn else dice.choice(worn) if worn else None)
