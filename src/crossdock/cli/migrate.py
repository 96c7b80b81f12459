"""`crossdock migrate`."""

from __future__ import annotations

import os

import click

from crossdock.cli.exits import HELP
from crossdock.cli.home import database_address, find_home
from crossdock.cli.output import finish, say, show_json
from crossdock.ledger.migrate import migrate as apply_migrations


@click.command(epilog=HELP)
@click.option("--json", "as_json", is_flag=True)
def migrate(as_json: bool) -> None:
    """Bring the database's tables up to this release."""
    environment = dict(os.environ)

    async def work() -> list[str]:
        return await apply_migrations(database_address(find_home(environment), environment))

    applied = finish(work())
    if as_json:
        show_json({"applied": applied})
    else:
        say(f"Applied: {', '.join(applied)}" if applied else "The database is up to date.")
