"""Finds the words in a text that name a kind of object, in English or Chinese, and holds what is read of them.

Shape of the data: text → `Named` spans (which kind, where, plural or not) in order; the readers of the two languages make
`Mention` and `Placed` of them. Longer phrases win over shorter
ones ("palm tree" over "tree", 花园 over 花), and phrases that only contain a kind's word ("bird's-eye view", 马路) name
none. What is said of each span, its colour and number and whether it is denied, is read by `reading_en` and `reading_zh`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from helpers.core.lexicon import COLOURS, KINDS, SETTINGS

# Phrases that contain the name of a kind but do not name it.
NO_KIND = {
    "en": ("tree line", "tree lines", "treeline", "tree-lined", "flower bed", "flower beds", "flower pot", "flower pots", "park bench area", "horseback",
           "horse-drawn", "tablecloth", "table lamp", "table tennis", "car park", "cable car", "train car", "birdsong", "bird's-eye", "bird's eye",
           "bird house", "birdhouse", "dog house", "doghouse", "tree house", "treehouse", "bus stop", "bus stops", "bus station", "bus shelter",
           "box office", "ball gown", "children's", "kid-friendly", "jet black", "jet-black", "ground plane", "picture plane", "focal plane",
           "image plane", "house number", "butterfly net", "ball game", "boxy", "flowery", "daisy chain", "greenhouse", "houseplant", "house plant"),
    "zh": ("花园", "雪花", "浪花", "水花", "花色", "花纹", "花瓶", "花坛", "花盆", "花边", "花样", "火花", "烟花", "棉花", "花费", "马路", "马上", "马车", "马赛克", "马甲",
           "马尾", "斑马线", "斑马", "河马", "罗马", "木马", "树林", "树荫", "星球", "地球", "全球", "月球", "眼球", "雪球", "球场", "球状", "球形", "球体", "气球状",
           "飞机场", "停车场", "车站", "公交车站", "公交站", "牛奶", "牛仔", "蜗牛", "羊毛", "鸟瞰", "鸟语", "鸟巢", "鸟笼", "飞船", "船坞", "降落伞", "伞状", "伞形",
           "热狗", "狗窝", "狗尾草", "熊猫", "猫头鹰", "鸭舌帽", "现象", "的车辆", "的车窗", "的车轮", "的车身", "的车道", "的车门", "的车灯", "儿童绘本", "儿童画",
           "儿童插画", "儿童读物", "小马路", "小花园"),
}
MIRRORED = {"right of": "left of", "below": "above", "behind": "in front of"}
_COLOUR_NOT = {  # characters after a colour word that make it part of another word: 白天, 绿草, 蓝天
    "白": "天昼云雪日", "黑": "夜暗影板", "红": "绿灯绿日酒", "绿": "草地意植树油荫叶", "蓝": "天图", "黄": "昏土", "粉": "末笔", "金": "属", "灰": "尘",
}


@dataclass(frozen=True)
class Named:
    """A kind's word in a text: text[start:end]; `kind` None for a place (`place`) or a phrase that names no kind."""

    kind: str | None
    start: int
    end: int
    plural: bool = False
    place: bool = False


@dataclass(frozen=True)
class Mention:
    """One naming of a kind; `colours` and `count` where the text tells them; `start` and `end` are offsets in the text.

    `colour_spans`: where the colour words stand.  `denied`: the text says that there is none.
    """

    kind: str
    colours: tuple[str, ...]
    count: int | None
    denied: bool
    start: int
    end: int
    colour_spans: tuple[tuple[int, int], ...] = ()

    @property
    def colour(self) -> str | None:
        """The first colour that is told, or None."""
        return self.colours[0] if self.colours else None


@dataclass(frozen=True)
class Placed:
    """What a text says of two kinds: `subject` is `relation` ("left of", "above", "in front of", "on") `object`.

    "right of", "below" and "behind" are turned round, so that each fact has one form.
    """

    subject: str
    relation: str
    object: str

    @classmethod
    def of(cls, subject: str, relation: str, object: str) -> Placed:
        """A relation in its one form."""
        if relation in MIRRORED:
            return cls(object, MIRRORED[relation], subject)
        return cls(subject, relation, object)


def _plurals(word: str) -> tuple[str, ...]:
    if word.endswith("y") and word[-2] not in "aeiou":
        return (word[:-1] + "ies",)
    return (word + ("es" if word.endswith(("s", "x", "ch", "sh")) else "s"),)


_IRREGULAR = {"calf": ("calves",), "mare": ("mares",), "lady": ("ladies",), "gentleman": ("gentlemen",)}


@cache
def _phrases(language: str) -> tuple[re.Pattern, dict[str, str | None], frozenset[str]]:
    """A pattern of every phrase of interest, longest first; what kind each means (None: not one); the English plurals."""
    kinds: dict[str, str | None] = {}
    plurals: set[str] = set()
    for name, kind in KINDS.items():
        for phrase in kind.word.understood(language):
            kinds[phrase] = name
            if language == "en":
                more = (kind.plural_en,) if phrase == kind.word.en else _IRREGULAR.get(phrase) or _plurals(phrase)
                plurals.update(p for p in more if p != phrase)
                kinds.update(dict.fromkeys(more, name))
    if language == "en":
        plurals.update(("cattle", "cacti"))
    for setting in SETTINGS.values():
        for phrase in setting.understood(language):
            kinds.setdefault(phrase, None)
    kinds.update(dict.fromkeys(NO_KIND[language], None))
    pattern = "|".join(re.escape(p) for p in sorted(kinds, key=len, reverse=True))
    # "barn-like", "cup-shaped": no kind; the hyphen is looked for at the end of the word.
    bounded = rf"\b(?:{pattern})\b(?!-(?:like|shaped|style|themed|sized))"
    return re.compile(bounded if language == "en" else pattern), kinds, frozenset(plurals)


def find_names(text: str, language: str) -> list[Named]:
    """Every phrase of interest in `text` (lower case for English), in order, places and look-alikes with kind None."""
    pattern, kinds, plurals = _phrases(language)
    found = [(m.group(), m.span()) for m in pattern.finditer(text)]
    return [Named(kinds[word], *span, word in plurals, kinds[word] is None and word not in NO_KIND[language]) for word, span in found]


def names_kind(phrase: str, language: str) -> str | None:
    """The kind that a whole phrase names ("dogs" → "dog"), or None."""
    return _phrases(language)[1].get(phrase.strip().lower())


@cache
def colour_pattern(language: str) -> tuple[re.Pattern, dict[str, str]]:
    """A pattern that matches one colour word, and the colour each word means."""
    names = {phrase: name for name, word in COLOURS.items() for phrase in word.understood(language)}
    words = []
    for phrase in sorted(names, key=len, reverse=True):
        after = _COLOUR_NOT.get(phrase, "") if language == "zh" else ""
        words.append(re.escape(phrase) + (f"(?![{after}])" if after else ""))
    pattern = "|".join(words)
    return re.compile(rf"(?<![a-z])(?:{pattern})(?![a-z])" if language == "en" else pattern), names
