"""One labelling run: many questions under way at once, each answer committed before it is counted.

Shape of the data: a list of `Job` (a picture, a prompt, the label's key) → rows of the `LabelStore` and a filled-in
`LabelReport`. A worker takes a job, prepares the picture in a thread, asks, and waits until the label is on the disk
before it takes the next: a kill loses at most the answers under way. An answer that ends the run (key, money, model)
lets the other workers store what they are waiting for.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tqdm.auto import tqdm

from helpers.core.errors import CaptionLabError, InputError
from helpers.core.images import EncodedImage, encode_image
from helpers.core.labels import STAND_IN_SOURCE, Label, LabelKey, LabelStore
from helpers.core.prices import Prices
from helpers.core.qwen_vl import Answer, QwenVL

SMALL = 100_000  # bytes of a picture file that is prepared in a millisecond or two, less than handing it to a thread and back may cost


@dataclass(frozen=True)
class Job:
    """One question that has no answer yet."""

    path: Path
    key: LabelKey
    dimension: str


@dataclass
class LabelReport:
    """What a labelling run did, or would do (`dry_run`).

    pictures, requests: found and to be asked when it started.  reused: labels that were there before.  labelled, refused,
    failed: answers of this run by status.  rejected: pictures that could not be sent, and why.  kinds: service codes of what
    was refused or failed.  tokens in and out and yuan: by the answers' usage; foreseen ones for a dry run.  source: who answered.
    """

    pictures: int = 0
    requests: int = 0
    reused: int = 0
    labelled: int = 0
    refused: int = 0
    failed: int = 0
    rejected: dict[Path, str] = field(default_factory=dict)
    kinds: Counter = field(default_factory=Counter)
    input_tokens: int = 0
    output_tokens: int = 0
    yuan: float | None = 0.0
    prices_of: str = ""
    source: str = ""
    seconds: float = 0.0
    dry_run: bool = False

    def __str__(self) -> str:
        money = "price unknown" if self.yuan is None else f"{self.yuan:.4f} yuan by the prices of {self.prices_of}"
        if self.dry_run:
            return (f"{self.pictures} pictures, {self.requests} requests to send ({self.reused} labels are there already); "
                    f"about {self.input_tokens} tokens in, {self.output_tokens} out, {money}; nothing was sent")
        faults = {"refused": self.refused, "failed": self.failed, "pictures rejected": len(self.rejected)}
        bad = "".join(f", {number} {word}" for word, number in faults.items() if number)
        return (f"{self.pictures} pictures: {self.labelled} labels from {self.source or 'nobody'}, {self.reused} were there already{bad}; "
                f"{self.input_tokens} tokens in, {self.output_tokens} out, {money}; {self.seconds:.0f} s")


def _in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def run_loop(work) -> None:
    """Runs a coroutine to its end, also where a loop is already running (in a notebook)."""
    if not _in_a_loop():
        asyncio.run(work)
        return
    outcome: list[BaseException] = []

    def target() -> None:
        try:
            asyncio.run(work)
        except BaseException as error:  # handed to the caller's thread below
            outcome.append(error)

    thread = threading.Thread(target=target, name="labelling")
    thread.start()
    thread.join()
    if outcome:
        raise outcome[0]


class Run:
    """One labelling run: workers take jobs, ask, and wait until their label is committed before they take the next."""

    def __init__(self, client: QwenVL, store: LabelStore, language: str, parameters: dict, prices: Prices, report: LabelReport):
        """parameters: sampling parameters beyond the client's own.  report: is filled in as labels are committed."""
        self.client, self.store, self.language, self.parameters, self.report = client, store, language, parameters, report
        self.price = prices.model(client.model)
        if self.price is None:
            report.yuan = None
        self.fatal: CaptionLabError | None = None
        self.waiting: list[tuple[Label, asyncio.Future]] = []
        self.committing: asyncio.Task | None = None

    async def go(self, jobs: list[Job], concurrency: int, progress: str | None) -> None:
        """Works through the jobs. Raises what ended the run, once the answers under way are stored."""
        queue = iter(jobs)
        self.pool = ThreadPoolExecutor(max(2, min(4, os.cpu_count() or 2)), thread_name_prefix="pictures")
        try:
            with tqdm(total=len(jobs), desc=progress, unit="label", disable=progress is None) as self.bar:
                await asyncio.gather(*(self._work(queue) for _ in range(min(concurrency, len(jobs)))))
        finally:
            self.pool.shutdown(wait=False, cancel_futures=True)
            await self.client.close()
        if self.fatal:
            raise self.fatal

    async def _work(self, queue: Iterator[Job]) -> None:
        for job in queue:
            if self.fatal:
                return
            try:
                await self._do(job)
            except CaptionLabError as error:
                self.fatal = self.fatal or error
                return

    async def _do(self, job: Job) -> None:
        try:
            picture = await self._prepare(job.path)
        except InputError as error:
            self.report.rejected[job.path] = str(error)
            self.bar.update()
            return
        answer = await self.client.ask_async(picture, job.key.prompt, **self.parameters)
        label = self._label(job, answer)
        await self._commit(label)
        self._count(label)

    async def _prepare(self, path: Path) -> EncodedImage:
        """A picture ready to send; a large one in a thread, so that the others need not wait for it."""
        if not path.is_file() or path.stat().st_size < SMALL:  # of one that has gone meanwhile, `encode_image` says so
            return encode_image(path, self.client.max_side)
        return await asyncio.get_running_loop().run_in_executor(self.pool, encode_image, path, self.client.max_side)

    def _label(self, job: Job, answer: Answer) -> Label:
        """An answer as a row. That the stand-in does not know a picture is no label: it is asked again another time."""
        status, code, message = answer.status, answer.code, answer.message
        if answer.source == STAND_IN_SOURCE and status == "ok":
            from helpers.core.standin_mind import UNKNOWN

            if answer.text in UNKNOWN.values():
                status, code, message = "failed", "UnknownPicture", answer.text
        text = answer.text if status == "ok" else ""
        return Label(job.key, job.dimension, self.language, status, text, answer.finish_reason, answer.usage, answer.request_id,
                     answer.source, code, message)

    async def _commit(self, label: Label) -> None:
        """Returns when the label is on the disk. Labels that come while one is written are written together next."""
        done = asyncio.get_running_loop().create_future()
        self.waiting.append((label, done))
        if self.committing is None or self.committing.done():
            self.committing = asyncio.create_task(self._write())
        await done

    async def _write(self) -> None:
        while self.waiting:
            batch, self.waiting = self.waiting, []
            try:
                await asyncio.to_thread(self.store.put, [label for label, _ in batch])
            except Exception as error:  # every worker that waits must hear of it, whatever it is
                for _, done in batch:
                    done.set_exception(error)
            else:
                for _, done in batch:
                    done.set_result(None)

    def _count(self, label: Label) -> None:
        """Counts a label that is on the disk."""
        if label.status == "ok":
            self.report.labelled += 1
        else:
            setattr(self.report, label.status, getattr(self.report, label.status) + 1)
            self.report.kinds[label.code] += 1
        spent_in, spent_out = (int(label.usage.get(name) or 0) for name in ("input_tokens", "output_tokens"))
        self.report.input_tokens += spent_in
        self.report.output_tokens += spent_out
        self.report.source = label.source
        if self.price:
            self.report.yuan += self.price.cost(spent_in, spent_out)
        self.bar.update()
