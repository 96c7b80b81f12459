"""Many SKUs at two places in the ledger, and Crossdock as processes among four sandbox channels that are told stock."""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from bench.estate import RunningApi, estate_environment, get_token, open_api, open_process, place_access
from bench.statements import load_statements
from crossdock.ledger.database import open_pool
from crossdock.model.documents import Pack, Product
from crossdock.model.values import Money
from tests.conformance.partners import KEY, RunningPartner, start_partner

CONFIGURATION = Path(__file__).with_name("stock.toml")
STOCK_CHANNELS = ("shop", "portal", "bazaar", "agora")
SKUS_FULL = 1_000_000
CHUNK = 100_000
# What the channels would stop is not what is measured: their limits are lifted, a feed is worked on for 50 ms.
LIMITS: dict[str, Any] = {
    "unknown": "take", "points_per_second": 1e6, "points_max": 1e6, "feeds_per_hour": 1e7, "feeds_max": 1e6,
    "feed_seconds": 0.05, "puts_per_minute": 1e7, "puts_max": 1e6, "calls_per_second": 1e6,
}  # fmt: skip
_SQL = load_statements("stock_fill")


@dataclass(slots=True)
class StockEstate:
    """What runs: our API and worker, and the channels."""

    dsn: str
    api: RunningApi
    worker: subprocess.Popen[bytes]
    channels: dict[str, RunningPartner]
    token: str


async def fill_stock(dsn: str, skus: int, *, with_stock: bool = True) -> float:
    """Products SKU-1 ... with stock at both places; returns the seconds that took."""
    product = Product("SKU-NUMBER", "Product NUMBER", "C62", "standard", (Money(Decimal("2.50"), "EUR"),),
                      (Pack("C62", Decimal(1)), Pack("XBX", Decimal(12))))  # fmt: skip
    body = msgspec.json.encode(product).decode()
    started = time.perf_counter()
    now = datetime.now(UTC)
    pool = await open_pool(dsn, size=1)
    try:
        for first in range(1, skus + 1, CHUNK):
            last = min(first + CHUNK - 1, skus)
            await pool.execute(_SQL["products"], first, last, body, now, timeout=600)
            if with_stock:
                await pool.execute(_SQL["stock"], first, last, now, timeout=600)
        if with_stock:
            await pool.execute(_SQL["heard"], now, skus)
        await pool.execute(_SQL["forget_changes"])
        await pool.execute(_SQL["settle"], timeout=600)
    finally:
        pool.terminate()
    return time.perf_counter() - started


@contextmanager
def open_stock_estate(dsn: str) -> Iterator[StockEstate]:
    """Everything started on a database that has its tables and products."""
    asyncio.run(place_access(dsn, (*STOCK_CHANNELS, "wms")))
    with tempfile.TemporaryDirectory(prefix="crossdock-bench-stock-") as name:
        directory = Path(name)
        channels: dict[str, RunningPartner] = {}
        try:
            for channel in STOCK_CHANNELS:
                channels[channel] = start_partner(channel, directory, "--rate-per-second", "0")
                asyncio.run(channels[channel].control("PUT", "/_control/selling", LIMITS))
            given = {f"BENCH_{channel.upper()}_URL": partner.url for channel, partner in channels.items()}
            given |= {"BENCH_WMS_URL": "http://127.0.0.1:9", "BENCH_KEY": KEY}
            environment = estate_environment(dsn, directory, CONFIGURATION, given)
            command = ["worker", "--config", str(CONFIGURATION), "--log-level", "WARNING"]
            with (
                open_api(dsn, CONFIGURATION, given) as api,
                open_process(command, environment, directory / "worker.log") as worker,
            ):
                yield StockEstate(dsn, api, worker, channels, asyncio.run(get_token(api.url)))
        finally:
            for partner in channels.values():
                partner.stop()
