"""`crossdock prove` at the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from crossdock.cli.main import main


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("CROSSDOCK_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return CliRunner()


def test_scenarios_and_faults_are_listed(command: CliRunner) -> None:
    shown = command.invoke(main, ["prove", "--list"])
    assert shown.exit_code == 0
    assert "order-path" in shown.output
    assert "drop_answer" in shown.output
    assert "(title=" not in shown.output


@pytest.mark.parametrize("wrong", [["--scenario", "nonsense"], ["--faults", "nonsense"]])
def test_what_does_not_exist_is_a_wrong_call(command: CliRunner, wrong: list[str]) -> None:
    assert command.invoke(main, ["prove", *wrong]).exit_code == 2


@pytest.mark.process
def test_a_proof_ends_with_one_object_and_a_report(command: CliRunner, tmp_path: Path) -> None:
    done = command.invoke(main, ["prove", "--seed", "5", "--seeds", "2", "--json", "--report", "proof.html"])
    assert done.exit_code == 0, done.output
    verdict = json.loads(done.stdout)
    assert (verdict["verdict"], verdict["seeds"], verdict["violations"]) == ("pass", 2, {})
    assert verdict["facts_acknowledged"] > 0
    page = (tmp_path / "proof.html").read_text("utf-8")
    assert "<svg" in page
    assert "http" not in page
    assert "Orders by hour" in page
    assert "What went wrong, and when" in page


@pytest.mark.process
def test_a_long_run_that_is_told_to_stop_leaves_no_server_behind(tmp_path: Path) -> None:
    """Runs of hours that were ended left their PostgreSQL running."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CROSSDOCK_")}
    command = [sys.executable, "-m", "crossdock.cli.main", "prove", "--scenario", "order-path", "--seeds", "100000"]
    run = subprocess.Popen(
        command, env={**clean, "CROSSDOCK_HOME": str(tmp_path)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    running = tmp_path / "prove" / "postgres" / "postmaster.pid"
    try:
        ends = time.monotonic() + 60
        # Until its own database is being made, beside the three that every server has.
        while len(list(running.parent.glob("base/[0-9]*"))) <= 3:
            assert run.poll() is None
            assert time.monotonic() < ends
            time.sleep(0.1)
        run.terminate()
        assert run.wait(60) == 128 + signal.SIGTERM
    finally:
        run.kill()
        run.wait()
    assert not running.exists()
