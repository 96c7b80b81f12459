"""How the command line speaks: errors with what to do, tables for people, one JSON document for programs."""

from __future__ import annotations

import asyncio
import sys
import traceback
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

_CLICKS: Final = (click.ClickException, click.Abort, click.exceptions.Exit)
PLAIN_CELL_MAX: Final = 28
Answer = TypeVar("Answer")
_NO_DATABASE: Final = (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.CannotConnectNowError, OSError)


def say(text: str) -> None:
    """A line for a person, on standard error, so that standard output stays for results."""
    click.echo(printable(text), err=True)


def show_json(document: Any) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())


def show_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Rows for a person: in a frame where the terminal has room for it, in plain columns elsewhere, so that a number
    can always be copied whole. Cells come from outside, so no markup and no control characters."""
    cells = [[printable(str(cell)) if cell is not None else "" for cell in row] for row in rows]
    console = Console(highlight=False, markup=False, soft_wrap=True)
    if not cells:
        console.print(f"{title}: none")
        return
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    if not console.is_terminal or sum(widths) + 3 * len(widths) + 1 > console.width:
        _show_plain(console, title, columns, cells, widths)
        return
    table = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in cells:
        table.add_row(*row)
    console.print(table)


def _show_plain(
    console: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int]
) -> None:
    """Aligned columns without a frame; a long text stands on a line of its own below its row."""
    short = [index for index, width in enumerate(widths) if width <= PLAIN_CELL_MAX]
    console.print(title)
    console.print(_plain_line([columns[index].upper() for index in short], [widths[index] for index in short]))
    for row in rows:
        console.print(_plain_line([row[index] for index in short], [widths[index] for index in short]))
        for index, text in enumerate(row):
            if text and index not in short:
                console.print(f"      {columns[index]}: {text}")


def _plain_line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return ("  " + "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))).rstrip()


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
    except* _CLICKS as errors:
        raise _first(errors) from None
    except* Exception as errors:  # noqa: BLE001 - a defect has an exit code of its own, as 1 means not healthy
        _fail_by_defect(_first(errors))
    sys.exit(DEFECT)


def guarded(work: Callable[[], Answer]) -> Answer:
    """The same for work that is not asynchronous, or runs a loop of its own."""
    try:
        return work()
    except* CrossdockError as errors:
        _fail(_first(errors))
    except* _NO_DATABASE as errors:
        _fail_without_database(_first(errors))
    except* _CLICKS as errors:
        raise _first(errors) from None
    except* Exception as errors:  # noqa: BLE001 - as above
        _fail_by_defect(_first(errors))
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


def _fail_by_defect(error: BaseException) -> None:
    say("".join(traceback.format_exception(error)).rstrip())
    say("This is a defect of Crossdock: please report it with the lines above, after a look for what is yours in them.")
    sys.exit(DEFECT)


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
