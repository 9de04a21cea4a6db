"""Whether a model knows when it is guessing: the probability it gives a word against how often the word is right.

    text, tokens with probabilities, scene --judged_words--> [JudgedWord(sort, probability, right), …]
    those of n pictures --calibration--> Statistic: ECE, mean confidence, accuracy;  --bins_of--> the bars of a reliability diagram

Of all the words of a caption only some can be right or wrong. Here these are the *object words* (right: the kind is in the scene) and the
*colour words* said of a kind that is there (right: it has that colour). Each kind counts where it is first named, since a word that is said
again is no new decision. A word's probability is the product of those of its tokens: what the model gave it after all that it had said before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from helpers.core.reading import read
from helpers.core.scenes import Scene
from helpers.core.significance import Statistic
from helpers.core.truth import BACKDROP_KINDS

BINS = 10
SORTS = ("object", "colour")
METRICS = ("ece", "confidence", "accuracy", "overconfidence")
Pieces = Sequence[tuple[str, float]]


@dataclass(frozen=True)
class JudgedWord:
    """One word of a caption. sort: "object" or "colour".  probability: what the model gave it.  right: whether it is true."""

    sort: str
    word: str
    probability: float
    right: bool


def piece_spans(text: str, pieces: Pieces) -> list[tuple[int, int, float]]:
    """(start, end, probability) in `text` of every token that adds something to it; one that adds nothing counts with the next.

    Tokens are looked for in their order, with nothing but spaces and marks between them, so pieces with their spaces and bare words will do. One
    that the text does not have, such as the sign for an unknown word, is passed over.
    """
    low, spans, at, waiting, lost = text.lower(), [], 0, 1.0, False
    for piece, probability in pieces:
        word = piece.strip().lower()
        place = low.find(word, at) if word else -1
        waiting *= probability
        if place >= 0 and (lost or not any(map(str.isalnum, low[at:place]))):
            spans.append((place, place + len(word), waiting))
            at, waiting, lost = place + len(word), 1.0, False
        elif word:
            waiting, lost = 1.0, True
    return spans


def judged_words(text: str, pieces: Pieces, scene: Scene, language: str, colours: bool = True) -> list[JudgedWord]:
    """The object and colour words of a caption of `scene`. colours: whether colours can be seen in the picture at all.

    A word whose tokens are not found in the text is left out.
    """
    spans = piece_spans(text, pieces)
    groups = {group.kind: group for group in scene.groups}
    spared = BACKDROP_KINDS.get(scene.setting, set()) - set(groups)
    found, seen = [], set()

    def judge(sort: str, start: int, end: int, right: bool) -> None:
        inside = [probability for a, b, probability in spans if a < end and start < b]
        if inside:
            found.append(JudgedWord(sort, text[start:end], prod(inside), right))

    for mention in read(text, language).mentions:
        if mention.denied or mention.kind in spared or mention.kind in seen:
            continue
        seen.add(mention.kind)
        judge("object", mention.start, mention.end, mention.kind in groups)
        group = groups.get(mention.kind)
        if colours and group and group.colour and mention.colour_spans:
            judge("colour", *mention.colour_spans[0], mention.colours[0] == group.colour)
    return found


def object_probabilities(text: str, pieces: Pieces, language: str) -> list[float]:
    """What the model gave each kind that a caption names, where it is first named; of pictures whose truth nobody knows."""
    nothing = Scene("", "", 0, "", "", "", [], [], [])
    return [word.probability for word in judged_words(text, pieces, nothing, language)]


def calibration(pictures: Sequence[Sequence[JudgedWord]], sort: str, bins: int = BINS) -> Statistic | None:
    """The words of one sort in n pictures as counts that can be resampled by picture; None where there is no such word.

    Metrics: "ece", the expected calibration error: the mean distance between confidence and accuracy of `bins` bins of equal width, weighed by
    their words (Guo et al., 2017, arXiv:1706.04599); "confidence", the mean probability; "accuracy", the share that is right;
    "overconfidence", the first minus the second of these.
    """
    rows = np.zeros((len(pictures), 3, bins))  # words, right ones, summed probability
    for row, words in zip(rows, pictures):
        for word in words:
            if word.sort == sort:
                row[:, min(int(word.probability * bins), bins - 1)] += (1, word.right, word.probability)
    return Statistic(METRICS, rows.reshape(len(pictures), -1), _score) if rows[:, 0].sum() else None


def _score(sums: np.ndarray, _: int) -> np.ndarray:
    """(d, 3 · bins) sums -> (d, 4) metrics; NaN for a resample without a word."""
    words, right, confidence = np.moveaxis(sums.reshape(len(sums), 3, -1), 1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        total = words.sum(axis=1)
        sure, accurate = confidence.sum(axis=1) / total, right.sum(axis=1) / total
        return np.column_stack([np.abs(right - confidence).sum(axis=1) / total, sure, accurate, sure - accurate])


def bins_of(statistic: Statistic) -> list[tuple[int, float, float]]:
    """(words, mean probability, share right) of each bin, from the least sure to the surest; NaN in an empty one."""
    words, right, confidence = statistic.rows.sum(axis=0).reshape(3, -1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return list(zip(words.astype(int).tolist(), (confidence / words).tolist(), (right / words).tolist()))
