"""Availability: what a channel may promise of a SKU, and why. One arithmetic for everyone who asks.

`count_promise` answers the figures only, for bulk work; `explain_availability` answers them with every term. Both are
pure and go through the same functions. Quantities are base units until the end, where the listing's unit comes in.

A plain SKU is a kit of one of itself. A kit is packed at one location, so its kits are counted location by location;
safety stock over all locations, and the channel's buffer, guard its components, as these are also sold alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Final

import msgspec

from crossdock.model.codes import UNIT_DECIMALS
from crossdock.model.stock import ChannelAvailability, ComponentTerm, LocationTerm
from crossdock.policy.policy import Policy

_NOTHING: Final = Decimal(0)
_ONE: Final = Decimal(1)
_HUNDRED: Final = Decimal(100)
_STEPS: Final = tuple(Decimal(1).scaleb(-digits) for digits in range(7))

StaleFeeds = Mapping[tuple[str, str], Decimal]
"""(source, location) -> days since it was heard of, only of feeds that are late against their own rhythm."""


class Position(msgspec.Struct, frozen=True, gc=False):
    """A SKU at a location as the ledger has it, in base units. `on_hand` is the owner's `reported` figure plus the
    movements that it does not contain."""

    location: str
    source: str
    as_of: datetime
    reported: Decimal
    on_hand: Decimal
    quality_hold: Decimal
    damaged: Decimal
    reserved: Decimal


class Inbound(msgspec.Struct, frozen=True, gc=False):
    """What a purchase order still brings to a location."""

    location: str
    quantity: Decimal
    expected_on: date


class Stocked(msgspec.Struct, frozen=True, gc=False):
    """A SKU that has stock. `waiting` is what orders wait for, `sold_per_day` how fast it goes."""

    sku: str
    base_unit: str
    positions: tuple[Position, ...] = ()
    safety_stock: Decimal = _NOTHING
    sold_per_day: Decimal = _NOTHING
    inbound: tuple[Inbound, ...] = ()
    waiting: Decimal = _NOTHING


class Saleable(msgspec.Struct, frozen=True, gc=False):
    """What is sold: a SKU in a unit of `unit_size` base units, made of `parts` (base units of each per base unit)."""

    sku: str
    base_unit: str
    unit: str
    parts: tuple[tuple[Decimal, Stocked], ...]
    unit_size: Decimal = _ONE
    is_kit: bool = False
    status: str = "active"


class Terms(msgspec.Struct, frozen=True):
    """What policy says about a channel, or a customer group of it, ready to be counted with."""

    channel: str
    locations: frozenset[str] | None
    share_percent: int = 100
    buffer: Decimal = _NOTHING
    cap: Decimal | None = None
    hide_below: Decimal = _NOTHING
    backorder_days: int | None = None
    safety: Mapping[str, Decimal] = {}
    caution: Decimal = _ONE
    zero_after_days: Decimal = _NOTHING


class Promise(msgspec.Struct, frozen=True, gc=False):
    """`quantity` in the listing's unit; in base units `available` (before share, buffer and cap) and `backorder`, which
    is due on `promise_on`. `as_of` is the oldest of the figures that it was counted from."""

    quantity: Decimal
    available: Decimal
    backorder: Decimal
    promise_on: date | None
    as_of: datetime | None
    stale: bool


def channel_terms(policy: Policy, channel: str, group: str = "") -> Terms:
    """The terms of a channel. Without locations of its own it sells from all that serve a region (or, where no
    sourcing is configured, from all there are)."""
    stock = policy.stock
    found = stock.terms_of(channel, group)
    serving = {location for locations in policy.sourcing.preference.values() for location in locations}
    locations = frozenset(found.locations or serving)
    return Terms(
        channel, locations or None, found.share_percent, found.buffer, found.cap, found.hide_below,
        found.backorder_days if found.backorder == "inbound" else None, stock.safety, stock.freshness.caution,
        stock.freshness.zero_after_hours / 24,
    )  # fmt: skip


def count_promise(item: Saleable, terms: Terms, stale: StaleFeeds, today: date) -> Promise:
    """The figures alone."""
    if not item.is_kit and not stale and terms.backorder_days is None:
        return _count_plain(item, terms)
    counted = []
    as_of = None
    late = False
    for _, stocked in item.parts:
        places: dict[str, Decimal] = {}
        whole = not UNIT_DECIMALS.get(stocked.base_unit, 0)
        for position in stocked.positions:
            if terms.locations is None or position.location in terms.locations:
                places[position.location] = _count_at(position, terms, stale, stocked.sold_per_day, whole)[2]
                if as_of is None or position.as_of < as_of:
                    as_of = position.as_of
                if stale and (position.source, position.location) in stale:
                    late = True
        counted.append(places)
    available = _combine(item, terms, counted)
    quantity, _ = _offer(item, terms, available)
    backorder, promise_on = _NOTHING, None
    if terms.backorder_days is not None:
        backorder, promise_on = _count_backorder(item, terms, quantity, counted, today)
    return Promise(quantity, available, backorder, promise_on, as_of, late)


def _count_plain(item: Saleable, terms: Terms) -> Promise:
    """The same for what most are: one SKU, no silent place, nothing promised from supply."""
    stocked = item.parts[0][1]
    whole = not UNIT_DECIMALS.get(stocked.base_unit, 0)
    available = -stocked.safety_stock
    as_of = None
    for position in stocked.positions:
        if terms.locations is None or position.location in terms.locations:
            left = _left_at(position)
            if terms.safety:
                left -= terms.safety.get(position.location, _NOTHING)
            if left > 0:
                available += left.quantize(_ONE, ROUND_FLOOR) if whole else left
            if as_of is None or position.as_of < as_of:
                as_of = position.as_of
    if available <= 0:
        available = _NOTHING
    return Promise(_offer(item, terms, available)[0], available, _NOTHING, None, as_of, False)


def _left_at(position: Position) -> Decimal:
    """What is free at a location, before anything is kept back; mostly nothing is held."""
    left = position.on_hand
    if position.quality_hold:
        left -= position.quality_hold
    if position.damaged:
        left -= position.damaged
    if position.reserved:
        left -= position.reserved
    return left


def explain_availability(item: Saleable, terms: Terms, stale: StaleFeeds, now: datetime) -> ChannelAvailability:
    """The same figures with every term that they are made of."""
    by_part = []
    counted = []
    for _, stocked in item.parts:
        found = _explain_locations(stocked, terms, stale, now)
        by_part.append(found)
        counted.append({term.location: term.available for term in found})
    available = _combine(item, terms, counted)
    quantity, shared = _offer(item, terms, available)
    backorder, promise_on = _NOTHING, None
    if terms.backorder_days is not None:
        backorder, promise_on = _count_backorder(item, terms, quantity, counted, now.date())
    all_terms = [term for found in by_part for term in found]
    kit = item.is_kit
    return ChannelAvailability(
        item.sku, terms.channel, item.unit, quantity, available, shared, _NOTHING if kit else terms.buffer, terms.cap,
        terms.hide_below, backorder, promise_on, min((term.as_of for term in all_terms), default=None),
        any(term.stale for term in all_terms), () if kit else tuple(by_part[0]),
        _explain_components(item, terms, counted, by_part) if kit else (), _kits_at(item, counted) if kit else {},
        _NOTHING if kit else item.parts[0][1].safety_stock, terms.share_percent, item.unit_size, item.base_unit,
        item.status,
    )  # fmt: skip


def _count_at(
    position: Position, terms: Terms, stale: StaleFeeds, sold_per_day: Decimal, whole: bool
) -> tuple[Decimal, Decimal, Decimal]:
    """(safety, shrunk, available) at one location."""
    safety = terms.safety.get(position.location, _NOTHING)
    left = position.on_hand - position.quality_hold - position.damaged - position.reserved - safety
    shrunk = _NOTHING
    if stale:
        silent_days = stale.get((position.source, position.location))
        if silent_days is not None and left > 0:
            shrunk = _shrink(left, silent_days, sold_per_day, terms)
            left -= shrunk
    if left <= 0:
        return safety, shrunk, _NOTHING
    return safety, shrunk, left.quantize(_ONE, ROUND_FLOOR) if whole else left


def _shrink(left: Decimal, silent_days: Decimal, sold_per_day: Decimal, terms: Terms) -> Decimal:
    """What a silent place may have lost, in whole base units, for it is a guess: all that the SKU sells in a day may
    have gone there. So a channel is told it anew only when another unit may have gone."""
    if terms.zero_after_days and silent_days >= terms.zero_after_days:
        return left
    return min((sold_per_day * silent_days * terms.caution).to_integral_value(ROUND_CEILING), left)


def _combine(
    item: Saleable, terms: Terms, counted: Sequence[Mapping[str, Decimal]], with_waiting: bool = False
) -> Decimal:
    """Base units of the item that there are, over all locations; `with_waiting`: after the orders that wait."""
    if not item.is_kit:
        stocked = item.parts[0][1]
        available = sum(counted[0].values(), _NOTHING) - stocked.safety_stock
        if with_waiting:
            available -= stocked.waiting
        return available if available > 0 else _NOTHING
    packed = sum(_kits_at(item, counted).values(), _NOTHING)
    for (per_kit, stocked), places in zip(item.parts, counted, strict=True):
        guarded = _guarded(stocked, terms, places)
        if with_waiting:
            guarded = max(guarded - stocked.waiting, _NOTHING)
        packed = min(packed, _kits_of(guarded, per_kit))
    return packed


def _guarded(stocked: Stocked, terms: Terms, places: Mapping[str, Decimal]) -> Decimal:
    """What of a component may go into kits: its safety stock and the channel's buffer stay."""
    left = sum(places.values(), _NOTHING) - stocked.safety_stock - terms.buffer
    return left if left > 0 else _NOTHING


