"""The ERP's sandbox as a process: seeded once, its proxy honest about what was committed, and no child left behind.

Runs where an environment with Tryton is named (CROSSDOCK_TEST_TRYTON_VENV, made from requirements/tryton.txt).
"""

from __future__ import annotations

import os
import queue
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from crossdock.ledger.embedded import EmbeddedPostgres
from crossdock.sandbox.tryton.rpc import Rpc
from crossdock.sandbox.world import TAX_CODES, WAREHOUSES, World, make_world

VENV: Final = os.environ.get("CROSSDOCK_TEST_TRYTON_VENV", "")
FIRST_START_SECONDS_MAX: Final = 1500
START_SECONDS_MAX: Final = 180
END_SECONDS_MAX: Final = 60
pytestmark = [
    pytest.mark.process, pytest.mark.slow,
    pytest.mark.skipif(not VENV, reason="CROSSDOCK_TEST_TRYTON_VENV names no Tryton"),
]  # fmt: skip


@dataclass(slots=True)
class Erp:
    """One home of the ERP; started and ended as often as a test likes."""

    home: Path
    database_url: str
    process: subprocess.Popen[str] | None = None
    url: str = ""
    said: tuple[str, ...] = ()

    def spawn(self) -> queue.Queue[str]:
        """Start it; its lines come into the queue, the last one is empty."""
        command = [
            sys.executable, "-m", "crossdock.sandbox.tryton", "--home", str(self.home),
            "--database-url", self.database_url, "--venv", str(Path(VENV).absolute()),
        ]  # fmt: skip
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.process = process
        lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=_read_lines, args=(process, lines), daemon=True).start()
        return lines

    def start(self, seconds_max: float) -> None:
        lines = self.spawn()
        said = read_until(lines, "listens on", seconds_max)
        self.said = tuple(said)
        self.url = said[-1].rpartition(" ")[2].strip()

    def end(self, how: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        return self.process.wait(END_SECONDS_MAX)

    def inner_port(self) -> int:
        """Where Tryton itself listens, as its configuration says."""
        text = (self.home / "trytond.conf").read_text(encoding="utf-8")
        return int(text.partition("listen = 127.0.0.1:")[2].partition("\n")[0])


def _read_lines(process: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            lines.put(line)
    lines.put("")


def read_until(lines: queue.Queue[str], text: str, seconds_max: float) -> list[str]:
    deadline = time.monotonic() + seconds_max
    said: list[str] = []
    while not said or text not in said[-1]:
        said.append(lines.get(timeout=max(0.1, deadline - time.monotonic())))
        assert said[-1], f"the ERP ended: {said}"
    return said


def wait_until(true: Callable[[], bool], seconds_max: float) -> bool:
    deadline = time.monotonic() + seconds_max
    while time.monotonic() < deadline:
        if true():
            return True
        threading.Event().wait(0.1)
    return False


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A database server of its own: Tryton's database has a fixed name."""
    postgres = EmbeddedPostgres(tmp_path_factory.mktemp("tryton-postgres") / "data")
    address = postgres.start()
    try:
        yield address
    finally:
        postgres.stop()


@pytest.fixture(scope="module")
def erp(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Erp]:
    """Told to stop once while it initialises, then seeded, then running."""
    found = Erp(tmp_path_factory.mktemp("tryton") / "erp", server)
    try:
        read_until(found.spawn(), "initialising", START_SECONDS_MAX)
        assert found.end(signal.SIGTERM) == 0, "told to stop while it initialises"
        found.start(FIRST_START_SECONDS_MAX)
        yield found
    finally:
        if found.process is not None and found.process.poll() is None:
            found.process.kill()
            found.process.wait()


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=180)) as opened:
        yield opened


@pytest.fixture
def world() -> World:
    return make_world()


async def ask(client: aiohttp.ClientSession, erp: Erp, path: str) -> Any:
    async with client.get(erp.url + path) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def misbehave(client: aiohttp.ClientSession, erp: Erp, plan: dict[str, Any]) -> int:
    async with client.put(f"{erp.url}/_faults", json=plan) as answer:
        return answer.status


async def sign_in(client: aiohttp.ClientSession, erp: Erp) -> Rpc:
    await misbehave(client, erp, {})
    rpc = Rpc(client, erp.url, "tryton")
    await rpc.login("crossdock", (erp.home / "crossdock.password").read_text(encoding="ascii"))
    rpc.context = await rpc.call("model.res.user.get_preferences", True)
    return rpc


async def test_unfinished_database_is_made_anew(erp: Erp) -> None:
    assert any("made anew" in line for line in erp.said), erp.said


