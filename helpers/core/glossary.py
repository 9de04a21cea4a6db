"""The words of the course, one for one thing, in two languages: `docs/glossary.md` and whether texts keep to it.

Shape of the data: a table of five columns, English, Chinese, what it means in either language, and Chinese words that are not to be used for
it → [`Term`]. Several words for one thing stand in one cell with " / " between them; the first is the usual one.

    read_glossary()                  the table
    misused(terms, english, chinese) where a translation uses another word than the glossary
    used(terms, text)                the terms that occur in a text
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from helpers.core.agreement import prose
from helpers.core.errors import InputError
from helpers.core.paths import ROOT

GLOSSARY = ROOT / "docs" / "glossary.md"
COLUMNS = 5


@dataclass(frozen=True)
class Term:
    """One line of the glossary. banned: Chinese words that other texts use for it and this course does not."""

    english: tuple[str, ...]
    chinese: tuple[str, ...]
    meaning: str
    meaning_zh: str
    banned: tuple[str, ...]

    @cached_property
    def pattern(self) -> re.Pattern:
        """Finds the term in English prose: whole words, singular or plural; in any case, unless the term has capitals (ZeRO is not zero)."""
        spelled = {word: r"\s+".join(map(re.escape, word.split())) for word in self.english}
        words = "|".join(spelled[word] if word != word.lower() else f"(?i:{spelled[word]})" for word in spelled)
        return re.compile(rf"(?<![\w-])(?:{words})(?:e?s)?(?![\w-])")


def read_glossary(file: Path = GLOSSARY) -> list[Term]:
    """The terms, in the table's order. Raises: InputError naming the line that has no five cells, or a term that stands there twice."""
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    terms: list[Term] = []
    for line in lines[2:]:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) != COLUMNS or not all(cells[:4]):
            raise InputError(f"{file}: the line {line!r} should have {COLUMNS} cells, of which only the last may be empty.")
        english, chinese, banned = (tuple(word.strip() for word in cells[place].split(" / ") if word.strip()) for place in (0, 1, 4))
        for word in english:
            if any(word in term.english for term in terms):
                raise InputError(f"{file} has {word!r} twice; one thing has one line.")
        terms.append(Term(english, chinese, cells[2], cells[3], banned))
    return terms


def used(terms: Sequence[Term], text: str) -> list[Term]:
    """The terms whose English or Chinese occurs in a text (Markdown of any language, code too)."""
    return [term for term in terms if term.pattern.search(text) or any(word in text for word in term.chinese)]


def misused(terms: Sequence[Term], english: str, chinese: str) -> list[str]:
    """Where a Chinese text does not keep to the glossary, one sentence each: another word for a term of the English, or a banned one."""
    said, told = prose(english), prose(chinese)
    found = [f"the English says {term.english[0]!r}, the Chinese has no {' / '.join(term.chinese)}" for term in terms
             if term.pattern.search(said) and not any(word.lower() in chinese.lower() for word in term.chinese)]
    found += [f"not {word}: the glossary says {term.chinese[0]} for {term.english[0]!r}" for term in terms for word in term.banned if word in told]
    return found
