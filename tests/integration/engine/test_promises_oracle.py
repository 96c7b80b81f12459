"""Random carts, orders, shipments, shortages and cancellations against plain dictionaries: no unit lost or invented."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from crossdock.engine.holds import Holds, Wish, expire_holds
from crossdock.engine.ports import system_clock
from crossdock.ledger import master_data
from crossdock.ledger.inventory import read_stockroom
from crossdock.ledger.reference import ReferenceCache
from crossdock.model.documents import Component, Pack, Product
from crossdock.model.facts import CancellationRequested, Fact, FulfilmentShorted
from crossdock.model.fulfilment import Shipment, ShippedLine
from crossdock.model.orders import OrderAcknowledgment, PlacedLine
from crossdock.model.values import Money, Quantity
from crossdock.rules.availability import Terms, count_promise
from tests.integration.engine.bench_world import NOW, World, make_arrival, make_placed, make_policy, open_world

PARTS = {"SKU-0": {"SKU-0": 1}, "SKU-1": {"SKU-1": 1}, "KIT": {"SKU-0": 2, "SKU-1": 1}}
PLACES = ("HAM", "BHX")
MOVES = ("cart", "cart", "order", "order", "redeem", "drop", "expire", "ship", "short", "cancel")
STEPS = 100
STOCK = "SELECT sku, location, on_hand, reserved FROM stock WHERE location IN ('HAM', 'BHX')"


class Oracle:
    """Where goods are, who holds them: counted on fingers."""

    def __init__(self) -> None:
        self.there: dict[tuple[str, str], int] = {}
        self.held: dict[str, dict[tuple[str, str], int]] = {}

    def free(self, sku: str, place: str) -> int:
        return self.there[sku, place] - sum(taken.get((sku, place), 0) for taken in self.held.values())

    def makes(self, sku: str) -> int:
        return sum(min(self.free(part, place) // each for part, each in PARTS[sku].items()) for place in PLACES)

    def hold(self, who: str, sku: str, sources: dict[str, Any]) -> None:
        taken = self.held.setdefault(who, defaultdict(int))
        for place, quantity in sources.items():
            for part, each in PARTS[sku].items():
                taken[part, place] += each * int(quantity)

    def let_go(self, who: str, sku: str, place: str, quantity: int, *, left: bool) -> None:
        for part, each in PARTS[sku].items():
            self.held[who][part, place] -= each * quantity
            if left:
                self.there[part, place] -= each * quantity


class Play:
    """The same moves at Crossdock and at the oracle."""

    def __init__(self, world: World, holds: Holds, seed: int) -> None:
        self.world, self.holds, self.chance, self.oracle = world, holds, random.Random(seed), Oracle()
        self.orders: dict[str, tuple[int, str, dict[str, int]]] = {}
        self.carts: dict[str, str] = {}
        self.count = 0

    async def move(self) -> None:
        self.count += 1
        sku, quantity = self.chance.choice(list(PARTS)), self.chance.randint(1, 5)
        move = self.chance.choice(MOVES)
        if move == "cart":
            await self.hold(sku, quantity)
        elif move == "order":
            await self.order(sku, quantity)
        elif move == "redeem" and self.carts:
            await self.order(*self.carts_choice())
        elif move == "drop" and self.carts:
            number = self.chance.choice(list(self.carts))
            await self.holds.release(number, None)
            del self.carts[number], self.oracle.held[number]
        elif move == "expire" and self.chance.random() < 0.3:
            await expire_holds(self.world.pool, system_clock() + timedelta(minutes=9))
            for number in self.carts:
                del self.oracle.held[number]
            self.carts.clear()
        elif move in ("ship", "short", "cancel") and self.orders:
            await self.follow(move)

    def carts_choice(self) -> tuple[str, int, str]:
        number = self.chance.choice(list(self.carts))
        return self.carts[number], self.chance.randint(1, 5), number

    async def hold(self, sku: str, quantity: int) -> None:
        line = PlacedLine("1", Quantity(Decimal(quantity), "C62"), sku)
        answer = await self.holds.reserve(Wish("shop", f"cart-{self.count}", "x", (line,), 5))
        assert (answer.status == "new") == (quantity <= self.oracle.makes(sku)), (answer, sku, quantity)
        if answer.status == "new":
            found = await self.holds.read(answer.reservation, None)
            assert found is not None
            self.oracle.hold(answer.reservation, sku, found.lines[0].sources)
            self.carts[answer.reservation] = sku

    async def order(self, sku: str, quantity: int, reservation: str = "") -> None:
        number = f"S-{self.count}"
        placed = make_placed(number, lines=1, quantity=quantity)
        line = msgspec.structs.replace(placed.lines[0], sku=sku)
        placed = msgspec.structs.replace(placed, lines=(line,), reservation=reservation)
        answer = await self.world.intake.place(make_arrival(placed))
        acknowledgment = answer.acknowledgment
        assert isinstance(acknowledgment, OrderAcknowledgment)
        assert answer.order_id is not None
        if reservation:
            del self.carts[reservation], self.oracle.held[reservation]
        taken = {item.location: int(item.quantity) for item in acknowledgment.lines[0].allocations}
        assert sum(taken.values()) == min(quantity, self.oracle.makes(sku))
        self.oracle.hold(number, sku, taken)
        if sum(taken.values()) == quantity:
            # One that waits for supply is left alone: nothing comes here.
            self.orders[number] = (answer.order_id, sku, taken)

    async def follow(self, move: str) -> None:
        number = self.chance.choice(list(self.orders))
        order_id, sku, taken = self.orders[number]
        place = self.chance.choice(list(taken))
        quantity = self.chance.randint(1, taken[place])
        fulfilment = f"CD{order_id:08d}-{place}"
        body: Any = CancellationRequested(number, NOW)
        kind, subject = "order.cancellation_requested", number
        if move == "ship":
            shipped = (ShippedLine(sku, Quantity(Decimal(quantity), "C62")),)
            body = Shipment(f"SH-{self.count}", fulfilment, place, NOW + timedelta(hours=1), shipped)
            kind, subject = "shipment.confirmed", fulfilment
        elif move == "short":
            body = FulfilmentShorted(fulfilment, place, sku, str(quantity), NOW)
            kind, subject = "fulfilment.shorted", fulfilment
        raw = msgspec.json.encode(body)
        source = "shop" if move == "cancel" else "wms"
        await self.world.intake.record([Fact(source, kind, f"F-{self.count}", raw, raw, subject=subject)])
        await self.world.decider.decide_orders()
        if move == "cancel":
            del self.orders[number], self.oracle.held[number]
            return
        self.oracle.let_go(number, sku, place, quantity, left=move == "ship")
        taken[place] -= quantity
        if not taken[place]:
            del taken[place]
        if not taken:
            del self.orders[number]

    async def check(self) -> None:
        for row in await self.world.pool.fetch(STOCK):
            free = row["on_hand"] - row["reserved"]
            assert free == self.oracle.free(row["sku"], row["location"]), (self.count, dict(row))
            assert free >= 0
        async with self.world.pool.acquire() as connection:
            room = await read_stockroom(connection, list(PARTS), ["shop"], NOW)
        for sku in PARTS:
            promised = count_promise(room.saleable(sku, "shop"), Terms("shop", None), room.stale, NOW.date())
            assert promised.quantity == self.oracle.makes(sku), (self.count, sku)


@pytest.mark.parametrize("seed", range(4))
async def test_what_is_free_is_what_plain_counting_says_after_every_step(database_url: str, seed: int) -> None:
    async with (
        open_world(database_url, skus=2) as world,
        Holds(world.pool, make_policy(), ReferenceCache(), system_clock) as holds,
    ):
        kit = Product(
            "KIT", "Kit", "C62", "standard", (Money(Decimal(9), "EUR"),), (Pack("C62", Decimal(1)),),
            components=tuple(Component(sku, Decimal(each)) for sku, each in PARTS["KIT"].items()),
        )  # fmt: skip
        async with world.pool.acquire() as connection:
            await master_data.place_products(connection, [("erp", kit)], NOW)
        play = Play(world, holds, seed)
        for sku in ("SKU-0", "SKU-1"):
            for place in PLACES:
                there = play.chance.randint(5, 60)
                play.oracle.there[sku, place] = there
                await world.pool.execute(
                    "UPDATE stock SET on_hand = $3, reported = $3 WHERE sku = $1 AND location = $2", sku, place,
                    Decimal(there),
                )  # fmt: skip
        for _ in range(STEPS):
            await play.move()
            await play.check()
