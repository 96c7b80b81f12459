"""A million SKUs at two places: a file with all of them, files of days with 1 % changes, everything compared with two
owners' and four channels' files; each by the command `crossdock stock` as a process, with its memory and PostgreSQL's.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.estate import ROOT, estate_environment, place_access
from bench.process_figures import MEGABYTE, find_postmaster, memory_of_postgres, usage_of_postgres
from bench.report import Result, make_result
from bench.server import fresh_database
from bench.statements import load_statements
from bench.stock_estate import CONFIGURATION, SKUS_FULL, STOCK_CHANNELS, fill_stock
from crossdock.ledger.database import open_pool

FULL_SECONDS = 60.0
MEMORY_MB = 500.0
CHANGED_SHARE = 100
# About 1 %: what a file costs whatever is in it (judging it, its own tables) is told apart from the start of a process.
DAY_SHARE = 0.015
FIGURE = 100
# One figure of so many differs, in each file that is compared.
PLANTED = 1000
REPEATS = 3
PLACES = ("BHX", "HAM")
_SQL = load_statements("stock_fill")


@dataclass(frozen=True, slots=True)
class Work:
    """One command: wall seconds, its own processor seconds and PostgreSQL's, the highest memory of both, MB."""

    seconds: float
    processor: float
    served: float
    resident: float
    postgres: float
    answer: Any

    @property
    def cost(self) -> float:
        return self.processor + self.served


