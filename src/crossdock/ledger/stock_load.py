"""Balances from a large file: copied as text, judged and taken by PostgreSQL, a chunk of lines a transaction.

The same rules as `rules/balances.py`, set-based; a test holds both together. Memory does not grow with the file.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any, Final, NamedTuple

from crossdock.ledger import stock, stock_sources
from crossdock.ledger.database import Connection, Queries
from crossdock.model.codes import UNIT_DECIMALS
from crossdock.model.values import QUANTITY_MAX
from crossdock.policy.policy import Policy
from crossdock.policy.stock import Freshness
from crossdock.rules.balances import FUTURE_TOLERANCE, BalanceRow
from crossdock.rules.freshness import Weight, judge_report
from crossdock.rules.ownership import Ownership

_SQL: Final = Queries.load("stock_load")
COLUMNS: Final = (
    "sku", "location", "on_hand", "unit", "as_of", "quality_hold", "damaged", "in_transit", "lot", "expires_on",
)  # fmt: skip
COPY_ROWS: Final = 20_000
CHUNK_LINES: Final = 100_000


class Reject(NamedTuple):
    """A line that was not taken as it is."""

    line: int
    code: str
    sku: str
    location: str
    on_hand: str
    unit: str
    as_of: str


@dataclass(slots=True)
class Loaded:
    """What became of a file's rows. `held` is why it was not believed; then nothing was taken."""

    rows: int = 0
    taken: int = 0
    rejected: int = 0
    foreign: int = 0
    emptied: int = 0
    held: str | None = None


