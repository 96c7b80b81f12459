"""Bazaar's stock: feeds, ten an hour, worked on for a while; then an answer per item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec

from crossdock.kit.connector import Shown, StockLane, Submitted
from crossdock.kit.http import HttpSession, path
from crossdock.model.stock import StockFigure

ITEMS_MAX: Final = 10_000


class FeedTaken(msgspec.Struct, frozen=True):
    feed_id: str


class FeedItem(msgspec.Struct, frozen=True):
    sku: str
    status: str
    code: str = ""
    message: str = ""


class Feed(msgspec.Struct, frozen=True):
    status: str
    items: list[FeedItem]


class ListedItem(msgspec.Struct, frozen=True):
    sku: str
    quantity: Decimal


class ListedItems(msgspec.Struct, frozen=True):
    items: list[ListedItem]


def feed_body(figures: Sequence[StockFigure]) -> dict[str, Any]:
    return {"items": [
        {"sku": figure.sku, "unit": figure.unit, "quantity": str(figure.quantity), "as_of": figure.as_of}
        for figure in figures
    ]}  # fmt: skip


def feed_results(feed: Feed) -> list[Shown] | None:
    """None while Bazaar works on it."""
    if feed.status != "DONE":
        return None
    return [Shown(one.sku, "" if one.status == "OK" else one.code or "rejected", one.message) for one in feed.items]


async def publish(session: HttpSession, figures: Sequence[StockFigure]) -> Submitted:
    answer = await session.request(
        None, "POST", "/v2/feeds", write=True, json=feed_body(figures), expected=(202,)
    )
    return Submitted(answer.decode(FeedTaken).feed_id)


async def collect(session: HttpSession, feed: str) -> Sequence[Shown] | None:
    answer = await session.request(None, "GET", path("/v2/feeds/{}", feed), write=False)
    return feed_results(answer.decode(Feed))


async def read_back(session: HttpSession, skus: Sequence[str]) -> Mapping[str, Decimal]:
    answer = await session.request(None, "POST", "/v2/stock/query", write=False, json={"skus": list(skus)})
    return {item.sku: item.quantity for item in answer.decode(ListedItems).items}


STOCK: Final = StockLane(
    publish=publish, read_back=read_back, collect=collect, batch_max=ITEMS_MAX, read_max=1_000,
    calls_per_second=10 / 3600, burst=10,
)  # fmt: skip
