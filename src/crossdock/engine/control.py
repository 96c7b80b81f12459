"""What operators do: pause and resume, override breakers, replay, release or refuse holds, cancel. All audited."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal

import asyncpg
import msgspec

from crossdock.engine.intake import Acceptor
from crossdock.engine.ports import PlanBook
from crossdock.engine.rehearsal import Rehearsed, body_type, check_correction, rehearse_orders
from crossdock.engine.releases import decide_anew, find_held, write_release
from crossdock.ledger import drift, publications
from crossdock.ledger.database import Connection, Queries
from crossdock.ledger.decisions import (
    OrderDecision,
    lock_orders,
    lock_step_views,
    read_orders,
    read_releases,
    read_step_views,
    write_decisions,
)
from crossdock.ledger.stock import Told
from crossdock.model.errors import Conflict, Invalid, Refused
from crossdock.model.facts import CancellationRequested, EventDraft, LineChange, OrderChange
from crossdock.model.orders import Order, OrderProgress, Reason
from crossdock.rules.change import decide_change, taken_off, tell_of_change
from crossdock.rules.decision import Decision, StepView
from crossdock.rules.fulfil import decide_cancellation
from crossdock.rules.outcome import ANSWER_NEEDED, close_if_through, close_order, complete, decide_done, decide_refused
from crossdock.rules.plan import tell_channel

_SQL: Final = Queries.load("control")
Settlement = Literal["done", "refused"]
_ENCODER: Final = msgspec.json.Encoder()


class Control:
    """The operators' door. Every action is one transaction with one audit row."""

    def __init__(self, pool: asyncpg.Pool[Any], acceptor: Acceptor, plans: PlanBook) -> None:
        self._pool = pool
        self._acceptor = acceptor
        self._plans = plans

    async def pause_connection(self, now: datetime, actor: str, connection: str) -> None:
        async with self._pool.acquire() as database, database.transaction():
            if await database.fetchval(_SQL["is_paused"], connection) is None:
                raise _connection_unknown(connection)
            await database.fetchval(_SQL["pause_connection"], connection, actor, now)
            await _audit(database, now, actor, "connection.pause", connection)

    async def is_paused(self, connection: str) -> bool:
        return bool(await self._pool.fetchval(_SQL["is_paused"], connection))

    async def resume_connection(self, now: datetime, actor: str, connection: str) -> None:
        async with self._pool.acquire() as database, database.transaction():
            if await database.fetchval(_SQL["resume_connection"], connection) is None:
                raise _connection_unknown(connection)
            await _audit(database, now, actor, "connection.resume", connection)

    async def override_breaker(
        self, now: datetime, actor: str, connection: str, operation: str, override: Literal["open", "closed"] | None
    ) -> None:
        async with self._pool.acquire() as database, database.transaction():
            changed = await database.fetchval(_SQL["override_breaker"], connection, operation, override, actor)
            if changed is None:
                raise Invalid("lane_unknown", f"{connection} has no operation {operation}.", field="operation")
            if override is None:
                await database.execute(_SQL["close_breaker"], connection, operation)
            await _audit(database, now, actor, "breaker.override", f"{connection} {operation}", override=override or "")

    async def repair_drift(
        self, now: datetime, actor: str, drift_ids: Sequence[int], cause: str = "", side: str = "",
        counterpart: str = "",
    ) -> int:  # fmt: skip
        """Repair these differences, or all open ones of a cause at a counterpart; return how many."""
        async with self._pool.acquire() as database, database.transaction():
            count = await drift.choose_repair(database, drift_ids, cause, side, counterpart)
            await _audit(database, now, actor, "drift.repair", counterpart or "chosen", cause=cause, count=str(count))
        return count

    async def dismiss_drift(
        self, now: datetime, actor: str, drift_ids: Sequence[int], cause: str = "", side: str = "",
        counterpart: str = "",
    ) -> int:  # fmt: skip
        """These differences are well as they are, until they become others; return how many."""
        async with self._pool.acquire() as database, database.transaction():
            count = await drift.dismiss(database, drift_ids, now, actor, cause, side, counterpart)
            await _audit(database, now, actor, "drift.dismiss", counterpart or "chosen", cause=cause, count=str(count))
        return count

    async def retry_publications(self, now: datetime, actor: str, channel: str, code: str = "", sku: str = "") -> int:
        """Tell a channel its parked figures again: all, those of a cause, or one; return how many."""
        async with self._pool.acquire() as database, database.transaction():
            count = await publications.release_parked(database, channel, code or None, sku or None)
            await _audit(database, now, actor, "publication.retry", channel, cause=code, sku=sku, count=str(count))
        return count

    async def replay_steps(
        self, now: datetime, actor: str, *, connection: str | None = None, error_code: str | None = None,
        order_ids: Sequence[int] | None = None, operation: str | None = None,
    ) -> int:  # fmt: skip
        """Begin parked steps that match again; return how many."""
        ids = list(order_ids) if order_ids is not None else None
        async with self._pool.acquire() as database, database.transaction():
            rows = await database.fetch(_SQL["replay_steps"], now, connection, error_code, ids, operation)
            await _audit(
                database, now, actor, "steps.replay", connection or "all", code=error_code or "", count=str(len(rows))
            )
            # And once for each order, so that its timeline tells who tried what again.
            await database.execute(
                _SQL["write_step_replays"], now, actor, [row["order_id"] for row in rows], [row["name"] for row in rows]
            )
        return len(rows)

    async def settle_step(
        self, now: datetime, actor: str, order_id: int, name: str, ended: Settlement, number: str, reason: str
    ) -> None:
        """End a parked step as a person found it at the partner: done, under the partner's `number`, or refused, which
        undoes the order as its plan says. What follows goes on as after the partner's own answer. Raises Conflict."""
        async with self._pool.acquire() as database, database.transaction():
            locked = (await lock_orders(database, [order_id])).get(order_id)
            state = "done" if ended == "done" else "failed"
            row = await database.fetchrow(_SQL["settle_step"], order_id, name, state, number, now)
            if locked is None or row is None:
                raise Conflict("step_not_parked", f"{name} of this order is not parked.", field="step")
            order = (await read_orders(database, [order_id]))[order_id]
            views = (await lock_step_views(database, [order_id]))[order_id]
            step = StepView(name, row["connection"], row["operation"], state)
            told: tuple[Told, ...] = ()
            if ended == "done":
                decision = _done_by_hand(order, locked.progress, step, row["payload"], number, views, now)
                if step.operation in self._plans.ownership.telling:
                    # Nobody said since when its books have it: now they do. Until then the goods stay reserved.
                    told = (Told(order_id, step.operation, name, name.partition(":")[2], now),)
            else:
                decision = _refused_by_hand(order, locked.progress, step, reason, views, self._plans, now)
            ends_on_steps = self._plans.ends_on_steps(order, decision, locked.steps_open - 1)
            if ends_on_steps is not None:
                decision = close_order(order, decision, ends_on_steps, views, now)
            decided = [OrderDecision(locked, decision, order, 1, told=told)]
            await write_decisions(database, decided, now, self._plans.ownership)
            await _audit(database, now, actor, f"step.{ended}", order.number, step=name, reason=reason, number=number)

    async def replay_facts(
        self, now: datetime, actor: str, *, connection: str | None = None, cause: str | None = None,
        fact_ids: Sequence[int] | None = None, kind: str | None = None,
    ) -> int:  # fmt: skip
        """Decide parked facts that match again; return how many."""
        ids = list(fact_ids) if fact_ids is not None else None
        async with self._pool.acquire() as database, database.transaction():
            rows = await database.fetch(_SQL["replay_facts"], now, connection, cause, ids, kind)
            count = str(len(rows))
            await _audit(database, now, actor, "facts.replay", connection or "all", cause=cause or "", count=count)
            found = [row["fact_id"] for row in rows]
            await database.execute(_SQL["write_fact_actions"], now, actor, found, "fact.replay", None)
        return len(rows)

    async def read_parked(self, fact_id: int) -> bytes:
        """The body of a parked fact, as it would be decided again. Raises Invalid."""
        async with self._pool.acquire() as database:
            kind, _, body = await _read_parked(database, fact_id)
        body_type(kind)
        return body

    async def correct_fact(self, now: datetime, actor: str, fact_id: int, body: bytes, reason: str) -> None:
        """Decide a parked fact again with a corrected body; what was received is kept. Raises Invalid."""
        async with self._pool.acquire() as database, database.transaction():
            kind, business_key, _ = await _read_parked(database, fact_id)
            check_correction(kind, business_key, body)
            if await database.fetchval(_SQL["correct_fact"], fact_id, body, now) is None:
                raise _not_parked()
            await _audit(database, now, actor, "facts.correct", str(fact_id), reason=reason)
            await database.execute(_SQL["write_fact_actions"], now, actor, [fact_id], "fact.correct", reason)

    async def rehearse_facts(self, fact_ids: Sequence[int]) -> Mapping[int, Rehearsed]:
        """What would become of those that are parked orders if they were replayed now; nothing is done."""
        return await rehearse_orders(self._pool, self._acceptor, self._plans, fact_ids)

    async def dismiss_facts(
        self, now: datetime, actor: str, reason: str, *, connection: str | None = None, cause: str | None = None,
        fact_ids: Sequence[int] | None = None, kind: str | None = None,
    ) -> int:  # fmt: skip
        """Close parked facts that match, because a person has settled them otherwise; return how many."""
        ids = list(fact_ids) if fact_ids is not None else None
        async with self._pool.acquire() as database, database.transaction():
            rows = await database.fetch(_SQL["dismiss_facts"], connection, cause, ids, kind)
            await _audit(
                database, now, actor, "facts.dismiss", connection or "all", cause=cause or "", count=str(len(rows)),
                reason=reason,
            )  # fmt: skip
            found = [row["fact_id"] for row in rows]
            await database.execute(_SQL["write_fact_actions"], now, actor, found, "fact.dismiss", reason)
        return len(rows)

    async def cancel_order(self, now: datetime, actor: str, order_id: int, reason: str) -> None:
        """Cancel what can still be cancelled. Raises Refused when everything has left."""
        async with self._pool.acquire() as database, database.transaction():
            locked = await lock_orders(database, [order_id])
            if order_id not in locked:
                raise Invalid("order_unknown", "There is no such order.", field="order")
            orders = await read_orders(database, [order_id])
            views = await lock_step_views(database, [order_id])
            request = CancellationRequested(orders[order_id].channel_number, now, reason)
            decision = decide_cancellation(orders[order_id], locked[order_id].progress, views[order_id], request)
            if decision.progress.state == "cancelled" and not any(
                step.operation == "channel.cancel" for step in decision.steps
            ):
                channel = self._plans.routes(orders[order_id].channel).channel
                told = tell_channel(channel, views[order_id], reason)
                decision = msgspec.structs.replace(decision, steps=(*decision.steps, *told))
            decision = close_if_through(
                orders[order_id], decision, locked[order_id].steps_open, views[order_id], now
            )
            decided = [OrderDecision(locked[order_id], decision, orders[order_id])]
            await write_decisions(database, decided, now, self._plans.ownership)
            await _audit(database, now, actor, "order.cancel", orders[order_id].number, reason=reason)

    async def change_order(
        self, now: datetime, actor: str, order_id: int, lines: Sequence[LineChange], reason: str
    ) -> None:
        """Take off an order what is not wanted of it any more; its channel is told, where it can be. Raises Invalid and
        Refused as `decide_change` does."""
        async with self._pool.acquire() as database, database.transaction():
            locked = (await lock_orders(database, [order_id])).get(order_id)
            if locked is None:
                raise Invalid("order_unknown", "There is no such order.", field="order")
            order = (await read_orders(database, [order_id]))[order_id]
            views = (await lock_step_views(database, [order_id]))[order_id]
            releases = (await read_releases(database, [order_id]))[order_id]
            change = OrderChange(order.channel_number, now, tuple(lines), reason)
            decision = decide_change(order, locked.progress, views, releases, change)
            if decision.progress == locked.progress:
                return
            channel = self._plans.routes(order.channel).channel
            if decision.progress.state == "cancelled":
                told = tell_channel(channel, views, reason)
            elif channel and await database.fetchval(_SQL["knows_operation"], channel, "channel.change"):
                told = tell_of_change(channel, views, reason, taken_off(order, locked.progress, decision.progress))
            else:
                told = ()
            known = {step.name for step in decision.steps}
            fresh = tuple(step for step in told if step.name not in known)
            decision = msgspec.structs.replace(decision, steps=(*decision.steps, *fresh))
            decision = close_if_through(order, decision, locked.steps_open, views, now)
            await write_decisions(database, [OrderDecision(locked, decision, order)], now, self._plans.ownership)
            await _audit(database, now, actor, "order.change", order.number, reason=reason)

    async def refuse_holds(self, now: datetime, actor: str, order_ids: Sequence[int], reason: str) -> int:
        """Refuse held orders for good: they are cancelled with the operator's reason. Returns how many were held."""
        count = 0
        async with self._pool.acquire() as database, database.transaction():
            locked = await lock_orders(database, order_ids)
            held = [item for item in locked.values() if item.progress.state == "held"]
            orders = await read_orders(database, [item.order_id for item in held])
            views = await read_step_views(database, [item.order_id for item in held])
            decided = []
            for item in held:
                said = Reason("hold_refused", reason, actor, "Tell the buyer.")
                cancelled = {
                    name: msgspec.structs.replace(
                        line, cancelled=line.cancelled + line.open + line.backordered, backordered=line.backordered * 0
                    )
                    for name, line in item.progress.lines.items()
                }
                stopped = msgspec.structs.replace(
                    item.progress, hold=None, lines=cancelled, refused=(*item.progress.refused, said)
                )
                after, _ = complete(stopped, now)
                event = EventDraft("HoldRefused", {"reason": reason, "by": actor})
                channel = self._plans.routes(orders[item.order_id].channel).channel
                told = tell_channel(channel, views[item.order_id], reason)
                decided.append(OrderDecision(item, Decision(after, (event,), told), orders[item.order_id]))
                await _audit(database, now, actor, "hold.refuse", orders[item.order_id].number, reason=reason)
                count += 1
            await write_decisions(database, decided, now, self._plans.ownership)
        return count

    async def release_holds(self, now: datetime, actor: str, order_ids: Sequence[int]) -> int:
        """Decide held orders anew with their causes waived; returns how many are accepted now.

        Each is decided in a transaction of its own: one that can no longer be accepted stays held and does not keep
        others held. Asked for alone, it raises Conflict with what speaks against it.
        """
        count = 0
        for order_id in order_ids:
            try:
                async with self._pool.acquire() as database, database.transaction():
                    count += await self._release(database, now, actor, order_id)
            except Conflict:
                if len(order_ids) == 1:
                    raise
        return count

    async def _release(self, database: Connection, now: datetime, actor: str, order_id: int) -> int:
        held = await find_held(database, order_id)
        if held is None:
            return 0
        locked, hold = held
        waived = frozenset({hold.cause, *(reason.code for reason in hold.reasons)})
        acceptance, order = await decide_anew(database, self._acceptor, order_id, now, waived)
        if acceptance.order is None or acceptance.progress is None:
            raise Conflict(
                "hold_not_releasable", "The order can no longer be accepted.",
                detail="; ".join(reason.message for reason in acceptance.reasons),
                next_action="Refuse it, or mend what the reasons name.",
            )  # fmt: skip
        await _audit(database, now, actor, "hold.release", order.number, cause=hold.cause)
        return await write_release(database, self._acceptor, self._plans, locked, acceptance, order, now, actor)


