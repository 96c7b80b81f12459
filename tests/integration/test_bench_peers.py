"""`make bench-peers` at its smallest: two engines, speed and SIGKILL, and the document written from what it found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from bench.peers.report import BEGIN, END, forms, write_document

ROOT = Path(__file__).parent.parent.parent

pytestmark = [pytest.mark.process, pytest.mark.slow]


def run_peers(results: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench.peers", *arguments, "--size", "0.02", "--results", str(results)]
    return subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=ROOT, timeout=600, env={**os.environ, **environment}
    )


def test_the_same_saga_on_two_engines_and_what_kills_do_to_it(tmp_path: Path) -> None:
    document = ROOT / "docs" / "performance.md"
    before = document.read_text(encoding="utf-8")
    ended = run_peers(tmp_path, "bare", "crossdock")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert document.read_text(encoding="utf-8") == before, "a short run of some engines must not be published"
    run = json.loads((tmp_path / "peers.json").read_text(encoding="utf-8"))
    bare, ours = run["engines"]
    for engine in (bare, ours):
        assert not engine.get("not_run"), engine
        assert engine["orders_per_second"] > 0
        assert 0 < engine["p50_ms"] <= engine["p99_ms"]
        assert engine["worker_ms"] > 0
        assert engine["server_ms"] > 0
        for victim in ("kill_worker", "kill_server"):
            killed = engine[victim]
            assert killed.get("finished", True), killed
            assert killed["lost"] == 0
            assert killed["acknowledged"] == killed["orders"]
    assert ours["kill_worker"]["doubled"] == 0, "steps in doubt were asked about before they were sent again"
    assert ours["kill_server"]["doubled"] == 0
    assert len((tmp_path / "peers_history.jsonl").read_text(encoding="utf-8").splitlines()) == 1
    check_document(run, tmp_path)


def check_document(run: dict[str, object], folder: Path) -> None:
    """Everything between the markers comes from the results, and nothing else is touched."""
    document = folder / "performance.md"
    document.write_text(f"Before.\n\n{BEGIN}\nold\n{END}\nAfter.\n", encoding="utf-8")
    write_document(run, document, folder / "pictures")
    text = document.read_text(encoding="utf-8")
    assert text.startswith("Before.\n")
    assert text.endswith("After.\n")
    assert "old" not in text
    assert "| bare PostgreSQL |" in text
    assert "0.8 × bare PostgreSQL" in text
    assert "10 × dbos | | | not run |" in text
    for name in ("speed", "latency", "cost"):
        assert f"](pictures/{name}.svg)" in text
        assert "bare PostgreSQL" in (folder / "pictures" / f"{name}.svg").read_text(encoding="utf-8")


def test_an_engine_that_cannot_be_installed_is_listed_with_the_reason(tmp_path: Path) -> None:
    nowhere = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull}
    ended = run_peers(tmp_path, "absurd", CROSSDOCK_HOME=str(tmp_path / "home"), **nowhere)
    assert ended.returncode == 0, ended.stderr
    run = json.loads((tmp_path / "peers.json").read_text(encoding="utf-8"))
    assert run["engines"][0]["not_run"].startswith("not installed: ")
    assert "- **absurd**: not run: not installed: " in forms(run)


def test_an_unknown_engine_is_named(tmp_path: Path) -> None:
    ended = run_peers(tmp_path, "kafka")
    assert ended.returncode == 2
    assert "There is no engine kafka" in ended.stderr
