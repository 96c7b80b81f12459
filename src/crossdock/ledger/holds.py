"""Holds of carts: stock set aside under a number of its own until an order redeems it, or its time is over.

The caller holds the transaction. Holds are locked before accounts and stock, as orders are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Literal

import msgspec

from crossdock.ledger.database import Connection, Queries
from crossdock.ledger.decisions import ReservationRow, insert_reservations
from crossdock.model.stock import HeldLine
from crossdock.rules.hold import SetAside

_SQL: Final = Queries.load("holds")
_WRITE: Final = Queries.load("acceptance")
_ENCODER: Final = msgspec.json.Encoder()


class HoldBody(msgspec.Struct, frozen=True):
    """What is kept of a hold: the hash of what was asked, and what was set aside."""

    asked: str
    lines: tuple[HeldLine, ...]


_BODY: Final = msgspec.json.Decoder(HoldBody)


@dataclass(frozen=True, slots=True)
class NewHold:
    hold_id: int
    channel: str
    reference: str
    expires_at: datetime
    body: HoldBody
    reservations: Sequence[tuple[str, str, str, Decimal]]

    @property
    def reservation(self) -> str:
        return reservation_number(self.hold_id)


def reservation_number(hold_id: int) -> str:
    return f"RS{hold_id:08d}"


async def find_holds(
    connection: Connection, asked: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], tuple[str, HoldBody]]:
    """(channel, reference) -> reservation and body, of those that exist."""
    rows = await connection.fetch(_SQL["find_holds"], [row[0] for row in asked], [row[1] for row in asked])
    return {(row[1], row[2]): (reservation_number(row[0]), _BODY.decode(row[3])) for row in rows}


async def write_holds(connection: Connection, holds: Sequence[NewHold], now: datetime) -> None:
    """Raises UniqueViolationError when a reference was taken meanwhile."""
    await connection.execute(
        _SQL["insert_holds"], [row.hold_id for row in holds], [row.reservation for row in holds],
        [row.channel for row in holds], [row.reference for row in holds], [row.expires_at for row in holds],
        [_ENCODER.encode(row.body) for row in holds], now,
    )  # fmt: skip
    await insert_reservations(connection, [
        ReservationRow(hold.hold_id, *reservation) for hold in holds for reservation in hold.reservations
    ])  # fmt: skip


async def read_hold(connection: Connection, reservation: str) -> tuple[Any, HoldBody] | None:
    row = await connection.fetchrow(_SQL["read_hold"], reservation)
    return (row, _BODY.decode(row["body"])) if row is not None else None


async def lock_holds(connection: Connection, reservations: Sequence[str]) -> dict[str, SetAside]:
    """Reservation -> hold, of those that exist, locked."""
    reservations = [reservation for reservation in reservations if reservation]
    if not reservations:
        return {}
    rows = await connection.fetch(_SQL["lock_holds"], sorted(set(reservations)))
    held = await _read_held(connection, [row[0] for row in rows if row[3] == "reserved"])
    return {row[1]: SetAside(row[0], row[2], row[3], held.get(row[0], {}), row[4]) for row in rows}


async def _read_held(
    connection: Connection, hold_ids: Sequence[int]
) -> dict[int, dict[tuple[str, str], Decimal]]:
    found: dict[int, dict[tuple[str, str], Decimal]] = {}
    if hold_ids:
        for row in await connection.fetch(_SQL["read_held"], list(hold_ids)):
            found.setdefault(row[0], {})[row[1], row[2]] = row[3]
    return found


async def redeem_holds(connection: Connection, redeemed: Sequence[tuple[int, int]], now: datetime) -> None:
    """`redeemed` are (hold id, order id): what was set aside is free for the order, which takes it in this very
    transaction. Stock is locked by the caller."""
    if redeemed:
        await _end(connection, [hold for hold, _ in redeemed], "committed", [order for _, order in redeemed], now)


async def release_hold(connection: Connection, hold: SetAside, now: datetime) -> None:
    """Give back what a cart holds."""
    await _lock_stock(connection, hold.held)
    await _end(connection, [hold.hold_id], "released", [None], now)


async def expire_holds(connection: Connection, now: datetime, limit: int) -> int:
    """End holds whose time is over; return how many."""
    hold_ids = [row[0] for row in await connection.fetch(_SQL["claim_expired"], now, limit)]
    if hold_ids:
        held = await _read_held(connection, hold_ids)
        await _lock_stock(connection, {place for places in held.values() for place in places})
        await _end(connection, hold_ids, "expired", [None] * len(hold_ids), now)
    return len(hold_ids)


async def forget_holds(connection: Connection, before: datetime, limit: int) -> None:
    await connection.execute(_SQL["forget_holds"], before, limit)


async def _lock_stock(connection: Connection, places: Any) -> None:
    await connection.execute(_WRITE["lock_stock"], sorted({sku for sku, _ in places}))


async def _end(
    connection: Connection, hold_ids: Sequence[int], state: Literal["committed", "released", "expired"],
    order_ids: Sequence[int | None], now: datetime,
) -> None:  # fmt: skip
    await connection.execute(_SQL["give_back"], list(hold_ids))
    await connection.execute(_SQL["end_holds"], list(hold_ids), [state] * len(hold_ids), list(order_ids), now)
