"""Stock that somebody reports, row by row: in base units, or refused with its line, the reason and the fix. Pure.

A bad row stops itself and never its neighbours; a row of someone who does not own the place is kept apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from crossdock.model.documents import Product
from crossdock.model.errors import Invalid
from crossdock.model.stock import InboundSupply, InventoryBalance, LotBalance, StockMovement
from crossdock.model.values import QUANTITY_MAX, Quantity
from crossdock.rules.ownership import Ownership
from crossdock.rules.units import pack_sizes, to_base

FUTURE_TOLERANCE: Final = timedelta(seconds=30)
"""Clocks that nobody set by policy may differ by so much; `clock_skew_seconds` comes on top."""
_NOTHING: Final = Decimal(0)
_FIXES: Final[Mapping[str, str]] = {
    "sku_unknown": "Publish the product, and the row is taken by itself; or correct the SKU.",
    "location_unknown": "Correct the location, or add it under [[locations]]; then replay.",
    "unit_impossible": "Give the product a pack of this unit, or report another unit; then replay.",
    "unit_unknown": "Use a UN/ECE Rec 20 unit that the product has.",
    "quantity_fraction": "Report whole units; count the goods again.",
    "quantity_negative": "Correct the count at its source. Until then nothing is promised of it.",
    "quantity_absurd": "Correct the quantity at its source.",
    "quantity_form": "Report a number.",
    "as_of_future": "Set the source's clock, or its clock_skew_seconds; then replay.",
    "row_twice": "Report every SKU and location once, then replay; neither row was taken.",
    "kit_stock": "Report the stock of its components.",
    "as_of_form": "Write a time with its zone, such as 2026-03-02T09:30:00Z.",
    "date_form": "Write a date such as 2026-12-31.",
    "row_short": "Give the row as many cells as the first line has.",
    "parts_exceed": "Report quality hold and damaged as parts of what is on hand.",
}
Row = TypeVar("Row", InventoryBalance, StockMovement, InboundSupply)


def fix_of(code: str) -> str:
    """What to do about a refused row."""
    return _FIXES.get(code, "Correct it at its source, then replay.")


class BalanceRow(NamedTuple):
    """A balance in base units, by whoever reported it."""

    source: str
    sku: str
    location: str
    on_hand: Decimal
    as_of: datetime
    quality_hold: Decimal = _NOTHING
    damaged: Decimal = _NOTHING
    in_transit: Decimal = _NOTHING
    lots: tuple[LotBalance, ...] = ()


class RefusedRow(NamedTuple):
    """A row that cannot be taken: `line` counts from 1 in the report."""

    line: int
    code: str
    message: str
    row: Any

    @property
    def fix(self) -> str:
        return fix_of(self.code)


class Judged(NamedTuple):
    """`taken` count, `foreign` are another's word about an owned place, `refused` cannot be taken."""

    taken: list[Any]
    foreign: list[Any]
    refused: list[RefusedRow]


