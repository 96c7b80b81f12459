"""Results: one object a measure in `results/latest.jsonl`, every run in `results/history.jsonl`, and the table in
`docs/benchmarks.md`, which is written between its markers and never by hand.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

Result = dict[str, Any]
ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
DOCUMENT = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- results: written by python -m bench -->", "<!-- end of results -->"
LIBRARIES = ("asyncpg", "msgspec", "uvloop", "granian", "litestar", "aiohttp")
UNMET, MET, NO_GOAL, NOT_SHOWN = "**not met**", "met", "no goal", "**not shown**"


def make_result(
    name: str, what: str, value: float, unit: str, baseline: float, ratio: float, goal: float | None,
    saturated_by: str, *, below: bool = False, complete: bool = True, **more: Any,
) -> Result:  # fmt: skip
    """`ratio` is compared with `goal`: it must reach it, or with `below` not exceed it. A run that was not `complete`
    (smaller than the goal says, or with errors) never meets it."""
    reached = goal is not None and (ratio <= goal if below else ratio >= goal)
    return {
        "id": name, "what": what, "value": round(value, 2), "unit": unit, "baseline": round(baseline, 2),
        "ratio": round(ratio, 3), "goal": goal, "met": None if goal is None else reached and complete,
        "hardware": hardware(), "versions": dict(versions), "saturated_by": saturated_by, "below": below,
        "complete": complete,
        "load_average": round(os.getloadavg()[0], 1), **more,
    }  # fmt: skip


def hardware() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    kinds = {line.partition(":")[2].strip() for line in lines if line.startswith("model name")}
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores ({', '.join(sorted(kinds)) or platform.machine()}), {memory:.0f} GiB"


versions: dict[str, str] = {"python": platform.python_version()}
versions.update({name: version(name) for name in LIBRARIES})


def keep(results: Sequence[Result], order: Sequence[str], directory: Path = RESULTS) -> list[Result]:
    """Put `results` into the latest ones, in the order of the measures, and append them to the history."""
    directory.mkdir(parents=True, exist_ok=True)
    latest = directory / "latest.jsonl"
    rows = {row["id"]: row for row in read_results(latest)}
    rows.update({row["id"]: row for row in results})
    ranked = sorted(rows.values(), key=lambda row: order.index(row["id"]) if row["id"] in order else len(order))
    latest.write_text("".join(json.dumps(row) + "\n" for row in ranked), encoding="utf-8")
    commit, now = read_commit(), datetime.now(UTC).isoformat(timespec="seconds")
    with (directory / "history.jsonl").open("a", encoding="utf-8") as history:
        history.writelines(json.dumps({"commit": commit, "date": now, **row}) + "\n" for row in results)
    return ranked


def read_results(file: Path) -> list[Result]:
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def table(rows: Sequence[Result], last: str = "", compared: Mapping[str, object] | None = None) -> str:
    """The results as a Markdown table; with a column `last` that says how each compares with an earlier one."""
    head = ["| Measure | Result | Baseline | Ratio | Goal | | Load |", "| --- | --- | --- | --- | --- | --- | --- |"]
    lines = [_line(row) for row in rows]
    if last:
        head = [f"{head[0]} {last} |", f"{head[1]} --- |"]
        found = compared or {}
        lines = [f"{line} {found.get(row['id'], '')} |" for line, row in zip(lines, rows, strict=True)]
    return "\n".join([*head, *lines])


def _line(row: Result) -> str:
    met = {True: MET, False: UNMET, None: NO_GOAL}[row["met"]]
    if not row.get("complete", True):
        met = NOT_SHOWN
    goal = "" if row["goal"] is None else f"{'≤' if row.get('below') else '≥'} {row['goal']:g}"
    unit = row["unit"]
    figures = f"{row['value']:,} {unit} | {row['baseline']:,} {unit} | {row['ratio']:g}"
    return f"| `{row['id']}` | {figures} | {goal} | {met} | {row['load_average']} |"


def write_document(rows: Sequence[Result]) -> None:
    """Replace what stands between the markers."""
    text = DOCUMENT.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise RuntimeError(f"{DOCUMENT.name} has no markers for the results")
    loads = sorted(row["load_average"] for row in rows)
    place = (
        f"Measured on {rows[0]['hardware']}, with PostgreSQL {rows[0]['versions'].get('postgresql', '?')} and Python "
        f"{rows[0]['versions']['python']}. The load average during the runs was {loads[0]} to {loads[-1]}; a run alone "
        "makes about 2 by itself."
    )
    lines = [
        place, "", table(rows), "", "What saturated:", "",
        *(f"- `{row['id']}`: {row['saturated_by']}" for row in rows),
    ]  # fmt: skip
    body = "\n".join(lines)
    DOCUMENT.write_text(f"{before}{BEGIN}\n\n{body}\n\n{END}{after}", encoding="utf-8")


def read_commit() -> str:
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],  # noqa: S607 - git is found by its name
        check=False, capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    return found.stdout.strip()
