"""`crossdock prove --scenario flash-sale`: real processes, one seed; the logs are kept when it fails."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

import click
import msgspec

from crossdock.cli.exits import NOT_HEALTHY, OK
from crossdock.cli.output import show_json, show_table
from crossdock.prove.flash_sale import SaleOutcome, run_flash_sale
from crossdock.prove.sale_world import Sale


def prove_flash_sale(sale: Sale, dsn: str, *, as_json: bool) -> int:
    """Run it, say what was found, and return the exit code."""
    directory = Path(tempfile.mkdtemp(prefix="crossdock-sale-"))
    try:
        outcome = asyncio.run(run_flash_sale(sale, dsn, directory))
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
    command = f"crossdock prove --scenario flash-sale --seed {sale.seed} --policy {sale.policy}"
    command += f" --skus {sale.skus} --orders {sale.orders} --buffer {sale.buffer} --faults {','.join(sale.faults)}"
    click.echo(f"The logs are in {directory}. Repeat it:\n  {command}", err=True)
    return NOT_HEALTHY


def _show(outcome: SaleOutcome) -> None:
    found = msgspec.structs.asdict(outcome)
    violations = found.pop("violations")
    found["faults"] = ", ".join(f"{kind} {count}" for kind, count in outcome.faults.items()) or "none"
    rows = [(name.replace("_", " "), value) for name, value in found.items()]
    rows += [(f"violations: {checker}", "\n".join(lines) or "none") for checker, lines in violations.items()]
    show_table("Proof", ("", ""), rows)
