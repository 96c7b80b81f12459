"""The measures of stock run, at their shortest: a change breaks them here first. Their figures say nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.test_bench import bench, read_lines

pytestmark = [pytest.mark.process, pytest.mark.slow]


@pytest.mark.parametrize(("measure", "ids"), [
    ("stock_million", ["stock_load", "stock_compare", "stock_memory", "stock_day"]),
    ("hot_sku", ["hot_sku"]),
    ("hot_orders", ["hot_orders"]),
    ("stock_sync", ["stock_sync"]),
    ("availability", ["availability"]),
])  # fmt: skip
def test_each_measure_of_stock_runs_alone(measure: str, ids: list[str], postgres_url: str, tmp_path: Path) -> None:
    ended = bench(tmp_path, postgres_url, measure, "--size", "0.01")
    assert ended.returncode == 0, ended.stderr
    latest = read_lines(tmp_path / "latest.jsonl")
    assert [row["id"] for row in latest] == ids
    assert all(row["value"] >= 0 and row["saturated_by"] for row in latest)
