"""The one object that a proof ends with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from crossdock.prove.rig import Outcome


class Verdict(msgspec.Struct, frozen=True):
    """`failing_seeds` has the first of them; `violations` counts all by checker."""

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


def sum_up(scenario: str, outcomes: Sequence[Outcome], seconds: float) -> Verdict:
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
    )  # fmt: skip


def append_verdict(results: Path, verdict: Verdict) -> None:
    """Keep a verdict: one line each, oldest first."""
    with results.open("ab") as lines:
        lines.write(msgspec.json.encode(verdict) + b"\n")


def next_seed(results: Path, scenario: str, first: int) -> int:
    """The first seed of a scenario that no earlier run in the file has played."""
    if not results.exists():
        return first
    kept = [msgspec.json.decode(line, type=Verdict) for line in results.read_bytes().splitlines() if line]
    return max([first, *(item.first_seed + item.seeds for item in kept if item.scenario == scenario)])
