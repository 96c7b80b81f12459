"""`crossdock worker` and `crossdock migrate`, and what every command needs that works on the whole application."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

import click
import structlog

from crossdock.app import Application, make_worker, open_application, open_connections
from crossdock.cli.demo import configuration_environment
from crossdock.cli.exits import HELP
from crossdock.cli.home import database_address, find_home
from crossdock.cli.output import find_configuration, finish, say, show_json
from crossdock.insight.telemetry.logs import set_up_logs
from crossdock.insight.telemetry.traces import open_tracing
from crossdock.ledger.migrate import migrate as apply_migrations
from crossdock.policy.configuration import Configuration, load_configuration

Answer = TypeVar("Answer")


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
@click.option("--log-level", type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"]), default="INFO")
def worker(configuration: str, name: str, log_level: str) -> None:
    """Decide facts, do steps at partners, read feeds. Any number may run, on any host, against one database."""
    # The name of a lease must not be taken over by the next process of the same name: its steps are in doubt first.
    unique = f"{name or socket.gethostname()}:{os.getpid()}"
    set_up_logs(name or unique, log_level)
    finish(_work(configuration, unique))


async def _work(given: str, name: str) -> None:
    environment = dict(os.environ)
    configuration = read_configuration(given)
    dsn = database_address(find_home(environment), environment)
    tracing = open_tracing(environment.get("CROSSDOCK_TRACES", ""), name)
    try:
        async with (
            open_application(configuration, dsn, pool_size=12, tracing=tracing) as application,
            open_connections(configuration) as connections,
        ):
            running = await make_worker(application, connections, name)
            structlog.get_logger().info("worker_started", policy=configuration.version, connections=len(connections))
            await until_told_to_stop(running.run())
            structlog.get_logger().info("worker_stopped")
    finally:
        tracing.close()


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
