"""An answer of a student, watched while it grows: greedy, by beam search or by sampling, and stopped at once when asked.

    student, picture, [Turn, …]  --stream_turns-->  Progress("a"), Progress("a red"), …, Progress("a red house", end="complete")

The model generates in a thread of its own. After each token it leaves its ids in one place (of several beams, the best one's); whoever
watches turns the newest into text, some twenty times a second and not at every token, so watching costs the model next to
nothing. With several beams the text may still change, which is what a search looks like.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from helpers.core import kept_threads
from helpers.core.chat_decoding import SAMPLING, Decoding
from helpers.core.chat_turns import COMPLETE, CUT, STOPPED
from helpers.core.conversations import Turn
from helpers.core.encoding import collate, encode_prompt, render_prompt
from helpers.core.errors import InputError

PAUSE = 0.05  # seconds between two looks at the growing answer


@dataclass(frozen=True)
class Progress:
    """An answer so far: the whole text, its tokens, seconds since it was asked for; `end` tells the last one how it ended."""

    text: str
    tokens: int | None
    seconds: float
    first_token: float | None = None
    end: str | None = None


class _Left(Exception):
    """The answer is no longer wanted."""


class _Watch:
    """What the generating thread leaves for the one who watches."""

    def __init__(self, start: int, stop: threading.Event):
        self.start, self.stop = start, stop
        self.news, self.over, self.left = threading.Event(), threading.Event(), threading.Event()
        self.ids, self.first, self.failure, self.whole = [], None, None, False

    def __call__(self, input_ids, scores, **_):
        """A stopping criterion of transformers, called after each token with ids [rows, length]; row 0 is the best."""
        import torch

        if self.stop.is_set() or self.left.is_set():
            raise _Left
        self.ids = input_ids[0, self.start:].clone()
        if self.first is None:
            self.first = time.perf_counter()
        self.news.set()
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


def context_length(model) -> int | None:
    """How many tokens the model can read at once; None where its configuration does not say."""
    config = model.config
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    return getattr(text, "max_position_embeddings", None)


def encode_turns(student, picture, turns: Sequence[Turn], max_new_tokens: int) -> dict:
    """One conversation as a batch on the student's device; the oldest exchanges are left out until the answer has room.

    Raises InputError when the picture and the last question alone leave none.
    """
    room = context_length(student.model)
    turns = list(turns)
    while True:
        sample = encode_prompt(student.processor, picture, render_prompt(student.processor, turns))
        length = len(sample["input_ids"])
        if room is None or length + max_new_tokens <= room:
            batch = collate([sample], student.processor.tokenizer.pad_token_id, "left")
            return {key: tensor.to(student.device) for key, tensor in batch.items()}
        if len(turns) < 3:
            raise InputError(f"the picture and the question take {length} tokens and the answer may take {max_new_tokens}, more than the "
                             f"{room} that this model reads: ask a shorter question or allow a shorter answer")
        turns = turns[2:]


def stream_turns(student, picture, turns: Sequence[Turn], decoding: Decoding, stop: threading.Event | None = None,
                 pause: float = PAUSE) -> Iterator[Progress]:
    """Answer the last of `turns`, a user's, about `picture` (PIL, RGB).

    student: helpers.core.student.Student.  stop: set it from anywhere, and the model ends with its next token.
    pause: seconds between two looks.  Leaving the loop early stops the model too. What the model raises is raised here.
    """
    import torch

    asked = time.perf_counter()
    inputs = encode_turns(student, picture, turns, decoding.max_new_tokens)
    watch = _Watch(inputs["input_ids"].shape[1], stop or threading.Event())
    kept_threads.start(partial(_generate, student.model, inputs, decoding, watch), watch.over, watch.news)
    try:
        while not watch.over.is_set():
            if watch.news.wait(0.5):
                watch.news.clear()
                yield _progress(student, watch, asked)
                watch.over.wait(pause)
    finally:
        watch.left.set()
        watch.over.wait()
        del inputs
    if isinstance(watch.failure, torch.OutOfMemoryError) and torch.cuda.is_available():
        torch.cuda.empty_cache()
    if watch.failure is not None:
        raise watch.failure
    yield _progress(student, watch, asked, last=True)


def _generate(model, inputs: dict, decoding: Decoding, watch: _Watch) -> None:
    """Generate into `watch`, with random numbers of their own where there are any."""
    import torch
    from transformers import StoppingCriteriaList

    devices = [inputs["input_ids"].device] if inputs["input_ids"].device.type == "cuda" else []
    try:
        with torch.inference_mode(), torch.random.fork_rng(devices, enabled=decoding.mode == SAMPLING):
            if decoding.mode == SAMPLING:
                torch.manual_seed(decoding.seed)
            ids = model.generate(**inputs, stopping_criteria=StoppingCriteriaList([watch]), **decoding.options())
        watch.ids, watch.whole = ids[0, watch.start:], True
    except _Left:
        watch.whole = False
    except BaseException as error:  # raised again where the caller can see it
        watch.failure = error


def _progress(student, watch: _Watch, asked: float, last: bool = False) -> Progress:
    """What is there now, as text; a character whose bytes have not all come yet is left for the next time."""
    tokenizer = student.processor.tokenizer
    ids = [int(token) for token in watch.ids]
    special = set(tokenizer.all_special_ids)
    ends = bool(ids) and ids[-1] in special
    while ids and ids[-1] in special:
        ids.pop()
    text = tokenizer.decode(ids, skip_special_tokens=True).strip()
    end = (COMPLETE if ends else CUT) if watch.whole else STOPPED
    now = time.perf_counter()
    return Progress(text if last else text.removesuffix("\ufffd"), len(ids), now - asked, None if watch.first is None else watch.first - asked, end if last else None)
