"""Stock that systems report to us: balances, movements, inbound supply. Kept before it is acknowledged, decided after.

A row that cannot be taken is parked alone; the quarantine shows it with its line, the reason and the fix.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Annotated, Final

import msgspec

from crossdock.api.answers import Answer, ApiProblem, json_answer
from crossdock.api.endpoint import Call
from crossdock.api.orders import Text, read_key
from crossdock.model.facts import Fact
from crossdock.model.stock import InboundSupply, InventoryBalance, StockMovement
from crossdock.policy.policy import Policy

ROWS_MAX: Final = 10_000
PARTS_MAX: Final = 100_000
SOURCE_HEADER: Final = "crossdock-source"
_ENCODER: Final = msgspec.json.Encoder()


class BalanceLine(InventoryBalance, frozen=True, forbid_unknown_fields=True):
    """A balance; a misspelt field is told, not dropped."""


class MovementLine(StockMovement, frozen=True, forbid_unknown_fields=True):
    """A movement; likewise."""


class SupplyLine(InboundSupply, frozen=True, forbid_unknown_fields=True):
    """A line of a purchase order; likewise."""


class BalancesBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`complete`: what is not named at the locations of the report is not there. A report in several messages names
    its `snapshot` and how many `parts` that has."""

    balances: Annotated[tuple[BalanceLine, ...], msgspec.Meta(min_length=1, max_length=ROWS_MAX)]
    complete: bool = False
    snapshot: Text = ""
    part: Annotated[int, msgspec.Meta(ge=1, le=PARTS_MAX)] = 1
    parts: Annotated[int, msgspec.Meta(ge=1, le=PARTS_MAX)] = 1


class MovementsBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    movements: Annotated[tuple[MovementLine, ...], msgspec.Meta(min_length=1, max_length=ROWS_MAX)]


class InboundBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    supplies: Annotated[tuple[SupplyLine, ...], msgspec.Meta(min_length=1, max_length=ROWS_MAX)]
    as_of: Annotated[datetime, msgspec.Meta(tz=True)]


class StockReceived(msgspec.Struct, frozen=True):
    """How many rows were kept; `repeated`: the very same message was here before and has no second effect."""

    source: str
    rows: int
    repeated: bool = False


async def report_balances(call: Call) -> Answer:
    """Absolute figures as of a time; late, twice and out of order do no harm."""
    body: BalancesBody = call.body
    if body.part > body.parts or (body.parts > 1 and not body.snapshot):
        raise ApiProblem(422, "snapshot_parts", "A report in parts names its snapshot, part and parts.", field="parts")
    return await _keep(call, "balances.reported", len(body.balances))


async def report_movements(call: Call) -> Answer:
    """Deltas, each with its own key: each counts once."""
    body: MovementsBody = call.body
    return await _keep(call, "stock.moved", len(body.movements))


async def report_inbound(call: Call) -> Answer:
    """What purchase orders will still bring, absolute for each line."""
    body: InboundBody = call.body
    return await _keep(call, "supply.reported", len(body.supplies))


def sources_of(policy: Policy) -> frozenset[str]:
    """The connections that may report stock: those of channels and locations, and the owners of places."""
    return frozenset({
        *(channel.connection for channel in policy.channels.values()),
        *(location.connection for location in policy.locations.values()),
        *(owner.connection for owner in policy.stock.owners),
    })  # fmt: skip


async def _keep(call: Call, kind: str, rows: int) -> Answer:
    key = read_key(call)
    source = _choose_source(call)
    # The same key with another body is another message: figures are absolute and movements have keys of their own.
    fact = Fact(
        source, kind, f"api:{key}", _ENCODER.encode(call.body), call.raw,
        version=hashlib.sha256(call.raw).hexdigest()[:32], traceparent=call.traceparent,
    )  # fmt: skip
    count = await call.services.intake.record([fact])
    call.services.metrics.count_facts(source, count)
    return json_answer(StockReceived(source, rows, repeated=count == 0), 202)


def _choose_source(call: Call) -> str:
    """As which system the caller reports. Raises ApiProblem 400 and 403."""
    allowed = call.channels
    known = sources_of(call.services.policy)
    asked = call.headers.get(SOURCE_HEADER, "")
    if asked:
        if asked not in known or (allowed is not None and asked not in allowed):
            raise ApiProblem(403, "source_not_yours", "You may not report as this system.", field="Crossdock-Source")
        return asked
    if allowed is not None and len(allowed) == 1 and allowed[0] in known:
        return allowed[0]
    raise ApiProblem(
        400, "source_missing", "Say as which system you report.", field="Crossdock-Source",
        next_action="Send the header Crossdock-Source.",
    )  # fmt: skip
