"""The loop on a real PostgreSQL, judged by what the partners logged."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec

from crossdock.engine.ports import system_clock
from crossdock.kit.connector import Done
from crossdock.model.errors import InDoubt, Refused, Unavailable
from crossdock.model.facts import BalancesReported, CancellationRequested, Fact, FulfilmentShorted, OrderPaid
from crossdock.model.fulfilment import Package, Shipment, ShippedLine
from crossdock.model.orders import Order, OrderProgress
from crossdock.model.stock import InventoryBalance
from crossdock.model.values import Quantity
from tests.integration.engine.bench_world import NOW, World, make_arrival, make_placed, open_world


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for the worker, for as long as the slowest machine may need."""
    async with asyncio.timeout(120):
        while not await condition():  # noqa: ASYNC110 - the state is in the database
            await asyncio.sleep(0.02)


async def progress_of(world: World, order_id: int) -> OrderProgress:
    body = await world.pool.fetchval("SELECT progress FROM order_progress WHERE order_id = $1", order_id)
    return msgspec.json.decode(body, type=OrderProgress)


async def place(world: World, number: str, **wish: Any) -> int:
    answer = await world.intake.place(make_arrival(make_placed(number, **wish)))
    assert answer.order_id is not None, answer
    return answer.order_id


async def stock_of(world: World, sku: str, location: str = "HAM") -> tuple[Decimal, Decimal]:
    row = await world.pool.fetchrow(
        "SELECT on_hand, reserved FROM stock WHERE sku = $1 AND location = $2", sku, location
    )
    assert row is not None
    return row["on_hand"], row["reserved"]


def shipment_fact(order_id: int, number: str, lines: dict[str, int]) -> Fact:
    body = Shipment(
        number, f"CD{order_id:08d}-HAM", "HAM", NOW + timedelta(hours=1),
        tuple(ShippedLine(sku, Quantity(Decimal(quantity), "C62")) for sku, quantity in lines.items()),
        (Package("340123450000000017", f"TRK-{number}"),),
    )  # fmt: skip
    raw = msgspec.json.encode(body)
    return Fact("wms", "shipment.confirmed", number, raw, raw, subject=body.fulfilment_number)


def channel_fact(kind: str, body: Any) -> Fact:
    raw = msgspec.json.encode(body)
    return Fact("shop", kind, body.channel_number, raw, raw, subject=body.channel_number)


async def steps_are_done(world: World) -> bool:
    open_steps = await world.pool.fetchval(
        "SELECT count(*) FROM steps WHERE state NOT IN ('done', 'cancelled', 'failed', 'quarantined')"
    )
    return bool(open_steps == 0)


async def facts_are_decided(world: World) -> bool:
    return bool(await world.pool.fetchval("SELECT count(*) FROM facts WHERE state = 'waiting'") == 0)


class Working:
    """A worker that runs while the block does."""

    def __init__(self, world: World, name: str = "worker-1") -> None:
        self._world, self._name = world, name

    async def __aenter__(self) -> asyncio.Task[None]:
        self._task = asyncio.create_task(self._world.make_worker(self._name).run())
        return self._task

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def test_an_order_is_shipped_in_two_parts_and_every_cent_adds_up(database_url: str) -> None:
    async with open_world(database_url) as world, Working(world):
        order_id = await place(world, "S-1", lines=2, quantity=3)
        await eventually(lambda: steps_are_done(world))
        await world.intake.record([shipment_fact(order_id, "SH-1", {"SKU-0": 1, "SKU-1": 3})])
        await eventually(lambda: facts_are_decided(world))
        await eventually(lambda: steps_are_done(world))
        progress = await progress_of(world, order_id)
        assert progress.state == "shipping"
        assert progress.lines["1"].open == 2
        await world.intake.record([shipment_fact(order_id, "SH-2", {"SKU-0": 2})] * 5)
        await eventually(lambda: facts_are_decided(world))
        await eventually(lambda: steps_are_done(world))
        progress = await progress_of(world, order_id)
        assert progress.state == "completed"
        assert await stock_of(world, "SKU-0") == (Decimal(999_997), Decimal(0))
        captured = await world.pool.fetchval("SELECT sum(amount) FROM payments WHERE kind = 'capture'")
        # 2 lines of 3 at 2.499, each rounded to 7.50 once; their tax as the engine quoted it.
        assert captured == Decimal("15.00") + sum(tax.amount for tax in progress.taxes.values())
        effects = Counter(key for partner in world.partners.values() for _, key in partner.log)
        assert set(effects.values()) == {1}
        invoiced = await world.pool.fetchval("SELECT sum(net + tax) FROM invoices")
        assert invoiced == captured


