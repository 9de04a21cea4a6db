"""Trains the CNN-RNN captioner: teacher forcing, doubly stochastic attention, and a look at how it does after every epoch.

    samples (picture, answer)  --split, encode-->  ids, annotations  --epochs-->  Baseline in out/, with history.json beside it

The loss of a word is its cross-entropy given the true words before it. Attention adds λ · mean over places of (1 − Σ_t α_ti)², which wants
every place of the picture to be looked at once in the course of a caption (Xu et al., 2015, section 4.2.1, doubly stochastic attention).
A run that was killed goes on after its last whole epoch and ends with the same weights.
"""

from __future__ import annotations

import math
import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch.nn import functional

from helpers.core.baseline_recipe import History, Recipe
from helpers.core.baseline_student import Baseline
from helpers.core.beam_search import greedy
from helpers.core.errors import Stopped, TrainingError
from helpers.core.overlap import overlap
from helpers.core.vocabulary import PAD, START, Vocabulary, split

CHECKPOINT = "checkpoint.pt"
LONGEST = 120  # tokens of a caption that are learned; the rest is cut


def pad(captions: Sequence[Sequence[int]]) -> torch.Tensor:
    """Ids of captions, padded on the right: [n, length of the longest]."""
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(ids) for ids in captions], batch_first=True, padding_value=PAD)


def shift(targets: torch.Tensor) -> torch.Tensor:
    """What is read when `targets` [n, length] are to be said: the same, one place later, with the start in front."""
    return torch.cat([torch.full((len(targets), 1), START), targets[:, :-1]], dim=1)


def caption_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The mean cross-entropy of the words of a batch: logits [n, length, words], targets [n, length] with padding, which does not count."""
    return functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=PAD)


def attention_loss(alpha: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean of (1 − Σ_t α_ti)² over places and captions: α [n, length, places]; attention at padding does not count."""
    told = (alpha * (targets != PAD)[..., None]).sum(1)
    return (1 - told).square().mean()


def in_batches(captions: Sequence[Sequence[int]], size: int, rng: random.Random) -> list[list[int]]:
    """All rows once, in batches of captions about equally long, in random order: little padding, few steps of the LSTM in vain."""
    rows = list(range(len(captions)))
    rng.shuffle(rows)
    chunk = 16 * size
    rows = [row for start in range(0, len(rows), chunk) for row in sorted(rows[start:start + chunk], key=lambda row: len(captions[row]))]
    batches = [rows[start:start + size] for start in range(0, len(rows), size)]
    if len(batches) > 1 and len(batches[-1]) == 1:  # batch normalisation needs two pictures
        batches[-2:] = [batches[-2] + batches[-1]]
    rng.shuffle(batches)
    return batches


@dataclass
class Examination:
    """Pictures and captions by which a training is watched. annotate: rows → annotations.  captions: their references."""

    annotate: Callable[[list[int]], torch.Tensor]
    captions: list[str]


