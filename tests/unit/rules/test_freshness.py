"""Rhythm, lateness and wildness of stock feeds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock.policy.stock import Freshness
from crossdock.rules.freshness import Weight, follow_rhythm, is_stale, judge_report

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
HABITS = Freshness()


@given(st.lists(st.integers(1_000, 600_000), min_size=1, max_size=50))
def test_the_rhythm_stays_within_the_gaps_it_was_made_of(gaps: list[int]) -> None:
    rhythm = None
    for gap in gaps:
        rhythm = follow_rhythm(rhythm, timedelta(milliseconds=gap))
    assert rhythm is not None
    assert Decimal(min(gaps)) / 1000 <= rhythm + Decimal("0.001")
    assert rhythm <= Decimal(max(gaps)) / 1000 + Decimal("0.001")


def test_pages_of_one_report_are_no_beat() -> None:
    assert follow_rhythm(None, timedelta(milliseconds=300)) is None
    assert follow_rhythm(Decimal(60), timedelta(milliseconds=300)) == Decimal(60)


@pytest.mark.parametrize(
    ("rhythm", "seconds", "stale"),
    [(None, 100_000, False), (Decimal(5), 59, False), (Decimal(5), 61, True), (Decimal(60), 179, False),
     (Decimal(60), 181, True)],
)  # fmt: skip
def test_a_feed_is_late_against_its_own_rhythm(rhythm: Decimal | None, seconds: int, *, stale: bool) -> None:
    assert is_stale(NOW - timedelta(seconds=seconds), rhythm, NOW, HABITS) is stale


@pytest.mark.parametrize(
    ("weight", "said"),
    [
        (Weight(1000, 0, 499, 1000, 1000, complete=True), None),
        (Weight(1000, 0, 500, 1000, 1000, complete=True), "It takes 500 of 1000 stocked SKUs to zero."),
        (Weight(500, 0, 0, 1000, 1000, complete=True), "It has 500 rows where the last complete one had 1000."),
        (Weight(500, 0, 0, 1000, 1000, complete=False), None),
        (Weight(100, 50, 0, 1000, 0, complete=False), "50 of its 100 rows are below zero."),
        (Weight(10, 10, 10, 10, 10, complete=True), None),  # too few to tell
    ],
)
def test_a_report_too_wild_to_be_true_is_told_with_its_figures(weight: Weight, said: str | None) -> None:
    assert judge_report(weight, HABITS) == said
