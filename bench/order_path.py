"""The whole order path in one process: arrival, acceptance, plan, five steps at null partners, completion."""

from __future__ import annotations

import asyncio
import time

from bench.world import IN_FLIGHT, make_arrivals, open_bench_world
from crossdock.ledger.acceptance import Arrival
from tests.integration.engine.bench_world import World

STEPS = 5
WARM_UP = 200


async def run_order_path(dsn: str, orders: int) -> dict[str, float]:
    """Orders a second, from the first arrival to the last completion, counted by the partners and the ledger.

    A few orders go before, so that connections are open and statements known, as in a process that has been running.
    """
    async with open_bench_world(dsn) as world:
        await measure(world, make_arrivals(0, WARM_UP))
        arrivals = make_arrivals(WARM_UP, orders)
        started, busy = time.perf_counter(), time.process_time()
        value = await measure(world, arrivals)
        mine = time.process_time() - busy
        return {
            "value": value, "cpu_share": mine / (time.perf_counter() - started), "process_ms": 1000 * mine / orders,
        }  # fmt: skip


async def measure(world: World, arrivals: list[Arrival]) -> float:
    before, earlier = await _completed(world), _deliveries(world)
    worker = asyncio.create_task(world.make_worker("bench").run())
    started = time.perf_counter()
    room = asyncio.Semaphore(IN_FLIGHT)

    async def place(arrival: Arrival) -> None:
        async with room:
            answer = await world.intake.place(arrival)
            if answer.acknowledgment is None or answer.acknowledgment.state != "accepted":
                raise RuntimeError(f"not accepted: {answer}")

    await asyncio.gather(*(place(arrival) for arrival in arrivals))
    async with asyncio.timeout(120):
        # The ledger is asked only when all is delivered: counting is no part of the path.
        while _deliveries(world) - earlier < STEPS * len(arrivals):  # noqa: ASYNC110 - partners do not call
            await asyncio.sleep(0.02)
        while await _completed(world) - before < len(arrivals):  # noqa: ASYNC110 - the state is in the database
            await asyncio.sleep(0.01)
    seconds = time.perf_counter() - started
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)
    made = _deliveries(world) - earlier
    if made != STEPS * len(arrivals):
        raise RuntimeError(f"{made} deliveries of {STEPS * len(arrivals)}")
    return len(arrivals) / seconds


def _deliveries(world: World) -> int:
    return sum(len(partner.log) for partner in world.partners.values())


async def _completed(world: World) -> int:
    return int(await world.pool.fetchval("SELECT count(*) FROM order_progress WHERE state = 'completed'"))
