"""The process that holds the models for all visitors of the chat's page, and the server's hand on it.

    server: HostProcess --starts, starts anew--> python -m helpers.core.chat_host: Host --answers--> kernels (core/chat_sharing.py)

Why a process and not shared pages: weights are stored in half precision and on a CPU computed with in single precision, so mapping
the file shares nothing that is used; a GPU's memory cannot be handed down by forking at all. Here weights, torch and the GPU's
context exist once, whatever the device (measured on CPUs alone), and are loaded when the first visitor wants them and given back after the last.

The price: answers are written one at a time, in the order of asking, since a model's adapter and the random numbers of
sampling belong to the whole process. `captionlab chat --no-share` gives every visitor models of their own instead.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, Listener
from pathlib import Path

from helpers.core.chat_models import Models, find_offers
from helpers.core.chat_sharing import ADDRESS, SECRET, Asked, Failure, Wanted, Weight
from helpers.core.chat_systems import StudentSystem, System
from helpers.core.chat_words import Told, explain
from helpers.core.errors import CaptionLabError

log = logging.getLogger(__name__)
PAUSE_SECONDS = 1.0  # before a process that has ended is started again
BACKLOG = 64


class Host:
    """Loads what visitors want and answers them. One thread a connection; answers are made in another, one after the other."""

    def __init__(self):
        self._courses: dict[tuple, tuple[Models, Counter]] = {}
        self._line = ThreadPoolExecutor(1, thread_name_prefix="answers")
        self._lock = threading.Lock()

    def serve(self, address: str, secret: bytes) -> None:
        """Listen at `address`, a socket or on Windows a pipe, for whoever knows the secret; does not return."""
        with Listener(address, authkey=secret, backlog=BACKLOG) as listener:
            while True:
                with suppress(AuthenticationError, ConnectionError, EOFError):
                    threading.Thread(target=self.attend, args=(listener.accept(),), daemon=True).start()

    def attend(self, connection: Connection) -> None:
        """Serve one connection until its other side ends it."""
        with connection, suppress(EOFError, ConnectionError):
            asked = connection.recv()
            wanted = asked.wanted if isinstance(asked, Asked) else asked
            stop = threading.Event()
            try:
                system = self._take(wanted)
                if isinstance(asked, Asked):
                    self._line.submit(self._answer, connection, system, asked, stop)
                else:
                    connection.send(weigh(system))
                connection.recv()  # nothing comes: this waits for the end
            except (EOFError, ConnectionError):
                raise
            except Exception as error:
                report(connection, error)
            finally:
                stop.set()
                self._give_back(wanted)

    def _answer(self, connection: Connection, system: System, asked: Asked, stop: threading.Event) -> None:
        """Write one answer; runs in the line's thread."""
        if stop.is_set():
            return
        try:
            with closing(system.stream(asked.picture, asked.turns, asked.decoding, stop)) as growing:
                for progress in growing:
                    connection.send(progress)
        except ConnectionError:
            log.debug("a visitor left before the answer was whole")
        except Exception as error:
            report(connection, error)

    def _take(self, wanted: Wanted) -> System:
        """The system, loaded, and kept for one more visitor. Raises what loading raises."""
        with self._lock:
            models, holders = self._courses.setdefault(_course(wanted), (Models([]), Counter()))
            holders[wanted.key] += 1
            if wanted.key not in models.offers or models.offers[wanted.key].missing:  # trained meanwhile, perhaps
                models.offers = {offer.key: offer for offer in find_offers(wanted.profile, wanted.results)}
            if missing := models.offers[wanted.key].missing:
                raise Told(missing["en"], missing["zh"])
            models.choose([key for key in holders if holders[key] and not models.offers[key].missing])
        return models.get(wanted.key)

    def _give_back(self, wanted: Wanted) -> None:
        """One visitor less; what nobody holds any more is released."""
        with self._lock:
            models, holders = self._courses[_course(wanted)]
            holders[wanted.key] -= 1
            models.choose([key for key in holders if holders[key] and not models.offers[key].missing])


def _course(wanted: Wanted) -> tuple:
    return wanted.profile.name, wanted.results


def weigh(system: System) -> Weight:
    """What a system holds."""
    if not isinstance(system, StudentSystem):
        return Weight(system.nbytes)
    return Weight(system.nbytes, str(id(system.base)), system.base.nbytes(None) if system.name is not None else 0)


def report(connection: Connection, error: Exception) -> None:
    """Tell a visitor in a sentence; whoever serves the page finds the rest in the terminal."""
    if not isinstance(error, CaptionLabError):
        log.error("an answer failed", exc_info=error)
    with suppress(OSError):
        connection.send(Failure(explain(error, "en"), explain(error, "zh")))


class HostProcess:
    """The process, for a server: `with HostProcess(folder) as host:`. It ends with the block, and with the server however that ends.

    folder: a folder that is this user's alone, in which its socket lies.  environment: what kernels need to find it.
    """

    def __init__(self, folder: Path | str):
        name = f"captionlab-{secrets.token_hex(8)}"
        self.address = rf"\\.\pipe\{name}" if sys.platform == "win32" else str(Path(folder) / "models")
        self.environment = {ADDRESS: self.address, SECRET: secrets.token_hex(32)}
        self._over, self._changing = threading.Event(), threading.Lock()

    def __enter__(self) -> HostProcess:
        self._start()
        self._watcher = threading.Thread(target=self._watch, name="models' process", daemon=True)
        self._watcher.start()
        return self

    def __exit__(self, *_) -> None:
        with self._changing:
            self._over.set()
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self._watcher.join()

    def _start(self) -> None:
        # It reads its standard input, on which nothing comes, and so sees the end of whoever holds the other side.
        self.process = subprocess.Popen([sys.executable, "-m", "helpers.core.chat_host"], stdin=subprocess.PIPE, env=os.environ | self.environment)

    def _watch(self) -> None:
        """Start it anew whenever it ends, as when the system took its memory."""
        while True:
            code = self.process.wait()
            if self._over.wait(PAUSE_SECONDS):
                return
            with self._changing:
                if not self._over.is_set():
                    log.error("The models' process ended (code %s) and is started anew; visitors are asked to ask again.", code)
                    self.process.stdin.close()
                    self._start()


def _end_with(stream) -> None:
    """End this process when the stream does."""
    stream.read()
    os._exit(0)


def main() -> None:
    """The process itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is the server's, whose end is ours
    address, secret = os.environ.pop(ADDRESS), bytes.fromhex(os.environ.pop(SECRET))
    if sys.platform != "win32":
        Path(address).unlink(missing_ok=True)  # of one that was killed
    threading.Thread(target=_end_with, args=(sys.stdin,), daemon=True).start()
    Host().serve(address, secret)


if __name__ == "__main__":
    main()
