"""What a channel may promise, for up to 1,000 SKUs at once: every figure with its source and age, and why on demand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Final, Literal

import msgspec

from crossdock.api.answers import Answer, ApiProblem, json_answer
from crossdock.api.endpoint import Call
from crossdock.api.orders import Text
from crossdock.api.validation import deadline
from crossdock.ledger.inventory import Stockroom, read_price_group, read_stockroom
from crossdock.model.stock import ChannelAvailability
from crossdock.model.values import Quantity
from crossdock.rules.availability import (
    Promise,
    Saleable,
    Terms,
    channel_terms,
    count_promise,
    explain_availability,
)

SKUS_MAX: Final = 1_000
_NOTHING: Final = Decimal(0)
_DAY_SECONDS: Final = 86_400
_EVERYTHING: Final = Terms("", None)


class AvailabilityQuery(msgspec.Struct, frozen=True):
    """`channel` is needed only by clients of several channels; without it they get what is free, without a promise.
    `customer` is an account: its price group may have terms of its own. `explain` adds every term."""

    sku: Annotated[tuple[Text, ...], msgspec.Meta(min_length=1, max_length=SKUS_MAX)]
    channel: Text = ""
    customer: Text = ""
    explain: bool = False


class LocationAvailability(msgspec.Struct, frozen=True, gc=False):
    """`age_seconds`: since the owner `source` counted it."""

    location: str
    available: Decimal
    as_of: datetime
    source: str
    age_seconds: int
    stale: bool


class SkuAvailability(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """`available` in base units (`unit`) over the channel's locations, after safety stock; `as_of` is the oldest of
    their balances, null without any.

    `promise` is what the channel may sell, in the unit in which it lists the SKU; `backorder` what it may sell beyond
    that, deliverable on `promise_on`. Of a kit, `available` counts whole kits, and the explanation its components.
    """

    sku: str
    unit: str
    available: Decimal
    as_of: datetime | None
    locations: tuple[LocationAvailability, ...]
    promise: Quantity | None = None
    backorder: Quantity | None = None
    promise_on: date | None = None
    stale: bool = False
    explanation: ChannelAvailability | None = None


class Availability(msgspec.Struct, frozen=True, omit_defaults=True):
    """`unknown` are SKUs that are not sold. `channel` is whose promises these are; none: what is free."""

    at: datetime
    source: Literal["ledger"]
    items: tuple[SkuAvailability, ...]
    unknown: tuple[str, ...]
    channel: str = ""


def choose_asked(call: Call, asked: str) -> str:
    """The channel whose promises the caller may see; "": none in particular. Raises ApiProblem 403."""
    allowed = call.channels
    if asked:
        if (allowed is not None and asked not in allowed) or asked not in call.services.policy.channels:
            raise ApiProblem(403, "channel_not_yours", "You may not ask for this channel.", field="channel")
        return asked
    return allowed[0] if allowed is not None and len(allowed) == 1 else ""


async def show_availability(call: Call) -> Answer:
    """What may be promised of each SKU, with the age of each balance."""
    query: AvailabilityQuery = call.query
    channel = choose_asked(call, query.channel)
    skus = list(dict.fromkeys(query.sku))
    now = call.services.clock()
    async with deadline(call):
        terms = await read_terms(call, channel, query.customer)
        found = await read_items(call, skus, terms, now, explain=query.explain)
    items = tuple([item for item, _ in found])
    known = {item.sku for item in items} if len(items) < len(skus) else set(skus)
    return json_answer(Availability(now, "ledger", items, tuple([sku for sku in skus if sku not in known]), channel))


async def read_terms(call: Call, channel: str, customer: str) -> Terms:
    """The channel's terms for this customer; without a channel, those of everything that is free. Raises ApiProblem."""
    if not channel:
        return _EVERYTHING
    group: str | None = ""
    if customer:
        async with call.services.pool.acquire() as database:
            group = await read_price_group(database, customer)
    if group is None:
        raise ApiProblem(422, "customer_unknown", "There is no such customer.", field="customer")
    return channel_terms(call.services.policy, channel, group)


async def read_items(
    call: Call, skus: Sequence[str], terms: Terms, now: datetime, *, explain: bool = False
) -> list[tuple[SkuAvailability, Promise]]:
    """What is sold of these SKUs, in their order."""
    async with (call.services.by_key or call.services.pool).acquire() as database:
        room = await read_stockroom(
            database, skus, [terms.channel] if terms.channel else [], now, with_terms=explain,
            with_supply=terms.backorder_days is not None, known=call.services.known,
        )  # fmt: skip
    found = []
    for sku in skus:
        if sku in room.products:
            item = room.saleable(sku, terms.channel)
            promise = count_promise(item, terms, room.stale, now.date())
            found.append((_item(item, promise, room, terms, now, explain), promise))
    return found


def _item(
    item: Saleable, found: Promise, room: Stockroom, terms: Terms, now: datetime, explain: bool
) -> SkuAvailability:
    sku = item.sku
    locations = () if item.is_kit else _locations(item, room, terms, now)
    if not terms.channel:
        return SkuAvailability(sku, item.base_unit, found.available, found.as_of, locations, stale=found.stale)
    backorder = Quantity(found.backorder, item.base_unit) if found.backorder else None
    return SkuAvailability(
        sku, item.base_unit, found.available, found.as_of, locations, Quantity(found.quantity, item.unit), backorder,
        found.promise_on, found.stale, explain_availability(item, terms, room.stale, now) if explain else None,
    )  # fmt: skip


def _locations(item: Saleable, room: Stockroom, terms: Terms, now: datetime) -> tuple[LocationAvailability, ...]:
    """What is free at each of the channel's locations, before anything is kept back."""
    found = []
    stale = room.stale
    for place in item.parts[0][1].positions:
        if terms.locations is None or place.location in terms.locations:
            left = place.on_hand - place.quality_hold - place.damaged - place.reserved
            age = now - place.as_of
            found.append(LocationAvailability(
                place.location, left if left > 0 else _NOTHING, place.as_of, place.source,
                age.days * _DAY_SECONDS + age.seconds if age.days >= 0 else 0,
                bool(stale) and (place.source, place.location) in stale,
            ))  # fmt: skip
    return tuple(found)


__all__ = ["Availability", "AvailabilityQuery", "choose_asked", "read_items", "read_terms", "show_availability"]
