"""Agora's stock: one call for each item, 1,500 a minute. It takes our SKU here and counts packs of the named type."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec

from crossdock.connectors.agora.translate import UNITS
from crossdock.kit.connector import Shown, StockLane
from crossdock.kit.http import HttpSession, path
from crossdock.model.errors import CrossdockError, Invalid, Refused, Unavailable
from crossdock.model.stock import StockFigure

PACK_TYPES: Final = {code: word for word, code in UNITS.items()}
CALLS_AT_ONCE: Final = 16


class ListedItem(msgspec.Struct, frozen=True, rename="camel"):
    supplier_sku: str
    packs: Decimal


class ListedItems(msgspec.Struct, frozen=True):
    items: list[ListedItem]


def level_body(figure: StockFigure) -> dict[str, Any]:
    return {
        "packType": PACK_TYPES.get(figure.unit, figure.unit), "packs": str(figure.quantity), "asOf": figure.as_of,
    }  # fmt: skip


async def publish(session: HttpSession, figures: Sequence[StockFigure]) -> Sequence[Shown]:
    """What was answered before the marketplace stopped answering counts. When nothing was, an error is raised: the one
    that asks for the longest wait."""
    turn = asyncio.Semaphore(CALLS_AT_ONCE)
    failed: list[CrossdockError] = []
    rest: list[Shown] = []

    async def place(figure: StockFigure) -> Shown | None:
        async with turn:
            if failed:
                return None
            try:
                return await _place(session, figure)
            except CrossdockError as error:
                failed.append(error)
                rest.append(Shown(figure.sku, error.code, error.message, _asked_seconds(error)))
                return None

    answers = [shown for shown in await asyncio.gather(*(place(figure) for figure in figures)) if shown is not None]
    if failed and not answers:
        raise max(failed, key=_asked_seconds)
    return [*answers, *rest]


def _asked_seconds(error: CrossdockError) -> float:
    """How long the marketplace asked to be left alone."""
    return (error.retry_after_seconds or 0.0) if isinstance(error, Unavailable) else 0.0


async def _place(session: HttpSession, figure: StockFigure) -> Shown:
    try:
        await session.request(None, "PUT", path("/inventory/{}", figure.sku), write=True, json=level_body(figure))
    except Invalid as error:
        return Shown(figure.sku, "sku_unknown" if error.code == "partner_not_found" else error.code, error.message)
    except Refused as error:
        code = "unit_unknown" if "unit_unknown" in error.detail else error.code
        return Shown(figure.sku, code, error.message)
    return Shown(figure.sku)


async def read_back(session: HttpSession, skus: Sequence[str]) -> Mapping[str, Decimal]:
    answer = await session.request(None, "POST", "/inventory/query", write=False, json={"skus": list(skus)})
    return {item.supplier_sku: item.packs for item in answer.decode(ListedItems).items}


STOCK: Final = StockLane(
    publish=publish, read_back=read_back, batch_max=200, read_max=1_000, calls_per_second=24, burst=40,
    counts_figures=True,
)  # fmt: skip
