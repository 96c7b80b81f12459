"""A small estate of real processes for a proof: API, workers and sandbox partners that can be killed and paused."""

from __future__ import annotations

import asyncio
import base64
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec

ANSWER_SECONDS: Final = 60


@dataclass(slots=True)
class PartnerProcess:
    """A sandbox partner: a process with its own storage and write log."""

    kind: str
    process: subprocess.Popen[str]
    url: str

    async def control(self, method: str, path: str, body: object = None) -> Any:
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.request(method, self.url + path, data=msgspec.json.encode(body)) as response,
        ):
            raw = await response.read()
            if response.status >= 300:
                raise RuntimeError(f"{self.kind} answers {path} with {response.status}: {raw[:500]!r}")
            return msgspec.json.decode(raw)

    async def read_log(self) -> list[dict[str, Any]]:
        """The whole write log."""
        found: list[dict[str, Any]] = []
        while page := await self.control("GET", f"/_log?after={found[-1]['sequence'] if found else 0}"):
            found.extend(page)
        return found

    def pause(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)


@dataclass(slots=True)
class Secrets:
    """Made anew for each run."""

    key: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    client: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    password: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    webhook: str = field(default_factory=lambda: "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode())


class Estate:
    """Starts processes and ends those that it started, no others."""

    def __init__(self, directory: Path, dsn: str, configuration: str) -> None:
        self.directory = directory
        self.dsn = dsn
        self.secrets = Secrets()
        self.partners: dict[str, PartnerProcess] = {}
        self._port = _free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._own: dict[str, subprocess.Popen[bytes]] = {}
        self._started = 0
        self._file = directory / "crossdock.toml"
        self._file.write_text(configuration, encoding="utf-8")
        (directory / "logs").mkdir()

    def start_partner(self, kind: str, *options: str) -> None:
        command = [
            sys.executable, "-m", "crossdock.sandbox", kind, "--home", str(self.directory / "partners"),
            "--follow-parent", "--rate-per-second", "0", *options,
        ]  # fmt: skip
        environment = {
            **os.environ, "CROSSDOCK_SANDBOX_API_KEY": self.secrets.key,
            "CROSSDOCK_SANDBOX_WEBHOOK_SECRET": self.secrets.webhook,
            "CROSSDOCK_SANDBOX_CLIENT_ID": "portal", "CROSSDOCK_SANDBOX_CLIENT_SECRET": self.secrets.client,
        }  # fmt: skip
        with (self.directory / "logs" / f"{kind}.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
        line = process.stdout.readline() if process.stdout is not None else ""
        if "listens on" not in line:
            raise RuntimeError(f"{kind} does not start: {line}")
        self.partners[kind] = PartnerProcess(kind, process, line.rpartition(" ")[2].strip())

    def start(self, command: str) -> str:
        """Start an API or a worker of ours; return its name."""
        self._started += 1
        name = f"{command}-{self._started}"
        arguments = ["--port", str(self._port)] if command == "api" else ["--name", name]
        with (self.directory / "logs" / f"{name}.log").open("wb") as log:
            self._own[name] = subprocess.Popen(
                [sys.executable, "-m", "crossdock.cli.main", command, *arguments, "--config", str(self._file)],
                env=self._environment(), cwd=self.directory, stdout=log, stderr=log,
            )  # fmt: skip
        return name

    def kill(self, command: str, place: int) -> str:
        """Kill -9 one of our APIs or workers and start one of its kind."""
        names = sorted(name for name in self._own if name.startswith(command))
        name = names[place % len(names)]
        victim = self._own.pop(name)
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        self.start(command)
        return name

    def check_running(self) -> None:
        for name, process in self._own.items():
            if process.poll() is not None:
                log = (self.directory / "logs" / f"{name}.log").read_text(encoding="utf-8", errors="replace")
                raise RuntimeError(f"{name} ended by itself: {log[-2000:]}")

    async def until_answering(self) -> None:
        async with asyncio.timeout(ANSWER_SECONDS), aiohttp.ClientSession() as session:
            while not await _is_well(session, self.url):
                self.check_running()
                await asyncio.sleep(0.1)

    def stop(self) -> None:
        for partner in self.partners.values():
            partner.go_on()
        _end(list(self._own.values()))
        _end([partner.process for partner in self.partners.values()])
        for partner in self.partners.values():
            if partner.process.stdout is not None:
                partner.process.stdout.close()

    def _environment(self) -> Mapping[str, str]:
        return {
            **{key: value for key, value in os.environ.items() if not key.startswith("CROSSDOCK_")},
            **{f"PROVE_{kind.upper()}": partner.url for kind, partner in self.partners.items()},
            "PROVE_KEY": self.secrets.key, "PROVE_WEBHOOK_SECRET": self.secrets.webhook,
            "CROSSDOCK_DATABASE_URL": self.dsn, "CROSSDOCK_HOME": str(self.directory / "home"),
        }  # fmt: skip


def _end(processes: Sequence[subprocess.Popen[Any]]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def _is_well(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(f"{url}/healthz") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
