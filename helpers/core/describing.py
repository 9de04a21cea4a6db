"""Describes many pictures so that a kill loses one batch at most.

    samples, a student --describe_to_file--> output.json, by way of output.unfinished.jsonl: one answer a line, in order

Batches are cut at the same places in every attempt: pictures that share a batch can, by rounding, sway each other's
words, and an interrupted run shall end with the words of an undisturbed one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.core.captions import caption_samples
from helpers.core.conversations import Sample, write_conversations

if TYPE_CHECKING:
    from helpers.core.profiles import Generate
    from helpers.core.student import Student


def unfinished_file(output: Path) -> Path:
    """Where the answers gather until all are there."""
    return output.with_name(f"{output.stem}.unfinished.jsonl")


def describe_to_file(load: Callable[[], Student], samples: Sequence[Sample], output: Path, generate: Generate, progress: str) -> None:
    """Writes `output` (an output.json): the samples, their questions, and the student's answers.

    load: makes the student; called once.  samples: with `path` set.  progress: names the bar.
    Answers that an attempt broken off wrote down are kept, the rest is described now.
    Raises: InputError for a picture that cannot be used, ResourceError when `output` cannot be written.
    """
    from tqdm.auto import tqdm

    file, size = unfinished_file(output), generate.batch_size
    file.parent.mkdir(parents=True, exist_ok=True)
    answers = _whole_lines(file)
    answers = answers[:len(answers) // size * size]
    file.write_text("".join(json.dumps(answer) + "\n" for answer in answers))
    student = load()
    with file.open("a") as stream, tqdm(total=len(samples), initial=len(answers), desc=progress, unit="picture") as bar:
        for start in range(len(answers), len(samples), size):
            batch = caption_samples(student, samples[start:start + size], batch_size=size, num_beams=generate.num_beams,
                                    max_new_tokens=generate.max_new_tokens, progress=None)
            stream.write("".join(json.dumps(sample.answer) + "\n" for sample in batch))
            stream.flush()
            answers += [sample.answer for sample in batch]
            bar.update(len(batch))
    write_conversations(output, [replace(sample, image=_seen_from(output.parent, sample.path), answer=answer, turns=[])
                                 for sample, answer in zip(samples, answers, strict=True)])
    file.unlink()


def _whole_lines(file: Path) -> list[str]:
    """The answers in an unfinished file; a last line that a kill cut off is left out."""
    lines = file.read_text().split("\n")[:-1] if file.exists() else []
    return [json.loads(line) for line in lines]


def _seen_from(folder: Path, path: Path) -> str:
    """A picture's path as a file in `folder` names it: from the folder above where it lies below that, so that all of it can be moved."""
    path, above = path.resolve(), folder.resolve().parent
    if path.is_relative_to(above):
        return path.relative_to(above).as_posix()
    try:
        return Path(os.path.relpath(path, folder.resolve())).as_posix()
    except ValueError:  # on another drive of Windows
        return path.as_posix()
