"""Publications as rows: what each channel should show and what it acknowledged; changes taken, lanes leased."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import msgspec

from crossdock.ledger.database import Connection, Queries, as_rows
from crossdock.ledger.steps import SILENT_FOR

_SQL: Final = Queries.load("publications")


@dataclass(frozen=True, slots=True)
class Change:
    """A SKU whose promise may have changed. `owner_at` None: not an owner's doing. `channel`: to be told again."""

    sku: str
    owner_at: datetime | None
    channel: str


class Wanted(msgspec.Struct, frozen=True, gc=False):
    """What a channel should show. `again`: tell it even if it is the same figure. `offered` False: it does not sell
    this, so it is told only if it was told something before. In base
    units: `base`, the figure; `available`, what there is before the channel's terms."""

    channel: str
    sku: str
    unit: str
    quantity: Decimal
    promise_on: date | None
    urgency: int
    owner_at: datetime | None
    again: bool = False
    offered: bool = True
    base: Decimal = Decimal(0)
    available: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class ClaimedFigure:
    """A figure that is due at a channel."""

    sku: str
    unit: str
    wanted: Decimal
    promise_on: date | None
    version: int
    computed_at: datetime
    owner_at: datetime | None
    attempt: int
    urgency: int


class TakenFigure(msgspec.Struct, frozen=True, gc=False):
    """A figure as it was sent."""

    sku: str
    version: int
    figure: Decimal


@dataclass(frozen=True, slots=True)
class FedFigure:
    """A figure that a feed carries."""

    sku: str
    version: int
    figure: Decimal
    attempt: int
    owner_at: datetime | None


class RefusedFigure(msgspec.Struct, frozen=True, gc=False):
    """A figure that the channel did not take, and when it is told again."""

    sku: str
    version: int
    code: str
    message: str
    due_at: datetime
    parked: bool


@dataclass(frozen=True, slots=True)
class LeasedLane:
    """A lane that this worker holds. `feed` is what the partner works on; before `rests_until` it is not called."""

    feed: str | None
    feed_sent_at: datetime | None
    failures: int
    slice: str
    rests_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Pace:
    """A lane's own pace. `calm_tokens`: how many calls must be left before anything that is not urgent is told;
    `calm_seconds`: how long such figures are gathered before a call is spent on them."""

    calls_per_second: Decimal
    burst: Decimal
    batch_max: int
    counts_figures: bool = False
    calm_tokens: Decimal = Decimal(1)
    calm_seconds: int = 0


async def lock_planner(connection: Connection) -> bool:
    """Until the end of the transaction; False while another planner is at work."""
    return bool(await connection.fetchval(_SQL["lock_planner"]))


async def has_changes(connection: Connection) -> bool:
    return bool(await connection.fetchval(_SQL["has_changes"]))


async def take_changes(connection: Connection, newest: int, oldest: int) -> list[Change]:
    """Under the planner's lock: what is taken stands in the stream of changes, in the order of the commits."""
    return [Change(*row) for row in await connection.fetch(_SQL["take_changes"], newest, oldest)]


async def drop_changes(connection: Connection) -> None:
    await connection.execute(_SQL["drop_changes"])


async def find_kits(connection: Connection, components: Sequence[str]) -> dict[str, list[str]]:
    """Kit -> its components, of the kits that contain any of these SKUs."""
    return {row[0]: row[1] for row in await connection.fetch(_SQL["find_kits"], list(components))}


async def place_wanted(connection: Connection, wanted: Sequence[Wanted], now: datetime) -> Counter[str]:
    """Write figures that differ or are to be told again; return how many became due, by channel."""
    rows = await connection.fetch(_SQL["place_wanted"], as_rows(wanted), now)
    due = Counter(row[0] for row in rows)
    again = [row for row in wanted if row.again]
    if again:
        rows = await connection.fetch(
            _SQL["repeat_wanted"], [row.channel for row in again], [row.sku for row in again], now
        )
        due.update(row[0] for row in rows)
    return due


async def tell_again(connection: Connection, subjects: Sequence[tuple[str, str]]) -> None:
    """`subjects` are (channel, SKU): the channel counted for itself since it was told, so it is told anew."""
    if subjects:
        await connection.execute(_SQL["tell_again"], [row[0] for row in subjects], [row[1] for row in subjects])


async def place_lanes(connection: Connection, lanes: Mapping[str, Pace], policy_version: str, now: datetime) -> bool:
    """Make lanes known; True when all figures are to be counted anew because the policy is another."""
    for channel, pace in lanes.items():
        await connection.execute(_SQL["place_lane"], channel, pace.burst, now)
    renewed = [row[0] for row in await connection.fetch(_SQL["renew_policy"], list(lanes), policy_version)]
    if renewed:
        await connection.execute(_SQL["release_parked"], renewed, None, None)
        await connection.execute(_SQL["recount_everything"])
    return bool(renewed)


