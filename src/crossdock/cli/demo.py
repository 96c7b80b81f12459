"""The demonstration's credentials and addresses: generated at the first start, kept in `demo.json` with mode 600.

Which secrets are needed follows from the configuration: every `{ env = "NAME" }` under a connection. There is no
password in the code, and none is ever reused between two homes.
"""

from __future__ import annotations

import base64
import secrets
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from crossdock.cli.home import Home, write_private

# Each partner's port, counted from CROSSDOCK_PORT.
PARTNER_PORTS: Final[Mapping[str, int]] = {
    "erp": 1, "shop": 2, "portal": 3, "bazaar": 4, "agora": 5, "wms": 6, "tax": 7, "payment": 8, "carrier": 9,
    "supplier": 10, "centre": 11,
}  # fmt: skip
CHANNELS: Final = ("portal", "shop", "bazaar", "agora", "sales-app")
CHANNEL_SCOPES: Final = (
    "availability:read", "prices:quote", "accounts:validate", "orders:write", "orders:read", "shipments:read",
)  # fmt: skip
OPERATOR_SCOPES: Final = (
    *CHANNEL_SCOPES, "holds:read", "holds:write", "connections:read", "connections:write", "quarantine:read",
    "quarantine:write", "stock:read", "stock:write",
)  # fmt: skip


class ConsoleUser(msgspec.Struct, frozen=True):
    user: str
    password: str


class DemoClient(msgspec.Struct, frozen=True):
    """An API client: one per channel, and one for an operator's own programs that may do everything."""

    client_id: str
    client_secret: str
    scopes: tuple[str, ...]
    channels: tuple[str, ...]


class DemoCredentials(msgspec.Struct, frozen=True):
    """`secrets` maps an environment variable's name, as the configuration names it, to its value."""

    console: ConsoleUser
    clients: dict[str, DemoClient]
    secrets: dict[str, str]


class SecretReference(msgspec.Struct, frozen=True):
    """`{ env = "NAME" }` somewhere under a connection."""

    connection: str
    path: tuple[str, ...]
    variable: str

    @property
    def is_webhook_secret(self) -> bool:
        return any("webhook" in key for key in self.path)

    @property
    def is_address(self) -> bool:
        return self.path[-1] in ("url", "base_url")


def find_references(configuration: Path) -> list[SecretReference]:
    """Every environment variable that the configuration's connections ask for."""
    document = tomllib.loads(configuration.read_text(encoding="utf-8"))
    found = []
    for connection, table in document.get("connections", {}).items():
        found += [SecretReference(connection, keys, name) for keys, name in _walk(table, ())]
    return found


def _walk(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, dict):
        if isinstance(value.get("env"), str) and len(value) == 1:
            yield path, value["env"]
            return
        for key, item in value.items():
            yield from _walk(item, (*path, key))
    elif isinstance(value, list):
        for item in value:
            yield from _walk(item, path)


def read_credentials(home: Home) -> DemoCredentials | None:
    if not home.demo.exists():
        return None
    return msgspec.json.decode(home.demo.read_bytes(), type=DemoCredentials)


def make_credentials(home: Home, configuration: Path) -> DemoCredentials:
    """What is kept, completed by what the configuration asks for since; written when anything was missing."""
    kept = read_credentials(home)
    made = new_credentials(kept, configuration)
    if made != kept:
        write_private(home.demo, msgspec.json.format(msgspec.json.encode(made), indent=2) + b"\n")
    return made


def new_credentials(kept: DemoCredentials | None, configuration: Path) -> DemoCredentials:
    """Fresh credentials for whatever is not kept yet."""
    console = kept.console if kept else ConsoleUser("operator", secrets.token_urlsafe(12))
    clients = dict(kept.clients) if kept else {}
    for name in CHANNELS:
        clients.setdefault(name, _client(name, CHANNEL_SCOPES, (name,)))
    clients.setdefault("operator", _client("operator", OPERATOR_SCOPES, CHANNELS))
    # A home of an earlier release learns of channels that came since; the secret stays.
    clients["operator"] = msgspec.structs.replace(clients["operator"], channels=CHANNELS)
    values = dict(kept.secrets) if kept else {}
    for reference in find_references(configuration):
        if not reference.is_address:
            values.setdefault(reference.variable, _secret(reference))
    return DemoCredentials(console, clients, values)


def _client(name: str, scopes: tuple[str, ...], channels: tuple[str, ...]) -> DemoClient:
    return DemoClient(f"{name}-{secrets.token_hex(4)}", secrets.token_urlsafe(32), scopes, channels)


def _secret(reference: SecretReference) -> str:
    if reference.is_webhook_secret:
        return "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
    return secrets.token_urlsafe(24)


def partner_url(home: Home, connection: str) -> str:
    return f"http://127.0.0.1:{home.port + PARTNER_PORTS[connection]}"


def configuration_environment(
    home: Home, configuration: Path, environment: Mapping[str, str], *, rehearsed: bool = False
) -> dict[str, str]:
    """The environment that the configuration is read with: the process's own over the demonstration's values.

    `rehearsed`: before the first start there are none; values are made up, for a check only.
    """
    credentials = read_credentials(home) or (new_credentials(None, configuration) if rehearsed else None)
    if credentials is None:
        return dict(environment)
    addresses = {
        reference.variable: partner_url(home, reference.connection)
        for reference in find_references(configuration)
        if reference.is_address and reference.connection in PARTNER_PORTS
    }
    return {**addresses, **credentials.secrets, **environment}


def secret_of(
    credentials: DemoCredentials, references: list[SecretReference], connection: str, *, webhook: bool
) -> str:
    """The value of a connection's key, or of its newest webhook secret; "" if it has none."""
    for reference in references:
        if reference.connection == connection and not reference.is_address and reference.is_webhook_secret is webhook:
            return credentials.secrets[reference.variable]
    return ""
