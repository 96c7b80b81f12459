"""A whole small estate of real processes for the proofs: API, workers, six partners, and what they leave behind."""

from __future__ import annotations

import asyncio
import base64
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg

from crossdock.app import prepare_database
from crossdock.ledger.clients import ApiClient
from crossdock.ledger.database import open_pool
from crossdock.prove.real_world import KINDS, make_configuration, partner_options, place_products
from tests.conformance.partners import KEY, RunningPartner, start_partner

CHANNEL_SCOPES = ("availability:read", "orders:write", "orders:read", "shipments:read")
OPERATOR_SCOPES = (*CHANNEL_SCOPES, "holds:read", "connections:read", "quarantine:read")


@dataclass(frozen=True, slots=True)
class Secrets:
    """What nobody must find anywhere afterwards; made anew for each run."""

    client_secret: str = field(default_factory=lambda: f"client-{secrets.token_urlsafe(24)}")
    operator_secret: str = field(default_factory=lambda: f"operator-{secrets.token_urlsafe(24)}")
    webhook_secret: str = field(
        default_factory=lambda: "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
    )
    console_password: str = field(default_factory=lambda: f"console-{secrets.token_urlsafe(12)}")
    partner_key: str = KEY


class World:
    """The processes of one run. `directory` holds logs and traces; `url` is the API's address."""

    def __init__(self, directory: Path, dsn: str, found: Secrets, port: int) -> None:
        self.directory, self.dsn, self.secrets = directory, dsn, found
        self.url = f"http://127.0.0.1:{port}"
        self.partners: dict[str, RunningPartner] = {}
        self._port = port
        self._environment: dict[str, str] = {}
        self._own: dict[str, subprocess.Popen[bytes]] = {}
        self._started = 0
        self.metrics_ports: dict[str, int] = {}

    @property
    def logs(self) -> Path:
        return self.directory / "logs"

    @property
    def traces(self) -> Path:
        return self.directory / "traces"

    @property
    def configuration_file(self) -> Path:
        return self.directory / "crossdock.toml"

    def begin(self) -> None:
        for folder in (self.logs, self.traces):
            folder.mkdir()
        self.configuration_file.write_text(make_configuration(), encoding="utf-8")
        for kind in KINDS:
            options = partner_options(kind, self.url)
            environment = {
                "CROSSDOCK_SANDBOX_WEBHOOK_SECRET": self.secrets.webhook_secret,
                "CROSSDOCK_SANDBOX_CLIENT_ID": "portal-1",
                "CROSSDOCK_SANDBOX_CLIENT_SECRET": self.secrets.client_secret,
            }
            self.partners[kind] = start_partner(
                kind, self.directory / "partners", *options, environment=environment, errors=self.logs / f"{kind}.log"
            )
        self._environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("CROSSDOCK_")},
            **{f"PROVE_{kind.upper()}": partner.url for kind, partner in self.partners.items()},
            "PROVE_KEY": self.secrets.partner_key, "PROVE_WEBHOOK_SECRET": self.secrets.webhook_secret,
            "CROSSDOCK_DATABASE_URL": self.dsn, "CROSSDOCK_HOME": str(self.directory / "home"),
        }  # fmt: skip

    def start_api(self) -> None:
        self._start("api", "--port", str(self._port))

    def start_worker(self, metrics_port: int = 0) -> str:
        name = f"worker-{self._started}"
        options = ["--metrics-port", str(metrics_port)] if metrics_port else []
        self.metrics_ports[name] = metrics_port
        return self._start("worker", "--name", name, *options)

    def _start(self, command: str, *arguments: str) -> str:
        name = f"{command}-{self._started}"
        self._started += 1
        environment = {**self._environment, "CROSSDOCK_TRACES": f"file:{self.traces / f'{name}.jsonl'}"}
        with (self.logs / f"{name}.log").open("wb") as log:
            self._own[name] = subprocess.Popen(
                [sys.executable, "-m", "crossdock.cli.main", command, *arguments, "--config", self.configuration_file],
                env=environment, cwd=self.directory, stdout=log, stderr=log,
            )  # fmt: skip
        return name

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A `crossdock` command of somebody at the keyboard."""
        return subprocess.run(
            [sys.executable, "-m", "crossdock.cli.main", *arguments], check=False, capture_output=True, text=True,
            cwd=self.directory, env=self._environment, timeout=180,
        )  # fmt: skip

    def kill_one(self, chance: random.Random) -> str:
        """Kill -9 one of our processes, whichever it is, and start one of its kind."""
        name = sorted(self._own)[chance.randrange(len(self._own))]
        victim = self._own.pop(name)
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        return self.start_worker() if name.startswith("worker") else self._restart_api()

    def _restart_api(self) -> str:
        self.start_api()
        return "api"

    def check_running(self) -> None:
        for name, process in self._own.items():
            assert process.poll() is None, f"{name} ended: {(self.logs / f'{name}.log').read_text()[-3000:]}"

    def stop_own(self) -> None:
        for process in self._own.values():
            process.terminate()
        for process in self._own.values():
            process.wait(timeout=120)
        self._own.clear()

    def stop(self) -> None:
        self.stop_own()
        for partner in self.partners.values():
            partner.stop()

    async def until_answering(self) -> None:
        async with asyncio.timeout(180), aiohttp.ClientSession() as session:
            while True:
                try:
                    async with session.get(f"{self.url}/healthz") as answer:
                        if answer.status == 200:
                            return
                except aiohttp.ClientError:
                    self.check_running()
                await asyncio.sleep(0.1)

    async def token(self, session: aiohttp.ClientSession, client: str = "operator-1") -> str:
        secret = self.secrets.operator_secret if client == "operator-1" else self.secrets.client_secret
        form = {"grant_type": "client_credentials", "client_id": client, "client_secret": secret}
        async with session.post(f"{self.url}/oauth/token", data=form) as answer:
            return str((await answer.json())["access_token"])

    async def until_completed(self, count: int, seconds: float) -> None:
        """Until so many orders are completed."""
        await self._until(_ALL_COMPLETED, count, seconds)

    async def until_settled(self, count: int, seconds: float) -> None:
        """Until so many orders are completed or cancelled and nothing is under way any more."""
        await self._until(_ALL_SETTLED, count, seconds)

    async def _until(self, question: str, count: int, seconds: float) -> None:
        connection = await asyncpg.connect(self.dsn)
        try:
            async with asyncio.timeout(seconds):
                while not await connection.fetchval(question, count):
                    self.check_running()
                    await asyncio.sleep(0.5)
        except TimeoutError:
            raise AssertionError([dict(row) for row in await connection.fetch(_OPEN)]) from None
        finally:
            await connection.close()


_ALL_COMPLETED = "SELECT (SELECT count(*) FROM order_progress WHERE state = 'completed') >= $1"
_ALL_SETTLED = """
SELECT (SELECT count(*) FROM order_progress WHERE state IN ('completed', 'cancelled')) >= $1
   AND NOT EXISTS (SELECT FROM steps WHERE state NOT IN ('done', 'cancelled', 'failed'))
   AND NOT EXISTS (SELECT FROM facts WHERE state IN ('waiting', 'early'))
