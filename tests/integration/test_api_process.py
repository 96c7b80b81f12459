"""The API as a process of its own: it is seen, its log is lines of JSON, and it says goodbye."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from crossdock.cli.demo import make_credentials
from crossdock.cli.home import Home
from crossdock.console.users import place_user
from crossdock.ledger.database import open_pool

ROOT = Path(__file__).resolve().parents[2]
CONFIGURATION = ROOT / "crossdock.toml"


@dataclass
class ApiProcess:
    """A running `crossdock api`. `log` is its standard error."""

    url: str
    environment: dict[str, str]
    process: subprocess.Popen[bytes]
    log: Path

    def status(self) -> dict[str, list[str]]:
        command = [sys.executable, "-m", "crossdock.cli.main", "status", "--json"]
        ran = subprocess.run(command, check=False, capture_output=True, cwd=ROOT, env=self.environment, timeout=180)
        found: dict[str, list[str]] = json.loads(ran.stdout)
        return found

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(120) == 0


@contextmanager
def api_process(home: Path, database_url: str, configuration: Path = CONFIGURATION) -> Iterator[ApiProcess]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    make_credentials(Home(home), configuration)
    clean = {key: value for key, value in os.environ.items() if not key.startswith("CROSSDOCK_")}
    environment = {
        **clean, "CROSSDOCK_HOME": str(home), "CROSSDOCK_PORT": str(port), "CROSSDOCK_DATABASE_URL": database_url,
    }  # fmt: skip
    log = home / "api.log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "crossdock.cli.main", "api", "--log-level", "DEBUG", "--config",
             str(configuration)], cwd=ROOT, env=environment, stdout=stderr, stderr=stderr,
        )  # fmt: skip
    running = ApiProcess(f"http://127.0.0.1:{port}", environment, process, log)
    try:
        wait_until_answering(running)
        yield running
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(30)


def wait_until_answering(running: ApiProcess) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        assert running.process.poll() is None, running.log.read_text()
        try:
            httpx.get(f"{running.url}/v1/nothing?mail=ada@example.org", timeout=5)
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(running.log.read_text())


def test_an_api_process_is_seen_by_status_and_gone_when_it_is_stopped(tmp_path: Path, database_url: str) -> None:
    with api_process(tmp_path, database_url) as running:
        (seen,) = running.status()["apis"]
        assert seen.startswith("api:")
        assert str(running.process.pid) in seen
        assert running.status()["workers"] == []
        running.stop()
        assert running.status()["apis"] == []


def test_every_line_of_an_api_process_is_json_and_names_no_query(tmp_path: Path, database_url: str) -> None:
    with api_process(tmp_path, database_url) as running:
        running.stop()
        lines = running.log.read_text().splitlines()
    for line in lines:
        assert {"event", "level", "at", "process"} <= set(json.loads(line)), line
        assert "ada" not in line
    assert any("granian" in line.lower() for line in lines), "the HTTP server's own lines are among them"


async def test_a_console_behind_tls_binds_its_cookie_to_the_host(tmp_path: Path, database_url: str) -> None:
    configuration = tmp_path / "crossdock.toml"
    told = '\n[console]\npublic_url = "https://crossdock.example.com"\n'
    configuration.write_text(CONFIGURATION.read_text("utf-8") + told, encoding="utf-8")
    pool = await open_pool(database_url, size=1)
    await place_user(pool, "olive", "correct horse battery", "operator")
    pool.terminate()
    with api_process(tmp_path, database_url, configuration) as running:
        fields = {"name": "olive", "password": "correct horse battery"}
        answer = await asyncio.to_thread(httpx.post, f"{running.url}/console/sign-in", data=fields)
    assert answer.status_code == 303
    assert answer.headers["set-cookie"].startswith("__Host-crossdock_session=")
    assert "Secure" in answer.headers["set-cookie"]
    assert "max-age" in answer.headers["strict-transport-security"]
