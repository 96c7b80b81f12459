"""Who reports stock, and how: rhythms, complete reports in parts, held reports, rows that could not be taken."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from crossdock.ledger.database import Connection, Queries
from crossdock.ledger.stock import columns_of
from crossdock.model.errors import Invalid
from crossdock.model.facts import BalancesReported
from crossdock.rules.balances import BalanceRow, RefusedRow
from crossdock.rules.freshness import follow_rhythm

_SQL: Final = Queries.load("stock_sources")
_ENCODER: Final = msgspec.json.Encoder()
ROWS_NAMED_MAX: Final = 5
"""So many refused rows are told with line and reason; the fact has them all."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What one report says of a source at a location; `rows` 0 when it is not complete."""

    source: str
    location: str
    as_of: datetime
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Source:
    """A source of balances as the watch sees it. `heard_at`: its last report, or its last reading without news."""

    source: str
    location: str
    heard_at: datetime
    rhythm_seconds: Decimal | None
    stale_since: datetime | None


async def read_reference_version(connection: Connection) -> int:
    version: int = await connection.fetchval(_SQL["reference_version"])
    return version


async def weigh(
    connection: Connection, source: str, locations: Sequence[str], rows: Sequence[BalanceRow]
) -> tuple[int, int, int]:
    """(SKUs that the source has in stock there, named ones that fall to nothing, named ones that stay)."""
    columns = columns_of([(row.sku, row.location, row.on_hand) for row in rows], 3)
    row = await connection.fetchrow(_SQL["weigh_report"], source, list(locations), *columns)
    return row[0], row[1], row[2]


async def count_falling(connection: Connection, source: str, rows: Sequence[BalanceRow]) -> int:
    """How many of these rows, which report nothing, are in stock now."""
    columns = columns_of([(row.sku, row.location) for row in rows], 2)
    count: int = await connection.fetchval(_SQL["count_falling"], source, *columns)
    return count


async def read_last_rows(connection: Connection, source: str, locations: Collection[str]) -> int:
    """Rows of the last complete reports of these locations."""
    rows = await connection.fetch(_SQL["read_sources"], [source] * len(locations), sorted(locations))
    return sum(row[5] for row in rows)


async def write_heard(connection: Connection, heard: Sequence[Heard], now: datetime) -> None:
    """Sources were heard of: their rhythm goes on."""
    latest: dict[tuple[str, str], Heard] = {}
    for item in heard:
        known = latest.get((item.source, item.location))
        if known is None or item.as_of >= known.as_of:
            latest[item.source, item.location] = item
    if not latest:
        return
    keys = sorted(latest)
    found = await connection.fetch(_SQL["read_sources"], *columns_of(keys, 2))
    before = {(row[0], row[1]): row for row in found}
    rows = []
    for key in keys:
        earlier = before.get(key)
        rhythm = None
        if earlier is not None:
            # A source that was held before it was ever taken has no report to measure from.
            rhythm = follow_rhythm(earlier[4], now - earlier[3]) if earlier[2].year > 1 else None
        rows.append((*key, latest[key].as_of, rhythm, latest[key].rows))
    await connection.execute(_SQL["write_sources"], *columns_of(rows, 5), now)


async def hold_report(
    connection: Connection, fact_id: int, source: str, locations: Collection[str], reason: str, now: datetime
) -> None:
    """A report waits for a person; when its fact comes again, it was let through."""
    await connection.execute(_SQL["note_held"], fact_id, reason, now)
    await hold_sources(connection, source, locations, reason, now)


async def hold_sources(
    connection: Connection, source: str, locations: Collection[str], reason: str, now: datetime
) -> None:
    await connection.execute(_SQL["hold_sources"], source, sorted(locations), now, reason)


async def find_held(connection: Connection, fact_ids: Sequence[int]) -> set[int]:
    return {row[0] for row in await connection.fetch(_SQL["find_held"], list(fact_ids))}


