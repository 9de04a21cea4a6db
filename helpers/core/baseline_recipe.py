"""How the CNN-RNN baseline is trained, and what a training leaves behind: plain values, readable without torch.

    Recipe (what is asked)  --training-->  out/history.json  --History-->  losses and scores, step by step and epoch by epoch
"""

from __future__ import annotations

from dataclasses import dataclass, field

HISTORY = "history.json"


@dataclass(frozen=True)
class Recipe:
    """How a baseline is trained.

    attention: Show, Attend and Tell; without it Show and Tell.  encoder: one of `helpers.baseline.ENCODERS`.  unit: "word" or, in Chinese,
    "character".  least: how often a token must be in the captions to be learned.  regularisation: λ above.
    """

    attention: bool = True
    encoder: str = "pretrained"
    unit: str = "word"
    least: int = 1
    epochs: int = 8
    batch_size: int = 32
    learning_rate: float = 4e-3
    regularisation: float = 0.2
    hidden_size: int = 256
    dropout: float = 0.1
    seed: int = 0


@dataclass
class History:
    """What a run left beside its weights. steps: (step, loss a token).  epochs: one record each, see `Trainer`.  asked: all that decides the result."""

    asked: dict
    steps: list[tuple[int, float]] = field(default_factory=list)
    epochs: list[dict] = field(default_factory=list)
    seconds: float = 0.0
