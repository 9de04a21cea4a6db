"""The room of notebook 07: systems found and trained, studies of one's own before the kit's, tables and galleries that show what was measured."""

import json
import re

import pytest

from helpers import generalization
from helpers.core.errors import InputError
from helpers.core.paths import STUDENT
from helpers.core.splits import BASE, SPLITS, make_case
from helpers.core.student import load_student
from helpers.core.system_study import PRETRAINED, SystemSetup, find_systems, parse_systems, systems_study


@pytest.fixture(scope="module")
def student():
    return load_student("tiny", device="cpu")


@pytest.fixture(scope="module")
def result(student):
    return generalization.measure({PRETRAINED: student}, 4, 2, splits=("settings", "new kinds", "small"), corruptions=("contrast",), strengths=(5,), progress=False)


@pytest.fixture(scope="module")
def studied(tmp_path_factory, student):
    """The study of one system that describes, one that describes alone, on next to nothing: (folder, result)."""
    out = tmp_path_factory.mktemp("studied")
    setup = SystemSetup(number=2, corrupted=2, asked=2, splits=("small",), corruptions=("noise",))
    first = systems_study({PRETRAINED: "tiny"}, out, setup, say=lambda line: None)
    return out, setup, first


def test_a_live_result_has_a_row_a_set(result):
    table = generalization.drop_table(result)
    assert list(table.index) == [BASE, "settings", "new kinds", "small", "contrast 5"]
    assert re.fullmatch(r"[01]\.\d\d", table.loc[BASE, "pretrained"]) and table.loc[BASE, "pretrained, change"] == ""
    assert table.loc["contrast 5", "pretrained, change"].endswith("*") and table.loc["contrast 5", "pretrained, change"].startswith("-")


def test_tables_of_sureness_and_of_the_unknown(result):
    sure = generalization.sureness_table(result, [BASE, "small"])
    assert list(sure.columns) == ["sure", "right", "ECE", "words"] and (sure["words"] > 0).all()
    unknown = generalization.taken_for_table(result)
    assert {"volcano", "ice field", "stadium"} & set(unknown.index) and unknown["pretrained"].str.match(r"[a-z ]+ \d").all()


def test_the_worst_are_shown_with_their_pictures_and_judged_words(result):
    page = generalization.worst_cases(result, ["small", "contrast 5"]).data
    assert page.count("data:image/jpeg;base64,") == 2 and "missed:" in page and "small · pretrained" in page
    assert generalization.worst_cases(result, ["small"], rank=9).data.count("<img") == 0


def test_splits_and_corruptions_are_shown():
    assert len(generalization.show_splits().axes) == len(SPLITS)
    sheet = generalization.show_corruptions(make_case(BASE, 1).picture).axes[0]
    assert [label.get_text() for label in sheet.get_yticklabels()] == ["noise", "blur", "contrast", "jpeg", "rotation", "occlusion"]
    crowded = next(i for i in range(60) if make_case("crowded", i) is None)
    with pytest.raises(InputError, match="leaves no room for .*crowded"):
        generalization.show_splits(crowded)


def test_forgetting_needs_somebody_who_could_forget(student):
    assert generalization.forgetting({PRETRAINED: student}, 2, progress=False) == {}
    found = generalization.forgetting({PRETRAINED: student, "copy": student}, 2, progress=False)
    assert found["lost"]["copy"]["all"] == [0, 0, 0] and found["examples"][0][PRETRAINED] == found["examples"][0]["copy"]


def test_photographs_are_shown_with_what_was_written_by_hand(student):
    page = generalization.photographs({PRETRAINED: student}, names=["coffee"]).data
    assert page.count("<img") == 1 and "written by hand" in page and re.search(r"sure of its things: [01]\.\d\d|names nothing", page)


def test_a_small_training_makes_a_system_that_speaks_at_length(tmp_path, student):
    small = generalization.train_small(tmp_path, scenes=16, epochs=1)
    assert small.describe([make_case(BASE, 1).picture], "What?", max_new_tokens=8) and (tmp_path / "full" / "run.json").is_file()


