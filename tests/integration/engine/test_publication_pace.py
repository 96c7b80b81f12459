"""The pace of telling: partners' limits, what goes first, that nothing waits for ever and orders wait for nothing."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from crossdock.engine.ports import OpenConnection, system_clock
from crossdock.engine.publisher import Publisher
from crossdock.kit.connector import Connector, Shown, StockLane
from crossdock.model.errors import Invalid
from crossdock.model.stock import StockFigure
from crossdock.policy.stock import ChannelStock
from tests.integration.engine.bench_world import make_arrival, make_placed, open_world
from tests.integration.engine.publishing import Estate, make_policy, open_estate, until
from tests.integration.engine.test_order_path import eventually, steps_are_done

pytestmark = pytest.mark.process
TOLD = ChannelStock(compare_calls_per_minute=0)
SHOP_FIGURES_PER_SECOND = 625


async def change(estate: Estate, skus: Sequence[str]) -> None:
    await estate.pool.execute("UPDATE stock SET reserved = reserved + 1 WHERE sku = ANY ($1::text[])", list(skus))


async def test_a_full_cycle_of_10000_sku_takes_25_hours_and_nothing_refreshes_what_just_sold(
    database_url: str, tmp_path: Path
) -> None:
    """openlinker-project/openlinker#2623: here what just sold is told within seconds, in the middle of the full cycle;
    and the cycle takes a minute."""
    skus = [f"T-{n:05d}" for n in range(10_000)]
    async with open_estate(database_url, tmp_path, {"shop": TOLD}, skus=skus) as estate:
        await estate.place_stock(dict.fromkeys(skus, 400))
        async with estate.publishing():
            await until(lambda: begun(estate, 500))
            last = skus[-1]
            await estate.pool.execute("UPDATE stock SET reserved = 398 WHERE sku = $1", last)
            sold_at = datetime.now(UTC)
            await until(lambda: estate.shows("shop", {**dict.fromkeys(skus, 400), last: 2}))
        told = await estate.told("shop")
    place = next(place for place, entry in enumerate(told) if is_told(entry, last, 2))
    waited = sum(datetime.fromisoformat(entry["at"]) > sold_at for entry in told[:place])
    assert waited < 5 * SHOP_FIGURES_PER_SECOND, "told within five seconds at the shop's pace"
    assert len(told) - place > 1000, "and the full cycle still went on"


def is_told(entry: Mapping[str, Any], sku: str, figure: int) -> bool:
    return entry["business_key"] == sku and Decimal(entry["document"]["quantity"]) == figure


async def begun(estate: Estate, count: int) -> bool:
    return len(await estate.shown("shop")) >= count


async def test_stock_jobs_arrive_faster_than_they_drain(database_url: str, tmp_path: Path) -> None:
    """openlinker-project/openlinker#2591: changes come ten times as fast as the channel takes figures; there is never
    more than one figure for a SKU."""
    skus = [f"T-{n:04d}" for n in range(60)]
    async with open_estate(database_url, tmp_path, {"agora": TOLD}, skus=skus) as estate, estate.publishing():
        await estate.place_stock(dict.fromkeys(skus, 10_000))
        await until(estate.settled)
        for _ in range(40):
            await change(estate, skus[:50])
            assert await estate.waiting("agora") <= len(skus)
        await until(lambda: estate.shows("agora", {**dict.fromkeys(skus, 10_000), **dict.fromkeys(skus[:50], 9_960)}))
        assert len(await estate.told("agora")) < 60 + 40 * 50 / 4, "what was overtaken is not told"
        assert await estate.refusals("agora") == 0


async def test_429_in_stock_sync(database_url: str, tmp_path: Path) -> None:
    """frappe/erpnext_shopify#110: the shop has less to give than it declares; its Retry-After is obeyed, nothing is
    lost, nobody is blocked."""
    skus = [f"T-{n:04d}" for n in range(1500)]
    async with open_estate(database_url, tmp_path, {"shop": TOLD, "portal": TOLD}, skus=skus) as estate:
        await estate.allow("shop", points_per_second=40, points_max=80)
        async with estate.publishing():
            await estate.place_stock(dict.fromkeys(skus, 30))
            await until(lambda: estate.shows("portal", dict.fromkeys(skus, 30)))
            await until(lambda: estate.shows("shop", dict.fromkeys(skus, 30)))
        refused = await estate.refusals("shop")
        assert 0 < refused <= 8, "it is asked again when it said, not before"
        rested = await estate.pool.fetchval("SELECT blocked_until FROM connections WHERE connection = 'shop'")
        assert rested.year < 2000, "orders to the shop go on"


async def test_hours_long_full_import_before_every_export(database_url: str, tmp_path: Path) -> None:
    """microsoft/BCApps#6395: for one change nothing else is read or counted; one figure is planned, one is told."""
    skus = [f"T-{n:04d}" for n in range(2000)]
    planned = "SELECT sku, wanted_version FROM publications WHERE channel = 'portal'"
    async with open_estate(database_url, tmp_path, {"portal": TOLD}, skus=skus) as estate, estate.publishing():
        await estate.place_stock(dict.fromkeys(skus, 500))
        await until(lambda: estate.shows("portal", dict.fromkeys(skus, 500)))
        await until(estate.settled)
        before, told = dict(await estate.pool.fetch(planned)), len(await estate.told("portal"))
        await change(estate, skus[:1])
        await until(lambda: estate.shows("portal", {skus[0]: 499}))
        await until(estate.settled)
        after = dict(await estate.pool.fetch(planned))
        assert [sku for sku in skus if after[sku] != before[sku]] == skus[:1]
        assert len(await estate.told("portal")) == told + 1


