"""A million finished orders in the ledger: the order path's throughput there, and every list through its real door."""

from __future__ import annotations

import sys
import time
from decimal import Decimal
from typing import Any

import aiohttp
import msgspec

from bench.estate import AS_OF, PASSWORD, USER, get_token, open_api, place_access
from bench.order_path import measure
from bench.statements import load_statements
from bench.world import make_arrivals, open_bench_world
from crossdock.ledger.database import open_pool
from crossdock.model.fulfilment import ShipmentPart
from crossdock.model.values import Money

SAMPLE = 1000
CHUNK = 50_000
REPEATS = 5
TABLES = ("orders", "progress", "facts", "reservations", "steps", "events", "shipments")
_FILTERS = (
    "", "state=completed", "state=cancelled", "state=held", "state=accepted", "channel=bazaar", "customer=B7",
    "sku=SKU-1", "customer=B7&state=completed&sku=SKU-2", "state=cancelled&channel=portal&customer=B50",
    "channel=portal&customer=B7",
    # Nothing fits these: they may not look at everything to find that out.
    "state=cancelled&channel=bazaar", "state=cancelled&channel=bazaar&sku=SKU-5", "state=cancelled&customer=B7",
    "state=held&sku=SKU-1", "customer=NOBODY", "sku=NOTHING", "state=shipped&channel=shop",
)  # fmt: skip
_TEXTS = ("F-1777", "CD00101777", "B7", "SKU-1", "Business", "nothing-like-this", "FS-471")
API_LISTS = (
    *(f"/v1/orders?{wanted}" for wanted in _FILTERS), *(f"/v1/orders?text={text}" for text in _TEXTS),
    "/v1/orders?placed_since=2026-03-01T00:00:00Z", "/v1/orders?limit=200", "/v1/shipments",
    "/v1/shipments?order=CD00101777", "/v1/holds", "/v1/quarantine", "/v1/connections", "/v1/orders/CD00101777",
    "/v1/orders/CD00101777/timeline",
)  # fmt: skip
CONSOLE_LISTS = (
    "/console/", *(f"/console/orders?{wanted}" for wanted in _FILTERS),
    *(f"/console/orders?q={text}" for text in _TEXTS),
    "/console/orders/CD00101777", "/console/connections", "/console/holds", "/console/holds/orders?cause=credit",
    "/console/quarantine/facts", "/console/quarantine/steps",
)  # fmt: skip
# Pages that are followed by their cursor, so that what is far down is read too.
FOLLOWED = ("/v1/orders?limit=200", "/v1/shipments?limit=200", "/v1/orders?state=cancelled")
PAGES = 5


async def run_finished_orders(dsn: str, orders: int) -> dict[str, float]:
    """`empty` and `value` in orders/s; `slowest_list_ms`, each list's median of five, and how many there are."""
    async with open_bench_world(dsn) as world:
        await measure(world, make_arrivals(0, 200))
        empty = await measure(world, make_arrivals(1_000, SAMPLE))
        filled = await fill(dsn, orders)
        await measure(world, make_arrivals(3_000, 200))
        full = await measure(world, make_arrivals(5_000, SAMPLE))
    await place_access(dsn, ("shop", "portal", "bazaar"))
    with open_api(dsn) as api:
        times = await read_lists(api.url)
    for address, milliseconds in sorted(times.items(), key=lambda item: -item[1])[:8]:
        sys.stderr.write(f"    {milliseconds:6.1f} ms  {address}\n")
    return {
        "empty": empty, "value": full, "slowest_list_ms": max(times.values()), "lists": len(times),
        "fill_seconds": filled,
    }  # fmt: skip


async def fill(dsn: str, orders: int) -> float:
    """Multiply the newest finished order; return the seconds that took."""
    statements = load_statements("finished")
    net, tax = Money(Decimal(10), "EUR"), Money(Decimal(2), "EUR")
    part = msgspec.json.encode(ShipmentPart("FS", "HAM", AS_OF, (), net, tax))
    started = time.perf_counter()
    pool = await open_pool(dsn, size=1)
    try:
        await pool.execute(statements["choose_source"])
        for first in range(1, orders + 1, CHUNK):
            last = min(first + CHUNK - 1, orders)
            for name in TABLES:
                more = (part,) if name == "shipments" else ()
                await pool.execute(statements[name], first, last, *more, timeout=600)
            sys.stderr.write(f"    {last:,} orders after {time.perf_counter() - started:.0f} s\n")
        for name in ("advance_numbers", "settle", "write_out"):
            await pool.execute(statements[name], timeout=1200)
    finally:
        pool.terminate()
    return time.perf_counter() - started


async def read_lists(url: str) -> dict[str, float]:
    """Address -> median milliseconds of every list, as a program and as a person in a browser get it."""
    token = await get_token(url)
    times: dict[str, float] = {}
    async with aiohttp.ClientSession(url, headers={"Authorization": f"Bearer {token}"}) as program:
        for address in API_LISTS:
            times[address] = await _median(program, address)
        for address in FOLLOWED:
            times |= await _follow(program, address)
    async with aiohttp.ClientSession(url, cookie_jar=aiohttp.CookieJar(unsafe=True)) as person:
        form = {"name": USER, "password": PASSWORD, "next": "/console"}
        async with person.post("/console/sign-in", data=form, headers={"Origin": url}, allow_redirects=False) as answer:
            if answer.status != 303:
                raise RuntimeError(f"no sign-in: {answer.status}")
        for address in CONSOLE_LISTS:
            times[address] = await _median(person, address)
    return times


async def _median(session: aiohttp.ClientSession, address: str) -> float:
    times = [(await _get(session, address))[0] for _ in range(REPEATS)]
    return sorted(times)[REPEATS // 2]


async def _follow(session: aiohttp.ClientSession, address: str) -> dict[str, float]:
    times = {}
    cursor = ""
    for page in range(PAGES):
        further = f"{address}&cursor={cursor}" if cursor else address
        milliseconds, body = await _get(session, further)
        times[f"{address} page {page + 1}"] = milliseconds
        cursor = msgspec.json.decode(body).get("cursor") or ""
        if not cursor:
            break
    return times


async def _get(session: aiohttp.ClientSession, address: str) -> tuple[float, bytes]:
    started = time.perf_counter()
    async with session.get(address) as answer:
        body: Any = await answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{answer.status} for {address}: {body[:300]!r}")
    return 1000 * (time.perf_counter() - started), body
