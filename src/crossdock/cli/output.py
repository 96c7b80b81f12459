"""How the command line speaks: errors with what to do, tables for people, one JSON document for programs."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import asyncpg
import click
import msgspec
import uvloop
from rich.console import Console
from rich.table import Table

from crossdock.cli.exits import DEFECT, UNAVAILABLE, exit_code
from crossdock.cli.home import database_address, find_home
from crossdock.kit.masking import printable
from crossdock.ledger.database import open_pool
from crossdock.model.errors import CrossdockError

Answer = TypeVar("Answer")
_NO_DATABASE: Final = (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.CannotConnectNowError, OSError)


def say(text: str) -> None:
    """A line for a person, on standard error, so that standard output stays for results."""
    click.echo(printable(text), err=True)


def show_json(document: Any) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())


def show_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table as wide as the terminal; cells come from outside, so no markup and no control characters."""
    console = Console(highlight=False, markup=False)
    table = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    empty = True
    for row in rows:
        empty = False
        table.add_row(*(printable(str(cell)) if cell is not None else "" for cell in row))
    if empty:
        console.print(f"{title}: none")
    else:
        console.print(table)


def finish(work: Coroutine[Any, Any, Answer]) -> Answer:
    """Run to the end; an error of ours becomes a sentence, what to do, and its exit code."""
    try:
        return uvloop.run(work)
    except* CrossdockError as errors:
        _fail(_first(errors))
    except* _NO_DATABASE as errors:
        _fail_without_database(_first(errors))
    except* KeyboardInterrupt:
        sys.exit(130)
    sys.exit(DEFECT)


def guarded(work: Callable[[], Answer]) -> Answer:
    """The same for work that is not asynchronous, or runs a loop of its own."""
    try:
        return work()
    except* CrossdockError as errors:
        _fail(_first(errors))
    except* _NO_DATABASE as errors:
        _fail_without_database(_first(errors))
    sys.exit(DEFECT)


def _first(errors: BaseExceptionGroup[Any]) -> Any:
    found: Any = errors
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


def _fail_without_database(error: BaseException) -> None:
    say(f"The database does not answer ({type(error).__name__}).")
    say("Is Crossdock running here? `crossdock status` says more.")
    sys.exit(UNAVAILABLE)


def _fail(error: CrossdockError) -> None:
    say(f"{error.message}")
    if error.field:
        say(f"  where: {error.field}")
    if error.detail:
        say(f"  detail: {error.detail[-1500:]}")
    if error.next_action:
        say(f"  what to do: {error.next_action}")
    sys.exit(exit_code(error))


async def with_pool(environment: dict[str, str], work: Callable[[asyncpg.Pool[Any]], Awaitable[Answer]]) -> Answer:
    """Open a small pool on Crossdock's database for the time of `work`."""
    async with asyncio.timeout(30):
        pool = await open_pool(database_address(find_home(environment), environment), size=2)
    try:
        return await work(pool)
    finally:
        pool.terminate()


def find_configuration(given: str) -> Path:
    """The configuration's path: the option, or crossdock.toml here, or the demonstration's in the checkout."""
    if given:
        return Path(given).absolute()
    here = Path("crossdock.toml")
    beside = Path(__file__).resolve().parents[3] / "crossdock.toml"
    return (here if here.exists() else beside).absolute()
