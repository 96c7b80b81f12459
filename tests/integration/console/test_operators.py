"""Operators act through the console, on one or on many, and each order's timeline tells who did what."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from crossdock.console.rendering import open_console
from crossdock.console.users import place_user
from crossdock.engine.ports import system_clock
from crossdock.insight.timeline import read_timeline
from tests.integration.console.conftest import PASSWORD, House, Visitor, browser
from tests.integration.engine.bench_world import World, make_arrival, make_placed, open_world
from tests.integration.engine.test_order_path import shipment_fact


@asynccontextmanager
async def operated(database_url: str) -> AsyncIterator[tuple[World, Visitor]]:
    """A business with plans, and Olive before its console."""
    async with open_world(database_url, credit_beyond="hold") as world:
        await place_user(world.pool, "olive", PASSWORD, "operator")
        services = open_console(world.pool, system_clock, world.control)
        async with browser(services, "http://console.test") as http:
            visitor = Visitor(http)
            await visitor.sign_in("olive")
            yield world, visitor
        await services.live.close()


async def place_held(world: World, number: str, customer: str) -> int:
    """An order beyond the customer's limit."""
    placed = make_placed(number, lines=5, quantity=200, customer=customer, method="terms")
    answer = await world.intake.place(make_arrival(placed))
    assert answer.acknowledgment is not None
    assert answer.acknowledgment.state == "held", answer.acknowledgment
    assert answer.order_id is not None
    return answer.order_id


async def told(world: World, order_id: int, action: str) -> list[str]:
    """Who did this to the order, as its timeline tells."""
    timeline = await read_timeline(world.pool, order_id, system_clock())
    return [entry.system for entry in timeline.entries if entry.kind == "action" and entry.title == action]


async def state_of(world: World, order_id: int) -> str:
    state: str = await world.pool.fetchval("SELECT state FROM order_progress WHERE order_id = $1", order_id)
    return state


async def test_a_hold_is_released_and_the_order_tells_by_whom(database_url: str) -> None:
    async with operated(database_url) as (world, olive):
        order_id = await place_held(world, "H-1", "C1")
        answer = await olive.act("/console/holds/release", order_id=str(order_id))
        assert answer.headers["location"] == "/console/holds?said=released&count=1"
        assert await state_of(world, order_id) == "accepted"
        assert await told(world, order_id, "hold.release") == ["olive"]
        page = (await olive.get(f"/console/orders/CD{order_id:08d}")).text
        assert "Hold released" in page


async def test_all_holds_of_a_cause_are_released_at_once(database_url: str) -> None:
    async with operated(database_url) as (world, olive):
        held = [await place_held(world, f"H-{number}", f"C{number}") for number in range(4)]
        cause = await world.pool.fetchval("SELECT hold_cause FROM order_progress LIMIT 1")
        nothing = await olive.act("/console/holds/release", cause=cause)
        assert nothing.headers["location"] == "/console/holds?said=unchosen"
        answer = await olive.act("/console/holds/release", cause=cause, all="yes")
        assert answer.headers["location"] == "/console/holds?said=released&count=4"
        for order_id in held:
            assert await state_of(world, order_id) == "accepted"
            assert await told(world, order_id, "hold.release") == ["olive"]


async def test_refused_holds_tell_by_whom_and_why(database_url: str) -> None:
    async with operated(database_url) as (world, olive):
        held = [await place_held(world, f"H-{number}", f"C{number}") for number in range(3)]
        chosen = [str(order_id) for order_id in held[:2]]
        answer = await olive.act("/console/holds/refuse", order_id=chosen, reason="No credit.")
        assert answer.headers["location"] == "/console/holds?said=refused&count=2"
        assert [await state_of(world, order_id) for order_id in held] == ["cancelled", "cancelled", "held"]
        assert await told(world, held[0], "hold.refuse") == ["olive"]
        assert "No credit." in (await olive.get(f"/console/orders/CD{held[0]:08d}")).text
        assert await told(world, held[2], "hold.refuse") == []


async def test_a_replayed_message_stands_in_the_timeline_of_its_order(database_url: str) -> None:
    async with operated(database_url) as (world, olive):
        answer = await world.intake.place(make_arrival(make_placed("S-1", lines=1)))
        assert answer.order_id is not None
        await world.intake.record([shipment_fact(answer.order_id, "SH-1", {"SKU-9": 1})])
        await world.decider.decide_waiting()
        fact_id = await world.pool.fetchval("SELECT fact_id FROM facts WHERE state = 'quarantined'")
        await olive.act("/console/quarantine/facts/replay", fact_id=str(fact_id))
        assert await told(world, answer.order_id, "fact.replay") == ["olive"]
        page = (await olive.get(f"/console/orders/CD{answer.order_id:08d}")).text
        assert "Parked message decided again" in page


async def test_replayed_steps_stand_in_the_timelines_of_their_orders(house: House, operator: Visitor) -> None:
    parked = await house.pool.fetch(
        "SELECT order_id, name FROM steps WHERE state = 'quarantined' AND error_code = 'connection_refused'"
    )
    await operator.act(
        "/console/quarantine/steps/replay", all="yes", connection="erp", cause="connection_refused"
    )
    assert len(parked) > 1
    for row in parked:
        page = (await operator.get(f"/console/orders/CD{row['order_id']:08d}")).text
        assert "Parked steps begun again" in page
        assert "olive" in page


async def test_a_hold_that_cannot_be_released_says_why_and_leads_back(database_url: str) -> None:
    async with operated(database_url) as (world, olive):
        order_id = await place_held(world, "H-1", "C1")
        await world.pool.execute("UPDATE products SET body = jsonb_set(body::jsonb, '{status}', '\"blocked\"')::json")
        await world.pool.execute("UPDATE reference_version SET version = version + 1")
        await world.pool.execute("UPDATE products SET changed = (SELECT version FROM reference_version)")
        here = f"/console/orders/CD{order_id:08d}"
        answer = await olive.post(
            "/console/holds/release", headers={"referer": f"http://console.test{here}?said=none"},
            form_token=olive.form_token, order_id=str(order_id),
        )  # fmt: skip
        assert answer.status_code == 409
        assert "The order can no longer be accepted." in answer.text
        assert "Refuse it, or mend what the reasons name." in answer.text
        assert "SKU-0" in answer.text
        assert f'href="{here}">Back' in answer.text
