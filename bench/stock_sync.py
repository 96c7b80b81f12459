"""From an owner's commit to four channels: changes of stock come in through the API, figures go out to channel
processes, and the channels' own logs say when each was there.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import aiohttp
import asyncpg
import msgspec

from bench.estate import place_access
from bench.http_load import percentile
from bench.process_figures import find_postmaster, usage_of, usage_of_postgres
from bench.report import Result, make_result
from bench.server import fresh_database
from bench.stock_estate import STOCK_CHANNELS, StockEstate, fill_stock, open_stock_estate

RATE = 2000.0
SECONDS = 60.0
WARM_SECONDS = 3.0
P99_MS = 1000.0
# Of what is sold, this many move. A first start tells every channel everything, which is waited for.
MOVING = 200
SKUS = 400
TICK_SECONDS = 0.05
LOWER = (1000.0, 500.0, 250.0, 100.0)
SETTLE_SECONDS = 120.0
_SETTLED = """
SELECT count(*) FROM publications WHERE acknowledged_version = wanted_version
  AND NOT EXISTS (SELECT FROM stock_changes)
"""


@dataclass(frozen=True, slots=True)
class Change:
    """The owner committed at `at` that there are `figure` at the place in Hamburg."""

    at: float
    sku: str
    figure: int


@dataclass(frozen=True, slots=True)
class Run:
    """`latencies`: ms from the owner's commit until the last of the four channels showed it, sorted; `each` by channel.
    `lag_ms`: how late the owner's messages were sent (99th percentile); `calls` how many figures each channel got."""

    rate: float
    changes: int
    latencies: list[float]
    each: Mapping[str, list[float]]
    lag_ms: float
    calls: Mapping[str, int]
    shares: Mapping[str, float]

    @property
    def p99(self) -> float:
        return percentile(self.latencies, 0.99)

    @property
    def holds(self) -> bool:
        return self.p99 < P99_MS


class Owner:
    """A warehouse that reports each change. A figure only ever rises, so a channel's log shows which one it has."""

    def __init__(self, estate: StockEstate) -> None:
        self._estate = estate
        self._chance = random.Random(1)
        self._figure = 10_000
        self._message = 0
        self.lags: list[float] = []

    async def change(self, rate: float, seconds: float) -> list[Change]:
        """Report `rate` changes a second; what comes together within 50 ms is a message."""
        rows = round(rate * TICK_SECONDS)
        self.lags = []
        changes: list[Change] = []
        url = self._estate.api.url
        headers = {"Authorization": f"Bearer {self._estate.token}", "Crossdock-Source": "wms"}
        async with aiohttp.ClientSession(url, headers=headers) as session, asyncio.TaskGroup() as sending:
            started = time.time()
            for tick in range(int(seconds / TICK_SECONDS)):
                due = started + tick * TICK_SECONDS
                delay = due - time.time()
                if delay > 0:
                    await asyncio.sleep(delay)
                now = time.time()
                self.lags.append(max(now - due, 0.0))
                fresh = [self._change(due, number) for number in self._chance.sample(range(1, MOVING + 1), rows)]
                changes += fresh
                self._message += 1
                sending.create_task(self._send(session, fresh, f"B-{self._message}"))
        return changes

    def _change(self, at: float, number: int) -> Change:
        self._figure += 1
        return Change(at, f"SKU-{number}", self._figure)

    async def _send(self, session: aiohttp.ClientSession, changes: Sequence[Change], key: str) -> None:
        rows = [
            {"sku": one.sku, "location": "HAM", "on_hand": {"value": str(one.figure), "unit": "C62"},
             "as_of": datetime.fromtimestamp(one.at, UTC).isoformat()}
            for one in changes
        ]  # fmt: skip
        body = msgspec.json.encode({"balances": rows})
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        async with session.post("/v1/balances", data=body, headers=headers) as answer:
            if answer.status != 202:
                raise RuntimeError(f"{answer.status}: {await answer.text()}")


def measure_stock_sync(server: str, size: float) -> list[Result]:
    """2,000 changes a second, and the highest rate that holds a second when that does not."""
    seconds = max(5.0, SECONDS * size)
    dsn = asyncio.run(fresh_database(server, migrated=False))
    asyncio.run(place_access(dsn, (*STOCK_CHANNELS, "wms")))
    asyncio.run(fill_stock(dsn, SKUS))
    with open_stock_estate(dsn) as estate:
        asyncio.run(_wait_until_told(dsn))
        owner = Owner(estate)
        asyncio.run(_run(estate, owner, RATE / 4, WARM_SECONDS))
        whole = asyncio.run(_run(estate, owner, RATE, seconds))
        highest = RATE if whole.holds else 0.0
        for rate in () if whole.holds else LOWER:
            if asyncio.run(_run(estate, owner, rate, max(5.0, seconds / 4))).holds:
                highest = rate
                break
    used = ", ".join(f"{name} {share:.2f}" for name, share in whole.shares.items())
    verdict = f"of {os.cpu_count()} cores: {used}"
    if not whole.holds:
        verdict += f"; the highest rate tried that holds a second: {highest:.0f}/s"
    told = ", ".join(f"{channel} {count / seconds:.0f}" for channel, count in whole.calls.items())
    what = (
        f"p99 from the owner's commit to the log of the last of 4 channels (processes of their own, limits lifted): "
        f"{RATE:.0f} changes/s of {MOVING} SKUs out of {SKUS:,} for {seconds:.0f} s through POST /v1/balances; "
        f"median {percentile(whole.latencies, 0.5):.0f} ms; figures told a second: {told}"
    )
    return [make_result(
        "stock_sync", what, whole.p99, "ms", P99_MS, whole.p99 / P99_MS, 1.0, verdict, below=True,
        complete=seconds >= SECONDS, highest_rate_held=highest, owner_lag_p99_ms=whole.lag_ms,
        p50=round(percentile(whole.latencies, 0.5), 1),
        channels={
            channel: {"p50": round(percentile(found, 0.5), 1), "p99": round(percentile(found, 0.99), 1)}
            for channel, found in whole.each.items()
        },
    )]  # fmt: skip


