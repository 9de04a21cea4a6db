"""METEOR 1.5 as a running program: statistics of pairs, asked of Java; scores of statistics, computed here.

    n captions, n lists of references  --Meteor.statistics-->  (n, 23) numbers   --meteor_score-->  scores, 0 to 1

METEOR's statistic of a pair is a line of 23 counts. The score of a corpus is the score of its pairs' counts, added up; so
a corpus drawn anew a thousand times costs a thousand sums, not a thousand runs. One rule stands before the sum: a
caption that is its reference word for word has no scattered matches, so its one chunk is not counted.
`meteor_score` is METEOR's own formula; the tests hold it against the program's answers.

English matches words exactly, by stem, by WordNet synonym and by paraphrase, as the COCO evaluation asks. For Chinese
METEOR has none of these: its `other` language matches words exactly, with language-independent parameters.

Source: Denkowski and Lavie 2014 (METEOR universal), and METEOR 1.5's own README for the protocol of `-stdio`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from helpers.core import java
from helpers.core.errors import InputError, ResourceError

COUNTS = 23
BATCH = 16  # pairs asked at once: their answers fit into a pipe, so neither side ever waits for the other in a circle
BATCH_WORDS = 2000  # words asked at once: they must be answered within `patience`
LONGEST = 1000  # words; the search for the best alignment takes some 10 s there, and grows with the cube: hours at 10 000


@dataclass(frozen=True)
class Parameters:
    """Of METEOR's formula: `alpha` weighs recall, `beta` and `gamma` shape the penalty for scattered matches, `delta`
    weighs content words against function words; `weights` are those of exact, stem, synonym and paraphrase matches."""

    alpha: float
    beta: float
    gamma: float
    delta: float
    weights: tuple[float, float, float, float]


PARAMETERS = {"en": Parameters(0.85, 0.2, 0.6, 0.75, (1.0, 0.6, 0.8, 0.6)), "zh": Parameters(0.75, 1.4, 0.7, 0.5, (1.0, 0.0, 0.0, 0.0))}
NOTE = {
    "en": "version 1.5, English: exact, stem, synonym and paraphrase matches.",
    "zh": "version 1.5 has no Chinese stems, synonyms or paraphrases: exact matches of tokens only, with its "
          "language-independent parameters; not comparable with METEOR of English captions.",
}


class Meteor(java.Program):
    """The program, started once; it loads its tables for seconds, so keep it open while there is more to score.

    language: "en", or any other for exact matches. Captions come tokenized.
    """

    def __init__(self, language: str, patience: float = java.PATIENCE):
        path = java.jar("meteor", "meteor-1.5.jar")
        self.language, self.patience = language, patience
        # `-norm` is what the COCO evaluation asks of English; METEOR has no normaliser for other languages.
        options = ["-l", "en", "-norm"] if language == "en" else ["-l", "other"]
        # Its tables are built once and kept: collecting garbage beside that work (Java's default) costs a tenth of the start.
        super().__init__("METEOR", ["-Xmx2G", "-XX:+UseParallelGC", "-jar", path.name, "-", "-", "-stdio", *options], path.parent)

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def ask(self, lines: Sequence[str], answers: int) -> list[str]:
        """Sends lines and reads that many. Raises: ResourceError when METEOR died, or fell silent for `patience` seconds."""
        with self.deadline(self.patience):
            try:
                self.process.stdin.write("".join(line + "\n" for line in lines))
                self.process.stdin.flush()
                found = [self.process.stdout.readline() for _ in range(answers)]
            except (BrokenPipeError, ValueError):  # ValueError: the pipe was closed after an earlier death
                raise self.died() from None
        if found and not found[-1].endswith("\n"):
            raise self.died()
        return [answer.strip() for answer in found]

    def statistics(self, captions: Sequence[str], references: Sequence[Sequence[str]], step: Callable[[], object] = lambda: None) -> np.ndarray:
        """The counts, (n, 23), of n captions with one or more references each; of several METEOR takes the best.

        Raises: InputError for a text longer than METEOR can align; ResourceError when the program dies or hangs.
        """
        check_lengths(captions, references)
        answers = []
        for lines in _batches(captions, references):
            for line in self.ask(lines, len(lines)):
                try:
                    answers.append([float(number) for number in line.split()])
                except ValueError:
                    raise ResourceError(f"METEOR answered {line[:80]!r} where numbers were expected.") from None
                step()
        rows = np.array(answers).reshape(len(captions), COUNTS)
        length, wanted, chunks, matched, wanted_matched = rows[:, [0, 1, 20, 21, 22]].T
        rows[(matched == length) & (wanted_matched == wanted) & (chunks == 1), 20] = 0  # perfect: nothing is scattered
        return rows

    def scores(self, statistics: Sequence[Sequence[float]]) -> tuple[list[float], float]:
        """METEOR's own score of each of n statistics, and of all of them as one corpus."""
        lines = [" ".join(repr(float(number)) for number in row) for row in statistics]
        *each, corpus = (float(answer) for answer in self.ask([" ||| ".join(["EVAL", *lines])], len(lines) + 1))
        return each, corpus


