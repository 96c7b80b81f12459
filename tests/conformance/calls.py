"""Orders, shipment parts and calls as the engine would give them to a connector."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec

from crossdock.kit.connector import Call
from crossdock.model.documents import Address
from crossdock.model.fulfilment import FulfilmentLine, FulfilmentOrder, Package, PartLine, ShipmentPart
from crossdock.model.orders import Order, OrderLine, PaymentIntent, PriceProvenance
from crossdock.model.values import Money, Quantity

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
_numbers = itertools.count(1)

BASKET: dict[str, Any] = {
    "currency": "EUR", "email": "anna.vermeer@example.com", "card_token": "tok_00001234",
    "ship_to": {
        "name": "Anna Vermeer", "street": "Station Road 1", "city": "Kiel", "postal_code": "24103", "country": "DE",
    },
    "lines": [
        {"sku": "ND-0001", "quantity": "2", "unit": "XBX", "unit_price": "12.00"},
        {"sku": "ND-0002", "quantity": "3", "unit": "C62", "unit_price": "1.50"},
    ],
}  # fmt: skip


def make_order(channel_number: str, lines: tuple[str, str] = ("1", "2")) -> Order:
    """An accepted order over `BASKET`: two boxes of twelve, three pieces."""
    number = next(_numbers)
    address = BASKET["ship_to"]
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
        order_type="consumer", region="EU", currency="EUR", placed_at=NOW, accepted_at=NOW,
        ship_to=Address(**address, email=BASKET["email"]), lines=(box, piece), net=Money(Decimal("28.50"), "EUR"),
        payment=PaymentIntent("card", BASKET["card_token"]), plan="tested", fulfilment="split",
    )  # fmt: skip


def make_part(order: Order, box_pieces: int = 12) -> ShipmentPart:
    first, second = order.lines
    pieces = Quantity(Decimal(box_pieces), "C62")
    lines = (
        PartLine(first.line, first.sku, pieces, Decimal("12.00"), Decimal("2.28"), "EU-STD"),
        PartLine(second.line, second.sku, Quantity(Decimal(3), "MTR"), Decimal("4.50"), Decimal("0.86"), "EU-STD"),
    )
    return ShipmentPart(
        shipment=f"SH-HAM-{order.order_id}", warehouse="HAM", shipped_at=NOW, lines=lines,
        net=Money(Decimal("16.50"), "EUR"), tax=Money(Decimal("3.14"), "EUR"),
        packages=(Package("340123450000000017", f"TR{order.order_id:06d}", "swiftline"),),
    )  # fmt: skip


def make_fulfilment(order: Order) -> FulfilmentOrder:
    lines = tuple(FulfilmentLine(line.line, line.sku, line.quantity) for line in order.lines)
    return FulfilmentOrder(f"{order.number}-HAM", order.number, "HAM", order.ship_to, lines)


def make_call(order: Order, name: str, payload: object, results: dict[str, object] | None = None) -> Call:
    return Call(
        key=f"{order.number}/{name}", number=order.number, name=name, operation=name.partition(":")[0], order=order,
        payload=msgspec.json.encode(payload),
        results={step: msgspec.json.encode(result) for step, result in (results or {}).items()},
    )  # fmt: skip
