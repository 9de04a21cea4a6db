"""The teacher's client: Qwen-VL through the real `dashscope` SDK; one question, a stream, or many at once.

Shape of the data: (picture, prompt) → `Answer`: text, status, finish_reason, token usage, request id, source.
The endpoint may be DashScope or the kit's stand-in; the same code talks to both. What the service answers is one of
    ok       an answer, whole or cut off (`finish_reason` "length")
    refused  final for this picture: content inspection, or a picture the service does not take
    failed   the service's own fault, or the line's, after a bounded number of tries
while an answer that no retry and no other picture would change (key, money, model) raises TeacherError at once.
Codes as in the vendor's error reference. The key comes from the caller or the environment and goes into no message.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from PIL import Image

from helpers.core.endpoints import BEIJING, KEY_VARIABLE, SOURCE_HEADER, URL_VARIABLE, check_base_url, check_key, is_loopback, read_key
from helpers.core.errors import InputError, TeacherError
from helpers.core.images import EncodedImage, encode_image

MAX_SIDE = 1024         # pixels of the longer side sent; scaling down before sending saves money
TRIES = 6               # attempts at one question, the first included
BACKOFF = (0.5, 30.0)   # seconds before the second attempt, and at most; doubles, with jitter
TIMEOUT = 120           # seconds for one answer

_RETRIED = {429, 500, 502, 503, 504}
_REMEDIES = {
    "arrearage": "the account is out of money: top it up, then run the same command again; everything so far is kept",
    "free": "the model's free quota is used up: switch it to paid use in the console, or choose another model; everything so far is kept",
    "key": f"the key is not valid here: check {KEY_VARIABLE}, and that it belongs to the region of {URL_VARIABLE}",
    "denied": "the key may not use this model: have it allowed in the console, or choose another with --model",
    "model": "there is no such model here: choose another with --model",
}


@dataclass(frozen=True)
class Answer:
    """What came back for one question.

    status: "ok", "refused" or "failed".  code, message: the service's, where it is not ok.  usage: {"input_tokens", "output_tokens",
    "image_tokens", …}.  source: who answered: "offline stand-in, not Qwen-VL", or the endpoint's host.  tries: attempts it took.
    """

    text: str
    status: str
    finish_reason: str
    usage: dict
    request_id: str
    source: str
    code: str = ""
    message: str = ""
    tries: int = 1


@dataclass
class Pace:
    """Spaces requests evenly: at most `rpm` a minute and rpm / 60 a second; a throttled one makes all wait.

    `rpm` None: no spacing. Used from one event loop.
    """

    rpm: float | None = None
    _next: float = 0.0
    _pause: float = field(default=0.0)

    async def turn(self) -> None:
        """Returns when the next request may be sent."""
        while (wait := max(self._next, self._pause) - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        if self.rpm:
            self._next = max(self._next, time.monotonic() - 1e-3) + 60.0 / self.rpm

    def hold(self, seconds: float) -> None:
        """No request is sent for so long."""
        self._pause = max(self._pause, time.monotonic() + seconds)


class QwenVL:
    """A client for one model at one endpoint.

    base_url: ends in /api/v1; default: DASHSCOPE_HTTP_BASE_URL, else Beijing.
    api_key: default: where the SDK looks, DASHSCOPE_API_KEY first.
    max_side: pixels of the longer side that is sent.  tries: attempts at one question.  rpm: requests a minute, None: as fast as it goes.
    parameters: sampling parameters of every request (temperature, top_p, max_tokens, seed, …).
    Raises TeacherError when there is no key, the key cannot be one, or the endpoint is plain HTTP on another machine.
    """

    def __init__(self, model: str, base_url: str | None = None, api_key: str | None = None, *, max_side: int = MAX_SIDE,
                 tries: int = TRIES, timeout: float = TIMEOUT, rpm: float | None = None, concurrency: int = 8, parameters: dict | None = None):
        self.model, self.max_side, self.tries, self.timeout = model, max_side, tries, timeout
        self.base_url = check_base_url(base_url or os.environ.get(URL_VARIABLE) or BEIJING)
        self.concurrency, self.parameters = concurrency, dict(parameters or {})
        self._key = check_key(api_key or read_key())
        self._host = urlsplit(self.base_url).hostname or ""
        self._local = is_loopback(self._host)
        self._pace = Pace(rpm)
        self._jitter = random.Random()
        self._aio_session = self._sync_session = None
        _quiet_sdk()

    def __repr__(self) -> str:
        return f"QwenVL(model={self.model!r}, base_url={self.base_url!r})"

    def ask(self, picture: Image.Image | Path | str | bytes | EncodedImage, prompt: str, **parameters) -> Answer:
        """One question, waited for. `parameters` go on top of the client's. Raises InputError for the picture, TeacherError for good."""
        from dashscope import MultiModalConversation

        request = self._request(self._encode(picture), prompt, parameters)
        for attempt in range(1, self.tries + 1):
            try:
                outcome = self._judge(MultiModalConversation.call(**request, session=self._session()), attempt)
            except self._line_faults() as error:
                outcome = self._line_fault(error, attempt)
            if isinstance(outcome, Answer):
                return outcome
            time.sleep(outcome.wait)
        raise AssertionError("the last attempt always gives an answer")

    def stream(self, picture: Image.Image | Path | str | bytes | EncodedImage, prompt: str, **parameters) -> Iterator[str]:
        """One question, answered piece by piece: yields each new piece of text as it comes.

        Raises InputError for the picture; TeacherError where the answer does not come, whatever the reason: a
        stream that has begun is not retried, since its words are already shown.
        """
        from dashscope import MultiModalConversation

        request = self._request(self._encode(picture), prompt, parameters)
        try:
            for response in MultiModalConversation.call(**request, stream=True, incremental_output=True, session=self._session()):
                if response.status_code != 200:
                    self._judge(response, self.tries)  # raises with the remedy where there is one
                    raise TeacherError(f"the teacher's answer did not come ({response.code}: {self._clean(response.message)}): "
                                       "ask again later")
                if piece := _text(response.output.choices[0].message.content):
                    yield piece
        except self._line_faults() as error:
            raise TeacherError(f"the connection to {self._host} broke ({type(error).__name__}): ask again") from None

    async def ask_async(self, picture: EncodedImage, prompt: str, **parameters) -> Answer:
        """One question, for use among many in one event loop; paced by the client's `rpm`. Call `close` at the end."""
        from dashscope import AioMultiModalConversation

        request = self._request(picture, prompt, parameters)
        session = self._async_session()
        for attempt in range(1, self.tries + 1):
            await self._pace.turn()
            try:
                outcome = self._judge(await AioMultiModalConversation.call(**request, session=session), attempt)
            except self._line_faults() as error:
                outcome = self._line_fault(error, attempt)
            if isinstance(outcome, Answer):
                return outcome
            if outcome.everyone:
                self._pace.hold(outcome.wait)
            await asyncio.sleep(outcome.wait)
        raise AssertionError("the last attempt always gives an answer")

    async def close(self) -> None:
        """Closes the connections of `ask_async`."""
        if self._aio_session is not None:
            await self._aio_session.close()
            self._aio_session = None

    def limits(self) -> tuple[int | None, int | None]:
        """The key's limits for this model from the endpoint: (requests a minute, tokens a minute); None where it tells none.

        Source: the vendor's "List model quotas", GET {base}/quotas. Raises TeacherError when the key is refused.
        """
        import requests

        try:
            response = self._session().get(f"{self.base_url}/quotas", params={"model": self.model}, timeout=20,
                                           headers={"Authorization": f"Bearer {self._key}"})
            if response.status_code in (401, 403):
                raise TeacherError(f"{self._host} refused the key: {_REMEDIES['key']}")
            quotas = response.json()["output"]["quotas"] if response.status_code == 200 else []
        except (requests.RequestException, ValueError, KeyError, TypeError):
            return None, None
        for entry in quotas:
            limit = entry.get("model_limit") or {}
            if entry.get("model") == self.model:
                return tuple(_per_minute(limit.get(name), limit.get(name + "_period")) for name in ("request_limit", "usage_limit"))
        return None, None

    def _encode(self, picture) -> EncodedImage:
        return picture if isinstance(picture, EncodedImage) else encode_image(picture, self.max_side)

    def _request(self, picture: EncodedImage, prompt: str, parameters: dict) -> dict:
        """The SDK call's arguments."""
        if not prompt.strip():
            raise InputError("the prompt is empty: give a question")
        if prompt.startswith(("file://", "oss://")) or len(prompt) < 4096 and os.path.isfile(os.path.expanduser(prompt)):
            raise InputError(f"the prompt {prompt!r} is the name of a file, which the SDK would upload: word it as a question")
        return {"model": self.model, "messages": [{"role": "user", "content": [{"image": picture.uri}, {"text": prompt}]}],
                "api_key": self._key, "base_address": self.base_url, "request_timeout": self.timeout, **self.parameters, **parameters}

    def _session(self):
        """The synchronous session; a loopback endpoint is never reached through a proxy."""
        if self._sync_session is None:
            import requests

            self._sync_session = requests.Session()
            self._sync_session.trust_env = not self._local
        return self._sync_session

    def _async_session(self):
        if self._aio_session is None:
            import aiohttp

            self._aio_session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=self.concurrency), trust_env=not self._local)
        return self._aio_session

    @staticmethod
    def _line_faults() -> tuple[type[Exception], ...]:
        """What the SDK lets through when the line breaks, or when what came is no answer (cut-off JSON, an error page)."""
        import aiohttp
        import requests

        return (aiohttp.ClientError, requests.RequestException, asyncio.TimeoutError, OSError,
                json.JSONDecodeError, UnicodeDecodeError, KeyError)

    def _line_fault(self, error: Exception, attempt: int) -> Answer | _Again:
        if attempt < self.tries:
            return _Again(self._backoff(attempt), everyone=False)
        message = f"no answer from {self._host} ({type(error).__name__})"
        return Answer("", "failed", "", {}, "", self._host, "ConnectionFault", message, attempt)

    def _judge(self, response, attempt: int) -> Answer | _Again:
        """A response → an answer, or when to try again. Raises TeacherError for what no retry changes."""
        source = next((v for k, v in (response.headers or {}).items() if k.lower() == SOURCE_HEADER), self._host)
        status, code, message = response.status_code, str(response.code or ""), self._clean(response.message)
        if status == 200 and response.output and response.output.choices:
            choice = response.output.choices[0]
            return Answer(_text(choice.message.content), "ok", str(choice.finish_reason), _usage(response.usage), response.request_id,
                          source, tries=attempt)
        if remedy := _fatal(status, code, message):
            raise TeacherError(f"{self._host} answered {code or status} for {self.model}: {remedy}")
        failure = {"text": "", "finish_reason": "", "usage": {}, "request_id": response.request_id or "", "source": source,
                   "code": code or str(status), "message": message, "tries": attempt}
        if status not in _RETRIED and status != 200:
            return Answer(status="refused", **failure)
        if attempt < self.tries:
            return _Again(self._backoff(attempt), everyone=status == 429)
        return Answer(status="failed", **failure)

    def _backoff(self, attempt: int) -> float:
        """Seconds to wait after so many attempts: doubling, and between half and all of it, so that clients spread out."""
        return min(BACKOFF[1], BACKOFF[0] * 2 ** (attempt - 1)) * self._jitter.uniform(0.5, 1.0)

    def _clean(self, message: object) -> str:
        """A message of the service as one short line, without the key should it ever repeat it."""
        text = " ".join(str(message or "").split()).replace(self._key, "sk-…")
        return text if len(text) <= 300 else text[:299] + "…"


