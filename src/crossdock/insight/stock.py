"""Stock as an operator sees it: places and their age, what channels are told, where things differ, and the figures that
say how well it goes: how fast, how often sold short, how stale, how much drift.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import asyncpg
import msgspec

from crossdock.insight.masking import masked_text
from crossdock.insight.paging import Listing, bounded, decode_cursor, encode_cursor
from crossdock.ledger.database import Queries
from crossdock.ledger.inventory import Holder, Ordered, read_holders, read_ordered, read_stockroom
from crossdock.model.stock import ChannelAvailability
from crossdock.policy.policy import Policy
from crossdock.rules.availability import channel_terms, explain_availability

_SQL: Final = Queries.load("insight_stock")
COUNT_MAX: Final = 10_000
LATENCY_SPAN: Final = timedelta(hours=1)
RATE_SPAN: Final = timedelta(hours=24)
PERCENTILES: Final = (50, 95, 99)
CHANNELS_EXPLAINED_MAX: Final = 12


class StockSource(msgspec.Struct, frozen=True):
    """A source of balances at a place. `stale_since`: late against its own rhythm; `held_since`: its last report waits
    for a person."""

    source: str
    location: str
    as_of: datetime
    heard_at: datetime
    rhythm_seconds: Decimal | None
    row_count: int
    stale_since: datetime | None = None
    held_since: datetime | None = None
    held_reason: str | None = None


class HeldReport(msgspec.Struct, frozen=True):
    fact_id: int
    connection: str
    reason: str
    held_at: datetime
    business_key: str


class StockLaneState(msgspec.Struct, frozen=True):
    """How a channel is told. `waiting` and `parked` are counted up to COUNT_MAX + 1."""

    channel: str
    waiting: int
    parked: int
    fed: bool
    failures: int
    last_ok_at: datetime | None = None
    last_error: str | None = None
    blocked_until: datetime | None = None
    oldest_at: datetime | None = None


class ParkedGroup(msgspec.Struct, frozen=True):
    channel: str
    code: str
    count: int
    example: str
    message: str


class Place(msgspec.Struct, frozen=True):
    """A SKU at a location. `kept`: in quality hold or damaged; `free` may be below zero where more was promised."""

    sku: str
    location: str
    source: str
    on_hand: Decimal
    kept: Decimal
    reserved: Decimal
    in_transit: Decimal
    as_of: datetime
    stale: bool
    name: str | None = None
    unit: str | None = None

    @property
    def free(self) -> Decimal:
        return self.on_hand - self.kept - self.reserved


class Published(msgspec.Struct, frozen=True):
    """What a channel should show of a SKU, and what it acknowledged."""

    channel: str
    sku: str
    unit: str
    wanted: Decimal
    acknowledged: Decimal | None
    acknowledged_at: datetime | None
    wanted_at: datetime
    waiting: bool
    parked: bool
    error_code: str | None
    error_message: str | None
    attempt: int
    due_at: datetime | None
    promise_on: date | None
    name: str | None = None


class Report(msgspec.Struct, frozen=True):
    """What somebody says who does not own the place, or whose report is held."""

    location: str
    source: str
    on_hand: Decimal
    as_of: datetime
    standing: str
    difference: Decimal


class DriftGroup(msgspec.Struct, frozen=True):
    side: str
    counterpart: str
    cause: str
    proposal: str
    count: int
    amount: Decimal
    currency: str
    oldest_at: datetime
    repairing: int


class DriftItem(msgspec.Struct, frozen=True):
    drift_id: int
    side: str
    counterpart: str
    sku: str
    location: str
    expected: Decimal | None
    found: Decimal | None
    cause: str
    amount: Decimal
    currency: str
    proposal: str
    state: str
    found_at: datetime
    seen_at: datetime
    tries: int


class SkuView(msgspec.Struct, frozen=True):
    """One SKU over all places and channels."""

    sku: str
    name: str
    unit: str
    status: str
    kit: bool
    places: tuple[Place, ...]
    published: tuple[Published, ...]
    reports: tuple[Report, ...]
    drift: tuple[DriftItem, ...]
    explained: tuple[ChannelAvailability, ...]
    holders: tuple[Holder, ...]
    ordered: tuple[Ordered, ...] = ()


class SyncLatency(msgspec.Struct, frozen=True):
    """From the owner's commit to the channel's acknowledgment, in milliseconds, in the last hour."""

    channel: str
    count: int
    p50: int
    p95: int
    p99: int


class Oversell(msgspec.Struct, frozen=True):
    """Orders of the last day of a channel that is told stock; `short`: not enough was there for all of their lines."""

    channel: str
    orders: int
    short: int


class Compared(msgspec.Struct, frozen=True):
    """Figures of the last day that were compared, and how many of these looks found drift."""

    side: str
    counterpart: str
    compared: int
    drifted: int


class StockKpis(msgspec.Struct, frozen=True):
    """How well it goes. `staleness_seconds`: "source at location" -> since when it was heard of."""

    at: datetime
    latency: tuple[SyncLatency, ...]
    oversell: tuple[Oversell, ...]
    staleness_seconds: dict[str, int]
    stale_feeds: int
    held_feeds: int
    open_drift: int
    compared: tuple[Compared, ...]
    waiting: dict[str, int]
    parked: dict[str, int]


async def read_sources(pool: asyncpg.Pool[Any]) -> tuple[StockSource, ...]:
    return tuple(StockSource(**dict(row)) for row in await pool.fetch(_SQL["sources"]))


async def read_held_reports(pool: asyncpg.Pool[Any]) -> tuple[HeldReport, ...]:
    return tuple(HeldReport(**dict(row)) for row in await pool.fetch(_SQL["held_facts"]))


async def read_stock_lanes(pool: asyncpg.Pool[Any]) -> tuple[StockLaneState, ...]:
    return tuple(
        StockLaneState(**{**dict(row), "blocked_until": _time(row["blocked_until"])})
        for row in await pool.fetch(_SQL["lanes"])
    )


async def read_parked_groups(pool: asyncpg.Pool[Any]) -> tuple[ParkedGroup, ...]:
    return tuple(
        ParkedGroup(**{**dict(row), "message": masked_text(row["message"] or "")})
        for row in await pool.fetch(_SQL["parked_groups"])
    )


async def list_locations(pool: asyncpg.Pool[Any]) -> tuple[str, ...]:
    return tuple(row[0] for row in await pool.fetch(_SQL["locations"]))


async def list_places(
    pool: asyncpg.Pool[Any], *, text: str = "", location: str = "", cursor: str = "", limit: int = 50
) -> Listing[Place]:
    """A page of places by SKU. `text` is how the SKU begins."""
    key = decode_cursor(cursor, tuple[str, str]) or ("", "")
    limit = bounded(limit)
    if location:
        rows = await pool.fetch(_SQL["places_at"], text, location, key[0], limit + 1)
    else:
        rows = await pool.fetch(_SQL["places"], text, *key, limit + 1)
    items = tuple(Place(**{**dict(row), "as_of": _known(row["as_of"])}) for row in rows[:limit])
    more = len(rows) > limit
    return Listing(items, encode_cursor(items[-1].sku, items[-1].location) if more else "")


async def list_published(
    pool: asyncpg.Pool[Any], channel: str, *, text: str = "", parked: bool = False, cursor: str = "", limit: int = 50
) -> Listing[Published]:
    """A page of what a channel is told, by SKU."""
    key = decode_cursor(cursor, tuple[str]) or ("",)
    limit = bounded(limit)
    rows = await pool.fetch(_SQL["published"], channel, text, key[0], parked, limit + 1)
    items = tuple(_published(row) for row in rows[:limit])
    return Listing(items, encode_cursor(items[-1].sku) if len(rows) > limit else "")


async def read_drift_groups(pool: asyncpg.Pool[Any]) -> tuple[DriftGroup, ...]:
    """Open differences by cause, most money first."""
    return tuple(DriftGroup(**dict(row)) for row in await pool.fetch(_SQL["drift_groups"]))


async def list_drift(
    pool: asyncpg.Pool[Any], *, cause: str = "", side: str = "", counterpart: str = "", sku: str = "", cursor: str = "",
    limit: int = 50,
) -> Listing[DriftItem]:  # fmt: skip
    """A page of open differences, the newest first."""
    key = decode_cursor(cursor, tuple[int])
    limit = bounded(limit)
    rows = await pool.fetch(_SQL["drift_page"], cause, side, counterpart, sku, key[0] if key else None, limit + 1)
    items = tuple(DriftItem(**dict(row)) for row in rows[:limit])
    return Listing(items, encode_cursor(items[-1].drift_id) if len(rows) > limit else "")


async def read_sku(pool: asyncpg.Pool[Any], sku: str, policy: Policy | None, now: datetime) -> SkuView | None:
    """One SKU whole; `policy` None: without the explanation of what may be promised."""
    product = await pool.fetchrow(_SQL["product"], sku)
    places = (await list_places(pool, text=sku, limit=200)).items
    if product is None and not any(place.sku == sku for place in places):
        return None
    published = tuple(_published(row) for row in await pool.fetch(_SQL["published_of"], sku))
    explained: tuple[ChannelAvailability, ...] = ()
    async with pool.acquire() as connection:
        holders, ordered = await read_holders(connection, sku, 20), await read_ordered(connection, sku, 20)
        if policy is not None and product is not None:
            channels = list(policy.channels)[:CHANNELS_EXPLAINED_MAX]
            room = await read_stockroom(connection, [sku], channels, now, with_terms=True, with_supply=True)
            explained = tuple(
                explain_availability(room.saleable(sku, channel), channel_terms(policy, channel), room.stale, now)
                for channel in channels
            )
    return SkuView(
        sku, product["name"] if product else "", (product["unit"] if product else "") or "",
        product["status"] if product else "unknown", bool(product["kit"]) if product else False,
        tuple(place for place in places if place.sku == sku), published,
        tuple(Report(**dict(row)) for row in await pool.fetch(_SQL["reports_of"], sku)),
        (await list_drift(pool, sku=sku, limit=50)).items, explained, tuple(holders),
        tuple(ordered),
    )  # fmt: skip


async def read_kpis(pool: asyncpg.Pool[Any], now: datetime) -> StockKpis:
    sources = await read_sources(pool)
    lanes = await read_stock_lanes(pool)
    buckets: dict[str, dict[int, int]] = {}
    for row in await pool.fetch(_SQL["latency"], now - LATENCY_SPAN):
        buckets.setdefault(row["channel"], {})[row["bucket"]] = row["count"]
    return StockKpis(
        at=now,
        latency=tuple(_latency(channel, counts) for channel, counts in sorted(buckets.items())),
        oversell=tuple(Oversell(**dict(row)) for row in await pool.fetch(_SQL["oversold"], now - RATE_SPAN)),
        staleness_seconds={
            f"{one.source} at {one.location}": max(int((now - one.heard_at).total_seconds()), 0) for one in sources
        },
        stale_feeds=sum(1 for one in sources if one.stale_since is not None),
        held_feeds=sum(1 for one in sources if one.held_since is not None),
        open_drift=await count_open_drift(pool),
        compared=tuple(Compared(**dict(row)) for row in await pool.fetch(_SQL["compared"], now - RATE_SPAN)),
        waiting={lane.channel: lane.waiting for lane in lanes},
        parked={lane.channel: lane.parked for lane in lanes},
    )


class StockAttention(msgspec.Struct, frozen=True):
    """What of stock needs somebody: late feeds, held reports, open differences (up to COUNT_MAX + 1)."""

    stale_feeds: int = 0
    held_feeds: int = 0
    open_drift: int = 0


async def read_attention(pool: asyncpg.Pool[Any]) -> StockAttention:
    row = (await pool.fetch(_SQL["attention"]))[0]
    return StockAttention(row["stale"], row["held"], row["drift"])


async def count_open_drift(pool: asyncpg.Pool[Any]) -> int:
    """Up to COUNT_MAX + 1."""
    count: int = await pool.fetchval(_SQL["count_open"])
    return count


def _latency(channel: str, counts: Mapping[int, int]) -> SyncLatency:
    p50, p95, p99 = (percentile(counts, wanted) for wanted in PERCENTILES)
    return SyncLatency(channel, sum(counts.values()), p50, p95, p99)


def percentile(counts: Mapping[int, int], percent: int) -> int:
    """Milliseconds below which so many percent lie; bucket b holds what took from 2^b to 2^(b+1) ms, taken as spread
    evenly over it."""
    total = sum(counts.values())
    if not total:
        return 0
    rank = -(-total * percent // 100)
    passed = 0
    for bucket, count in sorted(counts.items()):
        if passed + count >= rank:
            return (1 << bucket) + ((1 << bucket) * (rank - passed)) // count
        passed += count
    return 0


def _published(row: Any) -> Published:
    return Published(**{
        **dict(row), "due_at": _time(row["due_at"]), "error_message": masked_text(row["error_message"] or "") or None
    })  # fmt: skip


def _time(at: datetime | None) -> datetime | None:
    """PostgreSQL's endless times are no times."""
    return None if at is None or not 1 < at.year < 9999 else at


def _known(at: datetime) -> datetime:
    return at if at.year > 1 else datetime.fromtimestamp(0, at.tzinfo)
