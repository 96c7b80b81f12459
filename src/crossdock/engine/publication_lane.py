"""A channel's lane for stock: the newest figures, in the partner's batches, at the partner's pace.

Figures are absolute, so whatever became of a call, telling them again is harmless: there is no doubt to be settled,
only a lane that rests and goes on. Items that the channel does not take fail alone. The pace is the lane's own: however
many figures wait, orders go out at theirs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final, TypeVar

import asyncpg
import structlog

from crossdock.engine.clock import APART_SECONDS_MAX, in_step
from crossdock.engine.comparison import ChannelComparison
from crossdock.engine.ports import Clock, OpenConnection
from crossdock.kit.connector import Shown, StockLane, Submitted
from crossdock.ledger import publications as ledger
from crossdock.ledger.database import Connection
from crossdock.ledger.drift import partner_answers
from crossdock.ledger.publications import ClaimedFigure, FedFigure, LeasedLane, Pace, RefusedFigure, TakenFigure
from crossdock.model.errors import CrossdockError, Defect, InDoubt, Invalid, Misconfigured, Refused, Unavailable
from crossdock.model.stock import StockFigure
from crossdock.policy.stock import ChannelStock
from crossdock.rules.publish import after_refusal, lane_wait_seconds, urgent_in_row

LEASE_MARGIN: Final = timedelta(seconds=15)
FEED_LOOK_SECONDS: Final = (0.25, 5.0)
FEED_FORGOTTEN_AFTER: Final = timedelta(hours=1)
SUCCESS_EVERY: Final = timedelta(seconds=2)
RARE: Final = Decimal("0.1")
GATHER_SECONDS_MAX: Final = 60
_log: Final = structlog.get_logger("crossdock.engine.publication_lane")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Sampled:
    """A figure as we believe it and as the channel shows it. `shown` None: the channel does not know the SKU.

    `pending`: a newer figure is on its way, so a difference says nothing yet. `previous` is what the channel
    acknowledged before: a channel that still shows it dropped the newer one.
    """

    sku: str
    unit: str
    wanted: Decimal
    acknowledged: Decimal | None
    previous: Decimal | None
    acknowledged_at: datetime | None
    shown: Decimal | None
    pending: bool
    parked: bool


def lane_pace(declared: StockLane, policy: ChannelStock) -> Pace:
    """The partner's usual limits, or the pace that was agreed with it. Where calls are rare, half of them are kept for
    what is about to sell out, and the rest is gathered for a while."""
    per_second, burst = Decimal(str(declared.calls_per_second)), Decimal(str(max(declared.burst, 1.0)))
    if policy.calls_per_second is not None:
        scaled = burst * policy.calls_per_second / per_second
        burst = max(burst, policy.calls_per_second) if scaled > burst else max(scaled, Decimal(1))
        per_second = policy.calls_per_second
    batch = min(declared.batch_max, policy.batch_max or declared.batch_max)
    if per_second >= RARE:
        return Pace(per_second, burst, batch, declared.counts_figures)
    gathered = min(int(1 / (per_second * burst)), GATHER_SECONDS_MAX)
    return Pace(per_second, burst, batch, declared.counts_figures, calm_tokens=burst / 2, calm_seconds=gathered)


class PublicationLane:
    """One channel's lane in this worker. `turn` does one thing, if this worker holds the lane and something is due."""

    def __init__(
        self, pool: asyncpg.Pool[Any], channel: str, partner: OpenConnection, declared: StockLane,
        policy: ChannelStock, worker: str, clock: Clock, *, divides: bool = False,
    ) -> None:  # fmt: skip
        self.channel = channel
        self.news = asyncio.Event()
        self.told = 0
        self._divides = divides
        self._pool = pool
        self._partner = partner
        self._declared = declared
        self._policy = policy
        self._worker = worker
        self._clock = clock
        self._pace = lane_pace(declared, policy)
        self._batch_max = self._pace.batch_max
        self._lease_for = timedelta(seconds=declared.timeout_seconds) + LEASE_MARGIN
        self._lane: LeasedLane | None = None
        self._leased_until: datetime | None = None
        self._failures = 0
        self._urgent_in_row = 0
        self._feed_look_at: datetime | None = None
        self._feed_look_seconds = FEED_LOOK_SECONDS[0]
        self._comparison = ChannelComparison(pool, channel, partner.name, declared, policy, self._pace.calls_per_second)
        self._success_noted_at: datetime | None = None

    @property
    def pace(self) -> Pace:
        return self._pace

    async def turn(self) -> bool:
        """True when something was told, so that the next turn should follow at once."""
        lane = await self._hold()
        if lane is None:
            return False
        now = self._clock()
        if self._rests(now):
            return False
        if lane.feed is not None:
            return await self._collect(lane, lane.feed, now)
        pace = replace(self._pace, batch_max=self._batch_max)
        async with self._pool.acquire() as connection:
            await in_step(self._clock, connection)
            now = self._clock()
            figures = await ledger.claim_figures(
                connection, self.channel, self._worker, now, now + self._lease_for, pace, self._partner.name,
                self._urgent_in_row,
            )  # fmt: skip
        if not figures:
            await self._compare(lane, now)
            return False
        self._leased_until = now + self._lease_for
        self._urgent_in_row = urgent_in_row(self._urgent_in_row, [row.urgency for row in figures])
        await self._tell(self._lane or lane, figures, now)
        # However much there is to tell, what was told is looked at from time to time.
        await self._compare(lane, self._clock())
        return True

    async def give_back(self) -> None:
        if self._lane is not None:
            async with self._pool.acquire() as connection:
                await ledger.give_lane_back(connection, self.channel, self._worker)

    async def sample(self, skus: Sequence[str]) -> list[Sampled]:
        """What we believe and what the channel shows, of up to `read_max` SKUs in one call. Raises CrossdockError."""
        async with self._pool.acquire() as connection:
            rows = await ledger.read_sample(connection, self.channel, skus)
        shown = await self._ask(self._declared.read_back(self._partner.client, [row["sku"] for row in rows]))
        return [
            Sampled(
                row["sku"], row["unit"], row["wanted"], row["acknowledged"], row["previous"], row["acknowledged_at"],
                shown.get(row["sku"]), row["wanted_version"] > row["acknowledged_version"], row["parked"],
            )
            for row in rows
        ]  # fmt: skip

    async def _hold(self) -> LeasedLane | None:
        """The lease, taken or prolonged in good time."""
        half = self._lease_for / 2
        if self._lane is not None and self._leased_until is not None and self._clock() < self._leased_until - half:
            return self._lane
        return await self._renew()

    async def _renew(self) -> LeasedLane | None:
        """Ask whether the lane is still ours, as after a pause it may not be. Who claims figures learns it so."""
        async with self._pool.acquire() as connection:
            await in_step(self._clock, connection)
            now = self._clock()
            lane = await ledger.lease_lane(connection, self.channel, self._worker, now, now + self._lease_for)
        if lane is not None and self._lane is None:
            self._failures = lane.failures
        self._lane, self._leased_until = lane, now + self._lease_for
        return lane

    async def _tell(self, lane: LeasedLane, figures: Sequence[ClaimedFigure], claimed_at: datetime) -> None:
        asked = [
            StockFigure(row.sku, row.unit, row.wanted, row.version, row.promise_on, row.computed_at) for row in figures
        ]
        try:
            answer = await self._ask(self._declared.publish(self._partner.client, asked))
        except CrossdockError as error:
            await self._fail(error, figures)
            return
        now = self._clock()
        if isinstance(answer, Submitted):
            sent = [TakenFigure(row.sku, row.version, row.wanted) for row in figures]
            async with self._pool.acquire() as connection, connection.transaction():
                await ledger.submit_figures(connection, self.channel, answer.feed, sent, now)
            self._lane = replace(lane, feed=answer.feed, feed_sent_at=now, failures=0)
            self._failures = 0
            self._feed_look_seconds = FEED_LOOK_SECONDS[0]
            self._feed_look_at = now + timedelta(seconds=self._feed_look_seconds)
            return
        told = [FedFigure(row.sku, row.version, row.wanted, row.attempt, row.owner_at) for row in figures]
        await self._record(told, answer, claimed_at, None)
        self._batch_max = min(self._batch_max * 2, self._pace.batch_max)

    async def _collect(self, lane: LeasedLane, feed: str, now: datetime) -> bool:
        """Ask for the outcome of the feed that the partner works on."""
        if self._feed_look_at is not None and now < self._feed_look_at:
            return False
        self._feed_look_seconds = min(self._feed_look_seconds * 1.5, FEED_LOOK_SECONDS[1])
        self._feed_look_at = now + timedelta(seconds=self._feed_look_seconds)
        async with self._pool.acquire() as connection:
            if not await partner_answers(connection, self._partner.name, now):
                return False
        # Last, so that nothing that takes long comes between this and the call.
        if await self._renew() is None or self._rests(self._clock()):
            return False
        forgotten = lane.feed_sent_at is not None and now - lane.feed_sent_at > FEED_FORGOTTEN_AFTER
        try:
            if self._declared.collect is None:
                raise Invalid("feed_lost", "The connector cannot ask for the outcome of a feed.")
            answer = await self._ask(self._declared.collect(self._partner.client, feed))
        except (Invalid, Refused) as error:
            # The partner does not know the feed: its figures are told again.
            _log.warning("feed_lost", channel=self.channel, feed=feed, code=error.code)
            answer, forgotten = None, True
        except CrossdockError as error:
            # What became of it is asked again: a second feed would cost a call of few, and may overtake this one.
            await self._rest(error)
            return False
        if answer is None and not forgotten:
            return False
        async with self._pool.acquire() as connection:
            fed = await ledger.read_fed(connection, self.channel, feed)
        if answer is not None:
            await self._record(fed, answer, lane.feed_sent_at or now, feed)
        else:
            async with self._pool.acquire() as connection:
                await ledger.close_feed(connection, self.channel, feed)
        self._lane = replace(self._lane or lane, feed=None, feed_sent_at=None, failures=0)
        return True

    async def _record(
        self, told: Sequence[FedFigure], answer: Sequence[Shown], claimed_at: datetime, feed: str | None
    ) -> None:
        """What the channel said of each figure. What it said nothing about was not taken."""
        now = self._clock()
        by_sku = {shown.sku: shown for shown in answer}
        silence = Shown("", "not_answered", "The channel said nothing about this item.")
        taken = [row for row in told if row.sku in by_sku and not by_sku[row.sku].code]
        refused = [
            _refused(row, by_sku.get(row.sku, silence), now) for row in told
            if row.sku not in by_sku or by_sku[row.sku].code
        ]  # fmt: skip
        wait = max((shown.wait_seconds for shown in answer), default=0.0)
        praised = self._failures or self._success_noted_at is None or now - self._success_noted_at > SUCCESS_EVERY
        # Mostly there is one thing to write, which needs no transaction around it.
        several = bool(refused or feed is not None or wait or praised or self._divides)
        async with self._pool.acquire() as connection, connection.transaction() if several else nullcontext():
            if taken:
                rows = [TakenFigure(row.sku, row.version, row.figure) for row in taken]
                owner_times = [row.owner_at for row in taken]
                await ledger.acknowledge_figures(
                    connection, self.channel, self._worker, rows, now, claimed_at, owner_times, divides=self._divides
                )
            if refused:
                await ledger.refuse_figures(connection, self.channel, refused)
                await ledger.tell_overtaken(connection, self.channel, self._worker, [row.sku for row in refused])
            if feed is not None:
                await ledger.close_feed(connection, self.channel, feed)
            if wait:
                await self._block(connection, now, wait + APART_SECONDS_MAX, "The channel asked for a wait.", 0)
            elif praised:
                await ledger.note_lane_success(connection, self.channel, now)
                self._success_noted_at = now
        self._failures = 0
        self.told += len(taken)
        if refused:
            _log.info("figures_refused", channel=self.channel, count=len(refused), code=refused[0].code)

    async def _fail(self, error: CrossdockError, figures: Sequence[ClaimedFigure]) -> None:
        """The call as a whole failed: the lane rests. A batch that the partner finds wrong is told in smaller ones,
        until the one wrong figure is alone."""
        now = self._clock()
        if not isinstance(error, Unavailable | InDoubt | Misconfigured):
            if len(figures) > 1:
                self._batch_max = max(len(figures) // 2, 1)
                _log.warning("batch_refused", channel=self.channel, count=len(figures), code=error.code)
                return
            refused = [_refused(row, Shown(row.sku, error.code, error.message), now) for row in figures]
            async with self._pool.acquire() as connection:
                await ledger.refuse_figures(connection, self.channel, refused)
            return
        await self._rest(error, [row.sku for row in figures])

    async def _rest(self, error: CrossdockError, doubtful: Sequence[str] = ()) -> None:
        """Leave the channel alone for a while. What may still arrive there is not overtaken by what is told next."""
        self._failures += 1
        asked = error.retry_after_seconds if isinstance(error, Unavailable) else None
        wait = lane_wait_seconds(
            self._failures, None if asked is None else Decimal(str(asked)),
            operator_must_act=isinstance(error, Misconfigured),
        )  # fmt: skip
        seconds = float(wait)
        if asked is not None:
            seconds += APART_SECONDS_MAX
        if isinstance(error, InDoubt):
            seconds = max(seconds, self._declared.settle_seconds)
        async with self._pool.acquire() as connection, connection.transaction():
            if isinstance(error, InDoubt) and doubtful:
                await ledger.tell_overtaken(connection, self.channel, self._worker, doubtful)
            await self._block(connection, self._clock(), seconds, error.message, 1)
        _log.warning("lane_rests", channel=self.channel, code=error.code, seconds=seconds)

    async def _block(self, connection: Connection, now: datetime, seconds: float, why: str, failures: int) -> None:
        until = now + timedelta(seconds=seconds)
        await ledger.block_lane(connection, self.channel, until, why, failures)
        if self._lane is not None:
            self._lane = replace(self._lane, rests_until=until)

    def _rests(self, now: datetime) -> bool:
        return self._lane is not None and self._lane.rests_until is not None and now < self._lane.rests_until

    async def _compare(self, lane: LeasedLane, now: datetime) -> None:
        """Hold a slice of what the channel shows against what it was told."""
        if not self._comparison.is_due(now) or await self._renew() is None or self._rests(now):
            return
        reached = await self._comparison.look(lane.slice, now, self._read_back)
        if reached is None or reached == lane.slice:
            return
        async with self._pool.acquire() as connection:
            await ledger.place_slice(connection, self.channel, reached)
        # Not `lane`: a feed may have been submitted meanwhile.
        self._lane = replace(self._lane or lane, slice=reached)

    async def _read_back(self, skus: Sequence[str]) -> Mapping[str, Decimal]:
        try:
            return await self._ask(self._declared.read_back(self._partner.client, skus))
        except Unavailable as error:
            if error.retry_after_seconds is not None:
                await self._rest(error)
            raise

    async def _ask(self, call: Awaitable[Answer]) -> Answer:
        """A call under its deadline; whatever else goes wrong in a connector is its own defect."""
        try:
            async with asyncio.timeout(self._declared.timeout_seconds):
                return await call
        except TimeoutError:
            raise InDoubt("call_timeout", "The partner did not answer in time.") from None
        except (CrossdockError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
            raise
        except Exception as error:
            detail = repr(error)
            raise Defect("connector_defect", "The connector failed in an unforeseen way.", detail=detail) from error


def _refused(row: FedFigure | ClaimedFigure, shown: Shown, now: datetime) -> RefusedFigure:
    follows = after_refusal(shown.code, row.attempt + 1)
    due_at = now + timedelta(seconds=follows.after_seconds)
    return RefusedFigure(row.sku, row.version, shown.code, shown.message[:500], due_at, follows.parked)
