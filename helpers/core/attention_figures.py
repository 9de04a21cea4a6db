"""Draws what a captioner does: where it looks at each word, how its beams live and die, how it learned.

    attention_map(image, words, attention)   the picture once a word, bright where the attention was
    attention_on_objects(...)                how much attention is on the object whose name is being said
    beam_tree(search, vocabulary)            the beginnings that a beam search followed, from left to right
    learning_curves({name: history})         loss, loss on other pictures, CIDEr, epoch by epoch
    exposure_figure(exposure)                words right with the true ones before, and with the model's own
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from helpers.core.beam_search import DIES, ENDS, Search
from helpers.core.errors import InputError
from helpers.core.figures import FAINT, INK, PALETTE, STYLE, colour_of, label_of
from helpers.core.fonts import drawable, families
from helpers.core.vocabulary import END, Vocabulary

SHOWN = 140  # pixels a side of a picture in an attention map


def attention_map(image, words: Sequence[str], attention, columns: int = 9, chosen: Sequence[int] | None = None) -> Figure:
    """The picture once for every word that was said, dark where the attention was not.

    image: PIL.  words: n strings.  attention: [n, places], places = grid², row by row.  chosen: which of the words, by place; None: all.
    Each map is scaled to its own highest share, which stands beside the word.  Raises: InputError where words and attention do not fit.
    """
    from PIL import Image

    shares = np.asarray([np.asarray(row) for row in attention])[:len(words)]
    if not len(words) or len(shares) != len(words):
        raise InputError(f"{len(words)} words and {len(shares)} rows of attention: give one row a word (a baseline without attention has none).")
    grid = round(shares.shape[1] ** 0.5)
    picture = np.asarray(image.convert("RGB").resize((SHOWN, SHOWN))) / 255
    places = range(len(words)) if chosen is None else chosen
    columns = min(columns, len(places) + 1)
    rows = -(-(len(places) + 1) // columns)
    with rc_context({**STYLE, "font.family": families()}):
        figure = Figure(figsize=(1.25 * columns, 1.45 * rows), layout="constrained")
        panels = [figure.add_subplot(rows, columns, place + 1) for place in range(len(places) + 1)]
        panels[0].imshow(picture)
        panels[0].set_title("the picture", fontsize=8.5, loc="center")
        for axes, place in zip(panels[1:], places):
            share = shares[place].reshape(grid, grid)
            light = np.asarray(Image.fromarray((share / share.max()).astype(np.float32)).resize((SHOWN, SHOWN), Image.Resampling.BICUBIC)).clip(0, 1)
            axes.imshow(picture * (0.12 + 0.88 * light[..., None]))
            axes.set_title(f"{drawable(words[place])}  {share.max():.0%}", fontsize=8.5, loc="center")
        for axes in panels:
            axes.set(xticks=[], yticks=[])
            axes.grid(False)
        return figure


def beam_tree(search: Search, vocabulary: Vocabulary, first: int = 0, last: int = 8) -> Figure:
    """Steps `first` to `last` of a beam search: a column a step, a word a candidate, the likelier the higher.

    Blue lives and goes on, grey dies, green has reached the end; a thick line is the caption that won, a dashed one greedy's.
    Numbers are log-probabilities of the whole beginning.  Raises: InputError when there is no such step.
    """
    steps = search.steps[first:last]
    if not steps:
        raise InputError(f"The search has {len(search.steps)} steps; there is none from {first} on to draw.")
    tallest = max(len(step) for step in steps)
    colours = {DIES: "#8A8A8A", ENDS: PALETTE[2]}
    with rc_context({**STYLE, "font.family": families()}):
        figure = Figure(figsize=(min(14, 1.55 * len(steps) + 1), 0.46 * tallest + 1.1), layout="constrained")
        axes = figure.add_subplot()
        before = search.steps[first - 1] if first else []
        # Place of a living beam → where it was drawn: those before the first column stand at its left edge.
        alive = {c.place: (-0.6, tallest - 1.0 - c.place) for c in before if c.place is not None} or {0: (-0.6, (tallest - 1) / 2)}
        for column, step in enumerate(steps):
            drawn = {}
            for height, candidate in enumerate(step):
                ids, y = candidate.hypothesis.ids, tallest - 1 - height
                colour = colours.get(candidate.fate, PALETTE[0])
                won = search.best.ids[:len(ids)] == ids
                x, above = alive[candidate.parent]
                axes.plot([x + (0.34 if x >= 0 else 0), column - 0.36], [above, y], color=colour, linewidth=2.6 if won else 1,
                          linestyle="--" if candidate.greedy and not won else "-", alpha=1 if candidate.fate != DIES else 0.45, zorder=1)
                word = "■ end" if ids[-1] == END else drawable(vocabulary.tokens[ids[-1]])
                axes.text(column, y, f"{word}\n{candidate.hypothesis.score:.2f}", ha="center", va="center", fontsize=8, color=colour,
                          fontweight="bold" if won else "normal", linespacing=1.05)
                if candidate.place is not None:
                    drawn[candidate.place] = (column, y)
            alive = drawn
        axes.set(xlim=(-0.75, len(steps) - 0.45), ylim=(-0.7, tallest - 0.3), yticks=[])
        axes.set_xticks(range(len(steps)), [f"word {first + column + 1}" for column in range(len(steps))])
        axes.set_title("At every step, the likelier the higher: blue lives, grey dies, green has ended")
        axes.grid(False)
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.tick_params(length=0)
        return figure


def learning_curves(histories: Mapping[str, object]) -> Figure:
    """Two panels over epochs: the loss of a word (solid: training, dashed: pictures not trained on), and CIDEr of free-running captions.

    histories: {name: `History`}.  Raises: InputError for a run without epochs.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        for place, (name, history) in enumerate(histories.items()):
            if not history.epochs:
                raise InputError(f"{name} has finished no epoch; there is no curve to draw.")
            colour, epochs = colour_of(name, place), [record["epoch"] for record in history.epochs]
            left.plot(epochs, [record["loss"] for record in history.epochs], color=colour, marker="o", markersize=4, label=label_of(name))
            if history.epochs[0]["cider"] is not None:
                left.plot(epochs, [record["validation_loss"] for record in history.epochs], color=colour, linestyle="--", marker="o", markersize=4)
                right.plot(epochs, [record["cider"] for record in history.epochs], color=colour, marker="o", markersize=4, label=label_of(name))
        left.set_yscale("log")
        left.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        left.yaxis.set_major_formatter("{x:g}")
        left.yaxis.set_minor_formatter(NullFormatter())
        left.set(title="Loss (dashed: other pictures)", xlabel="epoch", ylabel="cross-entropy per token")
        right.set(title="CIDEr of other pictures", xlabel="epoch", ylim=(0, None))
        for axes in (left, right):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            if axes.lines:
                axes.legend()
        return figure


