"""A business day: clean with all faults, repeatable, and partners that break their word are seen through."""

from __future__ import annotations

import os

import pytest

from crossdock.prove.faults import ApiChanged, ClockJump, MinuteLost, Plan, PoolExhausted, YesterdayAgain
from crossdock.prove.history import History
from crossdock.prove.rig import Outcome, Rig
from crossdock.prove.scenarios import BUSINESS_DAY

SEEDS = int(os.environ.get("CROSSDOCK_PROOF_DAYS", "1"))
ON_ACCOUNT_AND_CARD = 12
"""A seed of `order-path` with both."""


@pytest.mark.slow
def test_a_business_day_with_all_faults_is_clean(rig: Rig) -> None:
    for seed in range(2, 2 + SEEDS):
        outcome, history = rig.play(seed, scenario=BUSINESS_DAY)
        assert outcome.violations == (), (seed, outcome.violations[:3])
        assert {order["channel"] for order in history.tables["orders"]} == {"shop", "portal", "market"}
        assert outcome.figures is not None
        assert len(outcome.figures.by_hour) >= 12
        assert {"balances.reported", "price.published", "supply.reported", "fulfilment.shorted"} <= {
            row["kind"] for row in history.tables["facts"]
        }


def _played(rig: Rig, *faults: ApiChanged | ClockJump | MinuteLost | PoolExhausted | YesterdayAgain) -> tuple[
    Outcome, History
]:  # fmt: skip
    outcome, history = rig.play(ON_ACCOUNT_AND_CARD, plan=Plan(faults))
    assert outcome.violations == ()
    return outcome, history


def test_a_partner_that_serves_the_old_version_no_more_parks_its_steps_with_a_reason_until_they_are_replayed(
    rig: Rig,
) -> None:
    _, history = _played(rig, ApiChanged("erp", 0, 12, "refused"))
    assert {item.cause for item in history.parked} == {"partner_version_gone"}
    assert all("Install" in item.next_action for item in history.parked)
    assert any(effect.operation == "erp.place_order" for effect in history.effects)


def test_messages_in_another_shape_are_kept_and_read_when_somebody_can_read_them(rig: Rig) -> None:
    _, history = _played(rig, ApiChanged("wms", 0, 14, "unreadable"))
    kept = [row for row in history.tables["facts"] if row["kind"] == "arrival.untranslated"]
    assert kept
    assert {row["state"] for row in kept} == {"applied"}
    assert any(row["kind"] == "shipment.confirmed" and row["state"] == "applied" for row in history.tables["facts"])


def test_a_partner_that_forgot_what_it_had_confirmed_is_named(rig: Rig) -> None:
    outcome, history = _played(rig, MinuteLost("erp", 6, 60))
    assert outcome.lost
    assert all(key.split("/")[1].startswith("erp.") for key in outcome.lost)
    refused = [step for step in history.tables["steps"] if step["error_code"] == "document_unknown"]
    assert all(step["state"] == "quarantined" and step["error_message"] for step in refused)


def test_all_of_yesterday_again_has_no_second_effect(rig: Rig) -> None:
    _, history = _played(rig, YesterdayAgain(20))
    assert {item.status for item in history.acknowledged} == {"new", "repeated"}
    assert any(row["version"] == "again" for row in history.tables["facts"])


@pytest.mark.parametrize("seconds", [-75, 75])
def test_a_workers_clock_that_jumps_changes_nothing(rig: Rig, seconds: float) -> None:
    """A worker went by its host's clock: ahead, it asked a partner before it had settled and sent a second time."""
    calm, _ = _played(rig)
    outcome, _ = _played(rig, ClockJump("worker-a", 2, seconds))
    assert outcome.simulated_seconds == calm.simulated_seconds


def test_a_pool_without_connections_delays_and_does_not_repeat(rig: Rig) -> None:
    _, history = _played(rig, PoolExhausted("worker-a", 60, 25), PoolExhausted("api", 5, 4))
    assert [deed.nemesis for deed in history.deeds] == ["pool_exhausted"] * 2