async def read_stale(connection: Connection) -> frozenset[tuple[str, str]]:
    return frozenset((row[0], row[1]) for row in await connection.fetch(_SQL["read_stale"]))


async def recount_places(connection: Connection, places: Sequence[tuple[str, str]], *, selling: bool) -> None:
    """`places` are (source, location)."""
    await connection.execute(_SQL["recount_places"], [row[0] for row in places], [row[1] for row in places], selling)


async def release_parked(
    connection: Connection, channel: str, code: str | None = None, sku: str | None = None
) -> int:
    """Try parked figures of a channel again, all or some; return how many."""
    return len(await connection.fetch(_SQL["release_parked"], [channel], code, sku))


async def lease_lane(
    connection: Connection, channel: str, worker: str, now: datetime, leased_until: datetime
) -> LeasedLane | None:
    row = await connection.fetchrow(_SQL["lease_lane"], channel, worker, leased_until, now, now - SILENT_FOR)
    return None if row is None else LeasedLane(*row)


async def give_lane_back(connection: Connection, channel: str, worker: str) -> None:
    await connection.execute(_SQL["give_lane_back"], channel, worker)


async def claim_figures(
    connection: Connection, channel: str, worker: str, now: datetime, leased_until: datetime, pace: Pace, partner: str,
    urgent_in_row: int,
) -> list[ClaimedFigure]:  # fmt: skip
    """In the order in which they are to be told. `urgent_in_row` were urgent since the last that was not."""
    rows = await connection.fetch(
        _SQL["claim_figures"], channel, worker, now, pace.batch_max, pace.calls_per_second, pace.burst,
        pace.counts_figures, leased_until, pace.calm_tokens, partner, urgent_in_row,
        now - timedelta(seconds=pace.calm_seconds),
    )  # fmt: skip
    return [ClaimedFigure(*row) for row in rows]


async def read_exposed(
    connection: Connection, skus: Sequence[str], channels: Sequence[str]
) -> dict[tuple[str, str], Decimal]:
    """(SKU, channel) -> the most that the channel may show, in base units."""
    rows = await connection.fetch(_SQL["read_exposed"], list(skus), list(channels))
    return {(row[0], row[1]): row[2] for row in rows}


async def acknowledge_figures(
    connection: Connection, channel: str, worker: str, taken: Sequence[TakenFigure], now: datetime,
    claimed_at: datetime, owner_times: Sequence[datetime | None], *, divides: bool = False,
) -> None:  # fmt: skip
    """`divides`: what the channel shows no more may be shown by another, so its SKUs are counted anew. The time from
    `owner_times`, the owners' commits, until now is counted; figures that no owner caused are left out. What a worker
    told that has lost the lane is told again."""
    if divides:
        await connection.execute(
            _SQL["count_freed"], channel, [row.sku for row in taken], [row.version for row in taken]
        )
    buckets = Counter(
        int(max((now - at).total_seconds(), 0.001) * 1000).bit_length() - 1 for at in owner_times if at is not None
    )
    await connection.execute(
        _SQL["acknowledge_figures"], channel, as_rows(taken), now, claimed_at, list(buckets), list(buckets.values()),
        worker,
    )  # fmt: skip


async def tell_overtaken(connection: Connection, channel: str, worker: str, skus: Sequence[str]) -> None:
    """What was told without an answer is told again where the worker has lost the lane."""
    await connection.execute(_SQL["tell_overtaken"], channel, list(skus), worker)


async def refuse_figures(connection: Connection, channel: str, refused: Sequence[RefusedFigure]) -> None:
    await connection.execute(_SQL["refuse_figures"], channel, as_rows(refused))


async def submit_figures(
    connection: Connection, channel: str, feed: str, sent: Sequence[TakenFigure], now: datetime
) -> None:
    await connection.execute(_SQL["submit_figures"], channel, feed, as_rows(sent))
    await connection.execute(_SQL["open_feed"], channel, feed, now)


async def read_fed(connection: Connection, channel: str, feed: str) -> list[FedFigure]:
    return [FedFigure(*row) for row in await connection.fetch(_SQL["read_fed"], channel, feed)]


async def close_feed(connection: Connection, channel: str, feed: str) -> None:
    await connection.execute(_SQL["close_feed"], channel, feed)


async def note_lane_success(connection: Connection, channel: str, now: datetime) -> None:
    await connection.execute(_SQL["note_lane_success"], channel, now)


async def block_lane(connection: Connection, channel: str, until: datetime, error: str, failures: int) -> None:
    await connection.execute(_SQL["block_lane"], channel, until, error, failures)


async def place_slice(connection: Connection, channel: str, sku: str) -> None:
    await connection.execute(_SQL["place_slice"], channel, sku)


async def read_sample(connection: Connection, channel: str, skus: Sequence[str]) -> list[Any]:
    return list(await connection.fetch(_SQL["read_sample"], channel, list(skus)))
