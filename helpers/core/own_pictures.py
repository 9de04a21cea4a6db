"""A folder of one's own pictures: looked through, described, given references by hand, scored.

    folder --look_through--> Folder(samples, remarks) --describe_folder--> {system: output.json}
    references.json (of some of them) --fit--> references and predictions of the same pictures, and what was left out, in words

Nothing about a user's folder can be taken for granted: it may be empty, hold one picture, texts, a picture that is none, or one that nobody has
described yet. What cannot be used is named in a sentence and the rest goes on; only where nothing is left it ends with an InputError.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.core.captions import caption_samples, samples_from_folder
from helpers.core.conversations import Sample, read_conversations, write_conversations
from helpers.core.errors import InputError
from helpers.core.images import SUFFIXES, check_picture
from helpers.core.prompts import question

if TYPE_CHECKING:
    from helpers.core.student import Student

NAMED = 5  # files that a remark lists


@dataclass(frozen=True)
class Folder:
    """The pictures of a folder that can be used, with the course's main question, and remarks about what cannot."""

    samples: list[Sample]
    remarks: list[str]


def look_through(folder: str | Path, output: str | Path, language: str) -> Folder:
    """Open every picture of `folder`. output: the file beside which the pictures' paths are written.

    Raises InputError when the folder is not there, holds no picture that can be used, or two of one name.
    """
    folder = Path(folder)
    found = samples_from_folder(folder, question("main", language), Path(output))
    faults = {sample.id: check_picture(sample.path).fault for sample in found}
    good = [sample for sample in found if not faults[sample.id]]
    remarks = [f"{sample.path.name} {faults[sample.id]}." for sample in found if faults[sample.id]]
    if not good:
        raise InputError(f"{folder} holds no picture that can be used: {remarks[0]}")
    others = sorted(name for name in os.listdir(folder) if (folder / name).is_file() and not name.startswith(".") and not name.lower().endswith(SUFFIXES))
    if others:
        remarks.append(f"{listed(others)} {'is no picture and is' if len(others) == 1 else 'are no pictures and are'} passed over.")
    if len(good) == 1:
        remarks.append(f"{good[0].path.name} is the only picture: a score of one picture has no interval, and CIDEr needs at least two.")
    return Folder(good, remarks)


def describe_folder(folder: str | Path, students: Mapping[str, Student], out: str | Path, language: str = "en", progress: str | None = "describing") -> dict[str, Path]:
    """Let every student describe the pictures of `folder`; writes <out>/<name>.json for each and returns the files.

    Raises InputError as `look_through` does.
    """
    files = {name: Path(out) / f"{name}.json" for name in students}
    for name, student in students.items():
        samples = look_through(folder, files[name], language).samples
        write_conversations(files[name], caption_samples(student, samples, progress=progress and f"{progress}, {name}"))
    return files


def read_references(file: str | Path) -> dict[str, Sample]:
    """References written so far, by id; none where the file is not there yet. Raises InputError for a file that cannot be read."""
    return {sample.id: sample for sample in read_conversations(file, need_images=False)} if Path(file).is_file() else {}


def fit(references: Mapping[str, Sample], predictions: Mapping[str, Sequence[Sample]]) -> tuple[list[Sample], dict[str, list[Sample]], list[str]]:
    """References and predictions of the pictures that have both, in one order, and a remark for each kind of picture that has not.

    Raises InputError when no picture has a reference that says something.
    """
    written = {identity: sample for identity, sample in references.items() if any(map(str.isalnum, sample.answer))}
    described = {name: {sample.id: sample for sample in samples} for name, samples in predictions.items()}
    pictures = list(dict.fromkeys(identity for samples in described.values() for identity in samples))
    both = [identity for identity in pictures if identity in written and all(identity in samples for samples in described.values())]
    remarks = []
    if missing := [identity for identity in pictures if identity not in written]:
        remarks.append(f"{_pictures(missing)} without a reference and left out; write one in the form to have it scored.")
    if gone := [identity for identity in written if identity not in pictures]:
        remarks.append(f"{_pictures(gone)} with a reference that no system has described, and left out; describe the folder again.")
    if partly := [identity for identity in pictures if identity in written and identity not in both]:
        remarks.append(f"{_pictures(partly)} not described by every system and left out; describe the folder again.")
    if not both:
        raise InputError(f"There is nothing to score: none of {len(pictures)} pictures has both a reference and a description. Write a reference in the form.")
    chosen = {name: [samples[identity] for identity in both] for name, samples in described.items()}
    return [written[identity] for identity in both], chosen, remarks


def listed(names: Sequence[str]) -> str:
    """ "a.txt, b.txt and 3 more"."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _pictures(ids: Sequence[str]) -> str:
    return f"{len(ids)} {'picture' if len(ids) == 1 else 'pictures'} ({listed(ids)}) {'is' if len(ids) == 1 else 'are'}"
