"""Who asks what: the jobs of one labelling run, and claims that keep two runs on one store from paying twice.

Shape of the data: `JobQueue.add` takes what a run has to ask, which goes into a temporary table on disk, so that a hundred
thousand jobs take no memory; `take` gives the next few, each of them claimed in the store before it is given. A claim is a
row (the label's key, the run) committed before the request is sent; the label's own commit takes it away.

Two runs never wait for each other: what another run has claimed is left to it and looked at once more at the end. A claim
is worth as much as its run is alive. A run is dead when its process is gone (seen at once on the same machine, so the next
start after a kill goes on without a pause), or when it has not renewed its lease. On one machine a lease is counted on the
clock that runs since the machine's start, which nobody sets; between machines or containers, which cannot see each other's
processes, on the time of day. Should a run be taken for dead that is not, one answer may be paid twice; none is lost.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from helpers.core.errors import CaptionLabError
from helpers.core.images import Checked
from helpers.core.labels import LabelKey, LabelStore, is_final

LEASE = 90.0    # seconds for which a run's claims hold without being renewed
BEAT = 15.0     # seconds between two renewals
BATCH = 256     # jobs looked at in one transaction

_JOBS = """
CREATE TEMP TABLE jobs (number INTEGER PRIMARY KEY, path TEXT NOT NULL, sha256 TEXT NOT NULL, dimension TEXT NOT NULL,
    width INTEGER NOT NULL, height INTEGER NOT NULL, plain INTEGER NOT NULL, tokens INTEGER NOT NULL, done INTEGER NOT NULL,
    held INTEGER NOT NULL DEFAULT 0, UNIQUE (sha256, dimension))
"""
_KEY = "sha256 = ? AND model = ? AND prompt = ? AND parameters = ?"


@dataclass(frozen=True, slots=True)
class Job:
    """One question that has no answer yet: where the picture is, what was found of it, the label's key, foreseen input tokens."""

    path: str
    picture: Checked
    key: LabelKey
    dimension: str
    tokens: int


