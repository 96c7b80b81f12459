"""The sandbox partners themselves: what a judge relies on (log, faults, durability) and how they behave."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from crossdock.sandbox.storage import Storage
from crossdock.sandbox.stream import Catalogue, StreamSettings, make_order
from crossdock.sandbox.world import make_world
from tests.conformance.calls import BASKET
from tests.conformance.partners import KEY, RunningPartner, start_partner

pytestmark = pytest.mark.process
CAPTURE: dict[str, Any] = {"amount": 100, "reference": "SH-1"}


@asynccontextmanager
async def running(kind: str, home: Path, *options: str) -> AsyncIterator[RunningPartner]:
    partner = await asyncio.to_thread(start_partner, kind, home, *options)
    try:
        yield partner
    finally:
        assert await asyncio.to_thread(partner.stop) == 0, "a partner ends cleanly when it is told to"


@asynccontextmanager
async def session(key: str = KEY) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(headers={"authorization": f"Bearer {key}"}) as found:
        yield found


async def authorise(client: aiohttp.ClientSession, url: str, amount: int = 1000) -> str:
    body = {"amount": amount, "currency": "EUR", "card_token": "tok_1", "reference": "CD1"}
    async with client.post(f"{url}/v1/authorisations", json=body) as response:
        return str((await response.json())["id"])


async def test_a_key_is_needed_and_the_controls_are_not_for_web_pages(tmp_path: Path) -> None:
    async with running("shop", tmp_path) as shop:
        for key, status in ((KEY, 200), ("", 401), ("wrong", 401)):
            async with session(key) as client, client.get(f"{shop.url}/api/orders") as response:
                assert response.status == status
        page = {"origin": "http://evil.example"}
        async with session() as client, client.put(f"{shop.url}/_faults", json={}, headers=page) as response:
            assert response.status == 403


async def test_what_was_answered_survives_a_kill(tmp_path: Path) -> None:
    partner = await asyncio.to_thread(start_partner, "shop", tmp_path)
    number = await partner.place_order(BASKET)
    partner.process.kill()
    await asyncio.to_thread(partner.stop)
    async with running("shop", tmp_path) as shop:
        assert [entry["business_key"] for entry in await shop.log()] == [number]
        assert await shop.place_order(BASKET) != number


def test_the_write_log_cannot_be_changed(tmp_path: Path) -> None:
    storage = Storage(tmp_path / "x.sqlite")
    with storage.transaction():
        storage.append_log("order", "1", {})
    storage.close()
    connection = sqlite3.connect(tmp_path / "x.sqlite")
    try:
        for statement in ("UPDATE write_log SET kind = 'x'", "DELETE FROM write_log"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                connection.execute(statement)
    finally:
        connection.close()


async def test_faults_follow_their_seed(tmp_path: Path) -> None:
    async with running("shop", tmp_path) as shop, session() as client:
        seen = []
        for _ in range(2):
            await shop.misbehave({"seed": 42, "status_429": 0.3, "status_503": 0.3, "paths": "^/api/orders$"})
            statuses = []
            for _ in range(40):
                async with client.get(f"{shop.url}/api/orders") as response:
                    statuses.append(response.status)
            seen.append(statuses)
        assert seen[0] == seen[1]
        assert set(seen[0]) == {200, 429, 503}
        async with client.get(f"{shop.url}/api/orders/none") as response:
            assert response.status == 404, "other paths are left alone"
        async with client.put(f"{shop.url}/_faults", json={"no_such_fault": 1}) as response:
            assert response.status == 400


async def test_commit_then_drop_commits_and_reset_does_not(tmp_path: Path) -> None:
    async with running("payment", tmp_path) as payment, session() as client:
        authorisation = await authorise(client, payment.url)
        captures = f"{payment.url}/v1/authorisations/{authorisation}/captures"
        for plan, count in (({"reset": 1}, 0), ({"down": True}, 0), ({"commit_then_drop": 1}, 1)):
            await payment.misbehave(plan)
            with pytest.raises(aiohttp.ClientError):
                async with client.post(captures, json=CAPTURE):
                    pass
            assert await payment.effects("capture", "SH-1") == count


async def test_a_duplicated_request_pays_twice_unless_a_key_is_sent(tmp_path: Path) -> None:
    async with running("payment", tmp_path) as payment, session() as client:
        authorisation = await authorise(client, payment.url)
        captures = f"{payment.url}/v1/authorisations/{authorisation}/captures"
        await payment.misbehave({"duplicate": 1})
        async with client.post(captures, json=CAPTURE) as response:
            assert response.status == 201
        assert await payment.effects("capture", "SH-1") == 2
        for _ in range(2):
            body = {"amount": 100, "reference": "SH-2"}
            async with client.post(captures, json=body, headers={"idempotency-key": "k"}) as response:
                assert response.status == 201
        assert await payment.effects("capture", "SH-2") == 1
        await payment.misbehave({})
        other = {"amount": 101, "reference": "SH-2"}
        async with client.post(captures, json=other, headers={"idempotency-key": "k"}) as response:
            assert response.status == 422
        async with client.post(captures, json={"amount": 10_000, "reference": "SH-3"}) as response:
            assert response.status == 422, "never more than was authorised"


async def test_a_429_may_leave_out_how_long_to_wait(tmp_path: Path) -> None:
    async with running("shop", tmp_path) as shop, session() as client:
        await shop.misbehave({"seed": 3, "status_429": 1, "retry_after_left_out": 0.5})
        told = set()
        for _ in range(20):
            async with client.get(f"{shop.url}/api/orders") as response:
                told.add((response.status, "retry-after" in response.headers))
        assert told == {(429, True), (429, False)}


async def test_answers_are_spoilt_after_the_work_was_done(tmp_path: Path) -> None:
    async with running("payment", tmp_path) as payment, session() as client:
        authorisation = await authorise(client, payment.url)
        captures = f"{payment.url}/v1/authorisations/{authorisation}/captures"
        await payment.misbehave({"truncate": 1})
        async with client.post(captures, json={"amount": 100, "reference": "SH-1"}) as response:
            assert response.content_type == "application/json"
            with pytest.raises(ValueError, match=r"JSON|Unterminated|Expecting"):
                await response.json()
        await payment.misbehave({"break_off": 1})
        with pytest.raises(aiohttp.ClientPayloadError):
            async with client.post(captures, json={"amount": 100, "reference": "SH-2"}) as response:
                await response.read()
        await payment.misbehave({"wrong_content_type": 1})
        async with client.post(captures, json={"amount": 100, "reference": "SH-3"}) as response:
            assert response.content_type == "text/html"
        for shipment in ("SH-1", "SH-2", "SH-3"):
            assert await payment.effects("capture", shipment) == 1


async def test_a_duplicate_is_seen_twice_and_its_second_answer_may_be_told(tmp_path: Path) -> None:
    async with running("tax", tmp_path) as tax, session() as client:
        await tax.misbehave({"duplicate": 1, "duplicate_answer": 1, "duplicate_paths": "/transactions$"})
        body = {"code": "T-1", "currency": "EUR", "lines": []}
        headers = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
        async with client.post(f"{tax.url}/v1/transactions", json=body, headers=headers) as response:
            assert response.status == 409
        quote = {"currency": "EUR", "ship_to_country": "DE", "lines": []}
        async with client.post(f"{tax.url}/v1/quotes", json=quote) as response:
            assert response.status == 200
        assert await tax.effects("transaction", "T-1") == 1
        seen = [(row["path"], row["again"]) for row in await tax.control("GET", "/_requests")]
        assert seen == [("/v1/transactions", False), ("/v1/transactions", True), ("/v1/quotes", False)]
        requests = await tax.control("GET", "/_requests")
        assert requests[0]["traceparent"] == headers["traceparent"]


async def test_pages_come_in_disorder_and_lose_nothing(tmp_path: Path) -> None:
    async with running("shop", tmp_path) as shop, session() as client:
        await shop.misbehave({"seed": 4, "page_reorder": 1, "page_repeat": 1})
        numbers = [await shop.place_order(BASKET) for _ in range(8)]
        told: list[str] = []
        cursor = "0"
        for _ in range(2):
            async with client.get(f"{shop.url}/api/orders?cursor={cursor}") as response:
                page = await response.json()
                told += [order["number"] for order in page["orders"]]
                cursor = page["next_cursor"]
            numbers.append(await shop.place_order(BASKET))
        assert set(told) == set(numbers[:-1])
        assert len(told) > len(set(told)), "items come more than once"
        assert told[:8] != numbers[:8], "and in another order"
        await shop.misbehave({"page_stale": 1})
        async with client.get(f"{shop.url}/api/orders?cursor=0") as response:
            assert {order["number"] for order in (await response.json())["orders"]} == set(numbers[:8])


async def test_a_marketplace_limits_the_rate(tmp_path: Path) -> None:
    async with running("bazaar", tmp_path, "--rate-per-second", "0.1") as bazaar, session() as client:
        statuses = []
        for _ in range(5):
            async with client.get(f"{bazaar.url}/v2/orders") as response:
                statuses.append((response.status, "retry-after" in response.headers))
    assert (429, True) in statuses
    assert statuses[0] == (200, False)


async def test_stock_goes_down_by_what_was_shipped_and_cancelled_goods_stay(tmp_path: Path) -> None:
    async with running("wms", tmp_path, "--no-waves") as wms, session() as client:
        await wms.control("POST", "/_control/auto", {"on": False, "partial": 0, "short": 0})

        async def on_hand() -> int:
            async with client.get(f"{wms.url}/api/stock?warehouse=BHX") as response:
                return int((await response.json())["balances"][0]["on_hand"])

        before = await on_hand()
        for number, cancelled in (("I-1", False), ("I-2", True)):
            line = {"line": "1", "sku": "ND-0001", "quantity": "7", "unit": "C62"}
            body = {"number": number, "warehouse": "BHX", "ship_to": {}, "lines": [line]}
            async with client.post(f"{wms.url}/api/instructions", json=body) as response:
                assert response.status == 201
            async with client.post(f"{wms.url}/api/instructions", json=body) as response:
                assert response.status == 409
                assert (await response.json())["existing"]["number"] == number
            if cancelled:
                async with client.post(f"{wms.url}/api/instructions/I-2/cancellation", json={}) as response:
                    assert (await response.json())["lines"] == [{"line": "1", "quantity": "7"}]
        for _ in range(3):
            await wms.control("POST", "/_control/wave", {})
        assert await on_hand() == before - 7
        async with client.post(f"{wms.url}/api/instructions/I-1/cancellation", json={}) as response:
            assert (await response.json())["lines"] == [{"line": "1", "quantity": "0"}]


class CrossdockStub:
    """Crossdock's two doors that the portal knows."""

    def __init__(self) -> None:
        self.answers = [503, 401]
        self.keys: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.tokens = 0

    async def token(self, request: web.Request) -> web.Response:
        form = await request.post()
        assert form["grant_type"] == "client_credentials"
        assert request.headers["authorization"].startswith("Basic ")
        self.tokens += 1
        return web.json_response({"access_token": f"t{self.tokens}", "token_type": "bearer", "expires_in": 600})

    async def place(self, request: web.Request) -> web.Response:
        self.keys.append(request.headers["idempotency-key"])
        self.bodies.append(await request.json())
        if self.answers:
            return web.json_response({}, status=self.answers.pop(0))
        return web.json_response({"state": "accepted", "number": "CD1"}, status=201)


