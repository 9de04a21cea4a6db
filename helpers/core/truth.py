"""Reads free text in English or Chinese and scores it against a scene's truth.

`mentions` finds which kinds of object a text names, with colour and number, and whether it denies them ("there is no
dog"). `score` compares that with a `Scene`; `summarise` adds many scores up to recall, precision and F1 of the
objects and the accuracy of colours and counts (micro-averaged: every object counts the same).

A kind that the backdrop itself shows (trees in a forest) is neither right nor wrong to name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache

from helpers.core.lexicon import COLOURS, KINDS, NUMBERS, SETTINGS
from helpers.core.scenes import Scene

BACKDROP_KINDS = {"forest": {"tree"}, "street": {"house"}, "room": set()}

# Phrases that contain the name of a kind but do not name it.
_NO_KIND = {
    "en": ("tree line", "treeline", "tree-lined", "flower bed", "park bench area", "horseback", "tablecloth", "car park", "birdsong", "bird's-eye"),
    "zh": ("花园", "雪花", "浪花", "水花", "花色", "马路", "马上", "树林", "树荫", "星球", "地球", "气球状", "飞机场", "停车场", "车站", "牛奶"),
}
_NEGATION = {
    "en": re.compile(r"\b(no|not|without|neither|nor|never|cannot|absent|lacks?|lacking)\b|n't\b"),
    "zh": re.compile(r"没有|没|无|不见|看不到|看不见|并非|不是|不存在|缺少"),
}
_CLAUSE_END = {"en": re.compile(r"[.;:!?\n]|\bbut\b|, (?=there (?:is|are)|it |the |this )"), "zh": re.compile(r"[。；：！？，\n]|但")}
# Words that end the look back from a noun for its colour: what stands before them belongs to something else.
_STOP_EN = {"a", "an", "the", "of", "in", "on", "with", "is", "are", "by", "at", "to", "near", "above", "behind", "beside", "this", "that", "its", "two", "three", "four", "some", "several", "many", "one"}


@dataclass(frozen=True)
class Mention:
    """One naming of a kind: its colour and number where the text tells them; `start` and `end` are offsets in the text."""

    kind: str
    colour: str | None
    count: int | None
    denied: bool
    start: int
    end: int


@dataclass
class Marks:
    """One text scored against one scene; the sets hold kinds, the numbers count the scene's kinds that were named."""

    named: set[str] = field(default_factory=set)
    hallucinated: set[str] = field(default_factory=set)
    missed: set[str] = field(default_factory=set)
    colours_named: int = 0
    colours_right: int = 0
    counts_named: int = 0
    counts_right: int = 0


def _plurals(word: str) -> tuple[str, ...]:
    if word.endswith("y") and word[-2] not in "aeiou":
        return (word[:-1] + "ies",)
    return (word + ("es" if word.endswith(("s", "x", "ch", "sh")) else "s"),)


@cache
def _phrases(language: str) -> tuple[re.Pattern, dict[str, str | None], set[str]]:
    """A pattern of every phrase of interest, longest first; what kind each means (None: not one); the English plurals."""
    kinds: dict[str, str | None] = {}
    plurals: set[str] = set()
    for name, kind in KINDS.items():
        for phrase in kind.word.understood(language):
            kinds[phrase] = name
            if language == "en":
                more = (kind.plural_en,) if phrase == kind.word.en else _plurals(phrase)
                plurals.update(p for p in more if p != phrase)
                kinds.update(dict.fromkeys(more, name))
    for setting in SETTINGS.values():
        for phrase in setting.understood(language):
            kinds.setdefault(phrase, None)
    kinds.update(dict.fromkeys(_NO_KIND[language], None))
    pattern = "|".join(re.escape(p) for p in sorted(kinds, key=len, reverse=True))
    return re.compile(rf"\b(?:{pattern})\b" if language == "en" else pattern), kinds, plurals


@cache
def _colours(language: str) -> tuple[re.Pattern, dict[str, str]]:
    names = {phrase: name for name, word in COLOURS.items() for phrase in word.understood(language)}
    pattern = "|".join(re.escape(p) for p in sorted(names, key=len, reverse=True))
    return re.compile(rf"\b(?:{pattern})\b" if language == "en" else pattern), names


def _colour_en(text: str, start: int, end: int, clause_start: int, clause_end: int) -> str | None:
    pattern, names = _colours("en")
    words = re.findall(r"[a-z'-]+|[,;.]", text[clause_start:start])[-5:]
    for word in reversed(words):
        if word in names:
            return names[word]
        if word in _STOP_EN or word in ",;.":
            break
    after = re.match(r"\s+(?:who |which |that )?(?:(?:is |are )?(?:dressed |wearing |clad )?(?:in |wearing )|is |are )(?:a |an |the )?(?:\w+ )?", text[end:clause_end])
    if after:
        found = pattern.match(text, end + after.end()) or pattern.search(text, end, end + after.end())
        if found:
            return names[found.group()]
    return None


