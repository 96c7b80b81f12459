"""A network link that can be bad: an asyncio TCP proxy between two processes of an estate.

It knows bytes and connections; of HTTP only where a request ends, so that one can be delivered twice. What was held
back on its way is dropped when its sender has given up in the meantime: no request arrives after its caller has gone.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Literal

import msgspec

CHUNK_BYTES: Final = 65_536
CONNECT_SECONDS: Final = 5.0
COPY_SECONDS: Final = 30.0
REQUEST_BYTES_MAX: Final = 4 * 1024 * 1024
_END_OF_HEAD: Final = b"\r\n\r\n"

OneShot = Literal["drop_answer", "truncate_answer", "duplicate_request"]
"""What befalls the next request or answer: it is done and its caller hears nothing; half of what comes back arrives;
the request arrives twice."""


class Weather(msgspec.Struct, frozen=True):
    """How the link is. `black_hole`: nothing passes, nobody is told. `refuse`: who connects is reset at once.
    `half_open`: what the far end says is lost, its end is not seen. `slow_close_seconds`: its end is told late."""

    latency_seconds: float = 0.0
    jitter_seconds: float = 0.0
    bytes_per_second: int = 0
    black_hole: bool = False
    half_open: bool = False
    refuse: bool = False
    slow_close_seconds: float = 0.0


FAIR: Final = Weather()


class _Pair:
    """One connection through the link."""

    def __init__(
        self, near: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        far: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:  # fmt: skip
        self.near_reader, self.near_writer = near
        self.far_reader, self.far_writer = far

    @property
    def sender_has_gone(self) -> bool:
        return self.near_reader.at_eof() or self.near_writer.is_closing() or self.near_reader.exception() is not None

    def abort(self) -> None:
        for writer in (self.near_writer, self.far_writer):
            abort(writer)


class Link:
    """Listens at `port` and leads to `target_port`, both on loopback unless `host` says otherwise."""

    def __init__(self, name: str, target_port: int, chance: random.Random, host: str = "127.0.0.1") -> None:
        self.name = name
        self.target_port = target_port
        self.host = host
        self.port = 0
        self.happened: Callable[[str], None] = _nobody_listens
        self._weather = FAIR
        self._changed = asyncio.Event()
        self._chance = chance
        self._one_shots: dict[OneShot, int] = {}
        self._pairs: set[_Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self.reset()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def follow(self, weather: Weather) -> None:
        """From now on the link is like this."""
        self._weather = weather
        self._changed.set()
        self._changed = asyncio.Event()

    def arrange(self, one_shot: OneShot, count: int) -> None:
        """The next so many requests or answers."""
        self._one_shots[one_shot] = self._one_shots.get(one_shot, 0) + count

    def calm(self) -> None:
        self._one_shots.clear()
        self.follow(FAIR)

    def reset(self) -> int:
        """Break all connections; return how many there were."""
        pairs = list(self._pairs)
        for pair in pairs:
            pair.abort()
        return len(pairs)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._weather.refuse:
            abort(writer)
            return
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                far = await asyncio.open_connection("127.0.0.1", self.target_port)
        except (OSError, TimeoutError):
            abort(writer)
            return
        pair = _Pair((reader, writer), far)
        self._pairs.add(pair)
        there = asyncio.create_task(self._carry_there(pair))
        back = asyncio.create_task(self._carry_back(pair))
        self._tasks.update((there, back))
        await asyncio.wait((there, back), return_when=asyncio.ALL_COMPLETED)
        self._tasks.difference_update((there, back))
        self._pairs.discard(pair)
        pair.abort()

    async def _carry_there(self, pair: _Pair) -> None:
        with suppress(OSError):
            while data := await pair.near_reader.read(CHUNK_BYTES):
                if data.startswith(b"POST ") and self._take("duplicate_request"):
                    data = await self._duplicate(pair, data)
                await self._travel(len(data))
                if pair.sender_has_gone:
                    pair.abort()
                    return
                pair.far_writer.write(data)
                await pair.far_writer.drain()
            pair.far_writer.close()

    async def _carry_back(self, pair: _Pair) -> None:
        with suppress(OSError):
            while data := await pair.far_reader.read(CHUNK_BYTES):
                if self._take("drop_answer"):
                    pair.abort()
                    return
                if self._take("truncate_answer"):
                    pair.near_writer.write(data[: len(data) // 2])
                    break
                await self._travel(len(data))
                if not self._weather.half_open:
                    pair.near_writer.write(data)
                    await pair.near_writer.drain()
            if self._weather.half_open:
                # The far end has gone and nobody says so: the near end finds out by itself, or never.
                await pair.near_reader.read()
            await asyncio.sleep(self._weather.slow_close_seconds)
            pair.near_writer.close()

    async def _travel(self, size: int) -> None:
        """The time that bytes take on the way, as long as it is what it is."""
        weather = self._weather
        seconds = weather.latency_seconds + self._chance.uniform(0, weather.jitter_seconds)
        if weather.bytes_per_second:
            seconds += size / weather.bytes_per_second
        if seconds:
            await asyncio.sleep(seconds)
        while self._weather.black_hole:
            await self._changed.wait()

    def _take(self, one_shot: OneShot) -> bool:
        left = self._one_shots.get(one_shot, 0)
        if left:
            self._one_shots[one_shot] = left - 1
            self.happened(one_shot)
        return left > 0

    async def _duplicate(self, pair: _Pair, begun: bytes) -> bytes:
        """The whole request, which is also sent on a connection of its own; nobody hears the second answer."""
        request = begun
        while (missing := missing_bytes(request)) and len(request) < REQUEST_BYTES_MAX:
            more = await pair.near_reader.read(missing)
            if not more:
                return request
            request += more
        copy = asyncio.create_task(self._send_copy(request))
        self._tasks.add(copy)
        copy.add_done_callback(self._tasks.discard)
        return request

    async def _send_copy(self, request: bytes) -> None:
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(COPY_SECONDS):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.target_port)
                try:
                    writer.write(request)
                    await writer.drain()
                    await reader.read(CHUNK_BYTES)
                finally:
                    writer.close()


def missing_bytes(request: bytes) -> int:
    """How many bytes of an HTTP request are still to come, as far as can be told; 0 when it is whole."""
    head, end, body = request.partition(_END_OF_HEAD)
    if not end:
        return 1
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return max(0, int(value) - len(body))
    return 0


def abort(writer: asyncio.StreamWriter) -> None:
    """End a connection with a reset, as a host does that knows nothing of it."""
    raw = writer.get_extra_info("socket")
    if raw is not None and not writer.is_closing():
        with suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _nobody_listens(_what: str) -> None: ...
