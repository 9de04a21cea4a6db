"""How fast, how small and how quick to resume a labelling run is, each against a peer in the same run.

    python benchmarks/labelling.py                       everything: about 20 minutes
    python benchmarks/labelling.py --only pace           two minutes: share of the limit, 429s, ratio to a serial loop
    python benchmarks/labelling.py --only memory --pictures 20000

pace    The stand-in, in a process of its own, takes a second for each answer and allows 1200 requests a minute, a sixtieth of
        that in any second. Measured: answers in the steady part of the run (after the ramp-up, before the last answers) as a
        share of the limit; 429s after the first seconds; a serial loop over the same client for the ratio.
memory  An endpoint of twenty lines answers at once. Measured: the largest proportional set size (PSS: shared pages divided
        among those who share them) of a process that labels 1000, and of one that labels 100 000 pictures; then the wall time
        of a whole process that finds the finished run and ends. Linux only, as PSS is.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # also from a checkout that is not installed

LATENCY, RPM = 1.0, 1200
WARM_UP, COOL_DOWN = 15, 5   # seconds of the paced run that are not its steady part
KEY = "sk-benchmark"
LABEL = """
import sys
from helpers.dataset import label_images
print(label_images(sys.argv[1], sys.argv[2], endpoint=sys.argv[3], rpm=10**6, tpm=10**10, concurrency=32, progress=None))
"""


def serve_stand_in(scenes: str) -> None:
    """The stand-in with latency and limit, until this process is ended."""
    from helpers.core.standin import Faults, StandIn

    with StandIn(scenes, Faults(latency=LATENCY, rpm=RPM)) as teacher:
        print(teacher.base_url, flush=True)
        sys.stdin.read()


def serve_at_once() -> None:
    """An endpoint that answers every question at once, with the same words."""
    from aiohttp import web

    choice = {"finish_reason": "stop", "message": {"role": "assistant", "content": [{"text": "A small square of one colour. " * 4}]}}
    body = json.dumps({"output": {"choices": [choice]}, "usage": {"input_tokens": 90, "output_tokens": 30, "image_tokens": 66}, "request_id": "r"})

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(text=body, content_type="application/json")

    app = web.Application(client_max_size=2**24)
    app.router.add_post("/api/v1/services/aigc/multimodal-generation/generation", answer)
    listener = socket.create_server(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{listener.getsockname()[1]}/api/v1", flush=True)
    web.run_app(app, sock=listener, access_log=None, print=None)


@contextmanager
def endpoint(*words: str):
    """One of the two endpoints in a process of its own; gives its base URL."""
    process = subprocess.Popen([sys.executable, __file__, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def measure_pace(folder: Path, requests: int) -> list[tuple[str, str]]:
    """Rows of the table: share of the limit, 429s, ratio to a serial loop."""
    import requests as http

    from helpers.core.prompts import load_prompts, question
    from helpers.core.qwen_vl import QwenVL
    from helpers.core.scenes import draw_scenes
    from helpers.dataset import label_images

    dimensions = list(load_prompts())[:4]
    draw_scenes(folder / "scenes", requests // len(dimensions), 1, progress=None)
    with endpoint("--serve", str(folder / "scenes")) as url:
        client, pictures = QwenVL("qwen3-vl-plus", url, KEY), sorted((folder / "scenes" / "Train").glob("*.jpg"))
        started = time.monotonic()
        for picture in pictures[:15]:
            client.ask(picture, question("main", "en"), seed=1)
        serial = 15 / (time.monotonic() - started)
        time.sleep(2)

        timeline: list[tuple[float, int, int]] = []
        over = threading.Event()

        def watch() -> None:
            while not over.wait(0.25):
                meter = http.get(url.removesuffix("/api/v1") + "/meter", timeout=10).json()["requests"]
                timeline.append((time.monotonic(), meter.get("200", 0), meter.get("429", 0)))

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        report = label_images(folder / "scenes", folder / "pace.sqlite", dimensions, endpoint=url, concurrency=64, progress=None)
        over.set()
        watcher.join()
    first = next(moment for moment, answered, _ in timeline if answered > 15)
    last = next(moment for moment, answered, _ in timeline if answered >= timeline[-1][1] - 1)
    steady = [row for row in timeline if first + WARM_UP <= row[0] <= last - COOL_DOWN]
    rate = (steady[-1][1] - steady[0][1]) / (steady[-1][0] - steady[0][0])
    return [
        ("requests, labels, wall time", f"{report.requests}, {report.labelled}, {report.seconds:.0f} s"),
        ("steady part", f"{steady[-1][0] - steady[0][0]:.0f} s, {rate * 60:.0f} answers a minute: {rate * 60 / RPM:.1%} of the limit of {RPM}"),
        ("429s", f"{timeline[-1][2]} in all, {timeline[-1][2] - steady[0][2]} after the first {WARM_UP} s"),
        ("a serial loop", f"{serial * 60:.0f} answers a minute: {rate / serial:.1f} times slower"),
    ]


def make_pictures(folder: Path, number: int) -> None:
    """Tiny JPEG files with distinct bytes: one picture, each time with its number behind the end of the image."""
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").resize((48, 48)).save(buffer, "JPEG")
    for start in range(0, number, 1000):
        part = folder / f"{start // 1000:03d}"
        part.mkdir(parents=True)
        for place in range(start, min(start + 1000, number)):
            (part / f"{place:06d}.jpg").write_bytes(buffer.getvalue() + struct.pack(">I", place))


def watched(pictures: Path, store: Path, url: str) -> tuple[float, float, str]:
    """Runs the labelling in a process of its own: (its largest PSS in MB, wall seconds, what it printed last)."""
    import psutil

    started, most = time.monotonic(), 0
    process = subprocess.Popen([sys.executable, "-c", LABEL, str(pictures), str(store), url], stdout=subprocess.PIPE, text=True,
                               cwd=Path(__file__).parents[1], env={**os.environ, "DASHSCOPE_API_KEY": KEY})
    seen = psutil.Process(process.pid)
    while process.poll() is None:
        try:
            most = max(most, seen.memory_full_info().pss)
        except psutil.Error:
            break  # it has just ended
        time.sleep(0.2)
    said = process.communicate()[0].strip().splitlines()
    if process.returncode:
        raise SystemExit(f"labelling ended with {process.returncode}")
    return most / 1e6, time.monotonic() - started, said[-1]


def measure_memory(folder: Path, numbers: list[int]) -> list[tuple[str, str]]:
    """Rows of the table: PSS and times for each number of pictures."""
    rows, sizes = [], []
    with endpoint("--serve-at-once") as url:
        for number in numbers:
            make_pictures(folder / str(number), number)
            store = folder / f"{number}.sqlite"
            size, wall, said = watched(folder / str(number), store, url)
            _, again, resumed = watched(folder / str(number), store, url)
            if f"{number} labels" not in said or f"{number} were there already" not in resumed:
                raise SystemExit(f"not every picture was labelled once: {said} / {resumed}")
            sizes.append(size)
            rows.append((f"{number} pictures", f"{size:.0f} MB PSS at most, {number / wall:.0f} labels a second; "
                                               f"resuming the finished run: {again:.1f} s, the whole process"))
    return [*rows, ("memory, largest to smallest", f"{sizes[-1] / sizes[0]:.2f} times for {numbers[-1] / numbers[0]:.0f} times the pictures")]


def main() -> None:
    """Runs what is asked for and prints one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=["pace", "memory"])
    parser.add_argument("--requests", type=int, default=1800, help="of the paced run")
    parser.add_argument("--pictures", type=int, default=100_000, help="of the larger memory run")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--serve-at-once", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        return serve_stand_in(options.serve)
    if options.serve_at_once:
        return serve_at_once()
    load = os.getloadavg()[0]
    rows: list[tuple[str, str]] = []
    with tempfile.TemporaryDirectory(prefix="labelling-") as folder:
        if options.only != "memory":
            rows += measure_pace(Path(folder), options.requests)
        if options.only != "pace":
            rows += measure_memory(Path(folder), [1000, options.pictures])
    rows.append(("machine", f"{os.cpu_count()} cores, load {load:.1f} before and {os.getloadavg()[0]:.1f} after"))
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:{width}}  {value}")


if __name__ == "__main__":
    main()
