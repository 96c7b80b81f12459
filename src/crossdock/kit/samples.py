"""Orders, shipment parts and calls as the engine would give them to a connector: what a connector is tried with."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

import msgspec

from crossdock.kit.connector import Call
from crossdock.model.documents import Address
from crossdock.model.fulfilment import FulfilmentLine, FulfilmentOrder, Package, PartLine, ShipmentPart
from crossdock.model.orders import Order, OrderLine, PaymentIntent, PriceProvenance
from crossdock.model.values import Money, Quantity

SAMPLE_AT: Final = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
SHIP_TO: Final = Address("Anna Vermeer", "Station Road 1", "Kiel", "24103", "DE", email="anna.vermeer@example.com")
_numbers: Final = itertools.count(1)


def make_order(channel_number: str, lines: tuple[str, str] = ("1", "2")) -> Order:
    """An accepted order of two boxes of twelve and three metres; each call makes another one."""
    number = next(_numbers)
    provenance = PriceProvenance("list", Decimal("1.00"))
    box = OrderLine(
        lines[0], "ND-0001", "Cable gland", Quantity(Decimal(2), "XBX"), Quantity(Decimal(24), "C62"),
        Money(Decimal("1.00"), "EUR"), Money(Decimal("24.00"), "EUR"), provenance, "standard",
    )  # fmt: skip
    piece = OrderLine(
        lines[1], "ND-0002", "Copper cable", Quantity(Decimal(3), "MTR"), Quantity(Decimal(3), "MTR"),
        Money(Decimal("1.50"), "EUR"), Money(Decimal("4.50"), "EUR"), provenance, "standard",
    )  # fmt: skip
    return Order(
        order_id=number, number=f"CD{number:08d}", channel="tested", channel_number=channel_number,
        order_type="consumer", region="EU", currency="EUR", placed_at=SAMPLE_AT, accepted_at=SAMPLE_AT,
        ship_to=SHIP_TO, lines=(box, piece), net=Money(Decimal("28.50"), "EUR"),
        payment=PaymentIntent("card", "tok_00001234"), plan="tested", fulfilment="split",
    )  # fmt: skip


def make_part(order: Order, box_pieces: int = 12) -> ShipmentPart:
    """A part of the order that left Hamburg: pieces out of the boxes, and all that is counted in metres."""
    first, second = order.lines
    pieces = Quantity(Decimal(box_pieces), "C62")
    lines = (
        PartLine(first.line, first.sku, pieces, Decimal("12.00"), Decimal("2.28"), "EU-STD"),
        PartLine(second.line, second.sku, Quantity(Decimal(3), "MTR"), Decimal("4.50"), Decimal("0.86"), "EU-STD"),
    )
    return ShipmentPart(
        shipment=f"SH-HAM-{order.order_id}", warehouse="HAM", shipped_at=SAMPLE_AT, lines=lines,
        net=Money(Decimal("16.50"), "EUR"), tax=Money(Decimal("3.14"), "EUR"),
        packages=(Package("340123450000000017", f"TR{order.order_id:06d}", "swiftline"),),
    )  # fmt: skip


def make_fulfilment(order: Order) -> FulfilmentOrder:
    """The instruction to Hamburg to ship the whole order."""
    lines = tuple(FulfilmentLine(line.line, line.sku, line.quantity) for line in order.lines)
    return FulfilmentOrder(f"{order.number}-HAM", order.number, "HAM", order.ship_to, lines)


def make_call(order: Order, name: str, payload: object, results: Mapping[str, object] | None = None) -> Call:
    """The step `name` of the order; `results` are those of the steps that it needed."""
    return Call(
        key=f"{order.number}/{name}", number=order.number, name=name, operation=name.partition(":")[0], order=order,
        payload=msgspec.json.encode(payload),
        results={step: msgspec.json.encode(result) for step, result in (results or {}).items()},
    )  # fmt: skip
