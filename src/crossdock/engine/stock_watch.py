"""The stock watch: marks feeds that are late against their own rhythm, alerts once, and keeps what the rules need.

It runs in every worker; a lock of the database lets one at a time do it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

import asyncpg
import structlog

from crossdock.engine.ports import Clock
from crossdock.ledger import stock, stock_sources
from crossdock.ledger.database import Connection
from crossdock.policy.stock import StockPolicy
from crossdock.rules.freshness import is_stale

SHRINK_EVERY: Final = timedelta(seconds=30)
"""How often what is promised from silent sources is counted anew."""
SPEED_EVERY: Final = timedelta(minutes=15)
SPEED_DAYS: Final = 28
PARTS_WITHIN: Final = timedelta(minutes=10)
"""The parts of a complete report follow each other within this time."""
KEYS_KEPT: Final = timedelta(days=90)
"""A movement that comes again within this time is known by its key."""
PRUNE_EVERY: Final = timedelta(hours=1)
_log: Final = structlog.get_logger("crossdock.engine.stock_watch")


class StockWatch:
    """`look` is called again and again; each duty has its own time."""

    def __init__(self, pool: asyncpg.Pool[Any], policy: StockPolicy, clock: Clock) -> None:
        self._pool = pool
        self._policy = policy
        self._clock = clock
        self._version = -1
        self._done: dict[str, datetime] = {}

    async def look(self) -> None:
        now = self._clock()
        async with self._pool.acquire() as connection, connection.transaction():
            if not await stock_sources.try_housekeeping(connection):
                return
            await self._mark(connection, now)
            version = await stock_sources.read_reference_version(connection)
            # Not done before all that wait are woken: they are woken in portions.
            if version != self._version and not await stock_sources.wake_known(connection, now):
                self._version = version
            for source, snapshot, reason in await stock_sources.break_snapshots(connection, now - PARTS_WITHIN, now):
                _log.error("stock_report_incomplete", connection=source, snapshot=snapshot, reason=reason)
            if self._is_due("speed", SPEED_EVERY, now):
                await stock_sources.refresh_speed(connection, now, SPEED_DAYS)
            if self._is_due("prune", PRUNE_EVERY, now):
                await stock.prune_movements(connection, now - KEYS_KEPT)

    async def _mark(self, connection: Connection, now: datetime) -> None:
        sources = await stock_sources.list_sources(connection)
        freshness = self._policy.freshness
        late = [
            (item.source, item.location) for item in sources
            if is_stale(item.heard_at, item.rhythm_seconds, now, freshness)
        ]  # fmt: skip
        back = [
            (item.source, item.location) for item in sources
            if item.stale_since is not None and (item.source, item.location) not in set(late)
        ]  # fmt: skip
        marked = await stock_sources.mark_stale(connection, late, now) if late else []
        for source, location, received_at in marked:
            _log.error("stock_feed_late", connection=source, location=location, last_report=received_at.isoformat())
        fresh = await stock_sources.mark_fresh(connection, back) if back else []
        for source, location in fresh:
            _log.info("stock_feed_back", connection=source, location=location)
        if late and self._is_due("shrink", SHRINK_EVERY, now):
            await stock_sources.note_stale(connection, late)
        elif marked:
            await stock_sources.note_stale(connection, [(source, location) for source, location, _ in marked])
        await stock_sources.note_stale(connection, fresh)

    def _is_due(self, duty: str, every: timedelta, now: datetime) -> bool:
        last = self._done.get(duty)
        if last is not None and now - last < every:
            return False
        self._done[duty] = now
        return True
