"""Wire calls of Acme WMS, nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import msgspec

from acme_crossdock.translate import instruction_body, instruction_number, shipment_facts, webhook_facts
from crossdock.kit.arrivals import named, translate_items
from crossdock.kit.connector import Call, Done, Page
from crossdock.kit.http import HttpSession
from crossdock.model.facts import Fact


class AcmeSettings(msgspec.Struct, frozen=True, kw_only=True):
    url: str
    key: str


class Instruction(msgspec.Struct, frozen=True):
    id: str
    reference: str


class InstructionList(msgspec.Struct, frozen=True):
    instructions: list[Instruction]


class ShipmentList(msgspec.Struct, frozen=True):
    items: list[msgspec.Raw]
    next: str
    more: bool


@asynccontextmanager
async def open_acme(settings: AcmeSettings) -> AsyncIterator[HttpSession]:
    """Opened once per process and connection; calls nobody."""
    async with HttpSession.open(settings.url, bearer=settings.key) as session:
        yield session


async def check(session: HttpSession) -> None:
    """Address and key are right: one harmless call."""
    await session.request(None, "GET", "/instructions", write=False, params={"reference": "none"})


async def release(session: HttpSession, call: Call) -> Done:
    """Acme would ship twice if it were told twice: it is asked first, but for the first attempt."""
    if call.attempt > 1 and (found := await find_release(session, call)) is not None:
        return found
    answer = await session.request(call, "POST", "/instructions", write=True, json=instruction_body(call))
    return _released(answer.decode(Instruction))


async def find_release(session: HttpSession, call: Call) -> Done | None:
    """By our number, which Acme keeps as its reference."""
    asked = {"reference": instruction_number(call)}
    answer = await session.request(call, "GET", "/instructions", write=False, params=asked)
    found = answer.decode(InstructionList).instructions
    return _released(found[0]) if found else None


async def read_shipments(session: HttpSession, connection: str, cursor: str) -> Page:
    """One page after the cursor; an item that cannot be read is kept alone."""
    answer = await session.request(None, "GET", "/shipments", write=False, params={"after": cursor or "0"})
    listed = answer.decode(ShipmentList)
    items = (bytes(raw) for raw in listed.items)
    facts = translate_items(connection, "shipments", items, shipment_facts, lambda raw: named(raw, "number"))
    return Page(facts, listed.next, more=listed.more)


async def read_webhook(
    session: HttpSession, connection: str, headers: Mapping[str, str], body: bytes
) -> Sequence[Fact]:
    """Acme's webhooks tell everything; nothing has to be asked."""
    return webhook_facts(connection, body)


def _released(instruction: Instruction) -> Done:
    return Done(msgspec.json.encode({"instruction": instruction.reference}), instruction.id)
