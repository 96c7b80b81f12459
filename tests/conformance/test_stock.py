"""Every channel that is told stock: absolute figures, an outcome for each item, and what is shown is read back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest

from crossdock.connectors.agora.declaration import CONNECTOR as AGORA
from crossdock.connectors.bazaar.declaration import CONNECTOR as BAZAAR
from crossdock.connectors.portal.declaration import CONNECTOR as PORTAL
from crossdock.connectors.shop.declaration import CONNECTOR as SHOP
from crossdock.kit import conformance
from crossdock.kit.conformance import StockCase
from crossdock.kit.settings import decode_settings
from crossdock.sandbox.world import make_world
from tests.conformance.partners import RunningPartner

pytestmark = pytest.mark.process
CONNECTORS = {connector.system: connector for connector in (SHOP, BAZAAR, AGORA, PORTAL)}
every_channel = pytest.mark.parametrize("system", CONNECTORS)
LISTED = [product for product in make_world().products if product.base_unit == "C62"]
BOXED = next(product for product in LISTED if any(pack.unit == "XBX" for pack in product.packs))


@asynccontextmanager
async def told(
    system: str, partners: Mapping[str, RunningPartner], unit: str = "C62"
) -> AsyncIterator[tuple[StockCase, Any]]:
    partner, connector = partners[system], CONNECTORS[system]
    settings = {"url": partner.url, "key": partner.key}
    await partner.control("PUT", "/_control/selling", {"feed_seconds": 0.1, "feeds_max": 1000})
    skus = (LISTED[0].sku, LISTED[1].sku, LISTED[2].sku)
    async with connector.open(decode_settings(connector, "tested", settings)) as client:
        yield StockCase(connector, settings, skus, unit, "XX-0000"), client


@every_channel
async def test_figures_are_absolute(system: str, partners: Mapping[str, RunningPartner]) -> None:
    async with told(system, partners) as (case, client):
        await conformance.check_stock_told(case, client)


@every_channel
async def test_an_unknown_item_fails_alone(system: str, partners: Mapping[str, RunningPartner]) -> None:
    async with told(system, partners) as (case, client):
        await conformance.check_stock_alone(case, client)


@every_channel
async def test_a_figure_told_twice_after_a_lost_answer_is_harmless(
    system: str, partners: Mapping[str, RunningPartner]
) -> None:
    async with told(system, partners) as (case, client):
        await conformance.check_stock_errors(case, client, partners[system])


@every_channel
async def test_pieces_published_at_the_price_of_a_box(system: str, partners: Mapping[str, RunningPartner]) -> None:
    """Starktail/woocommerce_fusion PR 257, 52,900 pieces published at the price of a box of 1,000: a figure names the
    unit that it counts."""
    async with told(system, partners, unit="XBX") as (case, client):
        answer = await conformance.tell(case, client, {BOXED.sku: Decimal(52)})
        assert not answer[BOXED.sku].code
        row = (await partners[system].control("GET", f"/_control/stock?sku={BOXED.sku}"))[0]
        assert (row["unit"], Decimal(row["shown"])) == ("XBX", Decimal(52))
    async with told(system, partners, unit="XPX") as (case, client):
        unboxed = next(product for product in LISTED if all(pack.unit != "XPX" for pack in product.packs))
        answer = await conformance.tell(case, client, {unboxed.sku: Decimal(1)})
        assert answer[unboxed.sku].code == "unit_unknown"
