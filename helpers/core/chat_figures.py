"""Draws what a student might have said: the probabilities of the next token, step by step, and what temperature makes of them.

    student, picture, [Turn, …]  --likeliest-->  [Step("a", [("a", 0.98), ("two", 0.01), …]), Step("red", …), …]
    steps_figure(steps)                a column a step, its candidates from the likeliest down, the darker the likelier
    temperature_figure(candidates)     one step's candidates at several temperatures

The steps are those of greedy decoding: each time the likeliest token. Their probabilities are the model's own, before any setting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from helpers.core.chat_stream import encode_turns
from helpers.core.conversations import Turn
from helpers.core.errors import InputError
from helpers.core.figures import INK, PALETTE, STYLE
from helpers.core.fonts import drawable, families

END = "(end)"  # how a token that ends the turn is written
LEAST = 0.005  # probability of a candidate that is written down


@dataclass(frozen=True)
class Step:
    """One step: the token that was taken, and (token, probability) of the likeliest ones, it among them, the likeliest first."""

    token: str
    candidates: list[tuple[str, float]]

    @property
    def entropy(self) -> float:
        """How undecided the model was between the candidates, in bits (Shannon, 1948); what they leave over is not counted."""
        shares = np.array([share for _, share in self.candidates if share > 0])
        return float(-(shares * np.log2(shares)).sum())


def likeliest(student, picture, turns: Sequence[Turn], *, top: int = 4, max_new_tokens: int = 16) -> list[Step]:
    """The steps of a greedy answer to the last of `turns`, at most `max_new_tokens`; `top` candidates each.

    student: helpers.core.student.Student.  picture: PIL, RGB.  Raises InputError where the question leaves no room for an answer.
    """
    import torch

    inputs = encode_turns(student, picture, turns, max_new_tokens)
    with torch.inference_mode():
        made = student.model.generate(**inputs, do_sample=False, max_new_tokens=max_new_tokens, output_logits=True, return_dict_in_generate=True)
    special, steps = set(student.processor.tokenizer.all_special_ids), []
    for taken, logits in zip(made.sequences[0, inputs["input_ids"].shape[1]:].tolist(), made.logits):
        shares, ids = torch.softmax(logits[0].float(), -1).topk(top)
        words = [END if token in special else student.processor.tokenizer.decode([token]).strip() for token in [taken, *ids.tolist()]]
        steps.append(Step(words[0], list(zip(words[1:], shares.tolist()))))
    return steps


def steps_figure(steps: Sequence[Step]) -> Figure:
    """A column a step, its candidates below each other with their probabilities, from half a percent on. Raises InputError without a step."""
    if not steps:
        raise InputError("There is no step to draw: let the student say something.")
    shares = np.array([[share for _, share in step.candidates] for step in steps]).T
    with rc_context({**STYLE, "font.family": families()}):
        figure = Figure(figsize=(max(3.0, 0.95 * len(steps)), 0.5 * len(shares) + 0.8), layout="constrained")
        axes = figure.add_subplot()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.2, aspect="auto")
        for (rank, place), share in np.ndenumerate(shares):
            if share >= LEAST:
                said = f"{drawable(steps[place].candidates[rank][0])}\n{share:.0%}"
                axes.text(place, rank, said, ha="center", va="center", fontsize=8.5, color="white" if share > 0.7 else INK)
        axes.set(xticks=range(len(steps)), xticklabels=range(1, len(steps) + 1), yticks=[], xlabel="step: the first row is what the student says")
        axes.grid(False)
        axes.spines[:].set_visible(False)
        return figure


def temperature_figure(candidates: Sequence[tuple[str, float]], temperatures: Sequence[float] = (0.5, 1.0, 2.0)) -> Figure:
    """What temperature makes of the probabilities of one step's candidates: each to the power of 1 / temperature, and made to add up to 1 again.

    candidates: (token, probability).  Raises InputError without one, or for a temperature that is not above 0.
    """
    if not candidates or min(temperatures) <= 0:
        raise InputError("Give at least one candidate, and temperatures above 0.")
    shares = np.array([share for _, share in candidates])
    with rc_context({**STYLE, "font.family": families()}):
        figure = Figure(figsize=(7.2, 2.8), layout="constrained")
        axes = figure.add_subplot()
        width = 0.8 / len(temperatures)
        for number, temperature in enumerate(temperatures):
            powers = shares ** (1 / temperature)
            axes.bar(np.arange(len(shares)) + (number - (len(temperatures) - 1) / 2) * width, powers / powers.sum(), width * 0.92,
                     color=PALETTE[number % len(PALETTE)], label=f"temperature {temperature:g}")
        axes.set(xticks=range(len(shares)), xticklabels=[drawable(token) for token, _ in candidates], ylabel="probability", ylim=(0, 1))
        axes.legend()
        return figure
