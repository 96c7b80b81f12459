"""The measures of stock run, at their shortest: a change breaks them here first. Their figures say nothing.

They take minutes together, so the suite runs one; CROSSDOCK_TEST_MEASURES=all runs every one.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.integration.test_bench import bench, read_lines

pytestmark = [pytest.mark.process, pytest.mark.slow]
MEASURES = [
    ("hot_sku", ["hot_sku"]),
    ("stock_million", ["stock_load", "stock_compare", "stock_memory", "stock_day"]),
    ("hot_orders", ["hot_orders"]),
    ("stock_sync", ["stock_sync"]),
    ("availability", ["availability"]),
]
CHOSEN = MEASURES if os.environ.get("CROSSDOCK_TEST_MEASURES") == "all" else MEASURES[:1]


@pytest.mark.parametrize(("measure", "ids"), CHOSEN)
def test_each_measure_of_stock_runs_alone(measure: str, ids: list[str], postgres_url: str, tmp_path: Path) -> None:
    ended = bench(tmp_path, postgres_url, measure, "--size", "0.01")
    assert ended.returncode == 0, ended.stderr
    latest = read_lines(tmp_path / "latest.jsonl")
    assert [row["id"] for row in latest] == ids
    assert all(row["value"] >= 0 and row["saturated_by"] for row in latest)
