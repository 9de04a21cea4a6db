"""The kinds of fault a user can act on. Each message is one sentence: what is wrong, where, what to do.

In a notebook such a fault is shown as its sentence alone, without the calls that led to it: they say nothing about the remedy.
`is_disk_full` knows the one fault of the machine that every library words in its own way.
"""

import errno
import re
from collections.abc import Iterator

# /folder/folder/ or C:\\folder\\ before a name; in https://host/folder/ a host stands before it.
FOLDERS = re.compile(r"""(?<![\w.:/\\])(?:/|[A-Za-z]:\\)(?:[^\s/\\'",:;()]+[/\\])+""")
FULL_CODES = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Of errors without a code: Python's and Rust's words (safetensors), SQLite's, Windows's, and those of torch.save's stream.
FULL_WORDS = ("No space left", "File too large", "quota exceeded", "database or disk is full", "not enough space on the disk",
              "PytorchStreamWriter failed", "iostream error", "unexpected pos")


def without_folders(text: str) -> str:
    """A sentence in which files of this machine are named without their folders, for people elsewhere; addresses of the web stay whole."""
    return FOLDERS.sub("", text)


class CaptionLabError(Exception):
    """Any fault whose message is meant for the user; the command line prints it without a traceback."""

    def _render_traceback_(self) -> list[str]:
        """The lines that IPython shows in place of a traceback (IPython.core.interactiveshell, showtraceback)."""
        return [f"\x1b[31m{type(self).__name__}\x1b[0m: {self}"]


class InputError(CaptionLabError):
    """A file, picture, sample or option that cannot be used."""


class ProfileError(CaptionLabError):
    """A profile that does not exist, or a value in one that cannot be used."""


class TeacherError(CaptionLabError):
    """The endpoint gave a final answer that no retry will change: wrong key, no money, no such model."""


class StoreError(CaptionLabError):
    """A label store that cannot be used: damaged, or written by another version."""


class TrainingError(CaptionLabError):
    """A training run that ended before its end."""


class ResourceError(CaptionLabError):
    """Something of the machine is missing or used up: disk, port, Java, compiler."""


class Stopped(KeyboardInterrupt):
    """Ctrl-C, or a notebook's stop button, during long work; the message says what is kept. No `Exception`, as Ctrl-C is none."""

    def _render_traceback_(self) -> list[str]:
        """As for `CaptionLabError`."""
        return [f"\x1b[31mKeyboardInterrupt\x1b[0m: {self}"]


def is_disk_full(error: BaseException) -> bool:
    """Whether `error`, or anything that led to it, says that a disk, a quota or a limit on files is used up."""
    return any((isinstance(cause, OSError) and cause.errno in FULL_CODES) or any(words in str(cause) for words in FULL_WORDS)
               for cause in _causes(error))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """`error` and the chain of errors behind it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
