"""Old reports of state are swept away; what anybody may still ask for is kept."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import msgspec

from crossdock.engine.ports import system_clock
from crossdock.engine.retention import BATCH_MAX, Sweeper
from crossdock.ledger.facts import insert_facts
from crossdock.model.documents import Pack, Product
from crossdock.model.facts import Fact
from crossdock.model.values import Money
from crossdock.policy.retention import RetentionPolicy
from tests.integration.engine.bench_world import make_arrival, make_placed, open_world


async def test_the_same_product_polled_every_day_does_not_add_a_fact_for_ever(database_url: str) -> None:
    async with open_world(database_url) as world:
        price, pack = Money(Decimal("2.50"), "EUR"), Pack("C62", Decimal(1))
        product = Product("SKU-1", "Product 1", "C62", "standard", (price,), (pack,))
        body = msgspec.json.encode(product)
        now = system_clock()
        days = 10
        for day in range(days):
            fact = Fact("erp", "product.published", "SKU-1", body, body, version=f"same@{day}")
            async with world.pool.acquire() as connection:
                await insert_facts(connection, [fact], now - timedelta(days=day, hours=1))
            while await world.decider.decide_waiting():
                pass
        swept = await Sweeper(world.pool, RetentionPolicy(), lambda: now).sweep()
        assert swept == days - 2
        assert await world.pool.fetchval("SELECT count(*) FROM facts WHERE kind = 'product.published'") == 2


async def test_orders_parked_and_waiting_facts_are_never_swept(database_url: str) -> None:
    async with open_world(database_url) as world:
        await world.intake.place(make_arrival(make_placed("S-1")))
        bad = Fact("erp", "product.published", "bad", b"[]", b"[]")
        await world.intake.record([bad])
        await world.decider.decide_waiting()
        await world.intake.record([msgspec.structs.replace(bad, business_key="waiting")])
        later = system_clock() + timedelta(days=4000)
        assert await Sweeper(world.pool, RetentionPolicy(), lambda: later).sweep() == 0
        states = await world.pool.fetch("SELECT state FROM facts ORDER BY state")
        assert [row["state"] for row in states] == ["applied", "quarantined", "waiting"]


async def test_a_sweep_is_bounded_and_takes_several_batches(database_url: str) -> None:
    async with open_world(database_url) as world:
        await world.pool.execute(
            "INSERT INTO facts (connection, kind, business_key, version, subject, state, body, received_at, due_at) "
            "SELECT 'erp', 'price.published', n::text, '1', '', 'applied', '{}', now() - interval '9 days', now() "
            "FROM generate_series(1, $1::integer) AS n",
            2 * BATCH_MAX + 5,
        )
        assert await Sweeper(world.pool, RetentionPolicy(), system_clock).sweep() == 2 * BATCH_MAX + 5
