"""Every checker of told stock catches its own planted violation in an otherwise clean history."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import msgspec
import pytest

from crossdock.prove import stock_checkers
from crossdock.prove.checkers import judge
from crossdock.prove.rig import Rig
from crossdock.prove.scenarios import STOCK_TOLD
from crossdock.prove.stock_checkers import STOCK_CHECKERS
from crossdock.prove.stock_history import Excess, Knock, StockHistory, Written
from crossdock.prove.virtual_time import EPOCH

CALM_SEED = 12


@pytest.fixture(scope="module")
def clean(simulation_address: str) -> StockHistory:
    rig = Rig(simulation_address)
    try:
        outcome, history = rig.play(CALM_SEED, (), scenario=STOCK_TOLD)
    finally:
        rig.close()
    assert outcome.violations == ()
    assert isinstance(history, StockHistory)
    return history


def _told(history: StockHistory) -> Written:
    """A figure that is not the first of its SKU at the shop."""
    return next(one for one in history.written if one.channel == "shop" and one.by == "seller" and one.version > 1)


def _wrong_shelf(history: StockHistory) -> None:
    sku = next(iter(history.shelves["shop"]))
    history.shelves["shop"][sku] += 1


def _older_figure_on_top(history: StockHistory) -> None:
    one = _told(history)
    history.written.append(msgspec.structs.replace(one, version=0, at_seconds=70.0, asked_at_seconds=69.9))


def _older_figure_that_stays(history: StockHistory) -> None:
    one = _told(history)
    older = msgspec.structs.replace(one, version=0, figure=one.figure + 1, at_seconds=70.0, asked_at_seconds=65.0)
    history.written.append(older)
    history.virtual_seconds = 70.0 + stock_checkers.MENDED_SECONDS + 1


def _history_told_again(history: StockHistory) -> None:
    one = _told(history)
    history.outages.append(("shop", 60.0, 70.0))
    history.written.extend(
        msgspec.structs.replace(one, version=one.version + 10 + step, at_seconds=70.5, asked_at_seconds=70.4)
        for step in range(stock_checkers.TIMES_MAX + 1)
    )


def _too_many_calls(history: StockHistory) -> None:
    history.knocks.extend(Knock("shop", "worker-a.1", "publish", 1, 100.0) for _ in range(8))


def _too_many_figures(history: StockHistory) -> None:
    history.knocks.append(Knock("shop", "worker-a.1", "publish", history.tellings["shop"].batch_max + 1, 100.0))


def _no_wait(history: StockHistory) -> None:
    history.knocks.append(Knock("shop", "worker-a.1", "publish", 1, 100.0, "too_many", 100.1, 100.2, 103.2))
    history.knocks.append(Knock("shop", "worker-a.1", "read", 1, 102.0))


def _starved(history: StockHistory) -> None:
    history.excesses.append(Excess("shop", "SKU-0", 300.0, 400.0, Decimal(5), Decimal(1)))


def _drift(history: StockHistory, cause: str, state: str) -> None:
    found_at = EPOCH + timedelta(seconds=20)
    history.tables["stock_drift"].append({
        "side": "channel", "counterpart": "shop", "sku": "SKU-0", "location": "", "cause": cause, "state": state,
        "found_at": found_at, "ended_at": found_at, "expected": Decimal(1), "found": Decimal(2), "tries": 1,
    })  # fmt: skip


def _false_alarm(history: StockHistory) -> None:
    _drift(history, "rival_writer", "repaired")


def _unmended(history: StockHistory) -> None:
    history.written.append(Written(19.0, "shop", "SKU-0", "rival", Decimal(97)))
    _drift(history, "rival_writer", "open")


def _two_at_once(history: StockHistory) -> None:
    history.knocks.append(Knock("shop", "worker-a.1", "publish", 1, 100.0))
    history.knocks.append(Knock("shop", "worker-b.1", "publish", 1, 101.0))


def _second_feed(history: StockHistory) -> None:
    history.knocks.append(Knock("bazaar", "worker-a.1", "publish", 1, 200.0, "", 200.1, 200.2, None, 203.0))
    history.knocks.append(Knock("bazaar", "worker-a.1", "publish", 1, 202.0))


def _unforeseen(history: StockHistory) -> None:
    history.spoken.append("error {'event': 'lane_failed', 'error': 'KeyError()'}")


@pytest.mark.parametrize(
    ("plant", "checker"),
    [
        (_wrong_shelf, "shelves_show_what_there_is"), (_older_figure_on_top, "nothing_older_stays_on_top"),
        (_older_figure_that_stays, "nothing_older_stays_on_top"),
        (_history_told_again, "a_channel_that_was_away_gets_the_present"), (_too_many_calls, "limits_are_kept"),
        (_too_many_figures, "limits_are_kept"), (_no_wait, "limits_are_kept"), (_starved, "nothing_waits_for_ever"),
        (_false_alarm, "differences_have_their_cause"), (_unmended, "differences_have_their_cause"),
        (_two_at_once, "one_worker_tells_a_channel"), (_second_feed, "a_feed_is_waited_for"),
        (_unforeseen, "nothing_fails_unforeseen"),
    ],
)  # fmt: skip
def test_a_planted_violation_is_caught(
    clean: StockHistory, plant: Callable[[StockHistory], None], checker: str
) -> None:
    history = copy.deepcopy(clean)
    plant(history)
    assert {violation.checker for violation in judge(history)} == {checker}


def test_every_checker_has_a_planted_violation() -> None:
    marks = test_a_planted_violation_is_caught.pytestmark  # type: ignore[attr-defined]
    planted = {checker for mark in marks if mark.name == "parametrize" for _, checker in mark.args[1]}
    assert planted == {checker.__name__ for checker in STOCK_CHECKERS}
