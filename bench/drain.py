"""After an outage: the process that stands for the ERP is killed, orders are accepted, it comes back."""

from __future__ import annotations

import asyncio
import signal
import time
from datetime import datetime

import aiohttp

from bench.partners import Estate, open_estate
from bench.report import Result, make_result
from tests.conformance.partners import RunningPartner, start_partner

ERP = "payment"
RATE = 50.0
ORDERS = 1000
CALLERS = 8
TRIES = 1000
# What comes at once at the beginning, after a rest, says nothing about the rate: not counted.
FIRST = 50
_OPEN = "SELECT count(*) FROM steps WHERE state NOT IN ('done', 'cancelled')"


def measure_drain(server: str, size: float) -> list[Result]:
    """How fast what has gathered arrives there, by the partner's own log, against its own rate."""
    orders = max(100, int(ORDERS * size))
    limit = ("--rate-per-second", f"{RATE:.0f}")
    with open_estate(server, *limit) as estate:
        erp = estate.partners[ERP]
        estate.load("desk", "BEFORE", RATE / 2, 4.0)
        estate.wait_for(_OPEN, 0)
        own = asyncio.run(_call_directly(erp, int(RATE * 7)))
        down = _outage(estate, orders)
        erp = estate.partners[ERP] = start_partner(ERP, estate.directory, *limit, "--port", erp.url.rpartition(":")[2])
        back = time.time()
        estate.wait_for(_OPEN, 0, seconds=60 + 3 * orders / RATE)
        log = [row for row in asyncio.run(erp.log()) if row["kind"] == "authorisation"]
    times = sorted(datetime.fromisoformat(row["at"]).timestamp() for row in log)[-orders:]
    once = len({row["business_key"] for row in log}) == len(log)
    rate = (orders - FIRST - 1) / (times[-1] - times[FIRST])
    what = (
        f"{orders:,} orders accepted in an outage of {down:.0f} s of a partner process that stands for the ERP "
        f"(killed and started again; at most {RATE:.0f} calls/s over HTTP): the rate at which they arrive there, by "
        "its own log, against the rate of the same process called directly"
    )
    return [make_result(
        "drain", what, rate, "orders/s", own, rate / own, 0.95, "the partner's rate limit",
        complete=once and orders >= ORDERS, first_after_seconds=round(times[0] - back, 1), each_once=once,
    )]  # fmt: skip


def _outage(estate: Estate, orders: int) -> float:
    """Kill it and place orders meanwhile; return how long it has been down."""
    process = estate.partners[ERP].process
    process.send_signal(signal.SIGKILL)
    process.wait()
    began = time.monotonic()
    estate.load("desk", "DURING", 2 * RATE, orders / (2 * RATE))
    estate.wait_for(_OPEN, orders)
    return time.monotonic() - began


async def _call_directly(erp: RunningPartner, count: int) -> float:
    """`count` calls, some at a time, each again when told to slow down. Counted is what ends after the partner first
    said so: before, it lives on the burst that it allows."""
    numbers = iter(range(count))
    ended: list[float] = []
    told: list[float] = []
    async with aiohttp.ClientSession(erp.url, headers={"Authorization": f"Bearer {erp.key}"}) as session:

        async def caller() -> None:
            for number in numbers:
                body = {"amount": 100, "currency": "EUR", "card_token": "tok_visa", "reference": f"OWN-{number}"}
                for _ in range(TRIES):
                    async with session.post("/v1/authorisations", json=body) as answer:
                        if answer.status == 201:
                            break
                    told.append(time.perf_counter())
                    await asyncio.sleep(1 / RATE)
                ended.append(time.perf_counter())

        await asyncio.gather(*(caller() for _ in range(CALLERS)))
    since = told[0] if told else 0.0
    later = [at for at in ended if at > since]
    return (len(later) - 1) / (later[-1] - later[0])
