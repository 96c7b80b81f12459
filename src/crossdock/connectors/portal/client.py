"""Wire calls of the B2B portal."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from crossdock.connectors.portal.translate import status_body
from crossdock.kit.connector import Call, Done
from crossdock.kit.http import HttpSession, path


class PortalSettings(msgspec.Struct, frozen=True, kw_only=True):
    url: str
    key: str


class Status(msgspec.Struct, frozen=True):
    event_id: str


class StatusList(msgspec.Struct, frozen=True):
    statuses: list[Status]


@asynccontextmanager
async def open_portal(settings: PortalSettings) -> AsyncIterator[HttpSession]:
    async with HttpSession.open(settings.url, bearer=settings.key) as session:
        yield session


async def check(session: HttpSession) -> None:
    """An order that is not there: 404 proves address and key."""
    await session.request(None, "GET", "/api/orders/none", write=False, expected=(200, 404))


async def tell(session: HttpSession, call: Call) -> Done:
    address = path("/api/orders/{}/status", call.order.channel_number)
    await session.request(call, "POST", address, write=True, json=status_body(call))
    return Done(external_id=call.order.channel_number)


async def find_status(session: HttpSession, call: Call) -> Done | None:
    address = path("/api/orders/{}/status", call.order.channel_number)
    answer = await session.request(call, "GET", address, write=False)
    known = any(status.event_id == call.key for status in answer.decode(StatusList).statuses)
    return Done(external_id=call.order.channel_number) if known else None
