"""The change stream over real HTTP: what changed as it is now, resumable, only for those whom it concerns."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import httpx
import msgspec
import pytest

from crossdock.engine.ports import system_clock
from crossdock.engine.publication_planner import PublicationPlanner
from crossdock.policy.stock import ChannelStock, StockPolicy
from tests.integration.api.api_world import Api, open_api

STOCK = StockPolicy(channels={"shop": ChannelStock(buffer=Decimal(10), cap=Decimal(100))})
PATH = "/v1/availability/changes"


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[Api]:
    async with open_api(database_url, stock=STOCK) as found:
        await found.pool.execute("UPDATE stock SET reported = 30, on_hand = 30 WHERE sku = 'SKU-0'")
        await found.pool.execute("DELETE FROM stock_changes")
        yield found


async def count(api: Api) -> None:
    """What a worker does all the time."""
    await PublicationPlanner(api.pool, api.services.policy, [], system_clock, lambda _: None).count_changes()


class Listener:
    def __init__(self, answer: httpx.Response) -> None:
        self._lines = answer.aiter_lines()
        self.last = ""

    async def next(self) -> tuple[str, Any]:
        """The next event's name and data."""
        name = ""
        async with asyncio.timeout(60):
            async for line in self._lines:
                field, _, value = line.partition(": ")
                if field == "id":
                    self.last = value
                elif field == "event":
                    name = value
                elif field == "data":
                    return name, msgspec.json.decode(value)
        raise AssertionError("the stream ended")


@asynccontextmanager
async def listening(api: Api, client: str = "shop-1", query: str = "", after: str = "") -> AsyncIterator[Listener]:
    headers = {"Authorization": f"Bearer {await api.token(client)}", **({"Last-Event-ID": after} if after else {})}
    async with (
        httpx.AsyncClient(base_url=api.url, timeout=60) as http,
        http.stream("GET", PATH + query, headers=headers) as answer,
    ):
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream"
        yield Listener(answer)


async def test_a_channel_is_told_what_it_may_promise_when_that_changes(api: Api) -> None:
    async with listening(api) as listener:
        assert (await listener.next())[0] == "beginning"
        await api.place("S-1", lines=1, quantity=4)
        await count(api)
        name, found = await listener.next()
        assert (name, found["channel"]) == ("availability", "shop")
        assert [(item["sku"], item["promise"]["value"]) for item in found["items"]] == [("SKU-0", "46")]
        # What changes nothing for this channel (the cap holds) is not told again.
        await api.pool.execute("UPDATE stock SET on_hand = on_hand + 5000 WHERE sku = 'SKU-0'")
        await count(api)
        assert (await listener.next())[1]["items"][0]["promise"]["value"] == "100"
        await api.pool.execute("UPDATE stock SET on_hand = on_hand - 10 WHERE sku = 'SKU-0' AND location = 'HAM'")
        await api.pool.execute("UPDATE stock SET on_hand = 7 WHERE sku = 'SKU-1'")
        await count(api)
        told = (await listener.next())[1]["items"]
        assert ("SKU-1", "4") in [(item["sku"], item["promise"]["value"]) for item in told]


async def test_a_listener_that_was_away_goes_on_where_it_was_and_gets_the_present(api: Api) -> None:
    async with listening(api) as listener:
        await listener.next()
        left = listener.last
    for on_hand in (20, 19, 18):
        await api.pool.execute("UPDATE stock SET on_hand = $1 WHERE sku = 'SKU-0'", Decimal(on_hand))
        await count(api)
    async with listening(api, after=left) as listener:
        assert (await listener.next())[0] == "beginning"
        _, found = await listener.next()
        assert [(item["sku"], item["promise"]["value"]) for item in found["items"]] == [("SKU-0", "26")]


async def test_who_missed_too_much_is_told_to_read_anew(api: Api) -> None:
    await api.pool.execute("UPDATE stock SET on_hand = 20 WHERE sku = 'SKU-0'")
    await count(api)
    async with listening(api, after="999") as listener:
        assert (await listener.next())[0] == "reset"
    odd = await api.ask("shop-1", "GET", PATH, headers={"Last-Event-ID": "x"})
    assert (odd.status_code, odd.json()["code"]) == (400, "event_unknown")


async def test_only_the_asked_skus_of_ones_own_channel_are_told(api: Api) -> None:
    async with listening(api, query="?sku=SKU-2") as listener:
        await listener.next()
        await api.pool.execute("UPDATE stock SET on_hand = 15 WHERE sku IN ('SKU-1', 'SKU-2')")
        await count(api)
        assert [item["sku"] for item in (await listener.next())[1]["items"]] == ["SKU-2"]
    theirs = await api.ask("shop-1", "GET", f"{PATH}?channel=portal")
    assert theirs.status_code == 403


async def test_who_has_left_is_not_listened_for_any_more(api: Api) -> None:
    for _ in range(3):
        async with listening(api) as listener:
            await listener.next()
    async with asyncio.timeout(60):
        while api.services.changes.is_listened_to:  # noqa: ASYNC110 - the server sees the connection close
            await asyncio.sleep(0.02)