class Trainer:
    """One training run of `baseline` on rows of pictures, given by `annotate` (rows → annotations [n, places, width]), and their `captions`.

    Each record of `history.epochs` holds epoch, loss, attention (its loss), validation_loss and cider (of free-running captions, both None
    without `examination`) and seconds.
    """

    def __init__(self, baseline: Baseline, recipe: Recipe, annotate: Callable[[list[int]], torch.Tensor], captions: Sequence[str], asked: dict,
                 out: Path, examination: Examination | None = None):
        self.baseline, self.recipe, self.annotate, self.out, self.examination = baseline, recipe, annotate, out, examination
        self.ids = [baseline.vocabulary.encode(caption)[:LONGEST] for caption in captions]
        self.history = History(asked)
        # An encoder that is trained along learns more slowly than the decoder, which would otherwise settle on what it cannot yet see.
        groups = [{"params": [*baseline.decoder.parameters()], "lr": recipe.learning_rate}]
        self.along = any(p.requires_grad for p in baseline.encoder.parameters())
        if self.along:
            groups.append({"params": [*baseline.encoder.parameters()], "lr": recipe.learning_rate / 4})
        self.optimizer = torch.optim.AdamW(groups, weight_decay=1e-4)
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.batches = len(in_batches(self.ids, recipe.batch_size, random.Random(0)))

    def run(self, progress: str | None = "training the baseline") -> History:
        """Train to the end, or on from the checkpoint in `out`; returns the history. Raises TrainingError for a loss that is no number, Stopped."""
        from tqdm.auto import tqdm

        self._resume()
        total = self.recipe.epochs * self.batches
        with tqdm(total=total, initial=len(self.history.steps), desc=progress, unit="step", disable=progress is None) as bar:
            try:
                for epoch in range(len(self.history.epochs), self.recipe.epochs):
                    self._epoch(epoch, total, bar)
                    self._save()
            except KeyboardInterrupt:
                kept = len(self.history.epochs)
                told = f"{kept} of {self.recipe.epochs} epochs are kept" if kept else "No epoch was whole yet"
                raise Stopped(f"The training in {self.out} was stopped. {told}; run the same again to go on.") from None
        return self.history

    def _epoch(self, epoch: int, total: int, bar) -> None:
        """One pass over the training captions, and the look after it."""
        began, baseline = time.monotonic(), self.baseline
        rng = random.Random(f"baseline {self.recipe.seed} {epoch}")
        torch.manual_seed(rng.randrange(1 << 62))  # of dropout
        baseline.decoder.train()
        baseline.encoder.train(self.along)
        losses, spread = [], []
        for rows in in_batches(self.ids, self.recipe.batch_size, rng):
            targets = pad([self.ids[row] for row in rows])
            logits, alpha = baseline.decoder(self.annotate(rows), shift(targets))
            loss = said = caption_loss(logits, targets)
            if alpha is not None:
                looked = attention_loss(alpha, targets)
                loss = loss + self.recipe.regularisation * looked
                spread.append(looked.item())
            if not torch.isfinite(loss):
                raise TrainingError(f"The loss at step {len(self.history.steps) + 1} is {loss.item()}: start again with a smaller learning rate.")
            self._step(loss, total)
            losses.append(said.item())
            self.history.steps.append((len(self.history.steps) + 1, round(said.item(), 4)))
            bar.update()
            bar.set_postfix(loss=f"{sum(losses[-20:]) / len(losses[-20:]):.3f}", refresh=False)
        baseline.decoder.eval()
        baseline.encoder.eval()
        self.history.seconds += time.monotonic() - began
        record = {"epoch": epoch + 1, "loss": sum(losses) / len(losses), "attention": sum(spread) / len(spread) if spread else None}
        self.history.epochs.append(record | self._examine() | {"seconds": self.history.seconds})

    def _step(self, loss: torch.Tensor, total: int) -> None:
        """One update; the learning rate warms up over 30 steps and falls as a cosine."""
        done = len(self.history.steps)
        share = min(1.0, (done + 1) / 30) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done / total)))
        for group, rate in zip(self.optimizer.param_groups, self.rates):
            group["lr"] = rate * share
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.baseline.parameters(), 1.0)
        self.optimizer.step()

    @torch.inference_mode()
    def _examine(self) -> dict[str, float | None]:
        """Loss and CIDEr on the examination's pictures: the one with true words before every word, the other with the model's own."""
        if self.examination is None:
            return {"validation_loss": None, "cider": None}
        vocabulary, captions = self.baseline.vocabulary, self.examination.captions
        annotations = self.examination.annotate(list(range(len(captions))))
        targets = pad([vocabulary.encode(caption)[:LONGEST] for caption in captions])
        logits, _ = self.baseline.decoder(annotations, shift(targets))
        said = [vocabulary.decode(found.ids) for found in greedy(self.baseline.decoder, annotations, LONGEST)]
        return {"validation_loss": caption_loss(logits, targets).item(), "cider": cider(said, captions, vocabulary)}

    def _resume(self) -> None:
        """Go on from a checkpoint of the very same run; any other is left behind."""
        file = self.out / CHECKPOINT
        if not file.is_file():
            return
        state = torch.load(file, weights_only=True)
        if state["asked"] != self.history.asked:
            return
        self.baseline.decoder.load_state_dict(state["decoder"])
        if self.along:
            self.baseline.encoder.load_state_dict(state["encoder"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.history = History(**state["history"])

    def _save(self) -> None:
        """Write a checkpoint, whole or not at all."""
        part = self.out / f".{CHECKPOINT}"
        torch.save({"asked": self.history.asked, "history": asdict(self.history), "decoder": self.baseline.decoder.state_dict(),
                    "encoder": self.baseline.encoder.state_dict() if self.along else None, "optimizer": self.optimizer.state_dict()}, part)
        os.replace(part, self.out / CHECKPOINT)


def cider(captions: Sequence[str], references: Sequence[str], vocabulary: Vocabulary) -> float:
    """Mean CIDEr of captions against one reference each, its words those of the vocabulary, punctuation left out."""
    def words(text: str) -> str:
        return " ".join(token.lower() for token in split(text, vocabulary.language, vocabulary.unit) if any(map(str.isalnum, token)))

    found = overlap([[words(reference)] for reference in references], {"baseline": [words(caption) for caption in captions]})
    return float(found["baseline"].cider.mean())
