"""Stock that others keep for us: a supplier who ships for us, a marketplace's own fulfilment centre. Real processes,
each with its own shelves and write log; whose stock serves which channel is policy alone."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from crossdock.app import make_worker, open_application, open_connections, prepare_database
from crossdock.engine.ports import system_clock
from crossdock.insight.stock import read_sku
from crossdock.insight.telemetry.traces import Tracing
from crossdock.policy.configuration import load_configuration
from crossdock.prove.sale_world import place_products
from tests.conformance.calls import BASKET
from tests.conformance.partners import KEY, RunningPartner, start_partner
from tests.integration.engine.publishing import until

pytestmark = [pytest.mark.process, pytest.mark.slow]
SKU = "ND-0010"
PLACES = {"wms": "HAM", "supplier": "DSP", "centre": "FBB"}
CONFIGURATION = """
[cell]
name = "foreign"
environment = "demo"
erp = "wms"
[regions]
DE = "EU"
[sourcing.preference]
EU = ["HAM", "DSP", "FBB"]
[stock.channels.shop]
locations = ["HAM", "DSP"]
[stock.channels.bazaar]
locations = ["HAM", "FBB"]
[[plans]]
name = "sale"
steps = [
    { operation = "channel.acknowledge", connection = "@channel" },
    { operation = "wms.release", connection = "@warehouse", each = "warehouse" },
]
shipment_steps = [{ operation = "channel.ship", connection = "@channel" }]
"""
PLACE = """
[[locations]]
code = "{code}"
region = "EU"
connection = "{name}"
[[stock.owners]]
location = "{code}"
connection = "{name}"
[connections.{name}]
system = "wms"
settings = {{ url = {{ env = "TEST_{name}" }}, key = {{ env = "TEST_KEY" }}, warehouses = ["{code}"] }}
feeds.shipments = {{ interval_seconds = 1 }}
feeds.stock = {{ interval_seconds = 1 }}
"""
CHANNEL = """
[channels.{name}]
connection = "{name}"
currencies = ["EUR"]
payments = ["card", "collected"]
price_source = "channel"
fulfilment = "complete"
[connections.{name}]
system = "{name}"
settings = {{ url = {{ env = "TEST_{name}" }}, key = {{ env = "TEST_KEY" }} }}
feeds.orders = {{ interval_seconds = 1 }}
"""


async def test_goods_that_others_keep_are_sold_where_policy_says_and_leave_from_there(
    database_url: str, tmp_path: Path
) -> None:
    partners = {
        name: start_partner("wms", tmp_path, "--name", name, "--warehouses", code, "--wave-interval", "0.5")
        for name, code in PLACES.items()
    }
    partners |= {name: start_partner(name, tmp_path, "--rate-per-second", "0") for name in ("shop", "bazaar")}
    file = tmp_path / "crossdock.toml"
    tables = [CONFIGURATION, *(PLACE.format(name=name, code=code) for name, code in PLACES.items())]
    file.write_text("".join([*tables, *(CHANNEL.format(name=name) for name in ("shop", "bazaar"))]), encoding="utf-8")
    addresses = {f"TEST_{name}": partner.url for name, partner in partners.items()}
    configuration = load_configuration(file, {**addresses, "TEST_KEY": KEY})
    await prepare_database(database_url, "operator", KEY, [])
    try:
        for name, count in (("wms", 0), ("supplier", 20), ("centre", 30)):
            await place_count(partners[name], PLACES[name], count)
        async with (
            open_application(configuration, database_url) as application,
            open_connections(configuration, Tracing()) as connections,
        ):
            await place_products(application.pool)
            worker = asyncio.create_task((await make_worker(application, connections, "worker-1")).run())
            try:
                await until(lambda: shows(partners["shop"], 20))
                await until(lambda: shows(partners["bazaar"], 30))
                assert await buy(partners["shop"], 3)
                assert await buy(partners["bazaar"], 2)
                await until(lambda: has_left(partners["supplier"], 3))
                await until(lambda: has_left(partners["centre"], 2))
                await until(lambda: is_told(partners["shop"], "fulfilment"))
                view = await read_sku(application.pool, SKU, configuration.policy, system_clock())
            finally:
                worker.cancel()
                await asyncio.gather(worker, return_exceptions=True)
        assert [entry for entry in await partners["wms"].log() if entry["kind"] == "instruction"] == []
        assert view is not None
        assert {(place.location, place.source) for place in view.places} >= {("DSP", "supplier"), ("FBB", "centre")}
    finally:
        for partner in partners.values():
            partner.stop()


async def place_count(partner: RunningPartner, code: str, count: int) -> None:
    row = {"sku": SKU, "warehouse": code, "on_hand": str(count), "unit": "C62"}
    await partner.control("POST", "/_control/count", {"counts": [row]})
    await partner.control("POST", "/_control/auto", {"on": True, "interval": 0.5, "partial": 0, "short": 0})


async def shows(partner: RunningPartner, figure: int) -> bool:
    rows = await partner.control("GET", "/_control/stock")
    return any(row["sku"] == SKU and Decimal(row["shown"]) == figure for row in rows)


async def buy(partner: RunningPartner, count: int) -> str:
    line = {"sku": SKU, "quantity": str(count), "unit": "C62", "unit_price": "9.00"}
    token = BASKET["card_token"] if partner.kind == "shop" else ""
    return await partner.place_order({**BASKET, "card_token": token, "lines": [line]})


async def has_left(partner: RunningPartner, count: int) -> bool:
    shipped = [entry["document"] for entry in await partner.log() if entry["kind"] == "shipment"]
    return [Decimal(line["quantity"]) for one in shipped for line in one["lines"]] == [count]


async def is_told(partner: RunningPartner, kind: str) -> bool:
    return any(entry["kind"] == kind for entry in await partner.log())
