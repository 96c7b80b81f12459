"""What the partners tell, by webhook and by poll, as facts: the same thing is the same fact whichever way it came."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from crossdock.connectors.agora.declaration import CONNECTOR as AGORA
from crossdock.connectors.bazaar.declaration import CONNECTOR as BAZAAR
from crossdock.connectors.carrier.declaration import CONNECTOR as CARRIER
from crossdock.connectors.shop.declaration import CONNECTOR as SHOP
from crossdock.connectors.wms.declaration import CONNECTOR as WMS
from crossdock.kit.connector import Connector
from crossdock.kit.samples import make_call, make_fulfilment, make_order
from crossdock.kit.settings import decode_settings
from crossdock.kit.webhooks import WebhookSecrets, read_secrets, verify
from crossdock.model.errors import Invalid, Unavailable
from crossdock.model.facts import FACT_BODIES, BalancesReported, Fact
from crossdock.model.fulfilment import FulfilmentLine, FulfilmentOrder, Shipment
from crossdock.model.orders import OrderPlaced
from crossdock.model.values import Quantity
from crossdock.sandbox.world import make_world
from tests.conformance.calls import BASKET
from tests.conformance.partners import RunningPartner, start_partner

pytestmark = pytest.mark.process


@asynccontextmanager
async def opened(connector: Connector, partner: RunningPartner) -> AsyncIterator[Any]:
    settings = {"url": partner.url, "key": partner.key}
    async with connector.open(decode_settings(connector, "tested", settings)) as client:
        yield client


async def read_all(connector: Connector, client: Any, feed: str, cursor: str = "") -> list[Fact]:
    facts: list[Fact] = []
    for _ in range(1000):
        page = await connector.feed(feed).read(client, connector.system, cursor)
        facts.extend(page.facts)
        cursor = page.cursor
        if not page.more:
            return facts
    raise AssertionError("the feed has no end")


def identity(fact: Fact) -> tuple[str, str, str, str]:
    return (fact.connection, fact.kind, fact.business_key, fact.version)


@pytest.mark.parametrize(
    ("connector", "units"),
    [(SHOP, ["XBX", "C62"]), (BAZAAR, ["XBX", "C62"]), (AGORA, ["XBX", "C62"])],
    ids=lambda value: value.system if isinstance(value, Connector) else "",
)
async def test_every_order_is_read_once_over_pages(
    connector: Connector, units: list[str], partners: Mapping[str, RunningPartner]
) -> None:
    partner = partners[connector.system]
    basket = {**BASKET, "lines": [{**BASKET["lines"][0]}, {**BASKET["lines"][1], "sku": "ND-0010"}]}
    await partner.control("POST", "/_control/order", {"orders": [basket] * 60})
    placed_there = {entry["business_key"] for entry in await partner.log() if entry["kind"] == "order"}
    async with opened(connector, partner) as client:
        facts = [fact for fact in await read_all(connector, client, "orders") if fact.kind == "order.placed"]
    assert {fact.business_key for fact in facts} == placed_there
    assert len(facts) == len(placed_there)
    placed = msgspec.json.decode(facts[-1].body, type=OrderPlaced)
    assert [line.quantity.unit for line in placed.lines] == units
    assert [line.unit_price.amount for line in placed.lines if line.unit_price] == [Decimal("12.00"), Decimal("1.50")]
    assert placed.ship_to.country == "DE"
    assert placed.placed_at.tzinfo is not None
    assert msgspec.json.decode(facts[-1].raw)


async def test_the_shops_own_offset_is_kept(partners: Mapping[str, RunningPartner]) -> None:
    number = await partners["shop"].place_order(BASKET)
    async with opened(SHOP, partners["shop"]) as client:
        facts = {(fact.kind, fact.business_key): fact for fact in await read_all(SHOP, client, "orders")}
    placed = msgspec.json.decode(facts["order.placed", number].body)
    told = next(entry["document"]["created_at"] for entry in await partners["shop"].log()
                if (entry["kind"], entry["business_key"]) == ("order", number))  # fmt: skip
    assert told.endswith("+01:00")
    assert placed["placed_at"] == told


@pytest.mark.parametrize("connector", [SHOP, BAZAAR, AGORA], ids=lambda connector: str(connector.system))
async def test_a_buyers_cancellation_is_a_fact_and_ours_is_not(
    connector: Connector, partners: Mapping[str, RunningPartner]
) -> None:
    partner = partners[connector.system]
    theirs, ours = await partner.place_order(BASKET), await partner.place_order(BASKET)
    await partner.control("POST", "/_control/cancel", {"number": theirs})
    async with opened(connector, partner) as client:
        perform = connector.operation("channel.cancel").perform
        assert perform is not None
        await perform(client, make_call(make_order(ours), "channel.cancel", {"reason": "no stock"}))
        facts = await read_all(connector, client, "orders")
    requested = {fact.business_key for fact in facts if fact.kind == "order.cancellation_requested"}
    assert theirs in requested
    assert ours not in requested


async def test_one_unreadable_order_does_not_stop_its_neighbours(partners: Mapping[str, RunningPartner]) -> None:
    good = await partners["bazaar"].place_order(BASKET)
    bad = await partners["bazaar"].place_order(
        {**BASKET, "lines": [{"sku": "X", "quantity": "NaN", "unit": "C62", "unit_price": "1"}]}
    )
    late = await partners["bazaar"].place_order({**BASKET, "note": "n" * 10_000_000})
    async with opened(BAZAAR, partners["bazaar"]) as client:
        facts = {fact.business_key: fact for fact in await read_all(BAZAAR, client, "orders")}
    assert {good, bad, late} <= set(facts)


class Subscriber:
    """Where a partner sends its webhooks: keeps them, answers what it is told to."""

    def __init__(self) -> None:
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []
        self.news = asyncio.Condition()

    async def take(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        async with self.news:
            self.received.append((headers, await request.read()))
            self.news.notify_all()
        return web.Response(status=self.answers.pop(0) if self.answers else 200)

    async def wait_for(self, count: int) -> Sequence[tuple[dict[str, str], bytes]]:
        async with asyncio.timeout(120), self.news:
            await self.news.wait_for(lambda: len(self.received) >= count)
        return self.received


@dataclass
class Subscribed:
    """A partner with webhooks, their receiver and their secret."""

    partner: RunningPartner
    subscriber: Subscriber
    secret: str = field(repr=False)


@asynccontextmanager
async def subscribed(kind: str, home: Path, *options: str) -> AsyncIterator[Subscribed]:
    subscriber = Subscriber()
    application = web.Application(client_max_size=64 * 1024 * 1024)
    application.router.add_post("/hook", subscriber.take)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    secret = f"whsec_{base64.b64encode(secrets.token_bytes(24)).decode()}"
    partner = await asyncio.to_thread(
        start_partner, kind, home, "--webhook-url", url, "--webhook-secret", secret, *options
    )
    try:
        yield Subscribed(partner, subscriber, secret)
    finally:
        assert await asyncio.to_thread(partner.stop) == 0
        await runner.cleanup()


async def facts_of(connector: Connector, client: Any, webhooks: Sequence[tuple[dict[str, str], bytes]]) -> list[Fact]:
    assert connector.webhook is not None
    facts: list[Fact] = []
    for headers, body in webhooks:
        facts.extend(await connector.webhook.read(client, connector.system, headers, body))
    return facts


async def test_shop_webhooks_and_poll_are_the_same_facts(tmp_path: Path) -> None:
    async with subscribed("shop", tmp_path) as shop, opened(SHOP, shop.partner) as client:
        await shop.partner.misbehave({"seed": 7, "webhook_duplicate": 4, "webhook_reorder": True})
        await shop.partner.place_order(BASKET)
        webhooks = await shop.subscriber.wait_for(10)
        pushed = await facts_of(SHOP, client, webhooks)
        polled = await read_all(SHOP, client, "orders")
    assert {identity(fact) for fact in pushed} == {identity(fact) for fact in polled}
    bodies: dict[tuple[str, str, str, str], set[bytes]] = {}
    for fact in (*pushed, *polled):
        bodies.setdefault(identity(fact), set()).add(fact.body)
    assert all(len(found) == 1 for found in bodies.values())


async def test_agora_says_that_and_we_read_what(tmp_path: Path) -> None:
    async with subscribed("agora", tmp_path) as agora, opened(AGORA, agora.partner) as client:
        number = await agora.partner.place_order(BASKET)
        webhooks = await agora.subscriber.wait_for(1)
        assert webhooks[0][1] == msgspec.json.encode({"order_id": number})
        (fact,) = await facts_of(AGORA, client, webhooks)
        await agora.partner.misbehave({"down": True})
        with pytest.raises(Unavailable):
            await facts_of(AGORA, client, webhooks)
    assert fact.business_key == number


async def test_the_callback_comes_before_the_answer(tmp_path: Path) -> None:
    async with subscribed("wms", tmp_path, "--no-waves") as wms, aiohttp.ClientSession() as session:
        await wms.partner.misbehave({"callback_first": 1})
        line = {"line": "1", "sku": "ND-0001", "quantity": "1", "unit": "C62"}
        body = {"number": "I-1", "warehouse": "BHX", "ship_to": {}, "lines": [line]}
        headers = {"authorization": f"Bearer {wms.partner.key}"}
        url = f"{wms.partner.url}/api/instructions"
        async with session.post(url, json=body, headers=headers) as response:
            assert response.status == 201
            told = [msgspec.json.decode(raw)["type"] for _, raw in wms.subscriber.received]
        assert told == ["shipment.shipped"]


async def test_an_acknowledged_webhook_may_come_once_more(tmp_path: Path) -> None:
    async with subscribed("shop", tmp_path) as shop:
        await shop.partner.misbehave({"webhook_again": 1})
        await shop.partner.place_order(BASKET)
        webhooks = await shop.subscriber.wait_for(4)
        assert len({headers["webhook-id"] for headers, _ in webhooks}) == 2


async def test_a_webhook_that_is_not_taken_comes_again_after_a_restart(tmp_path: Path) -> None:
    async with subscribed("shop", tmp_path) as shop:
        shop.subscriber.answers = [500, 503]
        await shop.partner.place_order(BASKET)
        webhooks = await shop.subscriber.wait_for(4)
    assert len({headers["webhook-id"] for headers, _ in webhooks}) == 2


def accepted(keys: WebhookSecrets, headers: Mapping[str, str], body: bytes, now: datetime) -> bool:
    try:
        verify(keys, headers, body, now)
    except Invalid:
        return False
    return True


async def test_signatures_hold_for_exactly_these_bytes(tmp_path: Path) -> None:
    async with subscribed("shop", tmp_path) as shop:
        await shop.partner.place_order(BASKET)
        headers, body = (await shop.subscriber.wait_for(1))[0]
    now = datetime.now(UTC)
    keys = read_secrets([shop.secret])
    assert verify(keys, headers, body, now) == headers["webhook-id"]
    flipped = bytes([body[0] ^ 1]) + body[1:]
    another = f"whsec_{base64.b64encode(secrets.token_bytes(24)).decode()}"
    wrong = {
        "a flipped byte": (keys, headers, flipped, now),
        "a space more": (keys, headers, body + b" ", now),
        "another layout": (keys, headers, msgspec.json.format(body), now),
        "an old time": (keys, headers, body, now + timedelta(minutes=6)),
        "a time to come": (keys, headers, body, now - timedelta(minutes=6)),
        "another identity": (keys, {**headers, "webhook-id": "msg_other"}, body, now),
        "another secret": (read_secrets([another]), headers, body, now),
        "no signature": (keys, {**headers, "webhook-signature": ""}, body, now),
    }
    for what, (used, given, content, at) in wrong.items():
        assert not accepted(used, given, content, at), f"{what} was accepted"
    # While a secret is changed both are accepted, afterwards only the new one.
    assert verify(read_secrets([another, shop.secret]), headers, body, now)


async def test_a_webhook_of_nonsense_is_invalid(partners: Mapping[str, RunningPartner]) -> None:
    for connector in (SHOP, AGORA, WMS, CARRIER):
        async with opened(connector, partners[connector.system]) as client:
            for body in (b"", b"[]", b"{", b'{"type": "order.created"}', b'{"data": "\xff"}', b'{"data": "\\ud800"}'):
                with pytest.raises(Invalid):
                    await facts_of(connector, client, [({}, body)])


async def test_shipments_by_webhook_and_poll_add_up_to_the_instruction(tmp_path: Path) -> None:
    async with subscribed("wms", tmp_path, "--no-waves") as wms, opened(WMS, wms.partner) as client:
        pace = {"on": False, "partial": 0.7, "short": 0.2, "seed": 3}
        await wms.partner.control("POST", "/_control/auto", pace)
        perform = WMS.operation("wms.release").perform
        assert perform is not None
        orders = [make_order("X-1") for _ in range(20)]
        for order in orders:
            await perform(client, make_call(order, "wms.release:HAM", make_fulfilment(order)))
        for _ in range(30):
            await wms.partner.control("POST", "/_control/wave", {})
        shipped = await read_all(WMS, client, "shipments")
        shorted = await read_all(WMS, client, "shorts")
        pushed = await facts_of(WMS, client, await wms.subscriber.wait_for(len(shipped) + len(shorted)))
    assert {identity(fact) for fact in pushed} == {identity(fact) for fact in (*shipped, *shorted)}
    assert len(shipped) > len(orders), "partial picks make several shipments"
    assert shorted, "some picks were short"
    left: dict[tuple[str, str], Decimal] = {}
    for fact in shipped:
        for line in msgspec.json.decode(fact.body, type=Shipment).lines:
            key = (fact.subject, line.sku)
            left[key] = left.get(key, Decimal(0)) + line.quantity.value
    for fact in shorted:
        short = msgspec.json.decode(fact.body)
        key = (fact.subject, short["sku"])
        left[key] = left.get(key, Decimal(0)) + Decimal(short["quantity"])
    wanted = {(f"{order.number}-HAM", line.sku): line.quantity.value for order in orders for line in order.lines}
    assert left == wanted


async def test_a_kit_takes_its_components_from_the_shelf_and_is_short_where_one_is_missing(tmp_path: Path) -> None:
    kit = make_world().kits[0]
    scarce = kit.components[1]
    async with subscribed("wms", tmp_path, "--no-waves") as wms, opened(WMS, wms.partner) as client:
        await wms.partner.control("POST", "/_control/auto", {"on": False, "partial": 0, "short": 0})
        count = {"sku": scarce.sku, "warehouse": "HAM", "on_hand": str(scarce.quantity * 5 + 1), "unit": "C62"}
        await wms.partner.control("POST", "/_control/count", {"counts": [count]})
        before = await on_hand(client, [part.sku for part in kit.components])
        perform = WMS.operation("wms.release").perform
        assert perform is not None
        order = make_order("X-1")
        lines = (FulfilmentLine("1", kit.sku, Quantity(Decimal(7), "C62")),)
        release = FulfilmentOrder(f"{order.number}-HAM", order.number, "HAM", order.ship_to, lines)
        await perform(client, make_call(order, "wms.release:HAM", release))
        await wms.partner.control("POST", "/_control/wave", {})
        after = await on_hand(client, [part.sku for part in kit.components])
        log = await wms.partner.log()
    assert {sku: before[sku] - left for sku, left in after.items()} == {
        part.sku: part.quantity * 5 for part in kit.components
    }
    told = [(entry["kind"], line["sku"], Decimal(line["quantity"])) for entry in log if entry["kind"] == "shipment"
            for line in entry["document"]["lines"]]  # fmt: skip
    assert told == [("shipment", kit.sku, Decimal(5))]
    assert [Decimal(entry["document"]["quantity"]) for entry in log if entry["kind"] == "short"] == [Decimal(2)]


async def on_hand(client: Any, skus: Sequence[str]) -> dict[str, Decimal]:
    assert WMS.read_balances is not None
    return {row.sku: row.on_hand.value for row in await WMS.read_balances(client, "HAM", skus)}


async def test_stock_is_absolute_per_warehouse_and_goes_round(partners: Mapping[str, RunningPartner]) -> None:
    async with opened(WMS, partners["wms"]) as client:
        facts = await read_all(WMS, client, "stock")
        again = await read_all(WMS, client, "stock", "HAM|")
    balances = [balance for fact in facts for balance in msgspec.json.decode(fact.body, type=BalancesReported).balances]
    assert len(balances) == 2 * 240
    assert len({(balance.sku, balance.location) for balance in balances}) == 2 * 240
    assert not {identity(fact) for fact in facts} & {identity(fact) for fact in again}


async def test_deliveries_by_webhook_and_poll(tmp_path: Path) -> None:
    async with subscribed("carrier", tmp_path) as carrier, opened(CARRIER, carrier.partner) as client:
        from_payload = {"tracking_number": "TR-77", "reference": "CD1"}
        await client.request(None, "POST", "/v1/trackings", write=True, json=from_payload)
        assert await read_all(CARRIER, client, "trackings") == []
        await carrier.partner.control("POST", "/_control/deliver", {"tracking_number": "TR-77"})
        pushed = await facts_of(CARRIER, client, await carrier.subscriber.wait_for(1))
        polled = await read_all(CARRIER, client, "trackings")
    assert [identity(fact) for fact in pushed] == [identity(fact) for fact in polled]
    assert msgspec.json.decode(polled[0].body, type=FACT_BODIES["delivery.reported"]).tracking == "TR-77"


async def test_the_warehouse_s_balances_of_some_products_are_read_afresh(tmp_path: Path) -> None:
    async with subscribed("wms", tmp_path, "--no-waves") as wms, opened(WMS, wms.partner) as client:
        facts = await read_all(WMS, client, "stock")
        reported = [row for fact in facts for row in msgspec.json.decode(fact.body, type=BalancesReported).balances]
        some = {row.sku: row.on_hand for row in reported if row.location == "BHX"}
        asked = sorted(some)[:3]
        assert WMS.read_balances is not None
        found = await WMS.read_balances(client, "BHX", [*asked, "NO-SUCH-SKU"])
        assert {row.sku: row.on_hand for row in found} == {sku: some[sku] for sku in asked}
