"""Which programs make up the demonstration, and how each is started."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from crossdock.cli.children import Program
from crossdock.cli.demo import (
    PARTNER_PORTS,
    DemoCredentials,
    SecretReference,
    partner_url,
    secret_of,
)
from crossdock.cli.home import Home

ERP: Final = "erp"
# Partners that push; the others are polled or are called only.
PUSHING: Final = frozenset({"shop", "agora", "wms", "carrier"})
# Whose shelves are not ours, and the place that they stand at: each with a warehouse system of its own.
FOREIGN_PLACES: Final = {"supplier": "DSP", "centre": "FBB"}


@dataclass(frozen=True, slots=True)
class Demo:
    """What the programs of one demonstration need to know."""

    home: Home
    configuration: Path
    credentials: DemoCredentials
    references: list[SecretReference]
    database: str


def partner_programs(demo: Demo) -> list[Program]:
    """The sandbox partners but the ERP."""
    return [_partner(demo, name) for name in PARTNER_PORTS if name != ERP]


def _partner(demo: Demo, name: str) -> Program:
    home = demo.home
    command = [
        sys.executable, "-m", "crossdock.sandbox", "wms" if name in FOREIGN_PLACES else name,
        "--port", str(home.port + PARTNER_PORTS[name]), "--home", str(home.partners), "--name", name,
    ]  # fmt: skip
    environment = {"CROSSDOCK_SANDBOX_API_KEY": secret_of(demo.credentials, demo.references, name, webhook=False)}
    if name in PUSHING:
        command += ["--webhook-url", f"{home.url}/hooks/{name}"]
        environment["CROSSDOCK_SANDBOX_WEBHOOK_SECRET"] = secret_of(
            demo.credentials, demo.references, name, webhook=True
        )
    if name == "portal":
        client = demo.credentials.clients["portal"]
        command += ["--crossdock-url", home.url]
        environment["CROSSDOCK_SANDBOX_CLIENT_ID"] = client.client_id
        environment["CROSSDOCK_SANDBOX_CLIENT_SECRET"] = client.client_secret
    if name in FOREIGN_PLACES:
        command += ["--warehouses", FOREIGN_PLACES[name]]
    if name == "wms" or name in FOREIGN_PLACES:
        command += ["--carrier-url", partner_url(home, "carrier")]
        environment["CROSSDOCK_SANDBOX_CARRIER_KEY"] = secret_of(
            demo.credentials, demo.references, "carrier", webhook=False
        )
    return Program(name, tuple(command), home.logs / f"{name}.log", environment, stop_seconds=8)


def erp_program(demo: Demo, environment_directory: Path) -> Program:
    """The real Tryton with its helper in front."""
    home = demo.home
    command = (
        sys.executable, "-m", "crossdock.sandbox.tryton", "--port", str(home.port + PARTNER_PORTS[ERP]),
        "--home", str(home.tryton), "--database-url", demo.database, "--venv", str(environment_directory),
    )  # fmt: skip
    password = secret_of(demo.credentials, demo.references, ERP, webhook=False)
    environment = {"CROSSDOCK_SANDBOX_TRYTON_PASSWORD": password}
    return Program("erp", command, home.logs / "erp.log", environment, stop_seconds=20)


def own_program(demo: Demo, name: str, *arguments: str) -> Program:
    """A process of Crossdock itself: the API or a worker."""
    home = demo.home
    command = (sys.executable, "-m", "crossdock.cli.main", *arguments, "--config", str(demo.configuration))
    environment = {
        "CROSSDOCK_HOME": str(home.directory), "CROSSDOCK_PORT": str(home.port),
        "PROMETHEUS_MULTIPROC_DIR": str(home.metrics),
    }  # fmt: skip
    return Program(name, command, home.logs / f"{name}.log", environment, stop_seconds=20)


def stream_program(demo: Demo, orders_per_second: float, duration_seconds: float) -> Program:
    """The buyers who place orders at the partners."""
    home = demo.home
    command = [
        sys.executable, "-m", "crossdock.sandbox", "stream", "--home", str(home.partners),
        "--orders-per-second", str(orders_per_second), "--duration", str(duration_seconds),
    ]  # fmt: skip
    for channel in ("portal", "shop", "bazaar", "agora"):
        command += [f"--{channel}", partner_url(home, channel)]
    again = not duration_seconds
    return Program("stream", tuple(command), home.logs / "stream.log", stop_seconds=5, again=again)
