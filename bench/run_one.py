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
from collections.abc import Awaitable, Callable, Mapping

import uvloop

from bench.bare_saga import run_bare_saga
from bench.finished import run_finished_orders
from bench.hot_sku import run_bare_update, run_bare_update_pooled, run_hot_orders, run_hot_sku
from bench.order_path import run_order_path
from bench.world import make_arrivals

Run = Callable[[str, int], Awaitable[float | dict[str, float]]]


async def _bare(dsn: str, size: int) -> float:
    return await run_bare_saga(dsn, size, make_arrivals(0, 1)[0].raw)


RUNS: Mapping[str, Run] = {
    "bare_saga": _bare, "order_path": run_order_path, "finished_orders": run_finished_orders,
    "bare_update": run_bare_update, "bare_update_pooled": run_bare_update_pooled, "hot_sku": run_hot_sku,
    "hot_orders": run_hot_orders,
}  # fmt: skip


def main(runs: Mapping[str, Run]) -> None:
    """Run what the command line names, on the event loop that our own processes use."""
    measure, dsn, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        figures = runner.run(_measured(runs[measure], dsn, size))
    sys.stdout.write(json.dumps({name: round(number, 3) for name, number in figures.items()}) + "\n")


async def _measured(run: Run, dsn: str, size: int) -> dict[str, float]:
    file = os.environ.get("CROSSDOCK_BENCH_PROFILE")
    profile = cProfile.Profile()
    if file:
        profile.enable()
    started, busy = time.perf_counter(), time.process_time()
    value = await run(dsn, size)
    mine = time.process_time() - busy
    figures = {"value": value} if isinstance(value, float) else dict(value)
    # A run that prepares much says itself what its measured part took.
    figures.setdefault("cpu_share", mine / (time.perf_counter() - started))
    figures.setdefault("process_ms", 1000 * mine / size)
    if file:
        profile.disable()
        profile.dump_stats(file)
    return figures


if __name__ == "__main__":
    main(RUNS)
