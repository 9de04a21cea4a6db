"""The label store: nothing twice, nothing lost, and clear words for a file that is none."""

import shutil
import sqlite3
import threading

import pytest

from helpers.core.errors import InputError, ResourceError, StoreError
from helpers.core.labels import STAND_IN_SOURCE, Label, LabelKey, LabelStore, canonical


def label(number: int = 0, status: str = "ok", answer: str = "A cat.", source: str = "dashscope.aliyuncs.com", **key) -> Label:
    return Label(LabelKey(**{"sha256": f"{number:064x}", "model": "qwen3-vl-plus", "prompt": "What is it?", **key}), "main", "en", status, answer, "stop",
                 {"input_tokens": 7}, "r-1", source)


@pytest.fixture
def store(tmp_path):
    with LabelStore(tmp_path / "labels.sqlite") as store:
        yield store


def test_a_label_comes_back_as_it_was(store):
    first = label(answer="一只猫。\nA cat: 'quoted'", parameters=canonical({"top_p": 0.5, "seed": 1}))
    store.put([first])
    assert store.get(first.key) == first and store.counts() == {"ok": 1, "refused": 0, "failed": 0}
    assert store.get(LabelKey("0", "m", "p")) is None


def test_picture_model_prompt_and_parameters_each_make_another_label(store):
    store.put([label(), label(1), label(model="qwen-vl-max"), label(prompt="And now?"), label(parameters='{"seed": 1}'), label()])
    assert store.counts()["ok"] == 5


def test_what_replaces_what(store):
    def after(*labels: Label) -> tuple[str, str]:
        number = after.number = getattr(after, "number", 100) + 1
        for status, answer, source in labels:
            store.put([label(number, status, answer, source)])
        stored = store.get(label(number).key)
        return stored.status, stored.answer

    real = "dashscope.aliyuncs.com"
    assert after(("ok", "one", real), ("ok", "two", real)) == ("ok", "one")
    assert after(("ok", "one", real), ("failed", "", real)) == ("ok", "one")
    assert after(("failed", "", real), ("ok", "two", real)) == ("ok", "two")
    assert after(("refused", "", real), ("ok", "two", real)) == ("refused", "")
    assert after(("ok", "one", STAND_IN_SOURCE), ("ok", "two", real)) == ("ok", "two")
    assert after(("ok", "one", STAND_IN_SOURCE), ("failed", "", real)) == ("ok", "one")
    assert after(("ok", "one", real), ("ok", "two", STAND_IN_SOURCE)) == ("ok", "one")


def test_pictures_are_hashed_once_and_found_again_after_the_folder_moved(tmp_path):
    home = tmp_path / "here"
    home.mkdir()
    for name in ("a.jpg", "copy-of-a.jpg"):
        (home / name).write_bytes(b"the same bytes")
    paths = [home / "a.jpg", home / "copy-of-a.jpg", home / "missing.jpg"]
    with LabelStore(home / "labels.sqlite") as store:
        hashes = store.hash_pictures(paths)
        assert set(hashes) == set(paths[:2]) and len(set(hashes.values())) == 1
        store.put([label(sha256=hashes[paths[0]])])
        assert store.hash_pictures(paths) == hashes
        (home / "a.jpg").write_bytes(b"other bytes, longer")
        assert store.hash_pictures(paths[:1])[paths[0]] != hashes[paths[0]]
        (home / "a.jpg").write_bytes(b"the same bytes")
        store.hash_pictures(paths)
    moved = shutil.move(home, tmp_path / "there")
    with LabelStore(moved / "labels.sqlite" if hasattr(moved, "joinpath") else tmp_path / "there" / "labels.sqlite", create=False) as store:
        assert [path for path, _ in store.labels()] == [tmp_path / "there" / "a.jpg", tmp_path / "there" / "copy-of-a.jpg"]


def test_it_is_durable_by_its_own_settings(store):
    assert store._db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert store._db.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL


def test_a_store_of_another_version_is_one_sentence(tmp_path):
    LabelStore(tmp_path / "later.sqlite").close()
    with sqlite3.connect(tmp_path / "later.sqlite") as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="version 99") as caught:
        LabelStore(tmp_path / "later.sqlite")
    assert "\n" not in str(caught.value) and "later.sqlite" in str(caught.value)


def test_files_that_are_no_store(tmp_path):
    (tmp_path / "text.sqlite").write_text("this is no database, but it is longer than a header is" * 20)
    with sqlite3.connect(tmp_path / "foreign.sqlite") as db:
        db.execute("CREATE TABLE songs (title TEXT)")
    (tmp_path / "folder.sqlite").mkdir()
    for name, words in (("text.sqlite", "no label store"), ("foreign.sqlite", "another program"), ("folder.sqlite", "cannot be opened")):
        with pytest.raises(StoreError, match=words):
            LabelStore(tmp_path / name)
    with sqlite3.connect(tmp_path / "foreign.sqlite") as db:
        assert db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0] == 1  # untouched
    with pytest.raises(InputError, match="no label store"):
        LabelStore(tmp_path / "none.sqlite", create=False)
    assert not (tmp_path / "none.sqlite").exists()


def test_a_full_disk_is_one_sentence_and_keeps_what_was_there(store):
    store.put([label(1)])
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count = {pages + 2}")  # SQLite then fails as it does on a full disk
    with pytest.raises(ResourceError, match="disk is full"):
        store.put([label(n, answer="long " * 500) for n in range(2, 60)])
    assert store.counts()["ok"] == 1
    store._db.execute("PRAGMA max_page_count = 1000000")
    store.put([label(2)])
    assert store.counts()["ok"] == 2


def test_two_writers_at_once_lose_nothing(tmp_path):
    def write(start: int) -> None:
        with LabelStore(tmp_path / "shared.sqlite") as mine:
            for number in range(start, start + 30):
                mine.put([label(number), label(number % 10)])

    threads = [threading.Thread(target=write, args=(start,)) for start in (0, 20, 1000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with LabelStore(tmp_path / "shared.sqlite", create=False) as store:
        assert store.counts()["ok"] == 50 + 30
