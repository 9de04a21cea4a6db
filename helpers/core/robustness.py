"""Where systems break: each asked about every split and every corruption, and what the answers are worth against the truth.

    test_sets(…) --{name: TestSet}--> ask(student, set) --[Answer]--> survey({system: {set: answers}}) --> a result for tables and figures

A set is a split ("small") or the base split corrupted ("noise 3"). A result is plain data, the same for one live measurement in a notebook
and for the study that is kept in data/studies:

    {"sets":   {set: {"pictures", "cause", "against", "colours"}},
     "scores": {system: {set: {metric: [value, low, high]}}},     "drops": the same, minus the set that it is held against, paired where it can be
     "calibration": {system: {set: {"object" | "colour": {metric: [value, low, high], "bins": [[words, probability, share right], …]}}}},
     "taken for": {system: {strange kind or place: {what was said instead: pictures}}},
     "worst":  {system: {set: [{"id", "text", "faults"}, …]}}}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from helpers.core import drops
from helpers.core.calibration import METRICS, SORTS, bins_of, calibration, judged_words
from helpers.core.corruptions import CORRUPTIONS, STRENGTHS, corrupt
from helpers.core.errors import InputError
from helpers.core.prompts import question
from helpers.core.significance import Statistic, bootstrap, interval
from helpers.core.splits import BASE, SPLITS, Case, known, make_case, make_split
from helpers.core.strange import PLACES, STRANGE_KINDS, places_named, strange_named
from helpers.core.truth import score

WORST = 3  # pictures kept of a system in a set
UNSEEN_COLOURS = ("colour_accuracy",)


@dataclass(frozen=True)
class TestSet:
    """Pictures that are asked about together. corruption: None, or its name and strength.  against: the set that a drop is measured against."""

    __test__ = False  # no test of pytest's, whatever its name

    name: str
    cases: Sequence[Case]
    against: str
    corruption: tuple[str, int] | None = None

    @property
    def split(self) -> str:
        """The split that the pictures are of."""
        return BASE if self.corruption else self.name

    @property
    def cause(self) -> str:
        """The one thing that is new."""
        return f"{self.corruption[0]} of strength {self.corruption[1]}" if self.corruption else SPLITS[self.name].cause

    @property
    def colours(self) -> bool:
        """Whether colours can be seen."""
        return SPLITS[self.split].colours

    def picture(self, case: Case) -> Image.Image:
        """A case's picture as this set shows it."""
        return corrupt(case.picture, *self.corruption, seed=case.id) if self.corruption else case.picture


def case_in(name: str, identity: str, seed: int = 0, training_seed: int = 0) -> tuple[Case, Image.Image]:
    """The case of an id in a set, by the set's name ("small", "noise 3"), and its picture as the set shows it."""
    kind, _, strength = name.rpartition(" ")
    corruption = (kind, int(strength)) if kind in CORRUPTIONS and strength.isdigit() else None
    case = make_case(BASE if corruption else name, int(identity), seed, training_seed)
    if case is None:
        raise InputError(f"There is no picture {identity} in {name!r}.")
    return case, TestSet(name, [case], "", corruption).picture(case)


@dataclass(frozen=True)
class Answer:
    """What a system said of one picture. pieces: its tokens with their probabilities."""

    id: str
    text: str
    pieces: tuple[tuple[str, float], ...]


def test_sets(number: int, corrupted: int, splits: Sequence[str] = tuple(SPLITS), corruptions: Sequence[str] = tuple(CORRUPTIONS),
              strengths: Sequence[int] = STRENGTHS, seed: int = 0, training_seed: int = 0) -> dict[str, TestSet]:
    """`number` pictures of each of `splits`, and the first `corrupted` of the base split under each of `corruptions`.

    The base split is always among them. Raises InputError for an unknown split, corruption or strength.
    """
    unknown = [name for name in corruptions if name not in CORRUPTIONS] + [str(s) for s in strengths if s not in STRENGTHS]
    if unknown:
        raise InputError(f"There is no corruption or strength {unknown[0]}; choose from {', '.join(CORRUPTIONS)} and {STRENGTHS[0]} to {STRENGTHS[-1]}.")
    names = [name for name in SPLITS if name in (*splits, BASE)] + [name for name in splits if name not in SPLITS]
    sets = {name: TestSet(name, make_split(name, number, seed, training_seed), SPLITS[name].against if name in SPLITS else "") for name in names}
    if "seen" not in sets:
        sets[BASE] = replace(sets[BASE], against="")
    for name in corruptions:
        for strength in strengths:
            sets[f"{name} {strength}"] = TestSet(f"{name} {strength}", sets[BASE].cases[:corrupted], BASE, (name, strength))
    return sets


test_sets.__test__ = False


def ask(student, test_set: TestSet, language: str, batch_size: int = 32, max_new_tokens: int = 128, progress: str | None = None,
        pictures: Sequence[Image.Image] | None = None) -> list[Answer]:
    """A student's answers to the course's main question about every picture of a set, with the probabilities of its tokens.

    pictures: the set's, where they are drawn already.
    """
    pictures = [test_set.picture(case) for case in test_set.cases] if pictures is None else pictures
    said = student.describe_with_probabilities(pictures, question("main", language), batch_size=batch_size, max_new_tokens=max_new_tokens, progress=progress)
    return [Answer(case.id, text, tuple((piece, float(p)) for piece, p in pieces)) for case, (text, pieces) in zip(test_set.cases, said, strict=True)]


