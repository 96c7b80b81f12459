"""The bare saga on Crossdock's engine: a whole worker (runner, recorder, decider, leases, doubt), its ledger, a plan of
five steps, and no business rule. Orders are written as accepted, in batches as intake does.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from hashlib import sha256
from typing import Any

import asyncpg
import msgspec
import uvloop

from bench.peers.saga import STEPS, Acknowledged, PartnerLog, arguments, serve
from crossdock.engine.decider import Decider
from crossdock.engine.intake import Acceptor
from crossdock.engine.poller import Poller
from crossdock.engine.ports import OpenConnection, PlanBook, system_clock
from crossdock.engine.recorder import Recorder
from crossdock.engine.runner import Runner
from crossdock.engine.worker import Worker, make_known
from crossdock.kit.connector import Call, Connector, Done, Operation
from crossdock.ledger.acceptance import Accepted, Arrival, find_earlier, take_numbers, write_acceptances
from crossdock.ledger.database import open_pool
from crossdock.ledger.reference import ReferenceCache
from crossdock.model.facts import EventDraft
from crossdock.model.orders import (
    LineProgress,
    Order,
    OrderAcknowledgment,
    OrderLine,
    OrderPlaced,
    OrderProgress,
    PriceProvenance,
)
from crossdock.model.values import Money, Quantity
from crossdock.policy.plans import Plan, PlannedStep
from crossdock.policy.resilience import BreakerPolicy, RetryRule, RetryTable
from crossdock.rules.accept import Acceptance
from crossdock.rules.plan import plan_order
from tests.integration.engine.bench_world import make_policy

CHANNEL = "shop"
PARTNERS = tuple(f"partner-{place}" for place in range(STEPS))
PLAN = Plan(
    name="saga", steps=tuple(PlannedStep(f"deliver.{name}", name) for name in PARTNERS), completes_on="steps",
)  # fmt: skip
RETRY = RetryTable(
    unavailable=RetryRule(base_seconds=0.2, cap_seconds=1.0), in_doubt=RetryRule(base_seconds=0.2, cap_seconds=1.0)
)
BATCH = 200
_PLACED = msgspec.json.Decoder(OrderPlaced)


class NoPartner:
    """One of five that do nothing but write down what came; asked, it looks into what it wrote down."""

    def __init__(self, place: int, log: PartnerLog) -> None:
        self._place = place
        self._log = log
        self._made = {number for number, at_place, _ in log.read() if at_place == place}

    async def perform(self, _: Any, calls: Sequence[Call]) -> list[Done]:
        numbers = [_number_of(call.order) for call in calls]
        self._log.write([(number, self._place) for number in numbers])
        self._made.update(numbers)
        return [Done()] * len(calls)

    async def probe(self, _: Any, call: Call) -> Done | None:
        return Done() if _number_of(call.order) in self._made else None


class CrossdockSaga:
    batch = BATCH
    lanes = 1
    waits = False

    def __init__(self, address: str, log: PartnerLog, body: str) -> None:
        self._address, self._log = address, log
        self._placed = _PLACED.decode(body)
        self._body = body.encode()
        self._plans = PlanBook({PLAN.name: PLAN}, {CHANNEL: PARTNERS[0]}, {})
        self._pool: Any = None
        self._worker: asyncio.Task[None] | None = None

    async def open(self) -> None:
        self._pool = await open_pool(self._address, size=8)
        connections = [_open(name, NoPartner(place, self._log)) for place, name in enumerate(PARTNERS)]
        await make_known(self._pool, connections)
        worker = _make_worker(self._pool, connections, self._plans)
        self._worker = asyncio.create_task(worker.run())

    async def accept(self, numbers: Sequence[int]) -> None:
        arrivals = [self._arrival(number) for number in numbers]
        async with self._pool.acquire() as connection, connection.transaction():
            known = {row["business_key"] for row in await find_earlier(connection, arrivals)}
            fresh = [arrival for arrival in arrivals if arrival.placed.channel_number not in known]
            if not fresh:
                return
            ids, _ = await take_numbers(connection, len(fresh))
            now = system_clock()
            accepted = [self._accept(arrival, order_id, now) for arrival, order_id in zip(fresh, ids, strict=True)]
            await write_acceptances(connection, accepted, now)

    async def finish(self, number: int) -> None:
        raise NotImplementedError

    async def completed(self) -> int:
        return int(await self._pool.fetchval("SELECT count(*) FROM order_progress WHERE state = 'completed'"))

    async def close(self) -> None:
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        await self._pool.close()

    def _arrival(self, number: int) -> Arrival:
        placed = msgspec.structs.replace(self._placed, channel_number=str(number))
        return Arrival(CHANNEL, placed, self._body, f"key-{number}", sha256(str(number).encode()).digest())

    def _accept(self, arrival: Arrival, order_id: int, now: Any) -> Accepted:
        placed = arrival.placed
        price = Money(Decimal("2.50"), placed.currency)
        one = Quantity(Decimal(1), "C62")
        line = OrderLine("1", "SAGA", "Saga", one, one, price, price, PriceProvenance("list", price.amount), "standard")
        order = Order(
            order_id, f"CD{order_id:08d}", CHANNEL, placed.channel_number, "", "EU", placed.currency, placed.placed_at,
            now, placed.ship_to, (line,), price, placed.payment, PLAN.name, "split",
        )  # fmt: skip
        progress = OrderProgress("accepted", {"1": LineProgress(Decimal(1))})
        acknowledgment = OrderAcknowledgment(order.number, order.channel_number, "accepted")
        acceptance = Acceptance(order, progress, acknowledgment, events=(EventDraft("OrderAccepted", {}),))
        steps = plan_order(order, PLAN, self._plans.routes(CHANNEL))
        return Accepted(CHANNEL, CHANNEL, order_id, acceptance, steps, "", arrival)


def _open(name: str, partner: NoPartner) -> OpenConnection:
    operation = Operation(
        f"deliver.{name}", perform_many=partner.perform, probe=partner.probe, batch_max=200, concurrency=2,
        settle_seconds=0.1, timeout_seconds=5,
    )  # fmt: skip
    return OpenConnection(name, Connector(name, name, settings=dict, open=_nothing, operations=(operation,)), None)


def _make_worker(pool: asyncpg.Pool[Any], connections: Sequence[OpenConnection], plans: PlanBook) -> Worker:
    chance = random.Random(7).random
    name = f"worker-{os.getpid()}"
    acceptor = Acceptor(make_policy(), plans, ReferenceCache(), system_clock)
    recorder = Recorder(pool, plans, RETRY, BreakerPolicy(failures_to_open=1000), system_clock, chance)
    runner = Runner(pool, connections, recorder, name, system_clock, chance)
    poller = Poller(pool, connections, name, system_clock)
    return Worker(pool, Decider(pool, acceptor, plans, system_clock), runner, poller, name, system_clock)


def _number_of(order: Order) -> int:
    return int(order.channel_number)


@asynccontextmanager
async def _nothing(settings: Any) -> AsyncIterator[None]:
    yield None


async def main() -> None:
    address, directory, body = arguments()
    log = PartnerLog(directory)
    await serve(CrossdockSaga(address, log, body), log, Acknowledged(directory))


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
