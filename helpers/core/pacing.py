"""The pace of many requests: how many a minute and a second, how many tokens, how it starts, and what a 429 changes.

Shape of the data: `Limits` (requests and tokens a minute, and who says so) → `Pace`; each request waits in `turn` with its
foreseen tokens and gets a ticket, the time at which it went out; `settle` tells the tokens it really took, `throttled`
that it was answered 429.

    requests a second
      limit ┤          ┌─────────────┐        ┌────     ramp-up at the start, so that the service sees no burst;
            │       ┌──┘             │     ┌──┘         a 429 cuts the pace once for all requests that were under way,
            │    ┌──┘                └─────┘            and it grows back steadily (additive increase, multiplicative
            └────┴──────────────────────────── time     decrease: Chiu and Jain, 1989)

The service counts in windows that slide (a minute, and a second with a sixtieth of it). A token bucket or leaky bucket
lets twice the limit into such a window after a pause; here the n-th request before this one must be a window away, so
no window ever holds more. Within that, turns lost to a busy machine are made up for, at twice the pace at most.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

MARGIN = 0.022        # every window is so much longer than the service's: requests take unequal time on their way there
TOKEN_MARGIN = 0.05   # share of the tokens left unused: what an answer takes is known only when it is there
RAMP = (0.25, 8.0)    # share of the limit at the first request, and seconds until the whole
CUT = (0.9, 0.7)      # what a 429 leaves of the pace: of one within a limit that is known, and of one that is being found out
BRIEF = 0.1           # seconds for which the first 429 in a while stops every request: it may be only one that was late on its way
REGROWTH = 0.05       # share of the limit by which the pace grows back in a second
SLOWEST = 0.02        # share of the limit under which no 429 brings it
MAKE_UP = 0.2         # seconds of lost turns that are made up for
MOST_SLEEP = 0.5      # seconds after which a waiting request looks at the pace again, which may have changed


@dataclass(frozen=True)
class Limits:
    """What a key may ask for: requests and tokens a minute, None for no limit; `source`: who says so, for people to read."""

    rpm: float | None = None
    tpm: float | None = None
    source: str = ""

    def minutes(self, requests: int, tokens: int) -> float | None:
        """How long so many requests of altogether so many tokens take at least; None without a limit."""
        needed = [number / limit for number, limit in ((requests * (1 + MARGIN), self.rpm), (tokens / (1 - TOKEN_MARGIN), self.tpm)) if limit]
        return max(needed) if needed else None

    def __str__(self) -> str:
        parts = [f"{limit:g} {what}" for limit, what in ((self.rpm, "requests"), (self.tpm, "tokens")) if limit]
        return f"{' and '.join(parts)} a minute ({self.source})" if parts else "no limit"


def choose_limits(rpm: float | None, tpm: float | None, *others: Limits | None) -> Limits:
    """The limits to keep to: each from the options where given, else from the first of `others` that is not None."""
    known = next((limits for limits in others if limits is not None), Limits())
    said = "as asked" if rpm and (tpm or not known.tpm) else " and ".join(filter(None, ["as asked" if rpm or tpm else "", known.source]))
    return Limits(rpm or known.rpm, tpm or known.tpm, said)


class Pace:
    """Lets requests out one by one; for use in one event loop.

    limits: both None: at once, until a 429 tells that there is a limit after all; then the pace so far is taken for it.
    clock: seconds that only grow.
    """

    def __init__(self, limits: Limits = Limits(), clock: Callable[[], float] = time.monotonic):
        self.limits, self._clock = limits, clock
        self._line = asyncio.Lock()
        self._limit = limits.rpm / 60 if limits.rpm else None  # requests a second; found out where it is not known
        self._sent: deque[float] = deque(maxlen=max(1, int(self._limit or 100)))
        self._due = 0.0                       # when the next turn would be on even spacing
        self._begun: float | None = None
        self._share, self._share_at = 1.0, 0.0
        self._cut_at = -1.0
        self._held = 0.0
        self._tokens = (limits.tpm or 0) / 60  # a second's worth may be spent at once
        self._tokens_at: float | None = None

    async def turn(self, tokens: int = 0) -> float:
        """Returns when the next request, of foreseen `tokens`, may go out: its ticket, for `throttled`. First come, first out."""
        async with self._line:
            while (wait := self._wait(tokens)) > 0:
                await asyncio.sleep(min(wait, MOST_SLEEP))
            now = self._clock()
            self._begun = now if self._begun is None else self._begun
            if self._limit:
                self._due = max(self._due, now - MAKE_UP) + self._interval(self._limit)
            self._sent.append(now)
            self._tokens -= tokens
            return now

    def settle(self, foreseen: int, taken: int) -> None:
        """A request took `taken` tokens instead of the `foreseen` ones."""
        self._tokens += foreseen - taken

    def throttled(self, ticket: float, hold: float) -> None:
        """A request was answered 429: none goes out for `hold` seconds, then fewer do.

        Of all requests that were under way together only the first one's 429 cuts the pace, since they tell of the same crowd.
        """
        now, share = self._clock(), self.share()
        hold = min(hold, BRIEF) if self.limits.rpm and share >= 0.99 else hold
        self._held = max(self._held, now + hold)
        if ticket <= self._cut_at:
            return
        if self._limit is None:
            recent = [sent for sent in self._sent if sent > now - 5]
            self._limit = max(len(recent) / max(0.5, now - recent[0]), 0.2) if recent else 1.0
            self._sent = deque(self._sent, maxlen=max(1, int(self._limit)))
        self._share, self._share_at = max(SLOWEST, share * CUT[0 if self.limits.rpm else 1]), now + hold
        self._cut_at = now

    def share(self) -> float:
        """The share of the limit that is let out now; above 1 only where the limit was found out and may have been taken too low."""
        now = self._clock()
        most = 1.0 if self.limits.rpm or not self._limit else 100.0
        grown = 1.0 if self._cut_at < 0 else min(most, self._share + max(0.0, now - self._share_at) * REGROWTH)
        if not self.limits.rpm and not self.limits.tpm:
            return grown
        running = 0.0 if self._begun is None else now - self._begun
        return min(grown, RAMP[0] + (1 - RAMP[0]) * running / RAMP[1])

    def _interval(self, limit: float) -> float:
        """Seconds between two requests at the present share of `limit` requests a second."""
        return (1 + MARGIN) / limit / self.share()

    def _wait(self, tokens: int) -> float:
        """Seconds until a request of so many tokens may go out, as far as can be told now."""
        now = self._clock()
        waits = [self._held - now]
        if self._limit:
            interval = self._interval(self._limit)
            waits.append(self._due - now)
            if self._sent:
                waits.append(self._sent[-1] + interval / 2 - now)
            if len(self._sent) == self._sent.maxlen:
                waits.append(self._sent[0] + self._sent.maxlen * (1 + MARGIN) / self._limit - now)
        if self.limits.tpm:
            rate = self.limits.tpm / 60 * (1 - TOKEN_MARGIN) * self.share()
            most = self.limits.tpm / 60
            since = now - (self._tokens_at if self._tokens_at is not None else now)
            self._tokens, self._tokens_at = min(most, self._tokens + since * rate), now
            waits.append((min(tokens, most) - self._tokens) / rate)
        return max(waits)
