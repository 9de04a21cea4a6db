"""What the tiny student is asked and answers during pretraining: short captions and questions about parts of a scene.

A lesson is `(question, answer)`. The describing questions are always answered with short alt-text, so that
fine-tuning still has the teacher's fuller manner to teach; the others make it look at colours, counts,
presence, places and relations.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from helpers.core import speech
from helpers.core.lexicon import COLOURS, KINDS, KINDS_OF_SETTING, SETTINGS, TIMES, WEATHERS
from helpers.core.prompts import question
from helpers.core.scenes import Scene

Lesson = tuple[str, str]

# Further wordings of the describing question, besides the course's own.
DESCRIBE = {
    "en": ("Describe the picture.", "Describe this image.", "What is in the picture?", "What do you see?", "What is this?", "Write a caption for this picture.",
           "Please describe this picture in detail.", "Describe the objects in the picture.", "What does this photo show?"),
    "zh": ("描述这张图片。", "请描述这张照片。", "图片里有什么？", "你看到了什么？", "这是什么？", "请给这张图片写一个标题。",
           "请详细描述这张图片。", "请描述图中的物体。", "这张照片里有什么？"),
}


def describe(scene: Scene, language: str, rng: random.Random) -> Lesson:
    """A describing question, the course's main one in half of the cases, and its alt-text."""
    others = DESCRIBE[language]
    return (question("main", language) if rng.random() < 0.5 else rng.choice(others)), speech.alt_text(scene, language)


def _colour(scene: Scene, language: str, rng: random.Random) -> Lesson | None:
    groups = [g for g in scene.groups if g.colour]
    if not groups:
        return None
    group = rng.choice(groups)
    said = COLOURS[group.colour].said(language)
    if language == "en":
        return f"What colour {'is' if group.count == 1 else 'are'} {speech.the(group, 'en')}?", said
    return f"{speech.the(group, 'zh')}是什么颜色的？", said


def _count(scene: Scene, language: str, rng: random.Random) -> Lesson:
    group = rng.choice(scene.groups)
    kind = KINDS[group.kind]
    if language == "en":
        return f"How many {kind.plural_en} are there?", ("one", "two", "three", "four")[group.count - 1]
    return f"有多少{kind.measure}{kind.word.zh}？", "一两三四"[group.count - 1] + kind.measure


def _presence(scene: Scene, language: str, rng: random.Random) -> Lesson:
    there = {g.kind: g for g in scene.groups}
    kind = rng.choice(list(there)) if rng.random() < 0.5 else rng.choice([k for k in KINDS_OF_SETTING[scene.setting] if k not in there])
    if language == "en":
        article = "an" if KINDS[kind].word.en[0] in "aeiou" else "a"
        answer = f"yes, {speech.noun_phrase(there[kind], 'en', size=False)}" if kind in there else "no"
        return f"Is there {article} {KINDS[kind].word.en} in the picture?", answer
    answer = "有，" + speech.noun_phrase(there[kind], "zh", size=False) if kind in there else "没有"
    return f"图中有{KINDS[kind].word.zh}吗？", answer


def _relation(scene: Scene, language: str, rng: random.Random) -> Lesson | None:
    if not scene.relations:
        return None
    relation = rng.choice(scene.relations)
    subject, target = scene.groups[relation.subject], scene.groups[relation.object]
    if language == "en":
        words = {"left of": "to the left of", "right of": "to the right of"}.get(relation.relation, relation.relation)
        return f"What is {words} {speech.the(target, 'en')}?", speech.noun_phrase(subject, "en", size=False)
    words = {"left of": "左边", "right of": "右边", "above": "上方", "in front of": "前面", "on": "上面"}[relation.relation]
    return f"{speech.the(target, 'zh')}的{words}是什么？", speech.noun_phrase(subject, "zh", size=False)


def _surroundings(scene: Scene, language: str, rng: random.Random) -> Lesson:
    en, zh, words = rng.choice((("Where is this?", "这是哪里？", SETTINGS[scene.setting]), ("What time of day is it?", "现在是什么时候？", TIMES[scene.time]),
                                ("What is the weather like?", "天气怎么样？", WEATHERS[scene.weather])))
    return (en, words.en) if language == "en" else (zh, words.zh)


def _list(scene: Scene, language: str, rng: random.Random) -> Lesson:
    things = speech.enumerate_phrases([speech.noun_phrase(g, language, size=False) for g in speech.in_reading_order(scene)], language)
    return ("List the objects from left to right.", things) if language == "en" else ("从左到右列出物体。", things)


def _dimension(scene: Scene, language: str, rng: random.Random) -> Lesson:
    """The course's question about one dimension, answered in full: where the student learns the words of the teacher's manner."""
    dimension = rng.choice(speech.DIMENSIONS[1:])
    return question(dimension, language), speech.answer(scene, language, dimension, seed=str(rng.random()))


# What can be asked about a part of a scene: `f(scene, language, rng)` gives a lesson, or None where there is nothing to ask.
PARTS: dict[str, Callable[[Scene, str, random.Random], Lesson | None]] = {
    "colour": _colour, "count": _count, "presence": _presence, "relation": _relation, "surroundings": _surroundings, "list": _list}
_ASKED = (*PARTS.values(), _list)  # lists teach the most about looking everywhere: twice as often


def dialogue(scene: Scene, rng: random.Random, dimensions: float = 0.0) -> list[Lesson]:
    """Two turns about one scene in one language: a description and a question about a part, in either order.

    dimensions: the share of second turns that ask one of the course's dimensions instead of a part.
    """
    language = rng.choice(("en", "zh"))
    turns = [describe(scene, language, rng)]
    lesson = _dimension(scene, language, rng) if dimensions and rng.random() < dimensions else None
    while lesson is None:
        lesson = rng.choice(_ASKED)(scene, language, rng)
    turns.append(lesson)
    rng.shuffle(turns)
    return turns


def corpus(scenes: list[Scene], seed: int = 0) -> Iterator[str]:
    """Text in every manner the course speaks, for training the tokenizer."""
    rng = random.Random(seed)
    for scene in scenes:
        for turn in dialogue(scene, rng):
            yield from turn
        for language in ("en", "zh"):
            for dimension in speech.DIMENSIONS:
                yield speech.answer(scene, language, dimension, seed=str(rng.random()))
    for language in ("en", "zh"):
        yield from (question("main", language), *DESCRIBE[language]) * 20