@dataclass(frozen=True, slots=True)
class Commands:
    """`crossdock stock ...` on one database."""

    dsn: str
    directory: Path
    postmaster: int

    def load(self, name: str, numbers: Iterable[int], figure: int) -> Work:
        """A file of these SKUs at both places, as of now. Raises RuntimeError when a row is not taken."""
        file = self.directory / f"{name}.csv"
        rows = _write_balances(file, numbers, figure)
        done = self._run(f"{name}, {rows:,} rows", "load", str(file), "--source", "wms")
        file.unlink()
        loaded = done.answer["loaded"]
        if loaded["taken"] != rows or loaded["rejected"]:
            raise RuntimeError(f"not all taken: {loaded}")
        return done

    def compare(self, skus: int) -> Work:
        """Every channel's and both owners' files. Raises RuntimeError when it does not find just what was planted."""
        options = []
        for channel in STOCK_CHANNELS:
            file = self.directory / f"{channel}.csv"
            _write_figures(file, skus, len(PLACES))
            options += ["--channel", f"{channel}={file}"]
        for place in PLACES:
            file = self.directory / f"{place}.csv"
            _write_figures(file, skus, 1)
            options += ["--location", f"{place}={file}"]
        done = self._run(f"comparison, {len(options) // 2 * skus:,} figures", "compare", *options)
        drifted = [sum(cause["count"] for cause in one["causes"].values()) for one in done.answer["comparisons"]]
        if drifted != [skus // PLANTED] * (len(options) // 2):
            raise RuntimeError(f"not what was planted: {done.answer}")
        return done

    def _run(self, name: str, *command: str) -> Work:
        environment = estate_environment(self.dsn, self.directory, CONFIGURATION, {})
        whole = [
            sys.executable,
            "-m",
            "crossdock.cli.main",
            "stock",
            *command,
            "--json",
            "--config",
            str(CONFIGURATION),
        ]
        log = self.directory / "command.log"
        with log.open("wb") as errors, _watching(self.postmaster) as highest:
            served, began = usage_of_postgres(self.postmaster), time.perf_counter()
            process = subprocess.Popen(whole, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors)
            assert process.stdout is not None
            with process.stdout:
                answer = process.stdout.read()
            _, status, used = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - began
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(log.read_text(encoding="utf-8")[-3000:])
        done = Work(
            seconds, used.ru_utime + used.ru_stime, usage_of_postgres(self.postmaster) - served,
            used.ru_maxrss * 1024 / MEGABYTE, highest[0], json.loads(answer),
        )  # fmt: skip
        sys.stdout.write(
            f"  {name}: {seconds:.1f} s, processor {done.processor:.1f} s and PostgreSQL {done.served:.1f} s, "
            f"{done.resident:.0f} MB and PostgreSQL {done.postgres:.0f} MB; load {os.getloadavg()[0]:.1f}\n"
        )
        sys.stdout.flush()
        return done


def measure_stock_million(server: str, size: float) -> list[Result]:
    """Everything, then days of 1 %, then the same file again in which 1 % changed."""
    skus = max(1000, int(SKUS_FULL * size))
    dsn = asyncio.run(fresh_database(server, migrated=False))
    asyncio.run(place_access(dsn, STOCK_CHANNELS))
    asyncio.run(fill_stock(dsn, skus, with_stock=False))
    postmaster = asyncio.run(find_postmaster(dsn))
    with tempfile.TemporaryDirectory(prefix="crossdock-bench-million-") as name:
        commands = Commands(dsn, Path(name), postmaster)
        empty = min(commands.load("start", (number,), 7).cost for number in range(1, REPEATS + 1))
        whole = commands.load("everything", range(1, skus + 1), FIGURE)
        asyncio.run(_tell(dsn))
        compared = commands.compare(skus)
        days = [
            commands.load(f"day {day}", range(day + 1, skus + 1, CHANGED_SHARE), 200 + day) for day in range(REPEATS)
        ]
    day = sorted(one.cost for one in days)[REPEATS // 2]
    complete = skus >= SKUS_FULL
    share = max(day - empty, 0.0) / (whole.cost - empty)
    resident = max(whole.resident, compared.resident, *(one.resident for one in days))
    return [
        make_result(
            "stock_load", f"`crossdock stock load` of a file with {skus:,} SKUs at 2 locations, from its start to its "
            "end: copied, judged and taken, every SKU noted to be counted anew", whole.seconds, "s", FULL_SECONDS,
            whole.seconds / FULL_SECONDS, 1.0, _share(whole), below=True, complete=complete,
            processor_seconds=round(whole.processor, 1), postgres_seconds=round(whole.served, 1),
        ),
        make_result(
            "stock_compare", f"`crossdock stock compare` of the files of 4 channels and 2 owners with {skus:,} SKUs "
            f"each; {skus // PLANTED:,} planted differences in each, all found and none else", compared.seconds, "s",
            FULL_SECONDS, compared.seconds / FULL_SECONDS, 1.0, _share(compared), below=True, complete=complete,
            processor_seconds=round(compared.processor, 1), postgres_seconds=round(compared.served, 1),
        ),
        make_result(
            "stock_memory", f"highest resident memory of these processes (PostgreSQL, with its shared buffers: "
            f"{max(whole.postgres, compared.postgres):.0f} MB)", resident, "MB", MEMORY_MB, resident / MEMORY_MB, 1.0,
            "nothing", below=True, complete=complete, postgres_mb=round(max(whole.postgres, compared.postgres)),
        ),
        make_result(
            "stock_day", "processor time, ours and PostgreSQL's, for a day's file, 1 % of the SKUs, against "
            f"everything; less the start of the process ({empty:.1f} s); median of {REPEATS}", day - empty, "s",
            whole.cost - empty, share, DAY_SHARE, _share(days[0]), below=True, complete=complete,
            runs=[round(one.cost - empty, 2) for one in days], seconds=[round(one.seconds, 2) for one in days],
        ),
    ]  # fmt: skip


def _share(work: Work) -> str:
    return (
        f"of {os.cpu_count()} cores our process used {work.processor / work.seconds:.2f}, PostgreSQL "
        f"{work.served / work.seconds:.2f} ({work.processor:.1f} and {work.served:.1f} s of processor time)"
    )


async def _tell(dsn: str) -> None:
    pool = await open_pool(dsn, size=1)
    try:
        for channel in STOCK_CHANNELS:
            await pool.execute(_SQL["told"], channel, timeout=600)
        await pool.execute(_SQL["settle_told"], timeout=600)
    finally:
        pool.terminate()


def _write_figures(file: Path, skus: int, places: int) -> None:
    with file.open("w", encoding="utf-8") as out:
        out.write("sku,quantity\n")
        for number in range(1, skus + 1):
            figure = (FIGURE + number % 100) * places + (number % PLANTED == 0)
            out.write(f"SKU-{number},{figure}\n")


def _write_balances(file: Path, numbers: Iterable[int], figure: int) -> int:
    """SKUs as they come; the figures of a later file differ from those of an earlier one."""
    as_of = datetime.now(UTC).isoformat()
    count = 0
    with file.open("w", encoding="utf-8") as out:
        out.write("sku,location,on_hand,unit,as_of\n")
        for number in numbers:
            for place in PLACES:
                out.write(f"SKU-{number},{place},{figure + number % 100},C62,{as_of}\n")
                count += 1
    return count


@contextmanager
def _watching(postmaster: int) -> Iterator[list[float]]:
    """The highest memory of PostgreSQL meanwhile, MB, looked at twice a second; 0 when it runs elsewhere."""
    highest = [0.0]
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.5):
            highest[0] = max(highest[0], memory_of_postgres(postmaster) / MEGABYTE)

    watcher = threading.Thread(target=look, daemon=True)
    if postmaster:
        watcher.start()
    try:
        yield highest
    finally:
        ended.set()
        if postmaster:
            watcher.join()
