"""Labels pictures with the teacher, and builds the training and evaluation files from the labels.

Shape of the data: a folder of pictures → rows of a label store (`label_images`) → train.json and eval.json in the
conversation format (`build`), which `export` writes in the formats of other tools. Labelling survives being killed: each
label is committed before it is counted, and running the same command again asks only what has no answer yet. The
teacher is the DashScope endpoint that the environment names; with neither DASHSCOPE_API_KEY nor DASHSCOPE_HTTP_BASE_URL it is the kit's offline stand-in.
"""

from __future__ import annotations

import contextlib
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
from helpers.core.label_jobs import JobQueue
from helpers.core.label_report import LabelReport
from helpers.core.labelling import ANSWER_TOKENS, Run, Settings, run_loop
from helpers.core.labels import MEMORY, STAND_IN_SOURCE, LabelStore, canonical
from helpers.core.pacing import Limits, choose_limits
from helpers.core.prices import Prices, load_prices
from helpers.core.prompts import load_prompts, question
from helpers.core.qwen_vl import MAX_SIDE, TIMEOUT, QwenVL
from helpers.core.survey import survey

__all__ = ["BuildReport", "build", "clean_answer", "export", "find_duplicates", "label_images"]

MODEL = "qwen3-vl-plus"
STAND_IN = "standin"        # the endpoint's name in profiles
UNDER_WAY = (8, 128, 8.0)   # requests under way at once: at least, at most, and enough for answers that take so many seconds


def label_images(images: Path | str | Sequence[Path], store: Path | str, dimensions: str | Sequence[str] = ("main",), language: str = "en",
                 model: str = MODEL, rpm: float | None = None, concurrency: int | None = None, limit: int | None = None, dry_run: bool = False,
                 scenes: Path | str | None = None, seed: int = 0, progress: str | None = "labelling", *, tpm: float | None = None,
                 max_cost: float | None = None, endpoint: str | None = None, max_side: int = MAX_SIDE, parameters: dict | None = None,
                 timeout: float = TIMEOUT, prices: Path | str | None = None, say: Callable[[str], None] = print) -> LabelReport:
    """Ask the teacher about every picture, in every dimension, and store its answers; what the store has is not asked again.

    images: a folder, or a list of paths.  store: the SQLite file.  limit: at most so many pictures, the first by path.
    rpm, tpm: requests and tokens a minute; without them, what the endpoint says of the key, else the price file.
    concurrency: requests under way at once; None: as many as the pace needs.  max_cost: yuan that this run may cost.
    scenes: the truth the stand-in answers from; by default the scenes.jsonl in or above the pictures' folder.
    seed: sent as a sampling parameter, so part of a label's key.  parameters: further ones (temperature, top_p, max_tokens).
    endpoint: "standin", a base URL, or None for what the environment names.  progress: the bar's name, None for no bar.
    timeout: seconds for one answer.  prices: another price file than data/prices.yaml.
    Raises InputError for options and pictures (a single bad picture among others is reported, not raised), TeacherError for
    an answer that ends the run, StoreError, ResourceError; labels so far are kept, and the same call continues.
    """
    started = time.monotonic()
    for name, value in (("concurrency", concurrency), ("rpm", rpm), ("tpm", tpm), ("limit", limit), ("max-cost", max_cost), ("timeout", timeout)):
        if value is not None and value <= 0:
            raise InputError(f"--{name} is {value}: give a number above 0")
    questions = load_prompts()
    dimensions = [dimensions] if isinstance(dimensions, str) else dimensions
    asked = {dimension: question(dimension, language, questions) for dimension in dict.fromkeys(dimensions)}
    sampling = {"seed": seed, **(parameters or {})}
    table = load_prices(prices) if prices else load_prices()
    price = table.model(model)
    if max_cost is not None and price is None:
        raise InputError(f"there is no price of {model}, so --max-cost cannot be kept: add it to the price file, or leave the option out")
    url = None if endpoint == STAND_IN else endpoint or os.environ.get(URL_VARIABLE)
    own = endpoint == STAND_IN or not url and not read_key()  # nobody else is named: the kit's own stand-in
    stand_in = own or url is not None and is_stand_in(url)
    # A dry run makes no store where there is none.
    with LabelStore(MEMORY if dry_run and not Path(store).is_file() else store) as labels, \
            JobQueue(labels, asked, model, canonical(sampling), stand_in) as queue:
        found = survey(images, labels, queue, price, max_side, limit, progress)
        report = _report(found, queue, table, model, dry_run)
        if not dry_run and report.requests:
            with _teacher(own, url, model, scenes or _find_truth(found.first), max_side, timeout, say) as client:
                told = client.limits()
                limits = choose_limits(rpm, tpm, told and Limits(*told, "by the endpoint"), _known_limits(table, model))
                client.keep_to(limits)
                client.concurrency = concurrency or _under_way(limits)
                _look_ahead(report, limits)
                say(report.outlook())
                queue.start()
                settings = Settings(language, sampling, client.concurrency, max_cost, progress)
                run_loop(Run(client, labels, queue, price, report, settings).go())
        elif dry_run:
            _look_ahead(report, choose_limits(rpm, tpm, Limits() if stand_in else _known_limits(table, model)))
    report.seconds = time.monotonic() - started
    return report


