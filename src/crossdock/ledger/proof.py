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
STOCK_TABLES: Final = ("publications", "publication_lanes", "stock_drift")
"""Where channels are told stock."""


async def empty_everything(connection: Connection) -> None:
    """All documents are gone afterwards: for a simulation's own database only."""
    await connection.execute(_SQL["empty_everything"])


async def create_database(connection: Connection, name: str) -> None:
    await connection.execute(await connection.fetchval(_SQL["copy_template"], name))


async def drop_database(connection: Connection, name: str) -> None:
    await connection.execute(await connection.fetchval(_SQL["drop_copy"], name))


async def count_others(connection: Connection) -> int:
    """How many others are connected to the server."""
    others: int = await connection.fetchval(_SQL["count_others"])
    return others


async def forget_plans(connection: Connection) -> None:
    """Plans that were made while the tables were small: they are made anew."""
    await connection.execute(_SQL["forget_plans"])


async def read_table(connection: Connection, table: str) -> Sequence[Any]:
    rows: Sequence[Any] = await connection.fetch(_SQL[table])
    return rows


async def read_changes(connection: Connection, since: int) -> tuple[bytes | None, int]:
    """What was changed by transactions from `since` on, as JSON, and where the next look begins. None: nothing was."""
    row = await connection.fetchrow(_SQL["read_changes"], since)
    return row["changes"], row["until"]


async def read_parked(connection: Connection, name: str) -> Sequence[Any]:
    rows: Sequence[Any] = await connection.fetch(_SQL["read_parked"], name)
    return rows


async def count_left(connection: Connection, name: str) -> tuple[int, int]:
    """How much is unfinished, and how many messages of a connection are kept."""
    row = await connection.fetchrow(_SQL["count_left"], name)
    return row["unfinished"], row["kept"]


async def count_untold(connection: Connection) -> int:
    """How much channels still have to be told, or is looked into."""
    untold: int = await connection.fetchval(_SQL["count_untold"])
    return untold