def _done_by_hand(
    order: Order, progress: OrderProgress, step: StepView, payload: bytes, number: str, views: Sequence[StepView],
    now: datetime,
) -> Decision:  # fmt: skip
    if step.operation in ANSWER_NEEDED:
        raise Conflict(
            "answer_needed", f"What follows {step.name} needs the partner's own answer.", field="step",
            next_action="Mend what stopped it and replay it: the partner is asked first.",
        )  # fmt: skip
    answer = {"invoice": number} if number and step.operation == "erp.ship" else {}
    return decide_done(order, progress, step, payload, _ENCODER.encode(answer), number, views, now)


def _refused_by_hand(
    order: Order, progress: OrderProgress, step: StepView, reason: str, views: Sequence[StepView], plans: PlanBook,
    now: datetime,
) -> Decision:  # fmt: skip
    error = Refused("settled_by_hand", reason, next_action="Decide, then release or refuse the order.")
    decision = decide_refused(order, progress, step, error, views, plans.plan_of(order), now)
    if decision is None:
        raise Conflict(
            "refusal_unplanned", f"The plan does not say what follows when {step.name} is refused, or goods have left.",
            field="step", next_action="Cancel what is left of the order, or settle the step as done.",
        )  # fmt: skip
    return decision


async def _read_parked(database: Connection, fact_id: int) -> tuple[str, str, bytes]:
    row = await database.fetchrow(_SQL["read_parked"], fact_id)
    if row is None:
        raise _not_parked()
    return row["kind"], row["business_key"], row["body"]


def _connection_unknown(connection: str) -> Invalid:
    return Invalid(
        "connection_unknown", f"There is no connection {connection}.", field="connection",
        next_action="`crossdock connections list` names them.",
    )  # fmt: skip


def _not_parked() -> Invalid:
    return Invalid("fact_not_parked", "There is no parked message of this number.", field="fact")


async def _audit(database: Connection, now: datetime, actor: str, action: str, subject: str, **detail: str) -> None:
    await database.execute(_SQL["write_audit"], now, actor, action, subject, _ENCODER.encode(detail))