def exposure_figure(exposure, least: int = 10) -> Figure:
    """Share of words right at each place of a caption, forced and free; places that fewer than `least` captions have are left out.

    exposure: `helpers.core.free_running.Exposure`.  Raises: InputError when no place is left.
    """
    long = int((exposure.counted >= least).sum())
    if not long:
        raise InputError(f"No place of a caption is reached by {least} captions; compare more of them, or take a smaller least.")
    with rc_context(STYLE):
        figure = Figure(figsize=(7.6, 3.3), layout="constrained")
        axes = figure.add_subplot()
        places = range(1, long + 1)
        for place, (name, values) in enumerate((("the true words before it", exposure.forced), ("the model's own words before it", exposure.free))):
            axes.plot(places, values[:long], color=PALETTE[(0, 4)[place]], linestyle=("-", "--")[place], label=name)
        axes.fill_between(places, exposure.free[:long], exposure.forced[:long], color=FAINT, alpha=0.4, linewidth=0)
        axes.set(title="Words right, by their place in the caption", xlabel="place in the caption", ylabel="share right", ylim=(0, 1.02))
        axes.yaxis.set_major_formatter("{x:.0%}")
        axes.legend(loc="lower left")
        return figure


def ranked_bars(shares: Mapping[str, tuple[float, float]], title: str, names: tuple[str, str]) -> Figure:
    """Two shares (0 to 1) an entry as a dot each on one line, the largest first share on top: {label: (first, second)}.

    names: what the two are.  Raises: InputError without entries.
    """
    if not shares:
        raise InputError("There is nothing to draw; no entry was counted.")
    order = sorted(shares, key=lambda name: shares[name][0])
    with rc_context({**STYLE, "axes.grid.axis": "x"}):
        figure = Figure(figsize=(7.2, 0.24 * len(order) + 1.1), layout="constrained")
        axes = figure.add_subplot()
        for y, name in enumerate(order):
            axes.plot(shares[name], (y, y), color=FAINT, linewidth=2, zorder=1)
        axes.plot([shares[name][0] for name in order], range(len(order)), "o", color=PALETTE[0], label=names[0])
        axes.plot([shares[name][1] for name in order], range(len(order)), "D", color=INK, markersize=4, label=names[1])
        axes.set_yticks(range(len(order)), [drawable(name) for name in order], fontsize=8.5)
        axes.set(title=title, xlim=(0, 1.0), ylim=(-0.7, len(order) - 0.3))
        axes.xaxis.set_major_formatter("{x:.0%}")
        axes.legend(loc="lower right")
        return figure
