"""Changes captions in one known way each, to see which metric notices: a probe of metrics, not of models.

    caption  --one of PERTURBATIONS-->  the same caption, wrong in one way (or right, in other words)

"wrong colour" and "left and right swapped" make a caption false by one word; "paraphrase" keeps it true and changes its
words; "shuffled" destroys the sentence and keeps the words; "half" leaves the second half out. English captions.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping

from helpers.core.lexicon import COLOURS

COLOUR_WORDS = tuple(word.en for word in COLOURS.values())
SIDES = {"left": "right", "right": "left", "above": "below", "below": "above"}
IN_OTHER_WORDS = {
    "the picture shows a scene": "here one sees a view", "this is a scene": "what you see is a view", "it contains": "one notices", "there is": "one notices",
    "there are": "one notices", "during the day": "in daytime", "at night": "after dark", "at sunset": "as the sun goes down", "to the left of": "left of",
    "to the right of": "right of", "small": "little", "large": "big", "on a beach": "at the seaside", "in a forest": "among the trees", "on a street": "in a road",
}


def wrong_colours(caption: str, seed: int = 0) -> str:
    """Every colour replaced by another one."""
    generator = random.Random(f"{seed} {caption}")
    return _replace(caption, {word: generator.choice([other for other in COLOUR_WORDS if other != word]) for word in COLOUR_WORDS})


def swapped_sides(caption: str, seed: int = 0) -> str:
    """Left for right, above for below, and the other way round."""
    return _replace(caption, SIDES)


def paraphrased(caption: str, seed: int = 0) -> str:
    """The same said in other words."""
    return _replace(caption, IN_OTHER_WORDS)


def shuffled(caption: str, seed: int = 0) -> str:
    """The same words in any order."""
    words = caption.split()
    random.Random(f"{seed} {caption}").shuffle(words)
    return " ".join(words)


def halved(caption: str, seed: int = 0) -> str:
    """The first half of the words."""
    words = caption.split()
    return " ".join(words[:max(1, len(words) // 2)])


PERTURBATIONS: Mapping[str, Callable[..., str]] = {
    "wrong colour": wrong_colours, "left and right swapped": swapped_sides, "paraphrase": paraphrased, "shuffled": shuffled, "half": halved,
}


def _replace(caption: str, words: Mapping[str, str]) -> str:
    """Replaces whole words or phrases, longest first, all at once; a capital at the start stays one."""
    pattern = re.compile(r"\b(" + "|".join(sorted(map(re.escape, words), key=len, reverse=True)) + r")\b", re.IGNORECASE)

    def other(match: re.Match) -> str:
        new = words[match[0].lower()]
        return new[0].upper() + new[1:] if match[0][0].isupper() else new

    return pattern.sub(other, caption)
