"""Since when an owner's books have a goods issue: its own word counts, not the end of the step that brought it."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from crossdock.engine.ports import system_clock
from crossdock.ledger import stock
from crossdock.policy.stock import StockOwner
from crossdock.rules.balances import BalanceRow
from tests.integration.engine.bench_world import open_world
from tests.integration.engine.test_order_path import (
    Working,
    eventually,
    facts_are_decided,
    place,
    shipment_fact,
    steps_are_done,
    stock_of,
)

ERP = StockOwner("HAM", "erp", told_by="erp.ship", clock_skew_seconds=Decimal(1))


@pytest.mark.parametrize(("seconds_before_the_balance", "on_hand"), [
    (2, 999_997),  # the balance has it
    (0.5, 999_994),  # the clocks are not so sure: held twice until the next balance
    (-3600, 999_994),  # a clock that goes an hour before ours proves nothing
    (None, 999_994),  # it does not say, so it is the time of its answer
])  # fmt: skip
async def test_a_balance_given_between_the_goods_issue_and_the_answer_is_not_less_than_what_is_there(
    database_url: str, seconds_before_the_balance: float | None, on_hand: int
) -> None:
    async with open_world(database_url, owners=(ERP,)) as world:
        erp = world.partners["erp"]
        async with Working(world):
            order_id = await place(world, "S-1", lines=1, quantity=3)
            await eventually(lambda: steps_are_done(world))
        await world.intake.record([shipment_fact(order_id, "SH-1", {"SKU-0": 3})])
        await world.decider.decide_waiting()
        assert await facts_are_decided(world)
        assert await stock_of(world, "SKU-0") == (Decimal(999_997), Decimal(0))
        # The ERP has booked it, and its invoice is not posted yet: nobody has heard of it.
        as_of = system_clock()
        balance = BalanceRow("erp", "SKU-0", "HAM", Decimal(999_997), as_of)
        async with world.pool.acquire() as connection, connection.transaction():
            await stock.place_balances(connection, [balance], as_of, world.plans.ownership)
        assert await stock_of(world, "SKU-0") == (Decimal(999_994), Decimal(0))
        if seconds_before_the_balance is not None:
            erp.booked_at = as_of - timedelta(seconds=seconds_before_the_balance)
        async with Working(world):
            await eventually(lambda: steps_are_done(world))
        assert await stock_of(world, "SKU-0") == (Decimal(on_hand), Decimal(0))
        async with world.pool.acquire() as connection:
            assert await stock.recount(connection, world.plans.ownership) == []
