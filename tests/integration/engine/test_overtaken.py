"""Two workers at one moment: one finds the payment early, the other is accepting its order."""

from __future__ import annotations

from crossdock.model.facts import OrderPaid
from tests.integration.engine.bench_world import NOW, make_placed, open_world
from tests.integration.engine.test_order_path import Working, channel_fact, eventually, progress_of


async def test_paid_that_is_found_early_while_its_order_is_accepted_is_not_forgotten(database_url: str) -> None:
    async with open_world(database_url) as world:
        await world.intake.record([channel_fact("order.paid", OrderPaid("S-78", "P1", NOW))])
        async with world.pool.acquire() as other, other.transaction():
            # Another worker has looked, and there was no order yet.
            await other.fetchval("SELECT fact_id FROM facts WHERE kind = 'order.paid' FOR UPDATE")
            await world.intake.record([channel_fact("order.placed", make_placed("S-78"))])
            assert await world.decider.decide_waiting() == 1
            await other.execute(
                "UPDATE facts SET state = 'early', due_at = now() + interval '1 day' WHERE kind = 'order.paid'"
            )

        async def is_paid() -> bool:
            return (await progress_of(world, 1)).paid

        async with Working(world):
            await eventually(is_paid)
