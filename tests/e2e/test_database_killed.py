"""PostgreSQL is stopped at once (as if killed) under load and started again: nothing acknowledged is missing."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from crossdock.ledger.embedded import EmbeddedPostgres
from crossdock.ledger.migrate import migrate
from crossdock.model.errors import Unavailable
from tests.integration.engine.bench_world import World, make_arrival, make_placed, open_world

pytestmark = [pytest.mark.process, pytest.mark.slow]
KILLS = 5


async def place_until(world: World, stop: asyncio.Event, acknowledged: dict[str, int]) -> None:
    """A client that sends each order again with its key until it is told what became of it."""
    number = 0
    while not stop.is_set():
        number += 1
        arrival = make_arrival(make_placed(f"S-{number}"))
        while True:
            try:
                answer = await world.intake.place(arrival)
            except Unavailable:
                await asyncio.sleep(0.05)
                continue
            break
        assert answer.status in ("new", "repeated")
        assert answer.order_id is not None
        acknowledged[f"S-{number}"] = answer.order_id
        await asyncio.sleep(0.002)


async def test_nothing_acknowledged_is_missing_after_the_database_was_killed(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "pg")
    dsn = server.start()
    try:
        await migrate(dsn)
        async with open_world(dsn) as world:
            acknowledged: dict[str, int] = {}
            stop = asyncio.Event()
            worker = asyncio.create_task(world.make_worker("worker-1").run())
            client = asyncio.create_task(place_until(world, stop, acknowledged))
            for _ in range(KILLS):
                before = len(acknowledged)
                async with asyncio.timeout(180):
                    while len(acknowledged) < before + 30:
                        assert not client.done(), client.exception()
                        await asyncio.sleep(0.05)
                postmaster = int((tmp_path / "pg" / "postmaster.pid").read_text(encoding="utf-8").split()[0])
                # SIGQUIT is PostgreSQL's immediate shutdown: no checkpoint, recovery at the next start.
                os.kill(postmaster, signal.SIGQUIT)
                async with asyncio.timeout(120):
                    while await asyncio.to_thread(server.is_running):  # noqa: ASYNC110 - another process ends
                        await asyncio.sleep(0.05)
                await asyncio.to_thread(server.start)
            stop.set()
            await client
            async with asyncio.timeout(300):
                while await _open_steps(world):
                    assert not worker.done(), worker.exception()
                    await asyncio.sleep(0.1)
            rows = await world.pool.fetch("SELECT channel_number, order_id FROM orders")
            assert {row[0]: row[1] for row in rows} == acknowledged
            for name, partner in world.partners.items():
                doubled = [key for key, count in Counter(key for _, key in partner.log).items() if count > 1]
                assert not doubled, name
            placed = [key for operation, key in world.partners["erp"].log if operation == "erp.place_order"]
            assert len(placed) == len(acknowledged)
            worker.cancel()
            await asyncio.gather(worker, return_exceptions=True)
    finally:
        server.stop()


async def _open_steps(world: World) -> int:
    count: int = await world.pool.fetchval("SELECT count(*) FROM steps WHERE state NOT IN ('done', 'cancelled')")
    return count
