"""The scenario `flash-sale`: four channels sell the same scarce goods while everything breaks. Real processes.

API, two workers, four sandbox channels that sell from what they were told, and the warehouse, each with its own
storage. Buyers hammer all four; processes are killed (SIGKILL), partners stopped for a while (SIGSTOP), their answers
lost. Then everything comes to rest, a last buyer tries each of the goods that should be left, and the partners' own
logs say whether anything was sold that does not exist.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import asyncpg
import msgspec

from crossdock.app import prepare_database
from crossdock.engine.releases import find_covered
from crossdock.ledger import sale_proof
from crossdock.ledger.clients import ApiClient
from crossdock.ledger.database import open_pool
from crossdock.prove import sale_checkers as checkers
from crossdock.prove.estate import Estate
from crossdock.prove.nemeses.diary import Deed, Diary
from crossdock.prove.nemeses.nemesis import Nemesis, harass
from crossdock.prove.nemeses.processes import Killer, Pauser
from crossdock.prove.sale_checkers import Refused, Sold
from crossdock.prove.sale_world import (
    CHANNELS,
    LOCATIONS,
    SHARES,
    Sale,
    Trouble,
    components_of,
    draw_troubles,
    lost_answers,
    make_basket,
    make_configuration,
    make_hot,
    make_orders,
    place_products,
    sku_of_codes,
)
from crossdock.sandbox.orders import BuyerOrder
from crossdock.sandbox.world import WorldProduct, make_world

NAME: Final = "flash-sale"
TITLE: Final = "Four channels sell the same scarce goods (real processes, one seed, minutes)."
PARTNERS: Final = ("shop", "bazaar", "agora", "wms", "portal")
WORKERS: Final = 2
SETTLE_SECONDS: Final = 300.0
QUIET_LOOKS: Final = 4
HOLD_LOOKS: Final = 20
LOOK_SECONDS: Final = 0.5
BASKETS_MAX: Final = 8
_SCOPES: Final = ("availability:read", "orders:write", "orders:read", "shipments:read")
_SELLING: Final = {
    "untold": "refuse", "feeds_per_hour": 36000, "feeds_max": 100, "feed_seconds": 0.3, "puts_per_minute": 6000,
    "puts_max": 200, "points_per_second": 1000, "points_max": 5000,
}  # fmt: skip


class SaleOutcome(msgspec.Struct, frozen=True):
    """The verdict and what it rests on. `oversold_units` is what channels sold beyond what existed: none, where the
    shares divide the stock; `not_covered` are orders that we therefore held instead of promising a unit twice."""

    scenario: str
    seed: int
    policy: str
    facts_acknowledged: int
    units_existing: Decimal
    units_sold: Decimal
    units_left: Decimal
    oversold_units: Decimal
    oversold_rate: Decimal
    not_covered: int
    faults: dict[str, int]
    violations: dict[str, list[str]]
    seconds: float
    verdict: str
    deeds: list[Deed] = []


async def run_flash_sale(sale: Sale, dsn: str, directory: Path) -> SaleOutcome:
    """`dsn` is an empty database, `directory` an empty folder: it keeps the logs. Raises TimeoutError when the estate
    does not come to rest."""
    started = time.monotonic()
    diary = Diary(directory)
    hot = make_hot(sale)
    async with _open_estate(sale, dsn, directory, hot) as (estate, pool):
        await _until_told(estate, pool, [product.sku for product in hot])
        troubles = draw_troubles(sale)
        await _sell(sale, estate, list(hot), troubles, diary)
        placed = await _settle(estate, pool)
        existing, sold = await _read(estate, hot)
        refused = await _serve_last_buyers(sale, estate, hot, existing, sold)
        placed = await _settle(estate, pool)
        existing, sold = await _read(estate, hot)
        warehouse = await estate.partners["wms"].read_log()
    violations = judge(sale, sold, existing, warehouse, refused)
    if placed != len(sold):
        violations["known"] = [f"The channels wrote down {len(sold)} orders, {placed} are known to us"]
    return _outcome(sale, sold, existing, violations, time.monotonic() - started, diary)


def judge(
    sale: Sale, sold: Sequence[Sold], existing: Mapping[str, Decimal], warehouse: checkers.Log,
    refused: Sequence[Refused],
) -> dict[str, list[str]]:  # fmt: skip
    """Violations by checker. Where shares do not divide the stock, channels may sell the same unit twice: then nobody
    but the first may have it promised."""
    found = {
        "confirmed": checkers.check_confirmed(sold, existing),
        "shipped": checkers.check_shipped(sold, warehouse, components_of()),
        "refused": checkers.check_refused(refused),
    }  # fmt: skip
    if sum(SHARES[sale.policy].values()) <= 100:
        found["sold"] = checkers.check_sold(sold, existing)
        found["served"] = checkers.check_served(sold)
    return found


@asynccontextmanager
async def _open_estate(
    sale: Sale, dsn: str, directory: Path, hot: Mapping[WorldProduct, Mapping[str, int]]
) -> AsyncIterator[tuple[Estate, asyncpg.Pool[Any]]]:
    estate = Estate(directory, dsn, make_configuration(sale))
    client = ApiClient("portal", _SCOPES, ("portal",))
    await prepare_database(dsn, "operator", estate.secrets.password, [(client, estate.secrets.client)])
    pool = await open_pool(dsn, size=2)
    try:
        await place_products(pool)
        for kind in PARTNERS:
            pushes = ["--webhook-url", f"{estate.url}/hooks/{kind}"] if kind in ("shop", "agora", "wms") else []
            options = ["--crossdock-url", estate.url] if kind == "portal" else pushes
            await asyncio.to_thread(estate.start_partner, kind, *options)
        for channel in CHANNELS:
            await estate.partners[channel].control("PUT", "/_control/selling", _SELLING)
        counts = [
            {"sku": product.sku, "warehouse": place, "on_hand": str(places[place]), "unit": product.base_unit}
            for product, places in hot.items() for place in LOCATIONS
        ]  # fmt: skip
        await estate.partners["wms"].control("POST", "/_control/count", {"counts": counts})
        pace = {"on": True, "interval": 1, "partial": 0.2, "short": 0, "seed": sale.seed}
        await estate.partners["wms"].control("POST", "/_control/auto", pace)
        estate.start("api")
        for _ in range(WORKERS):
            estate.start("worker")
        await estate.until_answering()
        yield estate, pool
    finally:
        pool.terminate()
        await asyncio.to_thread(estate.stop)


async def _until_told(estate: Estate, pool: asyncpg.Pool[Any], skus: Sequence[str]) -> None:
    """The doors open when all four channels show the goods."""
    async with asyncio.timeout(SETTLE_SECONDS):
        while True:
            estate.check_running()
            async with pool.acquire() as connection:
                if await sale_proof.count_told(connection, skus, len(CHANNELS)) == len(skus):
                    return
            await asyncio.sleep(LOOK_SECONDS)


async def _sell(
    sale: Sale, estate: Estate, hot: Sequence[WorldProduct], troubles: Sequence[Trouble], diary: Diary
) -> None:
    """Buyers at all four channels at once, the troubles when their time has come, and nemeses all the time."""
    orders = make_orders(sale, hot)
    tried = Counter[str]()
    known: dict[str, Nemesis] = {
        "kill": Killer(estate, diary, only_ours=True), "pause": Pauser(estate, diary, seconds_max=4.0)
    }  # fmt: skip
    bought = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        chosen = [known[name] for name in sale.nemeses]
        tasks.create_task(harass(chosen, sale.seed, SETTLE_SECONDS, bought))
        buying = [
            tasks.create_task(
                _buy(sale, estate, channel, [basket for name, basket in orders if name == channel], tried)
            )
            for channel in CHANNELS
        ]
        tasks.create_task(_break(estate, troubles, tried, diary))
        await asyncio.wait(buying)
        bought.set()


async def _buy(sale: Sale, estate: Estate, channel: str, baskets: Sequence[BuyerOrder], tried: Counter[str]) -> None:
    """A few baskets at a time, as fast as the channel takes them. A paused channel lets its buyers wait."""
    chance = random.Random(f"{sale.seed}/{channel}")
    place = 0
    while place < len(baskets):
        few = baskets[place : place + chance.randint(1, BASKETS_MAX)]
        await estate.partners[channel].control("POST", "/_control/order", {"orders": few})
        place += len(few)
        tried[channel] += len(few)
        await asyncio.sleep(chance.uniform(0.0, 0.6))


async def _break(estate: Estate, troubles: Sequence[Trouble], tried: Counter[str], diary: Diary) -> None:
    async with asyncio.TaskGroup() as tasks:
        for trouble in troubles:
            while sum(tried.values()) < trouble.after:  # noqa: ASYNC110 - buyers do not tell when they have bought
                await asyncio.sleep(0.05)
            diary.note("plan", trouble.kind, detail=f"after {trouble.after} baskets")
            if trouble.kind == "kill_worker":
                await asyncio.to_thread(estate.kill, "worker", trouble.place)
            elif trouble.kind == "kill_api":
                await asyncio.to_thread(estate.kill, "api", trouble.place)
            else:
                tasks.create_task(_trouble_partner(estate, trouble))


async def _trouble_partner(estate: Estate, trouble: Trouble) -> None:
    partner = estate.partners[PARTNERS[trouble.place % len(PARTNERS)]]
    if trouble.kind == "lost_answers":
        # Until the buyers have gone: it comes to rest afterwards.
        await partner.control("PUT", "/_faults", lost_answers(trouble.place))
        return
    partner.pause()
    try:
        await asyncio.sleep(trouble.seconds)
    finally:
        partner.go_on()


async def _settle(estate: Estate, pool: asyncpg.Pool[Any]) -> int:
    """Until nothing is under way for a while; return how many orders we know. Partners behave from here on."""
    for partner in estate.partners.values():
        await partner.control("PUT", "/_faults", {})
    quiet = 0
    try:
        async with asyncio.timeout(SETTLE_SECONDS):
            while True:
                estate.check_running()
                async with pool.acquire() as connection:
                    found = await sale_proof.read_unsettled(connection)
                    waiting = (await find_covered(connection, list(CHANNELS), 0))[0]
                orders = found.pop("orders")
                written = await _count_written(estate) if not any(found.values()) else -1
                quiet = quiet + 1 if written == orders else 0
                # Orders that are held for stock are looked at each second, and some cannot be served by what is there.
                if quiet >= (HOLD_LOOKS if waiting else QUIET_LOOKS):
                    return orders
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        async with pool.acquire() as connection:
            raise TimeoutError(f"not at rest: {await sale_proof.read_open(connection)}") from None


async def _count_written(estate: Estate) -> int:
    logs = [await estate.partners[channel].read_log() for channel in CHANNELS]
    return sum(entry["kind"] == "order" for log in logs for entry in log)


async def _read(estate: Estate, hot: Mapping[WorldProduct, Mapping[str, int]]) -> tuple[dict[str, Decimal], list[Sold]]:
    """What existed and what was sold, by the partners' own logs."""
    codes = sku_of_codes([*hot, *make_world().kits])
    existing = checkers.read_existing(await estate.partners["wms"].read_log(), [product.sku for product in hot])
    sold: list[Sold] = []
    for channel in CHANNELS:
        sold += checkers.read_sold(channel, await estate.partners[channel].read_log(), codes, components_of())
    return existing, sold


