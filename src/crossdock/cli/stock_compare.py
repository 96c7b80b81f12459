"""`crossdock stock compare` and `drift`: everything against everything, and what differs."""

from __future__ import annotations

import asyncio
import csv
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from crossdock.app import Application, open_connections
from crossdock.cli.application import with_application
from crossdock.cli.explanation import number
from crossdock.cli.output import finish, say, show_json, show_table
from crossdock.engine.full_comparison import FullComparison, compare_channel, compare_owner
from crossdock.engine.ports import OpenConnection
from crossdock.engine.publication_lane import lane_pace
from crossdock.insight.stock import DriftItem, list_drift
from crossdock.insight.telemetry.traces import Tracing
from crossdock.kit.connector import StockLane
from crossdock.ledger import drift as ledger
from crossdock.ledger.drift import GivenFile
from crossdock.model.errors import InDoubt, Invalid, Unavailable
from crossdock.policy.stock import StockOwner
from crossdock.rules.comparison import late_after

Answer = TypeVar("Answer")
OWNER_READ: Final = 200
ASKED_AGAIN_SECONDS: Final = (0.5, 2.0, 8.0)
FIGURES: Final = ("quantity", "on_hand", "shown")


@click.command()
@click.option("--channel", "channels", multiple=True, metavar="NAME[=FILE]", help="What a channel shows; repeatable.")
@click.option("--location", "locations", multiple=True, metavar="CODE[=FILE]", help="What the owner of a place says.")
@click.option("--config", "configuration", default="")
@click.option("--json", "as_json", is_flag=True)
def compare(channels: tuple[str, ...], locations: tuple[str, ...], configuration: str, as_json: bool) -> None:
    """Compare all figures with channels and owners.

    FILE is a CSV with the columns sku and quantity (a channel's in the listing's unit, an owner's in base units), and
    as_of where rows have a time of their own; without FILE the partner is asked. Without options, everyone is.
    """

    async def work(application: Application) -> list[FullComparison]:
        return await _compare(application, channels, locations)

    found = finish(with_application(configuration, work))
    if as_json:
        show_json({"comparisons": found})
        return
    for one in found:
        say(f"{one.counterpart}{' at ' + one.location if one.location else ''}: {one.given} figures against "
            f"{one.believed}, {one.drifted} differ, in {one.seconds} s")  # fmt: skip
    show_table("Differences", ("with", "cause", "how many", "may be on their way", "at list price"), (
        (one.counterpart, cause, counted.count, counted.pending, f"{counted.amount} {counted.currency}")
        for one in found for cause, counted in sorted(one.causes.items())
    ))  # fmt: skip


@click.command()
@click.option("--cause", default="")
@click.option("--counterpart", default="", help="A channel, or the connection of an owner.")
@click.option("--sku", default="")
@click.option("--limit", type=click.IntRange(1, 200), default=50, show_default=True)
@click.option("--config", "configuration", default="")
@click.option("--json", "as_json", is_flag=True)
def drift(cause: str, counterpart: str, sku: str, limit: int, configuration: str, as_json: bool) -> None:
    """Show open differences, the newest first, with cause and proposal."""

    async def work(application: Application) -> tuple[DriftItem, ...]:
        page = await list_drift(application.pool, cause=cause, counterpart=counterpart, sku=sku, limit=limit)
        return page.items

    found = finish(with_application(configuration, work))
    if as_json:
        show_json({"drift": found})
        return
    columns = ("with", "SKU", "place", "should be", "is", "cause", "at list price", "state", "what to do")
    show_table("Differences", columns, (
        (one.counterpart, one.sku, one.location, _figure(one.expected), _figure(one.found), one.cause,
         f"{one.amount} {one.currency}", one.state, one.proposal) for one in found
    ))  # fmt: skip


