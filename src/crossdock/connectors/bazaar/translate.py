"""From Bazaar's shapes to the canonical model and back. Pure."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from crossdock.kit.connector import Call
from crossdock.kit.parts import shipped_as_ordered
from crossdock.model.codes import CURRENCY_DIGITS
from crossdock.model.decimals import read_json
from crossdock.model.documents import Address
from crossdock.model.facts import CancellationRequested, Fact
from crossdock.model.fulfilment import ShipmentPart
from crossdock.model.orders import OrderPlaced, PaymentIntent, PlacedLine
from crossdock.model.values import Money, Quantity


class BazaarAddress(msgspec.Struct, frozen=True):
    full_name: str
    line1: str
    city: str
    postcode: str
    country_code: str


class BazaarItem(msgspec.Struct, frozen=True):
    item_id: int
    sku: str
    title: str
    quantity: Decimal
    unit: str
    unit_price_minor: int


class BazaarShipment(msgspec.Struct, frozen=True):
    seller_shipment_id: str = ""


class BazaarCancellation(msgspec.Struct, frozen=True):
    seller_reference: str = ""


class BazaarOrder(msgspec.Struct, frozen=True):
    order_id: str
    status: str
    placed_at: datetime
    currency: str
    ship_to: BazaarAddress
    items: tuple[BazaarItem, ...]
    seller_reference: str = ""
    buyer_email: str = ""
    message: str = ""
    cancelled_at: datetime | None = None
    shipments: tuple[BazaarShipment, ...] = ()
    cancellations: tuple[BazaarCancellation, ...] = ()


def order_facts(connection: str, raw: bytes) -> list[Fact]:
    """All that an order as it stands says: placed, cancelled by the buyer."""
    order = read_json(raw, BazaarOrder)
    facts = [_fact(connection, "order.placed", order, _placed(order), raw, order.placed_at)]
    if order.cancelled_at is not None:
        request = CancellationRequested(order.order_id, order.cancelled_at, "cancelled by the buyer")
        facts.append(_fact(connection, "order.cancellation_requested", order, request, raw, order.cancelled_at))
    return facts


def acknowledge_body(call: Call) -> dict[str, str]:
    return {"seller_reference": call.number}


def shipment_body(call: Call) -> dict[str, Any]:
    part = msgspec.json.decode(call.payload, type=ShipmentPart)
    items = []
    for line in part.lines:
        quantity = shipped_as_ordered(call.order, line)
        items.append({"item_id": int(line.line), "quantity": str(quantity.value), "unit": quantity.unit})
    return {
        "seller_shipment_id": part.shipment, "items": items,
        "carrier": part.packages[0].carrier if part.packages else "",
        "tracking": ",".join(package.tracking for package in part.packages if package.tracking),
    }  # fmt: skip


def cancel_body(call: Call) -> dict[str, Any]:
    reason = msgspec.json.decode(call.payload, type=dict[str, Any]).get("reason", "")
    return {"reason": str(reason), "seller_reference": call.key}


def _placed(order: BazaarOrder) -> OrderPlaced:
    to = order.ship_to
    digits = CURRENCY_DIGITS.get(order.currency, 2)
    return OrderPlaced(
        channel_number=order.order_id, placed_at=order.placed_at, currency=order.currency,
        ship_to=Address(to.full_name, to.line1, to.city, to.postcode, to.country_code, email=order.buyer_email),
        lines=tuple(
            PlacedLine(
                line=str(item.item_id), sku=item.sku, name=item.title, quantity=Quantity(item.quantity, item.unit),
                unit_price=Money(Decimal(item.unit_price_minor).scaleb(-digits), order.currency),
            )
            for item in order.items
        ),
        payment=PaymentIntent("collected"), note=order.message,
    )  # fmt: skip


def _fact(connection: str, kind: str, order: BazaarOrder, body: object, raw: bytes, at: datetime) -> Fact:
    encoded = msgspec.json.encode(body)
    return Fact(connection, kind, order.order_id, encoded, raw, subject=order.order_id, occurred_at=at)
