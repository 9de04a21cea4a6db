"""Prompts compared on the same pictures: scores with intervals, paired differences, and what the answers cost.

Shape of the data: [`Trial`] (a technique's reply about one scene, read and scored) → `Comparison`, whose tables are pandas
DataFrames: `answers` has a row a trial, `table()` a row a technique with each value and its 95 % interval,
`differences()` how each technique differs from one of them. A notebook shows a `Comparison` as its table.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from helpers.core.asking import Reply
from helpers.core.errors import InputError
from helpers.core.intervals import Estimate, difference, rate, resamples
from helpers.core.prices import ModelPrice
from helpers.core.reading import Reading
from helpers.core.scenes import Scene
from helpers.core.truth import RATES, Marks

if TYPE_CHECKING:
    import pandas

COSTS = ("words", "tokens", "yuan", "seconds")  # means for one picture
TITLES = {"object_recall": "recall", "object_precision": "precision", "chair_i": "CHAIR-i", "chair_s": "CHAIR-s", "colour_accuracy": "colours",
          "count_accuracy": "counts", "relation_recall": "relations", "relation_precision": "relations right", "format": "format kept",
          "words": "words", "tokens": "tokens", "yuan": "yuan per 1000", "seconds": "seconds"}
SHOWN = ("object_recall", "object_precision", "chair_i", "chair_s", "colour_accuracy", "count_accuracy", "relation_recall", *COSTS)


@dataclass(frozen=True)
class Trial:
    """One technique and one picture. format_fault: why the answer does not meet the technique's format; None: it does, or has none."""

    technique: str
    scene: Scene
    path: Path
    reply: Reply
    reading: Reading
    marks: Marks
    words: int
    formatted: bool
    format_fault: str | None


def count_words(text: str, language: str) -> int:
    """Words of an English text; of a Chinese one its characters, and words in Latin letters, without punctuation."""
    return len(re.findall(r"[\w'’-]+" if language == "en" else r"[\u4e00-\u9fff]|[A-Za-z0-9]+", text))


