"""From Acme's shapes to the canonical model and back. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from crossdock.kit.connector import Call
from crossdock.model.decimals import read_json
from crossdock.model.errors import Invalid
from crossdock.model.facts import Fact
from crossdock.model.fulfilment import FulfilmentOrder, Package, Shipment, ShippedLine
from crossdock.model.values import Quantity


class AcmeLine(msgspec.Struct, frozen=True):
    line: str
    sku: str
    pieces: Decimal
    unit: str


class AcmeShipment(msgspec.Struct, frozen=True):
    number: str
    reference: str
    site: str
    left_at: datetime
    lines: tuple[AcmeLine, ...]
    sscc: str = ""
    tracking: str = ""


class Envelope(msgspec.Struct, frozen=True):
    event: str
    shipment: msgspec.Raw


def instruction_number(call: Call) -> str:
    """Our number at the partner. A release after a hold ("#2") is an instruction of its own there."""
    fulfilment = msgspec.json.decode(call.payload, type=FulfilmentOrder)
    _, mark, round_number = call.name.partition("#")
    return f"{fulfilment.number}{mark}{round_number}"


def instruction_body(call: Call) -> dict[str, Any]:
    fulfilment = msgspec.json.decode(call.payload, type=FulfilmentOrder)
    return {
        "reference": instruction_number(call), "site": fulfilment.warehouse,
        "ship_to": msgspec.to_builtins(fulfilment.ship_to),
        "lines": [
            {"line": line.line, "sku": line.sku, "pieces": str(line.quantity.value), "unit": line.quantity.unit}
            for line in fulfilment.lines
        ],
    }  # fmt: skip


def shipment_facts(connection: str, raw: bytes) -> Sequence[Fact]:
    """One item of the feed."""
    return (_shipment_fact(connection, raw, raw),)


def webhook_facts(connection: str, body: bytes) -> Sequence[Fact]:
    """The same shipment by webhook is the same fact: its number is the business key."""
    try:
        envelope = msgspec.json.decode(body, type=Envelope)
        if envelope.event != "shipment.left":
            return ()
        return (_shipment_fact(connection, bytes(envelope.shipment), body),)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise Invalid("webhook_form", "The webhook does not hold a shipment of Acme.", detail=str(error)) from None


def _shipment_fact(connection: str, document: bytes, raw: bytes) -> Fact:
    found = read_json(document, AcmeShipment)
    number = found.reference.partition("#")[0]
    shipment = Shipment(
        number=found.number, fulfilment_number=number, warehouse=found.site, shipped_at=found.left_at,
        lines=tuple(ShippedLine(line.sku, Quantity(line.pieces, line.unit), line.line) for line in found.lines),
        packages=(Package(found.sscc, found.tracking),) if found.sscc or found.tracking else (),
    )  # fmt: skip
    return Fact(
        connection, "shipment.confirmed", found.number, msgspec.json.encode(shipment), raw, subject=number,
        occurred_at=found.left_at,
    )  # fmt: skip
