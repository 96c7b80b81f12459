"""`crossdock api`."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import click
from litestar import Litestar

from crossdock.api.serve import serve
from crossdock.app import open_application, open_connections
from crossdock.cli.application import LOG_LEVELS, read_configuration
from crossdock.cli.collecting import collect_seldom
from crossdock.cli.exits import HELP
from crossdock.cli.home import database_address, find_home
from crossdock.cli.output import guarded
from crossdock.engine.presence import present
from crossdock.front import open_api
from crossdock.insight.telemetry.logs import set_up_logs
from crossdock.insight.telemetry.traces import open_tracing
from crossdock.ledger.patience import until_answering

# Two batches of orders at once, and questions for availability.
BY_KEY_POOL_SIZE: Final = 6


@click.command(epilog=HELP)
@click.option("--config", "configuration", default="", help="The configuration; default ./crossdock.toml.")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(1024, 65_535), help="Default CROSSDOCK_PORT.")
@click.option("--log-level", type=click.Choice(LOG_LEVELS), default="INFO")
def api(configuration: str, host: str, port: int | None, log_level: str) -> None:
    """Serve the HTTP API and the console."""
    name = f"api:{socket.gethostname()}:{os.getpid()}"
    set_up_logs("api", log_level)
    environment = dict(os.environ)

    @asynccontextmanager
    async def open_litestar() -> AsyncIterator[Litestar]:
        read = read_configuration(configuration)
        dsn = database_address(find_home(environment), environment)
        tracing = open_tracing(environment.get("CROSSDOCK_TRACES", ""), name)
        try:
            await until_answering(dsn)
            async with (
                open_application(
                    read, dsn, pool_size=16, tracing=tracing, is_service=True, by_key_pool_size=BY_KEY_POOL_SIZE
                ) as application,
                open_connections(read, tracing) as connections,
                present(application.pool, name, "api", application.clock),
                open_api(application, connections) as litestar,
            ):
                collect_seldom()
                yield litestar
        finally:
            tracing.close()

    guarded(lambda: serve(open_litestar, host, port or find_home(environment).port))
