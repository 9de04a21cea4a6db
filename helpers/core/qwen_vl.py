"""The teacher's client: Qwen-VL through the real `dashscope` SDK; one question, a stream, or many at once.

Shape of the data: (picture, prompt) → `Answer`: text, status, finish_reason, token usage, request id, source.
The endpoint may be DashScope or the kit's stand-in; the same code talks to both. What the service answers is one of
    ok       an answer, whole or cut off (`finish_reason` "length")
    refused  final for this picture: content inspection, or a picture the service does not take
    failed   the service's own fault, or the line's, after a bounded number of tries
A 429 is no fault: it slows the pace (`pacing`) and is waited out, for longer than a fault is.
An answer that no retry and no other picture would change (key, money, model, a parameter) raises TeacherError at once.
Codes as in the vendor's error reference. The key comes from the caller, the environment or a hidden prompt and goes into
no message, no log and no repr.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from PIL import Image

from helpers.core.answers import Answer, kind_of, per_minute, remedy, text_of, usage_of
from helpers.core.endpoints import BEIJING, SOURCE_HEADER, URL_VARIABLE, ask_key, check_base_url, check_key, is_loopback, read_key
from helpers.core.errors import InputError, TeacherError
from helpers.core.images import EncodedImage, encode_image
from helpers.core.pacing import Limits, Pace

MAX_SIDE = 1024         # pixels of the longer side sent; scaling down before sending saves money
TRIES = 6               # attempts at one question, the first included; a 429 is none
PATIENCE = 20           # 429s that one question waits out
BACKOFF = (0.5, 30.0)   # seconds before the second attempt, and at most; doubles, with jitter
TIMEOUT = 120           # seconds for one answer
HOLD = 5.0              # seconds at most for which one 429 stops every request


class QwenVL:
    """A client for one model at one endpoint.

    base_url: ends in /api/v1; default: DASHSCOPE_HTTP_BASE_URL, else Beijing.
    api_key: default: where the SDK looks, DASHSCOPE_API_KEY first.
    max_side: pixels of the longer side that is sent.  tries: attempts at one question.
    rpm, tpm: requests and tokens a minute, None: as fast as it goes; `keep_to` sets them later.
    parameters: sampling parameters of every request (temperature, top_p, max_tokens, seed, …).
    Raises TeacherError when there is no key, the key cannot be one, or the endpoint is plain HTTP on another machine.
    """

    def __init__(self, model: str, base_url: str | None = None, api_key: str | None = None, *, max_side: int = MAX_SIDE,
                 tries: int = TRIES, timeout: float = TIMEOUT, rpm: float | None = None, tpm: float | None = None,
                 concurrency: int = 8, parameters: dict | None = None):
        self.model, self.max_side, self.tries, self.timeout = model, max_side, tries, timeout
        self.base_url = check_base_url(base_url or os.environ.get(URL_VARIABLE) or BEIJING)
        self.concurrency, self.parameters = concurrency, dict(parameters or {})
        self._key = check_key(api_key or read_key() or ask_key())
        self._host = urlsplit(self.base_url).hostname or ""
        self._local = is_loopback(self._host)
        self._pace = Pace(Limits(rpm, tpm))
        self._jitter = random.Random()
        self._aio_session = self._sync_session = None
        _quiet_sdk(self._key)

    def __repr__(self) -> str:
        return f"QwenVL(model={self.model!r}, base_url={self.base_url!r})"

    def ask(self, picture: Image.Image | Path | str | bytes | EncodedImage, prompt: str, **parameters) -> Answer:
        """One question, waited for. `parameters` go on top of the client's. Raises InputError for the picture, TeacherError for good."""
        from dashscope import MultiModalConversation

        request = self._request(self._encode(picture), prompt, parameters)
        tries = _Tries()
        while True:
            try:
                outcome = self._judge(MultiModalConversation.call(**request, session=self._session()), tries)
            except self._line_faults() as error:
                outcome = self._line_fault(error, tries)
            if isinstance(outcome, Answer):
                return outcome
            time.sleep(outcome.wait)

    def stream(self, picture: Image.Image | Path | str | bytes | EncodedImage, prompt: str, *,
               told: Callable[[dict], None] = lambda usage: None, **parameters) -> Iterator[str]:
        """One question, answered piece by piece: yields each new piece of text as it comes. told: gets the usage so far before each.

        Raises InputError for the picture; TeacherError where the answer does not come, whatever the reason: a
        stream that has begun is not retried, since its words are already shown.
        """
        from dashscope import MultiModalConversation

        request = self._request(self._encode(picture), prompt, parameters)
        try:
            for response in MultiModalConversation.call(**request, stream=True, incremental_output=True, session=self._session()):
                if response.status_code != 200:
                    self._judge(response, _Tries())  # raises with the remedy where there is one
                    raise TeacherError(f"the teacher's answer did not come ({response.code}: {self._clean(response.message)}): "
                                       "ask again later")
                told(usage_of(response.usage))
                if piece := text_of(response.output.choices[0].message.content):
                    yield piece
        except self._line_faults() as error:
            raise TeacherError(f"the connection to {self._host} broke ({type(error).__name__}): ask again") from None

    async def ask_async(self, picture: EncodedImage, prompt: str, *, tokens: int = 0, **parameters) -> Answer:
        """One question, for use among many in one event loop; paced by the client's limits. Call `close` at the end.

        tokens: what the request is foreseen to take altogether, for the pace; the answer's usage corrects it.
        """
        from dashscope import AioMultiModalConversation

        request = self._request(picture, prompt, parameters)
        session, tries = self._async_session(), _Tries()
        while True:
            ticket = await self._pace.turn(tokens)
            try:
                outcome = self._judge(await AioMultiModalConversation.call(**request, session=session), tries)
            except self._line_faults() as error:
                outcome = self._line_fault(error, tries)
            if isinstance(outcome, Answer):
                self._pace.settle(tokens, sum(int(outcome.usage.get(name) or 0) for name in ("input_tokens", "output_tokens")))
                return outcome
            self._pace.settle(tokens, 0)
            if outcome.everyone:
                self._pace.throttled(ticket, min(outcome.wait, HOLD))
            await asyncio.sleep(outcome.wait)

    def keep_to(self, limits: Limits) -> None:
        """Paces `ask_async` by these limits from now on."""
        self._pace = Pace(limits)

    async def close(self) -> None:
        """Closes the connections of `ask_async`."""
        if self._aio_session is not None:
            await self._aio_session.close()
            self._aio_session = None

    def limits(self) -> tuple[int | None, int | None] | None:
        """The key's limits for this model from the endpoint: (requests a minute, tokens a minute), each None for no limit.

        None where the endpoint does not tell. Source: the vendor's "List model quotas", GET {base}/quotas. Raises TeacherError for a wrong key.
        """
        import requests

        try:
            response = self._session().get(f"{self.base_url}/quotas", params={"model": self.model}, timeout=10,
                                           headers={"Authorization": f"Bearer {self._key}"})
            if response.status_code == 401:
                raise TeacherError(f"{self._host} refused the key: {remedy(401, '', '')}")
            quotas = response.json()["output"]["quotas"] if response.status_code == 200 else []
            limit = next((entry.get("model_limit") for entry in quotas if entry.get("model") == self.model), None)
        except (requests.RequestException, ValueError, KeyError, TypeError, AttributeError):
            return None  # an endpoint without this service; the data file knows the usual limits
        if not isinstance(limit, dict):
            return None
        requests_, tokens = (per_minute(limit.get(name), limit.get(name + "_period")) for name in ("request_limit", "usage_limit"))
        return requests_, tokens

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

    def _line_fault(self, error: Exception, tries: _Tries) -> Answer | _Again:
        """A broken line → when to try again, or the failure. What may have been answered unheard is counted as lost."""
        import aiohttp
        import requests

        tries.faults += 1
        late = isinstance(error, (asyncio.TimeoutError, requests.Timeout))
        if not isinstance(error, (aiohttp.ClientConnectorError, requests.exceptions.ConnectTimeout)):
            # The SDK itself has asked a second time where a connection broke before the answer.
            tries.lost += 2 if isinstance(error, (aiohttp.ClientError, requests.ConnectionError)) and not late else 1
        if tries.faults < self.tries:
            return _Again(self._backoff(tries.faults), everyone=False)
        message = f"no answer from {self._host}" + (f" within {self.timeout:g} seconds" if late else f" ({type(error).__name__})")
        return Answer("", "failed", "", {}, "", self._host, "Timeout" if late else "ConnectionFault", message, tries.number, tries.lost)

    def _judge(self, response, tries: _Tries) -> Answer | _Again:
        """A response → an answer, or when to try again. Raises TeacherError for what no retry changes."""
        source = next((v for k, v in (response.headers or {}).items() if k.lower() == SOURCE_HEADER), self._host)
        status, code, message = response.status_code, str(response.code or ""), self._clean(response.message)
        kind = kind_of(status)
        if kind == "answered" and response.output and response.output.choices:
            choice = response.output.choices[0]
            return Answer(text_of(choice.message.content), "ok", str(choice.finish_reason), usage_of(response.usage), response.request_id,
                          source, tries=tries.number + 1, lost=tries.lost)
        if what := remedy(status, code, message):
            raise TeacherError(f"{self._host} answered {code or status} for {self.model} ({message}): {what}")
        tries.throttles += kind == "throttled"
        tries.faults += kind != "throttled"
        if kind != "refused" and tries.faults < self.tries and tries.throttles < PATIENCE:
            return _Again(self._backoff(tries.throttles if kind == "throttled" else tries.faults), everyone=kind == "throttled")
        return Answer("", "refused" if kind == "refused" else "failed", "", {}, response.request_id or "", source, code or str(status),
                      message, tries.number, tries.lost)

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


@dataclass
class _Tries:
    """Attempts at one question so far that gave no answer: the service's or the line's faults, 429s; answers lost on the way."""

    faults: int = 0
    throttles: int = 0
    lost: int = 0

    @property
    def number(self) -> int:
        """All attempts."""
        return self.faults + self.throttles


class _WithoutKey(logging.Filter):
    """Takes a key out of log records, should the service or a library ever repeat it."""

    def __init__(self, key: str):
        super().__init__()
        self._key = str(key)

    def filter(self, record: logging.LogRecord) -> bool:
        """Lets every record through, cleaned."""
        said = record.getMessage()
        if self._key in said:
            record.msg, record.args = said.replace(self._key, "sk-…"), ()
        return True


def _quiet_sdk(key: str) -> None:
    """Keeps the SDK's logger from printing each failed attempt, and the key out of what it prints with DASHSCOPE_LOGGING_LEVEL set."""
    logger = logging.getLogger("dashscope")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    logger.filters = [known for known in logger.filters if not isinstance(known, _WithoutKey)]
    logger.addFilter(_WithoutKey(key))
