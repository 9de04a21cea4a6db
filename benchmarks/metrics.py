"""Times the room's scoring against pycocoevalcap's evaluation, run once per system in the same run, and measures memory.

    python benchmarks/metrics.py [--sizes 368,2000] [--systems 4] [--growth 368] [--captions 100000]

COCO's captions (SPICE's jar carries them)  ->  one annotator the reference, the others the systems  ->  seconds and ratios

1. For each size: our call with a cold start of Java, our second call in a session (another call went through the same
   METEOR before), and the peer, all on the same captions; the scores of both sides must agree to 1e-6.
2. Growth of a second call with systems and with captions.
3. Peak memory of `captionlab metrics` on many captions, the whole tree of processes, Java among them.

The peer is the loop of pycocoevalcap's COCOEvalCap: the tokenizer twice a system, then BLEU, METEOR, ROUGE-L and CIDEr by new
scorers; without SPICE, which would download its parser. Ours adds intervals, and tests of every pair of systems.
Size 0 of any part leaves that part out.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from contextlib import contextmanager
from pathlib import Path

import psutil

from helpers.core import java
from helpers.core.conversations import Sample
from helpers.metrics import METRICS, MeteorPool, score_systems

LIMIT = 4.0  # GiB


def coco(n: int) -> list[list[str]]:
    """n pictures of COCO's val2014 and train2014 with five annotators' captions each, as SPICE's jar carries them."""
    captions: dict[int, list[str]] = {}
    with zipfile.ZipFile(java.jar("spice", "spice-1.0.jar")) as jar:
        for part in ("val2014", "train2014"):
            if len(captions) < n:
                annotations = json.load(io.TextIOWrapper(jar.open(f"coco/annotations/captions_{part}.json"), "utf-8"))["annotations"]
                for annotation in annotations:
                    captions.setdefault(annotation["image_id"], []).append(annotation["caption"])
    found = [texts[:5] for texts in captions.values() if len(texts) >= 5][:n]
    if len(found) < n:
        raise SystemExit(f"COCO has {len(found)} pictures with five captions here; ask for no more.")
    return found


