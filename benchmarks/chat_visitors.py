"""What the chat's page takes for each visitor, with one set of models for all and with one for each, and what sharing costs an answer.

    python benchmarks/chat_visitors.py                  5 visitors: about two minutes
    python benchmarks/chat_visitors.py --visitors 8

memory  A server as `captionlab chat` starts it serves notebooks/06_chat.ipynb; so many visitors open it, one after the other, and each kernel has the pretrained
        student chosen. Told: the proportional set size (PSS: a page that n processes share counts 1/n in each) of all that the server
        started, once nothing computes any more, and the seconds until a visitor's page was made. First as with `--no-share`, then shared.
speed   The student answers the same question by its own process and by the models' process, by turns (greedy, on drawn scenes). Told: the
        median of the pairs' ratios of tokens a second, from asking to the last token, and the median time to the first token of both.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # also from a checkout that is not installed
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}
MIB = 2**20
QUIET_SECONDS = 3
# Nobody connects to the kernels, which are only made: they may be alone as long as they are measured.
SERVER = """
import sys
from pathlib import Path
from helpers.core.chat_server import Settings, serve
serve(Settings(Path("notebooks/06_chat.ipynb"), port=0, visitors=int(sys.argv[1]), alone_seconds=3600, share=sys.argv[2] == "shared"), lambda told: print(told, flush=True))
"""


def settle(processes: list[psutil.Process]) -> None:
    """Wait until the processes have computed next to nothing for a while."""
    def worked() -> float:
        return sum(sum(process.cpu_times()[:2]) for process in processes)

    before = worked()
    while True:
        time.sleep(QUIET_SECONDS)
        if worked() - before < 0.1 * QUIET_SECONDS:
            return
        before = worked()


def serve(visitors: int, models: str) -> tuple[list[float], list[float]]:
    """Let visitors come; returns MiB of all processes after each of them, and seconds until each page was made. models: "shared" or not."""
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(visitors), models], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT, cwd=ROOT)
    try:
        url = re.search(r"http\S+", server.stdout.readline())[0]
        memory, seconds = [], []
        for _ in range(visitors):
            started = time.perf_counter()
            urllib.request.urlopen(url).read()
            seconds.append(time.perf_counter() - started)
            below = psutil.Process(server.pid).children(recursive=True)
            settle(below)
            memory.append(sum(process.memory_full_info().pss for process in below) / MIB)
        return memory, seconds
    finally:
        server.terminate()
        server.wait()
        server.stdout.close()


def answers(repeats: int) -> list[tuple[float, float, float, float]]:
    """For each pair: tokens a second and seconds to the first token, of one's own model and of the shared one."""
    from helpers.core.chat_decoding import Decoding
    from helpers.core.chat_host import HostProcess
    from helpers.core.chat_models import Models, find_offers
    from helpers.core.chat_sharing import open_models
    from helpers.core.conversations import Turn
    from helpers.core.profiles import load_profile
    from helpers.core.scenes import plan_scene, render

    profile, results = load_profile(), ROOT / "results"
    turns, pairs = [Turn("user", "Please describe this picture in detail.")], []

    def ask(models: Models, number: int) -> tuple[float, float]:
        started, first = time.perf_counter(), None
        for progress in models.get("pretrained").stream(render(plan_scene(number)), turns, Decoding(), threading.Event()):
            first = first or (progress.tokens and time.perf_counter() - started)
        return progress.tokens / (time.perf_counter() - started), first

    with tempfile.TemporaryDirectory() as folder, HostProcess(folder) as host:
        own = Models(find_offers(profile, results))
        os.environ |= host.environment
        shared = open_models(find_offers(profile, results), profile, results)
        for models in (own, shared):
            models.choose(["pretrained"])
            ask(models, 0)
        for number in range(1, repeats + 1):
            pairs.append((*ask(own, number), *ask(shared, number)))
        own.close(), shared.close()
    return pairs


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visitors", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    print(f"{'models':22}" + "".join(f"{number:>9} MiB" for number in range(1, options.visitors + 1)) + "   page made after (median)")
    totals = {}
    for name, models in (("one for each visitor", "own"), ("one for all", "shared")):
        memory, seconds = serve(options.visitors, models)
        totals[name] = memory
        print(f"{name:22}" + "".join(f"{mib:>9.0f} MiB" for mib in memory) + f"   {statistics.median(seconds):.1f} s", flush=True)
    each, shared = totals.values()
    print(f"memory of {options.visitors} visitors: shared {shared[-1] / each[-1]:.2f} × one for each; "
          f"one visitor more: {(shared[-1] - shared[0]) / (options.visitors - 1):.0f} instead of {(each[-1] - each[0]) / (options.visitors - 1):.0f} MiB")
    pairs = answers(options.repeats)
    print(f"tokens a second: shared {statistics.median(shared / own for own, _, shared, _ in pairs):.2f} × own; "
          f"first token after {statistics.median(first for *_, first in pairs):.2f} s instead of {statistics.median(first for _, first, *_ in pairs):.2f} s")


if __name__ == "__main__":
    main()
