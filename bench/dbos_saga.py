"""DBOS on the same PostgreSQL: its bare saga, an order accepted durably, five steps, completion. No domain.

`python -m bench.dbos_saga dbos <dsn> <size>` is one run, in the form of `bench.peers.runners.dbos_saga`.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from dbos import DBOS, SetWorkflowID

from bench.peers.runners.dbos_saga import IN_FLIGHT, launch, saga
from bench.peers.saga import STEPS, WARM
from bench.run_one import main
from bench.world import make_arrivals


async def run_dbos_saga(dsn: str, orders: int) -> float:
    """Orders a second, from the first start to the last completion."""
    log: list[tuple[int, int]] = []
    launch(dsn, log.extend)
    try:
        text = make_arrivals(0, 1)[0].raw.decode()
        await asyncio.gather(*(_start(WARM + number, text) for number in range(20)))
        log.clear()
        room = asyncio.Semaphore(IN_FLIGHT)
        started = time.perf_counter()
        await asyncio.gather(*(_within(room, _start(number, text)) for number in range(orders)))
        seconds = time.perf_counter() - started
    finally:
        DBOS.destroy()
    if len(log) != STEPS * orders:
        raise RuntimeError(f"{len(log)} deliveries of {STEPS * orders}")
    return orders / seconds


async def _within(room: asyncio.Semaphore, work: Any) -> None:
    async with room:
        await work


async def _start(number: int, body: str) -> None:
    with SetWorkflowID(str(number)):
        state = await saga(number, body)
    if state != "completed":
        raise RuntimeError(f"{number} ended as {state}")


if __name__ == "__main__":
    # A module of its own, because only `make bench` installs DBOS.
    main({"dbos": run_dbos_saga})
