"""Refused orders of a shop that waits for no answer are decided again by themselves when what was missing comes."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from crossdock.engine.ports import system_clock
from crossdock.insight.timeline import read_timeline
from crossdock.ledger import master_data
from crossdock.ledger.facts import expire_early
from crossdock.model.documents import Component, Customer, Pack, PriceAgreement, Product
from crossdock.model.facts import Fact, OrderPaid
from crossdock.model.orders import OrderPlaced, PlacedLine
from crossdock.model.stock import InventoryBalance
from crossdock.model.values import Money, Quantity
from tests.integration.engine.bench_world import NOW, World, make_placed, open_world

NEW = Product(
    "NEW-1", "New one", "C62", "standard", (Money(Decimal("2.50"), "EUR"),),
    (Pack("C62", Decimal(1), "04012345678901"),),
)  # fmt: skip


def naming(number: str, **line: Any) -> OrderPlaced:
    placed = make_placed(number, lines=1)
    wanted = PlacedLine("1", Quantity(Decimal(2), "C62"), **line)
    return msgspec.structs.replace(placed, lines=(wanted,))


async def arrive(world: World, placed: OrderPlaced) -> None:
    raw = msgspec.json.encode(placed)
    number = placed.channel_number
    await world.intake.record([Fact("shop", "order.placed", number, raw, raw, subject=number)])
    await decide(world)


async def decide(world: World) -> None:
    for _ in range(6):
        await world.decider.decide_waiting()


async def publish(world: World, *products: Product) -> None:
    balances = [InventoryBalance(row.sku, "HAM", Quantity(Decimal(100), "C62"), NOW) for row in products]
    async with world.pool.acquire() as connection, connection.transaction():
        await master_data.place_products(connection, [("erp", product) for product in products], NOW)
        await master_data.place_balances(connection, [("wms", row) for row in balances], NOW)


async def state_of(world: World, number: str) -> tuple[str, str | None]:
    row = await world.pool.fetchrow(
        "SELECT f.state, p.state AS progress FROM facts f LEFT JOIN order_progress p USING (order_id)"
        " WHERE f.business_key = $1 AND f.kind = 'order.placed'", number,
    )  # fmt: skip
    assert row is not None
    return row["state"], row["progress"]


async def test_an_order_for_a_product_that_is_published_later_needs_no_person(database_url: str) -> None:
    """And its payment follows, also where it had been given up; its timeline says what happened."""
    async with open_world(database_url) as world:
        paid = msgspec.json.encode(OrderPaid("S-1", "P1", NOW))
        await world.intake.record([Fact("shop", "order.paid", "S-1", paid, paid, subject="S-1")])
        await arrive(world, naming("S-1", sku="NEW-1"))
        await arrive(world, naming("S-2", sku="OTHER-1"))
        assert await state_of(world, "S-1") == ("quarantined", None)
        async with world.pool.acquire() as connection:
            await expire_early(connection, system_clock() + timedelta(days=2))
        assert await world.decider.wake_mended() == 0
        await publish(world, NEW)
        assert await world.decider.wake_mended() == 1
        assert await world.decider.wake_mended() == 0
        await decide(world)
        assert await state_of(world, "S-1") == ("applied", "accepted")
        assert await state_of(world, "S-2") == ("quarantined", None)
        row = await world.pool.fetchrow("SELECT order_id, progress FROM order_progress")
        assert row is not None
        assert b'"paid":true' in row["progress"]
        timeline = await read_timeline(world.pool, row["order_id"], system_clock())
        told = [entry for entry in timeline.entries if entry.title == "order.mended"]
        assert [entry.system for entry in told] == ["crossdock"]
        assert ("because", "Line 1: There is no product NEW-1.") in told[0].details
        assert await world.pool.fetchval("SELECT count(*) FROM orders") == 1


@pytest.mark.parametrize("what", ["gtin", "price", "customer", "kit", "unblocked"])
async def test_whatever_was_missing_the_order_goes_on_when_it_is_there(database_url: str, what: str) -> None:
    blocked = msgspec.structs.replace(NEW, status="blocked")
    kit = Product(
        "KIT-1", "A kit", "C62", "standard", NEW.list_prices, (Pack("C62", Decimal(1)),),
        components=(Component("NEW-1", Decimal(2)),),
    )  # fmt: skip
    async with open_world(database_url, customer_unknown="refuse") as world:
        placed = naming("S-1", sku="NEW-1")
        match what:
            case "gtin":
                placed = naming("S-1", gtin="04012345678901")
            case "price":
                await publish(world, msgspec.structs.replace(NEW, list_prices=()))
                placed = msgspec.structs.replace(placed, customer="C1")
            case "customer":
                await publish(world, NEW)
                placed = msgspec.structs.replace(placed, customer="C99")
            case "kit":
                await publish(world, kit)
                placed = naming("S-1", sku="KIT-1")
            case "unblocked":
                await publish(world, blocked)
        await arrive(world, placed)
        assert await state_of(world, "S-1") == ("quarantined", None)
        async with world.pool.acquire() as connection, connection.transaction():
            match what:
                case "price":
                    agreed = PriceAgreement("A-NEW", "NEW-1", Money(Decimal(3), "EUR"), price_group="G1")
                    await master_data.place_agreements(connection, [("erp", agreed)], NOW)
                case "customer":
                    opened = Customer("C99", "New account", "EUR", "active", credit_limit=Decimal(1000))
                    await master_data.place_customers(connection, [("erp", opened)], NOW)
        if what in ("gtin", "kit", "unblocked"):
            await publish(world, NEW)
        assert await world.decider.wake_mended() == 1
        await decide(world)
        assert await state_of(world, "S-1") == ("applied", "accepted")


async def test_what_is_still_wrong_is_parked_again_and_looked_at_once_for_each_change(database_url: str) -> None:
    async with open_world(database_url) as world:
        await arrive(world, naming("S-1", sku="NEW-1"))
        await publish(world, msgspec.structs.replace(NEW, status="blocked"))
        assert await world.decider.wake_mended() == 1
        await decide(world)
        row = await world.pool.fetchrow("SELECT state, cause, attempt FROM facts WHERE business_key = 'S-1'")
        assert row is not None
        assert tuple(row) == ("quarantined", "product_blocked", 2)
        assert await world.decider.wake_mended() == 0
        await publish(world, msgspec.structs.replace(NEW, sku="UNRELATED"))
        assert await world.decider.wake_mended() == 0
        assert await world.pool.fetchval("SELECT count(*) FROM audit") == 0


async def test_a_person_may_still_replay_it_and_its_timeline_tells_who_did(database_url: str) -> None:
    async with open_world(database_url) as world:
        await arrive(world, naming("S-1", sku="NEW-1"))
        await publish(world, NEW)
        assert await world.control.replay_facts(system_clock(), "ada", cause="sku_unknown") == 1
        assert await world.decider.wake_mended() == 0
        await decide(world)
        assert await state_of(world, "S-1") == ("applied", "accepted")
        order_id = await world.pool.fetchval("SELECT order_id FROM orders")
        timeline = await read_timeline(world.pool, order_id, system_clock())
        assert [entry.system for entry in timeline.entries if entry.title == "fact.replay"] == ["ada"]
        assert not [entry for entry in timeline.entries if entry.title == "order.mended"]


async def test_an_order_with_characters_that_no_text_holds_keeps_no_other_from_being_found(database_url: str) -> None:
    async with open_world(database_url) as world:
        await arrive(world, naming("S-1", sku="BAD\0SKU"))
        await arrive(world, naming("S-2", sku="NEW-1"))
        await publish(world, NEW)
        assert await world.decider.wake_mended() == 1
        await decide(world)
        assert await state_of(world, "S-1") == ("quarantined", None)
        assert await state_of(world, "S-2") == ("applied", "accepted")
