"""Processes that never outlive the one who started them, and ports that are free.

A training run is a small tree: the caller (a notebook, the course) → the shell script, which becomes torchrun → one rank per
device. Each rank has a session of its own, so a signal to the caller's group does not reach it, and a killed caller can warn
nobody. Therefore every rank keeps watch itself: when its parent, or the caller named in `OWNER_VARIABLE`, is gone, it ends.
"""

import os
import signal
import subprocess
import sys
import threading
import time

OWNER_VARIABLE = "CAPTIONLAB_OWNER"
WATCH_SECONDS = 0.5


def is_alive(pid: int) -> bool:
    """Whether a process `pid` runs; one that has ended and waits to be collected by its parent (a zombie) does not."""
    import psutil

    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def die_with_parents() -> None:
    """Start a watch that ends this process when its parent or its owner ends, however they end (also by SIGKILL)."""
    parent, owner = os.getppid(), int(os.environ.get(OWNER_VARIABLE) or 0)

    def watch() -> None:
        while os.getppid() == parent and (not owner or is_alive(owner)):
            time.sleep(WATCH_SECONDS)
        if os.getppid() == parent:
            os.kill(parent, signal.SIGTERM)  # torchrun, whose owner is gone
        if os.environ.get("RANK", "0") == "0":  # the others would say the same
            print("error: the process that started this run is gone, so it ends; the same command continues from its last checkpoint.",
                  file=sys.stderr, flush=True)
        os._exit(1)

    threading.Thread(target=watch, name="parents", daemon=True).start()


def descendants(pid: int) -> list:
    """The processes (psutil.Process) below `pid`; none when it has ended."""
    import psutil

    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def stop_tree(process: subprocess.Popen, grace_seconds: float = 5.0) -> None:
    """End `process` and every process below it: asked first, killed after `grace_seconds`; returns when none is left."""
    import psutil

    below = descendants(process.pid)
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            below += [child for child in descendants(process.pid) if child not in below]
            process.kill()
            process.wait()
    for child in below:
        try:
            child.kill()
        except psutil.NoSuchProcess:
            continue  # it ended by itself, as asked
    psutil.wait_procs(below, timeout=grace_seconds)


def port_is_free(address: str, port: int) -> bool:
    """Whether a server may listen on `port` of the local `address`."""
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True