async def test_limits_are_kept_as_published(database_url: str, tmp_path: Path) -> None:
    skus = [f"T-{n:04d}" for n in range(1000)]
    channels = {"shop": TOLD, "bazaar": TOLD, "agora": TOLD, "portal": TOLD}
    async with open_estate(database_url, tmp_path, channels, skus=skus) as estate, estate.publishing():
        await estate.place_stock(dict.fromkeys(skus, 4000))
        for _ in range(60):
            await change(estate, skus[:300])
            await asyncio.sleep(0.1)
        await until(lambda: estate.shows("shop", dict.fromkeys(skus[:300], 3940)))
        assert {channel: await estate.refusals(channel) for channel in channels} == dict.fromkeys(channels, 0)
        feeds = await estate.told("bazaar", "feed")
        assert 1 <= len(feeds) <= 10
        puts = [datetime.fromisoformat(entry["at"]) for entry in await estate.told("agora")]
        seconds = (puts[-1] - puts[0]).total_seconds()
        assert len(puts) <= 50 + 25 * seconds, "1,500 a minute"


async def test_rare_calls_are_kept_for_what_is_about_to_sell_out(database_url: str, tmp_path: Path) -> None:
    """Ten feeds an hour: many small changes are gathered into one, what sells out goes at once."""
    skus = [f"T-{n:04d}" for n in range(50)]
    async with open_estate(database_url, tmp_path, {"bazaar": TOLD}, skus=skus) as estate, estate.publishing():
        await estate.place_stock(dict.fromkeys(skus, 500))
        await until(lambda: estate_shows(estate, dict.fromkeys(skus, 500)))
        for sku in skus[:20]:
            await change(estate, [sku])
            await asyncio.sleep(0.1)
        assert len(await estate.told("bazaar", "feed")) == 1
        await estate.pool.execute("UPDATE stock SET reserved = 500 WHERE sku = $1", skus[-1])
        await until(lambda: estate_shows(estate, {skus[-1]: 0, skus[0]: 499, skus[19]: 499}))
        assert len(await estate.told("bazaar", "feed")) == 2, "the others travel along"


async def estate_shows(estate: Estate, figures: Mapping[str, int]) -> bool:
    return await estate.shows("bazaar", figures)


async def test_what_is_about_to_sell_out_goes_first_and_the_rest_does_not_starve(
    database_url: str, tmp_path: Path
) -> None:
    hot = [f"HOT-{n:03d}" for n in range(100)]
    calm = [f"CALM-{n:03d}" for n in range(30)]
    urgent = ChannelStock(compare_calls_per_minute=0, urgent_below=Decimal(1000))
    async with (
        open_estate(database_url, tmp_path, {"agora": urgent}, skus=[*hot, *calm]) as estate, estate.publishing(),
    ):  # fmt: skip
        await estate.place_stock({**dict.fromkeys(hot, 900), **dict.fromkeys(calm, 5000)})
        await until(estate.settled)
        before = len(await estate.told("agora"))
        await change(estate, [*calm, *hot])
        since: list[str] = []

        async def are_all_told_while_hot_ones_change() -> bool:
            await change(estate, hot)
            since[:] = [entry["business_key"] for entry in (await estate.told("agora"))[before:]]
            return set(calm) <= set(since)

        await until(are_all_told_while_hot_ones_change)
        last = max(since.index(sku) for sku in calm)
        assert last < 5 * len(calm), "one of five places is for the others, oldest first"
        assert sum(sku in set(hot) for sku in since[:60]) >= 40, "the hot ones went first"


