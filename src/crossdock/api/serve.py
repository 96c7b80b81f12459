"""Serves an application with Granian inside this process: one worker, one event loop (uvloop).

serve(open_my_application, "127.0.0.1", 8700)    # blocks until SIGTERM or SIGINT
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import structlog
import uvloop
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server
from litestar import Litestar

from crossdock.api.head import with_head

ApplicationFactory = Callable[[], AbstractAsyncContextManager[Litestar]]
BACKLOG: Final = 1024
REQUESTS_WAITING_MAX: Final = 1024
GRACE_SECONDS: Final = 2.0
SETTLE_SECONDS: Final = 5.0
_LOGGING: Final = {
    "formatters": {},
    "handlers": {},
    "loggers": {
        "_granian": {"handlers": [], "propagate": True},
        "granian.access": {"handlers": [], "propagate": False},
    },
}
_LOG: Final = structlog.get_logger("crossdock.api")


def serve(application_factory: ApplicationFactory, host: str, port: int) -> None:
    """Open the application, serve it until the process is asked to end, then close it."""
    uvloop.run(_serve(application_factory, host, port))


async def _serve(application_factory: ApplicationFactory, host: str, port: int) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with application_factory() as application:
        # Not before: who still waits for the database is ended at once by a signal.
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        await serve_until(application, host, port, stopping)


async def serve_until(application: Litestar, host: str, port: int, stopping: asyncio.Event) -> None:
    """Serve until `stopping` is set; requests under way are let finish, streams that go on are ended."""
    underway: set[asyncio.Task[Any]] = set()
    answering = with_head(application)

    async def tracked(scope: Any, receive: Any, send: Any) -> None:
        task = asyncio.current_task()
        if task is None or scope["type"] == "lifespan":
            await answering(scope, receive, send)
            return
        underway.add(task)
        try:
            await answering(scope, receive, send)
        except asyncio.CancelledError:
            # Ended by us below: the sender sees the connection close.
            if not stopping.is_set():
                raise
        finally:
            underway.discard(task)

    server = Server(
        tracked, address=host, port=port, interface=Interfaces.ASGI, http=HTTPModes.http1, backlog=BACKLOG,
        backpressure=REQUESTS_WAITING_MAX, websockets=False,
        # Its own lines go where ours go, in our form; an access log would hold query strings, so there is none.
        log_dictconfig=_LOGGING, log_access=False,
        # Buffers of a connection are bounded: a caller that drips its header holds little.
        http1_settings=HTTP1Settings(header_read_timeout=10_000, max_buffer_size=256 * 1024, pipeline_flush=False),
    )  # fmt: skip
    serving = asyncio.create_task(server.serve(), name="http")
    waiting = asyncio.create_task(stopping.wait())
    await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if serving.done():
        await serving
        return
    server.stop()  # type: ignore[no-untyped-call]
    await asyncio.wait({serving}, timeout=GRACE_SECONDS)
    for task in tuple(underway):
        task.cancel()
    await asyncio.wait({serving}, timeout=SETTLE_SECONDS)
    if not serving.done():
        _LOG.warning("http_did_not_settle", requests=len(underway))
