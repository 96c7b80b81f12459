"""Laws of fulfilment: whatever arrives in whatever order, nothing is lost and every cent is placed once."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossdock.model.errors import Refused
from crossdock.model.facts import CancellationRequested, FulfilmentShorted
from crossdock.model.fulfilment import FulfilmentOrder, Shipment, ShippedLine
from crossdock.model.orders import Allocation, LineProgress, LineTax, Order, OrderProgress
from crossdock.model.values import Quantity
from crossdock.policy.plans import Plan, PlannedStep
from crossdock.rules.decision import Decision, StepView, settled_lines
from crossdock.rules.fulfil import decide_cancellation, decide_shipment, decide_short, decide_supply
from crossdock.rules.outcome import decide_done
from crossdock.rules.plan import Routes, fulfilment_number, plan_order
from tests.unit.rules.making import NOW, decide, make_order

ROUTES = Routes("portal", {"HAM": "wms", "BHX": "wms"})
PLAN = Plan(
    "test",
    steps=(
        PlannedStep("tax.quote", "tax"),
        PlannedStep("erp.place_order", "erp", ("tax.quote",)),
        PlannedStep("channel.acknowledge", "@channel", ("erp.place_order",)),
        PlannedStep("wms.release", "@warehouse", ("erp.place_order", "payment.authorise"), "warehouse"),
    ),
    shipment_steps=(
        PlannedStep("erp.ship", "erp", ("erp.place_order",)), PlannedStep("tax.commit", "tax", ("erp.ship",)),
        PlannedStep("channel.ship", "@channel"),
    ),
)  # fmt: skip
TAXES = {"1": Decimal("13.57"), "2": Decimal("0.01")}


def make_accepted() -> tuple[Order, OrderProgress]:
    """61 bolts from two warehouses at 1.7999 a piece, 7 bolts more, nothing waiting."""
    found = decide(make_order("BOLT 61 C62 @ 1.7999, BOLT 7 C62 @ 1.7777", payment="card"))
    assert found.order is not None
    assert found.progress is not None
    taxes = {line: LineTax("EU-STD", Decimal("0.19"), amount) for line, amount in TAXES.items()}
    return found.order, msgspec.structs.replace(found.progress, taxes=taxes)


def ship(number: str, warehouse: str, quantity: int, line: str = "") -> Shipment:
    shipped = ShippedLine("BOLT", Quantity(Decimal(quantity), "C62"), line)
    return Shipment(number, fulfilment_number("CD00000001", warehouse), warehouse, NOW, (shipped,))


def is_conserved(progress: OrderProgress) -> bool:
    return all(
        line.open >= 0 and line.shipped + line.cancelled + line.backordered + line.open == line.ordered
        for line in progress.lines.values()
    )


@given(st.lists(st.tuples(st.sampled_from(["HAM", "BHX"]), st.integers(1, 68)), max_size=30))
@settings(deadline=None)
def test_parts_in_any_order_add_up_to_the_order(wishes: list[tuple[str, int]]) -> None:
    order, progress = make_accepted()
    net = tax = Decimal(0)
    for index, (warehouse, quantity) in enumerate([*wishes, ("HAM", 68)]):
        left = sum(int(line.open) for line in progress.lines.values())
        if not left:
            break
        # The last one takes what is left.
        taken = left if index == len(wishes) else min(quantity, left)
        found = decide_shipment(order, progress, ship(f"SH-{index}", warehouse, taken), (), PLAN, ROUTES)
        assert found.part is not None
        net += found.part.net.amount
        tax += found.part.tax.amount
        assert found.part.net.amount == sum(line.net for line in found.part.lines)
        progress = found.progress
        assert is_conserved(progress)
        assert found.part.final == (taken == left)
    assert progress.state == "shipped"
    assert (net, tax) == (order.net.amount, sum(TAXES.values()))


@given(st.data())
@settings(deadline=None)
def test_nothing_is_lost_whatever_happens(data: st.DataObject) -> None:
    order, progress = make_accepted()
    for index in range(data.draw(st.integers(0, 12))):
        what = data.draw(st.sampled_from(["ship", "short", "cancel"]))
        warehouse = data.draw(st.sampled_from(["HAM", "BHX"]))
        quantity = data.draw(st.integers(1, 30))
        try:
            if what == "ship":
                found = decide_shipment(order, progress, ship(f"SH-{index}", warehouse, quantity), (), PLAN, ROUTES)
            elif what == "short":
                number = fulfilment_number(order.number, warehouse)
                found = decide_short(order, progress, FulfilmentShorted(number, warehouse, "BOLT", str(quantity), NOW))
            else:
                released = (StepView(f"wms.release:{warehouse}", "wms", "wms.release", "done"),)
                found = decide_cancellation(order, progress, released, CancellationRequested("P-1", NOW))
        except Refused:
            continue
        progress = found.progress
        assert is_conserved(progress)


def test_the_same_shipment_twice_is_one() -> None:
    order, progress = make_accepted()
    once = decide_shipment(order, progress, ship("SH-1", "HAM", 5), (), PLAN, ROUTES)
    twice = decide_shipment(order, once.progress, ship("SH-1", "HAM", 5), (), PLAN, ROUTES)
    assert twice.progress == once.progress
    assert not twice.steps
    assert not twice.stock


def test_more_than_ordered_is_a_persons_matter() -> None:
    order, progress = make_accepted()
    with pytest.raises(Refused, match="left the warehouse that this order does not ask for"):
        decide_shipment(order, progress, ship("SH-1", "HAM", 69), (), PLAN, ROUTES)


def test_a_plan_becomes_steps_with_an_instruction_for_each_warehouse() -> None:
    order, _ = make_accepted()
    steps = {step.name: step for step in plan_order(order, PLAN, ROUTES)}
    assert set(steps) == {
        "tax.quote", "erp.place_order", "channel.acknowledge", "wms.release:HAM", "wms.release:BHX"
    }  # fmt: skip
    # What the plan does not contain is not waited for.
    assert steps["wms.release:HAM"].needs == ("erp.place_order",)
    assert steps["channel.acknowledge"].connection == "portal"
    payloads = [steps[f"wms.release:{place}"].payload for place in ("HAM", "BHX")]
    told = [msgspec.json.decode(payload, type=FulfilmentOrder) for payload in payloads]
    assert sum(line.quantity.value for one in told for line in one.lines) == 68
    assert {one.number for one in told} == {"CD00000001-HAM", "CD00000001-BHX"}
    assert all(needed in steps for step in steps.values() for needed in step.needs)


def test_each_part_has_its_own_steps() -> None:
    order, progress = make_accepted()
    done = (StepView("erp.place_order", "erp", "erp.place_order", "done"),)
    found = decide_shipment(order, progress, ship("SH-1", "HAM", 5), done, PLAN, ROUTES)
    assert {step.name: step.needs for step in found.steps} == {
        "erp.ship:SH-1": ("erp.place_order",), "tax.commit:SH-1": ("erp.ship:SH-1",), "channel.ship:SH-1": (),
    }  # fmt: skip


def view(name: str, state: str = "done") -> StepView:
    return StepView(name, "any", name.partition(":")[0], state)


ALL_DONE = tuple(
    view(name)
    for name in ("tax.quote", "erp.place_order", "payment.authorise", "channel.acknowledge", "wms.release:HAM")
)  # fmt: skip
REGRET = CancellationRequested("P-1", NOW)


def at_one_warehouse() -> tuple[Order, OrderProgress]:
    found = decide(make_order("BOLT 5 C62 @ 1.7777", payment="card"))
    assert found.order is not None
    assert found.progress is not None
    return found.order, found.progress


def called_back(order: Order, progress: OrderProgress, steps: tuple[StepView, ...], pieces: int) -> Decision:
    result = msgspec.json.encode({"cancelled": {"1": str(pieces)}})
    step = view("wms.cancel:HAM")
    return decide_done(order, progress, step, b"{}", result, "I-1", (*steps, step), NOW)


def test_goods_that_were_leaving_when_the_buyer_cancelled_are_still_paid() -> None:
    """Found by the long proof: the payment was voided before the warehouse had said that the goods had left."""
    order, progress = at_one_warehouse()
    asked = decide_cancellation(order, progress, ALL_DONE, REGRET)
    assert [draft.operation for draft in asked.steps] == ["wms.cancel"]
    answered = called_back(order, asked.progress, ALL_DONE, pieces=0)
    assert answered.steps == ()
    assert answered.progress.state == "accepted"
    shipped = decide_shipment(order, answered.progress, ship("SH-1", "HAM", 5), ALL_DONE, PLAN, ROUTES)
    assert shipped.progress.state == "shipped"


def test_when_the_warehouse_calls_everything_back_the_rest_is_undone_and_dropped() -> None:
    order, progress = at_one_warehouse()
    steps = (*ALL_DONE[:3], view("channel.acknowledge", "ready"), view("wms.release:HAM"))
    asked = decide_cancellation(order, progress, steps, REGRET)
    assert asked.cancel_steps == ()
    answered = called_back(order, asked.progress, steps, pieces=5)
    assert answered.progress.state == "cancelled"
    assert {draft.operation for draft in answered.steps} == {"erp.cancel_order", "payment.void"}
    assert answered.cancel_steps == ("channel.acknowledge",)


def test_a_release_that_the_cancellation_met_under_way_is_called_back_when_it_ends() -> None:
    order, progress = at_one_warehouse()
    steps = (*ALL_DONE[:4], view("wms.release:HAM", "sending"))
    asked = decide_cancellation(order, progress, steps, REGRET)
    assert asked.steps == ()
    ended = decide_done(order, asked.progress, view("wms.release:HAM"), b"{}", b"{}", "I-1", (), NOW)
    assert [draft.name for draft in ended.steps] == ["wms.cancel:HAM"]


def supplied_at_ham() -> tuple[Order, OrderProgress]:
    """Five bolts that nobody had when the order was accepted, and that Hamburg has now."""
    order, progress = at_one_warehouse()
    line = msgspec.structs.replace(order.lines[0], allocations=())
    order = msgspec.structs.replace(order, lines=(line,))
    waiting = msgspec.structs.replace(progress.lines["1"], backordered=Decimal(5))
    progress = msgspec.structs.replace(progress, lines={"1": waiting})
    there = {("BOLT", "HAM"): Decimal(9)}
    found = decide_supply(order, progress, there, ("HAM",), (), PLAN, ROUTES)
    assert [draft.name for draft in found.steps] == ["wms.release:HAM#2"]
    return order, found.progress


def test_what_supply_gave_is_given_back_when_the_order_is_cancelled() -> None:
    """Found by the long proof: goods given by a later round stayed reserved for ever."""
    order, progress = supplied_at_ham()
    found = decide_cancellation(order, progress, (view("wms.release:HAM#2", "ready"),), REGRET)
    assert found.progress.state == "cancelled"
    told = [(effect.kind, effect.location, effect.quantity) for effect in found.stock]
    assert told == [("release", "HAM", Decimal(5))]
    assert settled_lines(found) == ["1"]


def test_a_further_round_to_a_warehouse_that_has_goods_of_the_order_goes_out_and_is_called_back() -> None:
    """Found by stock-told: what had come short and was given anew stayed reserved for ever, its release was dropped."""
    order, progress = supplied_at_ham()
    steps = (view("wms.release:HAM"), view("wms.release:HAM#2", "ready"))
    found = decide_cancellation(order, progress, steps, REGRET)
    assert found.cancel_steps == ()
    assert [draft.name for draft in found.steps] == ["wms.cancel:HAM"]
    ended = decide_done(order, found.progress, view("wms.release:HAM#2"), b"{}", b"{}", "I-2", (), NOW)
    assert [draft.name for draft in ended.steps] == ["wms.cancel:HAM#2"]


def test_what_a_later_round_handed_over_stands_until_the_warehouse_has_said() -> None:
    order, progress = supplied_at_ham()
    found = decide_cancellation(order, progress, (view("wms.release:HAM#2"),), REGRET)
    assert [draft.name for draft in found.steps] == ["wms.cancel:HAM#2"]
    assert found.progress.lines["1"].open == Decimal(5)
    shipped = decide_shipment(order, found.progress, ship("SH-1", "HAM", 5), (), PLAN, ROUTES)
    assert shipped.progress.state == "shipped"


def test_goods_without_line_numbers_then_with_them_are_all_taken() -> None:
    """The order has two lines of one SKU; the first shipment names no line and is counted for the first of them."""
    order, progress = make_accepted()
    progress = decide_shipment(order, progress, ship("S1", "HAM", 65), (), PLAN, ROUTES).progress
    progress = decide_shipment(order, progress, ship("S2", "HAM", 3, line="1"), (), PLAN, ROUTES).progress
    assert progress.state == "shipped"
    assert is_conserved(progress)


def test_goods_without_line_numbers_are_counted_for_the_line_that_their_warehouse_was_to_ship() -> None:
    """Found by a business day (seed 7): Birmingham's bolts were counted for the line that Hamburg was about to ship, so
    Hamburg's were free again and were released a second time: more than there was on its shelves."""
    order = decide(make_order("BOLT 7 C62 @ 1.7999, BOLT 14 C62 @ 1.7999", payment="card")).order
    assert order is not None
    at = {"1": (Allocation("HAM", Decimal(7)),), "2": ()}
    lines = tuple(msgspec.structs.replace(line, allocations=at[line.line]) for line in order.lines)
    order = msgspec.structs.replace(order, lines=lines)
    progress = OrderProgress("accepted", lines={
        "1": LineProgress(Decimal(7)), "2": LineProgress(Decimal(14), backordered=Decimal(14)),
    })  # fmt: skip
    progress = decide_supply(order, progress, {("BOLT", "BHX"): Decimal(14)}, ("HAM", "BHX"), (), PLAN, ROUTES).progress
    found = decide_shipment(order, progress, ship("S1", "BHX", 14), (), PLAN, ROUTES)
    assert [int(each.shipped) for each in found.progress.lines.values()] == [0, 14]
    assert {(effect.location, effect.quantity) for effect in found.stock} == {("BHX", Decimal(14))}
    short = FulfilmentShorted(fulfilment_number("CD00000001", "BHX"), "BHX", "BOLT", "2", NOW)
    missing = decide_short(order, progress, short).progress
    assert [int(each.backordered) for each in missing.lines.values()] == [0, 2]


