"""What is compared: each engine with its form, its runner, its server, and how it is installed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from bench.peers.installation import HOME, install_node, install_python
from bench.peers.servers import PostgresServer, ProcessServer, Server

POSTGRES = "PostgreSQL {postgresql}, fsync, full_page_writes and synchronous_commit on"
SQLITE = "SQLite, journal_mode=wal, synchronous=full"


@dataclass(frozen=True, slots=True)
class EngineKind:
    """`form` says in which form the engine runs the saga, `durable` what it waits for. `warm` orders go before the
    measured ones. `kills` is false where the same engine was killed in another row."""

    title: str
    module: str
    form: str
    durable: str
    install: Callable[[], str]
    make_server: Callable[[Path], Server]
    versions: Callable[[], dict[str, str]]
    warm: int = 200
    kills: bool = True


def _own() -> str:
    return sys.executable


def _own_versions() -> dict[str, str]:
    return {"crossdock": version("crossdock"), "asyncpg": version("asyncpg")}


def _python(name: str) -> Callable[[], str]:
    return lambda: str(install_python(name))


def _versions_of(name: str, *packages: str) -> Callable[[], dict[str, str]]:
    """Asked of the engine's own environment."""
    text = "import json, sys; from importlib.metadata import version; "
    text += "print(json.dumps({name: version(name) for name in sys.argv[1:]}))"

    def read() -> dict[str, str]:
        command = [str(HOME / name / "bin" / "python"), "-c", text, *packages]
        found: dict[str, str] = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)
        return found

    return read


def _postgres(directory: Path) -> Server:
    return PostgresServer(directory)


def _migrated(directory: Path) -> Server:
    return PostgresServer(directory, migrated=True)


def _temporal(directory: Path) -> Server:
    command = [
        str(HOME / "temporal" / "bin" / "temporal"), "server", "start-dev", "--headless", "--ip", "127.0.0.1",
        "--port", "{port0}", "--db-filename", "{directory}/temporal.db", "--sqlite-pragma", "journal_mode=wal",
        "--sqlite-pragma", "synchronous=full", "--log-level", "error",
    ]  # fmt: skip
    return ProcessServer(directory, command, "127.0.0.1:{port0}", 1, {})


def _temporal_versions() -> dict[str, str]:
    command = [str(HOME / "temporal" / "bin" / "temporal"), "--version"]
    told = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    return _versions_of("temporal", "temporalio")() | {"temporal": told.strip().removeprefix("temporal version ")}


def _restate(directory: Path) -> Server:
    # Of the packages for each platform, npm has installed the one that fits.
    binary = next((HOME / "restate" / "node_modules" / "@restatedev").glob("restate-server-*/bin/restate-server"))
    environment = {
        "RESTATE_BASE_DIR": "{directory}/data", "RESTATE_INGRESS__BIND_ADDRESS": "127.0.0.1:{port0}",
        "RESTATE_ADMIN__BIND_ADDRESS": "127.0.0.1:{port1}", "RESTATE_BIND_ADDRESS": "127.0.0.1:{port2}",
        "RESTATE_ADVERTISED_ADDRESS": "http://127.0.0.1:{port2}/", "RESTATE_LISTEN_MODE": "tcp",
        "RESTATE_NODE_NAME": "bench", "RESTATE_DISABLE_TELEMETRY": "true", "RESTATE_LOG_FILTER": "warn",
        "DO_NOT_TRACK": "1",
    }  # fmt: skip
    addresses = "http://127.0.0.1:{port0},http://127.0.0.1:{port1}"
    return ProcessServer(directory, [str(binary), "--no-logo"], addresses, 3, environment)


def _install_restate() -> str:
    install_node("restate")
    return sys.executable


def _restate_versions() -> dict[str, str]:
    packages = HOME / "restate" / "node_modules" / "@restatedev"
    return {
        name: json.loads((packages / name / "package.json").read_text(encoding="utf-8"))["version"]
        for name in ("restate-server", "restate-sdk")
    }  # fmt: skip


