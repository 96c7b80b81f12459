"""The recorder: what became of steps is decided together with their orders, many at once, in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import asyncpg
import msgspec
import structlog

from crossdock.engine.clock import APART_SECONDS_MAX, in_step
from crossdock.engine.ports import Chance, Clock, PlanBook
from crossdock.kit.connector import Done, Exchange, Operation
from crossdock.ledger import steps as ledger
from crossdock.ledger.decisions import (
    LockedOrder,
    OrderDecision,
    lock_orders,
    read_orders,
    read_step_views,
    write_decisions,
)
from crossdock.ledger.publications import tell_again
from crossdock.ledger.steps import ClaimedStep, Outcome
from crossdock.ledger.stock import Told
from crossdock.model.errors import CrossdockError, Defect, InDoubt, Misconfigured, Unavailable
from crossdock.model.orders import Order
from crossdock.policy.resilience import BreakerPolicy, RetryTable
from crossdock.rules.breaker import Breaker, after_calls
from crossdock.rules.decision import Decision, StepView, merge
from crossdock.rules.outcome import close_order, decide_done, decide_refused, has_rest
from crossdock.rules.retry import Move, next_move

# What a channel hears of an order that it keeps back from its stock.
_SETTLING: Final = ("channel.acknowledge", "channel.cancel", "channel.change")
NOTE_EVERY: Final = timedelta(seconds=1)
QUIET_FOR: Final = timedelta(seconds=0.5)
"""So long a breaker seen closed without failures is not read again while all calls succeed. Less than any open time
that makes sense, so that a trial call of a half-open lane is never taken for a quiet one."""
_ENCODER: Final = msgspec.json.Encoder()
_log: Final = structlog.get_logger("crossdock.engine.recorder")


class Ended(msgspec.Struct, frozen=True):
    """A call that ended, well or not."""

    step: ClaimedStep
    operation: Operation
    answer: Done | CrossdockError
    exchanges: Sequence[Exchange]
    started_at: datetime
    ended_at: datetime


@dataclass(slots=True)
class _Fold:
    """What is decided about one order so far in a batch."""

    locked: LockedOrder
    decision: Decision
    ended: int = 0
    told: list[Told] = field(default_factory=list)


class Recorder:
    def __init__(
        self,
        pool: asyncpg.Pool[Any],
        plans: PlanBook,
        retry: RetryTable,
        breaker: BreakerPolicy,
        clock: Clock,
        chance: Chance,
    ) -> None:
        self._pool = pool
        self._plans = plans
        self._retry = retry
        self._breaker = breaker
        self._clock = clock
        self._chance = chance
        self._noted: dict[str, datetime] = {}
        self._quiet_until: dict[tuple[str, str], datetime] = {}

    async def record(self, worker: str, ended: Sequence[Ended]) -> None:
        """Write a batch of ends; what a lost lease no longer covers is kept as an attempt only."""
        try:
            await self._record(worker, ended, {id(item): self._move(item) for item in ended})
        except (Defect, Misconfigured):
            # What follows from one of them cannot be written: the others go on without it.
            for item in ended:
                await self._record_alone(worker, item)

    async def _record_alone(self, worker: str, item: Ended) -> None:
        try:
            await self._record(worker, [item], {id(item): self._move(item)})
        except (Defect, Misconfigured) as error:
            _log.error("outcome_not_written", step=item.step.name, order=item.step.number, code=error.code)
            # The call has ended: a replay must ask the partner before it sends again.
            doubt = InDoubt(error.code, error.message, detail=error.detail, next_action=error.next_action)
            parked = msgspec.structs.replace(item, answer=doubt)
            await self._record(worker, [parked], {id(parked): Move("park")})

    async def _record(self, worker: str, ended: Sequence[Ended], moves: Mapping[int, Move | None]) -> None:
        async with self._pool.acquire() as connection:
            await in_step(self._clock, connection)
            async with connection.transaction():
                locked = await lock_orders(connection, [item.step.order_id for item in ended])
                # Only now: who held the orders before has dated what it decided about them.
                now = self._clock()
                outcomes = [_outcome(item, moves[id(item)], now) for item in ended]
                counted = await ledger.record_outcomes(connection, worker, outcomes, now)
                counting = [item for item in ended if ledger.attempt_of(item.step) in counted]
                await self._decide(connection, counting, moves, locked, now)
                await self._note(connection, ended, now)

    async def _decide(
        self, connection: Any, ended: Sequence[Ended], moves: Mapping[int, Move | None],
        locked: Mapping[int, LockedOrder],
        now: datetime,
    ) -> None:  # fmt: skip
        final = [item for item in ended if isinstance(item.answer, Done) or _is_fail(moves[id(item)])]
        if not final:
            return
        orders = {item.step.order_id: item.step.order for item in final}
        # An order that was refused, held and released has a new body; a step of its earlier round has the old one.
        renewed = [order_id for order_id in orders if _was_refused(locked[order_id])]
        orders.update(await read_orders(connection, renewed))
        looked_at = {
            item.step.order_id for item in final
            if not isinstance(item.answer, Done) or item.step.operation == "wms.cancel"
            or locked[item.step.order_id].progress.state in ("cancelled", "held")
        }  # fmt: skip
        views = await read_step_views(connection, sorted(looked_at))
        folds: dict[int, _Fold] = {}
        failed: list[tuple[int, str]] = []
        for item in final:
            order_id = item.step.order_id
            fold = folds.setdefault(order_id, _Fold(locked[order_id], Decision(locked[order_id].progress)))
            decision = self._decide_one(item, fold, orders[order_id], views.get(order_id, ()), now)
            if decision is None:
                continue
            if not isinstance(item.answer, Done):
                failed.append((order_id, item.step.name))
            elif item.step.operation in self._plans.ownership.telling:
                shipment = item.step.name.partition(":")[2]
                fold.told.append(Told(order_id, item.step.operation, item.step.name, shipment, _known_at(item)))
            fold.decision = merge(fold.decision, decision)
            fold.ended += 1
        await ledger.fail_steps(connection, failed, now)
        folded = [fold for fold in folds.values() if fold.ended]
        with_rest = {fold.locked.order_id for fold in folded if has_rest(fold.decision.progress)} - views.keys()
        views |= await read_step_views(connection, sorted(with_rest))
        for fold in folded:
            order_id = fold.locked.order_id
            order = orders[order_id]
            ends_on_steps = self._plans.ends_on_steps(order, fold.decision, fold.locked.steps_open - fold.ended)
            if ends_on_steps is not None:
                fold.decision = close_order(order, fold.decision, ends_on_steps, views.get(order_id, ()), now)
        await write_decisions(connection, [
            OrderDecision(
                fold.locked, fold.decision, orders[fold.locked.order_id], fold.ended, told=tuple(fold.told)
            ) for fold in folded
        ], now, self._plans.ownership)  # fmt: skip
        await self._tell_again(connection, final, orders)

    async def _tell_again(self, connection: Any, ended: Sequence[Ended], orders: Mapping[int, Order]) -> None:
        """A channel that keeps orders back from its stock is told it anew once it knows what became of them."""
        confirmed = {
            (order.channel, line.sku)
            for item in ended
            if item.step.operation in _SETTLING and isinstance(item.answer, Done)
            for order in [orders[item.step.order_id]] if order.channel in self._plans.told_channels
            for line in order.lines
        }  # fmt: skip
        await tell_again(connection, sorted(confirmed))

    def _decide_one(
        self, item: Ended, fold: _Fold, order: Order, views: Sequence[StepView], now: datetime
    ) -> Decision | None:
        view = StepView(item.step.name, item.step.connection, item.step.operation, "done")
        if isinstance(item.answer, Done):
            return decide_done(
                order,
                fold.decision.progress,
                view,
                item.step.payload,
                item.answer.result,
                item.answer.external_id,
                views,
                now,
            )
        plan = self._plans.plan_of(order)
        return decide_refused(order, fold.decision.progress, view, item.answer, views, plan, now)

    def _move(self, item: Ended) -> Move | None:
        if isinstance(item.answer, Done):
            return None
        settle_seconds = item.operation.settle_seconds + _late_seconds(item)
        move = next_move(item.answer, item.step.failures, self._chance(), self._retry, settle_seconds)
        if move.action == "probe" or (move.action == "retry" and _asked_to_wait(item.answer)):
            # Another worker may go on with it, and its clock may be ahead.
            return Move(move.action, move.after_seconds + APART_SECONDS_MAX)
        return move

    async def _note(self, connection: Any, ended: Sequence[Ended], now: datetime) -> None:
        """Breakers and signs of life; quiet when all is well and was noted a moment ago."""
        notes: dict[str, tuple[str, datetime | None, datetime | None, str | None, datetime | None]] = {}
        for item in ended:
            name, answer = item.step.connection, item.answer
            if isinstance(answer, Done):
                if now - self._noted.get(name, now - NOTE_EVERY) >= NOTE_EVERY and name not in notes:
                    notes[name] = (name, now, None, None, None)
                continue
            asked = _asked_to_wait(answer)
            blocked = now + timedelta(seconds=asked + APART_SECONDS_MAX) if asked else None
            earlier = notes.get(name)
            blocked = max(filter(None, (blocked, earlier[4] if earlier else None)), default=None)
            notes[name] = (name, earlier[1] if earlier else None, now, answer.message, blocked)
        for name in notes:
            self._noted[name] = now
        # Connections before lanes, as the claim locks them.
        await ledger.note_connections(connection, sorted(notes.values(), key=lambda note: note[0]))
        await self._turn_breakers(connection, ended, now)

    async def _turn_breakers(self, connection: Any, ended: Sequence[Ended], now: datetime) -> None:
        calls: dict[tuple[str, str], list[bool]] = {}
        for item in ended:
            down = isinstance(item.answer, Unavailable | InDoubt)
            calls.setdefault((item.step.connection, item.step.operation), []).append(not down)
        if all(all(ends) and now < self._quiet_until.get(lane, now) for lane, ends in calls.items()):
            return
        for row in await ledger.read_lanes(connection, sorted(calls)):
            key = (row["connection"], row["operation"])
            before = Breaker(row["state"], row["failures"], row["opened_at"], row["retry_at"])
            after = after_calls(before, calls[key], now, self._breaker)
            self._quiet_until[key] = now + QUIET_FOR if after == Breaker() else now
            if after != before:
                await ledger.write_lane(connection, *key, after.state, after.failures, after.opened_at, after.retry_at)


def _late_seconds(item: Ended) -> float:
    """How late the request may have left: a process that stood still, or waited for a connection, may have sent it at
    the very end of its call, and then the partner settles later by as much. Who stands still longer counts as dead."""
    lasted = item.ended_at - item.started_at
    return min(max(lasted, timedelta()), ledger.SILENT_FOR).total_seconds()


def _asked_to_wait(error: CrossdockError) -> float | None:
    source = error if isinstance(error, Unavailable) else error.__cause__
    return source.retry_after_seconds if isinstance(source, Unavailable) else None


def _known_at(item: Ended) -> datetime:
    """Since when the partner's books have it: never later than its answer, however its clock goes."""
    booked_at = item.answer.booked_at if isinstance(item.answer, Done) else None
    return item.ended_at if booked_at is None else min(booked_at, item.ended_at)


