"""How sure a score is, and which differences between systems are real.

    Statistic   one system's (n, k) counts of n samples, and how sums of them become scores
      --bootstrap-->            {system: {metric: (draws,) scores}}     had other pictures been drawn
      --approximate_randomization-->  {(a, b): {metric: p}}             had the two systems been one

Scores of a corpus such as BLEU and METEOR are no means over pictures, so it is the counts that are resampled: the counts
of the drawn pictures are added up, then scored, as the corpus is. All systems are measured on the same draws, which
is what makes the comparison paired: a picture that is hard is hard for both.

Sources: the percentile bootstrap, Efron 1979; paired bootstrap resampling, Koehn 2004; paired approximate randomization,
Riezler and Maxwell 2005, with the p-value (c + 1) / (trials + 1) as in sacreBLEU (Post 2018); Holm 1979 for
many comparisons.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

DRAWS = 1000  # bootstrap resamples; the ends of a 95 % interval then rest on 25 draws each
TRIALS = 10_000  # of the randomization, as many as sacreBLEU's
LEVEL = 0.95
BLOCK = 20_000_000  # cells of a block of draws held at once: 160 MB


@dataclass(frozen=True)
class Statistic:
    """One or more metrics of one system. rows: (n, k) counts; score: sums (d, k) and the number of samples -> (d, m)."""

    metrics: tuple[str, ...]
    rows: np.ndarray
    score: Callable[[np.ndarray, int], np.ndarray]

    def of_all(self) -> np.ndarray:
        """The scores of all samples together, (m,)."""
        return self.score(self.rows.sum(axis=0, keepdims=True, dtype=float), len(self.rows))[0]

    def of_each(self) -> np.ndarray:
        """The scores of each sample by itself, (n, m)."""
        return self.score(self.rows.astype(float), 1)


def mean_of(metric: str, each: np.ndarray) -> Statistic:
    """The statistic of a metric that is the mean of its samples' scores. each: (n,)."""
    return Statistic((metric,), np.asarray(each, dtype=float)[:, None], lambda sums, n: sums / n)


def sample_draws(n: int, draws: int, seed: int):
    """Blocks (b, n) of how often each of n samples is drawn; each row sums to n. The same for the same n, draws and seed."""
    generator = np.random.default_rng(seed)
    for start in range(0, draws, size := max(1, BLOCK // n)):
        yield np.stack([np.bincount(generator.integers(0, n, n), minlength=n) for _ in range(min(size, draws - start))]).astype(float)


def bootstrap(systems: Mapping[str, Sequence[Statistic]], draws: int = DRAWS, seed: int = 0) -> dict[str, dict[str, np.ndarray]]:
    """Every metric of every system on `draws` resampled corpora; draw i holds the same pictures for all of them."""
    flat = [(name, statistic) for name, statistics in systems.items() for statistic in statistics]
    n = len(flat[0][1].rows)
    rows = np.hstack([statistic.rows for _, statistic in flat])
    sums = np.vstack([counts @ rows for counts in sample_draws(n, draws, seed)])
    found: dict[str, dict[str, np.ndarray]] = {name: {} for name in systems}
    place = 0
    for name, statistic in flat:
        width = statistic.rows.shape[1]
        found[name].update(zip(statistic.metrics, statistic.score(sums[:, place:place + width], n).T))
        place += width
    return found


def interval(resampled: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """The middle `level` of the resampled scores."""
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def approximate_randomization(systems: Mapping[str, Sequence[Statistic]], trials: int = TRIALS, seed: int = 0) -> dict[tuple[str, str], dict[str, float]]:
    """Two-sided p-values of every pair of systems, {(a, b): {metric: p}}.

    If two systems were equally good, it would not matter which of the two wrote which caption. Each trial swaps their
    captions of randomly chosen pictures; p is how often the difference is then at least as large as the one observed.
    All pairs see the same swaps. The statistics of all systems must be of the same metrics in the same order.
    """
    pairs = list(combinations(systems, 2))
    if not pairs:
        return {}
    whole = {name: np.hstack([statistic.rows for statistic in statistics]) for name, statistics in systems.items()}
    n, width = next(iter(whole.values())).shape
    changes = np.hstack([whole[b] - whole[a] for a, b in pairs])
    sums = {name: rows.sum(axis=0) for name, rows in whole.items()}
    observed = {name: np.concatenate([statistic.of_all() for statistic in statistics]) for name, statistics in systems.items()}
    larger = {pair: np.zeros_like(observed[pair[0]]) for pair in pairs}
    generator = np.random.default_rng(seed)
    for start in range(0, trials, size := max(1, BLOCK // n)):
        number = min(size, trials - start)
        bits = np.frombuffer(generator.bytes(-(-number * n // 8)), dtype=np.uint8)
        swapped = np.unpackbits(bits, count=number * n).reshape(number, n).astype(float) @ changes
        for place, (a, b) in enumerate(pairs):
            moved = swapped[:, place * width:(place + 1) * width]
            gap = np.abs(_score(systems[a], sums[a] + moved, n) - _score(systems[b], sums[b] - moved, n))
            # A hair of tolerance: the same sum, added in another order, must count as equally large.
            # A trial without a score (NaN: nothing was counted) speaks for no system, so it counts as well.
            larger[a, b] += (~(gap < np.abs(observed[a] - observed[b]) - 1e-9)).sum(axis=0)
    names = [metric for statistic in systems[pairs[0][0]] for metric in statistic.metrics]
    return {pair: {metric: float((count + 1) / (trials + 1)) for metric, count in zip(names, counts)} for pair, counts in larger.items()}


def holm(values: Sequence[float]) -> list[float]:
    """P-values made larger, so that of all of them together the chance of even one false alarm stays at the level."""
    adjusted, largest = [0.0] * len(values), 0.0
    for rank, place in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        largest = max(largest, min(1.0, (len(values) - rank) * values[place]))
        adjusted[place] = largest
    return adjusted


def _score(statistics: Sequence[Statistic], sums: np.ndarray, n: int) -> np.ndarray:
    """The scores of sums whose columns are those of several statistics side by side."""
    parts, place = [], 0
    for statistic in statistics:
        width = statistic.rows.shape[1]
        parts.append(statistic.score(sums[:, place:place + width], n))
        place += width
    return np.hstack(parts)
