"""What channels show follows what there is: told to real sandbox channels, judged by their own storage and logs."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from decimal import Decimal
from pathlib import Path

import pytest

from crossdock.ledger import publications as ledger
from crossdock.policy.stock import ChannelStock
from tests.conformance.calls import BASKET
from tests.integration.engine.publishing import Estate, make_policy, open_estate, until

pytestmark = pytest.mark.process
ROOT = Path(__file__).parents[3]
SKUS = [f"T-{n:04d}" for n in range(1, 41)]
TOLD = ChannelStock(compare_calls_per_minute=0)
FEEDS = ChannelStock(compare_calls_per_minute=0, calls_per_second=Decimal(1))
FOUR = {"shop": TOLD, "bazaar": FEEDS, "agora": TOLD, "portal": TOLD}


async def reserve(estate: Estate, skus: Sequence[str], quantity: int = 1) -> None:
    await estate.pool.execute(
        "UPDATE stock SET reserved = reserved + $2 WHERE sku = ANY ($1::text[])", list(skus), Decimal(quantity)
    )


async def test_four_channels_show_what_there_is_and_what_changes(database_url: str, tmp_path: Path) -> None:
    async with open_estate(database_url, tmp_path, FOUR, skus=SKUS) as estate, estate.publishing():
        await estate.place_stock(dict.fromkeys(SKUS, 100))
        for channel in FOUR:
            await until(lambda channel=channel: estate.shows(channel, dict.fromkeys(SKUS, 100)))
        await reserve(estate, SKUS[:1], 3)
        for channel in FOUR:
            await until(lambda channel=channel: estate.shows(channel, {SKUS[0]: 97, SKUS[1]: 100}))
        await until(estate.settled)
        counted = await estate.pool.fetch("SELECT channel, sum(count) AS count FROM stock_latency GROUP BY channel")
        assert {row["channel"]: row["count"] for row in counted} == dict.fromkeys(FOUR, len(SKUS) + 1)
        acknowledged = await estate.pool.fetchrow(
            "SELECT * FROM publications WHERE channel = 'shop' AND sku = $1", SKUS[0]
        )
        assert acknowledged is not None
        assert (acknowledged["previous"], acknowledged["acknowledged"]) == (Decimal(100), Decimal(97))


async def test_goods_of_which_there_never_were_any_are_told_as_none(database_url: str, tmp_path: Path) -> None:
    """A channel that was never told a figure sells without limit."""
    async with open_estate(database_url, tmp_path, {"shop": TOLD}, skus=SKUS) as estate, estate.publishing():
        await estate.place_stock({SKUS[0]: 5})
        await until(lambda: estate.shows("shop", {SKUS[0]: 5}))
        # As a report comes: the places are noted and locked first, and then told of.
        await estate.pool.execute(
            "INSERT INTO stock (sku, location, on_hand, source, as_of, reported_at)"
            " SELECT sku, 'HAM', 0, '', '-infinity', now() FROM unnest($1::text[]) AS s (sku)", SKUS[1:],
        )  # fmt: skip
        await until(estate.settled)
        assert await estate.shown("shop") == {SKUS[0]: 5}
        await estate.place_stock(dict.fromkeys(SKUS[1:], 0))
        await until(lambda: estate.shows("shop", dict.fromkeys(SKUS[1:], 0)))


async def test_a_channel_that_was_away_gets_the_present_not_the_history(database_url: str, tmp_path: Path) -> None:
    async with open_estate(database_url, tmp_path, {"shop": TOLD}, skus=SKUS) as estate, estate.publishing():
        await estate.place_stock(dict.fromkeys(SKUS, 1000))
        await until(estate.settled)
        before = len(await estate.told("shop"))
        await estate.partners["shop"].misbehave({"down": True})
        for _ in range(30):
            await reserve(estate, SKUS)
            await asyncio.sleep(0.03)
        await until(estate.counted)
        assert await estate.waiting("shop") == len(SKUS)
        await estate.partners["shop"].misbehave({})
        await until(lambda: estate.shows("shop", dict.fromkeys(SKUS, 970)))
        since = (await estate.told("shop"))[before:]
        assert len(since) == len(SKUS), "one figure for each SKU, whatever happened meanwhile"


async def test_items_that_are_refused_stop_only_themselves(database_url: str, tmp_path: Path) -> None:
    async with open_estate(database_url, tmp_path, {"shop": TOLD}, skus=SKUS) as estate:
        await estate.partners["shop"].misbehave({"seed": 1, "stock_reject": 0.4})
        async with estate.publishing():
            await estate.place_stock(dict.fromkeys(SKUS, 50))
            # The shop shows it before we have noted its answer.
            await until(lambda: estate.shows("shop", dict.fromkeys(SKUS, 50)))
            await until(estate.settled)


async def test_an_item_without_a_listing_is_parked_with_its_cause(database_url: str, tmp_path: Path) -> None:
    async with open_estate(database_url, tmp_path, {"agora": TOLD}, skus=["ND-0001", "NO-LISTING"]) as estate:
        await estate.allow("agora", unknown="refuse")
        async with estate.publishing():
            await estate.place_stock({"ND-0001": 5, "NO-LISTING": 5})
            await until(estate.settled)
            parked = await estate.pool.fetch("SELECT sku, error_code, error_message FROM publications WHERE parked")
            assert [(row["sku"], row["error_code"]) for row in parked] == [("NO-LISTING", "sku_unknown")]
            assert parked[0]["error_message"]
            assert await estate.shown("agora") == {"ND-0001": 5}
            await estate.allow("agora")
            async with estate.pool.acquire() as connection:
                assert await ledger.release_parked(connection, "agora", "sku_unknown") == 1
            await until(lambda: estate.shows("agora", {"NO-LISTING": 5}))


async def test_a_channel_that_drops_updates_in_silence_is_found_by_reading_back(
    database_url: str, tmp_path: Path
) -> None:
    unlooked = ChannelStock(compare_calls_per_minute=0, calls_per_second=Decimal(5))
    compared = ChannelStock(compare_calls_per_minute=120, calls_per_second=Decimal(5))
    channels = ("portal", "bazaar")
    async with AsyncExitStack() as stack:
        estate = await stack.enter_async_context(
            open_estate(database_url, tmp_path, dict.fromkeys(channels, unlooked), skus=SKUS)
        )
        async with estate.publishing() as publisher:
            await estate.place_stock(dict.fromkeys(SKUS, 100))
            await until(estate.settled)
            for partner in estate.partners.values():
                await partner.misbehave({"seed": 5, "stock_drop": 0.3})
            await reserve(estate, SKUS, 20)
            await until(estate.settled)
            sampled = await publisher.sample("portal", SKUS)
            dropped = [row for row in sampled if row.shown == row.previous == 100]
            assert dropped, "all is acknowledged, and some of it was dropped"
            assert all(row.acknowledged == 80 for row in sampled)
            for partner in estate.partners.values():
                await partner.misbehave({})
        # From here on it is looked at what they show.
        estate.policy = make_policy(dict.fromkeys(channels, compared), version="2")
        await stack.enter_async_context(estate.publishing())
        for channel in channels:
            await until(lambda channel=channel: estate.shows(channel, dict.fromkeys(SKUS, 80)))
        told = Counter(entry["business_key"] for entry in await estate.told("portal"))
        assert set(told) == set(SKUS)
        # A rival writer is put right as well.
        edit = {"edits": [{"sku": SKUS[0], "quantity": "999"}], "by": "a person"}
        await estate.partners["portal"].control("POST", "/_control/stock", edit)
        await until(lambda: estate.shows("portal", {SKUS[0]: 80}))


async def test_a_component_that_moves_changes_its_kits(database_url: str, tmp_path: Path) -> None:
    async with open_estate(database_url, tmp_path, {"portal": TOLD}) as estate, estate.publishing():
        await estate.place_products(["BOLT", "NUT"], {"SET": {"BOLT": 4, "NUT": 2}})
        await estate.place_stock({"BOLT": 100, "NUT": 40})
        await until(lambda: estate.shows("portal", {"SET": 20, "BOLT": 100, "NUT": 40}))
        await reserve(estate, ["NUT"], 11)
        await until(lambda: estate.shows("portal", {"SET": 14, "NUT": 29}))


async def test_a_capped_figure_is_told_again_when_the_channel_sold_from_it(database_url: str, tmp_path: Path) -> None:
    capped = ChannelStock(cap=Decimal(10), compare_calls_per_minute=0)
    async with open_estate(database_url, tmp_path, {"shop": capped}, skus=["ND-0005"]) as estate, estate.publishing():
        await estate.place_stock({"ND-0005": 500})
        await until(lambda: estate.shows("shop", {"ND-0005": 10}))
        line = {"sku": "ND-0005", "quantity": "3", "unit": "C62", "unit_price": "1.50"}
        number = await estate.partners["shop"].place_order({**BASKET, "lines": [line]})
        assert await estate.shown("shop") == {"ND-0005": 7}
        # The shop does not know yet that we have its order: it goes on to keep the three back.
        await reserve(estate, ["ND-0005"], 3)
        await until(estate.settled)
        assert await estate.shown("shop") == {"ND-0005": 7}
        shop = estate.connections[0].client
        body = {"merchant_reference": "CD1"}
        await shop.request(None, "POST", f"/api/orders/{number}/acknowledgment", write=True, json=body)
        async with estate.pool.acquire() as connection:
            await ledger.tell_again(connection, [("shop", "ND-0005")])
        await until(lambda: estate.shows("shop", {"ND-0005": 10}))


async def test_goods_of_orders_on_their_way_to_us_are_not_shown_again(database_url: str, tmp_path: Path) -> None:
    """ERP on-hand ignores orders in flight, and the shop's stock jumps back up: not here."""
    async with open_estate(database_url, tmp_path, {"shop": TOLD}, skus=["ND-0005"]) as estate, estate.publishing():
        await estate.place_stock({"ND-0005": 5})
        await until(lambda: estate.shows("shop", {"ND-0005": 5}))
        line = {"sku": "ND-0005", "quantity": "4", "unit": "C62", "unit_price": "1.50"}
        await estate.partners["shop"].place_order({**BASKET, "lines": [line]})
        await estate.place_stock({"ND-0005": 6})
        await until(lambda: estate.shows("shop", {"ND-0005": 2}))
        assert await estate.partners["shop"].place_order({**BASKET, "lines": [line]}) == "", "sold out is not sold"


