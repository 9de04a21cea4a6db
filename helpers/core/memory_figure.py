"""Draws plans of memory: one stacked bar a plan, its parts in the order in which they lie, its total on top.

    [Plan, …] (helpers/core/memory.py) → memory_chart() → a matplotlib Figure in the course's style
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib import rc_context
from matplotlib.figure import Figure

from helpers.core.errors import InputError
from helpers.core.figures import INK, PALETTE, STYLE, label_of
from helpers.core.memory import PARTS, Plan

GIB = 2**30
PART_LABELS = {"parameters": "parameters", "gradients": "gradients", "optimizer": "optimizer states", "activations": "activations and loss",
               "buffers": "communication buffers", "framework": "CUDA context"}
COLOURS = dict(zip(PARTS, PALETTE[:5] + ("#c9ced6",), strict=True))


def bar_label(plan: Plan) -> str:
    """The lines under a bar: strategy and stage, what is offloaded, GPUs (or processes of a CPU), and the moment of a step that needs most."""
    setup = plan.setup
    kept = "" if setup.offload == "none" else f"offload {setup.offload}\n"
    one, several = ("GPU", "GPUs") if setup.device == "cuda" else ("process", "processes")
    return f"{label_of(setup.strategy)}, ZeRO {setup.zero}\n{kept}{setup.gpus} {several if setup.gpus > 1 else one}\nat {plan.moment}"


def memory_chart(plans: Sequence[Plan], measured: Mapping[int, float] | None = None, limit: float | None = None,
                 title: str = "Memory of each GPU at its peak") -> Figure:
    """One stacked bar a plan, in GiB, drawn from the parts of its highest moment.

    measured: {position of a plan: bytes that a run did take}, drawn as a mark across the bar.  limit: GiB of the card, a dashed line.
    Raises: InputError without any plan.
    """
    if not plans:
        raise InputError("There is no plan to draw; plan at least one setup.")
    with rc_context(STYLE):
        figure = Figure(figsize=(max(5.2, 1.05 * len(plans) + 2.6), 3.9), layout="constrained")
        axes = figure.add_subplot()
        bottoms = [0.0] * len(plans)
        for part in PARTS:
            heights = [plan.parts[part] / GIB for plan in plans]
            if any(heights):
                axes.bar(range(len(plans)), heights, bottom=bottoms, width=0.66, color=COLOURS[part], label=PART_LABELS[part],
                         edgecolor="white", linewidth=0.6)
            bottoms = [bottom + height for bottom, height in zip(bottoms, heights)]
        for position, total in enumerate(bottoms):
            axes.annotate(f"{total:.1f}" if total >= 1 else f"{total:.2f}", (position, total), (0, 3), textcoords="offset points",
                          ha="center", fontsize=9, fontweight="bold")
        for number, (position, size) in enumerate((measured or {}).items()):
            axes.plot([position - 0.42, position + 0.42], [size / GIB] * 2, color=INK, linewidth=2.2, solid_capstyle="butt",
                      label="measured" if number == 0 else None)
        if limit is not None:
            axes.axhline(limit, color=INK, linestyle="--", linewidth=1, label=f"the card's {limit:g} GiB")
        highest = max([*bottoms, *(size / GIB for size in (measured or {}).values()), limit or 0])
        axes.set(title=title, ylabel="GiB", ylim=(0, highest * 1.12 or 1))
        axes.set_xticks(range(len(plans)), [bar_label(plan) for plan in plans], fontsize=8)
        axes.tick_params(axis="x", length=0)
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles[::-1], labels[::-1], loc="outside right center", fontsize=8.5)
        return figure
