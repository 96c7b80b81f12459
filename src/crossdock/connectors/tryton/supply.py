"""What is coming in: purchase orders' lines that are still owed, with their dates, and what suppliers have shipped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import msgspec

from crossdock.connectors.tryton.client import TrytonClient
from crossdock.connectors.tryton.translate import UNIT_OF_SYMBOL, digest, quantity_of
from crossdock.kit.connector import Page
from crossdock.model.facts import Fact, SupplyReported
from crossdock.model.stock import InboundSupply
from crossdock.model.values import Quantity

LOOK_BACK: Final = timedelta(days=1)
FIRST_LOOK_BACK: Final = timedelta(days=35)
_MOVE_FIELDS: Final = ("origin", "product", "internal_quantity", "state", "planned_date")
Row = dict[str, Any]


async def read_supply(client: TrytonClient, connection: str, cursor: str) -> Page:
    """Every line that is still owed; and with zero those of which something came or was cancelled since the last look.

    Tryton plans a goods receipt for what a confirmed purchase order's line still owes; its date is the promise.
    """
    as_of = datetime.now(UTC)
    looked_at, _, told = cursor.partition(" ")
    since = datetime.fromisoformat(looked_at) - LOOK_BACK if looked_at else as_of - FIRST_LOOK_BACK
    moves = await client.rows(
        None, "stock.move",
        [["origin", "like", "purchase.line,%"],
         ["OR", ["state", "in", ["draft", "assigned"]], ["write_date", ">=", since.replace(tzinfo=None)]]],
        _MOVE_FIELDS,
    )  # fmt: skip
    owed: dict[int, list[Row]] = {}
    for move in moves:
        owed.setdefault(int(str(move["origin"]).partition(",")[2]), []).append(move)
    lines = {
        row["id"]: row["purchase"]
        for row in await client.rows(None, "purchase.line", [["id", "in", sorted(owed)]], ["purchase"])
    } if owed else {}  # fmt: skip
    purchases = {
        row["id"]: row
        for row in await client.rows(
            None, "purchase.purchase", [["id", "in", sorted(set(lines.values()))]], ["number", "warehouse"]
        )
    } if lines else {}  # fmt: skip
    goods = await _goods(client, {move["product"] for move in moves}) if moves else {}
    codes = {warehouse.id: code for code, warehouse in (await client.ensure_references()).warehouses.items()}
    supplies = []
    for line, purchase in sorted(lines.items()):
        order = purchases.get(purchase)
        product = goods.get(owed[line][0]["product"])
        if order is not None and product is not None and order["warehouse"] in codes:
            location = codes[order["warehouse"]]
            supplies.append(supply_of(order["number"] or str(purchase), line, location, product, owed[line], as_of))
    found = digest(msgspec.json.encode(supplies))
    # What stands as it was told is no news.
    facts = [_fact(connection, supplies, as_of)] if supplies and found != told else []
    return Page(facts, f"{as_of.isoformat()} {found}")


async def read_coming(client: TrytonClient, place: int) -> dict[str, Decimal]:
    """SKU -> what suppliers have announced with a delivery note and is not received yet, at a warehouse's gate."""
    domain = [["shipment", "like", "stock.shipment.in,%"], ["to_location", "=", place], ["state", "=", "draft"]]
    moves = await client.rows(None, "stock.move", domain, ["product", "internal_quantity"])
    goods = await _goods(client, {move["product"] for move in moves}) if moves else {}
    found: dict[str, Decimal] = {}
    for move in moves:
        if move["product"] in goods:
            sku = goods[move["product"]][0]
            found[sku] = found.get(sku, Decimal(0)) + quantity_of(move["internal_quantity"])
    return found


def supply_of(
    number: str, line: int, location: str, product: tuple[str, str], moves: Sequence[Mapping[str, Any]], as_of: datetime
) -> InboundSupply:
    """What a line still owes: its open receipts, due when the last of them is. Without a date it promises nothing."""
    sku, unit = product
    awaited = [move for move in moves if move["state"] in ("draft", "assigned") and move["planned_date"]]
    quantity = sum((quantity_of(move["internal_quantity"]) for move in awaited), Decimal(0))
    expected: date = max((move["planned_date"] for move in awaited), default=as_of.date())
    return InboundSupply(number, str(line), sku, location, Quantity(quantity, unit), expected)


async def _goods(client: TrytonClient, products: set[int]) -> dict[int, tuple[str, str]]:
    """Product -> (SKU, base unit), where it is one of ours."""
    rows = await client.rows(None, "product.product", [["id", "in", sorted(products)]], ["code", "default_uom"])
    symbols = {row["id"]: row["symbol"] for row in await client.rows(None, "product.uom", [], ["symbol"])}
    return {
        row["id"]: (row["code"], UNIT_OF_SYMBOL[symbols[row["default_uom"]]])
        for row in rows if row["code"] and symbols.get(row["default_uom"]) in UNIT_OF_SYMBOL
    }  # fmt: skip


def _fact(connection: str, supplies: Sequence[InboundSupply], as_of: datetime) -> Fact:
    body = msgspec.json.encode(SupplyReported(tuple(supplies), as_of))
    return Fact(
        connection, "supply.reported", "purchases", body, body, version=as_of.isoformat(), subject="purchases",
        occurred_at=as_of,
    )  # fmt: skip
