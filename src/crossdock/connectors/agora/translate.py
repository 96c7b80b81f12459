"""From Agora's shapes to the canonical model and back. Pure.

Agora sells packs by GTIN and knows no SKU; the quantity of its lines is a number of packs of the type it names.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from crossdock.kit.connector import Call
from crossdock.model.decimals import read_json
from crossdock.model.documents import Address
from crossdock.model.errors import Invalid
from crossdock.model.facts import CancellationRequested, Fact
from crossdock.model.fulfilment import PartLine, ShipmentPart
from crossdock.model.orders import Order, OrderPlaced, PaymentIntent, PlacedLine
from crossdock.model.values import Money, Quantity

# Agora's pack types -> UN/ECE Rec 20. One that is not here goes on as it is and is refused by name.
UNITS: Final = {
    "PIECE": "C62", "METRE": "MTR", "KILO": "KGM", "PAIR": "PR", "LITRE": "LTR", "CARTON": "XBX", "PALLET": "XPX",
}  # fmt: skip


class AgoraAddress(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    address: str
    town: str
    postal_code: str
    country: str
    mail: str = ""


class AgoraLine(msgspec.Struct, frozen=True, rename="camel"):
    line_no: str
    gtin: str
    packs: Decimal
    pack_type: str
    price_per_pack: Decimal


class AgoraShipment(msgspec.Struct, frozen=True, rename="camel"):
    shipment_number: str = ""


class AgoraCancellation(msgspec.Struct, frozen=True, rename="camel"):
    cancellation_number: str = ""


class AgoraOrder(msgspec.Struct, frozen=True, rename="camel"):
    order_id: str
    created_on: datetime
    currency_code: str
    deliver_to: AgoraAddress
    lines: tuple[AgoraLine, ...]
    supplier_order_number: str = ""
    remark: str = ""
    cancelled_on: datetime | None = None
    shipments: tuple[AgoraShipment, ...] = ()
    cancellations: tuple[AgoraCancellation, ...] = ()


class Notification(msgspec.Struct, frozen=True):
    order_id: str


def order_number(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=Notification).order_id
    except (msgspec.DecodeError, UnicodeError) as error:
        raise Invalid("webhook_form", "The webhook does not name an order.", detail=str(error)) from None


def order_facts(connection: str, raw: bytes) -> list[Fact]:
    """All that an order as it stands says: placed, cancelled by the buyer."""
    order = read_json(raw, AgoraOrder)
    facts = [_fact(connection, "order.placed", order, _placed(order), raw, order.created_on)]
    if order.cancelled_on is not None:
        request = CancellationRequested(order.order_id, order.cancelled_on, "cancelled by the buyer")
        facts.append(_fact(connection, "order.cancellation_requested", order, request, raw, order.cancelled_on))
    return facts


def acknowledge_body(call: Call) -> dict[str, str]:
    return {"supplierOrderNumber": call.number}


def shipment_body(call: Call) -> dict[str, Any]:
    part = msgspec.json.decode(call.payload, type=ShipmentPart)
    parcels = [{"carrierName": package.carrier, "trackingCode": package.tracking} for package in part.packages]
    lines = [_shipped(call.order, line) for line in part.lines]
    return {"shipmentNumber": part.shipment, "parcels": parcels, "lines": lines}


def cancel_body(call: Call) -> dict[str, Any]:
    reason = msgspec.json.decode(call.payload, type=dict[str, Any]).get("reason", "")
    return {"reasonCode": str(reason), "cancellationNumber": call.key}


def _shipped(order: Order, part: PartLine) -> dict[str, str]:
    """In packs when whole packs left, else in single pieces."""
    line = next(line for line in order.lines if line.line == part.line)
    packs, rest = divmod(part.quantity.value * line.ordered.value, line.quantity.value)
    if rest == 0 and packs > 0:
        return {"lineNo": part.line, "packs": str(packs)}
    return {"lineNo": part.line, "pieces": str(part.quantity.value)}


def _placed(order: AgoraOrder) -> OrderPlaced:
    to = order.deliver_to
    return OrderPlaced(
        channel_number=order.order_id, placed_at=order.created_on, currency=order.currency_code,
        ship_to=Address(to.name, to.address, to.town, to.postal_code, to.country, email=to.mail),
        lines=tuple(
            PlacedLine(
                line=line.line_no, gtin=line.gtin,
                quantity=Quantity(line.packs, UNITS.get(line.pack_type, line.pack_type)),
                unit_price=Money(line.price_per_pack, order.currency_code),
            )
            for line in order.lines
        ),
        payment=PaymentIntent("collected"), note=order.remark,
    )  # fmt: skip


def _fact(connection: str, kind: str, order: AgoraOrder, body: object, raw: bytes, at: datetime) -> Fact:
    encoded = msgspec.json.encode(body)
    return Fact(connection, kind, order.order_id, encoded, raw, subject=order.order_id, occurred_at=at)
