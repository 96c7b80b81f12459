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
from pathlib import Path

import asyncpg
import uvloop

from bench.bare_saga import run_bare_saga
from bench.cost import server_seconds
from bench.drain import run_drain
from bench.finished import run_finished_orders
from bench.order_path import run_order_path
from bench.world import make_arrivals


async def _bare(dsn: str, size: int) -> float:
    return await run_bare_saga(dsn, size, make_arrivals(0, 1)[0].raw)


RUNS: dict[str, Callable[[str, int], Awaitable[float | dict[str, float]]]] = {
    "bare_saga": _bare, "order_path": run_order_path, "drain": run_drain, "finished_orders": run_finished_orders,
}  # fmt: skip


async def main() -> None:
    measure, dsn, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
    postmaster = await _find_postmaster(dsn)
    file = os.environ.get("CROSSDOCK_BENCH_PROFILE")
    profile = cProfile.Profile()
    if file:
        profile.enable()
    before = server_seconds(postmaster) if postmaster else 0.0
    started, busy = time.perf_counter(), time.process_time()
    value = await RUNS[measure](dsn, size)
    mine = time.process_time() - busy
    figures = {"value": value} if isinstance(value, float) else dict(value)
    figures["cpu_share"] = round(mine / (time.perf_counter() - started), 3)
    if postmaster:
        theirs = server_seconds(postmaster) - before
        figures["process_ms"], figures["server_ms"] = 1000 * mine / size, 1000 * theirs / size
        figures["cpu_ms"] = figures["process_ms"] + figures["server_ms"]
    if file:
        profile.disable()
        profile.dump_stats(file)
    sys.stdout.write(json.dumps({name: round(number, 3) for name, number in figures.items()}) + "\n")


async def _find_postmaster(dsn: str) -> int | None:
    """The server's process id, where it runs on this machine."""
    connection = await asyncpg.connect(dsn)
    try:
        directory = await connection.fetchval("SHOW data_directory")
    finally:
        await connection.close()
    file = Path(directory) / "postmaster.pid"
    return int(file.read_text(encoding="utf-8").split()[0]) if file.is_file() else None


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
