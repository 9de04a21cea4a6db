"""Figures of scores: systems side by side, pictures one by one, metrics against each other.

    grouped_bars(result)              one group a metric, one bar a system, 95 % intervals, a mark where a difference is real
    parallel_coordinates(result)      one line a system across all metrics, each scaled to the best system
    score_against_length(...)         one dot a caption: does a metric only like short ones?
    distributions(...)                how the scores of single pictures spread
    correlations(...)                 which metrics say the same, as a heat map
    extremes(...)                     the best and the worst pictures of a metric, with captions

Each returns a matplotlib `Figure` in the style of figures.py. Systems differ by colour (Okabe and Ito's) and by hatching,
marker or dash as well, so that they are told apart in grey print too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import wrap

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from helpers.core.errors import InputError
from helpers.core.figures import FAINT, INK, STYLE, colour_of, label_of
from helpers.core.fonts import NO_FONT, chinese_family, drawable, families, is_chinese
from helpers.core.metric_names import read_as
from helpers.core.metric_tables import flat_scores, really_better

HATCHES, MARKERS, DASHES = ("", "///", "...", "xx", "\\\\", "++", "oo"), "osD^vPX", ("-", "--", "-.", ":")
Each = Mapping[str, Mapping[str, np.ndarray]]


def style() -> dict:
    """figures.py's style with a font that has Chinese, where there is one."""
    return {**STYLE, "font.family": families(), "hatch.linewidth": 0.7}


def grouped_bars(result: Mapping, metrics: Sequence[str] | None = None, size: tuple[float, float] = (9.0, 4.2)) -> Figure:
    """One group of bars a metric, each as a share of the metric's highest value; whiskers are 95 % intervals.

    A star above a bar: this system is better than every other one, and each of these differences is real.
    Raises: InputError without scores.
    """
    systems, metrics, flat = _scores(result, metrics)
    better = really_better(result)
    with rc_context(style()):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot()
        width = 0.8 / len(systems)
        tops = np.array([read_as(metric).top for metric in metrics])
        for place, name in enumerate(systems):
            where = np.arange(len(metrics)) + (place - (len(systems) - 1) / 2) * width
            heights = np.array([flat[name].get(metric, np.nan) for metric in metrics]) / tops
            axes.bar(where, heights, width * 0.92, color=colour_of(name, place), hatch=HATCHES[place % len(HATCHES)], edgecolor="white", label=label_of(name))
            for x, height, top, metric in zip(where, heights, tops, metrics):
                ends = systems[name].get("intervals", {}).get(metric)
                if ends:
                    axes.vlines(x, ends[0] / top, ends[1] / top, color=INK, linewidth=1.2)
                if len(systems) > 1 and better.get((name, metric), set()) == set(systems) - {name}:
                    axes.annotate("★", (x, (ends[1] / top if ends else height)), xytext=(0, 3), textcoords="offset points", ha="center", color=INK)
        axes.set_xticks(range(len(metrics)), [label_of(metric) + (f"\n÷ {top:g}" if top != 1 else "") for metric, top in zip(metrics, tops)],
                        rotation=0 if len(metrics) < 9 else 35)
        axes.set(title="Scores with 95 % intervals" + (" (★ really better than all others)" if len(systems) > 1 else ""), ylim=(0, None), ylabel="share of the highest value")
        axes.legend(ncols=len(systems), loc="upper left", bbox_to_anchor=(0, -0.14))
        return figure


def parallel_coordinates(result: Mapping, metrics: Sequence[str] | None = None, size: tuple[float, float] = (9.0, 3.8)) -> Figure:
    """One line a system across the metrics, each metric divided by its best system; for shares of what was invented, less is up.

    Crossing lines say that the metrics rank the systems differently. Raises: InputError without scores.
    """
    systems, metrics, flat = _scores(result, metrics)
    with rc_context(style()):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot()
        for place, name in enumerate(systems):
            heights = []
            for metric in metrics:
                values = [scores[metric] for scores in flat.values() if metric in scores]
                value, read = flat[name].get(metric, np.nan), read_as(metric)
                heights.append((read.top - value) / max(read.top - min(values), 1e-12) if read.lower_is_better else value / max(max(values), 1e-12))
            axes.plot(range(len(metrics)), heights, color=colour_of(name, place), marker=MARKERS[place % len(MARKERS)],
                      linestyle=DASHES[place % len(DASHES)], label=label_of(name))
        axes.set_xticks(range(len(metrics)), [label_of(metric) for metric in metrics], rotation=0 if len(metrics) < 9 else 35)
        axes.set(title="Every metric as a share of its best system", ylim=(0, 1.06), ylabel="share of the best")
        axes.grid(axis="x")
        axes.legend(ncols=len(systems), loc="upper left", bbox_to_anchor=(0, -0.14))
        return figure


def score_against_length(each: Each, lengths: Mapping[str, Sequence[int]], metric: str, size: tuple[float, float] = (7.2, 3.8)) -> Figure:
    """One dot a caption: its length against its score. lengths: {system: n}, in whatever unit the caller says.

    Raises: InputError for a metric that no system has by picture.
    """
    with rc_context(style()):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot()
        for place, name in enumerate(_with(each, metric)):
            axes.scatter(lengths[name], each[name][metric], s=22, alpha=0.65, color=colour_of(name, place), marker=MARKERS[place % len(MARKERS)],
                         linewidths=0, label=label_of(name))
        axes.set(title=f"{label_of(metric)} of each caption against its length", xlabel="words in the caption", ylabel=label_of(metric))
        axes.legend(ncols=3, loc="upper left", bbox_to_anchor=(0, -0.18))
        return figure


