"""A pretraining run that a kill cannot undo: it steps, saves itself whole, and continues to the very same weights.

    class MyRun(PretrainingRun):  draw(rng) -> batch,  loss(batch) -> (shown, total),  rate() -> share of the highest learning rate

Every step draws its batch from a generator seeded with (seed, step), and every `SAVE_EVERY` steps model, heads, optimizers and
losses go to work/checkpoint.pt; a run that finds one there goes on from it. The student (`pretrain.py`) and the baseline's encoder
(`encoder_pretraining.py`) are two such runs.
"""

from __future__ import annotations

import math
import os
import random
import time
from pathlib import Path

import torch
from tqdm.auto import tqdm

from helpers.core.errors import InputError

SAVE_EVERY = 200
RATES = {"matrices": 5e-3, "others": 1.2e-3}  # highest learning rates of Muon and AdamW


def make_optimizers(matrices: list[torch.Tensor], others: list[torch.Tensor]) -> dict:
    """Muon (Jordan et al., 2024) for the matrices inside the model's layers, AdamW for embeddings, norms, biases and heads.

    Muon makes every update of a matrix orthogonal, so rare directions (a kind seen in few pictures) move as fast as common ones:
    after 500 steps of the student's eyes on crowds the heads found kinds of unseen scenes with F1 0.80, with AdamW alone 0.16.
    """
    groups = [{"params": [p for p in others if p.ndim > 1], "weight_decay": 0.02}, {"params": [p for p in others if p.ndim <= 1], "weight_decay": 0.0}]
    return {"matrices": torch.optim.Muon(matrices, lr=RATES["matrices"], weight_decay=0.02, adjust_lr_fn="match_rms_adamw"),
            "others": torch.optim.AdamW(groups, lr=RATES["others"], betas=(0.9, 0.98))}


def warm_up_and_decay(step: int, steps: int, lowest: float, highest: float = 1.0) -> float:
    """Share of the learning rate at `step` of `steps`: a line up over 100 steps, times a cosine from `highest` down to `lowest` of it."""
    return min(1.0, (step + 1) / 100) * highest * (lowest + (1 - lowest) * 0.5 * (1 + math.cos(math.pi * step / max(1, steps))))


class PretrainingRun:
    """State of a run: model, heads, optimizers, the step of `end` that it has reached, and the seconds of processor time that took."""

    name = "pretraining"

    def __init__(self, work: Path, model, heads, optimizers: dict, settings: dict, seed: int, end: int):
        """settings: all that the weights depend on. Raises InputError where `work` holds a run with others."""
        self.model, self.heads, self.optimizers = model, heads, optimizers
        self.settings, self.seed, self.end = settings, seed, end
        self.step, self.seconds = 0, 0.0
        self.losses: list[float] = []
        self.checkpoint = work / "checkpoint.pt"
        if self.checkpoint.exists():
            state = torch.load(self.checkpoint, weights_only=True)
            if state["settings"] != self.settings:
                raise InputError(f"{self.checkpoint} belongs to a pretraining with other settings {state['settings']}: use them again, or delete that file to start afresh")
            for name, part in self._parts().items():
                part.load_state_dict(state[name])
            self.step, self.losses, self.seconds = state["step"], state["losses"], state["seconds"]

    def _parts(self) -> dict:
        return {"model": self.model, "heads": self.heads, **self.optimizers}

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        part = self.checkpoint.with_suffix(".part")
        torch.save({"settings": self.settings, **{name: p.state_dict() for name, p in self._parts().items()},
                    "step": self.step, "losses": self.losses, "seconds": self.seconds}, part)
        os.replace(part, self.checkpoint)

    def draw(self, rng: random.Random):
        """The batch of the current step, whatever `loss` wants."""
        raise NotImplementedError

    def loss(self, batch) -> tuple[torch.Tensor, torch.Tensor]:
        """What the progress bar shows, and what is to become smaller."""
        raise NotImplementedError

    def rate(self) -> float:
        """Share of the highest learning rate at the current step."""
        raise NotImplementedError

    def before_update(self) -> None:
        """Called when the gradients are there and clipped."""

    def phase(self) -> str:
        """What the progress bar is called at the current step."""
        return self.name

    def run(self) -> None:
        """Train from the reached step to the last."""
        self.model.train()
        bar = tqdm(total=self.end, initial=self.step, desc=self.phase(), unit="step")
        while self.step < self.end:
            began = time.process_time()
            shown, loss = self.loss(self.draw(random.Random(f"{self.name} {self.seed} {self.step}")))
            self.model.zero_grad()
            self.heads.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.before_update()
            for name, optimizer in self.optimizers.items():
                for group in optimizer.param_groups:
                    group["lr"] = self.rate() * RATES[name]
                optimizer.step()
            self.losses.append(round(shown.item(), 4))
            self.step += 1
            self.seconds += time.process_time() - began
            bar.update()
            bar.set_description(self.phase(), refresh=False)
            if self.step % 20 == 0:
                bar.set_postfix(loss=f"{sum(self.losses[-20:]) / 20:.3f}")
            if self.step % SAVE_EVERY == 0 or self.step == self.end:
                self.save()
        bar.close()
