"""Whether two Markdown texts, one English and one Chinese, are built alike: what a program can see of a translation.

Nobody but a reader can tell whether a translation is good. But a table that lost a row, a number that was changed on one side, a
command that was translated along, a link or a formula that is gone: these are seen by comparing what must be the same.

    disagreements(english, chinese)   every such difference, and what is wrong with the Chinese by itself, one sentence each

Shape of the data: Markdown → `Skeleton`, read by markdown-it-py (CommonMark and tables, as JupyterLab shows them). Numbers are compared
by value, so that *752 million* and *7.52 亿* agree; number words (*six times*, *六倍*) are not looked at.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache

HAN = "\u4e00-\u9fff"
SCALES = {"thousand": 10**3, "million": 10**6, "M": 10**6, "billion": 10**9, "B": 10**9, "千": 10**3, "万": 10**4, "亿": 10**8}
_NUMBER = re.compile(r"(?<![A-Za-z0-9_.])(?P<digits>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)(?P<power>e-?\d+)?"
                     r"(?:\s?(?P<scale>thousand|million|billion|[MB]|千|万|亿)(?![A-Za-z]))?")
_FORMULA = re.compile(r"\$\$.+?\$\$|\$[^$\n]+\$", re.DOTALL)
_WORDS = re.compile(r"[A-Za-z][A-Za-z'-]+(?:\s+[A-Za-z][A-Za-z'-]*)+")
MOST_FOREIGN_WORDS = 6    # a run of so many English words in Chinese prose is a sentence that was left behind, no name


@dataclass
class Skeleton:
    """What two translations of one text have in common."""

    headings: list[str] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    items: int = 0
    code: Counter = field(default_factory=Counter)
    blocks: list[str] = field(default_factory=list)
    links: Counter = field(default_factory=Counter)
    tags: Counter = field(default_factory=Counter)
    formulas: Counter = field(default_factory=Counter)
    numbers: Counter = field(default_factory=Counter)
    prose: list[str] = field(default_factory=list)
    italics: list[str] = field(default_factory=list)


PARTS = {"headings": "levels of headings", "rows": "cells in the rows of tables", "items": "items of lists", "code": "inline code",
         "blocks": "code blocks", "links": "links", "tags": "HTML tags", "formulas": "formulas", "numbers": "numbers"}


def disagreements(english: str, chinese: str) -> list[str]:
    """What differs between a text and its translation, and what is wrong with the latter; empty if they agree.

    english, chinese: Markdown of one cell or document.
    """
    one, other = skeleton(english), skeleton(chinese)
    found = [f"{what} differ: {_difference(getattr(one, part), getattr(other, part))}" for part, what in PARTS.items()
             if getattr(one, part) != getattr(other, part)]
    return found + list(_faults_of_chinese(one, other))


def skeleton(text: str) -> Skeleton:
    """The parts of a Markdown text that a translation must keep, and its prose: words outside of code, formulas, links and italics."""
    found = Skeleton()
    row = 0
    for token in _parser().parse(text):
        if token.type == "heading_open":
            found.headings.append(token.tag)
        elif token.type == "tr_open":
            row = 0
        elif token.type in ("th_open", "td_open"):
            row += 1
        elif token.type == "tr_close":
            found.rows.append(row)
        elif token.type == "list_item_open":
            found.items += 1
        elif token.type in ("fence", "code_block"):
            found.blocks.append(token.content)
        elif token.type == "html_block":
            _read_html(token.content, found)
        elif token.type == "inline":
            _read_line(token.children, found)
    return found


def prose(text: str) -> str:
    """The words of a Markdown text outside of code, formulas, links and italics, lines joined."""
    return "\n".join(skeleton(text).prose)


@cache
def _parser():
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark").enable("table")


def _read_line(tokens: list, found: Skeleton) -> None:
    """Adds the inline tokens of one block to `found`."""
    words, quoted, slanted, everything = [], 0, 0, []
    for token in tokens:
        if token.type == "code_inline":
            found.code[_same_document(token.content)] += 1
            words.append("\x00")
            everything.append(" ")
        elif token.type in ("link_open", "image"):
            found.links[_same_document(token.attrGet("href") or token.attrGet("src"))] += 1
        elif token.type == "html_inline":
            _read_html(token.content, found)
        elif token.type in ("softbreak", "hardbreak"):
            words.append("\n")
            everything.append(" ")
        quoted += (token.type == "link_open") - (token.type == "link_close")
        slanted += (token.type == "em_open") - (token.type == "em_close")
        if token.type == "text":
            everything.append(token.content)
            words.append("\x00" if quoted or slanted else token.content)
            found.italics += [token.content] if slanted else []
    text = "".join(everything)
    found.formulas.update(formula.strip() for formula in _FORMULA.findall(text))
    found.numbers.update(_numbers(_FORMULA.sub(" ", text)))
    found.prose.append(_FORMULA.sub("\x00", "".join(words)))


def _read_html(text: str, found: Skeleton) -> None:
    """Adds tags, and what stands between them, to `found`."""
    found.tags.update(re.findall(r"</?\w+", text))
    between = re.sub(r"<[^>]*>", " ", text)
    found.numbers.update(_numbers(between))
    found.prose.append(between)


def _same_document(link: str) -> str:
    """A link from wherever it is read, where a document's Chinese twin counts as the document."""
    return re.sub(r"^(\.\./)+", "", link).replace("docs/zh/", "docs/").replace("README.zh-CN.md", "README.md")


def _numbers(text: str) -> Iterator[Decimal]:
    """The numbers of a text by value: 1.3 B, 13 亿 and 1,300,000,000 are one."""
    for match in _NUMBER.finditer(text):
        yield (Decimal(match["digits"].replace(",", "") + (match["power"] or "")) * SCALES.get(match["scale"], 1)).normalize()


def _difference(english: object, chinese: object) -> str:
    """Two values that differ, for a message: of counters only what is on one side."""
    if isinstance(english, Counter) and isinstance(chinese, Counter):
        return "; ".join(f"only {side}: {', '.join(map(_plain, sorted(left.elements(), key=str)))}"
                         for side, left in (("in English", english - chinese), ("in Chinese", chinese - english)) if left)
    return f"{english} in English, {chinese} in Chinese"


def _plain(value: object) -> str:
    """A number without an exponent; anything else as it is."""
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def _faults_of_chinese(english: Skeleton, chinese: Skeleton) -> Iterator[str]:
    """What a Chinese text should not have, whatever the English says."""
    text = "\n".join(chinese.prose)
    if re.search(r"[A-Za-z]{2}", "\n".join(english.prose)) and not re.search(f"[{HAN}]", text):
        yield "no Chinese in it"
    for run in _WORDS.findall(text):
        if len(run.split()) >= MOST_FOREIGN_WORDS:
            yield f"still English: {run}"
    if "**" in text:
        yield "emphasis does not close: a ** between Chinese punctuation and a letter stays visible"
    if any(re.search(r"[^\x00-\x7f]\n", piece) for piece in chinese.prose):
        yield "a line break inside a paragraph, which shows as a gap between Chinese characters: one line a paragraph"
    for piece in chinese.italics:
        if re.search(f"[{HAN}]", piece):
            yield f"Chinese characters in italics, which they do not have: bold, or quotation marks, for {piece}"
    for match in re.finditer(f"[{HAN}][,;:!?]|[{HAN}]\\.(?![\\w.])|[{HAN}] ?\\(|\\) ?[{HAN}]", text):
        yield f"punctuation of the other script: {match[0]}"
