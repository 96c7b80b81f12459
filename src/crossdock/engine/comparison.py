"""Comparison: what owners say, what we believe and what channels show, held against each other slice by slice.

A channel is looked at by its lane, between two figures, so nothing of ours is on its way meanwhile. An owner is asked
by whichever worker has the turn. What differs is judged by `rules/comparison.py`, written down, repaired where policy
says so, and looked at again until it agrees.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import asyncpg
import msgspec
import structlog

from crossdock.engine.ports import Clock, OpenConnection
from crossdock.kit.connector import StockLane
from crossdock.ledger import drift as ledger
from crossdock.ledger import facts as inbox
from crossdock.ledger import publications
from crossdock.ledger.database import Connection
from crossdock.ledger.drift import Repair, Word
from crossdock.model.errors import CrossdockError, Defect, Unavailable
from crossdock.model.facts import BalancesReported, Fact
from crossdock.model.stock import InventoryBalance
from crossdock.model.values import Quantity
from crossdock.policy.stock import ChannelStock, StockOwner, StockPolicy
from crossdock.rules.comparison import Drift, Told, judge_channel, judge_owner, late_after

SETTLE: Final = timedelta(seconds=2)
RESTED: Final = timedelta(seconds=5)
"""An order takes a moment to reach us after the channel took it from its figure."""
OWNER_SLICE: Final = 200
LATE_MAX: Final = 500
REPAIRS_MAX: Final = 500
FACT_ROWS: Final = 10
"""A repair is no wild report: so few rows are never held for a person."""
KEPT: Final = timedelta(days=30)
ASK_SECONDS: Final = 20.0
UNKNOWN_EVERY: Final = timedelta(seconds=15)
PRUNE_EVERY: Final = timedelta(hours=1)
_log: Final = structlog.get_logger("crossdock.engine.comparison")
ReadBack = Callable[[Sequence[str]], Awaitable[Mapping[str, Decimal]]]


class ChannelComparison:
    """One channel's comparison, inside its lane."""

    def __init__(
        self, pool: asyncpg.Pool[Any], channel: str, partner: str, declared: StockLane, policy: ChannelStock,
        calls_per_second: Decimal,
    ) -> None:  # fmt: skip
        self._pool = pool
        self._channel = channel
        self._partner = partner
        self._read_max = declared.read_max
        self._always = policy.repair == "always"
        self._calls = policy.compare_calls_per_minute
        self._late_after = late_after(calls_per_second)
        self._next_at: datetime | None = None

    def is_due(self, now: datetime) -> bool:
        """Whether the budget has a call."""
        return self._calls > 0 and (self._next_at is None or now >= self._next_at)

    async def look(self, slice_end: str, now: datetime, read_back: ReadBack) -> str | None:
        """One call to the channel, if the budget has one; returns how far the slices came, None without a look."""
        if not self.is_due(now):
            return None
        self._next_at = now + timedelta(seconds=60 / self._calls)
        async with self._pool.acquire() as connection:
            if not await ledger.partner_answers(connection, self._partner, now):
                return None
            again = await ledger.due_looks(connection, self._channel, now - SETTLE, max(self._read_max // 2, 1))
            room = self._read_max - len(again)
            following = []
            if room:
                following = await ledger.read_slice(connection, self._channel, slice_end, now - RESTED, room)
        skus = list(dict.fromkeys([*again, *following]))
        if skus:
            try:
                shown = await read_back(skus)
            except CrossdockError as error:
                _log.warning("comparison_failed", channel=self._channel, code=error.code)
                return None
            await self._judge(skus, shown, now)
        if not room:
            return slice_end
        return following[-1] if len(following) == room else ""

    async def _judge(self, skus: Sequence[str], shown: Mapping[str, Decimal], now: datetime) -> None:
        async with self._pool.acquire() as connection:
            told = await ledger.read_told(connection, self._channel, self._partner, skus, now, now - RESTED)
            found = judge_slice(told, shown, self._late_after)
            drifted = {one.sku for one in found}
            agreed = [(sku, "") for sku in told if sku not in drifted]
            # Of what we never told, nothing may be shown.
            agreed += [(sku, "") for sku in skus if sku not in told and not shown.get(sku)]
            opened = await ledger.place_drift(connection, "channel", self._channel, found, agreed, len(told), now)
            if opened:
                await repair_channel(connection, self._channel, now, always=self._always)
        if opened:
            _log.warning("channel_drift", channel=self._channel, count=len(opened), cause=opened[0][2])


def judge_slice(told: Mapping[str, Told], shown: Mapping[str, Decimal | None], late: Decimal) -> list[Drift]:
    judged = (judge_channel(one, shown.get(sku), late) for sku, one in told.items())
    return [one for one in judged if one is not None]


async def repair_channel(connection: Connection, channel: str, now: datetime, *, always: bool) -> None:
    """Tell again what a person chose and, where policy repairs by itself, all that drifted; what is late is due."""
    async with connection.transaction():
        repairs = await ledger.take_repairs(connection, "channel", channel, "", now, always=always, limit=REPAIRS_MAX)
        await ledger.unpark(connection, channel, sorted(one.sku for one in repairs))
        again = sorted(one.sku for one in repairs if one.cause != "late")
        await publications.tell_again(connection, [(channel, sku) for sku in again])
    if again:
        _log.info("channel_repaired", channel=channel, count=len(again))


class Reconciler:
    """What no lane does: owners, figures that wait for too long, repairs. Every worker has one."""

    def __init__(
        self, pool: asyncpg.Pool[Any], connections: Sequence[OpenConnection], policy: StockPolicy,
        lanes: Mapping[str, Decimal], clock: Clock,
    ) -> None:  # fmt: skip
        """`lanes`: channel -> calls a second, of the channels that are told."""
        self._pool = pool
        self._by_name = {opened.name: opened for opened in connections}
        self._policy = policy
        self._lanes = lanes
        self._clock = clock
        self._pruned_at: datetime | None = None
        self._unknown_at: dict[str, datetime] = {}

    async def look_at_channels(self) -> None:
        """One round: what waits for too long, and repairs."""
        now = self._clock()
        for channel, calls_per_second in self._lanes.items():
            terms = self._policy.terms_of(channel)
            if terms.compare_calls_per_minute > 0:
                await self._find_late(channel, late_after(calls_per_second), now)
            always = terms.repair == "always"
            async with self._pool.acquire() as connection:
                await repair_channel(connection, channel, now, always=always)
        if self._pruned_at is None or now - self._pruned_at > PRUNE_EVERY:
            self._pruned_at = now
            async with self._pool.acquire() as connection:
                await ledger.prune(connection, now - KEPT)

    async def look_at_owners(self) -> None:
        """One round of slices. An owner that does not answer keeps no other from its turn for long."""
        now = self._clock()
        for owner in self._owners(now):
            await self._compare_owner(owner, now)
            await self._repair_owner(owner, now)

    def _owners(self, now: datetime) -> list[StockOwner]:
        locations = sorted({owner.location for owner in self._policy.owners})
        found = [self._policy.owner_of(location, now) for location in locations]
        return [owner for owner in found if owner is not None and owner.connection in self._by_name]

    async def _find_late(self, channel: str, after: Decimal, now: datetime) -> None:
        async with self._pool.acquire() as connection:
            before = now - timedelta(seconds=float(after))
            skus = await ledger.find_late(connection, channel, before, LATE_MAX)
            if not skus:
                return
            told = await ledger.read_told(connection, channel, channel, skus, now, now)
            found = judge_slice(told, {sku: one.acknowledged for sku, one in told.items()}, after)
            await ledger.place_drift(connection, "channel", channel, found, (), 0, now)

    async def _compare_owner(self, owner: StockOwner, now: datetime) -> None:
        opened = self._by_name[owner.connection]
        async with self._pool.acquire() as connection:
            noted_at = self._unknown_at.get(owner.location)
            if noted_at is None or now - noted_at >= UNKNOWN_EVERY:
                self._unknown_at[owner.location] = now
                unknown = await ledger.note_unknown(connection, owner.connection, [owner.location], now)
                await ledger.place_drift(connection, "owner", owner.connection, unknown, (), 0, now)
            if opened.connector.read_balances is None or owner.compare_calls_per_minute <= 0:
                return
            every = timedelta(seconds=60 / owner.compare_calls_per_minute)
            slice_end = await ledger.claim_turn(connection, owner, now, every)
            if slice_end is None:
                return
            again, following = await ledger.owner_skus(connection, owner, slice_end, now - SETTLE, OWNER_SLICE)
            full = len(again) + len(following) >= OWNER_SLICE
        skus = list(dict.fromkeys([*again, *following]))
        error = None
        try:
            words = await self._ask_owner(owner, skus, now) if skus else []
            await self._judge_owner(owner, words, now)
            slice_end = following[-1] if full and following else ""
        except CrossdockError as problem:
            error = problem.message[:300]
            _log.warning("comparison_failed", connection=owner.connection, code=problem.code)
        async with self._pool.acquire() as connection:
            await ledger.place_turn(connection, owner, slice_end, error)

    async def _ask_owner(self, owner: StockOwner, skus: Sequence[str], now: datetime) -> list[Word]:
        """The owner's word on these SKUs in base units. Raises CrossdockError."""
        opened = self._by_name[owner.connection]
        read = opened.connector.read_balances
        if read is None:
            return []
        try:
            async with asyncio.timeout(ASK_SECONDS):
                balances = {row.sku: row for row in await read(opened.client, owner.location, skus)}
        except TimeoutError:
            raise Unavailable("call_timeout", "The owner did not answer in time.") from None
        except (CrossdockError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
            raise
        except Exception as error:
            detail = repr(error)
            raise Defect("connector_defect", "The connector failed in an unforeseen way.", detail=detail) from error
        # What it counts in another unit than the product's own is left to its reports, which are judged by their units.
        async with self._pool.acquire() as connection:
            units = await ledger.base_units(connection, skus)
        found = []
        for sku in skus:
            row = balances.get(sku)
            if row is None:
                found.append(Word(sku, None, now))
            elif row.on_hand.unit == units.get(sku):
                found.append(Word(sku, row.on_hand.value, row.as_of))
        return found

    async def _judge_owner(self, owner: StockOwner, words: Sequence[Word], now: datetime) -> None:
        async with self._pool.acquire() as connection:
            pairs = await ledger.read_counted(connection, owner, words, asked=True)
            judged = [(counted, judge_owner(counted, said)) for counted, said in pairs]
            found = [one for _, one in judged if one is not None]
            agreed = [(counted.sku, owner.location) for counted, one in judged if one is None]
            opened = await ledger.place_drift(connection, "owner", owner.connection, found, agreed, len(words), now)
        if opened:
            _log.warning("owner_drift", connection=owner.connection, location=owner.location, count=len(opened))

    async def _repair_owner(self, owner: StockOwner, now: datetime) -> None:
        """The owner's own word, read afresh, goes the way of every report."""
        opened = self._by_name[owner.connection]
        if opened.connector.read_balances is None:
            return
        async with self._pool.acquire() as connection:
            repairs = await ledger.take_repairs(
                connection, "owner", owner.connection, owner.location, now, always=owner.repair == "always",
                limit=OWNER_SLICE,
            )  # fmt: skip
        mine = [one for one in repairs if one.cause != "unknown_sku"]
        if not mine:
            return
        try:
            facts = await self._read_facts(owner, mine, now)
        except CrossdockError as problem:
            _log.warning("repair_failed", connection=owner.connection, code=problem.code)
            return
        async with self._pool.acquire() as connection:
            await inbox.insert_facts(connection, facts, now)
        _log.info("owner_read_again", connection=owner.connection, location=owner.location, count=len(mine))

    async def _read_facts(self, owner: StockOwner, repairs: Sequence[Repair], now: datetime) -> list[Fact]:
        words = await self._ask_owner(owner, [one.sku for one in repairs], now)
        async with self._pool.acquire() as connection:
            units = await ledger.base_units(connection, [word.sku for word in words])
        rows = [
            InventoryBalance(
                word.sku, owner.location, Quantity(word.quantity or Decimal(0), units.get(word.sku, "C62")), word.as_of
            )
            for word in words
        ]  # fmt: skip
        facts = []
        for first in range(0, len(rows), FACT_ROWS):
            body = msgspec.json.encode(BalancesReported(tuple(rows[first : first + FACT_ROWS])))
            key = f"comparison|{owner.location}|{rows[first].sku}"
            facts.append(Fact(
                owner.connection, "balances.reported", key, body, body, version=now.isoformat(),
                subject=owner.location, occurred_at=now,
            ))  # fmt: skip
        return facts
