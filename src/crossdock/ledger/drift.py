"""Differences between owners, Crossdock and channels: what may explain them, what was found, what is done about it."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from typing import Any, Final

import asyncpg
import msgspec

from crossdock.ledger.database import Connection, Queries, as_rows
from crossdock.model.documents import Pack
from crossdock.model.errors import Invalid
from crossdock.model.values import Money
from crossdock.policy.stock import StockOwner
from crossdock.rules.comparison import PROPOSALS, Counted, Drift, Side, Told

_SQL: Final = Queries.load("drift")
_NOTHING: Final = Decimal(0)
_ONE: Final = Decimal(1)
_DAY: Final = Decimal(86_400)
ON_WAY_SECONDS: Final = Decimal(120)
"""So long an order may be on its way from a channel to us; what a SKU sells in that time may be missing."""
CONFIRM: Final = timedelta(seconds=30)
"""What is not certain must still be so after this time: an order that nobody told us of comes by poll."""
CHUNK: Final = 2_000


class _Facts(msgspec.Struct, frozen=True, gc=False):
    base_unit: str
    packs: tuple[Pack, ...] = ()
    list_prices: tuple[Money, ...] = ()


class _Row(msgspec.Struct, frozen=True, gc=False):
    sku: str
    location: str
    expected: Decimal | None
    found: Decimal | None
    cause: str
    amount: Decimal
    currency: str
    proposal: str
    certain: bool
    pending: bool


@dataclass(frozen=True, slots=True)
class Repair:
    """Something is to be done about this difference now, for the `tries`-th time."""

    drift_id: int
    sku: str
    location: str
    cause: str
    tries: int


@dataclass(frozen=True, slots=True)
class Word:
    """What an owner says of a SKU at a place; `quantity` None: it does not carry it there."""

    sku: str
    quantity: Decimal | None
    as_of: datetime


_FACTS: Final = msgspec.json.Decoder(_Facts)


async def read_told(
    connection: Connection, channel: str, partner: str, skus: Sequence[str], now: datetime, rested_since: datetime
) -> dict[str, Told]:
    """SKU -> what we believe the channel shows; what was told just now, or is in a feed, is left out.

    `partner` is the connection that the channel's orders come from.
    """
    rows = await connection.fetch(_SQL["read_told"], channel, list(skus), now)
    held = {row[0]: row[1] for row in await connection.fetch(_SQL["read_held_lines"], channel, partner, list(skus))}
    return {
        row["sku"]: _told(row, held.get(row["sku"], _NOTHING)) for row in rows
        if not row["fed"] and row["listed"] and (_has_rested(row["acknowledged_at"], rested_since) or row["parked"])
    }  # fmt: skip


def _has_rested(acknowledged_at: datetime | None, since: datetime) -> bool:
    """What was never acknowledged is nowhere else than where it was."""
    return acknowledged_at is None or acknowledged_at < since


def _told(row: Any, held: Decimal) -> Told:
    facts = _facts(row["product"])
    sizes = _sizes(facts)
    size = next((pack.base_quantity for pack in facts.packs if pack.unit == row["unit"]), _ONE) if facts else _ONE
    on_way = (row["per_day"] * ON_WAY_SECONDS / _DAY / size).to_integral_value(ROUND_CEILING)
    sold = ((row["sold"] + held) / size).to_integral_value(ROUND_CEILING)
    waiting = row["waiting_seconds"]
    price, currency = _price(facts)
    return Told(
        row["sku"], row["wanted"], row["acknowledged"], row["previous"], size, sizes, waiting, row["parked"], sold,
        on_way, price, currency,
    )  # fmt: skip


async def read_counted(
    connection: Connection, owner: StockOwner, words: Sequence[Word], *, asked: bool
) -> list[tuple[Counted, Decimal | None]]:
    """What we believe of an owner's place, beside its word. `asked`: the owner was asked just now, so its word is
    younger than any report; a report must have come since it was first seen to have left it out."""
    rows = await connection.fetch(
        _SQL["read_counted"], owner.connection, owner.location, [word.sku for word in words],
        [word.as_of for word in words], bool(owner.told_by),
        timedelta(milliseconds=int(owner.clock_skew_seconds * 1000)),
    )  # fmt: skip
    by_sku = {word.sku: word for word in words}
    found = []
    for row in rows:
        word, facts = by_sku[row["sku"]], _facts(row["product"])
        price, currency = _price(facts)
        since = row["found_at"] if asked else word.as_of
        heard = row["heard_at"] is not None and since is not None and row["heard_at"] > since
        found.append((
            Counted(
                row["sku"], owner.location, row["expected"], row["in_doubt"], _sizes(facts), facts is not None,
                not row["stocked"] or row["source"] == owner.connection, row["feed_late"], heard, price, currency,
            ), word.quantity,
        ))  # fmt: skip
    return found


async def due_looks(connection: Connection, channel: str, before: datetime, limit: int) -> list[str]:
    return [row[0] for row in await connection.fetch(_SQL["due_looks"], channel, before, limit)]


async def read_slice(connection: Connection, channel: str, after: str, rested_since: datetime, limit: int) -> list[str]:
    return [row[0] for row in await connection.fetch(_SQL["read_slice"], channel, after, rested_since, limit)]


async def partner_answers(connection: Connection, partner: str, now: datetime) -> bool:
    return bool(await connection.fetchval(_SQL["partner_answers"], partner, now))


async def find_late(connection: Connection, channel: str, before: datetime, limit: int) -> list[str]:
    """SKUs whose figure waits for too long or is parked, and of which nobody knows yet."""
    return [row[0] for row in await connection.fetch(_SQL["find_late"], channel, before, limit)]


async def claim_turn(connection: Connection, owner: StockOwner, now: datetime, every: timedelta) -> str | None:
    """Where to go on comparing with an owner; None when it is not due or somebody else does it."""
    found: str | None = await connection.fetchval(
        _SQL["claim_turn"], owner.connection, owner.location, now, now - every
    )
    return found


async def place_turn(connection: Connection, owner: StockOwner, slice_end: str, error: str | None) -> None:
    await connection.execute(_SQL["place_turn"], owner.connection, owner.location, slice_end, error)


async def owner_skus(
    connection: Connection, owner: StockOwner, after: str, seen_before: datetime, limit: int
) -> tuple[list[str], list[str]]:
    """(differences to be looked at again, the next SKUs of the place)."""
    again = [
        row[0] for row in await connection.fetch(
            _SQL["owner_looks"], owner.connection, owner.location, seen_before, limit // 2
        )
    ]  # fmt: skip
    rows = await connection.fetch(_SQL["owner_slice"], owner.location, after, limit - len(again))
    return again, [row[0] for row in rows]


async def note_unknown(connection: Connection, owner: str, locations: Sequence[str], now: datetime) -> list[Drift]:
    """SKUs that an owner reports and nobody knows; those that are known by now are closed."""
    await connection.fetch(_SQL["close_known"], owner, now)
    rows = await connection.fetch(_SQL["find_unknown"], owner, list(locations))
    return [
        Drift("owner", row["sku"], row["location"], None, row["found"], "unknown_sku", _NOTHING, "", certain=True)
        for row in rows
    ]


async def place_drift(
    connection: Connection, side: Side, counterpart: str, found: Sequence[Drift],
    agreed: Iterable[tuple[str, str]], compared: int, now: datetime,
) -> list[tuple[str, str, str]]:  # fmt: skip
    """Write what was found and close what agrees again; returns (SKU, location, cause) of what is open."""
    opened: list[tuple[str, str, str]] = []
    if found:
        rows = [
            _Row(
                one.sku, one.location, one.expected, one.found, one.cause, one.amount, one.currency,
                PROPOSALS[one.side, one.cause], one.certain, one.pending,
            )
            for one in found
        ]  # fmt: skip
        opened = [tuple(row) for row in await connection.fetch(
            _SQL["place_drift"], side, counterpart, now, as_rows(rows), CONFIRM
        )]  # fmt: skip
    pairs = list(agreed)
    if pairs:
        await connection.fetch(
            _SQL["close_drift"], side, counterpart, [pair[0] for pair in pairs], [pair[1] for pair in pairs], now
        )
    if compared:
        await connection.execute(_SQL["count_compared"], side, counterpart, now, compared, len(opened))
    return opened


async def take_repairs(
    connection: Connection, side: Side, counterpart: str, location: str, now: datetime, *, always: bool, limit: int
) -> list[Repair]:
    rows = await connection.fetch(_SQL["take_repairs"], side, counterpart, now, always, limit, location)
    return [Repair(*row) for row in rows]


async def unpark(connection: Connection, channel: str, skus: Sequence[str]) -> None:
    if skus:
        await connection.execute(_SQL["unpark"], channel, list(skus))


async def choose_repair(
    connection: Connection, drift_ids: Sequence[int], cause: str = "", side: str = "", counterpart: str = ""
) -> int:
    """A person wants these repaired; returns how many there were."""
    return len(await connection.fetch(_SQL["choose_repair"], list(drift_ids), cause, side, counterpart))


async def dismiss(
    connection: Connection, drift_ids: Sequence[int], now: datetime, actor: str, cause: str = "", side: str = "",
    counterpart: str = "",
) -> int:  # fmt: skip
    """A person says that these are well; returns how many there were."""
    return len(await connection.fetch(_SQL["dismiss"], list(drift_ids), cause, side, counterpart, now, actor))


async def prune(connection: Connection, before: datetime) -> None:
    await connection.execute(_SQL["prune"], before)


@dataclass(frozen=True, slots=True)
class GivenFile:
    """A CSV with a first line; `columns` are its columns in their order, as the table names them."""

    path: Path
    columns: tuple[str, ...]


Given = GivenFile | AsyncIterable[Sequence[tuple[str, Decimal, datetime | None]]]
"""(SKU, quantity, counted at): a channel's in the listing's unit, an owner's in base units."""


