"""Channels that are told stock in simulated time: clean with all faults, repeatable, and what its seeds have found."""

from __future__ import annotations

import os
from decimal import Decimal

import msgspec
import pytest

from crossdock.policy.stock import ChannelStock
from crossdock.prove.faults import Outage, Plan, ShelfFault
from crossdock.prove.rig import Rig
from crossdock.prove.scenarios import STOCK_TOLD
from crossdock.prove.stock_history import StockHistory
from crossdock.prove.stock_told import TELLINGS, allowed
from crossdock.prove.verdict import sum_up

SEEDS = int(os.environ.get("CROSSDOCK_PROOF_SHELVES", "3"))
FIRST_SEED = 40_001


def test_the_same_seed_gives_the_same_history_byte_for_byte(rig: Rig) -> None:
    first, history = rig.play(4, scenario=STOCK_TOLD)
    rig.play(3)
    again, same = rig.play(4, scenario=STOCK_TOLD)
    assert again.hash == first.hash
    assert msgspec.json.encode(same, order="deterministic") == msgspec.json.encode(history, order="deterministic")
    assert isinstance(history, StockHistory)
    assert {one.channel for one in history.written if one.by == "seller"} == set(TELLINGS)


@pytest.mark.slow
def test_seeds_with_all_faults_are_clean(rig: Rig) -> None:
    outcomes = [rig.play(seed, scenario=STOCK_TOLD)[0] for seed in range(FIRST_SEED, FIRST_SEED + SEEDS)]
    verdict = sum_up(STOCK_TOLD, outcomes, 0)
    assert verdict.verdict == "pass", [(outcome.seed, outcome.violations[:3]) for outcome in outcomes]


def test_a_calm_day_tells_each_change_and_finds_no_difference(rig: Rig) -> None:
    outcome, history = rig.play(12, (), scenario=STOCK_TOLD)
    assert outcome.violations == ()
    assert outcome.faults == {}
    assert isinstance(history, StockHistory)
    assert history.tables["stock_drift"] == []
    assert all(any(goods.values()) for goods in history.shelves.values())


@pytest.mark.parametrize(
    ("terms", "free", "may"),
    [
        (ChannelStock(), {"HAM": 7, "BHX": 5}, 12),
        (ChannelStock(locations=("HAM",), share_percent=60), {"HAM": 7, "BHX": 5}, 4),
        (ChannelStock(buffer=Decimal(1), cap=Decimal(10)), {"HAM": 7, "BHX": 5}, 10),
        (ChannelStock(hide_below=Decimal(3)), {"HAM": 2, "BHX": -1}, 0),
    ],
)
def test_what_a_channel_may_show(terms: ChannelStock, free: dict[str, int], may: int) -> None:
    assert allowed(terms, {place: Decimal(quantity) for place, quantity in free.items()}) == may


def test_a_channel_that_is_away_from_the_first_minute_on_ends_no_worker(rig: Rig) -> None:
    """Every worker ended with a TypeError as soon as a figure had waited for a minute and was never acknowledged."""
    outcome, history = rig.play(12, plan=Plan((Outage("shop", 0, 75),)), scenario=STOCK_TOLD)
    assert outcome.violations == ()
    assert any(row["cause"] == "late" for row in history.tables["stock_drift"])


def test_an_older_figure_does_not_stay_over_a_newer_one_at_a_slow_channel(rig: Rig) -> None:
    """The channel was still taking a call that had timed out when it was told the next figure; nobody looks there."""
    slow = tuple(ShelfFault("portal", number, "slow") for number in range(2, 20, 2))
    outcome, history = rig.play(12, plan=Plan(slow), scenario=STOCK_TOLD)
    assert outcome.violations == ()
    assert outcome.faults["slow"] > 3
    assert isinstance(history, StockHistory)


def test_a_channel_that_asked_for_a_wait_is_not_read_back_either(rig: Rig) -> None:
    """Only telling obeyed; questions for feeds and for what is shown went on."""
    busy = tuple(
        ShelfFault(channel, number, "too_many") for channel in ("shop", "bazaar", "agora") for number in range(3, 30, 3)
    )
    outcome, history = rig.play(12, plan=Plan(busy), scenario=STOCK_TOLD)
    assert outcome.violations == ()
    assert isinstance(history, StockHistory)
    assert any(one.waits_until_seconds for one in history.knocks)
