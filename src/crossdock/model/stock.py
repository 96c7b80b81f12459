"""Stock documents: balances by their owners, movements, inbound supply, holds of carts, availability with its terms."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Literal

import msgspec

from crossdock.model.values import Quantity

MovementKind = Literal["departure", "commitment", "cancellation", "receipt", "adjustment"]


class LotBalance(msgspec.Struct, frozen=True, omit_defaults=True):
    """A lot or a serial number at a place, where the source tells them. `quantity` is in the balance's unit."""

    lot: str
    quantity: Decimal
    serial: str = ""
    expires_on: date | None = None


class InventoryBalance(msgspec.Struct, frozen=True, omit_defaults=True):
    """An absolute report on a SKU at a location at `as_of` (by the reporter's clock), in any unit the product has.

    `on_hand` is everything that is physically there, `quality_hold` and `damaged` are the parts of it that may not be
    sold; `in_transit` is on its way here from another location and not in `on_hand`.
    """

    sku: str
    location: str
    on_hand: Quantity
    as_of: datetime
    quality_hold: Decimal = Decimal(0)
    damaged: Decimal = Decimal(0)
    in_transit: Decimal = Decimal(0)
    lots: tuple[LotBalance, ...] = ()


class StockMovement(msgspec.Struct, frozen=True, omit_defaults=True):
    """A delta with its own key: unique by (connection, key, SKU, location). Negative when goods left."""

    key: str
    sku: str
    location: str
    quantity: Quantity
    at: datetime
    kind: MovementKind = "adjustment"


class InboundSupply(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a purchase order's line will still bring; zero when all of it came or it was cancelled."""

    purchase_order: str
    line: str
    sku: str
    location: str
    quantity: Quantity
    expected_on: date


class LocationTerm(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one location adds to a promise, in base units, and how old the owner's figure is.

    `on_hand` is the owner's figure plus the movements that it does not contain; `available` is on_hand - quality_hold -
    damaged - reserved - safety - shrunk, not below zero. `shrunk` is what a stale feed may have lost.
    """

    location: str
    source: str
    as_of: datetime
    reported: Decimal
    moved: Decimal
    on_hand: Decimal
    quality_hold: Decimal
    damaged: Decimal
    reserved: Decimal
    safety: Decimal
    shrunk: Decimal
    available: Decimal
    age_seconds: int
    stale: bool = False


class ComponentTerm(msgspec.Struct, frozen=True, omit_defaults=True):
    """A component of a kit: `available` after its safety stock and the channel's buffer; `kits` is for how many kits
    that is enough, over all locations."""

    sku: str
    per_kit: Decimal
    available: Decimal
    kits: Decimal
    safety_stock: Decimal = Decimal(0)
    locations: tuple[LocationTerm, ...] = ()


class ChannelAvailability(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a channel may promise of a SKU, with every term. `promise` is in `unit`; all else in the base unit.

    available = sum of locations - safety_stock; shared = available x share; then - buffer, <= cap, 0 when below
    hide_below, down to whole units of `unit` where it is indivisible. `backorder` is what may be sold beyond it, from
    inbound supply due on `promise_on`. `unit_size`: base units in one `unit`.

    Of a kit, `components` say what there is, and `kits_at` how many can be packed at each location; the buffer counts
    at the components, so it is zero here.
    """

    sku: str
    channel: str
    unit: str
    promise: Decimal
    available: Decimal
    shared: Decimal
    buffer: Decimal
    cap: Decimal | None
    hide_below: Decimal
    backorder: Decimal
    promise_on: date | None
    as_of: datetime | None
    stale: bool
    locations: tuple[LocationTerm, ...] = ()
    components: tuple[ComponentTerm, ...] = ()
    kits_at: dict[str, Decimal] = {}
    safety_stock: Decimal = Decimal(0)
    share_percent: int = 100
    unit_size: Decimal = Decimal(1)
    base_unit: str = ""
    status: str = "active"


class StockFigure(msgspec.Struct, frozen=True):
    """What a channel is told: it may sell `quantity` of `unit`. `version` grows with every change of the figure.

    The figure contains what was committed here before `as_of`; orders of the channel that we had not confirmed by then
    may not be in it, so a channel that can do that takes them off again.
    """

    sku: str
    unit: str
    quantity: Decimal
    version: int
    promise_on: date | None = None
    as_of: datetime | None = None


class HeldLine(msgspec.Struct, frozen=True):
    """A line of a cart's hold: `quantity` as asked, `sources` location -> base units (of a kit: whole kits)."""

    sku: str
    quantity: Quantity
    sources: dict[str, Decimal]
    line: str = ""


class Reservation(msgspec.Struct, frozen=True, omit_defaults=True):
    """Stock held for a cart. reserved: until `expires_at`; committed: an `order` has it; contained: the owners'
    balances have it, or it has left; released and expired: it is free again."""

    reservation: str
    state: Literal["reserved", "committed", "contained", "released", "expired"]
    channel: str
    lines: tuple[HeldLine, ...]
    created_at: datetime
    expires_at: datetime
    ended_at: datetime | None = None
    order: str = ""
