"""The client against the stand-in: answers, streams, many at once, retries, what ends a run, and the key's safety."""

import asyncio
import time

import pytest
from teacher_scenes import KEY, MODEL, drawn

from helpers.core import qwen_vl
from helpers.core.endpoints import check_base_url
from helpers.core.errors import InputError, TeacherError
from helpers.core.images import encode_image
from helpers.core.pacing import Pace
from helpers.core.prompts import question
from helpers.core.qwen_vl import QwenVL
from helpers.core.standin import SOURCE, Faults, StandIn


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    drawn(folder)
    return folder


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(qwen_vl, "BACKOFF", (0.01, 0.05))
    for name in ("DASHSCOPE_API_KEY", "DASHSCOPE_HTTP_BASE_URL", "DASHSCOPE_API_KEY_FILE_PATH"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def teacher(folder):
    with StandIn(folder) as stand_in:
        yield stand_in


def picture(folder):
    return folder / "Train" / "0000.jpg"


def ask_many(client, pictures, prompt):
    async def run():
        try:
            return await asyncio.gather(*(client.ask_async(p, prompt) for p in pictures))
        finally:
            await client.close()

    return asyncio.run(run())


def test_asking_streaming_and_asking_many_agree(teacher, folder):
    client, prompt = QwenVL(MODEL, teacher.base_url, KEY), question("main", "en")
    answer = client.ask(picture(folder), prompt)
    assert (answer.status, answer.finish_reason, answer.source, answer.tries) == ("ok", "stop", SOURCE, 1)
    pieces = list(client.stream(picture(folder), prompt))
    assert len(pieces) > 3 and "".join(pieces) == answer.text
    assert [a.text for a in ask_many(client, [encode_image(picture(folder))] * 4, prompt)] == [answer.text] * 4


def test_pictures_are_scaled_down_before_sending(teacher, folder):
    small = QwenVL("qwen-vl-max", teacher.base_url, KEY, max_side=112).ask(picture(folder), "What is it?")
    large = QwenVL("qwen-vl-max", teacher.base_url, KEY).ask(picture(folder), "What is it?")
    assert (small.usage["image_tokens"], large.usage["image_tokens"]) == (4 * 4 + 2, 8 * 8 + 2)


@pytest.mark.parametrize("faults", [Faults(internal=0.4), Faults(throttled=0.4), Faults(cut=0.4), Faults(garbled=0.4), Faults(internal=0.1, throttled=0.1, cut=0.1, garbled=0.1)])
def test_passing_faults_are_retried_until_the_answer_comes(folder, faults):
    pictures = [encode_image(p) for p in sorted(folder.glob("*/*.jpg"))]
    with StandIn(folder, faults) as teacher:
        answers = ask_many(QwenVL(MODEL, teacher.base_url, KEY, tries=12), pictures, question("main", "zh"))
        client = QwenVL(MODEL, teacher.base_url, KEY, tries=12)
        assert all(client.ask(p, "Describe the scene.").status == "ok" for p in pictures[:6])
    assert {a.status for a in answers} == {"ok"} and max(a.tries for a in answers) > 1


@pytest.mark.parametrize(("faults", "code"), [(Faults(internal=1.0), "InternalError"), (Faults(cut=1.0), "ConnectionFault"), (Faults(garbled=1.0), "ConnectionFault")])
def test_lasting_faults_end_as_failed_after_so_many_tries(folder, faults, code):
    with StandIn(folder, faults) as teacher:
        client = QwenVL(MODEL, teacher.base_url, KEY, tries=3)
        alone, = ask_many(client, [encode_image(picture(folder))], "What is it?")
        for answer in (alone, client.ask(picture(folder), "What is it?")):
            assert (answer.status, answer.code, answer.tries) == ("failed", code, 3)


def test_refusals_are_final_and_asked_once(folder):
    with StandIn(folder, Faults(refused=1.0)) as teacher:
        answer = QwenVL(MODEL, teacher.base_url, KEY).ask(picture(folder), "What is it?")
        assert (answer.status, answer.code) == ("refused", "DataInspectionFailed")
        assert teacher.meter.requests == {"400": 1}


@pytest.mark.parametrize(("faults", "key", "model", "remedy"), [
    (Faults(), "sk-wrong-secret-key", MODEL, "region"), (Faults(arrearage=True), KEY, MODEL, "top it up"), (Faults(denied=True), KEY, MODEL, "console"),
    (Faults(), KEY, "qwen-of-tomorrow", "--model"), (Faults(free_quota_used=True), KEY, MODEL, "free quota")])
def test_what_no_retry_changes_stops_at_once_with_a_remedy(folder, faults, key, model, remedy):
    with StandIn(folder, faults) as teacher:
        client = QwenVL(model, teacher.base_url, key)
        for attempt in (lambda: client.ask(picture(folder), "What?"), lambda: list(client.stream(picture(folder), "What?")),
                        lambda: ask_many(client, [encode_image(picture(folder))], "What?")):
            with pytest.raises(TeacherError, match=remedy) as caught:
                attempt()
            assert key not in str(caught.value) and "\n" not in str(caught.value)
        assert sum(teacher.meter.requests.values()) == 3


def test_many_questions_keep_to_the_pace(folder):
    pictures = [encode_image(picture(folder))] * 13
    with StandIn(folder, Faults(rpm=1200)) as teacher:
        started = time.monotonic()
        answers = ask_many(QwenVL(MODEL, teacher.base_url, KEY, rpm=1200), pictures, "What is it?")
        assert {a.tries for a in answers} == {1} and "429" not in teacher.meter.requests
        assert time.monotonic() - started >= 12 * 60 / 1200


def test_a_throttled_request_holds_the_others():
    async def run():
        pace, started = Pace(), time.monotonic()
        pace.throttled(await pace.turn(), 0.2)
        await pace.turn()
        return time.monotonic() - started

    assert asyncio.run(run()) >= 0.2


def test_a_429_is_waited_out_for_longer_than_a_fault_is_retried(folder):
    with StandIn(folder, Faults(throttled=1.0)) as teacher:
        answer = QwenVL(MODEL, teacher.base_url, KEY, tries=2).ask(picture(folder), "What is it?")
        assert (answer.status, answer.code, answer.tries) == ("failed", "Throttling.RateQuota", qwen_vl.PATIENCE)


def test_an_answer_that_does_not_come_in_time_is_a_failure_and_counted_as_lost(folder):
    with StandIn(folder, Faults(hung=1.0)) as teacher:
        client = QwenVL(MODEL, teacher.base_url, KEY, tries=2, timeout=0.3)
        for answer in (*ask_many(client, [encode_image(picture(folder))], "What is it?"), client.ask(picture(folder), "What is it?")):
            assert (answer.status, answer.code, answer.tries, answer.lost) == ("failed", "Timeout", 2, 2)


def test_limits_come_from_the_endpoint(folder, teacher):
    with StandIn(folder, Faults(rpm=600, tpm=90_000)) as limited:
        assert QwenVL(MODEL, limited.base_url, KEY).limits() == (600, 90_000)
    assert QwenVL(MODEL, teacher.base_url, KEY).limits() == (None, None)
    assert QwenVL("qwen-of-tomorrow", teacher.base_url, KEY).limits() is None  # it does not say, which is not: no limit
    assert QwenVL(MODEL, "http://127.0.0.1:9/api/v1", KEY).limits() is None
    with pytest.raises(TeacherError, match="refused the key"):
        QwenVL(MODEL, teacher.base_url, "sk-wrong").limits()


def test_without_a_key_or_with_an_impossible_one_it_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(TeacherError, match="there is no key"):
        QwenVL(MODEL, "http://127.0.0.1:1/api/v1")
    for key in ("sk-one two", "sk-one\r\nX-Evil: 1", "sk-密钥"):
        with pytest.raises(TeacherError, match="cannot be a key") as caught:
            QwenVL(MODEL, "http://127.0.0.1:1/api/v1", key)
        assert key not in str(caught.value)


def test_the_key_goes_into_no_repr():
    client = QwenVL(MODEL, "http://127.0.0.1:1/api/v1", "sk-marked-secret")
    assert "marked" not in repr(client) and "marked" not in str(client)


@pytest.mark.parametrize("url", ["http://dashscope.aliyuncs.com/api/v1", "http://10.0.0.5/api/v1", "ftp://x/api/v1", "https://sk-a:b@host/api/v1", "nonsense"])
def test_addresses_that_would_give_the_key_away_are_refused(url):
    with pytest.raises(TeacherError):
        check_base_url(url)


@pytest.mark.parametrize("url", ["https://dashscope.aliyuncs.com/api/v1/", "http://127.0.0.1:8000/api/v1", "http://localhost:1/api/v1", "http://[::1]:1/api/v1"])
def test_addresses_that_are_safe(url):
    assert check_base_url(url) == url.rstrip("/")


def test_a_prompt_that_is_a_file_is_not_uploaded(teacher, folder):
    client = QwenVL(MODEL, teacher.base_url, KEY)
    for prompt in (str(picture(folder)), "file:///etc/hostname", "  "):
        with pytest.raises(InputError):
            client.ask(picture(folder), prompt)


def test_an_endpoint_that_is_not_there_is_a_failure_not_a_crash(folder):
    client = QwenVL(MODEL, "http://127.0.0.1:9/api/v1", KEY, tries=2)
    assert client.ask(picture(folder), "What is it?").status == "failed"
    with pytest.raises(TeacherError, match="broke"):
        list(client.stream(picture(folder), "What is it?"))
