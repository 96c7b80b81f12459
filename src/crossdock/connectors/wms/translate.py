"""From the warehouse system's shapes to the canonical model and back. Pure.

A fulfilment order that is released anew after a hold has the same number for us, but the warehouse wants each
instruction's number only once: the round ("#2") is part of the number there and is taken off when it comes back.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from crossdock.kit.arrivals import named, untranslated
from crossdock.kit.connector import Call, Done
from crossdock.model.decimals import read_json
from crossdock.model.errors import Invalid
from crossdock.model.facts import BalancesReported, Fact, FulfilmentShorted
from crossdock.model.fulfilment import FulfilmentOrder, Package, Shipment, ShippedLine
from crossdock.model.stock import InventoryBalance
from crossdock.model.values import Quantity

_READ_AGAIN: Final = "Correct it in the warehouse system: the next reading brings it by itself."


class CancelledLine(msgspec.Struct, frozen=True):
    line: str
    quantity: Decimal


class Cancellation(msgspec.Struct, frozen=True):
    reference: str
    lines: tuple[CancelledLine, ...]


class Instruction(msgspec.Struct, frozen=True):
    number: str
    state: str
    cancellations: tuple[Cancellation, ...] = ()


class WmsLine(msgspec.Struct, frozen=True):
    sku: str
    quantity: Decimal
    unit: str
    line: str = ""


class WmsPackage(msgspec.Struct, frozen=True):
    sscc: str
    tracking: str = ""
    carrier: str = ""


class WmsShipment(msgspec.Struct, frozen=True):
    number: str
    instruction: str
    warehouse: str
    lines: tuple[WmsLine, ...]
    packages: tuple[WmsPackage, ...]
    shipped_at: datetime


class WmsShort(msgspec.Struct, frozen=True):
    number: str
    instruction: str
    warehouse: str
    sku: str
    quantity: Decimal
    at: datetime
    line: str = ""
    reason: str = ""


class WmsBalance(msgspec.Struct, frozen=True):
    sku: str
    on_hand: Decimal
    unit: str


class StockPage(msgspec.Struct, frozen=True):
    as_of: datetime
    warehouse: str
    balances: tuple[msgspec.Raw, ...]
    next: str = ""


class CountedPage(msgspec.Struct, frozen=True):
    """Balances that were asked for: one that cannot be read is an error of the whole answer."""

    as_of: datetime
    warehouse: str
    balances: tuple[WmsBalance, ...]


class Envelope(msgspec.Struct, frozen=True):
    type: str
    data: msgspec.Raw


def instruction_number(call: Call) -> str:
    fulfilment = msgspec.json.decode(call.payload, type=FulfilmentOrder)
    _, mark, round_number = call.name.partition("#")
    return f"{fulfilment.number}{mark}{round_number}"


def instruction_body(call: Call) -> dict[str, Any]:
    fulfilment = msgspec.json.decode(call.payload, type=FulfilmentOrder)
    return {
        "number": instruction_number(call), "warehouse": fulfilment.warehouse, "service": fulfilment.service,
        "ship_to": msgspec.to_builtins(fulfilment.ship_to),
        "lines": [
            {"line": line.line, "sku": line.sku, "quantity": str(line.quantity.value), "unit": line.quantity.unit}
            for line in fulfilment.lines
        ],
    }  # fmt: skip


def undone_number(call: Call) -> str:
    """The instruction that a `wms.cancel` step calls back: what its release reported, else what it must have been."""
    undoes = str(msgspec.json.decode(call.payload, type=dict[str, Any]).get("undoes", ""))
    reported = msgspec.json.decode(call.results.get(undoes, b"{}"), type=dict[str, Any]).get("instruction")
    place = (undoes or call.name).partition(":")[2]
    return str(reported) if reported else f"{call.number}-{place}"


def cancellation_done(number: str, cancellation: Cancellation) -> Done:
    cancelled = {line.line: line.quantity for line in cancellation.lines}
    return Done(msgspec.json.encode({"cancelled": cancelled}), number)


def webhook_facts(connection: str, body: bytes) -> Sequence[Fact]:
    try:
        envelope = msgspec.json.decode(body, type=Envelope)
        if envelope.type == "shipment.shipped":
            return (_shipment_fact(connection, bytes(envelope.data), body),)
        if envelope.type == "instruction.short":
            return (_short_fact(connection, bytes(envelope.data), body),)
    except (msgspec.DecodeError, UnicodeError) as error:
        message = f"The webhook cannot be read: {error}"
        raise Invalid("webhook_form", message[:500], detail=str(error)) from None
    return ()


def shipment_facts(connection: str, raw: bytes) -> Sequence[Fact]:
    return (_shipment_fact(connection, raw, raw),)


def short_facts(connection: str, raw: bytes) -> Sequence[Fact]:
    return (_short_fact(connection, raw, raw),)


def _shipment_fact(connection: str, document: bytes, raw: bytes) -> Fact:
    found = read_json(document, WmsShipment)
    subject = _fulfilment_number(found.instruction)
    shipment = Shipment(
        number=found.number, fulfilment_number=subject, warehouse=found.warehouse, shipped_at=found.shipped_at,
        lines=tuple(ShippedLine(line.sku, Quantity(line.quantity, line.unit), line.line) for line in found.lines),
        packages=tuple(Package(package.sscc, package.tracking, package.carrier) for package in found.packages),
    )  # fmt: skip
    body = msgspec.json.encode(shipment)
    return Fact(
        connection, "shipment.confirmed", found.number, body, raw, subject=subject, occurred_at=found.shipped_at
    )


def _short_fact(connection: str, document: bytes, raw: bytes) -> Fact:
    found = read_json(document, WmsShort)
    subject = _fulfilment_number(found.instruction)
    shorted = FulfilmentShorted(
        fulfilment_number=subject, warehouse=found.warehouse, sku=found.sku, quantity=str(found.quantity), at=found.at,
        line=found.line, reason=found.reason,
    )  # fmt: skip
    body = msgspec.json.encode(shorted)
    return Fact(connection, "fulfilment.shorted", found.number, body, raw, subject=subject, occurred_at=found.at)


def balances_facts(connection: str, page: StockPage, after: str, raw: bytes) -> list[Fact]:
    """One fact for the page; a balance that cannot be read is kept alone and keeps no other from counting."""
    facts = []
    balances = []
    for item in page.balances:
        try:
            balance = read_json(bytes(item), WmsBalance)
        except (msgspec.DecodeError, UnicodeError) as error:
            why = Invalid("payload_form", f"A balance cannot be read: {error}"[:500], next_action=_READ_AGAIN)
            facts.append(untranslated(connection, "stock", bytes(item), why, named(bytes(item), "sku")))
            continue
        quantity = Quantity(balance.on_hand, balance.unit)
        balances.append(InventoryBalance(balance.sku, page.warehouse, quantity, page.as_of))
    if balances:
        body = msgspec.json.encode(BalancesReported(tuple(balances)))
        facts.append(Fact(
            connection, "balances.reported", f"{page.warehouse}|{after}", body, raw, version=page.as_of.isoformat(),
            subject=page.warehouse, occurred_at=page.as_of,
        ))  # fmt: skip
    return facts


def balances_of(page: CountedPage) -> list[InventoryBalance]:
    return [
        InventoryBalance(row.sku, page.warehouse, Quantity(row.on_hand, row.unit), page.as_of) for row in page.balances
    ]


def _fulfilment_number(instruction: str) -> str:
    return instruction.partition("#")[0]