class MeteorPool:
    """Keeps METEOR running between calls, one program a language; end it with `close` or a `with` block."""

    def __init__(self):
        self._running: dict[str, Meteor] = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def get(self, language: str) -> Meteor:
        """The running program of that language; started when there is none, or it died. Raises: ResourceError without Java."""
        found = self._running.get(language)
        if found is None or not found.alive:
            if found is not None:
                found.close()
            self._running[language] = Meteor(language)
        return self._running[language]

    def close(self) -> None:
        """Ends every program."""
        while self._running:
            self._running.popitem()[1].close()


def check_lengths(captions: Sequence[str], references: Sequence[Sequence[str]], ids: Sequence[str] | None = None) -> None:
    """Raises InputError for a caption or reference of more words than METEOR can align. ids: of the samples, for the message."""
    for place, (caption, texts) in enumerate(zip(captions, references)):
        for what, text in (("caption", caption), *(("reference", text) for text in texts)):
            if (words := len(text.split())) > LONGEST:
                sample = f"sample {ids[place]}" if ids else f"number {place + 1}"
                raise InputError(f"the {what} of {sample} has {words} words, and METEOR cannot align more than {LONGEST} in bounded time; "
                                 f"shorten that {what}, or take the sample out on both sides, to have METEOR of any system.")


def meteor_score(sums: np.ndarray, language: str) -> np.ndarray:
    """METEOR of d corpora, (d,), 0 to 1, from the sums of their samples' counts, (d, 23).

    The counts: lengths of caption and reference, function words in each, then for each kind of match the content words
    matched in caption and reference and the function words matched in each, then chunks and all matched words in each.
    """
    with_ = PARAMETERS[language]
    length, wanted, function, wanted_function = sums[:, :4].T
    matches = sums[:, 4:20].reshape(-1, 4, 4)  # kind of match; content in caption, in reference, function in caption, in reference
    weights = np.array(with_.weights)
    content_hits, wanted_hits, function_hits, wanted_function_hits = (weights @ matches[:, :, part].T for part in range(4))
    chunks, matched, wanted_matched = sums[:, 20:].T
    precision = _share(with_.delta * content_hits + (1 - with_.delta) * function_hits,
                       with_.delta * (length - function) + (1 - with_.delta) * function)
    recall = _share(with_.delta * wanted_hits + (1 - with_.delta) * wanted_function_hits,
                    with_.delta * (wanted - wanted_function) + (1 - with_.delta) * wanted_function)
    mean = _share(precision * recall, with_.alpha * precision + (1 - with_.alpha) * recall)
    scattered = _share(chunks, (matched + wanted_matched) / 2)
    return mean * (1 - with_.gamma * scattered**with_.beta)


def _batches(captions: Sequence[str], references: Sequence[Sequence[str]]) -> Iterator[list[str]]:
    """METEOR's questions, as many at once as it answers soon."""
    lines: list[str] = []
    words = 0
    for caption, texts in zip(captions, references):
        lines.append(" ||| ".join(["SCORE", *map(_one_line, texts), _one_line(caption)]))
        words += lines[-1].count(" ")
        if len(lines) == BATCH or words > BATCH_WORDS:
            yield lines
            lines, words = [], 0
    if lines:
        yield lines


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, and 0 where there is nothing to share."""
    return np.divide(part, whole, out=np.zeros_like(part, dtype=float), where=whole > 0)


def _one_line(text: str) -> str:
    """A text that METEOR's line protocol can carry: no line breaks, and none of its own separators."""
    return " ".join(text.replace("|||", " ").split())