def test_ones_own_study_comes_before_the_kits(tmp_path):
    kit = generalization.load_study("noise", tmp_path)
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "noise.json").write_text(json.dumps({**kit, "date": "1999-01-01"}))
    assert generalization.load_study("noise", tmp_path)["date"] == "1999-01-01" != kit["date"]
    assert generalization.origin(kit).startswith("captionlab study noise") and "torch" in generalization.origin(kit)


def test_the_kits_study_of_systems_has_all_of_them():
    kit = generalization.load_study("systems", "nowhere")
    assert {"pretrained", "lora", "full"} <= set(kit["scores"]) and set(SPLITS) <= set(kit["sets"])
    assert {f"{name} {strength}" for name in ("noise", "blur", "contrast", "jpeg", "rotation", "occlusion") for strength in range(1, 6)} <= set(kit["sets"])
    assert kit["forgetting"]["tests"] and kit["photos"]["lora"] and "/" not in json.dumps(kit["systems"])
    assert generalization.worst_cases(kit, ["rotation 5"], ["full"]).data.count("<img") == 1


def test_the_study_of_systems_asks_each_of_them_everything_once(studied, tmp_path):
    out, setup, first = studied
    assert set(first["sets"]) == {BASE, "small", *(f"noise {strength}" for strength in range(1, 6))}
    assert first["forgetting"] == {} and set(first["photos"]) == {PRETRAINED} and first["command"].startswith("captionlab study systems --number 2")
    said: list[str] = []
    again = systems_study({PRETRAINED: "tiny"}, out, setup, say=said.append)
    assert all("done before" in line for line in said) and again["scores"] == first["scores"]


def test_a_captioner_that_reads_no_question_has_nothing_to_forget(studied, monkeypatch, student):
    class Captioner:
        def describe_with_probabilities(self, images, questions, **options):
            return [("a dog in a park", [("a", 0.9), ("dog", 0.8), ("in", 1.0), ("a", 1.0), ("park", 0.9)]) for _ in images]

    out, setup, _ = studied
    monkeypatch.setattr("helpers.core.system_study.open_system", lambda place: Captioner() if place == "baseline" else student)
    result = systems_study({PRETRAINED: "tiny", "baseline": "baseline"}, out, setup, say=lambda line: None)
    assert result["forgetting"] == {} and set(result["scores"]) == {PRETRAINED, "baseline"}
    assert result["calibration"]["baseline"]["small"]["object"]["confidence"][0] == pytest.approx(0.8)


def test_systems_are_found_where_a_course_left_them(tmp_path):
    for name, files in (("full", ("model.safetensors", "run.json", "settings.json")), ("lora", ("adapter_model.safetensors", "run.json", "settings.json")),
                        ("unfinished", ("model.safetensors", "settings.json")), ("baseline", ("model.safetensors",)), ("scenes", ())):
        (tmp_path / name / "model").mkdir(parents=True)
        for file in files:
            (tmp_path / name / "model" / file).touch()
    assert list(find_systems(tmp_path, "tiny")) == [PRETRAINED, "lora", "full", "baseline"]
    assert find_systems(tmp_path / "nowhere", str(STUDENT)) == {PRETRAINED: str(STUDENT)}
    assert parse_systems(["a=b", "c=d/e"]) == {"a": "b", "c": "d/e"}


@pytest.mark.parametrize(("what", "named", "given", "words"), [
    ("weather", [], {}, "no study 'weather'; choose from noise, held-out, systems"), ("noise", [], {"number": 3}, "noise has no --number"),
    ("noise", ["a=b"], {}, "noise has no --system"), ("systems", ["a"], {}, "--system a names no system"), ("systems", ["a=b", "a=c"], {}, "Two systems are called 'a'"),
    ("systems", [], {"number": 1}, "at least 2 pictures"), ("held-out", [], {"seeds": "x"}, "no list of whole numbers")])
def test_settings_that_make_no_study_are_refused_in_one_sentence(tmp_path, what, named, given, words):
    asked = {name: given.get(name) for name in ("number", "corrupted", "asked", "train", "eval", "epochs", "seeds", "model")}
    with pytest.raises(InputError, match=words) as caught:
        generalization.study_command(what, tmp_path, named, tmp_path, "en", asked, say=lambda line: None)
    assert "\n" not in str(caught.value)
