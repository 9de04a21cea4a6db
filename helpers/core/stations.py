"""Long work in stations: each is done once, in any number of attempts, and a kill loses at most the one it hit.

    with Stations(folder, total=9) as stations:
        note = stations.run("lora", work, settings={…}, after=("build",), outputs=[path], wipe=[folder])

A station's key is the hash of its settings and of the keys of the stations it comes after. A finished station
whose key and outputs are still there is skipped, and its note (any JSON) comes from the state file; with another
key it starts afresh, and so does everything behind it. One process at a time works in a folder: the lock is the
kernel's and no child inherits it, so a killed process holds none. The state file, `course.json`, is replaced whole, never written in place:

    {"version": 1, "peak_memory": bytes, "stations": {name: {"key", "settings", "seconds", "attempts", "finished", "note"}}}

Seconds add up over attempts: a thread writes them down every two seconds, together with the peak memory of the
process tree, so that a killed attempt counts too.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from helpers.core.errors import InputError, ResourceError

VERSION = 1
TICK = 2.0  # seconds between two readings of clock and memory


class Stations:
    """The stations of one folder; use it in a `with` block.

    folder: made when missing.  total: how many stations there will be, for the "[3/9]" in front of each one's line.
    say: takes one line of text for the user.
    Raises on entering: ResourceError when another process works in the folder or it cannot be written,
    InputError when its state file is not this program's.
    """

    def __init__(self, folder: Path, total: int, say: Callable[[str], None] = print):
        self.folder, self.total, self._say = Path(folder), total, say
        self._visited: list[str] = []
        self.state: dict[str, Any] = {"version": VERSION, "peak_memory": 0, "stations": {}}
        self._file = self.folder / "course.json"
        self._running: dict | None = None
        self._guard = threading.Lock()
        self._end = threading.Event()

    def __enter__(self) -> Stations:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = (self.folder / ".course.lock").open("a+b")
        except OSError as error:
            raise ResourceError(f"{self.folder} cannot be used for results: {error.strerror}; choose another folder with --out.") from error
        if not _lock(self._lock):
            self._lock.close()
            raise ResourceError(f"Another run is at work in {self.folder}; wait for it, or choose another folder with --out.")
        try:
            self._read()
        except BaseException:
            self._lock.close()  # and with it the lock
            raise
        self._clock = threading.Thread(target=self._tick, name="stations-clock", daemon=True)
        self._clock.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._clock.join()
        self._lock.close()  # and with it the lock

    def run(self, name: str, work: Callable[[], Any], *, settings: dict, after: Sequence[str] = (),
            outputs: Sequence[Path] = (), wipe: Sequence[Path] = ()) -> Any:
        """Does a station's work unless it is finished, and returns its note.

        work: does everything and returns the note; called again after a kill, so it continues by itself what it can.
        settings: JSON values that the result depends on.  after: names of stations whose results it reads.
        outputs: files or folders that are there when it is finished.  wipe: what is deleted when it starts afresh.
        Raises: what `work` raises; ResourceError for a full disk.
        """
        self._visited.append(name)
        line = f"[{len(self._visited)}/{self.total}] {name}"
        key = self._key(settings, after)
        record = self.state["stations"].get(name)
        missing = next((path for path in outputs if not path.exists()), None)
        if record and record["key"] != key:
            self._say(f"{line}: {self._difference(record['settings'], settings)}, so this starts afresh")
            record = self._discard(name, wipe)
        elif record and record["finished"] and missing:
            self._say(f"{line}: {missing} is gone, so this starts afresh")
            record = self._discard(name, wipe)
        elif record and record["finished"]:
            self._say(f"{line}: done before, in {record['seconds']:.0f} s")
            return record["note"]
        elif record:
            self._say(f"{line}: goes on where it stopped after {record['seconds']:.0f} s")
        else:
            self._say(line)
        return self._work(name, record or {"key": key, "settings": settings, "seconds": 0.0, "attempts": 0, "finished": False, "note": None}, work)

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds of work by station, all attempts together, in the order of this run."""
        return {name: self.state["stations"][name]["seconds"] for name in self._visited if name in self.state["stations"]}

    @property
    def peak_memory(self) -> int:
        """Most bytes that this process and all its children held at once, over all attempts; shared pages count once."""
        return self.state["peak_memory"]

    def _work(self, name: str, record: dict, work: Callable[[], Any]) -> Any:
        """Runs and times one attempt."""
        with self._guard:
            record["attempts"] += 1
            self.state["stations"][name] = record
            self._running, self._since = record, time.monotonic()
            self._write()
        try:
            note = work()
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise ResourceError(f"The disk is full at station {name} ({error.filename or self.folder}); free some space and "
                                    "run the same command again, it continues here.") from error
            raise
        finally:
            with self._guard:
                self._read_clock()
                self._running = None
                self._write()
        with self._guard:
            record.update(finished=True, note=note)
            self._write()
        return note

    def _key(self, settings: dict, after: Sequence[str]) -> str:
        """The hash of what a station depends on."""
        before = [self.state["stations"][name]["key"] for name in after]
        return hashlib.sha256(json.dumps([VERSION, settings, before], sort_keys=True).encode()).hexdigest()

    @staticmethod
    def _difference(old: dict, new: dict) -> str:
        """Which setting changed, for a sentence."""
        for name in dict.fromkeys([*new, *old]):
            if old.get(name) != new.get(name):
                return f"{name} changed from {_short(old.get(name))} to {_short(new.get(name))}"
        return "an earlier station changed"

    def _discard(self, name: str, paths: Sequence[Path]) -> None:
        """Forgets a station and deletes what it wrote."""
        with self._guard:
            self.state["stations"].pop(name, None)
            self._write()
        for path in paths:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def _read(self) -> None:
        """Reads the state file, if there is one."""
        if not self._file.exists():
            return
        try:
            state = json.loads(self._file.read_text(encoding="utf-8"))
            version = state["version"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{self._file} is not a course's state file; move it away or choose another folder with --out.") from error
        if version != VERSION:
            raise InputError(f"{self._file} was written by another version of CaptionLab; choose another folder with --out.")
        self.state = state

    def _write(self) -> None:
        """Replaces the state file whole; a reader, or a run after a kill, sees the old one or the new one."""
        half = self._file.with_suffix(".part")
        with half.open("w", encoding="utf-8") as stream:
            json.dump(self.state, stream, ensure_ascii=False, indent=1)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(half, self._file)

    def _read_clock(self) -> None:
        """Adds the seconds since the last reading to the station at work."""
        if self._running is not None:
            now = time.monotonic()
            self._running["seconds"] += now - self._since
            self._since = now

    def _tick(self) -> None:
        """The clock's thread: every two seconds, until the end."""
        while not self._end.wait(TICK):
            memory = tree_memory()
            with self._guard:
                self.state["peak_memory"] = max(self.state["peak_memory"], memory)
                self._read_clock()
                try:
                    self._write()
                except OSError:  # a full disk is reported by the station's own writing, with a sentence
                    continue


def _lock(stream: IO[bytes]) -> bool:
    """Takes the lock of an open file until it is closed, by whatever end; False when another process has it.

    A POSIX record lock, because a lock of `flock` would live on in forked workers that a killed run left behind.
    """
    try:
        if os.name == "nt":
            import msvcrt

            stream.seek(0)
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
            return False
        raise
    return True


def _short(value: Any) -> str:
    """A setting's value for a sentence."""
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 40 else text[:37] + "…"


def tree_memory() -> int:
    """Bytes that this process and its children hold in memory now.

    On Linux proportional set size: pages shared by k processes count 1/k in each. Elsewhere resident size, which counts
    them k times.
    """
    import psutil

    me = psutil.Process()
    total = 0
    for process in [me, *me.children(recursive=True)]:
        try:
            memory = process.memory_full_info()
        except psutil.Error:  # it ended between being listed and being asked
            continue
        total += getattr(memory, "pss", memory.rss)
    return total
