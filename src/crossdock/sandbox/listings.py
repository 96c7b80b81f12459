"""What a channel shows of each SKU, and what its buyers take from it: every channel here sells its own stock.

The seller tells absolute figures. A sale takes from what is shown, never below zero, and what is sold out is not sold.
An order that the seller had not confirmed yet when it counted a figure (`as_of`) is not in that figure, so its goods
are taken off again when the figure comes: the channel never shows what its own buyers have ordered already.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from decimal import ROUND_CEILING, Decimal
from typing import Annotated, Final, Literal

import msgspec

from crossdock.sandbox.faults import Faults
from crossdock.sandbox.orders import BuyerLine, BuyerOrder
from crossdock.sandbox.service import Answer, Call, Refusal, Route
from crossdock.sandbox.storage import Storage
from crossdock.sandbox.world import World

_NOTHING: Final = Decimal(0)
_ONE: Final = Decimal(1)
# A confirmed order is remembered for figures that were counted before and come late.
CONFIRMED_SECONDS: Final = 3600.0
Rate = Annotated[float, msgspec.Meta(gt=0)]


class Selling(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How this channel sells, and its limits. `untold`: what of a SKU of which no figure ever came; `unknown`: what of
    a figure for goods that the channel does not list."""

    untold: Literal["sell", "refuse"] = "sell"
    unknown: Literal["refuse", "take"] = "refuse"
    points_per_second: Rate = 100.0
    points_max: Rate = 1000.0
    feeds_per_hour: Rate = 10.0
    feeds_max: Rate = 10.0
    feed_seconds: float = 2.0
    puts_per_minute: Rate = 1500.0
    puts_max: Rate = 50.0
    calls_per_second: Rate = 50.0


class Told(msgspec.Struct, frozen=True):
    """A figure as it came: `quantity` of `unit` (UN/ECE Rec 20) may be sold."""

    sku: str
    unit: str
    quantity: Decimal
    as_of: datetime | None = None


class Taken(msgspec.Struct, frozen=True):
    """What became of a figure; `code` is "" when it was taken."""

    sku: str
    code: str = ""
    message: str = ""


class Edit(msgspec.Struct, frozen=True):
    sku: str
    quantity: Decimal


class Edits(msgspec.Struct, frozen=True):
    """Body of `POST /_control/stock`: somebody else writes the shop's stock."""

    edits: tuple[Edit, ...]
    by: str = "somebody"


class Shown(msgspec.Struct, frozen=True):
    sku: str
    unit: str
    shown: Decimal
    changed_by: str


class Query(msgspec.Struct, frozen=True):
    skus: tuple[str, ...]


class Bucket:
    """A token bucket in memory: full at first."""

    def __init__(self, per_second: float, most: float) -> None:
        self.per_second = per_second
        self.most = most
        self.tokens = most
        self._at = time.monotonic()

    def follow(self, per_second: float, most: float) -> None:
        if (per_second, most) != (self.per_second, self.most):
            self.per_second, self.most, self.tokens = per_second, most, most

    def take(self, count: float) -> float:
        """0 when they were there, else the seconds until they will be."""
        now = time.monotonic()
        self.tokens = min(self.most, self.tokens + (now - self._at) * self.per_second)
        self._at = now
        if self.tokens >= count:
            self.tokens -= count
            return 0.0
        return (count - self.tokens) / self.per_second


