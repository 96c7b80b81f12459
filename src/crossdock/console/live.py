"""What the console shows without being asked: one look at the database per process, however many people watch.

`Live` reads the overview while somebody watches or asked lately, and rests in between for at least `PAUSE_SECONDS`
and twenty times what the reading took, so that it never takes more than a twentieth of one connection. Watchers are
told only that something changed; they fetch what they show.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg
import msgspec
import structlog

from crossdock.insight.overview import Minute, Overview, read_overview, read_throughput
from crossdock.ledger.database import Queries

_SQL: Final = Queries.load("console_live")
_LOG: Final = structlog.get_logger("crossdock.console")

PAUSE_SECONDS: Final = 2.0
REST_FACTOR: Final = 20
FRESH_SECONDS: Final = 5.0
THROUGHPUT_SECONDS: Final = 15.0
WATCHERS_MAX: Final = 200
WATCH_SECONDS_MAX: Final = 600.0
HEARTBEAT_SECONDS: Final = 15.0


class Snapshot(msgspec.Struct, frozen=True):
    """One look: `version` grows whenever anything that is shown has changed."""

    version: int
    orders_version: int
    stock_version: int
    overview: Overview
    throughput: tuple[Minute, ...]


class Live:
    """The process's one look at the database. `close()` ends all watching."""

    def __init__(self, pool: asyncpg.Pool[Any], clock: Callable[[], datetime]) -> None:
        self._pool = pool
        self._clock = clock
        self._reading = asyncio.Lock()
        self._changed = asyncio.Condition()
        self._snapshot: Snapshot | None = None
        self._read_at = 0.0
        self._throughput_at = 0.0
        self._mark: tuple[Any, ...] = ()
        self._content = b""
        self._watchers = 0
        self._poller: asyncio.Task[None] | None = None
        self._closed = False

    async def snapshot(self) -> Snapshot:
        """The latest look, at most FRESH_SECONDS old."""
        if self._snapshot is None or time.monotonic() - self._read_at > FRESH_SECONDS:
            await self._read(max_age_seconds=FRESH_SECONDS)
        assert self._snapshot is not None  # noqa: S101 - _read has just set it or raised
        return self._snapshot

    @property
    def full(self) -> bool:
        return self._closed or self._watchers >= WATCHERS_MAX

    async def watch(self) -> AsyncIterator[bytes]:
        """Server-sent events "overview", "orders", "stock" with a version; ends by itself after WATCH_SECONDS_MAX."""
        self._watchers += 1
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll(), name="console live")
        ends_at = time.monotonic() + WATCH_SECONDS_MAX
        seen = seen_orders = seen_stock = 0
        try:
            yield b"retry: 3000\n\n"
            while not self._closed and time.monotonic() < ends_at:
                snapshot = await self._next(seen)
                if snapshot is None:
                    yield b": still here\n\n"
                    continue
                if snapshot.orders_version != seen_orders:
                    yield f"event: orders\ndata: {snapshot.orders_version}\n\n".encode()
                if snapshot.stock_version != seen_stock:
                    yield f"event: stock\ndata: {snapshot.stock_version}\n\n".encode()
                yield f"event: overview\ndata: {snapshot.version}\n\n".encode()
                seen, seen_orders, seen_stock = snapshot.version, snapshot.orders_version, snapshot.stock_version
        finally:
            self._watchers -= 1

    async def close(self) -> None:
        self._closed = True
        async with self._changed:
            self._changed.notify_all()
        if self._poller is not None:
            self._poller.cancel()
            with suppress(asyncio.CancelledError):
                await self._poller

    async def _next(self, seen: int) -> Snapshot | None:
        """The snapshot after `seen`, or None when nothing changed for a heartbeat."""
        with suppress(TimeoutError):
            async with asyncio.timeout(HEARTBEAT_SECONDS), self._changed:
                await self._changed.wait_for(
                    lambda: self._closed or (self._snapshot is not None and self._snapshot.version > seen)
                )
                return None if self._closed else self._snapshot
        return None

    async def _poll(self) -> None:
        while self._watchers > 0 and not self._closed:
            began = time.monotonic()
            try:
                await self._read(max_age_seconds=PAUSE_SECONDS / 2)
            except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
                # The database is away: the pages say so themselves, watching goes on.
                _LOG.warning("console_live_unread", error=type(error).__name__)
            await asyncio.sleep(max(PAUSE_SECONDS, REST_FACTOR * (time.monotonic() - began)))

    async def _read(self, max_age_seconds: float) -> None:
        async with self._reading:
            if self._snapshot is not None and time.monotonic() - self._read_at < max_age_seconds:
                return
            now = self._clock()
            mark = tuple((await self._pool.fetch(_SQL["mark"]))[0])
            overview = await read_overview(self._pool, now)
            throughput = await self._throughput(now)
            self._read_at = time.monotonic()
            await self._announce(mark, overview, throughput)

    async def _throughput(self, now: datetime) -> tuple[Minute, ...]:
        if self._snapshot is None or time.monotonic() - self._throughput_at > THROUGHPUT_SECONDS:
            self._throughput_at = time.monotonic()
            return await read_throughput(self._pool, now)
        return self._snapshot.throughput

    async def _announce(self, mark: tuple[Any, ...], overview: Overview, throughput: tuple[Minute, ...]) -> None:
        before = self._snapshot
        content = msgspec.json.encode((msgspec.structs.replace(overview, at=_ANY_TIME, processes=()), throughput))
        version = before.version if before else 0
        orders_version = before.orders_version if before else 0
        stock_version = before.stock_version if before else 0
        if mark[:2] != self._mark[:2]:
            orders_version += 1
        if mark[2:] != self._mark[2:] or (before and before.overview.stock != overview.stock):
            stock_version += 1
        if content != self._content or mark != self._mark:
            version += 1
        self._mark, self._content = mark, content
        async with self._changed:
            self._snapshot = Snapshot(version, orders_version, stock_version, overview, throughput)
            self._changed.notify_all()


_ANY_TIME: Final = datetime(2000, 1, 1, tzinfo=UTC)
