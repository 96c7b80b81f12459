"""What `make bench-peers` found, as a table and plots in `docs/performance.md`, written between its markers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.peers.plots import Bar, draw_bars
from bench.report import MET, ROOT, UNMET

DOCUMENT = ROOT / "docs" / "performance.md"
PICTURES = ROOT / "docs" / "performance"
BEGIN, END = "<!-- results: written by make bench-peers -->", "<!-- end of results -->"
OURS = ("crossdock", "crossdock_path")
Run = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Goal:
    """`ours` must be at least `times` as fast as `theirs`."""

    ours: str
    theirs: str
    times: float


GOALS: Sequence[Goal] = (
    Goal("crossdock", "dbos", 10), Goal("crossdock", "temporal", 10), Goal("crossdock", "procrastinate", 10),
    Goal("crossdock", "pgqueuer", 5), Goal("crossdock", "absurd", 5), Goal("crossdock", "restate", 2.5),
    Goal("crossdock", "bare", 0.8), Goal("crossdock_path", "restate", 1),
)  # fmt: skip


def keep(run: Run, directory: Path) -> None:
    """The newest run, and all of them."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "peers.json").write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
    with (directory / "peers_history.jsonl").open("a", encoding="utf-8") as history:
        history.write(json.dumps(run) + "\n")


def speed_table(run: Run) -> str:
    """Speed, latency and cost of each engine."""
    titles = (
        "Engine", "Orders/s (runs)", "p50 / p99 at half of it", "Processor ms an order: worker + server",
        "Memory: worker + server", "Log / kept an order",
    )  # fmt: skip
    head = ["| " + " | ".join(titles) + " |", "| --- |" + " ---: |" * (len(titles) - 1)]
    return "\n".join([*head, *(_speed_line(row) for row in _measured(run))])


def _speed_line(row: Mapping[str, Any]) -> str:
    runs = " to ".join(f"{value:,.0f}" for value in sorted(row["runs"]))
    logged = f"{row['logged_kib']:.1f}" if row["logged_kib"] else "in kept"
    return (
        f"| {row['title']} | {row['orders_per_second']:,.0f} ({runs}) | {row['p50_ms']:,.0f} / {row['p99_ms']:,.0f} ms "
        f"| {row['worker_ms']:.2f} + {row['server_ms']:.2f} | {row['worker_mib']:.0f} + {row['server_mib']:.0f} MiB "
        f"| {logged} / {row['kept_kib']:.1f} KiB |"
    )


def kill_table(run: Run) -> str:
    """What SIGKILL did."""
    head = [
        "| Engine | Killed | Acknowledged of handed over | Lost orders | Doubled deliveries | Finished after |",
        "| --- | --- | ---: | ---: | ---: | --- |",
    ]
    lines = [
        _kill_line(row["title"], victim, row[f"kill_{victim}"])
        for row in _measured(run) for victim in ("worker", "server") if f"kill_{victim}" in row
    ]  # fmt: skip
    return "\n".join([*head, *lines])


def _kill_line(title: str, victim: str, found: Mapping[str, Any]) -> str:
    after = f"{found['seconds']:.0f} s"
    if victim == "server" and found["restarted_worker"]:
        after += ", with a new worker"
    if not found.get("finished", True):
        after = f"not within a minute ({found['why']})"
    return (
        f"| {title} | {victim} | {found['acknowledged']:,} of {found['orders']:,} | {found['lost']:,} "
        f"| {found['doubled']:,} of {found['deliveries']:,} | {after} |"
    )


def goal_table(run: Run) -> str:
    """The goals, met or not; by orders a second, and beside it by processor time."""
    found = {row["id"]: row for row in _measured(run)}
    head = ["| Goal | By orders/s | By processor time | |", "| --- | ---: | ---: | --- |"]
    return "\n".join([*head, *(_goal_line(goal, found, run) for goal in GOALS)])


def _goal_line(goal: Goal, found: Mapping[str, Mapping[str, Any]], run: Run) -> str:
    titles = {row["id"]: row["title"] for row in run["engines"]}
    wish = f"{titles.get(goal.ours, goal.ours)} ≥ {goal.times:g} × {titles.get(goal.theirs, goal.theirs)}"
    if goal.ours not in found or goal.theirs not in found:
        return f"| {wish} | | | not run |"
    ours, theirs = found[goal.ours], found[goal.theirs]
    ratio = ours["orders_per_second"] / theirs["orders_per_second"]
    spread = (min(ours["runs"]) / max(theirs["runs"]), max(ours["runs"]) / min(theirs["runs"]))
    cost = _cost(theirs) / _cost(ours)
    met = MET if ratio >= goal.times else UNMET
    return f"| {wish} | {ratio:.2f} ({spread[0]:.2f} to {spread[1]:.2f}) | {cost:.2f} | {met} |"


def _cost(row: Mapping[str, Any]) -> float:
    return float(row["worker_ms"] + row["server_ms"])


def forms(run: Run) -> str:
    """Versions and configuration of each engine, and those that were not run."""
    lines = []
    for row in run["engines"]:
        if row.get("not_run"):
            lines.append(f"- **{row['title']}**: not run: {row['not_run']}")
            continue
        versions = ", ".join(f"{name} {number}" for name, number in row["versions"].items())
        durable = row["durable"].format(postgresql=row["server_version"])
        lines.append(f"- **{row['title']}** ({versions}): {row['form']}. Durable in: {durable}.")
    return "\n".join(lines)


def write_pictures(run: Run, directory: Path) -> dict[str, str]:
    """One picture for each figure that is compared: name -> title."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, (title, key, decimals) in _PICTURES.items():
        bars = []
        for row in _measured(run):
            value = _cost(row) if key is None else float(row[key])
            bars.append(Bar(row["title"], value, f"{value:,.{decimals}f}", row["id"] in OURS))
        (directory / f"{name}.svg").write_text(draw_bars(title, bars), encoding="utf-8")
    return {name: title for name, (title, _, _) in _PICTURES.items()}


# Name: title, field (none: the processor time of both sides), decimals.
_PICTURES: Mapping[str, tuple[str, str | None, int]] = {
    "speed": ("Orders a second (logarithmic)", "orders_per_second", 0),
    "latency": ("p99 at half of the own speed, milliseconds (logarithmic; shorter is better)", "p99_ms", 0),
    "cost": ("Processor milliseconds an order, worker and server (logarithmic; shorter is better)", None, 2),
}


def write_document(run: Run, document: Path = DOCUMENT, pictures: Path = PICTURES) -> None:
    """Replace what stands between the markers."""
    text = document.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise RuntimeError(f"{document.name} has no markers for the results")
    shown = [f"![{title}]({pictures.name}/{name}.svg)" for name, title in write_pictures(run, pictures).items()]
    loads = sorted(row["load_average"] for row in _measured(run))
    place = (
        f"Measured on {run['date']} at commit `{run['commit']}` on {run['hardware']}, in {run['minutes']:.0f} minutes. "
        f"The load average during the runs was {loads[0]} to {loads[-1]}; a run alone makes about 2 by itself."
    )
    parts = [
        place, "### Goals", goal_table(run), "### Speed and cost", speed_table(run), *shown, "### SIGKILL",
        kill_table(run), "### Versions and configuration", forms(run),
    ]  # fmt: skip
    body = "\n\n".join(parts)
    document.write_text(f"{before}{BEGIN}\n\n{body}\n\n{END}{after}", encoding="utf-8")


def _measured(run: Run) -> list[dict[str, Any]]:
    return [row for row in run["engines"] if not row.get("not_run")]
