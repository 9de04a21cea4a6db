"""One style for every figure, and the four figures the course draws of its results.

    loss_curves({name: losses})      training loss over steps, one line a run
    metric_chart(result)             one panel a metric, one bar a system, with 95 % intervals
    tradeoff_chart(points)           one dot a prompt, good against bad, with intervals
    gallery(images, captions)        pictures in a grid, captions under them

Each returns a matplotlib `Figure` that no window or global state knows of: a notebook shows it when it is a cell's
value, `to_svg` turns it into a drawing for a web page. Colours are Okabe and Ito's (2008), which people with every
kind of colour vision tell apart; systems keep their colour in every figure. Chinese is drawn with a font of this machine
that has it (see `fonts.py`); where there is none, the figure says so, and how to get one.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import wrap

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, MaxNLocator

from helpers.core.errors import InputError
from helpers.core.fonts import NO_FONT, chinese_family, drawable, families, is_chinese
from helpers.core.metric_names import read_as

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#8A8A8A")
SYSTEM_COLOURS = {"baseline": "#009E73", "pretrained": "#8A8A8A", "lora": "#E69F00", "full": "#0072B2"}
INK, FAINT = "#1f2328", "#c9ced6"
SYSTEM_LABELS = {"baseline": "CNN-RNN", "pretrained": "pretrained", "lora": "LoRA", "full": "full"}

STYLE = {
    "font.family": "DejaVu Sans", "font.size": 10, "axes.titlesize": 11, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.labelcolor": INK, "axes.edgecolor": FAINT, "axes.titlecolor": INK, "text.color": INK, "xtick.color": INK, "ytick.color": INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.grid.axis": "y", "axes.axisbelow": True,
    "grid.color": FAINT, "grid.linewidth": 0.7, "lines.linewidth": 2.0, "legend.frameon": False,
    "figure.facecolor": "white", "axes.facecolor": "none", "svg.hashsalt": "captionlab",
}


def colour_of(name: str, position: int) -> str:
    """The colour of a system: its own where the course names it, else the palette's at `position`."""
    return SYSTEM_COLOURS.get(name, PALETTE[position % len(PALETTE)])


def label_of(name: str) -> str:
    """How a metric or a system is written for people: "Bleu_4" -> "BLEU-4", "lora" -> "LoRA"."""
    return SYSTEM_LABELS.get(name) or read_as(name).label


