"""Brings the captions of several systems and their references together by sample id, and names everything that does not fit.

    references   conversations, or several files of them (one an annotator)  ─┐
                                                                              ├─> Pairs(ids, references, captions)
    predictions  {system: conversations}                                     ─┘

A score of captions that belong to other pictures is a number like any other, and means nothing. So nothing is dropped
or filled in silently: an id that is missing, too many or there twice, a caption without words, one that is no text, and
a picture that is not the references' picture of that id are errors, each with the ids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from helpers.core.conversations import Sample, read_conversations, resolve_image
from helpers.core.errors import InputError

NAMED = 5  # ids that a message lists before it says how many more there are

Source = str | Path | Sequence[Sample]


@dataclass(frozen=True)
class Pairs:
    """n samples: `ids`, the pictures as the references' file writes them, one to five or more references each, and
    the captions of every system, all in one order."""

    ids: list[str]
    images: list[str]
    paths: list[Path | None]
    references: list[list[str]]
    captions: dict[str, list[str]]


def pair(references: Source | Sequence[Source], predictions: Mapping[str, Source], *, allow_empty: bool = False) -> Pairs:
    """Pairs every system's captions with the references, in the references' order.

    references: a conversation file or its samples; or a list of those, one an annotator, with the same ids.
    allow_empty: accept predictions without words (they earn a zero); references always need words.
    Raises: InputError that names every kind of mismatch with its ids.
    """
    if not predictions:
        raise InputError("There are no predictions to score; name at least one output.json.")
    first, *others = _annotators(references)
    gold = _by_id("the references", first, allow_empty=False)
    annotators = [gold]
    for number, source in enumerate(others, 2):
        annotators.append(_by_id(f"the references, file {number},", source, allow_empty=False))
        _compare(_where(f"the references, file {number},", source), gold, annotators[-1], "reference")
    captions = {}
    for name, source in predictions.items():
        found = _by_id(name, source, allow_empty)
        _compare(_where(name, source), gold, found, "prediction")
        captions[name] = [found[identity].answer or "" for identity in gold]
    return Pairs(list(gold), [sample.image for sample in gold.values()], [_picture(sample, first) for sample in gold.values()],
                 [[annotator[identity].answer for annotator in annotators] for identity in gold], captions)


def _annotators(references) -> list:
    """The sources of references, one an annotator."""
    if isinstance(references, (str, Path)):
        return [references]
    references = list(references)
    return references if references and not isinstance(references[0], Sample) else [references]


def _by_id(name: str, source: Source, allow_empty: bool) -> dict[str, Sample]:
    """The samples by id, in the file's order; checks what can be checked without the other side."""
    samples = read_conversations(source, need_images=False) if isinstance(source, (str, Path)) else list(source)
    where = _where(name, source)
    if not samples:
        raise InputError(f"{where} holds no samples; there is nothing to score.")
    found: dict[str, Sample] = {}
    twice = [sample.id for sample in samples if sample.id in found or found.update({sample.id: sample})]
    if twice:
        raise InputError(f"{where}: {_list(twice)} {'is' if len(set(twice)) == 1 else 'are'} there twice; keep one of each.")
    strange = [sample.id for sample in samples if not isinstance(sample.answer, str | None)]
    if strange:
        kind = type(found[strange[0]].answer).__name__
        raise InputError(f"{where}: the caption of {_list(strange)} is no text but a {kind}; write it as a string.")
    mute = [] if allow_empty else [sample.id for sample in samples if not any(map(str.isalnum, sample.answer or ""))]
    if mute:
        raise InputError(f"{where}: the caption of {_list(mute)} has no words; describe {'that picture' if len(mute) == 1 else 'those pictures'} "
                         "again, take the samples out on both sides, or allow empty captions, which score zero.")
    return found


def _compare(where: str, gold: Mapping[str, Sample], found: Mapping[str, Sample], what: str) -> None:
    """Raises InputError with every id that only one side has, and every picture that differs."""
    missing = [identity for identity in gold if identity not in found]
    extra = [identity for identity in found if identity not in gold]
    other = [identity for identity, sample in gold.items() if identity in found and _file(sample) and _file(found[identity])
             and _file(sample) != _file(found[identity])]
    faults = []
    if missing:
        faults.append(f"has no {what} for {_list(missing)}")
    if extra:
        faults.append(f"has a {what} for {_list(extra)}, which the references lack")
    if other:
        one = other[0]
        faults.append(f"describes another picture than the references in {_list(other)} ({_file(found[one])} instead of {_file(gold[one])})")
    if faults:
        counts = ", ".join(f"{len(ids)} {kind}" for ids, kind in ((missing, "missing"), (extra, "too many"), (other, "of another picture")) if ids)
        raise InputError(f"{where} {'; it '.join(faults)} ({counts}). Score each file against the references it was made from.")


def _picture(sample: Sample, source: Source) -> Path | None:
    """Where the sample's picture is, as its file tells; None when it is nowhere."""
    if sample.path is not None or not isinstance(source, (str, Path)) or not sample.image:
        return sample.path
    return resolve_image(sample.image, Path(source))


def _file(sample: Sample) -> str:
    """The picture's file name: its folder may be written otherwise in each file."""
    return Path(str(sample.image).replace("\\", "/")).name if sample.image else ""


def _list(ids: Sequence[str]) -> str:
    """ "sample 0002" or "samples 0002, 0003, … and 7 more"."""
    ids = list(dict.fromkeys(map(str, ids)))
    more = f" and {len(ids) - NAMED} more" if len(ids) > NAMED else ""
    return f"sample{'s' if len(ids) > 1 else ''} {', '.join(ids[:NAMED])}{more}"


def _where(name: str, source: Source) -> str:
    """How a message names a source: its file where it has one."""
    return str(source) if isinstance(source, (str, Path)) else name
