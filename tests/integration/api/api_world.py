"""A small Crossdock behind its real HTTP server: two channels, clients of each and an operator, one webhook."""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import asyncpg
import httpx
import msgspec

from crossdock.api.application import ApiServices, WebhookDoor, create_api
from crossdock.api.endpoint import SCOPES
from crossdock.api.feed import ChangeFeed
from crossdock.api.serve import serve_until
from crossdock.engine.control import Control
from crossdock.engine.holds import Holds
from crossdock.engine.intake import Acceptor, Intake
from crossdock.engine.ports import PlanBook, system_clock
from crossdock.engine.worker import make_known
from crossdock.kit.webhooks import read_secrets
from crossdock.ledger.clients import ApiClient, place_client
from crossdock.ledger.database import open_pool
from crossdock.ledger.reference import ReferenceCache
from crossdock.model.errors import Invalid
from crossdock.model.facts import Fact
from crossdock.policy.policy import ChannelPolicy, Policy
from crossdock.policy.stock import StockPolicy
from tests.integration.engine.bench_world import Partner, make_placed, make_policy, open_partners, seed

SECRET = "s3cret-of-a-test-client"
CHANNEL_SCOPES = (
    "availability:read", "prices:quote", "accounts:validate", "orders:write", "orders:read", "shipments:read",
)  # fmt: skip
CLIENTS = {
    "shop-1": ApiClient("shop-1", CHANNEL_SCOPES, ("shop",)),
    "portal-1": ApiClient("portal-1", CHANNEL_SCOPES, ("portal",)),
    "operator-1": ApiClient("operator-1", tuple(SCOPES), ("shop", "portal", "wms")),
    "nothing-1": ApiClient("nothing-1", (), ("shop",)),
}
OLD_KEY = "whsec_" + base64.b64encode(b"the key of yesterday, 24").decode()
NEW_KEY = "whsec_" + base64.b64encode(b"the key of today, 24 byt").decode()


def two_channels() -> Policy:
    """Shop and portal; the portal's customers buy on account."""
    policy = make_policy(lines_max=400)
    portal = ChannelPolicy(connection="portal", currencies=("EUR",), payments=("terms",), customer_required=True)
    return replace(policy, channels={**policy.channels, "portal": portal})


async def read_webhook(_: Any, connection: str, headers: Mapping[str, str], body: bytes) -> Sequence[Fact]:
    """A partner that sends our own words; what is none of them is Invalid, as connectors do it."""
    try:
        placed = msgspec.json.decode(body)
        number = str(placed["channel_number"])
    except (msgspec.DecodeError, KeyError, TypeError):
        raise Invalid("webhook_form", "The webhook does not hold an order.") from None
    return [Fact(connection, "order.placed", number, body, body, subject=number)]


@dataclass
class Api:
    """The served API. `tokens` by client."""

    url: str
    http: httpx.AsyncClient
    pool: asyncpg.Pool[Any]
    services: ApiServices
    tokens: dict[str, str] = field(default_factory=dict)

    async def token(self, client: str, scope: str = "") -> str:
        key = f"{client} {scope}"
        if key not in self.tokens:
            form = {"grant_type": "client_credentials", **({"scope": scope} if scope else {})}
            answer = await self.http.post("/oauth/token", data=form, auth=(client, SECRET))
            assert answer.status_code == 200, answer.text
            self.tokens[key] = answer.json()["access_token"]
        return self.tokens[key]

    async def ask(self, client: str, method: str, path: str, **given: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {await self.token(client)}", **given.pop("headers", {})}
        return await self.http.request(method, path, headers=headers, **given)

    async def place(self, number: str, client: str = "shop-1", key: str = "", **given: Any) -> httpx.Response:
        body = given.pop("body", None) or order_body(number, **given)
        headers = {"Idempotency-Key": key or f"key-{number}", "Content-Type": "application/json"}
        return await self.ask(client, "POST", "/v1/orders", content=body, headers=headers)


def order_body(number: str, **given: Any) -> bytes:
    return msgspec.json.encode(make_placed(number, **given))


def portal_body(number: str, customer: str = "C1", quantity: int = 2) -> bytes:
    return order_body(number, customer=customer, method="terms", quantity=quantity)


@asynccontextmanager
async def open_api(dsn: str, *, seeded: bool = True, stock: StockPolicy | None = None) -> AsyncIterator[Api]:
    pool = await open_pool(dsn, size=6)
    policy = replace(two_channels(), stock=stock or StockPolicy())
    plans = PlanBook(policy.plans.by_name, {"shop": "shop", "portal": "portal"}, {"HAM": "wms", "BHX": "wms"})
    acceptor = Acceptor(policy, plans, ReferenceCache(), system_clock)
    await make_known(pool, open_partners({name: Partner() for name in ("tax", "payment", "erp", "wms", "shop")}))
    if seeded:
        await seed(pool, skus=25)
    for client in CLIENTS.values():
        await place_client(pool, client, SECRET, system_clock())
    try:
        async with (
            Intake(pool, acceptor, system_clock) as intake,
            Holds(pool, policy, acceptor.reference, system_clock) as holds,
        ):
            feed = ChangeFeed(pool)
            door = WebhookDoor(read_secrets([NEW_KEY, OLD_KEY]), read_webhook, None)
            services = ApiServices(
                pool, intake, holds, feed, Control(pool, acceptor, plans), policy, acceptor.reference, system_clock,
                {"shop": door},
            )  # fmt: skip
            async with served(services) as url, httpx.AsyncClient(base_url=url, timeout=60) as http:
                yield Api(url, http, pool, services)
            await feed.close()
    finally:
        pool.terminate()


@asynccontextmanager
async def served(services: ApiServices) -> AsyncIterator[str]:
    port = _free_port()
    stopping = asyncio.Event()
    serving = asyncio.create_task(serve_until(create_api(services), "127.0.0.1", port, stopping))
    try:
        await _answering(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        stopping.set()
        await serving


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


async def _answering(port: int) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return
