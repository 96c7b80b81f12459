"""The configuration file: read, checked as a whole, and handed on as typed parts.

`load_configuration` reports every problem at once, each with its line and what to do. What only the connectors can
judge (settings of a system, operations that it offers) is checked where they are known.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from crossdock.policy.checks import check_references
from crossdock.policy.connections import AvailabilityPolicy, Cell, ConnectionPolicy
from crossdock.policy.console import ConsolePolicy
from crossdock.policy.lines import find_line, locate_keys
from crossdock.policy.plans import Plan, Plans
from crossdock.policy.policy import ChannelPolicy, Location, Policy, Sourcing
from crossdock.policy.problems import ConfigurationErrors, Problem, Problems
from crossdock.policy.reading import read_value
from crossdock.policy.resilience import BreakerPolicy, RetryTable
from crossdock.policy.retention import RetentionPolicy
from crossdock.policy.secrets import SecretSource
from crossdock.policy.stock import StockPolicy
from crossdock.policy.tax import Taxation, TaxPolicy

__all__ = ["Configuration", "ConfigurationErrors", "Problem", "load_configuration"]

_PLACE: Final = re.compile(r"\(at (?:line (\d+), column \d+|end of document)\)")

# Section -> its type; sections without a default must be there.
SECTIONS: Final[Mapping[str, Any]] = {
    "cell": Cell,
    "regions": dict[str, str],
    "locations": tuple[Location, ...],
    "sourcing": Sourcing,
    "channels": dict[str, ChannelPolicy],
    "connections": dict[str, ConnectionPolicy],
    "plans": tuple[Plan, ...],
    "retry": RetryTable,
    "breaker": BreakerPolicy,
    "availability": AvailabilityPolicy,
    "stock": StockPolicy,
    "tax": TaxPolicy,
    "retention": RetentionPolicy,
    "console": ConsolePolicy,
}
_DEFAULTS: Final[Mapping[str, Any]] = {
    "retry": RetryTable(), "breaker": BreakerPolicy(), "availability": AvailabilityPolicy(),
    "stock": StockPolicy(), "tax": TaxPolicy(), "retention": RetentionPolicy(), "console": ConsolePolicy(),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Configuration:
    """A whole, checked configuration. `policy` is what the rules read."""

    file: str
    cell: Cell
    policy: Policy
    connections: Mapping[str, ConnectionPolicy]
    retry: RetryTable
    breaker: BreakerPolicy
    availability: AvailabilityPolicy
    lines: Mapping[str, int]
    retention: RetentionPolicy = field(default_factory=RetentionPolicy)
    console: ConsolePolicy = field(default_factory=ConsolePolicy)

    def line_of(self, path: str) -> int:
        """The line of a setting, or of the nearest table around it: for problems that only connectors can find."""
        return find_line(self.lines, path)

    @property
    def version(self) -> str:
        return self.policy.version

    @property
    def channel_connections(self) -> dict[str, str]:
        """Channel -> the connection that its orders come from and its status goes to."""
        return {name: channel.connection for name, channel in self.policy.channels.items()}

    @property
    def warehouse_connections(self) -> dict[str, str]:
        """Location -> the connection of its warehouse system."""
        return {code: location.connection for code, location in self.policy.locations.items()}


def load_configuration(path: Path, environment: Mapping[str, str]) -> Configuration:
    """Read the file at `path`; secrets come from `environment` and from secret files beside it.

    Raises ConfigurationErrors that holds every problem.
    """
    problems = Problems(path.name, {})
    content = _read_bytes(path, problems)
    text = _decode(content, problems)
    document = _parse(text, problems)
    problems.lines = locate_keys(text)
    source = SecretSource(path.parent, environment, problems)
    read = _read_sections(document, source, problems)
    check_references(read, problems)
    problems.stop_if_any()
    policy = Policy(
        version=hashlib.sha256(content).hexdigest()[:12], channels=read["channels"], regions=read["regions"],
        locations={location.code: location for location in read["locations"]}, sourcing=read["sourcing"],
        plans=Plans(read["plans"]), stock=read["stock"], tax=Taxation(read["tax"]),
    )  # fmt: skip
    return Configuration(
        path.name, read["cell"], policy, read["connections"], read["retry"], read["breaker"], read["availability"],
        problems.lines, read["retention"], read["console"],
    )  # fmt: skip


def _read_bytes(path: Path, problems: Problems) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        problems.add("", f"The configuration {path.name} cannot be read.", "Create it, or name another with --config.")
        problems.stop_if_any()
        raise


def _decode(content: bytes, problems: Problems) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problems.add("", "This is no UTF-8 text.", "Save the file as UTF-8.", line=line)
        problems.stop_if_any()
        raise


def _parse(text: str, problems: Problems) -> dict[str, Any]:
    try:
        return tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        place = _PLACE.search(str(error))
        line = int(place.group(1)) if place and place.group(1) else text.count("\n") + 1
        message = _PLACE.sub("", str(error)).strip().rstrip(".")
        problems.add("", f"This is no TOML: {message}.", "Correct the line.", line=line)
        problems.stop_if_any()
        raise


def _read_sections(document: Mapping[str, Any], source: SecretSource, problems: Problems) -> dict[str, Any]:
    for name in document:
        if name not in SECTIONS:
            problems.add(name, f"There is no section {name}.", f"Use: {', '.join(SECTIONS)}.")
    connections = document.get("connections")
    read: dict[str, Any] = {"connection_names": sorted(connections) if isinstance(connections, Mapping) else []}
    for name, kind in SECTIONS.items():
        if name not in document:
            if name not in _DEFAULTS:
                problems.add(name, f"The section {name} is missing.", f"Add [{name}].")
            read[name] = _DEFAULTS.get(name)
            continue
        table = document[name]
        if name == "connections" and isinstance(table, Mapping):
            table = {
                key: source.resolve_connection(value, f"connections.{key}") if isinstance(value, Mapping) else value
                for key, value in table.items()
            }  # fmt: skip
        read[name] = read_value(kind, table, name, problems)
    return read
