"""Where shares divide stock between channels, no unit is shown at two of them, whatever they were told."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from crossdock.policy.stock import ChannelStock, StockPolicy
from tests.integration.engine.publishing import Estate, open_estate, until

pytestmark = pytest.mark.process
SKUS = [f"T-{n:04d}" for n in range(1, 6)]
HALF = ChannelStock(compare_calls_per_minute=0, share_percent=50)


async def reserve(estate: Estate, quantity: int) -> None:
    await estate.pool.execute("UPDATE stock SET reserved = reserved + $1", Decimal(quantity))


async def test_a_channel_that_sold_its_share_gets_no_more_while_another_still_shows_its_old_one(
    database_url: str, tmp_path: Path
) -> None:
    channels = {"shop": HALF, "portal": HALF}
    async with open_estate(database_url, tmp_path, channels, skus=SKUS) as estate, estate.publishing():
        await estate.place_stock(dict.fromkeys(SKUS, 100))
        for channel in channels:
            await until(lambda channel=channel: estate.shows(channel, dict.fromkeys(SKUS, 50)))
        await estate.partners["portal"].misbehave({"down": True})
        await reserve(estate, 50)
        await until(lambda: estate.shows("shop", dict.fromkeys(SKUS, 0)))
        assert await estate.shows("portal", dict.fromkeys(SKUS, 50)), "all that is left may be sold there"
        # More goods come: what the silent channel cannot be showing goes to the other.
        await estate.place_stock(dict.fromkeys(SKUS, 120))
        await until(lambda: estate.shows("shop", dict.fromkeys(SKUS, 20)))
        await estate.partners["portal"].misbehave({})
        for channel in channels:
            await until(lambda channel=channel: estate.shows(channel, dict.fromkeys(SKUS, 35)))


async def test_a_figure_that_may_have_arrived_is_counted_as_shown(database_url: str, tmp_path: Path) -> None:
    channels = {"shop": HALF, "portal": HALF}
    async with open_estate(database_url, tmp_path, channels, skus=SKUS) as estate:
        await estate.partners["portal"].misbehave({"seed": 1, "commit_then_drop": 1.0})
        async with estate.publishing():
            await estate.place_stock(dict.fromkeys(SKUS, 100))
            await until(lambda: estate.shows("portal", dict.fromkeys(SKUS, 50)))
            await reserve(estate, 60)
            await until(lambda: estate.shows("shop", dict.fromkeys(SKUS, 0)))
            await estate.partners["portal"].misbehave({})
            for channel in channels:
                await until(lambda channel=channel: estate.shows(channel, dict.fromkeys(SKUS, 20)))


def test_only_channels_of_the_same_places_divide_what_is_there() -> None:
    places = ChannelStock(share_percent=100, locations=("BHX",))
    asking = ChannelStock(share_percent=50, publish=False)
    policy = StockPolicy(channels={"shop": HALF, "portal": HALF, "bazaar": places, "sales": asking})
    assert policy.divided() == (frozenset({"shop", "portal"}),)
    assert StockPolicy(channels={"shop": HALF, "portal": ChannelStock(share_percent=60)}).divided() == ()
