"""Sentences marked by hand, and how well `reading` reads them: precision and recall for each thing that is read.

Shape of the data: `data/reading/marked_en.yaml`, `marked_zh.yaml` → [`MarkedSentence`] → {element: `Agreement`}. An element
is what can be right or wrong: an object that is said to be there, a colour of one, a number of one, a denial, a relation.
The sentences at odd places (the first, third …) served to build the reader; the others are held out and only measure it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml

from helpers.core.errors import InputError
from helpers.core.lexicon import COLOURS, KINDS
from helpers.core.paths import DATA
from helpers.core.reading import Placed, Reading, read

FOLDER = DATA / "reading"
ELEMENTS = ("objects", "colours", "counts", "denials", "relations")
_SAYS = re.compile(r"(\w+)(?:/([\w+]+))?(?:\*(\d+))?")
_RELATES = re.compile(r"(\w+) (left of|above|in front of|on) (\w+)")


@dataclass(frozen=True)
class MarkedSentence:
    """A text and what it says, as sets: kinds, (kind, colour), (kind, number), denied kinds and relations."""

    text: str
    language: str
    objects: frozenset
    colours: frozenset
    counts: frozenset
    denials: frozenset
    relations: frozenset


@dataclass(frozen=True)
class Agreement:
    """Of one element: how many are marked, how many were read, how many of these are the same."""

    marked: int
    read: int
    same: int

    @property
    def precision(self) -> float:
        """Share of what was read that is marked; 1.0 where nothing was read."""
        return self.same / self.read if self.read else 1.0

    @property
    def recall(self) -> float:
        """Share of what is marked that was read; 1.0 where nothing is marked."""
        return self.same / self.marked if self.marked else 1.0


def load_marked(language: str, half: str | None = None, folder: Path | str = FOLDER) -> list[MarkedSentence]:
    """The sentences of a language; half: "built" (the reader was built with these), "held out", or None for all.

    Raises InputError naming the sentence whose marks cannot be understood.
    """
    path = Path(folder) / f"marked_{language}.yaml"
    try:
        records = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"the marked sentences {path.name} cannot be read ({type(error).__name__}): mend or restore the file") from error
    records = records[{"built": 0, "held out": 1}[half]::2] if half else records
    return [_marked(record, language, f"{path.name}, {str(record.get('text'))[:30]!r}") for record in records]


def _marked(record: dict, language: str, where: str) -> MarkedSentence:
    says = [_SAYS.fullmatch(str(mark)) for mark in record.get("says") or []]
    relates = [_RELATES.fullmatch(str(mark)) for mark in record.get("relates") or []]
    denies = record.get("denies") or []
    kinds = [m[1] for m in says if m] + [k for m in relates if m for k in (m[1], m[3])] + list(denies)
    colours = [(m[1], c) for m in says if m and m[2] for c in m[2].split("+")]
    if None in says or None in relates or set(kinds) - set(KINDS) or {c for _, c in colours} - set(COLOURS):
        raise InputError(f"{where}: a mark names an unknown kind, colour or relation; see the head of the file for the form")
    return MarkedSentence(record["text"], language, frozenset(m[1] for m in says), frozenset(colours),
                          frozenset((m[1], int(m[3])) for m in says if m[3]), frozenset(denies),
                          frozenset(Placed(m[1], m[2], m[3]) for m in relates))


def elements(reading: Reading) -> dict[str, frozenset]:
    """A reading as sets of the same form as the marks."""
    there = [m for m in reading.mentions if not m.denied]
    return {"objects": frozenset(reading.said), "colours": frozenset((m.kind, c) for m in there for c in m.colours),
            "counts": frozenset((m.kind, m.count) for m in there if m.count is not None), "denials": frozenset(reading.denied),
            "relations": frozenset(reading.relations)}


def agreement(sentences: Iterable[MarkedSentence], reader: Callable[[str, str], Reading] = read) -> dict[str, Agreement]:
    """How well a reader agrees with the marks, added up over the sentences, for each element."""
    totals = {name: [0, 0, 0] for name in ELEMENTS}
    for sentence in sentences:
        found = elements(reader(sentence.text, sentence.language))
        for name in ELEMENTS:
            marked = getattr(sentence, name)
            for place, number in enumerate((len(marked), len(found[name]), len(marked & found[name]))):
                totals[name][place] += number
    return {name: Agreement(*numbers) for name, numbers in totals.items()}


def disagreements(sentence: MarkedSentence, reader: Callable[[str, str], Reading] = read) -> dict[str, tuple[frozenset, frozenset]]:
    """Where a reading differs from the marks: {element: (marked but not read, read but not marked)}."""
    found = elements(reader(sentence.text, sentence.language))
    pairs = {name: (getattr(sentence, name) - found[name], found[name] - getattr(sentence, name)) for name in ELEMENTS}
    return {name: pair for name, pair in pairs.items() if pair[0] or pair[1]}
