"""Wire calls of the warehouse system."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from crossdock.connectors.wms.translate import (
    Cancellation,
    CountedPage,
    Instruction,
    StockPage,
    balances_facts,
    balances_of,
    cancellation_done,
    instruction_body,
    instruction_number,
    shipment_facts,
    short_facts,
    undone_number,
    webhook_facts,
)
from crossdock.kit.arrivals import named, translate_items
from crossdock.kit.connector import Call, Done, Page
from crossdock.kit.http import HttpSession, path
from crossdock.model.facts import Fact
from crossdock.model.stock import InventoryBalance

READ_MAX: Final = 100


class WmsSettings(msgspec.Struct, frozen=True, kw_only=True):
    url: str
    key: str
    warehouses: tuple[str, ...] = ("HAM", "BHX")


class ExistingCancellation(msgspec.Struct, frozen=True):
    existing: Cancellation


class ShipmentList(msgspec.Struct, frozen=True):
    shipments: list[msgspec.Raw]
    cursor: str
    more: bool


class ShortList(msgspec.Struct, frozen=True):
    shorts: list[msgspec.Raw]
    cursor: str
    more: bool


class WmsClient:
    def __init__(self, session: HttpSession, warehouses: tuple[str, ...]) -> None:
        self.session = session
        self.warehouses = warehouses


@asynccontextmanager
async def open_wms(settings: WmsSettings) -> AsyncIterator[WmsClient]:
    async with HttpSession.open(settings.url, bearer=settings.key) as session:
        yield WmsClient(session, settings.warehouses)


async def check(client: WmsClient) -> None:
    await client.session.request(None, "GET", "/api/shipments", write=False, params={"after": 999_999_999})


async def release(client: WmsClient, call: Call) -> Done:
    """409 says that this instruction is there already: the number is ours and unique."""
    body = instruction_body(call)
    await client.session.request(call, "POST", "/api/instructions", write=True, json=body, expected=(201, 409))
    return _released(body["number"])


async def find_release(client: WmsClient, call: Call) -> Done | None:
    number = instruction_number(call)
    found = await _read_instruction(client, call, number)
    return None if found is None else _released(number)


async def cancel(client: WmsClient, call: Call) -> Done:
    number = undone_number(call)
    answer = await client.session.request(
        call, "POST", path("/api/instructions/{}/cancellation", number), write=True, json={"reference": call.key},
        expected=(200, 404, 409),
    )  # fmt: skip
    if answer.status == 404:
        return Done(external_id=number)
    if answer.status == 409:
        return cancellation_done(number, answer.decode(ExistingCancellation).existing)
    return cancellation_done(number, answer.decode(Cancellation))


async def find_cancellation(client: WmsClient, call: Call) -> Done | None:
    number = undone_number(call)
    instruction = await _read_instruction(client, call, number)
    found = [each for each in instruction.cancellations if each.reference == call.key] if instruction else []
    return cancellation_done(number, found[0]) if found else None


async def read_shipments(client: WmsClient, connection: str, cursor: str) -> Page:
    answer = await client.session.request(
        None, "GET", "/api/shipments", write=False, params={"after": cursor or "0"}
    )
    listed = answer.decode(ShipmentList)
    items = (bytes(raw) for raw in listed.shipments)
    facts = translate_items(connection, "shipments", items, shipment_facts, lambda raw: named(raw, "number"))
    return Page(facts, listed.cursor, more=listed.more)


async def read_shorts(client: WmsClient, connection: str, cursor: str) -> Page:
    answer = await client.session.request(None, "GET", "/api/shorts", write=False, params={"after": cursor or "0"})
    listed = answer.decode(ShortList)
    items = (bytes(raw) for raw in listed.shorts)
    facts = translate_items(connection, "shorts", items, short_facts, lambda raw: named(raw, "number"))
    return Page(facts, listed.cursor, more=listed.more)


async def read_stock(client: WmsClient, connection: str, cursor: str) -> Page:
    """Warehouse by warehouse, page by page; after the last page the round begins again."""
    warehouse, _, after = cursor.partition("|")
    warehouse = warehouse if warehouse in client.warehouses else client.warehouses[0]
    answer = await client.session.request(
        None, "GET", "/api/stock", write=False, params={"warehouse": warehouse, "after": after}
    )
    page = answer.decode(StockPage)
    facts = balances_facts(connection, page, after, answer.body)
    if page.next:
        return Page(facts, f"{warehouse}|{page.next}", more=True)
    following = client.warehouses.index(warehouse) + 1
    if following < len(client.warehouses):
        return Page(facts, f"{client.warehouses[following]}|", more=True)
    return Page(facts, f"{client.warehouses[0]}|", more=False)


async def read_balances(client: WmsClient, location: str, skus: Sequence[str]) -> Sequence[InventoryBalance]:
    """What the warehouse has of these right now; a SKU that it does not know is left out."""
    found: list[InventoryBalance] = []
    for first in range(0, len(skus), READ_MAX):
        asked = ",".join(skus[first : first + READ_MAX])
        answer = await client.session.request(
            None, "GET", "/api/stock", write=False, params={"warehouse": location, "skus": asked}
        )
        found.extend(balances_of(answer.decode(CountedPage)))
    return found


async def read_webhook(
    client: WmsClient, connection: str, headers: Mapping[str, str], body: bytes
) -> Sequence[Fact]:
    """The warehouse's webhooks tell everything; nothing has to be asked."""
    del client, headers
    return webhook_facts(connection, body)


async def _read_instruction(client: WmsClient, call: Call, number: str) -> Instruction | None:
    answer = await client.session.request(
        call, "GET", path("/api/instructions/{}", number), write=False, expected=(200, 404)
    )
    return None if answer.status == 404 else answer.decode(Instruction)


def _released(number: str) -> Done:
    return Done(msgspec.json.encode({"instruction": number}), number)
