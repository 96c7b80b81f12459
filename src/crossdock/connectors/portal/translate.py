"""From our milestones to the portal's status updates. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from crossdock.kit.connector import Call
from crossdock.kit.parts import shipped_as_ordered
from crossdock.model.fulfilment import ShipmentPart

STATUSES: Final[Mapping[str, str]] = MappingProxyType({
    "channel.acknowledge": "accepted", "channel.ship": "shipped", "channel.cancel": "cancelled",
})  # fmt: skip


def status_body(call: Call) -> dict[str, Any]:
    """The event's identity is our idempotency key: it is the same over all attempts."""
    if call.operation == "channel.ship":
        part = msgspec.json.decode(call.payload, type=ShipmentPart)
        return _status(call, "shipped", part.shipped_at.isoformat(), _shipment(call, part))
    payload = msgspec.json.decode(call.payload, type=dict[str, Any])
    status = STATUSES.get(call.operation) or str(payload.get("milestone", "changed"))
    return _status(call, status, str(payload.get("at", "")), {"reason": str(payload.get("reason", ""))})


def _status(call: Call, status: str, at: str, details: dict[str, Any]) -> dict[str, Any]:
    return {"event_id": call.key, "status": status, "at": at, "details": {**details, "our_number": call.number}}


def _shipment(call: Call, part: ShipmentPart) -> dict[str, Any]:
    lines = []
    for line in part.lines:
        quantity = shipped_as_ordered(call.order, line)
        lines.append({"line": line.line, "quantity": str(quantity.value), "unit": quantity.unit})
    tracking = [package.tracking for package in part.packages if package.tracking]
    return {"shipment": part.shipment, "lines": lines, "tracking": tracking}
