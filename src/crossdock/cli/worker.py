"""`crossdock worker`."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Awaitable
from contextlib import suppress

import click
import structlog

from crossdock.app import make_worker, open_application, open_connections
from crossdock.cli.application import LOG_LEVELS, read_configuration
from crossdock.cli.collecting import collect_seldom
from crossdock.cli.exits import HELP
from crossdock.cli.home import database_address, find_home
from crossdock.cli.output import finish
from crossdock.insight.telemetry.logs import set_up_logs
from crossdock.insight.telemetry.metrics import served_metrics
from crossdock.insight.telemetry.traces import open_tracing
from crossdock.ledger.patience import patiently, until_answering


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
        await until_answering(dsn)
        async with (
            open_application(configuration, dsn, pool_size=12, tracing=tracing, is_service=True) as application,
            open_connections(configuration, tracing) as connections,
        ):
            running = await patiently(lambda: make_worker(application, connections, name))
            collect_seldom()
            structlog.get_logger().info("worker_started", policy=configuration.version, connections=len(connections))
            with served_metrics(application.metrics, metrics_host, metrics_port):
                await until_told_to_stop(running.run())
            structlog.get_logger().info("worker_stopped")
    finally:
        tracing.close()


async def until_told_to_stop(work: Awaitable[None]) -> None:
    """Run `work` until it ends, or until SIGTERM or SIGINT cancels it."""
    running = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, running.cancel)
    with suppress(asyncio.CancelledError):
        await running
