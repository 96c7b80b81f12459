"""`crossdock run --demo`: everything on this machine, brought up in parallel, watched, and stopped in order."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec

from crossdock.app import prepare_database
from crossdock.cli.children import Child, Program
from crossdock.cli.demo import PARTNER_PORTS, DemoCredentials, find_references, make_credentials, partner_url
from crossdock.cli.home import Home, RunState, write_private
from crossdock.cli.postgres import PostgresWatch
from crossdock.cli.programs import ERP, Demo, erp_program, own_program, partner_programs, stream_program
from crossdock.cli.tryton import ensure_tryton
from crossdock.insight.connections import read_feeds
from crossdock.insight.overview import read_overview
from crossdock.ledger.clients import ApiClient
from crossdock.ledger.database import open_pool
from crossdock.model.errors import Misconfigured, Unavailable

FIRST_START_SECONDS_MAX: Final = 600.0
LOOK_SECONDS: Final = 0.25
_STATE_SECONDS: Final = 1.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What the person asked for. `duration_seconds` 0: until stopped; `orders_per_second` 0: no stream."""

    home: Home
    configuration: Path
    orders_per_second: float
    duration_seconds: float
    workers: int
    environment: Mapping[str, str]


class Supervisor:
    """One run. Children are stopped in the opposite order of their start."""

    def __init__(self, options: RunOptions, say: Say, show: Callable[[Demo], None]) -> None:
        self._options = options
        self._home = options.home
        self._say = say
        self._show = show
        self._children: list[Child] = []
        self._postgres: PostgresWatch | None = None
        self._stop = asyncio.Event()
        self._started_at = datetime.now(UTC).isoformat(timespec="seconds")
        self._ready = False

    async def run(self) -> int:
        """Until Ctrl-C, SIGTERM or the end of the given duration. Returns the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop.set)
        states = asyncio.create_task(self._keep_state())
        try:
            demo = await self._until_stopped(self._bring_up())
            if demo is not None:
                await self._until_stopped(self._live(demo))
            return 0
        finally:
            await self._take_down()
            states.cancel()
            await asyncio.gather(states, return_exceptions=True)
            self._home.state.unlink(missing_ok=True)

    async def _until_stopped(self, work: Awaitable[Any]) -> Any:
        """The result of `work`, or None when we were asked to stop before."""
        working = asyncio.ensure_future(work)
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if working.done():
            return working.result()
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        return None

    async def _bring_up(self) -> Demo:
        check_ports(self._home)
        credentials = make_credentials(self._home, self._options.configuration)
        shutil.rmtree(self._home.metrics, ignore_errors=True)
        self._home.metrics.mkdir(parents=True)
        self._say("starting PostgreSQL, the partners and the ERP")
        references = find_references(self._options.configuration)
        async with asyncio.TaskGroup() as tasks:
            environment = tasks.create_task(ensure_tryton(self._home, self._say))
            server, address = await self._start_database()
            demo = Demo(self._home, self._options.configuration, credentials, references, server)
            await self._prepare(address, credentials)
            tasks.create_task(self._start_erp(demo, environment))
            tasks.create_task(self._start_partners(demo))
            tasks.create_task(self._start_api(demo))
        for number in range(1, self._options.workers + 1):
            self._start(own_program(demo, f"worker-{number}", "worker", "--name", f"worker-{number}"))
        self._say("reading products, customers, prices and stock")
        await self._wait_for(f"{self._home.url}/healthz", "the API", FIRST_START_SECONDS_MAX)
        await self._wait_for_feeds(address)
        self._ready = True
        return demo

    async def _live(self, demo: Demo) -> None:
        self._show(demo)
        if not self._options.orders_per_second:
            await self._stop.wait()
            return
        stream = self._start(stream_program(demo, self._options.orders_per_second, self._options.duration_seconds))
        if not self._options.duration_seconds:
            await self._stop.wait()
            return
        await stream.wait()
        self._say("the stream of orders has ended")

    async def _start_database(self) -> tuple[str, str]:
        """The server's address for the ERP, and Crossdock's own database on it."""
        given = self._options.environment.get("CROSSDOCK_DATABASE_URL")
        if given:
            return given, given
        self._postgres = PostgresWatch(self._home, self._say)
        server = await self._postgres.start()
        self._say("PostgreSQL is up")
        return server, await self._postgres.ensure_database()

    async def _prepare(self, address: str, credentials: DemoCredentials) -> None:
        clients = [
            (ApiClient(client.client_id, client.scopes, client.channels), client.client_secret)
            for client in credentials.clients.values()
        ]
        await prepare_database(address, credentials.console.user, credentials.console.password, clients)

    async def _start_erp(self, demo: Demo, environment: Awaitable[Path]) -> None:
        child = self._start(erp_program(demo, await environment))
        relay = asyncio.create_task(self._relay(child.program))
        try:
            await self._wait_for(f"{partner_url(self._home, ERP)}/healthz", "the ERP", FIRST_START_SECONDS_MAX)
        finally:
            relay.cancel()
            await asyncio.gather(relay, return_exceptions=True)
        self._say("the ERP is up")

    async def _start_partners(self, demo: Demo) -> None:
        programs = partner_programs(demo)
        for program in programs:
            self._start(program)
        for program in programs:
            await self._wait_for(f"{partner_url(self._home, program.name)}/healthz", program.name, 60)
        self._say(f"{len(programs)} partners are up")

    async def _start_api(self, demo: Demo) -> None:
        self._start(own_program(demo, "api", "api"))
        # Healthy it is only when master data is there; that it answers at all is enough here.
        await self._wait_for(f"{self._home.url}/healthz", "the API", 60, answers_suffice=True)
        self._say("the API is up")

    def _start(self, program: Program) -> Child:
        child = Child(program, self._say)
        self._children.append(child)
        child.start()
        return child

    async def _wait_for(self, url: str, name: str, seconds: float, *, answers_suffice: bool = False) -> None:
        """Until the address answers 200. Raises Unavailable when it does not in time."""
        last = "no answer"
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    while True:
                        with suppress(aiohttp.ClientError, TimeoutError, OSError):
                            async with session.get(url) as response:
                                last = f"HTTP {response.status} {(await response.text())[:300]}"
                                if response.status == 200 or answers_suffice:
                                    return
                        await asyncio.sleep(LOOK_SECONDS)
        raise Unavailable(
            "start_timeout", f"{name} is not ready after {seconds:g} s.", detail=last,
            next_action=f"Read the logs in {self._home.logs}.",
        )  # fmt: skip

    async def _wait_for_feeds(self, address: str) -> None:
        """Until the ERP's feeds were read once and decided: before that, contract prices would be missing."""
        pool = await open_pool(address, size=1)
        try:
            first_time = False
            for _ in range(int(FIRST_START_SECONDS_MAX / LOOK_SECONDS)):
                feeds = [feed for feed in await read_feeds(pool, datetime.now(UTC)) if feed.connection == ERP]
                if feeds and all(feed.read_at is not None for feed in feeds):
                    # Later starts have the prices from before and need not wait for what is still to be decided.
                    if not first_time or not (await read_overview(pool, datetime.now(UTC))).facts_waiting:
                        return
                else:
                    first_time = True
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            pool.terminate()
        raise Unavailable(
            "start_timeout", "The ERP's products, customers, prices and stock could not all be read.",
            next_action=f"Read {self._home.logs / 'worker-1.log'}.",
        )  # fmt: skip

    async def _relay(self, program: Program) -> None:
        """Say what a long start reports of its progress."""
        position = program.log.stat().st_size if program.log.exists() else 0
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if not program.log.exists():
                continue
            with program.log.open("rb") as log:
                log.seek(position)
                found = log.read()
            whole, newline, _ = found.rpartition(b"\n")
            position += len(whole) + len(newline)
            for line in whole.decode("utf-8", errors="replace").splitlines():
                if line.strip():
                    self._say(f"{program.name}: {line.strip()[:160]}")

    async def _keep_state(self) -> None:
        written = None
        while True:
            processes = {child.program.name: child.pid for child in self._children if child.pid}
            state = RunState(os.getpid(), self._started_at, self._ready, processes, self._home.port)
            if state != written:
                write_private(self._home.state, msgspec.json.encode(state))
                written = state
            await asyncio.sleep(_STATE_SECONDS)

    async def _take_down(self) -> None:
        self._ready = False
        self._say("stopping")
        # First who brings orders, then who carries them, then the systems that they are carried to.
        own = [child for child in self._children if child.program.name not in PARTNER_PORTS]
        for child in reversed(own):
            await child.stop()
        await asyncio.gather(*(child.stop() for child in self._children if child not in own))
        if self._postgres is not None:
            await self._postgres.stop()
        self._say("everything is stopped; the data stay in " + str(self._home.directory))


def check_ports(home: Home) -> None:
    """Raises Misconfigured when another program listens where we want to."""
    for name, offset in {"the API": 0, **PARTNER_PORTS}.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", home.port + offset))
            except OSError as error:
                raise Misconfigured(
                    "port_taken", f"Port {home.port + offset}, meant for {name}, is taken by another program.",
                    next_action="End that program, or set CROSSDOCK_PORT to the first of ten free ports.",
                ) from error  # fmt: skip

