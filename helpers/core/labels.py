"""The store of labels: a SQLite file that survives kills and never lets a label be paid for twice.

Shape of the data: one row of `labels` is one answer (or refusal, or failure) to one question about one picture. Its
key is (SHA-256 of the picture's bytes, model, exact prompt, sampling parameters as sorted JSON); so a copy of a
picture is not asked about again, and another prompt is another label. `pictures` says under which paths a picture's
bytes were last seen, and what checking them found; paths are relative to the store's folder where they can be, so that
both move together. `runs` and `claims` say who is asking what right now (see `label_jobs`).

WAL with synchronous FULL: what `put` has returned from is on the disk. A row with an answer is never replaced, except
one by the offline stand-in by one from a real endpoint; refusals are final; failures make room for a later try.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from helpers.core.errors import InputError, ResourceError, StoreError

VERSION = 2                 # of the schema, in PRAGMA user_version
APPLICATION = 0x43614C61    # "CaLa", in PRAGMA application_id
STATUSES = ("ok", "refused", "failed")
STAND_IN_SOURCE = "offline stand-in, not Qwen-VL"
MEMORY = ":memory:"
BUSY_SECONDS = 60           # how long one run waits for another one's commit

_SCHEMA = """
CREATE TABLE pictures (
    path TEXT PRIMARY KEY, sha256 TEXT NOT NULL, bytes INTEGER NOT NULL, modified_ns INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX pictures_by_hash ON pictures (sha256);
CREATE TABLE labels (
    sha256 TEXT NOT NULL, model TEXT NOT NULL, prompt TEXT NOT NULL, parameters TEXT NOT NULL,
    dimension TEXT NOT NULL, language TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('ok', 'refused', 'failed')),
    answer TEXT NOT NULL, finish_reason TEXT NOT NULL, usage TEXT NOT NULL, request_id TEXT NOT NULL,
    code TEXT NOT NULL, message TEXT NOT NULL, source TEXT NOT NULL, created TEXT NOT NULL,
    PRIMARY KEY (sha256, model, prompt, parameters)
);
"""
# What version 2 added: a picture's upright size in pixels (NULL: not checked yet), whether it may be sent as it is, why it
# cannot be sent ("": it can); the runs that are labelling, and what each has claimed.
_SECOND = """
ALTER TABLE pictures ADD COLUMN width INTEGER;
ALTER TABLE pictures ADD COLUMN height INTEGER;
ALTER TABLE pictures ADD COLUMN plain INTEGER;
ALTER TABLE pictures ADD COLUMN fault TEXT NOT NULL DEFAULT '';
CREATE TABLE runs (id TEXT PRIMARY KEY, host TEXT NOT NULL, pid INTEGER NOT NULL, born TEXT NOT NULL,
    beat REAL NOT NULL, expires REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE claims (sha256 TEXT NOT NULL, model TEXT NOT NULL, prompt TEXT NOT NULL, parameters TEXT NOT NULL, run TEXT NOT NULL,
    PRIMARY KEY (sha256, model, prompt, parameters)) WITHOUT ROWID;
CREATE INDEX claims_by_run ON claims (run);
"""
_COLUMNS = ("sha256", "model", "prompt", "parameters", "dimension", "language", "status", "answer", "finish_reason", "usage",
            "request_id", "code", "message", "source", "created")
_PUT = f"""
INSERT INTO labels ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})
ON CONFLICT (sha256, model, prompt, parameters) DO UPDATE SET {', '.join(f'{c} = excluded.{c}' for c in _COLUMNS[4:])}
WHERE labels.status = 'failed'
   OR (labels.source = '{STAND_IN_SOURCE}' AND excluded.source <> '{STAND_IN_SOURCE}' AND excluded.status = 'ok')
