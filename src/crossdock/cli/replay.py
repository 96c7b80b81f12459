"""`crossdock replay`: do parked steps or facts again, one or all that match; `--rehearse` only shows what would be."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import click

from crossdock.app import Application
from crossdock.cli.application import with_application
from crossdock.cli.exits import HELP, USAGE
from crossdock.cli.orders import actor, read_order_id
from crossdock.cli.output import finish, say, show_json, show_table, with_pool
from crossdock.insight.holds import read_quarantine_groups


@click.group(epilog=HELP)
def replay() -> None:
    """Do again what is parked in quarantine."""


@replay.command("list")
@click.option("--json", "as_json", is_flag=True)
def list_parked(as_json: bool) -> None:
    """What is parked, by connection and cause."""
    found = finish(with_pool(dict(os.environ), read_quarantine_groups))
    if as_json:
        show_json(found)
        return
    show_table(
        "Quarantine", ("what", "connection", "kind", "cause", "count", "says", "what to do"),
        [(group.what, group.connection, group.subject_kind, group.cause, group.count, group.message, group.next_action)
         for group in found],
    )  # fmt: skip


@replay.command()
@click.option("--connection", default="", help="Only steps at this connection.")
@click.option("--cause", default="", help="Only steps parked for this error code.")
@click.option("--order", "numbers", multiple=True, help="Only steps of this order; may be repeated.")
@click.option("--all", "everything", is_flag=True, help="All parked steps.")
@click.option("--rehearse", is_flag=True, help="Only show what matches.")
@click.option("--config", "configuration", default="")
@click.option("--json", "as_json", is_flag=True)
def steps(
    connection: str, cause: str, numbers: tuple[str, ...], everything: bool, rehearse: bool, configuration: str,
    as_json: bool,
) -> None:  # fmt: skip
    """Begin parked steps again."""
    _check_choice(everything, connection, cause, numbers)
    if rehearse:
        _rehearse("step", connection, cause, as_json)
        return

    async def work(application: Application) -> int:
        return await application.control.replay_steps(
            datetime.now(UTC), actor(), connection=connection or None, error_code=cause or None,
            order_ids=[read_order_id(number) for number in numbers] if numbers else None,
        )  # fmt: skip

    _tell(finish(with_application(configuration, work)), "steps", as_json)


@replay.command()
@click.option("--connection", default="", help="Only facts of this connection.")
@click.option("--cause", default="", help="Only facts parked for this cause.")
@click.option("--fact", "fact_ids", type=int, multiple=True, help="Only this fact; may be repeated.")
@click.option("--all", "everything", is_flag=True, help="All parked facts.")
@click.option("--rehearse", is_flag=True, help="Only show what matches.")
@click.option("--config", "configuration", default="")
@click.option("--json", "as_json", is_flag=True)
def facts(
    connection: str, cause: str, fact_ids: tuple[int, ...], everything: bool, rehearse: bool, configuration: str,
    as_json: bool,
) -> None:  # fmt: skip
    """Decide parked facts again."""
    _check_choice(everything, connection, cause, fact_ids)
    if rehearse:
        _rehearse("fact", connection, cause, as_json)
        return

    async def work(application: Application) -> int:
        return await application.control.replay_facts(
            datetime.now(UTC), actor(), connection=connection or None, cause=cause or None, fact_ids=fact_ids or None
        )

    _tell(finish(with_application(configuration, work)), "facts", as_json)


def _check_choice(everything: bool, *filters: object) -> None:
    if everything == any(filters):
        say("Say what to do again: --all, or at least one of the filters.")
        raise SystemExit(USAGE)


def _rehearse(what: str, connection: str, cause: str, as_json: bool) -> None:
    groups = [
        group for group in finish(with_pool(dict(os.environ), read_quarantine_groups))
        if group.what == what and connection in ("", group.connection) and cause in ("", group.cause)
    ]  # fmt: skip
    if as_json:
        show_json(groups)
        return
    show_table(
        "Would be done again", ("connection", "kind", "cause", "count", "says"),
        [(group.connection, group.subject_kind, group.cause, group.count, group.message) for group in groups],
    )  # fmt: skip


def _tell(count: int, what: str, as_json: bool) -> None:
    if as_json:
        show_json({"replayed": count})
    else:
        say(f"{count} {what} are done again")

