"""The one object that a proof ends with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from crossdock.prove.rig import Outcome


class Verdict(msgspec.Struct, frozen=True):
    """`failing_seeds` has the first of them; `violations` counts all by checker. `size`: how many orders each seed had,
    where somebody said so."""

    scenario: str
    first_seed: int
    seeds: int
    facts_acknowledged: int
    faults: dict[str, int]
    violations: dict[str, int]
    failing_seeds: tuple[int, ...]
    seconds: float
    simulated_seconds: float
    verdict: Literal["pass", "fail"]
    size: int | None = None


def sum_up(scenario: str, outcomes: Sequence[Outcome], seconds: float, size: int | None = None) -> Verdict:
    faults: Counter[str] = Counter()
    violations: Counter[str] = Counter()
    for outcome in outcomes:
        faults.update(outcome.faults)
        violations.update(violation.checker for violation in outcome.violations)
    failing = tuple(outcome.seed for outcome in outcomes if outcome.violations)
    return Verdict(
        scenario, outcomes[0].seed if outcomes else 0, len(outcomes), sum(outcome.facts for outcome in outcomes),
        dict(sorted(faults.items())), dict(sorted(violations.items())), failing[:20], seconds,
        round(sum(outcome.simulated_seconds for outcome in outcomes), 1), "fail" if failing else "pass",
        size,
    )  # fmt: skip


def append_verdict(results: Path, verdict: Verdict) -> None:
    """Keep a verdict: one line each, oldest first."""
    with results.open("ab") as lines:
        lines.write(msgspec.json.encode(verdict) + b"\n")


def next_seed(results: Path, scenario: str, first: int, size: int | None = None) -> int:
    """The first seed from `first` on that no run in the file has played: of a scenario, with so many orders."""
    for played in sorted(_read(results, scenario, size), key=lambda item: item.first_seed):
        if played.first_seed <= first:
            first = max(first, played.first_seed + played.seeds)
    return first


def count_facts(results: Path, scenario: str, size: int | None = None) -> int:
    """How many facts all runs in the file have acknowledged: of a scenario, with so many orders a seed."""
    return sum(item.facts_acknowledged for item in _read(results, scenario, size))


def _read(results: Path, scenario: str, size: int | None) -> list[Verdict]:
    if not results.exists():
        return []
    kept = [msgspec.json.decode(line, type=Verdict) for line in results.read_bytes().splitlines() if line]
    return [item for item in kept if item.scenario == scenario and item.size == size]