class Listings:
    """One channel's listings. Every method works inside the transaction of a request."""

    def __init__(self, storage: Storage, world: World, faults: Faults) -> None:
        self._storage = storage
        self._faults = faults
        self._sizes = {
            product.sku: {pack.unit: Decimal(pack.quantity) for pack in product.packs} for product in world.sold
        }
        self.bucket = Bucket(1.0, 1.0)
        self.refused = 0
        self.selling = storage.read("selling", "selling", Selling) or Selling()

    def charge(self, per_second: float, most: float, count: float = 1.0) -> None:
        """Raises Refusal 429 when the seller is above the channel's limit."""
        self.bucket.follow(per_second, most)
        wait = self.bucket.take(count)
        if wait > 0:
            self.refused += 1
            raise Refusal(429, "too_many_requests", "above the limit for stock", retry_after=wait)

    def take(self, figures: Sequence[Told]) -> list[Taken]:
        """Show these figures, as far as they make sense; each for itself."""
        ordered = self._unconfirmed([figure.sku for figure in figures])
        taken, shown, log = [], [], []
        for figure in figures:
            size = self._size(figure.sku, figure.unit)
            refusal = self._refusal(figure, size)
            fate = self._faults.stock_fate()
            if refusal is None and fate == "reject":
                refusal = Taken(figure.sku, "try_later", "the sandbox was told to reject this item")
            if refusal is not None or size is None:
                taken.append(refusal or Taken(figure.sku, "unit_unknown", "no such unit"))
                continue
            taken.append(Taken(figure.sku))
            if fate == "drop":
                continue
            held = sum(
                (quantity for quantity, confirmed in ordered.get(figure.sku, ())
                 if figure.as_of is not None and (confirmed is None or confirmed > figure.as_of.timestamp())),
                _NOTHING,
            )  # fmt: skip
            left = max(figure.quantity - (held / size).to_integral_value(ROUND_CEILING), _NOTHING)
            shown.append((figure.sku, figure.unit, str(left), "seller"))
            log.append(
                (figure.sku, {"quantity": str(figure.quantity), "unit": figure.unit, "shown": str(left)})
            )
        self._storage.place_listings(shown)
        self._storage.append_logs("stock", log)
        return taken

    def read(self, skus: Sequence[str]) -> list[Shown]:
        return [Shown(row[0], row[1], Decimal(row[2]), row[3]) for row in self._storage.read_listings(skus)]

    def sell(self, number: str, basket: BuyerOrder) -> BuyerOrder | None:
        """The basket as far as it is there; None when nothing of it is. A backorder waits for what is not there."""
        found = {row.sku: row for row in self.read([line.sku for line in basket.lines])}
        left = {sku: row.shown for sku, row in found.items()}
        lines = [line for line in basket.lines if self._can_sell(line, found, left, basket.fulfilment == "backorder")]
        changed = [(sku, found[sku].unit, str(left[sku]), "buyer") for sku in found if left[sku] != found[sku].shown]
        self._storage.place_listings(changed)
        ordered: dict[str, Decimal] = {}
        for line in lines:
            size = self._size(line.sku, line.unit) or _ONE
            ordered[line.sku] = ordered.get(line.sku, _NOTHING) + line.quantity * size
        self._storage.place_promised([(sku, number, str(quantity)) for sku, quantity in ordered.items()])
        missed = [line for line in basket.lines if line not in lines]
        if missed:
            self._storage.append_log("lost_sale", number, missed)
        return msgspec.structs.replace(basket, lines=tuple(lines)) if lines else None

    def confirm(self, number: str) -> None:
        """The seller knows of the order: figures that it counts from now on contain it."""
        self._storage.confirm_promised(number, time.time())

    def give_back(self, number: str) -> None:
        """The seller refused the order: no figure of its contains it, so its goods are shown again. Where nothing is
        shown, a backorder may have taken less than it asked for: there the next figure tells."""
        kept = dict(self._storage.read_unconfirmed(number))
        shown = []
        for row in self.read(list(kept)):
            size = self._size(row.sku, row.unit)
            if size is not None and row.shown > 0:
                left = row.shown + Decimal(kept[row.sku]) / size
                shown.append((row.sku, row.unit, str(left), "buyer"))
        self._storage.place_listings(shown)
        self.release(number)

    def release(self, number: str) -> None:
        """The order is off: its goods are nobody's."""
        self._storage.release_promised(number)

    def routes(self) -> Sequence[Route]:
        return (
            Route("GET", "/_control/selling", self.read_selling),
            Route("PUT", "/_control/selling", self.place_selling),
            Route("GET", "/_control/stock", self.list_shown),
            Route("POST", "/_control/stock", self.edit),
        )

    def read_selling(self, call: Call) -> Answer:
        del call
        return Answer({"selling": self.selling, "refused": self.refused})

    def place_selling(self, call: Call) -> Answer:
        self.selling = call.read(Selling)
        self._storage.place("selling", "selling", self.selling)
        return Answer(self.selling)

    def list_shown(self, call: Call) -> Answer:
        """All that is shown, by SKU, a page of 5,000 after `after`; or the SKUs named in `sku`, with commas."""
        if "sku" in call.query:
            return Answer(self.read(call.query["sku"].split(",")))
        rows = self._storage.list_listings(call.query.get("after", ""))
        return Answer([Shown(row[0], row[1], Decimal(row[2]), row[3]) for row in rows])

    def edit(self, call: Call) -> Answer:
        """A rival writer: what it writes is what is shown."""
        request = call.read(Edits)
        units = {row.sku: row.unit for row in self.read([edit.sku for edit in request.edits])}
        rows = [(edit.sku, units.get(edit.sku, "C62"), str(edit.quantity), request.by) for edit in request.edits]
        self._storage.place_listings(rows)
        self._storage.append_logs("rival_stock", [(row[0], {"quantity": row[2], "by": row[3]}) for row in rows])
        return Answer({"edited": len(rows)})

    def _size(self, sku: str, unit: str) -> Decimal | None:
        sizes = self._sizes.get(sku)
        return _ONE if sizes is None else sizes.get(unit)

    def _refusal(self, figure: Told, size: Decimal | None) -> Taken | None:
        if figure.sku not in self._sizes and self.selling.unknown == "refuse":
            return Taken(figure.sku, "sku_unknown", "there is no listing for this item")
        if size is None:
            return Taken(figure.sku, "unit_unknown", f"this item is not sold by {figure.unit}")
        if figure.quantity < 0 or not figure.quantity.is_finite():
            return Taken(figure.sku, "quantity_wrong", "a stock figure is zero or more")
        return None

    def _can_sell(
        self, line: BuyerLine, found: dict[str, Shown], left: dict[str, Decimal], waits: bool
    ) -> bool:
        listing = found.get(line.sku)
        if listing is None:
            return self.selling.untold == "sell"
        size, shown_size = self._size(line.sku, line.unit), self._size(line.sku, listing.unit)
        if size is None or shown_size is None:
            return True
        need = line.quantity * size / shown_size
        if need > left[line.sku] and not waits:
            return False
        left[line.sku] = max(left[line.sku] - need, _NOTHING)
        return True

    def _unconfirmed(self, skus: Sequence[str]) -> dict[str, list[tuple[Decimal, float | None]]]:
        """SKU -> (base units, when the seller confirmed it) of this channel's orders that may not be counted yet."""
        found: dict[str, list[tuple[Decimal, float | None]]] = {}
        for sku, quantity, confirmed in self._storage.read_promised(skus, time.time() - CONFIRMED_SECONDS):
            found.setdefault(sku, []).append((Decimal(quantity), confirmed))
        return found

