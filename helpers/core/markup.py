"""Turns Markdown, tables and JSON into plain sentences, and remembers where each character came from.

    '{"name": "ball", "count": 2, "colour": "red"}'  →  "2 red ball."       (Chinese: "2个红色的球。")
    "| ball | 2 | red |" under a header               →  the same
    "**Ball**\\n  - Colour: red\\n  - Number: 2"        →  the same
    "## A **red** ball"                               →  "A red ball."

`Flat.offsets[i]` is the place in the original of character i of `Flat.text`, -1 for one that was put in.
JSON that is cut off or otherwise broken is read as text.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

from helpers.core.naming import names_kind

_NAME = re.compile(r"^(?:name|object|label|type|kind|item|what|名称|名字|物体|物品|种类|类型|类别|对象)s?$", re.IGNORECASE)
_COLOUR = re.compile(r"^(?:main |dominant |主要)?(?:colou?rs?|颜色|色彩)$", re.IGNORECASE)
_COUNT = re.compile(r"^(?:number|count|how many|quantity|amount|num|qty|数量|个数|数目)$", re.IGNORECASE)
_ABSENT = re.compile(r"not[_ ](?:visible|present|seen|there|shown)|absent|missing|没有|不存在|未出现|缺少", re.IGNORECASE)
_FENCE = re.compile(r"^\s*```\w*\s*$", re.MULTILINE)
_BULLET = re.compile(r"^\s*(?:[-*+•·–]\s+|\d{1,2}[.)、]\s*|[①-⑩]\s*|#{1,6}\s+|>\s*)+")
_RULE = re.compile(r"^\s*\|?\s*:?-{2,}:?\s*(?:\|\s*:?-{2,}:?\s*)*\|?\s*$")
_ATTRIBUTE = re.compile(r"^([^:：|]{2,16}?)\s*[:：]\s*(\S.*)$")


@dataclass
class Flat:
    """Plain sentences, and for each character its offset in the original (-1: put in)."""

    text: str = ""
    offsets: list[int] = field(default_factory=list)

    def add(self, text: str, start: int | None = None) -> None:
        """Append `text`, which stands in the original from `start` on; None: it does not."""
        self.text += text
        self.offsets += [-1] * len(text) if start is None else range(start, start + len(text))


def flatten(text: str, language: str) -> Flat:
    """A model's answer as plain sentences in "en" or "zh"."""
    flat = Flat()
    parsed, start = parse_json(text)
    if isinstance(parsed, (dict, list)):
        _walk(parsed, _Cursor(text, start), flat, language)
    else:
        _Lines(text, flat, language).run()
    return flat


def parse_json(text: str) -> tuple[object, int]:
    """The JSON value that an answer holds, also inside a code fence or after a few words, and where it starts; (None, 0): none."""
    body = _FENCE.sub(lambda m: " " * len(m.group()), text)
    found = re.search(r"[\[{]", body)
    if found and len(body[:found.start()].split()) <= 12:
        try:
            value, _ = json.JSONDecoder().raw_decode(body, found.start())
        except ValueError:
            return None, 0
        return value, found.start()
    return None, 0


class _Cursor:
    """Finds the values of a parsed JSON text where they were written, in their order."""

    def __init__(self, text: str, at: int):
        self.text, self.at = text, at

    def place(self, value: object) -> int | None:
        """Where a value's text is written, from here on; None where escapes hide it."""
        found = self.text.find(str(value), self.at)
        if found < 0:
            return None
        self.at = found + len(str(value))
        return found


def _walk(value: object, cursor: _Cursor, flat: Flat, language: str, absent: bool = False) -> None:
    """Says a JSON value in sentences."""
    stop = ". " if language == "en" else "。"
    if isinstance(value, str):
        if absent:
            flat.add("no " if language == "en" else "没有")
        flat.add(value, cursor.place(value))
        flat.add(stop)
    elif isinstance(value, list):
        for item in value:
            _walk(item, cursor, flat, language, absent)
    elif isinstance(value, dict):
        name = next((k for k, v in value.items() if _NAME.match(k) and isinstance(v, str)), None)
        if name:
            _walk_record(value, name, cursor, flat, language, absent)
            return
        for key, item in value.items():
            at = cursor.place(key)
            gone = absent or bool(_ABSENT.search(key))
            if not names_kind(key, language):
                _walk(item, cursor, flat, language, gone)
            elif isinstance(item, bool):
                if not item:
                    flat.add("no " if language == "en" else "没有")
                flat.add(key, at)
                flat.add(stop)
            elif isinstance(item, dict):
                _say(flat, language, (key, at), _find(item, _COUNT, cursor), _find(item, _COLOUR, cursor), gone)
            elif isinstance(item, (int, str)):
                number = re.fullmatch(r"\d+", str(item))
                place = cursor.place(item)
                if number:
                    _say(flat, language, (key, at), (str(item), place), None, gone or str(item) == "0")
                else:
                    flat.add(key, at)
                    flat.add(": " if language == "en" else "：")
                    flat.add(str(item), place)
                    flat.add(stop)


def _find(record: dict, pattern: re.Pattern, cursor: _Cursor) -> tuple[str, int | None] | None:
    for key, value in record.items():
        if pattern.match(key) and value not in (None, "", []):
            words = " and ".join(map(str, value)) if isinstance(value, list) else str(value)
            return words, None if isinstance(value, list) else cursor.text.find(words, cursor.at)
    return None


