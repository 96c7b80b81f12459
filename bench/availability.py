"""`GET /v1/availability` for 100 SKUs of a million, through the real API process."""

from __future__ import annotations

import asyncio
import sys

import aiohttp

from bench.estate import place_access
from bench.http_intake import Door, Shares, middle_of, open_door, run_load
from bench.http_load import LoadPlan, LoadReport
from bench.report import Result, make_result
from bench.server import fresh_database, settle
from bench.stock_estate import CONFIGURATION, SKUS_FULL, STOCK_CHANNELS, fill_stock

RATE = 300.0
SECONDS = 30.0
ASKED = 100
ASKED_MAX = 1000
P99_MS = 25.0
SUSTAINED = 0.99


def measure_availability(server: str, size: float) -> list[Result]:
    """300 questions a second, and the highest rate that holds the latency when that does not."""
    skus = max(1000, int(SKUS_FULL * size))
    seconds = max(5.0, SECONDS * min(size, 1.0))
    dsn = asyncio.run(fresh_database(server, migrated=False))
    asyncio.run(place_access(dsn, STOCK_CHANNELS))
    filled = asyncio.run(fill_stock(dsn, skus))
    asyncio.run(settle(server))
    sys.stdout.write(f"  {skus:,} SKUs with two places each filled in {filled:.0f} s\n")
    with open_door(dsn, CONFIGURATION) as door:
        asyncio.run(_ask_for_all(door, skus))
        report, shares, p99s = middle_of(lambda: _ask(door, RATE, seconds, skus), size)
        held = _holds(report, RATE)
        highest = RATE if held else 0.0
        for rate in () if held else (200.0, 150.0, 100.0, 50.0):
            if _holds(_ask(door, rate, max(5.0, seconds / 3), skus)[0], rate):
                highest = rate
                break
    verdict = shares.text()
    if not held:
        verdict += f"; the highest rate tried that holds {P99_MS:.0f} ms: {highest:.0f}/s"
    what = (
        f"p99 of GET /v1/availability for {ASKED} SKUs of {skus:,} with two locations, each asked for once before, at "
        f"{RATE:.0f}/s for {seconds:.0f} s, from the scheduled time; answered {report.achieved:.0f}/s, "
        f"median {report.p50:.1f} ms; the middle of {len(p99s)} runs"
    )
    return [make_result(
        "availability", what, report.p99, "ms", P99_MS, report.p99 / P99_MS, 1.0, verdict, below=True,
        complete=report.accepted == report.asked and report.achieved >= SUSTAINED * RATE and skus >= SKUS_FULL
        and seconds >= SECONDS,
        achieved=report.achieved, p50=report.p50, load_generator_lag_p99_ms=report.lag_ms,
        highest_rate_held=highest, others=report.others, runs=p99s,
    )]  # fmt: skip


def _ask(door: Door, rate: float, seconds: float, skus: int) -> tuple[LoadReport, Shares]:
    plan = LoadPlan(door.api.port, door.token, "A", rate, seconds, connections=32, lines=ASKED, skus=skus,
                    channel="shop", asks="availability")  # fmt: skip
    report, shares = run_load(door.api, door.postmaster, plan)
    sys.stdout.write(
        f"  {rate:.0f}/s: answered {report.achieved:.0f}/s, p50 {report.p50:.1f} ms, p99 {report.p99:.1f} ms; "
        f"{shares.text()}\n"
    )
    sys.stdout.flush()
    return report, shares


def _holds(report: LoadReport, rate: float) -> bool:
    return report.accepted == report.asked and report.p99 < P99_MS and report.achieved >= SUSTAINED * rate


async def _ask_for_all(door: Door, skus: int) -> None:
    """As in a process that is not new: its products were asked for before. Raises RuntimeError."""
    headers = {"Authorization": f"Bearer {door.token}"}
    async with aiohttp.ClientSession(door.api.url, headers=headers) as session:
        for first in range(1, skus + 1, ASKED_MAX):
            asked = "&".join(f"sku=SKU-{number}" for number in range(first, min(first + ASKED_MAX, skus + 1)))
            async with session.get(f"/v1/availability?channel=shop&{asked}") as answer:
                if answer.status != 200:
                    raise RuntimeError(f"{answer.status}: {await answer.text()}")
