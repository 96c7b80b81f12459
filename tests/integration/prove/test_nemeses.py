"""Power cut, full disk, immediate stop and a crowd of foreign clients, each against a PostgreSQL of its own."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from crossdock.prove.nemeses.diary import MENDED, Diary
from crossdock.prove.nemeses.nemesis import Nemesis
from crossdock.prove.nemeses.postgres import Crowd, FullDisk, PowerCut, ProvedServer, Stopper
from crossdock.prove.nemeses.volume import Volume, why_not

pytestmark = pytest.mark.process
NO_VOLUME = why_not()
on_a_volume = pytest.mark.skipif(bool(NO_VOLUME), reason=NO_VOLUME)


@asynccontextmanager
async def open_server(directory: Path, *, volume: bool, durable: bool = True) -> AsyncIterator[ProvedServer]:
    server = ProvedServer(directory, Volume(directory / "volume") if volume else None, durable=durable)
    await asyncio.to_thread(server.start)
    try:
        connection = await asyncpg.connect(server.dsn)
        await connection.execute("CREATE TABLE kept (number integer PRIMARY KEY)")
        await connection.close()
        yield server
    finally:
        await asyncio.to_thread(server.stop)


async def write_until(server: ProvedServer, stop: asyncio.Event, acknowledged: list[int]) -> None:
    """A client that counts up, one commit each, and comes back when the database does."""
    connection: asyncpg.Connection[Any] | None = None
    while not stop.is_set():
        try:
            connection = await asyncpg.connect(server.dsn, timeout=5)
            while not stop.is_set():
                number = acknowledged[-1] + 1 if acknowledged else 1
                await connection.execute("INSERT INTO kept VALUES ($1) ON CONFLICT DO NOTHING", number)
                acknowledged.append(number)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
            await asyncio.sleep(0.05)
        finally:
            if connection is not None:
                connection.terminate()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(120):
        while not condition():  # noqa: ASYNC110 - a count, not an event
            await asyncio.sleep(0.01)


async def lost_under(server: ProvedServer, nemesis: Nemesis) -> tuple[int, set[int]]:
    """How many were acknowledged, and which of them are gone, when the nemesis has struck once in the middle."""
    stop, acknowledged = asyncio.Event(), list[int]()
    client = asyncio.create_task(write_until(server, stop, acknowledged))
    await until(lambda: len(acknowledged) >= 50)
    await nemesis.strike(random.Random(1))
    before = len(acknowledged)
    await until(lambda: len(acknowledged) >= before + 5)
    stop.set()
    await client
    connection = await asyncpg.connect(server.dsn)
    kept = {row[0] for row in await connection.fetch("SELECT number FROM kept")}
    await connection.close()
    return len(acknowledged), set(acknowledged) - kept


@on_a_volume
async def test_what_was_acknowledged_is_there_after_a_power_cut(tmp_path: Path) -> None:
    async with open_server(tmp_path, volume=True) as server:
        diary = Diary(tmp_path)
        acknowledged, lost = await lost_under(server, PowerCut(server, diary))
        assert acknowledged > 50
        assert not lost
        assert [deed.what for deed in diary.deeds] == ["power_cut", MENDED]


@on_a_volume
async def test_a_power_cut_takes_what_was_never_written_through(tmp_path: Path) -> None:
    """The rig would notice: who does not wait for the disk loses what was acknowledged, or does not start again."""
    async with open_server(tmp_path, volume=True, durable=False) as server:
        connection = await asyncpg.connect(server.dsn)
        await connection.execute("INSERT INTO kept SELECT generate_series(1, 1000)")
        await connection.close()
        await server.cut_power()
        try:
            await server.restart()
            connection = await asyncpg.connect(server.dsn)
            kept = await connection.fetchval("SELECT count(*) FROM kept")
            await connection.close()
        except Exception:  # noqa: BLE001 - however it fails, nothing is there
            kept = 0
        assert kept < 1000


@on_a_volume
async def test_what_was_acknowledged_is_there_after_the_disk_was_full(tmp_path: Path) -> None:
    async with open_server(tmp_path, volume=True) as server:
        _, lost = await lost_under(server, FullDisk(server, Diary(tmp_path)))
        assert not lost


async def test_a_stopped_server_comes_back_with_what_it_acknowledged(tmp_path: Path) -> None:
    async with open_server(tmp_path, volume=False) as server:
        _, lost = await lost_under(server, Stopper(server, Diary(tmp_path)))
        assert not lost


async def test_a_crowd_leaves_no_room_and_goes_again(tmp_path: Path) -> None:
    async with open_server(tmp_path, volume=False) as server:
        diary = Diary(tmp_path)
        struck = asyncio.create_task(Crowd(server, diary).strike(random.Random(1)))
        await until(lambda: bool(diary.deeds))
        with pytest.raises(asyncpg.TooManyConnectionsError):
            await asyncpg.connect(server.dsn)
        await struck
        connection = await asyncpg.connect(server.dsn)
        await connection.close()


@pytest.mark.parametrize("left", ["", "54"])
async def test_the_embedded_database_starts_although_the_power_failed_while_it_wrote_its_port(
    tmp_path: Path, left: str
) -> None:
    """Found by the power cut: the file was empty, and `crossdock run` ended with a ValueError ever after."""
    server = ProvedServer(tmp_path, None)
    await asyncio.to_thread(server.start)
    await asyncio.to_thread(server.stop)
    (tmp_path / "postgres" / "server.port").write_text(left, encoding="utf-8")
    await asyncio.to_thread(server.start)
    connection = await asyncpg.connect(server.dsn)
    await connection.close()
    await asyncio.to_thread(server.stop)
