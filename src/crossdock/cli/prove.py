"""`crossdock prove`: try to break Crossdock, from a seed, and say what was found."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final, Never, TypeVar

import asyncpg
import click
import msgspec

from crossdock.cli.home import find_home
from crossdock.cli.output import show_table
from crossdock.cli.prove_real import prove_order_path
from crossdock.cli.prove_sale import compare_policies, prove_flash_sale
from crossdock.cli.prove_simulated import SimulatedRun, prove_simulated
from crossdock.ledger import proof
from crossdock.ledger.embedded import EmbeddedPostgres
from crossdock.ledger.migrate import migrate
from crossdock.prove import feed_pause, flash_sale, order_path_real, sale_world
from crossdock.prove.faults import FAULT_NAMES, Plan
from crossdock.prove.scenarios import SCENARIOS

Wanted = TypeVar("Wanted")
EPILOG: Final = """\b
Exit codes:
  0  nothing was found
  1  something was found: the last lines say how to repeat it
  2  the command was called wrongly"""


@click.command(epilog=EPILOG)
@click.option("--list", "as_list", is_flag=True, help="Show the scenarios and faults.")
@click.option("--scenario", default="order-path", show_default=True)
@click.option("--seed", type=int, default=1, show_default=True, help="The first seed.")
@click.option(
    "--seeds", type=click.IntRange(min=1), default=20, show_default=True, help="How many seeds, one after the other."
)
@click.option("--minutes", type=float, default=None, help="Seeds for so long, however many.")
@click.option("--faults", default="", help='Only these, by name and comma; default all. "none": a calm day.')
@click.option("--plan", "plan_file", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="A failed run's plan, in place of the drawn one.")  # fmt: skip
@click.option("--policy", type=click.Choice(tuple(sale_world.SHARES)), default="divided", show_default=True,
              help="flash-sale: how channels share stock.")  # fmt: skip
@click.option("--skus", type=click.IntRange(1, 200), default=40, show_default=True, help="flash-sale: hot goods.")
@click.option("--orders", type=click.IntRange(min=4), default=None,
              help="Orders a seed, and faults as many as belong to them; default as the scenario says (flash-sale: "
                   "baskets, 240; order-path-real: 60).")  # fmt: skip
@click.option("--facts", type=click.IntRange(min=1), default=None,
              help="Seeds until so many facts are acknowledged, with those in the file of --results.")  # fmt: skip
@click.option("--shrink/--no-shrink", default=True, show_default=True,
              help="Real processes: whether a failed run is made smaller, by further runs.")  # fmt: skip
@click.option("--buffer", type=click.IntRange(min=0), default=0, show_default=True, help="flash-sale: of each channel.")
@click.option("--write", "document", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="feed-pause: the document into which its table is written.")  # fmt: skip
@click.option("--results", type=click.Path(dir_okay=False, path_type=Path),
              help="Append the verdict to this file, and go on after the last seed in it.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object at the end.")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="Write an HTML report with plots.")
def prove(
    as_list: bool, scenario: str, seed: int, seeds: int, minutes: float | None, faults: str, plan_file: Path | None,
    results: Path | None, as_json: bool, report: Path | None, policy: str, skus: int, orders: int | None, buffer: int,
    document: Path | None, facts: int | None, shrink: bool,
) -> None:  # fmt: skip
    """Play scenarios with faults in simulated time over a real database, and judge what came of it."""
    if as_list:
        others = tuple((one.NAME, one.TITLE) for one in (order_path_real, flash_sale, feed_pause))
        played = ((name, found.title) for name, found in SCENARIOS.items())
        show_table("Scenarios", ("name", "what happens"), (*played, *others))
        show_table("Faults", ("name",), [(name,) for name in (*FAULT_NAMES, *sale_world.FAULTS)])
        show_table("Nemeses of real processes", ("name",), [(name,) for name in order_path_real.NEMESES])
        return
    if scenario == order_path_real.NAME:
        known = order_path_real.NEMESES
        named = _read_faults(faults, known)
        run = order_path_real.RealRun(
            seed, orders or 60, (minutes or 0.75) * 60, tuple(name for name in known if name in named)
        )
        raise SystemExit(prove_order_path(run, seeds, shrink=shrink, as_json=as_json, report=report))
    if scenario == feed_pause.NAME:
        raise SystemExit(compare_policies(seed, seeds, document, as_json=as_json))
    if scenario == flash_sale.NAME:
        named = _read_faults(faults, (*sale_world.FAULTS, *sale_world.NEMESES))
        chosen, nemeses = (tuple(sorted(named & set(one))) for one in (sale_world.FAULTS, sale_world.NEMESES))
        baskets = orders or 240
        sale = sale_world.Sale(
            seed, skus, baskets, policy, buffer, chosen, max(8, baskets // 30), nemeses=nemeses if faults else ()
        )
        if plan_file is not None:
            sale = _read_plan(plan_file, sale_world.Sale)
        raise SystemExit(prove_flash_sale(sale, _database, shrink=shrink, as_json=as_json))
    wanted = _read_faults(faults)
    if scenario not in SCENARIOS:
        raise click.BadParameter(f"There is no scenario {scenario}; see --list.", param_hint="--scenario")
    plan = _read_plan(plan_file, Plan) if plan_file is not None else None
    asked = SimulatedRun(
        scenario, seed, seeds, wanted, minutes, facts, orders, plan, results, report, as_json=as_json
    )  # fmt: skip
    with _database() as dsn:
        raise SystemExit(prove_simulated(asked, dsn))


def _read_plan(path: Path, kind: type[Wanted]) -> Wanted:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except msgspec.DecodeError as error:
        raise click.BadParameter(f"{path}: {error}", param_hint="--plan") from None


def _read_faults(text: str, known: Sequence[str] = FAULT_NAMES) -> frozenset[str]:
    if not text:
        return frozenset(known)
    named = frozenset(name.strip() for name in text.split(",") if name.strip()) - {"none"}
    unknown = sorted(named - set(known))
    if unknown:
        raise click.BadParameter(f"There is no fault {unknown[0]}; see --list.", param_hint="--faults")
    return named


@contextmanager
def _database() -> Iterator[str]:
    """A database for simulations only, in a server of their own that writes nothing through to the disk."""
    home = find_home(os.environ)
    server = EmbeddedPostgres(home.directory / "prove" / "postgres", durable=False)
    address = server.start()
    name = f"proof_{os.getpid()}"
    # A run of hours is ended from outside as well; its server must not stay behind.
    before = signal.signal(signal.SIGTERM, _told_to_stop)
    try:
        asyncio.run(_create(address, name))
        asyncio.run(_migrate(server.dsn(name)))
        yield server.dsn(name)
    finally:
        signal.signal(signal.SIGTERM, before)
        others = asyncio.run(_drop(address, name))
        # Whoever goes last stops it: two runs may share it.
        if not others:
            server.stop()


def _told_to_stop(number: int, frame: FrameType | None) -> Never:
    del frame
    raise SystemExit(128 + number)


async def _create(address: str, name: str) -> None:
    connection = await asyncpg.connect(address)
    try:
        await proof.create_database(connection, name)
    finally:
        await connection.close()


async def _migrate(address: str) -> None:
    await migrate(address)


async def _drop(address: str, name: str) -> int:
    """Drop it; return how many others use the server."""
    connection = await asyncpg.connect(address)
    try:
        await proof.drop_database(connection, name)
        return await proof.count_others(connection)
    finally:
        await connection.close()