"""


@dataclass(frozen=True)
class LabelKey:
    """What makes a label the same label. `parameters`: sampling parameters as JSON with sorted keys."""

    sha256: str
    model: str
    prompt: str
    parameters: str = "{}"


@dataclass(frozen=True)
class Label:
    """One row. `usage`: the service's token counts.  `code`, `message`: why it is not "ok".  `created`: UTC, ISO 8601."""

    key: LabelKey
    dimension: str
    language: str
    status: str
    answer: str
    finish_reason: str
    usage: dict
    request_id: str
    source: str
    code: str = ""
    message: str = ""
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def row(self) -> tuple:
        """The values in the order of the columns."""
        usage = json.dumps(self.usage, sort_keys=True)
        return (self.key.sha256, self.key.model, self.key.prompt, self.key.parameters, self.dimension, self.language, self.status,
                self.answer, self.finish_reason, usage, self.request_id, self.code, self.message, self.source, self.created)

    @classmethod
    def from_row(cls, row: Sequence) -> Label:
        """A label from a row in the order of the columns."""
        rest = dict(zip(_COLUMNS[4:], row[4:]))
        return cls(LabelKey(*row[:4]), **{**rest, "usage": json.loads(rest["usage"])})


def is_final(status: str, source: str, stand_in: bool) -> bool:
    """Whether a label needs no further asking. The offline stand-in's words count only where the stand-in is asked."""
    return status in ("ok", "refused") and (stand_in or source != STAND_IN_SOURCE)


def canonical(parameters: dict) -> str:
    """Sampling parameters as the one JSON text that stands for them."""
    return json.dumps(parameters, sort_keys=True, ensure_ascii=False)


