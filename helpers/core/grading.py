"""Grades captions of drawn scenes against what the scenes hold: counts that are resampled and tested like any other metric's.

    {system: n captions}, n scenes  --grade-->  {system: Statistic}   (n, k) counts of the pictures, and how they become rates

What is right and what is invented is `truth.score`'s to say, and `truth.rates_of`'s to make rates of: recall and precision of
objects, CHAIR, colours, counts, relations. They are shares of everything that was named in all captions, no means of
pictures, so it is the counts that are drawn and added up. A rate that nothing was counted for (the precision of a system that
names nothing) is NaN here, and absent from every table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from helpers.core.errors import InputError
from helpers.core.significance import Statistic
from helpers.core.truth import RATES, Marks, rates_of, score

COUNTS = tuple(Marks().numbers())
TRUTH_METRICS = (*RATES, "object_f1")


def grade(captions: Mapping[str, Sequence[str]], ids: Sequence[str], scenes: str | Path | Mapping, language: str) -> dict[str, Statistic]:
    """Grades every system's n captions. scenes: a scenes.jsonl, or {id: Scene}.

    An id of another dimension, "0003/mood", belongs to the scene before the stroke.
    Raises: InputError for an id that no scene has.
    """
    scenes, where = _scenes(scenes)
    lost = [identity for identity in ids if identity.split("/")[0] not in scenes]
    if lost:
        raise InputError(f"{where} has no scene {lost[0].split('/')[0]} ({len(lost)} of {len(ids)} samples are without one); "
                         "give the scenes.jsonl of the folder that the pictures come from.")
    found = {}
    for name, column in captions.items():
        marks = [score(caption, scenes[identity.split("/")[0]], language).numbers() for identity, caption in zip(ids, column)]
        rows = np.array([[mark[count] for count in COUNTS] for mark in marks], dtype=float)
        found[name] = Statistic(TRUTH_METRICS, rows, _rates)
    return found


def _rates(sums: np.ndarray, _: int) -> np.ndarray:
    """(d, k) sums of counts -> (d, m) rates, NaN where nothing was counted."""
    rates = rates_of(dict(zip(COUNTS, sums.T)), RATES)
    return np.column_stack([rates[metric] for metric in TRUTH_METRICS])


def _scenes(scenes) -> tuple[Mapping, str]:
    """{id: Scene}, and how a message names where they come from."""
    if isinstance(scenes, (str, Path)):
        from helpers.core.scenes import read_scenes

        return {scene.id: scene for scene in read_scenes(Path(scenes))}, str(scenes)
    return scenes, "The truth"
