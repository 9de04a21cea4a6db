"""Looks at every picture before anything is asked: which can be sent, what that takes, what has an answer already.

Shape of the data: a folder (or a list of paths) → batches of `Found` → `Checked`, in parallel, and noted in the store's
`pictures`, so that a file that has not changed (path, size, time) is not opened again → rows of a `JobQueue`, and a
`Survey` with the numbers. Nothing is held per picture but the names of those that cannot be sent: a run of a hundred
thousand takes no more memory than one of a thousand.

Threads do the checking: nearly all of it is reading, hashing and decoding, which release the interpreter's lock.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from tqdm.auto import tqdm

from helpers.core.errors import InputError
from helpers.core.images import MIN_SIDE, Checked, Found, check_picture, no_pictures, sent_size, walk_images
from helpers.core.label_jobs import JobQueue
from helpers.core.labels import LabelStore, is_final
from helpers.core.prices import MESSAGE_TOKENS, ModelPrice, text_tokens

BATCH = 1000        # pictures looked up, and noted, in one go
SLOW = 1.0          # seconds after which checking shows a progress bar
_UNREADABLE = "cannot be read: check its permissions"


@dataclass
class Survey:
    """What a survey found. pictures: files.  opened: of them, those that had to be opened, since the store did not know them.

    rejected: {path: why it cannot be sent}.  first: the first picture's path.
    """

    pictures: int = 0
    opened: int = 0
    first: Path | None = None
    rejected: dict[Path, str] = field(default_factory=dict)


def find_pictures(images: Path | str | Sequence[Path]) -> Iterator[Found]:
    """The files of a folder, or of a list of paths, in order. Raises InputError for a folder or a listed file that is not there."""
    if isinstance(images, (str, Path)):
        yield from walk_images(images)
        return
    for path in images:
        try:
            state = os.stat(path)
        except OSError:
            raise InputError(f"there is no picture {path}: check the path") from None
        yield Found(str(path), state.st_size, state.st_mtime_ns, link=True)


def survey(images: Path | str | Sequence[Path], store: LabelStore, queue: JobQueue, price: ModelPrice | None, max_side: int,
           limit: int | None = None, progress: str | None = None) -> Survey:
    """Check the pictures and fill the queue with what is to be asked about them.

    price: tells the tokens of a picture; None: only those of the text are counted.  limit: at most so many pictures.
    Raises InputError when there are none; StoreError, ResourceError.
    """
    result = Survey()
    files = islice(find_pictures(images), limit)
    text = {dimension: text_tokens(prompt) + MESSAGE_TOKENS for dimension, prompt in queue.prompts.items()}
    with ThreadPoolExecutor(os.cpu_count() or 2, thread_name_prefix="check") as pool, \
            tqdm(desc=progress and "checking pictures", unit="picture", disable=progress is None, delay=SLOW, leave=False) as bar:
        while batch := list(islice(files, BATCH)):
            result.first = result.first or Path(batch[0].path)
            result.pictures += len(batch)
            batch = [file for file in batch if _is_text(file.path, result)]
            checked = _check(batch, store, pool, result)
            queue.add(list(_rows(batch, checked, store, queue, price, text, max_side, result)))
            bar.update(len(batch))
    if not result.pictures:
        raise no_pictures(images if isinstance(images, (str, Path)) else "the list")
    return result


def _check(batch: list[Found], store: LabelStore, pool: ThreadPoolExecutor, result: Survey) -> list[Checked | None]:
    """What is known of each file, from the store or by opening it; None for one that cannot be read."""
    written = [store.written(file.path, file.link) for file in batch]
    with store.reading() as db:
        rows = db.execute("SELECT path, sha256, bytes, modified_ns, width, height, plain, fault FROM pictures "
                          "WHERE path IN (SELECT value FROM json_each(?))", (json.dumps(written),)).fetchall()
    known = {row[0]: row[1:] for row in rows if row[4] is not None}
    checked: list[Checked | None] = []
    for file, name in zip(batch, written):
        row = known.get(name)
        same = row is not None and row[1:3] == (file.bytes, file.modified_ns)
        checked.append(Checked(row[0], row[3], row[4], bool(row[5]), row[6]) if same else None)
    fresh = [place for place, one in enumerate(checked) if one is None]
    for place, one in zip(fresh, pool.map(_open, [batch[place].path for place in fresh])):
        checked[place] = one
    result.opened += len(fresh)
    notes = [(written[place], one.sha256, batch[place].bytes, batch[place].modified_ns, one.width, one.height, one.plain, one.fault)
             for place in fresh if (one := checked[place])]
    if notes:
        with store.writing() as db:
            db.executemany("INSERT OR REPLACE INTO pictures (path, sha256, bytes, modified_ns, width, height, plain, fault) "
                           "VALUES (?, ?, ?, ?, ?, ?, ?, ?)", notes)
    return checked


def _is_text(path: str, result: Survey) -> bool:
    """Whether a path can be written down at all; one that cannot is named in `result`."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        result.rejected[Path(path)] = f"{ascii(path)} has a name that is no UTF-8: rename it"
        return False
    return True


def _open(path: str) -> Checked | None:
    try:
        return check_picture(path)
    except InputError:
        return None


def _rows(batch: list[Found], checked: list[Checked | None], store: LabelStore, queue: JobQueue, price: ModelPrice | None,
          text: dict[str, int], max_side: int, result: Survey) -> Iterator[tuple]:
    """The queue's rows for a batch, a picture's questions one after the other; what cannot be sent is named in `result`."""
    good = []
    for file, one in zip(batch, checked):
        if fault := _fault(one, max_side):
            result.rejected[Path(file.path)] = f"{file.path} {fault}"
        else:
            good.append((file, one))
    hashes, done = json.dumps([one.sha256 for _, one in good]), {}
    for dimension, prompt in queue.prompts.items():
        with store.reading() as db:
            found = db.execute("SELECT sha256, status, source FROM labels WHERE sha256 IN (SELECT value FROM json_each(?)) "
                               "AND model = ? AND prompt = ? AND parameters = ?", (hashes, queue.model, prompt, queue.parameters))
            done[dimension] = {sha256 for sha256, status, source in found if is_final(status, source, queue.stand_in)}
    for file, one in good:
        picture = None
        for dimension, answered in done.items():
            if one.sha256 in answered:  # nothing more of it is needed than that it is there
                yield file.path, one.sha256, dimension, 0, 0, False, 0, True
                continue
            if picture is None:
                picture = price.image_tokens(*sent_size(one.width, one.height, max_side)) if price else 0
            yield file.path, one.sha256, dimension, one.width, one.height, one.plain, picture + text[dimension], False


def _fault(one: Checked | None, max_side: int) -> str:
    """Why a picture cannot be sent at this size, or ""."""
    if one is None:
        return _UNREADABLE
    if not one.fault and max(one.width, one.height) > max_side and min(sent := sent_size(one.width, one.height, max_side)) < MIN_SIDE:
        return f"would be {sent[0]}×{sent[1]} pixels after scaling to {max_side}: raise the largest side, or cut the picture"
    return one.fault
