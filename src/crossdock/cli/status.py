"""`crossdock status`: what is up, what waits, and whether all is healthy."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import aiohttp
import asyncpg
import click
import msgspec
from rich.console import Console

from crossdock.cli.exits import HELP, NOT_HEALTHY
from crossdock.cli.home import Home, database_address, find_home, read_run_state
from crossdock.cli.output import finish, guarded, show_json, show_table
from crossdock.insight.overview import Overview, read_overview
from crossdock.ledger.database import open_pool
from crossdock.model.errors import CrossdockError

SILENCE: Final = timedelta(seconds=15)
STEP_WAIT: Final = timedelta(minutes=10)
FACT_WAIT: Final = timedelta(minutes=2)
_ASK_SECONDS: Final = 5.0


class ProcessStatus(msgspec.Struct, frozen=True):
    """A process that the supervisor on this machine looks after."""

    name: str
    pid: int
    up: bool


class Status(msgspec.Struct, frozen=True):
    """`problems` says in sentences why it is not healthy; `attention` what waits for a person."""

    healthy: bool
    at: datetime
    url: str
    problems: tuple[str, ...]
    attention: tuple[str, ...]
    orders: dict[str, int]
    steps: dict[str, dict[str, int]]
    facts: dict[str, int]
    quarantine: dict[str, int]
    holds: dict[str, int]
    oldest_waiting_step: dict[str, Any] | None
    waiting_for_erp: tuple[dict[str, Any], ...]
    unpublished_shipments: int
    connections: dict[str, str]
    processes: tuple[ProcessStatus, ...]
    workers: tuple[str, ...]
    apis: tuple[str, ...]


@click.command(epilog=HELP)
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of a page.")
def status(as_json: bool) -> None:
    """Tell what is up, how many orders, steps and facts are where, and what is wrong.

    Healthy: the database answers, the API can accept orders, a worker is alive, every process on this machine is up, no
    feed is stale, no connection is down and nothing due waits for long. Holds and quarantine are a person's work, not
    an illness; they are listed as attention.
    """
    environment = dict(os.environ)
    home = guarded(lambda: find_home(environment))
    found = finish(read_status(home, environment))
    if as_json:
        show_json(found)
    else:
        _show(found)
    sys.exit(0 if found.healthy else NOT_HEALTHY)


async def read_status(home: Home, environment: Mapping[str, str]) -> Status:
    """The state of everything; never raises because something is down."""
    now = datetime.now(UTC)
    processes = _processes(home)
    problems = [f"Process {process.name} is not running." for process in processes if not process.up]
    problems += await _api_problems(home.url)
    overview = None
    try:
        async with asyncio.timeout(_ASK_SECONDS):
            pool = await open_pool(database_address(home, environment), size=2)
        try:
            async with asyncio.timeout(_ASK_SECONDS * 3):
                overview = await read_overview(pool, now)
        finally:
            pool.terminate()
    except CrossdockError as error:
        problems.insert(0, error.message)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError) as error:
        problems.insert(0, f"The database does not answer ({type(error).__name__}).")
    if overview is None:
        return Status(
            False, now, home.url, tuple(problems), (), {}, {}, {}, {}, {}, None, (), 0, {}, processes, (), (),
        )  # fmt: skip
    return _status(home, now, overview, processes, problems)


def _status(
    home: Home, now: datetime, overview: Overview, processes: tuple[ProcessStatus, ...], problems: list[str]
) -> Status:
    problems = [*problems, *_overview_problems(overview, now)]
    steps: dict[str, dict[str, int]] = {}
    for step in overview.steps:
        states = steps.setdefault(step.connection, {})
        states[step.state] = states.get(step.state, 0) + step.count
    oldest = overview.oldest_waiting_step
    waits = tuple(
        {
            "connection": wait.connection, "orders": wait.orders, "shipments": wait.shipments, "since": wait.since,
            "because": wait.because,
        }
        for wait in overview.waiting_for_erp
    )  # fmt: skip
    return Status(
        healthy=not problems, at=now, url=home.url, problems=tuple(problems), attention=tuple(_attention(overview)),
        orders={count.state: count.count for count in overview.orders}, steps=steps,
        facts={"waiting": overview.facts_waiting, "early": overview.facts_early},
        quarantine={"facts": overview.facts_quarantined, "steps": overview.steps_quarantined},
        holds={group.cause: group.count for group in overview.holds},
        oldest_waiting_step=msgspec.structs.asdict(oldest) if oldest else None, waiting_for_erp=waits,
        unpublished_shipments=overview.unpublished_count,
        connections={state.connection: state.health for state in overview.connections}, processes=processes,
        workers=_seen(overview, "worker", now), apis=_seen(overview, "api", now),
    )  # fmt: skip


def _seen(overview: Overview, kind: str, now: datetime) -> tuple[str, ...]:
    """The processes of a kind, on whatever host, that gave a sign of life lately."""
    return tuple(seen.process for seen in overview.processes if seen.kind == kind and now - seen.seen_at < SILENCE)


def _overview_problems(overview: Overview, now: datetime) -> list[str]:
    found = []
    if not _seen(overview, "worker", now):
        found.append("No worker has been seen lately.")
    for feed in overview.stale_feeds:
        age = f"last read at {feed.read_at:%H:%M:%S} UTC" if feed.read_at else "never read"
        found.append(f"Feed {feed.feed} of {feed.connection} is stale ({age}).")
    for stock in overview.troubled_stock:
        if stock.stale_since:
            found.append(f"{stock.source} is late with the stock of {stock.location} since "
                         f"{stock.stale_since:%Y-%m-%d %H:%M:%S} UTC; less of it is promised.")  # fmt: skip
        if stock.held_reason:
            found.append(f"A stock report of {stock.source} for {stock.location} waits: {stock.held_reason}")
    for state in overview.connections:
        down = [lane.operation for lane in state.lanes if lane.effective == "open"]
        if state.paused:
            found.append(f"Connection {state.connection} is paused by {state.paused_by or 'an operator'}.")
        elif down:
            found.append(f"Connection {state.connection} is down: {state.last_error or 'it does not answer'}")
    oldest = overview.oldest_waiting_step
    if oldest and now - oldest.since > STEP_WAIT:
        found.append(f"Step {oldest.name} of {oldest.order_number} waits since {oldest.since:%Y-%m-%d %H:%M:%S} UTC.")
    if overview.oldest_waiting_fact_at and now - overview.oldest_waiting_fact_at > FACT_WAIT:
        found.append(f"A fact waits since {overview.oldest_waiting_fact_at:%Y-%m-%d %H:%M:%S} UTC.")
    return found


def _plural(noun: str, count: int) -> str:
    return noun if count == 1 else f"{noun}s"


def _attention(overview: Overview) -> list[str]:
    found = [f"{group.count} held: {group.cause} ({group.owner})" for group in overview.holds]
    if overview.facts_quarantined:
        found.append(f"{overview.facts_quarantined} {_plural('fact', overview.facts_quarantined)} in quarantine")
    if overview.steps_quarantined:
        found.append(f"{overview.steps_quarantined} {_plural('step', overview.steps_quarantined)} in quarantine")
    return found + [
        f"{labels.packages} packages left {labels.warehouse} within a day with labels that are no SSCC, as "
        f"{labels.example} of {labels.order_number}"
        for labels in overview.wrong_labels
    ]


def _processes(home: Home) -> tuple[ProcessStatus, ...]:
    state = read_run_state(home)
    if state is None:
        return ()
    named = {"supervisor": state.supervisor, **state.processes}
    return tuple(ProcessStatus(name, pid, Path(f"/proc/{pid}").exists()) for name, pid in named.items())


async def _api_problems(url: str) -> list[str]:
    try:
        timeout = aiohttp.ClientTimeout(total=_ASK_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(f"{url}/healthz") as response:
            if response.status == 200:
                return []
            return [f"The API cannot accept orders (HTTP {response.status})."]
    except (aiohttp.ClientError, OSError, TimeoutError):
        return [f"The API does not answer at {url}."]


def _show(found: Status) -> None:
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(f"Crossdock at {found.url}: {'healthy' if found.healthy else 'NOT HEALTHY'}")
    for line in found.problems:
        console.print(f"  ! {line}")
    for line in found.attention:
        console.print(f"  - {line}")
    show_table("Orders", ("state", "count"), found.orders.items())
    counted = [(name, state, count) for name, states in sorted(found.steps.items()) for state, count in states.items()]
    show_table("Open steps", ("connection", "state", "count"), counted)
    show_table("Connections", ("connection", "health"), found.connections.items())
    console.print(f"Facts: {found.facts.get('waiting', 0)} waiting, {found.facts.get('early', 0)} early")
    seen = [("api", name) for name in found.apis] + [("worker", name) for name in found.workers]
    show_table("Seen on any machine", ("kind", "process"), seen)
    if found.processes:
        rows = [(process.name, process.pid, "up" if process.up else "DOWN") for process in found.processes]
        show_table("Processes on this machine", ("process", "pid", ""), rows)
