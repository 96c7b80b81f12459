"""`python -m bench.peers [engine ...]`: the same saga on every engine, or those named, in turn on this machine.

`--size 0.1` makes each part shorter. The document is written when all engines were asked for at full size.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.peers.engines import ENGINES, EngineKind
from bench.peers.installation import NotInstalledError
from bench.peers.measuring import measure
from bench.peers.report import goal_table, keep, kill_table, speed_table, write_document
from bench.peers.running import RunnerEndedError
from bench.report import RESULTS, hardware, read_commit
from bench.world import make_arrivals

SECONDS_EACH = 60


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    parser.add_argument("engines", nargs="*", metavar="engine", help=f"any of {', '.join(ENGINES)}")
    parser.add_argument("--size", type=float, default=1.0)
    parser.add_argument("--results", type=Path, default=RESULTS, help="where peers.json is kept")
    parser.add_argument("--no-document", action="store_true", help="leave docs/performance.md as it is")
    given = parser.parse_args()
    wanted = given.engines or list(ENGINES)
    unknown = sorted(set(wanted) - set(ENGINES))
    if unknown:
        parser.error(f"There is no engine {unknown[0]}; there are {', '.join(ENGINES)}.")
    # So that runners and servers are ended too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    _say(f"{len(wanted)} engines, about {len(wanted) * SECONDS_EACH * min(1.0, given.size + 0.3) / 60:.0f} min")
    began = time.monotonic()
    rows = [_run(name, place, len(wanted), given.size) for place, name in enumerate(wanted, 1)]
    run = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"), "commit": read_commit(), "hardware": hardware(),
        "size": given.size, "minutes": (time.monotonic() - began) / 60,
        "engines": rows,
    }  # fmt: skip
    keep(run, given.results)
    _say("\n\n".join(["", speed_table(run), kill_table(run), goal_table(run)]))
    if not given.no_document and given.size >= 1 and not given.engines:
        write_document(run)


def _run(name: str, place: int, count: int, size: float) -> dict[str, Any]:
    kind = ENGINES[name]
    _say(f"[{place}/{count}] {kind.title}")
    began = time.monotonic()
    row = {"id": name, "title": kind.title, "form": kind.form, "durable": kind.durable}
    try:
        interpreter = kind.install()
    except NotInstalledError as reason:
        _say(f"      not installed: {reason}")
        return row | {"not_run": f"not installed: {reason}"}
    try:
        row |= {"versions": kind.versions()} | _measured(kind, interpreter, size)
    except (RunnerEndedError, RuntimeError, OSError) as reason:
        _say(f"      not run: {reason}")
        return row | {"not_run": str(reason)}
    _say(f"      {row['orders_per_second']:,.0f} orders/s; took {time.monotonic() - began:.0f} s")
    return row


def _measured(kind: EngineKind, interpreter: str, size: float) -> dict[str, Any]:
    body = make_arrivals(0, 1)[0].raw.decode()
    with tempfile.TemporaryDirectory(prefix="crossdock-peers-", ignore_cleanup_errors=True) as directory:
        # PostgreSQL's own user must pass through.
        Path(directory).chmod(0o755)
        return measure(kind, interpreter, Path(directory) / "run", body, size)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