async def test_world_is_there(client: aiohttp.ClientSession, erp: Erp, world: World) -> None:
    rpc = await sign_in(client, erp)
    skus = {product.sku for product in world.sold}
    products = await rpc.call("model.product.product.search_read", [], 0, None, None, ["code"])
    assert {row["code"] for row in products} == skus
    codes = [customer.code for customer in world.customers]
    assert len(await rpc.find("party.party", ("code", "in", codes))) == len(codes)
    for code, rate in TAX_CODES.values():
        tax = await rpc.call("model.account.tax.search_read", [("name", "=", code)], 0, None, None, ["rate"])
        assert [row["rate"] for row in tax] == [rate]


@pytest.mark.parametrize("warehouse", WAREHOUSES)
async def test_stock_is_the_worlds(client: aiohttp.ClientSession, erp: Erp, world: World, warehouse: str) -> None:
    rpc = await sign_in(client, erp)
    location = await rpc.find("stock.location", ("type", "=", "warehouse"), ("code", "=", warehouse))
    assert len(location) == 1
    rows = await rpc.call(
        "model.product.product.search_read", [("type", "=", "goods")], 0, None, None, ["code", "quantity"],
        context={"locations": location},
    )
    found = {row["code"]: row["quantity"] for row in rows}
    assert found == {product.sku: float(dict(product.stock)[warehouse]) for product in world.products}


async def test_secrets_are_their_owners_only(erp: Erp) -> None:
    for name in ("crossdock.password", "admin.password", "trytond.conf"):
        assert stat.S_IMODE((erp.home / name).stat().st_mode) == 0o600, name


async def test_log_has_what_was_committed(client: aiohttp.ClientSession, erp: Erp) -> None:
    """A refused write and a read leave no entry; a write does, also where the caller never hears of it."""
    rpc = await sign_in(client, erp)
    before = len(await ask(client, erp, "/_log"))
    await rpc.find("party.party")
    with pytest.raises(Exception, match="party"):
        await rpc.create("party.party", [{"name": "Twice", "code": "C0001"}])
    assert len(await ask(client, erp, "/_log")) == before
    await misbehave(client, erp, {"commit_then_drop": 1, "methods": ["POST"]})
    with pytest.raises(aiohttp.ClientError):
        await rpc.create("party.party", [{"name": "Heard of by nobody", "code": "T0001"}])
    await misbehave(client, erp, {})
    entries = (await ask(client, erp, "/_log"))[before:]
    assert [entry["kind"] for entry in entries] == ["model.party.party.create"]
    assert "T0001" in str(entries[0]["document"]["arguments"])
    assert await rpc.find("party.party", ("code", "=", "T0001")) == entries[0]["document"]["result"]


async def test_faults_before_the_work_leave_nothing(client: aiohttp.ClientSession, erp: Erp) -> None:
    rpc = await sign_in(client, erp)
    before = len(await ask(client, erp, "/_log"))
    plans: list[dict[str, Any]] = [{"reset": 1}, {"status_429": 1}, {"status_503": 1}, {"down": True}]
    for number, plan in enumerate(plans):
        assert await misbehave(client, erp, plan) == 200
        with pytest.raises(Exception, match=r".*"):
            await rpc.create("party.party", [{"name": "Nobody", "code": f"N{number}"}])
    assert await misbehave(client, erp, {}) == 200
    assert await rpc.find("party.party", ("name", "=", "Nobody")) == []
    assert len(await ask(client, erp, "/_log")) == before
    assert await misbehave(client, erp, {"no_such_fault": 1}) == 400


async def test_request_delivered_twice_is_committed_twice(client: aiohttp.ClientSession, erp: Erp) -> None:
    rpc = await sign_in(client, erp)
    await misbehave(client, erp, {"duplicate": 1, "paths": "party.category.create"})
    await rpc.create("party.category", [{"name": "Twice", "parent": (await rpc.find("party.category"))[0]}])
    await misbehave(client, erp, {})
    log = await ask(client, erp, "/_log")
    made = [entry for entry in log if entry["kind"] == "model.party.category.create"]
    assert len(await rpc.find("party.category", ("name", "=", "Twice"))) == len(made)


async def test_killed_without_warning_it_takes_tryton_along_and_starts_again(
    client: aiohttp.ClientSession, erp: Erp
) -> None:
    """Its log and its data are kept; nothing is seeded twice."""
    log = await ask(client, erp, "/_log")
    inner = erp.inner_port()
    assert not is_free(inner)
    erp.end(signal.SIGKILL)
    assert wait_until(lambda: is_free(inner), END_SECONDS_MAX), "Tryton outlives its parent"
    erp.start(START_SECONDS_MAX)
    assert [line for line in erp.said if "listens on" not in line] == []
    assert await ask(client, erp, "/healthz") == {"status": "ok", "name": "tryton"}
    assert await ask(client, erp, "/_log") == log
    assert set(await ask(client, erp, "/_documents")) == {"sales", "shipments", "invoices"}


async def test_told_to_stop_it_ends_with_tryton(erp: Erp) -> None:
    inner = erp.inner_port()
    assert erp.end(signal.SIGTERM) == 0
    assert is_free(inner)
