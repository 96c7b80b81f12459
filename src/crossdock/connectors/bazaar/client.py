"""Wire calls of Bazaar."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from crossdock.connectors.bazaar.translate import (
    BazaarOrder,
    acknowledge_body,
    cancel_body,
    order_facts,
    shipment_body,
)
from crossdock.kit.arrivals import named, translate_items
from crossdock.kit.connector import Call, Done, Page
from crossdock.kit.http import HttpSession, path
from crossdock.model.fulfilment import ShipmentPart

PAGE_BYTES_MAX = 64 * 1024 * 1024  # a page may hold one absurd order; its neighbours must still come through


class BazaarSettings(msgspec.Struct, frozen=True, kw_only=True):
    url: str
    key: str


class OrderList(msgspec.Struct, frozen=True):
    orders: list[msgspec.Raw]
    next_cursor: str
    has_more: bool


@asynccontextmanager
async def open_bazaar(settings: BazaarSettings) -> AsyncIterator[HttpSession]:
    async with HttpSession.open(settings.url, bearer=settings.key, body_bytes_max=PAGE_BYTES_MAX) as session:
        yield session


async def check(session: HttpSession) -> None:
    await session.request(None, "GET", "/v2/orders", write=False, params={"cursor": 999_999_999})


async def acknowledge(session: HttpSession, call: Call) -> Done:
    address = path("/v2/orders/{}/acknowledge", call.order.channel_number)
    await session.request(call, "POST", address, write=True, json=acknowledge_body(call))
    return Done(external_id=call.order.channel_number)


async def find_acknowledgment(session: HttpSession, call: Call) -> Done | None:
    order = await _read_order(session, call)
    return Done(external_id=order.order_id) if order.seller_reference == call.number else None


async def ship(session: HttpSession, call: Call) -> Done:
    if call.attempt > 1 and (found := await find_shipment(session, call)) is not None:
        return found
    address = path("/v2/orders/{}/shipments", call.order.channel_number)
    await session.request(call, "POST", address, write=True, json=shipment_body(call))
    return Done(external_id=call.order.channel_number)


async def find_shipment(session: HttpSession, call: Call) -> Done | None:
    shipment = msgspec.json.decode(call.payload, type=ShipmentPart).shipment
    order = await _read_order(session, call)
    known = any(entry.seller_shipment_id == shipment for entry in order.shipments)
    return Done(external_id=order.order_id) if known else None


async def cancel(session: HttpSession, call: Call) -> Done:
    if call.attempt > 1 and (found := await find_cancellation(session, call)) is not None:
        return found
    address = path("/v2/orders/{}/cancel", call.order.channel_number)
    await session.request(call, "POST", address, write=True, json=cancel_body(call))
    return Done(external_id=call.order.channel_number)


async def find_cancellation(session: HttpSession, call: Call) -> Done | None:
    order = await _read_order(session, call)
    known = any(entry.seller_reference == call.key for entry in order.cancellations)
    return Done(external_id=order.order_id) if known else None


async def read_orders(session: HttpSession, connection: str, cursor: str) -> Page:
    answer = await session.request(None, "GET", "/v2/orders", write=False, params={"cursor": cursor or "0"})
    listed = answer.decode(OrderList)
    items = (bytes(raw) for raw in listed.orders)
    facts = translate_items(connection, "orders", items, order_facts, lambda raw: named(raw, "order_id"))
    return Page(facts, listed.next_cursor, more=listed.has_more)


async def _read_order(session: HttpSession, call: Call) -> BazaarOrder:
    answer = await session.request(call, "GET", path("/v2/orders/{}", call.order.channel_number), write=False)
    return answer.decode(BazaarOrder)
