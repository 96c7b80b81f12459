"""Orders that are held for stock are decided anew by themselves when that stock is there."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec

from crossdock.engine.ports import system_clock
from crossdock.engine.releases import find_covered
from crossdock.ledger import master_data
from crossdock.ledger.stock import Departure, place_balances, ship
from crossdock.model.documents import Component, Pack, Product
from crossdock.model.orders import OrderProgress
from crossdock.model.values import Money
from crossdock.policy.stock import StockOwner, StockPolicy
from crossdock.rules.balances import BalanceRow
from crossdock.rules.ownership import compile_ownership
from tests.integration.engine.bench_world import NOW, World, make_arrival, make_placed, open_world

COUNTING = compile_ownership(StockPolicy(owners=(StockOwner("HAM", "wms"), StockOwner("BHX", "wms"))))


async def place(world: World, number: str, **wish: Any) -> tuple[int, str]:
    answer = await world.intake.place(make_arrival(make_placed(number, **wish)))
    assert answer.order_id is not None
    assert answer.acknowledgment is not None
    return answer.order_id, answer.acknowledgment.state


async def progress_of(world: World, order_id: int) -> OrderProgress:
    body = await world.pool.fetchval("SELECT progress FROM order_progress WHERE order_id = $1", order_id)
    return msgspec.json.decode(body, type=OrderProgress)


async def report(world: World, sku: str, on_hand: int, as_of: datetime, location: str = "HAM") -> None:
    row = BalanceRow("wms", sku, location, Decimal(on_hand), as_of)
    async with world.pool.acquire() as connection, connection.transaction():
        await place_balances(connection, [row], system_clock(), COUNTING)


async def empty(world: World) -> None:
    await world.pool.execute("UPDATE stock SET on_hand = 0, reported = 0")


async def test_an_order_for_the_last_unit_is_not_left_held_by_a_departure_noted_in_whole_seconds(
    database_url: str,
) -> None:
    """Found by `prove --scenario flash-sale --seed 31`: one unit stood on the shelf, and the order waited for a person.

    The warehouse counts 1 at 09:31:12.6, after another unit left at 09:31:12.4, which it notes as 09:31:12: that may be
    after the count, so the unit on the shelf passes for gone. Whoever buys it in that moment is served when the next
    balance has told.
    """
    async with open_world(database_url, fulfilment="complete") as world:
        await empty(world)
        minute = NOW + timedelta(minutes=1)
        await report(world, "SKU-0", 2, minute)
        sold, state = await place(world, "S-1", lines=1, quantity=1)
        assert state == "accepted"
        await report(world, "SKU-0", 1, minute + timedelta(seconds=12, milliseconds=600))
        left = Departure(sold, "1", "HAM", "SKU-0", Decimal(1), "SH-1", minute + timedelta(seconds=12), "wms")
        async with world.pool.acquire() as connection, connection.transaction():
            await ship(connection, [left], system_clock(), COUNTING)
        last, state = await place(world, "S-2", lines=1, quantity=1)
        assert state == "held", "in doubt goods are taken as gone"
        assert await world.stock_holds.release_covered() == 0
        await report(world, "SKU-0", 1, minute + timedelta(seconds=15))
        assert await world.stock_holds.release_covered() == 1
        progress = await progress_of(world, last)
        assert (progress.state, progress.hold) == ("accepted", None)
        assert await world.pool.fetchval("SELECT count(*) FROM steps WHERE order_id = $1", last) > 0
        assert await world.pool.fetchval("SELECT reserved FROM stock WHERE sku = 'SKU-0' AND location = 'HAM'") == 1
        assert await world.stock_holds.release_covered() == 0


async def test_the_oldest_held_order_gets_the_goods_that_come_and_no_unit_goes_twice(database_url: str) -> None:
    async with open_world(database_url, fulfilment="complete") as world:
        await empty(world)
        orders = [(await place(world, f"S-{n}", lines=1, quantity=2))[0] for n in range(3)]
        await report(world, "SKU-0", 3, NOW + timedelta(minutes=1))
        assert await world.stock_holds.release_covered() == 1
        assert [(await progress_of(world, order_id)).state for order_id in orders] == ["accepted", "held", "held"]
        types = await world.pool.fetch("SELECT type FROM events WHERE order_id = $1 ORDER BY version", orders[0])
        assert [row[0] for row in types] == ["OrderHeld", "HoldReleased", "OrderAccepted"]
        await report(world, "SKU-0", 7, NOW + timedelta(minutes=2), "BHX")
        assert await world.stock_holds.release_covered() == 2


async def test_a_kit_is_released_when_its_last_component_is_there(database_url: str) -> None:
    async with open_world(database_url, fulfilment="complete") as world:
        await empty(world)
        parts = (Component("SKU-1", Decimal(2)), Component("SKU-2", Decimal(1)))
        price = (Money(Decimal("2.50"), "EUR"),)
        kit = Product("SKU-0", "Kit", "C62", "standard", price, (Pack("C62", Decimal(1)),), components=parts)
        async with world.pool.acquire() as connection, connection.transaction():
            await master_data.place_products(connection, [("erp", kit)], system_clock())
        order_id, state = await place(world, "S-1", lines=1, quantity=3)
        assert state == "held"
        await report(world, "SKU-1", 6, NOW + timedelta(minutes=1))
        assert await world.stock_holds.release_covered() == 0
        await report(world, "SKU-2", 3, NOW + timedelta(minutes=1), "BHX")
        async with world.pool.acquire() as connection:
            assert (await find_covered(connection, ["shop"], 0))[0] == [], "a kit is packed at one place"
        await report(world, "SKU-2", 3, NOW + timedelta(minutes=1))
        assert await world.stock_holds.release_covered() == 1
        assert (await progress_of(world, order_id)).state == "accepted"


async def test_a_channel_that_leaves_it_to_a_person_keeps_its_orders_held(database_url: str) -> None:
    async with open_world(database_url, fulfilment="complete", stock_held_until="person") as world:
        await empty(world)
        order_id, _ = await place(world, "S-1", lines=1, quantity=2)
        await report(world, "SKU-0", 9, NOW + timedelta(minutes=1))
        assert await world.stock_holds.release_covered() == 0
        assert (await progress_of(world, order_id)).state == "held"


async def test_what_else_speaks_against_an_order_still_holds_it_when_its_stock_is_there(database_url: str) -> None:
    async with open_world(database_url, fulfilment="complete") as world:
        await empty(world)
        order_id, _ = await place(world, "S-1", lines=1, quantity=2, customer="C1", method="terms")
        await report(world, "SKU-0", 9, NOW + timedelta(minutes=1))
        await world.pool.execute("UPDATE accounts SET open_invoices = 2000 WHERE customer = 'C1'")
        assert await world.stock_holds.release_covered() == 0
        assert (await progress_of(world, order_id)).state == "held"
        await world.pool.execute("UPDATE accounts SET open_invoices = 0 WHERE customer = 'C1'")
        assert await world.stock_holds.release_covered() == 1
