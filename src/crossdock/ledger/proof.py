"""What a proof reads from the ledger when a run has ended, and how a simulation's database is emptied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from crossdock.ledger.database import Connection, Queries

_SQL: Final = Queries.load("proof")
TABLES: Final = (
    "orders", "steps", "step_attempts", "events", "facts", "stock", "reservations", "accounts", "invoices", "payments",
    "shipments",
)  # fmt: skip


async def empty_everything(connection: Connection) -> None:
    """All documents are gone afterwards: for a simulation's own database only."""
    await connection.execute(_SQL["empty_everything"])


async def create_database(connection: Connection, name: str) -> None:
    await connection.execute(await connection.fetchval(_SQL["copy_template"], name))


async def drop_database(connection: Connection, name: str) -> None:
    await connection.execute(await connection.fetchval(_SQL["drop_copy"], name))


async def read_table(connection: Connection, table: str) -> Sequence[Any]:
    rows: Sequence[Any] = await connection.fetch(_SQL[table])
    return rows


async def sample_exposures(connection: Connection) -> dict[str, Any]:
    return {row["customer"]: row["exposure"] for row in await connection.fetch(_SQL["sample_exposures"])}


async def sample_oversold(connection: Connection) -> list[str]:
    return [row["place"] for row in await connection.fetch(_SQL["sample_oversold"])]


async def count_unfinished(connection: Connection) -> int:
    count: int = await connection.fetchval(_SQL["count_unfinished"])
    return count


async def count_facts_of(connection: Connection, name: str) -> int:
    count: int = await connection.fetchval(_SQL["count_facts_of"], name)
    return count
