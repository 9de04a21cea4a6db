"""Tests of helpers/course.py and helpers/core/stations.py: a whole small course, killed on the way and run again."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from helpers.core.conversations import check_conversations, read_conversations
from helpers.core.errors import InputError, ProfileError, ResourceError
from helpers.core.processes import descendants, is_alive
from helpers.core.profiles import load_profile
from helpers.core.stations import Stations
from helpers.core.tiny import build_student
from helpers.course import SYSTEMS, run_course

ROOT = Path(__file__).parents[1]
STATIONS = ["scenes", "label", "build", "train baseline", "describe baseline", "describe pretrained", "train lora", "train full", "describe lora",
            "describe full", "score"]

# What a person's `captionlab course` does, with a student that is built in seconds and knows nothing.
RUNNER = """
import sys
from dataclasses import replace
from helpers.core.profiles import load_profile
from helpers.course import run_course
student, out = sys.argv[1:]
profile = load_profile("tiny")
train = replace(profile.train, lora=replace(profile.train.lora, epochs=1), full=replace(profile.train.full, epochs=15, learning_rate=5e-3), micro_batch_size=4)
profile = replace(profile, student=student, language="zh", train=train, baseline=replace(profile.baseline, epochs=2, batch_size=8), generate=replace(profile.generate, batch_size=2, max_new_tokens=24))
run_course(profile, out=out, train=24, eval=8, seed=3)
"""


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """A random student with a Chinese vocabulary."""
    corpus = ["这张照片记录了夜晚海滩的场景。图中可以看到一只紫色的蝴蝶、一只蓝色的风筝和一只棕色的狗。"] * 3
    return build_student(tmp_path_factory.mktemp("student"), corpus, hidden_size=96, layers=2, vision_size=64, vision_layers=2, vocabulary=512)


def start(student, out, output=subprocess.PIPE):
    """A course in a process of its own."""
    return subprocess.Popen([sys.executable, "-c", RUNNER, str(student), str(out)], cwd=ROOT, stdout=output, stderr=output, text=True,
                            env={**os.environ, "COLUMNS": "100", "PYTHONIOENCODING": "utf-8"})


def finish(process):
    """What a course printed, once it has ended well."""
    printed, complaints = process.communicate(timeout=600)
    assert process.returncode == 0, complaints[-3000:]
    return printed


def state(out):
    """The stations of a course's folder, as its state file has them."""
    file = out / "course.json"
    return json.loads(file.read_text())["stations"] if file.exists() else {}


def results(out):
    """All that two runs with one seed must agree on."""
    files = ["metrics.json", "truth.json", *(f"{system}/{name}" for system in SYSTEMS for name in ("output.json", "metrics.json"))]
    return {name: json.loads((out / name).read_text(encoding="utf-8")) for name in files}


def wait_until(condition, process):
    """Waits for a moment in a running course."""
    deadline = time.monotonic() + 300
    while not condition():
        assert process.poll() is None, "it ended before the moment came"
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def finished(student, tmp_path_factory):
    """The folder of a course that nobody disturbed, and what it printed."""
    out = tmp_path_factory.mktemp("calm") / "results"
    return out, finish(start(student, out))


def test_a_course_leaves_everything_it_promises(finished):
    out, printed = finished
    for number, name in enumerate(STATIONS, 1):
        assert f"[{number}/11] {name}" in printed
    for words in ("CIDEr", "object recall", "object precision", "object F1", "colour accuracy", "CNN-RNN", "pretrained", "LoRA", "full", "seconds of work", "peak memory"):
        assert words in printed, words
    assert check_conversations(out / "train.json") == check_conversations(out / "eval.json") == []
    assert len(read_conversations(out / "train.json")) == 24
    references = read_conversations(out / "eval.json")
    assert [sample.id for sample in references] == [f"{number:04d}" for number in range(24, 32)]
    for system in SYSTEMS:
        output = read_conversations(out / system / "output.json", need_images=True)
        assert [(sample.id, sample.question, sample.path.resolve()) for sample in output] == [(s.id, s.question, s.path.resolve()) for s in references]
    assert any(sample.answer for sample in read_conversations(out / "full" / "output.json"))  # it knew no word before
    found = results(out)
    assert set(found["metrics.json"]["systems"]) == set(found["truth.json"]) == set(SYSTEMS)
    assert found["lora/metrics.json"]["systems"] == {"lora": found["metrics.json"]["systems"]["lora"]}
    for scores in found["metrics.json"]["systems"].values():
        assert {"n", "Bleu_1", "Bleu_4", "METEOR", "ROUGE_L", "CIDEr", "intervals"} <= set(scores)


def test_the_report_says_whose_words_the_references_are(finished):
    out, _ = finished
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "offline stand-in, not Qwen-VL" in page and page.count("<img ") == 8
    assert read_conversations(out / "eval.json")[0].answer in page
    assert "<script" not in page and 'src="http' not in page and 'href="http' not in page


