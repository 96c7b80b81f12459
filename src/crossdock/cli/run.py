"""`crossdock run --demo`."""

from __future__ import annotations

import os
import sys
import time

import click

from crossdock.cli.exits import HELP
from crossdock.cli.home import find_home, locked
from crossdock.cli.output import find_configuration, finish, guarded, say
from crossdock.cli.programs import Demo
from crossdock.cli.supervisor import RunOptions, Supervisor


@click.command(epilog=HELP)
@click.option("--demo", is_flag=True, help="Bring the real ERP and the sandbox partners up too.")
@click.option("--orders-per-second", type=click.FloatRange(0, 200), default=0.5, show_default=True,
              help="Pace of the stream of orders; 0 for none.")  # fmt: skip
@click.option("--duration", type=click.FloatRange(0), default=0.0, help="End after so many seconds of orders.")
@click.option("--workers", type=click.IntRange(1, 16), default=1, show_default=True, help="Worker processes.")
@click.option("--config", "configuration", default="", help="The configuration; default ./crossdock.toml.")
def run(demo: bool, orders_per_second: float, duration: float, workers: int, configuration: str) -> None:
    """Bring everything up on this machine and keep it running until Ctrl-C."""
    if not demo:
        raise click.UsageError("Only the demonstration can be run as a whole: add --demo. Otherwise: api, worker.")
    environment = dict(os.environ)
    home = guarded(lambda: find_home(environment))
    options = RunOptions(home, find_configuration(configuration), orders_per_second, duration, workers, environment)
    started = time.monotonic()

    def say_when(text: str) -> None:
        say(f"[{time.monotonic() - started:6.1f} s] {text}")

    def work() -> int:
        with locked(home, "run"):
            return finish(Supervisor(options, say_when, show_ready).run())

    sys.exit(guarded(work))


def show_ready(demo: Demo) -> None:
    """What a person needs to know once the first order can be placed."""
    user, client = demo.credentials.console, demo.credentials.clients["operator"]
    url = demo.home.url
    for line in (
        "",
        f"Crossdock is ready: {url}",
        f"  Console      {url}/console   sign in as {user.user} with {user.password}",
        f"  API          {url}/docs   client {client.client_id} with {client.client_secret}",
        f"  Credentials  {demo.home.demo}",
        f"  Logs         {demo.home.logs}",
        "  Ctrl-C stops everything; running again goes on with the same data.",
        "",
    ):
        click.echo(line)
    sys.stdout.flush()