def survey(answers: Mapping[str, Mapping[str, Sequence[Answer]]], sets: Mapping[str, TestSet], language: str, seed: int = 0) -> dict:
    """The result (see above) of {system: {set: answers in the order of the set's cases}}."""
    result: dict = {"language": language, "sets": {name: {"pictures": len(one.cases), "cause": one.cause, "against": one.against, "colours": one.colours}
                                                   for name, one in sets.items()}}
    parts = ("scores", "drops", "calibration", "taken for", "worst")
    result |= {part: {system: {} for system in answers} for part in parts}
    for system, said in answers.items():
        statistics = {name: drops.statistic([a.text for a in said[name]], [known(case.scene) for case in one.cases], language)
                      for name, one in sets.items()}
        for name, one in sets.items():
            hidden = () if one.colours else UNSEEN_COLOURS
            metrics = [metric for metric in drops.SHOWN if metric not in hidden]
            result["scores"][system][name] = drops.as_numbers(drops.estimates(statistics[name], seed), metrics)
            if one.against:
                result["drops"][system][name] = drops.as_numbers(_drop(one, sets[one.against], statistics, seed), metrics)
            result["calibration"][system][name] = _calibrations(one, said[name], language, seed)
            result["worst"][system][name] = _worst(one, said[name], language)
        result["taken for"][system] = _taken_for(sets, said, language)
    return result


def _drop(one: TestSet, base: TestSet, statistics: Mapping[str, Statistic], seed: int) -> dict:
    """How much lower a set scores than the one it is held against, on the plans that both have."""
    if not one.corruption and not SPLITS[one.name].paired:
        return drops.drop(statistics[base.name], statistics[one.name], paired=False, seed=seed)
    place = {case.id: i for i, case in enumerate(base.cases)}
    rows = statistics[base.name].rows[[place[case.id] for case in one.cases]]
    return drops.drop(replace(statistics[base.name], rows=rows), statistics[one.name], seed=seed)


def _calibrations(one: TestSet, answers: Sequence[Answer], language: str, seed: int) -> dict:
    """Object and colour words: metrics with intervals, and the bars of the diagram."""
    words = [judged_words(a.text, a.pieces, known(case.scene), language, one.colours) for a, case in zip(answers, one.cases, strict=True)]
    found = {}
    for sort in SORTS:
        statistic = calibration(words, sort)
        if statistic is None:
            continue
        resampled = bootstrap({"": [statistic]}, seed=seed)[""]
        told = {metric: resampled[metric][np.isfinite(resampled[metric])] for metric in METRICS}  # a resample without a word says nothing
        found[sort] = {metric: [round(float(v), 4) for v in (value, *interval(told[metric]))] for metric, value in zip(METRICS, statistic.of_all())}
        found[sort]["bins"] = [[n, round(p, 4), round(share, 4)] if n else [0, None, None] for n, p, share in bins_of(statistic)]
    return found


def faults(text: str, scene, language: str) -> int:
    """How much is wrong with a text: kinds made up and missed, and wrong colours and numbers of those that are named."""
    marks = score(text, scene, language)
    return len(marks.hallucinated) + len(marks.missed) + marks.colours_named - marks.colours_right + marks.counts_named - marks.counts_right


def _worst(one: TestSet, answers: Sequence[Answer], language: str) -> list[dict]:
    """The answers with the most faults; of equally bad ones the surest."""
    def sureness(answer: Answer) -> float:
        return sum(p for _, p in answer.pieces) / max(1, len(answer.pieces))

    judged = [(faults(a.text, known(case.scene), language), sureness(a), a) for a, case in zip(answers, one.cases)]
    judged.sort(key=lambda entry: (-entry[0], -entry[1]))
    return [{"id": a.id, "text": a.text, "faults": number} for number, _, a in judged[:WORST]]


def _taken_for(sets: Mapping[str, TestSet], said: Mapping[str, Sequence[Answer]], language: str) -> dict[str, dict[str, int]]:
    """What is said where a kind or a place is that nobody has shown: {strange one: {named instead: pictures}}."""
    found: dict[str, Counter] = {}
    for case, answer in _pairs(sets, said, "new kinds"):
        for kind in {group.kind for group in case.scene.groups} & set(STRANGE_KINDS):
            named = strange_named(answer.text, language) & {kind} or score(answer.text, known(case.scene), language).hallucinated
            found.setdefault(kind, Counter()).update(named or ["nothing"])
    for case, answer in _pairs(sets, said, "settings"):
        named = places_named(answer.text, language)
        found.setdefault(case.scene.setting, Counter()).update([case.scene.setting] if case.scene.setting in named else named[:1] or ["nothing"])
    return {name: dict(found[name].most_common()) for name in (*STRANGE_KINDS, *PLACES) if name in found}


def _pairs(sets: Mapping[str, TestSet], said: Mapping[str, Sequence[Answer]], name: str):
    return zip(sets[name].cases, said[name]) if name in sets else ()