async def test_a_paused_partner_is_told_nothing(database_url: str, tmp_path: Path) -> None:
    async with open_estate(database_url, tmp_path, {"portal": TOLD, "shop": TOLD}, skus=SKUS) as estate:
        await estate.pool.execute("UPDATE connections SET paused = true WHERE connection = 'portal'")
        async with estate.publishing():
            await estate.place_stock(dict.fromkeys(SKUS, 9))
            await until(lambda: estate.shows("shop", dict.fromkeys(SKUS, 9)))
            assert await estate.shown("portal") == {}
            await estate.pool.execute("UPDATE connections SET paused = false WHERE connection = 'portal'")
            await until(lambda: estate.shows("portal", dict.fromkeys(SKUS, 9)))


async def test_another_worker_goes_on_when_one_is_killed_while_it_publishes(database_url: str, tmp_path: Path) -> None:
    skus = [f"T-{n:05d}" for n in range(3000)]
    channels = {"shop": TOLD, "bazaar": TOLD, "agora": TOLD, "portal": TOLD}
    async with open_estate(database_url, tmp_path, channels, skus=skus) as estate:
        await estate.allow("agora", puts_per_minute=60_000, puts_max=1000)
        urls = [f"{name}={partner.url}" for name, partner in estate.partners.items()]
        command = [sys.executable, "-m", "tests.integration.engine.publishing_worker", "doomed", database_url, *urls]
        doomed = await asyncio.create_subprocess_exec(*command, cwd=ROOT)
        await estate.place_stock(dict.fromkeys(skus, 500))
        await until(lambda: begun(estate, ("shop", "portal")))
        doomed.kill()
        await doomed.wait()
        await reserve(estate, skus[:100], 7)
        expected = {**dict.fromkeys(skus, 500), **dict.fromkeys(skus[:100], 493)}
        async with estate.publishing("heir"):
            for channel in ("shop", "portal", "bazaar"):
                await until(lambda channel=channel: estate.shows(channel, expected))
            holders = await estate.pool.fetch("SELECT DISTINCT leased_by FROM publication_lanes")
            assert [row["leased_by"] for row in holders] == ["heir"]


async def begun(estate: Estate, channels: Sequence[str]) -> bool:
    counts = [len(await estate.shown(channel)) for channel in channels]
    return all(counts)
