"""The scenario `order-path-real`: orders through real processes while nemeses break whatever can be broken.

An API, workers and six sandbox partners, each a process, a PostgreSQL of their own, and a bad link between any two of
them. The nemeses strike while orders come; then all is mended, everything comes to rest, and the partners' own write
logs say what happened. Orders and the nemeses' chances repeat with the seed; which request meets which of them depends
on the machine.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import msgspec

from crossdock.app import prepare_database
from crossdock.ledger import real_proof
from crossdock.ledger.clients import ApiClient
from crossdock.ledger.database import open_pool
from crossdock.prove.canaries import Person, client_secrets, find_canaries, read_files, summarise, webhook_secrets
from crossdock.prove.checkers import Violation
from crossdock.prove.estate import Estate, Manner
from crossdock.prove.nemeses.clock import ClockJump, ShiftedClocks
from crossdock.prove.nemeses.diary import Deed, Diary
from crossdock.prove.nemeses.link import Link
from crossdock.prove.nemeses.namespaces import Partition, RemoteHost
from crossdock.prove.nemeses.nemesis import Nemesis, harass
from crossdock.prove.nemeses.network import API, DATABASE, BadLinks
from crossdock.prove.nemeses.partners import Misbehaviour
from crossdock.prove.nemeses.postgres import Crowd, FullDisk, PowerCut, ProvedServer, Stopper
from crossdock.prove.nemeses.processes import Killer, Pauser
from crossdock.prove.nemeses.volume import Volume, why_not
from crossdock.prove.real_checkers import Evidence, judge
from crossdock.prove.real_world import KINDS, SCOPES, make_configuration, partner_options, place_orders, place_products
from crossdock.prove.shrinking import leave_out, make_fewer

NAME: Final = "order-path-real"
TITLE: Final = "Orders through real processes, links, PostgreSQL and partners that are all being broken (minutes)."
NEMESES: Final = (
    "kill", "pause", "network", "partners", "postgres", "connections", "disk", "power", "clock", "partition",
)  # fmt: skip
REMOTE: Final = "remote"
"""Workers on a second host."""
NEED_A_VOLUME: Final = frozenset({"disk", "power"})
WORKERS: Final = 2
QUIET_LOOKS: Final = 3
LOOK_SECONDS: Final = 0.5
LOOK_AFTER_SECONDS: Final = 0.5
CLIENT: Final = "portal"
ORDERS_MIN: Final = 4
HALVINGS_MAX: Final = 3


class RealRun(msgspec.Struct, frozen=True):
    """How long and how much. `seconds`: for so long orders come and nemeses strike."""

    seed: int
    orders: int = 60
    seconds: float = 45.0
    nemeses: tuple[str, ...] = NEMESES
    settle_seconds: float = 240.0


class RealOutcome(msgspec.Struct, frozen=True):
    """The verdict and what it rests on. `faults` counts what the nemeses did, `skipped` says why one could not."""

    scenario: str
    seed: int
    orders: int
    facts_acknowledged: int
    faults: dict[str, int]
    skipped: dict[str, str]
    violations: dict[str, list[str]]
    seconds: float
    settle_seconds: float
    verdict: Literal["pass", "fail"]
    deeds: list[Deed]


@dataclass(slots=True)
class _Stage:
    """All that runs."""

    run: RealRun
    estate: Estate
    server: ProvedServer
    pool: asyncpg.Pool[Any]
    links: dict[str, Link]
    diary: Diary
    clocks: ShiftedClocks | None = None
    host: RemoteHost | None = None
    person: Person = field(default_factory=Person)
    ended: list[str] = field(default_factory=list)


async def run_order_path(run: RealRun, directory: Path) -> RealOutcome:
    """`directory` is an empty folder: logs, databases and the nemeses' files are left in it."""
    started = time.monotonic()
    diary = Diary(directory)
    async with _set_stage(run, directory, diary) as stage:
        nemeses = _make_nemeses(stage)
        watching = asyncio.create_task(_replace_ended(stage))
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(place_orders(stage.estate, run.orders, run.seed, run.seconds, stage.person))
                tasks.create_task(harass(nemeses, run.seed, run.seconds))
            settling = time.monotonic()
            under_way = await _settle(stage)
            settled = time.monotonic() - settling
        finally:
            watching.cancel()
        evidence = await _collect(stage, under_way)
    violations = judge(evidence)
    return RealOutcome(
        NAME, run.seed, len(evidence.ledger.orders), len(evidence.ledger.orders) + evidence.ledger.facts,
        diary.count(), diary.skipped, _by_checker(violations), round(time.monotonic() - started, 1),
        round(settled, 1), "fail" if violations else "pass", diary.deeds,
    )  # fmt: skip


