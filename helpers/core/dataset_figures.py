"""What a data set looks like before anything is trained on it: lengths, words, picture sizes, near-duplicates.

Shape of the data: texts, Counters, sizes in pixels or `helpers.core.duplicates.Pair`s go in, a matplotlib `Figure` in the
style of `helpers.core.figures` comes out. "Become one with the data" (Karpathy, A Recipe for Training Neural Networks,
2019): an odd bar here is an odd model later.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from helpers.core.duplicates import Pair
from helpers.core.errors import InputError
from helpers.core.figures import PALETTE, STYLE
from helpers.core.images import open_image

# Words that every English text is made of, and that say nothing of what is described.
_COMMON = frozenset("a an and are as at be by for from has in is it its of on or that the their there this to two with".split())


def vocabulary(texts: Iterable[str], language: str) -> Counter:
    """How often each word stands in the texts: English in lower case without the commonest words, Chinese as jieba cuts it."""
    if language == "en":
        return Counter(word for text in texts for word in re.findall(r"[a-z][a-z'-]*", text.lower()) if word not in _COMMON)
    import logging

    import jieba

    jieba.setLogLevel(logging.WARNING)
    return Counter(word for text in texts for word in jieba.cut(text) if re.search(r"[\u3400-\u9fff]", word))


def lengths_figure(lengths: Mapping[str, Sequence[int]], size: tuple[float, float] = (7.2, 3.0)) -> Figure:
    """One panel a name, a histogram of its lengths with a line at the median. The name says the unit: "English words".

    Raises: InputError when a name has no lengths.
    """
    if empty := [name for name, values in lengths.items() if not len(values)]:
        raise InputError(f"There is no length of {empty[0]} to draw.")
    with rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        for place, (name, values) in enumerate(lengths.items()):
            axes = figure.add_subplot(1, len(lengths), place + 1)
            axes.hist(values, bins=min(16, max(values) - min(values) + 1), color=PALETTE[place % len(PALETTE)], rwidth=0.92)
            middle = sorted(values)[len(values) // 2]
            axes.axvline(middle, color="#1f2328", linewidth=1.2, linestyle="--")
            axes.annotate(f"median {middle}", (middle, 1), (4, -2), xycoords=("data", "axes fraction"), textcoords="offset points", va="top", fontsize=9)
            axes.margins(y=0.16)  # room for that above the bars
            axes.set(title=name, xlabel="length of an answer", ylabel="answers" if place == 0 else "")
            axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        return figure


def words_figure(counts: Counter, most: int = 24, size: tuple[float, float] = (7.2, 3.4)) -> Figure:
    """The `most` frequent words as bars. Raises: InputError for no words, and for Chinese ones, which matplotlib's font lacks."""
    common = counts.most_common(most)
    if not common:
        raise InputError("There are no words to draw.")
    if any(re.search(r"[\u2e80-\uffef]", word) for word, _ in common):
        raise InputError("matplotlib's font has no Chinese characters: print the words, or show them as a table.")
    with rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot()
        axes.bar(range(len(common)), [number for _, number in common], color=PALETTE[0], width=0.75)
        axes.set_xticks(range(len(common)), [word for word, _ in common], rotation=55, ha="right", rotation_mode="anchor")
        axes.set(title=f"The {len(common)} most frequent of {len(counts)} words", ylabel="times")
        return figure


def sizes_figure(sizes: Sequence[tuple[int, int]], size: tuple[float, float] = (4.6, 3.6)) -> Figure:
    """One dot a size (width, height in pixels) on equal axes, larger for more pictures; named from 5 % on. Raises: InputError for none."""
    if not sizes:
        raise InputError("There are no picture sizes to draw.")
    counts = Counter(sizes)
    top = max(max(pair) for pair in counts) * 1.15
    with rc_context(STYLE | {"axes.grid.axis": "both"}):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot()
        axes.plot([0, top], [0, top], color="#c9ced6", linewidth=1)
        axes.scatter([w for w, _ in counts], [h for _, h in counts], s=[30 + 240 * n / len(sizes) for n in counts.values()],
                     color=PALETTE[4], alpha=0.7, edgecolors="white")
        # Names of rare sizes would lie on top of each other.
        for (width, height), number in [(pair, n) for pair, n in counts.items() if n >= 0.05 * len(sizes)]:
            axes.annotate(f"{number} of {width} × {height}", (width, height), (0, -12), textcoords="offset points", ha="center", va="top", fontsize=8)
        axes.set(xlim=(0, top), ylim=(0, top), aspect="equal", title="Picture sizes", xlabel="width in pixels", ylabel="height in pixels")
        return figure


def pairs_figure(pairs: Sequence[Pair], columns: int = 4) -> Figure:
    """Each pair of near-duplicates as one column, one picture above the other, with names and measures. Raises: InputError for none."""
    if not pairs:
        raise InputError("There are no near-duplicates to draw.")
    columns = min(columns, len(pairs))
    rows = -(-len(pairs) // columns)
    with rc_context(STYLE):
        figure = Figure(figsize=(2.5 * columns, 5.4 * rows), layout="constrained")
        for place, pair in enumerate(pairs):
            row, column = divmod(place, columns)
            for below, path in enumerate((pair.one, pair.other)):
                axes = figure.add_subplot(2 * rows, columns, (2 * row + below) * columns + column + 1)
                axes.imshow(open_image(path))
                axes.set_title(f"{path.parent.name}/{path.name}", fontsize=9, fontweight="normal")
                axes.set(xticks=[], yticks=[])
                axes.grid(False)
            axes.set_xlabel(f"{pair.distance} of 256 bits apart\nresidual {pair.residual:.1f}{', mirrored' if pair.mirrored else ''}", fontsize=8.5)
        return figure