class JobQueue:
    """The jobs of one run on `store`; a context manager, which ends the run and gives up its claims.

    prompts: {dimension: exact question}.  model, parameters: of the labels' keys.  stand_in: whether the stand-in is asked.
    """

    def __init__(self, store: LabelStore, prompts: dict[str, str], model: str, parameters: str, stand_in: bool):
        self.store, self.prompts, self.model, self.parameters, self.stand_in = store, prompts, model, parameters, stand_in
        self.elsewhere = 0   # answered by another run since this one began
        self.held = 0        # being asked by another run, left to it
        self.id = uuid.uuid4().hex
        self._last, self._again, self._ended = 0, False, False
        self._over = threading.Event()
        self._renewal: threading.Thread | None = None

    def __enter__(self) -> JobQueue:
        with self.store.writing(durable=False) as db:
            db.execute("DROP TABLE IF EXISTS temp.jobs")
            db.execute(_JOBS)
        return self

    def __exit__(self, *_) -> None:
        self._over.set()
        if self._renewal is not None:
            self._renewal.join()
            with self.store.writing(durable=False) as db:
                _forget(db, self.id)
                db.execute("DROP TABLE IF EXISTS temp.jobs")

    def add(self, rows: Iterable[tuple]) -> None:
        """Adds rows (path, sha256, dimension, width, height, plain, tokens, done); a picture's copies make no further job."""
        with self.store.writing(durable=False) as db:
            db.executemany("INSERT OR IGNORE INTO jobs (path, sha256, dimension, width, height, plain, tokens, done) "
                           "VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def counts(self) -> tuple[int, int, int]:
        """(jobs to ask, jobs that were answered before, input tokens foreseen for the former)."""
        with self.store.reading() as db:
            return db.execute("SELECT COALESCE(SUM(NOT done), 0), COALESCE(SUM(done), 0), "
                              "COALESCE(SUM(CASE WHEN done THEN 0 ELSE tokens END), 0) FROM jobs").fetchone()

    def token_sizes(self) -> list[tuple[int, int]]:
        """(input tokens, number of jobs to ask that take so many)."""
        with self.store.reading() as db:
            return db.execute("SELECT tokens, COUNT(*) FROM jobs WHERE NOT done GROUP BY tokens").fetchall()

    def start(self) -> None:
        """Signs the run in, and renews its lease from now on."""
        with self.store.writing(durable=False) as db:
            db.execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?)", (self.id, _host(), os.getpid(), _born(os.getpid()), *_lease()))
            for run, in db.execute("SELECT id FROM runs").fetchall():
                if not _is_alive(db, run):
                    _forget(db, run)
        self._renewal = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._renewal.start()

    def take(self, number: int) -> list[Job]:
        """The next jobs, at most `number`, claimed for this run; [] when there are no more.

        Comes to what other runs hold once more at the end; what they hold even then is left to them and counted in `held`.
        """
        taken: list[Job] = []
        while not taken and not self._ended:
            with self.store.writing(durable=False) as db:
                rows = db.execute(f"SELECT number, path, sha256, dimension, width, height, plain, tokens FROM jobs "
                                  f"WHERE number > ? AND {'held' if self._again else 'NOT done'} ORDER BY number LIMIT ?",
                                  (self._last, max(1, min(number, BATCH)))).fetchall()
                alive: dict[str, bool] = {}
                for row in rows:
                    if job := self._claim(db, row, alive):
                        taken.append(job)
                self._last = rows[-1][0] if rows else self._last
            if not rows:
                self._ended = self._again
                self._again, self._last = True, 0
        return taken

    def _claim(self, db, row: tuple, alive: dict[str, bool]) -> Job | None:
        """A row of `jobs` as a claimed job; None where there is an answer by now or another run holds it."""
        number, path, sha256, dimension, width, height, plain, tokens = row
        key = LabelKey(sha256, self.model, self.prompts[dimension], self.parameters)
        values = (key.sha256, key.model, key.prompt, key.parameters)
        label = db.execute(f"SELECT status, source FROM labels WHERE {_KEY}", values).fetchone()
        if label and is_final(label[0], label[1], self.stand_in):
            self.elsewhere += 1
            return None
        claim = db.execute(f"SELECT run FROM claims WHERE {_KEY}", values).fetchone()
        if claim and claim[0] != self.id:
            if claim[0] not in alive:
                alive[claim[0]] = _is_alive(db, claim[0])
            if alive[claim[0]]:
                if self._again:
                    self.held += 1
                else:
                    db.execute("UPDATE jobs SET held = 1 WHERE number = ?", (number,))
                return None
        db.execute("INSERT OR REPLACE INTO claims VALUES (?, ?, ?, ?, ?)", (*values, self.id))
        return Job(path, Checked(sha256, width, height, bool(plain)), key, dimension, tokens)

    def _renew(self) -> None:
        while not self._over.wait(BEAT):
            try:
                with self.store.writing(durable=False) as db:
                    db.execute("UPDATE runs SET beat = ?, expires = ? WHERE id = ?", (*_lease(), self.id))
            except CaptionLabError as error:
                # The run itself meets the same fault when it commits its next label, and ends with it.
                print(f"the lease of this run could not be renewed: {error}", file=sys.stderr)


def _lease() -> tuple[float, float]:
    """When a lease that is renewed now ends: on the clock since the machine's start, and by the time of day."""
    return time.monotonic() + LEASE, time.time() + LEASE


def _forget(db, run: str) -> None:
    """Takes a run and its claims out of the store."""
    db.execute("DELETE FROM claims WHERE run = ?", (run,))
    db.execute("DELETE FROM runs WHERE id = ?", (run,))


def _is_alive(db, run: str) -> bool:
    """Whether a run's claims hold."""
    row = db.execute("SELECT host, pid, born, beat, expires FROM runs WHERE id = ?", (run,)).fetchone()
    if row is None:
        return False
    host, pid, born, beat, expires = row
    if host == _host():
        return _born(pid) == born and time.monotonic() < beat
    return time.time() < expires


def _host() -> str:
    """This machine since its last start; on Linux also its process namespace, since a container sees other process ids."""
    marks = [socket.gethostname()]
    for read in (lambda: Path("/proc/sys/kernel/random/boot_id").read_text().strip(), lambda: os.readlink("/proc/self/ns/pid")):
        try:
            marks.append(read())
        except OSError:
            continue  # not Linux: the name alone, and the time at which a process began
    return "|".join(marks)


def _born(pid: int) -> str:
    """When a process began, so that another one with its number is told apart; "" when there is none, or only its remains."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]  # in clock ticks since the machine's start
    except OSError:
        if Path("/proc/self/stat").exists():
            return ""
    import psutil

    try:
        return str(round(psutil.Process(pid).create_time()))
    except psutil.NoSuchProcess:
        return ""
