"""What arrives and cannot be translated is kept with its payload, parked alone, and goes on once it can be read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from crossdock.engine.poller import Poller
from crossdock.engine.ports import OpenConnection, system_clock
from crossdock.engine.translator import Translator
from crossdock.engine.worker import make_known
from crossdock.kit.arrivals import named, translate_items
from crossdock.kit.connector import Connector, Feed, Page
from crossdock.model.facts import Fact
from crossdock.model.orders import OrderPlaced
from tests.integration.engine.bench_world import World, make_placed, open_world


class Market:
    """A partner with a feed of orders, and a mapping that can be mended."""

    def __init__(self, items: Sequence[bytes]) -> None:
        self.items = list(items)
        self.mended = False

    def translate(self, connection: str, raw: bytes) -> Sequence[Fact]:
        if self.mended:
            raw = raw.replace(b'"zip"', b'"postal_code"')
        placed = msgspec.json.decode(raw, type=OrderPlaced)
        body = msgspec.json.encode(placed)
        return [Fact(connection, "order.placed", placed.channel_number, body, raw, subject=placed.channel_number)]

    async def read(self, _: Any, connection: str, cursor: str) -> Page:
        items = self.items[int(cursor or 0) :]
        facts = translate_items(connection, "orders", items, self.translate, lambda raw: named(raw, "channel_number"))
        return Page(facts, str(len(self.items)))


@asynccontextmanager
async def _nothing(settings: Any) -> AsyncIterator[None]:
    yield None


async def opened(world: World, market: Market) -> OpenConnection:
    feed = Feed("orders", read=market.read, interval_seconds=0, translate=market.translate)
    connection = OpenConnection("shop", Connector("market", "Market", dict, _nothing, feeds=(feed,)), None)
    await make_known(world.pool, [connection])
    return connection


def good(number: str) -> bytes:
    return msgspec.json.encode(make_placed(number, lines=1))


async def decide_all(world: World) -> None:
    for _ in range(50):
        if not await world.decider.decide_waiting():
            return


async def numbers(world: World) -> list[str]:
    rows = await world.pool.fetch("SELECT channel_number FROM orders ORDER BY channel_number")
    return [row["channel_number"] for row in rows]


async def test_a_polled_order_that_cannot_be_read_is_parked_alone_and_accepted_once_the_mapping_is_mended(
    database_url: str,
) -> None:
    async with open_world(database_url) as world:
        odd = good("M-2").replace(b'"postal_code"', b'"zip"')
        market = Market([good("M-1"), odd, good("M-3")])
        connection = await opened(world, market)
        assert await Poller(world.pool, [connection], "poller", system_clock).read_due(["shop"])
        await decide_all(world)
        assert await numbers(world) == ["M-1", "M-3"]
        parked = await world.pool.fetchrow("SELECT * FROM facts WHERE state = 'quarantined'")
        assert parked is not None
        assert (parked["subject"], parked["cause"], parked["owner"]) == ("M-2", "payload_form", "sender")
        assert "postal_code" in parked["message"]
        assert parked["next_action"]
        assert parked["raw"] == odd
        assert await world.pool.fetchval("SELECT cursor FROM feeds WHERE connection = 'shop'") == "3"

        # A replay before the mend parks it again; the payload stays.
        translator = Translator(world.pool, [connection], system_clock)
        assert await world.control.replay_facts(system_clock(), "ada", fact_ids=[parked["fact_id"]]) == 1
        assert await translator.translate_waiting() == 1
        assert await world.pool.fetchval("SELECT raw FROM facts WHERE state = 'quarantined'") == odd

        market.mended = True
        await world.control.replay_facts(system_clock(), "ada", cause="payload_form")
        assert await translator.translate_waiting() == 1
        assert await translator.translate_waiting() == 0
        await decide_all(world)
        assert await numbers(world) == ["M-1", "M-2", "M-3"]
        assert await world.pool.fetchval("SELECT count(*) FROM facts WHERE state = 'quarantined'") == 0


async def test_a_connector_that_stumbles_over_one_item_parks_it_as_a_defect(database_url: str) -> None:
    async with open_world(database_url) as world:
        market = Market([good("M-1"), b"stumble", good("M-3")])

        def stumbling(connection: str, raw: bytes) -> Sequence[Fact]:
            if raw == b"stumble":
                raise KeyError("unforeseen")
            return Market.translate(market, connection, raw)

        market.translate = stumbling  # type: ignore[method-assign]
        connection = await opened(world, market)
        await Poller(world.pool, [connection], "poller", system_clock).read_due(["shop"])
        await decide_all(world)
        assert await numbers(world) == ["M-1", "M-3"]
        row = await world.pool.fetchrow("SELECT cause, owner, raw FROM facts WHERE state = 'quarantined'")
        assert row is not None
        assert (row["cause"], row["owner"], row["raw"]) == ("translation_defect", "crossdock", b"stumble")


async def test_a_number_with_a_nul_in_it_is_parked_and_the_feed_goes_on(database_url: str) -> None:
    async with open_world(database_url) as world:
        bad = good("M-2").replace(b'"M-2"', b'"M\\u0000-2"')
        connection = await opened(world, Market([good("M-1"), bad, good("M-3")]))
        await Poller(world.pool, [connection], "poller", system_clock).read_due(["shop"])
        await decide_all(world)
        assert await numbers(world) == ["M-1", "M-3"]
        row = await world.pool.fetchrow("SELECT cause, raw FROM facts WHERE state = 'quarantined'")
        assert row is not None
        assert (row["cause"], row["raw"]) == ("not_storable", bad)


async def test_two_unreadable_items_without_a_number_are_both_kept(database_url: str) -> None:
    async with open_world(database_url) as world:
        connection = await opened(world, Market([b"{}", b"[]", b'{"channel_number": 7}', b"\xff"]))
        await Poller(world.pool, [connection], "poller", system_clock).read_due(["shop"])
        assert await world.pool.fetchval("SELECT count(*) FROM facts WHERE state = 'quarantined'") == 4
