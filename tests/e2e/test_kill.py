"""Workers are killed at random moments while partners lose answers; the partners' own logs are the judges.

The long form: `CROSSDOCK_PROOF_ORDERS=2000 CROSSDOCK_PROOF_KILLS=40 .venv/bin/pytest tests/e2e/test_kill.py`.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from crossdock.ledger import master_data
from crossdock.ledger.database import open_pool
from crossdock.model.documents import Pack, Product
from crossdock.model.values import Money
from crossdock.sandbox.world import make_world
from tests.conformance.partners import KEY, RunningPartner, start_partner
from tests.integration.engine.bench_world import NOW

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(1800)]
ORDERS = int(os.environ.get("CROSSDOCK_PROOF_ORDERS", "40"))
KILLS = int(os.environ.get("CROSSDOCK_PROOF_KILLS", "8"))
SEED = int(os.environ.get("CROSSDOCK_PROOF_SEED", "1"))

CONFIGURATION = """
[cell]
name = "proof"
environment = "demo"
erp = "tax"
[regions]
DE = "EU"
[[locations]]
code = "HAM"
region = "EU"
connection = "wms"
[[locations]]
code = "BHX"
region = "EU"
connection = "wms"
[sourcing.preference]
EU = ["HAM", "BHX"]
[channels.shop]
connection = "shop"
currencies = ["EUR"]
payments = ["card"]
price_source = "channel"
[[plans]]
name = "card"
steps = [
    { operation = "tax.quote", connection = "tax" },
    { operation = "payment.authorise", connection = "payment", needs = ["tax.quote"] },
    { operation = "channel.acknowledge", connection = "@channel", needs = ["payment.authorise"] },
    { operation = "wms.release", connection = "@warehouse", each = "warehouse", needs = ["payment.authorise"] },
]
shipment_steps = [
    { operation = "payment.capture", connection = "payment" },
    { operation = "tax.commit", connection = "tax" },
    { operation = "channel.ship", connection = "@channel" },
]
on_refused = { "payment.authorise" = "cancel" }
[retry]
unavailable = { base_seconds = 1, factor = 2, cap_seconds = 3 }
in_doubt = { base_seconds = 1, factor = 2, cap_seconds = 3 }
[breaker]
failures_to_open = 30
open_seconds = 1
growth = 1
cap_seconds = 2
[connections.shop]
system = "shop"
settings = { url = { env = "PROOF_SHOP" }, key = { env = "PROOF_KEY" } }
feeds.orders = { interval_seconds = 1 }
[connections.wms]
system = "wms"
settings = { url = { env = "PROOF_WMS" }, key = { env = "PROOF_KEY" } }
feeds.shipments = { interval_seconds = 1 }
feeds.stock = { interval_seconds = 5 }
[connections.tax]
system = "tax"
settings = { url = { env = "PROOF_TAX" }, key = { env = "PROOF_KEY" } }
[connections.payment]
system = "payment"
settings = { url = { env = "PROOF_PAYMENT" }, key = { env = "PROOF_KEY" } }
"""


@pytest.fixture
def proof_partners(tmp_path: Path) -> Iterator[Mapping[str, RunningPartner]]:
    running: dict[str, RunningPartner] = {}
    try:
        for kind in ("shop", "wms", "tax", "payment"):
            running[kind] = start_partner(kind, tmp_path)
        yield running
    finally:
        for partner in running.values():
            partner.stop()


class Workers:
    """Worker processes that may be killed and are replaced."""

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self._directory = directory
        self._environment = {**os.environ, **environment}
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        number = len(list(self._directory.glob("worker-*.log")))
        with (self._directory / f"worker-{number}.log").open("wb") as log:
            command = [sys.executable, "-m", "crossdock.cli.main", "worker", "--name", f"worker-{number}"]
            self._running.append(
                subprocess.Popen(
                    [*command, "--config", str(self._directory / "crossdock.toml")],
                    env=self._environment, cwd=self._directory, stdout=log, stderr=log,
                )
            )  # fmt: skip

    def kill_one(self, chance: random.Random) -> None:
        victim = self._running.pop(chance.randrange(len(self._running)))
        victim.send_signal(signal.SIGKILL)
        victim.wait()

    def stop(self) -> None:
        for process in self._running:
            process.terminate()
        for process in self._running:
            process.wait(timeout=30)


async def seed_products(dsn: str) -> None:
    products = [
        Product(
            row.sku, row.name, row.base_unit, row.tax_category, (Money(row.list_price_eur, "EUR"),),
            tuple(Pack(pack.unit, Decimal(pack.quantity)) for pack in row.packs),
        )
        for row in make_world().products
    ]  # fmt: skip
    pool = await open_pool(dsn, size=2)
    try:
        async with pool.acquire() as connection, connection.transaction():
            await master_data.place_products(connection, [("erp", row) for row in products], NOW)
    finally:
        await pool.close()


def make_order(chance: random.Random) -> dict[str, Any]:
    products = chance.sample(make_world().products, chance.choice((1, 2, 3, 5)))
    return {
        "currency": "EUR", "card_token": "tok_visa", "email": "ada@example.com",
        "ship_to": {"name": "Ada", "street": "Quay 1", "city": "Bremen", "postal_code": "28195", "country": "DE"},
        "lines": [
            {
                "sku": row.sku, "quantity": str(chance.randint(1, 4)), "unit": row.base_unit,
                "unit_price": str(row.list_price_eur),
            }
            for row in products
        ],
    }  # fmt: skip


async def count_completed(dsn: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        count: int = await connection.fetchval("SELECT count(*) FROM order_progress WHERE state = 'completed'")
        return count
    finally:
        await connection.close()


async def test_killed_workers_and_lost_answers_leave_each_effect_once(
    database_url: str, tmp_path: Path, proof_partners: Mapping[str, RunningPartner]
) -> None:
    chance = random.Random(SEED)
    await seed_products(database_url)
    (tmp_path / "crossdock.toml").write_text(CONFIGURATION, encoding="utf-8")
    environment = {f"PROOF_{kind.upper()}": partner.url for kind, partner in proof_partners.items()}
    workers = Workers(
        tmp_path,
        {
            **environment, "PROOF_KEY": KEY, "CROSSDOCK_DATABASE_URL": database_url,
            "CROSSDOCK_HOME": str(tmp_path / "home"),
        },
    )
    for partner in proof_partners.values():
        plan = {
            "seed": SEED, "commit_then_drop": 0.2, "status_503": 0.05, "status_429": 0.05, "retry_after": 1,
            "paths": "^/(api|v1)",
        }  # fmt: skip
        await partner.misbehave(plan)
    pace = {"on": True, "interval": 1, "partial": 0.3, "short": 0}
    await proof_partners["wms"].control("POST", "/_control/auto", pace)
    try:
        for _ in range(2):
            workers.start()
        numbers = [await proof_partners["shop"].place_order(make_order(chance)) for _ in range(ORDERS)]
        for _ in range(KILLS):
            await asyncio.sleep(chance.uniform(0.5, 2.5))
            workers.kill_one(chance)
            workers.start()
        async with asyncio.timeout(60 + 3 * ORDERS):
            while await count_completed(database_url) < ORDERS:  # noqa: ASYNC110 - the state is in the database
                await asyncio.sleep(0.5)
    finally:
        workers.stop()
    await judge(proof_partners, numbers, database_url)


async def judge(partners: Mapping[str, RunningPartner], numbers: list[str], dsn: str) -> None:
    """What the receiving systems logged: everything once, and every cent."""
    logs = {kind: await partner.log() for kind, partner in partners.items()}
    acknowledged = Counter(row["business_key"] for row in logs["shop"] if row["kind"] == "acknowledgment")
    assert acknowledged == dict.fromkeys(numbers, 1)
    instructions = Counter(row["business_key"] for row in logs["wms"] if row["kind"] == "instruction")
    assert set(instructions.values()) == {1}
    authorised = {row["business_key"]: row["document"] for row in logs["payment"] if row["kind"] == "authorisation"}
    assert len(authorised) == len(numbers)
    assert len([row for row in logs["payment"] if row["kind"] == "authorisation"]) == len(numbers)
    captures: dict[str, list[int]] = defaultdict(list)
    for row in logs["payment"]:
        if row["kind"] == "capture":
            captures[row["document"]["source"]].append(row["document"]["amount"])
    shipments = [row for row in logs["wms"] if row["kind"] == "shipment"]
    assert sum(len(amounts) for amounts in captures.values()) == len(shipments)
    for document in authorised.values():
        assert sum(captures[document["id"]]) == document["amount"]
    fulfilments = [row for row in logs["shop"] if row["kind"] == "fulfilment"]
    assert len(fulfilments) == len(shipments)
    committed = Counter(row["business_key"] for row in logs["tax"] if row["kind"] == "transaction")
    assert set(committed.values()) == {1}
    assert len(committed) == len(shipments)
    connection = await asyncpg.connect(dsn)
    try:
        assert await connection.fetchval("SELECT count(*) FROM orders") == len(numbers)
        assert await connection.fetchval("SELECT count(*) FROM stock WHERE reserved <> 0") == 0
    finally:
        await connection.close()
