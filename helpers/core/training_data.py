"""Checks everything that a run will learn from before its first step, and makes the data sets.

    a conversation file → every fault of its form (helpers/core/conversations.py)
      each process its share of the samples: the picture opened, the tokens counted
    → all faults of all processes in one error, or Examined: which samples are cut by --model_max_length, which name no picture

Tokens are counted without encoding a picture: every image processor decides by a picture's width and height alone how many tokens
it becomes, so one blank picture of each size that occurs is encoded, and the text's tokens are added. A folder of photographs has
few sizes; encoding each of its pictures would cost as much as an epoch's preprocessing.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from helpers.core.batches import Conversations
from helpers.core.conversations import Fault, Sample, Turn, load_list, refusal, scan, untagged
from helpers.core.encoding import encode_prompt, no_room, render_prompt, segments, tokenize
from helpers.core.errors import InputError
from helpers.core.images import open_image
from helpers.core.ranks import gather, rank, say, world
from helpers.core.training_options import DataArguments

SHOWN = 20  # ids that a sentence tells


@dataclass
class Examined:
    """What is worth knowing of a conversation file that can be learned from: ids of the samples whose end is cut off, and of those
    without the picture's tag."""

    cut: list[str] = field(default_factory=list)
    untagged: list[str] = field(default_factory=list)


class TokenCounter:
    """Counts the tokens of samples for one processor; remembers what a picture of each (width, height) takes."""

    def __init__(self, processor):
        self.processor, self.taken = processor, {}

    def picture(self, size: tuple[int, int]) -> int:
        """Tokens that a picture of `size` (width, height) adds to a text with a place for it."""
        if size not in self.taken:
            text = render_prompt(self.processor, [Turn("user", "?")])
            encoded = encode_prompt(self.processor, Image.new("RGB", size), text)
            self.taken[size] = len(encoded["input_ids"]) - len(tokenize(self.processor, text, first=True))
        return self.taken[size]

    def count(self, turns: Sequence[Turn], size: tuple[int, int]) -> tuple[int, int]:
        """Tokens of the prompt before the first answer that is learned, and of the whole sample."""
        (prompt, _), *rest = segments(self.processor, turns)
        before = len(tokenize(self.processor, prompt, first=True)) + self.picture(size)
        return before, before + sum(len(tokenize(self.processor, text)) for text, _ in rest)


def picture_size(path: Path) -> tuple[int, int] | str:
    """The size of a picture, opened and decoded to its end; or what is wrong with it."""
    try:
        return open_image(path).size
    except InputError as error:
        return str(error).rstrip(".")


def examine(samples: Sequence[Sample], processor, max_length: int) -> tuple[list[Fault], list[str]]:
    """Open the picture of every sample and count its tokens; returns the faults, and the ids of the samples that are cut."""
    paths = list(dict.fromkeys(sample.path for sample in samples))
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        sizes = dict(zip(paths, threads.map(picture_size, paths), strict=True))
    counter, faults, cut = TokenCounter(processor), [], []
    for sample in samples:
        size = sizes[sample.path]
        if isinstance(size, str):
            faults.append(Fault(sample.id, size))
            continue
        try:
            prompt, tokens = counter.count(sample.turns, size)
        except ValueError as error:  # an image processor that refuses the shape of the picture
            faults.append(Fault(sample.id, f"the model's processor refuses {sample.path} ({str(error).splitlines()[0]}); remove the sample"))
            continue
        if prompt >= max_length:
            faults.append(Fault(sample.id, no_room(prompt, max_length)))
        elif tokens > max_length:
            cut.append(sample.id)
    return faults, cut


def load_set(path: str | Path, processor, data: DataArguments) -> tuple[Conversations, Examined]:
    """Read and check one conversation file, each process its share of the pictures. Raises InputError naming every fault."""
    samples, faults = scan(Path(path), need_images=True, need_answers=True)
    found, cut = examine(samples[rank()::world()], processor, data.model_max_length)
    faults += gather(found)
    if faults:
        raise refusal(path, faults)
    if not samples:
        raise InputError(f"{path} holds no samples; build it again.")
    examined = Examined(sorted(gather(cut)), [fault.sample for fault in untagged(load_list(Path(path)))])
    if examined.cut:
        say(f"{path}: --model_max_length {data.model_max_length} cuts the end of {some(examined.cut)}.")
    if examined.untagged:
        say(f"{path}: no <image> in {some(examined.untagged)}; the picture is put before the question, as OpenBMB's script does.")
    return Conversations(samples, processor, data.model_max_length, data.cache_gib * 2**30), examined


def some(ids: Sequence[str]) -> str:
    """"3 samples (0001, 0002, 0007)", with the first `SHOWN` ids."""
    more = ", …" if len(ids) > SHOWN else ""
    return f"{len(ids)} sample{'s' if len(ids) > 1 else ''} ({', '.join(ids[:SHOWN])}{more})"


def load_data(data: DataArguments, processor) -> tuple[Conversations, Conversations | None, dict[str, dict[str, list[str]]]]:
    """The training set, the evaluation set (None without one), and what run.json keeps of their examination, by file:
    {"train": {"cut": ids, "untagged": ids}, "eval": …}. Raises InputError before any training."""
    train, examined = load_set(data.data_path, processor, data)
    kept = {"train": vars(examined)}
    if not data.eval_data_path:
        return train, None, kept
    evaluation, examined = load_set(data.eval_data_path, processor, data)
    return train, evaluation, kept | {"eval": vars(examined)}
