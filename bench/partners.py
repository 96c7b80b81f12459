"""Crossdock as real processes, API and worker, among sandbox partner processes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import msgspec

from bench.estate import RunningApi, estate_environment, get_token, open_api, open_process, prepare_estate
from bench.http_load import LoadPlan, LoadReport
from bench.server import fresh_database
from crossdock.sandbox.world import make_world
from tests.conformance.partners import KEY, RunningPartner, start_partner

CONFIGURATION = Path(__file__).with_name("partners.toml")
KINDS = ("wms", "tax", "payment")
PIECE = "C62"
LINES = 5
# What the tax engine and the warehouses know, as far as it is sold by the piece.
CATALOGUE = tuple(row.sku for row in make_world().products if row.base_unit == PIECE)


@dataclass(slots=True)
class Estate:
    """A running Crossdock with the partners that it talks to."""

    dsn: str
    api: RunningApi
    worker: subprocess.Popen[bytes]
    partners: dict[str, RunningPartner]
    directory: Path
    token: str

    def begin_load(self, channel: str, prefix: str, rate: float, seconds: float) -> subprocess.Popen[bytes]:
        """Start a load of five-line orders; `finish_load` waits for it."""
        plan = LoadPlan(
            self.api.port, self.token, prefix, rate, seconds, warm_seconds=0.0, connections=32, lines=LINES,
            method="card", channel=channel, catalogue=CATALOGUE,
        )  # fmt: skip
        command = [sys.executable, "-m", "bench.http_load"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(plan))
        process.stdin.close()
        return process

    def load(self, channel: str, prefix: str, rate: float, seconds: float) -> LoadReport:
        return finish_load(self.begin_load(channel, prefix, rate, seconds))

    def count(self, counting: str) -> int:
        return asyncio.run(_count(self.dsn, counting))

    def wait_for(self, counting: str, wanted: int, seconds: float = 120.0) -> None:
        """Wait until the ledger says so. Raises RuntimeError when it does not in time."""
        deadline = time.monotonic() + seconds
        while (found := self.count(counting)) != wanted:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{found} instead of {wanted}: {counting}")
            time.sleep(0.3)


def finish_load(load: subprocess.Popen[bytes]) -> LoadReport:
    """Raises RuntimeError when an order was not accepted."""
    assert load.stdout is not None
    with load.stdout:
        report = msgspec.json.decode(load.stdout.read(), type=LoadReport)
    load.wait()
    if report.accepted != report.asked:
        raise RuntimeError(f"not accepted: {report}")
    return report


@contextmanager
def open_estate(server: str, *options: str) -> Iterator[Estate]:
    """Everything started, on a database of its own. `options` are those of the payment provider."""
    dsn = asyncio.run(fresh_database(server, migrated=False))
    asyncio.run(prepare_estate(dsn, ("portal", "desk")))
    with tempfile.TemporaryDirectory(prefix="crossdock-bench-partners-") as name:
        directory = Path(name)
        partners: dict[str, RunningPartner] = {}
        try:
            for kind in KINDS:
                partners[kind] = start_partner(kind, directory, *(options if kind == "payment" else ()))
            given = {f"BENCH_{kind.upper()}_URL": partner.url for kind, partner in partners.items()}
            given["BENCH_KEY"] = KEY
            environment = estate_environment(dsn, directory, CONFIGURATION, given)
            command = ["worker", "--config", str(CONFIGURATION), "--log-level", "WARNING"]
            with (
                open_api(dsn, CONFIGURATION, given) as api,
                open_process(command, environment, directory / "worker.log") as worker,
            ):
                yield Estate(dsn, api, worker, partners, directory, asyncio.run(get_token(api.url)))
        finally:
            for partner in partners.values():
                partner.stop()


async def _count(dsn: str, counting: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        return int(await connection.fetchval(counting))
    finally:
        await connection.close()
