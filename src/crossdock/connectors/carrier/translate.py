"""From shipment parts to tracking numbers, and from trackings to deliveries. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from crossdock.kit.connector import Call
from crossdock.model.errors import Invalid
from crossdock.model.facts import DeliveryReported, Fact
from crossdock.model.fulfilment import ShipmentPart


class Tracking(msgspec.Struct, frozen=True):
    tracking_number: str
    delivered_at: datetime | None = None


class Envelope(msgspec.Struct, frozen=True):
    type: str
    data: msgspec.Raw


def tracking_numbers(call: Call) -> tuple[str, ...]:
    part = msgspec.json.decode(call.payload, type=ShipmentPart)
    return tuple(package.tracking for package in part.packages if package.tracking)


def webhook_facts(connection: str, body: bytes) -> Sequence[Fact]:
    try:
        envelope = msgspec.json.decode(body, type=Envelope)
        if envelope.type == "tracking.delivered":
            return _facts(connection, bytes(envelope.data), body)
    except (msgspec.DecodeError, UnicodeError) as error:
        message = f"The webhook cannot be read: {error}"
        raise Invalid("webhook_form", message[:500], detail=str(error)) from None
    return ()


def tracking_facts(connection: str, raw: bytes) -> list[Fact]:
    """Nothing before it is delivered."""
    return _facts(connection, raw, raw)


def _facts(connection: str, document: bytes, raw: bytes) -> list[Fact]:
    found = msgspec.json.decode(document, type=Tracking)
    if found.delivered_at is None:
        return []
    body = msgspec.json.encode(DeliveryReported(found.tracking_number, found.delivered_at))
    return [
        Fact(
            connection, "delivery.reported", found.tracking_number, body, raw, subject=found.tracking_number,
            occurred_at=found.delivered_at,
        )
    ]  # fmt: skip
