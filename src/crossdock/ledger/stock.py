"""Stock as its owners report it, corrected by what moved since: balances, movements, supply, and what orders do to it.

Everything is set-based. Quantities are base units. The caller holds the transaction; rows of stock are locked in one
order (SKU, location) before they are read for a change.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple

import msgspec

from crossdock.ledger.database import Connection, Queries, as_rows
from crossdock.model.stock import InboundSupply, StockMovement
from crossdock.rules.balances import BalanceRow
from crossdock.rules.ownership import NO_OWNERS, Ownership, last_moment

_SQL: Final = Queries.load("stock")


class Departure(NamedTuple):
    """Goods of an order that left. `shipment` "" when nobody reported one."""

    order_id: int
    line: str
    location: str
    sku: str
    quantity: Decimal
    shipment: str
    at: datetime
    connection: str


class Told(NamedTuple):
    """A step of an order succeeded at `at`, which may have told an owner; `shipment` "" when it is about the order."""

    order_id: int
    operation: str
    step: str
    shipment: str
    at: datetime


def rule_columns(ownership: Ownership) -> tuple[list[Any], ...]:
    """What owners' balances contain, as the queries join it."""
    rows = ownership.containing
    return (
        [row.location for row in rows], [row.source for row in rows], [row.told for row in rows],
        [row.skew for row in rows],
    )  # fmt: skip


def columns_of(rows: Iterable[Sequence[Any]], width: int) -> list[list[Any]]:
    """Rows as columns, for `unnest`."""
    found = [list(column) for column in zip(*rows, strict=True)]
    return found or [[] for _ in range(width)]


async def place_balances(
    connection: Connection, balances: Sequence[BalanceRow], now: datetime, ownership: Ownership = NO_OWNERS
) -> int:
    """Take owners' balances: of several of one place the youngest, and none that is older than what is known.

    Returns how many were news.
    """
    latest: dict[tuple[str, str], BalanceRow] = {}
    for row in balances:
        known = latest.get((row.sku, row.location))
        if known is None or known.as_of <= row.as_of:
            latest[row.sku, row.location] = row
    rows = list(latest.values())
    if not rows:
        return 0
    await lock_places(connection, list(latest), now)
    taken = await connection.fetch(
        _SQL["place_balances"],
        *columns_of(
            [(row.sku, row.location, row.on_hand, row.quality_hold, row.damaged, row.in_transit, row.source, row.as_of)
             for row in rows], 8,
        ), now, *rule_columns(ownership),
    )  # fmt: skip
    news = [latest[row[0], row[1]] for row in taken]
    await _place_lots(connection, news)
    return len(news)


async def lock_places(connection: Connection, places: Collection[tuple[str, str]], now: datetime) -> None:
    """Lock the rows of stock of these places; those that are new begin with nothing."""
    columns = columns_of(places, 2)
    if await connection.fetchval(_SQL["lock_places"], *columns, now) < len(places):
        # Another writer began some of them at the same time; now they are there.
        await connection.execute(_SQL["lock_places"], *columns, now)


async def _place_lots(connection: Connection, rows: Sequence[BalanceRow]) -> None:
    """The lots of earlier balances are gone with these."""
    await write_lots(connection, [
        (row.sku, row.location, lot.lot, lot.serial, lot.quantity, lot.expires_on, row.as_of)
        for row in rows for lot in row.lots
    ])  # fmt: skip


async def write_lots(connection: Connection, lots: Sequence[tuple[Any, ...]]) -> None:
    """`lots` are (SKU, location, lot, serial, base units, expiry, as of); a lot told twice adds up."""
    if lots:
        await connection.execute(_SQL["place_lots"], *columns_of(lots, 7))


async def find_missing(
    connection: Connection, source: str, locations: Sequence[str], as_of: datetime
) -> list[BalanceRow]:
    """What a complete report as of `as_of` did not name, as balances of nothing."""
    rows = await connection.fetch(_SQL["place_missing"], list(locations), source, as_of)
    return [BalanceRow(source, row[0], row[1], Decimal(0), as_of) for row in rows]


async def place_reports(connection: Connection, rows: Sequence[BalanceRow], standing: str, now: datetime) -> None:
    """Keep reports that do not count ("not_owner") or wait for a person ("held"), beside what we believe."""
    if not rows:
        return
    columns = columns_of(
        [(row.sku, row.location, row.source, row.on_hand, row.quality_hold, row.damaged, row.in_transit, row.as_of)
         for row in rows], 8,
    )  # fmt: skip
    await connection.execute(_SQL["place_reports"], *columns, now, [standing] * len(rows))


