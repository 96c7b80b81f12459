"""A small world for engine tests: policy, master data, and null partners that keep what they were asked."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import asyncpg
import msgspec

from crossdock.engine.control import Control
from crossdock.engine.decider import Decider
from crossdock.engine.intake import Acceptor, Intake
from crossdock.engine.poller import Poller
from crossdock.engine.ports import OpenConnection, PlanBook, system_clock
from crossdock.engine.recorder import Recorder
from crossdock.engine.releases import StockHolds
from crossdock.engine.runner import Runner
from crossdock.engine.worker import Worker, make_known
from crossdock.kit.connector import Call, Connector, Done, Operation
from crossdock.ledger import master_data
from crossdock.ledger.acceptance import Arrival
from crossdock.ledger.database import open_pool
from crossdock.ledger.reference import ReferenceCache
from crossdock.model.documents import Address, Customer, Pack, PriceAgreement, Product
from crossdock.model.errors import CrossdockError, InDoubt, Unavailable
from crossdock.model.orders import OrderPlaced, PaymentIntent, PlacedLine
from crossdock.model.stock import InventoryBalance
from crossdock.model.values import Money, Quantity
from crossdock.policy.plans import Plan, PlannedStep
from crossdock.policy.policy import Policy
from crossdock.policy.resilience import BreakerPolicy, RetryRule, RetryTable
from crossdock.policy.stock import StockOwner, StockPolicy
from crossdock.policy.tax import Taxation, TaxPolicy
from crossdock.prove import trade
from crossdock.prove.trade import CARD
from crossdock.rules.ownership import compile_ownership

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
FAST_RETRY = RetryTable(
    unavailable=RetryRule(base_seconds=0.02, cap_seconds=0.1), in_doubt=RetryRule(base_seconds=0.02, cap_seconds=0.1)
)
NO_TAX_POLICY = TaxPolicy()
TRUSTING = BreakerPolicy(failures_to_open=1000)

FULL = msgspec.structs.replace(CARD, name="full")
PAID = msgspec.structs.replace(
    FULL, shipment_steps=(*FULL.shipment_steps, PlannedStep("erp.payment", "erp", ("payment.capture", "erp.ship")))
)
SERVICE = Plan(
    name="service",
    steps=tuple(PlannedStep(operation, connection) for operation, connection in (
        ("tax.quote", "tax"), ("erp.place_order", "erp"), ("channel.acknowledge", "@channel"),
        ("payment.authorise", "payment"),
        ("channel.status", "@channel"),
    )),
    completes_on="steps",
)  # fmt: skip


def make_policy(plan: Plan = FULL, **channel: Any) -> Policy:
    return trade.make_policy("test", (plan, SERVICE), **channel)


@dataclass
class Partner:
    """An in-process partner: a log of effects by key, and faults to come. `log` is the outside evidence,
    `asked` what was to be done, by key."""

    log: list[tuple[str, str]] = field(default_factory=list)
    effects: dict[str, Done] = field(default_factory=dict)
    asked: dict[str, bytes] = field(default_factory=dict)
    faults: list[CrossdockError] = field(default_factory=list)
    refuses: dict[str, CrossdockError] = field(default_factory=dict)
    lose_answers: int = 0
    down: bool = False
    result: bytes = b"{}"
    booked_at: datetime | None = None

    async def perform(self, _: Any, call: Call) -> Done:
        if self.down:
            raise Unavailable("down", "The partner does not answer.")
        if self.faults:
            raise self.faults.pop(0)
        if call.operation in self.refuses:
            raise self.refuses[call.operation]
        self.log.append((call.operation, call.key))
        self.asked[call.key] = call.payload
        done = self.effects[call.key] = self._answer(call)
        if self.lose_answers:
            self.lose_answers -= 1
            raise InDoubt("connection_lost", "The connection was lost after the order was sent.")
        return done

    async def perform_many(self, _: Any, calls: Sequence[Call]) -> list[Done]:
        self.log.extend((call.operation, call.key) for call in calls)
        return [self._answer(call) for call in calls]

    async def probe(self, _: Any, call: Call) -> Done | None:
        return self.effects.get(call.key)

    def _answer(self, call: Call) -> Done:
        if call.operation == "tax.quote":
            taxes = {
                line.line: {
                    "code": "EU-STD",
                    "rate": "0.19",
                    "amount": str((line.amount.amount * 19 / 100).quantize(Decimal("0.01"))),
                }
                for line in call.order.lines
            }
            return Done(msgspec.json.encode({"taxes": taxes}), f"T{call.number}")
        if call.operation == "erp.ship":
            return Done(msgspec.json.encode({"invoice": f"INV-{call.name}"}), f"INV-{call.name}", self.booked_at)
        if call.operation == "erp.payment":
            return Done(msgspec.json.encode({"upon": sorted(call.results)}), f"M-{call.name}")
        return Done(self.result, f"X-{call.key}")


OPERATIONS = {
    "tax": ("tax.quote",), "payment": ("payment.authorise", "payment.capture", "payment.void"),
    "erp": ("erp.place_order", "erp.ship", "erp.payment", "erp.cancel_order"), "wms": ("wms.release", "wms.cancel"),
    "shop": ("channel.acknowledge", "channel.ship", "channel.cancel", "channel.change", "channel.status"),
}  # fmt: skip


@asynccontextmanager
async def _nothing(settings: Any) -> AsyncIterator[None]:
    yield None


def open_partners(partners: dict[str, Partner], *, batch: bool = False) -> list[OpenConnection]:
    opened = []
    for name, operations in OPERATIONS.items():
        partner = partners[name]
        declared = tuple(
            Operation(operation, perform_many=partner.perform_many, repeatable=True, batch_max=200, concurrency=2)
            if batch else
            Operation(operation, perform=partner.perform, probe=partner.probe, concurrency=16,
                      settle_seconds=0.01, timeout_seconds=5)
            for operation in operations
        )  # fmt: skip
        connector = Connector(name, name, settings=dict, open=_nothing, operations=declared)
        opened.append(OpenConnection(name, connector, None, concurrency=16))
    return opened


@dataclass
class World:
    pool: asyncpg.Pool[Any]
    intake: Intake
    decider: Decider
    control: Control
    partners: dict[str, Partner]
    connections: list[OpenConnection]
    plans: PlanBook
    stock_holds: StockHolds

    def make_worker(self, name: str) -> Worker:
        chance = random.Random(7).random
        recorder = Recorder(self.pool, self.plans, FAST_RETRY, TRUSTING, system_clock, chance)
        runner = Runner(self.pool, self.connections, recorder, name, system_clock, chance)
        poller = Poller(self.pool, self.connections, name, system_clock)
        return Worker(
            self.pool, self.decider, runner, poller, name, system_clock, stock_holds=self.stock_holds
        )  # fmt: skip


@asynccontextmanager
async def open_world(
    dsn: str, *, batch: bool = False, skus: int = 50, owners: tuple[StockOwner, ...] = (),
    tax: TaxPolicy = NO_TAX_POLICY, plan: Plan = FULL, **channel: Any,
) -> AsyncIterator[World]:
    pool = await open_pool(dsn, size=8)
    by_key = await open_pool(dsn, size=4, by_key=True)
    policy = replace(make_policy(plan, **channel), tax=Taxation(tax))
    ownership = compile_ownership(StockPolicy(owners=owners))
    plans = PlanBook(policy.plans.by_name, {"shop": "shop"}, {"HAM": "wms", "BHX": "wms"}, ownership)
    acceptor = Acceptor(policy, plans, ReferenceCache(), system_clock)
    partners = {name: Partner() for name in OPERATIONS}
    connections = open_partners(partners, batch=batch)
    await make_known(pool, connections)
    await seed(pool, skus)
    try:
        async with Intake(pool, acceptor, system_clock, by_key) as intake:
            decider = Decider(pool, acceptor, plans, system_clock)
            control = Control(pool, acceptor, plans)
            stock_holds = StockHolds(pool, acceptor, plans, system_clock)
            yield World(pool, intake, decider, control, partners, connections, plans, stock_holds)
    finally:
        await by_key.close()
        await pool.close()


async def seed(pool: asyncpg.Pool[Any], skus: int = 50, on_hand: int = 1_000_000) -> None:
    products = [
        Product(f"SKU-{n}", f"Product {n}", "C62", "standard", (Money(Decimal("2.50"), "EUR"),),
                (Pack("C62", Decimal(1)), Pack("XBX", Decimal(12))))
        for n in range(skus)
    ]  # fmt: skip
    agreements = [
        PriceAgreement(f"A{n}-{q}", f"SKU-{n}", Money(Decimal("2.50") - Decimal(q) / 1000, "EUR"),
                       price_group="G1", quantity_min=Decimal(q))
        for n in range(skus) for q in (1, 100)
    ]  # fmt: skip
    customers = [
        Customer(
            f"C{n}",
            f"Customer {n}",
            "EUR",
            "active",
            price_group="G1",
            payment_term_days=30,
            credit_limit=Decimal(1000),
        )
        for n in range(20)
    ]
    balances = [
        InventoryBalance(product.sku, location, Quantity(Decimal(on_hand), "C62"), NOW)
        for product in products
        for location in ("HAM", "BHX")
    ]
    async with pool.acquire() as connection, connection.transaction():
        await master_data.place_products(connection, [("erp", row) for row in products], NOW)
        await master_data.place_agreements(connection, [("erp", row) for row in agreements], NOW)
        await master_data.place_customers(connection, [("erp", row) for row in customers], NOW)
        await master_data.place_balances(connection, [("wms", row) for row in balances], NOW)


def make_placed(
    number: str, *, lines: int = 5, quantity: int = 2, customer: str = "", method: Any = "card"
) -> OrderPlaced:
    return OrderPlaced(
        channel_number=number, placed_at=NOW, currency="EUR",
        ship_to=Address("Ada Buyer", "Quay 1", "Bremen", "28195", "DE"),
        lines=tuple(
            PlacedLine(str(n + 1), Quantity(Decimal(quantity), "C62"), sku=f"SKU-{n}") for n in range(lines)
        ),
        payment=PaymentIntent(method, "tok_ok" if method == "card" else ""), customer=customer,
    )  # fmt: skip


def make_arrival(placed: OrderPlaced, key: str = "") -> Arrival:
    raw = msgspec.json.encode(placed)
    return Arrival(
        "shop", placed, raw, key or f"key-{placed.channel_number}", raw[-32:] + placed.channel_number.encode()
    )
