"""`crossdock`: the command line. Each command lives in a module of its own, which is loaded when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import version
from types import MappingProxyType
from typing import Final

import click

from crossdock.cli.exits import HELP

# Command -> the module in this package that has it. A command that only reads must not wait a second for the parts of
# the API.
COMMANDS: Final[Mapping[str, str]] = MappingProxyType({
    "run": "run", "api": "serve", "worker": "worker", "status": "status", "migrate": "migrate", "orders": "orders",
    "stock": "stock", "replay": "replay", "connections": "connections", "sandbox": "sandbox", "config": "configuration",
    "prove": "prove",
})  # fmt: skip


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = COMMANDS.get(cmd_name)
        if module is None:
            return None
        command: click.Command = getattr(import_module(f"crossdock.cli.{module}"), cmd_name)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]}, epilog=HELP)
@click.version_option(version("crossdock"), prog_name="crossdock")
def main() -> None:
    """Crossdock: orders, stock, shipments and money between every system, exactly once.

    CROSSDOCK_HOME (default ./.crossdock) holds the state, CROSSDOCK_PORT (default 8700) is the first port,
    CROSSDOCK_DATABASE_URL names a PostgreSQL of your own.
    """


if __name__ == "__main__":
    main()
