"""The demonstration as a whole: up, an order through every system, killed processes, down, up again with its data."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from crossdock.prove.canaries import Left, find_canaries
from tests.conformance.calls import BASKET

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(1800)]
ROOT = Path(__file__).resolve().parents[2]
SHOP, BAZAAR, SUPPLIER, CENTRE = 2, 4, 10, 11
FIRST_SECONDS_MAX = 600
LATER_SECONDS_MAX = 120


def free_ports() -> int:
    """The first of twelve free ports."""
    for first in range(18_700, 60_000, 20):
        taken = []
        try:
            for port in range(first, first + 12):
                probe = socket.socket()
                taken.append(probe)
                probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        finally:
            for probe in taken:
                probe.close()
        return first
    raise AssertionError("no twelve free ports")


class Run:
    """One `crossdock run --demo` and what it says."""

    def __init__(self, home: Path, port: int, *arguments: str) -> None:
        self.home, self.port = home, port
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("CROSSDOCK_")},
            "CROSSDOCK_HOME": str(home), "CROSSDOCK_PORT": str(port), "PYTHONUNBUFFERED": "1",
        }  # fmt: skip
        self.log = home.parent / f"run-{time.monotonic_ns()}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "crossdock.cli.main", "run", "--demo", *arguments],
                cwd=ROOT, env=self.environment, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip

    @property
    def said(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def wait_until(self, condition: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.2)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "crossdock.cli.main", *arguments], check=False, capture_output=True, text=True,
            cwd=ROOT, env=self.environment, timeout=180,
        )  # fmt: skip

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.command("status", "--json").stdout)
        return found

    def read(self, offset: int, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port + offset}{path}", timeout=60) as answer:
            return json.load(answer)

    def post(self, offset: int, path: str, body: object) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port + offset}{path}", json.dumps(body).encode(),
            {"content-type": "application/json"},
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - our own address
            return json.load(answer)

    def end(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(180)


@pytest.fixture
def place(demonstration_place: tuple[Path, int]) -> tuple[Path, int]:
    return demonstration_place


@pytest.fixture
def started(place: tuple[Path, int]) -> Iterator[list[Run]]:
    runs: list[Run] = []
    yield runs
    for run in runs:
        if run.process.poll() is None:
            run.end()


def processes_of(home: Path) -> list[int]:
    found = []
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit():
            try:
                command = (directory / "cmdline").read_bytes()
            except OSError:
                continue
            if str(home).encode() in command:
                found.append(int(directory.name))
    return found


def test_everything_comes_up_and_orders_reach_the_erp(place: tuple[Path, int], started: list[Run]) -> None:
    home, port = place
    run = Run(home, port, "--orders-per-second", "1")
    started.append(run)
    run.wait_until(lambda: f"Crossdock is ready: http://127.0.0.1:{port}\n" in run.said, FIRST_SECONDS_MAX)
    credentials = json.loads((home / "demo.json").read_text())
    assert credentials["console"]["password"] in run.said
    assert (home / "demo.json").stat().st_mode & 0o777 == 0o600

    second = run.command("run", "--demo")
    assert second.returncode == 3
    assert "already running" in second.stderr

    def orders_in_the_erp() -> int:
        return sum(1 for sale in run.read(1, "/_documents")["sales"] if re.match(r"CD\d{8}", sale["reference"] or ""))

    run.wait_until(lambda: orders_in_the_erp() >= 3, 300)

    # Killed without warning, both are back by themselves and orders go on.
    before = orders_in_the_erp()
    kept = json.loads((home / "run.json").read_text())["processes"]
    for name in ("api", "worker-1"):
        os.kill(kept[name], signal.SIGKILL)
    run.wait_until(lambda: "api was killed; starting it again" in run.said, 120)
    run.wait_until(lambda: orders_in_the_erp() >= before + 3, 300)
    references = [sale["reference"] for sale in run.read(1, "/_documents")["sales"] if sale["reference"]]
    assert len(references) == len(set(references))

    assert run.end() == 0
    assert processes_of(home) == []


def test_a_run_for_so_many_seconds_ends_by_itself(place: tuple[Path, int], started: list[Run]) -> None:
    home, port = place
    run = Run(home, port, "--orders-per-second", "1", "--duration", "5")
    started.append(run)
    run.wait_until(lambda: "Crossdock is ready" in run.said, LATER_SECONDS_MAX)
    assert run.process.wait(300) == 0
    assert processes_of(home) == []


def test_goods_of_a_supplier_and_of_a_fulfilment_centre_are_sold_from_where_they_lie(
    place: tuple[Path, int], started: list[Run]
) -> None:
    """Each leaves from shelves that are not ours, and the ERP's books follow; what is on order comes from the ERP."""
    home, port = place
    run = Run(home, port, "--orders-per-second", "0")
    started.append(run)
    run.wait_until(lambda: "Crossdock is ready" in run.said, LATER_SECONDS_MAX)
    for offset, sku, token in ((SHOP, "ND-0240", "tok_00001234"), (BAZAAR, "ND-0020", "")):
        line = {"sku": sku, "quantity": "2", "unit": "C62", "unit_price": "9.00"}
        order = {**BASKET, "card_token": token, "lines": [line]}
        assert run.post(offset, "/_control/order", {"orders": [order]})["numbers"]

    def left(offset: int) -> bool:
        return any(entry["kind"] == "shipment" for entry in run.read(offset, "/_log"))

    run.wait_until(lambda: left(SUPPLIER) and left(CENTRE), 300)

    def booked() -> set[str]:
        shipments = run.read(1, "/_documents?kind=shipments")["shipments"]
        return {row["warehouse"] for row in shipments if row["state"] == "done"}

    run.wait_until(lambda: booked() >= {"DSP", "FBB"}, 300)
    explained = json.loads(run.command("stock", "explain", "ND-0240", "--channel", "shop", "--json").stdout)
    assert {(one["location"], one["source"]) for one in explained["availability"]["locations"]} >= {("DSP", "supplier")}
    explained = json.loads(run.command("stock", "explain", "ND-0001", "--channel", "portal", "--json").stdout)
    assert {one["location"] for one in explained["on_order"]} == {"HAM", "BHX"}
    assert explained["availability"]["promise_on"] == min(one["expected_on"] for one in explained["on_order"])
    assert run.end() == 0


