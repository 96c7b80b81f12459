"""HTTP intake of 20-line orders through the real API process, by a load generator in a process of its own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from dataclasses import dataclass

import msgspec

from bench.estate import RunningApi, get_token, open_api, prepare_estate
from bench.http_load import LoadPlan, LoadReport
from bench.process_figures import find_postmaster, usage_of, usage_of_postgres


@dataclass(frozen=True, slots=True)
class Shares:
    """What each part used of one core."""

    api: float
    postgres: float
    load: float

    def text(self) -> str:
        cores = os.cpu_count() or 1
        return (
            f"of {cores} cores: API process {self.api:.0%}, PostgreSQL {self.postgres:.0%}, load generator {self.load:.0%} "
            "of one core each"
        )


def run_load(api: RunningApi, postmaster: int, plan: LoadPlan) -> tuple[LoadReport, Shares]:
    """One run of the generator, with what the others used meanwhile."""
    before = (usage_of(api.process.pid).seconds, usage_of_postgres(postmaster) if postmaster else 0.0)
    started = time.perf_counter()
    ended = subprocess.run(
        [sys.executable, "-m", "bench.http_load"], input=msgspec.json.encode(plan), stdout=subprocess.PIPE, check=True,
        timeout=plan.seconds + plan.warm_seconds + 120,
    )  # fmt: skip
    seconds = time.perf_counter() - started
    after = (usage_of(api.process.pid).seconds, usage_of_postgres(postmaster) if postmaster else 0.0)
    report = msgspec.json.decode(ended.stdout, type=LoadReport)
    # The generator makes its requests before it begins; that time is not the run's.
    seconds = min(seconds, plan.seconds + plan.warm_seconds)
    return report, Shares((after[0] - before[0]) / seconds, (after[1] - before[1]) / seconds, report.cpu_share)


if __name__ == "__main__":
    DSN = sys.argv[1]
    RATE, SECONDS = float(sys.argv[2]), float(sys.argv[3])
    asyncio.run(prepare_estate(DSN))
    POSTMASTER = asyncio.run(find_postmaster(DSN))
    with open_api(DSN) as API:
        TOKEN = asyncio.run(get_token(API.url))
        for rate in [RATE]:
            r, s = run_load(API, POSTMASTER, LoadPlan(API.port, TOKEN, f"L{int(rate)}-{time.time():.0f}", rate, SECONDS))
            print(r, s.text(), os.getloadavg())