def _was_refused(locked: LockedOrder) -> bool:
    return any(name.startswith("refused:") for name in locked.progress.milestones)


def _is_fail(move: Move | None) -> bool:
    return move is not None and move.action == "fail"


def _outcome(item: Ended, move: Move | None, now: datetime) -> Outcome:
    exchanges = _ENCODER.encode(item.exchanges) if item.exchanges else b""
    answer = item.answer
    if isinstance(answer, Done):
        return Outcome(
            item.step, "done", item.started_at, item.ended_at, now, result=answer.result,
            external_id=answer.external_id,
            exchanges=exchanges,
        )  # fmt: skip
    state, seconds = "quarantined", 0.0
    if move is not None and move.action == "retry":
        state, seconds = "ready", move.after_seconds
    elif move is not None and move.action == "probe":
        state, seconds = "in_doubt", move.after_seconds
    return Outcome(
        item.step, state, item.started_at, item.ended_at, now + timedelta(seconds=seconds), exchanges=exchanges,
        error_kind=answer.kind, error_code=answer.code, error_message=answer.message,
        next_action=answer.next_action or _NEXT_ACTIONS[answer.kind], detail=answer.detail,
    )  # fmt: skip


_NEXT_ACTIONS: Final = {
    "invalid": "Correct the data at its source, then replay.",
    "conflict": "Look at the partner's document, then replay.",
    "refused": "Decide with the business, then replay or cancel the order.",
    "unavailable": "Nothing to do: it is tried again.",
    "in_doubt": "Nothing to do: the partner is asked whether it took effect.",
    "misconfigured": "Mend the connection's settings or credentials, then replay.",
    "defect": "Report this with its detail; replay after the mend.",
}
