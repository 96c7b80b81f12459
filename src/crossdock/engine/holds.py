"""Holds of carts: set aside, read, release, expire. Requests that arrive together are decided and committed together.

A buyer who waits at the checkout of a hot SKU shares one commit, and one lock, with all others who wait there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal, Self

import asyncpg

from crossdock.engine.batching import BatchDoor, Refusals
from crossdock.engine.ports import Clock
from crossdock.ledger import holds as ledger
from crossdock.ledger.acceptance import lock_figures, take_numbers
from crossdock.ledger.holds import HoldBody, NewHold
from crossdock.ledger.reference import ReferenceCache
from crossdock.model.errors import Conflict, Unavailable
from crossdock.model.orders import PlacedLine, Reason
from crossdock.model.stock import Reservation
from crossdock.policy.policy import Policy
from crossdock.rules.hold import decide_hold

BATCH_MAX: Final = 200
EXPIRY_BATCH: Final = 500
KEPT_FOR: Final = timedelta(days=30)
_REFUSALS: Final = Refusals(
    full=("holds_full", "Too many carts are waiting."),
    stopping="Crossdock is stopping; ask again.",
    database_away="Nothing was set aside; ask again with the same key.",
)


@dataclass(frozen=True, slots=True)
class Wish:
    """A cart that wants its stock set aside. `reference` is the channel's own key, `asked` the hash of its message;
    `region` where it will be shipped to, "" when that is not known yet."""

    channel: str
    reference: str
    asked: str
    lines: tuple[PlacedLine, ...]
    minutes: int
    region: str = ""
    group: str = ""


@dataclass(frozen=True, slots=True)
class HoldAnswer:
    """`new`, `repeated` (the same key and message before), `key_reused` (the same key, another message), `short` (not
    enough is there) or `wrong` (the message must be mended)."""

    status: Literal["new", "repeated", "key_reused", "short", "wrong"]
    reservation: str = ""
    reasons: tuple[Reason, ...] = ()


class Holds:
    """The door for holds. Start it with `async with`."""

    def __init__(self, pool: asyncpg.Pool[Any], policy: Policy, reference: ReferenceCache, clock: Clock) -> None:
        self._pool = pool
        self._policy = policy
        self._reference = reference
        self._clock = clock
        self._door = BatchDoor("holds", self._decide, _REFUSALS, size=BATCH_MAX)

    async def __aenter__(self) -> Self:
        await self._door.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._door.__aexit__()

    async def reserve(self, wish: Wish) -> HoldAnswer:
        """Set a cart's stock aside and commit it before returning. Raises Unavailable."""
        return await self._door.ask(wish)

    async def read(self, reservation: str, channels: Sequence[str] | None) -> Reservation | None:
        """A reservation of one of these channels (None: of any)."""
        async with self._pool.acquire() as connection:
            return await self._read(connection, reservation, channels)

    async def release(self, reservation: str, channels: Sequence[str] | None) -> Reservation | None:
        """Give back what a cart holds; again and again with the same end. Raises Conflict when an order has it."""
        async with self._pool.acquire() as connection, connection.transaction():
            if await self._read(connection, reservation, channels) is None:
                return None
            hold = (await ledger.lock_holds(connection, [reservation]))[reservation]
            if hold.state == "committed":
                raise Conflict(
                    "reservation_used", "An order has this reservation.", next_action="Cancel the order instead.",
                )  # fmt: skip
            if hold.state == "reserved":
                await ledger.release_hold(connection, hold, self._clock())
            return await self._read(connection, reservation, channels)

    async def _read(self, connection: Any, reservation: str, channels: Sequence[str] | None) -> Reservation | None:
        found = await ledger.read_hold(connection, reservation)
        if found is None or (channels is not None and found[0]["channel"] not in channels):
            return None
        row, body = found
        contained = row["state"] == "committed" and row["uncontained"] <= 0
        state: Any = "contained" if contained else row["state"]
        return Reservation(
            row["reservation"], state, row["channel"], body.lines, row["created_at"], row["expires_at"],
            row["ended_at"], row["number"] or "",
        )  # fmt: skip

    async def _decide(self, wishes: Sequence[Wish]) -> list[HoldAnswer]:
        for _ in range(3):
            try:
                async with self._pool.acquire() as connection, connection.transaction():
                    return await self._decide_once(connection, wishes)
            except asyncpg.UniqueViolationError:
                continue
        raise Unavailable("keys_contended", "The same cart is being held elsewhere.", retry_after_seconds=1)

    async def _decide_once(self, connection: Any, wishes: Sequence[Wish]) -> list[HoldAnswer]:
        known = await ledger.find_holds(connection, [(wish.channel, wish.reference) for wish in wishes])
        numbers, version = await take_numbers(connection, len(wishes))
        lines = [line for wish in wishes for line in wish.lines]
        gtins = {line.gtin for line in lines if line.gtin and not line.sku}
        reference = await self._reference.catch_up(connection, version, {line.sku for line in lines if line.sku}, gtins)
        skus = {line.sku or reference.codes.get(line.gtin, ("", ""))[0] for line in lines}
        book = await lock_figures(connection, [], sorted(reference.stocked(skus - {""})))
        now = self._clock()
        answers = []
        fresh: list[NewHold] = []
        for wish, hold_id in zip(wishes, numbers, strict=True):
            earlier = known.get((wish.channel, wish.reference))
            if earlier is not None:
                same = earlier[1].asked == wish.asked
                answers.append(HoldAnswer("repeated", earlier[0]) if same else HoldAnswer("key_reused"))
                continue
            decision = decide_hold(wish.lines, reference, book.available, self._locations(wish))
            if decision.reasons:
                answers.append(HoldAnswer("short" if decision.short else "wrong", reasons=decision.reasons))
                continue
            for _, location, sku, quantity in decision.reservations:
                book.available[sku, location] -= quantity
            hold = NewHold(
                hold_id, wish.channel, wish.reference, now + timedelta(minutes=wish.minutes),
                HoldBody(wish.asked, decision.lines), decision.reservations,
            )  # fmt: skip
            fresh.append(hold)
            known[wish.channel, wish.reference] = (hold.reservation, hold.body)
            answers.append(HoldAnswer("new", hold.reservation))
        if fresh:
            await ledger.write_holds(connection, fresh, now)
        return answers

    def _locations(self, wish: Wish) -> tuple[str, ...]:
        """Best first: of the region, or of all regions as they are configured while that is not known."""
        if wish.region:
            return self._policy.locations_of(wish.channel, wish.region, wish.group)
        regions = self._policy.sourcing.preference
        found = [place for region in regions for place in self._policy.locations_of(wish.channel, region, wish.group)]
        return tuple(dict.fromkeys(found))


async def expire_holds(pool: asyncpg.Pool[Any], now: datetime) -> int:
    """End holds whose time is over, and forget those that ended long ago; return how many expired."""
    count = 0
    for _ in range(20):
        async with pool.acquire() as connection, connection.transaction():
            expired = await ledger.expire_holds(connection, now, EXPIRY_BATCH)
        count += expired
        if expired < EXPIRY_BATCH:
            break
    async with pool.acquire() as connection:
        await ledger.forget_holds(connection, now - KEPT_FOR, EXPIRY_BATCH)
    return count
