"""Models that all visitors of the chat's page share: the visitor's side.

    a visitor's kernel                                    one process for all of them (core/chat_host.py)
      SharedModels → SharedSystem  --- local socket --->    Models: torch, the weights once, one answer at a time

A kernel on the page holds no weights and does not even import torch: it asks. What goes over the socket, pickled between
processes of one user:

    Wanted(profile, results, key)                 → Weight; the system stays in memory until this connection ends
    Asked(wanted, picture, turns, decoding)       → Progress, Progress, …; the answer ends at once when this connection does
    either                                        → Failure, a sentence in both languages

Connections are ended by whoever made them, and by the system when a kernel dies, so nothing is held for a visitor who is gone.
Elsewhere, in JupyterLab, in tests, in `captionlab chat --no-share`, `open_models` gives the ordinary `Models`.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from multiprocessing.connection import Client, Connection
from pathlib import Path

from helpers.core.chat_decoding import Decoding
from helpers.core.chat_models import Models, Offer
from helpers.core.chat_stream import Progress
from helpers.core.chat_turns import STOPPED
from helpers.core.chat_words import Told
from helpers.core.conversations import Turn
from helpers.core.profiles import Profile

ADDRESS, SECRET = "CAPTIONLAB_MODELS", "CAPTIONLAB_MODELS_SECRET"  # environment variables of a kernel on the page
COURSE_SYSTEMS = ("pretrained", "lora", "full", "baseline")  # what holds weights; a teacher answers elsewhere, one's own system in its kernel
START_SECONDS = 60.0  # for the models' process to answer: it may be starting anew
LOOK_SECONDS = 0.1


@dataclass(frozen=True)
class Wanted:
    """A system of a course: its key among the offers that `find_offers(profile, results)` makes."""

    profile: Profile
    results: str
    key: str


@dataclass(frozen=True)
class Asked:
    """A question to a system. picture: PIL, RGB; turns: the conversation, the question last."""

    wanted: Wanted
    picture: object
    turns: Sequence[Turn]
    decoding: Decoding


@dataclass(frozen=True)
class Weight:
    """What a system holds in memory. own: bytes of its own weights.  model: which model it is, or hangs in.  below: that model's bytes, for an adapter."""

    own: int
    model: str = ""
    below: int = 0


@dataclass(frozen=True)
class Failure:
    """What went wrong, as a visitor is told."""

    en: str
    zh: str


def open_models(offers: Iterable[Offer], profile: Profile, results: Path | str, own: Collection[str] = ()) -> Models:
    """`Models` for these offers of a course; on the page, those of the course are the shared ones. own: keys that are the caller's own systems."""
    if ADDRESS not in os.environ:
        return Models(offers)
    return SharedModels(replace(offer, model=None, adapter=None, open=lambda wanted=Wanted(profile, str(Path(results).resolve()), offer.key): SharedSystem(wanted))
                        if offer.key in COURSE_SYSTEMS and offer.key not in own and offer.missing is None else offer for offer in offers)


class SharedModels(Models):
    """`Models` whose weights lie in another process, once for all visitors."""

    shared = True

    def memory(self) -> dict[str, int]:
        """See `Models.memory`; "base" is what adapters hang in that is not held by itself."""
        held = super().memory()
        with self._lock:
            systems = [future.result() for key, future in self._systems.items() if key in held]
        weights = [system.weight for system in systems if isinstance(system, SharedSystem)]
        whole = {weight.model for weight in weights if not weight.below}
        below = sum({weight.model: weight.below for weight in weights if weight.model not in whole}.values())
        return held | ({"base": below} if below else {})


class SharedSystem:
    """A system in the models' process. Raises Told when it cannot be loaded there, or the process does not answer."""

    def __init__(self, wanted: Wanted):
        self.wanted = wanted
        self._hold()

    def _hold(self) -> None:
        """Keep the system in memory; waits until it is there."""
        self._holding = connect()
        self._holding.send(self.wanted)
        self.weight: Weight = receive(self._holding)

    @property
    def nbytes(self) -> int:
        """Bytes of its own weights, held once for all visitors."""
        return self.weight.own

    def stream(self, picture, turns: Sequence[Turn], decoding: Decoding, stop: threading.Event) -> Iterator[Progress]:
        """Answer the last of `turns`, told as it grows. Others may be before us: then nothing comes until it is our turn."""
        if self._holding.poll():  # nothing is ever sent here, so this is its end: the process was started anew, without the system
            self._holding.close()
            self._hold()
        last = Progress("", 0, 0.0)
        with closing(connect()) as line:
            line.send(Asked(self.wanted, picture, turns, decoding))
            while last.end is None:
                if stop.is_set():
                    last = replace(last, end=STOPPED)
                elif line.poll(LOOK_SECONDS):
                    last = receive(line)
                else:
                    continue
                yield last

    def close(self) -> None:
        """Hold it no longer; the process gives its memory back when no visitor does."""
        self._holding.close()


def connect() -> Connection:
    """A new connection to the models' process. Raises Told when it does not answer."""
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            return Client(os.environ[ADDRESS], authkey=bytes.fromhex(os.environ[SECRET]))
        except (OSError, EOFError):
            if time.monotonic() > end:
                raise _gone() from None
        time.sleep(LOOK_SECONDS)


def receive(connection: Connection):
    """What the models' process says next. Raises Told for a Failure, and when the process has ended."""
    try:
        said = connection.recv()
    except (OSError, EOFError):
        raise _gone() from None
    if isinstance(said, Failure):
        raise Told(said.en, said.zh)
    return said


def _gone() -> Told:
    return Told("The models are being started anew: ask again in a moment.", "模型正在重新启动：请稍后再问。")
