"""Labels pictures with the teacher, and builds the training and evaluation files from the labels.

Shape of the data: a folder of pictures → rows of a label store (`label_images`) → train.json and eval.json in the
conversation format (`build`), which `export` writes in the formats of other tools. Labelling survives being killed: each
label is committed before it is counted, and running the same command again asks only what has no answer yet. The teacher is the DashScope endpoint that the
environment names; with neither DASHSCOPE_API_KEY nor DASHSCOPE_HTTP_BASE_URL it is the kit's offline stand-in.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from helpers.core.building import BuildReport, build
from helpers.core.cleaning import clean_answer
from helpers.core.duplicates import find_duplicates
from helpers.core.endpoints import STAND_IN_KEY, URL_VARIABLE, is_stand_in, read_key
from helpers.core.errors import InputError
from helpers.core.exports import export
from helpers.core.images import find_images, image_size
from helpers.core.labelling import Job, LabelReport, Run, run_loop
from helpers.core.labels import STAND_IN_SOURCE, LabelKey, LabelStore, canonical
from helpers.core.prices import MESSAGE_TOKENS, Prices, load_prices, text_tokens
from helpers.core.prompts import load_prompts, question
from helpers.core.qwen_vl import MAX_SIDE, QwenVL

__all__ = ["BuildReport", "build", "clean_answer", "export", "find_duplicates", "label_images"]

MODEL = "qwen3-vl-plus"
ANSWER_TOKENS = 120         # what an answer is foreseen to have; usage tells in the end
STAND_IN = "standin"        # the endpoint's name in profiles


def label_images(images: Path | str | Sequence[Path], store: Path | str, dimensions: Sequence[str] = ("main",), language: str = "en",
                 model: str = MODEL, rpm: float | None = None, concurrency: int = 8, limit: int | None = None, dry_run: bool = False,
                 scenes: Path | str | None = None, seed: int = 0, progress: str | None = "labelling", *,
                 endpoint: str | None = None, max_side: int = MAX_SIDE, parameters: dict | None = None,
                 say: Callable[[str], None] = print) -> LabelReport:
    """Ask the teacher about every picture, in every dimension, and store its answers; what the store has is not asked again.

    images: a folder, or a list of paths.  store: the SQLite file.  limit: at most so many pictures, the first by path.
    rpm: requests a minute; None leaves the pace to the endpoint.  concurrency: requests under way at once.
    scenes: the truth the stand-in answers from; by default the scenes.jsonl in or above the pictures' folder.
    seed: sent as a sampling parameter, so part of a label's key.  parameters: further ones (temperature, top_p, max_tokens).
    endpoint: "standin", a base URL, or None for what the environment names.  progress: the bar's name, None for no bar.
    Raises InputError for options and pictures (a single bad picture among others is reported, not raised), TeacherError for
    an answer that ends the run, StoreError, ResourceError; labels so far are kept, and the same call continues.
    """
    started = time.monotonic()
    paths = find_images(images) if isinstance(images, (str, Path)) else [Path(p) for p in images]
    _check(paths, concurrency, rpm, limit)
    paths = paths[:limit]
    questions = load_prompts()
    asked = {dimension: question(dimension, language, questions) for dimension in dict.fromkeys(dimensions)}
    sampling = canonical({"seed": seed, **(parameters or {})})
    prices, report = load_prices(), LabelReport(pictures=len(paths), dry_run=dry_run)
    report.prices_of = prices.date
    url = None if endpoint == STAND_IN else endpoint or os.environ.get(URL_VARIABLE)
    own = endpoint == STAND_IN or not url and not read_key()  # nobody else is named: the kit's own stand-in
    stand_in = own or url is not None and is_stand_in(url)
    with _open_store(store, dry_run) as labels:
        jobs = _jobs(paths, asked, model, sampling, labels, stand_in, report)
        report.requests = len(jobs)
        if dry_run:
            _foresee(jobs, model, prices, max_side, report)
        elif jobs:
            with _teacher(own, url, model, scenes or _find_truth(paths), rpm, concurrency, max_side, say) as client:
                run = Run(client, labels, language, {"seed": seed, **(parameters or {})}, prices, report)
                run_loop(run.go(jobs, concurrency, progress))
    report.seconds = time.monotonic() - started
    return report


def _check(paths: list[Path], concurrency: int, rpm: float | None, limit: int | None) -> None:
    """Raises InputError for options that cannot be, and for a list that names a missing picture."""
    for name, value in (("concurrency", concurrency), ("rpm", rpm), ("limit", limit)):
        if value is not None and value <= 0:
            raise InputError(f"--{name} is {value}: give a number above 0")
    if missing := next((p for p in paths if not p.is_file()), None):
        raise InputError(f"there is no picture {missing}: check the path")


@contextlib.contextmanager
def _open_store(store: Path | str, dry_run: bool) -> Iterator[LabelStore | None]:
    """The store; a dry run makes none where there is none."""
    if dry_run and not Path(store).is_file():
        yield None
        return
    with LabelStore(store) as labels:
        yield labels


def _jobs(paths: list[Path], asked: dict[str, str], model: str, sampling: str, labels: LabelStore | None, stand_in: bool,
          report: LabelReport) -> list[Job]:
    """What is still to be asked. An answer of the stand-in counts only where the stand-in is asked."""
    hashes = labels.hash_pictures(paths) if labels else {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    states = labels.states(model) if labels else {}
    jobs: dict[LabelKey, Job] = {}
    done = set()
    for path in paths:
        for dimension, prompt in asked.items():
            key = LabelKey(hashes[path], model, prompt, sampling) if path in hashes else None
            if key is None:
                report.rejected[path] = f"{path} cannot be read: check its permissions"
                continue
            status, source = states.get(key, ("", ""))
            if status in ("ok", "refused") and (stand_in or source != STAND_IN_SOURCE):
                done.add(key)
            else:
                jobs.setdefault(key, Job(path, key, dimension))
    report.reused = len(done)
    return list(jobs.values())


def _foresee(jobs: list[Job], model: str, prices: Prices, max_side: int, report: LabelReport) -> None:
    """Fills in the tokens and yuan that a run would take, from the pictures' sizes; unreadable pictures are named."""
    price = prices.model(model)
    if price is None:
        report.yuan = None
    for job in jobs:
        try:
            width, height = image_size(job.path)
        except InputError as error:
            report.rejected[job.path] = str(error)
            continue
        factor = min(1.0, max_side / max(width, height))
        picture = price.image_tokens(round(width * factor), round(height * factor)) if price else 0
        tokens = text_tokens(job.key.prompt) + MESSAGE_TOKENS + picture
        report.input_tokens += tokens
        report.output_tokens += ANSWER_TOKENS
        if price:
            report.yuan += price.cost(tokens, ANSWER_TOKENS)


def _find_truth(paths: list[Path]) -> Path | None:
    """The scenes.jsonl beside or above the first picture, or None."""
    return next((folder / "scenes.jsonl" for folder in list(paths[0].resolve().parents)[:2] if (folder / "scenes.jsonl").is_file()), None)


@contextlib.contextmanager
def _teacher(own: bool, url: str | None, model: str, truth: Path | None, rpm: float | None, concurrency: int, max_side: int,
             say: Callable[[str], None]) -> Iterator[QwenVL]:
    """A client for the endpoint; the kit's own stand-in runs as long as the client is used."""
    options = {"rpm": rpm, "concurrency": concurrency, "max_side": max_side}
    if not own:
        # A stand-in in another terminal takes any key, so none has to be set for it.
        yield QwenVL(model, url, STAND_IN_KEY if url and not read_key() and is_stand_in(url) else None, **options)
        return
    from helpers.core.standin import KEY, StandIn

    with StandIn(truth) as stand_in:
        knows = f"the {stand_in.pictures} pictures it knows" if truth else "the kit's few photographs only"
        say(f"The teacher is the {STAND_IN_SOURCE}: it answers about {knows}.")
        yield QwenVL(model, stand_in.base_url, KEY, **options)
