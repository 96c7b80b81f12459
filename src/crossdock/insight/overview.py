"""The state of the whole at a glance, for the console's first page, `crossdock status` and alerts.

Counts of finished orders stop at a bound, so that the overview costs the same with a million of them.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

import asyncpg
import msgspec

from crossdock.insight.connections import (
    ConnectionState,
    FeedState,
    StepCount,
    read_connections,
)
from crossdock.insight.holds import HoldGroup, read_hold_groups
from crossdock.insight.stock import StockAttention, read_attention
from crossdock.ledger.database import Queries

_SQL: Final = Queries.load("insight_overview")

COUNT_MAX: Final = 100_000
FINISHED_STATES: Final = ("completed", "cancelled")
OPEN_STATES: Final = ("accepted", "held", "shipping", "shipped")
_LISTED_MAX: Final = 20
_LABELS_TOLD_FOR: Final = timedelta(days=1)


class OrderCount(msgspec.Struct, frozen=True):
    """Orders in one state; `exact` is false where there are at least this many."""

    state: str
    count: int
    exact: bool = True


class ErpWait(msgspec.Struct, frozen=True):
    """Accepted orders that an ERP has not taken yet, and shipments that it has not booked. `because` is "" when they
    are simply next in line."""

    connection: str
    orders: int
    shipments: int
    since: datetime
    because: str = ""
    detail: str = ""


class UnpublishedShipment(msgspec.Struct, frozen=True):
    """A shipment that the channel has not been told of yet."""

    order_number: str
    step: str
    connection: str
    state: str
    since: datetime


class WaitingStep(msgspec.Struct, frozen=True):
    """The step that has been sendable for longest."""

    order_number: str
    name: str
    connection: str
    state: str
    since: datetime


class ProcessSeen(msgspec.Struct, frozen=True):
    process: str
    kind: str
    started_at: datetime
    seen_at: datetime


class TroubledStock(msgspec.Struct, frozen=True):
    """A source of balances that is late against its own rhythm, or of which a report waits for a person."""

    source: str
    location: str
    received_at: datetime
    stale_since: datetime | None
    held_since: datetime | None
    held_reason: str | None


class WrongLabels(msgspec.Struct, frozen=True):
    """Packages that left a warehouse within a day with labels that are no SSCC."""

    connection: str
    warehouse: str
    packages: int
    example: str
    order_number: str


class Minute(msgspec.Struct, frozen=True):
    """Orders that were accepted in the minute that begins at `at`."""

    at: datetime
    accepted: int


class Overview(msgspec.Struct, frozen=True):
    """Everything that answers "is all well?"."""

    at: datetime
    orders: tuple[OrderCount, ...]
    steps: tuple[StepCount, ...]
    facts_waiting: int
    facts_early: int
    facts_quarantined: int
    steps_quarantined: int
    holds: tuple[HoldGroup, ...]
    waiting_for_erp: tuple[ErpWait, ...]
    stale_feeds: tuple[FeedState, ...]
    unpublished_count: int
    unpublished: tuple[UnpublishedShipment, ...]
    connections: tuple[ConnectionState, ...]
    processes: tuple[ProcessSeen, ...]
    oldest_waiting_step: WaitingStep | None = None
    oldest_waiting_fact_at: datetime | None = None
    stock: StockAttention = StockAttention()
    troubled_stock: tuple[TroubledStock, ...] = ()
    wrong_labels: tuple[WrongLabels, ...] = ()

    @property
    def held(self) -> int:
        return sum(group.count for group in self.holds)

    @property
    def quarantined(self) -> int:
        return self.facts_quarantined + self.steps_quarantined


async def read_overview(pool: asyncpg.Pool[Any], now: datetime) -> Overview:
    """The state of the whole. Reads only partial indexes of what is open, and bounded counts of what is finished."""
    connections = await read_connections(pool, now)
    steps = tuple(step for connection in connections for step in connection.steps)
    inbox = (await pool.fetch(_SQL["inbox"]))[0]
    oldest = await pool.fetchrow(_SQL["oldest_waiting_step"])
    unpublished = await pool.fetch(_SQL["unpublished_shipments"], _LISTED_MAX)
    return Overview(
        at=now,
        orders=await count_orders(pool),
        steps=steps,
        facts_waiting=inbox["waiting"],
        facts_early=inbox["early"],
        facts_quarantined=inbox["quarantined"],
        steps_quarantined=sum(step.count for step in steps if step.state == "quarantined"),
        holds=await read_hold_groups(pool),
        waiting_for_erp=await _waiting_for_erp(pool, connections),
        stale_feeds=tuple(feed for connection in connections for feed in connection.feeds if feed.stale),
        unpublished_count=unpublished[0]["total"] if unpublished else 0,
        unpublished=tuple(
            UnpublishedShipment(row["order_number"], row["step"], row["connection"], row["state"], row["since"])
            for row in unpublished
        ),
        connections=connections,
        processes=tuple(ProcessSeen(**dict(row)) for row in await pool.fetch(_SQL["processes"])),
        oldest_waiting_step=WaitingStep(**dict(oldest)) if oldest else None,
        oldest_waiting_fact_at=inbox["oldest_waiting_at"],
        stock=await read_attention(pool),
        troubled_stock=tuple(TroubledStock(**dict(row)) for row in await pool.fetch(_SQL["troubled_stock"])),
        wrong_labels=tuple(
            WrongLabels(**dict(row)) for row in await pool.fetch(_SQL["wrong_labels"], now - _LABELS_TOLD_FOR)
        ),
    )


async def count_orders(pool: asyncpg.Pool[Any]) -> tuple[OrderCount, ...]:
    """Orders by state: open ones exactly, finished ones up to COUNT_MAX."""
    rows = await pool.fetch(_SQL["orders_by_state"], list(OPEN_STATES), list(FINISHED_STATES), COUNT_MAX)
    return tuple(OrderCount(row["state"], row["count"], exact=row["exact"]) for row in rows)


async def read_throughput(pool: asyncpg.Pool[Any], now: datetime, minutes: int = 60) -> tuple[Minute, ...]:
    """Accepted orders by minute, oldest first; the last one is the minute that is running."""
    minutes = max(1, min(minutes, 240))
    running = now.replace(second=0, microsecond=0)
    starts = [running - timedelta(minutes=minutes - 1 - index) for index in range(minutes)]
    rows = await pool.fetch(_SQL["accepted_by_minute"], starts)
    return tuple(Minute(row["at"], row["accepted"]) for row in rows)


async def _waiting_for_erp(
    pool: asyncpg.Pool[Any],
    connections: tuple[ConnectionState, ...],
) -> tuple[ErpWait, ...]:
    states = {state.connection: state for state in connections}
    return tuple(
        ErpWait(
            row["connection"], row["orders"], row["shipments"], row["since"],
            *_because(states.get(row["connection"])),
        )
        for row in await pool.fetch(_SQL["waiting_for_erp"])
    )


def _because(state: ConnectionState | None) -> tuple[str, str]:
    if state is None:
        return "", ""
    if state.paused:
        return "paused", f"paused by {state.paused_by or 'an operator'}"
    if any(lane.operation in ("erp.place_order", "erp.ship") and lane.effective == "open" for lane in state.lanes):
        return "down", state.last_error or "it does not answer"
    if state.health == "degraded":
        return "failing", state.last_error
    return "", ""
