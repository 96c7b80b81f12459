"""`crossdock prove --scenario order-path-real`: real processes, one seed after the other, and what was found."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

import click
import msgspec
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from crossdock.cli.exits import NOT_HEALTHY, OK
from crossdock.cli.output import show_json, show_table
from crossdock.prove.order_path_real import NAME, RealOutcome, RealRun, run_order_path, shrink_run
from crossdock.prove.real_report import write_report

SHRINK_RUNS_MAX: Final = 12


def prove_order_path(run: RealRun, seeds: int, *, shrink: bool, as_json: bool, report: Path | None) -> int:
    """Run the seeds, say what was found, and return the exit code. Logs of failed seeds are kept; the first of them is
    made smaller, by further runs."""
    try:
        outcomes = list(_run_all(run, seeds))
    except* (OSError, RuntimeError, TimeoutError) as errors:
        click.echo(f"The estate did not come up, or could not be kept up: {errors.exceptions[0]}", err=True)
        raise SystemExit(NOT_HEALTHY) from None
    if report is not None:
        report.write_text(write_report(outcomes), encoding="utf-8")
    if as_json:
        show_json(outcomes[0] if seeds == 1 else outcomes)
    else:
        for outcome in outcomes:
            _show(outcome)
    failed = [outcome for outcome in outcomes if outcome.verdict == "fail"]
    if failed and shrink:
        _shrink(msgspec.structs.replace(run, seed=failed[0].seed), failed[0].violations)
    return NOT_HEALTHY if any(outcome.verdict == "fail" for outcome in outcomes) else OK


def _run_all(run: RealRun, seeds: int) -> Iterator[RealOutcome]:
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        for seed in range(run.seed, run.seed + seeds):
            task = progress.add_task(f"Seed {seed}", total=None)
            one = msgspec.structs.replace(run, seed=seed)
            directory, outcome = _run_one(one)
            progress.remove_task(task)
            if outcome.verdict == "pass":
                shutil.rmtree(directory, ignore_errors=True)
            else:
                _explain(one, outcome, directory)
            yield outcome


def _run_one(run: RealRun) -> tuple[Path, RealOutcome]:
    directory = Path(tempfile.mkdtemp(prefix=f"crossdock-proof-{run.seed}-"))
    return directory, asyncio.run(run_order_path(run, directory))


def _explain(run: RealRun, outcome: RealOutcome, directory: Path) -> None:
    for checker, lines in outcome.violations.items():
        click.echo("\n".join(f"{checker}: {line}" for line in lines), err=True)
    click.echo(f"Logs and what the nemeses did are in {directory}. Repeat it:\n  {_command(run)}", err=True)


def _command(run: RealRun) -> str:
    command = f"crossdock prove --scenario {NAME} --seed {run.seed} --seeds 1 --orders {run.orders}"
    return command + f" --minutes {run.seconds / 60:.2f} --faults {','.join(run.nemeses) or 'none'}"


def _shrink(run: RealRun, checkers: Collection[str]) -> None:
    """Leave out nemeses and orders while it still fails; each try is a whole run."""
    click.echo(f"Making it smaller, in at most {SHRINK_RUNS_MAX} runs (--no-shrink leaves that out).", err=True)

    def play(tried: RealRun) -> Collection[str]:
        violations: Collection[str] = ()
        told = "the estate did not come up, which says nothing"
        try:
            directory, outcome = _run_one(tried)
            violations, told = outcome.violations, ", ".join(outcome.violations) or "nothing"
            shutil.rmtree(directory, ignore_errors=True)
        except* (OSError, RuntimeError, TimeoutError):
            violations = ()
        click.echo(f"  {tried.orders} orders, {','.join(tried.nemeses) or 'none'}: {told}", err=True)
        return violations

    smallest = shrink_run(run, checkers, play, SHRINK_RUNS_MAX)
    click.echo(f"The smallest that was seen to fail:\n  {_command(smallest)}", err=True)


def _show(outcome: RealOutcome) -> None:
    found = msgspec.structs.asdict(outcome)
    violations = found.pop("violations")
    found.pop("deeds")
    for name in ("faults", "skipped"):
        found[name] = ", ".join(f"{key} {value}" for key, value in found[name].items()) or "none"
    rows = [(name.replace("_", " "), value) for name, value in found.items()]
    rows += [(f"violations: {checker}", "\n".join(lines)) for checker, lines in violations.items()]
    show_table("Proof", ("", ""), rows)
