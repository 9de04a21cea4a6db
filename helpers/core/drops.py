"""Scores of captions of drawn scenes with intervals, and how far they drop from one set of pictures to another.

    captions, scenes --statistic--> Statistic (n, k): counts of each picture, see grading.py
      --estimates-->  {metric: Estimate}      value and 95 % interval, bootstrap over pictures
      --drop-->       {metric: Estimate}      the second set minus the first: below zero is worse, for shares of what was made up above zero

A drop between two versions of the same pictures is paired: each resample draws pictures, and with a picture both of its versions, so what is
hard about the picture cancels out. Between sets of different pictures both are resampled, each by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from helpers.core.grading import COUNTS, TRUTH_METRICS, grade
from helpers.core.intervals import Estimate
from helpers.core.scenes import Scene
from helpers.core.significance import Statistic, bootstrap, interval

SHOWN = ("object_f1", "object_recall", "object_precision", "chair_i", "chair_s", "colour_accuracy", "count_accuracy", "relation_precision")


def statistic(captions: Sequence[str], scenes: Sequence[Scene], language: str) -> Statistic:
    """What the captions of n scenes say rightly and wrongly, as counts of each picture.

    Other than in a table of scores, objects' F1 is 0 where nothing was named at all: falling silent is how some systems break, and must not
    take the point out of a curve.
    """
    names = [str(place) for place in range(len(scenes))]
    graded = grade({"": list(captions)}, names, dict(zip(names, scenes, strict=True)), language)[""]

    def score(sums: np.ndarray, n: int) -> np.ndarray:
        rates, (named, there, told) = graded.score(sums, n), (sums[:, COUNTS.index(count)] for count in ("named", "there", "told"))
        with np.errstate(invalid="ignore", divide="ignore"):
            rates[:, TRUTH_METRICS.index("object_f1")] = 2 * named / (there + told)
        return rates

    return replace(graded, score=score)


def together(statistics: Sequence[Statistic]) -> Statistic:
    """Several systems of one sort on the same pictures, such as one training with several seeds, as one: their counts added up."""
    return replace(statistics[0], rows=np.sum([one.rows for one in statistics], axis=0))


def estimates(one: Statistic, seed: int = 0) -> dict[str, Estimate]:
    """Every metric with its interval; those that nothing was counted for are left out."""
    resampled = bootstrap({"": [one]}, seed=seed)[""]
    return _estimates(dict(zip(one.metrics, one.of_all())), resampled)


def drop(base: Statistic, changed: Statistic, paired: bool = True, seed: int = 0) -> dict[str, Estimate]:
    """Every metric of `changed` minus that of `base`, with its interval. paired: row i of both is one picture in two versions."""
    if paired:
        resampled = bootstrap({"base": [base], "changed": [changed]}, seed=seed)
    else:
        resampled = {"base": bootstrap({"": [base]}, seed=seed)[""], "changed": bootstrap({"": [changed]}, seed=seed + 1)[""]}
    values = dict(zip(base.metrics, changed.of_all() - base.of_all()))
    return _estimates(values, {metric: resampled["changed"][metric] - resampled["base"][metric] for metric in base.metrics})


def _estimates(values: Mapping[str, float], resampled: Mapping[str, np.ndarray]) -> dict[str, Estimate]:
    """A resample in which nothing was counted (0 / 0) says nothing and is left out."""
    found = {}
    for metric in TRUTH_METRICS:
        told = resampled[metric][np.isfinite(resampled[metric])]
        if np.isfinite(values[metric]) and len(told):
            found[metric] = Estimate(float(values[metric]), *interval(told))
    return found


def as_numbers(found: Mapping[str, Estimate], metrics: Sequence[str] = SHOWN) -> dict[str, list[float]]:
    """{metric: [value, low, high]} for a JSON file, four digits."""
    return {metric: [round(part, 4) for part in (found[metric].value, found[metric].low, found[metric].high)] for metric in metrics if metric in found}
