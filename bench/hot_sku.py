"""One SKU that everybody wants: 64 buyers set it aside at once, against a bare conditional UPDATE; and orders when a
hundredth of the SKUs is hot.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
import statistics
import time
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec

from bench.statements import load_statements
from bench.world import CUSTOMERS, LINES, SKUS, open_bench_world
from crossdock.engine.holds import Holds, Wish
from crossdock.engine.intake import Acceptor, Intake
from crossdock.engine.ports import system_clock
from crossdock.ledger.acceptance import Arrival
from crossdock.ledger.database import open_pool
from crossdock.ledger.reference import ReferenceCache
from crossdock.model.orders import PlacedLine
from crossdock.model.values import Quantity
from tests.integration.engine.bench_world import World, make_arrival, make_placed, make_policy, seed

BUYERS = 64
CHANNELS = ("shop", "portal", "bazaar", "agora")
HOT = "SKU-0"
WARM_UP = 200
# A hundredth of the SKUs takes half of the lines.
HOT_SKUS = SKUS // 100
HOT_SHARE = 0.5
INTAKES = 2
ROUNDS = 3
IN_FLIGHT = 300
_SQL = load_statements("stock_fill")


async def run_bare_update(dsn: str, reservations: int) -> dict[str, float]:
    """64 buyers, each on a connection of its own, each UPDATE a commit."""
    return {"value": await _bare(dsn, reservations, BUYERS)}


async def run_bare_update_pooled(dsn: str, reservations: int) -> dict[str, float]:
    """The same through the eight connections that ours has: less contention for the row, and for the cores."""
    return {"value": await _bare(dsn, reservations, 8)}


async def _bare(dsn: str, reservations: int, connections: int) -> float:
    pool = await open_pool(dsn, size=connections)
    try:
        await pool.execute(_SQL["bare_row"])
        await pool.execute(_SQL["bare_fill"], reservations + WARM_UP)
        await _take(pool, WARM_UP)
        started = time.perf_counter()
        await _take(pool, reservations)
        seconds = time.perf_counter() - started
        if await pool.fetchval(_SQL["bare_left"]) != 0:
            raise RuntimeError("units were lost")
        return reservations / seconds
    finally:
        pool.terminate()


async def _take(pool: Any, count: int) -> None:
    numbers = iter(range(count))

    async def buyer() -> None:
        for _ in numbers:
            if await pool.execute(_SQL["bare_take"]) != "UPDATE 1":
                raise RuntimeError("nothing was left")

    await asyncio.gather(*(buyer() for _ in range(BUYERS)))


async def run_hot_sku(dsn: str, reservations: int) -> dict[str, float]:
    """64 buyers at four channels, each waits for its reservation before it wants the next."""
    pool = await open_pool(dsn, size=8)
    policy = make_policy()
    policy = dataclasses.replace(policy, channels=dict.fromkeys(CHANNELS, policy.channels["shop"]))
    try:
        await seed(pool, on_hand=reservations + WARM_UP)
        async with Holds(pool, policy, ReferenceCache(), system_clock) as holds:
            await _reserve(holds, "W", WARM_UP)
            busy, started = time.process_time(), time.perf_counter()
            await _reserve(holds, "R", reservations)
            seconds = time.perf_counter() - started
            used = time.process_time() - busy
        reserved = await pool.fetchval(_SQL["count_reserved"], HOT)
        if reserved != reservations + WARM_UP:
            raise RuntimeError(f"{reserved} reserved")
        return {"value": reservations / seconds, "cpu_share": used / seconds, "process_ms": 1000 * used / reservations}
    finally:
        pool.terminate()


async def _reserve(holds: Holds, prefix: str, count: int) -> None:
    numbers = iter(range(count))
    lines = (PlacedLine("1", Quantity(Decimal(1), "C62"), HOT),)

    async def buyer(place: int) -> None:
        for number in numbers:
            key = f"{prefix}-{number}"
            answer = await holds.reserve(Wish(CHANNELS[place % len(CHANNELS)], key, key, lines, 15, "EU"))
            if answer.status != "new":
                raise RuntimeError(f"not reserved: {answer}")

    await asyncio.gather(*(buyer(place) for place in range(BUYERS)))


async def run_hot_orders(dsn: str, orders: int) -> dict[str, float]:
    """`cold` and `value`: orders accepted a second by two intakes at once while a worker does their steps, in turn."""
    cold, hot = [], []
    async with open_bench_world(dsn) as world:
        acceptor = Acceptor(make_policy(), world.plans, ReferenceCache(), system_clock)
        async with Intake(world.pool, acceptor, system_clock) as second:
            doors = (world.intake, second)
            worker = asyncio.create_task(world.make_worker("bench").run())
            await _accept(world, doors, _arrivals(0, WARM_UP, 0.0))
            for turn in range(ROUNDS):
                first = 1_000_000 * (turn + 1)
                cold.append(await _accept(world, doors, _arrivals(first, orders, 0.0)))
                hot.append(await _accept(world, doors, _arrivals(first + 500_000, orders, HOT_SHARE)))
            worker.cancel()
            await asyncio.gather(worker, return_exceptions=True)
    ratios = [one / other for one, other in zip(hot, cold, strict=True)]
    return {"value": statistics.median(hot), "cold": statistics.median(cold), "ratio": statistics.median(ratios)}


async def _accept(world: World, doors: Sequence[Intake], arrivals: list[Arrival]) -> float:
    """Orders accepted a second. Their steps are waited for, so that no round leaves work to the next."""
    delivered = _deliveries(world)
    room = asyncio.Semaphore(IN_FLIGHT)

    async def place(number: int, arrival: Arrival) -> None:
        async with room:
            answer = await doors[number % len(doors)].place(arrival)
            if answer.acknowledgment is None or answer.acknowledgment.state != "accepted":
                raise RuntimeError(f"not accepted: {answer}")

    started = time.perf_counter()
    await asyncio.gather(*(place(number, arrival) for number, arrival in enumerate(arrivals)))
    rate = len(arrivals) / (time.perf_counter() - started)
    async with asyncio.timeout(180):
        while _deliveries(world) - delivered < LINES * len(arrivals):  # noqa: ASYNC110 - partners do not call
            await asyncio.sleep(0.02)
    return rate


def _deliveries(world: World) -> int:
    return sum(len(partner.log) for partner in world.partners.values())


def _arrivals(start: int, count: int, hot_share: float) -> list[Arrival]:
    """Five-line orders; a line is for one of the hot SKUs with this chance, else for one of the others."""
    return [make_arrival(_make_placed(number, hot_share)) for number in range(start, start + count)]


def _make_placed(number: int, hot_share: float) -> Any:
    placed = make_placed(f"H-{number}", lines=LINES, customer=f"B{number % CUSTOMERS}", method="terms")
    chance = random.Random(number)
    hot = sum(chance.random() < hot_share for _ in range(LINES))
    chosen = [*chance.sample(range(HOT_SKUS), hot), *chance.sample(range(HOT_SKUS, SKUS), LINES - hot)]
    lines = tuple(
        msgspec.structs.replace(line, sku=f"SKU-{sku}") for line, sku in zip(placed.lines, chosen, strict=True)
    )
    return msgspec.structs.replace(placed, lines=lines)
