"""Builds train.json and eval.json from a label store, and keeps account of every label that was changed or left out.

Shape of the data: rows of a label store → the latest label of each picture and dimension → cleaned answers
(`helpers.core.cleaning`) → two sides, no two pictures of one group of near-duplicates (`helpers.core.duplicates`) on
different ones → train.json, eval.json and cleaning.jsonl, one line a label that was changed or left out:

    {"id": "0007", "picture": "Train/0007.jpg", "what": "left out", "why": "too short", "before": "A dog.", "after": ""}
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from helpers.core.cleaning import Cleaned, clean_answer
from helpers.core.conversations import Sample, write_conversations, write_text
from helpers.core.duplicates import find_duplicates
from helpers.core.errors import InputError
from helpers.core.labels import Label, LabelStore

EVAL_FRACTION = 0.15
ACCOUNT = "cleaning.jsonl"
LEAK = "near-duplicate of an evaluation picture"
_TRAIN_FOLDERS, _EVAL_FOLDERS = {"train", "training"}, {"val", "eval", "valid", "validation", "evaluation"}


@dataclass(frozen=True)
class Entry:
    """What happened to one label. `what`: "left out" or "changed".  `why`: the reason, or the changes.  `before`, `after`: answers."""

    id: str
    picture: str
    what: str
    why: str
    before: str
    after: str


@dataclass(frozen=True)
class BuildReport:
    """What `build` wrote.

    train, eval: samples.  dropped: labels left out, by reason.  sources: who the labels are from.  changed: answers that
    cleaning changed, by change.  duplicates: pictures that show what another one shows.  account: every label that was
    changed or left out, as cleaning.jsonl holds them.
    """

    train: int
    eval: int
    dropped: dict[str, int]
    sources: dict[str, int]
    changed: dict[str, int] = field(default_factory=dict)
    duplicates: int = 0
    account: list[Entry] = field(default_factory=list, repr=False)

    def counts(self) -> dict:
        """The report without its account, ready for JSON."""
        return {name: value for name, value in self.__dict__.items() if name != "account"}

    def __str__(self) -> str:
        def listed(counts: dict[str, int]) -> str:
            return ", ".join(f"{number} {name}" for name, number in counts.items()) or "none"

        return (f"{self.train} samples in train.json, {self.eval} in eval.json; dropped: {listed(self.dropped)}; "
                f"cleaned: {listed(self.changed)}; near-duplicate pictures: {self.duplicates or 'none'}; "
                f"labels from {', '.join(self.sources) or 'nobody'}" + (f"; each named in {ACCOUNT}" if self.account else ""))


def build(store: Path | str, out: Path | str, eval_fraction: float | None = None, *, dimensions: Sequence[str] | None = None,
          language: str | None = None, model: str | None = None, seed: int = 0, near_duplicates: bool = True,
          least_words: int | None = None, progress: str | None = "comparing pictures") -> BuildReport:
    """Write out/train.json, out/eval.json and out/cleaning.jsonl from a store's labels.

    Pictures under a folder Train/ go to training and those under Val/ to evaluation; of the others a seeded
    `eval_fraction` (default 0.15) does, chosen by content. Pictures that show the same go to one side together: to
    evaluation if one of them is under Val/, to training if one is under Train/. Where a group has both, those under
    Train/ are left out, so that the fixed evaluation set stays as it is; `near_duplicates` False switches all this off
    but for files with the same bytes.
    dimensions, language, model: only labels of these. Refusals, failures and answers that `clean_answer` finds unfit are
    left out and counted; least_words is its. Of several labels for one picture and dimension the latest counts. Order:
    by id.  progress: the bar's name, None for no bar.
    Raises InputError when the fraction is none or no label is left.
    """
    if eval_fraction is not None and not 0 <= eval_fraction < 1:
        raise InputError(f"--eval-fraction is {eval_fraction}: give a number from 0 up to, but not including, 1")
    out = Path(out).resolve()
    with LabelStore(store, create=False) as labels:
        found = [(path, label) for path, label in labels.labels() if (not dimensions or label.dimension in dimensions)
                 and language in (None, label.language) and model in (None, label.key.model)]
    latest: dict[tuple[Path, str], tuple[Label, Cleaned]] = {}
    unfit: list[tuple[Path, Label, str]] = []
    for path, label in found:
        cleaned = clean_answer(label.answer, label.language, label.finish_reason, least_words) if label.status == "ok" else Cleaned("", (), label.status)
        if reason := cleaned.reason or (None if path.is_file() else "picture gone"):
            unfit.append((path, label, reason))
        else:
            latest[path, label.dimension] = label, cleaned
    hashes = {path: label.key.sha256 for (path, _), (label, _) in latest.items()}
    names = {path: path.stem for path, *_ in unfit} | _names(sorted(hashes))
    sides, duplicates = _sides(hashes, EVAL_FRACTION if eval_fraction is None else eval_fraction, seed, near_duplicates, progress)

    def entry(path: Path, label: Label, what: str, why: str, after: str = "") -> Entry:
        return Entry(_id(names[path], label.dimension), _written(path, out), what, why, label.answer, after)

    account = [entry(path, label, "left out", reason) for path, label, reason in unfit]
    samples: dict[str, list[Sample]] = {"train": [], "eval": []}
    sources: Counter = Counter()
    for (path, dimension), (label, cleaned) in latest.items():
        if sides[path] not in samples:
            account.append(entry(path, label, "left out", sides[path]))
            continue
        if cleaned.changes:
            account.append(entry(path, label, "changed", ", ".join(cleaned.changes), cleaned.text))
        samples[sides[path]].append(Sample(_id(names[path], dimension), _written(path, out), path, label.key.prompt, cleaned.text))
        sources[label.source] += 1
    if not any(samples.values()):
        raise InputError(f"{store} holds no label to build from ({_counted(account) or 'none at all'}): run `captionlab label` first, "
                         "or ask for another language, dimension or model")
    for side, chosen in samples.items():
        write_conversations(out / f"{side}.json", sorted(chosen, key=lambda s: s.id))
    write_text(out / ACCOUNT, "".join(json.dumps(asdict(entry), ensure_ascii=False) + "\n" for entry in account))
    return BuildReport(len(samples["train"]), len(samples["eval"]), dict(Counter(e.why for e in account if e.what == "left out")), dict(sources),
                       dict(Counter(change for e in account if e.what == "changed" for change in e.why.split(", "))), duplicates, account)


def _counted(account: list[Entry]) -> str:
    """The reasons in an account with their numbers."""
    return ", ".join(f"{number} {why}" for why, number in Counter(entry.why for entry in account).items())


def _id(name: str, dimension: str) -> str:
    """A sample's id: the picture's name, and for another than the main question its dimension."""
    return name if dimension == "main" else f"{name}/{dimension}"


def _sides(hashes: dict[Path, str], share: float, seed: int, near_duplicates: bool, progress: str | None) -> tuple[dict[Path, str], int]:
    """ "train", "eval" or the reason to leave it out, for each picture; and how many pictures show what another one does."""
    if near_duplicates:
        found = find_duplicates(sorted(hashes), progress)
        groups, unreadable = found.groups, found.unreadable
    else:
        alike: dict[str, list[Path]] = {}
        for path, digest in sorted(hashes.items()):
            alike.setdefault(digest, []).append(path)
        groups, unreadable = [group for group in alike.values() if len(group) > 1], {}
    sides: dict[Path, str] = {}
    together = {path for group in groups for path in group}
    for group in [*groups, *([path] for path in hashes if path not in together)]:
        fixed = {path: _fixed_side(path) for path in group}
        # By the content of one of them, whichever order the store has: a picture alone draws as it always did.
        common = "eval" if "eval" in fixed.values() else "train" if "train" in fixed.values() else _drawn_side(min(hashes[p] for p in group), share, seed)
        for path in group:
            sides[path] = LEAK if fixed[path] == "train" and common == "eval" else common
    sides |= dict.fromkeys(unreadable, "picture unreadable")
    return sides, sum(len(group) for group in groups)


def _fixed_side(path: Path) -> str | None:
    """ "train" or "eval" by the nearest folder that says so, or None."""
    for folder in reversed(path.parts[:-1]):
        if folder.lower() in _TRAIN_FOLDERS:
            return "train"
        if folder.lower() in _EVAL_FOLDERS:
            return "eval"
    return None


def _drawn_side(sha256: str, share: float, seed: int) -> str:
    """ "train" or "eval" by a hash of the picture's bytes."""
    draw = int.from_bytes(hashlib.sha256(f"{seed}|{sha256}".encode()).digest()[:8], "big") / 2**64
    return "eval" if draw < share else "train"


def _names(paths: list[Path]) -> dict[Path, str]:
    """A name for each picture: its stem; where two share one, as much of the path before it as tells them apart."""
    names = {path: path.stem for path in paths}
    for depth in range(2, max((len(p.parts) for p in paths), default=1) + 1):
        counts = Counter(names.values())
        twins = [path for path in paths if counts[names[path]] > 1]
        if not twins:
            break
        for path in twins:
            names[path] = "_".join((*path.parts[-depth:-1], path.stem))
    counts = Counter(names.values())
    return {path: name if counts[name] == 1 else f"{name}_{path.suffix[1:]}" for path, name in names.items()}


def _written(path: Path, out: Path) -> str:
    """A picture's path as the JSON in `out` names it: relative to that folder or its parent, so that both move together."""
    for base in (out, out.parent):
        if path.is_relative_to(base):
            return path.relative_to(base).as_posix()
    try:
        return Path(os.path.relpath(path, out)).as_posix()
    except ValueError:  # on another drive
        return path.as_posix()
