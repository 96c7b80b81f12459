"""Orders as people look for them: search by any partner's number, customer, SKU and state; one order whole.

Every order list is newest first and paged by order id. Identifiers are looked up exactly, in the index of the system
that gave them; a customer is also found by a part of its name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import asyncpg
import msgspec

from crossdock.insight.paging import Listing, bounded, decode_cursor, encode_cursor
from crossdock.ledger.database import Queries
from crossdock.model.fulfilment import ShipmentPart
from crossdock.model.orders import Order, OrderProgress

_SQL: Final = Queries.load("insight_orders")
_OUR_NUMBER: Final = re.compile(r"CD(\d{1,18})\Z", re.IGNORECASE)
TEXT_LENGTH_MAX: Final = 100
RARE_SKU_ORDERS: Final = 5_000
# A channel's clock, a poll and an outage: an order reaches us at most so long after it was placed.
PLACED_BEFORE_ACCEPTED_MAX: Final = timedelta(days=2)


class OrderFilter(msgspec.Struct, frozen=True, omit_defaults=True):
    """What to look for; empty means any. `channels` limits what the asker may see at all (None: everything)."""

    text: str = ""
    customer: str = ""
    sku: str = ""
    state: str = ""
    channel: str = ""
    hold_cause: str = ""
    placed_since: datetime | None = None
    channels: tuple[str, ...] | None = None


class OrderSummary(msgspec.Struct, frozen=True):
    """One row of a list: no personal data. `waiting_for` is the ERP that has not taken the order yet."""

    order_id: int
    number: str
    channel: str
    channel_number: str
    customer: str
    customer_name: str
    order_type: str
    region: str
    currency: str
    net: Decimal
    line_count: int
    state: str
    hold_cause: str
    hold_owner: str
    steps_open: int
    placed_at: datetime
    accepted_at: datetime
    waiting_for: str = ""
    waiting_since: datetime | None = None


class ShipmentSummary(msgspec.Struct, frozen=True):
    """A confirmed shipment, correlated to the order's lines, with its money."""

    shipment: str
    connection: str
    order_id: int
    order_number: str
    channel: str
    channel_number: str
    warehouse: str
    shipped_at: datetime
    received_at: datetime
    part: ShipmentPart
    delivered_at: datetime | None = None


class InvoiceSummary(msgspec.Struct, frozen=True):
    number: str
    shipment: str
    currency: str
    net: Decimal
    tax: Decimal
    posted_at: datetime


class PaymentSummary(msgspec.Struct, frozen=True):
    kind: str
    reference: str
    currency: str
    amount: Decimal
    external_id: str
    at: datetime


class OrderDetail(msgspec.Struct, frozen=True):
    """An order whole: as accepted, how far it came, and the documents that followed."""

    order: Order
    progress: OrderProgress
    steps_open: int
    decided_at: datetime
    customer_name: str = ""
    shipments: tuple[ShipmentSummary, ...] = ()
    invoices: tuple[InvoiceSummary, ...] = ()
    payments: tuple[PaymentSummary, ...] = ()


def order_id_of(number: str) -> int | None:
    """The order id in our number ("CD00000012" -> 12), or None if it is not one of ours."""
    found = _OUR_NUMBER.match(number.strip())
    return int(found.group(1)) if found else None


async def search_orders(
    pool: asyncpg.Pool[Any], wanted: OrderFilter, cursor: str = "", limit: int = 50
) -> Listing[OrderSummary]:
    """A page of the orders that match, newest first. Raises Invalid `cursor`."""
    key = decode_cursor(cursor, tuple[int])
    before = None if key is None else key[0]
    limit = bounded(limit)
    async with pool.acquire() as connection, connection.transaction(readonly=True):
        await connection.execute(_SQL["plan_for_these_values"])
        rows = await _matching(connection, wanted, before, limit + 1)
        waits = await connection.fetch(_SQL["waiting_for_erp"], [row["order_id"] for row in rows[:limit]])
    waiting = {row["order_id"]: row for row in waits}
    items = tuple(_summary(row, waiting.get(row["order_id"])) for row in rows[:limit])
    return Listing(items, encode_cursor(items[-1].order_id) if len(rows) > limit else "")


async def _matching(connection: Any, wanted: OrderFilter, before: int | None, limit: int) -> list[asyncpg.Record]:
    """A text may be a number, a customer or a SKU: each is asked in its own index, then they are merged."""
    text = wanted.text.strip().replace("\x00", "")[:TEXT_LENGTH_MAX]
    first_id = None
    if wanted.placed_since is not None:
        earliest = wanted.placed_since - PLACED_BEFORE_ACCEPTED_MAX
        first_id = await connection.fetchval(_SQL["first_accepted_since"], earliest)
    if not text:
        return await _page(connection, wanted, before, first_id, limit)
    found = await connection.fetchrow(_SQL["resolve_text"], text, order_id_of(text), _like(text))
    merged: dict[int, asyncpg.Record] = {}
    if found["order_ids"]:
        rows = await _page(connection, wanted, before, first_id, limit, order_ids=found["order_ids"])
        merged.update({row["order_id"]: row for row in rows})
    for narrower in _narrowed(wanted, found["customers"] or (), found["sku"] or ""):
        rows = await _page(connection, narrower, before, first_id, limit)
        merged.update({row["order_id"]: row for row in rows})
    return [merged[order_id] for order_id in sorted(merged, reverse=True)[:limit]]


