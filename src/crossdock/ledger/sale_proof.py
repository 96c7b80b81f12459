"""What the proof of a flash sale asks the ledger: whether everything has come to rest. Nothing is judged by it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from crossdock.ledger.database import Connection, Queries

_SQL: Final = Queries.load("sale_proof")


async def read_unsettled(connection: Connection) -> dict[str, int]:
    row = await connection.fetchrow(_SQL["read_unsettled"])
    return {} if row is None else {name: int(value) for name, value in row.items()}


async def count_told(connection: Connection, skus: Sequence[str], channels: int) -> int:
    """How many of these SKUs so many channels have acknowledged."""
    return int(await connection.fetchval(_SQL["read_counted"], list(skus), channels))


async def read_open(connection: Connection) -> list[dict[str, Any]]:
    return [dict(row) for row in await connection.fetch(_SQL["read_open"])]
