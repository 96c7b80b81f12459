"""Connections as an operator sees them: how each partner is, what waits for it and why, its breakers and feeds."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final, Literal

import asyncpg
import msgspec

from crossdock.ledger.database import Queries

_SQL: Final = Queries.load("insight_connections")

Health = Literal["healthy", "limited", "stale", "degraded", "down", "paused"]
OPEN_STEP_STATES: Final = ("waiting", "ready", "sending", "in_doubt", "quarantined")
STALE_INTERVALS: Final = 3
STALE_GRACE: Final = timedelta(seconds=30)


class StepCount(msgspec.Struct, frozen=True):
    """Open steps of one connection and operation in one state; `oldest_at` is when the oldest was laid."""

    connection: str
    operation: str
    state: str
    count: int
    oldest_at: datetime


class LaneState(msgspec.Struct, frozen=True):
    """The breaker of one operation. `effective` is the override where there is one."""

    connection: str
    operation: str
    state: str
    effective: str
    failures: int
    opened_at: datetime | None = None
    retry_at: datetime | None = None
    override: str | None = None
    override_by: str | None = None


class FeedState(msgspec.Struct, frozen=True):
    """A polled feed and how old its last reading is."""

    connection: str
    feed: str
    interval_seconds: Decimal
    stale: bool
    failures: int
    read_at: datetime | None = None
    changed_at: datetime | None = None
    error_code: str = ""
    error_message: str = ""


class ConnectionState(msgspec.Struct, frozen=True):
    """One partner. `backlog` counts the steps that could be sent now but wait; `oldest_at` is the oldest of them."""

    connection: str
    system: str
    health: Health
    paused: bool
    backlog: int
    in_doubt: int
    quarantined: int
    burst: Decimal
    calls_per_second: Decimal | None = None
    oldest_at: datetime | None = None
    paused_by: str | None = None
    paused_at: datetime | None = None
    blocked_until: datetime | None = None
    last_ok_at: datetime | None = None
    last_error_at: datetime | None = None
    last_error: str = ""
    steps: tuple[StepCount, ...] = ()
    lanes: tuple[LaneState, ...] = ()
    feeds: tuple[FeedState, ...] = ()


async def read_connections(pool: asyncpg.Pool[Any], now: datetime) -> tuple[ConnectionState, ...]:
    """Every configured connection, by name."""
    rows = await pool.fetch(_SQL["connections"])
    steps = await read_step_counts(pool)
    lanes = await read_lanes(pool)
    feeds = await read_feeds(pool, now)
    return tuple(
        _state(
            row,
            now,
            tuple(step for step in steps if step.connection == row["connection"]),
            tuple(lane for lane in lanes if lane.connection == row["connection"]),
            tuple(feed for feed in feeds if feed.connection == row["connection"]),
        )
        for row in rows
    )


async def read_connection(pool: asyncpg.Pool[Any], connection: str, now: datetime) -> ConnectionState | None:
    """One connection, or None if it is not configured."""
    return next((found for found in await read_connections(pool, now) if found.connection == connection), None)


async def read_step_counts(pool: asyncpg.Pool[Any]) -> tuple[StepCount, ...]:
    """All open steps, counted by connection, operation and state."""
    return tuple(StepCount(**dict(row)) for row in await pool.fetch(_SQL["step_counts"]))


async def read_lanes(pool: asyncpg.Pool[Any]) -> tuple[LaneState, ...]:
    return tuple(
        LaneState(**dict(row), effective=row["override"] or row["state"]) for row in await pool.fetch(_SQL["lanes"])
    )


async def read_feeds(pool: asyncpg.Pool[Any], now: datetime) -> tuple[FeedState, ...]:
    return tuple(_feed(row, now) for row in await pool.fetch(_SQL["feeds"]))


def _feed(row: asyncpg.Record, now: datetime) -> FeedState:
    """Stale is a feed that missed several readings in a row, whatever the cause."""
    budget = timedelta(seconds=STALE_INTERVALS * int(row["interval_seconds"])) + STALE_GRACE
    read_at = row["read_at"]
    stale = row["failures"] > 0 if read_at is None else now - read_at > budget
    return FeedState(**dict(row), stale=stale)


def _state(
    row: asyncpg.Record,
    now: datetime,
    steps: tuple[StepCount, ...],
    lanes: tuple[LaneState, ...],
    feeds: tuple[FeedState, ...],
) -> ConnectionState:
    sendable = [step for step in steps if step.state in {"ready", "in_doubt", "sending"}]
    return ConnectionState(
        connection=row["connection"],
        system=row["system"],
        health=_health(row, now, lanes, feeds),
        paused=row["paused"],
        backlog=sum(step.count for step in sendable),
        in_doubt=sum(step.count for step in steps if step.state == "in_doubt"),
        quarantined=sum(step.count for step in steps if step.state == "quarantined"),
        burst=row["burst"],
        calls_per_second=row["calls_per_second"],
        oldest_at=min((step.oldest_at for step in sendable), default=None),
        paused_by=row["paused_by"],
        paused_at=row["paused_at"],
        blocked_until=row["blocked_until"],
        last_ok_at=row["last_ok_at"],
        last_error_at=row["last_error_at"],
        last_error=row["last_error"] or "",
        steps=steps,
        lanes=lanes,
        feeds=feeds,
    )


def _health(row: asyncpg.Record, now: datetime, lanes: tuple[LaneState, ...], feeds: tuple[FeedState, ...]) -> Health:
    """The worst thing that is true, in words."""
    last_ok, last_error = row["last_ok_at"], row["last_error_at"]
    if row["paused"]:
        return "paused"
    if any(lane.effective == "open" for lane in lanes):
        return "down"
    if last_error is not None and (last_ok is None or last_error > last_ok):
        return "degraded"
    if any(lane.effective == "half_open" for lane in lanes):
        return "degraded"
    if any(feed.stale for feed in feeds):
        return "stale"
    if row["blocked_until"] is not None and row["blocked_until"] > now:
        return "limited"
    return "healthy"