def _colour_zh(text: str, start: int, end: int, segment_start: int) -> str | None:
    pattern, names = _colours("zh")
    found = list(pattern.finditer(text, max(segment_start, start - 14), start))
    if found:
        return names[found[-1].group()]
    after = re.compile(r"(?:的颜色)?(?:是|为|呈|身穿|穿着?|身着)").match(text, end)
    found_after = pattern.match(text, after.end()) if after else None
    return names[found_after.group()] if found_after else None


def _count_en(text: str, start: int, clause_start: int, plural: bool) -> int | None:
    before = re.sub(r"\ba (?:pair|couple) of\b", "two", text[clause_start:start])
    words = re.findall(r"[a-z0-9'-]+|[,;.]", before)[-5:]
    for number in (4, 3, 2):
        spoken = NUMBERS[number].understood("en")
        if any(w in spoken for w in words[-4:]):
            return number
    return None if plural else 1


def _count_zh(text: str, start: int, segment_start: int, kind: str) -> int | None:
    found = re.findall(r"([一二两三四五六\d])\s*[只匹头辆艘架个座栋顶棵株朵把张位名条台幢件对]", text[max(segment_start, start - 16):start])
    return {"一": 1, "二": 2, "两": 2, "三": 3, "四": 4}.get(found[-1], int(found[-1]) if found[-1].isdigit() else None) if found else None


def mentions(text: str, language: str) -> list[Mention]:
    """Every naming of a known kind in `text`, in order. language: "en" or "zh"."""
    low = text.lower()
    pattern, kinds, plurals = _phrases(language)
    found = []
    clauses = [0, *[m.end() for m in _CLAUSE_END[language].finditer(low)], len(low)]
    segment_start = 0
    for match in pattern.finditer(low):
        start, end = match.span()
        clause_start = max(c for c in clauses if c <= start)
        clause_end = min((c for c in clauses if c >= end), default=len(low))
        if language == "zh":
            breaks = [m.end() for m in re.finditer(r"[、，。；和与及]|以及|还有", low[segment_start:start])]
            segment_start = max(segment_start + (breaks[-1] if breaks else 0), clause_start if clause_start <= start else 0)
        kind = kinds[match.group()]
        if kind:
            denied = bool(_NEGATION[language].search(low, clause_start, start))
            if language == "en":
                colour = _colour_en(low, start, end, clause_start, clause_end)
                count = _count_en(low, start, clause_start, match.group() in plurals)
            else:
                colour = _colour_zh(low, start, end, segment_start)
                count = _count_zh(low, start, segment_start, kind)
            found.append(Mention(kind, colour, count, denied, start, end))
        segment_start = end
    return found


def score(text: str, scene: Scene, language: str) -> Marks:
    """Score `text` against `scene`.

    A colour or count is judged once for each kind that is there and is named: right if any of its mentions has it right,
    wrong if none tells it. Kinds whose colour says nothing (a tree) do not count for colours.
    """
    marks, told = Marks(), {}
    for mention in mentions(text, language):
        if not mention.denied:
            told.setdefault(mention.kind, []).append(mention)
    groups = {g.kind: g for g in scene.groups}
    marks.named = set(told) & set(groups)
    marks.missed = set(groups) - set(told)
    marks.hallucinated = set(told) - set(groups) - BACKDROP_KINDS.get(scene.setting, set())
    for kind in marks.named:
        group = groups[kind]
        marks.counts_named += 1
        marks.counts_right += any(m.count == group.count for m in told[kind])
        if group.colour:
            marks.colours_named += 1
            marks.colours_right += any(m.colour == group.colour for m in told[kind])
    return marks


def summarise(marks: Iterable[Marks]) -> dict[str, float]:
    """Object recall, precision and F1, colour accuracy and count accuracy over many texts, each between 0 and 1.

    A value that nothing was counted for (no object named at all) is absent.
    """
    marks = list(marks)
    named, missed, invented = (sum(len(getattr(m, part)) for m in marks) for part in ("named", "missed", "hallucinated"))
    result = {}
    if named + missed:
        result["object_recall"] = named / (named + missed)
    if named + invented:
        result["object_precision"] = named / (named + invented)
    if result.keys() >= {"object_recall", "object_precision"}:
        recall, precision = result["object_recall"], result["object_precision"]
        result["object_f1"] = 2 * recall * precision / (recall + precision) if recall + precision else 0.0
    for part in ("colour", "count"):
        total = sum(getattr(m, f"{part}s_named") for m in marks)
        if total:
            result[f"{part}_accuracy"] = sum(getattr(m, f"{part}s_right") for m in marks) / total
    return result
