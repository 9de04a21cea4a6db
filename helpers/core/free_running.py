"""Teacher forcing against free running: what a captioner reads in training, and what it reads when it is alone.

    teacher forcing   every word is predicted from the TRUE words before it
    free running      every word is predicted from the words that the model SAID before it

In training the model never meets a mistake of its own, so nothing teaches it to go on after one (exposure bias; Ranzato et al., 2016,
arXiv:1511.06732; Bengio et al., 2015, arXiv:1506.03099).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from helpers.core.baseline_student import Baseline
from helpers.core.baseline_training import pad, shift
from helpers.core.beam_search import Hypothesis, next_words
from helpers.core.errors import InputError
from helpers.core.vocabulary import PAD, START


@dataclass
class Exposure:
    """Shares by place in the caption, [length] each: words right with the true ones before (`forced`), with the model's own before (`free`),
    and how many captions are that long (`counted`)."""

    forced: np.ndarray
    free: np.ndarray
    counted: np.ndarray


@torch.inference_mode()
def compare_exposure(baseline: Baseline, images: Sequence, captions: Sequence[str], given: int = 0, batch_size: int = 32) -> Exposure:
    """How many words are right at each place of `captions`, forced and free, for one picture each.

    given: so many true words the model may read also when it runs free, lest another wording of the beginning shift all that follows.
    A word counts as right only at its own place, so one that was left out makes all behind it wrong: what a reader would forgive.
    Raises InputError for other numbers of captions than pictures, or none.
    """
    if len(images) != len(captions) or not images:
        raise InputError(f"Give one caption a picture, and at least one: there are {len(images)} pictures and {len(captions)} captions.")
    targets = pad([baseline.vocabulary.encode(caption) for caption in captions])
    right = {"forced": torch.zeros(targets.shape), "free": torch.zeros(targets.shape)}
    for start in range(0, len(images), batch_size):
        rows = slice(start, start + batch_size)
        annotations, wanted = baseline.annotate(images[rows]), targets[rows].to(baseline.device)
        logits, _ = baseline.decoder(annotations, shift(wanted))
        right["forced"][rows] = (logits.argmax(-1) == wanted).float().cpu()
        state, words = baseline.decoder.begin(annotations), shift(wanted)[:, 0]
        for place in range(targets.shape[1]):
            scores, state, _ = next_words(baseline.decoder, words, state)
            said = scores.argmax(-1)
            right["free"][rows, place] = (said == wanted[:, place]).float().cpu()
            words = wanted[:, place] if place < given else said
    there = (targets != PAD).float()
    counted = there.sum(0)
    shares = {name: ((values * there).sum(0) / counted).numpy() for name, values in right.items()}
    return Exposure(shares["forced"], shares["free"], counted.numpy().astype(int))


@torch.inference_mode()
def continue_caption(baseline: Baseline, image, beginning: str, max_new_tokens: int = 80) -> Hypothesis:
    """The caption that the model makes of `beginning`, as if it had said these words itself; the rest is greedy.

    The hypothesis holds all words, those that were given with the probability that the model gave them. A word that it does not know is
    read as `<unk>`.
    """
    vocabulary = baseline.vocabulary
    given = vocabulary.encode(beginning)[:-1]
    state, words, found = baseline.decoder.begin(baseline.annotate([image])), torch.tensor([START], device=baseline.device), Hypothesis()
    while not found.ended and len(found.ids) < len(given) + max_new_tokens:
        scores, state, attention = next_words(baseline.decoder, words, state)
        word = given[len(found.ids)] if len(found.ids) < len(given) else int(scores[0].argmax())
        found = found.grown(word, scores[0, word].item(), None if attention is None else attention[0])
        words = torch.tensor([word], device=baseline.device)
    return found