async def test_partners_that_lose_answers_still_get_each_effect_once(database_url: str) -> None:
    async with open_world(database_url) as world, Working(world):
        for partner in world.partners.values():
            partner.lose_answers = 7
            partner.faults = [Unavailable("busy", "Busy."), InDoubt("reset", "Reset.")] * 3
        ids = [await place(world, f"S-{n}") for n in range(20)]
        await eventually(lambda: steps_are_done(world))
        for name, partner in world.partners.items():
            counts = Counter(key for _, key in partner.log)
            assert set(counts.values()) == {1}, name
        placed = {key for operation, key in world.partners["erp"].log if operation == "erp.place_order"}
        assert placed == {f"CD{order_id:08d}/erp.place_order" for order_id in ids}


async def test_steps_of_a_killed_worker_go_on_elsewhere_and_are_probed_first(database_url: str) -> None:
    async with open_world(database_url) as world:
        await place(world, "S-1")
        # A worker claims the first step, its call takes effect, and it dies before it can say so.
        dead = "worker-dead"
        await world.pool.execute(
            "UPDATE steps SET state = 'sending', attempt = 1, leased_by = $1, leased_until = now() + interval '1 hour' "
            "WHERE name = 'tax.quote'", dead,
        )  # fmt: skip
        key = "CD00000001/tax.quote"
        call_log = world.partners["tax"].log
        call_log.append(("tax.quote", key))
        world.partners["tax"].effects[key] = _quote(await world.pool.fetchval("SELECT body FROM orders"))
        async with Working(world, "worker-2"):
            await eventually(lambda: steps_are_done(world))
        assert call_log == [("tax.quote", key)]


def _quote(body: bytes) -> Done:
    lines = msgspec.json.decode(body)["lines"]
    taxes = {line["line"]: {"code": "EU-STD", "rate": "0.19", "amount": "0.95"} for line in lines}
    return Done(msgspec.json.encode({"taxes": taxes}), "T1")


async def test_a_declined_card_cancels_the_order_and_gives_stock_back(database_url: str) -> None:
    async with open_world(database_url) as world, Working(world):
        world.partners["payment"].faults = [Refused("card_declined", "The card was declined.")]
        order_id = await place(world, "S-1")
        await eventually(lambda: steps_are_done(world))
        progress = await progress_of(world, order_id)
        assert progress.state == "cancelled"
        assert progress.refused[0].code == "card_declined"
        assert await stock_of(world, "SKU-0") == (Decimal(1_000_000), Decimal(0))
        assert world.partners["erp"].log == []


async def test_a_refusing_erp_holds_the_order_undoes_the_payment_and_release_goes_on(database_url: str) -> None:
    async with open_world(database_url) as world, Working(world):
        world.partners["erp"].faults = [Refused("period_closed", "The period is closed.")]
        order_id = await place(world, "S-1")
        await eventually(lambda: steps_are_done(world))
        progress = await progress_of(world, order_id)
        assert progress.state == "held"
        assert progress.hold is not None
        assert progress.hold.cause == "refused:erp.place_order"
        assert [operation for operation, _ in world.partners["payment"].log] == ["payment.authorise", "payment.void"]
        assert await stock_of(world, "SKU-0") == (Decimal(1_000_000), Decimal(0))
        assert await world.control.release_holds(system_clock(), "ops", [order_id]) == 1
        await eventually(lambda: steps_are_done(world))
        assert (await progress_of(world, order_id)).state == "accepted"
        assert ("erp.place_order", f"CD{order_id:08d}/erp.place_order#2") in world.partners["erp"].log
        assert await stock_of(world, "SKU-0") == (Decimal(1_000_000), Decimal(2))


