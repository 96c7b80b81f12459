"""A console over the small business, driven as a browser would: cookies, forms, no redirects followed by itself."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from crossdock.console.rendering import ConsoleServices
from crossdock.console.users import place_user
from crossdock.ledger.database import open_pool
from tests.conftest import copy_of, make_template
from tests.integration.console.console_server import application_of, console_of
from tests.integration.insight.estate import Estate, place_estate
from tests.integration.insight.stock_estate import stock_policy

NOW = datetime(2026, 5, 4, 9, 30, 20, tzinfo=UTC)
FURNISHED = "crossdock_furnished"
PASSWORD = "correct horse battery"


@dataclass(slots=True)
class Visitor:
    """One browser."""

    http: httpx.AsyncClient
    form_token: str = ""

    async def sign_in(self, name: str, password: str = PASSWORD) -> httpx.Response:
        answer = await self.post("/console/sign-in", name=name, password=password)
        if answer.status_code == 303:
            page = await self.get("/console")
            self.form_token = re.findall(r'name="form_token" value="([^"]+)"', page.text)[0]
        return answer

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.http.get(path, headers=headers, follow_redirects=False)

    async def post(self, path: str, headers: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
        return await self.http.post(path, data=fields, headers=headers or {}, follow_redirects=False)

    async def act(self, path: str, **fields: Any) -> httpx.Response:
        return await self.post(path, form_token=self.form_token, **fields)


@dataclass(frozen=True, slots=True)
class House:
    pool: Any
    services: ConsoleServices
    estate: Estate


async def _furnish(address: str) -> Estate:
    pool = await open_pool(address, size=1)
    estate = await place_estate(pool, NOW)
    await place_user(pool, "olive", PASSWORD, "operator")
    await place_user(pool, "vic", PASSWORD, "viewer")
    await pool.close()
    return estate


@pytest.fixture(scope="session")
def furnished(postgres_url: str, template_database: str) -> Estate:
    return make_template(postgres_url, template_database, FURNISHED, _furnish)


@pytest.fixture
async def house(postgres_url: str, furnished: Estate) -> AsyncIterator[House]:
    async with copy_of(postgres_url, FURNISHED) as address:
        pool = await open_pool(address, size=4)
        services = console_of(pool, lambda: NOW, policy=stock_policy())
        yield House(pool, services, furnished)
        await services.live.close()
        await pool.close()


def browser(services: ConsoleServices, address: str) -> httpx.AsyncClient:
    """A client in this test's own event loop, where the pool lives."""
    application: Any = application_of(services)
    transport = httpx.ASGITransport(application, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url=address)


@pytest.fixture
async def visitor(house: House) -> AsyncIterator[Visitor]:
    async with browser(house.services, "http://console.test") as http:
        yield Visitor(http)


@pytest.fixture
async def operator(visitor: Visitor) -> Visitor:
    await visitor.sign_in("olive")
    return visitor