def _narrowed(wanted: OrderFilter, customers: Sequence[str], sku: str) -> list[OrderFilter]:
    """The filter with each customer and the SKU that the text names, where that does not contradict it."""
    replace = msgspec.structs.replace
    found = [replace(wanted, customer=code) for code in customers if wanted.customer in ("", code)]
    if sku and wanted.sku in ("", sku):
        found.append(replace(wanted, sku=sku))
    return found


async def _page(
    connection: Any,
    wanted: OrderFilter,
    before: int | None,
    first_id: int | None,
    limit: int,
    *,
    order_ids: Sequence[int] | None = None,
) -> list[asyncpg.Record]:
    sku: str | None = wanted.sku or None
    if sku is not None and order_ids is None:
        # A rare SKU is found by its reservations; a common one while walking back from the newest order.
        rare = await connection.fetch(_SQL["orders_of_sku"], sku, RARE_SKU_ORDERS + 1)
        if len(rare) <= RARE_SKU_ORDERS:
            order_ids, sku = [row["order_id"] for row in rare], None
    channel, channels = wanted.channel or None, wanted.channels
    if channel is None and channels is not None and len(channels) == 1:
        # Who sees one channel only asks for it: that is found by an index.
        channel = channels[0]
    rows = await connection.fetch(
        _SQL["search"],
        before,
        wanted.state or None,
        wanted.customer or None,
        channel,
        None if channels is None else list(channels),
        wanted.hold_cause or None,
        sku,
        wanted.placed_since,
        order_ids,
        first_id,
        limit,
    )
    return list(rows)


async def read_order(
    pool: asyncpg.Pool[Any], number: str, channels: tuple[str, ...] | None = None
) -> OrderDetail | None:
    """The order with our `number`; None if there is none or it is of a channel that the asker may not see."""
    order_id = order_id_of(number)
    if order_id is None:
        return None
    row = await pool.fetchrow(_SQL["order_whole"], order_id, None if channels is None else list(channels))
    if row is None:
        return None
    return OrderDetail(
        order=msgspec.json.decode(row["body"], type=Order),
        progress=msgspec.json.decode(row["progress"], type=OrderProgress),
        steps_open=row["steps_open"],
        decided_at=row["decided_at"],
        customer_name=row["customer_name"],
        shipments=tuple(_shipment(found) for found in await pool.fetch(_SQL["order_shipments"], order_id)),
        invoices=tuple(InvoiceSummary(**dict(found)) for found in await pool.fetch(_SQL["order_invoices"], order_id)),
        payments=tuple(PaymentSummary(**dict(found)) for found in await pool.fetch(_SQL["order_payments"], order_id)),
    )


async def list_channels(pool: asyncpg.Pool[Any]) -> tuple[str, ...]:
    """The channels that orders came from, by name."""
    return tuple(row["channel"] for row in await pool.fetch(_SQL["channels"]))


async def list_shipments(
    pool: asyncpg.Pool[Any],
    *,
    order_number: str = "",
    channels: tuple[str, ...] | None = None,
    cursor: str = "",
    limit: int = 50,
) -> Listing[ShipmentSummary]:
    """A page of shipments, newest orders first; all of one order if `order_number` is given."""
    key = decode_cursor(cursor, tuple[int, str, str])
    limit = bounded(limit)
    order_id = order_id_of(order_number) if order_number else None
    if order_number and order_id is None:
        return Listing(())
    rows = await pool.fetch(
        _SQL["shipments"],
        order_id,
        None if channels is None else list(channels),
        *(key or (None, None, None)),
        limit + 1,
    )
    items = tuple(_shipment(row) for row in rows[:limit])
    last = items[-1] if len(rows) > limit else None
    return Listing(items, encode_cursor(last.order_id, last.shipment, last.connection) if last else "")


def _summary(row: asyncpg.Record, wait: asyncpg.Record | None) -> OrderSummary:
    if wait is None:
        return OrderSummary(**dict(row))
    return OrderSummary(**dict(row), waiting_for=wait["connection"], waiting_since=wait["since"])


def _shipment(row: asyncpg.Record) -> ShipmentSummary:
    return ShipmentSummary(**{**dict(row), "part": msgspec.json.decode(row["part"], type=ShipmentPart)})


def _like(text: str) -> str:
    """The text as a part of a name, with the wildcards of LIKE taken literally."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