@dataclass(frozen=True)
class Comparison:
    """The trials of some techniques on the same pictures. price: of the model, None where it is unknown.  notice: who answered."""

    trials: Sequence[Trial]
    language: str
    price: ModelPrice | None
    source: str
    seed: int = 0

    @cached_property
    def techniques(self) -> list[str]:
        """Their names, in order."""
        return list(dict.fromkeys(trial.technique for trial in self.trials))

    @cached_property
    def pictures(self) -> int:
        """On how many pictures."""
        return len({trial.path for trial in self.trials})

    def of(self, technique: str) -> list[Trial]:
        """The trials of one technique. Raises InputError naming those there are."""
        if technique not in self.techniques:
            raise InputError(f"there is no technique {technique!r} here: choose from {', '.join(self.techniques)}")
        return [trial for trial in self.trials if trial.technique == technique]

    def estimate(self, technique: str, measure: str) -> Estimate:
        """A rate of `truth.RATES`, "format", or a mean of `COSTS`, with its interval; NaN where nothing could be counted."""
        return rate(*self._parts(technique, measure), self._weights)

    def difference(self, technique: str, against: str, measure: str, level: float = 0.95) -> Estimate:
        """How much `technique` is above `against` in a measure, on the pictures that both answered."""
        a, b = self._parts(technique, measure), self._parts(against, measure)
        both = self._answered(technique) * self._answered(against)
        return difference((a[0] * both, a[1] * both), (b[0] * both, b[1] * both), self._weights, level)

    def table(self, measures: Sequence[str] = SHOWN) -> pandas.DataFrame:
        """One row a technique, one column a measure: "0.93 (0.90–0.96)"; "–" where nothing could be counted. Spaces do not break."""
        import pandas

        rows = {name: {TITLES[m]: _written(self.estimate(name, m), m) for m in measures} for name in self.techniques}
        missing = {name: sum(not t.reply.answered for t in self.of(name)) for name in self.techniques}
        for name, number in missing.items():
            if any(missing.values()):
                rows[name]["unanswered"] = str(number)
        return pandas.DataFrame.from_dict(rows, orient="index").rename_axis("prompt")

    def numbers(self, measures: Sequence[str] = SHOWN) -> pandas.DataFrame:
        """The same as numbers: columns (measure, "value" | "low" | "high")."""
        import pandas

        rows = {name: {(m, part): getattr(self.estimate(name, m), part) for m in measures for part in ("value", "low", "high")}
                for name in self.techniques}
        return pandas.DataFrame.from_dict(rows, orient="index").rename_axis("prompt")

    def differences(self, against: str, measures: Sequence[str] = SHOWN[:7], level: float = 0.95) -> pandas.DataFrame:
        """How each technique differs from `against`: the difference, its interval, and a mark * where that leaves out zero."""
        import pandas

        rows = {}
        for name in self.techniques:
            if name != against:
                found = {m: self.difference(name, against, m, level) for m in measures}
                rows[name] = {TITLES[m]: _written(e, m, sign=True) + ("*" if e.outside_zero else "") for m, e in found.items()}
        return pandas.DataFrame.from_dict(rows, orient="index").rename_axis(f"against {against}")

    @cached_property
    def answers(self) -> pandas.DataFrame:
        """One row a trial: technique, picture, the answer, what was right, missed and made up, and what it took."""
        import pandas

        return pandas.DataFrame([{
            "prompt": t.technique, "picture": t.scene.id, "answer": t.reply.text, "named": sorted(t.marks.named), "missed": sorted(t.marks.missed),
            "made up": sorted(t.marks.hallucinated), "words": t.words, "calls": len(t.reply.calls),
            "tokens": sum(c.input_tokens + c.output_tokens for c in t.reply.calls), "yuan": self._yuan(t), "format": t.format_fault or ""}
            for t in self.trials])

    @property
    def new_calls(self) -> int:
        """How many requests were sent for this comparison; the others were in the store."""
        return len({(t.path, c.prompt, id(c)) for t in self.trials for c in t.reply.calls if c.new})

    def _repr_html_(self) -> str:
        note = f"{self.pictures} pictures; answers by {html.escape(self.source)}; small: 95 % intervals"
        return f"<div>{stacked(self.table())}<p><small>{note}</small></p></div>"

    def __repr__(self) -> str:
        return f"{self.table().to_string()}\n{self.pictures} pictures; answers by {self.source}; 95 % intervals in brackets"

    @cached_property
    def _weights(self) -> np.ndarray:
        return resamples(self.pictures, self.seed)

    def _answered(self, technique: str) -> np.ndarray:
        return np.array([t.reply.answered for t in self.of(technique)], dtype=float)

    def _parts(self, technique: str, measure: str) -> tuple[np.ndarray, np.ndarray]:
        """Numerators and denominators, shape (pictures,); zeros for pictures without an answer."""
        trials, answered = self.of(technique), self._answered(technique)
        if measure in RATES:
            numbers = [t.marks.numbers() for t in trials]
            return tuple(np.array([n[part] for n in numbers], dtype=float) * answered for part in RATES[measure])
        if measure == "format":
            told = np.array([t.formatted for t in trials], dtype=float) * answered
            return told * np.array([t.format_fault is None for t in trials]), told
        values = {"words": lambda t: t.words, "tokens": lambda t: sum(c.input_tokens + c.output_tokens for c in t.reply.calls),
                  "yuan": lambda t: 1000 * self._yuan(t), "seconds": lambda t: sum(c.seconds for c in t.reply.calls)}
        if measure not in values:
            raise InputError(f"there is no measure {measure!r}: choose from {', '.join(TITLES)}")
        return np.array([values[measure](t) for t in trials], dtype=float) * answered, answered

    def _yuan(self, trial: Trial) -> float:
        """Yuan of a trial by the price file; NaN where the model is not in it."""
        if self.price is None:
            return float("nan")
        return sum(self.price.cost(c.input_tokens, c.output_tokens) for c in trial.reply.calls)


def stacked(table: pandas.DataFrame) -> str:
    """A table of a comparison as HTML, intervals below their values, cells narrow: eleven columns fit beside JupyterLab's list of files."""
    unbroken = table.map(lambda cell: cell.replace("–", "\u2060–\u2060"))  # word joiners: an interval stays on one line
    shown = unbroken.map(lambda cell: re.sub(r"(\S+)\s\((.+)\)(\*?)", r"\1\3<br><small>\2</small>", cell)).to_html(escape=False)
    return re.sub("<(t[hd])>", r'<\1 style="padding: .4em .25em">', shown)


def _written(estimate: Estimate, measure: str, sign: bool = False) -> str:
    if not estimate.known:
        return "–"
    digits = {"words": 1, "tokens": 0, "seconds": 2, "yuan": 2}.get(measure, 2)
    form = f"{{:{'+' if sign else ''}.{digits}f}}"
    between = ", " if sign else "–"
    return f"{form.format(estimate.value)} ({form.format(estimate.low)}{between}{form.format(estimate.high)})".replace(" ", "\u00a0")