async def _run(estate: StockEstate, owner: Owner, rate: float, seconds: float) -> Run:
    after = {channel: await _last(estate, channel) for channel in STOCK_CHANNELS}
    postmaster = await find_postmaster(estate.dsn)
    pids = {"API": estate.api.process.pid, "worker": estate.worker.pid}
    pids |= {channel: partner.process.pid for channel, partner in estate.channels.items()}
    before = {name: usage_of(pid).seconds for name, pid in pids.items()}
    served, mine = usage_of_postgres(postmaster), time.process_time()
    changes = await owner.change(rate, seconds)
    shares = {name: (usage_of(pid).seconds - before[name]) / seconds for name, pid in pids.items()}
    shares["PostgreSQL"] = (usage_of_postgres(postmaster) - served) / seconds
    shares["the owner"] = (time.process_time() - mine) / seconds
    shown = await _wait_until_shown(estate, changes, after)
    each = {channel: _latencies(changes, shown[channel]) for channel in STOCK_CHANNELS}
    worst = sorted(max(row) for row in zip(*each.values(), strict=True))
    calls = {channel: sum(len(rows) for rows in shown[channel].values()) for channel in STOCK_CHANNELS}
    lag = round(1000 * percentile(sorted(owner.lags), 0.99), 1)
    found = Run(rate, len(changes), worst, {name: sorted(row) for name, row in each.items()}, lag, calls, shares)
    of_each = ", ".join(f"{name} {percentile(row, 0.99):.0f}" for name, row in found.each.items())
    used = ", ".join(f"{name} {share:.2f}" for name, share in shares.items())
    sys.stdout.write(
        f"  {rate:.0f}/s: p50 {percentile(worst, 0.5):.0f} ms, p99 {found.p99:.0f} ms (p99 {of_each}); cores: {used}; "
        f"owner late {lag} ms; told {calls}; load {os.getloadavg()[0]:.1f}\n"
    )
    sys.stdout.flush()
    return found


async def _wait_until_told(dsn: str) -> None:
    """Until the channels show all there is. Raises TimeoutError."""
    connection = await asyncpg.connect(dsn)
    try:
        async with asyncio.timeout(SETTLE_SECONDS):
            wanted = SKUS * len(STOCK_CHANNELS)
            while await connection.fetchval(_SETTLED) < wanted:  # noqa: ASYNC110 - the state is in the database
                await asyncio.sleep(0.3)
    finally:
        await connection.close()


async def _last(estate: StockEstate, channel: str) -> int:
    """The newest number in the channel's log."""
    after = 0
    while page := await estate.channels[channel].control("GET", f"/_log?after={after}"):
        after = page[-1]["sequence"]
    return after


Shown = dict[str, list[tuple[float, Decimal]]]


async def _wait_until_shown(
    estate: StockEstate, changes: Sequence[Change], after: Mapping[str, int]
) -> dict[str, Shown]:
    """Channel -> SKU -> (time, figure) as its log has them, as soon as each has the newest. Raises TimeoutError."""
    newest = {change.sku: change.figure for change in changes}
    found: dict[str, Shown] = {}
    async with asyncio.timeout(SETTLE_SECONDS):
        for channel in STOCK_CHANNELS:
            shown: Shown = {}
            read = after[channel]
            while any(not rows or rows[-1][1] < newest[sku] for sku, rows in _rows(shown, newest)):
                page: list[dict[str, Any]] = await estate.channels[channel].control("GET", f"/_log?after={read}")
                for entry in page:
                    if entry["kind"] == "stock":
                        at = datetime.fromisoformat(entry["at"]).timestamp()
                        figure = Decimal(entry["document"]["quantity"])
                        shown.setdefault(entry["business_key"], []).append((at, figure))
                read = page[-1]["sequence"] if page else read
                if not page:
                    await asyncio.sleep(0.1)
            found[channel] = shown
    return found


def _rows(shown: Shown, newest: Mapping[str, int]) -> list[tuple[str, list[tuple[float, Decimal]]]]:
    return [(sku, shown.get(sku, [])) for sku in newest]


def _latencies(changes: Sequence[Change], shown: Shown) -> list[float]:
    """Of each change, ms until the channel's log had its figure or a newer one."""
    places = dict.fromkeys(shown, 0)
    found = []
    for change in changes:
        rows, place = shown[change.sku], places[change.sku]
        while rows[place][1] < change.figure:
            place += 1
        places[change.sku] = place
        found.append(1000 * (rows[place][0] - change.at))
    return found
