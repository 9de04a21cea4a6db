"""Reads free text in English or Chinese: which objects it names, with colour and number, what it denies, what stands where.

Shape of the data: an answer as a model writes it (plain sentences, Markdown, lists, tables, JSON) → `Reading`, whose
`mentions` point into that very text. `markup` first turns structure into sentences; `reading_en` and `reading_zh` know
the languages. Nothing here knows a scene: comparing with the truth is `truth`'s part, and how well this reads is
measured on sentences marked by hand (`marked`).

What it takes for said: an object that is named, also with a hedge ("appears to be a dog"). Not said: what is denied,
what is only compared with ("as big as a house"), what is left open ("whether it is a dog"), and words for whole classes
("person", "animal", "vehicle").
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from helpers.core import reading_en, reading_zh
from helpers.core.markup import flatten
from helpers.core.naming import Mention, Placed


@dataclass(frozen=True)
class Reading:
    """What a text says: mentions in their order, and relations without repetition."""

    mentions: tuple[Mention, ...]
    relations: tuple[Placed, ...]

    @property
    def said(self) -> set[str]:
        """The kinds that the text says are there."""
        return {m.kind for m in self.mentions if not m.denied}

    @property
    def denied(self) -> set[str]:
        """The kinds that the text says are not there, and nowhere says are."""
        return {m.kind for m in self.mentions if m.denied} - self.said


@lru_cache(maxsize=8192)
def read(text: str, language: str) -> Reading:
    """Read a text in "en" or "zh". What was read lately is remembered."""
    flat = flatten(text, language)
    reader = reading_en if language == "en" else reading_zh
    mentions, relations = reader.read(flat.text)
    return Reading(tuple(_located(m, flat.offsets) for m in mentions), tuple(dict.fromkeys(relations)))


def _located(mention: Mention, offsets: list[int]) -> Mention:
    """A mention of the flattened text with offsets of the text as it was written."""
    start, end = _span(mention.start, mention.end, offsets)
    spans = tuple(_span(a, b, offsets) for a, b in mention.colour_spans)
    return replace(mention, start=start, end=end, colour_spans=tuple(s for s in spans if s[1] > s[0]))


def _span(start: int, end: int, offsets: list[int]) -> tuple[int, int]:
    places = [p for p in offsets[start:end] if p >= 0]
    return (places[0], places[-1] + 1) if places else (0, 0)
