"""Scores captions against references, in English and Chinese: how good, how sure, and which differences are real.

    references, {name: predictions}   conversations: one sample, one caption
      -> Pairs                        everybody's captions by sample id (core/pairing.py)
      -> words                        Penn Treebank for English, jieba for Chinese (core/tokens.py)
      -> {name: [Statistic]}          counts of each sample: BLEU, ROUGE-L, CIDEr (core/overlap.py), METEOR (core/meteor.py)
      -> result                       scores, intervals, paired tests (core/significance.py): what metrics.json holds

All systems are tokenized together and go through one METEOR, which a `MeteorPool` keeps running between calls. A metric
that cannot be computed here is absent from the scores and named under "unavailable" with its reason and its remedy;
it is never a zero.

A new metric has one place: a function that gives {system: {metric: (n,) scores}} and a note on how, like `spice_scores`, and
its line in `measure`'s `of_words` or `of_pairs`. One that is no mean of its samples' scores gives {system: Statistic} instead, as
BLEU's counts are one. Intervals, tests, tables, charts and metrics.json follow from that. How people read it is its entry in
core/metric_names.py. METRICS are those that pycocoevalcap has as well: a new one does not belong there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from helpers.core import meteor as meteor_program
from helpers.core import significance
from helpers.core.errors import CaptionLabError, InputError, ResourceError
from helpers.core.grading import grade
from helpers.core.meteor import MeteorPool, meteor_score
from helpers.core.neural_scores import bert_scores, clip_scores
from helpers.core.overlap import bleu, overlap
from helpers.core.pairing import Pairs, Source, pair
from helpers.core.significance import DRAWS, LEVEL, TRIALS, Statistic, interval, mean_of
from helpers.core.spice import spice_scores
from helpers.core.tokens import DEFAULT, TOKENIZERS, as_counted, characters, tokenize

__all__ = ["METRICS", "MeteorPool", "Scored", "caption_lengths", "draw_charts", "measure", "score_systems", "tokenize", "write_metrics"]

METRICS = ("Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "METEOR", "ROUGE_L", "CIDEr")
NOTES = {
    "CIDEr": "as pycocoevalcap computes it: the formula of CIDEr-D (clipped counts, a penalty on the difference in length, no "
             "stemming), with document frequencies counted in these references; so it is comparable on the same pictures only.",
}
INTERVAL_NOTE = ("{level:.0%} percentile bootstrap over samples, {draws} draws shared by all systems, seed {seed}; "
                 "CIDEr's document frequencies stay those of all references.")
TEST = "paired approximate randomization"
TEST_NOTE = "p-values adjusted by Holm over the pairs of systems, each metric by itself; a difference is called real below {level:.2g}."


@dataclass
class Scored:
    """Everything one call found out. result: what metrics.json holds.  pairs: ids, pictures, references, captions.
    each: {system: {metric: (n,)}}, the score of each picture by itself, for charts and for best and worst pictures."""

    result: dict
    pairs: Pairs
    each: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)


def score_systems(references: Source | Sequence[Source], predictions: Mapping[str, Source], language: str = "en",
                  tokenizer: str | None = None, **options) -> dict:
    """Scores several systems on the same samples; the answer is what metrics.json holds. Arguments and errors: see `measure`."""
    return measure(references, predictions, language, tokenizer, **options).result


def measure(
    references: Source | Sequence[Source],
    predictions: Mapping[str, Source],
    language: str = "en",
    tokenizer: str | None = None,
    *,
    truth: str | Path | Mapping | None = None,
    models=None,
    spice=None,
    pool: MeteorPool | None = None,
    progress: bool = True,
    seed: int = 0,
    draws: int = DRAWS,
    trials: int = TRIALS,
    allow_empty: bool = False,
) -> Scored:
    """Scores several systems on the same samples, with the scores of each sample.

    references: a conversation file (or its samples), whose assistant's words are the reference; or a list of those, one an
    annotator, for several references a picture.
    predictions: one conversation file (or samples) a system, with exactly the references' ids, in any order.
    language: "en" or "zh".  tokenizer: "ptb", "jieba", "char" or "none" (split at spaces); None picks by language.
    truth: a scenes.jsonl (or {id: Scene}) of drawn scenes, to grade against what they hold.
    models: a `neural_scores.Models`, which says what BERTScore and CLIPScore may use; None uses what is on this machine.
    spice: a `spice.SpiceSettings`; None looks where `captionlab fetch spice` puts it.
    pool: keeps METEOR running after the call.  seed: of bootstrap and tests.  draws, trials: how many of each.
    allow_empty: score a prediction without words as the zero it earns instead of refusing it.
    result: {"language", "tokenizer", "systems": {name: {"n", metric: score, "intervals": {metric: [low, high]}}},
    "unavailable": {metric: why}, "notes": {metric: how}, "tests": …}; scores are 0 to 1, CIDEr 0 to 10.
    Raises: InputError for ids that differ, an id twice, a caption without words, an unknown tokenizer or language.
    """
    if language not in DEFAULT:
        raise InputError(f"Language {language!r} cannot be scored; choose en or zh.")
    tokenizer = tokenizer or DEFAULT[language]
    if tokenizer not in TOKENIZERS:
        raise InputError(f"There is no tokenizer {tokenizer!r}; choose one of {', '.join(TOKENIZERS)}.")
    pairs = pair(references, predictions, allow_empty=allow_empty)
    graded = grade(pairs.captions, pairs.ids, truth, language) if truth is not None else {}
    statistics: dict[str, list[Statistic]] = {name: [] for name in pairs.captions}
    each: dict[str, dict[str, np.ndarray]] = {name: {} for name in pairs.captions}
    unavailable: dict[str, str] = {}
    notes = {**NOTES, "intervals": INTERVAL_NOTE.format(level=LEVEL, draws=draws, seed=seed)}
    n, m = len(pairs.ids), len(pairs.captions)
    steps = tqdm(total=n * (m + 1), desc="metrics", unit="caption", disable=not progress, leave=False)
    with steps, ExitStack() as ends:
        pool = pool or ends.enter_context(MeteorPool())
        try:  # started first: METEOR loads its tables for seconds, while Python does everything else
            pool.get(language)
        except ResourceError as error:
            unavailable["METEOR"] = str(error)
        words: dict[str, list[str]]
        gold: list[list[str]]
        # Further metrics, a line each: of tokenized captions and references, or of pairs as they were read, pictures included.
        of_words = {"SPICE": lambda: spice_scores(words, gold, language, spice)}
        of_pairs = {"BERTScore": lambda: bert_scores(pairs, language, models), "CLIPScore": lambda: clip_scores(pairs, language, models)}
        try:
            words, gold = _words(pairs, tokenizer)
        except ResourceError as error:  # no tokenizer, no scores: another one's would not be comparable
            why = f"{error} Without it there are no {tokenizer} tokens; --tokenizer none works anywhere."
            unavailable.update(dict.fromkeys((*METRICS, *of_words), why))
            of_words = {}
        else:
            _score_words(words, gold, pairs.ids, language, pool, statistics, each, unavailable, steps)
        _score_more(of_words | of_pairs, statistics, each, unavailable, notes)
    if "METEOR" not in unavailable:
        notes["METEOR"] = meteor_program.NOTE[language]
    for name, statistic in graded.items():
        _keep(statistic, statistics[name], each[name])
    systems, resampled = _systems(statistics, n, draws, seed)
    result = {"language": language, "tokenizer": tokenizer, "systems": systems, "unavailable": unavailable, "notes": notes}
    if m > 1 and any(statistics.values()):
        result["tests"] = _tests(statistics, resampled, trials, seed)
    return Scored(result, pairs, each)


def write_metrics(result: dict, path: str | Path) -> Path:
    """Writes a result of `score_systems` as metrics.json, whole or not at all; returns the path."""
    path = Path(path)
    half = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        half.write_text(json.dumps(result, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        os.replace(half, path)
    except OSError as error:
        raise ResourceError(f"{path} could not be written: {error.strerror}.") from error
    return path


def draw_charts(scored: Scored, folder: str | Path) -> list[Path]:
    """Draws every chart of a measurement into `folder` as SVG files; returns their paths. Best and worst pictures are drawn
    where the pictures are found."""
    from helpers.core import metric_figures as figures

    folder, each, pairs = Path(folder), scored.each, scored.pairs
    drawn = {"bars": figures.grouped_bars(scored.result), "parallel": figures.parallel_coordinates(scored.result)}
    metrics = list(dict.fromkeys(metric for columns in each.values() for metric in columns))
    shared = [metric for metric in metrics if all(metric in columns and np.ptp(columns[metric]) > 0 for columns in each.values())]
    if len(shared) > 1:
        drawn["correlations"] = figures.correlations(each, shared)
    lengths = caption_lengths(scored)
    for metric in metrics:
        drawn[f"{metric}-length"] = figures.score_against_length(each, lengths, metric)
        drawn[f"{metric}-pictures"] = figures.distributions(each, metric)
        if all(path is not None for path in pairs.paths):
            for name in (name for name, columns in each.items() if metric in columns):
                drawn[f"{metric}-extremes-{name}"] = figures.extremes(each, name, metric, pairs.paths, pairs.captions[name],
                                                                      [texts[0] for texts in pairs.references])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, figure in drawn.items():
            figure.savefig(folder / f"{name}.svg")
    except OSError as error:
        raise ResourceError(f"{folder} could not be written: {error.strerror}.") from error
    return [folder / f"{name}.svg" for name in drawn]


def caption_lengths(scored: Scored) -> dict[str, list[int]]:
    """How many words each caption has: {system: n}; Chinese counts by character, so that no Java is needed here."""
    return {name: [len(characters(caption)) for caption in column] for name, column in scored.pairs.captions.items()}


def _words(pairs: Pairs, tokenizer: str) -> tuple[dict[str, list[str]], list[list[str]]]:
    """Captions of each system and references of each sample, tokenized in one go."""
    texts = [text for column in pairs.captions.values() for text in column] + [text for row in pairs.references for text in row]
    flat = iter(as_counted(texts, tokenizer))
    words = {name: [next(flat) for _ in column] for name, column in pairs.captions.items()}
    return words, [[next(flat) for _ in row] for row in pairs.references]


def _score_words(words, gold, ids, language, pool, statistics, each, unavailable, steps) -> None:
    """BLEU, ROUGE-L, CIDEr and METEOR of every system; METEOR's program works while Python counts."""
    n = len(gold)
    with ThreadPoolExecutor(1) as beside:
        meteor = beside.submit(_meteor_counts, words, gold, ids, language, pool, steps.update) if "METEOR" not in unavailable else None
        for name, found in overlap(gold, words, steps.update).items():
            counted = [Statistic(METRICS[:4], found.bleu, lambda sums, _: bleu(sums)), mean_of("ROUGE_L", found.rouge)]
            for statistic in counted + ([mean_of("CIDEr", found.cider)] if n > 1 else []):
                _keep(statistic, statistics[name], each[name])
        if n < 2:
            unavailable["CIDEr"] = "weighs a word by how many references lack it, so it needs at least two samples."
        try:
            counts = meteor.result() if meteor else {}
        except CaptionLabError as error:  # for no system then: half a column would look like a ranking
            unavailable["METEOR"], counts = str(error), {}
    for name, rows in counts.items():
        _keep(Statistic(("METEOR",), rows, lambda sums, _: meteor_score(sums, language)[:, None]), statistics[name], each[name])


