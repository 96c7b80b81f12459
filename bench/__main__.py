"""`python -m bench`: every measure, each as a ratio of runs that alternate on the same machine in the same minutes.

`CROSSDOCK_BENCH_SIZE` scales the runs (1.0 by default), `CROSSDOCK_BENCH_ONLY` names one measure.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import asyncpg

from bench.server import fresh_database, open_server

RESULTS = Path(__file__).parent / "results" / "latest.jsonl"
REPEATS = 3
SIZE = float(os.environ.get("CROSSDOCK_BENCH_SIZE", "1"))
ONLY = os.environ.get("CROSSDOCK_BENCH_ONLY", "")


def run(server: str, measure: str, size: int, *, migrated: bool = True) -> dict[str, float]:
    """One run in a fresh process on a fresh database."""
    dsn = asyncio.run(fresh_database(server, migrated=migrated))
    command = [sys.executable, "-m", "bench.run_one", measure, dsn, str(max(1, int(size * SIZE)))]
    ended = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=300)
    figures: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    sys.stdout.write(f"  {measure}: {json.dumps(figures)}, load {os.getloadavg()[0]:.1f}\n")
    sys.stdout.flush()
    return figures


def order_path(server: str) -> list[dict[str, Any]]:
    """Ours and the bare saga in turn."""
    bare, ours = [], []
    for _ in range(REPEATS):
        bare.append(run(server, "bare_saga", 3000, migrated=False))
        ours.append(run(server, "order_path", 1500))
    value, baseline = _median(ours, "value"), _median(bare, "value")
    ratios = sorted(mine["value"] / theirs["value"] for mine, theirs in zip(ours, bare, strict=True))
    share = _median(ours, "cpu_share")
    return [_result(
        "order_path", "whole order path of 5-line orders against a bare set-based saga, one process each, fsync on",
        value, "orders/s", baseline, ratios[len(ratios) // 2], 0.35,
        f"PostgreSQL and the shared processor: our process used {share:.0%} of one core and waited otherwise",
        runs=[round(item["value"]) for item in ours], baseline_runs=[round(item["value"]) for item in bare],
    )]  # fmt: skip


def drain(server: str) -> list[dict[str, Any]]:
    ratios = [run(server, "drain", 400)["value"] for _ in range(REPEATS)]
    ratio = statistics.median(ratios)
    return [_result(
        "drain", "drain rate after an outage against the ERP's own rate (an in-process ERP of 100 orders/s)",
        100 * ratio, "orders/s", 100.0, ratio, 0.95, "the ERP", runs=[round(item, 3) for item in ratios],
    )]  # fmt: skip


def finished_orders(server: str) -> list[dict[str, Any]]:
    figures = run(server, "finished_orders", 100_000)
    held = int(100_000 * SIZE)
    slowest = figures["slowest_list_ms"]
    return [
        _result(
            "finished_orders_1m", f"order path with {held:,} finished orders in the ledger against an empty one "
            "(fewer than the goal's 1,000,000)", figures["value"], "orders/s", figures["empty"],
            figures["value"] / figures["empty"], 0.9, "see order_path", complete=held >= 1_000_000,
        ),
        _result(
            "finished_orders_lists", f"slowest of the console's and API's order lists with {held:,} finished orders",
            slowest, "ms", 150.0, slowest / 150, 1.0, "PostgreSQL", below=True, complete=held >= 1_000_000,
        ),
    ]  # fmt: skip


MEASURES = {"order_path": order_path, "drain": drain, "finished_orders": finished_orders}


def _median(runs: list[dict[str, float]], name: str) -> float:
    return statistics.median(item.get(name, 0.0) for item in runs)


def _result(
    name: str, what: str, value: float, unit: str, baseline: float, ratio: float, goal: float | None,
    saturated_by: str, *, below: bool = False, complete: bool = True, **more: Any,
) -> dict[str, Any]:  # fmt: skip
    reached = goal is not None and (ratio <= goal if below else ratio >= goal)
    return {
        "id": name, "what": what, "value": round(value, 2), "unit": unit, "baseline": round(baseline, 2),
        "ratio": round(ratio, 3), "goal": goal, "met": None if goal is None else reached and complete,
        "hardware": _hardware(), "versions": _versions, "saturated_by": saturated_by,
        "load_average": round(os.getloadavg()[0], 1), **more,
    }  # fmt: skip


def _hardware() -> str:
    kinds = {line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
             if line.startswith("model name")}  # fmt: skip
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores ({', '.join(sorted(kinds)) or platform.machine()}), {memory:.0f} GiB"


async def _read_version(server: str) -> str:
    connection = await asyncpg.connect(server)
    try:
        return str(await connection.fetchval("SHOW server_version"))
    finally:
        await connection.close()


_versions: dict[str, str] = {"python": platform.python_version()}
_versions.update({name: version(name) for name in ("asyncpg", "msgspec", "uvloop")})


def main() -> None:
    results: list[dict[str, Any]] = []
    kept: list[dict[str, Any]] = []
    if ONLY and RESULTS.exists():
        kept = [json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines()]
    with open_server() as server:
        _versions["postgresql"] = asyncio.run(_read_version(server))
        for name, measure in MEASURES.items():
            if ONLY in ("", name):
                sys.stdout.write(f"{name}\n")
                results.extend(measure(server))
                RESULTS.parent.mkdir(exist_ok=True)
                fresh = {row["id"] for row in results}
                rows = [row for row in kept if row["id"] not in fresh] + results
                RESULTS.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for row in results:
        met = {True: "met", False: "NOT MET", None: "no goal"}[row["met"]]
        sys.stdout.write(
            f"{row['id']}: {row['value']} {row['unit']}, ratio {row['ratio']} (goal {row['goal']}): {met}\n"
        )


if __name__ == "__main__":
    main()