async def read_parts(connection: Connection, source: str, report: BalancesReported) -> list[Any]:
    """The other parts of a complete report that came: (part, rows, locations, as of)."""
    return list(await connection.fetch(_SQL["read_parts"], source, report.snapshot, report.part))


async def place_part(
    connection: Connection, source: str, report: BalancesReported, locations: Collection[str], as_of: datetime,
    now: datetime,
) -> None:  # fmt: skip
    await connection.execute(
        _SQL["place_part"], source, report.snapshot, report.part, report.parts, len(report.balances),
        sorted(locations), as_of, now,
    )  # fmt: skip


async def end_snapshot(connection: Connection, source: str, as_of: datetime) -> None:
    await connection.execute(_SQL["end_snapshot"], source, as_of)


async def park_rows(
    connection: Connection, fact_id: int, business_key: str, body: Any, rows: Sequence[RefusedRow], now: datetime
) -> None:
    """Keep refused rows of a fact as a parked fact of their own; `rows` have one code."""
    await connection.execute(
        _SQL["park_rows"], fact_id, f"{business_key}#{fact_id}-{rows[0].code}", _ENCODER.encode(body), now,
        rows[0].code, tell_rows(rows), Invalid.who_acts, rows[0].fix,
    )  # fmt: skip


def tell_rows(rows: Sequence[RefusedRow]) -> str:
    """The first refused rows with line and reason, and how many more there are."""
    named = "; ".join(f"line {row.line}: {row.message}" for row in rows[:ROWS_NAMED_MAX])
    more = len(rows) - ROWS_NAMED_MAX
    return f"{named}; and {more} more" if more > 0 else named


async def wake_known(connection: Connection, now: datetime) -> int:
    """Rows parked for their unknown product go on when the product is here; returns how many facts."""
    return len(await connection.fetch(_SQL["wake_known"], now))


async def list_sources(connection: Connection) -> list[Source]:
    return [Source(*row) for row in await connection.fetch(_SQL["list_sources"])]


async def mark_stale(
    connection: Connection, places: Sequence[tuple[str, str]], now: datetime
) -> list[tuple[str, str, datetime]]:
    """Mark (source, location) as late; returns those that were not marked before, with their last report."""
    return [tuple(row) for row in await connection.fetch(_SQL["mark_stale"], *columns_of(places, 2), now)]


async def mark_fresh(connection: Connection, places: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    return [tuple(row) for row in await connection.fetch(_SQL["mark_fresh"], *columns_of(places, 2))]


async def note_stale(connection: Connection, places: Sequence[tuple[str, str]]) -> None:
    """What is promised from these is to be counted anew."""
    if places:
        await connection.execute(_SQL["note_stale"], *columns_of(places, 2))


async def break_snapshots(connection: Connection, before: datetime, now: datetime) -> list[tuple[str, str, str]]:
    """Give up complete reports whose missing parts did not come; returns (source, snapshot, reason)."""
    broken = []
    for row in await connection.fetch(_SQL["find_broken_snapshots"], before):
        source, snapshot, came, parts, locations = row
        reason = f"Only {came} of {parts} parts of the complete report {snapshot} came; what it left out was kept."
        await hold_sources(connection, source, locations, reason, now)
        await connection.execute(_SQL["drop_snapshot"], source, snapshot)
        broken.append((source, snapshot, reason))
    return broken


async def refresh_speed(connection: Connection, now: datetime, days: int) -> int:
    """Reckon how fast SKUs sell; returns how many sell at all."""
    count: int = await connection.fetchval(_SQL["refresh_speed"], now, days)
    await connection.execute(_SQL["forget_speed"], now)
    return count


async def try_housekeeping(connection: Connection) -> bool:
    """Whether this transaction may do what one process at a time does."""
    taken: bool = await connection.fetchval(_SQL["try_housekeeping"])
    return taken
