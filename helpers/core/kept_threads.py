"""Threads that are kept for the next piece of work.

    start(work, *ends)      `work` begins at once in a thread that has nothing to do, or in a new one; `ends` are set after it

OpenMP's team, the allocator's arena and some of PyTorch's caches belong to a thread. With a new one for every answer they are made anew each
time, which costs a small model a tenth of its speed and a process some tens of MiB (`benchmarks/chat.py` sees both).
"""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Callable

_idle: queue.LifoQueue = queue.LifoQueue()  # what each thread that has nothing to do takes its next work from; the latest first


def start(work: Callable[[], None], *ends: threading.Event) -> None:
    """Begin `work` in a daemon thread; set `ends` when it is over. Returns at once. What it raises is told as of any thread (`threading.excepthook`)."""
    try:
        inbox = _idle.get_nowait()
    except queue.Empty:
        inbox = queue.SimpleQueue()
        threading.Thread(target=_serve, args=(inbox,), name="kept", daemon=True).start()
    inbox.put((work, ends))


def _serve(inbox: queue.SimpleQueue) -> None:
    """One kept thread. It is free again before `ends` are set, so that whoever waited for them finds it, and no other is begun."""
    while True:
        work, ends = inbox.get()
        try:
            work()
        except BaseException:  # the thread lives on: others count on it
            threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))
        del work  # and with it what it held, which may be a model that is to be unloaded
        _idle.put(inbox)
        for end in ends:
            end.set()
        del ends
