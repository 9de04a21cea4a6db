"""Writes the course's report: one HTML file that opens anywhere, and the gallery that notebooks show too.

    Report (plain values: scores, losses, pictures, words) --write_report--> results/report.html
    [Shown, …]                                             --gallery_html--> HTML for a notebook cell

The page needs nothing from outside: pictures and charts are inside it. Captions are HTML text, so Chinese is written
with the reader's own fonts. What it looks like is in `report.html.j2` beside this file.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from helpers.core.errors import ResourceError
from helpers.core.figures import colour_of, label_of, loss_curves, metric_chart, to_svg
from helpers.core.metric_names import read_as

TRUTH_METRICS = ("object_recall", "object_precision", "object_f1", "colour_accuracy", "count_accuracy")
HEADLINES = ("CIDEr", "object_f1", "colour_accuracy", "Bleu_4")  # what the tiles on top show, as far as it was measured


@dataclass
class Shown:
    """One picture of the gallery. words: {system: caption}. marks: {system: {"named", "missed", "hallucinated": words}}."""

    id: str
    image: Path | object
    reference: str
    words: Mapping[str, str]
    marks: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)

    @property
    def data_uri(self) -> str:
        """The picture as a JPEG of at most 448 pixels a side, inside a data URI."""
        from PIL import Image

        from helpers.core.images import open_image

        picture = self.image if isinstance(self.image, Image.Image) else open_image(self.image)
        picture = picture.convert("RGB")
        picture.thumbnail((448, 448))
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=85)
        return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


@dataclass
class Report:
    """All that the page shows.

    result: the metrics.json dictionary.  truth: {system: {metric of TRUTH_METRICS: 0 to 1}}, empty when nothing is known
    of the pictures.  losses: {run: [(step, loss)]}.  seconds: {station: seconds}.  peak_memory: bytes, 0 for unknown.
    facts: (name, value) pairs about the run.  notice: whose words the reference's are, where that must be said.
    """

    result: Mapping
    truth: Mapping[str, Mapping[str, float]]
    losses: Mapping[str, Sequence[tuple[float, float]]]
    shown: Sequence[Shown]
    seconds: Mapping[str, float]
    facts: Sequence[tuple[str, str]]
    notice: str = ""
    title: str = "A student learns to describe pictures"
    summary: str = ""
    peak_memory: int = 0


def write_report(report: Report, path: str | Path) -> Path:
    """Writes the page, whole or not at all; returns its path.

    Raises: InputError for a picture that cannot be opened, ResourceError when the file cannot be written.
    """
    path = Path(path)
    scores = _merged(report)
    metrics = _metrics(scores)
    chart = {"systems": scores}
    charts = {
        "loss": to_svg(loss_curves(report.losses)) if report.losses else "",
        "loss_narrow": to_svg(loss_curves(report.losses, size=(4.4, 3.4))) if report.losses else "",
        "metrics": to_svg(metric_chart(chart, metrics, columns=4)) if metrics else "",
        "metrics_narrow": to_svg(metric_chart(chart, metrics, columns=2)) if metrics else "",
    }
    page = _template().render(course=_view(report, scores), charts=charts)
    half = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        half.write_text(page, encoding="utf-8")
        os.replace(half, path)
    except OSError as error:
        raise ResourceError(f"{path} could not be written: {error.strerror}; free some space and try again.") from error
    return path


def gallery_html(shown: Sequence[Shown], language: str = "en") -> str:
    """The gallery alone, with its style, for `IPython.display.HTML`; captions in any language."""
    module = _template().module
    names = dict.fromkeys(name for picture in shown for name in picture.words)
    return f'<div class="captionlab">{module.style()}{module.gallery(shown, _systems(names), language)}</div>'


def write_number(metric: str, value: float | None) -> str:
    """A score as people read it: shares of the truth in percent, other metrics with three decimals, "–" for none."""
    if value is None:
        return "–"
    return f"{value:.1%}" if metric in TRUTH_METRICS else f"{value:.3f}"


def print_table(report: Report, console=None) -> None:
    """Prints the page's table, the seconds of each station and the peak memory to the terminal or notebook.

    console: a `rich.console.Console`; None makes one on standard output.
    """
    from rich.console import Console
    from rich.table import Table

    console = console or Console()
    scores = _merged(report)
    table = Table(title=f"{next(iter(scores.values()))['n']} evaluation pictures, language {report.result['language']}", title_justify="left")
    table.add_column("metric")
    for system in _systems(scores):
        table.add_column(system["label"], justify="right")
    for group in _groups(scores):
        table.add_section()
        for row in group["rows"]:
            table.add_row(row["label"], *(f"[bold]{cell['text']}[/bold]" if cell["best"] else cell["text"] for cell in row["cells"]))
    console.print(table)
    for metric, why in report.result.get("unavailable", {}).items():
        console.print(f"{metric} was not computed: {why}", style="dim", highlight=False)
    if report.seconds:
        console.print(_times(report.seconds))
    if report.peak_memory:
        console.print(f"peak memory of all processes: {report.peak_memory / 2**30:.2f} GiB", highlight=False)


def _times(seconds: Mapping[str, float]):
    """The seconds of each station, and together, as a rich table."""
    from rich.table import Table

    times = Table(title="seconds of work", title_justify="left", show_header=False)
    times.add_column("station")
    times.add_column("seconds", justify="right")
    for name, value in seconds.items():
        times.add_row(name, f"{value:.0f}")
    times.add_section()
    times.add_row("together", f"{sum(seconds.values()):.0f}")
    return times


def _template():
    """The page's template; text that goes in is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined)
    environment.globals.update(course=None, charts={})
    return environment.get_template("report.html.j2")


