"""The shop's stock: batches of absolute figures, paid in points that come back by the second; an answer per item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec

from crossdock.connectors.shop.translate import WORDS
from crossdock.kit.connector import Shown, StockLane
from crossdock.kit.http import HttpSession
from crossdock.model.stock import StockFigure

ITEMS_MAX: Final = 250


class ItemResult(msgspec.Struct, frozen=True):
    sku: str
    ok: bool
    code: str = ""
    message: str = ""


class Results(msgspec.Struct, frozen=True):
    results: list[ItemResult]


class ListedItem(msgspec.Struct, frozen=True):
    sku: str
    quantity: Decimal


class ListedItems(msgspec.Struct, frozen=True):
    items: list[ListedItem]


def inventory_body(figures: Sequence[StockFigure]) -> dict[str, Any]:
    return {"items": [
        {
            "sku": figure.sku, "unit": WORDS.get(figure.unit, figure.unit), "quantity": str(figure.quantity),
            "as_of": figure.as_of,
        }
        for figure in figures
    ]}  # fmt: skip


async def publish(session: HttpSession, figures: Sequence[StockFigure]) -> Sequence[Shown]:
    answer = await session.request(None, "PUT", "/api/inventory", write=True, json=inventory_body(figures))
    results = answer.decode(Results).results
    return [Shown(one.sku, "" if one.ok else one.code or "rejected", one.message) for one in results]


async def read_back(session: HttpSession, skus: Sequence[str]) -> Mapping[str, Decimal]:
    answer = await session.request(None, "POST", "/api/inventory/query", write=False, json={"skus": list(skus)})
    return {item.sku: item.quantity for item in answer.decode(ListedItems).items}


# A full batch costs 35 of the 100 points a second; some are left for orders and for reading back.
STOCK: Final = StockLane(
    publish=publish, read_back=read_back, batch_max=ITEMS_MAX, read_max=ITEMS_MAX, calls_per_second=2.5, burst=20,
)  # fmt: skip