def loss_curves(runs: Mapping[str, Sequence[tuple[float, float]]], title: str = "Training loss",
                size: tuple[float, float] = (7.2, 3.6)) -> Figure:
    """One line a run of its (step, loss) points, on a logarithmic axis where the losses span more than tenfold.

    The faint line is every logged loss, the strong one their running mean over a twentieth of the run. size: inches.
    Raises: InputError for a run without points.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot()
        lowest, highest = float("inf"), 0.0
        for position, (name, points) in enumerate(runs.items()):
            if not points:
                raise InputError(f"Run {name} logged no loss; there is no curve to draw.")
            steps, losses = zip(*points)
            window = max(1, len(losses) // 20)
            smooth = [sum(losses[max(0, i + 1 - window):i + 1]) / min(i + 1, window) for i in range(len(losses))]
            colour = colour_of(name, position)
            if window > 1:
                axes.plot(steps, losses, color=colour, alpha=0.28, linewidth=1)
            axes.plot(steps, smooth, color=colour, label=f"{label_of(name)} (last {smooth[-1]:.3g})")
            lowest, highest = min(lowest, *losses), max(highest, *losses)
        if runs and lowest > 0 and highest > 10 * lowest:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
        axes.set(title=title, xlabel="optimizer step", ylabel="cross-entropy per token")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if runs:
            axes.legend()
        return figure


def metric_chart(result: Mapping, metrics: Sequence[str] | None = None, columns: int = 4) -> Figure:
    """One small panel a metric, each with its own scale, one bar a system, whiskers where an interval is known.

    result: metrics.json's dictionary, or any {"systems": {name: {metric: score, "intervals": {metric: [low, high]}}}}.
    metrics: those to draw, in order; None draws every number that the systems share. A metric that no system has is left out.
    Raises: InputError when nothing is left to draw.
    """
    systems = result["systems"]
    if metrics is None:
        metrics = [name for scores in systems.values() for name, value in scores.items() if isinstance(value, float)]
    metrics = [name for name in dict.fromkeys(metrics) if any(isinstance(scores.get(name), (int, float)) for scores in systems.values())]
    if not metrics:
        raise InputError("No system has a score; there is no metric chart to draw.")
    columns = min(columns, len(metrics))
    rows = -(-len(metrics) // columns)
    with rc_context(STYLE):
        figure = Figure(figsize=(2.1 * columns, 2.3 * rows), layout="constrained")
        figure.get_layout_engine().set(h_pad=0.12)
        for place, metric in enumerate(metrics):
            _bars(figure.add_subplot(rows, columns, place + 1), systems, metric)
        return figure


def _bars(axes, systems: Mapping, metric: str) -> None:
    """One panel: a bar a system with its number on top."""
    top = 0.0
    for position, (name, scores) in enumerate(systems.items()):
        score = scores.get(metric)
        if score is None:
            continue
        low, high = scores.get("intervals", {}).get(metric, (score, score))
        # A percentile interval need not hold the score itself; a whisker shorter than nothing cannot be drawn.
        whisker = [[max(score - low, 0)], [max(high - score, 0)]] if high > low else None
        axes.bar(position, score, width=0.72, color=colour_of(name, position), yerr=whisker, ecolor=INK, capsize=3,
                 error_kw={"elinewidth": 1.2})
        axes.annotate(f"{score:.2f}", (position, max(score, high)), (0, 3), textcoords="offset points", ha="center", fontsize=8.5)
        top = max(top, score, high)
    axes.set_title(label_of(metric))
    axes.set_ylim(0, top * 1.2 or 1)
    axes.set_xticks(range(len(systems)), [label_of(name) for name in systems], fontsize=8)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.tick_params(axis="x", length=0)


Interval = tuple[float, float, float]  # value, lower end, upper end
MARKERS = "osD^vPXphd<>"


def tradeoff_chart(points: Mapping[str, tuple[Interval, Interval]], xlabel: str, ylabel: str, title: str = "") -> Figure:
    """One dot a name at (x, y), error bars for both intervals, names in the margin in the order of height.

    points: {name: ((x, low, high), (y, low, high))}, shares from 0 to 1. A thin line leads from each dot to its name, so
    that names never cover each other however close the dots are.  Raises: InputError when there is no point.
    """
    if not points:
        raise InputError("No prompt has a recall and a hallucination rate; there is nothing to draw.")
    with rc_context(STYLE):
        figure = Figure(figsize=(9.2, max(4.2, 0.34 * len(points) + 1.2)), layout="constrained")
        axes = figure.add_subplot()
        order = sorted(points, key=lambda name: (points[name][1][0], -points[name][0][0]))
        right = max(0.1, max(x[2] for x, _ in points.values()))
        axes.set_xscale("function", functions=(lambda v: np.sqrt(np.maximum(v, 0)), np.square))  # spreads the small rates, where prompts differ
        axes.set_xlim(0, right * 1.04)
        axes.set_xticks([t for t in (0, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0) if t <= right])
        lows, highs = [y[1] for _, y in points.values()], [y[2] for _, y in points.values()]
        room = 0.08 * (max(highs) - min(lows)) or 0.05
        axes.set_ylim(min(lows) - room, min(1.0, max(highs)) + room)
        for place, name in enumerate(order):
            (x, x_low, x_high), (y, y_low, y_high) = points[name]
            position = list(points).index(name)
            colour, marker = PALETTE[position % len(PALETTE)], MARKERS[position % len(MARKERS)]
            axes.errorbar(x, y, xerr=[[max(x - x_low, 0)], [max(x_high - x, 0)]], yerr=[[max(y - y_low, 0)], [max(y_high - y, 0)]],
                          fmt=marker, color=colour, markersize=7.5, capsize=2.5, elinewidth=1.1, markeredgecolor="white", zorder=3, clip_on=False)
            height = (place + 0.5) / len(order)
            axes.annotate("", (x, y), xytext=(1.04, height), textcoords="axes fraction", annotation_clip=False,
                          arrowprops={"arrowstyle": "-", "color": colour, "alpha": 0.45, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0})
            axes.plot(1.04, height, marker=marker, color=colour, markersize=6.5, markeredgecolor="white", transform=axes.transAxes, clip_on=False)
            axes.text(1.06, height, name, va="center", fontsize=9.5, transform=axes.transAxes)
        axes.set(xlabel=xlabel + ", square-root scale   (left is better)", ylabel=ylabel + "   (up is better)", title=title)
        axes.xaxis.set_major_formatter("{x:.0%}")
        axes.yaxis.set_major_formatter("{x:.0%}")
        axes.grid(axis="x")
        return figure


def gallery(images: Sequence, captions: Sequence[str], columns: int = 4, width: int = 30) -> Figure:
    """n pictures in a grid with n captions under them, English or Chinese.

    images: PIL pictures or anything `imshow` takes; paths are opened.  width: characters a caption line holds, half as many Chinese ones.
    Raises: InputError for other numbers of captions than pictures.
    """
    if len(images) != len(captions) or not images:
        raise InputError(f"A gallery needs one caption a picture, and at least one; it was given {len(images)} pictures and "
                         f"{len(captions)} captions.")
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    larger = max(1, columns / 4)  # a page shows a wide figure smaller, and its captions with it
    width = int(width / larger)
    lines = ["\n".join(wrap(drawable(caption), width // 2 if is_chinese(drawable(caption)) else width)) for caption in captions]
    tallest = max(text.count("\n") + 1 for text in lines)
    with rc_context({**STYLE, "font.family": families()}):
        figure = Figure(figsize=(2.4 * columns, (2.3 + 0.17 * larger * tallest) * rows), layout="constrained")
        for place, (image, text) in enumerate(zip(images, lines)):
            axes = figure.add_subplot(rows, columns, place + 1)
            axes.imshow(_pixels(image))
            axes.set_xlabel(text, fontsize=8.5 * larger, labelpad=4)
            axes.set(xticks=[], yticks=[])
            axes.grid(False)
        if chinese_family() is None and any(map(is_chinese, captions)):
            figure.supxlabel(NO_FONT, fontsize=7)
        return figure


def _pixels(image):
    """A picture for `imshow`; a path is opened, upright."""
    if isinstance(image, (str, Path)):
        from helpers.core.images import open_image

        return open_image(image)
    return image


def to_svg(figure: Figure) -> str:
    """The figure as an `<svg>` element whose ink and grid take the colour of the text around it, in light and dark.

    The same figure gives the same text: no date, no random names inside.
    """
    with rc_context(STYLE):
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = stream.getvalue()
    svg = svg[svg.index("<svg"):]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"|(<svg[^>]*?) height="[^"]*"', r"\1\2", svg, count=1)
    return svg.replace(INK, "currentColor").replace(FAINT, "color-mix(in srgb, currentColor 25%, transparent)")
