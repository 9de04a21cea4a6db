"""Scores captions against references: BLEU-1…4, METEOR, ROUGE-L and CIDEr, in English and Chinese, with intervals.

    references, {name: predictions}   conversations: one sample, one caption
      -> tokens                       {name: n lists of words}: Penn Treebank for English, jieba for Chinese
      -> {name: {metric: Measured}}   the score, and how it would move had other pictures been drawn
      -> result                       the dictionary that metrics.json holds

All systems go through one start of each Java program. A metric that cannot be computed here is absent from the
scores and named under "unavailable" with the reason; it is never a zero.

Sources: BLEU, Papineni et al. 2002; ROUGE-L, Lin 2004; CIDEr, Vedantam et al. 2015; METEOR, Denkowski and Lavie
2014; all but the last two steps of METEOR as pycocoevalcap computes them. Intervals: the percentile bootstrap
(Efron 1979), with one set of draws for all systems, as Koehn 2004 proposes for comparing them.
"""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Mapping, Sequence

import numpy as np
from tqdm.auto import tqdm

from helpers.core import java
from helpers.core.conversations import Sample, read_conversations
from helpers.core.errors import InputError, ResourceError

METRICS = ("Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "METEOR", "ROUGE_L", "CIDEr")
TOKENIZERS = ("ptb", "jieba", "char", "none")
DRAWS = 1000  # bootstrap resamples; the ends of a 95 % interval then rest on 25 draws each
LEVEL = 0.95

UNAVAILABLE = {
    "SPICE": "needs Stanford CoreNLP 3.6.0, which is not part of pycocoevalcap's package and is not downloaded unasked.",
    "BERTScore": "needs the weights of a language model, which are not part of this kit and are not downloaded unasked.",
}
METEOR_NOTE = {
    "en": "version 1.5, English: exact, stem, synonym and paraphrase matches.",
    "zh": "version 1.5 has no Chinese stems, synonyms or paraphrases: exact matches of tokens only, with its "
          "language-independent parameters; not comparable with METEOR of English captions.",
}
INTERVAL_NOTE = (f"{LEVEL:.0%} percentile bootstrap over samples, {DRAWS} draws shared by all systems; "
                 "CIDEr's document frequencies stay those of all references.")


@dataclass(frozen=True)
class Measured:
    """One metric of one system: the score of all n samples, and its 95 % interval (low, high)."""

    score: float
    interval: tuple[float, float]


def score_systems(
    references: str | Path | Sequence[Sample],
    predictions: Mapping[str, str | Path | Sequence[Sample]],
    language: str = "en",
    tokenizer: str | None = None,
    *,
    progress: bool = True,
    seed: int = 0,
    allow_empty: bool = False,
) -> dict:
    """Scores several systems on the same samples; the answer is what metrics.json holds.

    references: a conversation file (or its samples); the assistant's words are the reference.
    predictions: one conversation file (or samples) a system, with exactly the references' ids, in any order.
    language: "en" or "zh".  tokenizer: "ptb", "jieba", "char" or "none" (split at spaces); None picks by language.
    seed: of the bootstrap.  allow_empty: score a prediction without words as the zero it earns instead of refusing it.
    Returns {"language", "tokenizer", "systems": {name: {"n", metric: score, "intervals": {metric: [low, high]}}},
    "unavailable": {metric: why}, "notes": {metric: how}}; scores are 0 to 1, CIDEr 0 to 10.
    Raises: InputError for ids that differ, an id twice, a caption without words, an unknown tokenizer or language.
    """
    if language not in ("en", "zh"):
        raise InputError(f"Language {language!r} cannot be scored; choose en or zh.")
    tokenizer = tokenizer or {"en": "ptb", "zh": "jieba"}[language]
    if tokenizer not in TOKENIZERS:
        raise InputError(f"There is no tokenizer {tokenizer!r}; choose one of {', '.join(TOKENIZERS)}.")
    if not predictions:
        raise InputError("There are no predictions to score; name at least one output.json.")
    texts = _aligned_texts(references, predictions, allow_empty)
    unavailable = dict(UNAVAILABLE)
    steps = tqdm(total=3 + 2 * len(predictions), desc="metrics", unit="step", disable=not progress, leave=False)
    with steps, ExitStack() as programs:
        try:  # started first: METEOR loads its tables for seconds, while Python does everything else
            meteor = programs.enter_context(java.Meteor(language))
        except ResourceError as error:
            meteor, unavailable["METEOR"] = None, str(error)
        try:
            measured = _score_all(texts, tokenizer, meteor, seed, steps, unavailable)
        except ResourceError as error:  # no tokenizer, no scores: another one's would not be comparable
            why = f"{error} Without it there are no {tokenizer} tokens; --tokenizer none works anywhere."
            measured, unavailable = {}, {**unavailable, **dict.fromkeys(METRICS, why)}
    return _result(language, tokenizer, measured, texts, unavailable)


def write_metrics(result: dict, path: str | Path) -> Path:
    """Writes a result of `score_systems` as metrics.json, whole or not at all; returns the path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(path.name + ".part")
    try:
        half.write_text(json.dumps(result, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        os.replace(half, path)
    except OSError as error:
        raise ResourceError(f"{path} could not be written: {error.strerror}.") from error
    return path


def tokenize(texts: Sequence[str], tokenizer: str) -> list[list[str]]:
    """Splits n texts into lists of words.

    "ptb": Penn Treebank, lower case, one Java start. "jieba": Chinese words. "char": one Chinese character is one
    word, Latin words stay whole. "none": at spaces, nothing changed. All but "none" drop punctuation.
    Raises: ResourceError when "ptb" finds no working Java.
    """
    if tokenizer == "ptb":
        return java.ptb_tokenize(texts)
    if tokenizer == "none":
        return [text.split() for text in texts]
    if tokenizer == "char":
        return [_characters(text) for text in texts]
    import logging

    import jieba

    jieba.setLogLevel(logging.WARNING)  # its notice about loading the dictionary would break the progress bar
    return [[word.lower() for word in jieba.cut(text) if any(map(str.isalnum, word))] for text in texts]


def _characters(text: str) -> list[str]:
    """Chinese characters one by one, runs of Latin letters and digits as words, the rest dropped."""
    tokens: list[str] = []
    grows = False
    for character in text.lower():
        latin = character.isalnum() and ord(character) < 0x2E80  # before the first block of Chinese radicals
        if latin and grows:
            tokens[-1] += character
        elif character.isalnum():
            tokens.append(character)
        grows = latin
    return tokens


def _aligned_texts(references, predictions, allow_empty: bool) -> dict[str | None, list[str]]:
    """Captions per system in the references' order; the references themselves under None. Checks what `score_systems` says."""
    by_id = _captions("the references", references, allow_empty=False)
    texts: dict[str | None, list[str]] = {None: list(by_id.values())}
    for name, source in predictions.items():
        captions = _captions(name, source, allow_empty)
        missing = [identity for identity in by_id if identity not in captions]
        extra = [identity for identity in captions if identity not in by_id]
        if missing or extra:
            what = f"has no prediction for sample {missing[0]}" if missing else f"predicts sample {extra[0]}, which the references lack"
            raise InputError(f"{_where(name, source)} {what} ({len(missing)} missing, {len(extra)} too many); "
                             "score each file against the references it was made from.")
        texts[name] = [captions[identity] for identity in by_id]
    return texts


def _captions(name: str, source, allow_empty: bool) -> dict[str, str]:
    """The assistant's words by sample id, in the file's order."""
    samples = read_conversations(source, need_images=False) if isinstance(source, (str, Path)) else source
    where = _where(name, source)
    captions: dict[str, str] = {}
    for sample in samples:
        if sample.id in captions:
            raise InputError(f"{where}: sample {sample.id} is there twice; keep one of them.")
        if not allow_empty and not any(map(str.isalnum, sample.answer or "")):
            raise InputError(f"{where}: the caption of sample {sample.id} has no words; describe that picture again or take the sample out.")
        captions[sample.id] = sample.answer or ""
    if not captions:
        raise InputError(f"{where} holds no samples; there is nothing to score.")
    return captions


def _where(name: str, source) -> str:
    """How a message names a source: its file where it has one."""
    return str(source) if isinstance(source, (str, Path)) else name


def _score_all(texts, tokenizer, meteor, seed, steps, unavailable) -> dict[str, dict[str, Measured]]:
    """{name: {metric: Measured}} of every system; adds to `unavailable` what could not be measured on the way.

    meteor: the running program, or None.  Raises: ResourceError when the tokenizer does not work here.
    """
    flat = tokenize([text for column in texts.values() for text in column], tokenizer)
    steps.update(3)
    n = len(texts[None])
    words = {name: [" ".join(tokens) for tokens in flat[i * n:(i + 1) * n]] for i, name in enumerate(texts)}
    reference = words.pop(None)
    draws = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=DRAWS)  # (draws, n): how often each sample
    measured = {}
    for name, column in words.items():
        measured[name] = _score_in_python(reference, column, draws)
        steps.update()
    if n < 2:
        unavailable["CIDEr"] = "weighs a word by how many references lack it, so it needs at least two samples."
    try:
        for name, column in words.items() if meteor is not None else ():
            measured[name]["METEOR"] = _score_meteor(meteor, reference, column, draws)
            steps.update()
    except ResourceError as error:  # for no system then: half a column would look like a ranking
        unavailable["METEOR"] = str(error)
    return measured


