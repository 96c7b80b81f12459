"""Every measure by name: what it runs, about how long that takes, and what its figures mean."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bench.availability import measure_availability
from bench.drain import measure_drain
from bench.http_intake import measure_intake, measure_waiting
from bench.memory import measure_memory
from bench.report import Result, make_result
from bench.server import fresh_database
from bench.stock_million import measure_stock_million
from bench.stock_sync import measure_stock_sync

REPEATS = 3
FINISHED = 1_000_000


@dataclass(frozen=True, slots=True)
class Measure:
    """`ids` are the results that it yields; `seconds` is about how long it takes at its full size."""

    run: Callable[[str, float], list[Result]]
    ids: tuple[str, ...]
    seconds: int


def run(
    server: str, measure: str, size: float, *, migrated: bool = True, module: str = "bench.run_one"
) -> dict[str, float]:
    """One run in a fresh process on a fresh database."""
    dsn = asyncio.run(fresh_database(server, migrated=migrated))
    command = [sys.executable, "-m", module, measure, dsn, str(max(1, int(size)))]
    ended = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=3600)
    figures: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    sys.stdout.write(f"  {measure}: {json.dumps(figures)}, load {os.getloadavg()[0]:.1f}\n")
    sys.stdout.flush()
    return figures


def order_path(server: str, size: float) -> list[Result]:
    """Ours and the bare saga in turn."""
    bare, ours = [], []
    for _ in range(REPEATS):
        bare.append(run(server, "bare_saga", 3000 * size, migrated=False))
        ours.append(run(server, "order_path", 1500 * size))
    value, baseline = _median(ours, "value"), _median(bare, "value")
    ratios = sorted(mine["value"] / theirs["value"] for mine, theirs in zip(ours, bare, strict=True))
    share = _median(ours, "cpu_share")
    return [make_result(
        "order_path", "whole order path of 5-line orders against a bare set-based saga, one process each, fsync on",
        value, "orders/s", baseline, ratios[len(ratios) // 2], 0.35,
        f"PostgreSQL and the shared processor: our process used {share:.0%} of one core and waited otherwise",
        runs=[round(item["value"]) for item in ours], baseline_runs=[round(item["value"]) for item in bare],
    )]  # fmt: skip


def dbos(server: str, size: float) -> list[Result]:
    """Our whole path against DBOS's bare saga, in turn on the same server."""
    ours = [run(server, "order_path", 1500 * size)]
    theirs = run(server, "dbos", 600 * size, migrated=False, module="bench.dbos_saga")
    ours.append(run(server, "order_path", 1500 * size))
    value = _median(ours, "value")
    return [make_result(
        "dbos", "our whole order path against the bare saga (durable start, five steps, completion) on DBOS, one "
        "process each, on the same PostgreSQL", value, "orders/s", theirs["value"], value / theirs["value"], 10.0,
        f"DBOS: its own process, {theirs['cpu_share']:.0%} of one core ({theirs['process_ms']:.1f} ms an order)",
        runs=[round(item["value"]) for item in ours],
    )]  # fmt: skip


def finished_orders(server: str, size: float) -> list[Result]:
    """Throughput and lists at a million finished orders."""
    held = max(1000, int(FINISHED * size))
    figures = run(server, "finished_orders", held)
    slowest = figures["slowest_list_ms"]
    return [
        make_result(
            "finished_orders_1m", f"order path with {held:,} finished orders in the ledger against the same before",
            figures["value"], "orders/s", figures["empty"], figures["value"] / figures["empty"], 0.9, "see order_path",
            complete=held >= FINISHED, fill_seconds=figures["fill_seconds"],
        ),
        make_result(
            "finished_orders_lists", f"slowest of {figures['lists']:.0f} lists and pages of API and console with "
            f"{held:,} finished orders, over HTTP, signed in", slowest, "ms", 150.0, slowest / 150, 1.0, "PostgreSQL",
            below=True, complete=held >= FINISHED,
        ),
    ]  # fmt: skip


def hot_sku(server: str, size: float) -> list[Result]:
    """Reservations of one SKU against the better of two bare updates, in turn."""
    bare, ours = [], []
    for _ in range(REPEATS):
        wide = run(server, "bare_update", 2000 * size, migrated=False)
        narrow = run(server, "bare_update_pooled", 2000 * size, migrated=False)
        bare.append(max(wide, narrow, key=lambda one: one["value"]))
        ours.append(run(server, "hot_sku", 4000 * size))
    value, baseline = _median(ours, "value"), _median(bare, "value")
    ratios = sorted(mine["value"] / theirs["value"] for mine, theirs in zip(ours, bare, strict=True))
    return [make_result(
        "hot_sku", "reservations of one SKU by 64 concurrent buyers on 4 channels, each committed before its answer, "
        "against a bare conditional UPDATE of one row by 64 clients on 64 or 8 connections, whichever is faster",
        value, "reservations/s", baseline, ratios[len(ratios) // 2], 0.5,
        f"our process: {_median(ours, 'cpu_share'):.0%} of one core, {_median(ours, 'process_ms'):.2f} ms each",
        runs=[round(item["value"]) for item in ours], baseline_runs=[round(item["value"]) for item in bare],
    )]  # fmt: skip


def hot_orders(server: str, size: float) -> list[Result]:
    """Acceptance with a hundredth of the SKUs in half of the lines."""
    figures = run(server, "hot_orders", 600 * size)
    return [make_result(
        "hot_orders", "five-line orders accepted by two intakes at once while a worker does their steps: 1 % of the "
        "SKUs in half of the lines against all SKUs alike, in turn in one run", figures["value"], "orders/s",
        figures["cold"], figures["ratio"], 0.8, "PostgreSQL and the shared processor: see order_path",
        complete=size >= 1,
    )]  # fmt: skip


MEASURES: Mapping[str, Measure] = {
    "order_path": Measure(order_path, ("order_path",), 60),
    "dbos": Measure(dbos, ("dbos",), 45),
    "http_intake": Measure(measure_intake, ("http_intake",), 60),
    "http_intake_waiting": Measure(measure_waiting, ("http_intake_waiting",), 240),
    "finished_orders": Measure(finished_orders, ("finished_orders_1m", "finished_orders_lists"), 900),
    "drain": Measure(measure_drain, ("drain",), 75),
    "stock_sync": Measure(measure_stock_sync, ("stock_sync",), 120),
    "stock_million": Measure(measure_stock_million, ("stock_load", "stock_compare", "stock_memory", "stock_day"), 420),
    "hot_sku": Measure(hot_sku, ("hot_sku",), 60),
    "hot_orders": Measure(hot_orders, ("hot_orders",), 60),
    "availability": Measure(measure_availability, ("availability",), 180),
    "memory": Measure(measure_memory, ("memory", "memory_growth"), 660),
}


def _median(runs: list[dict[str, float]], name: str) -> float:
    return statistics.median(item.get(name, 0.0) for item in runs)