class Judge(NamedTuple):
    """What rows are judged by. `locations` empty: any."""

    products: Mapping[str, Product]
    locations: frozenset[str]
    ownership: Ownership
    now: datetime

    def balances(self, source: str, rows: Sequence[InventoryBalance]) -> Judged:
        """Balances in base units. A negative one is refused and, as nothing can be there, taken as nothing."""
        taken: dict[tuple[str, str, datetime], tuple[int, InventoryBalance, BalanceRow]] = {}
        twice: dict[tuple[str, str, datetime], list[int]] = {}
        judged = Judged([], [], [])
        for line, row in enumerate(rows, 1):
            try:
                counted = self._balance(source, row)
            except Invalid as error:
                judged.refused.append(RefusedRow(line, error.code, error.message, row))
                if error.code != "quantity_negative":
                    continue
                counted = BalanceRow(source, row.sku, row.location, _NOTHING, row.as_of)
            key = (row.sku, row.location, row.as_of)
            earlier = taken.setdefault(key, (line, row, counted))
            if earlier[2] != counted:
                twice.setdefault(key, [earlier[0]]).append(line)
        for key, lines in twice.items():
            del taken[key]
            message = f"{key[0]} at {key[1]} is there {len(lines)} times with different figures."
            judged.refused.extend(RefusedRow(line, "row_twice", message, rows[line - 1]) for line in lines)
        self._sort(source, judged, [(row, row.as_of) for _, _, row in taken.values()])
        return judged

    def movements(self, source: str, rows: Sequence[StockMovement]) -> Judged:
        return self._each(source, rows, self._movement, lambda row: row.at)

    def supplies(self, source: str, rows: Sequence[InboundSupply]) -> Judged:
        """Anybody may know of purchase orders."""
        return self._each("", rows, self._supply, lambda _: None)

    def _each(
        self, source: str, rows: Sequence[Row], count: Callable[[Row], Row],
        time_of: Callable[[Row], datetime | None],
    ) -> Judged:  # fmt: skip
        judged = Judged([], [], [])
        found: list[tuple[Any, datetime | None]] = []
        for line, row in enumerate(rows, 1):
            try:
                found.append((count(row), time_of(row)))
            except Invalid as error:
                judged.refused.append(RefusedRow(line, error.code, error.message, row))
        self._sort(source, judged, found)
        return judged

    def _sort(self, source: str, judged: Judged, rows: Sequence[tuple[Any, datetime | None]]) -> None:
        for row, at in rows:
            own = at is None or self.ownership.counts(source, row.location, at)
            (judged.taken if own else judged.foreign).append(row)

    def _balance(self, source: str, row: InventoryBalance) -> BalanceRow:
        product = self._place(row.sku, row.location)
        self._time(source, row.location, row.as_of, "as_of")
        unit = row.on_hand.unit
        if _number(row.on_hand) < 0:
            raise Invalid("quantity_negative", f"{row.on_hand.value} {unit} of {row.sku} cannot be there.")
        on_hand = count_base(row.on_hand.value, unit, product)
        if product.components and on_hand:
            raise Invalid("kit_stock", f"{row.sku} is a kit, which has no stock of its own.")
        if not (row.quality_hold or row.damaged or row.in_transit or row.lots):
            return BalanceRow(source, row.sku, row.location, on_hand, row.as_of)
        held, damaged = count_base(row.quality_hold, unit, product), count_base(row.damaged, unit, product)
        if held + damaged > on_hand:
            raise Invalid("parts_exceed", f"More of {row.sku} is held back than is on hand.")
        lots = tuple(msgspec.structs.replace(lot, quantity=count_base(lot.quantity, unit, product)) for lot in row.lots)
        coming = count_base(row.in_transit, unit, product)
        return BalanceRow(source, row.sku, row.location, on_hand, row.as_of, held, damaged, coming, lots)

    def _movement(self, row: StockMovement) -> StockMovement:
        product = self._place(row.sku, row.location)
        self._time("", row.location, row.at, "at")
        moved = count_base(abs(_number(row.quantity)), row.quantity.unit, product)
        signed = -moved if row.quantity.value < 0 else moved
        return msgspec.structs.replace(row, quantity=Quantity(signed, product.base_unit))

    def _supply(self, row: InboundSupply) -> InboundSupply:
        product = self._place(row.sku, row.location)
        if _number(row.quantity) < 0:
            raise Invalid("quantity_negative", f"{row.purchase_order} cannot bring {row.quantity.value}.")
        counted = count_base(row.quantity.value, row.quantity.unit, product)
        return msgspec.structs.replace(row, quantity=Quantity(counted, product.base_unit))

    def _place(self, sku: str, location: str) -> Product:
        product = self.products.get(sku)
        if product is None:
            raise Invalid("sku_unknown", f"There is no product {sku}.")
        if self.locations and location not in self.locations:
            raise Invalid("location_unknown", f"There is no location {location}.")
        return product

    def _time(self, source: str, location: str, at: datetime, field: str) -> None:
        if at.tzinfo is None:
            raise Invalid("as_of_form", f"{field} {at.isoformat()} has no time zone.")
        if at > self.now + FUTURE_TOLERANCE and at > self.now + FUTURE_TOLERANCE + self.ownership.skew(
            source, location, at
        ):
            raise Invalid("as_of_future", f"{field} {at.isoformat()} is in the future.")


def _number(quantity: Quantity) -> Decimal:
    if not quantity.value.is_finite():
        raise Invalid("quantity_form", f"{quantity.value} is no number of goods.")
    return quantity.value


def count_base(value: Decimal, unit: str, product: Product) -> Decimal:
    """Base units in a reported quantity, zero allowed; exactly. Raises Invalid."""
    if not value.is_finite():
        raise Invalid("quantity_form", f"{value} is no number of goods.")
    if value < 0:
        raise Invalid("quantity_negative", f"{value} {unit} cannot be there.")
    if unit == product.base_unit and value <= QUANTITY_MAX and value == value.to_integral_value():
        return value
    sizes = pack_sizes(product)
    if not value:
        if unit not in sizes and unit != product.base_unit:
            to_base(Quantity(Decimal(1), unit), sizes, product)
        return _NOTHING
    return to_base(Quantity(value, unit), sizes, product)
