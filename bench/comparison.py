"""How a run compares with the last release, by what is kept in the history; before the first release, with the newest
earlier commit that was measured.

Only results of the same machine and of full size are compared. More than 1 is better, also where less is wanted of a
figure itself (milliseconds, memory).
"""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.report import ROOT, Result


@dataclass(frozen=True, slots=True)
class Compared:
    """`ratio` of the middles, and how far apart the single runs could lie."""

    ratio: float
    lowest: float
    highest: float
    commit: str

    def __str__(self) -> str:
        return f"{self.ratio:.2f} ({self.lowest:.2f} to {self.highest:.2f})"


def compare(
    fresh: Sequence[Result], history: Sequence[Result], is_earlier: Callable[[str], bool]
) -> dict[str, Compared]:
    """By measure; those with nothing to compare with are left out. `is_earlier` says whether a commit is at or before
    what is compared with."""
    found = {}
    for row in fresh:
        before = _baseline(row, history, is_earlier)
        if before:
            found[row["id"]] = _compared(row, before)
    return found


def _baseline(row: Result, history: Sequence[Result], is_earlier: Callable[[str], bool]) -> list[Result]:
    """All results of the newest commit that counts."""
    alike = [
        entry for entry in history
        if entry["id"] == row["id"] and entry.get("commit") and entry["hardware"] == row["hardware"]
        and entry["unit"] == row["unit"] and entry.get("complete", True) and is_earlier(entry["commit"])
    ]  # fmt: skip
    return [entry for entry in alike if entry["commit"] == alike[-1]["commit"]]


def _compared(row: Result, before: Sequence[Result]) -> Compared:
    ours = _runs(row)
    theirs = [value for entry in before for value in _runs(entry)]
    ratio = statistics.median(ours) / statistics.median(theirs)
    lowest, highest = min(ours) / max(theirs), max(ours) / min(theirs)
    if row.get("below"):
        ratio, lowest, highest = 1 / ratio, 1 / highest, 1 / lowest
    return Compared(ratio, lowest, highest, before[-1]["commit"])


def _runs(row: Result) -> list[float]:
    """The single runs where they were kept. Never 0, which nothing can be a multiple of."""
    return [max(float(value), 1e-9) for value in row.get("runs") or [row["value"]]]


def find_release() -> str | None:
    """The newest tag before the commit that is checked out."""
    return _git("describe", "--tags", "--abbrev=0") or None


def at_or_before(release: str | None) -> Callable[[str], bool]:
    """Commits of the release and before it; without a release, all commits before the one that is checked out."""
    until = release or "HEAD~1"

    known: dict[str, bool] = {}

    def is_earlier(commit: str) -> bool:
        if commit not in known:
            known[commit] = _git("merge-base", "--is-ancestor", commit, until) is not None
        return known[commit]

    return is_earlier


def title(release: str | None, compared: Mapping[str, Compared]) -> str:
    """The heading of the comparison's column."""
    if release:
        return f"Against {release}"
    commits = sorted({item.commit for item in compared.values()})
    return f"No release yet: against {', '.join(commits)}" if commits else "No release yet"


def _git(*arguments: str) -> str | None:
    """What git says; None when it says no, or is not there."""
    try:
        ended = subprocess.run(["git", *arguments], check=False, capture_output=True, text=True, cwd=ROOT)  # noqa: S607
    except FileNotFoundError:
        return None
    return ended.stdout.strip() if ended.returncode == 0 else None
