"""Does learning one manner unteach another? The lessons of pretraining, asked again after fine-tuning.

    make_exam(40) --[Asked(part, language, scene, question, answer)]--> students' replies --right(asked, reply)--> one mark each

The course fine-tunes on one question in one language and one long manner of answering. Before that, the student gave short captions and short
answers about colours, numbers, presence, positions, place and time, in two languages (lessons.py). Losing that is called catastrophic
forgetting (McCloskey and Cohen, 1989); LoRA is said to learn less and forget less (Biderman et al., 2024, arXiv:2405.09673).

A reply is right when it says the right thing and is short, as what was asked for is. A long description of everything that happens to hold
the right word is no answer to "What colour is the ball?".
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from helpers.core import lessons
from helpers.core.comparison import count_words
from helpers.core.intervals import Estimate, difference, rate, resamples
from helpers.core.reading import read
from helpers.core.scenes import Scene, plan_scene, render
from helpers.core.significance import approximate_randomization, holm, mean_of
from helpers.core.speech import alt_text

EXAM_SEED = 1 << 51
PARTS = ("caption", *lessons.PARTS)


@dataclass(frozen=True)
class Asked:
    """One question about one scene, and the answer that pretraining taught."""

    part: str
    language: str
    scene: Scene
    question: str
    answer: str


def make_exam(number: int, seed: int = 0, languages: Sequence[str] = ("en", "zh")) -> list[Asked]:
    """About `number` questions of each part, languages by turns, each about an evaluation scene of its own."""
    asked = []
    for place, part in enumerate(PARTS):
        for i in range(number):
            scene = plan_scene(EXAM_SEED + (seed << 24) + place * 10_000 + i, evaluation=True)
            dice, language = random.Random(f"forgetting {scene.seed}"), languages[i % len(languages)]
            lesson = (dice.choice(lessons.DESCRIBE[language]), alt_text(scene, language)) if part == "caption" else lessons.PARTS[part](scene, language, dice)
            if lesson:
                asked.append(Asked(part, language, scene, *lesson))
    return asked


def brief(asked: Asked, reply: str) -> bool:
    """Whether a reply is not much longer than the answer that was taught."""
    return count_words(reply, asked.language) <= 1.5 * count_words(asked.answer, asked.language) + 3


def right(asked: Asked, reply: str) -> bool:
    """Whether a reply is brief and right: the taught word; yes or no; or, where things are to be named, just those things."""
    if not brief(asked, reply):
        return False
    said, taught = _bare(reply), _bare(asked.answer)
    if asked.part == "presence":
        yes = ("yes", "有")
        return bool(said) and said.startswith(yes) == taught.startswith(yes)
    if asked.part in ("caption", "relation", "list"):
        return read(reply, asked.language).said == read(asked.answer, asked.language).said
    return said == taught


def _bare(text: str) -> str:
    return text.lower().strip(" .。!！")


def sit(student, exam: Sequence[Asked], batch_size: int = 32, progress: str | None = None) -> list[str]:
    """A student's replies to an exam."""
    return student.describe([render(one.scene) for one in exam], [one.question for one in exam], batch_size=batch_size, max_new_tokens=96, progress=progress)


def compare(exam: Sequence[Asked], replies: Mapping[str, Sequence[str]], base: str, pair: tuple[str, str] | None = None, seed: int = 0) -> dict:
    """What each system still knows, part by part, with 95 % intervals over questions.

    base: the system that the others are fine-tuned from.  pair: two of them whose difference is tested as well, by paired approximate
    randomization, adjusted by Holm over the parts. Returns {"scores": {system: {part: Estimate}}, "lost": {system: {part: Estimate}} (below
    zero: forgotten), "brief": {system: share}, "tests": {part: {"difference": Estimate, "p": p}}}. "all" is the part of all questions; so are "en" and "zh".
    """
    marks = {name: np.array([right(one, reply) for one, reply in zip(exam, said, strict=True)], dtype=float) for name, said in replies.items()}
    chosen: dict[str, Callable[[Asked], bool]] = {"all": lambda one: True, **{part: (lambda one, part=part: one.part == part) for part in PARTS},
                                                  **{language: (lambda one, language=language: one.language == language) for language in ("en", "zh")}}
    masks = {part: np.array([test(one) for one in exam]) for part, test in chosen.items()}
    masks = {part: mask for part, mask in masks.items() if mask.any()}
    weights = {part: resamples(int(mask.sum()), seed, 1000) for part, mask in masks.items()}

    def of(name: str, part: str) -> tuple[np.ndarray, np.ndarray]:
        told = marks[name][masks[part]]
        return told, np.ones_like(told)

    def less(name: str, than: str, part: str) -> Estimate:
        return difference(of(name, part), of(than, part), weights[part])

    found = {
        "scores": {name: {part: rate(*of(name, part), weights[part]) for part in masks} for name in marks},
        "lost": {name: {part: less(name, base, part) for part in masks} for name in marks if name != base},
        "brief": {name: float(np.mean([brief(one, reply) for one, reply in zip(exam, said)])) for name, said in replies.items()}, "tests": {}}
    if pair:
        ps = {part: approximate_randomization({name: [mean_of("right", of(name, part)[0])] for name in pair}, seed=seed)[pair]["right"] for part in masks}
        found["tests"] = {part: {"difference": less(*pair, part), "p": p} for part, p in zip(ps, holm(list(ps.values())))}
    return found