def test_a_later_start_is_quick_and_goes_on_with_the_data_and_a_killed_supervisor_leaves_nothing_behind(
    place: tuple[Path, int], started: list[Run]
) -> None:
    home, port = place
    run = Run(home, port, "--orders-per-second", "0")
    started.append(run)
    run.wait_until(lambda: "Crossdock is ready" in run.said, LATER_SECONDS_MAX)
    status = run.status()
    assert sum(status["orders"].values()) >= 3
    assert {process["name"] for process in status["processes"]} >= {"supervisor", "api", "worker-1", "erp", "wms"}
    run.process.kill()
    run.process.wait(60)
    deadline = time.monotonic() + 120
    while processes_of(home):
        assert time.monotonic() < deadline, processes_of(home)
        time.sleep(0.2)


def test_what_the_runs_left_behind_names_no_secret_and_no_buyer(place: tuple[Path, int]) -> None:
    """All logs of all processes, after real orders: neither the generated secrets nor a buyer of any channel."""
    home, _ = place
    credentials = json.loads((home / "demo.json").read_text(encoding="utf-8"))
    hidden = {"console password": credentials["console"]["password"], **credentials["secrets"]}
    hidden |= {name: client["client_secret"] for name, client in credentials["clients"].items()}
    buyers: dict[str, str] = {}
    for channel in ("shop", "portal", "bazaar", "agora"):
        connection = sqlite3.connect(home / "partners" / f"{channel}.sqlite")
        rows = connection.execute("SELECT document FROM write_log WHERE kind = 'order'").fetchall()
        connection.close()
        for (document,) in rows:
            for found in re.findall(rb'"(?:e?mail|street|buyer_email)":"([^"]{8,})"', document):
                buyers[f"a buyer of {channel}: {found.decode()}"] = found.decode()
    assert len(buyers) > 3, "buyers were there to be named"
    left = [Left(path.name, path.read_text(encoding="utf-8", errors="replace")) for path in (home / "logs").iterdir()]
    assert {"api.log", "worker-1.log", "erp.log"} <= {item.where for item in left}
    assert not find_canaries(left, hidden, buyers)