def test_a_course_killed_at_two_stations_ends_with_the_same_results(student, finished, tmp_path):
    out = tmp_path / "results"
    progress = out / "lora" / "model" / "progress.jsonl"
    moments = {
        "scenes": lambda: any((out / "scenes").glob("*/*.jpg")),
        "train lora": lambda: progress.exists() and '"loss"' in progress.read_text(),
    }
    for station, has_come in moments.items():
        process = start(student, out, subprocess.DEVNULL)  # a pipe would be held open by whatever outlives it
        wait_until(has_come, process)
        family = [process.pid, *(member.pid for member in descendants(process.pid))]
        process.send_signal(signal.SIGKILL)
        process.wait()
        gone = time.monotonic() + 60
        while any(map(is_alive, family)) and time.monotonic() < gone:
            time.sleep(0.1)
        assert [pid for pid in family if is_alive(pid)] == []
        assert [name for name, record in state(out).items() if not record["finished"]] == [station]
    before = state(out)["train lora"]["seconds"]
    printed = finish(start(student, out))
    assert "[6/11] describe pretrained: done before" in printed and "[7/11] train lora: goes on where it stopped" in printed
    assert state(out)["train lora"]["attempts"] == 2 and state(out)["train lora"]["seconds"] > before
    assert results(out) == results(finished[0])


def test_describing_goes_on_after_the_last_whole_batch(student, finished, tmp_path):
    from helpers.core.describing import describe_to_file, unfinished_file
    from helpers.core.student import load_student

    samples = read_conversations(finished[0] / "eval.json")[:5]
    generate = replace(load_profile("tiny").generate, batch_size=2, max_new_tokens=8)
    trained = load_student(finished[0] / "full" / "model")
    describe_to_file(lambda: trained, samples, tmp_path / "calm" / "output.json", generate, "calm")
    calm = [sample.answer for sample in read_conversations(tmp_path / "calm" / "output.json")]
    # What a kill leaves: one batch, half of the next, and a line that was cut off.
    unfinished = unfinished_file(tmp_path / "broken" / "output.json")
    unfinished.parent.mkdir()
    unfinished.write_text('"\\u72d7"\n"kept\\u2028"\n"half a batch"\n"half a li')
    describe_to_file(lambda: trained, samples, tmp_path / "broken" / "output.json", generate, "broken")
    assert [sample.answer for sample in read_conversations(tmp_path / "broken" / "output.json")] == ["狗", "kept", *calm[2:]]
    assert not unfinished.exists() and any(calm)


def test_a_finished_course_is_not_done_again(student, finished):
    out, _ = finished
    before, known = state(out), results(out)
    printed = finish(start(student, out))
    assert printed.count("done before, in") == 11
    assert state(out) == before and results(out) == known


# A lab's course on a folder of its own pictures: another endpoint, a key, no truth; the student as small as above.
OWN_RUNNER = """
import sys
from dataclasses import replace
from helpers.core.profiles import load_profile
from helpers.course import run_course
student, images, endpoint, out = sys.argv[1:]
profile = load_profile("lab")
train = replace(profile.train, processes=1, lora=replace(profile.train.lora, epochs=1), full=replace(profile.train.full, epochs=1), micro_batch_size=4, max_length=256)
profile = replace(profile, student=student, teacher=replace(profile.teacher, endpoint=endpoint, rpm=None), train=train,
                  baseline=replace(profile.baseline, encoder="pretrained", epochs=1, least=1), generate=replace(profile.generate, batch_size=2, max_new_tokens=8, num_beams=2))
run_course(profile, images=images, out=out)
"""


def test_a_course_on_ones_own_pictures(student, tmp_path):
    from PIL import Image

    from helpers.core.scenes import draw_scenes
    from helpers.core.standin import KEY, StandIn

    images, out = tmp_path / "my holiday", tmp_path / "results"
    draw_scenes(tmp_path / "drawn", 8, 3, seed=4)
    for side in ("Train", "Val"):
        (images / side).mkdir(parents=True)
        for path in (tmp_path / "drawn" / side).glob("*.jpg"):
            Image.open(path).save(images / side / f"Urlaub {path.stem}.png")
    (images / "Train" / "half.jpg").write_bytes(next((tmp_path / "drawn" / "Train").glob("*.jpg")).read_bytes()[:900])
    with StandIn(tmp_path / "drawn") as teacher:
        course = subprocess.Popen([sys.executable, "-c", OWN_RUNNER, str(student), str(images), teacher.base_url, str(out)], cwd=ROOT, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  env={**os.environ, "COLUMNS": "100", "PYTHONIOENCODING": "utf-8", "DASHSCOPE_API_KEY": KEY})
        printed = finish(course)
    assert "1 pictures rejected" in printed and "CIDEr" in printed and "object recall" not in printed
    assert len(read_conversations(out / "train.json")) == 8 and len(read_conversations(out / "eval.json")) == 3
    assert {sample.id for sample in read_conversations(out / "full" / "output.json")} == {f"Urlaub {number:04d}" for number in (8, 9, 10)}
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count("<img ") == 3 and "object recall" not in page and KEY not in page
    assert not (out / "truth.json").exists()


