"""Wire calls of the carrier."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import msgspec

from crossdock.connectors.carrier.translate import tracking_facts, tracking_numbers, webhook_facts
from crossdock.kit.arrivals import named, translate_items
from crossdock.kit.connector import Call, Done, Page
from crossdock.kit.http import HttpSession, path
from crossdock.model.facts import Fact


class CarrierSettings(msgspec.Struct, frozen=True, kw_only=True):
    url: str
    key: str


class TrackingList(msgspec.Struct, frozen=True):
    trackings: list[msgspec.Raw]
    cursor: str
    more: bool


@asynccontextmanager
async def open_carrier(settings: CarrierSettings) -> AsyncIterator[HttpSession]:
    async with HttpSession.open(settings.url, bearer=settings.key) as session:
        yield session


async def check(session: HttpSession) -> None:
    await session.request(None, "GET", "/v1/trackings", write=False, params={"after": 999_999_999})


async def track(session: HttpSession, call: Call) -> Done:
    """Every package of the shipment. 409 says that the number is followed already: they are unique."""
    numbers = tracking_numbers(call)
    for number in numbers:
        body = {"tracking_number": number, "reference": call.number}
        await session.request(call, "POST", "/v1/trackings", write=True, json=body, expected=(201, 409))
    return _followed(numbers)


async def find_trackings(session: HttpSession, call: Call) -> Done | None:
    numbers = tracking_numbers(call)
    for number in numbers:
        answer = await session.request(
            call, "GET", path("/v1/trackings/{}", number), write=False, expected=(200, 404)
        )
        if answer.status == 404:
            return None
    return _followed(numbers)


async def read_trackings(session: HttpSession, connection: str, cursor: str) -> Page:
    answer = await session.request(None, "GET", "/v1/trackings", write=False, params={"after": cursor or "0"})
    listed = answer.decode(TrackingList)
    items = (bytes(raw) for raw in listed.trackings)
    facts = translate_items(connection, "trackings", items, tracking_facts, lambda raw: named(raw, "tracking_number"))
    return Page(facts, listed.cursor, more=listed.more)


async def read_webhook(
    session: HttpSession, connection: str, headers: Mapping[str, str], body: bytes
) -> Sequence[Fact]:
    """The carrier's webhooks tell everything; nothing has to be asked."""
    del session, headers
    return webhook_facts(connection, body)


def _followed(numbers: Sequence[str]) -> Done:
    return Done(msgspec.json.encode({"trackings": numbers}), numbers[0] if numbers else "")
