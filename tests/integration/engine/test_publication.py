"""What channels show follows what there is: told to real sandbox channels, judged by their own storage and logs."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from crossdock.policy.stock import ChannelStock
from tests.integration.engine.publishing import open_estate, until

pytestmark = pytest.mark.process
SKUS = [f"T-{n:04d}" for n in range(1, 41)]
TOLD = ChannelStock(compare_calls_per_minute=0)
FOUR = {"shop": TOLD, "bazaar": TOLD, "agora": TOLD, "portal": TOLD}


async def test_four_channels_show_what_there_is_and_what_changes(database_url: str, tmp_path: Path) -> None:
    async with open_estate(database_url, tmp_path, FOUR, skus=SKUS) as estate, estate.publishing():
        await estate.place_stock(dict.fromkeys(SKUS, 100))
        for channel in FOUR:
            await until(lambda channel=channel: estate.shows(channel, dict.fromkeys(SKUS, 100)))
        await estate.pool.execute("UPDATE stock SET reserved = reserved + 3 WHERE sku = $1", SKUS[0])
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