@asynccontextmanager
async def given_figures(connection: Connection, given: Given) -> AsyncIterator[int]:
    """Figures from a file or a partner, in a table of this connection's own; memory does not grow with them. A file is
    read by PostgreSQL. Raises Invalid when it cannot be."""
    await connection.execute(_SQL["create_shown"])
    await connection.execute(_SQL["clear_given"])
    count = 0
    try:
        if isinstance(given, GivenFile):
            count = await _copy_file(connection, given)
        else:
            async for batch in given:
                await connection.copy_records_to_table("compare_given", records=batch)
                count += len(batch)
        await connection.execute(_SQL["index_given"])
        await connection.execute(_SQL["analyze_given"])
        yield count
    finally:
        await connection.execute(_SQL["drop_given"])


async def _copy_file(connection: Connection, given: GivenFile) -> int:
    try:
        tag: str = await connection.copy_to_table(
            "compare_given", source=given.path, columns=list(given.columns), format="csv", header=True, timeout=600
        )
    except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
        where = str(error.context or "").partition(":")[0] or given.path.name
        raise Invalid(
            "file_form", f"{where.replace('COPY compare_given', given.path.name)} cannot be read: {error}",
            next_action="Correct the line; nothing was compared.",
        ) from None  # fmt: skip
    return int(tag.rsplit(" ", 1)[1])


