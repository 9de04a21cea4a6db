"""A student describes pictures: samples in, the same samples with the student's words as answers out.

    folder of pictures ─┐
                        ├─> list[Sample] --caption_samples--> list[Sample] --write_conversations--> output.json
    eval.json ──────────┘

The answers of the incoming samples are never shown to the student; they are references, and stay in their own file.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.core.conversations import Sample
from helpers.core.errors import InputError

if TYPE_CHECKING:
    from helpers.core.student import Student


def samples_from_folder(folder: Path, question: str, output: Path) -> list[Sample]:
    """One sample for each picture in `folder`, its id the picture's stem, its path written as seen from `output`'s folder.

    Raises: InputError when the folder holds no picture, or two pictures of one stem, which no id could tell apart.
    """
    from helpers.core.images import find_images

    paths = find_images(folder)
    first: dict[str, Path] = {}
    for path in paths:
        if path.stem in first:
            raise InputError(f"{first[path.stem]} and {path} would both get the id {path.stem!r}; rename one of them.")
        first[path.stem] = path
    if not first:
        raise InputError(f"{folder} holds no picture; give a folder with .jpg, .png or .webp files.")
    return [Sample(id=stem, image=_seen_from(output.parent, path), path=path, question=question, answer="")
            for stem, path in first.items()]


def as_seen_from(samples: Sequence[Sample], output: Path) -> list[Sample]:
    """The samples with pictures that are found from the file `output` as well: a path that is not is written anew."""
    from helpers.core.conversations import resolve_image

    def found(sample: Sample) -> bool:
        path = resolve_image(sample.image, output)
        return path is not None and path.resolve() == sample.path.resolve()

    return [sample if found(sample) else replace(sample, image=_seen_from(output.parent, sample.path)) for sample in samples]


def _seen_from(folder: Path, path: Path) -> str:
    """`path` relative to `folder`, so that both can be moved together; absolute where they share no drive (Windows)."""
    try:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError:
        return path.resolve().as_posix()


def caption_samples(
    student: Student, samples: Sequence[Sample], question: str | None = None, *, batch_size: int = 32, num_beams: int = 1,
    max_new_tokens: int = 256, progress: str | None = "describing",
) -> list[Sample]:
    """The samples with the student's answers: to their own question, or to `question` where one is given.

    `progress` names a progress bar (None: none). Raises: InputError for a picture that cannot be used.
    """
    questions = [question or sample.question for sample in samples]
    answers = student.describe([sample.path for sample in samples], questions, batch_size=batch_size, num_beams=num_beams,
                               max_new_tokens=max_new_tokens, progress=progress)
    return [replace(sample, question=asked, answer=answer, turns=[])
            for sample, asked, answer in zip(samples, questions, answers, strict=True)]
