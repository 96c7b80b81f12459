"""The order in which promises changed: positions that grow, of which the newest are kept."""

from __future__ import annotations

from typing import Final

from crossdock.ledger.database import Connection, Queries

_SQL: Final = Queries.load("stock_stream")
KEPT: Final = 500_000


async def read_bounds(connection: Connection) -> tuple[int, int]:
    """The oldest and the newest position; both 0 when nothing ever changed."""
    row = await connection.fetchrow(_SQL["bounds"])
    return row[0], row[1]


async def read_after(connection: Connection, position: int, limit: int) -> tuple[int, list[str]]:
    """The position reached, and the SKUs up to it with the kits that are made of them, each once."""
    rows = await connection.fetch(_SQL["read"], position, limit)
    if not rows:
        return position, []
    skus = dict.fromkeys(row[1] for row in rows)
    skus.update(dict.fromkeys(row[0] for row in await connection.fetch(_SQL["find_kits"], list(skus))))
    return rows[-1][0], list(skus)


async def trim(connection: Connection) -> None:
    await connection.execute(_SQL["trim"], KEPT)
