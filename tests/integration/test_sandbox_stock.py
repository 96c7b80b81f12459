"""The sandbox channels sell their own stock: what is sold out is not sold, whoever wrote the figure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.conformance.calls import BASKET
from tests.conformance.partners import KEY, RunningPartner
from tests.integration.test_sandbox import CrossdockStub, running, session, standing_in

pytestmark = pytest.mark.process
SKU = "ND-0005"  # sold by the piece, and in boxes of twelve


def basket(quantity: int, unit: str = "C62", sku: str = SKU, **more: Any) -> dict[str, Any]:
    line = {"sku": sku, "quantity": str(quantity), "unit": unit, "unit_price": "1.00"}
    return {**BASKET, "lines": [line], **more}


async def tell(client: aiohttp.ClientSession, partner: RunningPartner, quantity: int, as_of: datetime) -> None:
    bodies: Mapping[str, tuple[str, str, dict[str, Any]]] = {
        "shop": ("PUT", "/api/inventory", {"items": [{"sku": SKU, "unit": "each", "quantity": str(quantity)}]}),
        "portal": ("PUT", "/api/stock", {"levels": [{"sku": SKU, "unit": "C62", "quantity": str(quantity)}]}),
        "agora": ("PUT", f"/inventory/{SKU}", {"packType": "PIECE", "packs": str(quantity)}),
    }
    method, path, body = bodies[partner.kind]
    item = next((rows[0] for rows in body.values() if isinstance(rows, list)), body)
    item["asOf" if partner.kind == "agora" else "as_of"] = as_of.isoformat()
    async with client.request(method, partner.url + path, json=body) as response:
        assert response.status == 200, await response.text()


async def shown(partner: RunningPartner) -> Decimal:
    return Decimal((await partner.control("GET", f"/_control/stock?sku={SKU}"))[0]["shown"])


@asynccontextmanager
async def selling(kind: str, home: Path, quantity: int) -> AsyncIterator[tuple[RunningPartner, aiohttp.ClientSession]]:
    async with running(kind, home, "--rate-per-second", "0") as partner, session(KEY) as client:
        await tell(client, partner, quantity, datetime.now(UTC))
        yield partner, client


@pytest.mark.parametrize("kind", ["shop", "portal", "agora"])
async def test_sold_out_is_not_sold(kind: str, tmp_path: Path) -> None:
    async with selling(kind, tmp_path, 20) as (partner, _):
        assert await partner.place_order(basket(1, "XBX"))
        assert await shown(partner) == 8
        assert await partner.place_order(basket(9)) == ""
        assert await partner.place_order(basket(8))
        assert await shown(partner) == 0
        assert await partner.place_order(basket(1)) == ""
        assert await partner.effects("lost_sale", SKU) == 2
        assert await partner.effects("order", SKU if kind != "agora" else "AG") == 2


async def test_a_basket_keeps_what_is_there(tmp_path: Path) -> None:
    async with selling("shop", tmp_path, 2) as (shop, _):
        lines = [*basket(3)["lines"], *basket(1, sku="ND-0001")["lines"]]
        number = await shop.place_order({**BASKET, "lines": lines})
        log = {(entry["kind"], entry["business_key"]): entry["document"] for entry in await shop.log()}
        assert [line["sku"] for line in log["order", number]["lines"]] == ["ND-0001"]
        assert await shop.place_order(basket(5, fulfilment="backorder")), "who waits may order what is not there"
        assert await shown(shop) == 0


async def test_an_order_that_the_seller_has_not_confirmed_is_kept_back_from_new_figures(tmp_path: Path) -> None:
    async with selling("shop", tmp_path, 10) as (shop, client):
        number = await shop.place_order(basket(4))
        before = datetime.now(UTC)
        await tell(client, shop, 10, before)
        assert await shown(shop) == 6
        acknowledgment = {"merchant_reference": "CD1"}
        async with client.post(f"{shop.url}/api/orders/{number}/acknowledgment", json=acknowledgment) as response:
            assert response.status == 200
        await tell(client, shop, 10, before)
        assert await shown(shop) == 6, "counted before the order was confirmed: it may not be in the figure"
        await tell(client, shop, 6, datetime.now(UTC))
        assert await shown(shop) == 6, "counted afterwards: it is"
        await shop.place_order(basket(2))
        await shop.control("POST", "/_control/cancel", {"number": (await shop.log())[-1]["business_key"]})
        await tell(client, shop, 6, before)
        assert await shown(shop) == 2, "a cancelled order keeps nothing back"


async def test_goods_of_an_order_that_the_seller_refuses_are_shown_again(tmp_path: Path) -> None:
    stub = CrossdockStub()
    stub.answers = [422]
    async with (
        standing_in(stub) as url, running("portal", tmp_path, "--crossdock-url", url) as portal, session() as client,
    ):  # fmt: skip
        before = datetime.now(UTC)
        await tell(client, portal, 30, before)
        for left in (30, 30 - 12):
            number = await portal.place_order(basket(1, "XBX"))
            async with asyncio.timeout(120):
                while not await portal.effects("answer", number):  # noqa: ASYNC110 - the partner is a process
                    await asyncio.sleep(0.05)
            assert await shown(portal) == left
        # What it was told before its order was confirmed still lacks that order alone.
        await tell(client, portal, 30, before)
        assert await shown(portal) == 18


async def test_what_was_never_told_is_sold_or_not_as_the_laboratory_says(tmp_path: Path) -> None:
    async with running("bazaar", tmp_path) as bazaar:
        assert await bazaar.place_order(basket(1))
        await bazaar.control("PUT", "/_control/selling", {"untold": "refuse"})
        assert await bazaar.place_order(basket(1)) == ""


async def test_a_rival_writes_and_a_drop_forgets(tmp_path: Path) -> None:
    async with selling("portal", tmp_path, 10) as (portal, client):
        edit = {"edits": [{"sku": SKU, "quantity": "99"}], "by": "an intern"}
        await portal.control("POST", "/_control/stock", edit)
        assert await shown(portal) == 99
        await portal.misbehave({"stock_drop": 1})
        await tell(client, portal, 10, datetime.now(UTC))
        assert await shown(portal) == 99
        assert [entry["kind"] for entry in await portal.log()] == ["stock", "rival_stock"]


async def test_the_shop_counts_points_and_bazaar_feeds(tmp_path: Path) -> None:
    async with running("shop", tmp_path) as shop, session(KEY) as client:
        await shop.control("PUT", "/_control/selling", {"points_per_second": 0.01, "points_max": 24})
        statuses = []
        for _ in range(3):
            body = {"items": [{"sku": SKU, "unit": "each", "quantity": "1"}]}
            async with client.put(f"{shop.url}/api/inventory", json=body) as response:
                statuses.append((response.status, int(response.headers.get("retry-after", 0)) > 0))
        assert statuses == [(200, False), (200, False), (429, True)]
    async with running("bazaar", tmp_path) as bazaar, session(KEY) as client:
        statuses = []
        for _ in range(11):
            body = {"items": [{"sku": SKU, "unit": "C62", "quantity": "1"}]}
            async with client.post(f"{bazaar.url}/v2/feeds", json=body) as response:
                statuses.append((response.status, int(response.headers.get("retry-after", 0)) > 300))
        assert statuses == [(202, False)] * 10 + [(429, True)]
