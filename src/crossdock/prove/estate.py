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
START_SECONDS: Final = 180
INSIST_TIMES: Final = 300


@dataclass(slots=True)
class PartnerProcess:
    """A sandbox partner: a process with its own storage and write log."""

    kind: str
    process: subprocess.Popen[str]
    url: str
    options: tuple[str, ...] = ()

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

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


@dataclass(slots=True)
class Manner:
    """How a kind of process is started: by which command of ours if not by the kind's name, what comes before it, and
    what its environment has besides."""

    command: str = ""
    prefix: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)


class Estate:
    """Starts processes and ends those that it started, no others.

    `url` is where partners and buyers find the API, `routes` where ours find partners: both may be changed to lead
    through links before the processes that shall use them are started. `manners`: how a kind of process is started.
    """

    def __init__(self, directory: Path, dsn: str, configuration: str) -> None:
        self.directory = directory
        self.dsn = dsn
        self.secrets = Secrets()
        self.partners: dict[str, PartnerProcess] = {}
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.routes: dict[str, str] = {}
        self.manners: dict[str, Manner] = {}
        self._wishes: dict[str, tuple[str, object]] = {}
        self._own: dict[str, subprocess.Popen[bytes]] = {}
        self._started = 0
        self._file = directory / "crossdock.toml"
        self._file.write_text(configuration, encoding="utf-8")
        (directory / "logs").mkdir()

    def start_partner(self, kind: str, *options: str, port: int = 0) -> None:
        command = [
            sys.executable, "-m", "crossdock.sandbox", kind, "--home", str(self.directory / "partners"),
            "--follow-parent", "--rate-per-second", "0", "--port", str(port), *options,
        ]  # fmt: skip
        environment = {
            **os.environ, "CROSSDOCK_SANDBOX_API_KEY": self.secrets.key,
            "CROSSDOCK_SANDBOX_WEBHOOK_SECRET": self.secrets.webhook,
            "CROSSDOCK_SANDBOX_CLIENT_ID": "portal", "CROSSDOCK_SANDBOX_CLIENT_SECRET": self.secrets.client,
        }  # fmt: skip
        with (self.directory / "logs" / f"{kind}.log").open("ab") as log:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
        line = process.stdout.readline() if process.stdout is not None else ""
        if "listens on" not in line:
            raise RuntimeError(f"{kind} does not start: {line}")
        self.partners[kind] = PartnerProcess(kind, process, line.rpartition(" ")[2].strip(), options)

    async def wish(self, kind: str, path: str, body: object) -> None:
        """How a partner shall work: it is told so again when it was killed, because it keeps documents only."""
        self._wishes[kind] = (path, body)
        await self.partners[kind].control("POST", path, body)

    def kill_partner(self, kind: str) -> None:
        """Kill -9 a partner. It stays among the partners: what it keeps is still there."""
        _kill(self.partners[kind].process)

    async def restart_partner(self, kind: str) -> None:
        """Start it again at the address and with the storage that it had."""
        partner = self.partners[kind]
        if partner.process.stdout is not None:
            partner.process.stdout.close()
        await asyncio.to_thread(self.start_partner, kind, *partner.options, port=partner.port)
        if kind in self._wishes:
            await self.insist(kind, "POST", *self._wishes[kind])

    async def insist(self, kind: str, method: str, path: str, body: object = None) -> Any:
        """Ask a partner that may be killed or stopped at the moment, until it is there. None: the connection broke
        while it worked, and its log says whether it was done. Raises RuntimeError when it does not come back."""
        for _ in range(INSIST_TIMES):
            try:
                return await self.partners[kind].control(method, path, body)
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.2)
            except (aiohttp.ClientError, TimeoutError):
                return None
        raise RuntimeError(f"{kind} does not come back")

    def start(self, kind: str) -> str:
        """Start an API or a worker of ours; return its name."""
        self._started += 1
        name = f"{kind}-{self._started}"
        manner = self.manners.get(kind, Manner())
        command = manner.command or kind
        arguments = ["--port", str(self.port)] if command == "api" else ["--name", name]
        program = [sys.executable, "-m", "crossdock.cli.main", command, *arguments, "--config", str(self._file)]
        with (self.directory / "logs" / f"{name}.log").open("wb") as log:
            self._own[name] = subprocess.Popen(
                [*manner.prefix, *program], env={**self._environment(), **manner.environment}, cwd=self.directory,
                stdout=log, stderr=log,
            )  # fmt: skip
        return name

    def names(self) -> list[str]:
        """All processes that run: ours as they were named, partners by their kind."""
        return sorted([*self._own, *self.partners])

    def kill(self, command: str, place: int) -> str:
        """Kill -9 one of our APIs or workers and start one of its kind."""
        names = sorted(name for name in self._own if name.startswith(command))
        name = names[place % len(names)]
        self.kill_named(name)
        self.start(command)
        return name

    def kill_named(self, name: str) -> None:
        """Kill -9 one of our processes; nothing is started in its place."""
        _kill(self._own.pop(name))

    def pause(self, name: str) -> subprocess.Popen[Any]:
        """Stop a process, ours or a partner's; it is for the caller to let it go on."""
        process: subprocess.Popen[Any] = self._own[name] if name in self._own else self.partners[name].process
        process.send_signal(signal.SIGSTOP)
        return process

    def go_on(self, process: subprocess.Popen[Any]) -> None:
        process.send_signal(signal.SIGCONT)

    def take_ended(self) -> dict[str, str]:
        """Our processes that ended by themselves since we last asked, with the end of their logs."""
        ended = [name for name, process in self._own.items() if process.poll() is not None]
        for name in ended:
            del self._own[name]
        return {name: self.read_log(name)[-2000:] for name in ended}

    def read_log(self, name: str) -> str:
        return (self.directory / "logs" / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def check_running(self) -> None:
        for name, process in self._own.items():
            if process.poll() is not None:
                raise RuntimeError(f"{name} ended by itself: {self.read_log(name)[-2000:]}")

    async def until_answering(self) -> None:
        async with asyncio.timeout(START_SECONDS), aiohttp.ClientSession() as session:
            while not await _is_well(session, f"http://127.0.0.1:{self.port}"):
                self.check_running()
                await asyncio.sleep(0.1)

    def stop_own(self) -> None:
        """End our processes as an operator does: they finish what they have begun."""
        _end(list(self._own.values()))
        self._own.clear()

    def stop(self) -> None:
        for partner in self.partners.values():
            partner.go_on()
        for process in self._own.values():
            self.go_on(process)
        _end(list(self._own.values()))
        _end([partner.process for partner in self.partners.values()])
        for partner in self.partners.values():
            if partner.process.stdout is not None:
                partner.process.stdout.close()

    def _environment(self) -> Mapping[str, str]:
        return {
            **{key: value for key, value in os.environ.items() if not key.startswith("CROSSDOCK_")},
            **{f"PROVE_{kind.upper()}": self.routes.get(kind, partner.url) for kind, partner in self.partners.items()},
            "PROVE_KEY": self.secrets.key, "PROVE_WEBHOOK_SECRET": self.secrets.webhook,
            "CROSSDOCK_DATABASE_URL": self.dsn, "CROSSDOCK_HOME": str(self.directory / "home"),
        }  # fmt: skip


def _kill(process: subprocess.Popen[Any]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


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
