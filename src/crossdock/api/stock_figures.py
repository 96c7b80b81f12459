"""How well stock goes, and where it differs, for operators' programs."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from crossdock.api.answers import Answer, json_answer
from crossdock.api.endpoint import Call
from crossdock.api.orders import Cursor, Limit, Text
from crossdock.insight.stock import list_drift, read_kpis


class DriftQuery(msgspec.Struct, frozen=True):
    cause: Text = ""
    side: Annotated[Literal["", "owner", "channel"], msgspec.Meta(description="Whose figure differs from ours")] = ""
    counterpart: Text = ""
    sku: Text = ""
    cursor: Cursor = ""
    limit: Limit = 50


async def show_kpis(call: Call) -> Answer:
    """Latency per channel (last hour), oversell and drift (last day), staleness, what waits and what is parked."""
    return json_answer(await read_kpis(call.services.pool, call.services.clock()))


async def show_drift(call: Call) -> Answer:
    """Open differences, the newest first."""
    query: DriftQuery = call.query
    return json_answer(await list_drift(
        call.services.pool, cause=query.cause, side=query.side, counterpart=query.counterpart, sku=query.sku,
        cursor=query.cursor, limit=query.limit,
    ))  # fmt: skip
