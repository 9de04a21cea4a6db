"""Draws what a CNN-RNN captioner is made of, before anything is trained.

    model_drawing(image, words)                    picture → grid → one cell of the LSTM after the other, word by word
    similarity_map(image, annotations, places)     where else the encoder sees what it sees at one place
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from helpers.core.errors import InputError
from helpers.core.figures import FAINT, INK, PALETTE, STYLE
from helpers.core.fonts import drawable, families

SIDE = 160  # pixels a side of a drawn picture


def model_drawing(image, words: Sequence[str], grid: int = 8, attends: bool = True) -> Figure:
    """The captioner as boxes: a picture under a grid of places, and a chain of cells, each reading a word and saying the next.

    attends: with attention every cell looks at the grid; without, only the first.  Raises: InputError without words.
    """
    if not words:
        raise InputError("There are no words to draw; give a caption's first few.")
    blue, orange = PALETTE[0], PALETTE[1]
    with rc_context({**STYLE, "font.family": families()}):
        figure = Figure(figsize=(2.6 + 1.35 * len(words), 3.5), layout="constrained")
        axes = figure.add_subplot()
        axes.imshow(np.asarray(image.convert("RGB").resize((SIDE, SIDE))), extent=(0, 2, 0, 2), zorder=1)
        for line in np.linspace(0, 2, grid + 1):
            axes.plot((line, line), (0, 2), color="white", linewidth=0.6, alpha=0.75, zorder=2)
            axes.plot((0, 2), (line, line), color="white", linewidth=0.6, alpha=0.75, zorder=2)
        axes.text(1, -0.14, f"CNN: {grid}×{grid} places", ha="center", va="top", fontsize=9.5, color=INK)
        for place, word in enumerate(words):
            x = 2.9 + 1.25 * place
            axes.add_patch(FancyBboxPatch((x - 0.36, 0.72), 0.72, 0.56, boxstyle="round,pad=0.04", facecolor="white", edgecolor=blue, linewidth=1.8, zorder=3))
            axes.text(x, 1.0, "LSTM", ha="center", va="center", fontsize=9.5, color=blue, fontweight="bold", zorder=4)
            read = "<start>" if place == 0 else words[place - 1]
            axes.text(x, -0.14, drawable(read), ha="center", va="top", fontsize=9.5, color="#5b626b")
            axes.text(x, 2.02, drawable(word), ha="center", va="bottom", fontsize=11, fontweight="bold", color=INK)
            for start, end in (((x, -0.1), (x, 0.66)), ((x, 1.34), (x, 1.96))):
                axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=10, color=INK, linewidth=1.1, zorder=2))
            if place:
                axes.add_patch(FancyArrowPatch((x - 0.85, 1.0), (x - 0.42, 1.0), arrowstyle="-|>", mutation_scale=10, color=blue, linewidth=1.6, zorder=2))
            if attends or place == 0:
                axes.add_patch(FancyArrowPatch((x - 0.24, 1.66), (x - 0.24, 1.33), arrowstyle="-|>", mutation_scale=10, color=orange, linewidth=1.5, zorder=2))
        end = 2.9 + 1.25 * (len(words) - 1 if attends else 0) - 0.24
        axes.plot((2.0, end), (1.66, 1.66), color=orange, linewidth=1.8, zorder=2)
        axes.text(2.12, 1.7, "looks", color=orange, fontsize=9.5, fontweight="bold", va="bottom")
        axes.text(2.9 + 1.25 * (len(words) - 1) + 0.5, -0.14, "…", va="top", fontsize=11)
        axes.set(xlim=(-0.05, 2.9 + 1.25 * (len(words) - 1) + 0.7), ylim=(-0.45, 2.35), aspect="equal")
        axes.set_title("Show, Attend and Tell: every word looks anew" if attends else "Show and Tell: the picture is looked at once", fontsize=11)
        axes.axis("off")
        return figure


def similarity_map(image, annotations, places: Sequence[tuple[int, int]]) -> Figure:
    """The picture, and for each of some `places` (row, column) how much every other place's annotation is like it, bright where alike.

    annotations: [grid², width].  Alike is the cosine, after the mean annotation of the picture is taken off.
    Raises: InputError for a place outside the grid.
    """
    from PIL import Image

    values = np.asarray(annotations, dtype=np.float64)
    grid = round(len(values) ** 0.5)
    if not places or not all(0 <= row < grid and 0 <= column < grid for row, column in places):
        raise InputError(f"Places are (row, column) from 0 to {grid - 1}; {list(places)} are not.")
    values = values - values.mean(0)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    picture = np.asarray(image.convert("RGB").resize((SIDE, SIDE))) / 255
    with rc_context(STYLE):
        figure = Figure(figsize=(2.3 * (len(places) + 1), 2.5), layout="constrained")
        panels = figure.subplots(1, len(places) + 1)
        panels[0].imshow(picture)
        for line in np.arange(1, grid) * SIDE / grid - 0.5:
            panels[0].axhline(line, color=FAINT, linewidth=0.5)
            panels[0].axvline(line, color=FAINT, linewidth=0.5)
        panels[0].set_title(f"{grid}×{grid} places", fontsize=9.5, loc="center")
        for axes, (row, column), colour in zip(panels[1:], places, PALETTE[1:]):
            alike = (values @ values[row * grid + column]).clip(0, 1).reshape(grid, grid)
            light = np.asarray(Image.fromarray(alike.astype(np.float32)).resize((SIDE, SIDE), Image.Resampling.NEAREST))
            axes.imshow(picture * (0.12 + 0.88 * light[..., None]))
            for panel in (panels[0], axes):
                panel.add_patch(Rectangle((column * SIDE / grid - 0.5, row * SIDE / grid - 0.5), SIDE / grid, SIDE / grid, fill=False, edgecolor=colour, linewidth=2.4))
            axes.set_title(f"like row {row}, column {column}", fontsize=9.5, loc="center")
        for axes in panels:
            axes.set(xticks=[], yticks=[])
            axes.grid(False)
        return figure
