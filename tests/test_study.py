"""Studies: killed at any moment they go on, their numbers come with the command that makes them again, and bad settings are refused."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from helpers.core import study
from helpers.core.errors import InputError
from helpers.core.held_out import KEPT, KINDS_OUT, PLACES_OUT, count, held_out_study
from helpers.core.paths import ROOT
from helpers.core.plain_training import fine_tune
from helpers.core.robustness_figures import held_out_chart, noise_chart
from helpers.core.scenes import plan_scene
from helpers.core.speech import answer
from helpers.core.study import Setup, noise_study, parse_seeds, read_study, write_study
from tests.small_student import make_samples, make_student

RUN = "from helpers.core.study import *; noise_study({out!r}, Setup(train=4, eval=3, epochs=1, seeds=(0,), model={model!r}, threads=1), (0, 0.5), ('scattered',))"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A random student of 0.4 M parameters."""
    return make_student(tmp_path_factory.mktemp("study") / "student")


@pytest.fixture(scope="module")
def noise(small, tmp_path_factory):
    """A noise study, killed in the middle of its trainings and run again to its end: (folder, result, stations after the kill)."""
    out = tmp_path_factory.mktemp("noise") / "noise"
    process = subprocess.Popen([sys.executable, "-c", RUN.format(out=str(out), model=str(small))], cwd=ROOT, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": str(ROOT)})
    try:
        state, end = {}, time.monotonic() + 240
        while not state.get("none 0%, seed 0", {}).get("finished"):
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.2)
            state = json.loads((out / "course.json").read_text())["stations"] if (out / "course.json").exists() else {}
        process.send_signal(signal.SIGKILL)
        process.wait()
    finally:
        process.kill()
    before = json.loads((out / "course.json").read_text())["stations"]
    said: list[str] = []
    result = noise_study(out, Setup(train=4, eval=3, epochs=1, seeds=(0,), model=str(small), threads=1), (0, 0.5), ("scattered",), say=said.append)
    return out, result, before, said


def test_a_killed_study_goes_on_and_repeats_nothing(noise):
    out, result, before, said = noise
    assert before["none 0%, seed 0"]["finished"] and not all(one["finished"] for one in before.values()) or len(before) < 3
    assert said[0].startswith("[1/3] scenes: done before") and said[1].startswith("[2/3] none 0%, seed 0: done before")
    after = json.loads((out / "course.json").read_text())["stations"]
    assert after["none 0%, seed 0"] == before["none 0%, seed 0"] and all(one["finished"] for one in after.values())
    assert [(one["manner"], one["share"]) for one in result["conditions"]] == [("none", 0), ("scattered", 0.5)]
    assert not list(out.rglob("*.safetensors"))  # models are deleted, their words are kept
    assert len(list(out.rglob("output.json"))) == 2


def test_a_study_tells_how_to_repeat_it(noise, tmp_path):
    _, result, *_ = noise
    assert result["command"].startswith("captionlab study noise --train 4 --eval 3 --epochs 1 --model ") and result["command"].endswith("--seeds 0")
    assert set(result["versions"]) >= {"torch", "transformers", "captionlab"} and result["date"].count("-") == 2
    path = write_study(result, tmp_path)
    assert path.name == "noise.json" and read_study("noise", tmp_path) == json.loads(json.dumps(result, default=list))
    assert max(map(len, path.read_text().splitlines())) < 400
    assert Setup().options == "" and parse_seeds("0,2,2") == (0, 2)


def test_conditions_are_paired_with_the_clean_one(noise):
    clean, *others = noise[1]["conditions"]
    assert clean["false_share"] == 0 and all(value == [0, 0, 0] for value in clean["drop"].values())
    assert all(0.2 < one["false_share"] < 0.8 and set(one["by_seed"]) == {"0"} for one in others)


def test_the_kits_own_results_are_there_and_drawn():
    result = read_study("noise")
    assert {one["share"] for one in result["conditions"]} == {0, 0.1, 0.2, 0.3, 0.4}
    assert len(noise_chart(result).axes) == 4
    held = read_study("held-out")
    assert set(held["kinds out"]) == set(KINDS_OUT) and len(held_out_chart(held).axes) == 2


def test_what_is_no_study_is_refused(tmp_path):
    with pytest.raises(InputError, match="captionlab study nothing"):
        read_study("nothing", tmp_path)
    (tmp_path / "noise.json").write_text("[1")
    with pytest.raises(InputError, match="is not the result of a study 'noise'"):
        read_study("noise", tmp_path)
    with pytest.raises(InputError, match="begin with 0"):
        noise_study(tmp_path / "x", shares=(0.1, 0.2))
    with pytest.raises(InputError, match="at least 2 scenes"):
        Setup(train=1)
    with pytest.raises(InputError, match="no list of whole numbers"):
        parse_seeds("0;1")


def test_labels_that_lack_kinds_or_places_lack_all_of_them():
    scenes = [plan_scene((17 << 32) + i, evaluation=False) for i in range(200)]
    assert not {g.kind for scene in filter(KEPT["without kinds"], scenes) for g in scene.groups} & set(KINDS_OUT)
    assert not {scene.setting for scene in filter(KEPT["without places"], scenes)} & set(PLACES_OUT)
    perfect = count([answer(scene, "en", "main", "normal") for scene in scenes], scenes, "en")
    assert all((told == there).all() and there.sum() for told, there in perfect.values())
    without = count(["a dog in a park"] * len(scenes), scenes, "en")
    assert without["kinds out"][0].sum() == 0 and without["places out"][0].sum() == 0 < without["places in"][0].sum()


def test_the_held_out_study_compares_with_a_student_that_had_everything(small, tmp_path, monkeypatch):
    said = {"everything": "main", "without kinds": "scene", "without places": "objects"}  # what a student says that was trained so
    monkeypatch.setattr(study.Study, "examine", lambda self, name, samples, strategy, seed: [
        answer(scene, "en", said[" ".join(name.split(",")[0].split()[:-1])]) for scene in self.evaluation])
    result = held_out_study(tmp_path, Setup(train=4, eval=40, seeds=(0,)), say=lambda line: None)
    assert result["rates"]["lora"]["everything"]["kinds out"][0] == 1 and result["rates"]["full"]["without kinds"]["kinds out"][0] == 0
    assert result["differences"]["lora"]["without kinds"] == {"kinds out": [-1, -1, -1], "kinds in": [-1, -1, -1], "places out": [0, 0, 0], "places in": [0, 0, 0]}
    assert result["differences"]["full"]["without places"]["places out"] == [-1, -1, -1]


def test_training_in_one_process_leaves_an_adapter_and_looks_at_its_data_first(small, tmp_path):
    data = make_samples(tmp_path, 4)
    options = dict(data=data, output_dir=tmp_path / "lora", model=small, epochs=1, learning_rate=1e-3, batch=2, rank=4, alpha=4, threads=1)
    run = fine_tune("lora", **options)
    assert run.steps == 2 and run.strategy == "lora" and (run.adapter_path / "adapter_model.safetensors").is_file()
    data.write_text("[]")
    with pytest.raises(InputError, match="holds no samples"):
        fine_tune("lora", **options | {"output_dir": tmp_path / "other"})
    assert not (tmp_path / "other").exists()
