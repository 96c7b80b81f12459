"""How each channel is told stock: its words, its limits, its way to answer.

    shop    batches, paid in points that come back by the second; an answer per item
    bazaar  feeds: few an hour, worked on for a while, then an answer per item
    agora   one call per item, so many a minute
    portal  bulk; only what it did not take is named
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from crossdock.sandbox.listings import Listings, Query, Shown, Told
from crossdock.sandbox.service import Answer, Call, Refusal, Route
from crossdock.sandbox.storage import Storage

SHOP_ITEMS_MAX: Final = 250
FEED_ITEMS_MAX: Final = 10_000
LEVELS_MAX: Final = 1_000
FEED_LOOK_SECONDS: Final = 0.1
SHOP_UNITS: Final = {
    "each": "C62", "metre": "MTR", "kilogram": "KGM", "pair": "PR", "litre": "LTR", "box": "XBX", "pallet": "XPX",
}  # fmt: skip
SHOP_WORDS: Final = {code: word for word, code in SHOP_UNITS.items()}
AGORA_UNITS: Final = {
    "PIECE": "C62", "METRE": "MTR", "KILO": "KGM", "PAIR": "PR", "LITRE": "LTR", "CARTON": "XBX", "PALLET": "XPX",
}  # fmt: skip
AGORA_TYPES: Final = {code: word for word, code in AGORA_UNITS.items()}


class Item(msgspec.Struct, frozen=True):
    """The shop's, Bazaar's and the portal's shape of a figure; `as_of` is when the seller counted it."""

    sku: str
    unit: str
    quantity: Decimal
    as_of: datetime | None = None


class Items(msgspec.Struct, frozen=True):
    items: tuple[Item, ...]


class Levels(msgspec.Struct, frozen=True):
    levels: tuple[Item, ...]


class Level(msgspec.Struct, frozen=True, rename="camel"):
    pack_type: str
    packs: Decimal
    as_of: datetime | None = None


class BazaarFeed(msgspec.Struct, frozen=True):
    """A feed as Bazaar keeps it."""

    feed_id: str
    status: str
    done_at: float
    items: tuple[Item, ...]
    results: tuple[dict[str, Any], ...] = ()


