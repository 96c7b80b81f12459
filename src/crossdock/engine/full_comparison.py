"""Everything at once: all that a channel shows, or an owner says, against all that we believe.

One statement finds what differs at all; only that is judged, chunk by chunk, so a million figures cost little memory.
What is found is written down as the slices do it, and repaired in the same way.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import msgspec

from crossdock.engine.comparison import RESTED, judge_slice
from crossdock.ledger import drift as ledger
from crossdock.ledger.drift import Given
from crossdock.policy.stock import StockOwner
from crossdock.rules.comparison import Drift, Side, judge_owner


class CauseCount(msgspec.Struct):
    """`pending` of them may be on their way still."""

    count: int = 0
    pending: int = 0
    amount: Decimal = Decimal(0)
    currency: str = ""


class FullComparison(msgspec.Struct):
    """What came of it. `given` figures were compared with `believed` ones."""

    side: Side
    counterpart: str
    location: str = ""
    given: int = 0
    believed: int = 0
    drifted: int = 0
    causes: dict[str, CauseCount] = {}
    seconds: float = 0.0

    def count(self, found: Sequence[Drift]) -> None:
        for one in found:
            cause = self.causes.setdefault(one.cause, CauseCount())
            cause.count += 1
            cause.pending += int(one.pending)
            cause.amount += one.amount
            cause.currency = one.currency or cause.currency
        self.drifted += sum(1 for one in found if not one.pending)


async def compare_channel(
    pool: asyncpg.Pool[Any], channel: str, partner: str, shown: Given, late_after: Decimal, now: datetime
) -> FullComparison:
    """`partner`: the connection of its orders. `late_after`: seconds after which a figure that waits is late."""
    began = time.monotonic()
    result = FullComparison("channel", channel)
    late_before = now - timedelta(seconds=float(late_after))
    async with pool.acquire() as connection, ledger.given_figures(connection, shown) as given:
        result.given = given
        result.believed = await ledger.count_pairs(connection, channel=channel)
        async with connection.transaction():
            async for chunk in ledger.differing_told(connection, channel, late_before, now - RESTED):
                told = await ledger.read_told(connection, channel, partner, list(chunk), now, now - RESTED)
                found = judge_slice(told, chunk, late_after)
                await ledger.place_drift(connection, "channel", channel, found, (), 0, now)
                result.count(found)
            strangers = [
                Drift("channel", sku, "", None, figure, "unknown_sku", Decimal(0), "", certain=True)
                for sku, figure in await ledger.strangers_told(connection, channel)
            ]
            await ledger.place_drift(connection, "channel", channel, strangers, (), result.believed, now)
            result.count(strangers)
    result.seconds = round(time.monotonic() - began, 3)
    return result


async def compare_owner(
    pool: asyncpg.Pool[Any], owner: StockOwner, said: Given, as_of: datetime, now: datetime
) -> FullComparison:
    """All of a place as its owner said it at `as_of`, where a row has no time of its own."""
    began = time.monotonic()
    result = FullComparison("owner", owner.connection, owner.location)
    async with pool.acquire() as connection, ledger.given_figures(connection, said) as given:
        result.given = given
        result.believed = await ledger.count_pairs(connection, location=owner.location)
        async with connection.transaction():
            async for chunk in ledger.differing_counted(connection, owner.location, as_of):
                pairs = await ledger.read_counted(connection, owner, chunk, asked=False)
                judged = [judge_owner(counted, word) for counted, word in pairs]
                found = [one for one in judged if one is not None]
                await ledger.place_drift(connection, "owner", owner.connection, found, (), 0, now)
                result.count(found)
            await ledger.place_drift(connection, "owner", owner.connection, (), (), result.believed, now)
    result.seconds = round(time.monotonic() - began, 3)
    return result