def _meteor_counts(words, gold, ids, language, pool, step) -> dict[str, np.ndarray]:
    """METEOR's counts of every system, (n, 23) each, from one running program."""
    for name, column in words.items():
        try:
            meteor_program.check_lengths(column, gold, ids)
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
    program = pool.get(language)
    return {name: program.statistics(column, gold, step) for name, column in words.items()}


def _score_more(metrics, statistics, each, unavailable, notes) -> None:
    """SPICE, BERTScore, CLIPScore and what is added: what is here is computed, what is not is named with its remedy.

    metrics: {name: function}. A function gives (found, note); found is {system: {metric: (n,) scores}}, or {system: Statistic}."""
    for metric, compute in metrics.items():
        try:
            found, notes[metric] = compute()
        except CaptionLabError as error:
            unavailable[metric] = str(error)
            continue
        for name, columns in found.items():
            for statistic in [columns] if isinstance(columns, Statistic) else [mean_of(part, column) for part, column in columns.items()]:
                _keep(statistic, statistics[name], each[name])


def _keep(statistic: Statistic, statistics: list[Statistic], each: dict[str, np.ndarray]) -> None:
    """Puts a metric of one system where the corpus's scores come from, and its score of each picture where the charts look;
    not there a metric that nothing was counted for in some picture (NaN)."""
    statistics.append(statistic)
    each |= {metric: column for metric, column in zip(statistic.metrics, statistic.of_each().T) if not np.isnan(column).any()}


