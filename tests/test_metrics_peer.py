"""Tests that every score is the peer's: pycocoevalcap's classes on real COCO captions, and METEOR's own answers."""

import io
import json
import os
import random
import zipfile

import numpy as np
import pytest

from helpers.core import java
from helpers.core.conversations import Sample
from helpers.core.meteor import Meteor, meteor_score
from helpers.core.overlap import bleu, longest_common_subsequence, overlap
from helpers.metrics import METRICS, MeteorPool, score_systems

WORDS = "the a red dog cat runs ran quickly on in of house houses big large small beach two three men woman is are stands".split()


@pytest.fixture(scope="module")
def coco():
    """40 pictures of COCO's val2014 with their five captions, as SPICE's jar carries them: {id: five texts}."""
    with zipfile.ZipFile(java.jar("spice", "spice-1.0.jar")) as jar:
        annotations = json.load(io.TextIOWrapper(jar.open("coco/annotations/captions_val2014.json"), "utf-8"))["annotations"]
    captions: dict[str, list[str]] = {}
    for annotation in annotations:
        captions.setdefault(str(annotation["image_id"]), []).append(annotation["caption"])
    return dict([(identity, texts) for identity, texts in captions.items() if len(texts) >= 5][:40])


@pytest.fixture(scope="module")
def pool():
    with MeteorPool() as programs:
        yield programs


def samples(texts):
    """One sample a text: {id: text}."""
    return [Sample(identity, f"{identity}.jpg", None, "What is here?", text) for identity, text in texts.items()]


def peer_scores(gold, found, raw=False):
    """pycocoevalcap's whole evaluation but SPICE of {id: texts} and {id: text}, as its COCOEvalCap does it.

    raw: neither its tokenizer nor its METEOR, which is English and would look for Chinese words in WordNet."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.meteor.meteor import Meteor as PeerMeteor
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    found = {identity: [text] for identity, text in found.items()}
    if not raw:
        gold, found = (PTBTokenizer().tokenize({i: [{"caption": text} for text in texts] for i, texts in side.items()}) for side in (gold, found))
    scores, _ = Bleu(4).compute_score(gold, found, verbose=0)
    meteor = {} if raw else {"METEOR": PeerMeteor().compute_score(gold, found)[0]}
    return {**{f"Bleu_{k + 1}": scores[k] for k in range(4)}, **meteor,
            "ROUGE_L": Rouge().compute_score(gold, found)[0], "CIDEr": Cider().compute_score(gold, found)[0]}


@pytest.mark.parametrize("annotators", [1, 4])
def test_scores_on_coco_are_the_peers(coco, pool, monkeypatch, annotators):
    monkeypatch.setenv("PATH", str(java.find_java().parent) + os.pathsep + os.environ["PATH"])
    generator = random.Random(annotators)
    gold = {identity: texts[:annotators] for identity, texts in coco.items()}
    human = {identity: texts[4] for identity, texts in coco.items()}
    machine = {identity: " ".join(word for word in texts[0].split() if generator.random() < 0.7) for identity, texts in coco.items()}
    result = score_systems([samples({i: texts[k] for i, texts in gold.items()}) for k in range(annotators)],
                           {"human": samples(human), "machine": samples(machine)}, "en", pool=pool, progress=False, trials=10)
    for name, column in (("human", human), ("machine", machine)):
        assert {metric: result["systems"][name][metric] for metric in METRICS} == pytest.approx(peer_scores(gold, column), abs=1e-6)


def test_raw_chinese_split_at_spaces_gives_the_peers_number(pool, monkeypatch):
    monkeypatch.setenv("PATH", str(java.find_java().parent) + os.pathsep + os.environ["PATH"])
    gold = {"0": "一只红色的狗站在海滩上。", "1": "两辆蓝色的汽车 停在街道上。", "2": "公园里有三只风筝。"}
    found = {"0": "一只红色的狗站在海滩上。", "1": "一辆汽车 停在街道上。", "2": "农场 很安静"}
    ours = score_systems(samples(gold), {"a": samples(found)}, "zh", "none", pool=pool, progress=False)["systems"]["a"]
    theirs = peer_scores({i: [text] for i, text in gold.items()}, found, raw=True)
    for metric in theirs:
        assert ours[metric] == pytest.approx(theirs[metric], abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_random_captions_of_one_to_five_references_score_as_the_peers(seed):
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    generator = random.Random(seed)
    gold = [[" ".join(generator.choices(WORDS, k=generator.randint(1, 14))) for _ in range(generator.randint(1, 5))] for _ in range(60)]
    column = [generator.choice(texts) if generator.random() < 0.3 else " ".join(generator.choices(WORDS, k=generator.randint(0, 14))) for texts in gold]
    ours = overlap(gold, {"a": column})["a"]
    truths, found = dict(enumerate(gold)), {i: [text] for i, text in enumerate(column)}
    total, each = Bleu(4).compute_score(truths, found, verbose=0)
    assert bleu(ours.bleu.sum(axis=0, keepdims=True))[0] == pytest.approx(total, abs=1e-9)
    assert bleu(ours.bleu).T == pytest.approx(np.array(each), abs=1e-9)
    assert ours.rouge == pytest.approx(Rouge().compute_score(truths, found)[1], abs=1e-9)
    assert ours.cider == pytest.approx(Cider().compute_score(truths, found)[1], abs=1e-9)


def test_subsequences_on_bit_vectors_are_those_of_the_table():
    from pycocoevalcap.rouge.rouge import my_lcs

    generator = random.Random(0)
    for _ in range(300):
        first, second = (generator.choices("abcd", k=generator.randint(1, 80)) for _ in range(2))
        assert longest_common_subsequence(first, second) == my_lcs(first, second)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_formula_is_meteors_own(language, pool):
    generator = random.Random(1)
    column = [" ".join(generator.choices(WORDS, k=generator.randint(0, 10))) for _ in range(60)]
    gold = [[" ".join(generator.choices(WORDS, k=generator.randint(1, 10))) for _ in range(generator.randint(1, 5))] for _ in column]
    column[:10] = [texts[0] for texts in gold[:10]]  # perfect ones, whose chunk does not count
    program: Meteor = pool.get(language)
    raw = program.ask([" ||| ".join(["SCORE", *texts, text]) for text, texts in zip(column, gold)], len(gold))
    each, corpus = program.scores([[float(number) for number in line.split()] for line in raw])
    rows = program.statistics(column, gold)
    assert meteor_score(rows, language) == pytest.approx(each, abs=1e-12)
    assert meteor_score(rows.sum(axis=0, keepdims=True), language)[0] == pytest.approx(corpus, abs=1e-12)
