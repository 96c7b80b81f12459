"""Waiting for a database that is away: a service that starts meanwhile waits, and need not be started again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import asyncpg
import structlog

Answer = TypeVar("Answer")
AWAY: Final = (
    OSError, TimeoutError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError, asyncpg.InsufficientResourcesError,
)  # fmt: skip
"""It does not answer, starts, recovers, stops, or has no room: for a connection or on its disk. A wrong password is
none of these."""
WAIT_SECONDS_MAX: Final = 300.0
_PAUSE_SECONDS: Final = 0.5
_log: Final = structlog.get_logger("crossdock.ledger.patience")


async def patiently(work: Callable[[], Awaitable[Answer]], seconds: float = WAIT_SECONDS_MAX) -> Answer:
    """Do `work`, again and again while the database is away. Raises what `work` last raised when the time is up."""
    ends = time.monotonic() + seconds
    said = False
    while True:
        try:
            return await work()
        except AWAY as error:
            if time.monotonic() >= ends:
                raise
            if not said:
                _log.warning("waiting_for_database", error=type(error).__name__)
                said = True
        await asyncio.sleep(_PAUSE_SECONDS)


async def until_answering(dsn: str, seconds: float = WAIT_SECONDS_MAX) -> None:
    """Until the database takes a connection. Raises what it last answered when the time is up."""

    async def ask() -> None:
        connection = await asyncpg.connect(dsn, timeout=10)
        await connection.close(timeout=5)

    await patiently(ask, seconds)
