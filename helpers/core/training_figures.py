"""Draws training runs from what they write while they train (progress.jsonl, see runs.py).

    live_figure(lines, title)         one run under way: the loss of each step, the evaluations, room for the steps to come
    comparison_figure({name: …})      several runs: loss, evaluation loss, learning rate, throughput, memory

`lines` are dictionaries as progress.jsonl holds them: {"step", "loss", "learning_rate", "seconds"}, {"step", "eval_loss"}, {"step", "of"}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, ScalarFormatter

from helpers.core.errors import InputError
from helpers.core.figures import INK, PALETTE, STYLE, SYSTEM_COLOURS, colour_of, label_of
from helpers.core.runs import counted_lines

MARKERS = "osD^vPX"
GIB = 2**30


def running_mean(values: Sequence[float], window: int) -> list[float]:
    """The mean of each value and those before it, `window` in all; fewer at the beginning."""
    return [sum(values[max(0, i + 1 - window):i + 1]) / min(i + 1, window) for i in range(len(values))]


def window_of(number: int) -> int:
    """Over how many losses a curve of `number` losses is smoothed: a twentieth of them."""
    return max(1, number // 20)


def progress_text(lines: Sequence[dict], title: str) -> str:
    """How far a run is, in words: "LoRA: step 20 of 32, loss 0.93, evaluation loss 0.99"."""
    total = [line["of"] for line in lines if "of" in line]
    counted = counted_lines(list(lines))
    step = max([line["step"] for line in lines], default=0)
    text = f"{label_of(title)}: step {step}" + (f" of {total[-1]}" if total else "")
    for key, words in (("loss", "loss"), ("eval_loss", "evaluation loss")):
        values = [line[key] for line in counted if key in line]
        text += f", {words} {values[-1]:.3g}" if values else ""
    return text


def live_figure(lines: Sequence[dict], title: str) -> Figure:
    """The loss of each step so far over all steps of the run, its running mean, and the evaluations as dots.

    title: the run's name; a system's name ("lora") gives it the system's colour.
    """
    counted = counted_lines(list(lines))
    total = max([line["of"] for line in lines if "of" in line] + [line["step"] for line in lines] + [1])
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.0))
        figure.subplots_adjust(left=0.09, right=0.985, top=0.88, bottom=0.17)  # fixed: the axes must not jump while the curve grows
        axes = figure.add_subplot()
        _losses(axes, counted, colour_of(title, 0), "training")
        evaluated = [(line["step"], line["eval_loss"]) for line in counted if "eval_loss" in line]
        if evaluated:
            axes.plot(*zip(*evaluated), color=INK, marker="o", markersize=5, linewidth=0, label="evaluation")
        _loss_scale(axes, [line[key] for line in counted for key in ("loss", "eval_loss") if key in line])
        axes.set(title=progress_text(lines, title), xlabel="optimizer step", ylabel="cross-entropy per token", xlim=(0, total * 1.01))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if counted:
            axes.legend(loc="upper right")
        return figure


def _losses(axes, counted: Sequence[dict], colour: str, label: str) -> None:
    """The faint line of every logged loss, and the strong one of their running mean."""
    points = [(line["step"], line["loss"]) for line in counted if "loss" in line]
    if points:
        steps, losses = zip(*points)
        window = window_of(len(losses))
        if window > 1:
            axes.plot(steps, losses, color=colour, alpha=0.28, linewidth=1)
        axes.plot(steps, running_mean(losses, window), color=colour, label=label)


def _loss_scale(axes, values: Sequence[float]) -> None:
    """A logarithmic axis where the losses span more than fivefold, and readable numbers on it."""
    if values and min(values) > 0 and max(values) > 5 * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())


def comparison_figure(histories: Mapping[str, Sequence[dict]], samples_per_step: Mapping[str, float | None],
                      memory: Mapping[str, Sequence[float]]) -> Figure:
    """Several runs in five panels: loss, evaluation loss, learning rate, samples a second, peak memory of each process.

    histories: {run: lines of its progress.jsonl}.  samples_per_step: of all processes; None where it is not known.
    memory: {run: bytes of each process}, empty where a run has not measured them (it is not finished).  A run has one
    colour and one marker in all panels.  Raises: InputError without any run.
    """
    if not histories:
        raise InputError("There is no run to compare; give at least one.")
    with rc_context(STYLE | {"axes.titlesize": 10, "font.size": 9}):
        figure = Figure(figsize=(9.6, 5.8), layout="constrained")
        places = figure.add_gridspec(2, 6)
        loss, evaluation = figure.add_subplot(places[0, :3]), figure.add_subplot(places[0, 3:])
        rate, speed, room = (figure.add_subplot(places[1, at:at + 2]) for at in (0, 2, 4))
        values: dict[str, list[float]] = {"loss": [], "eval_loss": []}
        for position, (name, lines) in enumerate(histories.items()):
            counted, colour = counted_lines(list(lines)), _colour(name, histories)
            look = {"color": colour, "marker": MARKERS[position % len(MARKERS)], "markersize": 4.5}
            _losses(loss, counted, colour, label_of(name))
            for axes, key, style in ((evaluation, "eval_loss", look), (rate, "learning_rate", {"color": colour})):
                points = [(line["step"], line[key]) for line in counted if key in line]
                if points:
                    axes.plot(*zip(*points), label=label_of(name), **style)
            for key, found in values.items():
                found += [line[key] for line in counted if key in line]
            _throughput(speed, counted, samples_per_step.get(name), colour)
            _memory(room, position, memory.get(name) or (), colour)
        for axes, key, title in ((loss, "loss", "Training loss"), (evaluation, "eval_loss", "Loss on the evaluation samples")):
            _loss_scale(axes, values[key])
            axes.set(title=title, xlabel="optimizer step", ylabel="cross-entropy per token")
        # Rates that lie a thousandfold apart are all to be seen: linear below the smallest peak, logarithmic above.
        peaks = [max((line["learning_rate"] for line in lines if "learning_rate" in line), default=0) for lines in histories.values()]
        if min(peaks) > 0 and max(peaks) > 10 * min(peaks):
            rate.set_yscale("symlog", linthresh=min(peaks))
        else:
            rate.yaxis.set_major_formatter(ScalarFormatter(useMathText=True))
            rate.ticklabel_format(axis="y", scilimits=(0, 0))
        rate.set(title="Learning rate", xlabel="optimizer step")
        rate.set_ylim(bottom=0)
        speed.set(title="Samples a second", xlabel="optimizer step")
        speed.set_ylim(bottom=0)
        room.set(title="Peak memory, GiB a process")
        room.set_xticks(range(len(histories)), [label_of(name) for name in histories], rotation=20 if len(histories) > 3 else 0)
        room.tick_params(axis="x", length=0)
        for axes in (loss, evaluation, rate, speed):
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        loss.legend(loc="upper right", fontsize=8.5)
        return figure


def _colour(name: str, names: Mapping) -> str:
    """A system's own colour; other runs take, in their order, those of the palette that no system has."""
    if name in SYSTEM_COLOURS:
        return SYSTEM_COLOURS[name]
    free = [colour for colour in PALETTE if colour not in SYSTEM_COLOURS.values()]
    return free[[other for other in names if other not in SYSTEM_COLOURS].index(name) % len(free)]