ENGINES: Mapping[str, EngineKind] = {
    "bare": EngineKind(
        "bare PostgreSQL", "bare_postgres",
        "`bench/bare_saga.sql`: orders accepted in batches of up to 200, deliveries claimed and recorded up to 1,000 "
        "at a time, each a commit; one process", POSTGRES, _own, _postgres,
        lambda: {"asyncpg": version("asyncpg")},
    ),
    "crossdock": EngineKind(
        "Crossdock's engine, bare saga", "crossdock_saga",
        "a whole worker (claims, leases, doubt with probes, recorder, events) on a plan of five steps at five partners "
        "that take up to 200 at once; orders written as accepted, up to 200 at once, without a business rule; one "
        "process", POSTGRES, _own, _migrated, _own_versions,
    ),
    "crossdock_path": EngineKind(
        "Crossdock, whole order path", "crossdock_path",
        "five-line orders singly through `Intake.place` (600 at a time): price, credit, reservation, plan; five steps, "
        "stock and credit booked at completion; one process", POSTGRES, _own, _migrated, _own_versions,
        kills=False,
    ),
    "dbos": EngineKind(
        "DBOS", "dbos_saga",
        "asynchronous workflows with an identifier, five steps, started in the process that runs them, 50 at a time; "
        "no queue to poll; one process, a pool of 10 connections", POSTGRES, _python("dbos"), _postgres,
        _versions_of("dbos", "dbos", "psycopg"), warm=30,
    ),
    "procrastinate": EngineKind(
        "procrastinate", "procrastinate_saga",
        "an order's row and five jobs deferred as a batch in one transaction, up to 200 orders at once; each job "
        "delivers and sets its bit in the order's row; six workers in one process, 10 jobs at a time each, woken by "
        "LISTEN; a heartbeat each second, stalled after 5 s", POSTGRES, _python("procrastinate"), _postgres,
        _versions_of("procrastinate", "procrastinate", "psycopg"), warm=50,
    ),
    "pgqueuer": EngineKind(
        "pgqueuer", "pgqueuer_saga",
        "an order's row and five jobs enqueued as a batch in one transaction, up to 200 orders at once; each job "
        "delivers and sets its bit in the order's row; 100 jobs dequeued at once, a pool of 10 connections; stalled "
        "after 5 s; tables in its mode `durable`", POSTGRES, _python("pgqueuer"), _postgres,
        _versions_of("pgqueuer", "pgqueuer", "asyncpg"), warm=100,
    ),
    "temporal": EngineKind(
        "Temporal", "temporal_saga",
        "a workflow with an identifier and five activities, each recorded by the server; the development server; "
        "worker and client in one process, 50 workflows at a time, no sandbox", SQLITE, _python("temporal"), _temporal,
        _temporal_versions, warm=20,
    ),
    "temporal_local": EngineKind(
        "Temporal, local activities", "temporal_local_saga",
        "the same with local activities: deliveries are recorded together with the workflow's task, not each for "
        "itself",
        SQLITE, _python("temporal"), _temporal, _temporal_versions, warm=20,
    ),
    "restate": EngineKind(
        "Restate", "restate_saga",
        "orders sent to the ingress with an idempotency key, 100 at a time; a service on Node.js with five durable "
        "steps; one server with its default settings", "its own log on RocksDB, fsync on (the default)",
        _install_restate, _restate, _restate_versions, warm=100,
    ),
    "absurd": EngineKind(
        "absurd", "absurd_saga",
        "a task with an idempotency key and five steps; 10 workers in one process, each on a connection of its own, 5 "
        "tasks at a time; claims of 5 s", POSTGRES, _python("absurd"), _postgres,
        _versions_of("absurd", "absurd-sdk", "psycopg"), warm=50,
    ),
}  # fmt: skip
