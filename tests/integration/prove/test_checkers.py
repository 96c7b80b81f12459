"""Every checker catches its own planted violation in an otherwise clean history."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import msgspec
import pytest

from crossdock.model.facts import LineChange
from crossdock.model.values import Quantity
from crossdock.prove.checkers import CHECKERS, judge
from crossdock.prove.faults import FAULT_NAMES
from crossdock.prove.history import History, Parked
from crossdock.prove.rig import Rig
from crossdock.rules.plan import COMPENSATION

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
    history.moments[-1].exposures["C0"] = history.limits["C0"] + Decimal("0.01")


def _promised_twice(history: History) -> None:
    history.moments[-1].stock.append(("SKU-1", "HAM", Decimal(2), Decimal(900)))


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


def _rest_kept(history: History) -> None:
    order = next(
        row for row in history.tables["orders"]
        if any(Decimal(line.get("shipped", "0")) for line in row["progress"]["lines"].values())
    )
    order |= {"state": "completed"}
    next(iter(order["progress"]["lines"].values()))["cancelled"] = "1"


def _more_than_was_wanted(history: History) -> None:
    order = history.tables["orders"][0]
    line = next(iter(order["progress"]["lines"]))
    unit = order["body"]["lines"][0]["ordered"]["unit"]
    history.changes[order["channel_number"]] = (LineChange(line, Quantity(Decimal(0), unit)),)
    history.tables["facts"].append({
        **history.tables["facts"][0], "kind": "order.change_requested", "state": "applied",
        "subject": order["channel_number"],
    })  # fmt: skip


def _forgotten_payment(history: History) -> None:
    order = history.tables["orders"][0]
    order["progress"].pop("paid", None)
    history.tables["facts"].append({
        **history.tables["facts"][0], "kind": "order.paid", "subject": order["channel_number"], "state": "applied",
    })  # fmt: skip


def _secret_in_a_log(history: History) -> None:
    history.spoken.append(f"warning token={history.planted[0]}")


def _taken_twice(history: History) -> None:
    index, moment = next((i, m) for i, m in enumerate(history.moments) if any(row.location for row in m.reservations))
    history.moments.insert(index + 1, copy.deepcopy(moment))
    row = next(row for row in moment.reservations if row.location)
    history.moments[index + 1].stock[:] = [(row.sku, row.location, Decimal(0), Decimal(10**6))]


def _reserved_by_nobody(history: History) -> None:
    index, moment = next((i, m) for i, m in enumerate(history.moments) if any(row.location for row in m.reservations))
    history.moments[index] = msgspec.structs.replace(moment, reservations=[])


def _shipped_and_taken_back(history: History) -> None:
    moment, place = next((m, i) for m in history.moments for i, row in enumerate(m.reservations) if row.shipped)
    row = moment.reservations[place]
    back = msgspec.structs.replace(row, shipped=row.shipped - 1, released=row.released + 1)
    history.moments.append(msgspec.structs.replace(moment, reservations=[back], stock=[]))


def _answered_before_the_commit(history: History) -> None:
    index, item = next((i, a) for i, a in enumerate(history.acknowledged) if a.order_id is not None)
    history.acknowledged[index] = msgspec.structs.replace(item, at=item.at - timedelta(minutes=1))


def _yesterdays_price(history: History) -> None:
    lines = [line for order in history.tables["orders"] for line in order["body"]["lines"]]
    line = next(line for line in lines if line["price"]["source"] == "contract")
    line["unit_price"] = {**line["unit_price"], "amount": "0.01"}


def _parked_without_a_word(history: History) -> None:
    history.parked.append(Parked("CD00000001/erp.place_order", "partner_version_gone", "", "Install it."))


def _refused_by_one_who_forgot(history: History) -> None:
    history.tables["steps"][0] |= {"error_code": "document_unknown", "state": "waiting"}


def _completed_before_its_last_step(history: History) -> None:
    events = history.tables["events"]
    last = next(place for place, event in enumerate(events) if event["type"] == "OrderCompleted")
    before = max(place for place in range(last) if events[place]["order_id"] == events[last]["order_id"])
    for name in ("type", "body"):
        events[before][name], events[last][name] = events[last][name], events[before][name]


def _shipped_before_it_was_placed(history: History) -> None:
    events = history.tables["events"]
    placed = next(event for event in events if event["type"] == "ErpOrderPlaced")
    released = next(
        event for event in events if event["type"] == "FulfilmentReleased" and event["order_id"] == placed["order_id"]
    )
    for name in ("type", "body"):
        placed[name], released[name] = released[name], placed[name]


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
    "the_rest_is_let_go": [_rest_kept],
    "what_was_reported_is_known": [_forgotten_payment],
    "secrets_stay_secret": [_secret_in_a_log],
    "reservations_follow_one_another": [_taken_twice, _reserved_by_nobody, _shipped_and_taken_back],
    "answers_follow_commits": [_answered_before_the_commit],
    "prices_are_those_agreed": [_yesterdays_price],
    "what_is_parked_says_why": [_parked_without_a_word],
    "what_was_forgotten_shows": [_refused_by_one_who_forgot],
    "changes_are_kept": [_more_than_was_wanted],
    "causes_are_told_first": [_completed_before_its_last_step, _shipped_before_it_was_placed],
}


def test_every_checker_has_a_violation_planted() -> None:
    assert {checker.__name__ for checker in CHECKERS} == set(PLANTED)


@pytest.mark.parametrize(("checker", "plant"), [(name, plant) for name, plants in PLANTED.items() for plant in plants])
def test_a_checker_catches_its_own(clean: History, checker: str, plant: Callable[[History], None]) -> None:
    history = copy.deepcopy(clean)
    plant(history)
    assert checker in {violation.checker for violation in judge(history)}


def test_a_compensation_that_its_partner_confirmed_and_then_forgot_is_not_missed(clean: History) -> None:
    """The ERP was set back to after it had the order and before it had its cancellation: its own breach."""
    history = copy.deepcopy(clean)
    _standing_authorisation(history)
    found = [item.subject for item in judge(history) if item.checker == "what_was_stopped_is_undone"]
    for key in found:
        placed = next(effect for effect in history.effects if effect.key == key)
        undo = COMPENSATION[placed.operation]
        forgotten = key.replace(f"/{placed.operation}", f"/{undo}")
        history.lost.append(msgspec.structs.replace(placed, operation=undo, key=forgotten))
    assert found
    assert "what_was_stopped_is_undone" not in {item.checker for item in judge(history)}