def distributions(each: Each, metric: str, size: tuple[float, float] = (7.2, 3.4)) -> Figure:
    """The scores of single pictures: one row of dots a system, with the median and the middle half. Raises: as above."""
    names = _with(each, metric)
    with rc_context(style()):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot()
        for place, name in enumerate(names):
            values = np.asarray(each[name][metric])
            shift = np.random.default_rng(place).uniform(-0.28, 0.28, len(values))  # apart only to be seen
            axes.scatter(values, place + shift, s=12, alpha=0.45, color=colour_of(name, place), linewidths=0)
            low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
            axes.hlines(place, low, high, color=INK, linewidth=3)
            axes.plot(middle, place, marker="D", color="white", markeredgecolor=INK, markersize=7)
        axes.set_yticks(range(len(names)), [label_of(name) for name in names])
        axes.invert_yaxis()
        axes.grid(axis="x")
        axes.set(title=f"{label_of(metric)} of single pictures (diamond: median; bar: middle half)", xlabel=label_of(metric))
        return figure


def correlations(each: Each, metrics: Sequence[str] | None = None, size: tuple[float, float] = (6.0, 5.0)) -> Figure:
    """Spearman's rank correlation of every two metrics over all captions of all systems. Raises: InputError for fewer than two metrics."""
    from scipy.stats import spearmanr

    shared = [metric for metric in next(iter(each.values())) if all(metric in columns for columns in each.values())]
    metrics = [metric for metric in metrics or shared if metric in shared]
    columns = {metric: np.concatenate([scores[metric] for scores in each.values()]) for metric in metrics}
    metrics = [metric for metric in metrics if np.ptp(columns[metric]) > 0]  # what never varies correlates with nothing
    if len(metrics) < 2:
        raise InputError("A correlation needs two metrics that vary from caption to caption.")
    table = np.array([[spearmanr(columns[a], columns[b]).statistic for b in metrics] for a in metrics])
    with rc_context(style() | {"axes.grid": False}):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot()
        shown = axes.imshow(table, cmap="cividis", vmin=min(0, table.min()), vmax=1)  # cividis is made for colour-blind eyes, and for print
        for row, column in np.ndindex(table.shape):
            axes.text(column, row, f"{table[row, column]:.2f}", ha="center", va="center", color="white" if table[row, column] < 0.62 else INK)
        labels = [label_of(metric) for metric in metrics]
        axes.set_xticks(range(len(metrics)), labels, rotation=40, ha="right")
        axes.set_yticks(range(len(metrics)), labels)
        axes.set_title("Do the metrics agree? Rank correlation over captions")
        figure.colorbar(shown, ax=axes, shrink=0.8)
        return figure


def extremes(each: Each, system: str, metric: str, pictures: Sequence, captions: Sequence[str], references: Sequence[str], count: int = 3,
             size: tuple[float, float] | None = None) -> Figure:
    """The `count` best pictures of a system by one metric above, the worst below, with caption and reference.

    pictures: n paths or PIL pictures.  Raises: InputError for an unknown metric, or a picture that cannot be opened.
    """
    from helpers.core.images import open_image

    _with({system: each.get(system, {})}, metric)
    scores = np.asarray(each[system][metric])
    order = np.argsort(scores if read_as(metric).lower_is_better else -scores, kind="stable")
    count = min(count, len(order) // 2 or 1)
    rows = (("best", order[:count]), ("worst", order[::-1][:count]))
    with rc_context(style() | {"axes.grid": False, "axes.titleweight": "normal", "axes.titlesize": 9}):
        figure = Figure(figsize=size or (3.4 * count, 8.6), layout="constrained")
        figure.get_layout_engine().set(hspace=0.1)  # a fallback font's lines are higher than the layout measures
        for row, (word, places) in enumerate(rows):
            for column, place in enumerate(places):
                axes = figure.add_subplot(2, count, row * count + column + 1)
                picture = pictures[place]
                axes.imshow(picture if hasattr(picture, "mode") else open_image(picture))
                axes.set_xticks([])
                axes.set_yticks([])
                axes.spines[:].set_color(FAINT)
                axes.set_title(f"{word} {column + 1}: {label_of(metric)} {scores[place]:.3f}", weight="bold")
                axes.set_xlabel(_wrapped("said", captions[place]) + "\n\n" + _wrapped("reference", references[place]), fontsize=8, loc="left")
        if chinese_family() is None and any(map(is_chinese, [*captions, *references])):
            figure.supxlabel(NO_FONT, fontsize=7)
        return figure


def _wrapped(what: str, text: str, width: int = 44, lines: int = 6) -> str:
    """A caption in lines that fit under its picture; a Chinese character is as wide as two Latin ones."""
    shown = drawable(text) or "(nothing)"
    found = wrap(f"{what}: {shown}", width // 2 if is_chinese(shown) else width)
    return "\n".join(found[:lines]) + (" …" if len(found) > lines else "")


def _scores(result: Mapping, metrics: Sequence[str] | None):
    """Systems, the metrics that some system has, and every system's numbers."""
    systems = result["systems"]
    flat = {name: flat_scores(scores) for name, scores in systems.items()}
    known = list(dict.fromkeys(metric for scores in flat.values() for metric in scores))
    metrics = [metric for metric in metrics or known if metric in known]
    if not metrics:
        raise InputError("No system has a score; there is nothing to draw.")
    return systems, metrics, flat


def _with(each: Each, metric: str) -> list[str]:
    """The systems that have this metric by picture. Raises InputError when none has."""
    names = [name for name, columns in each.items() if metric in columns]
    if not names:
        known = ", ".join(dict.fromkeys(key for columns in each.values() for key in columns)) or "none"
        raise InputError(f"There is no {metric} of single pictures to draw; there are: {known}.")
    return names
