"""The breaker of one operation at one connection: closed, open after failures in a row, half open for a trial."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from crossdock.policy.resilience import BreakerPolicy

BreakerState = Literal["closed", "open", "half_open"]


@dataclass(frozen=True, slots=True)
class Breaker:
    """`failures` counts failures in a row; `retry_at` is when an open breaker lets one call through."""

    state: BreakerState = "closed"
    failures: int = 0
    opened_at: datetime | None = None
    retry_at: datetime | None = None


def after_calls(breaker: Breaker, calls: Sequence[bool], now: datetime, policy: BreakerPolicy) -> Breaker:
    """Return the breaker after `calls` (True: the partner answered, even if to refuse; False: it did not)."""
    for answered in calls:
        breaker = Breaker() if answered else _failed(breaker, now, policy)
    return breaker


def _failed(breaker: Breaker, now: datetime, policy: BreakerPolicy) -> Breaker:
    failures = breaker.failures + 1
    if breaker.state == "closed" and failures < policy.failures_to_open:
        return Breaker("closed", failures)
    if breaker.state == "open" and breaker.retry_at is not None and breaker.retry_at > now:
        # A call that began before it opened: no news.
        return breaker
    growth = policy.growth ** min(max(failures - policy.failures_to_open, 0), 30)
    wait = min(policy.open_seconds * growth, policy.cap_seconds)
    return Breaker("open", failures, breaker.opened_at or now, now + timedelta(seconds=wait))
