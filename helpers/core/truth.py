"""Scores free text in English or Chinese against a scene's truth.

Shape of the data: text → `reading.Reading` → `Marks` (one text, one scene) → rates over many texts (`summarise`, `RATES`).
Objects are judged by kind: named, missed, hallucinated. CHAIR (Rohrbach et al., 2018, arXiv:1809.02156) is the share of
hallucinated namings among all namings (CHAIR-i) and the share of texts with at least one (CHAIR-s).

A kind that the backdrop itself shows (trees in a forest) is neither right nor wrong to name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from helpers.core.naming import Mention, Placed
from helpers.core.reading import Reading, read
from helpers.core.scenes import Group, Scene

BACKDROP_KINDS = {"forest": {"tree"}, "street": {"house"}, "room": set()}
# rate → (numerator, denominator) as names of `Marks.numbers`
RATES = {"object_recall": ("named", "there"), "object_precision": ("named", "told"), "chair_i": ("false_namings", "namings"),
         "chair_s": ("with_hallucination", "texts"), "colour_accuracy": ("colours_right", "colours_named"),
         "count_accuracy": ("counts_right", "counts_named"), "relation_recall": ("relations_found", "relations_there"),
         "relation_precision": ("relations_right", "relations_told")}
SUMMARY = ("object_recall", "object_precision", "colour_accuracy", "count_accuracy")


@dataclass
class Marks:
    """One text scored against one scene; the sets hold kinds, the numbers count the scene's kinds that were named.

    namings, false_namings: how often kinds were named, and kinds that are not there.  relations_there: relations in the
    truth ("right of" is "left of" turned round, so one).  relations_found: those of them told.  relations_told,
    relations_right: what the text tells of two kinds that are both there, and what of it holds in the picture.
    """

    named: set[str] = field(default_factory=set)
    hallucinated: set[str] = field(default_factory=set)
    missed: set[str] = field(default_factory=set)
    colours_named: int = 0
    colours_right: int = 0
    counts_named: int = 0
    counts_right: int = 0
    namings: int = 0
    false_namings: int = 0
    relations_there: int = 0
    relations_found: int = 0
    relations_told: int = 0
    relations_right: int = 0

    def numbers(self) -> dict[str, int]:
        """What the rates are made of, see `RATES`."""
        numbers = {name: value for name, value in vars(self).items() if isinstance(value, int)}
        return numbers | {"named": len(self.named), "there": len(self.named) + len(self.missed), "told": len(self.named) + len(self.hallucinated),
                          "with_hallucination": int(bool(self.hallucinated)), "texts": 1}


def mentions(text: str, language: str) -> list[Mention]:
    """Every naming of a known kind in `text`, in order. language: "en" or "zh"."""
    return list(read(text, language).mentions)


def score(text: str, scene: Scene, language: str) -> Marks:
    """Score `text` against `scene`; see `score_reading`."""
    return score_reading(read(text, language), scene)


def score_reading(reading: Reading, scene: Scene) -> Marks:
    """Score what was read.

    A colour or count is judged once for each kind that is there and is named: right if any of its mentions has it right,
    wrong if none tells it. Kinds whose colour says nothing (a tree) do not count for colours.
    """
    marks, told = Marks(), {}
    groups = {g.kind: g for g in scene.groups}
    backdrop = BACKDROP_KINDS.get(scene.setting, set()) - set(groups)
    for mention in reading.mentions:
        if not mention.denied and mention.kind not in backdrop:
            told.setdefault(mention.kind, []).append(mention)
    marks.named = set(told) & set(groups)
    marks.missed = set(groups) - set(told)
    marks.hallucinated = set(told) - set(groups)
    marks.namings = sum(map(len, told.values()))
    marks.false_namings = sum(len(told[kind]) for kind in marks.hallucinated)
    for kind in marks.named:
        group = groups[kind]
        marks.counts_named += 1
        marks.counts_right += any(m.count == group.count for m in told[kind])
        if group.colour:
            marks.colours_named += 1
            marks.colours_right += any(group.colour in m.colours for m in told[kind])
    there = truths(scene)
    marks.relations_there = len(there)
    marks.relations_found = len(there & set(reading.relations))
    judged = [r for r in reading.relations if {r.subject, r.object} <= set(groups)]
    marks.relations_told = len(judged)
    marks.relations_right = sum(holds(r, scene) for r in judged)
    return marks


def truths(scene: Scene) -> set[Placed]:
    """The relations of a scene's truth, each in its one form."""
    return {Placed.of(scene.groups[r.subject].kind, r.relation, scene.groups[r.object].kind) for r in scene.relations}


def holds(placed: Placed, scene: Scene) -> bool:
    """Whether a told relation is true in the picture: it is in the truth, or the boxes show it.

    The truth lists neighbours only, so a dog may well be left of a house without the truth saying so. By the boxes, left of
    compares the middles; above wants the middle over the other's top; in front of, a foot nearer to the viewer and overlap.
    """
    if placed in truths(scene):
        return True
    a, b = (_box(scene, next(g for g in scene.groups if g.kind == kind)) for kind in (placed.subject, placed.object))
    if placed.relation == "left of":
        return a[0] + a[2] < b[0] + b[2]
    if placed.relation == "above":
        return (a[1] + a[3]) / 2 < b[1]
    return placed.relation == "in front of" and a[3] > b[3] and a[0] < b[2] and b[0] < a[2]


def _box(scene: Scene, group: Group) -> list[float]:
    """The box around a group's members; without members (a scene made by hand) an empty one."""
    lefts, tops, rights, bottoms = zip(*[scene.objects[m].box for m in group.members] or [(0, 0, 0, 0)])
    return [min(lefts), min(tops), max(rights), max(bottoms)]


def rates_of(totals: Mapping, names: Iterable[str] = SUMMARY) -> dict:
    """Rates (of `RATES`) from totals of `Marks.numbers`, and the objects' F1; totals may be numbers, or arrays of one shape.

    A rate that nothing was counted for (in an array: somewhere nothing) is absent.
    """
    import numpy

    result = {}
    for name in names:
        over, under = RATES[name]
        if numpy.all(totals[under]):
            result[name] = totals[over] / totals[under]
    if result.keys() >= {"object_recall", "object_precision"}:
        # 2rp / (r + p) in counts, where it has no 0 / 0: named / ((there + told) / 2)
        result["object_f1"] = 2 * totals["named"] / (totals["there"] + totals["told"])
    return result


def summarise(marks: Iterable[Marks], rates: Iterable[str] = SUMMARY) -> dict[str, float]:
    """`rates` (of `RATES`) and the objects' F1 over many texts, each between 0 and 1, micro-averaged: every object counts the same.

    A value that nothing was counted for (no object named at all) is absent.
    """
    totals = Counter()
    for one in marks:
        totals.update(one.numbers())
    return rates_of(totals, rates)
