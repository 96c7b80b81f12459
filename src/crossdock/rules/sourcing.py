"""Sourcing: from which locations an order is served.

One location that serves the whole order is best; else each line from one location; else a line from several, each in
the order of preference. Nothing is taken twice: lines of the same product share what is there. Indivisible units stay
whole, and each kit is packed at one location.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import ROUND_FLOOR, Decimal
from typing import Final

import msgspec

from crossdock.model.documents import Component
from crossdock.model.orders import Allocation, FulfilmentPolicy

_NOTHING: Final = Decimal(0)
_WHOLE: Final = Decimal(1)

Available = Mapping[tuple[str, str], Decimal]
"""(SKU, location) -> base units that may be promised."""


class Need(msgspec.Struct, frozen=True, gc=False):
    """What a line needs, in base units; of a kit, its `components`."""

    line: str
    sku: str
    quantity: Decimal
    indivisible: bool = True
    components: tuple[Component, ...] = ()


class Source(msgspec.Struct, frozen=True, gc=False):
    """Where a line comes from; what is nowhere is `backordered`."""

    allocations: tuple[Allocation, ...]
    backordered: Decimal = _NOTHING


def choose_sources(
    needs: Sequence[Need], available: Available, preference: Sequence[str], fulfilment: FulfilmentPolicy
) -> list[Source]:
    """Choose for every need, in the order given.

    "split" and "complete" take what is there and leave the rest; whether a complete order with a rest is held is the
    caller's decision. "backorder" gives a line whole or not at all.
    """
    whole = _find_whole(needs, available, preference)
    if whole is not None:
        return [Source((Allocation(whole, need.quantity),)) for need in needs]
    taken: dict[tuple[str, str], Decimal] = {}
    return [_choose_for_line(need, available, preference, fulfilment, taken) for need in needs]


def _find_whole(needs: Sequence[Need], available: Available, preference: Sequence[str]) -> str | None:
    wanted: dict[str, Decimal] = {}
    for need in needs:
        if need.components:
            for part in need.components:
                wanted[part.sku] = wanted.get(part.sku, _NOTHING) + need.quantity * part.quantity
            continue
        sku = need.sku
        wanted[sku] = wanted[sku] + need.quantity if sku in wanted else need.quantity
    for location in preference:
        for sku, quantity in wanted.items():
            if available.get((sku, location), _NOTHING) < quantity:
                break
        else:
            return location
    return None


def _choose_for_line(
    need: Need, available: Available, preference: Sequence[str], fulfilment: FulfilmentPolicy,
    taken: dict[tuple[str, str], Decimal],
) -> Source:  # fmt: skip
    there: list[tuple[str, Decimal]] = []
    for location in preference:
        left = _left_at(need, location, available, taken)
        if left >= need.quantity:
            _take(need, location, need.quantity, taken)
            return Source((Allocation(location, need.quantity),))
        if left > 0:
            there.append((location, left))
    rest = need.quantity
    if fulfilment == "backorder" and sum((left for _, left in there), _NOTHING) < rest:
        return Source((), rest)
    allocations = []
    for location, left in there:
        quantity = min(left, rest)
        if quantity > 0:
            _take(need, location, quantity, taken)
            allocations.append(Allocation(location, quantity))
            rest -= quantity
    return Source(tuple(allocations), rest)


def _left_at(
    need: Need, location: str, available: Available, taken: Mapping[tuple[str, str], Decimal]
) -> Decimal:
    if need.components:
        return min(
            (available.get((part.sku, location), _NOTHING) - taken.get((part.sku, location), _NOTHING)) // part.quantity
            for part in need.components
        )
    key = (need.sku, location)
    left = available.get(key, _NOTHING) - taken.get(key, _NOTHING)
    return left.quantize(_WHOLE, ROUND_FLOOR) if need.indivisible else left


def _take(need: Need, location: str, quantity: Decimal, taken: dict[tuple[str, str], Decimal]) -> None:
    parts = [(part.sku, part.quantity * quantity) for part in need.components] or [(need.sku, quantity)]
    for sku, base in parts:
        taken[sku, location] = taken.get((sku, location), _NOTHING) + base