def _walk_record(record: dict, name: str, cursor: _Cursor, flat: Flat, language: str, absent: bool) -> None:
    """Says {"name": …, "count": …, "colour": …, …}: the noun phrase, then what else is told as sentences."""
    begin = cursor.at
    at = cursor.place(record[name])
    behind, cursor.at = cursor.at, begin
    count, colour = _find(record, _COUNT, cursor), _find(record, _COLOUR, cursor)
    gone = absent or any(re.match(r"present|visible|存在|可见", k) and v in (False, "no", "否") for k, v in record.items())
    _say(flat, language, (record[name], at), count, colour, gone)
    cursor.at = behind
    for key, value in record.items():
        if key == name or _COUNT.match(key) or _COLOUR.match(key) or value is None:
            continue
        if isinstance(value, str):
            flat.add(record[name] + (" is " if language == "en" else "在" if not value.startswith("在") else ""))
            flat.add(value, cursor.place(value))
            flat.add(". " if language == "en" else "。")
        elif isinstance(value, (list, dict)):
            _walk(value, cursor, flat, language, absent)


def _say(flat: Flat, language: str, name: tuple[str, int | None], count: tuple[str, int | None] | None,
         colour: tuple[str, int | None] | None, absent: bool = False) -> None:
    """Adds "2 red ball. " or 2个红色的球。"""
    place = {part: (p[1] if p and p[1] is not None and p[1] >= 0 else None) for part, p in (("count", count), ("colour", colour))}
    if absent:
        flat.add("no " if language == "en" else "没有")
    elif count and count[0].strip("-–/ "):
        flat.add(count[0], place["count"])
        bare = language == "zh" and re.fullmatch(r"\s*[\d一二两三四五六七八九十]+\s*", count[0])
        flat.add("个" if bare else " " if language == "en" else "")
    if colour and colour[0].strip("-–/ ") and not absent:
        flat.add(colour[0], place["colour"])
        flat.add(" " if language == "en" else "的")
    flat.add(*name)
    flat.add(". " if language == "en" else "。")


class _Lines:
    """Text line by line: marks removed, tables and name-with-attributes blocks said as noun phrases."""

    def __init__(self, text: str, flat: Flat, language: str):
        self.flat, self.language = flat, language
        self.lines = [(m.start(), m.group()) for m in re.finditer(r"[^\n]*", text) if m.group().strip()]
        self.stop = ". " if language == "en" else "。"

    def run(self) -> None:
        """Adds all lines to `flat`."""
        number = 0
        while number < len(self.lines):
            if "|" in self.lines[number][1] and number + 1 < len(self.lines) and _RULE.match(self.lines[number + 1][1]):
                number = self._table(number)
            elif taken := self._block(number):
                number += taken
            else:
                self._line(*self.lines[number])
                number += 1

    def _line(self, start: int, line: str) -> None:
        """One line without bullets and emphasis."""
        if _FENCE.match(line):
            return
        begin = m.end() if (m := _BULLET.match(line)) else 0
        for piece in re.finditer(r"[^*_`]+|(?<=[a-z])_(?=[a-z])", line[begin:]):
            self.flat.add(piece.group(), start + begin + piece.start())
        self.flat.add("\n")

    def _plain(self, number: int) -> tuple[int, str]:
        """Where a line's words start, and the words without bullets and emphasis at their ends."""
        start, line = self.lines[number]
        begin = m.end() if (m := _BULLET.match(line)) else 0
        body = line[begin:]
        lead = len(body) - len(body.lstrip("*_` "))
        return start + begin + lead, body.strip("*_`:： ")

    def _block(self, number: int) -> int:
        """A line that is only a name, followed by attribute lines ("Colour: red"); how many lines it took, 0 for none."""
        start, name = self._plain(number)
        short = len(name.split()) <= 4 if self.language == "en" else len(name) <= 8
        if not short or not (self.language == "zh" or name.isprintable()) or re.search(r"[:：。.]", name):
            return 0
        found: dict[str, tuple[str, int]] = {}
        taken = 1
        while number + taken < len(self.lines):
            at, line = self._plain(number + taken)
            attribute = _ATTRIBUTE.match(line.replace("*", " "))
            if not attribute:
                break
            key = attribute[1].strip()
            part = "count" if _COUNT.match(key) else "colour" if _COLOUR.match(key) else None
            if part is None and not found:
                break
            if part:
                found[part] = (attribute[2].strip(), at + attribute.start(2))
            taken += 1
        if not found:
            return 0
        _say(self.flat, self.language, (name, start), found.get("count"), found.get("colour"))
        return taken

    def _table(self, number: int) -> int:
        """A Markdown table; the number of the line after it."""
        header = [cell for _, cell in self._cells(number)]
        counts = next((i for i, cell in enumerate(header) if _COUNT.match(cell)), None)
        colours = next((i for i, cell in enumerate(header) if _COLOUR.match(cell)), None)
        names = next((i for i in range(len(header)) if i not in (counts, colours)), 0)
        number += 2
        while number < len(self.lines) and "|" in self.lines[number][1]:
            cells = self._cells(number)
            number += 1
            part = lambda i: (cells[i][1], cells[i][0]) if i is not None and i < len(cells) and cells[i][1] else None  # noqa: E731
            if part(names):
                _say(self.flat, self.language, part(names), part(counts), part(colours))
                for i, (at, cell) in enumerate(cells):
                    if i not in (names, counts, colours) and cell:
                        self.flat.add(cells[names][1] + (" is " if self.language == "en" else "在"))
                        self.flat.add(cell, at)
                        self.flat.add(self.stop)
        return number

    def _cells(self, number: int) -> list[tuple[int, str]]:
        """The cells of a table row: where each starts, and its words."""
        start, line = self.lines[number]
        inner = line.strip().strip("|")
        at = start + line.index(inner) if inner else start
        cells = []
        for cell in inner.split("|"):
            lead = len(cell) - len(cell.lstrip("*_` "))
            cells.append((at + lead, cell.strip("*_` ")))
            at += len(cell) + 1
        return cells
