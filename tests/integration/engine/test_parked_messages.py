"""What a person does with a parked message: look what would become of it, correct it, or close it."""

from __future__ import annotations

import msgspec
import pytest

from crossdock.engine.ports import system_clock
from crossdock.insight.timeline import read_timeline
from crossdock.model.errors import Invalid
from crossdock.model.facts import Fact, OrderPaid
from tests.integration.engine.bench_world import NOW, World, open_world
from tests.integration.engine.test_refused_orders import NEW, arrive, decide, naming, publish, state_of


async def parked_ids(world: World) -> list[int]:
    rows = await world.pool.fetch("SELECT fact_id FROM facts WHERE state = 'quarantined' ORDER BY fact_id")
    return [row["fact_id"] for row in rows]


async def test_nobody_could_say_what_a_replay_would_do_before_it_was_done(database_url: str) -> None:
    async with open_world(database_url) as world:
        await arrive(world, naming("S-1", sku="NEW-1"))
        await arrive(world, naming("S-2", sku="OTHER-1"))
        first, second = await parked_ids(world)
        await publish(world, NEW)
        before = await world.pool.fetchval("SELECT last_value FROM order_numbers")
        outcomes = await world.control.rehearse_facts([first, second])
        assert (outcomes[first].state, outcomes[first].reasons) == ("accepted", ())
        assert (outcomes[second].state, outcomes[second].reasons) == ("refused", ("There is no product OTHER-1.",))
        assert await parked_ids(world) == [first, second]
        assert await world.pool.fetchval("SELECT count(*) FROM orders") == 0
        assert await world.pool.fetchval("SELECT last_value FROM order_numbers") == before
        assert await world.control.replay_facts(system_clock(), "ada", fact_ids=[first, second]) == 2
        await decide(world)
        assert await state_of(world, "S-1") == ("applied", "accepted")
        assert await state_of(world, "S-2") == ("quarantined", None)


async def test_a_mistyped_sku_could_only_be_mended_in_the_channel(database_url: str) -> None:
    """Particular/NServiceBus#5107, edit and resend."""
    async with open_world(database_url) as world:
        await publish(world, NEW)
        await arrive(world, naming("S-1", sku="NWE-1"))
        (fact_id,) = await parked_ids(world)
        body = await world.control.read_parked(fact_id)
        received = await world.pool.fetchval("SELECT raw FROM facts WHERE fact_id = $1", fact_id)
        corrected = body.replace(b'"NWE-1"', b'"NEW-1"')
        await world.control.correct_fact(system_clock(), "ada", fact_id, corrected, "The buyer said so.")
        await decide(world)
        assert await state_of(world, "S-1") == ("applied", "accepted")
        assert await world.pool.fetchval("SELECT raw FROM facts WHERE fact_id = $1", fact_id) == received
        order_id = await world.pool.fetchval("SELECT order_id FROM orders")
        timeline = await read_timeline(world.pool, order_id, system_clock())
        told = [entry for entry in timeline.entries if entry.title == "fact.correct"]
        assert [entry.system for entry in told] == ["ada"]
        assert ("reason", "The buyer said so.") in told[0].details


@pytest.mark.parametrize(
    ("wrong", "code"),
    [(b"{", "correction_form"), (b"{}", "correction_form"), (b'{"channel_number": "S-2"', "correction_number")],
)
async def test_a_correction_that_is_no_such_order_changes_nothing(
    database_url: str, wrong: bytes, code: str
) -> None:
    async with open_world(database_url) as world:
        await arrive(world, naming("S-1", sku="NWE-1"))
        (fact_id,) = await parked_ids(world)
        body = await world.control.read_parked(fact_id)
        sent = body.replace(b'{"channel_number":"S-1"', wrong) if code == "correction_number" else wrong
        with pytest.raises(Invalid) as refused:
            await world.control.correct_fact(system_clock(), "ada", fact_id, sent, "A slip.")
        assert refused.value.code == code
        assert await world.control.read_parked(fact_id) == body
        with pytest.raises(Invalid):
            await world.control.correct_fact(system_clock(), "ada", fact_id + 1, body, "Another number.")


async def test_what_was_settled_by_telephone_stayed_parked_for_ever(database_url: str) -> None:
    async with open_world(database_url) as world:
        await arrive(world, naming("S-1", sku="NEW-1"))
        (fact_id,) = await parked_ids(world)
        assert await world.control.dismiss_facts(system_clock(), "ada", "Ordered anew.", fact_ids=[fact_id]) == 1
        await publish(world, NEW)
        assert await world.decider.wake_mended() == 0
        await arrive(world, naming("S-1", sku="NEW-1"))
        assert await state_of(world, "S-1") == ("ignored", None)
        assert await world.control.dismiss_facts(system_clock(), "ada", "Again.", fact_ids=[fact_id]) == 0
        told = await world.pool.fetch("SELECT actor, subject FROM audit WHERE action = 'fact.dismiss'")
        assert [tuple(row) for row in told] == [("ada", "shop S-1")]


async def test_only_orders_are_rehearsed(database_url: str) -> None:
    async with open_world(database_url) as world:
        body = msgspec.json.encode(OrderPaid("S-1", "P1", NOW))
        await world.intake.record([Fact("shop", "order.paid", "S-1", body, body, subject="S-1")])
        await decide(world)
        await world.pool.execute("UPDATE facts SET state = 'quarantined', cause = 'order_missing'")
        assert await world.control.rehearse_facts(await parked_ids(world)) == {}
