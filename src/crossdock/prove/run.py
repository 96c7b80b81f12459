"""A run in simulated time: its processes, partners and database, and what is kept of it for the history.

An API process and two workers run the real intake, decider, runner, recorder and poller; where channels are told stock,
also the real publisher and reconciler.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import asyncpg
import msgspec

from crossdock.engine.clock import Readings, SharedClock, open_clock
from crossdock.engine.comparison import Reconciler
from crossdock.engine.decider import Decider
from crossdock.engine.intake import Acceptor, Intake
from crossdock.engine.poller import Poller
from crossdock.engine.ports import Clock, OpenConnection, PlanBook
from crossdock.engine.presence import present
from crossdock.engine.publisher import Pauses, Publisher
from crossdock.engine.recorder import Recorder
from crossdock.engine.runner import Runner
from crossdock.engine.worker import Housekeeping, Worker
from crossdock.kit.connector import Connector
from crossdock.ledger.acceptance import Arrival
from crossdock.ledger.patience import patiently
from crossdock.ledger.reference import ReferenceCache
from crossdock.model.facts import Fact
from crossdock.policy.resilience import BreakerPolicy, RetryRule, RetryTable
from crossdock.prove.database import ProcessPool, SimulatedDatabase
from crossdock.prove.direct import DirectConnection
from crossdock.prove.faults import DATABASE, Plan
from crossdock.prove.history import Held, History, Moment
from crossdock.prove.partners import SimulatedPartner, connect
from crossdock.prove.processes import Process, Slot, make_slot
from crossdock.prove.shelves import ShelfChannel
from crossdock.prove.stock_history import StockHistory
from crossdock.prove.systems import FEED, FEED_SECONDS, SYSTEMS, Warehouse, declare_all
from crossdock.prove.trade import PLANTED_NAME, PLANTED_TOKEN, Business, PlannedOrder
from crossdock.prove.virtual_time import VirtualLoop

SLOTS: Final = ("api", "worker-a", "worker-b")
_RETRY: Final = RetryTable(
    unavailable=RetryRule(base_seconds=0.2, cap_seconds=2), in_doubt=RetryRule(base_seconds=0.2, cap_seconds=2)
)
_BREAKER: Final = BreakerPolicy(failures_to_open=5, open_seconds=0.5, cap_seconds=3)


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often somebody looks whether there is something to do, and when patience ends. `replans`: statements are
    planned anew while the tables grow. `is_slow_alone`: a statement that commits by itself takes time like all commits,
    so that orders come together meanwhile."""

    idle_seconds: float = 0.6
    feed_seconds: float = FEED_SECONDS
    poll_seconds: float = 0.5
    watch_seconds: float = 0.7
    run_seconds_max: float = 150
    housekeeping: Housekeeping = Housekeeping()  # noqa: RUF009 - frozen
    telling: Pauses = Pauses()  # noqa: RUF009 - frozen
    replans: bool = False
    is_slow_alone: bool = False


class Changes(msgspec.Struct, frozen=True):
    """What the database says of a commit."""

    exposures: dict[str, Decimal] | None
    stock: list[tuple[str, str, Decimal, Decimal]] | None
    reservations: list[Held] | None
    orders: list[tuple[int, str]] | None


_CHANGES: Final = msgspec.json.Decoder(Changes)


@dataclass(slots=True)
class Run:
    """One run: its parts and what is kept for the history."""

    loop: VirtualLoop
    seed: int
    business: Business
    plan: Plan
    rhythm: Rhythm
    connection: asyncpg.Connection[Any]
    direct: DirectConnection
    history: History
    warehouse: Warehouse
    partners: dict[str, SimulatedPartner]
    connectors: Mapping[str, Connector]
    slots: list[Slot]
    intake: Intake | None = None
    recorded: dict[tuple[str, str, str], Fact] = field(default_factory=dict)
    placed: list[Arrival] = field(default_factory=list)
    kept_by_nobody: list[asyncio.Future[Any]] = field(default_factory=list)
    database: SimulatedDatabase = field(init=False)

    def __post_init__(self) -> None:
        self.database = SimulatedDatabase(
            self.connection, self.direct, self.loop, random.Random(f"{self.seed}/database"), self._observe,
            is_slow_alone=self.rhythm.is_slow_alone,
        )  # fmt: skip

    def plans(self) -> PlanBook:
        policy = self.business.policy
        return PlanBook(
            policy.plans.by_name, self.business.channels, {"HAM": "wms", "BHX": "wms"},
            told_channels=frozenset(policy.stock.channels),
        )  # fmt: skip

    def acceptor(self, clock: Clock) -> Acceptor:
        return Acceptor(self.business.policy, self.plans(), ReferenceCache(), clock)

    def shelf_of(self, channel: str) -> ShelfChannel | None:
        """The channel's system, where it is told stock."""
        partner = self.partners[self.business.channels[channel]]
        return partner if isinstance(partner, ShelfChannel) else None

    def is_placed(self, order: PlannedOrder) -> bool:
        """Whether its buyer could place the order: a channel that is told stock sells what it shows, once each."""
        shelf = self.shelf_of(order.channel)
        return shelf is None or shelf.sell(order.placed)

    def host_time(self, host: str) -> datetime:
        """What the clock of a host shows: that of a process, or the database's."""
        now = self.loop.time()
        jumps = [jump.seconds for jump in self.plan.jumps() if jump.host == host and jump.at_seconds <= now]
        return self.loop.now() + timedelta(seconds=sum(jumps))

    def connect(self, process: Process) -> list[OpenConnection]:
        return connect(self.connectors, self.partners, process, {FEED: self.rhythm.feed_seconds})

    def _observe(self, process: Process, raw: bytes) -> None:
        changes = _CHANGES.decode(raw)
        moment = Moment(
            self.loop.now(), process.name, changes.exposures or {}, changes.stock or [], changes.reservations or [],
            changes.orders or [],
        )  # fmt: skip
        if moment.exposures or moment.stock or moment.reservations or moment.orders:
            self.history.moments.append(moment)