@asynccontextmanager
async def standing_in(stub: CrossdockStub) -> AsyncIterator[str]:
    """The stub's address."""
    application = web.Application()
    application.router.add_post("/oauth/token", stub.token)
    application.router.add_post("/v1/orders", stub.place)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_the_portal_asks_until_it_has_an_answer(tmp_path: Path) -> None:
    stub = CrossdockStub()
    async with (
        standing_in(stub) as url, running("portal", tmp_path, "--crossdock-url", url) as portal, session() as client,
    ):  # fmt: skip
        number = await portal.place_order({**BASKET, "customer": "C0001", "card_token": ""})
        state = ""
        async with asyncio.timeout(120):
            while state != "accepted":
                async with client.get(f"{portal.url}/api/orders/{number}") as response:
                    state = (await response.json())["state"]
                await asyncio.sleep(0.05)
        for _ in range(2):
            status = {"event_id": "e1", "status": "shipped"}
            async with client.post(f"{portal.url}/api/orders/{number}/status", json=status) as response:
                assert response.status == 200
        assert await portal.effects("status", number) == 1
    assert stub.keys == [number] * 3
    assert stub.tokens == 2, "a refused token is fetched anew"
    assert stub.bodies[0]["payment"] == {"method": "terms"}


def test_the_stream_is_seeded_and_mixed() -> None:
    catalogue = Catalogue(make_world())
    orders = [make_order(catalogue, 1, number) for number in range(1, 601)]
    assert orders == [make_order(catalogue, 1, number) for number in range(1, 601)]
    assert orders != [make_order(catalogue, 2, number) for number in range(1, 601)]
    assert {channel for channel, _ in orders} == {"shop", "portal", "bazaar", "agora"}
    assert {order.currency for _, order in orders} == {"EUR", "GBP"}
    sizes = [len(order.lines) for _, order in orders]
    assert min(sizes) == 1
    assert max(sizes) > 20
    tokens = [order.card_token for channel, order in orders if channel == "shop"]
    assert 0 < tokens.count("tok_declined") < len(tokens) / 10
    assert any(line.unit == "XBX" for _, order in orders for line in order.lines)
    assert any(line.sku.startswith("XX-") for _, order in orders for line in order.lines)
    assert all(bool(order.customer) == (channel == "portal") for channel, order in orders)


async def test_a_stopped_stream_goes_on(tmp_path: Path) -> None:
    async with running("shop", tmp_path) as shop, running("bazaar", tmp_path) as bazaar:
        partners = {"shop": shop.url, "bazaar": bazaar.url}
        settings = StreamSettings(partners, str(tmp_path), 200, 0, seed=5, orders_max=20)
        for _ in range(2):
            await asyncio.to_thread(_stream_process, settings)
        catalogue = Catalogue(make_world())
        expected = [order.email for channel, order in (make_order(catalogue, 5, n) for n in range(1, 41))
                    if channel == "shop"]  # fmt: skip
        assert [entry["document"]["email"] for entry in await shop.log()] == expected


def _stream_process(settings: StreamSettings) -> None:
    """Signals belong to the main thread, so the stream runs as it does in life: as its own process."""
    command = [
        sys.executable, "-m", "crossdock.sandbox", "stream", "--home", settings.home, "--seed", str(settings.seed),
        "--orders", str(settings.orders_max), "--orders-per-second", str(settings.orders_per_second),
        *(part for channel, url in settings.partners.items() for part in (f"--{channel}", url)),
    ]  # fmt: skip
    subprocess.run(command, check=True, timeout=180)
