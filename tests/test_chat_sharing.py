"""Models in a process of their own: several visitors, one set of weights; answers, faults and ends as with models in one's own process."""

import gc
import os
import shutil
import subprocess
import sys
import threading
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client

import psutil
import pytest
from chat_results import make_results

from helpers.core.chat_decoding import SAMPLING, Decoding
from helpers.core.chat_host import Host, HostProcess
from helpers.core.chat_models import BROKEN, Models, find_offers
from helpers.core.chat_sharing import ADDRESS, SECRET, SharedModels, open_models
from helpers.core.chat_stream import Progress
from helpers.core.chat_systems import Base, OwnSystem
from helpers.core.chat_turns import COMPLETE, CUT, STOPPED
from helpers.core.chat_words import Told
from helpers.core.conversations import Turn
from helpers.core.paths import ROOT
from helpers.core.profiles import load_profile
from helpers.core.scenes import plan_scene, render

SCENE = render(plan_scene(3))
ASKED = [Turn("user", "What is in the picture?")]
LONG = Decoding(max_new_tokens=1024)  # the random adapter does not find an end
VISITOR = """
import sys, threading
from helpers.core.chat_decoding import Decoding
from helpers.core.chat_sharing import SharedSystem, Wanted
from helpers.core.conversations import Turn
from helpers.core.profiles import load_profile
from helpers.core.scenes import plan_scene, render
system = SharedSystem(Wanted(load_profile(), sys.argv[1], "lora"))
for progress in system.stream(render(plan_scene(3)), [Turn("user", "What?")], Decoding(max_new_tokens=1024), threading.Event()):
    print("torch" in sys.modules, flush=True)
"""
SERVER = """
import sys, time
from helpers.core.chat_host import HostProcess
with HostProcess(sys.argv[1]) as host:
    print(host.process.pid, flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return make_results(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    with HostProcess(tmp_path_factory.mktemp("host")) as host:
        yield host


@pytest.fixture
def visitors(host, results, monkeypatch):
    """Makes the models of one visitor more, as a kernel on the page does."""
    for name, value in host.environment.items():
        monkeypatch.setenv(name, value)
    profile, made = load_profile(), []

    def arrive(*keys, results=results) -> Models:
        models = open_models(find_offers(profile, results), profile, results)
        made.append(models)
        models.choose(keys)
        models.wait()
        return models

    yield arrive
    for models in made:
        models.close()


def answer(models, key, decoding=Decoding(max_new_tokens=12), stop=None) -> Progress:
    """The last of what one system says."""
    return list(models.get(key).stream(SCENE, ASKED, decoding, stop or threading.Event()))[-1]


def start(code: str, *arguments) -> subprocess.Popen:
    """A Python program beside this one."""
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})


def kill(process: subprocess.Popen) -> None:
    """End it without giving it a chance to say goodbye."""
    process.kill()
    process.wait()
    process.stdout.close()


def until(true):
    """Wait for what another process does."""
    for _ in range(3000):
        if true():
            return
        threading.Event().wait(0.02)
    raise AssertionError("it did not happen within a minute")


def count_models() -> int:
    """Models that lie in this process's memory."""
    gc.collect()
    return sum(isinstance(found, Base) for found in gc.get_objects())


def test_a_shared_model_says_what_ones_own_says(visitors, results):
    shared, own = visitors("pretrained", "lora"), Models(find_offers(load_profile(), results))
    assert isinstance(shared, SharedModels) and shared.shared and not own.shared
    own.choose(["pretrained", "lora"])
    for decoding in (Decoding(max_new_tokens=12), Decoding(beams=3, max_new_tokens=12), Decoding(mode=SAMPLING, temperature=1.5, seed=7, max_new_tokens=12)):
        for key in ("pretrained", "lora"):
            ours, theirs = answer(shared, key, decoding), answer(own, key, decoding)
            assert (ours.text, ours.tokens, ours.end) == (theirs.text, theirs.tokens, theirs.end)
    assert shared.memory() == own.memory()
    for models in (shared, own):
        models.choose(["lora"])
        models.wait()
    assert shared.memory() == own.memory() and set(shared.memory()) == {"lora", "base"}
    own.close()


def test_words_come_while_they_are_written(visitors):
    stop, texts = threading.Event(), []
    for progress in visitors("lora").get("lora").stream(SCENE, ASKED, LONG, stop):
        texts.append(progress.text)
        if len(set(texts)) > 5:
            stop.set()
    assert progress.end == STOPPED and progress.tokens < LONG.max_new_tokens
    assert [len(text) for text in texts] == sorted(len(text) for text in texts)


