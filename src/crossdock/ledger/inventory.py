"""Read what may be promised: positions, supply and kits of many SKUs at once, as the rule of availability wants them.

One round trip for plain SKUs of which the products are known, further ones where there are kits, channels that sell
supply, or silent feeds. All of a reading comes as a few JSON documents: rows cost the driver several times as much.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from crossdock.ledger.database import Connection, Queries
from crossdock.ledger.known_products import CHANGED_MAX, KnownProducts, ProductFacts
from crossdock.rules.availability import Inbound, Position, Saleable, StaleFeeds, Stocked

_SQL: Final = Queries.load("inventory_read")
_NOTHING: Final = Decimal(0)
_ONE: Final = Decimal(1)
_DAY: Final = Decimal(86_400)


_LATE: Final = msgspec.json.Decoder(list[tuple[str, str, datetime]])
_CHANGED: Final = msgspec.json.Decoder(list[str])
_LISTED: Final = msgspec.json.Decoder(list[tuple[str, str, str, bool]])
_LEFT: Final = msgspec.json.Decoder(list[tuple[str, str, str, datetime, Decimal]])
_TERMS: Final = msgspec.json.Decoder(list[tuple[str, str, str, datetime, Decimal, Decimal, Decimal, Decimal, Decimal]])


@dataclass(frozen=True, slots=True)
class Stockroom:
    """A reading of some SKUs. `unknown` are those without a product."""

    products: dict[str, ProductFacts]
    stocked: dict[str, Stocked]
    listings: dict[tuple[str, str], tuple[str, bool]]
    stale: StaleFeeds
    unknown: tuple[str, ...]

    def saleable(self, sku: str, channel: str = "") -> Saleable:
        """The SKU as the channel lists it, in its base unit where nothing is said. Of what is not listed, or listed in
        a unit that it does not have, nothing is promised (status "unlisted")."""
        facts = self.products[sku]
        unit, listed = self.listings.get((channel, sku), (facts.base_unit, True))
        size = _ONE
        status: str = facts.status
        if unit != facts.base_unit:
            found = next((pack.base_quantity for pack in facts.packs if pack.unit == unit), None)
            size = found or _ONE
            listed = listed and found is not None
        if not listed:
            status = "unlisted"
        if facts.components:
            parts = tuple([(part.quantity, self._part(part.sku)) for part in facts.components])
            return Saleable(sku, facts.base_unit, unit, parts, size, is_kit=True, status=status)
        return Saleable(sku, facts.base_unit, unit, ((_ONE, self.stocked[sku]),), size, status=status)

    def _part(self, sku: str) -> Stocked:
        """A component that is unknown, or a kit itself, is never there."""
        return self.stocked.get(sku) or Stocked(sku, "C62")


async def read_stockroom(
    connection: Connection, skus: Sequence[str], channels: Sequence[str], now: datetime, *, with_terms: bool = False,
    with_supply: bool = False, known: KnownProducts | None = None,
) -> Stockroom:  # fmt: skip
    """Read up to some thousand SKUs. `with_terms`: for explanations, every figure by itself; `with_supply`: what
    purchase orders bring and orders wait for. `known` keeps products from one reading to the next."""
    found = _Found({}, {}, {}, {}, KnownProducts() if known is None else known)
    await _read(connection, skus, channels, now, with_terms, found)
    unknown = tuple([sku for sku in skus if sku not in found.products])
    parts = {part.sku for facts in found.products.values() for part in facts.components} - found.products.keys()
    if parts:
        await _read(connection, sorted(parts), (), now, with_terms, found)
    products = found.products
    plain = [sku for sku, facts in products.items() if not facts.components]
    inbound: dict[str, list[Inbound]] = {}
    waiting: dict[str, Decimal] = {}
    speeds: dict[str, Decimal] = {}
    if with_supply:
        for row in await connection.fetch(_SQL["read_inbound"], plain):
            inbound.setdefault(row[0], []).append(Inbound(row[1], row[2], row[3]))
        waiting = dict(await connection.fetch(_SQL["read_waiting"], plain))
    if found.stale:
        speeds = dict(await connection.fetch(_SQL["read_speeds"], plain))
    stocked = {
        sku: Stocked(
            sku, products[sku].base_unit, tuple(found.positions.get(sku, ())), products[sku].safety_stock,
            speeds.get(sku, _NOTHING), tuple(inbound.get(sku, ())), waiting.get(sku, _NOTHING),
        )
        for sku in plain
    }  # fmt: skip
    return Stockroom(products, stocked, found.listings, found.stale, unknown)


@dataclass(frozen=True, slots=True)
class _Found:
    products: dict[str, ProductFacts]
    positions: dict[str, list[Position]]
    listings: dict[tuple[str, str], tuple[str, bool]]
    stale: dict[tuple[str, str], Decimal]
    known: KnownProducts


async def _read(
    connection: Connection, skus: Sequence[str], channels: Sequence[str], now: datetime, with_terms: bool, found: _Found
) -> None:
    since = found.known.since
    name = "read_positions" if with_terms else "read_left"
    version, changed, stale, listings, positions = await connection.fetchrow(
        _SQL[name], list(skus), list(channels), since, CHANGED_MAX + 1
    )
    found.known.catch_up(version, since, _CHANGED.decode(changed) if changed is not None else ())
    products = found.known.find(skus)
    if len(products) < len(skus):
        rows = await connection.fetch(_SQL["read_products"], [sku for sku in skus if sku not in products])
        if rows:
            products |= found.known.learn(rows[0][2], ((row[0], row[1]) for row in rows))
    found.products.update(products)
    if stale is not None:
        for source, location, heard_at in _LATE.decode(stale):
            found.stale[source, location] = Decimal(max(int((now - heard_at).total_seconds()), 0)) / _DAY
    if listings is not None:
        for channel, sku, unit, listed in _LISTED.decode(listings):
            found.listings[channel, sku] = (unit, listed)
    if positions is None:
        return
    places = found.positions
    if with_terms:
        for sku, place, owner, as_of, reported, on_hand, held, damaged, reserved in _TERMS.decode(positions):
            places.setdefault(sku, []).append(
                Position(place, owner, as_of, reported, on_hand, held, damaged, reserved)
            )
        return
    for sku, location, source, as_of, left in _LEFT.decode(positions):
        position = Position(location, source, as_of, left, left, _NOTHING, _NOTHING, _NOTHING)
        at = places.get(sku)
        if at is None:
            places[sku] = [position]
        else:
            at.append(position)


async def read_price_group(connection: Connection, customer: str) -> str | None:
    """The customer's price group, "" without one; None: there is no such customer."""
    row = await connection.fetchrow(_SQL["read_group"], customer)
    return (row[0] or "") if row is not None else None


