"""`crossdock prove` for stock: `flash-sale` (real processes, one seed) and `feed-pause` (simulated time, many)."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

import click
import msgspec

from crossdock.cli.exits import NOT_HEALTHY, OK
from crossdock.cli.output import show_json, show_table
from crossdock.prove.feed_pause import place_table, prove_feed_pause, write_table
from crossdock.prove.flash_sale import SaleOutcome, run_flash_sale
from crossdock.prove.sale_world import Sale, shrink_sale

SHRINK_RUNS_MAX: Final = 12
OpenDatabase = Callable[[], AbstractContextManager[str]]
"""An empty database of its own for a run."""


def prove_flash_sale(sale: Sale, database: OpenDatabase, *, shrink: bool, as_json: bool) -> int:
    """Run it, say what was found, and return the exit code. What fails is made smaller, by further runs."""
    directory = Path(tempfile.mkdtemp(prefix="crossdock-sale-"))
    try:
        outcome = _run(sale, database, directory)
    except TimeoutError as error:
        click.echo(f"The estate does not come to rest: {error}. Its logs are in {directory}.", err=True)
        return NOT_HEALTHY
    passed = outcome.verdict == "pass"
    if as_json:
        show_json(outcome)
    else:
        _show(outcome)
    if passed:
        shutil.rmtree(directory, ignore_errors=True)
        return OK
    click.echo(f"The logs are in {directory}. Repeat it:\n  {_command(sale)}", err=True)
    if shrink:
        _shrink(sale, _failing(outcome), database)
    return NOT_HEALTHY


def _run(sale: Sale, database: OpenDatabase, directory: Path) -> SaleOutcome:
    with database() as dsn:
        return asyncio.run(run_flash_sale(sale, dsn, directory))


def _failing(outcome: SaleOutcome) -> list[str]:
    return [checker for checker, lines in outcome.violations.items() if lines]


def _command(sale: Sale) -> str:
    command = f"crossdock prove --scenario flash-sale --seed {sale.seed}"
    if sale.left_out:
        path = Path(f"proof-flash-sale-{sale.seed}.json")
        path.write_bytes(msgspec.json.format(msgspec.json.encode(sale), indent=2))
        return f"{command} --plan {path}"
    faults = ",".join((*sale.faults, *sale.nemeses)) or "none"
    command += f" --policy {sale.policy} --skus {sale.skus} --orders {sale.orders} --buffer {sale.buffer}"
    return f"{command} --faults {faults}"


def _shrink(sale: Sale, checkers: Collection[str], database: OpenDatabase) -> None:
    """Leave out faults, nemeses and baskets while it still fails; each try is a whole sale."""
    click.echo(f"Making it smaller, in at most {SHRINK_RUNS_MAX} runs (--no-shrink leaves that out).", err=True)

    def play(tried: Sale) -> Collection[str]:
        with tempfile.TemporaryDirectory(prefix="crossdock-sale-", ignore_cleanup_errors=True) as directory:
            try:
                found = _failing(_run(tried, database, Path(directory)))
            except TimeoutError:
                # An estate that did not come up, or to rest, says nothing about what was sold.
                return ()
        left = tried.fault_count - len(tried.left_out)
        nemeses = ",".join(tried.nemeses) or "none"
        told = ", ".join(found) or "nothing"
        click.echo(f"  {tried.orders} baskets, {left} faults, nemeses {nemeses}: {told}", err=True)
        return found

    smallest = shrink_sale(sale, checkers, play, SHRINK_RUNS_MAX)
    click.echo(f"The smallest that was seen to fail:\n  {_command(smallest)}", err=True)


def compare_policies(first_seed: int, seeds: int, document: Path | None, *, as_json: bool) -> int:
    """Play the silent feed; write the table into a document where one is named."""
    outcome = prove_feed_pause(first_seed, seeds)
    if document is not None:
        table = write_table(outcome.lines, first_seed, seeds)
        try:
            document.write_text(place_table(document.read_text(encoding="utf-8"), table), encoding="utf-8")
        except ValueError as error:
            raise click.BadParameter(f"{document}: {error}", param_hint="--write") from None
    if as_json:
        show_json(outcome)
    else:
        rows = [
            (
                line.policy, line.oversold, f"{line.oversold_percent} %", line.lost, f"{line.lost_percent} %",
                line.against,
            )
            for line in outcome.lines
        ]  # fmt: skip
        show_table("A silent feed", ("policy", "oversold", "", "lost sales", "", "the buffer that is as safe"), rows)
        click.echo("\n".join(outcome.violations["budget"]) or outcome.verdict)
    return OK if outcome.verdict == "pass" else NOT_HEALTHY


def _show(outcome: SaleOutcome) -> None:
    found = msgspec.structs.asdict(outcome)
    violations = found.pop("violations")
    found.pop("deeds")
    found["faults"] = ", ".join(f"{kind} {count}" for kind, count in outcome.faults.items()) or "none"
    rows = [(name.replace("_", " "), value) for name, value in found.items()]
    rows += [(f"violations: {checker}", "\n".join(lines) or "none") for checker, lines in violations.items()]
    show_table("Proof", ("", ""), rows)
