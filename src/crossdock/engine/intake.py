"""Intake: facts are committed before they are acknowledged; placed orders are decided at once, many together.

Requests that arrive while a batch is being committed form the next batch, so an idle system answers a single order in
one commit and a busy one shares each commit among up to `BATCH_MAX` orders.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

import asyncpg
import msgspec

from crossdock.engine.ports import Clock, PlanBook
from crossdock.ledger import acceptance as ledger
from crossdock.ledger.acceptance import Accepted, Arrival
from crossdock.ledger.facts import insert_facts
from crossdock.ledger.holds import lock_holds, redeem_holds
from crossdock.ledger.reference import ReferenceCache
from crossdock.model.errors import Defect, Unavailable
from crossdock.model.facts import Fact
from crossdock.model.orders import Order, OrderAcknowledgment, OrderPlaced
from crossdock.rules.accept import Acceptance, acknowledge
from crossdock.rules.book import is_covered, touched_by
from crossdock.rules.hold import decide_redeeming
from crossdock.rules.plan import plan_order

BATCH_MAX: Final = 200
_ACKNOWLEDGMENT: Final = msgspec.json.Decoder(OrderAcknowledgment)
_ORDER: Final = msgspec.json.Decoder(Order)


@dataclass(frozen=True, slots=True)
class Answer:
    """`new`: decided now. `repeated`: the stored answer. `key_reused`: same key, other body. `conflict`: the channel's
    number was already accepted with another body."""

    status: Literal["new", "repeated", "key_reused", "conflict"]
    acknowledgment: OrderAcknowledgment | None
    order_id: int | None = None


@dataclass(frozen=True, slots=True)
class Placed:
    """A placed order to be decided: from the API (`arrival`) or from the inbox (`fact_id`)."""

    channel: str
    placed: OrderPlaced
    traceparent: str
    arrival: Arrival | None = None
    fact_id: int = 0


class Acceptor:
    """Decides placed orders within a transaction: one door for the API, webhooks and polls."""

    def __init__(self, policy: Any, plans: PlanBook, reference: ReferenceCache, clock: Clock) -> None:
        self.policy = policy
        self._plans = plans
        self.reference = reference
        self._clock = clock

    async def accept(
        self, connection: Any, placed: Sequence[Placed], *, locked_first: bool = True
    ) -> list[Accepted] | None:
        """Decide and write a batch whose channel numbers are new and distinct. None: a key was taken meanwhile.

        Credit and stock are held by this batch from when they are locked until the commit, and every other decision
        about the same accounts and products waits for that. Unless `locked_first`, they are read without a lock, and
        locked and looked at again when all else is written: raises FiguresMovedError, with nothing kept, if they no
        longer allow what was decided.
        """
        numbers, version = await ledger.take_numbers(connection, len(placed))
        reference = await self.reference.catch_up(connection, version)
        customers = sorted({item.placed.customer for item in placed if item.placed.customer})
        skus = {
            line.sku or reference.codes.get(line.gtin, ("", ""))[0] for item in placed for line in item.placed.lines
        }
        holds = await lock_holds(connection, [item.placed.reservation for item in placed])
        if holds and not locked_first:
            # What a cart holds is there for its own order only: such a batch is decided under locks.
            raise FiguresMovedError
        look = ledger.lock_figures if locked_first else ledger.read_figures
        stocked = reference.stocked(skus - {""}).union(sku for hold in holds.values() for sku, _ in hold.held)
        book = await look(connection, customers, sorted(stocked))
        now = self._clock()
        accepted = []
        redeemed = []
        for item, order_id in zip(placed, numbers, strict=True):
            hold = holds.get(item.placed.reservation)
            acceptance, is_redeemed = decide_redeeming(
                item.placed, hold, channel=item.channel, order_id=order_id, number=f"CD{order_id:08d}", accepted_at=now,
                reference=reference, book=book, policy=self.policy,
            )  # fmt: skip
            book.take(acceptance)
            if hold is not None and is_redeemed:
                redeemed.append((hold.hold_id, order_id))
                holds[item.placed.reservation] = hold.redeemed_by(order_id)
            steps = self.lay_steps(acceptance)
            source = self._plans.channel_connections.get(item.channel, item.channel)
            accepted.append(
                Accepted(
                    item.channel, source, order_id, acceptance, steps, item.traceparent, item.arrival, item.fact_id
                )
            )
        await redeem_holds(connection, redeemed, now)
        if not await ledger.write_acceptances(connection, accepted, now):
            return None
        if not locked_first:
            acceptances = [item.acceptance for item in accepted]
            current = await ledger.lock_touched(connection, *touched_by(acceptances))
            if not is_covered(acceptances, current, reference.customers):
                raise FiguresMovedError
        await ledger.write_promises(connection, [item for item in accepted if item.acceptance.order is not None])
        return accepted

    def locations_of(self, order: Order) -> tuple[str, ...]:
        """Where an accepted order may be served from, best first."""
        customer = self.reference.current.customers.get(order.customer)
        group = customer.price_group if customer is not None else ""
        found: tuple[str, ...] = self.policy.locations_of(order.channel, order.region, group)
        return found

    def lay_steps(self, acceptance: Acceptance, round_suffix: str = "") -> Sequence[Any]:
        order, progress = acceptance.order, acceptance.progress
        if order is None or progress is None or progress.state != "accepted":
            return ()
        return plan_order(order, self._plans.plans[order.plan], self._plans.routes(order.channel), round_suffix)


class FiguresMovedError(Exception):
    """Credit or stock was taken by others while a batch was decided: roll back and decide it under locks."""


class _TakenMeanwhileError(Exception):
    """Another process recorded one of the batch's keys: roll back and look again."""


