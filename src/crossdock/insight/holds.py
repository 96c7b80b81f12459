"""Holds and quarantine: what cannot go on by itself, grouped by cause, with owner and next action.

A hold is a business stop of an order. Quarantine keeps a fact that could not be applied, or a step that could not be
done, with its payload, until a person replays it.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Literal

import asyncpg
import msgspec

from crossdock.insight.masking import masked_payload, masked_text
from crossdock.insight.paging import Listing, bounded, decode_cursor, encode_cursor
from crossdock.ledger.database import Queries
from crossdock.model.orders import Hold

_SQL: Final = Queries.load("insight_holds")


class HoldGroup(msgspec.Struct, frozen=True):
    """All orders held for one cause."""

    cause: str
    owner: str
    next_action: str
    count: int
    oldest_at: datetime
    example: str = ""


class HeldOrder(msgspec.Struct, frozen=True):
    order_id: int
    number: str
    channel: str
    channel_number: str
    customer: str
    customer_name: str
    currency: str
    net: Decimal
    held_since: datetime
    hold: Hold


class QuarantineGroup(msgspec.Struct, frozen=True):
    """Facts or steps parked for one cause at one connection. `subject_kind` is the fact's kind or the operation."""

    what: Literal["fact", "step"]
    connection: str
    subject_kind: str
    cause: str
    message: str
    next_action: str
    count: int
    oldest_at: datetime


class QuarantinedFact(msgspec.Struct, frozen=True):
    fact_id: int
    connection: str
    kind: str
    business_key: str
    subject: str
    cause: str
    message: str
    owner: str
    next_action: str
    received_at: datetime
    attempt: int
    order_id: int | None = None


class QuarantinedStep(msgspec.Struct, frozen=True):
    order_id: int
    number: str
    name: str
    connection: str
    operation: str
    cause: str
    message: str
    next_action: str
    attempt: int
    since: datetime


async def read_hold_groups(pool: asyncpg.Pool[Any], channels: tuple[str, ...] | None = None) -> tuple[HoldGroup, ...]:
    """Holds by cause, the most frequent first."""
    rows = await pool.fetch(_SQL["hold_groups"], _names(channels))
    return tuple(_hold_group(row) for row in rows)


def _hold_group(row: asyncpg.Record) -> HoldGroup:
    hold = msgspec.json.decode(row["hold"], type=Hold | None) if row["hold"] else None
    example = hold.reasons[0].message if hold is not None and hold.reasons else ""
    return HoldGroup(
        row["cause"],
        row["owner"],
        hold.next_action if hold else "",
        row["count"],
        row["oldest_at"],
        masked_text(example),
    )


async def list_holds(
    pool: asyncpg.Pool[Any],
    *,
    cause: str = "",
    channels: tuple[str, ...] | None = None,
    cursor: str = "",
    limit: int = 50,
) -> Listing[HeldOrder]:
    """A page of held orders, oldest first."""
    key = decode_cursor(cursor, tuple[int])
    limit = bounded(limit)
    rows = await pool.fetch(_SQL["holds"], cause or None, _names(channels), key[0] if key else None, limit + 1)
    items = tuple(HeldOrder(**{**dict(row), "hold": _hold_of(row)}) for row in rows[:limit])
    return Listing(items, encode_cursor(items[-1].order_id) if len(rows) > limit else "")


async def list_held_order_ids(pool: asyncpg.Pool[Any], cause: str, limit: int = 10_000) -> list[int]:
    """The orders held for a cause, for a bulk action; bounded."""
    return [row["order_id"] for row in await pool.fetch(_SQL["held_order_ids"], cause, limit)]


def _hold_of(row: asyncpg.Record) -> Hold:
    hold = msgspec.json.decode(row["hold"], type=Hold | None) if row["hold"] else None
    return hold or Hold(cause=row["cause"], owner=row["owner"], next_action="", since=row["held_since"])


async def read_quarantine_groups(pool: asyncpg.Pool[Any]) -> tuple[QuarantineGroup, ...]:
    """What is parked, by cause, the most frequent first."""
    return tuple(
        QuarantineGroup(**{**dict(row), "message": masked_text(row["message"])})
        for row in await pool.fetch(_SQL["quarantine_groups"])
    )


async def list_quarantined_facts(
    pool: asyncpg.Pool[Any],
    *,
    connection: str = "",
    cause: str = "",
    kind: str = "",
    cursor: str = "",
    limit: int = 50,
) -> Listing[QuarantinedFact]:
    """A page of quarantined facts, oldest first."""
    key = decode_cursor(cursor, tuple[int])
    limit = bounded(limit)
    rows = await pool.fetch(
        _SQL["quarantined_facts"],
        connection or None,
        cause or None,
        kind or None,
        key[0] if key else None,
        limit + 1,
    )
    items = tuple(QuarantinedFact(**{**dict(row), "message": masked_text(row["message"])}) for row in rows[:limit])
    return Listing(items, encode_cursor(items[-1].fact_id) if len(rows) > limit else "")


async def list_quarantined_steps(
    pool: asyncpg.Pool[Any],
    *,
    connection: str = "",
    cause: str = "",
    operation: str = "",
    cursor: str = "",
    limit: int = 50,
) -> Listing[QuarantinedStep]:
    """A page of quarantined steps, oldest orders first."""
    key = decode_cursor(cursor, tuple[int, str])
    limit = bounded(limit)
    rows = await pool.fetch(
        _SQL["quarantined_steps"],
        connection or None,
        cause or None,
        operation or None,
        *(key or (None, None)),
        limit + 1,
    )
    items = tuple(QuarantinedStep(**{**dict(row), "message": masked_text(row["message"])}) for row in rows[:limit])
    return Listing(items, encode_cursor(items[-1].order_id, items[-1].name) if len(rows) > limit else "")


async def read_fact_payload(pool: asyncpg.Pool[Any], fact_id: int) -> str | None:
    """The payload of a fact as received, masked and cut for display; None if there is no such fact."""
    raw = await pool.fetchval(_SQL["fact_payload"], fact_id)
    return None if raw is None else masked_payload(bytes(raw).decode("utf-8", errors="replace"))


def _names(channels: tuple[str, ...] | None) -> list[Any] | None:
    return None if channels is None else list(channels)
