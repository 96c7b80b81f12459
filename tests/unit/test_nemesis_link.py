"""The bad link: each fault does what it says, and what was held back reaches nobody after its caller has gone."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from crossdock.prove.nemeses.link import Link, Weather, missing_bytes
from crossdock.prove.nemeses.network import API, DATABASE, fits

REQUEST = b"POST /orders HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"


class Far:
    """The far end: keeps what it was told, and answers each piece."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.news = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            self.heard.append(data)
            self.news.set()
            writer.write(b"answer to " + data)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def open_link() -> AsyncIterator[tuple[Link, Far]]:
    far = Far()
    server = await asyncio.start_server(far.serve, "127.0.0.1", 0)
    link = Link("shop", server.sockets[0].getsockname()[1], random.Random(1))
    await link.open()
    try:
        yield link, far
    finally:
        await link.close()
        server.close()


async def ask(link: Link, request: bytes = b"hello") -> bytes:
    """What comes back until the connection ends or the answer is whole."""
    reader, writer = await asyncio.open_connection(link.host, link.port)
    try:
        writer.write(request)
        await writer.drain()
        return await reader.readexactly(len(b"answer to " + request))
    except asyncio.IncompleteReadError as error:
        return error.partial
    finally:
        writer.transport.abort()


async def test_a_fair_link_carries_everything() -> None:
    async with open_link() as (link, far):
        assert await ask(link) == b"answer to hello"
        assert far.heard == [b"hello"]


async def test_a_dropped_answer_is_done_and_not_heard() -> None:
    async with open_link() as (link, far):
        link.arrange("drop_answer", 1)
        with pytest.raises(ConnectionError):
            await ask(link)
        assert far.heard == [b"hello"]
        assert await ask(link) == b"answer to hello"


async def test_half_of_a_truncated_answer_arrives() -> None:
    async with open_link() as (link, _):
        link.arrange("truncate_answer", 1)
        assert await ask(link) == b"answer "


async def test_a_request_arrives_twice_even_in_pieces() -> None:
    async with open_link() as (link, far):
        link.arrange("duplicate_request", 1)
        reader, writer = await asyncio.open_connection(link.host, link.port)
        writer.write(REQUEST[:20])
        await writer.drain()
        await asyncio.sleep(0)
        writer.write(REQUEST[20:])
        await reader.readexactly(len(REQUEST))
        async with asyncio.timeout(60):
            while b"".join(far.heard).count(b"hello") < 2:
                far.news.clear()
                await far.news.wait()
        writer.transport.abort()
    assert b"".join(far.heard) == REQUEST * 2


async def test_nothing_passes_a_black_hole_and_it_is_delivered_to_who_still_waits() -> None:
    async with open_link() as (link, far):
        link.follow(Weather(black_hole=True))
        asking = asyncio.create_task(ask(link))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(asking), 0.1)
        assert not far.heard
        link.calm()
        assert await asking == b"answer to hello"


async def test_what_a_black_hole_held_is_dropped_when_its_caller_has_gone() -> None:
    async with open_link() as (link, far):
        link.follow(Weather(black_hole=True))
        asking = asyncio.create_task(ask(link))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asking, 0.1)
        await asyncio.sleep(0.05)  # the end of the caller's connection travels to the link
        link.calm()
        assert await ask(link, b"later") == b"answer to later"
        assert far.heard == [b"later"]


async def is_reset(reader: asyncio.StreamReader) -> bool:
    """Whether the connection was broken, not ended."""
    try:
        await reader.read()
    except ConnectionError:
        return True
    return False


async def test_who_connects_is_reset_and_who_is_connected_too() -> None:
    async with open_link() as (link, far):
        link.follow(Weather(refuse=True))
        reader, _ = await asyncio.open_connection(link.host, link.port)
        assert await is_reset(reader)
        link.calm()
        reader, writer = await asyncio.open_connection(link.host, link.port)
        writer.write(b"hello")
        await reader.readexactly(5)
        assert link.reset() == 1
        assert await is_reset(reader)
        assert far.heard == [b"hello"]


async def test_a_half_open_link_loses_what_the_far_end_says() -> None:
    async with open_link() as (link, far):
        link.follow(Weather(half_open=True))
        asking = asyncio.create_task(ask(link))
        async with asyncio.timeout(60):
            await far.news.wait()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asking, 0.1)
        assert far.heard == [b"hello"]


@pytest.mark.parametrize(
    ("request_so_far", "missing"),
    [(b"POST / HTTP/1.1\r\n", 1), (REQUEST, 0), (REQUEST[:-3], 3), (b"GET / HTTP/1.1\r\n\r\n", 0)],
)
def test_how_much_of_a_request_is_missing(request_so_far: bytes, missing: int) -> None:
    assert missing_bytes(request_so_far) == missing


def test_only_our_own_door_gets_requests_twice() -> None:
    assert fits("duplicate_request", API)
    assert not fits("duplicate_request", "shop")
    assert not fits("truncate_answer", DATABASE)
    assert fits("black_hole", DATABASE)
