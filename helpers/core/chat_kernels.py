"""The kernels of the chat's web page: one for each visitor, so many at most, none left behind.

    a visitor opens the page → VisitorKernels.start_kernel → a process with a folder for its temporary files
    the page is closed, idle for long, or the server is gone → the kernel ends, and its folder goes with it

A kernel of the chat is small, since the models are in a process that all kernels share (core/chat_host.py); `environment` tells it where.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path

from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from traitlets import Dict, Float, Integer, Unicode

PATIENCE = 3.0  # seconds; a page that is loaded anew asks for a place before its old one is free
_opened: ContextVar[list[str]] = ContextVar("opened")


class TooManyVisitors(Exception):
    """All kernels are taken."""


def opened_in_this_visit() -> list[str]:
    """A list to which the kernels' ids will be added that this request (this asyncio task) starts."""
    _opened.set(kernels := [])
    return kernels


class VisitorKernels(AsyncMappingKernelManager):
    """Jupyter's kernel manager, with a bound on the number of kernels and an earlier end for those that nobody looks at."""

    limit = Integer(8, config=True, help="most kernels at a time")
    alone_timeout = Float(120.0, config=True, help="seconds after which a kernel ends whose page is closed")
    scratch = Unicode(config=True, help="folder in which each kernel gets a folder for its temporary files")
    environment = Dict(config=True, help="environment variables of every kernel, beside the server's own")

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._starting = 0
        self._left_at: dict[str, float] = {}
        self._freed = asyncio.Event()

    async def start_kernel(self, *, kernel_id: str | None = None, path: str | None = None, **kwargs) -> str:
        """Start a kernel; returns its id. Raises TooManyVisitors when all are taken."""
        await self._find_place()
        self._starting += 1
        folder = Path(tempfile.mkdtemp(dir=self.scratch))
        try:
            environment = {**kwargs.pop("env", os.environ), **self.environment, "TMPDIR": str(folder)}
            kernel_id = await super().start_kernel(kernel_id=kernel_id, path=path, env=environment, **kwargs)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            self._starting -= 1
        self._kernels[kernel_id].visitor_folder = folder
        self._left_at[kernel_id] = time.monotonic()
        _opened.get([]).append(kernel_id)
        return kernel_id

    async def _find_place(self) -> None:
        """Wait a moment for a place where all are taken. Raises TooManyVisitors when none becomes free."""
        end = time.monotonic() + PATIENCE
        while len(self) + self._starting >= self.limit:
            self._freed.clear()
            try:
                await asyncio.wait_for(self._freed.wait(), end - time.monotonic())
            except TimeoutError:
                raise TooManyVisitors from None

    async def shutdown_kernel(self, kernel_id: str, *args, **kwargs) -> None:
        """End a kernel at once: nothing of a visitor's is kept. One that has ended meanwhile, or is named twice at the server's end, is no fault."""
        if kernel_id in self:
            await super().shutdown_kernel(kernel_id, now=True)

    def remove_kernel(self, kernel_id: str):
        """Forget a kernel that has ended, and what it wrote to its folder."""
        kernel = super().remove_kernel(kernel_id)
        self._left_at.pop(kernel_id, None)
        self._freed.set()
        if folder := getattr(kernel, "visitor_folder", None):
            shutil.rmtree(folder, ignore_errors=True)
        return kernel

    def notify_disconnect(self, kernel_id: str) -> None:
        """Note when the last page of a kernel went away."""
        super().notify_disconnect(kernel_id)
        self._left_at[kernel_id] = time.monotonic()

    async def cull_kernel_if_idle(self, kernel_id: str) -> None:
        """End a kernel whose page is gone, or that was idle for as long as `cull_idle_timeout` says."""
        kernel = self._kernels[kernel_id]
        alone = not self._kernel_connections.get(kernel_id, 0) and kernel.execution_state != "busy"
        # While the page is being made nobody is connected yet, but cells run: both clocks count.
        seconds = min(time.monotonic() - self._left_at.get(kernel_id, time.monotonic()), (datetime.now(UTC) - kernel.last_activity).total_seconds())
        if alone and seconds > self.alone_timeout:
            await self.shutdown_kernel(kernel_id, now=True)
        else:
            await super().cull_kernel_if_idle(kernel_id)
