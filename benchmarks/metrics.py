"""Times the room's scoring against pycocoevalcap's evaluation, run once per system in the same run, and measures memory.

    python benchmarks/metrics.py [--sizes 368,2000] [--systems 4] [--captions 100000]

Prints one line a comparison: seconds of both and their ratio; then the growth with systems and captions, and the peak
memory of this process and its Java programs for many captions. Both sides compute BLEU, METEOR, ROUGE-L and CIDEr with the
PTB tokenizer; ours adds intervals, and tests of every pair of systems. Nothing is cached between the two sides.
"""

from __future__ import annotations

import argparse
import os
import random
import threading
import time

import psutil

from helpers.core import java
from helpers.core.conversations import Sample
from helpers.metrics import MeteorPool, score_systems

WORDS = ("a the red blue white small large dog cat horse man woman house boat tree kite two three on in near beach street park "
         "is are stands runs sits flies with and under sky at night during day").split()


def captions(n: int, seed: int) -> list[str]:
    """n sentences of 8 to 20 words."""
    generator = random.Random(seed)
    return [" ".join(generator.choices(WORDS, k=generator.randint(8, 20))) + "." for _ in range(n)]


def samples(texts: list[str]) -> list[Sample]:
    """One sample a text."""
    return [Sample(str(place), f"{place}.jpg", None, "", text) for place, text in enumerate(texts)]


def peer(gold: list[str], systems: dict[str, list[str]]) -> dict[str, float]:
    """pycocoevalcap's evaluation of each system by itself; returns BLEU-4 of each, to show that the same was computed."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.meteor.meteor import Meteor
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    found = {}
    for name, column in systems.items():
        truth, said = (PTBTokenizer().tokenize({i: [{"caption": text}] for i, text in enumerate(texts)}) for texts in (gold, column))
        found[name] = Bleu(4).compute_score(truth, said, verbose=0)[0][3]
        for scorer in (Meteor(), Rouge(), Cider()):
            scorer.compute_score(truth, said)
    return found


def timed(work) -> tuple[float, object]:
    """Seconds that `work()` takes, and what it returns."""
    start = time.perf_counter()
    value = work()
    return time.perf_counter() - start, value


def compare(n: int, systems: int) -> None:
    """Cold, warm and the peer, on the same captions; warm scores new captions with the METEOR that is already running."""
    gold = captions(n, 0)
    first, second = ({f"s{k}": captions(n, 100 * part + k) for k in range(systems)} for part in (1, 2))
    with MeteorPool() as pool:
        def ours(columns):
            return score_systems(samples(gold), {name: samples(column) for name, column in columns.items()}, "en", pool=pool, progress=False)

        cold, _ = timed(lambda: ours(first))
        warm, result = timed(lambda: ours(second))
    theirs, bleu = timed(lambda: peer(gold, second))
    for name, score in bleu.items():
        assert abs(result["systems"][name]["Bleu_4"] - score) < 1e-6, "the two sides computed something else"
    print(f"{systems} systems x {n} captions: peer {theirs:.1f} s, ours cold {cold:.1f} s ({theirs / cold:.1f}x), warm {warm:.1f} s ({theirs / warm:.1f}x)", flush=True)


def growth(n: int) -> None:
    """Seconds of warm calls for more systems and for more captions."""
    with MeteorPool() as pool:
        for systems, number in ((1, n), (2, n), (4, n), (8, n), (4, n // 2), (4, 2 * n), (4, 4 * n)):
            columns = {f"s{k}": samples(captions(number, k + 1)) for k in range(systems)}
            pool.get("en").statistics(["a"], [["a"]])
            seconds, _ = timed(lambda: score_systems(samples(captions(number, 0)), columns, "en", pool=pool, progress=False))
            print(f"warm, {systems} systems x {number} captions: {seconds:.1f} s", flush=True)


def memory(n: int) -> None:
    """Peak memory of this process and its children while n captions of one system are scored."""
    peak, done, this = 0, threading.Event(), psutil.Process()

    def watch():
        nonlocal peak
        while not done.wait(0.2):
            total = 0
            for process in (this, *this.children(recursive=True)):
                try:
                    total += process.memory_info().rss
                except psutil.NoSuchProcess:  # it ended between the listing and the question
                    continue
            peak = max(peak, total)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        seconds, _ = timed(lambda: score_systems(samples(captions(n, 0)), {"one": samples(captions(n, 1))}, "en", progress=False))
    finally:
        done.set()
        watcher.join()
    print(f"{n} captions: {seconds:.0f} s, peak {peak / 2**30:.2f} GiB with Java", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="368,2000")
    parser.add_argument("--systems", type=int, default=4)
    parser.add_argument("--captions", type=int, default=100_000)
    parser.add_argument("--skip-growth", action="store_true")
    options = parser.parse_args()
    os.environ["PATH"] = str(java.find_java().parent) + os.pathsep + os.environ["PATH"]  # the peer calls `java` by name
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for size in options.sizes.split(","):
        compare(int(size), options.systems)
    if not options.skip_growth:
        growth(368)
    if options.captions:
        memory(options.captions)
