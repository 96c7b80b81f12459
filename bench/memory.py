"""Resident memory of our processes while orders go through them at a fixed rate."""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from typing import Any

from bench.partners import Estate, finish_load, open_estate
from bench.process_figures import usage_of
from bench.report import Result, make_result
from crossdock.sandbox.world import make_world

RATE, SECONDS = 10.0, 600.0
MEGABYTE = 2**20
RESIDENT_MAX = 300.0
GROWTH_MAX = 1.05
NOTHING = "nothing: a fixed rate"
_STOCK_KNOWN = "SELECT count(*) FROM stock WHERE location = 'HAM' AND sku NOT LIKE 'SKU-%'"
_COMPLETED = "SELECT count(*) FROM order_progress WHERE state = 'completed'"


def measure_memory(server: str, size: float) -> list[Result]:
    """The highest of both processes, and how the last quarter of the time compares with the second."""
    seconds = max(30.0, SECONDS * size)
    with open_estate(server) as estate:
        pace = {"on": True, "interval": 1, "partial": 0.3, "short": 0}
        asyncio.run(estate.partners["wms"].control("POST", "/_control/auto", pace))
        estate.wait_for(_STOCK_KNOWN, len(make_world().products))
        load = estate.begin_load("portal", "M", RATE, seconds)
        resident: dict[str, list[float]] = {"API": [], "worker": []}
        while load.poll() is None:
            time.sleep(1)
            _sample(estate, resident)
        report = finish_load(load)
        completed = estate.count(_COMPLETED)
    highest = {name: max(values) for name, values in resident.items()}
    quarters = {name: _quarters(values) for name, values in resident.items()}
    worst = max(quarters, key=lambda name: quarters[name][1] / quarters[name][0])
    second, last = quarters[worst]
    more: dict[str, Any] = {name: {"highest": round(highest[name], 1), "second_quarter": round(quarters[name][0], 1),
                                   "last_quarter": round(quarters[name][1], 1)} for name in resident}  # fmt: skip
    what = (
        f"highest resident memory of the API and the worker process: {report.asked:,} orders at {RATE:.0f}/s for "
        f"{seconds:.0f} s, {completed:,} of them completed by then"
    )
    growth = f"resident memory of the {worst} process in the last quarter of that time against the second"
    value = max(highest.values())
    complete = seconds >= SECONDS
    return [
        make_result("memory", what, value, "MB", RESIDENT_MAX, value / RESIDENT_MAX, 1.0, NOTHING, below=True,
                    complete=complete, **more),
        make_result("memory_growth", growth, last, "MB", second, last / second, GROWTH_MAX, NOTHING, below=True,
                    complete=complete),
    ]  # fmt: skip


def _sample(estate: Estate, resident: dict[str, list[float]]) -> None:
    for name, pid in (("API", estate.api.process.pid), ("worker", estate.worker.pid)):
        resident[name].append(usage_of(pid).resident / MEGABYTE)
    passed = len(resident["API"])
    if passed % 60 == 0:
        sys.stdout.write(f"  after {passed} s: {resident['API'][-1]:.0f} and {resident['worker'][-1]:.0f} MB\n")
        sys.stdout.flush()


def _quarters(values: list[float]) -> tuple[float, float]:
    """Medians of the second and of the last quarter."""
    quarter = max(1, len(values) // 4)
    return statistics.median(values[quarter : 2 * quarter]), statistics.median(values[-quarter:])
