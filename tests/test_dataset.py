"""Labelling and building, through the real SDK and the stand-in: resume, kills, faults, two languages, files."""

import asyncio
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from teacher_scenes import KEY, drawn

from helpers.core import qwen_vl
from helpers.core.conversations import check_conversations, read_conversations
from helpers.core.errors import InputError, TeacherError
from helpers.core.labels import STAND_IN_SOURCE, Label, LabelKey, LabelStore
from helpers.core.prompts import question
from helpers.core.scenes import read_scenes
from helpers.core.standin import Faults, StandIn
from helpers.core.truth import score, summarise
from helpers.dataset import build, label_images


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    """No key, no endpoint, no key file; short waits between tries."""
    for name in ("DASHSCOPE_API_KEY", "DASHSCOPE_HTTP_BASE_URL", "DASHSCOPE_API_KEY_FILE_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(qwen_vl, "BACKOFF", (0.01, 0.05))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("course") / "scenes"
    drawn(folder, 40, 12)
    return folder


@pytest.fixture(scope="module")
def teacher(folder):
    with StandIn(folder) as stand_in:
        yield stand_in


def answered(teacher) -> int:
    return teacher.meter.to_dict()["requests"].get("200", 0)


def run(folder, store, **options):
    return label_images(folder, store, **{"progress": None, "say": lambda line: None, **options})


@pytest.mark.parametrize("language", ["en", "zh"])
def test_labels_are_true_and_build_into_files_that_load(folder, language):
    out = folder.parent / language
    report = run(folder, out / "labels.sqlite", language=language)
    assert (report.pictures, report.labelled, report.source) == (52, 52, STAND_IN_SOURCE) and report.yuan > 0
    built = build(out / "labels.sqlite", out)
    assert (built.train, built.eval, built.dropped, built.sources) == (40, 12, {}, {STAND_IN_SOURCE: 52})
    samples = read_conversations(out / "train.json") + read_conversations(out / "eval.json")
    assert [s.id for s in samples] == [f"{n:04d}" for n in range(52)]
    assert {s.question for s in samples} == {question("main", language)} and not check_conversations(out / "eval.json")
    truth = {s.id: s for s in read_scenes(folder / "scenes.jsonl")}
    summary = summarise(score(s.answer, truth[s.id], language) for s in samples)
    assert summary["object_recall"] == 1.0 and summary["object_precision"] > 0.9 and summary["colour_accuracy"] == 1.0
    assert not any("stand-in" in s.answer or "替身" in s.answer for s in samples)


def test_the_stand_in_is_announced_once(folder, tmp_path):
    lines = []
    label_images(folder, tmp_path / "l.sqlite", limit=3, progress=None, say=lines.append)
    assert len(lines) == 2 and STAND_IN_SOURCE in lines[0] and "3 requests" in lines[1]


def test_running_again_asks_nothing_and_a_copy_costs_nothing(folder, teacher, tmp_path):
    pictures = tmp_path / "pictures"
    shutil.copytree(folder / "Val", pictures / "Val")
    shutil.copy(pictures / "Val" / "0040.jpg", pictures / "Val" / "twin.jpg")
    before = answered(teacher)
    first = run(pictures, tmp_path / "l.sqlite", endpoint=teacher.base_url)
    assert (first.pictures, first.labelled, answered(teacher) - before) == (13, 12, 12)
    again = run(pictures, tmp_path / "l.sqlite", endpoint=teacher.base_url)
    assert (again.labelled, again.reused, answered(teacher) - before) == (0, 12, 12)
    more = run(pictures, tmp_path / "l.sqlite", endpoint=teacher.base_url, dimensions=("main", "mood"))
    assert (more.labelled, more.reused) == (12, 12)
    assert build(tmp_path / "l.sqlite", tmp_path).eval == 26
    ids = [s.id for s in read_conversations(tmp_path / "eval.json")]
    assert ids == sorted(ids) and {"0040", "0040/mood", "twin", "twin/mood"} <= set(ids)


def test_the_same_run_gives_the_same_labels_whatever_the_order(folder, tmp_path):
    texts = []
    for number, options in enumerate(({"concurrency": 1}, {"concurrency": 16}, {"seed": 1})):
        run(folder, tmp_path / f"{number}.sqlite", **options)
        with LabelStore(tmp_path / f"{number}.sqlite") as store:
            texts.append([(path, label.answer) for path, label in store.labels()])
    assert texts[0] == texts[1] != texts[2]


def test_a_dry_run_sends_nothing_and_makes_no_store(folder, teacher, tmp_path):
    before = sum(teacher.meter.to_dict()["requests"].values())
    report = run(folder, tmp_path / "l.sqlite", dry_run=True, endpoint=teacher.base_url, dimensions=("main", "objects"), limit=10)
    assert (report.pictures, report.requests, report.labelled) == (10, 20, 0) and report.yuan > 0 and "nothing was sent" in str(report)
    assert not (tmp_path / "l.sqlite").exists() and sum(teacher.meter.to_dict()["requests"].values()) == before


def test_a_dry_run_foresees_the_input_tokens_exactly(folder, teacher, tmp_path):
    foreseen = run(folder, tmp_path / "l.sqlite", dry_run=True, limit=5)
    assert run(folder, tmp_path / "l.sqlite", dry_run=True, limit=5, dimensions="main").requests == foreseen.requests, "one dimension may be a string"
    assert run(folder, tmp_path / "l.sqlite", limit=5, endpoint=teacher.base_url).input_tokens == foreseen.input_tokens


def test_bad_pictures_are_named_and_the_rest_go_on(folder, tmp_path):
    pictures = tmp_path / "pictures"
    shutil.copytree(folder / "Val", pictures)
    (pictures / "broken.jpg").write_bytes((pictures / "0040.jpg").read_bytes()[:3000])
    (pictures / "text.png").write_text("no picture")
    report = run(pictures, tmp_path / "l.sqlite", scenes=folder)
    assert report.labelled == 12 and {p.name for p in report.rejected} == {"broken.jpg", "text.png"}
    with pytest.raises(InputError, match="gone.jpg"):
        run([pictures / "0040.jpg", pictures / "gone.jpg"], tmp_path / "l.sqlite")


def test_a_picture_that_the_stand_in_does_not_know_is_no_label(folder, tmp_path):
    Image.effect_noise((64, 64), 80).save(tmp_path / "noise.png")
    report = run([tmp_path / "noise.png"], tmp_path / "l.sqlite")
    assert (report.labelled, report.failed, dict(report.kinds)) == (0, 1, {"UnknownPicture": 1})
    assert "no picture of your own; with DASHSCOPE_API_KEY" in str(report)
    with pytest.raises(InputError, match="no label"):
        build(tmp_path / "l.sqlite", tmp_path)


def test_faults_end_in_exactly_one_label_or_refusal_each(folder, tmp_path):
    with StandIn(folder, Faults(throttled=0.15, internal=0.1, refused=0.1, cut=0.1, garbled=0.1, truncated=0.1)) as teacher:
        report = run(folder, tmp_path / "l.sqlite", endpoint=teacher.base_url)
        while report.failed:
            report = run(folder, tmp_path / "l.sqlite", endpoint=teacher.base_url)
        before = answered(teacher)
        assert run(folder, tmp_path / "l.sqlite", endpoint=teacher.base_url).requests == 0 and answered(teacher) == before
    with LabelStore(tmp_path / "l.sqlite") as store:
        counts, cut = store.counts(), sum(label.finish_reason == "length" for _, label in store.labels())
    assert counts["ok"] + counts["refused"] == 52 and counts["refused"] and cut and counts["ok"] == before
    built = build(tmp_path / "l.sqlite", tmp_path)
    assert built.dropped == {"refused": counts["refused"], "cut off": cut} and built.train + built.eval == counts["ok"] - cut


def test_a_fatal_answer_stops_the_run_and_keeps_its_labels(folder, tmp_path):
    with StandIn(folder) as good:
        run(folder, tmp_path / "l.sqlite", endpoint=good.base_url, limit=7)
    with StandIn(folder, Faults(arrearage=True)) as broke:
        with pytest.raises(TeacherError, match="top it up"):
            run(folder, tmp_path / "l.sqlite", endpoint=broke.base_url, concurrency=4)
        assert sum(broke.meter.to_dict()["requests"].values()) <= 4
    with LabelStore(tmp_path / "l.sqlite") as store:
        assert store.counts() == {"ok": 7, "refused": 0, "failed": 0}


def test_the_environment_names_the_endpoint_and_a_real_one_is_asked_anew(folder, teacher, tmp_path, monkeypatch):
    monkeypatch.setenv("DASHSCOPE_HTTP_BASE_URL", teacher.base_url)
    monkeypatch.setenv("DASHSCOPE_API_KEY", KEY)
    before, lines = answered(teacher), []
    run(folder, tmp_path / "l.sqlite", limit=2, say=lines.append)
    assert answered(teacher) == before + 2 and len(lines) == 1
    assert run(folder, tmp_path / "l.sqlite", limit=2, dry_run=True).requests == 0
    monkeypatch.setenv("DASHSCOPE_HTTP_BASE_URL", "https://dashscope.aliyuncs.com/api/v1")  # the stand-in's words do not count there
    assert run(folder, tmp_path / "l.sqlite", limit=2, dry_run=True).requests == 2


def test_it_runs_where_an_event_loop_is_running_already(folder, tmp_path):
    async def cell():
        return run(folder, tmp_path / "l.sqlite", limit=2)

    assert asyncio.run(cell()).labelled == 2


LABELLER = """
import sys
from helpers.dataset import label_images
label_images(sys.argv[1], sys.argv[2], endpoint=sys.argv[3], dimensions=("main", "objects"), concurrency=4, progress=None)
"""


def test_sigkill_in_the_middle_loses_no_label_and_pays_none_twice(folder, tmp_path):
    store, rng = tmp_path / "l.sqlite", random.Random(7)
    seen: dict[tuple, str] = {}

    def rows() -> dict[tuple, str]:
        if not store.exists():
            return {}
        with sqlite3.connect(store, timeout=30) as db:
            tables = db.execute("SELECT COUNT(*) FROM sqlite_master WHERE name = 'labels'").fetchone()[0]
            return {r[:2]: r[2] for r in db.execute("SELECT sha256, prompt, answer FROM labels WHERE status = 'ok'")} if tables else {}

    with StandIn(folder, Faults(latency=(0.02, 0.08), throttled=0.05)) as teacher:
        command = [sys.executable, "-c", LABELLER, str(folder), str(store), teacher.base_url]
        kills = 0
        for target in (10, 35, 70):
            process = subprocess.Popen(command, cwd=Path(__file__).parents[1], env={**os.environ, "DASHSCOPE_API_KEY": KEY}, stderr=subprocess.PIPE, text=True)
            while process.poll() is None and len(rows()) < target:
                time.sleep(0.02)
            time.sleep(rng.uniform(0, 0.05))
            process.send_signal(signal.SIGKILL)
            kills += process.wait() == -signal.SIGKILL
            process.stderr.close()
            now = rows()
            assert len(now) >= target and all(now[key] == answer for key, answer in seen.items())
            seen = now
        assert kills == 3 and len(seen) < 104
        assert subprocess.run(command, cwd=Path(__file__).parents[1], env={**os.environ, "DASHSCOPE_API_KEY": KEY}).returncode == 0
        done = rows()
        assert len(done) == 104 and all(done[key] == answer for key, answer in seen.items())
        assert 104 <= answered(teacher) <= 104 + 4 * kills


def labelled_by_hand(store_path: Path, pictures: list[Path], **changes) -> None:
    with LabelStore(store_path) as store:
        hashes = store.hash_pictures(pictures)
        store.put(Label(LabelKey(hashes[p], "m", "What is it?"), "main", "en", "ok", f"  Picture {p.stem}. \n\n\n\nEnd ", "stop", {}, "r", "host") for p in pictures)


def test_without_side_folders_a_seeded_share_goes_to_evaluation(tmp_path):
    pictures = []
    for number in range(60):
        path = tmp_path / "photos" / f"{'ab'[number % 2]}" / f"{number // 2}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (number * 4, 90, 40)).save(path)
        pictures.append(path)
    shutil.copy(pictures[0], tmp_path / "photos" / "a" / "copy.png")
    labelled_by_hand(tmp_path / "l.sqlite", [*pictures, tmp_path / "photos" / "a" / "copy.png"])
    sides = []
    for out, options in (("one", {}), ("two", {}), ("three", {"seed": 3}), ("half", {"eval_fraction": 0.5}), ("none", {"eval_fraction": 0.0})):
        built = build(tmp_path / "l.sqlite", tmp_path / out, **options)
        assert built.train + built.eval == 61
        sides.append({s["id"] for s in json.loads((tmp_path / out / "eval.json").read_text(encoding="utf-8"))})
    assert sides[0] == sides[1] != sides[2] and 0 < len(sides[0]) < 25 < 20 + len(sides[3]) and not sides[4]
    assert all(("a_0" in side) == ("copy" in side) for side in sides)  # copies stay together
    train = read_conversations(tmp_path / "one" / "train.json")
    assert train[0].answer == f"Picture {train[0].path.stem}.\n\nEnd" and {s.id[:2] for s in train if s.id != "copy"} == {"a_", "b_"}
    with pytest.raises(InputError, match="--eval-fraction"):
        build(tmp_path / "l.sqlite", tmp_path, 1.5)


def test_the_files_load_wherever_the_folder_is_moved(folder, tmp_path):
    home = tmp_path / "results"
    shutil.copytree(folder, home / "scenes")
    run(home / "scenes", home / "labels.sqlite", limit=8)
    build(home / "labels.sqlite", home / "data")
    shutil.move(home, tmp_path / "elsewhere")
    samples = read_conversations(tmp_path / "elsewhere" / "data" / "train.json")
    assert [s.image for s in samples][:1] == ["scenes/Train/0000.jpg"] and samples[0].path.is_relative_to(tmp_path / "elsewhere")
    assert build(tmp_path / "elsewhere" / "labels.sqlite", tmp_path / "elsewhere" / "data").train == 8
