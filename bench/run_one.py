"""One run in a process of its own: `python -m bench.run_one <measure> <dsn> <size>` prints its figures as JSON.

`CROSSDOCK_BENCH_PROFILE=file` writes a cProfile of the run.
"""

from __future__ import annotations

import asyncio
import cProfile
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable

import uvloop

from bench.bare_saga import run_bare_saga
from bench.dbos_saga import run_dbos_saga
from bench.finished import run_finished_orders
from bench.order_path import run_order_path
from bench.world import make_arrivals


async def _bare(dsn: str, size: int) -> float:
    return await run_bare_saga(dsn, size, make_arrivals(0, 1)[0].raw)


async def _dbos(dsn: str, size: int) -> float:
    return await run_dbos_saga(dsn, size, make_arrivals(0, 1)[0].raw)


RUNS: dict[str, Callable[[str, int], Awaitable[float | dict[str, float]]]] = {
    "bare_saga": _bare, "dbos": _dbos, "order_path": run_order_path,
    "finished_orders": run_finished_orders,
}  # fmt: skip


async def main() -> None:
    measure, dsn, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
    file = os.environ.get("CROSSDOCK_BENCH_PROFILE")
    profile = cProfile.Profile()
    if file:
        profile.enable()
    started, busy = time.perf_counter(), time.process_time()
    value = await RUNS[measure](dsn, size)
    mine = time.process_time() - busy
    figures = {"value": value} if isinstance(value, float) else dict(value)
    figures["cpu_share"] = round(mine / (time.perf_counter() - started), 3)
    figures["process_ms"] = 1000 * mine / size
    if file:
        profile.disable()
        profile.dump_stats(file)
    sys.stdout.write(json.dumps({name: round(number, 3) for name, number in figures.items()}) + "\n")


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
