"""The read models over a small business: search by every number, paging, the timeline, the overview."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from crossdock.insight.connections import read_connections
from crossdock.insight.holds import (
    list_held_order_ids,
    list_holds,
    list_quarantined_facts,
    list_quarantined_steps,
    read_fact_payload,
    read_hold_groups,
    read_quarantine_groups,
)
from crossdock.insight.orders import OrderFilter, list_channels, list_shipments, read_order, search_orders
from crossdock.insight.overview import read_overview, read_throughput
from crossdock.insight.timeline import read_timeline
from crossdock.ledger.database import open_pool
from crossdock.model.errors import Invalid
from tests.conftest import copy_of, make_template
from tests.integration.insight.estate import place_estate

ESTATE = "crossdock_estate"
NOW = datetime(2026, 5, 4, 9, 30, 20, tzinfo=UTC)


async def _fill(address: str) -> None:
    pool = await open_pool(address, size=1)
    await place_estate(pool, NOW)
    await pool.close()


@pytest.fixture(scope="session")
def _estate(postgres_url: str, template_database: str) -> None:
    make_template(postgres_url, template_database, ESTATE, _fill)


@pytest.fixture
async def pool(postgres_url: str, _estate: None) -> AsyncIterator[Any]:
    async with copy_of(postgres_url, ESTATE) as address:
        opened = await open_pool(address, size=3)
        yield opened
        await opened.close()


async def found(pool: Any, **wanted: Any) -> list[str]:
    listing = await search_orders(pool, OrderFilter(**wanted), limit=200)
    return [order.number for order in listing.items]


@pytest.mark.parametrize(
    "text",
    [
        "CD00000061",
        "cd00000061",
        "P-5061",
        "X-ERP-61",
        "X-WMS-61",
        "INV-00061",
        "SH-61",
        "TRK000000061",
        "003401234500000611",
    ],
)
async def test_an_order_is_found_by_the_number_that_any_system_gave_it(pool: Any, text: str) -> None:
    assert await found(pool, text=text) == ["CD00000061"]


async def test_search_by_customer_sku_and_state(pool: Any) -> None:
    by_code = await found(pool, text="C-1002")
    assert by_code
    assert by_code == await found(pool, customer="C-1002") == await found(pool, text="utrecht work")
    assert set(await found(pool, text="nd-0001")) == set(await found(pool, sku="ND-0001"))
    assert set(await found(pool, sku="ND-0001", state="completed")) < set(await found(pool, sku="ND-0001"))
    assert await found(pool, text="100%") == []
    assert await found(pool, text="%") == []
    assert await found(pool, text="x' OR '1'='1") == []
    assert await found(pool, text="CD99999999999999999999") == []
    assert await found(pool, text="\x00") == await found(pool)


async def test_pages_follow_each_other_without_gap_or_double(pool: Any) -> None:
    numbers: list[str] = []
    cursor = ""
    for _ in range(20):
        listing = await search_orders(pool, OrderFilter(state="completed"), cursor, 7)
        numbers += [order.number for order in listing.items]
        cursor = listing.cursor
        if not cursor:
            break
    assert numbers == await found(pool, state="completed")
    assert len(numbers) == len(set(numbers)) > 14


@pytest.mark.parametrize(
    "cursor", ["x", "WzFd!", "W10", "WyJ4Il0", "é", "W" * 700, "Wzk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5XQ"]
)
async def test_a_made_up_cursor_is_refused(pool: Any, cursor: str) -> None:
    with pytest.raises(Invalid):
        await search_orders(pool, OrderFilter(), cursor)


async def test_who_may_see_one_channel_sees_no_other(pool: Any) -> None:
    seen = await search_orders(pool, OrderFilter(channels=("shop",)), limit=200)
    assert {order.channel for order in seen.items} == {"shop"}
    assert await read_order(pool, "CD00000061", ("shop",)) is None
    assert await read_order(pool, "CD00000061", ("portal",)) is not None
    shipments = await list_shipments(pool, channels=("shop",))
    assert {shipment.channel for shipment in shipments.items} == {"shop"}
    assert {held.channel for held in (await list_holds(pool, channels=("shop",))).items} <= {"shop"}
    assert await list_channels(pool) == ("market-nord", "market-sued", "portal", "shop")


async def test_the_list_says_what_waits_for_the_erp_and_since_when(pool: Any) -> None:
    listing = await search_orders(pool, OrderFilter(state="accepted"))
    assert {(order.waiting_for, order.waiting_since is not None) for order in listing.items} == {("erp", True)}


async def test_the_timeline_tells_the_story_in_order_and_what_happens_next(pool: Any) -> None:
    timeline = await read_timeline(pool, 62, NOW, exchanges=True)
    assert [entry.title for entry in timeline.entries[:3]] == ["order.placed", "OrderAccepted", "tax.quote"]
    assert [entry.at for entry in timeline.entries] == sorted(entry.at for entry in timeline.entries)
    first = timeline.next[0]
    assert (first.name, first.reason, first.connection) == ("erp.place_order", "breaker_open", "erp")
    assert first.since == NOW - timedelta(seconds=350)
    assert [step.reason for step in timeline.next[1:]] == ["needs", "needs"]
    attempts = [entry for entry in timeline.entries if entry.kind == "attempt"]
    assert [entry.attempt for entry in attempts] == [1, 2]
    assert attempts[0].exchanges[0].status == 503


async def test_exchanges_are_masked_again_at_display(pool: Any) -> None:
    timeline = await read_timeline(pool, 61, NOW, exchanges=True)
    texts = " ".join(exchange.request for entry in timeline.entries for exchange in entry.exchanges)
    assert "CD00000061" in texts
    assert "Musterfrau" not in texts
    assert "tok_secret" not in texts
    without = await read_timeline(pool, 61, NOW)
    assert all(not entry.exchanges for entry in without.entries)


async def test_a_pause_is_told_before_a_retry(pool: Any) -> None:
    timeline = await read_timeline(pool, 17, NOW)
    assert [(step.name, step.reason) for step in timeline.next] == [("channel.ship:SH-17", "retry")]
    await pool.execute("UPDATE connections SET paused = true, paused_at = $1 WHERE connection = 'portal'", NOW)
    paused = await read_timeline(pool, 17, NOW)
    assert [(step.reason, step.since) for step in paused.next] == [("paused", NOW)]


async def test_the_overview_answers_at_a_glance(pool: Any) -> None:
    overview = await read_overview(pool, NOW)
    orders = {count.state: count.count for count in overview.orders}
    assert sum(orders.values()) == 70
    assert all(count.exact for count in overview.orders)
    (wait,) = overview.waiting_for_erp
    assert (wait.connection, wait.because) == ("erp", "down")
    assert wait.orders == orders["accepted"]
    unbooked = "SELECT count(*) FROM steps WHERE operation = 'erp.ship' AND state IN ('ready', 'in_doubt', 'sending')"
    assert wait.shipments == await pool.fetchval(unbooked)
    assert overview.held == orders["held"] == sum(group.count for group in await read_hold_groups(pool))
    assert (overview.facts_quarantined, overview.steps_quarantined) == (4, 3)
    assert overview.unpublished_count == len(overview.unpublished) == 3
    assert {(feed.connection, feed.feed) for feed in overview.stale_feeds} == {
        ("erp", "balances"),
        ("erp", "products"),
        ("market-sued", "orders"),
    }
    assert overview.oldest_waiting_step is not None
    health = {state.connection: state.health for state in await read_connections(pool, NOW)}
    assert (health["erp"], health["market-sued"], health["payments"], health["tax"]) == (
        "down",
        "paused",
        "degraded",
        "healthy",
    )


async def test_throughput_counts_each_order_in_its_minute(pool: Any) -> None:
    minutes = await read_throughput(pool, NOW)
    expected = await pool.fetch(
        "SELECT date_trunc('minute', accepted_at) AS at, count(*) AS accepted FROM orders GROUP BY 1 ORDER BY 1"
    )
    assert len(minutes) == 60
    assert minutes[-1].at == NOW.replace(second=0)
    assert {minute.at: minute.accepted for minute in minutes if minute.accepted} == {row[0]: row[1] for row in expected}


async def test_throughput_of_an_empty_ledger_is_zero(database_url: str) -> None:
    opened = await open_pool(database_url, size=1)
    try:
        assert {minute.accepted for minute in await read_throughput(opened, NOW, 5)} == {0}
        overview = await read_overview(opened, NOW)
        assert overview.oldest_waiting_step is None
    finally:
        await opened.close()


async def test_holds_and_quarantine_by_cause(pool: Any) -> None:
    groups = await read_hold_groups(pool)
    assert [group.cause for group in groups] == ["price_deviation", "credit_limit"]
    assert groups[1].owner == "credit control"
    assert groups[1].next_action.startswith("Release it")
    held = await list_holds(pool, cause="credit_limit", limit=2)
    rest = await list_holds(pool, cause="credit_limit", cursor=held.cursor)
    ids = [order.order_id for order in (*held.items, *rest.items)]
    assert ids == await list_held_order_ids(pool, "credit_limit")
    parked = {(group.what, group.connection, group.cause): group.count for group in await read_quarantine_groups(pool)}
    assert parked == {("fact", "shop", "sku_unknown"): 4, ("step", "erp", "connection_refused"): 3}
    steps = await list_quarantined_steps(pool, connection="erp", limit=2)
    more = await list_quarantined_steps(pool, connection="erp", cursor=steps.cursor)
    assert len({step.number for step in (*steps.items, *more.items)}) == 3
    facts = await list_quarantined_facts(pool, cause="sku_unknown", limit=3)
    assert len((await list_quarantined_facts(pool, cursor=facts.cursor)).items) == 1
    payload = await read_fact_payload(pool, facts.items[0].fact_id)
    assert payload is not None
    assert "S-9" in payload
    assert "jette@" not in payload
    assert await read_fact_payload(pool, 10**15) is None


async def test_a_worker_that_was_killed_and_replaced_was_listed_for_an_hour(pool: Any) -> None:
    await pool.execute("DELETE FROM processes")
    seen = {
        "depot:101": (NOW - timedelta(hours=2), NOW - timedelta(minutes=20)),
        "depot:202": (NOW - timedelta(minutes=19), NOW),
        "depot:303": (NOW - timedelta(hours=2), NOW - timedelta(minutes=9)),
        "yard:101": (NOW - timedelta(hours=2), NOW - timedelta(minutes=20)),
    }
    for name, (started_at, seen_at) in seen.items():
        await pool.execute("INSERT INTO processes VALUES ($1, 'worker', $2, $3)", name, started_at, seen_at)
    listed = {found.process for found in (await read_overview(pool, NOW)).processes}
    # Nobody began in the place of the third, nor at the other host: somebody should know.
    assert listed == {"depot:202", "depot:303", "yard:101"}
