"""The offline stand-in for Qwen-VL: a real HTTP server on 127.0.0.1 that speaks DashScope's protocol.

    with StandIn(scenes="results/scenes") as teacher:
        …the dashscope SDK with base_address=teacher.base_url and any key "sk-…"…
        print(teacher.meter.to_dict())

It knows the kit's drawn scenes (from their truth file) and its photographs, and answers from what they contain; it is
no model. Its parts: `standin_eyes` recognises a picture, `standin_prompt` reads the prompt, `standin_mind` words the answer,
`standin_faults` makes trouble on request and meters, `standin_server` speaks HTTP. This module starts and stops it.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from pathlib import Path

from aiohttp import web

from helpers.core.endpoints import STAND_IN_KEY
from helpers.core.errors import ResourceError
from helpers.core.prices import Prices, load_prices
from helpers.core.standin_eyes import Eyes
from helpers.core.standin_faults import Faults, Meter
from helpers.core.standin_server import BASE, SOURCE, Service

__all__ = ["KEY", "SOURCE", "Faults", "StandIn", "serve"]

HOST = "127.0.0.1"
KEY = STAND_IN_KEY
START_SECONDS = 60


class StandIn:
    """The stand-in in a background thread; a context manager.

    scenes: a scenes.jsonl or the folder that holds one; None: it knows the photographs only.
    faults: what should go wrong.  port: 0 takes a free one.  seed: with it and the request, every answer is fixed.
    Raises InputError for a truth file or scene that cannot be read; ResourceError on entering when the port is in use.
    """

    def __init__(self, scenes: Path | str | None = None, faults: Faults = Faults(), port: int = 0, seed: int = 0,
                 prices: Prices | None = None):
        self._service = Service(Eyes(scenes), prices or load_prices(), faults, seed)
        self._port = port
        self._thread: threading.Thread | None = None
        self._socket: socket.socket | None = None

    @property
    def meter(self) -> Meter:
        """What a client would have been billed so far."""
        return self._service.meter

    def keep_journal(self) -> list[tuple[str, str, str]]:
        """From now on, what comes and goes: ("asked", "answered" or "failed", SHA-256 of the picture's bytes, prompt); grows as it happens."""
        self._service.journal = []
        return self._service.journal

    @property
    def port(self) -> int:
        """The port it listens on; 0 before it was started with a free one."""
        return self._port

    @property
    def base_url(self) -> str:
        """What to give the SDK as base address, "http://127.0.0.1:PORT/api/v1"."""
        return f"http://{HOST}:{self._port}{BASE}"

    @property
    def pictures(self) -> int:
        """How many pictures it knows."""
        return len(self._service.eyes.known)

    def start(self) -> StandIn:
        """Listens and answers from now on. Raises ResourceError when the port is in use."""
        self._socket = _listen(self._port)
        self._port = self._socket.getsockname()[1]
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="stand-in", daemon=True)
        self._thread.start()
        if not self._ready.wait(START_SECONDS):
            raise ResourceError(f"the stand-in did not start within {START_SECONDS} seconds: this machine is too busy, try again")
        return self

    def stop(self) -> None:
        """Ends the server; requests in flight are cut."""
        if self._thread is not None:
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join()
            self._thread = None

    def __enter__(self) -> StandIn:
        return self.start()

    def __exit__(self, *_) -> None:
        self.stop()

    async def _run(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        runner = web.AppRunner(self._service.app(), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.SockSite(runner, self._socket).start()
        self._ready.set()
        await self._end.wait()
        await runner.cleanup()


def serve(scenes: Path | str | None = None, port: int = 0, faults: Faults = Faults(), seed: int = 0, say=print) -> None:
    """Runs the stand-in in the foreground until Ctrl-C. `say` takes the lines that tell how to use it. Raises as `StandIn`."""
    with StandIn(scenes, faults, port, seed) as teacher:
        try:
            say(f"The {SOURCE} listens on {teacher.base_url} and knows {teacher.pictures} pictures. Ctrl-C ends it.")
            say(f"export DASHSCOPE_HTTP_BASE_URL={teacher.base_url} DASHSCOPE_API_KEY={KEY}")
            threading.Event().wait()
        except KeyboardInterrupt:
            say(f"Answered: {teacher.meter.to_dict()}")


def _listen(port: int) -> socket.socket:
    """A listening socket on loopback."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if hasattr(socket, "SO_REUSEADDR") and port:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(256)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        why = "is in use" if error.errno in (errno.EADDRINUSE, errno.EACCES) else f"cannot be opened ({error.strerror})"
        raise ResourceError(f"port {port} on {HOST} {why}: choose another with --port, or 0 for a free one") from error
    except OverflowError:
        listener.close()
        raise ResourceError(f"there is no port {port}: choose one from 1 to 65535, or 0 for a free one") from None
    return listener
