"""The pace on a clock of its own: windows that slide, a machine that stalls, ramp-up, tokens, and what a 429 does."""

import asyncio
import random
from collections import Counter

import pytest

from helpers.core import pacing
from helpers.core.pacing import Limits, Pace, choose_limits
from helpers.core.standin_faults import FaultPlan, Faults


class Clock:
    """Seconds that pass only when somebody sleeps, or when the machine stalls."""

    def __init__(self, stall: float = 0.0, seed: int = 0):
        self.now, self._stall, self._rng = 100.0, stall, random.Random(seed)

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Sleeps a little longer than asked, and now and then much longer."""
        self.now += seconds + self._rng.uniform(0, 0.002) + (self._rng.uniform(0, self._stall) if self._rng.random() < 0.02 else 0.0)


@pytest.fixture
def paced(monkeypatch):
    """paced(limits, seconds, plan) → (times at which requests went out, times of 429s), each request asked of a service's plan."""

    def go(limits: Limits, seconds: float, plan: FaultPlan | None = None, tokens: int = 0, stall: float = 0.0) -> tuple[list[float], list[float]]:
        clock = Clock(stall)
        monkeypatch.setattr(pacing.asyncio, "sleep", clock.sleep)

        async def run():
            pace, sent, refused = Pace(limits, clock), [], []
            while clock.now < 100.0 + seconds:
                ticket = await pace.turn(tokens)
                if plan and plan.throttle(clock.now):
                    refused.append(clock.now - 100)
                    pace.throttled(ticket, 0.3)
                else:
                    sent.append(clock.now - 100)
                clock.now += 1e-5
            return sent, refused

        return asyncio.run(run())

    return go


def most_in(times: list[float], window: float) -> int:
    first, most = 0, 0
    for last, moment in enumerate(times):
        while times[first] <= moment - window:
            first += 1
        most = max(most, last - first + 1)
    return most


@pytest.mark.parametrize(("rpm", "stall"), [*((rpm, 0.0) for rpm in (30, 60, 90, 300, 1000, 1200, 6000)), *((rpm, 0.15) for rpm in (30, 300, 1200))])
def test_no_window_holds_more_than_the_limit_and_little_of_it_is_left_unused(paced, rpm, stall):
    sent, refused = paced(Limits(rpm), 150, FaultPlan(Faults(rpm=rpm)), stall=stall)
    assert not refused and most_in(sent, 60) <= rpm and most_in(sent, 1) <= max(1, -(-rpm // 60))
    steady = sum(20 <= moment < 140 for moment in sent)
    assert steady >= 2 * rpm * 0.97 - 1


def test_a_pace_without_a_window_in_mind_is_throttled_where_ours_is_not(paced):
    plan = FaultPlan(Faults(rpm=1200))
    # Twenty at once each second, as a bucket that has filled up lets out, a little off the service's own second.
    naive = [second + 0.001 * place - 0.01 * (second % 3) for second in range(30) for place in range(20)]
    assert any(plan.throttle(moment) for moment in sorted(naive))


def test_it_starts_slowly_and_rises_without_a_jump(paced):
    sent, refused = paced(Limits(1200), 20, FaultPlan(Faults(rpm=1200, growth=6)))
    seconds = Counter(int(moment) for moment in sent)
    assert not refused and seconds[0] <= 8 and all(seconds[s + 1] - seconds[s] <= 4 for s in range(15)) and seconds[12] >= 19
    at_once = FaultPlan(Faults(rpm=1200, growth=6))
    assert "burst" in {at_once.throttle(100 + place / 20) for place in range(40)}


def test_tokens_a_minute_are_kept_with_what_requests_really_took(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(pacing.asyncio, "sleep", clock.sleep)

    async def run():
        pace, spent = Pace(Limits(None, 60_000), clock), []
        while clock.now < 250:
            await pace.turn(1000)
            taken = 1000 if clock.now < 150 else 2500  # answers grow longer than foreseen
            pace.settle(1000, taken)
            spent.append((clock.now, taken))
        return spent

    spent = asyncio.run(run())
    windows = [sum(taken for moment, taken in spent if start <= moment < start + 60) for start in range(100, 190)]
    assert max(windows) <= 60_000 and min(windows[20:]) >= 54_000
    assert sum(taken for moment, taken in spent if 120 <= moment < 121) <= 2000  # and spread over the minute


def test_429s_of_one_crowd_cut_once_and_the_pace_grows_back(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(pacing.asyncio, "sleep", clock.sleep)

    async def run():
        pace = Pace(Limits(1200), clock)
        await pace.turn()
        clock.now += 60
        tickets = [await pace.turn() for _ in range(10)]
        for ticket in tickets:
            pace.throttled(ticket, 0.5)
        once = pace.share()
        before = clock.now
        pace.throttled(tickets[0], 0.5)  # one more of the same crowd: no cut, but no quick return either
        later = await pace.turn()
        held = clock.now - before
        pace.throttled(later, 0.5)
        twice = pace.share()
        clock.now += 30
        return once, held, twice, pace.share()

    once, held, twice, grown = asyncio.run(run())
    assert once == pytest.approx(pacing.CUT[0]) and held >= 0.5 and pacing.CUT[0] ** 2 <= twice <= pacing.CUT[0] ** 2 + 0.05 and grown == 1.0


def test_a_limit_that_nobody_told_is_found_out(paced):
    sent, refused = paced(Limits(), 120, FaultPlan(Faults(rpm=600)), stall=0.0)
    steady = [moment for moment in sent if moment > 60]
    assert len(steady) >= 600 * 0.6 and sum(moment > 60 for moment in refused) < len(steady) * 0.1


def test_without_a_limit_nothing_waits(paced):
    sent, _ = paced(Limits(), 0.01)
    assert len(sent) >= 900


def test_limits_come_from_the_options_then_the_key_then_the_file():
    key, file = Limits(600, 90_000, "by the endpoint"), Limits(1200, 1_000_000, "usual as of 2026-11-22")
    assert choose_limits(None, None, key, file) == key and choose_limits(None, None, None, file) == file
    both = choose_limits(60, None, key, file)
    assert (both.rpm, both.tpm) == (60, 90_000) and "as asked" in both.source and "endpoint" in both.source
    assert choose_limits(60, 5000, key, file) == Limits(60, 5000, "as asked")
    assert choose_limits(None, None, Limits(None, None, "by the endpoint"), file).rpm is None  # it said: no limit
    assert choose_limits(None, None, None, None).minutes(100, 100) is None


def test_minutes_follow_from_the_tighter_limit():
    limits = Limits(1200, 1_000_000)
    assert limits.minutes(12_000, 1) == pytest.approx(10 * (1 + pacing.MARGIN)) and limits.minutes(1, 5_000_000) == pytest.approx(5 / (1 - pacing.TOKEN_MARGIN))
