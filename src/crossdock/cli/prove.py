"""`crossdock prove`: try to break Crossdock, from a seed, and say what was found."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import asyncpg
import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from crossdock.cli.exits import NOT_HEALTHY, OK
from crossdock.cli.home import find_home
from crossdock.cli.output import show_json, show_table
from crossdock.cli.prove_sale import compare_policies, prove_flash_sale
from crossdock.kit.masking import printable
from crossdock.ledger import proof
from crossdock.ledger.embedded import EmbeddedPostgres
from crossdock.ledger.migrate import migrate
from crossdock.prove import feed_pause, flash_sale, sale_world
from crossdock.prove.faults import FAULT_NAMES, Plan, count_by_kind
from crossdock.prove.report import write_report
from crossdock.prove.rig import SCENARIOS, Outcome, Rig
from crossdock.prove.verdict import Verdict, append_verdict, next_seed, sum_up

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
              help="A fault plan of a failed run, in place of the drawn one.")  # fmt: skip
@click.option("--policy", type=click.Choice(tuple(sale_world.SHARES)), default="divided", show_default=True,
              help="flash-sale: how channels share stock.")  # fmt: skip
@click.option("--skus", type=click.IntRange(1, 200), default=40, show_default=True, help="flash-sale: hot goods.")
@click.option("--orders", type=click.IntRange(min=4), default=240, show_default=True, help="flash-sale: baskets.")
@click.option("--buffer", type=click.IntRange(min=0), default=0, show_default=True, help="flash-sale: of each channel.")
@click.option("--write", "document", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="feed-pause: the document into which its table is written.")  # fmt: skip
@click.option("--results", type=click.Path(dir_okay=False, path_type=Path),
              help="Append the verdict to this file, and go on after the last seed in it.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object at the end.")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="Write an HTML report with plots.")
def prove(
    as_list: bool, scenario: str, seed: int, seeds: int, minutes: float | None, faults: str, plan_file: Path | None,
    results: Path | None, as_json: bool, report: Path | None, policy: str, skus: int, orders: int, buffer: int,
    document: Path | None,
) -> None:  # fmt: skip
    """Play scenarios with faults in simulated time over a real database, and judge what came of it."""
    if as_list:
        stock = ((flash_sale.NAME, flash_sale.TITLE), (feed_pause.NAME, feed_pause.TITLE))
        rows = (*SCENARIOS.items(), *stock)
        show_table("Scenarios", ("name", "what happens"), rows)
        show_table("Faults", ("name",), [(name,) for name in (*FAULT_NAMES, *sale_world.FAULTS)])
        return
    if scenario == feed_pause.NAME:
        raise SystemExit(compare_policies(seed, seeds, document, as_json=as_json))
    if scenario == flash_sale.NAME:
        chosen = tuple(sorted(_read_faults(faults, sale_world.FAULTS)))
        sale = sale_world.Sale(seed, skus, orders, policy, buffer, chosen, max(8, orders // 30))
        with _database() as dsn:
            raise SystemExit(prove_flash_sale(sale, dsn, as_json=as_json))
    wanted = _read_faults(faults)
    if scenario not in SCENARIOS:
        raise click.BadParameter(f"There is no scenario {scenario}; see --list.", param_hint="--scenario")
    plan = msgspec.json.decode(plan_file.read_bytes(), type=Plan) if plan_file is not None else None
    if results is not None:
        seed = next_seed(results, scenario, seed)
    started = time.monotonic()
    with _database() as dsn:
        rig = Rig(dsn)
        try:
            outcomes = list(_play_all(rig, _seeds(seed, seeds, minutes, plan), wanted, plan, scenario))
            smallest = [rig.shrink(outcome) for outcome in outcomes if outcome.violations][:1]
        finally:
            rig.close()
    verdict = sum_up(scenario, outcomes, round(time.monotonic() - started, 1))
    if results is not None and outcomes:
        append_verdict(results, verdict)
    if report is not None:
        report.write_text(write_report(verdict, outcomes), encoding="utf-8")
    for outcome in smallest:
        _explain(outcome)
    if as_json:
        show_json(verdict)
    else:
        _show(verdict)
    raise SystemExit(OK if verdict.verdict == "pass" else NOT_HEALTHY)


def _read_faults(text: str, known: Sequence[str] = FAULT_NAMES) -> frozenset[str]:
    if not text:
        return frozenset(known)
    named = frozenset(name.strip() for name in text.split(",") if name.strip()) - {"none"}
    unknown = sorted(named - set(known))
    if unknown:
        raise click.BadParameter(f"There is no fault {unknown[0]}; see --list.", param_hint="--faults")
    return named


def _seeds(first: int, count: int, minutes: float | None, plan: Plan | None) -> Iterator[int]:
    """The seeds to play: one for a given plan, else a number of them, or as many as the time allows."""
    if plan is not None:
        yield first
        return
    ends = time.monotonic() + minutes * 60 if minutes is not None else None
    for number in range(1_000_000 if ends is not None else count):
        if ends is not None and time.monotonic() >= ends:
            return
        yield first + number


def _play_all(
    rig: Rig, seeds: Iterator[int], wanted: frozenset[str], plan: Plan | None, scenario: str
) -> Iterator[Outcome]:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    chosen = list(seeds) if plan is not None else None
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("Seeds", total=len(chosen) if chosen is not None else None)
        for seed in chosen if chosen is not None else seeds:
            outcome, _ = rig.play(seed, wanted, plan, scenario)
            progress.advance(task)
            yield outcome


@contextmanager
def _database() -> Iterator[str]:
    """A database for simulations only, in a server of their own that writes nothing through to the disk."""
    home = find_home(os.environ)
    server = EmbeddedPostgres(home.directory / "prove" / "postgres", durable=False)
    found_running = server.is_running()
    address = server.start()
    name = f"proof_{os.getpid()}"
    asyncio.run(_create(address, name))
    try:
        asyncio.run(_migrate(server.dsn(name)))
        yield server.dsn(name)
    finally:
        asyncio.run(_drop(address, name))
        if not found_running:
            server.stop()


async def _create(address: str, name: str) -> None:
    connection = await asyncpg.connect(address)
    try:
        await proof.create_database(connection, name)
    finally:
        await connection.close()


async def _migrate(address: str) -> None:
    await migrate(address)


async def _drop(address: str, name: str) -> None:
    connection = await asyncpg.connect(address)
    try:
        await proof.drop_database(connection, name)
    finally:
        await connection.close()


def _explain(outcome: Outcome) -> None:
    """What was found, with the smallest plan that still shows it, and the command that repeats it."""
    path = Path(f"proof-{outcome.scenario}-{outcome.seed}.json")
    path.write_bytes(msgspec.json.format(msgspec.json.encode(outcome.plan), indent=2))
    for violation in outcome.violations:
        click.echo(printable(f"{violation.checker}: {violation.subject} {violation.message}"), err=True)
    left = ", ".join(f"{count} {kind}" for kind, count in count_by_kind(outcome.plan.faults).items()) or "no faults"
    click.echo(f"It still fails with {left}, {len(outcome.plan.without_orders)} orders left out. Repeat it:", err=True)
    click.echo(f"  crossdock prove --scenario {outcome.scenario} --seed {outcome.seed} --plan {path}", err=True)


def _show(verdict: Verdict) -> None:
    rows: Sequence[tuple[str, object]] = (
        ("scenario", verdict.scenario), ("seeds", f"{verdict.seeds} from {verdict.first_seed}"),
        ("facts acknowledged", verdict.facts_acknowledged), ("faults", _told(verdict.faults)),
        ("violations", _told(verdict.violations) or "none"),
        ("failing seeds", ", ".join(map(str, verdict.failing_seeds)) or "none"),
        ("seconds", verdict.seconds), ("simulated seconds", verdict.simulated_seconds), ("verdict", verdict.verdict),
    )  # fmt: skip
    show_table("Proof", ("", ""), rows)


def _told(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in Counter(counts).most_common())
