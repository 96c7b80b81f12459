"""Real processes: channels sell from what they are told while workers are killed and answers are lost; in the end every
channel shows exactly what may be promised."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.conformance.calls import BASKET
from tests.conformance.partners import RunningPartner
from tests.e2e.proof_world import open_world

pytestmark = [pytest.mark.process, pytest.mark.slow]
ORDERS = 24
KILLS = 3
FAULTS: Mapping[str, Any] = {"seed": 7, "commit_then_drop": 0.15, "status_429": 0.05, "status_503": 0.05}
_PROMISED = """
SELECT sku, sum(greatest(on_hand - quality_hold - damaged - reserved, 0)) AS quantity FROM stock GROUP BY sku
"""


async def shown(partner: RunningPartner) -> dict[str, Decimal]:
    rows = await partner.control("GET", "/_control/stock")
    return {row["sku"]: Decimal(row["shown"]) for row in rows}


async def promised(dsn: str) -> dict[str, Decimal]:
    connection = await asyncpg.connect(dsn)
    try:
        return {row["sku"]: row["quantity"] for row in await connection.fetch(_PROMISED)}
    finally:
        await connection.close()


async def test_channels_show_what_may_be_promised_after_kills_and_lost_answers(
    database_url: str, tmp_path: Path
) -> None:
    chance = random.Random(7)
    async with open_world(database_url, tmp_path) as world:
        pace = {"on": True, "interval": 1, "partial": 0.3, "short": 0, "seed": 7}
        await world.partners["wms"].control("POST", "/_control/auto", pace)
        world.start_api()
        for _ in range(2):
            world.start_worker()
        await until_told(world.partners, database_url, 120)
        for channel in ("shop", "portal"):
            await world.partners[channel].misbehave(FAULTS)
        for start in range(0, ORDERS, ORDERS // KILLS):
            for number in range(start, start + ORDERS // KILLS):
                line = {"sku": f"ND-{chance.randint(1, 9):04d}", "quantity": "2", "unit": "XBX", "unit_price": "9.00"}
                partner = world.partners["shop" if number % 2 else "portal"]
                assert await partner.place_order({**BASKET, "lines": [line]})
            await asyncio.to_thread(world.kill_one, chance)
        await world.until_completed(ORDERS, 240)
        # A channel that took its own order off a figure that held it already is put right when it is seen twice.
        await until_told(world.partners, database_url, 240)
        ran = await asyncio.to_thread(world.command, "stock", "compare", "--json")
        assert ran.returncode == 0, ran.stderr
        compared = {one["counterpart"]: one for one in json.loads(ran.stdout)["comparisons"]}
        for channel in ("shop", "portal"):
            assert compared[channel]["given"] >= len(await promised(database_url)), "everything was asked for"
            assert compared[channel]["drifted"] == 0, compared[channel]


async def until_told(partners: Mapping[str, RunningPartner], dsn: str, seconds: float) -> None:
    differences: dict[str, Any] = {}
    try:
        async with asyncio.timeout(seconds):
            while True:
                expected = await promised(dsn)
                found = {channel: await shown(partners[channel]) for channel in ("shop", "portal")}
                differences = {
                    channel: {sku: (expected[sku], told.get(sku)) for sku in expected if told.get(sku) != expected[sku]}
                    for channel, told in found.items()
                }
                if expected and not any(differences.values()):
                    return
                await asyncio.sleep(0.5)
    except TimeoutError:
        raise AssertionError(f"(promised, shown): {differences}") from None
