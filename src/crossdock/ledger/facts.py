"""The inbox: facts are committed here before anyone is told that they arrived."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from crossdock.ledger.database import Connection, Queries
from crossdock.model.errors import CrossdockError, Invalid
from crossdock.model.facts import UNTRANSLATED, Fact, Untranslated

_SQL: Final = Queries.load("facts")
_UNTRANSLATED: Final = msgspec.json.Decoder(Untranslated)


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


@dataclass(frozen=True, slots=True)
class KeptArrival:
    """An arrival that was parked and replayed, to be translated again."""

    fact_id: int
    connection: str
    body: bytes
    raw: bytes


async def insert_facts(connection: Connection, facts: Sequence[Fact], now: datetime) -> int:
    """Keep new facts; return how many were new. Committed when it returns (outside of an explicit transaction).

    What could not be translated, or cannot be stored as it was, is kept too: quarantined, with its payload.
    """
    facts = [fact if _is_storable(fact) else _not_storable(fact) for fact in facts]
    parked = [fact for fact in facts if fact.kind == UNTRANSLATED]
    count = await _insert(connection, [fact for fact in facts if fact.kind != UNTRANSLATED], now)
    return count + await _insert_parked(connection, parked, now)


async def _insert(connection: Connection, facts: Sequence[Fact], now: datetime) -> int:
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


async def _insert_parked(connection: Connection, facts: Sequence[Fact], now: datetime) -> int:
    count = 0
    for fact in facts:
        why = _UNTRANSLATED.decode(fact.body)
        tag: str = await connection.execute(
            _SQL["insert_untranslated"], fact.connection, fact.kind, fact.business_key, fact.version, fact.subject,
            fact.body, fact.raw, now, fact.traceparent, why.code, why.message, why.owner, why.next_action,
        )  # fmt: skip
        count += int(tag.rsplit(" ", 1)[1])
    return count


def _is_storable(fact: Fact) -> bool:
    """PostgreSQL's texts hold neither NUL nor half a surrogate pair."""
    for text in (fact.business_key, fact.subject, fact.version):
        if text.isascii():
            if "\0" in text:
                return False
        elif "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
            return False
    return True


def _not_storable(fact: Fact) -> Fact:
    why = Untranslated(
        "", "not_storable", "Its number holds characters that cannot be kept.", Invalid.who_acts,
        "Ask the sender to correct it and to send it again.",
    )  # fmt: skip
    digest = hashlib.sha256(fact.raw).hexdigest()[:32]
    body = msgspec.json.encode(why)
    return Fact(fact.connection, UNTRANSLATED, digest, body, fact.raw, version=digest, traceparent=fact.traceparent)


async def read_untranslated(
    connection: Connection, connections: Sequence[str], now: datetime, limit: int
) -> list[KeptArrival]:
    """Replayed arrivals of these connections, oldest first. Not locked: a second translation changes nothing."""
    rows = await connection.fetch(_SQL["read_untranslated"], list(connections), now, limit)
    return [KeptArrival(*row) for row in rows]


async def claim_facts(connection: Connection, now: datetime, limit: int) -> list[WaitingFact]:
    """Lock up to `limit` waiting facts for this transaction, oldest first; others skip them."""
    rows = await connection.fetch(_SQL["claim_facts"], now, limit)
    return [WaitingFact(*row) for row in rows]


async def claim_stock_facts(connection: Connection, now: datetime, limit: int) -> list[WaitingFact]:
    """The same for facts about stock, which `claim_facts` leaves out."""
    rows = await connection.fetch(_SQL["claim_stock_facts"], now, limit)
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


async def forget_state_facts(connection: Connection, before: datetime, limit: int) -> int:
    """Delete applied reports of state that came before `before`; return how many."""
    tag: str = await connection.execute(_SQL["forget_state_facts"], before, limit)
    return int(tag.rsplit(" ", 1)[1])


async def wake_overtaken(connection: Connection, channels: Mapping[str, str], now: datetime) -> int:
    """Wake early facts whose order is there after all; `channels` maps channel to connection. Return how many."""
    tag: str = await connection.execute(_SQL["wake_overtaken"], now, list(channels.values()), list(channels))
    return int(tag.rsplit(" ", 1)[1])


async def expire_early(connection: Connection, now: datetime) -> int:
    """Quarantine facts whose order never came."""
    tag: str = await connection.execute(_SQL["expire_early"], now)
    return int(tag.rsplit(" ", 1)[1])