async def forget_reports(connection: Connection, rows: Sequence[BalanceRow]) -> None:
    """A source whose word counts now no longer stands beside what we believe."""
    if rows:
        await connection.execute(
            _SQL["forget_reports"], *columns_of([(row.sku, row.location, row.source) for row in rows], 3)
        )


async def record_movements(
    connection: Connection, movements: Sequence[tuple[str, StockMovement]], now: datetime,
    ownership: Ownership = NO_OWNERS,
) -> int:  # fmt: skip
    """`movements` are (source, movement in base units). Each counts once, and only if the balance lacks it.

    Returns how many were new.
    """
    if not movements:
        return 0
    rows = [
        (source, move.key, move.sku, move.location, move.quantity.value, move.kind,
         last_moment(move.at) if move.quantity.value < 0 else move.at)
        for source, move in movements
    ]  # fmt: skip
    await lock_places(connection, sorted({(move.sku, move.location) for _, move in movements}), now)
    count: int = await connection.fetchval(
        _SQL["insert_movements"], *columns_of(rows, 7), *rule_columns(ownership), now
    )
    return count


async def place_supply(connection: Connection, supplies: Sequence[tuple[str, InboundSupply, datetime]]) -> None:
    """`supplies` are (source, supply in base units, as of)."""
    if supplies:
        rows = [
            (row.purchase_order, row.line, row.sku, row.location, row.quantity.value, row.expected_on, source, as_of)
            for source, row, as_of in supplies
        ]  # fmt: skip
        await connection.execute(_SQL["place_supply"], *columns_of(rows, 8))


async def ship(connection: Connection, departures: Sequence[Departure], now: datetime, ownership: Ownership) -> None:
    """Goods of orders left; their rows of stock are locked by the caller."""
    if not departures:
        return
    rows = [
        _DepartureRow(
            row.order_id, row.line, row.location, row.sku, row.quantity, row.shipment or f"order:{row.order_id}",
            last_moment(row.at), row.connection, ownership.told_by.get(row.location, ""),
        )
        for row in departures
    ]  # fmt: skip
    await connection.execute(_SQL["ship_stock"], as_rows(rows), *rule_columns(ownership), now)


class _DepartureRow(msgspec.Struct, frozen=True, gc=False):
    order_id: int
    line: str
    location: str
    sku: str
    quantity: Decimal
    shipment: str
    at: datetime
    connection: str
    told_by: str


async def release(
    connection: Connection, rows: Sequence[tuple[int, str, str, str, Decimal]], now: datetime, ownership: Ownership
) -> None:
    """`rows` are (order id, line, location, SKU, base units) that orders no longer hold."""
    if rows:
        await connection.execute(_SQL["release_stock"], *columns_of(rows, 5), *rule_columns(ownership), now)


async def find_touched(connection: Connection, told: Sequence[Told]) -> list[str]:
    """SKUs whose stock may change because an owner was told; to be locked first."""
    order_ids = sorted({row.order_id for row in told})
    return [row[0] for row in await connection.fetch(_SQL["find_touched"], order_ids)]


async def record_told(connection: Connection, told: Sequence[Told], now: datetime, ownership: Ownership) -> None:
    """Owners know of movements, or have orders in their books, from now on."""
    committed = []
    known = []
    for row in told:
        for telling in ownership.telling.get(row.operation, ()):
            if telling.kind == "commitment":
                if ownership.commits(telling, row.at):
                    committed.append((row.order_id, telling.location, telling.source, row.at))
                continue
            # What comes back is known from the earliest moment at which it may be, what is gone from the latest.
            if telling.kind == "cancellation":
                known.append((row.order_id, telling.location, telling.kind, "", row.at, row.step))
            else:
                known.append((row.order_id, telling.location, telling.kind, row.shipment, row.at, ""))
    rules = rule_columns(ownership)
    if known:
        await connection.execute(_SQL["acknowledge_movements"], *columns_of(known, 6), *rules)
    if committed:
        await connection.execute(_SQL["commit_reservations"], *columns_of(committed, 4), *rules, now)


async def recount(
    connection: Connection, ownership: Ownership, skus: Sequence[str] | None = None
) -> list[tuple[str, str, Decimal, Decimal]]:
    """(SKU, location, on hand, what balance and movements add up to) where both differ: never, unless by a defect."""
    wanted = None if skus is None else list(skus)
    return [tuple(row) for row in await connection.fetch(_SQL["recount"], wanted, *rule_columns(ownership))]


async def prune_movements(connection: Connection, before: datetime) -> int:
    """Forget movements received before `before` that every balance to come contains; returns how many."""
    tag: str = await connection.execute(_SQL["prune_movements"], before)
    return int(tag.rsplit(" ", 1)[1])