def make_run(
    loop: VirtualLoop, seed: int, business: Business, plan: Plan, connection: asyncpg.Connection[Any],
    direct: DirectConnection, scenario: str, rhythm: Rhythm,
) -> Run:  # fmt: skip
    warehouse = Warehouse("wms", plan, loop, random.Random(f"{seed}/wms"), business.stock, business.pace)
    partners: dict[str, SimulatedPartner] = {}
    for name in (*SYSTEMS, *sorted(set(business.channels.values()))):
        chance = random.Random(f"{seed}/{name}")
        if name == "wms":
            partners[name] = warehouse
        elif name in business.shelves:
            partners[name] = ShelfChannel(name, plan, loop, chance, business.shelves[name])
        else:
            partners[name] = SimulatedPartner(name, plan, loop, chance)
    kind = StockHistory if business.shelves else History
    history = kind(
        seed, scenario, limits={customer.code: customer.credit_limit for customer in business.customers},
        planted=[PLANTED_TOKEN, PLANTED_NAME], prices=business.prices,
    )  # fmt: skip
    slots = [make_slot(name, loop, history.deeds, plan) for name in SLOTS]
    connectors = declare_all(warehouse, sorted(set(business.channels.values())), business.shelves)
    return Run(loop, seed, business, plan, rhythm, connection, direct, history, warehouse, partners, connectors, slots)


async def run_api(run: Run, process: Process) -> None:
    pool: Any = ProcessPool(run.database, process)
    now = await start_clock(run, process, pool)
    async with present(pool, process.name, "api", now), Intake(pool, run.acceptor(now), now) as intake:
        run.intake = intake
        try:
            await now.keep_following(pool)
        finally:
            run.intake = None


async def start_clock(run: Run, process: Process, pool: Any) -> SharedClock:
    """A process's clock as the product has it; what the database says of the time is simulated."""

    async def read_time(_source: Any) -> datetime:
        await process.reach()
        return run.host_time(DATABASE)

    return await patiently(lambda: open_clock(pool, Readings(time_of=read_time, monotonic=run.loop.time)))


async def run_worker(run: Run, process: Process) -> None:
    pool: Any = ProcessPool(run.database, process)
    chance = random.Random(f"{run.seed}/{process.name}").random
    plans = run.plans()
    now = await start_clock(run, process, pool)
    connections = run.connect(process)
    recorder = Recorder(pool, plans, _RETRY, _BREAKER, now, chance)
    runner = Runner(pool, connections, recorder, process.name, now, chance, run.rhythm.idle_seconds)
    decider = Decider(pool, run.acceptor(now), plans, now)
    poller = Poller(pool, connections, process.name, now, idle_seconds=run.rhythm.poll_seconds)
    publisher = reconciler = None
    if run.business.shelves:
        policy = run.business.policy
        publisher = Publisher(pool, connections, policy, process.name, now, run.rhythm.telling)
        reconciler = Reconciler(pool, connections, policy.stock, publisher.calls_per_second, now)
    worker = Worker(
        pool, decider, runner, poller, process.name, now, publisher, reconciler=reconciler,
        idle_seconds=run.rhythm.idle_seconds, housekeeping=run.rhythm.housekeeping,
    )  # fmt: skip
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(now.keep_following(pool))
        tasks.create_task(worker.run())


