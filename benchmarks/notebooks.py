"""How long each notebook takes by itself, and how much memory its kernel holds with all processes that it starts.

    python benchmarks/notebooks.py                 every notebook, one after the other, and JupyterLab itself
    python benchmarks/notebooks.py 01 05           these notebooks only

Memory in MiB at its highest, looked at twice a second:
    private   pages that no other process has (USS). What one more student adds on a machine where all share one environment.
    resident  all pages (RSS), those of shared libraries included, and counted once for each process: what a student alone needs at most.
Nothing is written into the notebooks. Times are those of a machine that did nothing else only if it did nothing else.
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
import psutil
from nbclient import NotebookClient

sys.path.insert(0, str(Path(__file__).parents[1]))  # also from a checkout that is not installed

from helpers.core.paths import NOTEBOOKS

LIMIT = 1800  # seconds for one cell


class Watch:
    """While it is entered: the most that this process's children, and theirs, hold. private, resident: bytes."""

    def __enter__(self) -> Watch:
        self.private = self.resident = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        self._started = time.monotonic()
        return self

    def __exit__(self, *_) -> None:
        self.seconds = time.monotonic() - self._started
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        me = psutil.Process()
        while not self._over.wait(0.5):
            private = resident = 0
            for process in me.children(recursive=True):
                try:
                    memory = process.memory_full_info()
                except psutil.Error:  # it ended between being listed and being asked
                    continue
                private, resident = private + memory.uss, resident + memory.rss
            self.private, self.resident = max(self.private, private), max(self.resident, resident)

    def row(self, name: str) -> str:
        """One line of the table."""
        return f"{name:<28}{self.seconds:8.0f}{self.private / 2**20:10.0f}{self.resident / 2**20:10.0f}"


def execute(notebook: nbformat.NotebookNode) -> Watch:
    """Run a notebook's cells in a kernel of its own, as they are run in JupyterLab."""
    with Watch() as watch:
        NotebookClient(notebook, timeout=LIMIT, kernel_name="python3", resources={"metadata": {"path": str(NOTEBOOKS)}}).execute()
    return watch


def open_lab() -> Watch:
    """Start JupyterLab without a browser, ask it for its page, and end it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with TemporaryDirectory() as folder, Watch() as watch:
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}", f"--notebook-dir={folder}", "--IdentityProvider.token="]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while True:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/lab", timeout=30).read()
                    break
                except OSError:
                    if server.poll() is not None:
                        raise SystemExit("JupyterLab did not start") from None
                    time.sleep(0.5)
            time.sleep(2)
        finally:
            server.terminate()
            server.wait()
    return watch


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("numbers", nargs="*", help="of the notebooks, as in 01 05; all where none is given")
    asked = parser.parse_args().numbers
    print(f"{'':<28}{'seconds':>8}{'private':>10}{'resident':>10}")
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        if not asked or path.name[:2] in asked:
            print(execute(nbformat.read(path, as_version=4)).row(path.stem), flush=True)
    if not asked:
        print(open_lab().row("JupyterLab itself"), flush=True)


if __name__ == "__main__":
    main()