async def _compare(application: Application, channels: Sequence[str], locations: Sequence[str]) -> list[FullComparison]:
    """Raises Invalid for names that nobody has and files that cannot be read."""
    policy = application.configuration.policy
    now = application.clock()
    in_force = [policy.stock.owner_of(code, now) for code in _owned(application)]
    owners = {owner.location: owner for owner in in_force if owner is not None}
    # A channel without a connection, whose programs ask by API, is told nothing.
    told = {
        name: stock for name, stock in policy.stock.channels.items()
        if stock.publish and policy.channels[name].connection
    }  # fmt: skip
    if not channels and not locations:
        channels, locations = tuple(told), tuple(owners)
    found = []
    async with open_connections(application.configuration, Tracing()) as connections:
        by_name = {opened.name: opened for opened in connections}
        for given in channels:
            name, file = _split(given, told, "channel")
            lane, opened = _lane_of(application, by_name, name)
            pace = lane_pace(lane, told[name]).calls_per_second
            say(f"comparing with {name}")
            shown = find_file(file) if file else _shown(application, name, lane, opened, float(pace))
            found.append(await compare_channel(application.pool, name, opened.name, shown, late_after(pace), now))
        for given in locations:
            code, file = _split(given, owners, "owned location")
            owner = owners[code]
            say(f"comparing with {owner.connection} at {code}")
            said = find_file(file) if file else _said(application, owner, by_name[owner.connection])
            found.append(await compare_owner(application.pool, owner, said, now, now))
    return found


def _owned(application: Application) -> list[str]:
    return sorted({owner.location for owner in application.configuration.policy.stock.owners})


def _split(given: str, known: Any, what: str) -> tuple[str, Path | None]:
    name, _, file = given.partition("=")
    if name not in known:
        raise Invalid(
            "counterpart_unknown", f"{name} is no {what}.", next_action=f"Name one of {', '.join(sorted(known))}."
        )
    return name, Path(file) if file else None


def _lane_of(
    application: Application, by_name: dict[str, OpenConnection], channel: str
) -> tuple[StockLane, OpenConnection]:
    opened = by_name[application.configuration.policy.channels[channel].connection]
    if opened.connector.stock is None:
        raise Invalid("stock_untellable", f"{channel} cannot be asked what it shows.", next_action="Give a FILE.")
    return opened.connector.stock, opened


async def _ask(question: Callable[[], Awaitable[Answer]]) -> Answer:
    """One page; a partner that is away for a moment does not end a comparison of a million. Raises CrossdockError."""
    for seconds in ASKED_AGAIN_SECONDS:
        try:
            return await question()
        except (Unavailable, InDoubt) as error:
            told = error.retry_after_seconds if isinstance(error, Unavailable) else None
            await asyncio.sleep(min(told if told is not None else seconds, ASKED_AGAIN_SECONDS[-1]))
    return await question()


async def _shown(
    application: Application, channel: str, lane: StockLane, opened: OpenConnection, per_second: float
) -> AsyncIterator[list[tuple[str, Decimal, datetime | None]]]:
    """What the channel shows, page by page, at the pace of its lane at most."""
    after = ""
    while True:
        async with application.pool.acquire() as connection:
            skus = await ledger.list_told(connection, channel, after, lane.read_max)
        if not skus:
            return
        shown = await _ask(partial(lane.read_back, opened.client, skus))
        yield [(sku, figure, None) for sku, figure in shown.items()]
        after = skus[-1]
        await asyncio.sleep(min(1 / per_second, 60))


async def _said(
    application: Application, owner: StockOwner, opened: OpenConnection
) -> AsyncIterator[list[tuple[str, Decimal, datetime | None]]]:
    read = opened.connector.read_balances
    if read is None:
        raise Invalid("owner_unasked", f"{owner.connection} cannot be asked for balances.", next_action="Give a FILE.")
    after = ""
    while True:
        async with application.pool.acquire() as connection:
            skus = await ledger.list_counted(connection, owner.location, after, OWNER_READ)
            units = await ledger.base_units(connection, skus)
        if not skus:
            return
        rows = await _ask(partial(read, opened.client, owner.location, skus))
        yield [(row.sku, row.on_hand.value, row.as_of) for row in rows if row.on_hand.unit == units.get(row.sku)]
        after = skus[-1]


def find_file(path: Path) -> GivenFile:
    """The file and its columns. Raises Invalid."""
    try:
        with path.open(encoding="utf-8", newline="") as content:
            header = [name.strip().lower() for name in next(csv.reader(content), [])]
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid("file_unreadable", f"{path.name} cannot be read: {error}.") from None
    columns = ["quantity" if name in FIGURES else name for name in header]
    if sorted(columns) not in (["quantity", "sku"], ["as_of", "quantity", "sku"]):
        raise Invalid(
            "file_header", f"{path.name} has the columns {', '.join(header) or 'of nothing'}.",
            next_action="Write a first line with sku, quantity and, if rows have a time, as_of; no other columns.",
        )  # fmt: skip
    return GivenFile(path, tuple(columns))


def _figure(value: Decimal | None) -> str:
    return "not there" if value is None else number(value)
