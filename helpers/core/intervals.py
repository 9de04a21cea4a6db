"""How sure a rate is: 95 % intervals by bootstrap over pictures (Efron, 1979), and differences of two rates paired by picture.

Shape of the data: for each picture a numerator and a denominator (objects named, objects there), arrays of shape (pictures,);
a rate is Σ numerator / Σ denominator. A resample draws as many pictures with replacement, as weights of shape
(resamples, pictures), as `significance.py` draws them for corpus scores. The same resamples serve every prompt, so a difference compares the prompts on the same pictures and
the chance of easy and hard pictures cancels out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from helpers.core.significance import interval, sample_draws

RESAMPLES = 4000


@dataclass(frozen=True)
class Estimate:
    """A value and its interval; NaN where nothing could be counted."""

    value: float
    low: float
    high: float

    @property
    def known(self) -> bool:
        """Whether there is a value at all."""
        return not np.isnan(self.value)

    @property
    def outside_zero(self) -> bool:
        """Whether the interval leaves out zero: for a difference, that it is more than the chance of these pictures."""
        return self.known and (self.low > 0 or self.high < 0)


def resamples(pictures: int, seed: int = 0, number: int = RESAMPLES) -> np.ndarray:
    """Weights of shape (number, pictures): how often each picture is in each resample; floats, so that products are quick."""
    return np.vstack(list(sample_draws(pictures, number, seed)))


def rate(over: np.ndarray, under: np.ndarray, weights: np.ndarray, level: float = 0.95) -> Estimate:
    """Σ over / Σ under with its percentile interval. over, under: shape (pictures,).  weights: see `resamples`."""
    return _estimate(_divide(over.sum(), under.sum()), _divide(weights @ over, weights @ under), level)


def difference(a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray], weights: np.ndarray, level: float = 0.95) -> Estimate:
    """Rate a minus rate b, each (over, under) on the same pictures, with the interval of the paired difference."""
    value = _divide(a[0].sum(), a[1].sum()) - _divide(b[0].sum(), b[1].sum())
    return _estimate(value, _divide(weights @ a[0], weights @ a[1]) - _divide(weights @ b[0], weights @ b[1]), level)


def _divide(over, under) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.true_divide(over, under)


def _estimate(value: np.ndarray, spread: np.ndarray, level: float) -> Estimate:
    """Resamples in which nothing could be counted (0 / 0) say nothing and are left out."""
    told = spread[np.isfinite(spread)]
    if not np.isfinite(value) or not len(told):
        return Estimate(float("nan"), float("nan"), float("nan"))
    return Estimate(float(value), *interval(told, level))
