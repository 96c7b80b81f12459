"""Every checker catches its own planted violation in an otherwise clean history."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import msgspec
import pytest

from crossdock.prove.checkers import CHECKERS, judge
from crossdock.prove.faults import FAULT_NAMES
from crossdock.prove.history import History
from crossdock.prove.rig import Rig

SEEDS = range(1, 30)


def _has_everything(history: History) -> bool:
    """Card and account, something shipped and captured: all that violations are planted into."""
    operations = {effect.operation for effect in history.effects}
    first = history.tables["orders"][0]["number"]
    placed = any(effect.number == first and effect.operation == "erp.place_order" for effect in history.effects)
    return {"payment.capture", "erp.ship"} <= operations and placed and any(history.limits.values())


@pytest.fixture(scope="module")
def clean(simulation_address: str) -> History:
    rig = Rig(simulation_address)
    try:
        for seed in SEEDS:
            outcome, history = rig.play(seed, FAULT_NAMES)
            assert outcome.violations == ()
            if _has_everything(history):
                return history
    finally:
        rig.close()
    raise AssertionError("No seed has everything.")


def _lost_order(history: History) -> None:
    lost = next(item.order_id for item in history.acknowledged if item.state == "accepted")
    history.tables["orders"] = [row for row in history.tables["orders"] if row["order_id"] != lost]


def _answered_differently(history: History) -> None:
    history.acknowledged.append(msgspec.structs.replace(history.acknowledged[0], state="refused"))


def _second_effect(history: History) -> None:
    history.effects.append(history.effects[0])


def _effect_that_never_was(history: History) -> None:
    history.effects.pop()


def _lost_fact(history: History) -> None:
    history.tables["facts"] = [row for row in history.tables["facts"] if row["kind"] != "shipment.confirmed"]


def _silent_fact(history: History) -> None:
    history.tables["facts"][-1]["state"] = "waiting"


def _gap(history: History) -> None:
    history.tables["events"].pop(3)


def _lost_unit(history: History) -> None:
    history.tables["stock"][0]["on_hand"] -= 1


def _unit_shipped_that_never_left(history: History) -> None:
    history.dispatched[0].goods[next(iter(history.dispatched[0].goods))] -= 1


def _reservation_kept(history: History) -> None:
    history.tables["stock"][0]["reserved"] += 2


def _cent(history: History) -> None:
    history.tables["invoices"][0]["net"] += Decimal("0.01")


def _captured_too_much(history: History) -> None:
    index = next(i for i, effect in enumerate(history.effects) if effect.operation == "payment.capture")
    effect = history.effects[index]
    history.effects[index] = msgspec.structs.replace(effect, amount=effect.amount + Decimal("0.01"))


def _exposure_left(history: History) -> None:
    for row in history.tables["accounts"]:
        row["open_orders"] += 5


def _over_the_limit(history: History) -> None:
    history.samples[1].exposures["C0"] = history.limits["C0"] + Decimal("0.01")


def _promised_twice(history: History) -> None:
    history.samples[1].oversold.append("SKU-1 HAM")


def _stuck(history: History) -> None:
    history.tables["steps"][0]["state"] = "sending"


def _told_too_early(history: History) -> None:
    for step in history.tables["steps"]:
        if step["done_at"] is not None:
            step["done_at"] -= timedelta(hours=1)


def _standing_authorisation(history: History) -> None:
    number = history.tables["orders"][0]["number"]
    history.tables["orders"][0] |= {"state": "cancelled", "steps_open": 0}
    for line in history.tables["orders"][0]["progress"]["lines"].values():
        line["shipped"] = "0"
    history.effects = [
        effect for effect in history.effects
        if effect.number != number or effect.operation not in ("payment.void", "erp.cancel_order", "wms.cancel")
    ]  # fmt: skip


def _forgotten_payment(history: History) -> None:
    order = history.tables["orders"][0]
    order["progress"].pop("paid", None)
    history.tables["facts"].append({
        **history.tables["facts"][0], "kind": "order.paid", "subject": order["channel_number"], "state": "applied",
    })  # fmt: skip


def _secret_in_a_log(history: History) -> None:
    history.spoken.append(f"warning token={history.planted[0]}")


PLANTED: dict[str, list[Callable[[History], None]]] = {
    "acknowledged_is_kept": [_lost_order, _answered_differently],
    "one_effect_per_key": [_second_effect, _effect_that_never_was],
    "every_fact_decided": [_lost_fact, _silent_fact],
    "history_without_gaps": [_gap],
    "goods_are_conserved": [_lost_unit, _unit_shipped_that_never_left],
    "reservations_agree": [_reservation_kept],
    "money_is_conserved": [_cent, _captured_too_much],
    "exposure_agrees": [_exposure_left],
    "credit_is_kept": [_over_the_limit],
    "nothing_is_oversold": [_promised_twice],
    "nothing_is_stuck": [_stuck],
    "timeline_tells_the_truth": [_told_too_early],
    "what_was_stopped_is_undone": [_standing_authorisation],
    "what_was_reported_is_known": [_forgotten_payment],
    "secrets_stay_secret": [_secret_in_a_log],
}


def test_every_checker_has_a_violation_planted() -> None:
    assert {checker.__name__ for checker in CHECKERS} == set(PLANTED)


@pytest.mark.parametrize(("checker", "plant"), [(name, plant) for name, plants in PLANTED.items() for plant in plants])
def test_a_checker_catches_its_own(clean: History, checker: str, plant: Callable[[History], None]) -> None:
    history = copy.deepcopy(clean)
    plant(history)
    assert checker in {violation.checker for violation in judge(history)}
