"""What every channel should show: counted anew for each SKU of which something changed.

Changes come as rows that triggers write, so no path that touches stock can forget one. A round takes many, counts each
SKU once for every channel that is told, and writes only the figures that differ: a SKU that changed a hundred times
since the last round is one figure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import asyncpg
import structlog

from crossdock.engine.ports import Clock
from crossdock.ledger import publications as ledger
from crossdock.ledger.inventory import Stockroom, read_stockroom
from crossdock.ledger.publications import Change, Wanted
from crossdock.policy.policy import Policy
from crossdock.rules.availability import Terms, channel_terms, count_promise
from crossdock.rules.publish import counts_for_itself, urgency_of

NEWEST: Final = 800
OLDEST: Final = 200
# A silent place loses more with every hour, so what it still promises is counted again and again.
STALE_SECONDS: Final = 60.0
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
        self._terms: Mapping[str, Terms] = {channel: channel_terms(policy, channel) for channel in channels}
        self._with_supply = any(terms.backorder_days is not None for terms in self._terms.values())
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
                due = await self._count(connection, changes, now) if self._terms else {}
        for channel in due:
            self._announce(channel)
        return len(changes)

    async def watch_stale(self) -> None:
        """Places that fell silent or came back are counted anew, silent ones from time to time."""
        now = self._clock()
        async with self._pool.acquire() as connection:
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
        channels = list(self._terms)
        room = await read_stockroom(connection, list(owner_times), channels, now, with_supply=self._with_supply)
        wanted = [
            found
            for sku, owner_at in owner_times.items() if sku in room.products
            for channel in channels
            if (found := self._want(room, sku, channel, owner_at, now)) is not None
        ]  # fmt: skip
        marked = [_marked(row, again) for row in wanted]
        return await ledger.place_wanted(connection, marked, now)

    def _want(
        self, room: Stockroom, sku: str, channel: str, owner_at: datetime | None, now: datetime
    ) -> Wanted | None:
        item = room.saleable(sku, channel)
        terms, stock = self._terms[channel], self._policy.stock.terms_of(channel)
        promise = count_promise(item, terms, room.stale, now.date())
        quantity, promise_on = promise.quantity, None
        if promise.backorder > 0 and promise.promise_on is not None:
            quantity += promise.backorder // item.unit_size
            promise_on = promise.promise_on
        again = counts_for_itself(item, promise, terms)
        # Where no owner ever reported anything, nothing is known, and nothing is told.
        known = promise.as_of is not None or quantity > 0
        return Wanted(
            channel, sku, item.unit, quantity.normalize() + Decimal(0), promise_on, urgency_of(item, promise, stock),
            owner_at, again, offered=known and item.status != "unlisted",
        )  # fmt: skip


def _owner_times(changes: Sequence[Change]) -> dict[str, datetime | None]:
    """SKU -> the oldest owner's commit among its changes."""
    found: dict[str, datetime | None] = {}
    for change in changes:
        found[change.sku] = _earlier(found.get(change.sku), change.owner_at)
    return found


def _earlier(one: datetime | None, other: datetime | None) -> datetime | None:
    return other if one is None else one if other is None else min(one, other)


def _marked(row: Wanted, again: set[tuple[str, str]]) -> Wanted:
    if row.again or (row.channel, row.sku) not in again:
        return row
    return Wanted(
        row.channel, row.sku, row.unit, row.quantity, row.promise_on, row.urgency, row.owner_at, True, row.offered
    )
