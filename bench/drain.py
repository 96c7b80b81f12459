"""After an outage of the ERP: how fast what has gathered is worked off, against the ERP's own rate."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from bench.world import make_arrivals, open_bench_world
from crossdock.engine.ports import OpenConnection, system_clock
from crossdock.kit.connector import Call, Connector, Done, Operation
from tests.integration.engine.bench_world import World

ERP_RATE = 100.0
CONCURRENCY = 16


class PacedErp:
    """An ERP that takes one order after the other, each 1/rate seconds; what comes together waits its turn."""

    def __init__(self) -> None:
        self._free_at = 0.0
        self.ended: list[float] = []

    async def place(self, _: Any, call: Call | None) -> Done:
        now = time.perf_counter()
        self._free_at = max(now, self._free_at) + 1 / ERP_RATE
        await asyncio.sleep(self._free_at - now)
        self.ended.append(time.perf_counter())
        return Done(b"{}", f"SO-{len(self.ended)}")

    async def find(self, _: Any, call: Call) -> Done | None:
        return None


@asynccontextmanager
async def _nothing(settings: Any) -> AsyncIterator[None]:
    yield None


async def run_drain(dsn: str, orders: int) -> float:
    """Drain rate over the ERP's own rate, both measured here."""
    own = PacedErp()
    started = time.perf_counter()
    turn = asyncio.Semaphore(CONCURRENCY)

    async def ask() -> None:
        async with turn:
            await own.place(None, None)

    await asyncio.gather(*(ask() for _ in range(orders)))
    own_rate = orders / (time.perf_counter() - started)
    async with open_bench_world(dsn) as world:
        return await _drain(world, orders) / own_rate


async def _drain(world: World, orders: int) -> float:
    erp = PacedErp()
    operation = Operation("erp.place_order", perform=erp.place, probe=erp.find, concurrency=CONCURRENCY)
    connector = Connector("erp", "erp", settings=msgspec.Struct, open=_nothing, operations=(operation,))
    world.connections[:] = [
        OpenConnection("erp", connector, None, concurrency=CONCURRENCY) if item.name == "erp" else item
        for item in world.connections
    ]
    await world.control.pause_connection(system_clock(), "bench", "erp")
    worker = asyncio.create_task(world.make_worker("bench").run())
    await asyncio.gather(*(world.intake.place(arrival) for arrival in make_arrivals(0, orders)))
    await _until(world, "SELECT count(*) FROM steps WHERE state <> 'done'", orders)
    if erp.ended:
        raise RuntimeError("the paused ERP was called")
    await world.control.resume_connection(system_clock(), "bench", "erp")
    started = time.perf_counter()
    await _until(world, "SELECT count(*) FROM steps WHERE state <> 'done'", 0)
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)
    return len(erp.ended) / (max(erp.ended) - started)


async def _until(world: World, counting: str, wanted: int) -> None:
    async with asyncio.timeout(120):
        while await world.pool.fetchval(counting) != wanted:  # noqa: ASYNC110 - the state is in the database
            await asyncio.sleep(0.1)
