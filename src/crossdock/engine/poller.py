"""The poller: reads feeds page by page. A cursor moves in the same transaction that commits the page's facts.

Beside it runs the translator, for arrivals of these connections that were parked and replayed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

import asyncpg
import structlog

from crossdock.engine.clock import APART_SECONDS_MAX, in_step
from crossdock.engine.ports import NO_COUNTS, Clock, Counts, OpenConnection
from crossdock.engine.translator import Translator
from crossdock.kit.connector import Feed, Page
from crossdock.ledger import steps as ledger
from crossdock.ledger.facts import insert_facts
from crossdock.model.errors import CrossdockError, Defect, Unavailable

IDLE_SECONDS: Final = 0.5
PAGE_SECONDS_MAX: Final = 60.0
PAGES_MAX: Final = 1000
"""How many pages one turn of a feed may read before others get theirs."""
_log: Final = structlog.get_logger("crossdock.engine.poller")


class Poller:
    """One per worker process; feeds are leased, so any number may run."""

    def __init__(
        self, pool: asyncpg.Pool[Any], connections: Sequence[OpenConnection], worker: str, clock: Clock,
        counts: Counts = NO_COUNTS, idle_seconds: float = IDLE_SECONDS,
    ) -> None:  # fmt: skip
        self._pool = pool
        self._idle_seconds = idle_seconds
        self._worker = worker
        self._clock = clock
        self._counts = counts
        self._connections = {connection.name: connection for connection in connections if connection.connector.feeds}
        self._translator = Translator(pool, connections, clock)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._translator.run(), name="translator")
            # Each connection has a reader of its own: a slow partner delays nobody else's feeds.
            for name in self._connections:
                tasks.create_task(self._read_forever(name), name=f"poll {name}")

    async def _read_forever(self, name: str) -> None:
        while True:
            try:
                busy = await self.read_due([name])
            except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
                _log.warning("poll_failed", connection=name, error=type(error).__name__)
                busy = False
            if not busy:
                await asyncio.sleep(self._idle_seconds)

    async def read_due(self, names: Sequence[str]) -> bool:
        """Read one due feed of these connections; False when none is due."""
        async with self._pool.acquire() as connection:
            await in_step(self._clock, connection)
            now = self._clock()
            leased_until = now + timedelta(seconds=PAGE_SECONDS_MAX + 30)
            row = await ledger.claim_feed(connection, self._worker, now, leased_until, names)
        if row is None:
            return False
        opened = self._connections[row["connection"]]
        feed = opened.connector.feed(row["feed"])
        interval = float(row["interval_seconds"])
        cursor: str = row["cursor"]
        for _ in range(PAGES_MAX):
            try:
                page = await _read_page(feed, opened, cursor)
            except CrossdockError as error:
                await self._fail(opened.name, feed.name, error, row["failures"], interval)
                return True
            cursor = page.cursor
            if not await self._commit(opened.name, feed.name, page, interval):
                return True
            if not page.more:
                return True
        return True

    async def _commit(self, name: str, feed: str, page: Page, interval: float) -> bool:
        """Commit a page and its cursor. False when the lease was lost or the feed is finished for now."""
        now = self._clock()
        due_at = now if page.more else now + timedelta(seconds=interval)
        async with self._pool.acquire() as connection, connection.transaction():
            fresh = await insert_facts(connection, page.facts, now)
            # Connections before feeds, as a worker that starts locks them.
            await ledger.note_connections(connection, [(name, now, None, None, None)])
            if page.more:
                kept = await ledger.keep_cursor(connection, name, feed, self._worker, page.cursor, now)
            else:
                kept = await ledger.finish_feed(
                    connection, name, feed, self._worker, page.cursor, due_at, now, changed=fresh > 0
                )
        if fresh:
            self._counts.count_facts(name, fresh)
        return kept

    async def _fail(self, name: str, feed: str, error: CrossdockError, failures: int, interval: float) -> None:
        asked = error.retry_after_seconds if isinstance(error, Unavailable) else None
        wait = asked + APART_SECONDS_MAX if asked is not None else min(interval * 2 ** min(failures, 5), 300.0)
        _log.warning("feed_failed", connection=name, feed=feed, code=error.code)
        async with self._pool.acquire() as connection:
            await in_step(self._clock, connection)
            now = self._clock()
            due_at = now + timedelta(seconds=wait)
            await ledger.fail_feed(connection, name, feed, self._worker, due_at, error.code, error.message)
            await ledger.note_connections(connection, [(name, None, now, error.message, None)])


async def _read_page(feed: Feed, opened: OpenConnection, cursor: str) -> Page:
    try:
        async with asyncio.timeout(PAGE_SECONDS_MAX):
            return await feed.read(opened.client, opened.name, cursor)
    except TimeoutError:
        raise Unavailable("feed_timeout", "The partner did not answer in time.") from None
    except CrossdockError:
        raise
    except Exception as error:
        raise Defect("feed_defect", "The connector could not read this feed.", detail=repr(error)) from error
