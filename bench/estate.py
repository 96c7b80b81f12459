"""A real Crossdock for the measures that go through its doors: master data, the API process, tokens, the console."""

from __future__ import annotations

import base64
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import aiohttp

from crossdock.api.endpoint import SCOPES
from crossdock.app import prepare_database
from crossdock.cli.demo import find_references
from crossdock.ledger import master_data
from crossdock.ledger.clients import ApiClient
from crossdock.ledger.database import open_pool
from crossdock.model.documents import Customer, Pack, PriceAgreement, Product
from crossdock.model.stock import InventoryBalance
from crossdock.model.values import Money, Quantity
from crossdock.sandbox.world import make_world

ROOT = Path(__file__).parent.parent
CONFIGURATION = ROOT / "crossdock.toml"
SKUS = 2000
CUSTOMERS = 200
CLIENT, USER = "bench", "bench"
SECRET, PASSWORD = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
AS_OF = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class RunningApi:
    """An API process of ours that answers."""

    process: subprocess.Popen[bytes]
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


async def place_access(dsn: str, channels: tuple[str, ...]) -> None:
    """A client for these channels and a user of the console."""
    client = ApiClient(CLIENT, tuple(SCOPES), channels)
    await prepare_database(dsn, USER, PASSWORD, [(client, SECRET)])


async def prepare_estate(dsn: str, channels: tuple[str, ...] = ("portal",)) -> None:
    """Tables, a client and a user, 2,000 products with contract prices and endless stock, 200 rich customers."""
    await place_access(dsn, channels)
    products = [
        Product(f"SKU-{n}", f"Product {n}", "C62", "standard", (Money(Decimal("2.50"), "EUR"),),
                (Pack("C62", Decimal(1)), Pack("XBX", Decimal(12))))
        for n in range(SKUS)
    ]  # fmt: skip
    # What the tax engine and the warehouses of the sandbox know.
    products += [
        Product(row.sku, row.name, row.base_unit, row.tax_category, (Money(row.list_price_eur, "EUR"),),
                tuple(Pack(pack.unit, Decimal(pack.quantity)) for pack in row.packs))
        for row in make_world().products
    ]  # fmt: skip
    agreements = [
        PriceAgreement(f"A{n}-{quantity}", f"SKU-{n}", Money(Decimal("2.50") - Decimal(quantity) / 1000, "EUR"),
                       price_group="G1", quantity_min=Decimal(quantity))
        for n in range(SKUS) for quantity in (1, 100)
    ]  # fmt: skip
    customers = [
        Customer(f"B{n}", f"Business {n}", "EUR", "active", price_group="G1", payment_term_days=30,
                 credit_limit=Decimal(100_000_000))
        for n in range(CUSTOMERS)
    ]  # fmt: skip
    balances = [
        InventoryBalance(product.sku, location, Quantity(Decimal(100_000_000), product.base_unit), AS_OF)
        for product in products[:SKUS] for location in ("HAM", "BHX")
    ]  # fmt: skip
    pool = await open_pool(dsn, size=1)
    try:
        async with pool.acquire() as connection, connection.transaction():
            await master_data.place_products(connection, [("erp", row) for row in products], AS_OF)
            await master_data.place_agreements(connection, [("erp", row) for row in agreements], AS_OF)
            await master_data.place_customers(connection, [("erp", row) for row in customers], AS_OF)
            await master_data.place_balances(connection, [("wms", row) for row in balances], AS_OF)
        await pool.execute("VACUUM ANALYZE")
    finally:
        pool.terminate()


def estate_environment(dsn: str, home: Path, configuration: Path, given: Mapping[str, str]) -> dict[str, str]:
    """The environment of our processes: secrets made up, addresses that nobody listens at unless given."""
    made = {}
    for reference in find_references(configuration):
        if reference.is_address:
            made[reference.variable] = "http://127.0.0.1:9"
        elif reference.is_webhook_secret:
            made[reference.variable] = "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
        else:
            made[reference.variable] = secrets.token_urlsafe(24)
    return {**os.environ, **made, **given, "CROSSDOCK_DATABASE_URL": dsn, "CROSSDOCK_HOME": str(home)}


@contextmanager
def open_process(command: list[str], environment: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`crossdock <command>` as a process, ended with the block."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "crossdock.cli.main", *command], env=environment, cwd=ROOT, stdout=output,
            stderr=output,
        )  # fmt: skip
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def open_api(
    dsn: str, configuration: Path = CONFIGURATION, given: Mapping[str, str] | None = None
) -> Iterator[RunningApi]:
    """The API process on a free port. Raises RuntimeError with its log when it does not come up."""
    with tempfile.TemporaryDirectory(prefix="crossdock-bench-api-") as directory:
        home = Path(directory)
        environment = estate_environment(dsn, home, configuration, given or {})
        port = free_port()
        command = ["api", "--config", str(configuration), "--port", str(port), "--log-level", "WARNING"]
        with open_process(command, environment, home / "api.log") as process:
            deadline = time.monotonic() + 120
            while not _listens(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((home / "api.log").read_text(encoding="utf-8")[-3000:])
                time.sleep(0.05)
            yield RunningApi(process, port)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def get_token(url: str) -> str:
    """An access token, as every client gets it."""
    form = {"grant_type": "client_credentials", "client_id": CLIENT, "client_secret": SECRET}
    async with aiohttp.ClientSession() as session, session.post(f"{url}/oauth/token", data=form) as answer:
        return str((await answer.json())["access_token"])