class Holder(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who holds some of a SKU. `phase`: reserved (a cart, until `expires_at`), committed (an order whose goods have not
    left), waiting (an order, for supply)."""

    phase: str
    number: str
    channel: str
    line: str
    location: str
    quantity: Decimal
    state: str = ""
    expires_at: datetime | None = None


async def read_holders(connection: Connection, sku: str, limit: int = 50) -> list[Holder]:
    """The newest ones first."""
    return [_holder(row) for row in await connection.fetch(_SQL["read_holders"], sku, limit)]


class Ordered(msgspec.Struct, frozen=True):
    """What a purchase order will still bring, and who says so."""

    purchase_order: str
    location: str
    quantity: Decimal
    expected_on: date
    source: str
    as_of: datetime


async def read_ordered(connection: Connection, sku: str, limit: int = 50) -> list[Ordered]:
    """The next to come first."""
    return [Ordered(*row) for row in await connection.fetch(_SQL["read_ordered"], sku, limit)]


def _holder(row: Any) -> Holder:
    if row["reservation"] is not None:
        return Holder(
            "reserved", row["reservation"], row["hold_channel"], row["line"], row["location"], row["quantity"],
            "reserved", row["expires_at"],
        )  # fmt: skip
    phase = "committed" if row["location"] else "waiting"
    return Holder(
        phase, row["number"] or "", row["channel"] or "", row["line"], row["location"], row["quantity"],
        row["state"] or "",
    )  # fmt: skip