def test_what_cannot_work_is_refused_before_anything_starts(tmp_path, monkeypatch):
    for name in ("DASHSCOPE_API_KEY", "DASHSCOPE_API_KEY_FILE_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    out = tmp_path / "results"
    for error, message, options in (
        (ProfileError, "needs a key", {"profile": "lab"}),
        (ProfileError, "no profile 'large'", {"profile": "large"}),
        (InputError, "cannot know the pictures", {"images": tmp_path}),
        (InputError, "is no folder", {"images": tmp_path / "nowhere"}),
        (InputError, "'fr'", {"language": "fr"}),
        (InputError, "at least 2", {"eval": 1}),
    ):
        with pytest.raises(error, match=message) as caught:
            run_course(out=out, **options)
        assert "\n" not in str(caught.value)
    assert not out.exists()


def test_a_students_folder_that_is_gone_is_named(tmp_path):
    profile = replace(load_profile("tiny"), student=str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="nowhere"):
        run_course(profile, out=tmp_path / "results", train=2, eval=2, say=lambda line: None)


# --- the stations alone -------------------------------------------------------------------------------------------------


def visit(folder, settings, lines=None, fail=False):
    """Two stations, the second after the first; returns how often each worked in this visit."""
    worked = []

    def work(name):
        if fail and name == "second":
            raise InputError("broken off")
        worked.append(name)
        (folder / name).write_text(name)
        return {"name": name}

    with Stations(folder, total=2, say=(lines if lines is not None else []).append) as stations:
        assert stations.run("first", lambda: work("first"), settings=settings[0], outputs=[folder / "first"], wipe=[folder / "first"]) == {"name": "first"}
        stations.run("second", lambda: work("second"), settings=settings[1], after=["first"], outputs=[folder / "second"])
        assert set(stations.seconds) == {"first", "second"}
    return worked


def test_stations_work_once_and_again_only_after_a_change(tmp_path):
    assert visit(tmp_path, ({"seed": 0}, {})) == ["first", "second"]
    assert visit(tmp_path, ({"seed": 0}, {})) == []
    assert visit(tmp_path, ({"seed": 0}, {"epochs": 2})) == ["second"]
    lines = []
    assert visit(tmp_path, ({"seed": 1}, {"epochs": 2}), lines) == ["first", "second"]
    assert lines == ["[1/2] first: seed changed from 0 to 1, so this starts afresh", "[2/2] second: an earlier station changed, so this starts afresh"]
    (tmp_path / "second").unlink()
    assert visit(tmp_path, ({"seed": 1}, {"epochs": 2}), lines) == ["second"]
    assert "is gone, so this starts afresh" in lines[-1]


def test_a_station_that_failed_is_tried_again_and_its_seconds_add_up(tmp_path):
    with pytest.raises(InputError, match="broken off"):
        visit(tmp_path, ({}, {}), fail=True)
    first = state(tmp_path)["second"]
    assert (first["attempts"], first["finished"]) == (1, False)
    lines = []
    assert visit(tmp_path, ({}, {}), lines) == ["second"]
    assert state(tmp_path)["second"]["attempts"] == 2 and state(tmp_path)["second"]["seconds"] >= first["seconds"]
    assert "goes on where it stopped" in lines[-1]


def test_a_full_disk_is_one_sentence(tmp_path):
    def work():
        raise OSError(28, "No space left on device", "labels.sqlite")

    with Stations(tmp_path, total=1, say=lambda line: None) as stations, pytest.raises(ResourceError, match="disk is full at station label .labels.sqlite"):
        stations.run("label", work, settings={})


def test_two_runs_in_one_folder_and_a_lock_that_dies_with_its_holder(tmp_path):
    code = f"import time\nfrom helpers.core.stations import Stations\nwith Stations({str(tmp_path)!r}, total=1): print('in', flush=True); time.sleep(600)"
    holder = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    with holder:
        assert holder.stdout.readline() == "in\n"
        with pytest.raises(ResourceError, match="Another run is at work in"), Stations(tmp_path, total=1):
            pytest.fail("two runs were let in")
        holder.send_signal(signal.SIGKILL)
    with Stations(tmp_path, total=1):
        assert (tmp_path / "course.json").exists() is False


@pytest.mark.parametrize("text, message", [("{}", "not a course's state file"), ("half a fi", "not a course's state file"), ('{"version": 99}', "another version")])
def test_a_strange_state_file_is_refused_and_kept(tmp_path, text, message):
    (tmp_path / "course.json").write_text(text)
    with pytest.raises(InputError, match=message), Stations(tmp_path, total=1):
        pytest.fail("it was taken")
    assert (tmp_path / "course.json").read_text() == text
