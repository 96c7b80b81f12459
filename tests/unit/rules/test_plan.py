"""Which steps a shipment part is given, as the plan says."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from crossdock.model.facts import StepDraft
from crossdock.model.fulfilment import Shipment, ShipmentPart, ShippedLine
from crossdock.model.values import Quantity
from crossdock.policy.plans import Plan, PlannedStep
from crossdock.rules.decision import StepView
from crossdock.rules.fulfil import decide_shipment
from crossdock.rules.outcome import decide_done
from crossdock.rules.plan import Routes, fulfilment_number
from tests.unit.rules.making import NOW, decide, make_order

ROUTES = Routes("portal", {"HAM": "wms", "BHX": "wms"})
CARD = Plan(
    "card",
    steps=(PlannedStep("payment.authorise", "payment"), PlannedStep("erp.place_order", "erp", ("payment.authorise",))),
    shipment_steps=(
        PlannedStep("payment.capture", "payment"), PlannedStep("erp.ship", "erp"),
        PlannedStep("erp.payment", "erp", ("payment.capture", "erp.ship")),
    ),
)  # fmt: skip
TERMS = Plan(
    "terms", steps=(PlannedStep("erp.place_order", "erp"),), shipment_steps=(PlannedStep("erp.ship", "erp"),)
)


def ship(plan: Plan, number: str, quantity: int, standing: tuple[StepView, ...] = ()) -> dict[str, StepDraft]:
    found = decide(make_order("BOLT 9 C62 @ 1.80", payment="card"))
    assert found.order is not None
    assert found.progress is not None
    lines = (ShippedLine("BOLT", Quantity(Decimal(quantity), "C62"), "1"),)
    shipment = Shipment(number, fulfilment_number("CD00000001", "HAM"), "HAM", NOW, lines)
    decision = decide_shipment(found.order, found.progress, shipment, standing, plan, ROUTES)
    return {draft.name: draft for draft in decision.steps}


def test_a_payment_is_booked_once_its_own_part_is_captured_and_invoiced() -> None:
    """Also where the same was done for another part before."""
    earlier = tuple(
        StepView(f"{planned.operation}:SH-1", planned.connection, planned.operation, "done")
        for planned in CARD.shipment_steps
    )
    for standing in ((), earlier):
        steps = ship(CARD, "SH-2", 4, standing)
        assert set(steps) == {"payment.capture:SH-2", "erp.ship:SH-2", "erp.payment:SH-2"}
        booked = steps["erp.payment:SH-2"]
        assert (booked.connection, booked.needs) == ("erp", ("payment.capture:SH-2", "erp.ship:SH-2"))
        part = msgspec.json.decode(booked.payload, type=ShipmentPart)
        assert (part.shipment, part.net.amount) == ("SH-2", Decimal("7.20"))


def test_an_order_on_account_gets_no_payment() -> None:
    assert set(ship(TERMS, "SH-1", 4)) == {"erp.ship:SH-1"}


def test_a_booked_payment_is_told_as_such_and_undone_by_nothing() -> None:
    found = decide(make_order("BOLT 9 C62 @ 1.80", payment="card"))
    assert found.progress is not None
    step = StepView("erp.payment:SH-1", "erp", "erp.payment", "done")
    progress = msgspec.structs.replace(found.progress, state="cancelled")
    decision = decide_done(None, progress, step, b"{}", b"{}", "M2026-7", (step,), NOW)
    assert [(event.type, event.body) for event in decision.events] == [
        ("InvoicePaid", {"step": "erp.payment:SH-1", "number": "M2026-7"})
    ]
    assert decision.steps == ()