def _systems(statistics, n: int, draws: int, seed: int) -> tuple[dict, dict]:
    """The "systems" of metrics.json, and the scores on resampled corpora that the intervals come from.

    A score that is NaN (nothing was counted for it) is left out; so is an interval that a draw was left without."""
    resampled = significance.bootstrap(statistics, draws, seed) if any(statistics.values()) else {name: {} for name in statistics}
    systems = {}
    for name, parts in statistics.items():
        scores = {metric: score for metric, score in _of_all(parts).items() if not np.isnan(score)}
        scores = {metric: scores[metric] for metric in (*METRICS, *scores) if metric in scores}
        intervals = {metric: [round(end, 6) for end in interval(resampled[name][metric])]
                     for metric in scores if not np.isnan(resampled[name][metric]).any()}
        systems[name] = {"n": n, **_fold({metric: round(score, 6) for metric, score in scores.items()}), "intervals": intervals}
    return systems, resampled


def _of_all(parts: Sequence[Statistic]) -> dict[str, float]:
    """Every score of one system on all samples."""
    return {metric: float(score) for part in parts for metric, score in zip(part.metrics, part.of_all())}


def _fold(scores: dict[str, float]) -> dict:
    """BERTScore's three numbers as one entry, as metrics.json has it."""
    folded: dict = {}
    for metric, score in scores.items():
        name, _, part = metric.partition(".")
        if part:
            folded.setdefault(name, {})[part] = score
        else:
            folded[metric] = score
    return folded