@dataclass(frozen=True)
class _Again:
    """Try again after `wait` seconds; `everyone`: the limit is the account's, so other requests wait too."""

    wait: float
    everyone: bool


def _fatal(status: int, code: str, message: str) -> str | None:
    """The remedy for an answer that stops a run, or None for one that does not."""
    lowered = code.lower()
    if lowered == "arrearage":
        return _REMEDIES["arrearage"]
    if lowered.startswith("throttling.allocationquota") or lowered.startswith("allocationquota"):
        return _REMEDIES["free"] if "free" in (lowered + " " + message.lower()) else None
    if status == 401 or lowered == "invalidapikey":
        return _REMEDIES["key"]
    if status == 403 or "accessdenied" in lowered:
        return _REMEDIES["denied"]
    return _REMEDIES["model"] if status == 404 or lowered in ("modelnotfound", "model.notexist") else None


def _text(content: object) -> str:
    """The text of a message's content: a list of parts, or a string."""
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or "" for part in content or [])


def _usage(usage: object) -> dict:
    """The usage as a plain dict of numbers (and dicts of numbers)."""
    return json.loads(json.dumps(usage or {}))


def _per_minute(limit: object, period: object) -> int | None:
    return int(limit * 60 / (period or 60)) if isinstance(limit, (int, float)) else None


def _quiet_sdk() -> None:
    """Keeps the SDK's logger from printing each failed attempt; DASHSCOPE_LOGGING_LEVEL still turns it on."""
    logger = logging.getLogger("dashscope")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
