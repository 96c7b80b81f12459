"""Each checker of the proof with real processes finds what is planted into a clean history."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from crossdock.ledger.real_proof import KnownOrder, LedgerSays
from crossdock.prove.real_checkers import CHECKERS, Evidence, judge

Row = dict[str, Any]


def row(kind: str, key: str, **document: Any) -> Row:
    return {"kind": kind, "business_key": key, "document": document}


def make_evidence() -> Evidence:
    """A shop's order in two shipments, a portal's in one, one declined, one that its buyer regretted."""
    shop = [
        row("order", number, payment={"token": token})
        for number, token in (("S-1", "tok_x"), ("S-2", "tok_declined"), ("S-3", "tok_x"))
    ]
    shop += [
        row("acknowledgment", "S-1"), row("cancellation", "S-2/whole"), row("buyer_cancellation", "S-3"),
        row("fulfilment", "S-1/SH-1", reference="SH-1"), row("fulfilment", "S-1/SH-2", reference="SH-2"),
    ]  # fmt: skip
    portal = [
        row("order", "P-1", payment={"token": "tok_x"}), row("answer", "P-1", status=201),
        row("status", "P-1/e1", status="shipped", details={"shipment": "SH-3"}),
    ]  # fmt: skip
    wms = [
        row("instruction", "CD00000001-HAM", lines=[{"line": "1", "quantity": "3"}]),
        row("instruction", "CD00000004-HAM", lines=[{"line": "1", "quantity": "1"}]),
        *(
            row("shipment", name, number=name, instruction=order, lines=[{"line": "1", "quantity": quantity}],
                packages=[{"tracking": f"T-{name}"}])
            for name, order, quantity in (
                ("SH-1", "CD00000001-HAM", "2"), ("SH-2", "CD00000001-HAM", "1"), ("SH-3", "CD00000004-HAM", "1")
            )
        ),
    ]  # fmt: skip
    payment = [
        row("authorisation", "a1", id="a1", reference="CD00000001", amount=300),
        row("authorisation", "a3", id="a3", reference="CD00000003", amount=50),
        row("authorisation", "a4", id="a4", reference="CD00000004", amount=100),
        row("capture", "SH-1", source="a1", amount=200), row("capture", "SH-2", source="a1", amount=100),
        row("capture", "SH-3", source="a4", amount=100), row("void", "a3", id="a3"),
    ]  # fmt: skip
    orders = [
        KnownOrder("shop", "S-1", "CD00000001", "completed"), KnownOrder("shop", "S-2", "CD00000002", "cancelled"),
        KnownOrder("shop", "S-3", "CD00000003", "cancelled"), KnownOrder("portal", "P-1", "CD00000004", "completed"),
    ]  # fmt: skip
    logs: dict[str, Any] = {
        "shop": shop, "portal": portal, "wms": wms, "payment": payment,
        "tax": [row("transaction", f"t{number}") for number in (1, 2, 3)],
        "carrier": [row("tracking", f"T-SH-{number}") for number in (1, 2, 3)],
    }
    return Evidence(logs, LedgerSays(orders, 10, [], [], [("S-3: too late", "cancellation_too_late")], []))


def test_a_clean_history_has_no_violation() -> None:
    assert not judge(make_evidence())


def plant_ledger(evidence: Evidence, **changes: Any) -> None:
    evidence.ledger = msgspec.structs.replace(evidence.ledger, **changes)


def double(partner: str, kind: str) -> Callable[[Evidence], None]:
    def plant(evidence: Evidence) -> None:
        log: Any = evidence.logs[partner]
        log.append(next(entry for entry in log if entry["kind"] == kind))

    return plant


def lose(partner: str, kind: str) -> Callable[[Evidence], None]:
    def plant(evidence: Evidence) -> None:
        log: Any = evidence.logs[partner]
        log.remove(next(entry for entry in log if entry["kind"] == kind))

    return plant


PLANTED: dict[str, tuple[str, Callable[[Evidence], None]]] = {
    "an acknowledged order is gone": ("acknowledged", lambda e: plant_ledger(e, orders=e.ledger.orders[:-1])),
    "an order is in the ledger twice": (
        "acknowledged", lambda e: plant_ledger(e, orders=[*e.ledger.orders, e.ledger.orders[0]])
    ),
    "the portal was answered twice": ("acknowledged", double("portal", "answer")),
    "the portal was never answered": ("acknowledged", lose("portal", "answer")),
    "the shop was told twice": ("channels", double("shop", "acknowledgment")),
    "the shop was not told": ("channels", lose("shop", "acknowledgment")),
    "the shop was not told of the declined card": ("channels", lose("shop", "cancellation")),
    "an order was instructed twice": ("instructions", double("wms", "instruction")),
    "an order was never instructed": ("instructions", lose("wms", "instruction")),
    "a shipment is missing": ("goods", lose("wms", "shipment")),
    "a shipment left twice": ("shipments", double("wms", "shipment")),
    "a capture came twice": ("money", double("payment", "capture")),
    "a capture is missing": ("money", lose("payment", "capture")),
    "an authorisation was not voided": ("money", lose("payment", "void")),
    "an order was authorised twice": ("money", double("payment", "authorisation")),
    "a fulfilment was told twice": ("shipments", double("shop", "fulfilment")),
    "a tracking is missing": ("shipments", lose("carrier", "tracking")),
    "a shipment was taxed twice": ("shipments", double("tax", "transaction")),
    "goods stay reserved": ("rest", lambda e: plant_ledger(e, reserved=["ND-0001 HAM 2"])),
    "a step is parked": ("rest", lambda e: plant_ledger(e, parked_steps=["CD00000001/x"])),
    "a fact is parked": ("rest", lambda e: plant_ledger(e, parked_facts=[("order.placed S-9", "defect")])),
    "a timeline has a gap": ("rest", lambda e: plant_ledger(e, gaps=["CD00000001: a gap"])),
    "something is under way": ("rest", lambda e: e.under_way.append("a step")),
    "a worker ended": ("processes", lambda e: e.ended.append("worker-1: KeyError")),
    "a name is in a log": ("leaks", lambda e: e.leaks.append("first name in api-1.log")),
}  # fmt: skip


@pytest.mark.parametrize("planted", PLANTED)
def test_what_is_planted_is_found(planted: str) -> None:
    checker, plant = PLANTED[planted]
    evidence = make_evidence()
    plant(evidence)
    assert checker in {violation.checker for violation in judge(evidence)}


def test_every_checker_has_something_planted_for_it() -> None:
    assert {checker for checker, _ in PLANTED.values()} == set(CHECKERS)
