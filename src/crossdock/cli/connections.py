"""`crossdock connections`: the state of each partner system; pause, resume, override a breaker."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Literal

import click

from crossdock.app import Application
from crossdock.cli.application import with_application
from crossdock.cli.exits import HELP
from crossdock.cli.orders import actor
from crossdock.cli.output import finish, say, show_json, show_table, with_pool
from crossdock.insight.connections import read_connections

OVERRIDES: dict[str, Literal["open", "closed"] | None] = {"open": "open", "closed": "closed", "auto": None}


@click.group(epilog=HELP)
def connections() -> None:
    """See partner systems and steer their traffic."""


@connections.command("list")
@click.option("--json", "as_json", is_flag=True)
def list_connections(as_json: bool) -> None:
    """Health, backlog and breakers of every connection."""
    found = finish(with_pool(dict(os.environ), lambda pool: read_connections(pool, datetime.now(UTC))))
    if as_json:
        show_json(found)
        return
    show_table(
        "Connections", ("connection", "system", "health", "backlog", "in doubt", "quarantined", "oldest", "last error"),
        [(state.connection, state.system, state.health, state.backlog, state.in_doubt, state.quarantined,
          f"{state.oldest_at:%Y-%m-%d %H:%M:%S}" if state.oldest_at else "", state.last_error) for state in found],
    )  # fmt: skip


@connections.command()
@click.argument("connection")
@click.option("--config", "configuration", default="")
def pause(connection: str, configuration: str) -> None:
    """Send nothing to this connection until it is resumed; orders are still accepted."""

    async def work(application: Application) -> None:
        await application.control.pause_connection(application.clock(), actor(), connection)

    finish(with_application(configuration, work))
    say(f"{connection} is paused")


@connections.command()
@click.argument("connection")
@click.option("--config", "configuration", default="")
def resume(connection: str, configuration: str) -> None:
    """Send again to this connection."""

    async def work(application: Application) -> None:
        await application.control.resume_connection(application.clock(), actor(), connection)

    finish(with_application(configuration, work))
    say(f"{connection} is resumed")


@connections.command()
@click.argument("connection")
@click.argument("operation")
@click.argument("state", type=click.Choice(tuple(OVERRIDES)))
@click.option("--config", "configuration", default="")
def breaker(connection: str, operation: str, state: str, configuration: str) -> None:
    """Hold the breaker of one operation open or closed, or let it work by itself (auto)."""

    async def work(application: Application) -> None:
        now = application.clock()
        await application.control.override_breaker(now, actor(), connection, operation, OVERRIDES[state])

    finish(with_application(configuration, work))
    say(f"The breaker of {operation} at {connection} is {state}")
