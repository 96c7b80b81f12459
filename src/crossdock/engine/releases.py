"""Held orders decided anew: by a person who waives what held them, or by themselves when their stock is there.

Each is decided in a transaction of its own, by the rules for a new order. What can still not be accepted stays held.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import asyncpg
import msgspec
import structlog

from crossdock.engine.intake import Acceptor
from crossdock.engine.ports import Clock, PlanBook
from crossdock.ledger.acceptance import Accepted, lock_figures, take_numbers, write_promises
from crossdock.ledger.database import Connection, Queries
from crossdock.ledger.decisions import LockedOrder, OrderDecision, lock_orders, read_orders, write_decisions
from crossdock.ledger.holds import lock_holds, redeem_holds
from crossdock.model.facts import EventDraft
from crossdock.model.orders import Hold, Order, OrderPlaced
from crossdock.rules.accept import Acceptance, acknowledge
from crossdock.rules.decision import Decision
from crossdock.rules.hold import decide_redeeming

LOOK_MAX: Final = 200
BY_STOCK: Final = "stock"
_SQL: Final = Queries.load("releases")
_PLACED: Final = msgspec.json.Decoder(OrderPlaced)
_ENCODER: Final = msgspec.json.Encoder()
_log: Final = structlog.get_logger("crossdock.engine.releases")


async def find_held(connection: Connection, order_id: int) -> tuple[LockedOrder, Hold] | None:
    """The order, locked, and its hold; None when it is not held (any more)."""
    locked = (await lock_orders(connection, [order_id])).get(order_id)
    if locked is None or locked.progress.state != "held" or locked.progress.hold is None:
        return None
    return locked, locked.progress.hold


async def decide_anew(
    connection: Connection, acceptor: Acceptor, order_id: int, now: datetime, waived: frozenset[str]
) -> tuple[Acceptance, Order]:
    """The decision on an order whose progress is locked, under the locks that it needs, and the order as it is kept."""
    row = await connection.fetchrow(_SQL["read_placed"], [order_id])
    order = (await read_orders(connection, [order_id]))[order_id]
    placed = _PLACED.decode(row["body"])
    _, version = await take_numbers(connection, 1)
    asked = {line.sku for line in order.lines} | {line.sku for line in placed.lines if line.sku}
    gtins = {line.gtin for line in placed.lines if line.gtin and not line.sku}
    reference = await acceptor.reference.catch_up(connection, version, asked, gtins)
    skus = sorted(reference.stocked({line.sku for line in order.lines}))
    hold = (await lock_holds(connection, [placed.reservation])).get(placed.reservation)
    held = {sku for sku, _ in hold.held} if hold is not None else set()
    book = await lock_figures(connection, [order.customer] if order.customer else [], sorted(held.union(skus)))
    acceptance, is_redeemed = decide_redeeming(
        placed, hold, channel=order.channel, order_id=order_id, number=order.number, accepted_at=now,
        reference=reference, book=book, policy=acceptor.policy, waived=waived,
    )  # fmt: skip
    if hold is not None and is_redeemed:
        await redeem_holds(connection, [(hold.hold_id, order_id)], now)
    return acceptance, order


async def write_release(
    connection: Connection, acceptor: Acceptor, plans: PlanBook, locked: LockedOrder, acceptance: Acceptance,
    before: Order, now: datetime, by: str,
) -> int:  # fmt: skip
    """Write what was decided anew; return 1 when the order is accepted now."""
    order, progress = acceptance.order, acceptance.progress
    if order is None or progress is None:
        return 0
    await connection.execute(_SQL["keep_answer"], locked.order_id, _ENCODER.encode(acknowledge(before)))
    rounds = await connection.fetchval(_SQL["count_rounds"], locked.order_id)
    steps = tuple(acceptor.lay_steps(acceptance, f"#{rounds + 1}" if rounds else ""))
    accepted = Accepted(order.channel, "", locked.order_id, acceptance, steps, "")
    await write_promises(connection, [accepted])
    await connection.execute(
        _SQL["replace_body"], locked.order_id, _ENCODER.encode(order), order.net.amount, order.plan
    )
    milestones = {**locked.progress.milestones, **progress.milestones}
    after = msgspec.structs.replace(progress, milestones=milestones)
    events = (EventDraft("HoldReleased", {"by": by}), *acceptance.events)
    decided = [OrderDecision(locked, Decision(after, events, steps), order)]
    await write_decisions(connection, decided, now, plans.ownership)
    return int(progress.state == "accepted")


async def find_covered(
    connection: Connection, channels: list[str], after: int, limit: int = LOOK_MAX
) -> tuple[list[int], int]:
    """Orders held for stock that is free by now, oldest first; and where to go on looking (0: at the first)."""
    rows = await connection.fetch(_SQL["read_held_for_stock"], limit, after, channels)
    return [row[0] for row in rows if row[1]], rows[-1][0] if len(rows) == limit else 0


class StockHolds:
    """Looks again at orders that are held for stock, where their channel does not leave that to a person."""

    def __init__(self, pool: asyncpg.Pool[Any], acceptor: Acceptor, plans: PlanBook, clock: Clock) -> None:
        self._pool = pool
        self._acceptor = acceptor
        self._plans = plans
        self._clock = clock
        self._after = 0

    async def release_covered(self) -> int:
        """Accept what can be accepted now, oldest first; return how many. Where many are held, each look sees some."""
        channels = [
            name for name, rules in self._acceptor.policy.channels.items() if rules.stock_held_until == BY_STOCK
        ]
        async with self._pool.acquire() as connection:
            order_ids, self._after = await find_covered(connection, channels, self._after)
        count = 0
        for order_id in order_ids:
            async with self._pool.acquire() as connection, connection.transaction():
                count += await self._release(connection, order_id)
        if count:
            _log.info("stock_holds_released", orders=count)
        return count

    async def _release(self, connection: Connection, order_id: int) -> int:
        held = await find_held(connection, order_id)
        if held is None or held[1].cause != "stock_incomplete":
            return 0
        now = self._clock()
        acceptance, before = await decide_anew(connection, self._acceptor, order_id, now, frozenset())
        if acceptance.progress is None or acceptance.progress.state != "accepted":
            return 0
        return await write_release(connection, self._acceptor, self._plans, held[0], acceptance, before, now, BY_STOCK)
