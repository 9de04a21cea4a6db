"""Figures of where systems break, drawn from the plain results of robustness.py, forgetting.py and study.py.

    corruption_sheet(picture)       a picture under every corruption, weak to strong
    drop_chart(result)              one row a split, one mark a system: how far a metric drops, with intervals
    robustness_curves(result)       one panel a corruption, one line a system over five strengths, with bands
    reliability_diagram(result)     probability against share right, one panel a system and set
    confidence_chart(result)        one dot a set: how sure a system is, and how right
    forgetting_chart(result)        what each system still knows of what pretraining taught, part by part
    noise_chart(result)             scores over the share of false statements in the labels, one line a manner
    held_out_chart(result)          what is named of kinds and places that the labels lacked

Each returns a matplotlib `Figure` in the style of figures.py. Systems differ by colour and by marker, manners by dash as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from PIL import Image

from helpers.core.calibration import BINS
from helpers.core.corruptions import CORRUPTIONS, STRENGTHS, corrupt
from helpers.core.errors import InputError
from helpers.core.figures import FAINT, INK, PALETTE, STYLE, colour_of, label_of
from helpers.core.metric_names import read_as
from helpers.core.splits import BASE

MARKERS = "osD^vPX"


def corruption_sheet(picture: Image.Image, side: int = 96) -> Figure:
    """A picture as it was drawn, then a row a corruption, weak to strong, each `side` pixels wide."""
    gap = 6
    sheet = np.full((len(CORRUPTIONS) * (side + gap) - gap, (len(STRENGTHS) + 1) * (side + gap) - gap, 3), 255, dtype=np.uint8)
    for row, name in enumerate(CORRUPTIONS):
        for column, strength in enumerate((0, *STRENGTHS)):
            top, left = row * (side + gap), column * (side + gap)
            sheet[top:top + side, left:left + side] = corrupt(picture, name, strength).resize((side, side), Image.Resampling.BICUBIC)
    with rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(sheet.shape[1] / 100 + 0.9, sheet.shape[0] / 100 + 0.4), layout="constrained")
        axes = figure.add_subplot()
        axes.imshow(sheet)
        axes.set_xticks([column * (side + gap) + side / 2 for column in range(len(STRENGTHS) + 1)], ["as drawn", *map(str, STRENGTHS)])
        axes.set_yticks([row * (side + gap) + side / 2 for row in range(len(CORRUPTIONS))], list(CORRUPTIONS))
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.xaxis.tick_top()
        return figure


def _place(systems: Sequence[str], name: str) -> tuple[str, str]:
    """A system's colour and marker."""
    position = list(systems).index(name)
    return colour_of(name, position + 2), MARKERS[position % len(MARKERS)]


def _whiskers(value: Sequence[float]) -> list[list[float]]:
    """The arms of an error bar; a percentile interval need not hold the value itself."""
    return [[max(value[0] - value[1], 0)], [max(value[2] - value[0], 0)]]


def drop_chart(result: Mapping, metric: str = "object_f1", size: tuple[float, float] | None = None) -> Figure:
    """How much lower (for shares of what was made up: higher) each split scores than the one it is held against. Raises: InputError for a metric that no split has."""
    drops, systems = result["drops"], list(result["drops"])
    names = [name for name in result["sets"] if not _corruption(name) and any(metric in drops[s].get(name, {}) for s in systems)]
    if not names:
        raise InputError(f"No split has a drop of {metric}; there is nothing to draw.")
    with rc_context(STYLE):
        figure = Figure(figsize=size or (8.4, 0.42 * len(names) + 1.5), layout="constrained")
        axes = figure.add_subplot()
        for place, name in enumerate(names):
            for number, system in enumerate(systems):
                value = drops[system].get(name, {}).get(metric)
                if value:
                    colour, marker = _place(systems, system)
                    y = place + (number - (len(systems) - 1) / 2) * 0.6 / max(1, len(systems) - 1 or 1)
                    axes.errorbar(value[0], y, xerr=_whiskers(value), fmt=marker, color=colour, markersize=6.5, capsize=2.5, elinewidth=1.3,
                                  markeredgecolor="white", label=label_of(system) if place == 0 else None)
        axes.axvline(0, color=INK, linewidth=1)
        axes.set_yticks(range(len(names)), [f"{name}  ({result['sets'][name]['pictures']})" for name in names])
        axes.tick_params(axis="y", length=0)
        axes.invert_yaxis()
        axes.grid(axis="x")
        axes.grid(axis="y", visible=False)
        axes.set(title=f"{label_of(metric)}: what changes when one thing changes", xlabel=f"change in {label_of(metric)}, with 95 % intervals "
                 f"({'left' if read_as(metric).lower_is_better else 'right'} is better; pictures in brackets)")
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower left", ncols=len(systems))
        return figure


