"""API and worker start while PostgreSQL is away. Found by the proof with real processes: they ended."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from crossdock.cli.demo import make_credentials
from crossdock.cli.home import Home
from crossdock.ledger.embedded import EmbeddedPostgres
from crossdock.ledger.migrate import migrate

pytestmark = pytest.mark.process
ROOT = Path(__file__).resolve().parents[2]
CONFIGURATION = ROOT / "crossdock.toml"


def read(log: Path) -> str:
    return log.read_text(encoding="utf-8")


async def until_said(log: Path, word: str, process: subprocess.Popen[bytes]) -> None:
    async with asyncio.timeout(180):
        while word not in read(log):
            assert process.poll() is None, read(log)
            await asyncio.sleep(0.1)


def start(command: str, log: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "crossdock.cli.main", command, "--config", str(CONFIGURATION)],
            cwd=ROOT, env=environment, stdout=output, stderr=output,
        )  # fmt: skip


async def status_of(url: str) -> int:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status


async def test_a_service_that_starts_while_the_database_is_away_waits_for_it(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "pg")
    dsn = await asyncio.to_thread(server.start)
    await migrate(dsn)
    await asyncio.to_thread(server.stop)
    home = Home(tmp_path / "home")
    home.directory.mkdir()
    make_credentials(home, CONFIGURATION)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    clean = {key: value for key, value in os.environ.items() if not key.startswith("CROSSDOCK_")}
    environment = {
        **clean, "CROSSDOCK_HOME": str(home.directory), "CROSSDOCK_PORT": str(port), "CROSSDOCK_DATABASE_URL": dsn,
    }  # fmt: skip
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for command in ("api", "worker"):
            running[command] = start(command, tmp_path / command, environment)
        for command, process in running.items():
            await until_said(tmp_path / command, "waiting_for_database", process)
        await asyncio.to_thread(server.start)
        await until_said(tmp_path / "worker", "worker_started", running["worker"])
        await until_said(tmp_path / "api", "Started worker-1", running["api"])
        assert await status_of(f"http://127.0.0.1:{port}/v1/orders") == 401
        for process in running.values():
            process.terminate()
            assert await asyncio.to_thread(process.wait, 120) == 0
    finally:
        for process in running.values():
            process.kill()
            process.wait()
        server.stop()