def _kits_of(available: Decimal, per_kit: Decimal) -> Decimal:
    return available // per_kit


def _kits_at(item: Saleable, counted: Sequence[Mapping[str, Decimal]]) -> dict[str, Decimal]:
    """Location -> how many kits its own components are enough for."""
    found: dict[str, Decimal] = {}
    for location in sorted({location for places in counted for location in places}):
        found[location] = min(
            _kits_of(places.get(location, _NOTHING), per_kit)
            for (per_kit, _), places in zip(item.parts, counted, strict=True)
        )
    return found


def _offer(item: Saleable, terms: Terms, available: Decimal) -> tuple[Decimal, Decimal]:
    """(promise in the listing's unit, shared)."""
    shared = available if terms.share_percent == 100 else available * terms.share_percent / _HUNDRED
    if item.status in ("blocked", "unlisted"):
        return _NOTHING, shared
    left = shared if item.is_kit else shared - terms.buffer
    if terms.cap is not None and left > terms.cap:
        left = terms.cap
    if left <= 0 or left < terms.hide_below:
        return _NOTHING, shared
    return _in_units(left, item), shared


def _in_units(quantity: Decimal, item: Saleable) -> Decimal:
    """Down to what the unit allows: no fraction of a case."""
    decimals = UNIT_DECIMALS.get(item.unit, 0)
    if not decimals:
        return quantity // item.unit_size
    return (quantity / item.unit_size).quantize(_STEPS[decimals], ROUND_FLOOR)


