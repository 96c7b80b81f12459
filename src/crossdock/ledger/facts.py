"""The inbox: facts are committed here before anyone is told that they arrived."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from crossdock.ledger.database import Connection, Queries
from crossdock.model.errors import CrossdockError
from crossdock.model.facts import Fact

_SQL: Final = Queries.load("facts")


@dataclass(frozen=True, slots=True)
class WaitingFact:
    """A fact to be decided."""

    fact_id: int
    connection: str
    kind: str
    business_key: str
    subject: str
    body: bytes
    attempt: int
    received_at: datetime
    traceparent: str


async def insert_facts(connection: Connection, facts: Sequence[Fact], now: datetime) -> int:
    """Keep new facts; return how many were new. Committed when it returns (outside of an explicit transaction)."""
    if not facts:
        return 0
    columns: list[list[Any]] = [[] for _ in range(9)]
    for fact in facts:
        row = (
            fact.connection, fact.kind, fact.business_key, fact.version, fact.subject, fact.body, fact.raw,
            fact.occurred_at, fact.traceparent,
        )  # fmt: skip
        for column, value in zip(columns, row, strict=True):
            column.append(value)
    tag: str = await connection.execute(_SQL["insert_facts"], *columns, now)
    return int(tag.rsplit(" ", 1)[1])


async def claim_facts(connection: Connection, now: datetime, limit: int) -> list[WaitingFact]:
    """Lock up to `limit` waiting facts for this transaction, oldest first; others skip them."""
    rows = await connection.fetch(_SQL["claim_facts"], now, limit)
    return [WaitingFact(*row) for row in rows]


async def mark_applied(connection: Connection, facts: Sequence[tuple[int, int | None, str]]) -> None:
    """`facts` are (fact id, order id or None, state applied|ignored)."""
    if facts:
        await connection.execute(
            _SQL["mark_applied"], [row[0] for row in facts], [row[1] for row in facts], [row[2] for row in facts]
        )


async def mark_early(connection: Connection, fact_ids: Sequence[int], until: datetime) -> None:
    """Their order is not here yet: they wait for it, and are quarantined if it has not come at `until`."""
    if fact_ids:
        await connection.execute(_SQL["mark_early"], list(fact_ids), until)


async def quarantine_fact(connection: Connection, fact_id: int, error: CrossdockError) -> None:
    await connection.execute(
        _SQL["quarantine_fact"], fact_id, error.code, error.message, error.who_acts,
        error.next_action or "Mend the cause, then replay.",
    )  # fmt: skip


async def postpone_fact(connection: Connection, fact_id: int, now: datetime, seconds: float) -> None:
    await connection.execute(_SQL["postpone_fact"], fact_id, now + timedelta(seconds=seconds))


async def find_orders_of(connection: Connection, facts: Sequence[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """(connection's channel, channel number) -> order id."""
    rows = await connection.fetch(_SQL["find_by_channel"], [row[0] for row in facts], [row[1] for row in facts])
    return {(row[0], row[1]): row[2] for row in rows}


async def find_orders_by_tracking(connection: Connection, trackings: Sequence[str]) -> dict[str, int]:
    rows = await connection.fetch(_SQL["find_by_tracking"], list(trackings))
    return {row[0]: row[1] for row in rows}


async def expire_early(connection: Connection, now: datetime) -> int:
    """Quarantine facts whose order never came."""
    tag: str = await connection.execute(_SQL["expire_early"], now)
    return int(tag.rsplit(" ", 1)[1])
