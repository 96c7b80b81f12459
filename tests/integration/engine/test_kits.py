"""Kits through the whole ledger: held, short, supplied, shipped and cancelled as their components, to the unit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal

import msgspec
import pytest

from crossdock.insight.orders import OrderFilter, search_orders
from crossdock.ledger import master_data
from crossdock.model.documents import Component, Pack, Product
from crossdock.model.facts import CancellationRequested, Fact, FulfilmentShorted
from crossdock.model.fulfilment import FulfilmentOrder
from crossdock.model.values import Money
from tests.integration.engine.bench_world import NOW, World, make_arrival, make_placed, open_world
from tests.integration.engine.test_order_path import channel_fact, progress_of, shipment_fact, stock_of

HELD = "SELECT coalesce(sum(quantity - shipped - released), 0) FROM reservations WHERE order_id = $1"


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """KIT: three of SKU-0 and one of SKU-1. In Hamburg there are 30 and 6 of them, in Birmingham 9 and 50."""
    async with open_world(database_url, skus=3) as opened:
        for sku, location, quantity in (("SKU-0", "HAM", 30), ("SKU-1", "HAM", 6), ("SKU-0", "BHX", 9),
                                        ("SKU-1", "BHX", 50)):  # fmt: skip
            await opened.pool.execute(
                "UPDATE stock SET on_hand = $3, reported = $3 WHERE sku = $1 AND location = $2", sku, location,
                Decimal(quantity),
            )  # fmt: skip
        kit = Product(
            "KIT", "Kit", "C62", "standard", (Money(Decimal(9), "EUR"),), (Pack("C62", Decimal(1)),),
            components=(Component("SKU-0", Decimal(3)), Component("SKU-1", Decimal(1))),
        )  # fmt: skip
        async with opened.pool.acquire() as connection:
            await master_data.place_products(connection, [("erp", kit)], NOW)
        yield opened


async def order(world: World, number: str, quantity: int, sku: str = "KIT") -> int:
    placed = make_placed(number, lines=1, quantity=quantity)
    line = msgspec.structs.replace(placed.lines[0], sku=sku)
    answer = await world.intake.place(make_arrival(msgspec.structs.replace(placed, lines=(line,))))
    assert answer.order_id is not None, answer
    return answer.order_id


async def tell(world: World, *facts: Fact) -> None:
    for fact in facts:
        await world.intake.record([fact])
        await world.decider.decide_orders()


async def reserved(world: World) -> dict[str, Decimal]:
    rows = await world.pool.fetch("SELECT sku, sum(reserved) AS held FROM stock GROUP BY sku HAVING sum(reserved) <> 0")
    return {row["sku"]: row["held"] for row in rows}


async def test_a_kit_ships_its_components(world: World) -> None:
    order_id = await order(world, "S-1", 5)
    assert await reserved(world) == {"SKU-0": 15, "SKU-1": 5}
    await tell(world, shipment_fact(order_id, "SH-1", {"KIT": 2}))
    assert await stock_of(world, "SKU-0") == (Decimal(24), Decimal(9))
    assert await stock_of(world, "SKU-1") == (Decimal(4), Decimal(3))
    await tell(world, shipment_fact(order_id, "SH-2", {"KIT": 3}))
    assert await stock_of(world, "SKU-0") == (Decimal(15), Decimal(0))
    assert await stock_of(world, "SKU-1") == (Decimal(1), Decimal(0))
    assert (await progress_of(world, order_id)).lines["1"].shipped == 5


async def test_a_reservation_is_never_released(world: World) -> None:
    """medusajs/medusa#12401: one warehouse ships what another was to ship; nothing stays reserved for ever."""
    order_id = await order(world, "S-1", 8)
    rows = await world.pool.fetch("SELECT location, sku, quantity FROM reservations WHERE order_id = $1", order_id)
    assert {(row["location"], row["sku"]): row["quantity"] for row in rows} == {
        ("HAM", "SKU-0"): 18, ("HAM", "SKU-1"): 6, ("BHX", "SKU-0"): 6, ("BHX", "SKU-1"): 2,
    }  # fmt: skip
    await tell(world, shipment_fact(order_id, "SH-1", {"KIT": 8}))
    assert await world.pool.fetchval(HELD, order_id) == 0
    assert await reserved(world) == {}


async def test_a_missing_component_makes_kits_wait_until_all_of_them_are_there(world: World) -> None:
    order_id = await order(world, "S-1", 9)
    # Hamburg makes six, Birmingham three: four bolts missing in Hamburg are two kits.
    number = f"CD{order_id:08d}-HAM"
    raw = msgspec.json.encode(FulfilmentShorted(number, "HAM", "SKU-0", "4", NOW))
    await tell(world, Fact("wms", "fulfilment.shorted", "SP-1", raw, raw, subject=number))
    line = (await progress_of(world, order_id)).lines["1"]
    assert (line.open, line.backordered) == (Decimal(7), Decimal(2))
    assert await reserved(world) == {"SKU-0": 21, "SKU-1": 7}
    await world.pool.execute("UPDATE stock SET on_hand = 5 WHERE sku = 'SKU-1' AND location = 'HAM'")
    assert await world.decider.allocate_supply() == 1
    line = (await progress_of(world, order_id)).lines["1"]
    # One of the two can be made of what is free in Hamburg: there is one plate.
    assert (line.open, line.backordered) == (Decimal(8), Decimal(1))
    payload = await world.pool.fetchval(
        "SELECT payload FROM steps WHERE order_id = $1 AND name LIKE 'wms.release:HAM#%'", order_id
    )
    assert [found.sku for found in msgspec.json.decode(payload, type=FulfilmentOrder).lines] == ["KIT"]


