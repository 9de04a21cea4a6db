"""BLEU, ROUGE-L and CIDEr: the metrics that count words and runs of words which a caption shares with its references.

    references  n lists of 1 or more strings     captions  {system: n strings}     words parted by single spaces
      -> {system: Overlap}   per sample: BLEU's ten counts, ROUGE-L, CIDEr

The formulas, with their guards against division by zero, are pycocoevalcap's, so the scores are its scores. What differs
is the order of work: samples outside, systems inside. A sample's references are prepared once for all systems and then
forgotten, so that memory grows with the vocabulary and not with the text, and a caption's longest common subsequence
is found on machine words instead of cell by cell.

Sources: BLEU, Papineni et al. 2002; ROUGE-L, Lin 2004; CIDEr, Vedantam et al. 2015. What pycocoevalcap and every table
of COCO results call CIDEr is the paper's CIDEr-D: clipped counts and a penalty on the difference in length. The bit
vectors of the subsequence: Hyyrö 2004.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

ORDER = 4  # n-grams of one to four words
BETA = 1.2  # how much more ROUGE-L values recall than precision
SIGMA = 6.0  # of CIDEr-D's penalty: words of difference in length that cost 40 %
TINY, SMALL = 1e-15, 1e-9  # pycocoevalcap's guards against a division by zero


@dataclass(frozen=True)
class Overlap:
    """One system's n samples. bleu: (n, 10) matches and n-grams of orders 1 to 4, caption length, closest reference length.
    rouge: (n,) 0 to 1.  cider: (n,) 0 to 10."""

    bleu: np.ndarray
    rouge: np.ndarray
    cider: np.ndarray


def overlap(references: Sequence[Sequence[str]], captions: Mapping[str, Sequence[str]], step: Callable[[], object] = lambda: None) -> dict[str, Overlap]:
    """Counts and scores of every caption of every system; `step` is called after each sample."""
    n = len(references)
    frequency = document_frequency(references)
    found = {name: Overlap(np.zeros((n, 10)), np.zeros(n), np.zeros(n)) for name in captions}
    for row, texts in enumerate(references):
        grams = [ngrams(text) for text in texts]
        ceiling = grams[0] if len(grams) == 1 else _highest(grams)
        lengths = [len(text.split()) for text in texts]
        vectors = [_vector(counts, frequency, n) for counts in grams]
        patterns = [_Pattern(text.split(" ")) for text in texts]  # pycocoevalcap's ROUGE splits at each space, so "" is one empty word
        for name, column in captions.items():
            caption, scores = column[row], found[name]
            counts = ngrams(caption)
            scores.bleu[row] = _bleu_counts(counts, len(caption.split()), ceiling, lengths)
            scores.rouge[row] = _rouge(caption.split(" "), patterns)
            scores.cider[row] = _cider(_vector(counts, frequency, n), vectors)
        step()
    return found


def ngrams(text: str) -> dict[tuple[str, ...], int]:
    """How often each run of one to four words occurs."""
    words = text.split()
    counts: Counter = Counter()
    for order in range(1, ORDER + 1):
        counts.update(zip(*(words[start:] for start in range(order))))
    return counts


def document_frequency(references: Iterable[Sequence[str]]) -> Counter:
    """In how many samples' references each n-gram occurs."""
    frequency: Counter = Counter()
    for texts in references:
        frequency.update(ngrams(texts[0]).keys() if len(texts) == 1 else set().union(*(ngrams(text) for text in texts)))
    return frequency


def bleu(sums: np.ndarray) -> np.ndarray:
    """BLEU-1 to 4 of corpora, (d, 4), from the sums of `Overlap.bleu` over their samples, (d, 10).

    BLEU is no mean over samples: the counts are added up first, then divided.
    """
    correct, guessed, length, wanted = sums[:, :4], sums[:, 4:8], sums[:, 8], sums[:, 9]
    precision = (correct + TINY) / (guessed + SMALL)
    ratio = (length + TINY) / (wanted + SMALL)
    brevity = np.where(ratio < 1, np.exp(1 - 1 / np.minimum(ratio, 1)), 1.0)
    return np.cumprod(precision, axis=1) ** (1 / np.arange(1, ORDER + 1)) * brevity[:, None]


def longest_common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """The most words that both sequences have in the same order, not necessarily side by side."""
    return _Pattern(first).common(second)


def _highest(grams: Sequence[Mapping]) -> dict:
    """How often an n-gram may count: as often as in the one reference that has it most."""
    ceiling: dict = {}
    for counts in grams:
        for gram, count in counts.items():
            ceiling[gram] = max(ceiling.get(gram, 0), count)
    return ceiling


def _bleu_counts(counts: Mapping, length: int, ceiling: Mapping, lengths: Sequence[int]) -> list[float]:
    correct = [0] * ORDER
    for gram, count in counts.items():
        if gram in ceiling:
            correct[len(gram) - 1] += min(count, ceiling[gram])
    closest = min((abs(wanted - length), wanted) for wanted in lengths)[1]
    return [*correct, *(max(0, length - order) for order in range(ORDER)), length, closest]


class _Pattern:
    """A reference's words as bit masks: bit i of a word's mask says that it stands at place i."""

    def __init__(self, words: Sequence[str]):
        self.length = len(words)
        self.masks: dict[str, int] = {}
        for place, word in enumerate(words):
            self.masks[word] = self.masks.get(word, 0) | 1 << place

    def common(self, words: Sequence[str]) -> int:
        """Length of the longest common subsequence: one addition of long integers a word, in place of a row of a table."""
        full = (1 << self.length) - 1
        state = full
        for word in words:
            hits = state & self.masks.get(word, 0)
            if hits:
                state = ((state + hits) | (state - hits)) & full
        return self.length - state.bit_count()


def _rouge(words: Sequence[str], patterns: Sequence[_Pattern]) -> float:
    common = [pattern.common(words) for pattern in patterns]
    precision = max(common) / len(words)
    recall = max(count / pattern.length for count, pattern in zip(common, patterns))
    if not precision or not recall:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def _vector(counts: Mapping, frequency: Mapping, n: int) -> tuple[dict, list[float], int]:
    """TF-IDF weights of a text's n-grams, their norm for each order, and the text's number of pairs of words.

    The number of pairs, not of words, is what pycocoevalcap takes for the length; the difference is the same.
    """
    whole, weights, squares, pairs = math.log(n), {}, [0.0] * ORDER, 0
    for gram, count in counts.items():
        weight = count * (whole - math.log(max(1.0, frequency.get(gram, 0))))
        weights[gram] = weight
        squares[len(gram) - 1] += weight * weight
        if len(gram) == 2:
            pairs += count
    return weights, [math.sqrt(square) for square in squares], pairs


def _cider(caption: tuple, references: Sequence[tuple]) -> float:
    weights, norms, length = caption
    total = 0.0
    for wanted, wanted_norms, wanted_length in references:
        dots = [0.0] * ORDER
        for gram, weight in weights.items():
            if gram in wanted:
                dots[len(gram) - 1] += min(weight, wanted[gram]) * wanted[gram]
        cosine = sum(dot / (norm * other) for dot, norm, other in zip(dots, norms, wanted_norms) if norm and other)
        total += cosine * math.exp(-((length - wanted_length) ** 2) / (2 * SIGMA**2))
    return 10.0 * total / ORDER / len(references)
