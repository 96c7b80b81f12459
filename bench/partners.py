"""Crossdock as real processes among sandbox partner processes: memory over time, and the drain after an outage."""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from bench.estate import CONFIGURATION, ROOT, RunningApi, estate_environment, get_token, open_api, open_process, prepare_estate
from bench.http_load import LoadPlan, LoadReport
from bench.process_figures import usage_of
from bench.report import Result, make_result
from bench.server import fresh_database
from crossdock.ledger.database import open_pool
from crossdock.sandbox.world import make_world
from tests.conformance.partners import KEY, RunningPartner, start_partner

PARTNERS_TOML = Path(__file__).with_name("partners.toml")
KINDS = ("wms", "tax", "payment")
MEGABYTE = 2**20
RESIDENT_MAX = 300.0
GROWTH_MAX = 1.05
PIECE = "C62"
MEMORY_RATE, MEMORY_SECONDS = 10.0, 600.0
ERP_RATE = 50.0
DRAINED = 1000
CATALOGUE = tuple(row.sku for row in make_world().products if row.base_unit == PIECE)


@dataclass(slots=True)
class Estate:
    """A running Crossdock: API and worker, with the partners that it talks to."""

    dsn: str
    api: RunningApi
    worker: subprocess.Popen[bytes]
    partners: dict[str, RunningPartner]
    directory: Path
    token: str

    def place(self, channel: str, prefix: str, rate: float, seconds: float, lines: int) -> subprocess.Popen[bytes]:
        """Start a load of orders from the partners' common catalogue."""
        plan = LoadPlan(
            self.api.port, self.token, prefix, rate, seconds, warm_seconds=0.0, connections=32, lines=lines,
            method="card", channel=channel, catalogue=CATALOGUE,
        )  # fmt: skip
        process = subprocess.Popen([sys.executable, "-m", "bench.http_load"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(plan))
        process.stdin.close()
        return process


def finish_load(load: subprocess.Popen[bytes]) -> LoadReport:
    assert load.stdout is not None
    with load.stdout:
        report = msgspec.json.decode(load.stdout.read(), type=LoadReport)
    load.wait()
    if report.accepted != report.asked:
        raise RuntimeError(f"not accepted: {report}")
    return report


@contextmanager
def open_estate(server: str, *options: str) -> Iterator[Estate]:
    """`options` are those of the payment provider."""
    dsn = asyncio.run(fresh_database(server, migrated=False))
    asyncio.run(prepare_estate(dsn, ("portal", "desk")))
    with tempfile.TemporaryDirectory(prefix="crossdock-bench-partners-") as name:
        directory = Path(name)
        partners: dict[str, RunningPartner] = {}
        try:
            for kind in KINDS:
                partners[kind] = start_partner(kind, directory, *(options if kind == "payment" else ()))
            given = {f"BENCH_{kind.upper()}_URL": partner.url for kind, partner in partners.items()} | {"BENCH_KEY": KEY}
            environment = estate_environment(dsn, directory, PARTNERS_TOML, given)
            command = ["worker", "--config", str(PARTNERS_TOML), "--log-level", "WARNING"]
            with (
                open_api(dsn, PARTNERS_TOML, given) as api,
                open_process(command, environment, directory / "worker.log") as worker,
            ):
                token = asyncio.run(get_token(api.url))
                yield Estate(dsn, api, worker, partners, directory, token)
        finally:
            for partner in partners.values():
                partner.stop()


def measure_memory(server: str, size: float) -> list[Result]:
    """Orders at a fixed rate through both processes; resident memory of each, once a second."""
    seconds = max(30.0, MEMORY_SECONDS * size)
    resident: dict[str, list[float]] = {"api": [], "worker": []}
    with open_estate(server) as estate:
        asyncio.run(estate.partners["wms"].control("POST", "/_control/auto", {"on": True, "interval": 1, "partial": 0.3, "short": 0}))
        _wait_for(estate.dsn, "SELECT count(*) FROM stock WHERE location = 'HAM' AND sku NOT LIKE 'SKU-%'", len(make_world().products))
        load = estate.place("portal", "M", MEMORY_RATE, seconds, 5)
        began = time.monotonic()
        while load.poll() is None:
            time.sleep(1)
            for name, pid in (("api", estate.api.process.pid), ("worker", estate.worker.pid)):
                resident[name].append(usage_of(pid).resident / MEGABYTE)
            if int(time.monotonic() - began) % 60 == 0:
                sys.stdout.write(f"  {time.monotonic() - began:.0f} s: {resident['api'][-1]:.0f} and {resident['worker'][-1]:.0f} MB\n")
                sys.stdout.flush()
        report = finish_load(load)
        completed = asyncio.run(_count(estate.dsn, "SELECT count(*) FROM order_progress WHERE state = 'completed'"))
    highest = {name: max(values) for name, values in resident.items()}
    growth = {name: _growth(values) for name, values in resident.items()}
    worst = max(growth, key=lambda name: growth[name][1] / growth[name][0])
    did = f"{report.asked:,} orders at {MEMORY_RATE:.0f}/s for {seconds:.0f} s, {completed:,} of them completed by then"
    more: dict[str, Any] = {
        name: {"highest": round(highest[name], 1), "second_quarter": round(growth[name][0], 1),
               "last_quarter": round(growth[name][1], 1)} for name in resident
    }  # fmt: skip
    complete = seconds >= MEMORY_SECONDS
    return [
        make_result(
            "memory", f"highest resident memory of the API and the worker process: {did}", max(highest.values()), "MB",
            RESIDENT_MAX, max(highest.values()) / RESIDENT_MAX, 1.0, "nothing: a fixed rate", below=True,
            complete=complete, **more,
        ),
        make_result(
            "memory_growth", f"resident memory of the {worst} process in the last quarter of that time against the second",
            growth[worst][1], "MB", growth[worst][0], growth[worst][1] / growth[worst][0], GROWTH_MAX,
            "nothing: a fixed rate", below=True, complete=complete,
        ),
    ]  # fmt: skip


def measure_drain(server: str, size: float) -> list[Result]:
    """The system that stands for the ERP is killed, orders are accepted, it comes back: how fast is the rest done?"""
    orders = max(100, int(DRAINED * size))
    with open_estate(server, "--rate-per-second", f"{ERP_RATE:.0f}") as estate:
        erp = estate.partners["payment"]
        finish_load(estate.place("desk", "BEFORE", ERP_RATE / 2, 4.0, 5))
        _wait_for(estate.dsn, _OPEN, 0)
        own = _own_rate(erp)
        erp.process.send_signal(signal.SIGKILL)
        erp.process.wait()
        stopped = time.monotonic()
        finish_load(estate.place("desk", "DURING", 100.0, orders / 100, 5))
        _wait_for(estate.dsn, _OPEN, orders)
        port = erp.url.rpartition(":")[2]
        down = time.monotonic() - stopped
        erp = estate.partners["payment"] = start_partner(
            "payment", estate.directory, "--rate-per-second", f"{ERP_RATE:.0f}", "--port", port
        )
        back = time.time()
        _wait_for(estate.dsn, _OPEN, 0, seconds=60 + 3 * orders / ERP_RATE)
        log = [row for row in asyncio.run(erp.log()) if row["kind"] == "authorisation"]
    times = sorted(datetime.fromisoformat(row["at"]).timestamp() for row in log)[-orders:]
    keys = {row["business_key"] for row in log}
    once = len(keys) == len(log)
    rate = (orders - 1) / (times[-1] - times[0])
    return [make_result(
        "drain", f"{orders:,} orders accepted in an outage of {down:.0f} s of a partner process that stands for the ERP "
        f"(killed, started again, at most {ERP_RATE:.0f} calls/s over HTTP): the rate at which they arrived there against "
        "the rate of the same process called directly", rate, "orders/s", own, rate / own, 0.95,
        "the partner's rate limit", complete=once and orders >= DRAINED, first_after_seconds=round(times[0] - back, 1),
        each_once=once,
    )]  # fmt: skip


_OPEN = "SELECT count(*) FROM steps WHERE state NOT IN ('done', 'cancelled')"


def _own_rate(erp: RunningPartner) -> float:
    """What the process takes when it is called at its limit, without us."""
    return asyncio.run(_call_directly(erp, int(ERP_RATE * 7)))


async def _call_directly(erp: RunningPartner, count: int) -> float:
    """`count` calls, eight at a time, told to slow down by the partner; its burst at the beginning is not counted."""
    numbers = iter(range(count))
    ended: list[float] = []
    async with aiohttp.ClientSession(erp.url, headers={"Authorization": f"Bearer {erp.key}"}) as session:

        async def caller() -> None:
            for number in numbers:
                body = {"amount": 100, "currency": "EUR", "card_token": "tok_visa", "reference": f"OWN-{number}"}
                for _ in range(1000):
                    async with session.post("/v1/authorisations", json=body) as answer:
                        if answer.status == 201:
                            break
                        await asyncio.sleep(1 / ERP_RATE)
                ended.append(time.perf_counter())

        await asyncio.gather(*(caller() for _ in range(8)))
    later = ended[count // 2 :]
    return (len(later) - 1) / (later[-1] - later[0])


def _growth(values: list[float]) -> tuple[float, float]:
    """Medians of the second and of the last quarter."""
    quarter = max(1, len(values) // 4)
    return statistics.median(values[quarter : 2 * quarter]), statistics.median(values[-quarter:])


def _wait_for(dsn: str, counting: str, wanted: int, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while (found := asyncio.run(_count(dsn, counting))) != wanted:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{found} instead of {wanted}: {counting}")
        time.sleep(0.3)


async def _count(dsn: str, counting: str) -> int:
    pool = await open_pool(dsn, size=1)
    try:
        return int(await pool.fetchval(counting))
    finally:
        pool.terminate()
