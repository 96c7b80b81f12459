"""Write acceptances: numbers, locked credit and stock figures, and everything that a batch of placed orders leaves.

The caller holds the transaction. Locks are taken in one order everywhere (orders, accounts, stock), so that two
batches wait for each other instead of failing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final

import asyncpg
import msgspec

from crossdock.ledger.database import Connection, Queries, as_rows
from crossdock.ledger.decisions import ReservationRow, event_rows, insert_reservations, step_rows, step_taken
from crossdock.model.documents import Customer
from crossdock.model.errors import Defect
from crossdock.model.facts import StepDraft
from crossdock.model.orders import OrderPlaced
from crossdock.rules.accept import Acceptance, Book, Exposure

_SQL: Final = Queries.load("acceptance")
_ENCODER: Final = msgspec.json.Encoder()
_NOTHING: Final = Decimal(0)
# With these words `write_orders` ends when they do not cover what was decided.
_MOVED: Final = "figures moved"
_ACCOUNTS: Final = msgspec.json.Decoder(list[tuple[str, Decimal, Decimal]])
_STOCK: Final = msgspec.json.Decoder(list[tuple[str, str, Decimal]])


@dataclass(frozen=True, slots=True)
class Arrival:
    """A placed order that came straight to us (API). `raw` is the body as received, valid JSON."""

    channel: str
    placed: OrderPlaced
    raw: bytes
    idempotency_key: str
    body_hash: bytes
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class Accepted:
    """One decided order: where it came from, the decision, and its laid steps.

    `source` is the connection that further facts about the channel's order come from.
    """

    channel: str
    source: str
    order_id: int
    acceptance: Acceptance
    steps: Sequence[StepDraft]
    traceparent: str
    arrival: Arrival | None = None
    fact_id: int = 0


@dataclass(frozen=True, slots=True)
class Figures:
    """What a batch is decided on, as it stood when it was read."""

    is_any_known: bool
    numbers: Sequence[int]
    version: int
    book: Book


async def find_earlier(connection: Connection, arrivals: Sequence[Arrival]) -> list[Any]:
    """What was already said about these placed orders."""
    channels = [arrival.channel for arrival in arrivals]
    numbers = [arrival.placed.channel_number for arrival in arrivals]
    keys = [arrival.idempotency_key for arrival in arrivals]
    return list(await connection.fetch(_SQL["find_earlier"], channels, numbers, keys))


async def find_orders(connection: Connection, placed: Sequence[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """(channel, channel number) -> order id, for those that exist."""
    rows = await connection.fetch(
        _SQL["find_orders"], [channel for channel, _ in placed], [number for _, number in placed]
    )
    return {(row[0], row[1]): row[2] for row in rows}


async def take_numbers(connection: Connection, count: int) -> tuple[list[int], int]:
    """`count` order numbers and the current reference version."""
    row = await connection.fetchrow(_SQL["take_numbers"], count)
    return list(row[0]), row[1]


async def lock_figures(connection: Connection, customers: Sequence[str], skus: Sequence[str]) -> Book:
    """The working figures of a batch, locked until the transaction ends."""
    accounts = await connection.fetch(_SQL["lock_accounts"], customers) if customers else []
    stock = await connection.fetch(_SQL["lock_stock"], skus) if skus else []
    return _book(accounts, stock)


async def read_figures(
    connection: Connection, arrivals: Sequence[Arrival], customers: Sequence[str], skus: Sequence[str]
) -> Figures:
    """Order numbers for these arrivals, whether anything was said about them before, the current reference version, and
    the working figures as they stand, for others to change meanwhile."""
    channels = sorted({arrival.channel for arrival in arrivals})
    numbers = [arrival.placed.channel_number for arrival in arrivals]
    keys = [arrival.idempotency_key for arrival in arrivals]
    row = await connection.fetchrow(
        _SQL["read_figures"], len(arrivals), *map(_ENCODER.encode, (customers, skus, channels, numbers, keys))
    )
    book = _book(_ACCOUNTS.decode(row["accounts"] or b"[]"), _STOCK.decode(row["stock"] or b"[]"))
    return Figures(row["is_any_known"], row["numbers"] or (), row["version"], book)


def _book(accounts: Sequence[Any], stock: Sequence[Any]) -> Book:
    return Book(
        credit={row[0]: Exposure(row[1], row[2]) for row in accounts},
        available={(row[0], row[1]): row[2] for row in stock},
    )


async def write_acceptances(connection: Connection, accepted: Sequence[Accepted], now: datetime) -> None:
    """Write all that a batch leaves, whose accounts and stock are locked.

    Raises UniqueViolationError when another process recorded one of the keys first: roll back and look again.
    """
    inbox = [item for item in accepted if item.arrival is None]
    if inbox:
        await connection.execute(
            _SQL["answer_facts"], [item.fact_id for item in inbox], ["applied"] * len(inbox),
            [item.order_id if item.acceptance.order else None for item in inbox],
            [_answer(item) for item in inbox],
        )  # fmt: skip
    kept = _kept(accepted)
    if kept or len(inbox) < len(accepted):
        await _write(connection, accepted, kept, _claims(kept), now, is_locked=True)


async def write_if_covered(
    connection: Connection, accepted: Sequence[Accepted], customers: Mapping[str, Customer], unchecked: Collection[str],
    now: datetime,
) -> bool:  # fmt: skip
    """Write and commit all that orders that came straight to us leave, if credit and stock, which are taken last and
    looked at again, allow all of it; otherwise nothing.

    `unchecked` are channels for which nobody's credit is looked at. A no may be too careful (an account that buys there
    and elsewhere at once); a yes never is too bold. Raises UniqueViolationError when another process recorded one of
    the keys first.
    """
    kept = _kept(accepted)
    claims = _claims(kept)
    if not claims.keys() <= customers.keys():
        return False
    checked = {
        item.acceptance.order.customer for item in kept
        if item.acceptance.order is not None and item.channel not in unchecked
    }  # fmt: skip
    limits = {code: customers[code].credit_limit for code in claims.keys() & checked}
    try:
        await _write(connection, accepted, kept, claims, now, is_locked=False, limits=limits)
    except asyncpg.InvalidTextRepresentationError as error:
        if _MOVED not in str(error):
            raise
        return False
    return True


async def _write(
    connection: Connection, accepted: Sequence[Accepted], kept: Sequence[Accepted], claims: Mapping[str, Decimal],
    now: datetime, *, is_locked: bool, limits: Mapping[str, Decimal | None] = MappingProxyType({}),
) -> None:  # fmt: skip
    direct = [(item, item.arrival) for item in accepted if item.arrival is not None]
    laid = [(item.order_id, item.steps) for item in kept]
    try:
        await connection.execute(
            _SQL["write_orders"], now, as_rows([_fact_row(item, arrival) for item, arrival in direct]),
            [arrival.raw for _, arrival in direct], as_rows([_order_row(item) for item in kept]),
            [_ENCODER.encode(item.acceptance.order) for item in kept],
            [_ENCODER.encode(item.acceptance.progress) for item in kept], as_rows(step_rows(laid)),
            as_rows(event_rows([(item.order_id, 0, item.acceptance.events) for item in kept])),
            as_rows(_held_rows(kept)),
            as_rows([_ClaimRow(code, amount, limits.get(code)) for code, amount in claims.items()]), is_locked,
        )  # fmt: skip
    except asyncpg.UniqueViolationError as taken:
        # A step's name that is taken is a defect, not a key that another process was faster with.
        if taken.constraint_name == "steps_pkey":
            raise step_taken(taken, laid) from taken
        raise


def _kept(accepted: Sequence[Accepted]) -> list[Accepted]:
    """Those that are not refused."""
    return [item for item in accepted if item.acceptance.order is not None]


def _claims(kept: Sequence[Accepted]) -> dict[str, Decimal]:
    """What a batch adds to each account's open orders."""
    claims: dict[str, Decimal] = {}
    for code, amount in _used_credit(kept):
        claims[code] = claims.get(code, _NOTHING) + amount
    return claims