def test_only_what_the_course_has_trained_is_shared(host, results, monkeypatch):
    for name, value in host.environment.items():
        monkeypatch.setenv(name, value)
    profile = load_profile()
    mine = {"Parrot": type("Parrot", (), {"describe": lambda self, pictures, question: [question]})()}
    models = open_models(find_offers(profile, results, others=mine), profile, results, mine)
    models.choose(["Parrot"])
    assert isinstance(models.get("Parrot"), OwnSystem) and answer(models, "Parrot").text == ASKED[0].content
    assert models.offers["full"].missing
    models.close()
    monkeypatch.delenv(ADDRESS)
    assert type(open_models([], profile, results)) is Models


def test_visitors_wait_for_one_another_and_a_stop_lets_the_next_one_begin(visitors):
    first, second = visitors("lora"), visitors("pretrained")
    stop, begun, heard, others = threading.Event(), threading.Event(), [], []

    def ramble() -> None:
        for progress in first.get("lora").stream(SCENE, ASKED, LONG, stop):
            heard.append(progress)
            begun.set()

    one, two = threading.Thread(target=ramble), threading.Thread(target=lambda: others.append(answer(second, "pretrained")))
    one.start()
    assert begun.wait(60)
    two.start()
    until(lambda: len(heard) > 5)
    assert not others, "an answer came in the middle of another one"
    stop.set()
    one.join(60), two.join(60)
    assert heard[-1].end == STOPPED and others[0].end in (COMPLETE, CUT) and others[0].text


def test_one_who_waits_can_stop_waiting(visitors):
    first, second = visitors("lora"), visitors("pretrained")
    stop = threading.Event()
    rambling = first.get("lora").stream(SCENE, ASKED, LONG, stop)
    next(rambling)
    given_up = threading.Event()
    given_up.set()
    assert answer(second, "pretrained", stop=given_up).end == STOPPED
    rambling.close()


def test_what_nobody_holds_is_given_back(results, tmp_path, monkeypatch):
    monkeypatch.setenv(ADDRESS, str(tmp_path / "models"))
    monkeypatch.setenv(SECRET, "00")
    threading.Thread(target=Host().serve, args=(os.environ[ADDRESS], b"\0"), daemon=True).start()  # in this process, where its models can be counted
    before, profile = count_models(), load_profile()
    visits = [open_models(find_offers(profile, results), profile, results) for _ in range(2)]
    for models, keys in zip(visits, (["pretrained", "lora"], ["pretrained"])):
        models.choose(keys)
        models.wait()
    assert count_models() == before + 1  # one, with its adapter, for both
    visits[0].close()
    assert answer(visits[1], "pretrained").text
    visits[1].close()
    until(lambda: count_models() == before)


def test_a_visitor_who_dies_holds_nobody_up(visitors, results):
    visitor = start(VISITOR, results)
    assert visitor.stdout.readline() == "False\n"  # a kernel on the page does without torch
    kill(visitor)
    assert answer(visitors("pretrained"), "pretrained").text


def test_faults_are_sentences_in_both_languages_without_folders(visitors, results, tmp_path):
    shutil.copytree(results, tmp_path / "results")
    weights = tmp_path / "results" / "lora" / "model" / "adapter_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:1000])
    models = visitors("pretrained", "lora", results=tmp_path / "results")
    assert models.state("lora") == BROKEN and answer(models, "pretrained").text
    with pytest.raises(Told) as caught:
        models.get("lora")
    assert set(caught.value.words) == {"en", "zh"} and str(tmp_path) not in str(caught.value.words)
    weights.write_bytes(whole)
    models.choose(["pretrained", "lora"])  # the damage is mended, and ticking it again tries again
    assert answer(models, "lora").text


def test_who_does_not_know_the_secret_gets_nothing(visitors, monkeypatch):
    models = visitors("pretrained")
    with pytest.raises((AuthenticationError, ConnectionError, EOFError)):
        Client(os.environ[ADDRESS], authkey=b"guess").recv()
    assert answer(models, "pretrained").text


def test_the_process_is_started_anew_and_ends_with_its_server(visitors, host, tmp_path):
    models = visitors("pretrained")
    answers = [answer(models, "pretrained").text]
    before = host.process.pid
    host.process.kill()
    until(lambda: host.process.pid != before)
    answers.append(answer(models, "pretrained").text)  # loaded again, without anybody asking for it
    assert answers[0] == answers[1]
    server = start(SERVER, tmp_path)  # one that is killed closes nothing, but its end of the pipe closes all the same
    child = psutil.Process(int(server.stdout.readline()))
    kill(server)
    assert psutil.wait_procs([child], timeout=60)[1] == []