async def differing_told(
    connection: Connection, channel: str, late_before: datetime, rested_since: datetime
) -> AsyncIterator[Mapping[str, Decimal | None]]:
    """SKU -> what is shown, of all that differs from the given figures; chunk by chunk, inside a transaction."""
    cursor = connection.cursor(_SQL["differing_told"], channel, late_before, rested_since, prefetch=CHUNK)
    chunk: dict[str, Decimal | None] = {}
    async for row in cursor:
        chunk[row[0]] = row[1]
        if len(chunk) >= CHUNK:
            yield chunk
            chunk = {}
    if chunk:
        yield chunk


async def strangers_told(connection: Connection, channel: str) -> list[tuple[str, Decimal]]:
    """What the channel shows and was never told, as far as given."""
    return [(row[0], row[1]) for row in await connection.fetch(_SQL["strangers_told"], channel)]


async def differing_counted(connection: Connection, location: str, as_of: datetime) -> AsyncIterator[Sequence[Word]]:
    """What an owner said of the places that differ; chunk by chunk, inside a transaction."""
    chunk: list[Word] = []
    async for row in connection.cursor(_SQL["differing_counted"], location, as_of, prefetch=CHUNK):
        chunk.append(Word(row[0], row[1], row[2]))
        if len(chunk) >= CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


async def count_pairs(connection: Connection, *, channel: str = "", location: str = "") -> int:
    name, subject = ("count_told", channel) if channel else ("count_counted", location)
    found: int = await connection.fetchval(_SQL[name], subject)
    return found


async def list_told(connection: Connection, channel: str, after: str, limit: int) -> list[str]:
    """The next SKUs of which a channel was told something."""
    return [row[0] for row in await connection.fetch(_SQL["list_told"], channel, after, limit)]


async def list_counted(connection: Connection, location: str, after: str, limit: int) -> list[str]:
    """The next SKUs at a place."""
    return [row[0] for row in await connection.fetch(_SQL["owner_slice"], location, after, limit)]


async def base_units(connection: Connection, skus: Sequence[str]) -> dict[str, str]:
    """SKU -> base unit, of those that are known."""
    return {row[0]: row[1] for row in await connection.fetch(_SQL["base_units"], list(skus))}


def _facts(body: bytes | None) -> _Facts | None:
    return None if body is None else _FACTS.decode(body)


def _sizes(facts: _Facts | None) -> tuple[Decimal, ...]:
    return (_ONE,) if facts is None else tuple({_ONE, *(pack.base_quantity for pack in facts.packs)})


def _price(facts: _Facts | None) -> tuple[Decimal, str]:
    if facts is None or not facts.list_prices:
        return _NOTHING, ""
    return facts.list_prices[0].amount, facts.list_prices[0].currency
