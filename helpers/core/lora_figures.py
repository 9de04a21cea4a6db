"""Draws what LoRA is: the sum W + B A as rectangles to scale, and the strength of a trained update in each direction.

    lora_drawing(outputs, inputs, rank)     three matrices, their sides in proportion, their numbers under them
    singular_values_figure({name: values})  singular values of trained updates against the rank they were given
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from helpers.core.errors import InputError
from helpers.core.figures import INK, PALETTE, STYLE, SYSTEM_COLOURS

FROZEN, TRAINED = "#c9ced6", SYSTEM_COLOURS["lora"]


def lora_drawing(outputs: int, inputs: int, rank: int, alpha: float | None = None) -> Figure:
    """h = W x + (alpha / r) B A x, each matrix a rectangle whose sides are in proportion; grey is frozen, coloured is trained.

    outputs, inputs: the sides of W.  rank: r.  alpha: None writes the letter.  Raises: InputError for sides below 1.
    """
    if min(outputs, inputs, rank) < 1:
        raise InputError(f"A matrix of {outputs} × {inputs} with rank {rank} cannot be drawn: all three must be at least 1.")
    unit = 1 / max(outputs, inputs)
    tall, wide, thin = (max(side * unit, 0.02) for side in (outputs, inputs, rank))
    with rc_context(STYLE):
        figure = Figure(figsize=(8.6, 3.7), layout="constrained")
        axes = figure.add_subplot()
        at = 0.0
        weight = f"$+\\;\\frac{{{'α' if alpha is None else f'{alpha:g}'}}}{{{rank}}}$"
        pieces = [(r"$h\;=\;($", None, 0, 0), ("W", FROZEN, wide, tall), (weight, None, 0, 0),
                  ("B", TRAINED, thin, tall), ("A", TRAINED, wide, thin), (r"$)\;x$", None, 0, 0)]
        for text, colour, width, height in pieces:
            if colour is None:
                axes.text(at + 0.14, 0.5, text, ha="center", va="center", fontsize=19, math_fontfamily="dejavuserif")
                at += 0.3
                continue
            rows, columns = {"W": (outputs, inputs), "B": (outputs, rank), "A": (rank, inputs)}[text]
            axes.add_patch(Rectangle((at, 0.5 - height / 2), width, height, facecolor=colour, edgecolor=INK, linewidth=1))
            beside = (0.0, 0.0) if min(width, height) > 0.08 else (0.07 * (width < height), 0.06 * (width >= height))  # of a thin one: next to it
            axes.text(at + width / 2 + beside[0], 0.5 + beside[1], text, ha="center", va="center", fontsize=17, fontweight="bold", color=INK)
            under = f"{rows} × {columns}\n{rows * columns:,}\n" + ("frozen" if text == "W" else "trained")
            axes.text(at + width / 2, 0.5 - tall / 2 - 0.05, under, ha="center", va="top", fontsize=9.5)
            at += width + (0.14 if text == "B" else 0)
        axes.set(xlim=(-0.02, at), ylim=(0.5 - tall / 2 - 0.3, 0.5 + tall / 2 + 0.04), aspect="equal")
        axes.axis("off")
        share = rank * (outputs + inputs) / (outputs * inputs)
        axes.set_title(f"LoRA of rank {rank}: {share:.0%} of the numbers that W has", loc="center")
        return figure


def singular_values_figure(values: Mapping[str, Sequence[float]], rank: int) -> Figure:
    """Singular values of updates, largest first, one line a layer, with a line where the rank ends.

    values: {layer: its update's singular values}; what comes after the rank is zero but for the rounding of float32.
    Raises: InputError without any layer.
    """
    if not values:
        raise InputError("There is no update to draw; give the singular values of at least one layer.")
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.4), layout="constrained")
        axes = figure.add_subplot()
        for place, (name, strengths) in enumerate(values.items()):
            kept = [value for value in strengths if value > 0]
            axes.semilogy(range(1, len(kept) + 1), kept, color=PALETTE[place % len(PALETTE)], marker="osD^vPX"[place % 7], markersize=3, label=name)
        axes.axvline(rank + 0.5, color=INK, linestyle="--", linewidth=1)
        axes.annotate(f"rank {rank}", (rank + 0.5, 0), (4, 6), xycoords=("data", "axes fraction"), textcoords="offset points", fontsize=9)
        axes.set(title="How strong the update is in each of its directions", xlabel="direction", ylabel="singular value")
        axes.legend(fontsize=8.5)
        return figure