"""
_OPEN = """
SELECT s.connection, s.operation, s.state, s.error_code, count(*), min(o.number) AS example
FROM steps s JOIN orders o USING (order_id) WHERE s.state NOT IN ('done', 'cancelled', 'failed') GROUP BY 1, 2, 3, 4
UNION ALL
SELECT f.connection, f.kind, f.state, f.cause, count(*), min(f.business_key) FROM facts f
WHERE f.state NOT IN ('applied', 'ignored') GROUP BY 1, 2, 3, 4
UNION ALL
SELECT 'orders', '', state, '', count(*), '' FROM order_progress GROUP BY 3
UNION ALL
(SELECT 'order', o.channel_number, p.state,
        (SELECT string_agg(s.name || ' ' || s.state, ', ' ORDER BY s.name) FROM steps s WHERE s.order_id = o.order_id),
        1, p.progress::text
 FROM orders o JOIN order_progress p USING (order_id) WHERE p.state NOT IN ('completed', 'cancelled') LIMIT 3)
"""


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@asynccontextmanager
async def open_world(dsn: str, directory: Path) -> AsyncIterator[World]:
    """Partners run and the database is seeded; API and workers are the caller's to start."""
    found = Secrets()
    clients = [
        (ApiClient("portal-1", CHANNEL_SCOPES, ("portal",)), found.client_secret),
        (ApiClient("operator-1", OPERATOR_SCOPES, ("portal", "shop")), found.operator_secret),
    ]
    await prepare_database(dsn, "operator", found.console_password, clients)
    pool = await open_pool(dsn, size=2)
    try:
        await place_products(pool)
    finally:
        pool.terminate()
    world = World(directory, dsn, found, free_port())
    try:
        await asyncio.to_thread(world.begin)
        yield world
    finally:
        await asyncio.to_thread(world.stop)


async def seen_requests(partner: RunningPartner) -> list[dict[str, Any]]:
    """Every request that came to a partner, with its fate, page by page."""
    found: list[dict[str, Any]] = []
    while page := await partner.control("GET", f"/_requests?after={found[-1]['sequence'] if found else 0}"):
        found.extend(page)
    return found


Log = list[dict[str, Any]]


async def read_logs(partners: Mapping[str, RunningPartner]) -> dict[str, Log]:
    return {kind: await partner.log() for kind, partner in partners.items()}