def _throughput(axes, counted: Sequence[dict], samples: float | None, colour: str) -> None:
    """Samples a second between logged steps, the median of each five neighbours; evaluations and checkpoints count."""
    points = [(line["step"], line["seconds"]) for line in counted if "loss" in line and "seconds" in line]
    if samples is None or len(points) < 2:
        return
    speeds = [samples * (step - before) / (end - start) for (before, start), (step, end) in zip(points, points[1:]) if end > start]
    middles = [sorted(speeds[max(0, i - 2):i + 3])[len(speeds[max(0, i - 2):i + 3]) // 2] for i in range(len(speeds))]
    axes.plot([step for step, _ in points[1:len(middles) + 1]], middles, color=colour)


def _memory(axes, position: int, sizes: Sequence[float], colour: str) -> None:
    """One thin bar a process, next to each other, the largest with its number."""
    width = 0.8 / max(1, len(sizes))
    for rank, size in enumerate(sizes):
        axes.bar(position - 0.4 + width * (rank + 0.5), size / GIB, width=width * 0.92, color=colour)
    if sizes:
        axes.annotate(f"{max(sizes) / GIB:.2f}", (position, max(sizes) / GIB), (0, 3), textcoords="offset points", ha="center")
        axes.margins(y=0.12)
    else:
        axes.annotate("not\nmeasured", (position, 0), (0, 4), textcoords="offset points", ha="center", fontsize=8)