def _count_backorder(
    item: Saleable, terms: Terms, quantity: Decimal, counted: Sequence[Mapping[str, Decimal]], today: date
) -> tuple[Decimal, date | None]:
    """What the first delivery brings that makes more of the item possible, after those who wait already: how much, and
    when. Overdue deliveries count for nothing: nobody knows when they come."""
    if item.status != "active" or terms.backorder_days is None:
        return _NOTHING, None
    until = today + timedelta(days=terms.backorder_days)
    coming = [[one for one in stocked.inbound if _counts(one, terms, today, until)] for _, stocked in item.parts]
    for due in sorted({one.expected_on for part in coming for one in part}):
        then = [
            _count_then(stocked, places, [one for one in part if one.expected_on <= due])
            for (_, stocked), places, part in zip(item.parts, counted, coming, strict=True)
        ]  # fmt: skip
        beyond = _offer(item, terms, _combine(item, terms, then, with_waiting=True))[0] - quantity
        if beyond > 0:
            return beyond * item.unit_size, due
    return _NOTHING, None


def _counts(one: Inbound, terms: Terms, today: date, until: date) -> bool:
    return today <= one.expected_on <= until and (terms.locations is None or one.location in terms.locations)


def _count_then(stocked: Stocked, places: Mapping[str, Decimal], arrived: Sequence[Inbound]) -> dict[str, Decimal]:
    """What there will be: a location that has promised more than it has needs its delivery for that first."""
    then = dict(places)
    for position in stocked.positions:
        if position.location in places:
            left = position.on_hand - position.quality_hold - position.damaged - position.reserved
            then[position.location] += min(left, _NOTHING)
    for one in arrived:
        then[one.location] = then.get(one.location, _NOTHING) + one.quantity
    return {location: max(quantity, _NOTHING) for location, quantity in then.items()}


def _explain_locations(stocked: Stocked, terms: Terms, stale: StaleFeeds, now: datetime) -> list[LocationTerm]:
    whole = not UNIT_DECIMALS.get(stocked.base_unit, 0)
    found = []
    for position in stocked.positions:
        if terms.locations is not None and position.location not in terms.locations:
            continue
        safety, shrunk, available = _count_at(position, terms, stale, stocked.sold_per_day, whole)
        found.append(LocationTerm(
            position.location, position.source, position.as_of, position.reported,
            position.on_hand - position.reported, position.on_hand, position.quality_hold, position.damaged,
            position.reserved, safety, shrunk, available, max(int((now - position.as_of).total_seconds()), 0),
            (position.source, position.location) in stale,
        ))  # fmt: skip
    return found


def _explain_components(
    item: Saleable, terms: Terms, counted: Sequence[Mapping[str, Decimal]], by_part: Sequence[Sequence[LocationTerm]]
) -> tuple[ComponentTerm, ...]:
    found = []
    for (per_kit, stocked), places, location_terms in zip(item.parts, counted, by_part, strict=True):
        guarded = _guarded(stocked, terms, places)
        found.append(ComponentTerm(
            stocked.sku, per_kit, guarded, _kits_of(guarded, per_kit), stocked.safety_stock, tuple(location_terms)
        ))  # fmt: skip
    return tuple(found)