def _systems(names) -> list[dict]:
    """Name, label and colour of each system, in order."""
    return [{"name": name, "label": label_of(name), "colour": colour_of(name, place)} for place, name in enumerate(names)]


def _merged(report: Report) -> dict[str, dict]:
    """{system: all its scores}: the metrics', and where the pictures' truth is known all of its, None for what nothing was counted for."""
    return {name: {**scores, **({metric: report.truth.get(name, {}).get(metric) for metric in TRUTH_METRICS} if report.truth else {})}
            for name, scores in report.result["systems"].items()}


def _metrics(scores: Mapping[str, Mapping]) -> list[str]:
    """The metrics of all systems, as the first one lists them; counts and intervals are none."""
    return list(dict.fromkeys(name for system in scores.values() for name, value in system.items()
                              if name in TRUTH_METRICS or name != "n" and isinstance(value, (int, float))))


def _groups(scores: Mapping[str, Mapping]) -> list[dict]:
    """The table's parts: what is compared with the teacher's words, and what with the scenes themselves."""
    metrics = _metrics(scores)
    parts = (
        ("Compared with the reference's words", [metric for metric in metrics if metric not in TRUTH_METRICS]),
        ("Compared with what the scene really holds", [metric for metric in metrics if metric in TRUTH_METRICS]),
    )
    return [{"title": title, "rows": [_row(metric, scores) for metric in names]} for title, names in parts if names]


def _row(metric: str, scores: Mapping[str, Mapping]) -> dict:
    """One metric's line of the table: a cell a system, the best in bold unless all are alike."""
    values = [system.get(metric) for system in scores.values()]
    known = [value for value in values if value is not None]
    best = (min if read_as(metric).lower_is_better else max)(known) if known and max(known) > min(known) else None
    cells = []
    for value, system in zip(values, scores.values()):
        interval = system.get("intervals", {}).get(metric)
        cells.append({"text": write_number(metric, value), "best": best is not None and value == best,
                      "interval": " – ".join(write_number(metric, end) for end in interval) if interval else ""})
    return {"label": label_of(metric) + (" (less is better)" if read_as(metric).lower_is_better else ""), "cells": cells}


def _tiles(scores: Mapping[str, Mapping]) -> list[dict]:
    """The headline numbers as bars: as many of HEADLINES as were measured, three at most."""
    tiles = []
    for metric in [metric for metric in HEADLINES if metric in _metrics(scores)][:3]:
        values = {name: system.get(metric) for name, system in scores.items()}
        full = 1.0 if read_as(metric).top == 1 else max((value or 0 for value in values.values()), default=0) or 1.0
        bars = [{"label": system["label"], "colour": system["colour"], "text": write_number(metric, values[system["name"]]),
                 "percent": round(100 * (values[system["name"]] or 0) / full, 1)} for system in _systems(values)]
        tiles.append({"title": label_of(metric)[0].upper() + label_of(metric)[1:], "bars": bars})
    return tiles


def _view(report: Report, scores: Mapping[str, Mapping]) -> dict:
    """The values that the template puts into the page."""
    longest = max(report.seconds.values(), default=0) or 1
    notes = [f"{label_of(name)}: {text}" if name != "intervals" else f"Intervals: {text}" for name, text in report.result.get("notes", {}).items()]
    return {
        "title": report.title, "summary": report.summary, "notice": report.notice, "language": report.result["language"],
        "n": next(iter(scores.values()))["n"], "systems": _systems(scores), "groups": _groups(scores), "tiles": _tiles(scores),
        "mixed": any(read_as(metric).lower_is_better for metric in _metrics(scores)), "unavailable": report.result.get("unavailable", {}), "notes": notes, "shown": report.shown, "graded": bool(report.truth),
        "terms": {"BLEU-1 to 4" if metric == "Bleu_1" else label_of(metric): read_as(metric).about for metric in _metrics(scores) if read_as(metric).about},
        "stations": [{"label": name, "text": f"{seconds:.0f} s", "percent": round(100 * seconds / longest, 1)}
                     for name, seconds in report.seconds.items()],
        "peak_memory": f"{report.peak_memory / 2**30:.1f} GiB" if report.peak_memory else "", "facts": report.facts,
    }
