"""From orders and shipment parts to the tax engine's shapes and back. Pure."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from crossdock.kit.connector import Call, Done
from crossdock.model.errors import InDoubt
from crossdock.model.fulfilment import ShipmentPart
from crossdock.model.orders import LineTax, Order


class QuotedLine(msgspec.Struct, frozen=True):
    line: str
    tax_code: str
    rate: Decimal
    tax: Decimal


class Quote(msgspec.Struct, frozen=True):
    lines: tuple[QuotedLine, ...]


class Transaction(msgspec.Struct, frozen=True):
    code: str
    state: str


def quote_body(order: Order) -> dict[str, Any]:
    """`exemption` is what shows that no tax is due: the identifier that was checked, else the account."""
    tax = order.tax
    identifier = tax.identifier if tax is not None else ""
    return {
        "currency": order.currency, "ship_to_country": order.ship_to.country,
        "treatment": tax.treatment if tax is not None else "",
        "exemption": identifier or order.customer if order.tax_exempt else "",
        "date": order.placed_at.date().isoformat(),
        "lines": [
            {"line": line.line, "sku": line.sku, "tax_category": line.tax_category, "net": str(line.amount.amount)}
            for line in order.lines
        ],
    }  # fmt: skip


def taxes_done(order: Order, quote: Quote) -> Done:
    """Every line has its tax, or the answer is of no use."""
    taxes = {line.line: LineTax(line.tax_code, line.rate, line.tax) for line in quote.lines}
    missing = [line.line for line in order.lines if line.line not in taxes]
    if missing:
        raise InDoubt("tax_incomplete", "The tax engine left out a line.", detail=f"lines {missing[:5]}")
    return Done(msgspec.json.encode({"taxes": taxes}))


def transaction_code(call: Call) -> str:
    part = msgspec.json.decode(call.payload, type=ShipmentPart)
    return f"{call.number}/{part.shipment}"


def commit_body(call: Call) -> dict[str, Any]:
    part = msgspec.json.decode(call.payload, type=ShipmentPart)
    return {
        "code": transaction_code(call), "currency": part.net.currency, "document": part.shipment,
        "date": part.shipped_at.date().isoformat(),
        "lines": [
            {
                "line": line.line, "tax_code": line.tax_code, "rate": None, "net": str(line.net), "tax": str(line.tax),
            }
            for line in part.lines
        ],
    }  # fmt: skip


def undone_code(call: Call) -> str:
    """`undoes` names the step that committed: "tax.commit:<shipment>"."""
    undoes = str(msgspec.json.decode(call.payload, type=dict[str, Any]).get("undoes", ""))
    return f"{call.number}/{undoes.partition(':')[2]}"
