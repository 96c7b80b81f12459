"""Signs of life of a process that is no worker, so that everybody can see which are up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg
import structlog

from crossdock.engine.clock import sign_of_life
from crossdock.engine.ports import Clock
from crossdock.ledger import steps as ledger

BEAT_SECONDS: Final = 1.0
GOODBYE_SECONDS: Final = 2.0
_log: Final = structlog.get_logger("crossdock.engine.presence")


@asynccontextmanager
async def present(pool: asyncpg.Pool[Any], process: str, kind: str, clock: Clock) -> AsyncIterator[None]:
    """Be seen as `process` while the block runs. A database that does not answer is waited for."""
    beating = asyncio.create_task(_beat(pool, process, kind, clock), name="presence")
    try:
        yield
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)
        try:
            async with asyncio.timeout(GOODBYE_SECONDS), pool.acquire() as connection:
                await ledger.end_process(connection, process)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
            _log.warning("goodbye_failed", error=type(error).__name__)


async def beat(connection: Any, process: str, kind: str, clock: Clock) -> None:
    """A sign of life. It is dated by the time that all share, also after one could not be given for a while."""
    async with sign_of_life(clock, connection):
        await ledger.beat(connection, process, kind, clock())


async def _beat(pool: asyncpg.Pool[Any], process: str, kind: str, clock: Clock) -> None:
    while True:
        try:
            async with pool.acquire() as connection:
                await beat(connection, process, kind, clock)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
            _log.warning("beat_failed", error=type(error).__name__)
        await asyncio.sleep(BEAT_SECONDS)