async def test_a_repeated_request_gets_the_first_answer_even_when_the_order_was_decided_anew(database_url: str) -> None:
    async with open_world(database_url) as world, Working(world):
        world.partners["erp"].faults = [Refused("period_closed", "The period is closed.")]
        arrival = make_arrival(make_placed("S-1"))
        first = await world.intake.place(arrival)
        assert first.order_id is not None
        assert first.acknowledgment is not None
        repeated = await world.intake.place(arrival)
        assert (repeated.status, repeated.acknowledgment) == ("repeated", first.acknowledgment)
        await eventually(lambda: steps_are_done(world))
        await world.pool.execute("UPDATE stock SET on_hand = 0 WHERE location = 'HAM'")
        assert await world.control.release_holds(system_clock(), "ops", [first.order_id]) == 1
        body = msgspec.json.decode(await world.pool.fetchval("SELECT body FROM orders"), type=Order)
        assert body.lines[0].allocations != first.acknowledgment.lines[0].allocations
        repeated = await world.intake.place(arrival)
        assert (repeated.status, repeated.acknowledgment) == ("repeated", first.acknowledgment)


async def test_five_copies_of_a_webhook_at_once_make_one_order_and_paid_may_come_first(database_url: str) -> None:
    async with open_world(database_url) as world:
        placed = make_placed("S-77")
        paid = channel_fact("order.paid", OrderPaid("S-77", "P1", NOW))
        created = channel_fact("order.placed", placed)
        await world.intake.record([paid])
        assert await world.decider.decide_waiting() == 1
        await asyncio.gather(*(world.intake.record([created]) for _ in range(5)))
        await asyncio.gather(*(world.decider.decide_waiting() for _ in range(3)))
        await world.decider.decide_waiting()
        assert await world.pool.fetchval("SELECT count(*) FROM orders") == 1
        assert (await progress_of(world, 1)).paid


async def test_fifty_requests_with_one_key_make_one_order(database_url: str) -> None:
    async with open_world(database_url) as world:
        arrival = make_arrival(make_placed("S-1"))
        answers = await asyncio.gather(*(world.intake.place(arrival) for _ in range(50)))
        assert Counter(answer.status for answer in answers) == {"new": 1, "repeated": 49}
        other = make_arrival(make_placed("S-2"), key="key-S-1")
        assert (await world.intake.place(other)).status == "key_reused"
        changed = replace(make_arrival(make_placed("S-1", lines=3), key="another"), body_hash=b"another body")
        assert (await world.intake.place(changed)).status == "conflict"
        assert await world.pool.fetchval("SELECT count(*) FROM orders") == 1


async def test_credit_is_never_exceeded_by_orders_placed_at_the_same_instant(database_url: str) -> None:
    async with open_world(database_url) as world:
        wishes = [
            make_arrival(make_placed(f"B-{n}", lines=1, quantity=40, customer="C1", method="terms")) for n in range(20)
        ]
        answers = await asyncio.gather(*(world.intake.place(wish) for wish in wishes))
        states = Counter(answer.acknowledgment.state for answer in answers if answer.acknowledgment)
        # 40 x 2.499 = 99.96 each, under a limit of 1,000: ten are accepted, ten are held with the cause.
        assert states == {"accepted": 10, "held": 10}
        exposure = await world.pool.fetchval("SELECT open_orders + open_invoices FROM accounts WHERE customer = 'C1'")
        assert exposure <= 1000
        causes = await world.pool.fetch("SELECT DISTINCT hold_cause FROM order_progress WHERE hold_cause IS NOT NULL")
        assert [row[0] for row in causes] == ["credit"]


