"""From the shop's shapes to the canonical model and back. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from crossdock.kit.connector import Call
from crossdock.kit.parts import shipped_as_ordered
from crossdock.model.decimals import read_json
from crossdock.model.documents import Address
from crossdock.model.errors import Invalid
from crossdock.model.facts import CancellationRequested, Fact, OrderPaid
from crossdock.model.fulfilment import ShipmentPart
from crossdock.model.orders import OrderPlaced, PaymentIntent, PlacedLine
from crossdock.model.values import Money, Quantity

# The shop's words for units -> UN/ECE Rec 20. A word that is not here goes on as it is and is refused by name.
UNITS: Final = {
    "each": "C62", "metre": "MTR", "kilogram": "KGM", "pair": "PR", "litre": "LTR", "box": "XBX", "pallet": "XPX",
}  # fmt: skip
WORDS: Final = {code: word for word, code in UNITS.items()}


class ShopAddress(msgspec.Struct, frozen=True):
    full_name: str
    street: str
    city: str
    zip: str
    country: str


class ShopLine(msgspec.Struct, frozen=True):
    id: str
    sku: str
    title: str
    quantity: Decimal
    unit: str
    price: Decimal


class ShopPayment(msgspec.Struct, frozen=True):
    token: str
    state: str
    paid_at: datetime | None = None


class ShopCancellation(msgspec.Struct, frozen=True):
    reference: str = ""


class ShopOrder(msgspec.Struct, frozen=True):
    number: str
    created_at: datetime
    currency: str
    shipping_address: ShopAddress
    lines: tuple[ShopLine, ...]
    payment: ShopPayment
    email: str = ""
    note: str = ""
    merchant_reference: str = ""
    cancelled_at: datetime | None = None
    cancel_reason: str = ""
    cancellations: tuple[ShopCancellation, ...] = ()


class Fulfilment(msgspec.Struct, frozen=True):
    id: str
    reference: str


class Envelope(msgspec.Struct, frozen=True):
    type: str
    data: msgspec.Raw


def order_facts(connection: str, raw: bytes) -> list[Fact]:
    """All that an order as it stands says: placed, paid, cancelled by the buyer."""
    order = read_json(raw, ShopOrder)
    return [*_placed(connection, order, raw), *_paid(connection, order, raw), *_cancelled(connection, order, raw)]


def webhook_facts(connection: str, body: bytes) -> Sequence[Fact]:
    """Each webhook says one thing, whatever came before it."""
    try:
        envelope = msgspec.json.decode(body, type=Envelope)
        order = read_json(bytes(envelope.data), ShopOrder)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise Invalid("webhook_form", "The webhook does not hold an order of the shop.", detail=str(error)) from None
    readers = {"order.created": _placed, "order.paid": _paid, "order.cancelled": _cancelled}
    reader = readers.get(envelope.type)
    return reader(connection, order, body) if reader is not None else ()


def acknowledgment_body(call: Call) -> dict[str, str]:
    return {"merchant_reference": call.number}


def fulfilment_body(call: Call) -> dict[str, Any]:
    part = msgspec.json.decode(call.payload, type=ShipmentPart)
    lines = []
    for line in part.lines:
        quantity = shipped_as_ordered(call.order, line)
        unit = WORDS.get(quantity.unit, quantity.unit)
        lines.append({"line_id": line.line, "quantity": str(quantity.value), "unit": unit})
    return {
        "reference": part.shipment, "lines": lines,
        "tracking_numbers": [package.tracking for package in part.packages if package.tracking],
        "carrier": part.packages[0].carrier if part.packages else "",
    }  # fmt: skip


def cancellation_body(call: Call) -> dict[str, Any]:
    reason = msgspec.json.decode(call.payload, type=dict[str, Any]).get("reason", "")
    return {"reason": str(reason), "reference": call.key}


def _placed(connection: str, order: ShopOrder, raw: bytes) -> list[Fact]:
    address = order.shipping_address
    placed = OrderPlaced(
        channel_number=order.number, placed_at=order.created_at, currency=order.currency,
        ship_to=Address(
            address.full_name, address.street, address.city, address.zip, address.country, email=order.email
        ),
        lines=tuple(
            PlacedLine(
                line=line.id, sku=line.sku, name=line.title,
                quantity=Quantity(line.quantity, UNITS.get(line.unit, line.unit)),
                unit_price=Money(line.price, order.currency),
            )
            for line in order.lines
        ),
        payment=PaymentIntent("card", order.payment.token), note=order.note,
    )  # fmt: skip
    return [_fact(connection, "order.placed", order.number, placed, raw, order.created_at)]


def _paid(connection: str, order: ShopOrder, raw: bytes) -> list[Fact]:
    if order.payment.state != "paid" or order.payment.paid_at is None:
        return []
    paid = OrderPaid(order.number, order.number, order.payment.paid_at)
    return [_fact(connection, "order.paid", order.number, paid, raw, order.payment.paid_at)]


def _cancelled(connection: str, order: ShopOrder, raw: bytes) -> list[Fact]:
    """Only what the buyer did: a cancellation of ours carries no `cancelled_at`."""
    if order.cancelled_at is None:
        return []
    request = CancellationRequested(order.number, order.cancelled_at, order.cancel_reason)
    return [_fact(connection, "order.cancellation_requested", order.number, request, raw, order.cancelled_at)]


def _fact(connection: str, kind: str, number: str, body: object, raw: bytes, at: datetime) -> Fact:
    encoded = msgspec.json.encode(body)
    return Fact(connection, kind, number, encoded, raw, subject=number, occurred_at=at)
