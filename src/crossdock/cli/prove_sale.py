"""`crossdock prove` for stock: `flash-sale` (real processes, one seed) and `feed-pause` (simulated time, many)."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

import click
import msgspec

from crossdock.cli.exits import NOT_HEALTHY, OK
from crossdock.cli.output import show_json, show_table
from crossdock.prove.feed_pause import place_table, prove_feed_pause, write_table
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
    found["faults"] = ", ".join(f"{kind} {count}" for kind, count in outcome.faults.items()) or "none"
    rows = [(name.replace("_", " "), value) for name, value in found.items()]
    rows += [(f"violations: {checker}", "\n".join(lines) or "none") for checker, lines in violations.items()]
    show_table("Proof", ("", ""), rows)
