"""The HTTP side of the offline stand-in: DashScope's multimodal protocol on aiohttp.

Shape of the data: a POST of {"model", "input": {"messages": […]}, "parameters": {…}} with a bearer key → an answer
{"output": {"choices": […]}, "usage": {…}, "request_id": …}, whole or as server-sent events; an error is its HTTP
status with {"code", "message", "request_id"}. Also `GET /api/v1/quotas` (a key's limits) and `GET /meter`.
Every response carries the header `X-CaptionLab-Source` and every body `"source"`: offline stand-in, not Qwen-VL.
The protocol is that of the vendor's API reference, as the Python SDK 2.0.2 speaks it.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import io
import json
import uuid
from dataclasses import dataclass

from aiohttp import web
from PIL import Image

from helpers.core.errors import InputError
from helpers.core.images import MAX_ASPECT, MAX_ENCODED, MIN_SIDE
from helpers.core.labels import STAND_IN_SOURCE
from helpers.core.prices import MESSAGE_TOKENS, ModelPrice, Prices, text_tokens, token_pieces
from helpers.core.standin_eyes import Eyes, Known
from helpers.core.standin_faults import ERRORS, FaultPlan, Faults, Meter
from helpers.core.standin_mind import reply

SOURCE = STAND_IN_SOURCE
SOURCE_HEADER = "X-CaptionLab-Source"
BASE = "/api/v1"
GENERATION = BASE + "/services/aigc/multimodal-generation/generation"
MAX_BODY = 64 * 1024 * 1024
MAX_OUTPUT_TOKENS = 32768
TRUNCATED_SHARE = 0.4   # of its tokens, where a fault cuts an answer short
CHUNK = 4               # tokens in one event of a stream


class Refusal(Exception):
    """A request that is answered with an error: HTTP status, code and message of the protocol."""

    def __init__(self, status: int, code: str, message: str):
        super().__init__(message)
        self.status, self.code, self.message = status, code, message

    @classmethod
    def of(cls, fault: str) -> Refusal:
        """The error of a named fault."""
        return cls(*ERRORS[fault])


@dataclass(frozen=True)
class Question:
    """A request as understood: `prompt` is the system text and the last user message's; `known` what the picture shows, `sha256` its bytes'."""

    model: ModelPrice
    prompt: str
    known: Known | None
    picture_size: tuple[int, int] | None
    sha256: str
    parameters: dict


class Service:
    """Answers requests: `app()` is the aiohttp application. One event loop uses it; the meter may be read from anywhere.

    journal: a list to note what comes and goes in, as ("asked", "answered" or "failed", SHA-256 of the picture's
    bytes, prompt); None: nothing is noted.
    """

    def __init__(self, eyes: Eyes, prices: Prices, faults: Faults, seed: int):
        self.eyes, self.prices, self.faults, self.seed = eyes, prices, faults, seed
        self.plan = FaultPlan(faults, seed)
        self.meter = Meter(prices_of=prices.date)
        self.journal: list[tuple[str, str, str]] | None = None

    def app(self) -> web.Application:
        """The application with its routes."""
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_post(GENERATION, self.generate)
        app.router.add_get(BASE + "/quotas", self.quotas)
        app.router.add_get("/meter", self.read_meter)
        return app

    async def generate(self, request: web.Request) -> web.StreamResponse:
        """One question: plain, or as a stream of events when `X-DashScope-SSE: enable` is set."""
        request_id = str(uuid.uuid4())
        try:
            self._check_key(request)
            if limit := self.plan.throttle():
                raise Refusal.of(limit)
            body = await request.read()
            question = self._understand(body)
            self._note("asked", question)
            await asyncio.sleep(self.plan.latency(body))
            identity = question.known.identity if question.known else "unknown"
            fault = self.plan.strike(body, f"{identity}|{question.prompt}")
            if fault not in (None, "truncated"):
                self._note("failed", question)
            if fault in ERRORS:
                raise Refusal.of(fault)
            text, finish, usage = self._answer(question, fault)
        except Refusal as refusal:
            self.meter.failed(refusal.status, refusal.code)
            return _error(refusal, request_id)
        if fault == "hung":
            self.meter.failed("hung", "hung")
            while request.transport is not None and not request.transport.is_closing():
                await asyncio.sleep(0.05)
            return web.Response(status=500)  # never sent: the client has left
        if fault == "cut":
            self.meter.failed("cut", "cut")
            request.transport.close()
            return web.Response(status=500)  # never sent: the connection is gone
        yuan = question.model.cost(usage["input_tokens"], usage["output_tokens"])
        self.plan.spend(usage["total_tokens"])
        if fault != "garbled":
            self._note("answered", question)  # and billed, whether or not anybody is there to hear it
        if request.headers.get("X-DashScope-SSE", "").lower() == "enable":
            return await self._stream(request, request_id, question, text, finish, usage, yuan)
        answer = {"output": _output(text, finish), "usage": usage, "request_id": request_id, "source": SOURCE}
        if fault == "garbled":
            self.meter.failed("garbled", "garbled")
            half = json.dumps(answer, ensure_ascii=False)[:-40]
            return web.Response(text=half, content_type="application/json", headers={SOURCE_HEADER: SOURCE})
        self.meter.answered(usage, yuan)
        return _json(answer)

    async def quotas(self, request: web.Request) -> web.Response:
        """The limits of the key: the file's, or those set as faults; `model` and `name` filter, `page_no` and `page_size` page."""
        request_id = str(uuid.uuid4())
        try:
            self._check_key(request)
            page, size = int(request.query.get("page_no", 1)), int(request.query.get("page_size", 20))
        except Refusal as refusal:
            return _error(refusal, request_id)
        except ValueError:
            return _error(Refusal(400, "InvalidParameter", "page_no and page_size must be integers."), request_id)
        name, exact = request.query.get("name", ""), request.query.get("model")
        names = [m for m in self.prices.models if name in m and exact in (None, m)]
        limits = [{"model": m, "workspace_id": "stand-in", "workspace_limit": None,
                   "model_limit": {"request_limit": self.faults.rpm, "request_limit_period": 60, "usage_limit": self.faults.tpm,
                                   "usage_limit_field": "total_tokens", "usage_limit_period": 60}}
                  for m in names[(page - 1) * size:page * size]]
        output = {"total": len(names), "page_no": page, "page_size": size, "quotas": limits}
        return _json({"request_id": request_id, "source": SOURCE, "output": output})

    async def read_meter(self, _: web.Request) -> web.Response:
        """What has been answered and billed so far."""
        return _json({**self.meter.to_dict(), "source": SOURCE})

    def _note(self, event: str, question: Question) -> None:
        if self.journal is not None:
            self.journal.append((event, question.sha256, question.prompt))

    def _check_key(self, request: web.Request) -> None:
        """Any key "sk-…" is taken, except one with "wrong" in it."""
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise Refusal.of("no_key")
        if not key.startswith("sk-") or "wrong" in key:
            raise Refusal.of("wrong_key")

    def _understand(self, body: bytes) -> Question:
        """A request's body → the question it asks. Raises Refusal for what the protocol does not allow."""
        try:
            record = json.loads(body)
            name, messages = record["model"], record["input"]["messages"]
            parameters = dict(record.get("parameters") or {})
            system = [_text_of(m["content"]) for m in messages if m["role"] == "system"]
            last = [m for m in messages if m["role"] == "user"][-1]
            parts = last["content"] if isinstance(last["content"], list) else [{"text": last["content"]}]
            prompt = "\n".join(t for t in (*system, _text_of(parts)) if t)
            pictures = [p["image"] for p in parts if "image" in p]
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            raise Refusal(400, "InvalidParameter", "The request must hold a model and input.messages with a user message.") from None
        model = self.prices.model(str(name))
        if model is None:
            raise Refusal.of("no_model")
        _check_parameters(parameters)
        if not prompt:
            raise Refusal(400, "InvalidParameter", "The content field of the last user message holds no text.")
        known, size, sha256 = self._look(pictures[-1]) if pictures else (None, None, "")
        return Question(model, prompt, known, size, sha256, parameters)

    def _look(self, uri: object) -> tuple[Known | None, tuple[int, int], str]:
        """A picture's data URI → what it shows, (width, height), and the SHA-256 of its bytes. Raises Refusal outside the protocol's limits."""
        if not isinstance(uri, str) or not uri.startswith("data:image/") or ";base64," not in uri[:64]:
            raise Refusal.of("no_media")
        if len(uri) > MAX_ENCODED:
            raise Refusal(400, "InvalidParameter", "Multimodal file size is too large.")
        try:
            data = base64.b64decode(uri.partition(",")[2], validate=True)
            known = self.eyes.recognise(data)
        except (binascii.Error, InputError):
            raise Refusal.of("bad_media") from None
        width, height = Image.open(io.BytesIO(data)).size
        if min(width, height) < MIN_SIDE:
            raise Refusal(400, "InvalidParameter", "The image's height and width must be larger than 10.")
        if max(width, height) > MAX_ASPECT * min(width, height):
            raise Refusal(400, "InvalidParameter", f"The absolute aspect ratio must be smaller than {MAX_ASPECT}.")
        return known, (width, height), hashlib.sha256(data).hexdigest()

    def _answer(self, question: Question, fault: str | None) -> tuple[str, str, dict]:
        """The answer's text, finish_reason and usage."""
        text = reply(question.known, question.prompt, self.seed, question.parameters)
        pieces = token_pieces(text)
        most = int(question.parameters.get("max_tokens") or MAX_OUTPUT_TOKENS)
        if fault == "truncated":
            most = min(most, max(1, int(len(pieces) * TRUNCATED_SHARE)))
        finish = "length" if len(pieces) > most else "stop"
        text = "".join(pieces[:most])
        image = question.model.image_tokens(*question.picture_size) if question.picture_size else 0
        words = text_tokens(question.prompt) + MESSAGE_TOKENS
        output = min(len(pieces), most)
        usage = {"input_tokens": image + words, "output_tokens": output, "total_tokens": image + words + output, "image_tokens": image,
                 "input_tokens_details": {"image_tokens": image, "text_tokens": words}, "output_tokens_details": {"text_tokens": output}}
        return text, finish, usage

    async def _stream(self, request: web.Request, request_id: str, question: Question, text: str, finish: str, usage: dict,
                      yuan: float) -> web.StreamResponse:
        """Sends an answer as server-sent events: pieces with `incremental_output`, else the whole text so far in each."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream;charset=UTF-8", SOURCE_HEADER: SOURCE})
        await response.prepare(request)
        pieces, told = token_pieces(text), ""
        incremental = bool(question.parameters.get("incremental_output"))
        chunks = ["".join(pieces[i:i + CHUNK]) for i in range(0, len(pieces), CHUNK)]
        for number, chunk in enumerate([*chunks, ""], 1):
            told += chunk
            done = number > len(chunks)
            so_far = {**usage, "output_tokens": min(len(pieces), number * CHUNK)} if not done else usage
            output = _output(chunk if incremental else told, finish if done else "null")
            data = json.dumps({"output": output, "usage": so_far, "request_id": request_id, "source": SOURCE}, ensure_ascii=False)
            await response.write(f"id:{number}\nevent:result\n:HTTP_STATUS/200\ndata:{data}\n\n".encode())
        self.meter.answered(usage, yuan)
        await response.write_eof()
        return response


def _text_of(content: object) -> str:
    """The text parts of a message's content, which is a string or a list of parts."""
    return content if isinstance(content, str) else "\n".join(part["text"] for part in content if "text" in part)


def _check_parameters(parameters: dict) -> None:
    """Raises Refusal for a sampling parameter outside its documented range."""
    ranges = {"temperature": ("[0, 2)", lambda v: 0 <= v < 2), "top_p": ("(0, 1]", lambda v: 0 < v <= 1),
              "max_tokens": (f"[1, {MAX_OUTPUT_TOKENS}]", lambda v: 1 <= v <= MAX_OUTPUT_TOKENS)}
    for name, (allowed, fits) in ranges.items():
        value = parameters.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or not fits(value)):
            raise Refusal(400, "InvalidParameter", f"Range of {name} should be {allowed}")


def _output(text: str, finish: str) -> dict:
    return {"choices": [{"finish_reason": finish, "message": {"role": "assistant", "content": [{"text": text}]}}]}


def _error(refusal: Refusal, request_id: str) -> web.Response:
    return _json({"code": refusal.code, "message": refusal.message, "request_id": request_id, "source": SOURCE}, refusal.status)


def _json(record: dict, status: int = 200) -> web.Response:
    return web.json_response(record, status=status, headers={SOURCE_HEADER: SOURCE}, dumps=lambda r: json.dumps(r, ensure_ascii=False))
