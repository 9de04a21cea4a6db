"""What is right and wrong in an answer about a drawn scene, word by word, and what the scene really holds.

    text, scene  --mark-->  [Piece("a "), Piece("blue", "wrong", "it is red"), Piece(" "), Piece("house", "right"), …]

The reader is that of `truth.score`: a kind is right where the scene has one, a colour where the scene's has it, a number
where it is the scene's (its noun is marked). Places, weather and relations are not marked word by word.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from helpers.core.lexicon import COLOURS, KINDS, SETTINGS, TIMES, WEATHERS
from helpers.core.scenes import Scene
from helpers.core.speech import enumerate_phrases, in_reading_order, noun_phrase
from helpers.core.truth import BACKDROP_KINDS, mentions, score

RIGHT, WRONG = "right", "wrong"


@dataclass(frozen=True)
class Piece:
    """A stretch of an answer; `mark` is "right", "wrong" or "", `why` says what would be right."""

    text: str
    mark: str = ""
    why: str = ""


def language_of(text: str) -> str:
    """The language that a text is written in: "zh" where it has Chinese characters, else "en"."""
    return "zh" if re.search(r"[\u4e00-\u9fff]", text) else "en"


def mark(text: str, scene: Scene, language: str) -> list[Piece]:
    """Cut `text` into pieces that joined give it again, with the words that can be judged marked. language: of the reasons."""
    groups = {group.kind: group for group in scene.groups}
    backdrop = BACKDROP_KINDS.get(scene.setting, set()) - set(groups)
    spoken = language_of(text)
    marks: dict[tuple[int, int], tuple[str, str]] = {}
    for mention in mentions(text, spoken):
        group, place = groups.get(mention.kind), (mention.start, mention.end)
        if mention.kind in backdrop:
            continue
        if mention.denied or group is None:
            right = mention.denied and group is None
            there = _say("there is none", "图中没有", language) if group is None else _say("it is there", "图中有", language)
            marks[place] = (RIGHT, "") if right else (WRONG, there)
            continue
        counted = mention.count is None or mention.count == group.count
        marks[place] = (RIGHT, "") if counted else (WRONG, _say(f"there {'is' if group.count == 1 else 'are'} {group.count}", f"有 {group.count} 个", language))
        for span, colour in zip(mention.colour_spans, mention.colours):
            if group.colour:
                wrong = _say(f"it is {COLOURS[group.colour].said('en')}", f"是{COLOURS[group.colour].said('zh')}的", language)
                marks[span] = (RIGHT, "") if colour == group.colour else (WRONG, wrong)
    pieces, place = [], 0
    for (start, end), (kind, why) in sorted(marks.items()):
        if start < place or end <= start:  # two readings of one word: the first stands
            continue
        pieces += [Piece(text[place:start])] if start > place else []
        pieces.append(Piece(text[start:end], kind, why))
        place = end
    return [*pieces, Piece(text[place:])] if place < len(text) else pieces


def tell(scene: Scene, language: str) -> str:
    """What the scene holds, in one line: place, time, weather, and every group with number, size and colour."""
    place = [SETTINGS[scene.setting].said(language), TIMES[scene.time].said(language), WEATHERS[scene.weather].said(language)]
    things = enumerate_phrases([noun_phrase(group, language) for group in in_reading_order(scene)], language)
    return (", ".join(place) + ": " + things) if language == "en" else ("，".join(place) + "：" + things)


def missed(text: str, scene: Scene, language: str) -> list[str]:
    """The kinds that are there and the answer does not name, as words of `language`."""
    left_out = score(text, scene, language_of(text)).missed
    return [KINDS[kind].word.said(language) for kind in sorted(left_out)]


def _say(en: str, zh: str, language: str) -> str:
    return en if language == "en" else zh
