"""Intake: facts are committed before they are acknowledged; placed orders are decided at once, many together."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, Self

import asyncpg
import msgspec

from crossdock.engine.batching import BatchDoor, Refusals
from crossdock.engine.ports import Clock, PlanBook
from crossdock.ledger import acceptance as ledger
from crossdock.ledger.acceptance import Accepted, Arrival
from crossdock.ledger.facts import insert_facts
from crossdock.ledger.holds import lock_holds, redeem_holds
from crossdock.ledger.reference import ReferenceCache
from crossdock.model.errors import CrossdockError, Unavailable
from crossdock.model.facts import Fact
from crossdock.model.orders import Order, OrderAcknowledgment, OrderPlaced
from crossdock.rules.accept import Acceptance, acknowledge
from crossdock.rules.book import Book, Reference
from crossdock.rules.hold import SetAside, decide_redeeming
from crossdock.rules.plan import plan_order

BATCH_MAX: Final = 200
BATCHES_AT_ONCE: Final = 2
DECIDED_AT_A_STRETCH: Final = 4
_REFUSALS: Final = Refusals(
    full=("intake_full", "Too many orders are waiting."),
    stopping="Crossdock is stopping; send the order again.",
    database_away="The order was not taken; send it again with the same key.",
)
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


@dataclass(frozen=True, slots=True)
class Seen:
    """What a batch is decided on while others may change it. `is_any_known`: something was said about one of it."""

    is_any_known: bool
    numbers: Sequence[int]
    reference: Reference
    book: Book


class Acceptor:
    """Decides placed orders within a transaction: one door for the API, webhooks and polls."""

    def __init__(self, policy: Any, plans: PlanBook, reference: ReferenceCache, clock: Clock) -> None:
        self.policy = policy
        self._plans = plans
        self.reference = reference
        self._clock = clock
        self._unchecked = frozenset(name for name, channel in policy.channels.items() if not channel.credit_check)

    async def accept(self, connection: Any, placed: Sequence[Placed]) -> list[Accepted]:
        """Decide and write a batch whose channel numbers are new and distinct, within a transaction of the caller's.

        Raises UniqueViolationError when a key was taken meanwhile. Credit and stock are held by this batch from when
        they are locked until the commit, and every other decision about the same accounts and products waits for that.
        """
        holds = await lock_holds(connection, [item.placed.reservation for item in placed])
        set_aside = {sku for hold in holds.values() for sku, _ in hold.held}
        numbers, reference, book = await self._lock_figures(connection, placed, set_aside)
        now = self._clock()
        accepted = []
        redeemed = []
        for item, order_id in zip(placed, numbers, strict=True):
            hold = holds.get(item.placed.reservation)
            decided, is_redeemed = self._decide(item, hold, order_id, reference, book, now)
            accepted.append(decided)
            if hold is not None and is_redeemed:
                redeemed.append((hold.hold_id, order_id))
                holds[item.placed.reservation] = hold.redeemed_by(order_id)
        await redeem_holds(connection, redeemed, now)
        await ledger.write_acceptances(connection, accepted, now)
        return accepted

    async def accept_unlocked(self, connection: Any, placed: Sequence[Placed], seen: Seen) -> list[Accepted]:
        """Decide a batch on figures that others may change meanwhile; write and commit all of it in one statement,
        which at last takes the figures and looks at them again. Raises FiguresMovedError, with nothing written, if they
        no longer allow what was decided."""
        now = self._clock()
        accepted = []
        for place, (item, order_id) in enumerate(zip(placed, seen.numbers, strict=False), 1):
            accepted.append(self._decide(item, None, order_id, seen.reference, seen.book, now)[0])
            if place % DECIDED_AT_A_STRETCH == 0:
                # The other batch goes on, and those who ask meanwhile: nobody waits for a lock of ours.
                await asyncio.sleep(0)
        if not await ledger.write_if_covered(connection, accepted, seen.reference.customers, self._unchecked, now):
            raise FiguresMovedError
        return accepted

    async def look(self, connection: Any, arrivals: Sequence[Arrival], placed: Sequence[Placed]) -> Seen:
        """What a batch is decided on, without a lock."""
        customers, asked, known = _customers(placed), _asked(placed), self.reference.version
        reference = self.reference.recall(*asked)
        skus = [] if reference is None else sorted(_stocked(placed, reference))
        figures = await ledger.read_figures(connection, arrivals, customers, skus)
        book = figures.book
        if reference is None or not known == figures.version == self.reference.version:
            # Products that are not kept, or master data moved: what is served from which stock may have changed.
            reference = await self.reference.catch_up(connection, figures.version, *asked)
            again = await ledger.read_figures(connection, (), customers, sorted(_stocked(placed, reference)))
            book = again.book
        return Seen(figures.is_any_known, figures.numbers, reference, book)

    async def rehearse(self, connection: Any, placed: Sequence[Placed]) -> list[OrderAcknowledgment | CrossdockError]:
        """What would be said to these orders now, one after the other; nothing is locked, taken or written."""
        seen = await self.look(connection, (), placed)
        now = self._clock()
        said: list[OrderAcknowledgment | CrossdockError] = []
        for item in placed:
            try:
                decided, _ = self._decide(item, None, 0, seen.reference, seen.book, now)
            except CrossdockError as error:
                said.append(error)
            else:
                said.append(decided.acceptance.acknowledgment)
        return said

    def _decide(
        self, item: Placed, hold: SetAside | None, order_id: int, reference: Reference, book: Book, now: datetime
    ) -> tuple[Accepted, bool]:
        """One order, taken off the book; and whether it takes over what its cart held."""
        acceptance, is_redeemed = decide_redeeming(
            item.placed, hold, channel=item.channel, order_id=order_id, number=f"CD{order_id:08d}", accepted_at=now,
            reference=reference, book=book, policy=self.policy,
        )  # fmt: skip
        book.take(acceptance)
        source = self._plans.channel_connections.get(item.channel, item.channel)
        steps = self.lay_steps(acceptance)
        return Accepted(
            item.channel, source, order_id, acceptance, steps, item.traceparent, item.arrival, item.fact_id
        ), is_redeemed

    async def _lock_figures(
        self, connection: Any, placed: Sequence[Placed], set_aside: set[str]
    ) -> tuple[list[int], Reference, Book]:
        numbers, version = await ledger.take_numbers(connection, len(placed))
        reference = await self.reference.catch_up(connection, version, *_asked(placed))
        skus = _stocked(placed, reference) | set_aside
        return numbers, reference, await ledger.lock_figures(connection, _customers(placed), sorted(skus))

    def locations_of(self, order: Order) -> tuple[str, ...]:
        """Where an accepted order may be served from, best first."""
        customer = self.reference.customers.get(order.customer)
        group = customer.price_group if customer is not None else ""
        found: tuple[str, ...] = self.policy.locations_of(order.channel, order.region, group)
        return found

    def lay_steps(self, acceptance: Acceptance, round_suffix: str = "") -> Sequence[Any]:
        order, progress = acceptance.order, acceptance.progress
        if order is None or progress is None or progress.state != "accepted":
            return ()
        return plan_order(order, self._plans.plans[order.plan], self._plans.routes(order.channel), round_suffix)


def _customers(placed: Sequence[Placed]) -> list[str]:
    return sorted({item.placed.customer for item in placed if item.placed.customer})


def _asked(placed: Sequence[Placed]) -> tuple[set[str], set[str]]:
    """The SKUs and GTINs that a batch names."""
    lines = [line for item in placed for line in item.placed.lines]
    return {line.sku for line in lines if line.sku}, {line.gtin for line in lines if line.gtin and not line.sku}


def _stocked(placed: Sequence[Placed], reference: Reference) -> set[str]:
    """The SKUs whose stock a batch may take from."""
    skus = {line.sku or reference.codes.get(line.gtin, ("", ""))[0] for item in placed for line in item.placed.lines}
    return reference.stocked(skus - {""})


class FiguresMovedError(Exception):
    """Credit or stock was taken by others while a batch was decided: decide it under locks."""


class Intake:
    """The door for everything that arrives. Start it with `async with`. `by_key` is a pool whose plans are kept, for
    what is decided without locks."""

    def __init__(
        self, pool: asyncpg.Pool[Any], acceptor: Acceptor, clock: Clock, by_key: asyncpg.Pool[Any] | None = None
    ) -> None:
        self._pool = pool
        self._by_key = by_key or pool
        self._acceptor = acceptor
        self._clock = clock
        self._door = BatchDoor("intake", self._decide, _REFUSALS, size=BATCH_MAX, at_once=BATCHES_AT_ONCE)

    async def __aenter__(self) -> Self:
        await self._door.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._door.__aexit__()

    async def place(self, arrival: Arrival) -> Answer:
        """Decide an order and commit it before returning. Raises Unavailable when the database does not answer."""
        return await self._door.ask(arrival)

    async def record(self, facts: Sequence[Fact]) -> int:
        """Commit facts to the inbox; return how many were new."""
        async with self._pool.acquire() as connection:
            return await insert_facts(connection, facts, self._clock())

    async def _decide(self, arrivals: list[Arrival]) -> list[Answer | Exception]:
        # What a cart holds is there for its own order only: such a batch is decided under locks.
        is_locked = any(arrival.placed.reservation for arrival in arrivals)
        for _ in range(4):
            try:
                if not is_locked:
                    async with self._by_key.acquire() as connection:
                        return await self._decide_unlocked(connection, arrivals)
                async with self._pool.acquire() as connection, connection.transaction():
                    return await self._decide_locked(connection, arrivals)
            except FiguresMovedError:
                is_locked = True
            except (asyncpg.UniqueViolationError, asyncpg.DeadlockDetectedError):
                # Another batch recorded one of these keys, or each recorded one that the other wants: look again.
                continue
        raise Unavailable("keys_contended", "The same order is being placed elsewhere.", retry_after_seconds=1)

    async def _decide_unlocked(self, connection: Any, arrivals: list[Arrival]) -> list[Answer | Exception]:
        """Two statements: what there is, and all that is decided, which is committed with it."""
        batch = _sort_out(arrivals, ())
        seen = await self._acceptor.look(connection, arrivals, [placed for _, placed in batch.fresh])
        if seen.is_any_known:
            batch = _sort_out(arrivals, await ledger.find_earlier(connection, arrivals))
        if not batch.fresh:
            return batch.answered(())
        fresh = [placed for _, placed in batch.fresh]
        return batch.answered(await self._acceptor.accept_unlocked(connection, fresh, seen))

    async def _decide_locked(self, connection: Any, arrivals: list[Arrival]) -> list[Answer | Exception]:
        batch = _sort_out(arrivals, await ledger.find_earlier(connection, arrivals))
        if not batch.fresh:
            return batch.answered(())
        return batch.answered(await self._acceptor.accept(connection, [placed for _, placed in batch.fresh]))


@dataclass(frozen=True, slots=True)
class _Batch:
    """Arrivals by place: answered before, to be decided, and those that follow another of the batch."""

    arrivals: Sequence[Arrival]
    earlier: Mapping[int, Answer]
    fresh: Sequence[tuple[int, Placed]]
    follows: Sequence[tuple[int, int]]

    def answered(self, accepted: Sequence[Accepted]) -> list[Answer | Exception]:
        """Everybody's answer, once the fresh ones are decided."""
        answers: dict[int, Answer | Exception] = dict(self.earlier)
        for (index, _), item in zip(self.fresh, accepted, strict=True):
            kept = item.order_id if item.acceptance.order else None
            answers[index] = Answer("new", item.acceptance.acknowledgment, kept)
        for index, first in self.follows:
            answers[index] = _follow(self.arrivals[index], self.arrivals[first], answers[first])
        return [answers[index] for index in range(len(self.arrivals))]


def _sort_out(arrivals: Sequence[Arrival], rows: Sequence[Any]) -> _Batch:
    """`rows` say what was said earlier about any of them."""
    by_key = {(row["connection"], row["idempotency_key"]): row for row in rows if row["idempotency_key"]}
    by_number: dict[tuple[str, str], Any] = {}
    for row in rows:
        place = (row["connection"], row["business_key"])
        # An accepted order outweighs refusals that came before it under the same number.
        if place not in by_number or row["order_id"] is not None:
            by_number[place] = row
    answers: dict[int, Answer] = {}
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
            fresh.append((index, Placed(arrival.channel, arrival.placed, arrival.traceparent, arrival)))
    return _Batch(arrivals, answers, fresh, follows)


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
