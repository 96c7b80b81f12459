"""The decider: takes waiting facts from the inbox, asks the rules, writes what follows. One transaction a batch."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import asyncpg
import msgspec
import structlog

from crossdock.engine.intake import Acceptor, Placed
from crossdock.engine.ports import NO_COUNTS, Clock, Counts, PlanBook
from crossdock.engine.refusals import RefusedOrders
from crossdock.engine.stock_facts import StockDesk
from crossdock.engine.stock_watch import StockWatch
from crossdock.ledger import facts as inbox
from crossdock.ledger import master_data
from crossdock.ledger.acceptance import Accepted, find_orders, lock_figures
from crossdock.ledger.decisions import (
    LockedOrder,
    OrderDecision,
    find_waiting_for_supply,
    lock_orders,
    lock_step_views,
    read_orders,
    read_releases,
    read_step_views,
    write_decisions,
)
from crossdock.ledger.facts import WaitingFact
from crossdock.ledger.publications import tell_again
from crossdock.model.documents import Customer, Product, check_customer, check_product
from crossdock.model.errors import CrossdockError, Defect, Invalid, Misconfigured, Refused
from crossdock.model.facts import (
    FACT_BODIES,
    CancellationRequested,
    DeliveryReported,
    FulfilmentShorted,
    OrderChange,
    OrderPaid,
)
from crossdock.model.fulfilment import FulfilmentOrder, Shipment
from crossdock.model.orders import Order, OrderPlaced
from crossdock.rules.change import decide_change
from crossdock.rules.decision import Decision, StepView, is_laid
from crossdock.rules.fulfil import (
    decide_cancellation,
    decide_delivered,
    decide_paid,
    decide_shipment,
    decide_short,
    decide_supply,
)
from crossdock.rules.outcome import close_if_through

BATCH_MAX: Final = 100
EARLY_FOR: Final = timedelta(hours=24)
"""How long a fact waits for its order before a person is asked."""

_DECODERS: Final = {kind: msgspec.json.Decoder(body) for kind, body in FACT_BODIES.items()}
_log: Final = structlog.get_logger("crossdock.engine.decider")
_OUR_NUMBER: Final = re.compile(r"CD(\d{8,18})")
# Facts by which goods become free again: no worker begins a release meanwhile.
_GIVING_BACK: Final = (CancellationRequested, OrderChange)
_MASTER_DATA: Final = ("product.published", "customer.published", "price.published")


def order_id_of(number: str) -> int | None:
    """The order id in a number of ours: an order's or a fulfilment order's."""
    match = _OUR_NUMBER.match(number)
    return int(match.group(1)) if match else None


class Decider:
    """Stateless but for its parts; any number may run at once."""

    def __init__(
        self, pool: asyncpg.Pool[Any], acceptor: Acceptor, plans: PlanBook, clock: Clock, counts: Counts = NO_COUNTS,
    ) -> None:  # fmt: skip
        self._pool = pool
        self._counts = counts
        self._acceptor = acceptor
        self._plans = plans
        self._clock = clock
        self._supply_after = 0
        self._stock = StockDesk(pool, acceptor.policy, plans.ownership, acceptor.reference, clock)
        self._refused = RefusedOrders(acceptor, clock)
        self._watch = StockWatch(pool, acceptor.policy.stock, clock)

    async def decide_waiting(self) -> int:
        """Decide one batch of everything; return how many facts were looked at (0: nothing waits)."""
        return await self.decide_orders() + await self.decide_stock()

    async def decide_stock(self) -> int:
        """Decide one batch of what is reported about stock."""
        return await self._stock.decide_waiting()

    async def watch_stock(self) -> None:
        """Look after the feeds of stock."""
        await self._watch.look()

    async def decide_orders(self) -> int:
        """Decide one batch of everything but stock."""
        try:
            return await self._decide_batch(BATCH_MAX)
        except (asyncpg.DataError, Defect, Misconfigured):
            # One fact holds or leads to something that cannot be kept: find it by deciding them one by one.
            return await self._decide_singly()

    async def wake_overtaken(self) -> None:
        """Look again at facts that were found early while their order was being accepted elsewhere."""
        async with self._pool.acquire() as connection:
            woken = await inbox.wake_overtaken(connection, self._plans.channel_connections, self._clock())
        if woken:
            _log.info("overtaken_facts_woken", facts=woken)

    async def wake_mended(self) -> int:
        """Have refused orders decided again whose products, prices or customer came or changed; return how many."""
        return await self._refused.wake_mended(self._pool)

    async def allocate_supply(self) -> int:
        """Give free goods to the oldest orders that wait for them; return how many orders got some.

        Where the oldest can take none (it lies where they are not served from, or lacks another component), the next
        round looks at younger ones.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            waiting = await find_waiting_for_supply(connection, BATCH_MAX, self._supply_after)
            self._supply_after = 0
            if not waiting:
                return 0
            locked = await lock_orders(connection, list(waiting))
            orders = await read_orders(connection, list(locked))
            views = await read_step_views(connection, list(locked))
            skus = set().union(*waiting.values())
            # Of a kit that waits, the components that are not free again too.
            skus.update(part.sku for order in orders.values() for line in order.lines for part in line.components)
            available = (await lock_figures(connection, [], sorted(skus))).available
            decided = []
            for order_id, item in sorted(locked.items()):
                order, routes = orders[order_id], self._plans.routes(orders[order_id].channel)
                try:
                    plan = self._plans.plan_of(order)
                except Misconfigured as error:
                    _log.error("supply_not_released", order=order.number, code=error.code)
                    continue
                preference = self._acceptor.locations_of(order)
                decision = decide_supply(order, item.progress, available, preference, views[order_id], plan, routes)
                if is_laid(decision, views[order_id]):
                    _log.error("supply_not_released", order=order.number, code="step_name_taken")
                    continue
                for effect in decision.stock:
                    if effect.kind == "reserve":
                        available[effect.sku, effect.location] -= effect.quantity
                if decision.stock:
                    decided.append(OrderDecision(item, decision, order))
            await write_decisions(connection, decided, self._clock(), self._plans.ownership)
            if not decided:
                self._supply_after = max(waiting)
            return len(decided)

    async def _decide_singly(self) -> int:
        count = 0
        for _ in range(BATCH_MAX):
            try:
                if not await self._decide_batch(1):
                    break
            except asyncpg.DataError as error:
                await self._park_first(Invalid(
                    "not_storable", "The message holds characters or numbers that cannot be kept.",
                    detail=str(error), next_action="Ask the sender to correct it, then replay.",
                ))  # fmt: skip
            except (Defect, Misconfigured) as error:
                _log.error("decision_not_written", code=error.code, detail=error.detail)
                await self._park_first(error)
            count += 1
        return count

    async def _park_first(self, error: CrossdockError) -> None:
        """Park the fact that has just failed alone: the oldest one."""
        async with self._pool.acquire() as connection, connection.transaction():
            for fact in await inbox.claim_facts(connection, self._clock(), 1):
                await inbox.quarantine_fact(connection, fact.fact_id, error)

    async def _decide_batch(self, limit: int) -> int:
        async with self._pool.acquire() as connection, connection.transaction():
            facts = await inbox.claim_facts(connection, self._clock(), limit)
            if not facts:
                return 0
            bodies = await self._decode(connection, facts)
            placed = [
                (fact, bodies[fact.fact_id]) for fact in facts if isinstance(bodies.get(fact.fact_id), OrderPlaced)
            ]
            accepted = await self._decide_placed(connection, placed)
            await self._apply_master_data(connection, [
                (fact, bodies[fact.fact_id]) for fact in facts if fact.kind in _MASTER_DATA and fact.fact_id in bodies
            ])  # fmt: skip
            await self._decide_order_facts(connection, [
                (fact, bodies[fact.fact_id]) for fact in facts
                if fact.fact_id in bodies and fact.kind not in _MASTER_DATA and fact.kind != "order.placed"
            ])  # fmt: skip
        for item in accepted:
            self._counts.count_order(item.channel, item.acceptance.acknowledgment.state)
        return len(facts)

    async def _decode(self, connection: Any, facts: Sequence[WaitingFact]) -> dict[int, Any]:
        bodies = {}
        for fact in facts:
            try:
                bodies[fact.fact_id] = _check(_DECODERS[fact.kind].decode(fact.body))
            except KeyError:
                error: CrossdockError = Invalid("fact_kind_unknown", f"Nothing is known to do with {fact.kind}.")
                await inbox.quarantine_fact(connection, fact.fact_id, error)
            except msgspec.DecodeError as problem:
                await inbox.quarantine_fact(connection, fact.fact_id, Invalid("body_malformed", str(problem)))
            except CrossdockError as problem:
                await inbox.quarantine_fact(connection, fact.fact_id, problem)
        return bodies

    async def _decide_placed(
        self, connection: Any, placed: Sequence[tuple[WaitingFact, OrderPlaced]]
    ) -> Sequence[Accepted]:
        if not placed:
            return ()
        keyed = [(self._plans.channel_of(fact.connection), body.channel_number) for fact, body in placed]
        existing = await find_orders(connection, keyed)
        fresh: dict[tuple[str, str], Placed] = {}
        again = [fact.fact_id for fact, _ in placed if fact.attempt]
        ignored = []
        for key, (fact, body) in zip(keyed, placed, strict=True):
            if key in existing:
                ignored.append((fact.fact_id, existing[key], "ignored"))
            elif key not in fresh:
                fresh[key] = Placed(key[0], body, fact.traceparent, fact_id=fact.fact_id)
            # A second version of the same order stays waiting and is looked at in the next batch.
        await inbox.mark_applied(connection, ignored)
        return await self._refused.decide(connection, list(fresh.values()), again) if fresh else ()

    async def _apply_master_data(self, connection: Any, reported: Sequence[tuple[WaitingFact, Any]]) -> None:
        now = self._clock()
        writers: dict[str, Callable[..., Any]] = {
            "product.published": master_data.place_products, "customer.published": master_data.place_customers,
            "price.published": master_data.place_agreements,
        }  # fmt: skip
        for kind, write in writers.items():
            rows = [(fact.connection, body) for fact, body in reported if fact.kind == kind]
            if rows:
                await write(connection, rows, now)
        await inbox.mark_applied(connection, [(fact.fact_id, None, "applied") for fact, _ in reported])

    async def _decide_order_facts(self, connection: Any, facts: Sequence[tuple[WaitingFact, Any]]) -> None:
        if not facts:
            return
        order_ids = await self._find_orders(connection, facts)
        # One fact an order in this transaction; further ones stay waiting for the next batch.
        chosen: dict[int, tuple[WaitingFact, Any]] = {}
        early = []
        for fact, body in facts:
            order_id = order_ids.get(fact.fact_id)
            if order_id is None:
                early.append(fact.fact_id)
            else:
                chosen.setdefault(order_id, (fact, body))
        await inbox.mark_early(connection, early, self._clock() + EARLY_FOR)
        locked = await lock_orders(connection, list(chosen))
        orders = await read_orders(connection, list(locked))
        given_back = [order_id for order_id in locked if isinstance(chosen[order_id][1], _GIVING_BACK)]
        views = await read_step_views(connection, [order_id for order_id in locked if order_id not in given_back])
        views |= await lock_step_views(connection, given_back)
        releases = await read_releases(
            connection, [order_id for order_id in given_back if isinstance(chosen[order_id][1], OrderChange)]
        )
        decided = []
        applied: list[tuple[int, int | None, str]] = []
        for order_id, (fact, body) in chosen.items():
            if order_id not in locked:
                await inbox.quarantine_fact(connection, fact.fact_id, Refused(
                    "order_unknown", f"There is no order {fact.subject}.", next_action="Look it up at the sender.",
                ))  # fmt: skip
                continue
            try:
                decision = self._decide(
                    orders[order_id], locked[order_id], views[order_id], releases.get(order_id, {}), fact, body
                )
            except CrossdockError as error:
                await inbox.quarantine_fact(connection, fact.fact_id, error)
                continue
            changed = decision.progress != locked[order_id].progress
            applied.append((fact.fact_id, order_id, "applied" if changed else "ignored"))
            if changed:
                decided.append(OrderDecision(
                    locked[order_id], decision, orders[order_id], connection=fact.connection,
                ))  # fmt: skip
        await write_decisions(connection, decided, self._clock(), self._plans.ownership)
        # What its own buyers gave back the channel shows again when it is told a figure, be it the same: it may never
        # have been told one without these goods.
        await tell_again(connection, sorted({
            (order.channel, line.sku)
            for order in (orders[item.locked.order_id] for item in decided if item.locked.order_id in given_back)
            if order.channel in self._plans.told_channels
            for line in order.lines
        }))  # fmt: skip
        await inbox.mark_applied(connection, applied)

    async def _find_orders(self, connection: Any, facts: Sequence[tuple[WaitingFact, Any]]) -> dict[int, int]:
        found: dict[int, int] = {}
        by_channel = []
        by_tracking = []
        for fact, body in facts:
            if isinstance(body, Shipment | FulfilmentShorted):
                order_id = order_id_of(body.fulfilment_number)
                # Not a number of ours: -1 is no order, so the fact is parked as unknown.
                found[fact.fact_id] = order_id if order_id is not None else -1
            elif isinstance(body, DeliveryReported):
                by_tracking.append((fact.fact_id, body.tracking))
            else:
                by_channel.append((fact.fact_id, (self._plans.channel_of(fact.connection), body.channel_number)))
        if by_channel:
            known = await inbox.find_orders_of(connection, [key for _, key in by_channel])
            found.update({fact_id: known[key] for fact_id, key in by_channel if key in known})
        if by_tracking:
            tracked = await inbox.find_orders_by_tracking(connection, [tracking for _, tracking in by_tracking])
            found.update({fact_id: tracked[key] for fact_id, key in by_tracking if key in tracked})
        return found

    def _decide(
        self, order: Order, locked: LockedOrder, steps: Sequence[StepView], releases: Mapping[str, FulfilmentOrder],
        fact: WaitingFact, body: Any,
    ) -> Decision:  # fmt: skip
        progress = locked.progress
        match body:
            case Shipment():
                plan, routes = self._plans.plan_of(order), self._plans.routes(order.channel)
                return decide_shipment(order, progress, body, steps, plan, routes)
            case FulfilmentShorted():
                decision = decide_short(order, progress, body, steps)
            case OrderPaid():
                return decide_paid(progress, body)
            case CancellationRequested():
                decision = decide_cancellation(order, progress, steps, body)
            case OrderChange():
                decision = decide_change(order, progress, steps, releases, body)
            case DeliveryReported():
                return decide_delivered(progress, body.tracking, body.delivered_at)
            case _:
                raise Defect("fact_undecided", f"No rule for {fact.kind}.")
        return close_if_through(order, decision, locked.steps_open, steps, self._clock())


def _check(body: Any) -> Any:
    """Rules of master data that a decoder cannot know."""
    match body:
        case Product():
            return check_product(body)
        case Customer():
            return check_customer(body)
        case _:
            return body
