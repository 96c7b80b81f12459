"""`python -m bench` measures, says what it found, and keeps it. Shortest sizes: a change breaks it here first."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent
FIELDS = {
    "id", "what", "value", "unit", "baseline", "ratio", "goal", "met", "hardware", "versions", "saturated_by",
}  # fmt: skip

pytestmark = [pytest.mark.process, pytest.mark.slow]


def bench(results: Path, server: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it as `make bench` does, on the tests' own PostgreSQL."""
    command = [sys.executable, "-m", "bench", *arguments, "--no-document", "--results", str(results)]
    environment = {**os.environ, "CROSSDOCK_BENCH_DATABASE_URL": server}
    return subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=600)


def read_lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_each_measure_runs_alone_and_keeps_the_others(postgres_url: str, tmp_path: Path) -> None:
    ended = bench(tmp_path, postgres_url, "order_path", "--size", "0.02")
    assert ended.returncode == 0, ended.stderr
    assert "order_path: about" in ended.stdout
    ended = bench(tmp_path, postgres_url, "http_intake_waiting", "--size", "0.001")
    assert ended.returncode == 0, ended.stderr
    assert "**not shown**" in ended.stdout
    latest = read_lines(tmp_path / "latest.jsonl")
    assert [row["id"] for row in latest] == ["order_path", "http_intake_waiting"]
    for row in latest:
        assert row.keys() >= FIELDS
        assert row["value"] > 0
        assert row["baseline"] > 0
    assert not latest[1]["met"]
    history = read_lines(tmp_path / "history.jsonl")
    assert [row["id"] for row in history] == ["order_path", "http_intake_waiting"]
    assert all(row["date"] for row in history)


def test_an_unknown_measure_is_named(tmp_path: Path, postgres_url: str) -> None:
    ended = bench(tmp_path, postgres_url, "speed")
    assert ended.returncode == 2
    assert "There is no measure speed" in ended.stderr
