"""HTTP intake of 20-line orders through the real API process, by a load generator in a process of its own."""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench.estate import CONFIGURATION, RunningApi, get_token, open_api, prepare_estate
from bench.http_load import LoadPlan, LoadReport
from bench.process_figures import find_postmaster, usage_of, usage_of_postgres
from bench.report import Result, make_result
from bench.server import fresh_database, settle
from bench.statements import load_statements
from crossdock.ledger.database import open_pool

RATE = 600.0
P99_MS = 50.0
SECONDS = 30.0
RUNS = 3
WAITING_STEPS = 1_000_000
STEPS_PER_ORDER = 5
# Compared at the first of these rates that leaves room: at the edge a p99 says only which side of it the run was on.
COMPARED_RATES = (300.0, 150.0, 75.0, 40.0)
ROOM_MS = 200.0
COMPARED_SECONDS = 10.0
COMPARED_PAIRS = 4
# What is still called sustained: everything answered, and the last answer not late.
SUSTAINED = 0.99


@dataclass(frozen=True, slots=True)
class Shares:
    """What each part used of one core."""

    api: float
    postgres: float
    load: float

    def text(self) -> str:
        return (
            f"of {os.cpu_count()} cores the API process used {self.api:.2f}, PostgreSQL {self.postgres:.2f}, the load "
            f"generator {self.load:.2f}"
        )


@dataclass(frozen=True, slots=True)
class Door:
    """An open API process with a token for it."""

    api: RunningApi
    token: str
    postmaster: int

    def load(self, rate: float, seconds: float) -> tuple[LoadReport, Shares]:
        plan = LoadPlan(self.api.port, self.token, f"L{time.time():.0f}", rate, seconds)
        return run_load(self.api, self.postmaster, plan)


@contextmanager
def open_door(dsn: str, configuration: Path = CONFIGURATION) -> Iterator[Door]:
    postmaster = asyncio.run(find_postmaster(dsn))
    with open_api(dsn, configuration) as api:
        yield Door(api, asyncio.run(get_token(api.url)), postmaster)


def run_load(api: RunningApi, postmaster: int, plan: LoadPlan) -> tuple[LoadReport, Shares]:
    """One run of the generator, with what the others used meanwhile."""
    before = (usage_of(api.process.pid).seconds, usage_of_postgres(postmaster))
    ended = subprocess.run(
        [sys.executable, "-m", "bench.http_load"], input=msgspec.json.encode(plan), stdout=subprocess.PIPE, check=True,
        timeout=plan.seconds + plan.warm_seconds + 120,
    )  # fmt: skip
    after = (usage_of(api.process.pid).seconds, usage_of_postgres(postmaster))
    report = msgspec.json.decode(ended.stdout, type=LoadReport)
    # What was asked in that time, warming up included, over the rate at which it was answered.
    seconds = (report.asked + plan.warm_seconds * plan.rate) / report.achieved
    return report, Shares((after[0] - before[0]) / seconds, (after[1] - before[1]) / seconds, report.cpu_share)