async def test_two_processes_at_once_promise_no_more_than_is_there_and_pass_no_limit(database_url: str) -> None:
    async with open_world(database_url, fulfilment="split") as world, open_world(database_url) as other:
        await world.pool.execute("UPDATE stock SET on_hand = CASE location WHEN 'HAM' THEN 30 ELSE 0 END")
        doors = [world.intake, other.intake]
        cards = [make_arrival(make_placed(f"S-{n}", lines=1, quantity=4)) for n in range(20)]
        terms = [
            make_arrival(make_placed(f"B-{n}", lines=1, quantity=1, customer="C1", method="terms")) for n in range(20)
        ]
        await world.pool.execute("UPDATE accounts SET open_orders = 975 WHERE customer = 'C1'")
        answers = await asyncio.gather(
            *(doors[n % 2].place(arrival) for n, arrival in enumerate(cards)),
            *(doors[n // 2 % 2].place(arrival) for n, arrival in enumerate(terms)),
        )
        assert {answer.status for answer in answers} == {"new"}
        on_hand, reserved = await stock_of(world, "SKU-0")
        assert reserved == on_hand == 30, "all of it is promised, and none of it twice"
        held = "SELECT sum(quantity) FROM reservations WHERE location = 'HAM' AND sku = 'SKU-0'"
        assert await world.pool.fetchval(held) == 30
        # Ten of 2.499 each fit between 975 and 1,000.
        exposure = await world.pool.fetchval("SELECT open_orders + open_invoices FROM accounts WHERE customer = 'C1'")
        assert Decimal(975) + 10 * Decimal("2.50") == exposure


async def test_a_short_pick_stays_owed_and_a_cancellation_closes_it(database_url: str) -> None:
    async with open_world(database_url) as world, Working(world):
        order_id = await place(world, "S-1", lines=1, quantity=5)
        await eventually(lambda: steps_are_done(world))
        short = FulfilmentShorted(f"CD{order_id:08d}-HAM", "HAM", "SKU-0", "2", NOW)
        raw = msgspec.json.encode(short)
        await world.intake.record(
            [Fact("wms", "fulfilment.shorted", "short-1", raw, raw, subject=short.fulfilment_number)]
        )
        await world.intake.record([shipment_fact(order_id, "SH-1", {"SKU-0": 3})])
        await eventually(lambda: facts_are_decided(world))
        await eventually(lambda: steps_are_done(world))
        line = (await progress_of(world, order_id)).lines["1"]
        assert [line.shipped, line.backordered, line.open, line.cancelled] == [Decimal(n) for n in (3, 2, 0, 0)]
        await world.intake.record(
            [channel_fact("order.cancellation_requested", CancellationRequested("S-1", NOW, "too late"))]
        )
        await eventually(lambda: facts_are_decided(world))
        await eventually(lambda: steps_are_done(world))
        line = (await progress_of(world, order_id)).lines["1"]
        assert [line.shipped, line.backordered, line.open, line.cancelled] == [Decimal(n) for n in (3, 0, 0, 2)]


async def test_backordered_goods_are_released_to_the_warehouse_when_supply_arrives(database_url: str) -> None:
    async with open_world(database_url) as world, Working(world):
        await world.pool.execute("UPDATE stock SET on_hand = CASE location WHEN 'HAM' THEN 3 ELSE 0 END")
        order_id = await place(world, "S-1", lines=1, quantity=5)
        await eventually(lambda: steps_are_done(world))
        line = (await progress_of(world, order_id)).lines["1"]
        assert [line.open, line.backordered] == [Decimal(3), Decimal(2)]
        arrived = InventoryBalance("SKU-0", "HAM", Quantity(Decimal(9), "C62"), system_clock())
        raw = msgspec.json.encode(BalancesReported((arrived,)))
        await world.intake.record([Fact("wms", "balances.reported", "HAM:1", raw, raw)])

        async def is_allocated() -> bool:
            return (await progress_of(world, order_id)).lines["1"].backordered == 0

        await eventually(is_allocated)
        await eventually(lambda: steps_are_done(world))
        number = f"CD{order_id:08d}"
        released = [key for operation, key in world.partners["wms"].log if operation == "wms.release"]
        assert released == [f"{number}/wms.release:HAM", f"{number}/wms.release:HAM#2"]
        assert await stock_of(world, "SKU-0") == (Decimal(9), Decimal(5))


async def test_lines_that_get_supply_one_after_the_other_are_each_released(database_url: str) -> None:
    async with open_world(database_url) as world, Working(world):
        await world.pool.execute("UPDATE stock SET on_hand = 0")
        order_id = await place(world, "S-1", lines=2, quantity=5)
        await eventually(lambda: steps_are_done(world))
        for sku, line in (("SKU-0", "1"), ("SKU-1", "2")):
            await world.pool.execute("UPDATE stock SET on_hand = 5 WHERE sku = $1 AND location = 'HAM'", sku)

            async def is_open(wanted: str = line) -> bool:
                return (await progress_of(world, order_id)).lines[wanted].open == 5

            await eventually(is_open)
            await eventually(lambda: steps_are_done(world))
        number = f"CD{order_id:08d}"
        released = [key for operation, key in world.partners["wms"].log if operation == "wms.release"]
        assert released == [f"{number}/wms.release:HAM#2", f"{number}/wms.release:HAM#3"]


async def test_goods_that_nobody_ordered_are_parked_with_a_reason(database_url: str) -> None:
    async with open_world(database_url) as world, Working(world):
        order_id = await place(world, "S-1", lines=1, quantity=5)
        good = await place(world, "S-2", lines=1, quantity=5)
        await eventually(lambda: steps_are_done(world))
        await world.intake.record(
            [shipment_fact(order_id, "SH-1", {"SKU-0": 6}), shipment_fact(good, "SH-2", {"SKU-0": 5})]
        )
        await eventually(lambda: facts_are_decided(world))
        await eventually(lambda: steps_are_done(world))
        row = await world.pool.fetchrow(
            "SELECT state, cause, message, owner, next_action FROM facts WHERE business_key = 'SH-1'"
        )
        assert row is not None
        assert row["state"] == "quarantined"
        assert row["cause"] == "shipment_unmatched"
        assert "does not ask for" in row["message"]
        assert (await progress_of(world, good)).state == "completed"


async def test_a_paused_connection_keeps_its_steps_and_goes_on_in_order(database_url: str) -> None:
    async with open_world(database_url) as world, Working(world):
        await world.control.pause_connection(system_clock(), "ops", "erp")
        ids = [await place(world, f"S-{n}") for n in range(12)]

        async def paid_all() -> bool:
            return len([1 for operation, _ in world.partners["payment"].log if operation == "payment.authorise"]) == 12

        await eventually(paid_all)
        assert world.partners["erp"].log == []
        await world.control.resume_connection(system_clock(), "ops", "erp")
        await eventually(lambda: steps_are_done(world))
        assert [key for _, key in world.partners["erp"].log] == [
            f"CD{order_id:08d}/erp.place_order" for order_id in ids
        ]


async def test_parked_steps_begin_again_by_replay(database_url: str) -> None:
    async with open_world(database_url) as world, Working(world):
        world.partners["wms"].faults = [Refused("address_unknown", "The address is unknown.")]
        await place(world, "S-1")
        await eventually(lambda: steps_are_done(world))
        assert await world.pool.fetchval("SELECT state FROM steps WHERE operation = 'wms.release'") == "quarantined"
        assert (
            await world.control.replay_steps(system_clock(), "ops", connection="wms", error_code="address_unknown") == 1
        )
        await eventually(lambda: steps_are_done(world))
        assert await world.pool.fetchval("SELECT state FROM steps WHERE operation = 'wms.release'") == "done"


async def test_events_are_gapless_for_each_order(database_url: str) -> None:
    async with open_world(database_url) as world, Working(world):
        for n in range(5):
            await place(world, f"S-{n}")
        await eventually(lambda: steps_are_done(world))
        rows = await world.pool.fetch("SELECT order_id, array_agg(version ORDER BY version) FROM events GROUP BY 1")
        counts = dict(await world.pool.fetch("SELECT order_id, event_count FROM order_progress"))
        assert len(rows) == 5
        for row in rows:
            assert row[1] == list(range(1, counts[row[0]] + 1))
