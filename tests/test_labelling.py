"""A labelling run under fire: kills, faults, two runs at once, the money that may be spent, and what the store says afterwards."""

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from teacher_scenes import KEY, drawn

from helpers.core import label_jobs, qwen_vl
from helpers.core.errors import InputError
from helpers.core.images import check_picture
from helpers.core.label_jobs import JobQueue
from helpers.core.labelling import Budget
from helpers.core.labels import Label, LabelKey, LabelStore
from helpers.core.prices import load_prices
from helpers.core.standin import Faults, StandIn
from helpers.dataset import label_images

ROOT = Path(__file__).parents[1]
CONCURRENCY = 6
LABELLER = """
import sys
from helpers.core import qwen_vl
from helpers.dataset import label_images
qwen_vl.BACKOFF = (0.02, 0.2)
report = label_images(sys.argv[1], sys.argv[2], endpoint=sys.argv[3], dimensions=("main", "objects"), concurrency=int(sys.argv[4]),
                      timeout=6.0, progress=None, say=lambda line: None)
print(report.labelled, report.refused, report.failed, report.held)
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(qwen_vl, "BACKOFF", (0.01, 0.05))


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    folder = tmp_path_factory.mktemp("many")
    drawn(folder, 270, 30)
    return folder


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    folder = tmp_path_factory.mktemp("few")
    drawn(folder, 16, 4)
    return folder


def start(folder, store, teacher, concurrency=CONCURRENCY) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", LABELLER, str(folder), str(store), teacher.base_url, str(concurrency)], cwd=ROOT,
                            env={**os.environ, "DASHSCOPE_API_KEY": KEY}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def rows(store: Path) -> dict[tuple[str, str], tuple]:
    """{(picture, prompt): (status, answer, request_id, …)} of everything that is committed, read as another program would."""
    if not store.exists():
        return {}
    with sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=30) as db:
        if not db.execute("SELECT COUNT(*) FROM sqlite_master WHERE name = 'labels'").fetchone()[0]:
            return {}
        found = db.execute("SELECT sha256, prompt, status, answer, finish_reason, usage, request_id, created FROM labels").fetchall()
    assert len({row[:2] for row in found}) == len(found)
    return {row[:2]: row[2:] for row in found}


def run(folder, store, **options):
    return label_images(folder, store, **{"progress": None, "say": lambda line: None, **options})


def test_twenty_kills_lose_no_label_and_pay_only_what_was_in_flight(many, tmp_path):
    store, rng = tmp_path / "l.sqlite", random.Random(11)
    faults = Faults(latency=(0.05, 0.25), throttled=0.03, internal=0.05, hung=0.006, cut=0.03, garbled=0.03, refused=0.05)
    seen: dict[tuple, tuple] = {}
    in_flight = Counter()
    with StandIn(many, faults, seed=3) as teacher:
        journal = teacher.keep_journal()
        for number in range(20):
            begun, old = len(journal), len(seen)
            process = start(many, store, teacher)
            if number % 4 == 3:  # while it starts, looks at the pictures, or claims its first jobs
                time.sleep(rng.uniform(0, 1.5))
            else:                # in the middle of its work
                target, patience = old + rng.randrange(1, 30), time.monotonic() + 60
                while len(rows(store)) < target and process.poll() is None and time.monotonic() < patience:
                    time.sleep(0.02)
                time.sleep(rng.uniform(0, 0.1))
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"
            process.stdout.close()
            now = rows(store)
            assert all(now[key] == row for key, row in seen.items() if row[0] != "failed"), "a committed label is gone or another one"
            seen = now
            noted = -1
            while noted != len(journal):  # until the endpoint, which outlives the run, is done with all that this one sent
                noted = len(journal)
                time.sleep(0.3)
            last = {event[1:]: event[0] for event in journal[begun:]}
            open_ones = [key for key, event in last.items() if event != "failed" and now.get(key, ("failed",))[0] == "failed"]
            assert len(open_ones) <= CONCURRENCY
            in_flight.update(open_ones)
        assert 0 < len(seen) < 600
        for _ in range(5):
            process = start(many, store, teacher, 16)
            labelled, refused, failed, held = map(int, process.communicate(timeout=120)[0].split())
            assert process.returncode == 0 and held == 0
            if not failed:
                break
        done = rows(store)
        answers = Counter(event[1:] for event in journal if event[0] == "answered")
        meter = teacher.meter.to_dict()
    assert len(done) == 600 and all(row[0] in ("ok", "refused") for row in done.values())
    assert all(done[key] == row for key, row in seen.items() if row[0] != "failed")
    assert {row[0] for row in done.values()} == {"ok", "refused"} and all(row[4] and row[5] for row in done.values())
    labels = sum(row[0] == "ok" for row in done.values())
    assert meter["requests"]["200"] == sum(answers.values())
    assert labels <= meter["requests"]["200"] <= labels + sum(in_flight.values())
    assert all(times <= 1 + in_flight[key] for key, times in answers.items())  # paid twice: only what was under way at a kill
    assert {"429", "500", "cut", "garbled", "hung", "400"} <= set(meter["requests"])


def test_two_runs_at_once_pay_once_and_do_not_wait_for_each_other(many, tmp_path):
    store = tmp_path / "l.sqlite"
    with StandIn(many, Faults(latency=0.05)) as teacher:
        both = [start(many, store, teacher), start(many, store, teacher)]
        ends = [process.communicate(timeout=120)[0].split() for process in both]
        shares = [int(end[0]) for end in ends]
        assert teacher.meter.requests == {"200": 600} and sum(shares) == 600
    assert min(shares) > 100  # both worked
    assert len(rows(store)) == 600
    with sqlite3.connect(store) as db:
        assert db.execute("SELECT COUNT(*) FROM claims").fetchone()[0] == db.execute("SELECT COUNT(*) FROM runs").fetchone()[0] == 0


def test_what_a_living_run_holds_is_left_to_it_and_said(few, tmp_path):
    store, reports = tmp_path / "l.sqlite", []
    with StandIn(few, Faults(latency=1.5)) as teacher:
        first = threading.Thread(target=lambda: reports.append(run(few, store, endpoint=teacher.base_url, concurrency=20)))
        first.start()
        while not teacher.meter.requests and first.is_alive():
            if store.exists() and sqlite3.connect(store).execute("SELECT COUNT(*) FROM sqlite_master WHERE name = 'claims'").fetchone()[0] \
                    and sqlite3.connect(store).execute("SELECT COUNT(*) FROM claims").fetchone()[0] == 20:
                break
            time.sleep(0.01)
        second = run(few, store, endpoint=teacher.base_url)
        assert first.is_alive() and (second.labelled, second.held) == (0, 20) and "left to another run" in str(second)
        first.join()
        assert teacher.meter.requests == {"200": 20}
    assert reports[0].labelled == 20


def queue_of(store: LabelStore, number: int, **changes) -> JobQueue:
    queue = JobQueue(store, {"main": "What is it?"}, "m", "{}", stand_in=True).__enter__()
    queue.add((f"{n}.jpg", f"{n:064x}", "main", 20, 20, True, 7, False) for n in range(number))
    queue.start()
    return queue


def test_claims_of_a_dead_run_fall_at_once_and_those_of_a_living_one_hold(tmp_path, monkeypatch):
    with LabelStore(tmp_path / "l.sqlite") as one, LabelStore(tmp_path / "l.sqlite") as two:
        first, second = queue_of(one, 5), queue_of(two, 5)
        assert len(first.take(3)) == 3 and [job.path for job in second.take(9)] == ["3.jpg", "4.jpg"]
        assert second.take(9) == [] and second.held == 3
        second.__exit__()

        def age(**values) -> int:
            for name, value in values.items():
                one._db.execute(f"UPDATE runs SET {name} = ? WHERE id = ?", (value, first.id))
            with LabelStore(tmp_path / "l.sqlite") as three:
                queue = queue_of(three, 5)
                taken = len(queue.take(9))
                queue.__exit__()
                return taken

        assert age() == 2
        assert age(expires=0.0) == 2                                   # the time of day does not matter on one machine
        assert age(host="elsewhere", expires=time.time() + 60) == 2    # another machine's lease holds until it ends
        assert age(host="elsewhere", pid=-1, born="") == 2             # its processes cannot be seen from here
        assert age(host="elsewhere", expires=time.time() - 1) == 5
        first.__exit__()


@pytest.mark.parametrize("dead", [{"born": "another process has this number now"}, {"pid": 2**22 + 1}, {"beat": 0.0}])
def test_a_run_whose_process_is_gone_or_whose_lease_has_ended_is_dead(tmp_path, dead):
    with LabelStore(tmp_path / "l.sqlite") as one:
        first = queue_of(one, 5)
        assert len(first.take(3)) == 3
        for name, value in dead.items():
            one._db.execute(f"UPDATE runs SET {name} = ?", (value,))
        with LabelStore(tmp_path / "l.sqlite") as two:
            second = queue_of(two, 5)
            assert len(second.take(9)) == 5
            second.__exit__()
        first.__exit__()


def test_a_lease_is_renewed_while_the_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(label_jobs, "BEAT", 0.02)
    with LabelStore(tmp_path / "l.sqlite") as store:
        queue = queue_of(store, 1)
        store._db.execute("UPDATE runs SET beat = 0, expires = 0")
        patience = time.monotonic() + 30
        while (ends := store._db.execute("SELECT beat, expires FROM runs").fetchone()) == (0, 0) and time.monotonic() < patience:
            time.sleep(0.02)
        queue.__exit__()
    assert ends[0] > time.monotonic() and ends[1] > time.time()


def test_a_claim_is_in_the_store_before_it_is_given_and_the_label_takes_it_away(tmp_path):
    with LabelStore(tmp_path / "l.sqlite") as store, LabelStore(tmp_path / "l.sqlite") as other:
        queue = queue_of(store, 2)
        job, = queue.take(1)
        assert other._db.execute("SELECT sha256 FROM claims").fetchall() == [(job.key.sha256,)]
        store.put([Label(job.key, "main", "en", "ok", "A cat.", "stop", {}, "r", "host")])
        assert other._db.execute("SELECT COUNT(*) FROM claims").fetchone() == (0,)
        queue.__exit__()


def test_a_store_of_version_one_is_taken_over_with_its_labels(tmp_path, few):
    pictures = sorted(few.glob("*/*.jpg"))
    with sqlite3.connect(tmp_path / "old.sqlite") as db:
        db.executescript("""
            CREATE TABLE pictures (path TEXT PRIMARY KEY, sha256 TEXT NOT NULL, bytes INTEGER NOT NULL, modified_ns INTEGER NOT NULL) WITHOUT ROWID;
            CREATE INDEX pictures_by_hash ON pictures (sha256);
            CREATE TABLE labels (sha256 TEXT NOT NULL, model TEXT NOT NULL, prompt TEXT NOT NULL, parameters TEXT NOT NULL,
                dimension TEXT NOT NULL, language TEXT NOT NULL, status TEXT NOT NULL CHECK (status IN ('ok', 'refused', 'failed')),
                answer TEXT NOT NULL, finish_reason TEXT NOT NULL, usage TEXT NOT NULL, request_id TEXT NOT NULL, code TEXT NOT NULL,
                message TEXT NOT NULL, source TEXT NOT NULL, created TEXT NOT NULL, PRIMARY KEY (sha256, model, prompt, parameters));
            PRAGMA application_id = 1130450017; PRAGMA user_version = 1;""")
        db.execute("INSERT INTO pictures VALUES (?, ?, ?, ?)", ("x.jpg", "ab", 1, 2))
    with LabelStore(tmp_path / "old.sqlite") as store:
        key = LabelKey(check_picture(pictures[0]).sha256, "m", "p")
        store.put([Label(key, "main", "en", "ok", "paid for", "stop", {}, "r", "host")])
    assert run(few, tmp_path / "old.sqlite").labelled == 20
    with LabelStore(tmp_path / "old.sqlite") as store:
        assert store.get(key).answer == "paid for" and store._db.execute("PRAGMA user_version").fetchone() == (2,)


@pytest.mark.parametrize("faults", [Faults(latency=(0.0, 0.05)), Faults(latency=0.02, cut=0.2, garbled=0.2)])
def test_max_cost_is_never_overshot_and_what_was_paid_is_kept(few, tmp_path, faults):
    with StandIn(few, faults) as teacher:
        whole = run(few, tmp_path / "whole.sqlite", endpoint=teacher.base_url)
        assert whole.labelled + whole.failed == 20
    with StandIn(few, faults) as teacher:
        most = whole.yuan / 2
        half = run(few, tmp_path / "l.sqlite", endpoint=teacher.base_url, max_cost=most, concurrency=8)
        assert teacher.meter.yuan <= most and half.yuan <= most and "--max-cost" in half.stopped and half.stopped in str(half)
        assert half.labelled == sum(row[0] == "ok" for row in rows(tmp_path / "l.sqlite").values())
        if not faults.cut:
            assert 0 < half.labelled < 20
        rest = run(few, tmp_path / "l.sqlite", endpoint=teacher.base_url)
        assert not rest.stopped and half.labelled + rest.labelled + rest.failed == 20
    with pytest.raises(InputError, match="no price"):
        run(few, tmp_path / "l.sqlite", model="qwen-of-tomorrow", max_cost=1.0)


def test_the_budget_waits_for_what_is_under_way_before_it_gives_up():
    price = load_prices().model("qwen3-vl-plus")

    async def go():
        budget = Budget(price.cost(100, 100) * 2.5, price, cap=100)
        first, second = await budget.reserve(100), await budget.reserve(100)
        third = asyncio.create_task(budget.reserve(100))
        await asyncio.sleep(0.05)
        assert not third.done()                       # the two might take all that there is
        await budget.settle(first, 100, 10)
        got = await third
        await budget.settle(second, 100, 100)
        await budget.settle(got, 100, 100, lost=1)
        assert await budget.reserve(100) is None and budget.reserved == 0
        return budget.spent

    assert asyncio.run(go()) == pytest.approx(price.cost(100, 10) + 3 * price.cost(100, 100))


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_stores_the_answers_under_way(few, tmp_path):
    store = tmp_path / "l.sqlite"
    with StandIn(few, Faults(latency=0.6)) as teacher:
        journal = teacher.keep_journal()
        process = start(few, store, teacher, 5)
        while len(journal) < 5 and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        answered = teacher.meter.requests["200"]
    assert process.returncode != 0 and 0 < answered < 20 and len(rows(store)) == answered
