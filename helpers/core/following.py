"""Follows a training run while its processes work: a progress bar, and in a notebook a loss curve that grows.

    OUTPUT_DIR/progress.jsonl (helpers/core/runs.py)  --read every POLL_SECONDS-->  bar;  every DRAW_SECONDS  -->  curve

The curve is one output of the cell, replaced in place (IPython's display id), so that nothing flickers and a stored notebook
holds the last one alone. In a terminal there is only the bar.
"""

from __future__ import annotations

import io
import subprocess
import time
from base64 import b64encode
from pathlib import Path

from helpers.core import runs
from helpers.core.figures import label_of

POLL_SECONDS, DRAW_SECONDS = 0.2, 2.0
DPI, PAGE_DPI = 150, 100  # more pixels than the figure has on the page: sharp on every screen


def in_notebook() -> bool:
    """Whether a Jupyter kernel runs this code, so that a page shows what `display` gives it."""
    import sys

    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return getattr(shell, "kernel", None) is not None


def picture_bundle(figure, text: str) -> tuple[dict, dict]:
    """A matplotlib figure as a notebook stores it: ({"image/png", "text/plain"}, metadata with its size on the page)."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DPI)
    width, height = (round(inches * PAGE_DPI) for inches in figure.get_size_inches())
    return {"image/png": b64encode(stream.getvalue()).decode(), "text/plain": text}, {"image/png": {"width": width, "height": height}}


class Curve:
    """The growing curve of one run in a notebook's cell."""

    def __init__(self, title: str):
        self.title, self.shown, self.drawn_at, self.drawn = title, None, 0.0, 0

    def draw(self, lines: list[dict], now: bool = False) -> None:
        """Show `lines` of progress.jsonl; unless `now`, not more often than every DRAW_SECONDS, and never the same twice."""
        from IPython.display import display

        from helpers.core.training_figures import live_figure, progress_text

        if len(lines) == self.drawn or not (now or time.monotonic() - self.drawn_at > DRAW_SECONDS):
            return
        bundle, size = picture_bundle(live_figure(lines, self.title), progress_text(lines, self.title))
        if self.shown is None:
            self.shown = display(bundle, raw=True, metadata=size, display_id=True)
        else:
            self.shown.update(bundle, raw=True, metadata=size)
        self.drawn_at, self.drawn = time.monotonic(), len(lines)


class Progress:
    """The lines of a run's progress.jsonl so far, those of a run that it replaces left out."""

    def __init__(self, output_dir: Path):
        self.output_dir, self.begun = output_dir, False
        self.lines, self.place = runs.read_progress(output_dir)

    def news(self) -> list[dict]:
        """The lines that have come since the last call."""
        path = self.output_dir / runs.PROGRESS
        if self.place > (path.stat().st_size if path.exists() else 0):
            self.lines, self.place = [], 0  # a run with other settings has cleared the folder
        lines, self.place = runs.read_progress(self.output_dir, self.place)
        self.lines += lines
        self.begun = self.begun or bool(lines)
        return lines


def follow(process: subprocess.Popen, output_dir: Path, title: str) -> int:
    """Show the run's progress until `process` has ended; returns its exit code."""
    from tqdm.auto import tqdm

    name = label_of(title)
    progress, curve = Progress(output_dir), Curve(title) if in_notebook() else None
    with tqdm(desc=f"{name}: starting", unit="step") as bar:
        try:
            while True:
                code = process.poll()
                for line in progress.news():
                    if "of" in line:
                        bar.reset(total=line["of"])
                        bar.set_description(name)
                    elif "loss" in line:
                        bar.set_postfix(loss=f"{line['loss']:.3f}", refresh=False)
                    bar.update(max(0, line["step"] - bar.n))
                if code is not None:
                    return code
                if curve and progress.begun:
                    curve.draw(progress.lines)
                time.sleep(POLL_SECONDS)
        finally:
            if curve and progress.begun:
                curve.draw(progress.lines, now=True)