async def test_a_cancelled_kit_gives_its_components_back(world: World) -> None:
    await order(world, "S-1", 12)
    await tell(world, channel_fact("order.cancellation_requested", CancellationRequested("S-1", NOW)))
    assert await reserved(world) == {}


async def test_kits_and_their_components_never_take_the_same_goods(world: World) -> None:
    bolts = await order(world, "S-1", 28, "SKU-0")
    kits = await order(world, "S-2", 9)
    assert (await progress_of(world, bolts)).lines["1"].backordered == 0
    # Two bolts are left in Hamburg, nine in Birmingham: three kits.
    assert (await progress_of(world, kits)).lines["1"].backordered == 6
    assert await world.pool.fetchval("SELECT count(*) FROM stock WHERE reserved > on_hand") == 0


async def test_a_hundred_orders_that_cannot_take_what_is_free_keep_no_younger_one_from_its_goods(world: World) -> None:
    """Free goods that lie where the oldest are not served from are no reason to look at them for ever."""
    await world.pool.execute("UPDATE stock SET on_hand = 0, reported = 0")
    await asyncio.gather(*(order(world, f"S-{number}", 1, "SKU-0") for number in range(101)))
    young = await order(world, "S-young", 1, "SKU-2")
    await world.pool.execute(
        "INSERT INTO stock (sku, location, on_hand, reported, source, as_of, reported_at)"
        " VALUES ('SKU-0', 'FAR', 500, 500, 'far', now(), now()), ('SKU-2', 'HAM', 5, 5, 'wms', now(), now())"
        " ON CONFLICT (sku, location) DO UPDATE SET on_hand = 5"
    )
    given = [await world.decider.allocate_supply() for _ in range(3)]
    assert sum(given) == 1
    assert (await progress_of(world, young)).lines["1"].backordered == 0
    # And then it begins with the oldest again.
    await world.pool.execute("UPDATE stock SET on_hand = 1 WHERE sku = 'SKU-0' AND location = 'HAM'")
    assert sum([await world.decider.allocate_supply() for _ in range(3)]) == 1


async def test_a_new_bill_of_material_per_variation(world: World) -> None:
    """openlabs/magento_integration#176: variations of a kit, published again and again, make no second bill and no
    second goods; an order keeps the bill that it was accepted with."""
    kit = msgspec.json.decode(await world.pool.fetchval("SELECT body FROM products WHERE sku = 'KIT'"), type=Product)
    first = await order(world, "S-1", 1)
    changed = msgspec.structs.replace(kit, components=(Component("SKU-0", Decimal(2)), Component("SKU-2", Decimal(1))))
    for number in range(5):
        red, blue = (msgspec.structs.replace(kit, sku=sku) for sku in ("KIT-RED", "KIT-BLUE"))
        async with world.pool.acquire() as connection:
            rows = [("erp", row) for row in (changed, red, blue)]
            await master_data.place_products(connection, rows, NOW + timedelta(minutes=number))
    assert await world.pool.fetchval("SELECT count(*) FROM products") == 3 + 3
    assert await world.pool.fetchval("SELECT count(*) FROM stock WHERE sku LIKE 'KIT%'") == 0
    second = await order(world, "S-2", 1)
    await order(world, "S-3", 1, "KIT-RED")
    assert await reserved(world) == {"SKU-0": 3 + 2 + 3, "SKU-1": 1 + 1, "SKU-2": 1}
    await tell(world, shipment_fact(first, "SH-1", {"KIT": 1}), shipment_fact(second, "SH-2", {"KIT": 1}))
    assert await reserved(world) == {"SKU-0": 3, "SKU-1": 1}


async def test_orders_are_found_by_the_kit_and_by_its_components(world: World) -> None:
    await order(world, "S-1", 1)
    await order(world, "S-2", 1, "SKU-1")
    by_kit = await search_orders(world.pool, OrderFilter(sku="KIT"), "", 10)
    assert [found.channel_number for found in by_kit.items] == ["S-1"]
    by_text = await search_orders(world.pool, OrderFilter(text="KIT"), "", 10)
    assert [found.channel_number for found in by_text.items] == ["S-1"]
    by_part = await search_orders(world.pool, OrderFilter(sku="SKU-1"), "", 10)
    assert [found.channel_number for found in by_part.items] == ["S-2", "S-1"]