def shrink_run(
    run: RealRun, checkers: Collection[str], play: Callable[[RealRun], Collection[str]], runs_max: int
) -> RealRun:
    """The run with the fewest nemeses, then orders, with which one of these checkers was seen to find something again.
    `play` says which checkers find something in a run."""

    def still_fails(tried: RealRun) -> bool:
        return bool(set(checkers) & set(play(tried)))

    nemeses = leave_out(run.nemeses, lambda names: still_fails(msgspec.structs.replace(run, nemeses=names)), runs_max)
    fewest = msgspec.structs.replace(run, nemeses=nemeses)
    orders = make_fewer(
        run.orders, ORDERS_MIN, lambda number: still_fails(msgspec.structs.replace(fewest, orders=number)), HALVINGS_MAX
    )
    return msgspec.structs.replace(fewest, orders=orders)


@asynccontextmanager
async def _set_stage(run: RealRun, directory: Path, diary: Diary) -> AsyncIterator[_Stage]:
    reason = why_not() if NEED_A_VOLUME & set(run.nemeses) else "not wanted"
    for name in sorted(NEED_A_VOLUME & set(run.nemeses)) if reason else ():
        diary.skip(name, reason)
    volume = None if reason else Volume(directory / "volume")
    async with AsyncExitStack() as stack:
        server = ProvedServer(directory, volume)
        stack.push_async_callback(asyncio.to_thread, server.stop)
        dsn = await asyncio.to_thread(server.start)
        database = await _open_link(stack, DATABASE, server.port, run.seed)
        estate = Estate(directory, _redirect(dsn, database.port), make_configuration())
        stack.push_async_callback(asyncio.to_thread, estate.stop)
        door = await _open_link(stack, API, estate.port, run.seed)
        estate.url = door.url
        client = ApiClient(CLIENT, SCOPES, ("portal",))
        await prepare_database(dsn, "operator", estate.secrets.password, [(client, estate.secrets.client)])
        pool = await open_pool(dsn, size=2)
        stack.callback(pool.terminate)
        await place_products(pool)
        links = {DATABASE: database, API: door}
        for kind in KINDS:
            await asyncio.to_thread(estate.start_partner, kind, *partner_options(kind, estate.url))
            links[kind] = await _open_link(stack, kind, estate.partners[kind].port, run.seed)
            estate.routes[kind] = links[kind].url
        pace = {"on": True, "interval": 1, "partial": 0.3, "short": 0, "seed": run.seed}
        await estate.wish("wms", "/_control/auto", pace)
        stage = _Stage(run, estate, server, pool, links, diary)
        if "clock" in run.nemeses:
            await asyncio.to_thread(_shift_clocks, stage)
        if "partition" in run.nemeses:
            await _join_host(stack, stage, dsn)
        for kind in ("api", *["worker"] * WORKERS, *[REMOTE] * (stage.host is not None)):
            estate.start(kind)
        await estate.until_answering()
        yield stage


def _shift_clocks(stage: _Stage) -> None:
    """API and workers get clocks that can jump; where there is no compiler they keep their own."""
    clocks = ShiftedClocks(stage.estate.directory)
    try:
        clocks.build()
    except OSError as error:
        stage.diary.skip("clock", str(error))
        return
    stage.clocks = clocks
    for kind in ("api", "worker"):
        stage.estate.manners[kind] = clocks.manner(kind)


async def _join_host(stack: AsyncExitStack, stage: _Stage, dsn: str) -> None:
    """A second host for a third worker, which reaches the database and the partners by its cable only."""
    host = RemoteHost()
    try:
        await asyncio.to_thread(host.create)
    except OSError as error:
        stage.diary.skip("partition", str(error))
        return
    stack.push_async_callback(asyncio.to_thread, host.remove)
    seed, routes = stage.run.seed, {}
    for kind, partner in stage.estate.partners.items():
        routes[f"PROVE_{kind.upper()}"] = (await _open_link(stack, kind, partner.port, seed, host.outer)).url
    database = await _open_link(stack, DATABASE, stage.server.port, seed, host.outer)
    routes["CROSSDOCK_DATABASE_URL"] = _redirect(dsn, database.port, host.outer)
    stage.estate.manners[REMOTE] = Manner("worker", host.prefix, routes)
    stage.host = host


