"""Orders through all systems, on a bad day, in simulated time: how a run of any of its scenarios is played.

An API process and two workers run the real intake, decider, runner, recorder and poller over one real database. The
run ends when nothing is left to be done by itself, or when patience ends; the checkers judge the rest.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Coroutine
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

import asyncpg
import msgspec

from crossdock.engine.control import Control
from crossdock.engine.intake import Intake
from crossdock.engine.worker import make_known
from crossdock.ledger import proof
from crossdock.ledger.acceptance import Arrival
from crossdock.model.errors import CrossdockError
from crossdock.model.facts import CancellationRequested, Fact, OrderChange, OrderPaid
from crossdock.prove.database import ProcessPool
from crossdock.prove.faults import DATABASE, ApiChanged, Plan, YesterdayAgain
from crossdock.prove.history import Acknowledged, Deed, History, Parked
from crossdock.prove.partners import VERSION_GONE
from crossdock.prove.processes import Process, keep_running, make_slot
from crossdock.prove.run import Run, run_api, run_worker
from crossdock.prove.shelf_watch import ShelfWatch, begin_rival, collect_shelves
from crossdock.prove.trade import PlannedOrder, PlannedReport, encode, place_master_data
from crossdock.prove.virtual_time import EPOCH

SENDER_PATIENCE_SECONDS: Final = 5.0
ATTEMPTS_MAX: Final = 200
QUIET_LOOKS: Final = 3
REPLAYS: Final = 4
REPLAY_SECONDS: Final = 3.0
REPLAN_SECONDS: Final = 2.0
"""Then plans are made anew, and each time twice as long after it."""
async def play(run: Run) -> History:
    """Play the run to its end and collect its history."""
    await run.database.send(proof.empty_everything(run.connection))
    observer = Process(make_slot("observer", run.loop, run.history.deeds, Plan()))
    pool: Any = ProcessPool(run.database, observer)
    async with pool.acquire() as connection, connection.transaction():
        await place_master_data(connection, run.business)
    await make_known(pool, run.connect(observer))
    run.warehouse.begin_work(run.warehouse.count())
    for receipt in run.business.receipts:
        run.warehouse.begin_work(run.warehouse.receive(receipt.at_seconds, receipt.goods))
    for loss in run.plan.losses():
        run.partners[loss.partner].begin_work(run.partners[loss.partner].lose(loss))
    lives = {"api": run_api}
    processes = [
        asyncio.create_task(keep_running(slot, _living(run, lives.get(slot.name, run_worker)), run.database.bury))
        for slot in run.slots
    ]
    senders = [asyncio.create_task(work) for work in _everything_that_happens(run, pool)]
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


def _everything_that_happens(run: Run, pool: Any) -> list[Coroutine[Any, Any, None]]:
    """What senders, partners and persons will do, each at its time."""
    orders = [order for order in run.business.orders if order.index not in run.plan.without_orders]
    happening: list[Coroutine[Any, Any, None]] = []
    for kind, act in (("duplicate_order", _send), ("duplicate_fact", _report)):
        for order in orders:
            copies = run.plan.copies(kind, order.index)
            if copies > 1:
                what = f"{order.placed.channel_number} comes {copies} times"
                run.history.deeds.extend([Deed(round(order.at_seconds, 3), kind, what)] * (copies - 1))
            happening.extend(act(run, order) for _ in range(copies))
    happening.extend(_tell(run, report) for report in run.business.reports)
    happening.extend(_repeat(run, repetition) for repetition in run.plan.repetitions())
    happening.extend(_mend(run, pool, change) for change in run.plan.api_changes())
    happening.extend(begin_rival(run, edit) for edit in run.plan.rival_edits())
    return happening


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


async def _tell(run: Run, report: PlannedReport) -> None:
    await asyncio.sleep(report.at_seconds)
    await _record(run, report.fact)


async def _repeat(run: Run, repetition: YesterdayAgain) -> None:
    """Once more, all that came until now: orders under their keys, messages under new numbers."""
    await asyncio.sleep(repetition.at_seconds)
    orders = list(run.placed)
    facts = [*run.recorded.values(), *run.warehouse.told]
    what = f"{len(orders)} orders and {len(facts)} messages come again"
    run.history.deeds.append(Deed(round(run.loop.time(), 3), "yesterday_again", what))
    for arrival in orders:
        await _place(run, arrival)
    for fact in facts:
        await _record(run, msgspec.structs.replace(fact, version="again"))


async def _mend(run: Run, pool: Any, change: ApiChanged) -> None:
    """A person who makes our side read the new version, looks at what is parked, and replays it."""
    control = Control(pool, run.acceptor(run.loop.now), run.plans())
    await asyncio.sleep(change.until_seconds)
    for _ in range(REPLAYS):
        await asyncio.sleep(REPLAY_SECONDS)
        async with pool.acquire() as connection:
            rows = await proof.read_parked(connection, change.partner)
        run.history.parked.extend(
            Parked(row["subject"], row["cause"] or "", row["message"] or "", row["next_action"] or "") for row in rows
        )
        now = run.loop.now()
        await control.replay_steps(now, "the person on duty", connection=change.partner, error_code=VERSION_GONE)
        await control.replay_facts(now, "the person on duty", connection=change.partner, cause="payload_form")


async def _send(run: Run, order: PlannedOrder) -> None:
    """A sender that does not give up: the same order under the same key until it is answered."""
    await asyncio.sleep(order.at_seconds)
    if not run.is_placed(order):
        return
    if order.on_way_seconds:
        await asyncio.sleep(order.on_way_seconds)
    raw = encode(order.placed)
    if order.is_pushed:
        number = order.placed.channel_number
        connection = run.business.channels[order.channel]
        await _record(run, Fact(connection, "order.placed", number, raw, raw, subject=number))
        return
    await _place(run, Arrival(order.channel, order.placed, raw, f"key-{order.index}", hashlib.sha256(raw).digest()))


async def _place(run: Run, arrival: Arrival) -> None:
    number = arrival.placed.channel_number
    for _ in range(ATTEMPTS_MAX):
        intake = run.intake
        if intake is not None:
            try:
                async with asyncio.timeout(SENDER_PATIENCE_SECONDS):
                    answer = await intake.place(arrival)
            except (CrossdockError, TimeoutError, ConnectionError):
                answer = None
            if answer is not None:
                state = answer.acknowledgment.state if answer.acknowledgment is not None else ""
                run.history.acknowledged.append(
                    Acknowledged(run.loop.now(), number, answer.order_id, state, answer.status)
                )
                run.placed.append(arrival)
                return
        await asyncio.sleep(0.3)
    run.history.unanswered.append(number)


async def _report(run: Run, order: PlannedOrder) -> None:
    """What the channel reports about its order: paid, cancelled. Some of it comes before the order."""
    moments: list[tuple[float, Fact]] = []
    number = order.placed.channel_number
    connection = run.business.channels[order.channel]
    if order.paid_after_seconds is not None:
        at = max(order.at_seconds + order.paid_after_seconds, 0)
        paid = OrderPaid(number, f"P-{number}", EPOCH + timedelta(seconds=at))
        moments.append((at, _fact(connection, "order.paid", number, paid)))
    if order.cancel_after_seconds is not None:
        at = order.at_seconds + order.cancel_after_seconds
        request = CancellationRequested(number, EPOCH + timedelta(seconds=at), "changed my mind")
        moments.append((at, _fact(connection, "order.cancellation_requested", number, request)))
    if order.change_after_seconds is not None:
        at = max(order.at_seconds + order.change_after_seconds, 0)
        change = OrderChange(number, EPOCH + timedelta(seconds=at), order.change, "wants less")
        run.history.changes[number] = order.change
        moments.append((at, _fact(connection, "order.change_requested", number, change)))
    passed = 0.0
    for at, fact in sorted(moments, key=lambda item: item[0]):
        await asyncio.sleep(at - passed)
        passed = at
        if not run.is_placed(order):
            return
        shelf = run.shelf_of(order.channel)
        if shelf is not None and fact.kind == "order.cancellation_requested":
            shelf.call_off(number)
        await _record(run, fact)


def _fact(connection: str, kind: str, number: str, body: Any) -> Fact:
    raw = encode(body)
    return Fact(connection, kind, number, raw, raw, subject=number)


async def _record(run: Run, fact: Fact) -> None:
    for _ in range(ATTEMPTS_MAX):
        intake = run.intake
        if intake is not None:
            try:
                async with asyncio.timeout(SENDER_PATIENCE_SECONDS):
                    await _keep(run, intake, fact)
            except (CrossdockError, TimeoutError, OSError, asyncpg.PostgresError):
                pass
            else:
                run.recorded.setdefault((fact.connection, fact.kind, fact.business_key), fact)
                return
        await asyncio.sleep(0.3)
    run.history.unanswered.append(f"{fact.kind} {fact.business_key}")


async def _keep(run: Run, intake: Intake, fact: Fact) -> None:
    # A task of its own: a sender that hangs up does not stop the server's transaction in its middle.
    keeping = asyncio.ensure_future(intake.record([fact]))
    # What a dead process still waits for is kept to the end: it must not go when the garbage is collected.
    run.kept_by_nobody.append(keeping)
    keeping.add_done_callback(lambda done: done.cancelled() or done.exception())
    await asyncio.shield(keeping)


async def _watch(run: Run, pool: Any, senders: list[asyncio.Task[None]]) -> None:
    """Look at the ledger as everybody could, until nothing is left to do."""
    quiet = 0
    shelves = ShelfWatch(run)
    planned_at = REPLAN_SECONDS
    while run.loop.time() < run.rhythm.run_seconds_max and quiet < QUIET_LOOKS:
        await asyncio.sleep(run.rhythm.watch_seconds)
        async with pool.acquire() as connection:
            unfinished, kept = await proof.count_left(connection, run.warehouse.name)
            shows_all = await shelves.look(connection)
            if run.rhythm.replans and run.loop.time() >= planned_at:
                planned_at = run.loop.time() * 2
                await proof.forget_plans(connection)
        is_told = kept == len(run.warehouse.told) and not run.warehouse.is_busy()
        is_quiet = all(task.done() for task in senders) and not unfinished and is_told and shows_all
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
    history.lost = [effect for partner in run.partners.values() for effect in partner.lost]
    history.deeds.extend(deed for partner in run.partners.values() for deed in partner.deeds)
    jumps = run.plan.jumps()
    history.deeds.extend(
        Deed(jump.at_seconds, "clock_jump", f"{jump.host} has its clock off by {jump.seconds:+.3f} s more")
        for jump in jumps if jump.at_seconds <= run.loop.time()
    )  # fmt: skip
    history.deeds.sort(key=lambda deed: (deed.at_seconds, deed.nemesis, deed.what))
    history.clock_skew_seconds = sum(abs(jump.seconds) for jump in jumps if jump.host == DATABASE)
    history.recorded_facts = sorted(set(run.recorded) | {
        (fact.connection, fact.kind, fact.business_key) for fact in run.warehouse.told
    })  # fmt: skip
    collect_shelves(run)
    for table in (*proof.TABLES, *(proof.STOCK_TABLES if run.business.shelves else ())):
        rows = await run.database.send(proof.read_table(run.connection, table))
        history.tables[table] = [{name: _plain(value) for name, value in row.items()} for row in rows]
    history.virtual_seconds = round(run.loop.time(), 6)


def _plain(value: Any) -> Any:
    """Values as they compare and encode: JSON columns as documents."""
    if isinstance(value, bytes):
        return msgspec.json.decode(value)
    return value if not isinstance(value, Decimal) else value.normalize() + 0
