"""Writes labels to a store from a loop of many tasks: those that come while one commit is under way go into the next.

A commit waits for the disk, so a hundred tasks that each waited for their own would stand in line; together they take one.
"""

from __future__ import annotations

import asyncio

from helpers.core.labels import Label, LabelStore


class Commits:
    """Commits labels to `store`; for use in one event loop."""

    def __init__(self, store: LabelStore):
        self.store = store
        self._waiting: list[tuple[Label, asyncio.Future]] = []
        self._writing: asyncio.Task | None = None

    async def put(self, label: Label) -> None:
        """Returns when the label is on the disk. Raises what the store raises."""
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((label, done))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())
        await done

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            failure = None
            try:
                await asyncio.to_thread(self.store.put, [label for label, _ in batch])
            except Exception as error:  # every task that waits must hear of it, whatever it is
                failure = error
            for _, done in batch:
                if done.done():  # its task was cancelled meanwhile
                    continue
                if failure is None:
                    done.set_result(None)
                else:
                    done.set_exception(failure)
