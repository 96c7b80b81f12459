"""DBOS on the same PostgreSQL: its bare saga, an order accepted durably, five steps, completion. No domain.

`python -m bench.dbos_saga dbos <dsn> <size>` is one run.

The form is the one its documentation names for throughput: asynchronous workflows with an identifier of their own
(idempotent), started directly in the process that runs them (no queue to poll), as many at once as help. Each workflow
commits its start with its input, each step its result, the workflow its end: the promises of our path.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from dbos import DBOS, DBOSConfig, SetWorkflowID

from bench.run_one import main
from bench.world import make_arrivals

STEPS = 5
IN_FLIGHT = 50
POOL = 10


@DBOS.step()
async def deliver(number: str, place: int) -> str:
    """A null partner."""
    _log.append((number, place))
    return "{}"


@DBOS.workflow()
async def saga(number: str, body: str) -> str:
    for place in range(STEPS):
        await deliver(number, place)
    return "completed"


_log: list[tuple[str, int]] = []


async def run_dbos_saga(dsn: str, orders: int) -> float:
    """Orders a second, from the first start to the last completion."""
    config: DBOSConfig = {
        "name": "bench", "application_version": "bench",
        "system_database_url": dsn.split("?", maxsplit=1)[0], "sys_db_pool_size": POOL,
        "log_level": "ERROR",
    }  # fmt: skip
    DBOS(config=config)
    DBOS.launch()
    try:
        text = make_arrivals(0, 1)[0].raw.decode()
        await asyncio.gather(*(_start(f"warm-{number}", text) for number in range(20)))
        _log.clear()
        room = asyncio.Semaphore(IN_FLIGHT)
        started = time.perf_counter()
        await asyncio.gather(*(_within(room, _start(f"DBOS-{number}", text)) for number in range(orders)))
        seconds = time.perf_counter() - started
    finally:
        DBOS.destroy()
    if len(_log) != STEPS * orders:
        raise RuntimeError(f"{len(_log)} deliveries of {STEPS * orders}")
    return orders / seconds


async def _within(room: asyncio.Semaphore, work: Any) -> None:
    async with room:
        await work


async def _start(number: str, body: str) -> None:
    with SetWorkflowID(number):
        state = await saga(number, body)
    if state != "completed":
        raise RuntimeError(f"{number} ended as {state}")


if __name__ == "__main__":
    # A module of its own, because only `make bench` installs DBOS.
    main({"dbos": run_dbos_saga})
