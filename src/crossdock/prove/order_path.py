"""The scenarios `order-path` and `erp-outage`: orders of a shop through all systems, on a bad day, in simulated time.

An API process and two workers run the real intake, decider, runner, recorder and poller over one real database. The
run ends when nothing is left to be done by itself, or when patience ends; the checkers judge the rest.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

import asyncpg
import msgspec

from crossdock.engine.decider import Decider
from crossdock.engine.intake import Acceptor, Intake
from crossdock.engine.poller import Poller
from crossdock.engine.ports import PlanBook
from crossdock.engine.recorder import Recorder
from crossdock.engine.runner import Runner
from crossdock.engine.worker import Worker, make_known
from crossdock.kit.connector import Connector
from crossdock.ledger import proof
from crossdock.ledger.acceptance import Arrival
from crossdock.ledger.reference import ReferenceCache
from crossdock.model.errors import CrossdockError
from crossdock.model.facts import CancellationRequested, Fact, OrderPaid
from crossdock.policy.resilience import BreakerPolicy, RetryRule, RetryTable
from crossdock.prove.database import ProcessPool, SimulatedDatabase
from crossdock.prove.faults import Plan
from crossdock.prove.history import Acknowledged, History, Sample
from crossdock.prove.partners import SimulatedPartner, connect
from crossdock.prove.processes import Process, Slot, keep_running
from crossdock.prove.systems import SYSTEMS, Pace, Warehouse, declare_all
from crossdock.prove.trade import (
    PLANTED_NAME,
    PLANTED_TOKEN,
    SHOP,
    Business,
    PlannedOrder,
    encode,
    place_master_data,
)
from crossdock.prove.virtual_time import EPOCH, VirtualLoop

ORDER_PATH: Final = "order-path"
ERP_OUTAGE: Final = "erp-outage"
SLOTS: Final = ("api", "worker-a", "worker-b")
IDLE_SECONDS: Final = 0.4
SENDER_PATIENCE_SECONDS: Final = 5.0
ATTEMPTS_MAX: Final = 60
RUN_SECONDS_MAX: Final = 150.0
QUIET_LOOKS: Final = 3
_RETRY: Final = RetryTable(
    unavailable=RetryRule(base_seconds=0.2, cap_seconds=2), in_doubt=RetryRule(base_seconds=0.2, cap_seconds=2)
)
_BREAKER: Final = BreakerPolicy(failures_to_open=5, open_seconds=0.5, cap_seconds=3)


@dataclass(slots=True)
class Run:
    """One run: its parts and what is kept for the history."""

    loop: VirtualLoop
    seed: int
    business: Business
    plan: Plan
    connection: asyncpg.Connection[Any]
    database: SimulatedDatabase
    connectors: Mapping[str, Connector]
    partners: dict[str, SimulatedPartner]
    warehouse: Warehouse
    slots: list[Slot]
    history: History
    intake: Intake | None = None
    recorded: set[tuple[str, str, str]] = field(default_factory=set)

    def plans(self) -> PlanBook:
        return PlanBook(self.business.policy.plans.by_name, {SHOP: "shop"}, {"HAM": "wms", "BHX": "wms"})

    def acceptor(self) -> Acceptor:
        return Acceptor(self.business.policy, self.plans(), ReferenceCache(), self.loop.now)


def make_run(
    loop: VirtualLoop, seed: int, business: Business, plan: Plan, connection: asyncpg.Connection[Any], scenario: str
) -> Run:
    database = SimulatedDatabase(connection, loop, random.Random(f"{seed}/database"))
    warehouse = Warehouse("wms", plan, loop, random.Random(f"{seed}/wms"), business.stock, Pace())
    partners: dict[str, SimulatedPartner] = {
        name: warehouse if name == "wms" else SimulatedPartner(name, plan, loop, random.Random(f"{seed}/{name}"))
        for name in SYSTEMS
    }
    history = History(
        seed, scenario, limits={customer.code: customer.credit_limit for customer in business.customers},
        planted=[PLANTED_TOKEN, PLANTED_NAME],
    )  # fmt: skip
    slots = [Slot(name, plan.kills(name), plan.pauses(name), plan.cuts(name)) for name in SLOTS]
    return Run(
        loop, seed, business, plan, connection, database, declare_all(), partners, warehouse, slots, history
    )  # fmt: skip


async def play(run: Run) -> History:
    """Play the run to its end and collect its history."""
    await run.database.send(proof.empty_everything(run.connection))
    observer = Process(Slot("observer", []))
    pool: Any = ProcessPool(run.database, observer)
    async with pool.acquire() as connection, connection.transaction():
        await place_master_data(connection, run.business)
    await make_known(pool, connect(run.connectors, run.partners, observer))
    run.warehouse.begin_work(run.warehouse.count())
    lives = {"api": run_api}
    processes = [
        asyncio.create_task(keep_running(slot, _living(run, lives.get(slot.name, run_worker)), run.database.bury))
        for slot in run.slots
    ]
    orders = [order for order in run.business.orders if order.index not in run.plan.without_orders]
    senders = [
        asyncio.create_task(_send(run, order))
        for order in orders for _ in range(run.plan.copies("duplicate_order", order.index))
    ] + [
        asyncio.create_task(_report(run, order))
        for order in orders for _ in range(run.plan.copies("duplicate_fact", order.index))
    ]  # fmt: skip
    watching = asyncio.create_task(_watch(run, pool, senders))
    await asyncio.wait([*processes, watching], return_when=asyncio.FIRST_COMPLETED)
    for task in processes:
        if task.done():
            error = task.exception()
            run.history.complaints.append(f"a process ended by itself: {error!r}")
    if watching.done():
        # What the watch itself could not do is a defect of the rig.
        watching.result()
    await _stop(run, [*processes, *senders, watching])
    await _collect(run)
    return run.history


async def _stop(run: Run, tasks: list[asyncio.Task[None]]) -> None:
    """Power off: nobody sends another statement, then all are taken down."""
    for slot in run.slots:
        if slot.current is not None:
            slot.current.alive = False
    await run.database.become_idle()
    for slot in run.slots:
        if slot.current is not None:
            await run.database.bury(slot.current)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _living(run: Run, work: Any) -> Any:
    async def live(process: Process) -> None:
        await work(run, process)

    return live


async def run_api(run: Run, process: Process) -> None:
    pool: Any = ProcessPool(run.database, process)
    async with Intake(pool, run.acceptor(), run.loop.now) as intake:
        run.intake = intake
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            run.intake = None


async def run_worker(run: Run, process: Process) -> None:
    pool: Any = ProcessPool(run.database, process)
    chance = random.Random(f"{run.seed}/{process.name}").random
    plans, now = run.plans(), run.loop.now
    connections = connect(run.connectors, run.partners, process)
    recorder = Recorder(pool, plans, _RETRY, _BREAKER, now, chance)
    runner = Runner(pool, connections, recorder, process.name, now, chance, IDLE_SECONDS)
    decider = Decider(pool, run.acceptor(), plans, now)
    poller = Poller(pool, connections, process.name, now)
    await Worker(pool, decider, runner, poller, process.name, now, idle_seconds=IDLE_SECONDS).run()


async def _send(run: Run, order: PlannedOrder) -> None:
    """A sender that does not give up: the same order under the same key until it is answered."""
    await asyncio.sleep(order.at_seconds)
    raw = encode(order.placed)
    arrival = Arrival(SHOP, order.placed, raw, f"key-{order.index}", hashlib.sha256(raw).digest())
    for _ in range(ATTEMPTS_MAX):
        intake = run.intake
        if intake is not None:
            try:
                answer = await asyncio.wait_for(intake.place(arrival), SENDER_PATIENCE_SECONDS)
            except (CrossdockError, TimeoutError, ConnectionError):
                answer = None
            if answer is not None:
                state = answer.acknowledgment.state if answer.acknowledgment is not None else ""
                run.history.acknowledged.append(Acknowledged(
                    run.loop.now(), order.placed.channel_number, answer.order_id, state, answer.status
                ))  # fmt: skip
                return
        await asyncio.sleep(0.3)
    run.history.unanswered.append(order.placed.channel_number)


async def _report(run: Run, order: PlannedOrder) -> None:
    """What the channel reports about its order: paid, cancelled. Some of it comes before the order."""
    moments: list[tuple[float, Fact]] = []
    number = order.placed.channel_number
    if order.paid_after_seconds is not None:
        at = max(order.at_seconds + order.paid_after_seconds, 0)
        paid = OrderPaid(number, f"P-{number}", EPOCH + timedelta(seconds=at))
        moments.append((at, _fact("order.paid", number, paid)))
    if order.cancel_after_seconds is not None:
        at = order.at_seconds + order.cancel_after_seconds
        request = CancellationRequested(number, EPOCH + timedelta(seconds=at), "changed my mind")
        moments.append((at, _fact("order.cancellation_requested", number, request)))
    passed = 0.0
    for at, fact in sorted(moments, key=lambda item: item[0]):
        await asyncio.sleep(at - passed)
        passed = at
        await _record(run, fact)


def _fact(kind: str, number: str, body: Any) -> Fact:
    raw = encode(body)
    return Fact("shop", kind, number, raw, raw, subject=number)


async def _record(run: Run, fact: Fact) -> None:
    for _ in range(ATTEMPTS_MAX):
        intake = run.intake
        if intake is not None:
            try:
                await asyncio.wait_for(_keep(intake, fact), SENDER_PATIENCE_SECONDS)
            except (CrossdockError, TimeoutError, OSError, asyncpg.PostgresError):
                pass
            else:
                run.recorded.add((fact.connection, fact.kind, fact.business_key))
                return
        await asyncio.sleep(0.3)
    run.history.unanswered.append(f"{fact.kind} {fact.business_key}")


async def _keep(intake: Intake, fact: Fact) -> None:
    # A task of its own: a sender that hangs up does not stop the server's transaction in its middle.
    await asyncio.shield(asyncio.ensure_future(intake.record([fact])))


async def _watch(run: Run, pool: Any, senders: list[asyncio.Task[None]]) -> None:
    """Look at the ledger as everybody could, until nothing is left to do."""
    quiet = 0
    while run.loop.time() < RUN_SECONDS_MAX and quiet < QUIET_LOOKS:
        await asyncio.sleep(0.7)
        async with pool.acquire() as connection:
            exposures = await proof.sample_exposures(connection)
            oversold = await proof.sample_oversold(connection)
            unfinished = await proof.count_unfinished(connection)
            kept = await proof.count_facts_of(connection, run.warehouse.name)
        run.history.samples.append(Sample(run.loop.now(), exposures, oversold))
        is_told = kept == len(run.warehouse.told) and not run.warehouse.is_busy()
        is_quiet = all(task.done() for task in senders) and not unfinished and is_told
        quiet = quiet + 1 if is_quiet else 0


async def _collect(run: Run) -> None:
    history = run.history
    for slot in run.slots:
        history.complaints.extend(f"{slot.name} did not live" for _ in range(1) if not slot.lives)
    history.effects = sorted(
        (effect for partner in run.partners.values() for effect in partner.log),
        key=lambda effect: (effect.at, effect.key),
    )
    history.complaints.extend(complaint for partner in run.partners.values() for complaint in partner.complaints)
    history.counted_stock = {f"{sku} {place}": quantity for (sku, place), quantity in run.warehouse.stock.items()}
    history.dispatched = list(run.warehouse.dispatched)
    history.recorded_facts = sorted(run.recorded | {
        (fact.connection, fact.kind, fact.business_key) for fact in run.warehouse.told
    })  # fmt: skip
    for table in proof.TABLES:
        rows = await run.database.send(proof.read_table(run.connection, table))
        history.tables[table] = [{name: _plain(value) for name, value in row.items()} for row in rows]
    history.virtual_seconds = round(run.loop.time(), 6)


def _plain(value: Any) -> Any:
    """Values as they compare and encode: JSON columns as documents."""
    if isinstance(value, bytes):
        return msgspec.json.decode(value)
    return value if not isinstance(value, Decimal) else value.normalize() + 0