class LabelStore:
    """A label store at `path`; a context manager. May be used from several threads, and by several processes at once.

    path: ":memory:" makes one that is gone when it is closed.  create: make the file when there is none; False: raise InputError then.
    Raises StoreError for a file of another version or another program, or a damaged one; ResourceError for a full disk.
    """

    def __init__(self, path: Path | str, create: bool = True):
        self.path = Path(path)
        self._folder = self.path.resolve().parent
        self._guard = threading.Lock()
        self._folders: dict[str, str] = {}
        if not create and not self.path.is_file():
            raise InputError(f"there is no label store {self.path}: make one with `captionlab label --store {self.path}`")
        with self._faults():
            self._folder.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path if path == MEMORY else self.path, timeout=BUSY_SECONDS, check_same_thread=False, isolation_level=None)
            try:
                self._prepare()
            except BaseException:
                self._db.close()
                raise

    def __enter__(self) -> LabelStore:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

    def put(self, labels: Iterable[Label]) -> None:
        """Writes labels in one transaction; they are on the disk when it returns. Raises ResourceError when the disk is full."""
        rows = [label.row() for label in labels]
        with self.writing() as db:
            db.executemany(_PUT, rows)
            db.executemany("DELETE FROM claims WHERE sha256 = ? AND model = ? AND prompt = ? AND parameters = ?", [row[:4] for row in rows])

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, for reading; one thread at a time. Raises the kit's errors for SQLite's."""
        with self._guard, self._faults():
            yield self._db

    @contextmanager
    def writing(self, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """The connection within one transaction; one thread at a time. Raises the kit's errors for SQLite's.

        durable: on the disk when the block ends; False: only seen by everybody, which is enough for what a power cut makes void.
        """
        with self._guard, self._faults():
            if not durable:
                self._db.execute("PRAGMA synchronous = NORMAL")
            try:
                with self._transaction():
                    yield self._db
            finally:
                if not durable:
                    self._db.execute("PRAGMA synchronous = FULL")

    def get(self, key: LabelKey) -> Label | None:
        """The label of a key, or None."""
        with self._guard, self._faults():
            row = self._db.execute(f"SELECT {', '.join(_COLUMNS)} FROM labels "
                                   "WHERE sha256 = ? AND model = ? AND prompt = ? AND parameters = ?",
                                   (key.sha256, key.model, key.prompt, key.parameters)).fetchone()
        return Label.from_row(row) if row else None

    def labels(self) -> Iterator[tuple[Path, Label]]:
        """Every label with the path of each picture it belongs to, in the order of paths, then of creation."""
        with self._guard, self._faults():
            rows = self._db.execute(f"SELECT path, {', '.join('labels.' + c for c in _COLUMNS)} FROM pictures JOIN labels USING (sha256) "
                                    "ORDER BY path, created, labels.rowid").fetchall()
        for row in rows:
            yield self._absolute(row[0]), Label.from_row(row[1:])

    def counts(self) -> dict[str, int]:
        """Number of labels by status."""
        with self._guard, self._faults():
            found = dict(self._db.execute("SELECT status, COUNT(*) FROM labels GROUP BY status").fetchall())
        return {status: found.get(status, 0) for status in STATUSES}

    def hash_pictures(self, paths: Sequence[Path]) -> dict[Path, str]:
        """SHA-256 of each picture file's bytes; a file unchanged since the last time (size and time) is not read again.

        Also notes where each picture is. A path that cannot be read is left out; opening it will say why.
        """
        with self._guard, self._faults():
            known = {row[0]: row[1:] for row in self._db.execute("SELECT path, sha256, bytes, modified_ns FROM pictures")}
        found, fresh = {}, []
        for path in paths:
            try:
                state = path.stat()
                stored = known.get(self._relative(path))
                if stored and stored[1:] == (state.st_size, state.st_mtime_ns):
                    found[path] = stored[0]
                    continue
                found[path] = hashlib.sha256(path.read_bytes()).hexdigest()
            except OSError:
                continue
            fresh.append((self._relative(path), found[path], state.st_size, state.st_mtime_ns))
        if fresh:
            with self.writing() as db:
                db.executemany("INSERT OR REPLACE INTO pictures (path, sha256, bytes, modified_ns) VALUES (?, ?, ?, ?)", fresh)
        return found

    def written(self, path: str, link: bool = True) -> str:
        """A path as the store writes it, see `_relative`; quickly for many of one folder. link: whether it may be a symbolic link."""
        if link and os.path.islink(path):
            return self._relative(Path(path))
        folder, name = os.path.split(path)
        if folder not in self._folders:
            if len(self._folders) > 10_000:
                self._folders.clear()
            self._folders[folder] = self._relative(Path(folder or "."))
        return name if self._folders[folder] == "." else f"{self._folders[folder]}/{name}"

    def _relative(self, path: Path) -> str:
        """A path as the store writes it: relative to the store's folder, with "/", unless it is on another drive."""
        try:
            return Path(os.path.relpath(path.resolve(), self._folder)).as_posix()
        except ValueError:
            return path.resolve().as_posix()

    def _absolute(self, written: str) -> Path:
        return Path(os.path.normpath(self._folder / written))

    def _prepare(self) -> None:
        """Checks that the file is a store of this version, or makes it one."""
        self._db.execute(f"PRAGMA busy_timeout = {round(BUSY_SECONDS * 1000)}")
        self._db.execute("PRAGMA synchronous = FULL")
        with self._transaction():
            application, version = (self._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
            tables = self._db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]
            if not tables and not version and not application:
                self._run(_SCHEMA + _SECOND)
                self._db.execute(f"PRAGMA application_id = {APPLICATION}")
                self._db.execute(f"PRAGMA user_version = {VERSION}")
            elif application != APPLICATION:
                raise StoreError(f"{self.path} is a database of another program: choose another --store")
            elif version == 1:
                self._run(_SECOND)
                self._db.execute(f"PRAGMA user_version = {VERSION}")
            elif version != VERSION:
                raise StoreError(f"{self.path} is a label store of version {version}, and this CaptionLab reads version {VERSION}: "
                                 "use the CaptionLab that wrote it, or choose another --store")
        self._db.execute("PRAGMA journal_mode = WAL")

    def _run(self, script: str) -> None:
        """Executes a script within the present transaction, which `executescript` would end."""
        for statement in script.split(";\n"):
            self._db.execute(statement)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """One transaction; IMMEDIATE, so that two runs wait for each other rather than fail."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """SQLite's and the system's complaints as the kit's errors."""
        try:
            yield
        except sqlite3.OperationalError as error:
            text = str(error)
            if "full" in text or "disk I/O" in text:
                raise ResourceError(f"the disk is full at {self.path} ({text}): free some space and run the same command again; "
                                    "all labels so far are kept") from error
            if "locked" in text or "busy" in text:
                raise StoreError(f"{self.path} is held by another program for more than {BUSY_SECONDS} seconds: "
                                 "close it and run the same command again") from error
            raise StoreError(f"the label store {self.path} cannot be opened or written ({text}): "
                             "check the folder and its permissions") from error
        except sqlite3.DatabaseError as error:
            raise StoreError(f"{self.path} is no label store or is damaged ({error}): "
                             "choose another --store, or restore it from a copy") from error
        except OSError as error:
            raise ResourceError(f"the label store {self.path} cannot be made ({error.strerror}): choose another --store") from error
