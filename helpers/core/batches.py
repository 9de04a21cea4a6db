"""Which samples make a training batch, and in which order.

`Conversations` holds the samples of a conversation file and encodes each when it is first asked for; `LengthSampler` deals
their numbers so that a batch pads little. Data: Sample → {"input_ids", "labels" [length], "pixel_values", "target_sizes"}.
This module imports torch; only training programs import it.
"""

import random
from collections.abc import Iterator
from itertools import cycle, islice

import torch

from helpers.core.conversations import Sample
from helpers.core.encoding import encode_sample
from helpers.core.errors import InputError
from helpers.core.images import open_image

LENGTH_POOL = 16  # batches are cut from pools of this many, sorted by length: little padding, still random


class Conversations(torch.utils.data.Dataset):
    """Encoded samples by number. What has been encoded stays in memory, up to `cache_bytes`, for the epochs to come."""

    def __init__(self, samples: list[Sample], processor, max_length: int, cache_bytes: float):
        self.samples, self.processor, self.max_length = samples, processor, max_length
        self.cache: dict[int, dict] = {}
        self.room = cache_bytes

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict:
        """The encoded sample number `index`. Raises InputError naming the sample that cannot be encoded."""
        if index in self.cache:
            return self.cache[index]
        sample = self.samples[index]
        try:
            encoded = encode_sample(self.processor, open_image(sample.path), sample.turns, self.max_length)
        except InputError as error:
            raise InputError(f"Sample {sample.id}: {error}") from error
        size = sum(tensor.nbytes for tensor in encoded.values())
        if size <= self.room:
            self.room -= size
            self.cache[index] = encoded
        return encoded


class LengthSampler(torch.utils.data.Sampler):
    """A new random order every epoch, the same for the same seed, in which samples of like length are neighbours.

    `batch` samples that follow each other (one optimizer step of all processes) have like lengths, so little is padded.
    An epoch whose last batch would be short fills it with the samples that the epoch began with: every step then has the same
    size, and holds the same samples whether one process takes it or many share it.
    """

    def __init__(self, lengths: list[int], batch: int, seed: int):
        self.lengths, self.batch, self.seed, self.epoch = lengths, batch, seed, 0

    def __len__(self) -> int:
        return -(-len(self.lengths) // self.batch) * self.batch

    def __iter__(self) -> Iterator[int]:
        """The numbers of all samples in the order of `epoch`: each once, and some again to fill the last batch."""
        dice = random.Random(f"{self.seed}/{self.epoch}")
        order = dice.sample(range(len(self.lengths)), len(self.lengths))
        pool = self.batch * LENGTH_POOL
        pools = [sorted(order[at:at + pool], key=self.lengths.__getitem__) for at in range(0, len(order), pool)]
        batches = [part[at:at + self.batch] for part in pools for at in range(0, len(part), self.batch)]
        short = [batch for batch in batches if len(batch) < self.batch]  # at most one, which must come last
        batches = [batch for batch in batches if len(batch) == self.batch]
        dice.shuffle(batches)
        dealt = [index for batch in batches + short for index in batch]
        return islice(cycle(dealt), len(self))