def _held_rows(kept: Sequence[Accepted]) -> list[ReservationRow]:
    """What orders hold, each place of a line once."""
    held: dict[tuple[int, str, str, str], Decimal] = {}
    for item in kept:
        for line, location, sku, quantity in item.acceptance.reservations:
            place = (item.order_id, line, location, sku)
            held[place] = held[place] + quantity if place in held else quantity
    return [ReservationRow(*place, quantity) for place, quantity in held.items()]


async def write_promises(connection: Connection, kept: Sequence[Accepted]) -> None:
    """The same for orders that may have held something before."""
    held = [
        ReservationRow(item.order_id, line, location, sku, quantity) for item in kept
        for line, location, sku, quantity in item.acceptance.reservations
    ]  # fmt: skip
    await insert_reservations(connection, held)
    credit = _used_credit(kept)
    if credit:
        await connection.execute(_SQL["take_credit"], [row[0] for row in credit], [row[1] for row in credit])


def _used_credit(kept: Sequence[Accepted]) -> list[tuple[str, Decimal]]:
    return [
        (item.acceptance.order.customer, item.acceptance.credit_amount) for item in kept
        if item.acceptance.order is not None and item.acceptance.credit_amount
    ]  # fmt: skip


def _answer(item: Accepted) -> bytes | None:
    """The answer as it is kept. That to an accepted order follows from the order: it would be the same once more."""
    acknowledgment = item.acceptance.acknowledgment
    return None if acknowledgment.state == "accepted" else _ENCODER.encode(acknowledgment)


def _fact_row(item: Accepted, arrival: Arrival) -> _FactRow:
    answer = _answer(item)
    return _FactRow(
        item.channel, arrival.placed.channel_number, arrival.body_hash.hex(), arrival.idempotency_key,
        arrival.placed.placed_at, answer.decode() if answer is not None else None,
        item.order_id if item.acceptance.order else None, arrival.traceparent,
    )  # fmt: skip


def _order_row(item: Accepted) -> _OrderRow:
    order, progress = item.acceptance.order, item.acceptance.progress
    if order is None or progress is None:
        raise Defect("order_missing", "A refused order cannot be written.", detail=str(item.order_id))
    hold = progress.hold
    return _OrderRow(
        order.order_id, order.number, order.channel, order.channel_number, order.customer, order.order_type,
        order.region, order.currency, order.net.amount, len(order.lines), order.plan, order.placed_at, item.source,
        progress.state, len(item.acceptance.events), len(item.steps), item.traceparent,
        hold.cause if hold else None, hold.owner if hold else None,
    )  # fmt: skip


class _ClaimRow(msgspec.Struct, frozen=True, gc=False):
    """What a batch adds to an account's open orders, and up to which sum. None: nobody asks."""

    customer: str
    amount: Decimal
    credit_limit: Decimal | None


class _FactRow(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    connection: str
    business_key: str
    version: str
    idempotency_key: str
    occurred_at: datetime
    answer: str | None = None
    order_id: int | None = None
    traceparent: str = ""


class _OrderRow(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    order_id: int
    number: str
    channel: str
    channel_number: str
    customer: str
    order_type: str
    region: str
    currency: str
    net: Decimal
    line_count: int
    plan: str
    placed_at: datetime
    source: str
    state: str
    event_count: int
    steps_open: int
    traceparent: str = ""
    hold_cause: str | None = None
    hold_owner: str | None = None
