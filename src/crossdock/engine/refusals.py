"""Refused orders that nobody waits for an answer to: parked, and decided again when what was wrong may be mended.

A channel that sends its orders by webhook or feed gets no refusal. Such an order is parked for a person; when a
product, a price or a customer that it names comes or changes, it is decided again by itself, as a new order is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import asyncpg
import structlog

from crossdock.engine.intake import Acceptor, Placed
from crossdock.engine.ports import Clock
from crossdock.ledger import refusals
from crossdock.ledger.acceptance import Accepted
from crossdock.ledger.database import Connection
from crossdock.model.errors import CrossdockError, Invalid, Refused
from crossdock.model.orders import OrderAcknowledgment

LOOK_MAX: Final = 500
LOOKS_MAX: Final = 20
_log: Final = structlog.get_logger("crossdock.engine.refusals")


class RefusedOrders:
    """Any number may run at once."""

    def __init__(self, acceptor: Acceptor, clock: Clock) -> None:
        self._acceptor = acceptor
        self._clock = clock

    async def decide(
        self, connection: Connection, placed: Sequence[Placed], again: Sequence[int]
    ) -> Sequence[Accepted]:
        """Decide orders from the inbox; what is refused is parked. `again` are facts that were parked before."""
        earlier = await refusals.read_refusals(connection, again) if again else {}
        # From before anything is read: what changes meanwhile counts as younger.
        version = await refusals.read_version(connection) if again else self._acceptor.reference.version
        accepted = await self._acceptor.accept(connection, placed)
        await self._park(connection, placed, accepted, version)
        late = [item for item in accepted if item.fact_id in again and item.acceptance.order is not None]
        if late:
            noted = [(item.order_id, *earlier[item.fact_id]) for item in late if item.fact_id in earlier]
            await refusals.note_decided_again(connection, noted, self._clock())
            numbers = {item.fact_id: item.placed.channel_number for item in placed}
            missed = [(item.source, numbers[item.fact_id]) for item in late]
            await refusals.wake_missed(connection, missed, self._clock())
        return accepted

    async def _park(
        self, connection: Connection, placed: Sequence[Placed], accepted: Sequence[Accepted], version: int
    ) -> None:
        told = {item.fact_id: item.acceptance for item in accepted if item.acceptance.order is None}
        refused = [item for item in placed if item.fact_id in told]
        if not refused:
            return
        lines = [line for item in refused for line in item.placed.lines]
        known = await self._acceptor.reference.catch_up(
            connection, version, {line.sku for line in lines if line.sku}, {line.gtin for line in lines if line.gtin}
        )
        rows = [(item.fact_id, _as_refused(told[item.fact_id].acknowledgment), item.placed) for item in refused]
        await refusals.park_refused(connection, rows, known, version)

    async def wake_mended(self, pool: asyncpg.Pool[Any]) -> int:
        """Let orders be decided again whose products, prices or customer came or changed; return how many."""
        count = 0
        for _ in range(LOOKS_MAX):
            async with pool.acquire() as connection:
                looked, mended = await refusals.look_again(connection, self._clock(), LOOK_MAX)
            count += mended
            if looked < LOOK_MAX:
                break
        if count:
            _log.info("refused_orders_decided_again", orders=count)
        return count


def _as_refused(said: OrderAcknowledgment) -> CrossdockError:
    """A channel that sent its order by webhook or feed waits for no answer: a person must see what was refused."""
    first = said.reasons[0]
    told = " ".join(f"Line {one.line}: {one.message}" if one.line else one.message for one in said.reasons)
    kind = Invalid if first.owner == Invalid.who_acts else Refused
    return kind(first.code, told, next_action=f"{first.next_action} Then replay, or cancel the order in its channel.")
