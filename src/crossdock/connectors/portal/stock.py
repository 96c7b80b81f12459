"""The portal's stock: bulk; it names only what it did not take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec

from crossdock.kit.connector import Shown, StockLane
from crossdock.kit.http import HttpSession
from crossdock.model.stock import StockFigure

LEVELS_MAX: Final = 1_000


class Rejected(msgspec.Struct, frozen=True):
    sku: str
    code: str
    message: str = ""


class RejectedLevels(msgspec.Struct, frozen=True):
    rejected: list[Rejected]


class Level(msgspec.Struct, frozen=True):
    sku: str
    quantity: Decimal


class Levels(msgspec.Struct, frozen=True):
    levels: list[Level]


def levels_body(figures: Sequence[StockFigure]) -> dict[str, Any]:
    return {"levels": [
        {"sku": figure.sku, "unit": figure.unit, "quantity": str(figure.quantity), "as_of": figure.as_of}
        for figure in figures
    ]}  # fmt: skip


async def publish(session: HttpSession, figures: Sequence[StockFigure]) -> Sequence[Shown]:
    answer = await session.request(None, "PUT", "/api/stock", write=True, json=levels_body(figures))
    rejected = {one.sku: one for one in answer.decode(RejectedLevels).rejected}
    return [
        Shown(figure.sku, rejected[figure.sku].code, rejected[figure.sku].message)
        if figure.sku in rejected else Shown(figure.sku)
        for figure in figures
    ]  # fmt: skip


async def read_back(session: HttpSession, skus: Sequence[str]) -> Mapping[str, Decimal]:
    answer = await session.request(None, "POST", "/api/stock/query", write=False, json={"skus": list(skus)})
    return {level.sku: level.quantity for level in answer.decode(Levels).levels}


STOCK: Final = StockLane(
    publish=publish, read_back=read_back, batch_max=LEVELS_MAX, read_max=LEVELS_MAX, calls_per_second=20, burst=20,
)  # fmt: skip
