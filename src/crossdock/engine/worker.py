"""A worker process: decider, runner, poller, publisher and housekeeping side by side, until it is told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
import structlog

from crossdock.engine.batching import DATABASE_LOST
from crossdock.engine.clock import in_step
from crossdock.engine.comparison import Reconciler
from crossdock.engine.decider import Decider
from crossdock.engine.holds import expire_holds
from crossdock.engine.poller import Poller
from crossdock.engine.ports import Clock, OpenConnection
from crossdock.engine.presence import BEAT_SECONDS, beat
from crossdock.engine.publisher import Publisher
from crossdock.engine.releases import StockHolds
from crossdock.engine.retention import Sweeper
from crossdock.engine.runner import Runner
from crossdock.ledger import steps as ledger
from crossdock.ledger.facts import expire_early

IDLE_SECONDS: Final = 0.05
SWEEP_SECONDS: Final = 60.0
_log: Final = structlog.get_logger("crossdock.engine.worker")


@dataclass(frozen=True, slots=True)
class Housekeeping:
    """How often a worker looks at what is over, overdue or wanted again."""

    expiry_seconds: float = 1.0
    supply_seconds: float = 2.0
    stock_holds_seconds: float = 1.0
    mended_seconds: float = 1.0
    watch_seconds: float = 2.0
    reconcile_seconds: float = 2.0


class Worker:
    """`run` goes on until cancelled. A lost database is waited for; nothing else ends it."""

    def __init__(
        self, pool: asyncpg.Pool[Any], decider: Decider, runner: Runner, poller: Poller, name: str, clock: Clock,
        publisher: Publisher | None = None, sweeper: Sweeper | None = None,
        reconciler: Reconciler | None = None, stock_holds: StockHolds | None = None, idle_seconds: float = IDLE_SECONDS,
        housekeeping: Housekeeping = Housekeeping(),
    ) -> None:  # fmt: skip
        self._pool = pool
        self._decider = decider
        self._runner = runner
        self._poller = poller
        self._name = name
        self._clock = clock
        self._publisher = publisher
        self._sweeper = sweeper
        self._reconciler = reconciler
        self._stock_holds = stock_holds
        self._idle_seconds = idle_seconds
        self._housekeeping = housekeeping

    async def run(self) -> None:
        await self._appear()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._runner.run(), name="runner")
                tasks.create_task(self._poller.run(), name="poller")
                if self._publisher is not None:
                    tasks.create_task(self._publisher.run(), name="publisher")
                if self._reconciler is not None:
                    channels, owners = self._reconciler.look_at_channels, self._reconciler.look_at_owners
                    tasks.create_task(self._reconcile_forever(channels), name="channel repairs")
                    tasks.create_task(self._reconcile_forever(owners), name="owner comparison")
                tasks.create_task(self._decide_forever(self._decider.decide_orders), name="decider")
                tasks.create_task(self._decide_forever(self._decider.decide_stock), name="stock desk")
                pause = self._housekeeping
                tasks.create_task(self._repeat(self._decider.watch_stock, pause.watch_seconds), name="stock watch")
                tasks.create_task(self._repeat(self._beat, BEAT_SECONDS), name="beat")
                tasks.create_task(self._repeat(self._expire, pause.expiry_seconds), name="expiry")
                tasks.create_task(self._repeat(self._allocate, pause.supply_seconds), name="supply")
                holds = self._repeat(self._release_stock_holds, pause.stock_holds_seconds)
                tasks.create_task(holds, name="stock holds")
                tasks.create_task(self._repeat(self._wake_mended, pause.mended_seconds), name="refused orders")
                tasks.create_task(self._repeat(self._sweep, SWEEP_SECONDS), name="retention")
        finally:
            await self._say_goodbye()

    async def _decide_forever(self, decide: Callable[[], Awaitable[int]]) -> None:
        while True:
            try:
                decided = await decide()
            except DATABASE_LOST as error:
                _log.warning("decide_failed", error=type(error).__name__)
                decided = 0
                await asyncio.sleep(0.5)
            if not decided:
                await asyncio.sleep(self._idle_seconds)

    async def _repeat(self, work: Callable[[], Awaitable[None]], seconds: float) -> None:
        while True:
            try:
                await work()
            except DATABASE_LOST as error:
                _log.warning("housekeeping_failed", error=type(error).__name__)
            await asyncio.sleep(seconds)

    async def _reconcile_forever(self, work: Callable[[], Awaitable[None]]) -> None:
        """A defect in a comparison is no reason to stop orders: it is told, and the next round tries again."""

        async def survive() -> None:
            try:
                await work()
            except DATABASE_LOST:
                raise
            except Exception as error:  # noqa: BLE001 - orders go on
                _log.error("reconcile_failed", error=repr(error))

        await self._repeat(survive, self._housekeeping.reconcile_seconds)

    async def _appear(self) -> None:
        """Be known as alive before anything is claimed: what a stranger holds counts as lost."""
        while True:
            try:
                await self._beat()
                return
            except DATABASE_LOST as error:
                _log.warning("appear_failed", error=type(error).__name__)
                await asyncio.sleep(0.5)

    async def _beat(self) -> None:
        async with self._pool.acquire() as connection:
            await beat(connection, self._name, "worker", self._clock)

    async def _allocate(self) -> None:
        await self._decider.allocate_supply()

    async def _release_stock_holds(self) -> None:
        if self._stock_holds is not None:
            await self._stock_holds.release_covered()

    async def _wake_mended(self) -> None:
        await self._decider.wake_mended()

    async def _expire(self) -> None:
        async with self._pool.acquire() as connection:
            await in_step(self._clock, connection)
            now = self._clock()
            lost = await ledger.expire_leases(connection, now)
            await expire_early(connection, now)
        await self._decider.wake_overtaken()
        await expire_holds(self._pool, now)
        if lost:
            _log.info("leases_expired", steps=lost)

    async def _sweep(self) -> None:
        swept = await self._sweeper.sweep() if self._sweeper is not None else 0
        if swept:
            _log.info("retention_swept", facts=swept)

    async def _say_goodbye(self) -> None:
        try:
            async with self._pool.acquire() as connection:
                await ledger.end_process(connection, self._name)
        except DATABASE_LOST as error:
            _log.warning("goodbye_failed", error=type(error).__name__)


async def make_known(pool: asyncpg.Pool[Any], connections: Sequence[OpenConnection]) -> None:
    """Write the configured connections, their lanes and feeds; what operators set is kept.

    Each in a transaction of its own: nobody who is at work holds one connection's rows while he waits for another's.
    """
    async with pool.acquire() as database:
        for opened in sorted(connections, key=lambda item: item.name):
            feeds = [
                (feed.name, opened.feed_seconds.get(feed.name, feed.interval_seconds))
                for feed in opened.connector.feeds
            ]
            async with database.transaction():
                await ledger.place_connection(
                    database, opened.name, opened.connector.system, opened.calls_per_second, opened.burst,
                    [operation.name for operation in opened.connector.operations], feeds,
                )  # fmt: skip
