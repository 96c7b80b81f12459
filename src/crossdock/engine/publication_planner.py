"""What every channel should show: counted anew for each SKU of which something changed.

Changes come as rows that triggers write, so no path that touches stock can forget one. A round takes many, counts each
SKU once for every channel that is told, and writes only the figures that differ: a SKU that changed a hundred times
since the last round is one figure.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import asyncpg
import msgspec
import structlog

from crossdock.engine.ports import Clock
from crossdock.ledger import publications as ledger
from crossdock.ledger import stock_stream
from crossdock.ledger.inventory import Stockroom, read_stockroom
from crossdock.ledger.known_products import KnownProducts
from crossdock.ledger.publications import Change, Wanted
from crossdock.policy.policy import Policy
from crossdock.policy.stock import ChannelStock
from crossdock.rules.availability import Terms, channel_terms, count_promise
from crossdock.rules.publish import counts_for_itself, divide, urgency_of

NEWEST: Final = 800
OLDEST: Final = 200
BREATH: Final = 100
# A silent place loses more with every hour, so what it still promises is counted again and again.
STALE_SECONDS: Final = 60.0
_NOTHING: Final = Decimal(0)
_log: Final = structlog.get_logger("crossdock.engine.publication_planner")


class PublicationPlanner:
    """Every worker has one; a lock in the ledger lets one work at a time."""

    def __init__(
        self, pool: asyncpg.Pool[Any], policy: Policy, channels: Sequence[str], clock: Clock,
        announce: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._pool = pool
        self._policy = policy
        self._clock = clock
        self._announce = announce
        self._channels = [
            (channel, channel_terms(policy, channel), policy.stock.terms_of(channel)) for channel in channels
        ]
        self._divided = policy.stock.divided()
        self._with_supply = any(terms.backorder_days is not None for _, terms, _ in self._channels)
        self._known = KnownProducts()
        self._stale: frozenset[tuple[str, str]] = frozenset()
        self._stale_counted_at: datetime | None = None

    async def count_changes(self) -> int:
        """One round; return how many changes it took."""
        async with self._pool.acquire() as connection:
            if not await ledger.has_changes(connection):
                return 0
            async with connection.transaction():
                if not await ledger.lock_planner(connection):
                    return 0
                # Taken before anything is read: the figures contain at least what was committed until now.
                now = self._clock()
                changes = await ledger.take_changes(connection, NEWEST, OLDEST)
                due = await self._count(connection, changes, now) if self._channels else {}
        for channel in due:
            self._announce(channel)
        return len(changes)

    async def watch_stale(self) -> None:
        """Places that fell silent or came back are counted anew, silent ones from time to time."""
        now = self._clock()
        async with self._pool.acquire() as connection:
            await stock_stream.trim(connection)
            stale = await ledger.read_stale(connection)
            turned = stale ^ self._stale
            if turned:
                await ledger.recount_places(connection, sorted(turned), selling=False)
                _log.info("places_turned", silent=sorted(stale))
            counted_at = self._stale_counted_at
            if stale and (counted_at is None or (now - counted_at).total_seconds() >= STALE_SECONDS):
                zero_after = self._policy.stock.freshness.zero_after_hours > 0
                await ledger.recount_places(connection, sorted(stale), selling=not zero_after)
                self._stale_counted_at = now
        self._stale = stale

    async def _count(self, connection: Any, changes: Sequence[Change], now: datetime) -> Mapping[str, int]:
        owner_times = _owner_times(changes)
        for kit, components in (await ledger.find_kits(connection, sorted(owner_times))).items():
            for component in components:
                if component in owner_times:
                    owner_times[kit] = _earlier(owner_times.get(kit), owner_times[component])
        again = {(change.channel, change.sku) for change in changes if change.channel}
        channels = [channel for channel, _, _ in self._channels]
        room = await read_stockroom(
            connection, list(owner_times), channels, now, with_supply=self._with_supply, known=self._known
        )
        divided = sorted(channel for group in self._divided for channel in group)
        exposed = await ledger.read_exposed(connection, list(owner_times), divided) if divided else {}
        wanted: list[Wanted] = []
        for place, (sku, owner_at) in enumerate(owner_times.items(), start=1):
            if sku in room.products:
                wanted += self._divide(room, sku, exposed, [
                    _want(room, sku, channel, terms, stock, owner_at, now, again=(channel, sku) in again)
                    for channel, terms, stock in self._channels
                ])  # fmt: skip
            if place % BREATH == 0:
                # The worker's other tasks have their turn.
                await asyncio.sleep(0)
        return await ledger.place_wanted(connection, wanted, now)


    def _divide(
        self, room: Stockroom, sku: str, exposed: Mapping[tuple[str, str], Decimal], wanted: Sequence[Wanted]
    ) -> list[Wanted]:
        """Where channels share stock out between them, none is told what another may still be showing: one that does
        not answer keeps what it was told last, and the others go on with the rest."""
        found = list(wanted)
        for group in self._divided:
            most = {channel: exposed.get((sku, channel), _NOTHING) for channel in group}
            for place, row in enumerate(found):
                item = room.saleable(sku, row.channel) if row.channel in group else None
                if item is None or item.is_kit:
                    continue
                others = sum((most[channel] for channel in group if channel != row.channel), _NOTHING)
                quantity = divide(row.quantity, item, row.available, others)
                found[place] = msgspec.structs.replace(row, quantity=quantity, base=quantity * item.unit_size)
                most[row.channel] = max(most[row.channel], found[place].base)
        return found


def _want(
    room: Stockroom, sku: str, channel: str, terms: Terms, stock: ChannelStock, owner_at: datetime | None,
    now: datetime, *, again: bool,
) -> Wanted:  # fmt: skip
    item = room.saleable(sku, channel)
    promise = count_promise(item, terms, room.stale, now.date())
    quantity, promise_on = promise.quantity, None
    if promise.backorder > 0 and promise.promise_on is not None:
        quantity += promise.backorder // item.unit_size
        promise_on = promise.promise_on
    # Where no owner ever reported anything, nothing is known, and nothing is told.
    known = promise.as_of is not None or quantity > 0
    return Wanted(
        channel, sku, item.unit, quantity, promise_on, urgency_of(item, promise, stock), owner_at,
        again or counts_for_itself(item, promise, terms), offered=known and item.status != "unlisted",
        base=quantity * item.unit_size, available=promise.available,
    )  # fmt: skip


def _owner_times(changes: Sequence[Change]) -> dict[str, datetime | None]:
    """SKU -> the oldest owner's commit among its changes."""
    found: dict[str, datetime | None] = {}
    for change in changes:
        found[change.sku] = _earlier(found.get(change.sku), change.owner_at)
    return found


def _earlier(one: datetime | None, other: datetime | None) -> datetime | None:
    return other if one is None else one if other is None else min(one, other)

