"""`crossdock api`, `worker` and `migrate`, and what every command needs that works on the whole application."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final, TypeVar

import click
import structlog
from litestar import Litestar

from crossdock.api.serve import serve
from crossdock.app import Application, make_worker, open_api, open_application, open_connections
from crossdock.cli.demo import configuration_environment
from crossdock.cli.exits import HELP
from crossdock.cli.home import database_address, find_home
from crossdock.cli.output import find_configuration, finish, guarded, say, show_json
from crossdock.engine.presence import present
from crossdock.insight.telemetry.logs import set_up_logs
from crossdock.insight.telemetry.metrics import served_metrics
from crossdock.insight.telemetry.traces import open_tracing
from crossdock.ledger.migrate import migrate as apply_migrations
from crossdock.policy.configuration import Configuration, load_configuration

Answer = TypeVar("Answer")
LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")


def read_configuration(given: str) -> Configuration:
    """The configuration, with the demonstration's secrets where there is a demonstration."""
    path = find_configuration(given)
    environment = dict(os.environ)
    return load_configuration(path, configuration_environment(find_home(environment), path, environment))


async def with_application(given: str, work: Callable[[Application], Awaitable[Answer]]) -> Answer:
    """Do `work` with an application of its own on Crossdock's database."""
    environment = dict(os.environ)
    configuration = read_configuration(given)
    async with open_application(
        configuration, database_address(find_home(environment), environment), pool_size=3
    ) as application:
        return await work(application)


async def until_told_to_stop(work: Awaitable[None]) -> None:
    """Run `work` until it ends, or until SIGTERM or SIGINT cancels it."""
    running = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, running.cancel)
    with suppress(asyncio.CancelledError):
        await running


@click.command(epilog=HELP)
@click.option("--config", "configuration", default="", help="The configuration; default ./crossdock.toml.")
@click.option("--name", default="", help="The worker's name; default host and process.")
@click.option("--log-level", type=click.Choice(LOG_LEVELS), default="INFO")
@click.option("--metrics-host", default="127.0.0.1", show_default=True)
@click.option(
    "--metrics-port", type=click.IntRange(1024, 65_535), envvar="CROSSDOCK_METRICS_PORT",
    help="Serve this worker's counters to Prometheus there; default CROSSDOCK_METRICS_PORT, without it nowhere.",
)
def worker(configuration: str, name: str, log_level: str, metrics_host: str, metrics_port: int | None) -> None:
    """Decide facts, do steps at partners, read feeds. Any number may run, on any host, against one database."""
    # The name of a lease must not be taken over by the next process of the same name: its steps are in doubt first.
    unique = f"{name or socket.gethostname()}:{os.getpid()}"
    set_up_logs(name or unique, log_level)
    finish(_work(configuration, unique, metrics_host, metrics_port or 0))


async def _work(given: str, name: str, metrics_host: str, metrics_port: int) -> None:
    environment = dict(os.environ)
    configuration = read_configuration(given)
    dsn = database_address(find_home(environment), environment)
    tracing = open_tracing(environment.get("CROSSDOCK_TRACES", ""), name)
    try:
        async with (
            open_application(configuration, dsn, pool_size=12, tracing=tracing) as application,
            open_connections(configuration, tracing) as connections,
        ):
            running = await make_worker(application, connections, name)
            structlog.get_logger().info("worker_started", policy=configuration.version, connections=len(connections))
            with served_metrics(application.metrics, metrics_host, metrics_port):
                await until_told_to_stop(running.run())
            structlog.get_logger().info("worker_stopped")
    finally:
        tracing.close()


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
            async with (
                open_application(read, dsn, pool_size=16, tracing=tracing) as application,
                open_connections(read, tracing) as connections,
                present(application.pool, name, "api", application.clock),
                open_api(application, connections) as litestar,
            ):
                yield litestar
        finally:
            tracing.close()

    guarded(lambda: serve(open_litestar, host, port or find_home(environment).port))


@click.command(epilog=HELP)
@click.option("--json", "as_json", is_flag=True)
def migrate(as_json: bool) -> None:
    """Bring the database's tables up to this release."""
    environment = dict(os.environ)

    async def work() -> list[str]:
        return await apply_migrations(database_address(find_home(environment), environment))

    applied = finish(work())
    if as_json:
        show_json({"applied": applied})
    else:
        say(f"Applied: {', '.join(applied)}" if applied else "The database is up to date.")
