"""What is told first, when it is told again, and what follows a refusal."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from crossdock.policy.stock import ChannelStock
from crossdock.rules.availability import Promise, Saleable, Stocked, Terms
from crossdock.rules.publish import (
    ATTEMPTS_MAX,
    CALM,
    URGENT,
    URGENT_IN_ROW_MAX,
    after_refusal,
    counts_for_itself,
    lane_wait_seconds,
    urgency_of,
    urgent_in_row,
)

quantities = st.integers(min_value=0, max_value=10_000).map(Decimal)


def item(size: int = 1) -> Saleable:
    return Saleable("A", "C62", "XBX" if size > 1 else "C62", ((Decimal(1), Stocked("A", "C62")),), Decimal(size))


def promise(quantity: Decimal | int) -> Promise:
    return Promise(Decimal(quantity), Decimal(quantity), Decimal(0), None, None, stale=False)


def test_what_is_about_to_sell_out_is_urgent_counted_in_base_units() -> None:
    stock = ChannelStock(urgent_below=Decimal(24))
    assert urgency_of(item(), promise(24), stock) == URGENT
    assert urgency_of(item(), promise(25), stock) == CALM
    assert urgency_of(item(12), promise(2), stock) == URGENT
    assert urgency_of(item(12), promise(3), stock) == CALM
    assert urgency_of(item(), promise(0), ChannelStock(urgent_below=Decimal(0))) == URGENT


@given(quantities, st.integers(min_value=1, max_value=500), st.sampled_from([1, 6, 12]))
def test_only_a_capped_figure_is_told_again_unchanged(quantity: Decimal, cap: int, size: int) -> None:
    terms = Terms("shop", None, cap=Decimal(cap))
    shown = min(quantity, Decimal(cap)) // size
    again = counts_for_itself(item(size), promise(shown), terms)
    assert again == (shown > 0 and shown == Decimal(cap) // size)
    assert not counts_for_itself(item(size), promise(shown), Terms("shop", None))


@given(st.integers(min_value=1, max_value=50), st.sampled_from(["try_later", "not_answered", "rejected"]))
def test_a_refused_figure_waits_longer_each_time_and_is_parked_in_the_end(attempt: int, code: str) -> None:
    found = after_refusal(code, attempt)
    assert found.parked == (attempt >= ATTEMPTS_MAX)
    if attempt + 1 < ATTEMPTS_MAX:
        assert after_refusal(code, attempt + 1).after_seconds >= found.after_seconds > 0


def test_a_figure_without_a_listing_is_parked_at_once() -> None:
    for code in ("sku_unknown", "unit_unknown", "unlisted"):
        assert after_refusal(code, 1).parked


@given(st.integers(min_value=1, max_value=1000))
def test_a_lane_rests_up_to_half_a_minute_unless_the_partner_says_otherwise(failures: int) -> None:
    wait = lane_wait_seconds(failures, None, operator_must_act=False)
    assert Decimal("0.25") <= wait <= 30
    assert lane_wait_seconds(failures, Decimal(7), operator_must_act=False) == 7
    assert lane_wait_seconds(failures, None, operator_must_act=True) == 60


@given(st.integers(min_value=0, max_value=URGENT_IN_ROW_MAX), st.lists(st.sampled_from([URGENT, CALM])))
def test_the_run_of_urgent_figures_is_counted_over_all_batches(before: int, urgencies: list[int]) -> None:
    expected = before
    for urgency in urgencies:
        expected = expected + 1 if urgency == URGENT else 0
    assert urgent_in_row(before, urgencies) == min(expected, URGENT_IN_ROW_MAX)