def _score_in_python(reference: list[str], column: list[str], draws: np.ndarray) -> dict[str, Measured]:
    """BLEU-1…4, ROUGE-L and CIDEr of one system. reference, column: n captions, words parted by spaces; draws: (d, n)."""
    from pycocoevalcap.bleu.bleu_scorer import BleuScorer
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    bleu = BleuScorer(n=4)
    for caption, truth in zip(column, reference):
        bleu += (caption, [truth])
    scores, _ = bleu.compute_score(option="closest")
    resampled = _resample_bleu(bleu.ctest, draws)
    measured = {f"Bleu_{k + 1}": Measured(float(scores[k]), _interval(resampled[:, k])) for k in range(4)}
    truths = {i: [truth] for i, truth in enumerate(reference)}
    captions = {i: [caption] for i, caption in enumerate(column)}
    for metric, scorer in (("ROUGE_L", Rouge()), ("CIDEr", Cider())):
        score, each = scorer.compute_score(truths, captions)
        measured[metric] = Measured(float(score), _interval(draws @ np.asarray(each) / len(each)))
    return measured


def _resample_bleu(counts: list[dict], draws: np.ndarray) -> np.ndarray:
    """Corpus BLEU-1…4 of every draw, (d, 4), from n samples' n-gram counts.

    BLEU is no mean of samples: the counts of the drawn samples are added up first, then divided, as for the corpus.
    """
    tiny, small = 1e-15, 1e-9  # pycocoevalcap's own guards against a division by zero
    correct = draws @ np.array([row["correct"] for row in counts])
    guessed = draws @ np.array([row["guess"] for row in counts])
    length = draws @ np.array([row["testlen"] for row in counts])
    wanted = draws @ np.array([min((abs(l - row["testlen"]), l) for l in row["reflen"])[1] for row in counts])
    precision = (correct + tiny) / (guessed + small)
    score = np.cumprod(precision, axis=1) ** (1 / np.arange(1, 5))
    ratio = (length + tiny) / (wanted + small)
    return score * np.where(ratio < 1, np.exp(1 - 1 / ratio), 1.0)[:, None]