def _corruption(name: str) -> tuple[str, int] | None:
    """("noise", 3) of the set "noise 3"; None for a split."""
    kind, _, strength = name.rpartition(" ")
    return (kind, int(strength)) if kind in CORRUPTIONS and strength.isdigit() else None


def robustness_curves(result: Mapping, metric: str = "object_f1", columns: int = 3) -> Figure:
    """A metric over the strength of each corruption; 0 is the same pictures uncorrupted. Raises: InputError where nothing was corrupted."""
    scores, systems = result["scores"], list(result["scores"])
    kinds = [kind for kind in CORRUPTIONS if any(name.startswith(kind + " ") for name in result["sets"])]
    if not kinds:
        raise InputError("No corruption was asked about; there is no curve to draw.")
    columns = min(columns, len(kinds))
    with rc_context(STYLE):
        figure = Figure(figsize=(3.0 * columns, 2.5 * -(-len(kinds) // columns) + 0.5), layout="constrained")
        first = None
        for number, kind in enumerate(kinds):
            axes = figure.add_subplot(-(-len(kinds) // columns), columns, number + 1, sharey=first)
            first = first or axes
            for system in systems:
                points = [(strength, scores[system].get(BASE if not strength else f"{kind} {strength}", {}).get(metric)) for strength in (0, *STRENGTHS)]
                points = [(strength, *value) for strength, value in points if value]
                x, value, low, high = (np.array(column) for column in zip(*points))
                colour, marker = _place(systems, system)
                axes.plot(x, value, color=colour, marker=marker, markersize=5, markeredgecolor="white", label=label_of(system))
                axes.fill_between(x, low, high, color=colour, alpha=0.16, linewidth=0)
            axes.set(title=kind, xticks=(0, *STRENGTHS), ylim=(-0.03, 1.03))
            if number % columns == 0:
                axes.set_ylabel(label_of(metric))
            if number // columns == -(-len(kinds) // columns) - 1:
                axes.set_xlabel("strength")
        handles, labels = first.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=len(systems))
        return figure


def reliability_diagram(result: Mapping, sets: Sequence[str] = (BASE,), sort: str = "object", systems: Sequence[str] | None = None) -> Figure:
    """Bars: the share of words that is right among those of about the same probability (Guo et al., 2017); on the line, a model knows how sure to be.

    Below the line it is overconfident. Dots: the mean probability of a bar's words; grey: how many words. Raises: InputError for a set without such words.
    """
    systems = list(systems or result["calibration"])
    cells = [(name, system) for name in sets for system in systems]
    missing = [name for name, system in cells if sort not in result["calibration"][system].get(name, {})]
    if missing:
        raise InputError(f"No system named a thing with a {sort} word in {missing[0]!r}; there is no diagram to draw.")
    with rc_context(STYLE):
        figure = Figure(figsize=(3.0 * len(systems), 2.9 * len(sets)), layout="constrained")
        for number, (name, system) in enumerate(cells):
            axes = figure.add_subplot(len(sets), len(systems), number + 1)
            found, (colour, _) = result["calibration"][system][name][sort], _place(list(result["calibration"]), system)
            words = np.array([row[0] for row in found["bins"]])
            middles = (np.arange(BINS) + 0.5) / BINS
            axes.bar(middles, words / max(words.sum(), 1), 1 / BINS * 0.92, color=FAINT)
            for middle, (count, sure, share) in zip(middles, found["bins"]):
                if count:
                    axes.bar(middle, share, 1 / BINS * 0.92, color=colour, alpha=0.35 if count < 10 else 0.8)
                    axes.plot(sure, share, "o", color=INK, markersize=3)
            axes.plot((0, 1), (0, 1), color=INK, linewidth=1, linestyle="--")
            axes.set(xlim=(0, 1), ylim=(0, 1.02))
            axes.set_title(f"{label_of(system)}, {name}" if len(sets) > 1 else label_of(system), pad=17, fontsize=10)
            axes.text(0, 1.03, f"ECE {found['ece'][0]:.2f} ({found['ece'][1]:.2f}–{found['ece'][2]:.2f}), sure {found['confidence'][0]:.2f}, right {found['accuracy'][0]:.2f}",
                      transform=axes.transAxes, fontsize=7.5)
            if number % len(systems) == 0:
                axes.set_ylabel("share right")
            if number >= len(cells) - len(systems):
                axes.set_xlabel("probability of the word")
        figure.supxlabel(f"{sort} words; grey: their share of all; pale: fewer than 10", fontsize=8.5)
        return figure


def confidence_chart(result: Mapping, sort: str = "object", size: tuple[float, float] = (7.6, 4.6), named: int = 6, least: int = 20) -> Figure:
    """One dot a split or corruption with at least `least` such words: their mean probability against the share that is right.

    named: how many of the most overconfident get their name.
    """
    systems = list(result["calibration"])
    with rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot()
        far = []
        for system in systems:
            points = [(found[sort]["accuracy"][0], found[sort]["confidence"][0], name) for name, found in result["calibration"][system].items()
                      if sort in found and sum(row[0] for row in found[sort]["bins"]) >= least]
            colour, marker = _place(systems, system)
            axes.scatter([x for x, *_ in points], [y for _, y, _ in points], s=34, color=colour, marker=marker, edgecolors="white", linewidths=0.6, alpha=0.9, label=label_of(system))
            far += [(y - x, x, y, name) for x, y, name in points]
        axes.plot((0, 1), (0, 1), color=INK, linewidth=1, linestyle="--")
        told: list[tuple[float, float, str]] = []
        for _, x, y, name in sorted(far, reverse=True):
            if len(told) < named and all(name != other and (abs(x - a) > 0.16 or abs(y - b) > 0.05) for a, b, other in told):
                told.append((x, y, name))
                axes.annotate(name, (x, y), xytext=(6, 4), textcoords="offset points", fontsize=8)
        axes.set(title=f"{sort} words: how sure, how right (above the line: overconfident)", xlabel="share right", ylabel="mean probability", xlim=(-0.02, 1.02), ylim=(0.0, 1.02))
        axes.grid(axis="x")
        axes.legend(loc="lower right")
        return figure


def forgetting_chart(forgetting: Mapping, size: tuple[float, float] = (8.6, 3.6)) -> Figure:
    """The share of right and brief answers to each lesson of pretraining, a bar a system. forgetting: a result's "forgetting". Raises: InputError for an empty one."""
    if not forgetting:
        raise InputError("Forgetting can be told of the pretrained system and at least one that was fine-tuned from it.")
    systems = list(forgetting["scores"])
    parts = [part for part in forgetting["scores"][systems[0]] if part not in ("en", "zh", "all")] + ["en", "zh", "all"]
    with rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot()
        width = 0.8 / len(systems)
        for number, system in enumerate(systems):
            where = np.arange(len(parts)) + (number - (len(systems) - 1) / 2) * width
            values = [forgetting["scores"][system][part] for part in parts]
            colour, _ = _place(systems, system)
            axes.bar(where, [v[0] for v in values], width * 0.92, color=colour, hatch=("", "///", "...", "xx")[number % 4], edgecolor="white", label=label_of(system))
            axes.vlines(where, [v[1] for v in values], [v[2] for v in values], color=INK, linewidth=1.1)
        axes.axvline(len(parts) - 3.5, color=FAINT, linewidth=1)
        names = {"en": "all in\nEnglish", "zh": "all in\nChinese", "all": "all"}
        axes.set_xticks(range(len(parts)), [names.get(part, part) for part in parts], fontsize=8.5)
        axes.tick_params(axis="x", length=0)
        axes.set(title="What is left of the lessons of pretraining", ylabel="right and brief", ylim=(0, 1.02))
        axes.legend(ncols=len(systems), loc="upper left", bbox_to_anchor=(0, -0.14))
        return figure


def noise_chart(result: Mapping, metrics: Sequence[str] = ("object_f1", "chair_i", "colour_accuracy", "relation_precision")) -> Figure:
    """Scores against the truth over the share of the labels' statements that are false; small dots are single seeds."""
    with rc_context(STYLE):
        figure = Figure(figsize=(2.45 * len(metrics), 3.2), layout="constrained")
        manners = [manner for manner in dict.fromkeys(one["manner"] for one in result["conditions"]) if manner != "none"]
        first = None
        for number, metric in enumerate(metrics):
            axes = figure.add_subplot(1, len(metrics), number + 1)
            first = first or axes
            for place, manner in enumerate(manners):
                rows = sorted((one for one in result["conditions"] if one["manner"] in ("none", manner)), key=lambda one: one["false_share"])
                x = np.array([one["false_share"] for one in rows])
                value, low, high = np.array([one["scores"][metric] for one in rows]).T
                colour = PALETTE[(0, 4)[place % 2]]
                axes.plot(x, value, color=colour, marker=MARKERS[place], linestyle=("-", "--")[place % 2], markersize=6, markeredgecolor="white", label=manner)
                axes.fill_between(x, low, high, color=colour, alpha=0.16, linewidth=0)
                for one in rows:
                    dots = [seed[metric] for seed in one["by_seed"].values() if metric in seed]
                    axes.plot([one["false_share"]] * len(dots), dots, ".", color=colour, markersize=4, alpha=0.7)
            axes.set_title(label_of(metric))
            axes.xaxis.set_major_formatter("{x:.0%}")
            axes.set_xlabel("false statements")
        handles, labels = first.get_legend_handles_labels()
        figure.legend(handles, [f"{label} errors" for label in labels], loc="outside upper right", ncols=len(manners))
        return figure


def held_out_chart(result: Mapping, size: tuple[float, float] = (8.4, 3.4)) -> Figure:
    """What is still named of the kinds and places that the labels lacked, beside a student whose labels had everything; by LoRA and in full."""
    shown = (("kinds out", "without kinds", "named of " + ", ".join(result["kinds out"])), ("places out", "without places", "place named: " + ", ".join(result["places out"])))
    with rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        for number, (key, condition, title) in enumerate(shown):
            axes = figure.add_subplot(1, 2, number + 1)
            bars = [(strategy, which, result["rates"][strategy][which].get(key)) for strategy in result["rates"] for which in ("everything", condition)]
            for place, (strategy, which, value) in enumerate(bars):
                if value:
                    colour, _ = _place(list(result["rates"]), strategy)
                    axes.bar(place, value[0], 0.78, color=colour, alpha=1 if which == "everything" else 0.5, yerr=_whiskers(value), ecolor=INK, capsize=3,
                             hatch="" if which == "everything" else "///", edgecolor="white")
                    axes.annotate(f"{value[0]:.2f}", (place, 0.03), ha="center", fontsize=8.5)
            axes.set_xticks(range(len(bars)), [f"{label_of(strategy)}\n{'with all' if which == 'everything' else which}" for strategy, which, _ in bars], fontsize=8.5)
            axes.tick_params(axis="x", length=0)
            axes.set(ylim=(0, 1.02))
            axes.set_title(title, fontsize=9.5)
        return figure
