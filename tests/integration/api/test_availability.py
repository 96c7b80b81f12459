"""What a channel may promise, asked over HTTP: its own terms, groups, packs, kits, and every term on demand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from crossdock.ledger import master_data
from crossdock.model.documents import Component, Pack, Product
from crossdock.model.values import Money
from crossdock.policy.stock import ChannelStock, StockPolicy
from tests.integration.api.api_world import Api, open_api

STOCK = StockPolicy(
    channels={
        "shop": ChannelStock(locations=("HAM",), share_percent=50, buffer=Decimal(1)),
        "portal": ChannelStock(
            hide_below=Decimal(3), backorder="inbound", groups={"G1": ChannelStock(cap=Decimal(5))}
        ),
    },
    safety={"HAM": Decimal(2)},
)  # fmt: skip


@pytest.fixture
async def stocked(database_url: str) -> AsyncIterator[Api]:
    async with open_api(database_url, stock=STOCK) as api:
        await api.pool.execute("UPDATE stock SET reported = 100, on_hand = 100 WHERE sku = 'SKU-0'")
        kit = Product(
            "KIT", "Kit", "C62", "standard", (Money(Decimal(9), "EUR"),), (Pack("C62", Decimal(1)),),
            components=(Component("SKU-0", Decimal(10)), Component("SKU-1", Decimal(1))),
        )  # fmt: skip
        async with api.pool.acquire() as connection:
            await master_data.place_products(connection, [("erp", kit)], datetime.now(UTC))
        yield api


async def ask(api: Api, client: str, query: str) -> Any:
    answer = await api.ask(client, "GET", f"/v1/availability?{query}")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_channel_client_sees_its_own_channel(stocked: Api) -> None:
    found = await ask(stocked, "shop-1", "sku=SKU-0")
    assert found["channel"] == "shop"
    item = found["items"][0]
    assert (item["available"], item["promise"]) == ("98", {"value": "48", "unit": "C62"})
    assert [(place["location"], place["available"], place["source"]) for place in item["locations"]] == [
        ("HAM", "100", "wms")
    ]
    assert item["locations"][0]["age_seconds"] > 0
    refused = await stocked.ask("shop-1", "GET", "/v1/availability?sku=SKU-0&channel=portal")
    assert (refused.status_code, refused.json()["code"]) == (403, "channel_not_yours")


async def test_a_client_of_several_channels_names_one_or_sees_what_is_free(stocked: Api) -> None:
    free = (await ask(stocked, "operator-1", "sku=SKU-0"))["items"][0]
    assert (free["available"], "promise" in free) == ("200", False)
    assert (await ask(stocked, "operator-1", "sku=SKU-0&channel=portal"))["items"][0]["promise"]["value"] == "198"


async def test_a_customer_group_has_terms_of_its_own(stocked: Api) -> None:
    assert (await ask(stocked, "portal-1", "sku=SKU-0&customer=C1"))["items"][0]["promise"]["value"] == "5"
    unknown = await stocked.ask("portal-1", "GET", "/v1/availability?sku=SKU-0&customer=C99")
    assert (unknown.status_code, unknown.json()["code"]) == (422, "customer_unknown")


async def test_no_fraction_of_a_case_is_promised(stocked: Api) -> None:
    await stocked.pool.execute("INSERT INTO listings (channel, sku, unit) VALUES ('shop', 'SKU-0', 'XBX')")
    item = (await ask(stocked, "shop-1", "sku=SKU-0"))["items"][0]
    assert (item["unit"], item["available"], item["promise"]) == ("C62", "98", {"value": "4", "unit": "XBX"})


async def test_a_product_is_told_as_it_is_now_though_it_was_asked_for_before(stocked: Api) -> None:
    """What is kept of products between two questions must not outlive a change of theirs."""
    assert (await ask(stocked, "portal-1", "sku=SKU-0"))["items"][0]["promise"] == {"value": "198", "unit": "C62"}
    assert (await ask(stocked, "portal-1", "sku=NEW"))["unknown"] == ["NEW"]
    changed = [
        Product("SKU-0", "Blocked", "C62", "standard", (Money(Decimal(9), "EUR"),), (Pack("C62", Decimal(1)),),
                status="blocked"),
        Product("NEW", "New", "MTR", "standard", (Money(Decimal(9), "EUR"),), (Pack("MTR", Decimal(1)),)),
    ]  # fmt: skip
    async with stocked.pool.acquire() as connection:
        await master_data.place_products(connection, [("erp", row) for row in changed], datetime.now(UTC))
    found = await ask(stocked, "portal-1", "sku=SKU-0&sku=NEW")
    assert [item["promise"] for item in found["items"]] == [
        {"value": "0", "unit": "C62"}, {"value": "0", "unit": "MTR"}
    ]  # fmt: skip


async def test_a_kit_is_promised_by_its_scarcest_component_and_explained(stocked: Api) -> None:
    item = (await ask(stocked, "portal-1", "sku=KIT&explain=true"))["items"][0]
    assert item["promise"]["value"] == "19"
    why = item["explanation"]
    assert why["kits_at"] == {"BHX": "10", "HAM": "9"}
    part = why["components"][0]
    assert (part["sku"], part["per_kit"], part["available"]) == ("SKU-0", "10", "198")
    assert part["locations"][0]["as_of"]


async def test_the_explanation_has_every_term(stocked: Api) -> None:
    await stocked.place("S-1")
    why = (await ask(stocked, "shop-1", "sku=SKU-0&explain=true"))["items"][0]["explanation"]
    place = why["locations"][0]
    assert (place["on_hand"], place["reserved"], place["safety"], place["available"]) == ("100", "2", "2", "96")
    assert (why["available"], why["shared"], why["buffer"], why["promise"]) == ("96", "48", "1", "47")


async def test_supply_is_promised_with_its_date_after_those_who_wait(stocked: Api) -> None:
    due = datetime.now(UTC).date() + timedelta(days=4)
    await stocked.pool.execute("UPDATE stock SET reported = 0, on_hand = 0 WHERE sku = 'SKU-0'")
    await stocked.pool.execute(
        "INSERT INTO inbound_supply (purchase_order, line, sku, location, quantity, expected_on, source, as_of)"
        " VALUES ('PO-1', '1', 'SKU-0', 'HAM', 40, $1, 'erp', now())", due,
    )  # fmt: skip
    await stocked.place("S-1", lines=1, quantity=15)
    item = (await ask(stocked, "portal-1", "sku=SKU-0"))["items"][0]
    assert (item["promise"]["value"], item["backorder"]["value"], item["promise_on"]) == ("0", "25", due.isoformat())
