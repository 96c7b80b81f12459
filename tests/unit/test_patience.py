"""Who starts while the database is away waits. Found by the proof: a worker ended because the disk was full then."""

from __future__ import annotations

import asyncpg
import pytest

from crossdock.ledger.patience import patiently


@pytest.mark.parametrize(
    "problem",
    [
        asyncpg.DiskFullError("could not write init file"), asyncpg.TooManyConnectionsError("too many clients"),
        asyncpg.CannotConnectNowError("the database system is starting up"), ConnectionRefusedError(),
        asyncpg.AdminShutdownError("terminating connection"), asyncpg.CrashShutdownError("another process crashed"),
    ],
)  # fmt: skip
async def test_a_database_that_is_away_or_has_no_room_is_waited_for(problem: Exception) -> None:
    problems = [problem]

    async def work() -> str:
        if problems:
            raise problems.pop()
        return "done"

    assert await patiently(work) == "done"


async def test_a_wrong_password_is_told_at_once() -> None:
    async def work() -> str:
        raise asyncpg.InvalidPasswordError("password authentication failed")

    with pytest.raises(asyncpg.InvalidPasswordError):
        await patiently(work)


async def test_it_does_not_wait_for_ever() -> None:
    async def work() -> str:
        raise ConnectionRefusedError

    with pytest.raises(ConnectionRefusedError):
        await patiently(work, seconds=0)
