"""Write decisions about existing orders: progress, events, steps, stock, credit and documents, set-based.

The caller holds the transaction and has locked the orders' progress rows by `lock_orders`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import asyncpg
import msgspec

from crossdock.ledger import stock
from crossdock.ledger.database import Connection, Queries, as_rows
from crossdock.model.errors import Defect
from crossdock.model.facts import EventDraft, StepDraft
from crossdock.model.fulfilment import FulfilmentOrder
from crossdock.model.orders import Order, OrderProgress
from crossdock.rules.decision import Decision, StepView, settled_lines
from crossdock.rules.ownership import NO_OWNERS, Ownership

_SQL: Final = Queries.load("decisions")
_WRITE: Final = Queries.load("acceptance")
_ENCODER: Final = msgspec.json.Encoder()
_ORDER: Final = msgspec.json.Decoder(Order)
_PROGRESS: Final = msgspec.json.Decoder(OrderProgress)
_RELEASE: Final = msgspec.json.Decoder(FulfilmentOrder)


class ReservationRow(msgspec.Struct, frozen=True, gc=False):
    """`quantity` base units of `sku` held at `location` for an order's line."""

    order_id: int
    line: str
    location: str
    sku: str
    quantity: Decimal


class _ProgressRow(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    order_id: int
    version: int
    state: str
    events_added: int
    steps_added: int
    progress: OrderProgress
    hold_cause: str | None = None
    hold_owner: str | None = None


class _EventRow(msgspec.Struct, frozen=True, gc=False):
    order_id: int
    version: int
    type: str
    body: dict[str, Any]


class _RevisedRow(msgspec.Struct, frozen=True, gc=False):
    order_id: int
    name: str
    payload: msgspec.Raw


class _StepRow(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    order_id: int
    name: str
    connection: str
    operation: str
    payload: msgspec.Raw
    needs: tuple[str, ...] = ()


@dataclass(slots=True)
class LockedOrder:
    """An order whose progress row is locked in this transaction."""

    order_id: int
    version: int
    event_count: int
    steps_open: int
    progress: OrderProgress


@dataclass(frozen=True, slots=True)
class OrderDecision:
    """A decision about one locked order. `order` is needed wherever stock, credit or documents change.

    `steps_ended` counts steps that this decision's cause finished; `connection` is where a shipment was reported;
    `told` are successes that owners of stock may have learnt something from.
    """

    locked: LockedOrder
    decision: Decision
    order: Order | None
    steps_ended: int = 0
    connection: str = ""
    told: tuple[stock.Told, ...] = ()


async def lock_orders(connection: Connection, order_ids: Sequence[int]) -> dict[int, LockedOrder]:
    rows = await connection.fetch(_SQL["lock_progress"], sorted(set(order_ids)))
    return {row[0]: LockedOrder(row[0], row[1], row[2], row[3], _PROGRESS.decode(row[4])) for row in rows}


async def read_orders(connection: Connection, order_ids: Sequence[int]) -> dict[int, Order]:
    if not order_ids:
        return {}
    rows = await connection.fetch(_SQL["read_bodies"], list(order_ids))
    return {row[0]: _ORDER.decode(row[1]) for row in rows}


async def read_step_views(connection: Connection, order_ids: Sequence[int]) -> dict[int, list[StepView]]:
    return await _read_views(connection, "read_step_views", order_ids)


async def lock_step_views(connection: Connection, order_ids: Sequence[int]) -> dict[int, list[StepView]]:
    """The steps of orders whose progress is locked, for a decision that drops some: no worker begins one meanwhile."""
    return await _read_views(connection, "lock_step_views", order_ids)


async def read_releases(connection: Connection, order_ids: Sequence[int]) -> dict[int, dict[str, FulfilmentOrder]]:
    """The instructions of release steps that have not begun, by step name; of orders whose steps are locked."""
    found: dict[int, dict[str, FulfilmentOrder]] = {order_id: {} for order_id in order_ids}
    if order_ids:
        for row in await connection.fetch(_SQL["read_releases"], list(order_ids)):
            found[row[0]][row[1]] = _RELEASE.decode(row[2])
    return found


async def _read_views(connection: Connection, name: str, order_ids: Sequence[int]) -> dict[int, list[StepView]]:
    found: dict[int, list[StepView]] = {order_id: [] for order_id in order_ids}
    if order_ids:
        for row in await connection.fetch(_SQL[name], list(order_ids)):
            found[row[0]].append(StepView(row[1], row[2], row[3], row[4]))
    return found


async def find_waiting_for_supply(connection: Connection, limit: int, after: int) -> dict[int, set[str]]:
    """Order id -> SKUs that it waits for and of which some are free; only orders after `after`."""
    found: dict[int, set[str]] = {}
    for row in await connection.fetch(_SQL["find_waiting_for_supply"], limit, after):
        found.setdefault(row[0], set()).add(row[1])
    return found


async def write_decisions(
    connection: Connection, decided: Sequence[OrderDecision], now: datetime, ownership: Ownership = NO_OWNERS
) -> None:
    """Write all of it. One decision an order. Raises Defect when a progress row moved although it was locked."""
    if not decided:
        return
    await _write_progress(connection, decided, now)
    await insert_events(connection, [
        (item.locked.order_id, item.locked.event_count, item.decision.events) for item in decided
        if item.decision.events
    ], now)  # fmt: skip
    await insert_steps(connection, [
        (item.locked.order_id, item.decision.steps) for item in decided if item.decision.steps
    ], now)  # fmt: skip
    await _revise_steps(connection, decided)
    await _cancel_steps(connection, decided, now)
    await _unblock_steps(connection, decided, now)
    await _lock_figures(connection, decided)
    await _write_credit(connection, decided)
    await _write_stock(connection, decided, now, ownership)
    await stock.record_told(connection, [told for item in decided for told in item.told], now, ownership)
    await _write_documents(connection, decided, now)


async def _write_progress(connection: Connection, decided: Sequence[OrderDecision], now: datetime) -> None:
    rows = []
    for item in decided:
        progress = item.decision.progress
        hold = progress.hold
        rows.append(_ProgressRow(
            item.locked.order_id, item.locked.version, progress.state, len(item.decision.events),
            len(item.decision.steps) - item.steps_ended, progress, hold.cause if hold else None,
            hold.owner if hold else None,
        ))  # fmt: skip
    tag = await connection.execute(_SQL["write_progress"], as_rows(rows), now)
    if tag != f"UPDATE {len(decided)}":
        raise Defect("progress_moved", "An order's progress changed while it was locked.", detail=tag)


def event_rows(drafts: Sequence[tuple[int, int, Sequence[EventDraft]]]) -> list[msgspec.Struct]:
    """`drafts` are (order id, events it has, new events)."""
    return [
        _EventRow(order_id, place, event.type, event.body)
        for order_id, count, events in drafts for place, event in enumerate(events, count + 1)
    ]  # fmt: skip


async def insert_events(
    connection: Connection, drafts: Sequence[tuple[int, int, Sequence[EventDraft]]], now: datetime
) -> None:
    rows = event_rows(drafts)
    if rows:
        await connection.execute(_WRITE["insert_events"], as_rows(rows), now)


def step_rows(drafts: Sequence[tuple[int, Sequence[StepDraft]]]) -> list[msgspec.Struct]:
    return [
        _StepRow(order_id, step.name, step.connection, step.operation, msgspec.Raw(step.payload), step.needs)
        for order_id, steps in drafts for step in steps
    ]  # fmt: skip


def step_taken(taken: asyncpg.UniqueViolationError, drafts: Sequence[tuple[int, Sequence[StepDraft]]]) -> Defect:
    """An order has a step of that name already: none is ever dropped in silence."""
    names = [step.name for _, steps in drafts for step in steps]
    return Defect(
        "step_name_taken", "A step of this name was laid for the order before.",
        detail=f"{taken.detail} of {len(names)}: {', '.join(sorted(set(names)))[:500]}",
        next_action="Report this with its detail; replay after the mend.",
    )  # fmt: skip


async def insert_steps(
    connection: Connection, drafts: Sequence[tuple[int, Sequence[StepDraft]]], now: datetime
) -> None:
    """Lay steps. Raises Defect when an order has a step of that name already."""
    rows = step_rows(drafts)
    if rows:
        try:
            await connection.execute(_WRITE["insert_steps"], as_rows(rows), now)
        except asyncpg.UniqueViolationError as taken:
            raise step_taken(taken, drafts) from taken


async def insert_reservations(connection: Connection, rows: Sequence[ReservationRow]) -> None:
    """Hold stock for orders."""
    if rows:
        await connection.execute(_WRITE["insert_reservations"], as_rows(rows))


async def _unblock_steps(connection: Connection, decided: Sequence[OrderDecision], now: datetime) -> None:
    """Steps that waited for what ended now; orders without open steps have none."""
    going_on = [
        item.locked.order_id for item in decided
        if item.locked.steps_open + len(item.decision.steps) - item.steps_ended > 0
    ]  # fmt: skip
    if going_on:
        await connection.execute(_SQL["unblock_steps"], going_on, now)


async def _revise_steps(connection: Connection, decided: Sequence[OrderDecision]) -> None:
    rows = [
        _RevisedRow(item.locked.order_id, name, msgspec.Raw(payload))
        for item in decided for name, payload in item.decision.revised_steps
    ]  # fmt: skip
    if rows:
        tag = await connection.execute(_SQL["revise_steps"], as_rows(rows))
        if tag != f"UPDATE {len(rows)}":
            raise Defect("step_begun", "A step began although it was locked to be changed.", detail=tag)


async def _cancel_steps(connection: Connection, decided: Sequence[OrderDecision], now: datetime) -> None:
    pairs = [(item.locked.order_id, name) for item in decided for name in item.decision.cancel_steps]
    if not pairs:
        return
    dropped = await connection.fetch(
        _SQL["cancel_steps"], [order_id for order_id, _ in pairs], [name for _, name in pairs], now
    )
    await connection.execute(_SQL["subtract_steps_open"], [row[0] for row in dropped], [row[1] for row in dropped])


async def _lock_figures(connection: Connection, decided: Sequence[OrderDecision]) -> None:
    """Accounts, then stock, each in one order: just as acceptances lock them, so that neither can deadlock."""
    customers = {
        item.order.customer for item in decided
        if item.order is not None and (item.decision.credit_released or item.decision.invoices)
    }  # fmt: skip
    skus = {effect.sku for item in decided for effect in item.decision.stock}
    told = [told for item in decided for told in item.told]
    if told:
        skus.update(await stock.find_touched(connection, told))
    if customers - {""}:
        await connection.execute(_WRITE["lock_accounts"], sorted(customers - {""}))
    if skus:
        await connection.execute(_WRITE["lock_stock"], sorted(skus))


async def _write_stock(
    connection: Connection, decided: Sequence[OrderDecision], now: datetime, ownership: Ownership
) -> None:
    """Departures, then what is given back, then what is newly held; lines that are through hold nothing."""
    effects = [(item, effect) for item in decided for effect in item.decision.stock]
    if not effects:
        return
    departures = []
    given_back = []
    held = []
    for item, effect in effects:
        row = (item.locked.order_id, effect.line, effect.location, effect.sku, effect.quantity)
        if effect.kind == "ship":
            part = item.decision.part
            shipment, at = (part.shipment, part.shipped_at) if part else ("", now)
            departures.append(stock.Departure(*row, shipment, at, item.connection))
        elif effect.kind == "release":
            given_back.append(row)
        else:
            held.append(row)
    await stock.ship(connection, departures, now, ownership)
    await stock.release(connection, given_back, now, ownership)
    await insert_reservations(connection, [ReservationRow(*row) for row in held])
    settled = [(item.locked.order_id, line) for item in decided for line in settled_lines(item.decision)]
    if settled:
        rest = await connection.fetch(_SQL["read_settled"], *stock.columns_of(settled, 2))
        await stock.release(connection, [tuple(row) for row in rest], now, ownership)


async def _write_credit(connection: Connection, decided: Sequence[OrderDecision]) -> None:
    rows = [
        (item.order.customer, item.decision.credit_released) for item in decided
        if item.order is not None and item.decision.credit_released
    ]  # fmt: skip
    if rows:
        rows.sort()
        await connection.execute(_SQL["release_credit"], [row[0] for row in rows], [row[1] for row in rows])


async def _write_documents(connection: Connection, decided: Sequence[OrderDecision], now: datetime) -> None:
    parts = [(item, item.decision.part) for item in decided if item.decision.part is not None]
    if parts:
        packages = [(package, part.shipment, item.locked.order_id) for item, part in parts for package in part.packages]
        await connection.execute(
            _SQL["insert_shipments"], [part.shipment for _, part in parts], [item.connection for item, _ in parts],
            [item.locked.order_id for item, _ in parts], [part.warehouse for _, part in parts],
            [part.shipped_at for _, part in parts], [_ENCODER.encode(part) for _, part in parts], now,
            [package.tracking for package, _, _ in packages],
            [package.sscc or package.label for package, _, _ in packages],
            [shipment for _, shipment, _ in packages], [order_id for _, _, order_id in packages],
            [bool(package.label) for package, _, _ in packages],
        )  # fmt: skip
    invoices = [(item, invoice) for item in decided for invoice in item.decision.invoices]
    if invoices:
        customers = [
            item.order.customer if item.order and item.order.payment.method == "terms" else "" for item, _ in invoices
        ]
        await connection.execute(
            _SQL["insert_invoices"], [item.locked.order_id for item, _ in invoices],
            [invoice.shipment for _, invoice in invoices], [invoice.number for _, invoice in invoices], customers,
            [invoice.net.currency for _, invoice in invoices], [invoice.net.amount for _, invoice in invoices],
            [invoice.tax.amount for _, invoice in invoices], now,
        )  # fmt: skip
    payments = [(item, payment) for item in decided for payment in item.decision.payments]
    if payments:
        await connection.execute(
            _SQL["insert_payments"], [item.locked.order_id for item, _ in payments],
            [payment.kind for _, payment in payments], [payment.reference for _, payment in payments],
            [payment.amount.currency for _, payment in payments], [payment.amount.amount for _, payment in payments],
            [payment.external_id for _, payment in payments], now,
        )  # fmt: skip
    delivered = [item.decision.delivered for item in decided if item.decision.delivered]
    if delivered:
        await connection.execute(_SQL["mark_delivered"], delivered, now)