def test_a_named_line_of_which_part_was_counted_as_shipped_leaves_the_rest_to_its_twin() -> None:
    """Found by a seed with six orders (10083): Hamburg shipped two without line numbers, one of each line, and both
    were counted for the first; then it named that line for five more, of which four were left. The fifth was taken off
    the goods that lay in Birmingham, and what was held in Hamburg for the twin was never given back."""
    order = decide(make_order("BOLT 8 C62 @ 1.7999, BOLT 1 C62 @ 1.7999", payment="card")).order
    assert order is not None
    at = {"1": (Allocation("HAM", Decimal(6)), Allocation("BHX", Decimal(2))), "2": (Allocation("HAM", Decimal(1)),)}
    lines = tuple(msgspec.structs.replace(line, allocations=at[line.line]) for line in order.lines)
    order = msgspec.structs.replace(order, lines=lines)
    progress = OrderProgress("accepted", lines={"1": LineProgress(Decimal(8)), "2": LineProgress(Decimal(1))})
    progress = decide_shipment(order, progress, ship("S1", "HAM", 2), (), PLAN, ROUTES).progress
    found = decide_shipment(order, progress, ship("S2", "HAM", 5, "1"), (), PLAN, ROUTES)
    assert [int(line.shipped) for line in found.progress.lines.values()] == [6, 1]
    assert sorted((effect.line, int(effect.quantity)) for effect in found.stock) == [("1", 4), ("2", 1)]


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=2, max_size=4), st.data(),
)  # fmt: skip
@settings(deadline=None)
def test_twins_split_over_two_warehouses_are_shipped_from_where_each_lay(
    split: list[tuple[int, int]], data: st.DataObject
) -> None:
    """Lines of one SKU, each with something at either warehouse, which name no line and ship in any pieces: what is
    taken off each line at each place is what was reserved for it there, to the unit."""
    split = [(ham + 1, bhx) for ham, bhx in split]
    text = ", ".join(f"BOLT {ham + bhx} C62 @ 1.7999" for ham, bhx in split)
    found = decide(make_order(text, payment="card"))
    assert found.order is not None
    given_there = {
        str(place): {"HAM": ham, "BHX": bhx} for place, (ham, bhx) in enumerate(split, start=1)
    }  # fmt: skip
    lines = tuple(
        msgspec.structs.replace(line, allocations=tuple(
            Allocation(name, Decimal(count)) for name, count in given_there[line.line].items() if count
        )) for line in found.order.lines
    )  # fmt: skip
    order = msgspec.structs.replace(found.order, lines=lines)
    progress = OrderProgress("accepted", lines={
        line.line: LineProgress(line.quantity.value) for line in lines
    })  # fmt: skip
    owed = {name: sum(at[name] for at in given_there.values()) for name in ("HAM", "BHX")}
    taken: dict[str, dict[str, int]] = {line.line: {"HAM": 0, "BHX": 0} for line in lines}
    number = 0
    while any(owed.values()):
        warehouse = data.draw(st.sampled_from([name for name, count in owed.items() if count]))
        quantity = data.draw(st.integers(1, owed[warehouse]))
        number += 1
        decision = decide_shipment(order, progress, ship(f"S{number}", warehouse, quantity), (), PLAN, ROUTES)
        for effect in decision.stock:
            taken[effect.line][effect.location] += int(effect.quantity)
        owed[warehouse] -= quantity
        progress = decision.progress
        assert is_conserved(progress)
    assert taken == given_there
    assert progress.state == "shipped"