def _tests(statistics, resampled, trials: int, seed: int) -> dict:
    """Which differences between systems are real: every pair of systems, every metric that both have."""
    p_values = significance.approximate_randomization(statistics, trials, seed)
    flat = {name: _of_all(parts) for name, parts in statistics.items()}
    pairs: list[dict] = []
    for a, b in combinations(statistics, 2):
        compared: dict[str, dict] = {}
        for metric, p in p_values[a, b].items():
            gaps = resampled[b][metric] - resampled[a][metric]
            if not np.isnan(gaps).any():
                low, high = interval(gaps)
                compared[metric] = {"difference": round(flat[b][metric] - flat[a][metric], 6), "interval": [round(low, 6), round(high, 6)], "p": round(p, 6)}
        pairs.append({"systems": [a, b], "metrics": compared})
    for metric in dict.fromkeys(metric for entry in pairs for metric in entry["metrics"]):
        rows = [entry["metrics"][metric] for entry in pairs if metric in entry["metrics"]]
        for row, adjusted in zip(rows, significance.holm([row["p"] for row in rows])):
            row.update(p_holm=round(adjusted, 6), real=bool(adjusted < 1 - LEVEL))
    return {"method": TEST, "trials": trials, "seed": seed, "note": TEST_NOTE.format(level=1 - LEVEL), "pairs": pairs}
