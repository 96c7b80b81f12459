"""What is told under the terms of policy: units, supply, silent feeds, another policy; feeds that outlive a worker."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from crossdock.policy.stock import ChannelStock
from tests.integration.engine.publishing import Estate, make_policy, open_estate, until

pytestmark = pytest.mark.process
SKUS = [f"T-{n:04d}" for n in range(1, 21)]
TOLD = ChannelStock(compare_calls_per_minute=0)


async def test_pieces_are_told_as_whole_boxes_where_the_channel_sells_boxes(database_url: str, tmp_path: Path) -> None:
    """52,900 pieces published at the price of a box of 1,000: the listing says in which unit the channel sells."""
    async with open_estate(database_url, tmp_path, {"shop": TOLD, "portal": TOLD}, skus=["T-1"]) as estate:
        async with estate.publishing():
            await estate.place_stock({"T-1": 52_900})
            await until(lambda: estate.shows("shop", {"T-1": 52_900}))
            await estate.pool.execute("INSERT INTO listings (channel, sku, unit) VALUES ('shop', 'T-1', 'XBX')")
            await until(lambda: estate.shows("shop", {"T-1": 4_408}))
            row = (await estate.partners["shop"].control("GET", "/_control/stock?sku=T-1"))[0]
            assert row["unit"] == "XBX"
            assert await estate.shows("portal", {"T-1": 52_900})
        unlisted = "UPDATE listings SET listed = false"
        await estate.pool.execute(unlisted)
        async with estate.publishing():
            await until(lambda: estate.shows("shop", {"T-1": 0}))


async def test_supply_that_is_on_its_way_may_be_sold_where_policy_says_so(database_url: str, tmp_path: Path) -> None:
    ahead = ChannelStock(backorder="inbound", compare_calls_per_minute=0)
    async with open_estate(database_url, tmp_path, {"portal": ahead, "shop": TOLD}, skus=["T-1"]) as estate:
        async with estate.publishing():
            await estate.place_stock({"T-1": 4})
            await until(lambda: estate.shows("portal", {"T-1": 4}))
            expected_on = datetime.now(UTC).date() + timedelta(days=5)
            await estate.pool.execute(
                "INSERT INTO inbound_supply (purchase_order, line, sku, location, quantity, expected_on, source, as_of)"
                " VALUES ('PO1', '1', 'T-1', 'HAM', 30, $1, 'erp', now())", expected_on,
            )  # fmt: skip
            await until(lambda: estate.shows("portal", {"T-1": 34}))
            assert await estate.shows("shop", {"T-1": 4})
        promise_on = await estate.pool.fetchval("SELECT promise_on FROM publications WHERE channel = 'portal'")
        assert promise_on == expected_on


async def test_what_a_silent_feed_may_have_lost_is_not_told(database_url: str, tmp_path: Path) -> None:
    async with open_estate(database_url, tmp_path, {"shop": TOLD}, skus=SKUS) as estate, estate.publishing():
        await estate.place_stock(dict.fromkeys(SKUS, 100))
        await until(lambda: estate.shows("shop", dict.fromkeys(SKUS, 100)))
        await estate.pool.execute(
            "INSERT INTO sales_speed (sku, per_day, as_of) VALUES ($1, 48, now())", SKUS[0]
        )
        await estate.pool.execute(
            "INSERT INTO stock_sources (source, location, as_of, received_at, stale_since)"
            " VALUES ('wms', 'HAM', now() - interval '1 hour', now() - interval '1 hour', now())"
        )
        await until(lambda: estate.shows("shop", {SKUS[0]: 97, SKUS[1]: 100}))
        await estate.pool.execute("UPDATE stock_sources SET stale_since = NULL")
        await until(lambda: estate.shows("shop", {SKUS[0]: 100}))


async def test_another_policy_is_told_everywhere(database_url: str, tmp_path: Path) -> None:
    async with open_estate(database_url, tmp_path, {"portal": TOLD}, skus=SKUS) as estate:
        async with estate.publishing():
            await estate.place_stock(dict.fromkeys(SKUS, 100))
            await until(lambda: estate.shows("portal", dict.fromkeys(SKUS, 100)))
        estate.policy = make_policy({"portal": ChannelStock(share_percent=50, buffer=Decimal(5))}, version="2")
        async with estate.publishing():
            await until(lambda: estate.shows("portal", dict.fromkeys(SKUS, 45)))
            # The portal shows it before we have noted its answer.
            await until(estate.settled)
        told = len(await estate.told("portal"))
        async with estate.publishing("another"):
            await until(estate.settled)
        assert len(await estate.told("portal")) == told, "the same policy again is no reason to tell anything"


async def test_a_feed_that_outlives_its_worker_is_collected_by_another(database_url: str, tmp_path: Path) -> None:
    async with open_estate(database_url, tmp_path, {"bazaar": TOLD}, skus=SKUS) as estate:
        await estate.allow("bazaar", feed_seconds=2)
        await estate.place_stock(dict.fromkeys(SKUS, 7))
        async with estate.publishing("first"):
            await until(lambda: submitted(estate))
        async with estate.publishing("second"):
            await until(estate.settled)
        assert await estate.shown("bazaar") == dict.fromkeys(SKUS, 7)
        assert len(await estate.told("bazaar", "feed")) == 1


async def submitted(estate: Estate) -> bool:
    return bool(await estate.pool.fetchval("SELECT EXISTS (SELECT FROM publications WHERE feed IS NOT NULL)"))
