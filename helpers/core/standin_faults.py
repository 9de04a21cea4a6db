"""The faults that the offline stand-in shows on request, and the meter of what a client would have been billed.

Shape of the data: `Faults` is what was asked for; `FaultPlan` decides for each request which one strikes; `Meter`
counts requests by status, tokens and yuan. Which request a fault strikes follows from a seed and the request's own
bytes, and from how often the same request came before (so a retry can succeed), never from order or time. Only
limits a minute and a second count time, as they must.
"""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections import Counter, deque
from dataclasses import asdict, dataclass, field

# Fault → HTTP status, code and message, in the service's words as documented.
ERRORS = {
    "inspection": (400, "DataInspectionFailed", "Input data may contain inappropriate content."),
    "no_media": (400, "InvalidParameter.DataInspection", "Unable to download the media resource during the data inspection process."),
    "bad_media": (400, "InvalidParameter.DataInspection", "The media format is not supported or incorrect for the data inspection."),
    "arrearage": (400, "Arrearage", "Access denied, please make sure your account is in good standing."),
    "no_key": (401, "InvalidApiKey", "No API-key provided."),
    "wrong_key": (401, "InvalidApiKey", "Invalid API-key provided."),
    "denied": (403, "Model.AccessDenied", "Model access denied."),
    "no_model": (404, "ModelNotFound", "Model can not be found."),
    "rate": (429, "Throttling.RateQuota", "Requests rate limit exceeded, please try again later."),
    "burst": (429, "Throttling.BurstRate", "Request rate increased too quickly, please scale requests more smoothly over time."),
    "tokens": (429, "Throttling.AllocationQuota", "Allocated quota exceeded, please increase your quota limit."),
    "free": (429, "Throttling.AllocationQuota", "Free allocated quota exceeded."),
    "internal": (500, "InternalError", "An internal error has occured, please try again later or contact service support."),
}


@dataclass(frozen=True)
class Faults:
    """What should go wrong.

    latency: seconds before each answer, a number or (least, most).  rpm, tpm: limits of requests and tokens a minute;
    requests also count per second (rpm / 60).  Rates are shares of requests, 0 to 1: throttled (429), internal (500),
    refused (400, the same pictures every time), truncated (finish_reason "length"), cut (connection closed without an
    answer), garbled (an answer cut off in the middle of its JSON), hung (never answered, until the client leaves).
    growth: requests a second by which a client may grow each second from its first request on, else 429 BurstRate.  arrearage, denied, free_quota_used: every request fails so.
    """

    latency: float | tuple[float, float] = 0.0
    rpm: int | None = None
    tpm: int | None = None
    throttled: float = 0.0
    internal: float = 0.0
    refused: float = 0.0
    truncated: float = 0.0
    cut: float = 0.0
    garbled: float = 0.0
    hung: float = 0.0
    growth: float | None = None
    arrearage: bool = False
    denied: bool = False
    free_quota_used: bool = False


class FaultPlan:
    """Decides which fault strikes which request."""

    def __init__(self, faults: Faults, seed: int = 0):
        self.faults, self.seed = faults, seed
        self._seen: Counter[bytes] = Counter()
        self._starts: deque[float] = deque()
        self._spent: deque[tuple[float, int]] = deque()
        self._first: float | None = None

    def throttle(self, now: float | None = None) -> str | None:
        """The limit that a request arriving now runs into ("rate", "burst" or "tokens"), or None; then it counts."""
        now = time.monotonic() if now is None else now
        while self._starts and self._starts[0] <= now - 60:
            self._starts.popleft()
        while self._spent and self._spent[0][0] <= now - 60:
            self._spent.popleft()
        self._first = now if self._first is None else self._first
        last_second = 0
        for start in reversed(self._starts):
            if start <= now - 1:
                break
            last_second += 1
        if self.faults.rpm and (len(self._starts) >= self.faults.rpm or last_second >= max(1, -(-self.faults.rpm // 60))):
            return "rate"
        if self.faults.growth and last_second >= self.faults.growth * (now - self._first + 1):
            return "burst"
        if self.faults.tpm and sum(tokens for _, tokens in self._spent) >= self.faults.tpm:
            return "tokens"
        self._starts.append(now)
        return None

    def spend(self, tokens: int) -> None:
        """Counts the tokens of an answered request against the limit a minute."""
        if self.faults.tpm:
            self._spent.append((time.monotonic(), tokens))

    def latency(self, body: bytes) -> float:
        """Seconds to wait before answering this request."""
        wait = self.faults.latency
        return wait if isinstance(wait, (int, float)) else random.Random(f"{self.seed}|latency".encode() + _digest(body)).uniform(*wait)

    def strike(self, body: bytes, picture_and_prompt: str) -> str | None:
        """Which fault strikes this request: a key of ERRORS, "cut", "garbled", "hung", "truncated", or None.

        Refusals depend on picture and prompt alone; the others are drawn again for every attempt at the same request.
        """
        faults = self.faults
        for name, always in (("arrearage", faults.arrearage), ("denied", faults.denied), ("free", faults.free_quota_used)):
            if always:
                return name
        if random.Random(f"{self.seed}|refused|{picture_and_prompt}").random() < faults.refused:
            return "inspection"
        rates = {"rate": faults.throttled, "internal": faults.internal, "cut": faults.cut, "garbled": faults.garbled,
                 "hung": faults.hung}
        if any(rates.values()):
            digest = _digest(body)
            attempt, self._seen[digest] = self._seen[digest], self._seen[digest] + 1
            draw = random.Random(f"{self.seed}|{attempt}|".encode() + digest).random()
            for name, share in rates.items():
                if draw < share:
                    return name
                draw -= share
        if faults.truncated and random.Random(f"{self.seed}|truncated|{picture_and_prompt}").random() < faults.truncated:
            return "truncated"
        return None


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()


@dataclass
class Meter:
    """What a client would have been billed so far: requests by status and code, tokens, and yuan by the price file."""

    requests: dict[str, int] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)
    input_tokens: int = 0
    output_tokens: int = 0
    image_tokens: int = 0
    yuan: float = 0.0
    prices_of: str = ""

    def __post_init__(self) -> None:
        self._guard = threading.Lock()

    def failed(self, status: int | str, code: str) -> None:
        """Counts a request that was not answered: its HTTP status, or "cut" and "garbled"."""
        with self._guard:
            self.requests[str(status)] = self.requests.get(str(status), 0) + 1
            self.codes[code] = self.codes.get(code, 0) + 1

    def answered(self, usage: dict, yuan: float) -> None:
        """Counts an answered request."""
        with self._guard:
            self.requests["200"] = self.requests.get("200", 0) + 1
            self.input_tokens += usage["input_tokens"]
            self.output_tokens += usage["output_tokens"]
            self.image_tokens += usage["image_tokens"]
            self.yuan += yuan

    def to_dict(self) -> dict:
        """A snapshot, ready for JSON."""
        with self._guard:
            return asdict(self)