async def _open_link(stack: AsyncExitStack, name: str, port: int, seed: int, host: str = "127.0.0.1") -> Link:
    link = Link(name, port, random.Random(f"{seed}/link/{name}"), host)
    await link.open()
    stack.push_async_callback(link.close)
    return link


def _redirect(dsn: str, port: int, host: str = "127.0.0.1") -> str:
    """The same database by way of a link."""
    parts = urlsplit(dsn)
    return urlunsplit(parts._replace(netloc=f"{parts.netloc.rpartition('@')[0]}@{host}:{port}"))


def _make_nemeses(stage: _Stage) -> Sequence[Nemesis]:
    estate, server, diary = stage.estate, stage.server, stage.diary
    # In a short run the database is stopped more than once, too.
    rest = (min(5.0, stage.run.seconds / 8), min(40.0, stage.run.seconds / 3))
    known: dict[str, Nemesis] = {
        "kill": Killer(estate, diary), "pause": Pauser(estate, diary),
        "network": BadLinks(list(stage.links.values()), diary),
        "partners": Misbehaviour(estate, diary),
        "postgres": Stopper(server, diary, rest), "connections": Crowd(server, diary, rest),
        "disk": FullDisk(server, diary, rest), "power": PowerCut(server, diary, rest),
    }  # fmt: skip
    if stage.clocks is not None:
        known["clock"] = ClockJump(stage.clocks, diary)
    if stage.host is not None:
        known["partition"] = Partition(stage.host, diary)
    return [known[name] for name in stage.run.nemeses if name not in diary.skipped]


async def _replace_ended(stage: _Stage) -> None:
    """A process of ours that ends by itself is a finding; another takes its place, as a supervisor would see to."""
    while True:
        for name, log in stage.estate.take_ended().items():
            stage.ended.append(f"{name}: {log}")
            await asyncio.to_thread(stage.estate.start, name.partition("-")[0])
        await asyncio.sleep(LOOK_AFTER_SECONDS)


async def _settle(stage: _Stage) -> list[str]:
    """Until nothing is under way for a while; what still is, in examples, when the time is up."""
    for link in stage.links.values():
        link.calm()
    for partner in stage.estate.partners.values():
        await partner.control("PUT", "/_faults", {})
    quiet = 0
    try:
        async with asyncio.timeout(stage.run.settle_seconds):
            while quiet < QUIET_LOOKS:
                quiet = quiet + 1 if await _is_at_rest(stage) else 0
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        async with stage.pool.acquire() as connection:
            return [str(row) for row in await real_proof.read_under_way(connection)]
    return []


async def _is_at_rest(stage: _Stage) -> bool:
    try:
        async with stage.pool.acquire() as connection:
            rest = await real_proof.read_rest(connection)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        return False
    return rest.is_quiet and rest.orders >= await _count_placed(stage.estate)


async def _count_placed(estate: Estate) -> int:
    logs = [await estate.partners[channel].read_log() for channel in ("shop", "portal")]
    return sum(entry["kind"] == "order" for log in logs for entry in log)


async def _collect(stage: _Stage, under_way: list[str]) -> Evidence:
    estate = stage.estate
    await asyncio.to_thread(estate.stop_own)
    logs: dict[str, Any] = {kind: await partner.read_log() for kind, partner in estate.partners.items()}
    async with stage.pool.acquire() as connection:
        ledger = await real_proof.read_ledger(connection)
    hidden = {
        **client_secrets(CLIENT, estate.secrets.client), **webhook_secrets(estate.secrets.webhook),
        "console password": estate.secrets.password, "partner's key": estate.secrets.key,
        "database password": urlsplit(stage.server.dsn).password or "", "card token": stage.person.card_token,
    }  # fmt: skip
    left = read_files(estate.directory / "logs")
    leaks = summarise(find_canaries(left, hidden, stage.person.personal))
    return Evidence(logs, ledger, under_way, stage.ended, leaks)


def _by_checker(violations: Sequence[Violation]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for violation in violations:
        found.setdefault(violation.checker, []).append(f"{violation.subject}: {violation.message}")
    return found