async def _serve_last_buyers(
    sale: Sale, estate: Estate, hot: Mapping[WorldProduct, Mapping[str, int]], existing: Mapping[str, Decimal],
    sold: Sequence[Sold],
) -> list[Refused]:  # fmt: skip
    """One buyer for each of the goods, at one channel after the other, where the policy alone says that one is left.

    A channel keeps back what its own orders want that we hold: those may still be served.
    """
    standing = [order for order in sold if not order.cancelled]
    gone = checkers.sum_units([order for order in standing if order.confirmed])
    held = {
        channel: checkers.sum_units([row for row in standing if row.channel == channel and not row.confirmed])
        for channel in CHANNELS
    }
    refused = []
    for place, product in enumerate(hot):
        channel = CHANNELS[place % len(CHANNELS)]
        left = existing[product.sku] - gone.get(product.sku, Decimal(0))
        expected = left * SHARES[sale.policy][channel] // 100 - sale.buffer
        expected -= held[channel].get(product.sku, Decimal(0))
        if expected < 1:
            continue
        basket = make_basket(channel, [(product, 1)])
        answer = await estate.partners[channel].control("POST", "/_control/order", {"orders": [basket]})
        if not answer["numbers"][0]:
            refused.append(Refused(channel, product.sku, expected))
    return refused


def _outcome(
    sale: Sale, sold: Sequence[Sold], existing: Mapping[str, Decimal], violations: dict[str, list[str]],
    seconds: float, diary: Diary,
) -> SaleOutcome:  # fmt: skip
    standing = [order for order in sold if not order.cancelled]
    units = sum(checkers.sum_units(standing).values(), Decimal(0))
    kept = checkers.sum_units([order for order in standing if order.confirmed])
    beyond = sum(checkers.find_beyond(checkers.sum_units(standing), existing).values(), Decimal(0))
    there = sum(existing.values(), Decimal(0))
    rate = (beyond / units).quantize(Decimal("0.0001")) if units else Decimal(0)
    failed = any(violations.values())
    return SaleOutcome(
        NAME, sale.seed, sale.policy, len(sold), there, units, there - sum(kept.values(), Decimal(0)), beyond, rate,
        sum(not order.confirmed for order in standing),
        diary.count(), violations, round(seconds, 1), "violations" if failed else "pass", diary.deeds,
    )  # fmt: skip
