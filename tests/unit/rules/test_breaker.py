from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from crossdock.policy.resilience import BreakerPolicy
from crossdock.rules.breaker import Breaker, after_calls

NOW = datetime(2026, 3, 1, tzinfo=UTC)
POLICY = BreakerPolicy(failures_to_open=3, open_seconds=2, growth=2, cap_seconds=30)


def test_it_opens_after_failures_in_a_row() -> None:
    assert after_calls(Breaker(), [False, False, True, False, False], NOW, POLICY) == Breaker("closed", 2)
    opened = after_calls(Breaker(), [False] * 3, NOW, POLICY)
    assert (opened.state, opened.retry_at) == ("open", NOW + timedelta(seconds=2))


def test_calls_that_were_under_way_when_it_opened_are_no_news() -> None:
    opened = after_calls(Breaker(), [False] * 3, NOW, POLICY)
    assert after_calls(Breaker(), [False] * 9, NOW, POLICY) == opened


def test_a_trial_that_fails_keeps_it_open_longer_and_one_that_answers_closes_it() -> None:
    breaker = after_calls(Breaker(), [False] * 3, NOW, POLICY)
    now = NOW
    waits = []
    for _ in range(6):
        assert breaker.retry_at is not None
        now = breaker.retry_at
        trial = Breaker("half_open", breaker.failures, breaker.opened_at, breaker.retry_at)
        breaker = after_calls(trial, [False], now, POLICY)
        assert breaker.retry_at is not None
        waits.append((breaker.retry_at - now).total_seconds())
    assert waits == [4, 8, 16, 30, 30, 30]
    assert breaker.opened_at == NOW
    assert after_calls(breaker, [True], now, POLICY) == Breaker()


@given(st.lists(st.booleans(), max_size=40))
def test_the_state_follows_from_what_came_last(calls: list[bool]) -> None:
    found = after_calls(Breaker(), calls, NOW, POLICY)
    if calls and calls[-1]:
        assert found == Breaker()
    if found.state == "closed":
        assert found.failures < POLICY.failures_to_open
        assert found.retry_at is None
    else:
        assert found.retry_at is not None
        assert found.retry_at > NOW