def _score_meteor(meteor: java.Meteor, reference: list[str], column: list[str], draws: np.ndarray) -> Measured:
    """METEOR of one system; each draw is scored by METEOR itself, from the sum of the drawn samples' statistics."""
    statistics = np.array([meteor.statistics(caption, [truth]) for caption, truth in zip(column, reference)])
    _, score = meteor.scores(statistics)
    resampled, _ = meteor.scores(draws @ statistics)
    return Measured(score, _interval(resampled))


def _interval(resampled) -> tuple[float, float]:
    """The middle 95 % of the resampled scores."""
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _result(language, tokenizer, measured, texts, unavailable) -> dict:
    """The metrics.json of what was measured."""
    systems = {}
    for name in (name for name in texts if name is not None):
        found = {metric: measured[name][metric] for metric in METRICS if metric not in unavailable}
        systems[name] = {
            "n": len(texts[None]),
            **{metric: round(value.score, 6) for metric, value in found.items()},
            "intervals": {metric: [round(end, 6) for end in value.interval] for metric, value in found.items()},
        }
    notes = {"intervals": INTERVAL_NOTE}
    if "METEOR" not in unavailable:
        notes["METEOR"] = METEOR_NOTE[language]
    return {"language": language, "tokenizer": tokenizer, "systems": systems, "unavailable": unavailable, "notes": notes}
