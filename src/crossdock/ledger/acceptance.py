"""Write acceptances: numbers, locked credit and stock figures, and everything that a batch of placed orders leaves.

The caller holds the transaction. Locks are taken in one order everywhere (orders, accounts, stock), so that two
batches wait for each other instead of failing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from crossdock.ledger.database import Connection, Queries, as_rows
from crossdock.ledger.decisions import ReservationRow, insert_events, insert_reservations, insert_steps
from crossdock.model.facts import StepDraft
from crossdock.model.orders import Order, OrderPlaced, OrderProgress
from crossdock.rules.accept import Acceptance, Book, Exposure

_SQL: Final = Queries.load("acceptance")
_ENCODER: Final = msgspec.json.Encoder()


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


async def find_earlier(connection: Connection, arrivals: Sequence[Arrival]) -> list[Any]:
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


async def lock_touched(connection: Connection, customers: Sequence[str], places: Sequence[tuple[str, str]]) -> Book:
    """The figures of these customers and (SKU, location), locked until the transaction ends."""
    accounts = await connection.fetch(_SQL["lock_accounts"], customers) if customers else []
    skus, locations = [sku for sku, _ in places], [location for _, location in places]
    stock = await connection.fetch(_SQL["lock_places"], skus, locations) if places else []
    return _book(accounts, stock)


async def read_figures(connection: Connection, customers: Sequence[str], skus: Sequence[str]) -> Book:
    """The working figures of a batch as they stand, for others to change meanwhile."""
    accounts = await connection.fetch(_SQL["read_accounts"], customers) if customers else []
    stock = await connection.fetch(_SQL["read_stock"], skus) if skus else []
    return _book(accounts, stock)


def _book(accounts: Sequence[Any], stock: Sequence[Any]) -> Book:
    return Book(
        credit={row[0]: Exposure(row[1], row[2]) for row in accounts},
        available={(row[0], row[1]): row[2] for row in stock},
    )


async def write_acceptances(connection: Connection, accepted: Sequence[Accepted], now: datetime) -> bool:
    """Write all but what they hold (`write_promises`).

    False when another process recorded one of the keys first: roll back and look again.
    """
    direct = [item for item in accepted if item.arrival is not None]
    if direct and not await _insert_facts(connection, direct, now):
        return False
    inbox = [item for item in accepted if item.arrival is None]
    if inbox:
        await connection.execute(
            _SQL["answer_facts"], [item.fact_id for item in inbox], ["applied"] * len(inbox),
            [item.order_id if item.acceptance.order else None for item in inbox],
            [_answer(item) for item in inbox],
        )  # fmt: skip
    kept = [item for item in accepted if item.acceptance.order is not None]
    if kept:
        await _insert_orders(connection, kept, now)
        await insert_steps(connection, [(item.order_id, item.steps) for item in kept], now)
        await insert_events(connection, [(item.order_id, 0, item.acceptance.events) for item in kept], now)
        numbers = [item.acceptance.order.channel_number for item in kept if item.acceptance.order]
        await connection.execute(_SQL["wake_early"], [item.source for item in kept], numbers, now)
    return True


async def write_promises(connection: Connection, kept: Sequence[Accepted]) -> None:
    """Reservations and used credit, of figures that are locked."""
    held = [
        ReservationRow(item.order_id, line, location, sku, quantity) for item in kept
        for line, location, sku, quantity in item.acceptance.reservations
    ]  # fmt: skip
    await insert_reservations(connection, held)
    credit: list[tuple[str, Decimal]] = sorted(
        (item.acceptance.order.customer, item.acceptance.credit_amount) for item in kept
        if item.acceptance.order is not None and item.acceptance.credit_amount
    )  # fmt: skip
    if credit:
        await connection.execute(_SQL["take_credit"], [row[0] for row in credit], [row[1] for row in credit])


def _answer(item: Accepted) -> bytes | None:
    """The answer as it is kept. That to an accepted order follows from the order: it would be the same once more."""
    acknowledgment = item.acceptance.acknowledgment
    return None if acknowledgment.state == "accepted" else _ENCODER.encode(acknowledgment)


async def _insert_facts(connection: Connection, direct: Sequence[Accepted], now: datetime) -> bool:
    rows = [
        _FactRow(
            item.channel, arrival.placed.channel_number, arrival.body_hash.hex(), arrival.idempotency_key,
            arrival.raw.decode(), arrival.placed.placed_at, answer.decode() if (answer := _answer(item)) else None,
            item.order_id if item.acceptance.order else None, arrival.traceparent,
        )
        for item in direct if (arrival := item.arrival) is not None
    ]  # fmt: skip
    tag = await connection.execute(_SQL["insert_facts"], as_rows(rows), now)
    return bool(tag == f"INSERT 0 {len(direct)}")


async def _insert_orders(connection: Connection, kept: Sequence[Accepted], now: datetime) -> None:
    rows = []
    for item in kept:
        order, progress = item.acceptance.order, item.acceptance.progress
        if order is None or progress is None:
            continue
        hold = progress.hold
        rows.append(_OrderRow(
            order.order_id, order.number, order.channel, order.channel_number, order.customer, order.order_type,
            order.region, order.currency, order.net.amount, len(order.lines), order.plan, order.placed_at,
            order, progress.state, len(item.acceptance.events), len(item.steps),
            progress, item.traceparent, hold.cause if hold else None, hold.owner if hold else None,
        ))  # fmt: skip
    await connection.execute(_SQL["insert_orders"], as_rows(rows), now)


class _FactRow(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    connection: str
    business_key: str
    version: str
    idempotency_key: str
    body: str
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
    body: Order
    state: str
    event_count: int
    steps_open: int
    progress: OrderProgress
    traceparent: str = ""
    hold_cause: str | None = None
    hold_owner: str | None = None
