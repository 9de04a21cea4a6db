"""One labelling run: many questions under way at once, each answer committed before it is counted.

Shape of the data: `Job`s from a `JobQueue`, a few at a time → rows of the `LabelStore` and a filled-in `LabelReport`. A worker
takes a job, prepares the picture, asks, and waits until the label is on the disk before it takes the next: a kill loses at
most the answers under way. What ends a run early lets the other workers store what they are waiting for: an answer that
ends it (key, money, model), the money that may be spent (`Budget`), Ctrl-C.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tqdm.auto import tqdm

from helpers.core.answers import Answer
from helpers.core.commits import Commits
from helpers.core.errors import CaptionLabError, InputError
from helpers.core.images import EncodedImage, encode_checked
from helpers.core.label_jobs import Job, JobQueue
from helpers.core.label_report import LabelReport
from helpers.core.labels import STAND_IN_SOURCE, Label, LabelStore
from helpers.core.prices import ModelPrice
from helpers.core.qwen_vl import QwenVL

SMALL = 100_000      # bytes of a picture file that is prepared in a millisecond or two, less than handing it to a thread and back may cost
ANSWER_TOKENS = 120  # what an answer is foreseen to have before the first one came
WORST = (480, 1.5)   # tokens that an answer is taken to have at most: so many, and so many times the longest so far
SECONDS = 10.0       # over which the bar measures labels a minute


def run_loop(work) -> None:
    """Runs a coroutine to its end, also where a loop is already running (in a notebook)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
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


class Budget:
    """Yuan that a run may spend, requests under way counted at the most that they may cost. For use in one event loop.

    most: yuan, or None for no end.  price: of the model.  cap: `max_tokens` of every request, which no answer exceeds; without
    it, an answer is taken to be at most `WORST`.
    """

    def __init__(self, most: float | None, price: ModelPrice | None, cap: int | None = None):
        self.most, self.price, self.cap = most, price, cap
        self.spent, self.reserved, self._longest = 0.0, 0.0, 0
        self._change = asyncio.Condition()

    async def reserve(self, tokens: int) -> float | None:
        """Sets aside what a request of `tokens` in may cost: the yuan, or None when there is not enough left, whatever those under way cost."""
        cost = self._worst(tokens)
        async with self._change:
            if self.most is not None:
                await self._change.wait_for(lambda: self.reserved == 0 or self.spent + self.reserved + cost <= self.most)
                if self.spent + self.reserved + cost > self.most:
                    return None
            self.reserved += cost
            return cost

    async def settle(self, cost: float, tokens_in: int, tokens_out: int, lost: int = 0) -> None:
        """A request ended that `cost` was set aside for: what it took, and answers that were lost and may be billed all the same."""
        async with self._change:
            self._longest = max(self._longest, tokens_out)
            left = self.reserved - cost
            self.reserved = left if left > 1e-12 else 0.0  # sums of decimals leave dust behind
            self.spent += (self.price.cost(tokens_in, tokens_out) if self.price else 0.0) + lost * cost
            self._change.notify_all()

    def _worst(self, tokens: int) -> float:
        longest = self.cap or max(WORST[0], round(WORST[1] * self._longest))
        return self.price.cost(tokens, longest) if self.price else 0.0


@dataclass(frozen=True)
class Settings:
    """How a run asks: language of the labels, sampling parameters, requests under way at once, yuan at most, the bar's name."""

    language: str
    parameters: dict
    concurrency: int
    max_cost: float | None = None
    progress: str | None = None


