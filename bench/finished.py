"""Throughput and list times with many finished orders in the ledger: real ones, multiplied by the database."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from bench.order_path import measure
from bench.world import make_arrivals, open_bench_world
from crossdock.insight.orders import OrderFilter, search_orders
from crossdock.ledger.database import open_pool
from tests.integration.engine.bench_world import World

SAMPLE = 500
_FILL = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
LISTS = (
    OrderFilter(), OrderFilter(state="completed"), OrderFilter(state="held"), OrderFilter(channel="shop"),
    OrderFilter(customer="B7"), OrderFilter(sku="SKU-1"), OrderFilter(text="B-77"), OrderFilter(text="CD00000077"),
    OrderFilter(customer="B7", state="completed", sku="SKU-2"),
)  # fmt: skip


async def run_finished_orders(dsn: str, orders: int) -> dict[str, float]:
    """`empty` and `value` in orders/s, `slowest_list_ms` of every list's best of three."""
    async with open_bench_world(dsn) as world:
        await measure(world, make_arrivals(0, 100))
        empty = await measure(world, make_arrivals(1000, SAMPLE))
        await fill(dsn, orders)
        slowest = max([await _best(_listing(world, wanted)) for wanted in LISTS])
        full = await measure(world, make_arrivals(2000, SAMPLE))
    return {"empty": empty, "value": full, "slowest_list_ms": slowest}


async def fill(dsn: str, orders: int) -> None:
    """Multiply the newest finished order."""
    pool = await open_pool(dsn, size=1)
    for statement in _FILL.split(";\n"):
        if statement.strip():
            arguments = (orders,) if "$1" in statement else ()
            await pool.execute(statement, *arguments, timeout=280)
    await pool.close()


def _listing(world: World, wanted: OrderFilter) -> Callable[[], Awaitable[object]]:
    return lambda: search_orders(world.pool, wanted)


async def _best(ask: Callable[[], Awaitable[object]]) -> float:
    times = []
    for _ in range(3):
        started = time.perf_counter()
        await ask()
        times.append(1000 * (time.perf_counter() - started))
    return min(times)
