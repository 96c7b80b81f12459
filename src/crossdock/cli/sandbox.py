"""`crossdock sandbox <kind>`: one sandbox partner, the ERP with its helper, or the stream of orders, alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click

from crossdock.cli.exits import HELP
from crossdock.cli.home import find_home
from crossdock.cli.output import finish, guarded, say
from crossdock.cli.tryton import ensure_tryton

KINDS = ("shop", "portal", "bazaar", "agora", "wms", "tax", "payment", "carrier", "stream", "tryton")


@click.command(
    epilog=HELP, context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
)
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def sandbox(kind: str, arguments: tuple[str, ...]) -> None:
    """Start one sandbox partner alone: --port N --home DIR and more (see `crossdock sandbox KIND --help`).

    Each answers GET /_log (append-only write log) and PUT /_faults (fault plan with seed). `tryton --setup` only
    installs the ERP.
    """
    environment = dict(os.environ)
    home = guarded(lambda: find_home(environment))
    if kind == "tryton" and "--help" not in arguments:
        directory = Path(_value_of(arguments, "--venv") or "")
        if not _value_of(arguments, "--venv"):
            directory = finish(ensure_tryton(home, say))
            arguments = (*arguments, "--venv", str(directory))
        if "--setup" in arguments:
            say(f"Tryton is installed in {directory}")
            return
    module = ("crossdock.sandbox.tryton",) if kind == "tryton" else ("crossdock.sandbox", kind)
    # The same process from here on: signals and the exit code are the partner's own.
    command = [sys.executable, "-m", *module, *arguments]
    if os.name == "posix":
        os.execv(sys.executable, command)  # noqa: S606 no shell, arguments as given
    sys.exit(subprocess.call(command))


def _value_of(arguments: tuple[str, ...], option: str) -> str:
    for index, argument in enumerate(arguments):
        if argument == option and index + 1 < len(arguments):
            return arguments[index + 1]
        if argument.startswith(f"{option}="):
            return argument.partition("=")[2]
    return ""