class ShopInventory:
    def __init__(self, listings: Listings) -> None:
        self._listings = listings

    def routes(self) -> Sequence[Route]:
        return (
            Route("PUT", "/api/inventory", self.place),
            Route("POST", "/api/inventory/query", self.query),
            *self._listings.routes(),
        )

    def place(self, call: Call) -> Answer:
        items = call.read(Items).items
        if len(items) > SHOP_ITEMS_MAX:
            raise Refusal(422, "too_many_items", f"at most {SHOP_ITEMS_MAX} items")
        cost = self._charge(len(items))
        told = [Told(item.sku, SHOP_UNITS.get(item.unit, item.unit), item.quantity, item.as_of) for item in items]
        results = [
            {"sku": taken.sku, "ok": not taken.code, "code": taken.code, "message": taken.message}
            for taken in self._listings.take(told)
        ]
        available = int(self._listings.bucket.tokens)
        return Answer({"results": results, "cost": {"requested": cost, "available": available}})

    def query(self, call: Call) -> Answer:
        skus = call.read(Query).skus[:SHOP_ITEMS_MAX]
        self._charge(len(skus))
        return Answer({"items": [_item(shown, SHOP_WORDS) for shown in self._listings.read(skus)]})

    def _charge(self, items: int) -> int:
        """Ten points for the call and one for each ten items."""
        cost = 10 + -(-items // 10)
        selling = self._listings.selling
        self._listings.charge(selling.points_per_second, selling.points_max, cost)
        return cost


class BazaarInventory:
    def __init__(self, storage: Storage, listings: Listings) -> None:
        self._storage = storage
        self._listings = listings

    def routes(self) -> Sequence[Route]:
        return (
            Route("POST", "/v2/feeds", self.submit),
            Route("GET", "/v2/feeds/{feed}", self.read_feed),
            Route("POST", "/v2/stock/query", self.query),
            *self._listings.routes(),
        )

    async def live(self) -> None:
        """Work on the feeds in the order in which they came."""
        while True:
            with self._storage.transaction():
                self._finish_due()
            await asyncio.sleep(FEED_LOOK_SECONDS)

    def submit(self, call: Call) -> Answer:
        items = call.read(Items).items
        if not items or len(items) > FEED_ITEMS_MAX:
            raise Refusal(422, "feed_size", f"a feed has 1 to {FEED_ITEMS_MAX} items")
        selling = self._listings.selling
        self._listings.charge(selling.feeds_per_hour / 3600, selling.feeds_max)
        number = f"FD-{self._storage.next_number('feed', 1)}"
        feed = BazaarFeed(number, "IN_PROGRESS", time.time() + selling.feed_seconds, items)
        self._storage.place("feed", number, feed, parent="waiting")
        self._storage.append_log("feed", number, {"items": len(items)})
        return Answer({"feed_id": number, "status": feed.status}, 202)

    def read_feed(self, call: Call) -> Answer:
        feed = self._storage.read("feed", call.path["feed"], BazaarFeed)
        if feed is None:
            raise Refusal(404, "not_found", "no such feed")
        return Answer({"feed_id": feed.feed_id, "status": feed.status, "items": feed.results})

    def query(self, call: Call) -> Answer:
        rows = self._listings.read(call.read(Query).skus)
        return Answer({"items": [_item(shown, {}) for shown in rows]})

    def _finish_due(self) -> None:
        for feed in self._storage.read_children("feed", "waiting", BazaarFeed, 10):
            if feed.done_at > time.time():
                return
            taken = self._listings.take([Told(item.sku, item.unit, item.quantity, item.as_of) for item in feed.items])
            results = tuple(
                {"sku": one.sku, "status": "ERROR" if one.code else "OK", "code": one.code, "message": one.message}
                for one in taken
            )
            done = msgspec.structs.replace(feed, status="DONE", results=results)
            self._storage.place("feed", feed.feed_id, done, parent="done")


class AgoraInventory:
    def __init__(self, listings: Listings) -> None:
        self._listings = listings

    def routes(self) -> Sequence[Route]:
        return (
            Route("PUT", "/inventory/{sku}", self.place),
            Route("POST", "/inventory/query", self.query),
            *self._listings.routes(),
        )

    def place(self, call: Call) -> Answer:
        selling = self._listings.selling
        self._listings.charge(selling.puts_per_minute / 60, selling.puts_max)
        level = call.read(Level)
        told = Told(call.path["sku"], AGORA_UNITS.get(level.pack_type, level.pack_type), level.packs, level.as_of)
        taken = self._listings.take([told])[0]
        if taken.code == "sku_unknown":
            raise Refusal(404, "unknownItem", taken.message)
        if taken.code:
            raise Refusal(422, taken.code, taken.message)
        return Answer({"supplierSku": taken.sku, "packs": str(level.packs)})

    def query(self, call: Call) -> Answer:
        rows = self._listings.read(call.read(Query).skus)
        return Answer({"items": [
            {"supplierSku": row.sku, "packType": AGORA_TYPES.get(row.unit, row.unit), "packs": str(row.shown)}
            for row in rows
        ]})  # fmt: skip


class PortalInventory:
    def __init__(self, listings: Listings) -> None:
        self._listings = listings

    def routes(self) -> Sequence[Route]:
        return (
            Route("PUT", "/api/stock", self.place),
            Route("POST", "/api/stock/query", self.query),
            *self._listings.routes(),
        )

    def place(self, call: Call) -> Answer:
        levels = call.read(Levels).levels
        if len(levels) > LEVELS_MAX:
            raise Refusal(422, "too_many_levels", f"at most {LEVELS_MAX} levels")
        selling = self._listings.selling
        self._listings.charge(selling.calls_per_second, selling.calls_per_second)
        taken = self._listings.take([Told(one.sku, one.unit, one.quantity, one.as_of) for one in levels])
        return Answer({"rejected": [one for one in taken if one.code]})

    def query(self, call: Call) -> Answer:
        rows = self._listings.read(call.read(Query).skus)
        return Answer({"levels": [_item(shown, {}) for shown in rows]})


def _item(shown: Shown, words: dict[str, str]) -> dict[str, str]:
    return {"sku": shown.sku, "unit": words.get(shown.unit, shown.unit), "quantity": str(shown.shown)}
