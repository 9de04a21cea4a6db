"""What fine-tuning leaves out: the same training without some kinds of object, or without some places, examined on just those.

The splits (splits.py) show students what *nobody* ever showed them. A student that is fine-tuned is in between: its pretraining has seen far
more than the labelled pictures. Here the labels are taken away on purpose, and nothing else: as many scenes, as many steps, once with everything,
once without any scene that holds `KINDS_OUT`, once without any in `PLACES_OUT`. What is lost on these, beside the student trained with everything,
is what fine-tuning forgets of that which its data do not mention; with LoRA and in full, since they may differ in that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from helpers.core.intervals import Estimate, difference, rate, resamples
from helpers.core.scenes import Scene
from helpers.core.stations import Stations
from helpers.core.strange import places_named
from helpers.core.study import Setup, Study, finished, labelled
from helpers.core.truth import score

KINDS_OUT = ("cow", "bicycle", "umbrella", "balloon")
PLACES_OUT = ("beach", "forest")
STRATEGIES = ("lora", "full")
POOL, SPARE = 1.6, 40  # training scenes to draw for each that is trained on, and some more: enough of them lack all of KINDS_OUT
KEPT: dict[str, Callable[[Scene], bool]] = {
    "everything": lambda scene: True,
    "without kinds": lambda scene: not {group.kind for group in scene.groups} & set(KINDS_OUT),
    "without places": lambda scene: scene.setting not in PLACES_OUT,
}
# What is counted: (right ones, those there), for one scene and one text.
Counted = tuple[np.ndarray, np.ndarray]


def held_out_study(out: str | Path, setup: Setup = Setup(), say: Callable[[str], None] = print) -> dict:
    """Train with and without, by LoRA and in full, once a seed; returns what held-out.json holds.

    "rates": {strategy: {condition: {question: [value, low, high]}}} and "differences", to the student that was trained on everything, where the
    questions are: "kinds out" and "kinds in", the share of these kinds that are named where they are, and "places out" and "places in", the share of scenes
    whose place is named.  Raises InputError for settings that make no study, ResourceError where `out` cannot be used.
    """
    with Stations(Path(out), total=1 + len(KEPT) * len(STRATEGIES) * len(setup.seeds), say=say) as stations:
        study = Study(out, setup, stations, pool=round(setup.train * POOL) + SPARE)
        counted: dict[tuple[str, str], dict[str, Counted]] = {}
        for condition, keeps in KEPT.items():
            chosen = [scene for scene in study.training if keeps(scene)][:setup.train]
            samples = [labelled(scene, scene, setup.language) for scene in chosen]
            for strategy in STRATEGIES:
                each = [count(study.examine(f"{condition} {strategy}, seed {seed}", samples, strategy, seed), study.evaluation, setup.language) for seed in setup.seeds]
                counted[strategy, condition] = {key: tuple(np.sum([one[key][part] for one in each], axis=0) for part in (0, 1)) for key in each[0]}
    weights = resamples(setup.eval, 0, 1000)

    def plain(found: Estimate) -> list[float] | None:
        return [round(part, 4) for part in (found.value, found.low, found.high)] if found.known else None

    rates = {strategy: {condition: {key: plain(rate(*counted[strategy, condition][key], weights)) for key in counted[strategy, condition]}
                        for condition in KEPT} for strategy in STRATEGIES}
    differences = {strategy: {condition: {key: plain(difference(counted[strategy, condition][key], counted[strategy, "everything"][key], weights))
                                          for key in counted[strategy, condition]} for condition in KEPT if condition != "everything"} for strategy in STRATEGIES}
    return finished("held-out", "captionlab study held-out" + setup.options, setup,
                    {"kinds out": KINDS_OUT, "places out": PLACES_OUT, "rates": rates, "differences": differences})


def count(texts: Sequence[str], scenes: Sequence[Scene], language: str) -> dict[str, Counted]:
    """For each scene: how many of the kinds in and out of the training data are named of those there are, and whether the place is named."""
    rows = {key: np.zeros((2, len(scenes))) for key in ("kinds out", "kinds in", "places out", "places in")}
    for i, (text, scene) in enumerate(zip(texts, scenes, strict=True)):
        named, there = score(text, scene, language).named, {group.kind for group in scene.groups}
        for key, kinds in (("kinds out", there & set(KINDS_OUT)), ("kinds in", there - set(KINDS_OUT))):
            rows[key][:, i] = len(named & kinds), len(kinds)
        rows["places out" if scene.setting in PLACES_OUT else "places in"][:, i] = scene.setting in places_named(text, language), 1
    return {key: (one[0], one[1]) for key, one in rows.items()}
