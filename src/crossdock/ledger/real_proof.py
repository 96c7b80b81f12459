"""What the proof with real processes asks the ledger: whether all has come to rest, and what it says then."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from crossdock.ledger.database import Connection, Queries

_SQL: Final = Queries.load("real_proof")


class Rest(msgspec.Struct, frozen=True):
    """What is still under way. `orders` are all that there are."""

    steps: int
    facts: int
    open_orders: int
    orders: int

    @property
    def is_quiet(self) -> bool:
        return not (self.steps or self.facts or self.open_orders)


class KnownOrder(msgspec.Struct, frozen=True):
    channel: str
    channel_number: str
    number: str
    state: str


class LedgerSays(msgspec.Struct, frozen=True):
    """Each of the last five is empty when all is well, but for what only a person can answer."""

    orders: list[KnownOrder]
    facts: int
    reserved: list[str]
    parked_steps: list[str]
    parked_facts: list[tuple[str, str]]
    gaps: list[str]


async def read_rest(connection: Connection) -> Rest:
    row = await connection.fetchrow(_SQL["read_rest"])
    return Rest(row["steps"], row["facts"], row["open_orders"], row["orders"])


async def read_under_way(connection: Connection) -> list[dict[str, Any]]:
    return [dict(row) for row in await connection.fetch(_SQL["read_under_way"])]


async def read_ledger(connection: Connection) -> LedgerSays:
    async def read(name: str) -> list[Any]:
        return list(await connection.fetch(_SQL[name]))

    return LedgerSays(
        [KnownOrder(*row) for row in await read("read_orders")], await connection.fetchval(_SQL["count_facts"]),
        [f"{row['place']} {row['reserved']:f}" for row in await read("read_reserved")],
        [f"{row['step']} {row['error_code']}: {row['error_message']}" for row in await read("read_parked_steps")],
        [(f"{row['fact']}: {row['message']}", row["cause"]) for row in await read("read_parked_facts")],
        [
            f"{row['number']}: " + ("a gap" if row["has_gap"] else f"{row['back'].total_seconds():.3f} s back")
            for row in await read("read_gaps")
        ],
    )  # fmt: skip


async def end_others_but(connection: Connection, sessions: Sequence[int]) -> int:
    """End all other sessions of this database; return how many."""
    return int(await connection.fetchval(_SQL["end_others_but"], list(sessions)))
