"""What the service answered, read: a text, a refusal, a fault to wait out, or the end of the run.

Shape of the data: HTTP status, code and message of the protocol → `remedy` (a sentence, where no retry and no other picture
changes the answer) or `kind_of` ("answered", "throttled", "fault", "refused"); a message's content → its text (`text_of`).
Codes as in the vendor's error reference.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from helpers.core.endpoints import KEY_VARIABLE, URL_VARIABLE

FAULTS = {500, 502, 503, 504}
_KEPT = "; everything so far is kept"
_REMEDIES = {
    "arrearage": "the account is out of money: top it up, then run the same command again" + _KEPT,
    "free": "the model's free quota is used up: switch it to paid use in the console, or choose another model" + _KEPT,
    "key": f"the key is not valid here: check {KEY_VARIABLE}, and that it belongs to the region of {URL_VARIABLE}",
    "denied": "the key may not use this model: have it allowed in the console, or choose another with --model",
    "model": "there is no such model here: choose another with --model",
    "parameter": "it takes no such sampling parameter: change it, or leave it out",
}


@dataclass(frozen=True)
class Answer:
    """What came back for one question.

    status: "ok", "refused" or "failed".  code, message: the service's, where it is not ok.  usage: {"input_tokens", "output_tokens",
    "image_tokens", …}.  source: who answered: "offline stand-in, not Qwen-VL", or the endpoint's host.  tries: attempts it took.
    lost: attempts that may have been answered, and billed, without the answer arriving (time-outs, broken connections).
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
    lost: int = 0


def remedy(status: int, code: str, message: str) -> str | None:
    """What to do about an answer that stops a run, or None for one that does not."""
    lowered, said = code.lower(), message.lower()
    if lowered == "arrearage":
        return _REMEDIES["arrearage"]
    if lowered.startswith(("throttling.allocationquota", "allocationquota")):
        return _REMEDIES["free"] if "free" in lowered or "free" in said else None
    if status == 401 or lowered == "invalidapikey":
        return _REMEDIES["key"]
    if status == 403 or "accessdenied" in lowered:
        return _REMEDIES["denied"]
    if lowered == "invalidparameter" and "range of " in said:
        return _REMEDIES["parameter"]
    return _REMEDIES["model"] if status == 404 or lowered in ("modelnotfound", "model.notexist") else None


def kind_of(status: int) -> str:
    """What a status that stops nothing is: "answered", "throttled", "fault" (the service's own) or "refused" (final for the picture)."""
    if status == 200:
        return "answered"
    return "throttled" if status == 429 else "fault" if status in FAULTS else "refused"


def text_of(content: object) -> str:
    """The text of a message's content: a list of parts, or a string."""
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or "" for part in content or [])


def usage_of(usage: object) -> dict:
    """The usage as a plain dict of numbers (and dicts of numbers)."""
    return json.loads(json.dumps(usage or {}))


def per_minute(limit: object, period: object) -> int | None:
    """A quota of `limit` in `period` seconds (a minute where none is said) as one a minute; None where there is none."""
    return int(limit * 60 / (period or 60)) if isinstance(limit, (int, float)) else None