@dataclass(slots=True)
class StockLoad:
    """One file on one connection. `default_as_of` is for rows without a time of their own."""

    connection: Connection
    policy: Policy
    ownership: Ownership
    source: str
    now: datetime
    default_as_of: datetime
    lines: int = 0
    heard: dict[str, list[Any]] = field(default_factory=dict)

    async def copy(self, rows: Iterable[tuple[int, Sequence[str]]], progress: Callable[[int], None]) -> int:
        """Copy (line, cells in the order of COLUMNS); returns how many."""
        await self.connection.execute(_SQL["create_staging"])
        count = 0
        for records in _batched(((line, *cells) for line, cells in rows), COPY_ROWS):
            await self.connection.copy_records_to_table("load_rows", records=records, columns=["line", *COLUMNS])
            count += len(records)
            self.lines = records[-1][0]
            progress(count)
        await self.connection.execute(_SQL["index_staging"])
        await self.connection.execute(_SQL["analyze_staging"])
        await self.connection.execute(_SQL["find_twice"])
        return count

    async def judge(self, count: int, *, complete: bool) -> str | None:
        """Why the file is too wild to be believed, if it is."""
        freshness: Freshness = self.policy.stock.freshness
        if count < freshness.wild_rows_min and not complete:
            return None
        falling, staying, stocked = int(await self.connection.fetchval(_SQL["count_falling"])), 0, 0
        # The source's stock is looked at only where it may matter.
        if complete or falling * 100 >= freshness.wild_rows_min * freshness.wild_share_percent:
            async with self.connection.transaction():
                await self.connection.execute(_SQL["choose_plans"])
                falling, staying = await self.connection.fetchrow(_SQL["weigh_file"], self.source)
            stocked = int(await self.connection.fetchval(_SQL["count_stocked"], self.source))
        if complete:
            falling = stocked - staying
        negative = await self.connection.fetchval(_SQL["count_negative"])
        last = int(await self.connection.fetchval(_SQL["last_rows"], self.source))
        return judge_report(Weight(count, negative, falling, stocked, last, complete), freshness)

    async def take(self, loaded: Loaded, reject: Callable[[Reject], None], progress: Callable[[int], None]) -> None:
        """Judge and take chunk by chunk, each committed."""
        for first in range(1, self.lines + 1, CHUNK_LINES):
            last = min(first + CHUNK_LINES - 1, self.lines)
            async with self.connection.transaction():
                await self._take_chunk(first, last, loaded, reject)
            progress(last)

    async def _take_chunk(self, first: int, last: int, loaded: Loaded, reject: Callable[[Reject], None]) -> None:
        owners = self.policy.stock.owners
        locations = sorted({*self.policy.locations, *(owner.location for owner in owners)})
        latest = (
            self.now
            + FUTURE_TOLERANCE
            + max(
                (row.skew for row in self.ownership.containing if row.source == self.source),
                default=FUTURE_TOLERANCE * 0,
            )
        )
        await self.connection.execute(_SQL["clear_chunk"])
        await self.connection.execute(_SQL["choose_plans"])
        await self.connection.execute(
            _SQL["judge_chunk"], first, last, self.source, latest, QUANTITY_MAX,
            locations if self.policy.locations else [], self.default_as_of, list(UNIT_DECIMALS),
            [owner.location for owner in owners], [owner.connection for owner in owners],
            [owner.since for owner in owners], list(UNIT_DECIMALS.values()),
        )  # fmt: skip
        for row in await self.connection.fetch(_SQL["read_rejects"], first, last):
            reject(Reject(*row))
            loaded.rejected += 1
        rules = stock.rule_columns(self.ownership)
        tag = await self.connection.execute(_SQL["insert_chunk"], self.source, self.now, *rules)
        inserted = int(tag.rsplit(" ", 1)[1])
        loaded.taken += inserted
        heard_of = await self.connection.fetch(_SQL["read_heard"])
        known = inserted < sum(row[2] for row in heard_of)
        # Locked first: what the next statement reads is then all that was written.
        if known and await self.connection.fetchval(_SQL["lock_chunk"], self.source):
            loaded.taken += await self.connection.fetchval(_SQL["place_chunk"], self.source, self.now, *rules)
        await self._take_lots()
        foreign = [
            BalanceRow(self.source, row[0], row[1], row[2], row[6], row[3], row[4], row[5])
            for row in await self.connection.fetch(_SQL["read_foreign"])
        ]
        await stock.place_reports(self.connection, foreign, "not_owner", self.now)
        loaded.foreign += len(foreign)
        for location, as_of, rows, earliest in heard_of:
            heard = self.heard.setdefault(location, [as_of, 0, earliest])
            heard[0], heard[1], heard[2] = max(heard[0], as_of), heard[1] + rows, min(heard[2], earliest)

    async def _take_lots(self) -> None:
        await stock.write_lots(self.connection, [tuple(row) for row in await self.connection.fetch(_SQL["read_lots"])])

    async def finish(self, loaded: Loaded, *, complete: bool) -> None:
        """Note the sign of life; of a complete file, what it did not name is not there."""
        if complete and self.heard:
            places = [
                location for location, heard in self.heard.items()
                if self.ownership.counts(self.source, location, heard[0])
            ]  # fmt: skip
            as_of = min(heard[2] for heard in self.heard.values())
            missing = await stock.find_missing(self.connection, self.source, places, as_of)
            for rows in _batched(missing, CHUNK_LINES):
                async with self.connection.transaction():
                    loaded.emptied += await stock.place_balances(self.connection, rows, self.now, self.ownership)
        heard = [
            stock_sources.Heard(self.source, location, found[0], found[1] if complete else 0)
            for location, found in self.heard.items()
        ]
        async with self.connection.transaction():
            await stock_sources.write_heard(self.connection, heard, self.now)


def _batched(rows: Iterable[Any], size: int) -> Iterator[list[Any]]:
    source = iter(rows)
    while batch := list(islice(source, size)):
        yield batch


@asynccontextmanager
async def open_load(
    pool: Any, policy: Policy, ownership: Ownership, source: str, now: datetime, default_as_of: datetime
) -> AsyncIterator[StockLoad]:
    """A load on a connection of its own, whose tables are gone afterwards."""
    async with pool.acquire(timeout=30) as connection:
        try:
            yield StockLoad(connection, policy, ownership, source, now, default_as_of)
        finally:
            await connection.execute(_SQL["drop_staging"])
