"""A promise as a sum that people can check: term by term, with source and age."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Final

from crossdock.ledger.inventory import Holder, Ordered
from crossdock.model.stock import ChannelAvailability, ComponentTerm, LocationTerm

_LABEL: Final = 34
_FIGURE: Final = 12
_AGES: Final = ((86_400, "d"), (3_600, "h"), (60, "min"))


def explain_lines(
    why: ChannelAvailability, holders: Sequence[Holder] = (), ordered: Sequence[Ordered] = ()
) -> Iterator[str]:
    """The lines of an explanation, what is on order, and who holds what of it."""
    unit = why.base_unit
    yield f"{why.sku} for {why.channel}: {number(why.promise)} {why.unit} may be promised"
    if why.status in ("blocked", "unlisted"):
        yield f"  the product is {why.status}, so nothing is"
    for place in why.locations:
        yield from _location_lines(place, "  ")
    for part in why.components:
        yield from _component_lines(part)
    if why.components:
        for location, kits in why.kits_at.items():
            yield _line("  ", f"whole kits at {location}", kits)
        yield _line("  = ", "kits, by the scarcest component", why.available)
    else:
        yield _line("  ", "at all locations", sum((place.available for place in why.locations), Decimal(0)))
        yield from _minus("  - ", "safety stock over all locations", why.safety_stock)
        yield _line("  = ", f"available ({unit})", why.available)
    if why.share_percent != 100:
        yield _line("  x ", f"share of {why.share_percent} %", why.shared)
    yield from _minus("  - ", "buffer", why.buffer)
    if why.cap is not None:
        yield _line("  <= ", "cap", why.cap)
    if why.hide_below:
        yield _line("  ", "nothing is shown below", why.hide_below)
    if why.unit_size != 1:
        yield _line("  / ", f"{unit} in one {why.unit}, whole ones", why.unit_size)
    yield _line("  = ", f"promise ({why.unit})", why.promise)
    if why.promise_on is not None:
        yield _line("  + ", f"from supply on {why.promise_on} ({unit})", why.backorder)
    yield from _ordered_lines(ordered)
    yield from _holder_lines(holders)


def _location_lines(place: LocationTerm, indent: str) -> Iterator[str]:
    age = f"{_age(place.age_seconds)} old"
    stale = ", LATE: its feed is silent" if place.stale else ""
    yield f"{indent}{place.location}: counted by {place.source or 'nobody'}, {age}{stale}"
    inner = f"{indent}  "
    yield _line(f"{inner}  ", "reported", place.reported)
    yield from _minus(f"{inner}+ ", "moved since", place.moved)
    yield from _minus(f"{inner}- ", "quality hold", place.quality_hold)
    yield from _minus(f"{inner}- ", "damaged", place.damaged)
    yield from _minus(f"{inner}- ", "reserved", place.reserved)
    yield from _minus(f"{inner}- ", "safety stock here", place.safety)
    yield from _minus(f"{inner}- ", "may have been sold meanwhile", place.shrunk)
    yield _line(f"{inner}= ", f"available at {place.location}", place.available)


def _component_lines(part: ComponentTerm) -> Iterator[str]:
    yield f"  {number(part.per_kit)} x {part.sku}"
    for place in part.locations:
        yield from _location_lines(place, "    ")
    yield from _minus("    - ", "safety stock over all locations", part.safety_stock)
    yield _line("    = ", "for kits, after the buffer", part.available)
    yield _line("    ", "enough for kits", part.kits)


def _ordered_lines(ordered: Sequence[Ordered]) -> Iterator[str]:
    if ordered:
        yield "  on order"
    for one in ordered:
        place = f"{one.purchase_order} ({one.source}) for {one.location} on {one.expected_on}"
        yield f"    {place}: {number(one.quantity)}"


def _holder_lines(holders: Sequence[Holder]) -> Iterator[str]:
    if holders:
        yield "  held by"
    for holder in holders:
        until = f", until {holder.expires_at:%Y-%m-%d %H:%M}" if holder.expires_at else ""
        where = f" at {holder.location}" if holder.location else ""
        yield f"    {holder.number} ({holder.channel}, {holder.phase}{until}): {number(holder.quantity)}{where}"


def _minus(sign: str, label: str, figure: Decimal) -> Iterator[str]:
    """A term that is left out when it is nothing."""
    if figure:
        yield _line(sign, label, figure)


def _line(sign: str, label: str, figure: Decimal) -> str:
    return f"{f'{sign}{label}':<{_LABEL + 8}}{number(figure):>{_FIGURE}}"


def number(figure: Decimal) -> str:
    return f"{figure.normalize():f}"


def _age(seconds: int) -> str:
    for size, name in _AGES:
        if seconds >= size:
            return f"{seconds // size} {name}"
    return f"{seconds} s"
