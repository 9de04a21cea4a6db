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
    """pycocoevalcap's whole evaluation but SPICE of {id: texts} and {id: text}, as its COCOEvalCap does it; raw: without its tokenizer."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.meteor.meteor import Meteor as PeerMeteor
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    found = {identity: [text] for identity, text in found.items()}
    if not raw:
        gold, found = (PTBTokenizer().tokenize({i: [{"caption": text} for text in texts] for i, texts in side.items()}) for side in (gold, found))
    scores, _ = Bleu(4).compute_score(gold, found, verbose=0)
    return {**{f"Bleu_{k + 1}": scores[k] for k in range(4)}, "METEOR": PeerMeteor().compute_score(gold, found)[0],
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


def test_files_of_the_original_project_load_unchanged_and_score_raw_as_the_peer(tmp_path, pool, monkeypatch):
    """Raw Chinese, split at spaces: each sentence is one "word". The peer's METEOR is always English, so ours is asked as English too."""
    monkeypatch.setenv("PATH", str(java.find_java().parent) + os.pathsep + os.environ["PATH"])
    question = "<image>\n请告诉我这张照片记录了一个什么场景，尽可能包含图像中出现的所有物体。"
    gold = {"2002": "一只红色的狗站在海滩上。", "2003": "两辆蓝色的汽车 停在街道上。", "2004": "公园里有三只风筝。\n天空很蓝。", "2005": "A red dog 在海滩上。"}
    found = {"2002": "一只红色的狗站在海滩上。", "2003": "一辆汽车 停在街道上。", "2004": "农场 很安静", "2005": "A red cat 在海滩上。"}
    files = [tmp_path / "eval.json", tmp_path / "output.json"]
    for file, texts in zip(files, (gold, found)):
        file.write_text(json.dumps([{"id": identity, "image": f"data/Val/{identity}.jpg", "conversations": [
            {"role": "user", "content": question}, {"role": "assistant", "content": text}]} for identity, text in texts.items()], ensure_ascii=False), encoding="utf-8")
    theirs = peer_scores({i: [text.replace("\n", " ")] for i, text in gold.items()}, found, raw=True)
    for language in ("zh", "en"):
        result = score_systems(files[0], {"a": files[1]}, language, "none", pool=pool, progress=False)
        ours = result["systems"]["a"]
        for metric in theirs if language == "en" else set(theirs) - {"METEOR"}:
            assert ours[metric] == pytest.approx(theirs[metric], abs=1e-6), (language, metric)
    assert theirs["Bleu_1"] < 0.7 and theirs["METEOR"] > 0.1  # numbers that say something


@pytest.mark.parametrize("seed", range(5))
def test_what_holds_of_any_captions(seed):
    """Its own reference earns the maximum; the order of pictures changes nothing; another reference never lowers clipped matches,
    and never ROUGE-L, which takes the best precision and the best recall."""
    generator = random.Random(seed)

    def sentence(shortest=0):
        return " ".join(generator.choices(WORDS, k=generator.randint(shortest, 14)))

    gold = [[sentence(4) for _ in range(generator.randint(1, 4))] for _ in range(50)]
    column = [sentence() for _ in gold]
    same = overlap([texts[:1] for texts in gold], {"a": [texts[0] for texts in gold]})["a"]
    assert bleu(same.bleu) == pytest.approx(1, abs=1e-6) and same.rouge == pytest.approx(1) and same.cider == pytest.approx(10)
    found = overlap(gold, {"a": column})["a"]
    order = generator.sample(range(50), 50)
    mixed = overlap([gold[i] for i in order], {"a": [column[i] for i in order]})["a"]
    assert (mixed.bleu == found.bleu[order]).all() and mixed.rouge == pytest.approx(found.rouge[order]) and mixed.cider == pytest.approx(found.cider[order])
    more = overlap([[*texts, sentence(1)] for texts in gold], {"a": column})["a"]
    assert (more.bleu[:, :4] >= found.bleu[:, :4]).all() and (more.rouge >= found.rouge - 1e-12).all()
    assert (more.bleu[:, :4] > found.bleu[:, :4]).any()


@pytest.mark.parametrize("language", ["en", "zh"])
def test_meteor_of_the_reference_itself_is_one_and_another_reference_never_lowers_it(language, pool):
    generator = random.Random(2)
    gold = [[" ".join(generator.choices(WORDS, k=generator.randint(2, 12))) for _ in range(3)] for _ in range(40)]
    column = [" ".join(generator.choices(WORDS, k=generator.randint(1, 12))) for _ in gold]
    program = pool.get(language)
    assert meteor_score(program.statistics([texts[0] for texts in gold], [texts[:1] for texts in gold]), language) == pytest.approx(1)
    one, three = (meteor_score(program.statistics(column, [texts[:n] for texts in gold]), language) for n in (1, 3))
    assert (three >= one - 1e-9).all() and (three > one).any()


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
