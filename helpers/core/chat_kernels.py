"""The kernels of the chat's web page: one for each visitor, so many at most, none left behind.

    a visitor opens the page → VisitorKernels.start_kernel → ForkProvisioner → a process forked from the nursery
    the page is closed, idle for long, or the server is gone → the kernel ends, and its folder of temporary files with it

Where processes cannot be forked safely (not Linux), a kernel is a process of its own as anywhere in Jupyter, which works the
same and takes more memory.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import EntryPoint
from multiprocessing import forkserver
from pathlib import Path

from jupyter_client.provisioning import KernelProvisionerFactory, LocalProvisioner
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from traitlets import Float, Integer, Unicode

from helpers.core.processes import OWNER_VARIABLE

NURSERY = "helpers.core.chat_nursery"
CAN_FORK = sys.platform == "linux"


class TooManyVisitors(Exception):
    """All kernels are taken."""


class VisitorKernels(AsyncMappingKernelManager):
    """Jupyter's kernel manager, with a bound on the number of kernels and an earlier end for those that nobody looks at."""

    limit = Integer(8, config=True, help="most kernels at a time")
    alone_timeout = Float(60.0, config=True, help="seconds after which a kernel ends whose page is closed")
    scratch = Unicode(config=True, help="folder in which each kernel gets a folder for its temporary files")

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._starting = 0
        self._left_at: dict[str, float] = {}

    async def start_kernel(self, *, kernel_id: str | None = None, path: str | None = None, **kwargs) -> str:
        """Start a kernel; returns its id. Raises TooManyVisitors when all are taken."""
        if len(self) + self._starting >= self.limit:
            raise TooManyVisitors
        folder = Path(tempfile.mkdtemp(dir=self.scratch))
        self._starting += 1
        try:
            environment = {**kwargs.pop("env", os.environ), "TMPDIR": str(folder), OWNER_VARIABLE: str(os.getpid())}
            kernel_id = await super().start_kernel(kernel_id=kernel_id, path=path, env=environment, **kwargs)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            self._starting -= 1
        self._kernels[kernel_id].visitor_folder = folder
        self._left_at[kernel_id] = time.monotonic()
        return kernel_id

    def remove_kernel(self, kernel_id: str):
        """Forget a kernel that has ended, and what it wrote to its folder."""
        kernel = super().remove_kernel(kernel_id)
        self._left_at.pop(kernel_id, None)
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


class Forked:
    """A forked process with the methods of `subprocess.Popen` that a provisioner calls."""

    stdin = stdout = stderr = None

    def __init__(self, process: multiprocessing.process.BaseProcess):
        self._process, self.pid = process, process.pid

    def poll(self) -> int | None:
        """The exit code, None while it runs."""
        return self._process.exitcode

    def wait(self) -> int | None:
        """The exit code, once it has ended."""
        self._process.join()
        return self._process.exitcode

    def send_signal(self, signum: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, signum)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def terminate(self) -> None:
        """Ask it to end."""
        self._process.terminate()


class ForkProvisioner(LocalProvisioner):
    """Starts a kernel as a fork of the nursery."""

    async def launch_kernel(self, cmd: list[str], **kwargs) -> dict:
        """Start the kernel that `cmd` (python -m ipykernel_launcher OPTIONS) would start."""
        options = cmd[cmd.index("ipykernel_launcher") + 1:]
        process = multiprocessing.get_context("forkserver").Process(
            target=run_kernel, args=(options, str(kwargs.get("cwd") or Path.cwd()), dict(kwargs["env"])), daemon=True)
        # The first one waits until the nursery has loaded everything; the server goes on meanwhile.
        await asyncio.to_thread(process.start)
        self.process, self.pid, self.pgid = Forked(process), process.pid, None
        self.cwd = kwargs.get("cwd", Path.cwd())
        return self.connection_info


def run_kernel(options: list[str], folder: str, environment: dict[str, str]) -> None:
    """Be a kernel, in a process just forked, until it is told to end or the server is gone.

    options: of ipykernel.  folder: the working directory.  environment: all of the environment.
    """
    import numpy
    import torch
    from ipykernel.kernelapp import IPKernelApp

    from helpers.core.processes import die_with_parents

    os.setsid()  # a Ctrl-C meant for the server is not for the kernel, which the server ends itself
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # ask TMPDIR again
    multiprocessing.current_process()._config["daemon"] = False  # a kernel may have processes of its own,
    multiprocessing.set_start_method(None, force=True)           # started as in any other kernel
    # All were forked from one state: without new seeds, every visitor would draw the same numbers.
    numpy.random.seed()
    torch.seed()
    die_with_parents()
    IPKernelApp.launch_instance([*options, "--quiet", "--HistoryManager.enabled=False"])


def prepare_nursery() -> None:
    """Let kernels be forked, where the system can, and start loading what they share. To be called once in a server."""
    if not CAN_FORK:
        return
    factory = KernelProvisionerFactory.instance()
    factory.provisioners["captionlab-fork"] = EntryPoint("captionlab-fork", f"{__name__}:ForkProvisioner", factory.GROUP_NAME)
    factory.default_provisioner_name = "captionlab-fork"
    multiprocessing.get_context("forkserver").set_forkserver_preload([NURSERY])
    forkserver.ensure_running()