class Intake:
    """The door for everything that arrives. Start it with `async with`."""

    def __init__(self, pool: asyncpg.Pool[Any], acceptor: Acceptor, clock: Clock) -> None:
        self._pool = pool
        self._acceptor = acceptor
        self._clock = clock
        self._queue: asyncio.Queue[tuple[Arrival, asyncio.Future[Answer]]] = asyncio.Queue(maxsize=5000)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="intake")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        while not self._queue.empty():
            future = self._queue.get_nowait()[1]
            if not future.done():
                future.set_exception(Unavailable("stopping", "Crossdock is stopping; send the order again."))

    async def place(self, arrival: Arrival) -> Answer:
        """Decide an order and commit it before returning. Raises Unavailable when the database does not answer."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        try:
            self._queue.put_nowait((arrival, future))
        except asyncio.QueueFull:
            raise Unavailable("intake_full", "Too many orders are waiting.", retry_after_seconds=1) from None
        return await future

    async def record(self, facts: Sequence[Fact]) -> int:
        """Commit facts to the inbox; return how many were new."""
        async with self._pool.acquire() as connection:
            return await insert_facts(connection, facts, self._clock())

    async def _run(self) -> None:
        while True:
            waiting = [await self._queue.get()]
            while len(waiting) < BATCH_MAX and not self._queue.empty():
                waiting.append(self._queue.get_nowait())
            await self._answer(waiting)

    async def _answer(self, waiting: list[tuple[Arrival, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._decide([arrival for arrival, _ in waiting])
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            if len(waiting) > 1 and isinstance(error, asyncpg.DataError):
                # One order holds something the database cannot keep: find it by deciding them one by one.
                for one in waiting:
                    await self._answer([one])
                return
            failure = Unavailable(
                "database_unavailable", "The order was not taken; send it again with the same key.",
                detail=str(error), retry_after_seconds=1,
            )  # fmt: skip
            answers = [failure] * len(waiting)
        except Defect as error:
            if len(waiting) > 1:
                # One order cannot be written as it was decided: the others must not fail with it.
                for one in waiting:
                    await self._answer([one])
                return
            answers = [error]
        except Exception as error:  # noqa: BLE001 - the batch must not take the intake down: each caller is told
            answers = [error] * len(waiting)
        for (_, future), answer in zip(waiting, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, Answer):
                future.set_result(answer)
            else:
                future.set_exception(answer)

    async def _decide(self, arrivals: list[Arrival]) -> list[Answer | Exception]:
        locked_first = False
        for _ in range(4):
            try:
                async with self._pool.acquire() as connection, connection.transaction():
                    return await self._decide_once(connection, arrivals, locked_first=locked_first)
            except FiguresMovedError:
                locked_first = True
            except (_TakenMeanwhileError, asyncpg.UniqueViolationError):
                continue
        raise Unavailable("keys_contended", "The same order is being placed elsewhere.", retry_after_seconds=1)

    async def _decide_once(
        self, connection: Any, arrivals: list[Arrival], *, locked_first: bool
    ) -> list[Answer | Exception]:
        rows = await ledger.find_earlier(connection, arrivals)
        by_key = {(row["connection"], row["idempotency_key"]): row for row in rows if row["idempotency_key"]}
        by_number: dict[tuple[str, str], Any] = {}
        for row in rows:
            place = (row["connection"], row["business_key"])
            # An accepted order outweighs refusals that came before it under the same number.
            if place not in by_number or row["order_id"] is not None:
                by_number[place] = row
        answers: dict[int, Answer | Exception] = {}
        fresh: list[tuple[int, Placed]] = []
        same: dict[tuple[str, str], int] = {}
        keys: dict[tuple[str, str], int] = {}
        follows: list[tuple[int, int]] = []
        for index, arrival in enumerate(arrivals):
            number = (arrival.channel, arrival.placed.channel_number)
            key = (arrival.channel, arrival.idempotency_key)
            earlier = _earlier_answer(arrival, by_key.get(key), by_number.get(number))
            if earlier is not None:
                answers[index] = earlier
            elif key in keys or number in same:
                follows.append((index, keys.get(key, same.get(number, index))))
            else:
                same[number] = keys[key] = index
                placed = Placed(arrival.channel, arrival.placed, arrival.traceparent, arrival)
                fresh.append((index, placed))
        if fresh:
            accepted = await self._acceptor.accept(
                connection, [placed for _, placed in fresh], locked_first=locked_first
            )
            if accepted is None:
                raise _TakenMeanwhileError
            for (index, _), item in zip(fresh, accepted, strict=True):
                kept = item.order_id if item.acceptance.order else None
                answers[index] = Answer("new", item.acceptance.acknowledgment, kept)
        for index, first in follows:
            answers[index] = _follow(arrivals[index], arrivals[first], answers[first])
        return [answers[index] for index in range(len(arrivals))]


def _earlier_answer(arrival: Arrival, by_key: Any, by_number: Any) -> Answer | None:
    """What was said before: to this key, or else to this number if that order was accepted or is the very same."""
    if by_key is not None:
        if by_key["body_hash"] != arrival.body_hash:
            return Answer("key_reused", None)
        return _repeat(by_key)
    if by_number is None:
        return None
    if by_number["body_hash"] == arrival.body_hash and (by_number["answer"] or by_number["order_body"]) is not None:
        return _repeat(by_number)
    return Answer("conflict", None, by_number["order_id"]) if by_number["order_id"] is not None else None


def _repeat(earlier: Any) -> Answer:
    """The answer as it was given; that to an accepted order stands in the order itself."""
    if earlier["answer"] is not None:
        return Answer("repeated", _ACKNOWLEDGMENT.decode(earlier["answer"]), earlier["order_id"])
    return Answer("repeated", acknowledge(_ORDER.decode(earlier["order_body"])), earlier["order_id"])


def _follow(arrival: Arrival, first: Arrival, answer: Answer | Exception) -> Answer | Exception:
    if isinstance(answer, Exception):
        return answer
    if arrival.body_hash == first.body_hash:
        return Answer("repeated", answer.acknowledgment, answer.order_id)
    status: Literal["key_reused", "conflict"] = (
        "key_reused" if arrival.idempotency_key == first.idempotency_key else "conflict"
    )
    return Answer(status, None, answer.order_id)