class Run:
    """One labelling run on a filled `JobQueue`."""

    def __init__(self, client: QwenVL, store: LabelStore, queue: JobQueue, price: ModelPrice | None, report: LabelReport, settings: Settings):
        """price: of the client's model, None where it is not known.  report: is filled in as labels are committed."""
        self.client, self.store, self.queue, self.price, self.report, self.settings = client, store, queue, price, report, settings
        self.fatal: CaptionLabError | None = None
        self.ending = False
        self.commits = Commits(store)
        self.answer_tokens = float(ANSWER_TOKENS)
        self.ticks: list[float] = []
        self.shown = 0.0

    async def go(self) -> None:
        """Works through the queue. Raises what ended the run, once the answers under way are stored."""
        settings = self.settings
        self.budget = Budget(settings.max_cost, self.price, settings.parameters.get("max_tokens"))
        self.line: asyncio.Queue[Job | None] = asyncio.Queue(settings.concurrency)
        self.pool = ThreadPoolExecutor(max(2, min(4, os.cpu_count() or 2)), thread_name_prefix="pictures")
        number = max(1, min(settings.concurrency, self.report.requests))
        layout = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"
        tasks: list[asyncio.Task] = []
        try:
            with tqdm(total=self.report.requests, desc=settings.progress, disable=settings.progress is None, bar_format=layout) as self.bar:
                feeder = asyncio.create_task(self._feed(number))
                tasks = [asyncio.create_task(self._work()) for _ in range(number)]
                try:
                    await asyncio.wait(tasks)
                except asyncio.CancelledError:  # Ctrl-C: what is under way is paid for, so it is waited for; a second one ends that too
                    self._end()
                    tqdm.write("stopping: the answers under way are waited for and stored; Ctrl-C once more gives them up")
                    await asyncio.wait(tasks)
                    raise
                finally:
                    feeder.cancel()
                    self._show(force=True)
                for task in [*tasks, *([feeder] if feeder.done() and not feeder.cancelled() else [])]:
                    task.result()  # a bug in one of them is not passed over
        finally:
            self.pool.shutdown(wait=False, cancel_futures=True)
            self.report.elsewhere, self.report.held = self.queue.elsewhere, self.queue.held
            await self.client.close()
        if self.fatal:
            raise self.fatal

    async def _feed(self, workers: int) -> None:
        """Claims jobs a few at a time, ahead of the workers."""
        try:
            while not self.ending and (jobs := await asyncio.to_thread(self.queue.take, max(8, workers))):
                for job in jobs:
                    await self.line.put(job)
        except CaptionLabError as error:
            self._end(error)
        finally:
            for _ in range(workers if not self.ending else 0):
                await self.line.put(None)

    def _end(self, error: CaptionLabError | None = None) -> None:
        """No further question is asked; workers that wait for a job are let go."""
        self.fatal, self.ending = self.fatal or error, True
        while not self.line.empty():
            self.line.get_nowait()
        for _ in range(self.line.maxsize):
            self.line.put_nowait(None)

    async def _work(self) -> None:
        while not self.ending and (job := await self.line.get()):
            if self.ending:
                return
            try:
                await self._do(job)
            except CaptionLabError as error:
                self._end(error)
            except BaseException:
                self._end()
                raise

    async def _do(self, job: Job) -> None:
        try:
            picture = await self._prepare(job)
        except InputError as error:
            self.report.rejected[Path(job.path)] = str(error)
            self.bar.update()
            return
        cost = await self.budget.reserve(job.tokens)
        if cost is None:
            self.report.stopped = (f"stopped before more than {self.settings.max_cost:g} yuan would be spent: "
                                   "run the same command again with a higher --max-cost to go on")
            self._end()
        if self.ending:
            return
        answer = None
        try:
            answer = await self.client.ask_async(picture, job.key.prompt, tokens=job.tokens + round(self.answer_tokens),
                                                 **self.settings.parameters)
        finally:
            await self._settle(cost, answer)
        label = self._label(job, answer)
        await self.commits.put(label)
        self._count(label, answer.lost)

    async def _settle(self, cost: float, answer: Answer | None) -> None:
        usage, lost = (answer.usage, answer.lost) if answer else ({}, 0)
        spent_in, spent_out = (int(usage.get(name) or 0) for name in ("input_tokens", "output_tokens"))
        await self.budget.settle(cost, spent_in, spent_out, lost)
        if spent_out:
            self.answer_tokens += (spent_out - self.answer_tokens) / 20  # of late: the pace needs no more

    async def _prepare(self, job: Job) -> EncodedImage:
        """A picture ready to send; a large one in a thread, so that the others need not wait for it."""
        arguments = job.path, job.picture, self.client.max_side
        try:
            small = os.stat(job.path).st_size < SMALL
        except OSError:
            small = True  # gone meanwhile: `encode_checked` says so
        return encode_checked(*arguments) if small else await asyncio.get_running_loop().run_in_executor(self.pool, encode_checked, *arguments)

    def _label(self, job: Job, answer: Answer) -> Label:
        """An answer as a row. That the stand-in does not know a picture is no label: it is asked again another time."""
        status, code, message = answer.status, answer.code, answer.message
        if answer.source == STAND_IN_SOURCE and status == "ok":
            from helpers.core.standin_mind import UNKNOWN

            if answer.text in UNKNOWN.values():
                status, code, message = "failed", "UnknownPicture", answer.text
        text = answer.text if status == "ok" else ""
        return Label(job.key, job.dimension, self.settings.language, status, text, answer.finish_reason, answer.usage, answer.request_id,
                     answer.source, code, message)

    def _count(self, label: Label, lost: int) -> None:
        """Counts a label that is on the disk."""
        report = self.report
        if label.status == "ok":
            report.labelled += 1
        else:
            setattr(report, label.status, getattr(report, label.status) + 1)
            report.kinds[label.code] += 1
        spent_in, spent_out = (int(label.usage.get(name) or 0) for name in ("input_tokens", "output_tokens"))
        report.input_tokens += spent_in
        report.output_tokens += spent_out
        report.source = label.source
        report.lost += lost
        if self.price:
            report.yuan += self.price.cost(spent_in, spent_out)
        self._show()

    def _show(self, force: bool = False) -> None:
        """The bar one label further: labels a minute of late, what went wrong by kind, money spent."""
        now = time.monotonic()
        if not force:
            self.bar.update()
        if self.bar.disable:
            return
        self.ticks += [now] * (not force)
        if not force and now - self.shown < 0.5:
            return
        self.shown = now
        self.ticks = [tick for tick in self.ticks if tick > now - SECONDS]
        pace = 60 * (len(self.ticks) - 1) / max(0.1, self.ticks[-1] - self.ticks[0]) if len(self.ticks) > 1 else 0
        parts = [f"{pace:.0f} labels/min", *(f"{number} {kind}" for kind, number in self.report.kinds.most_common(3))]
        if self.report.yuan is not None:
            parts.append(f"{self.report.yuan:.4f} yuan")
        self.bar.set_postfix_str(", ".join(parts))
