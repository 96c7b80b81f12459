"""Refused orders in quarantine: what they name is kept, so that they are found again when that changes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from crossdock.ledger.database import Connection, Queries, as_rows
from crossdock.model.errors import CrossdockError
from crossdock.model.orders import OrderPlaced
from crossdock.rules.book import Reference

NAMED_MAX: Final = 5000
_SQL: Final = Queries.load("refusals")


class _RefusedRow(msgspec.Struct, frozen=True, gc=False):
    fact_id: int
    cause: str
    message: str
    owner: str
    next_action: str
    named: tuple[str, ...]


async def park_refused(
    connection: Connection, refused: Sequence[tuple[int, CrossdockError, OrderPlaced]], known: Reference, version: int
) -> None:
    """Park orders that were refused by master data of `version`; `known` are the products that they name."""
    if refused:
        rows = [
            _RefusedRow(fact_id, error.code, error.message, error.who_acts, error.next_action, _named(placed, known))
            for fact_id, error, placed in refused
        ]
        await connection.execute(_SQL["park_refused"], version, as_rows(rows))


def _named(placed: OrderPlaced, known: Reference) -> tuple[str, ...]:
    names = {placed.customer}
    for line in placed.lines:
        sku = line.sku or known.codes.get(line.gtin, ("", ""))[0]
        names.update((sku, line.gtin))
        if sku in known.products:
            names.update(part.sku for part in known.products[sku].components)
    # What cannot be kept as a text is the name of nothing that we know.
    return tuple(sorted(name for name in names if name and name.isprintable())[:NAMED_MAX])


async def read_version(connection: Connection) -> int:
    """The version of the master data."""
    return int(await connection.fetchval(_SQL["read_version"]))


async def look_again(connection: Connection, now: datetime, limit: int) -> tuple[int, int]:
    """(how many refused orders were looked at, how many of them wait to be decided again)."""
    rows = await connection.fetch(_SQL["look_again"], limit, now)
    return len(rows), sum(row["mended"] for row in rows)


async def read_refusals(connection: Connection, fact_ids: Sequence[int]) -> dict[int, tuple[str, str]]:
    """Fact -> (cause, message) of those that were parked as refused and wake by themselves."""
    rows = await connection.fetch(_SQL["read_refusals"], list(fact_ids))
    return {row["fact_id"]: (row["cause"], row["message"]) for row in rows}


async def note_decided_again(connection: Connection, accepted: Sequence[tuple[int, str, str]], now: datetime) -> None:
    """`accepted` are (order id, cause, message) of orders that had been refused before."""
    if accepted:
        columns = [list(column) for column in zip(*accepted, strict=True)]
        await connection.execute(_SQL["note_decided_again"], now, *columns)


async def wake_missed(connection: Connection, orders: Sequence[tuple[str, str]], now: datetime) -> None:
    """`orders` are (connection, number in the channel)."""
    if orders:
        await connection.execute(_SQL["wake_missed"], now, [row[0] for row in orders], [row[1] for row in orders])
