"""How far changes of promises have come: one look at the ledger per process, however many listen."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Final

import asyncpg

from crossdock.ledger import stock_stream as ledger

LOOK_SECONDS: Final = 0.2
HEARTBEAT_SECONDS: Final = 15.0
LISTENERS_MAX: Final = 200
POSITIONS_AT_ONCE: Final = 500


class ChangeFeed:
    """It looks only while somebody listens; `close` it at the end."""

    def __init__(self, pool: asyncpg.Pool[Any]) -> None:
        self._pool = pool
        self._moved = asyncio.Condition()
        self._last = 0
        self._listeners = 0
        self._looking: asyncio.Task[None] | None = None

    @property
    def is_full(self) -> bool:
        return self._listeners >= LISTENERS_MAX

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            with suppress(asyncio.CancelledError):
                await self._looking

    @property
    def is_listened_to(self) -> bool:
        return self._listeners > 0

    async def begin(self, after: int | None) -> tuple[int, bool]:
        """Where a listener begins, and whether it has missed something that is not kept any more."""
        async with self._pool.acquire() as connection:
            first, last = await ledger.read_bounds(connection)
        if after is None:
            return last, False
        if after > last or after < first - 1:
            return last, True
        return after, False

    def listen(self) -> None:
        self._listeners += 1
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(), name="stock changes")

    def leave(self) -> None:
        self._listeners -= 1

    async def wait_beyond(self, position: int) -> bool:
        """False when nothing changed for a heartbeat."""
        with suppress(TimeoutError):
            async with asyncio.timeout(HEARTBEAT_SECONDS), self._moved:
                await self._moved.wait_for(lambda: self._last > position)
                return True
        return False

    async def read_after(self, position: int) -> tuple[int, list[str]]:
        async with self._pool.acquire() as connection:
            return await ledger.read_after(connection, position, POSITIONS_AT_ONCE)

    async def _look(self) -> None:
        while self._listeners > 0:
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError):
                async with self._pool.acquire() as connection:
                    _, last = await ledger.read_bounds(connection)
                if last != self._last:
                    async with self._moved:
                        self._last = last
                        self._moved.notify_all()
            await asyncio.sleep(LOOK_SECONDS)
