"""The figures of stock say what the channels' own write logs say: how late channels were told, what was oversold."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from crossdock.engine.decider import Decider
from crossdock.engine.intake import Acceptor, Intake
from crossdock.engine.ports import PlanBook, system_clock
from crossdock.insight.stock import read_kpis
from crossdock.ledger.reference import ReferenceCache
from crossdock.policy.plans import Plan, PlannedStep, Plans
from crossdock.policy.policy import ChannelPolicy
from crossdock.policy.stock import ChannelStock
from tests.conformance.calls import BASKET
from tests.integration.engine.publishing import CONNECTORS, Estate, open_estate, until

pytestmark = pytest.mark.process
SKUS = ["ND-0010", "ND-0020", "ND-0030"]
ALL = ChannelStock(compare_calls_per_minute=0, share_percent=100)
ACKNOWLEDGE = Plan(name="tell", steps=(PlannedStep("channel.acknowledge", "@channel"),))
ROUNDS = (40, 35, 12, 50)


def percentile_of(milliseconds: Sequence[float], percent: int) -> float:
    return sorted(milliseconds)[-(-len(milliseconds) * percent // 100) - 1]


async def test_latency_is_what_the_channels_logs_say(database_url: str, tmp_path: Path) -> None:
    """Ours ends when the answer is noted, a little after the channel wrote, and is kept in doubling buckets."""
    channels = {"shop": ALL, "portal": ALL}
    counted: dict[tuple[str, int], datetime] = {}
    noted: dict[tuple[str, int], datetime] = {}
    async with open_estate(database_url, tmp_path, channels, skus=SKUS) as estate, estate.publishing():
        for figure in ROUNDS:
            at = datetime.now(UTC)
            counted.update({(sku, figure): at for sku in SKUS})
            await estate.place_stock(dict.fromkeys(SKUS, figure), at)
            wanted = dict.fromkeys(SKUS, figure)
            for channel in channels:
                await until(lambda channel=channel, wanted=wanted: estate.shows(channel, wanted))
            await until(estate.settled)
            noted.update(dict.fromkeys(((sku, figure) for sku in SKUS), datetime.now(UTC)))
        told = {row.channel: row for row in (await read_kpis(estate.pool, system_clock())).latency}
        logs = {channel: await estate.told(channel) for channel in channels}
    for channel, log in logs.items():
        outside, at_most = [], []
        for entry in log:
            what = entry["business_key"], int(Decimal(entry["document"]["quantity"]))
            outside.append((datetime.fromisoformat(entry["at"]) - counted[what]).total_seconds() * 1000)
            at_most.append((noted[what] - counted[what]).total_seconds() * 1000)
        assert told[channel].count == len(outside) == len(SKUS) * len(ROUNDS)
        for percent, ours in ((50, told[channel].p50), (95, told[channel].p95)):
            theirs, latest = percentile_of(outside, percent), percentile_of(at_most, percent)
            assert theirs / 2 - 10 <= ours <= latest * 2, (channel, percent, ours, theirs, latest)


async def test_oversold_orders_are_those_that_the_channels_logs_show_beyond_what_there_was(
    database_url: str, tmp_path: Path
) -> None:
    """Two channels show the same ten units and sell eight each before either hears of the other's sales."""
    channels = {"shop": ALL, "bazaar": ALL}
    async with open_estate(database_url, tmp_path, channels, skus=SKUS) as estate:
        await estate.place_stock(dict.fromkeys(SKUS, 10))
        async with estate.publishing():
            for channel in channels:
                await until(lambda channel=channel: estate.shows(channel, dict.fromkeys(SKUS, 10)))
        for channel in channels:
            for _ in range(8):
                assert await buy(estate, channel, SKUS[0])
        await decide_orders(estate)
        short = {
            row.channel: (row.orders, row.short) for row in (await read_kpis(estate.pool, system_clock())).oversell
        }
        sold = {channel: await estate.told(channel, "order") for channel in channels}
    left, outside = 10, {}
    for channel, orders in sold.items():
        beyond = 0
        for _ in orders:
            left -= 1
            beyond += left < 0
        outside[channel] = (len(orders), beyond)
    assert short == outside == {"shop": (8, 0), "bazaar": (8, 6)}


async def buy(estate: Estate, channel: str, sku: str) -> str:
    line = {"sku": sku, "quantity": "1", "unit": "C62", "unit_price": "2.50"}
    basket = {**BASKET, "lines": [line]}
    if channel == "bazaar":
        basket["card_token"] = ""
    return await estate.partners[channel].place_order(basket)


async def decide_orders(estate: Estate) -> None:
    """The channels' orders as they are polled, the shop's first."""
    rules: dict[str, Any] = {
        "currencies": ("EUR",), "payments": ("card", "collected"), "price_source": "channel", "fulfilment": "complete",
    }  # fmt: skip
    own = {name: ChannelPolicy(connection=name, **rules) for name in estate.policy.channels}
    policy = dataclasses.replace(estate.policy, channels=own, plans=Plans([ACKNOWLEDGE]))
    plans = PlanBook(policy.plans.by_name, {name: name for name in own}, {"HAM": "wms"})
    acceptor = Acceptor(policy, plans, ReferenceCache(), system_clock)
    decider = Decider(estate.pool, acceptor, plans, system_clock)
    async with Intake(estate.pool, acceptor, system_clock) as intake:
        for opened in estate.connections:
            page = await CONNECTORS[opened.name].feed("orders").read(opened.client, opened.name, "")
            await intake.record(page.facts)
            while await decider.decide_orders():
                pass
