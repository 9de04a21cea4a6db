"""Grades captions of drawn scenes against what the scenes hold, with intervals and paired tests like the other metrics.

    {system: n captions}, n scenes  --grade-->  Graded: {system: {metric: score}}, {system: {metric: (draws,)}}

What is right and what is invented is `truth.score`'s to say, and `truth.rates_of`'s to make rates of. They are shares of
everything that was named in all captions, no means of pictures, so it is the counts that are drawn and added up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers.core.errors import InputError
from helpers.core.significance import sample_draws


@dataclass(frozen=True)
class Graded:
    """scores: {system: {metric: 0 to 1}}.  resampled: {system: {metric: (draws,)}}, for metrics that every draw has."""

    scores: dict[str, dict[str, float]]
    resampled: dict[str, dict[str, np.ndarray]]


def grade(captions: Mapping[str, Sequence[str]], ids: Sequence[str], scenes: str | Path | Mapping, language: str, *,
          draws: int, seed: int) -> Graded:
    """Grades every system's n captions. scenes: a scenes.jsonl, or {id: Scene}.

    An id of another dimension, "0003/mood", belongs to the scene before the stroke.
    Raises: InputError for an id that no scene has.
    """
    from helpers.core import truth

    scenes, where = _scenes(scenes)
    lost = [identity for identity in ids if identity.split("/")[0] not in scenes]
    if lost:
        raise InputError(f"{where} has no scene {lost[0].split('/')[0]} ({len(lost)} of {len(ids)} samples are without one); "
                         "give the scenes.jsonl of the folder that the pictures come from.")
    found = Graded({}, {})
    for name, column in captions.items():
        marks = [truth.score(caption, scenes[identity.split("/")[0]], language) for identity, caption in zip(ids, column)]
        found.scores[name] = {metric: float(value) for metric, value in truth.summarise(marks).items()}
        numbers = [one.numbers() for one in marks]
        rows = np.array([list(row.values()) for row in numbers], dtype=float)
        sums = np.vstack([counts @ rows for counts in sample_draws(len(ids), draws, seed)])
        found.resampled[name] = truth.rates_of(dict(zip(numbers[0], sums.T)))
    return found


def _scenes(scenes) -> tuple[Mapping, str]:
    """{id: Scene}, and how a message names where they come from."""
    if isinstance(scenes, (str, Path)):
        from helpers.core.scenes import read_scenes

        return {scene.id: scene for scene in read_scenes(Path(scenes))}, str(scenes)
    return scenes, "The truth"