@dataclass
class OddChannel:
    """A channel in this process: it takes its time, and finds a whole batch wrong when one SKU is in it."""

    seconds: float = 0.0
    poison: str = ""
    shown: dict[str, Decimal] = field(default_factory=dict)
    batches: list[int] = field(default_factory=list)

    async def publish(self, _: Any, figures: Sequence[StockFigure]) -> list[Shown]:
        self.batches.append(len(figures))
        await asyncio.sleep(self.seconds)
        if any(figure.sku == self.poison for figure in figures):
            raise Invalid("partner_finds_invalid", "The partner finds our message invalid.")
        self.shown.update({figure.sku: figure.quantity for figure in figures})
        return [Shown(figure.sku) for figure in figures]

    async def read_back(self, _: Any, skus: Sequence[str]) -> Mapping[str, Decimal]:
        return {sku: self.shown[sku] for sku in skus if sku in self.shown}

    def lane(self, **limits: Any) -> StockLane:
        return StockLane(publish=self.publish, read_back=self.read_back, **limits)


@asynccontextmanager
async def nothing(settings: Any) -> AsyncIterator[None]:
    yield None


async def test_one_figure_that_spoils_a_batch_is_found_and_parked_alone(database_url: str, tmp_path: Path) -> None:
    odd = OddChannel(poison="T-0077")
    skus = [f"T-{n:04d}" for n in range(200)]
    async with open_estate(database_url, tmp_path, {}, skus=skus) as estate:
        connector = Connector("shop", "Odd", dict, nothing, stock=odd.lane(calls_per_second=500, burst=100))
        estate.connections = [OpenConnection("shop", connector, None)]
        estate.policy = make_policy({"shop": TOLD})
        await estate.pool.execute("INSERT INTO connections (connection, system) VALUES ('shop', 'shop')")
        async with estate.publishing():
            await estate.place_stock(dict.fromkeys(skus, 3))
            await until(lambda: shows_all(odd, set(skus) - {odd.poison}))
        row = await estate.pool.fetchrow("SELECT error_code, attempt FROM publications WHERE sku = 'T-0077'")
        assert row is not None
        assert (row["error_code"], row["attempt"] > 0) == ("partner_finds_invalid", True)


async def shows_all(odd: OddChannel, skus: set[str]) -> bool:
    return set(odd.shown) == skus


async def test_orders_do_not_wait_while_50000_figures_do(database_url: str) -> None:
    """Stock has a lane of its own: its backlog and its pace are not those of orders."""
    slow = OddChannel()
    async with open_world(database_url) as world:
        shop = next(opened for opened in world.connections if opened.name == "shop")
        lane = slow.lane(batch_max=100, calls_per_second=2, burst=1)
        told = replace(shop, connector=replace(shop.connector, stock=lane))
        policy = make_policy({"shop": TOLD})
        await world.pool.execute(
            "INSERT INTO publications (channel, sku, unit, wanted, wanted_at, owner_at, computed_at)"
            " SELECT 'shop', 'W-' || n, 'C62', 5, now(), now(), now() FROM generate_series(1, 50000) AS n"
        )
        publisher = Publisher(world.pool, [told], policy, "orders", system_clock)
        tasks = [asyncio.create_task(world.make_worker("orders").run()), asyncio.create_task(publisher.run())]
        try:
            numbers = itertools.count(1)
            for _ in range(10):
                wishes = [make_arrival(make_placed(f"S-{next(numbers)}", lines=2)) for _ in range(10)]
                await asyncio.gather(*(world.intake.place(wish) for wish in wishes))
            await eventually(lambda: steps_are_done(world))
            left = await world.pool.fetchval(
                "SELECT count(*) FROM publications WHERE wanted_version > acknowledged_version"
            )
            assert left > 40_000, "no order waited for a hundred calls of stock"
            assert slow.batches, "and stock was told meanwhile"
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
