"""Wire calls of Agora."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import msgspec

from crossdock.connectors.agora.translate import (
    AgoraOrder,
    Notification,
    acknowledge_body,
    cancel_body,
    order_facts,
    order_number,
    shipment_body,
)
from crossdock.kit.arrivals import WEBHOOK, translate_items, untranslated
from crossdock.kit.connector import Call, Done, Page
from crossdock.kit.http import HttpSession, path
from crossdock.model.errors import Conflict, Invalid, Refused
from crossdock.model.facts import Fact
from crossdock.model.fulfilment import ShipmentPart

ORDER_BYTES_MAX = 64 * 1024 * 1024
READS_AT_ONCE = 8


class AgoraSettings(msgspec.Struct, frozen=True, kw_only=True):
    url: str
    key: str


class OrderNumbers(msgspec.Struct, frozen=True, rename="camel"):
    order_ids: list[str]
    next: str
    more: bool


@asynccontextmanager
async def open_agora(settings: AgoraSettings) -> AsyncIterator[HttpSession]:
    async with HttpSession.open(settings.url, bearer=settings.key, body_bytes_max=ORDER_BYTES_MAX) as session:
        yield session


async def check(session: HttpSession) -> None:
    await session.request(None, "GET", "/orders", write=False, params={"changedAfter": 999_999_999})


async def acknowledge(session: HttpSession, call: Call) -> Done:
    address = path("/orders/{}/acknowledge", call.order.channel_number)
    await session.request(call, "POST", address, write=True, json=acknowledge_body(call))
    return Done(external_id=call.order.channel_number)


async def find_acknowledgment(session: HttpSession, call: Call) -> Done | None:
    order = await _read_order(session, call)
    return Done(external_id=order.order_id) if order.supplier_order_number == call.number else None


async def ship(session: HttpSession, call: Call) -> Done:
    """Agora knows the numbers of shipments: 409 says that this one is there already."""
    address = path("/orders/{}/shipments", call.order.channel_number)
    await session.request(call, "POST", address, write=True, json=shipment_body(call), expected=(202, 409))
    return Done(external_id=call.order.channel_number)


async def find_shipment(session: HttpSession, call: Call) -> Done | None:
    shipment = msgspec.json.decode(call.payload, type=ShipmentPart).shipment
    order = await _read_order(session, call)
    known = any(entry.shipment_number == shipment for entry in order.shipments)
    return Done(external_id=order.order_id) if known else None


async def cancel(session: HttpSession, call: Call) -> Done:
    if call.attempt > 1 and (found := await find_cancellation(session, call)) is not None:
        return found
    address = path("/orders/{}/cancel", call.order.channel_number)
    await session.request(call, "POST", address, write=True, json=cancel_body(call))
    return Done(external_id=call.order.channel_number)


async def find_cancellation(session: HttpSession, call: Call) -> Done | None:
    order = await _read_order(session, call)
    known = any(entry.cancellation_number == call.key for entry in order.cancellations)
    return Done(external_id=order.order_id) if known else None


async def read_orders(session: HttpSession, connection: str, cursor: str) -> Page:
    """The backstop for webhooks that went astray."""
    answer = await session.request(None, "GET", "/orders", write=False, params={"changedAfter": cursor or "0"})
    listed = answer.decode(OrderNumbers)
    facts: list[Fact] = []
    for start in range(0, len(listed.order_ids), READS_AT_ONCE):
        numbers = listed.order_ids[start : start + READS_AT_ONCE]
        for found in await asyncio.gather(*(_read_facts(session, connection, number) for number in numbers)):
            facts.extend(found)
    return Page(facts, listed.next, more=listed.more)


async def read_webhook(
    session: HttpSession, connection: str, headers: Mapping[str, str], body: bytes
) -> Sequence[Fact]:
    del headers
    return await _read_facts(session, connection, order_number(body))


async def _read_facts(session: HttpSession, connection: str, number: str) -> list[Fact]:
    try:
        answer = await session.request(None, "GET", path("/orders/{}", number), write=False)
    except (Invalid, Conflict, Refused) as error:
        # It names an order that it does not give: the notification is kept, and a replay reads the order again.
        return [untranslated(connection, WEBHOOK, msgspec.json.encode(Notification(number)), error, number)]
    return translate_items(connection, "orders", [answer.body], order_facts, lambda _: number)


async def _read_order(session: HttpSession, call: Call) -> AgoraOrder:
    answer = await session.request(call, "GET", path("/orders/{}", call.order.channel_number), write=False)
    return answer.decode(AgoraOrder)
