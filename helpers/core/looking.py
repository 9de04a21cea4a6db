"""Does a captioner look at what it names? Attention held against the boxes of a scene's truth.

    Hypothesis (words with attention), Scene  --attention_on_objects-->  {kind: (attention on its boxes, their share of the picture)}

A decoder that looked nowhere in particular would put as much attention on an object as the object covers of the picture.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from helpers.core.backdrops import SCENE_SIZE
from helpers.core.baseline_student import Baseline
from helpers.core.beam_search import Hypothesis, greedy
from helpers.core.errors import InputError
from helpers.core.lexicon import KINDS
from helpers.core.scenes import Scene


def names_of_kinds(language: str) -> dict[str, str]:
    """{token: kind} for every kind whose name is one token of a vocabulary: "dog", "dogs", "狗"."""
    names = {}
    for kind, entry in KINDS.items():
        for name in {entry.word.said(language)} | ({entry.plural_en} if language == "en" else set()):
            names[name.split()[0] if kind == "palm" else name] = kind  # "palm tree" is two tokens, and the first tells it
    return {name: kind for name, kind in names.items() if " " not in name}


def coverage(scene: Scene, kind: str, grid: int) -> np.ndarray:
    """How much of each place of a grid×grid picture the objects of `kind` cover: [grid²], 0 to 1, boxes taken as they are."""
    size = 8 * grid  # eight points a side of a place
    covered = np.zeros((size, size), dtype=bool)
    points = (np.arange(size) + 0.5) * SCENE_SIZE / size
    for thing in scene.objects:
        if thing.kind == kind:
            left, top, right, bottom = thing.box
            covered |= ((points >= top) & (points <= bottom))[:, None] & ((points >= left) & (points <= right))[None]
    return covered.reshape(grid, 8, grid, 8).mean((1, 3)).ravel()


def looks(hypothesis: Hypothesis, scene: Scene, vocabulary, grid: int) -> list[tuple[str, float, float]]:
    """(kind, attention on it, its share of the picture) for every word that names a kind which is in `scene`."""
    names, there, found = names_of_kinds(vocabulary.language), {group.kind for group in scene.groups}, []
    words = vocabulary.strings(hypothesis.ids)
    for place, word in enumerate(words):
        kind = names.get(word)
        if kind == "tree" and place and words[place - 1] == "palm":
            continue
        if kind in there:
            covered = coverage(scene, kind, grid)
            found.append((kind, float(np.asarray(hypothesis.attention[place].cpu()) @ covered), float(covered.mean())))
    return found


def attention_on_objects(baseline: Baseline, images: Sequence, scenes: Sequence[Scene], batch_size: int = 32) -> dict[str, tuple[float, float]]:
    """{kind: (mean attention on its boxes while it is named, mean share of the picture that they cover)} over pictures of drawn scenes.

    Raises InputError for a baseline without attention, and when nothing that is there was named.
    """
    if not baseline.decoder.attends:
        raise InputError("A baseline without attention looks nowhere; give one that was trained with attention.")
    told = defaultdict(list)
    for start in range(0, len(images), batch_size):
        found = greedy(baseline.decoder, baseline.annotate(images[start:start + batch_size]), 128)
        for hypothesis, scene in zip(found, scenes[start:start + batch_size], strict=True):
            for kind, on_it, share in looks(hypothesis, scene, baseline.vocabulary, baseline.encoder.grid):
                told[kind].append((on_it, share))
    if not told:
        raise InputError("The captions name nothing that is in the scenes; train longer, or give other scenes.")
    return {kind: tuple(float(value) for value in np.mean(pairs, axis=0)) for kind, pairs in sorted(told.items())}