def columns(pictures: list[list[str]], systems: int) -> tuple[list[str], dict[str, list[str]]]:
    """References, and systems: the other annotators; from the fifth system on, of another picture."""
    n = len(pictures)
    return ([texts[0] for texts in pictures],
            {f"s{k}": [pictures[(place + k // 4) % n][1 + k % 4] for place in range(n)] for k in range(systems)})


def samples(texts: list[str]) -> list[Sample]:
    """One sample a text."""
    return [Sample(str(place), f"{place}.jpg", None, "", text) for place, text in enumerate(texts)]


def ours(gold: list[str], systems: dict[str, list[str]], pool: MeteorPool) -> dict:
    """Our call: the answer is metrics.json's."""
    return score_systems(samples(gold), {name: samples(column) for name, column in systems.items()}, "en", pool=pool, progress=False)


def peer(gold: list[str], systems: dict[str, list[str]]) -> dict[str, dict[str, float]]:
    """pycocoevalcap's evaluation of each system by itself: {system: {metric: score}}."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.meteor.meteor import Meteor
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    found = {}
    for name, column in systems.items():
        tokenizer = PTBTokenizer()
        truth, said = (tokenizer.tokenize({i: [{"caption": text}] for i, text in enumerate(texts)}) for texts in (gold, column))
        scores = list(Bleu(4).compute_score(truth, said, verbose=0)[0])
        scores += [scorer.compute_score(truth, said)[0] for scorer in (Meteor(), Rouge(), Cider())]
        found[name] = dict(zip(METRICS, map(float, scores)))
    return found


def timed(work) -> tuple[float, object]:
    """Seconds that `work()` takes, and what it returns."""
    start = time.perf_counter()
    value = work()
    return time.perf_counter() - start, value


@contextmanager
def quiet():
    """Within the block nothing reaches the error stream: the peer's Java reports its speed there, once a start."""
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def compare(n: int, systems: int) -> None:
    """Cold, second call and peer on the same captions; the session's first call was on others."""
    pictures = coco(2 * n)
    before, here = columns(pictures[n:], systems), columns(pictures[:n], systems)
    with MeteorPool() as pool:
        cold, result = timed(lambda: ours(*here, pool))
    with MeteorPool() as pool:
        ours(*before, pool)
        warm, _ = timed(lambda: ours(*here, pool))
    with quiet():
        theirs, scores = timed(lambda: peer(*here))
    gap = max(abs(result["systems"][name][metric] - score) for name, column in scores.items() for metric, score in column.items())
    if gap > 1e-6:
        raise SystemExit(f"The two sides differ by {gap}; their times cannot be compared.")
    print(f"{systems} systems x {n} captions: peer {theirs:.1f} s; cold {cold:.1f} s, {theirs / cold:.1f} times as fast; "
          f"second call {warm:.1f} s, {theirs / warm:.1f} times; scores agree to {gap:.0e}", flush=True)


def growth(n: int) -> None:
    """Seconds of second calls for more systems and for more captions, and how many times those of the smallest."""
    pictures = coco(8 * n)
    with MeteorPool() as pool:
        ours(*columns(pictures[:n], 4), pool)
        for title, steps in (("systems", [(k, n) for k in (1, 2, 4, 8)]), ("captions", [(4, k * n) for k in (1, 2, 4, 8)])):
            first = None
            for systems, number in steps:
                seconds, _ = timed(lambda: ours(*columns(pictures[:number], systems), pool))
                first = first or seconds
                print(f"growth with {title}: {systems} systems x {number} captions: {seconds:.1f} s, {seconds / first:.1f} times the first", flush=True)


def write(path: Path, texts: list[str]) -> None:
    """A conversation file of one caption a sample."""
    turns = [[{"role": "user", "content": "<image>\nWhat is here?"}, {"role": "assistant", "content": text}] for text in texts]
    path.write_text(json.dumps([{"id": str(i), "image": f"{i}.jpg", "conversations": turn} for i, turn in enumerate(turns)]), encoding="utf-8")


def tree_memory(process: psutil.Process) -> int:
    """Bytes of memory that a process and all below it hold."""
    total = 0
    for one in (process, *process.children(recursive=True)):
        try:
            total += one.memory_info().rss
        except psutil.NoSuchProcess:  # it ended between the listing and the question
            continue
    return total


def memory(n: int) -> None:
    """Peak memory and seconds of the command, from the files to metrics.json, n captions of one system."""
    with tempfile.TemporaryDirectory() as folder:
        gold, systems = columns(coco(n), 1)
        references, predictions, output = (Path(folder, name) for name in ("eval.json", "one.json", "metrics.json"))
        write(references, gold)
        write(predictions, systems["s0"])
        command = [sys.executable, "-m", "helpers.cli", "metrics", "--references", references, "--predictions", predictions,
                   "--language", "en", "--output", output]
        peak = 0
        start = time.perf_counter()
        with subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            watched = psutil.Process(process.pid)
            while process.poll() is None:
                peak = max(peak, tree_memory(watched))
                time.sleep(0.2)
        seconds = time.perf_counter() - start
        if process.returncode:
            raise SystemExit(f"The command ended with {process.returncode} on {n} captions.")
        scores = json.loads(output.read_text(encoding="utf-8"))["systems"]["one"]
        lacking = [metric for metric in METRICS if metric not in scores]
        print(f"{n} captions through the command: {seconds:.0f} s, peak {peak / 2**30:.2f} GiB of the whole tree (bar: {LIMIT:g}); "
              f"scored {scores['n']}, {'METEOR and all others there' if not lacking else 'lacking ' + ', '.join(lacking)}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="368,2000", help="captions a system, with commas; 0: none")
    parser.add_argument("--systems", type=int, default=4)
    parser.add_argument("--growth", type=int, default=368, help="captions a system of the smallest step")
    parser.add_argument("--captions", type=int, default=100_000, help="captions of the run whose memory is measured")
    options = parser.parse_args()
    os.environ["PATH"] = str(java.find_java().parent) + os.pathsep + os.environ["PATH"]  # the peer calls `java` by name
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", flush=True)
    for size in filter(None, map(int, options.sizes.split(","))):
        compare(size, options.systems)
    if options.growth:
        growth(options.growth)
    if options.captions:
        memory(options.captions)
