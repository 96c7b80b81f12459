"""`crossdock prove` in simulated time: seeds one after the other, what was found, and how to repeat it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from crossdock.cli.exits import NOT_HEALTHY, OK
from crossdock.cli.output import show_json, show_table
from crossdock.kit.masking import printable
from crossdock.prove.faults import Plan, count_by_kind
from crossdock.prove.report import write_report
from crossdock.prove.rig import Outcome, Rig
from crossdock.prove.verdict import Verdict, append_verdict, count_facts, next_seed, sum_up

KEPT_SECONDS: Final = 30.0
"""So often a run that keeps its results writes down how far it came: what is ended in between loses no more."""


@dataclass(frozen=True, slots=True)
class SimulatedRun:
    """What the command line asks for. `plan` in place of the drawn one; `size` orders a seed; `facts` to come to."""

    scenario: str
    seed: int
    seeds: int
    wanted: frozenset[str]
    minutes: float | None = None
    facts: int | None = None
    size: int | None = None
    plan: Plan | None = None
    results: Path | None = None
    report: Path | None = None
    as_json: bool = False


def prove_simulated(asked: SimulatedRun, dsn: str) -> int:
    """Play the seeds, say what was found, and return the exit code."""
    started = time.monotonic()
    rig = Rig(dsn)
    try:
        outcomes = list(_play_all(rig, asked))
        smallest = [rig.shrink(outcome) for outcome in outcomes if outcome.violations][:1]
    finally:
        rig.close()
    verdict = sum_up(asked.scenario, outcomes, round(time.monotonic() - started, 1), asked.size)
    if asked.report is not None:
        asked.report.write_text(write_report(verdict, outcomes), encoding="utf-8")
    for outcome in smallest:
        _explain(outcome)
    if asked.as_json:
        show_json(verdict)
    else:
        _show(verdict)
    return OK if verdict.verdict == "pass" else NOT_HEALTHY


def _play_all(rig: Rig, asked: SimulatedRun) -> Iterator[Outcome]:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    kept: list[Outcome] = []
    kept_at = time.monotonic()
    facts: list[int] = []
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("Seeds", total=None if asked.minutes or asked.facts else asked.seeds)
        try:
            for seed in _seeds(asked, facts):
                outcome, _ = rig.play(seed, asked.wanted, asked.plan, asked.scenario, asked.size)
                progress.advance(task)
                kept.append(outcome)
                facts.append(outcome.facts)
                if asked.results is not None and time.monotonic() - kept_at >= KEPT_SECONDS:
                    _keep(asked, kept, time.monotonic() - kept_at)
                    kept_at = time.monotonic()
                yield outcome if outcome.violations or asked.report is not None else _without_details(outcome)
        finally:
            _keep(asked, kept, time.monotonic() - kept_at)


def _without_details(outcome: Outcome) -> Outcome:
    """What a long run keeps of a seed in which nothing was found."""
    return msgspec.structs.replace(outcome, figures=None, plan=Plan())


def _keep(asked: SimulatedRun, outcomes: list[Outcome], seconds: float) -> None:
    if asked.results is not None and outcomes:
        append_verdict(asked.results, sum_up(asked.scenario, outcomes, round(seconds, 1), asked.size))
        outcomes.clear()


def _seeds(asked: SimulatedRun, facts: Sequence[int]) -> Iterator[int]:
    """The seeds to play: one for a given plan, else a number of them, or until the time or the facts are reached."""
    if asked.plan is not None:
        yield asked.seed
        return
    seed, missing = asked.seed, asked.facts
    if asked.results is not None:
        seed = next_seed(asked.results, asked.scenario, seed, asked.size)
        missing = missing and missing - count_facts(asked.results, asked.scenario, asked.size)
    ends = time.monotonic() + asked.minutes * 60 if asked.minutes is not None else None
    is_counted = ends is None and missing is None
    while ends is None or time.monotonic() < ends:
        if (missing is not None and sum(facts) >= missing) or (is_counted and len(facts) >= asked.seeds):
            return
        yield seed + len(facts)


def _explain(outcome: Outcome) -> None:
    """What was found, with the smallest plan that still shows it, and the command that repeats it."""
    path = Path(f"proof-{outcome.scenario}-{outcome.seed}.json")
    path.write_bytes(msgspec.json.format(msgspec.json.encode(outcome.plan), indent=2))
    for violation in outcome.violations:
        click.echo(printable(f"{violation.checker}: {violation.subject} {violation.message}"), err=True)
    left = ", ".join(f"{count} {kind}" for kind, count in count_by_kind(outcome.plan.faults).items()) or "no faults"
    click.echo(f"It still fails with {left}, {len(outcome.plan.without_orders)} orders left out. Repeat it:", err=True)
    size = f" --orders {outcome.size}" if outcome.size else ""
    click.echo(f"  crossdock prove --scenario {outcome.scenario} --seed {outcome.seed}{size} --plan {path}", err=True)


def _show(verdict: Verdict) -> None:
    rows: Sequence[tuple[str, object]] = (
        ("scenario", verdict.scenario), ("seeds", f"{verdict.seeds} from {verdict.first_seed}"),
        ("orders a seed", verdict.size or "as the scenario says"),
        ("facts acknowledged", verdict.facts_acknowledged), ("faults", _told(verdict.faults)),
        ("violations", _told(verdict.violations) or "none"),
        ("failing seeds", ", ".join(map(str, verdict.failing_seeds)) or "none"),
        ("seconds", verdict.seconds), ("simulated seconds", verdict.simulated_seconds), ("verdict", verdict.verdict),
    )  # fmt: skip
    show_table("Proof", ("", ""), rows)


def _told(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in Counter(counts).most_common())
