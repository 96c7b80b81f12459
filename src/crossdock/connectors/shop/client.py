"""Wire calls of the web shop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import msgspec

from crossdock.connectors.shop.translate import (
    Fulfilment,
    ShopOrder,
    acknowledgment_body,
    cancellation_body,
    fulfilment_body,
    order_facts,
    webhook_facts,
)
from crossdock.kit.arrivals import named, translate_items
from crossdock.kit.connector import Call, Done, Page
from crossdock.kit.http import HttpSession, path
from crossdock.model.facts import Fact
from crossdock.model.fulfilment import ShipmentPart

PAGE_BYTES_MAX = 64 * 1024 * 1024  # a page may hold one absurd order; its neighbours must still come through


class ShopSettings(msgspec.Struct, frozen=True, kw_only=True):
    url: str
    key: str


class OrderList(msgspec.Struct, frozen=True):
    orders: list[msgspec.Raw]
    next_cursor: str
    has_more: bool


class FulfilmentList(msgspec.Struct, frozen=True):
    fulfilments: list[Fulfilment]


@asynccontextmanager
async def open_shop(settings: ShopSettings) -> AsyncIterator[HttpSession]:
    async with HttpSession.open(settings.url, bearer=settings.key, body_bytes_max=PAGE_BYTES_MAX) as session:
        yield session


async def check(session: HttpSession) -> None:
    await session.request(None, "GET", "/api/orders", write=False, params={"cursor": 999_999_999})


async def acknowledge(session: HttpSession, call: Call) -> Done:
    address = path("/api/orders/{}/acknowledgment", call.order.channel_number)
    await session.request(call, "POST", address, write=True, json=acknowledgment_body(call))
    return Done(external_id=call.order.channel_number)


async def find_acknowledgment(session: HttpSession, call: Call) -> Done | None:
    order = await _read_order(session, call)
    return Done(external_id=order.number) if order.merchant_reference == call.number else None


async def ship(session: HttpSession, call: Call) -> Done:
    if call.attempt > 1 and (found := await find_fulfilment(session, call)) is not None:
        return found
    address = path("/api/orders/{}/fulfilments", call.order.channel_number)
    answer = await session.request(call, "POST", address, write=True, json=fulfilment_body(call))
    return _fulfilled(answer.decode(Fulfilment))


async def find_fulfilment(session: HttpSession, call: Call) -> Done | None:
    shipment = msgspec.json.decode(call.payload, type=ShipmentPart).shipment
    address = path("/api/orders/{}/fulfilments", call.order.channel_number)
    answer = await session.request(call, "GET", address, write=False)
    found = [each for each in answer.decode(FulfilmentList).fulfilments if each.reference == shipment]
    return _fulfilled(found[0]) if found else None


async def cancel(session: HttpSession, call: Call) -> Done:
    if call.attempt > 1 and (found := await find_cancellation(session, call)) is not None:
        return found
    address = path("/api/orders/{}/cancellation", call.order.channel_number)
    await session.request(call, "POST", address, write=True, json=cancellation_body(call))
    return Done(external_id=call.order.channel_number)


async def find_cancellation(session: HttpSession, call: Call) -> Done | None:
    order = await _read_order(session, call)
    known = any(entry.reference == call.key for entry in order.cancellations)
    return Done(external_id=order.number) if known else None


async def read_orders(session: HttpSession, connection: str, cursor: str) -> Page:
    answer = await session.request(None, "GET", "/api/orders", write=False, params={"cursor": cursor or "0"})
    listed = answer.decode(OrderList)
    items = (bytes(raw) for raw in listed.orders)
    facts = translate_items(connection, "orders", items, order_facts, lambda raw: named(raw, "number"))
    return Page(facts, listed.next_cursor, more=listed.has_more)


async def read_webhook(
    session: HttpSession, connection: str, headers: Mapping[str, str], body: bytes
) -> Sequence[Fact]:
    """The shop's webhooks tell everything; nothing has to be asked."""
    del session, headers
    return webhook_facts(connection, body)


async def _read_order(session: HttpSession, call: Call) -> ShopOrder:
    address = path("/api/orders/{}", call.order.channel_number)
    answer = await session.request(call, "GET", address, write=False)
    return answer.decode(ShopOrder)


def _fulfilled(fulfilment: Fulfilment) -> Done:
    return Done(msgspec.json.encode({"fulfilment": fulfilment.id}), fulfilment.id)