def test_a_short_of_a_line_that_was_counted_as_shipped_is_missing_from_its_twin() -> None:
    order, progress = make_accepted()
    progress = decide_shipment(order, progress, ship("S1", "HAM", 65), (), PLAN, ROUTES).progress
    short = FulfilmentShorted(fulfilment_number("CD00000001", "HAM"), "HAM", "BOLT", "2", NOW, "1")
    progress = decide_short(order, progress, short).progress
    assert sum(line.backordered for line in progress.lines.values()) == 2
    assert sum(line.open for line in progress.lines.values()) == 1


def test_a_short_that_a_warehouse_tells_again_under_another_number_counts_once() -> None:
    """A warehouse that was set back told yesterday's messages again: goods that it shipped were owed a second time."""
    order, progress = make_accepted()
    short = FulfilmentShorted(fulfilment_number("CD00000001", "HAM"), "HAM", "BOLT", "2", NOW, "1")
    first = decide_short(order, progress, short)
    again = decide_short(order, first.progress, short)
    assert again.progress == first.progress
    assert not again.stock
    later = msgspec.structs.replace(short, at=NOW + timedelta(seconds=1))
    assert decide_short(order, first.progress, later).progress != first.progress


def test_what_is_called_back_of_a_line_that_was_counted_as_shipped_is_cancelled_at_its_twin() -> None:
    order = decide(make_order("BOLT 5 C62 @ 1.7999, BOLT 7 C62 @ 1.7999", payment="card")).order
    assert order is not None
    progress = decide(make_order("BOLT 5 C62 @ 1.7999, BOLT 7 C62 @ 1.7999", payment="card")).progress
    assert progress is not None
    warehouse = order.lines[0].allocations[0].location
    progress = decide_shipment(order, progress, ship("S1", warehouse, 6), (), PLAN, ROUTES).progress
    undone = StepView(f"wms.cancel:{warehouse}", "wms", "wms.cancel", "done")
    result = b'{"cancelled": {"1": "2", "2": "4"}}'
    found = decide_done(order, progress, undone, b"{}", result, "", (), NOW)
    assert sum(line.cancelled for line in found.progress.lines.values()) == 6
    assert found.progress.state == "shipped"
    assert sum(effect.quantity for effect in found.stock) == 6