def middle_of(load: Callable[[], tuple[LoadReport, Shares]], size: float) -> tuple[LoadReport, Shares, list[float]]:
    """The run whose p99 is the middle one, and the p99 of all: one stall of the machine, a tenth of a second long,
    moves that of a single run of thirty seconds."""
    runs = sorted((load() for _ in range(RUNS if size >= 1 else 1)), key=lambda run: run[0].p99)
    report, shares = runs[len(runs) // 2]
    return report, shares, [run.p99 for run, _ in runs]


def measure_intake(server: str, size: float) -> list[Result]:
    """600 orders a second, and the highest rate that holds the latency when that does not."""
    dsn = asyncio.run(fresh_database(server, migrated=False))
    asyncio.run(prepare_estate(dsn))
    seconds = max(5.0, SECONDS * size)
    asyncio.run(settle(server))
    with open_door(dsn) as door:

        def load() -> tuple[LoadReport, Shares]:
            report, shares = door.load(RATE, seconds)
            _say(RATE, report, shares)
            return report, shares

        report, shares, p99s = middle_of(load, size)
        held = _holds(report, RATE)
        highest = RATE if held else 0.0
        for rate in () if held else (500.0, 400.0, 300.0, 200.0, 100.0):
            lower, used = door.load(rate, max(5.0, seconds / 3))
            _say(rate, lower, used)
            if _holds(lower, rate):
                highest = rate
                break
    what = (
        f"p99 of HTTP intake of 20-line orders at {RATE:.0f}/s for {seconds:.0f} s, from the scheduled time, committed "
        f"before the answer; answered {report.achieved:.0f}/s, median {report.p50:.0f} ms; "
        f"the middle of {len(p99s)} runs"
    )
    verdict = shares.text()
    if not held:
        verdict += f"; the highest rate tried that holds {P99_MS:.0f} ms: {highest:.0f}/s"
    return [make_result(
        "http_intake", what, report.p99, "ms", P99_MS, report.p99 / P99_MS, 1.0, verdict, below=True,
        complete=_answered(report) and report.achieved >= SUSTAINED * RATE and seconds >= SECONDS,
        achieved=report.achieved, p50=report.p50, load_generator_lag_p99_ms=report.lag_ms,
        load_generator_share=report.cpu_share, api_share=round(shares.api, 2), postgres_share=round(shares.postgres, 2),
        others=report.others, highest_rate_held=highest, runs=p99s,
    )]  # fmt: skip


def measure_waiting(server: str, size: float) -> list[Result]:
    """The same order at a full and at an empty ledger, in turn."""
    orders = int(WAITING_STEPS * size) // STEPS_PER_ORDER
    empty, full = (asyncio.run(fresh_database(server, migrated=False)) for _ in range(2))
    for dsn in (empty, full):
        asyncio.run(prepare_estate(dsn))
    seconds = max(2.0, COMPARED_SECONDS * min(size, 1.0))
    pairs = COMPARED_PAIRS if size >= 0.1 else 1
    p99: dict[str, list[float]] = {empty: [], full: []}
    sustained = True
    with open_door(empty) as first, open_door(full) as second:
        doors = {empty: first, full: second}
        for door in doors.values():
            door.load(COMPARED_RATES[-1], 4.0)
        rate = _choose_rate(first, seconds)
        sys.stdout.write(f"  filling {orders * STEPS_PER_ORDER:,} waiting steps\n")
        waiting = asyncio.run(fill_waiting(full, orders))
        asyncio.run(settle(server))
        for _ in range(pairs):
            for dsn, door in doors.items():
                report, shares = door.load(rate, seconds)
                sustained = sustained and _answered(report) and report.achieved >= SUSTAINED * rate
                p99[dsn].append(report.p99)
                _say(rate, report, shares)
    value, baseline = statistics.median(p99[full]), statistics.median(p99[empty])
    what = (
        f"p99 of HTTP intake of 20-line orders at {rate:.0f}/s with {waiting:,} waiting steps in the ledger "
        f"against an empty one, medians of {pairs} runs in turn"
    )
    return [make_result(
        "http_intake_waiting", what, value, "ms", baseline, value / baseline, 1.2, "nothing: the rate leaves room"
        if sustained else "the machine: the rate was not sustained in every run",
        below=True, complete=sustained and waiting >= WAITING_STEPS, runs=p99[full], baseline_runs=p99[empty],
    )]  # fmt: skip


def _choose_rate(door: Door, seconds: float) -> float:
    for rate in COMPARED_RATES[:-1]:
        report, shares = door.load(rate, seconds)
        _say(rate, report, shares)
        if _answered(report) and report.p99 < ROOM_MS and report.achieved >= SUSTAINED * rate:
            return rate
    return COMPARED_RATES[-1]


async def fill_waiting(dsn: str, orders: int) -> int:
    """Fill the ledger; return how many steps wait in it."""
    statements = load_statements("fill_waiting")
    pool = await open_pool(dsn, size=1)
    try:
        await pool.execute(statements["fill"], orders, STEPS_PER_ORDER, timeout=600)
        await pool.execute(statements["advance_numbers"])
        await pool.execute(statements["settle"], timeout=600)
        return int(await pool.fetchval(statements["count_waiting"]))
    finally:
        pool.terminate()


def _answered(report: LoadReport) -> bool:
    return report.accepted == report.asked


def _holds(report: LoadReport, rate: float) -> bool:
    return _answered(report) and report.p99 < P99_MS and report.achieved >= SUSTAINED * rate


def _say(rate: float, report: LoadReport, shares: Shares) -> None:
    sys.stdout.write(
        f"  {rate:.0f}/s: answered {report.achieved:.0f}/s, p50 {report.p50:.0f} ms, p99 {report.p99:.0f} ms; "
        f"{shares.text()}; load {os.getloadavg()[0]:.1f}\n"
    )
    sys.stdout.flush()
