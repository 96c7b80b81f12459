"""The deterministic rig: the same seed is the same history; seeds are clean; a planted defect is found and shrunk."""

from __future__ import annotations

import random
from collections import Counter

import msgspec
import pytest

from crossdock.kit.connector import Operation
from crossdock.prove import partners
from crossdock.prove.faults import FAULT_NAMES, CallFault, Cut, Plan
from crossdock.prove.rig import Rig
from crossdock.prove.scenarios import draw
from crossdock.prove.verdict import sum_up

SEEDS = 10


def test_the_same_seed_gives_the_same_history_byte_for_byte(rig: Rig) -> None:
    first, history = rig.play(8)
    rig.play(3)
    again, same = rig.play(8)
    assert again.hash == first.hash
    assert msgspec.json.encode(same, order="deterministic") == msgspec.json.encode(history, order="deterministic")
    assert history.effects
    assert history.tables["events"]


@pytest.mark.parametrize("size", [4, 30])
def test_the_same_seed_with_as_many_orders_is_the_same_history(rig: Rig, size: int) -> None:
    first, history = rig.play(8, size=size)
    assert len({item.channel_number for item in history.acknowledged}) == size
    rig.play(3)
    assert rig.play(8, size=size)[0].hash == first.hash
    assert first.violations == ()


def test_a_larger_seed_has_more_faults(rig: Rig) -> None:
    small, large = (sum(len(draw("order-path", seed, FAULT_NAMES, size)[1].faults) for seed in range(8))
                    for size in (5, 80))  # fmt: skip
    assert large > small * 4


def test_a_rush_lets_orders_come_together_for_what_is_scarce(rig: Rig) -> None:
    """Orders were decided one by one, for a statement that commits by itself took no time: what a batch must keep apart
    was hardly looked at."""
    outcome, history = rig.play(100, (), scenario="rush")
    assert outcome.violations == ()
    together = Counter(moment.at for moment in history.moments for _ in moment.orders if moment.process == "api.1")
    assert max(together.values()) >= 3


def test_other_seeds_give_other_histories(rig: Rig) -> None:
    assert len({rig.play(seed)[0].hash for seed in (1, 2, 3)}) == 3


def test_seeds_with_all_faults_are_clean(rig: Rig) -> None:
    outcomes = [rig.play(seed)[0] for seed in range(100, 100 + SEEDS)]
    verdict = sum_up("order-path", outcomes, 0)
    assert verdict.verdict == "pass", [(outcome.seed, outcome.violations[:3]) for outcome in outcomes]
    assert verdict.facts_acknowledged > SEEDS * 3
    assert {"kill", "drop_answer"} <= set(verdict.faults)


def test_a_calm_day_has_no_faults_and_every_partner_is_asked_once(rig: Rig) -> None:
    outcome, history = rig.play(12, wanted=())
    assert outcome.faults == {}
    assert outcome.violations == ()
    assert set(Counter(effect.key for effect in history.effects).values()) == {1}
    assert all(attempt["outcome"] != "in_doubt" for attempt in history.tables["step_attempts"])


def test_a_forgotten_probe_is_found_and_shrunk_to_the_lost_answer(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_probe(name: str, **wish: object) -> Operation:
        wish["probe"] = None
        return Operation(name, **wish)  # type: ignore[arg-type]

    monkeypatch.setattr(partners, "Operation", without_probe)
    chance = random.Random(5)
    faults = tuple(
        CallFault(partner, number, chance.choice(("drop_answer", "too_many")))
        for partner in ("erp", "tax") for number in range(1, 8)
    )  # fmt: skip
    outcome, _ = rig.play(12, plan=Plan(faults))
    assert "one_effect_per_key" in {violation.checker for violation in outcome.violations}
    smallest = rig.shrink(outcome)
    assert [fault.kind for fault in smallest.plan.faults if isinstance(fault, CallFault)] == ["drop_answer"]
    assert smallest.plan.without_orders
    assert rig.play(12, plan=smallest.plan)[0].hash == smallest.hash


def test_a_worker_that_starts_while_the_database_is_away_waits_for_it(rig: Rig) -> None:
    """It ended with ConnectionDoesNotExistError; nothing was done until somebody started it again."""
    cuts = tuple(Cut(slot, 1, after_commit=False) for slot in ("worker-a", "worker-b"))
    outcome, _ = rig.play(12, plan=Plan(cuts))
    assert outcome.faults == {"cut": 2}
    assert outcome.violations == ()


def test_a_feed_is_read_again_soon_after_its_page_could_not_be_committed(rig: Rig) -> None:
    """The worker had lost the database in the middle and held the feed itself: nobody read it for 90 seconds."""
    # Every few moments, so that some of them fall into a page whatever else the workers do.
    cuts = tuple(Cut(slot, at, after_commit=False) for slot in ("worker-a", "worker-b") for at in range(60, 260, 9))
    outcome, history = rig.play(12, plan=Plan(cuts))
    assert outcome.violations == ()
    assert any("poll_failed" in line for line in history.spoken)
    assert outcome.simulated_seconds < 60


def test_a_worker_that_starts_after_the_databases_clock_jumped_begins_where_the_others_are(rig: Rig) -> None:
    """It went by the jumped clock, asked the warehouse before it had settled, and a release took effect twice."""
    outcome, history = rig.play(208)
    assert {"clock_jump", "kill", "pause"} <= set(outcome.faults)
    assert any("clock_joins_peers" in line for line in history.spoken)
    assert outcome.violations == ()


def test_a_request_that_left_at_the_very_end_of_its_call_is_not_asked_about_too_early(rig: Rig) -> None:
    """A card was charged twice: a worker stood still before it sent, gave up, and the partner, which was slow, was
    asked as if it had been told at the beginning."""
    outcome, _ = rig.play(3153, size=200)
    assert not outcome.violations, outcome.violations[:3]


def test_a_worker_that_claims_right_after_it_stood_still_is_alive(rig: Rig) -> None:
    """A release and an acknowledgment took effect twice: what it had just sent was taken over, and asked for too early,
    because its last sign of life was from before."""
    outcome, _ = rig.play(54, size=200)
    assert not outcome.violations, outcome.violations[:3]
