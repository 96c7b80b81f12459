"""`python -m bench [measure ...]`: every measure, or those named; each as a ratio of runs on the same machine in the
same minutes. `--size 0.1` makes the runs shorter (then no goal counts as met where the size matters).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from pathlib import Path

import asyncpg

from bench.comparison import at_or_before, compare, find_release, title
from bench.measures import MEASURES
from bench.report import RESULTS, Result, keep, read_results, table, versions, write_document
from bench.server import open_server


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("measures", nargs="*", metavar="measure", help=f"any of {', '.join(MEASURES)}")
    parser.add_argument("--size", type=float, default=float(os.environ.get("CROSSDOCK_BENCH_SIZE", "1")))
    parser.add_argument("--results", type=Path, default=RESULTS, help="where latest.jsonl and history.jsonl are kept")
    parser.add_argument("--no-document", action="store_true", help="leave docs/benchmarks.md as it is")
    given = parser.parse_args()
    wanted = given.measures or list(MEASURES)
    unknown = sorted(set(wanted) - set(MEASURES))
    if unknown:
        parser.error(f"There is no measure {unknown[0]}; there are {', '.join(MEASURES)}.")
    order = [name for measure in MEASURES.values() for name in measure.ids]
    left = {name: MEASURES[name].seconds * min(1.0, given.size + 0.2) for name in wanted}
    _say(f"{len(wanted)} measures, about {_minutes(sum(left.values()))}; load average now {os.getloadavg()[0]:.1f}")
    fresh: list[Result] = []
    rows: list[Result] = []
    history = read_results(given.results / "history.jsonl")
    with open_server() as server:
        versions["postgresql"] = asyncio.run(_read_version(server))
        for place, name in enumerate(wanted, 1):
            _say(f"[{place}/{len(wanted)}] {name}: about {_minutes(left[name])} ({_minutes(sum(left.values()))} to go)")
            began = time.monotonic()
            results = MEASURES[name].run(server, given.size)
            del left[name]
            # Kept at once: what comes later may fail.
            rows = keep(results, order, given.results)
            fresh += results
            _say(f"      took {time.monotonic() - began:.0f} s")
    release = find_release()
    compared = compare(fresh, history, at_or_before(release))
    _say(table(fresh, title(release, compared), compared))
    if not given.no_document and given.size >= 1:
        write_document(rows)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


async def _read_version(server: str) -> str:
    connection = await asyncpg.connect(server)
    try:
        return str(await connection.fetchval("SHOW server_version"))
    finally:
        await connection.close()


if __name__ == "__main__":
    main()