def _report(found, queue: JobQueue, prices: Prices, model: str, dry_run: bool) -> LabelReport:
    """A report with what the survey found and what is foreseen; a dry run's tokens and yuan are the foreseen ones."""
    requests, reused, tokens_in = queue.counts()
    price, tokens_out = prices.model(model), requests * ANSWER_TOKENS
    yuan = sum(price.cost(tokens, ANSWER_TOKENS) * number for tokens, number in queue.token_sizes()) if price else None
    report = LabelReport(found.pictures, requests, reused, rejected=found.rejected, yuan=0.0 if price else None, dry_run=dry_run,
                         foreseen=(tokens_in, tokens_out, yuan), prices_of=prices.date, price_source=prices.sources[0])
    if dry_run:
        report.input_tokens, report.output_tokens, report.yuan = report.foreseen
    return report


def _look_ahead(report: LabelReport, limits: Limits) -> None:
    """Adds how long the run takes at these limits."""
    tokens_in, tokens_out, _ = report.foreseen
    report.minutes, report.limits = limits.minutes(report.requests, tokens_in + tokens_out), str(limits)


def _known_limits(prices: Prices, model: str) -> Limits | None:
    """What the price file says of a model's limits."""
    price = prices.model(model)
    return Limits(price.rpm, price.tpm, f"usual as of {prices.date}") if price else None


def _under_way(limits: Limits) -> int:
    """How many requests have to be under way at once to keep a pace, within reason."""
    least, most, seconds = UNDER_WAY
    return min(most, max(least, round((limits.rpm or 0) / 60 * seconds)))


def _find_truth(picture: Path) -> Path | None:
    """The scenes.jsonl beside or above a picture, or None."""
    return next((folder / "scenes.jsonl" for folder in list(picture.resolve().parents)[:2] if (folder / "scenes.jsonl").is_file()), None)


@contextlib.contextmanager
def _teacher(own: bool, url: str | None, model: str, truth: Path | None, max_side: int, timeout: float,
             say: Callable[[str], None]) -> Iterator[QwenVL]:
    """A client for the endpoint; the kit's own stand-in runs as long as the client is used."""
    options = {"max_side": max_side, "timeout": timeout}
    if not own:
        # A stand-in in another terminal takes any key, so none has to be set for it.
        yield QwenVL(model, url, STAND_IN_KEY if url and not read_key() and is_stand_in(url) else None, **options)
        return
    from helpers.core.standin import KEY, StandIn

    with StandIn(truth) as stand_in:
        knows = f"the {stand_in.pictures} pictures it knows" if truth else "the kit's few photographs only"
        say(f"The teacher is the {STAND_IN_SOURCE}: it answers about {knows}.")
        yield QwenVL(model, stand_in.base_url, KEY, **options)
