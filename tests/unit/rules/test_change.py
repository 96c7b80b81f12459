"""A change takes off all that was asked for, or nothing; goods, money and what warehouses are told agree after it."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossdock.model.errors import CrossdockError, Invalid, Refused
from crossdock.model.facts import LineChange, OrderChange
from crossdock.model.fulfilment import FulfilmentOrder, Shipment, ShippedLine, TakenOff
from crossdock.model.orders import Order, OrderProgress
from crossdock.model.values import Quantity
from crossdock.rules.change import decide_change, taken_off, tell_of_change
from crossdock.rules.decision import Decision, StepView
from crossdock.rules.fulfil import decide_shipment, given_at
from crossdock.rules.plan import fulfilment_number, plan_order
from tests.unit.rules.making import NOW, decide, make_order
from tests.unit.rules.test_fulfil_laws import PLAN, ROUTES, is_conserved


class Accepted:
    """61 bolts from two warehouses (line 1), 2 boxes of ten more (line 2); steps as the plan lays them."""

    def __init__(self, text: str = "BOLT 55 C62 @ 1.80, BOLT 2 XBX @ 18.00", payment: str = "card") -> None:
        found = decide(make_order(text, payment=payment))
        assert found.order is not None
        assert found.progress is not None
        self.order: Order = found.order
        self.progress: OrderProgress = found.progress
        laid = plan_order(self.order, PLAN, ROUTES)
        self.releases = {
            step.name: msgspec.json.decode(step.payload, type=FulfilmentOrder)
            for step in laid if step.operation == "wms.release"
        }  # fmt: skip
        self.steps = [StepView(step.name, step.connection, step.operation, "waiting") for step in laid]

    def begin(self, warehouse: str, state: str = "done") -> None:
        name = f"wms.release:{warehouse}"
        self.steps = [
            msgspec.structs.replace(view, state=state) if view.name == name else view for view in self.steps
        ]
        self.releases.pop(name, None)

    def change(self, *wanted: tuple[str, str, str], later: int = 0, reason: str = "fewer") -> Decision:
        lines = tuple(LineChange(line, Quantity(Decimal(value), unit)) for line, value, unit in wanted)
        asked = OrderChange("P-1", NOW + timedelta(minutes=later), lines, reason)
        decision = decide_change(self.order, self.progress, self.steps, self.releases, asked)
        self.progress = decision.progress
        for name, payload in decision.revised_steps:
            self.releases[name] = msgspec.json.decode(payload, type=FulfilmentOrder)
        for name in decision.cancel_steps:
            self.releases.pop(name, None)
            self.steps = [
                msgspec.structs.replace(view, state="cancelled") if view.name == name else view for view in self.steps
            ]
        return decision

    def told(self, line: str) -> dict[str, Decimal]:
        """Warehouse -> what its instruction has of a line."""
        return {
            body.warehouse: entry.quantity.value for body in self.releases.values() for entry in body.lines
            if entry.line == line
        }  # fmt: skip


@given(st.data())
@settings(deadline=None)
def test_all_of_a_change_is_taken_or_nothing_of_it(data: st.DataObject) -> None:
    it = Accepted()
    begun = data.draw(st.sets(st.sampled_from(["HAM", "BHX"])))
    for warehouse in sorted(begun):
        it.begin(warehouse, data.draw(st.sampled_from(["sending", "in_doubt", "done"])))
    for index in range(data.draw(st.integers(1, 4))):
        before = it.progress
        wanted = {
            "1": data.draw(st.integers(0, 60)), "2": 10 * data.draw(st.integers(0, 2)),
        }  # fmt: skip
        try:
            decision = it.change(*((line, str(value), "C62") for line, value in wanted.items()), later=index)
        except Refused:
            assert it.progress == before
            continue
        assert is_conserved(it.progress)
        if "cancellation_requested" in it.progress.milestones:
            assert not any(wanted.values())
            return
        for line in it.order.lines:
            now = it.progress.lines[line.line]
            gone = now.cancelled - before.lines[line.line].cancelled
            assert now.ordered - now.cancelled == wanted[line.line]
            assert gone == sum(effect.quantity for effect in decision.stock if effect.line == line.line)
            given = {place: held for place, held in given_at(line, now).items() if held and place not in begun}
            assert it.told(line.line) == given, "a warehouse is told to send what is set aside for it there"
        assert {effect.kind for effect in decision.stock} <= {"release"}
        assert not {effect.location for effect in decision.stock} & begun


@given(st.integers(0, 54))
@settings(deadline=None)
def test_what_leaves_and_what_was_taken_off_are_the_orders_money(wanted: int) -> None:
    it = Accepted(payment="terms")
    released = it.change(("1", str(wanted), "C62")).credit_released
    net = Decimal(0)
    parts = [(place, line.line) for line in it.order.lines for place in sorted(it.told(line.line))]
    for number, (warehouse, name) in enumerate(parts):
        quantity = Quantity(it.told(name)[warehouse], "C62")
        shipment = Shipment(
            f"SH-{number}", fulfilment_number(it.order.number, warehouse), warehouse, NOW,
            (ShippedLine("BOLT", quantity, name),),
        )  # fmt: skip
        found = decide_shipment(it.order, it.progress, shipment, it.steps, PLAN, ROUTES)
        assert found.part is not None
        net += found.part.net.amount
        it.progress = found.progress
    assert it.progress.state == "shipped"
    assert net + released == it.order.net.amount


def test_what_waits_for_supply_is_taken_off_first() -> None:
    it = Accepted("BOLT 100 C62 @ 1.80")
    assert it.progress.lines["1"].backordered == 20
    decision = it.change(("1", "85", "C62"))
    assert [(effect.location, effect.quantity) for effect in decision.stock] == [("", Decimal(15))]
    assert not decision.revised_steps
    assert it.progress.lines["1"].backordered == 5


def test_a_release_of_which_nothing_is_left_does_not_go_out() -> None:
    it = Accepted("BOLT 55 C62 @ 1.80")
    decision = it.change(("1", "50", "C62"))
    assert decision.cancel_steps == ("wms.release:BHX",)
    assert it.told("1") == {"HAM": Decimal(50)}


def test_an_order_of_which_nothing_is_wanted_is_cancelled() -> None:
    it = Accepted()
    decision = it.change(("1", "0", "C62"), ("2", "0", "XBX"))
    assert decision.progress.state == "cancelled"
    assert {event.type for event in decision.events} >= {"CancellationRequested"}


def test_what_a_warehouse_has_been_told_is_not_changed_by_halves() -> None:
    it = Accepted()
    it.begin("HAM", "sending")
    before = it.progress
    with pytest.raises(Refused, match=r"Of line 1, 55 C62 less were asked for and 5 C62 can be taken off") as refused:
        it.change(("1", "0", "C62"))
    assert "cancel the order" in refused.value.next_action
    assert it.progress == before


def test_of_two_changes_the_later_one_counts_whichever_comes_first() -> None:
    it = Accepted()
    it.change(("1", "20", "C62"), later=2)
    assert it.change(("1", "40", "C62"), later=1).events == ()
    assert it.progress.lines["1"].cancelled == 35
    assert it.change(("1", "20", "C62"), later=2).events == (), "told twice"


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        (("9", "1", "C62"), "line_unknown"), (("1", "1", "MTR"), "change_unit"),
        (("1", "-1", "C62"), "quantity_negative"),
        (("1", "NaN", "C62"), "quantity_negative"), (("2", "15", "C62"), "quantity_fraction"),
        (("2", "0.5", "XBX"), "quantity_fraction"), (("1", "56", "C62"), "change_more"),
    ],
)  # fmt: skip
def test_what_is_no_change_is_refused_by_name(wanted: tuple[str, str, str], code: str) -> None:
    it = Accepted()
    before = it.progress
    with pytest.raises(CrossdockError) as error:
        it.change(wanted)
    assert error.value.code == code
    assert it.progress == before


def test_a_line_is_not_changed_twice_in_one_change() -> None:
    with pytest.raises(Invalid, match="named twice"):
        Accepted().change(("1", "5", "C62"), ("1", "6", "C62"))


def test_an_order_that_was_called_off_is_not_changed_any_more() -> None:
    it = Accepted()
    it.begin("HAM")
    it.change(("1", "0", "C62"), ("2", "0", "XBX"))
    assert it.progress.state == "accepted", "a warehouse is asked to call back"
    with pytest.raises(Refused, match="called off"):
        it.change(("2", "1", "XBX"), later=1)


@pytest.mark.parametrize(
    ("state", "code"), [("held", "change_held"), ("completed", "change_too_late"), ("refused", "change_too_late")]
)
def test_an_order_that_cannot_be_changed_says_why(state: str, code: str) -> None:
    it = Accepted()
    it.progress = msgspec.convert({**msgspec.to_builtins(it.progress), "state": state}, OrderProgress, strict=False)
    with pytest.raises(Refused) as error:
        it.change(("1", "5", "C62"))
    assert error.value.code == code
    assert error.value.next_action


def test_the_channel_is_told_once_it_knows_the_order() -> None:
    it = Accepted()
    before = it.progress
    it.change(("2", "1", "XBX"))
    lines = taken_off(it.order, before, it.progress)
    (step,) = tell_of_change("portal", it.steps, "fewer", lines)
    assert (step.name, step.needs) == ("channel.change#1", ("channel.acknowledge",))
    told = msgspec.json.decode(step.payload, type=TakenOff)
    assert [(line.line, line.quantity) for line in told.lines] == [("2", Quantity(Decimal(10), "C62"))]
    again = [*it.steps, StepView(step.name, "portal", "channel.change", "done")]
    assert tell_of_change("portal", again, "fewer", lines)[0].name == "channel.change#2"
