"""`crossdock`: the command line. Subcommands live in modules of their own; this one only puts them together."""

from __future__ import annotations

from importlib.metadata import version

import click

from crossdock.cli.configuration import config
from crossdock.cli.connections import connections
from crossdock.cli.exits import HELP
from crossdock.cli.orders import orders
from crossdock.cli.prove import prove
from crossdock.cli.replay import replay
from crossdock.cli.run import run
from crossdock.cli.sandbox import sandbox
from crossdock.cli.serve import api, migrate, worker
from crossdock.cli.status import status
from crossdock.cli.stock import stock


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog=HELP)
@click.version_option(version("crossdock"), prog_name="crossdock")
def main() -> None:
    """Crossdock: orders, stock, shipments and money between every system, exactly once.

    CROSSDOCK_HOME (default ./.crossdock) holds the state, CROSSDOCK_PORT (default 8700) is the first port,
    CROSSDOCK_DATABASE_URL names a PostgreSQL of your own.
    """


for command in (run, api, worker, status, migrate, orders, stock, replay, connections, sandbox, config, prove):
    main.add_command(command)


if __name__ == "__main__":
    main()
