"""The words a captioner knows: a closed list, learned from the training captions, and one entry for all that is not in it.

    caption  --split-->  ["a", "red", "house", "."]  --encode-->  [5, 17, 9, 6, 2]  --decode-->  "a red house."

English is split into words and punctuation; Chinese, which has no spaces, by jieba's dictionary into words or into single
characters (`unit`). What was in no training caption comes out as `<unk>`: the captioner can neither read nor say it, and does not know
what it misses. The student's byte-level tokenizer (helpers/core/tiny.py) can spell anything; comparing the two is the point.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from helpers.core.errors import InputError

PAD, START, END, UNKNOWN = range(4)
SPECIAL = ("<pad>", "<start>", "<end>", "<unk>")
UNITS = {"en": ("word",), "zh": ("word", "character")}

# Words with what is inside them (don't, well-kept), Chinese characters one by one, any other sign by itself.
_TOKENS = re.compile(r"[^\W_\u2e80-\u9fff\uf900-\ufaff]+(?:['’-][^\W_\u2e80-\u9fff\uf900-\ufaff]+)*|[^\s]")
_LATIN = re.compile(r"[^\W_\u2e80-\u9fff\uf900-\ufaff]")
_CLOSING, _OPENING = set(".,;:!?)]}%’”"), set("([{“‘")


def split(text: str, language: str, unit: str = "word") -> list[str]:
    """The tokens of a caption: words and punctuation; of Chinese, jieba's words or single characters."""
    if language == "zh" and unit == "word":
        import logging

        import jieba

        jieba.setLogLevel(logging.WARNING)  # its notice about loading the dictionary would break the progress bar
        return [token for token in jieba.cut(text) if not token.isspace()]
    return _TOKENS.findall(text)


def join(tokens: Sequence[str]) -> str:
    """The text that `split` took apart: spaces between words, none before a full stop, none in Chinese."""
    text = ""
    for token in tokens:
        spaced = text and token[0] not in _CLOSING and text[-1] not in _OPENING
        chinese = text and (not _is_spaced(text[-1]) or not _is_spaced(token[0]))
        text += (" " if spaced and not chinese else "") + token
    return text


def _is_spaced(character: str) -> bool:
    """Whether words of this script stand apart: not in Chinese, whose own punctuation counts as Chinese."""
    return ord(character) < 0x2E80 or bool(_LATIN.match(character))


@dataclass
class Vocabulary:
    """The tokens of one language, the special ones first; `counts` says how often each was in the captions it was built from."""

    tokens: list[str]
    language: str
    unit: str = "word"
    counts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self):
        if self.unit not in UNITS.get(self.language, ()):
            raise InputError(f"A vocabulary of language {self.language!r} cannot have units of {self.unit!r}: choose en with word, or zh with word or character.")
        self._ids = {token: number for number, token in enumerate(self.tokens)}

    @classmethod
    def build(cls, captions: Iterable[str], language: str, unit: str = "word", least: int = 1) -> Vocabulary:
        """All tokens that the captions use at least `least` times, the commonest first. Raises InputError when there are none."""
        counts = Counter(token for caption in captions for token in split(caption, language, unit))
        known = sorted((token for token, n in counts.items() if n >= least), key=lambda token: (-counts[token], token))
        if not known:
            raise InputError("There are no words to learn: the captions are empty, or no word is as frequent as asked for.")
        return cls([*SPECIAL, *known], language, unit, dict(counts))

    def __len__(self) -> int:
        return len(self.tokens)

    def encode(self, caption: str) -> list[int]:
        """The ids of a caption, with `END` at the end; `UNKNOWN` for a token that is not in the vocabulary."""
        return [*(self._ids.get(token, UNKNOWN) for token in split(caption, self.language, self.unit)), END]

    def strings(self, ids: Iterable[int]) -> list[str]:
        """The tokens of some ids, up to `END`, without padding and start."""
        found = []
        for number in ids:
            if number == END:
                break
            if number not in (PAD, START):
                found.append(self.tokens[number])
        return found

    def decode(self, ids: Iterable[int]) -> str:
        """The text of some ids, up to `END`."""
        return join(self.strings(ids))

    def unknown(self, captions: Iterable[str]) -> Counter[str]:
        """How often the captions use each token that is not in the vocabulary."""
        return Counter(token for caption in captions for token in split(caption, self.language, self.unit) if token not in self._ids)

    def to_dict(self) -> dict:
        """As JSON keeps it."""
        return {"language": self.language, "unit": self.unit, "tokens": self.tokens, "counts": self.counts}
