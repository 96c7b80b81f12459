"""`crossdock replay`: do parked steps or facts again, one or all that match, or end what was settled otherwise;
`--rehearse` only shows what matches, one by one.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, BinaryIO, TypeVar

import click
import msgspec

from crossdock.app import Application
from crossdock.cli.application import with_application
from crossdock.cli.exits import HELP, USAGE
from crossdock.cli.orders import actor, read_order_id
from crossdock.cli.output import finish, say, show_json, show_table, with_pool
from crossdock.engine.control import Settlement
from crossdock.engine.rehearsal import Rehearsed
from crossdock.insight.holds import (
    QuarantinedFact,
    QuarantinedStep,
    list_quarantined_facts,
    list_quarantined_steps,
    read_quarantine_groups,
)
from crossdock.insight.paging import LIMIT_MAX, Listing

Parked = TypeVar("Parked")


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
        _rehearse_steps(connection, cause, numbers, as_json)
        return

    async def work(application: Application) -> int:
        return await application.control.replay_steps(
            application.clock(), actor(), connection=connection or None, error_code=cause or None,
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
        _rehearse_facts(connection, cause, fact_ids, configuration, as_json)
        return

    async def work(application: Application) -> int:
        return await application.control.replay_facts(
            application.clock(), actor(), connection=connection or None, cause=cause or None, fact_ids=fact_ids or None
        )

    _tell(finish(with_application(configuration, work)), "facts", as_json)


@replay.command()
@click.option("--connection", default="", help="Only facts of this connection.")
@click.option("--cause", default="", help="Only facts parked for this cause.")
@click.option("--fact", "fact_ids", type=int, multiple=True, help="Only this fact; may be repeated.")
@click.option("--reason", required=True, help="How it was settled; it is written to the audit.")
@click.option("--rehearse", is_flag=True, help="Only show what matches.")
@click.option("--config", "configuration", default="")
@click.option("--json", "as_json", is_flag=True)
def dismiss(
    connection: str, cause: str, fact_ids: tuple[int, ...], reason: str, rehearse: bool, configuration: str,
    as_json: bool,
) -> None:  # fmt: skip
    """Close parked facts that were settled otherwise: their payload is kept, nothing decides them again."""
    if not (connection or cause or fact_ids):
        say("Say what is meant by at least one of the filters.")
        raise SystemExit(USAGE)
    if rehearse:
        _show_facts(finish(with_pool(dict(os.environ), _reading(connection, cause, fact_ids))), as_json)
        return

    async def work(application: Application) -> int:
        return await application.control.dismiss_facts(
            application.clock(), actor(), reason, connection=connection or None, cause=cause or None,
            fact_ids=fact_ids or None,
        )  # fmt: skip

    count = finish(with_application(configuration, work))
    if as_json:
        show_json({"dismissed": count})
    else:
        say(f"{count} facts are closed")


@replay.command()
@click.argument("fact", type=int)
@click.option("--config", "configuration", default="")
def show(fact: int, configuration: str) -> None:
    """Print a parked message as it would be decided again, to be corrected. It may name people."""

    async def work(application: Application) -> bytes:
        return await application.control.read_parked(fact)

    click.echo(msgspec.json.format(finish(with_application(configuration, work)), indent=2))


@replay.command()
@click.argument("fact", type=int)
@click.option("--file", "file", type=click.File("rb"), required=True, help="The corrected message; - reads it.")
@click.option("--reason", required=True, help="What was corrected and who said so; it is written to the audit.")
@click.option("--config", "configuration", default="")
def correct(fact: int, file: BinaryIO, reason: str, configuration: str) -> None:
    """Correct a parked message and decide it again; what was received is kept."""
    body = file.read()

    async def work(application: Application) -> None:
        await application.control.correct_fact(application.clock(), actor(), fact, body, reason)

    finish(with_application(configuration, work))
    say(f"{fact} is decided again as corrected")


@replay.command()
@click.argument("order")
@click.argument("step")
@click.option("--done", "ended", flag_value="done", help="It is done at the partner; what follows goes on.")
@click.option("--refused", "ended", flag_value="refused", help="It will not be done; the order is undone by its plan.")
@click.option("--number", default="", help="The partner's number for it, if it is done.")
@click.option("--reason", required=True, help="How it was settled; it is written to the audit.")
@click.option("--config", "configuration", default="")
def settle(order: str, step: str, ended: str | None, number: str, reason: str, configuration: str) -> None:
    """End a parked step as a person found it at the partner."""
    if ended is None:
        say("Say what was found at the partner: --done or --refused.")
        raise SystemExit(USAGE)
    found: Settlement = "done" if ended == "done" else "refused"

    async def work(application: Application) -> None:
        await application.control.settle_step(
            application.clock(), actor(), read_order_id(order), step, found, number, reason
        )

    finish(with_application(configuration, work))
    say(f"{step} of {order} is settled as {ended}")


def _check_choice(everything: bool, *filters: object) -> None:
    if everything == any(filters):
        say("Say what is meant: --all, or at least one of the filters.")
        raise SystemExit(USAGE)


async def _read_all(read_page: Callable[[str], Awaitable[Listing[Parked]]]) -> list[Parked]:
    found: list[Parked] = []
    cursor = ""
    while True:
        page = await read_page(cursor)
        found += page.items
        cursor = page.cursor
        if not cursor:
            return found


def _rehearse_steps(connection: str, cause: str, numbers: tuple[str, ...], as_json: bool) -> None:
    async def read(pool: Any) -> list[QuarantinedStep]:
        wanted = {read_order_id(number) for number in numbers}
        parked = await _read_all(lambda cursor: list_quarantined_steps(
            pool, connection=connection, cause=cause, cursor=cursor, limit=LIMIT_MAX
        ))  # fmt: skip
        return [step for step in parked if not wanted or step.order_id in wanted]

    found = finish(with_pool(dict(os.environ), read))
    if as_json:
        show_json(found)
        return
    show_table(
        "Would be done again", ("order", "step", "connection", "cause", "says"),
        [(step.number, step.name, step.connection, step.cause, step.message) for step in found],
    )  # fmt: skip


def _reading(
    connection: str, cause: str, fact_ids: tuple[int, ...]
) -> Callable[[Any], Awaitable[list[QuarantinedFact]]]:
    async def read(pool: Any) -> list[QuarantinedFact]:
        parked = await _read_all(lambda cursor: list_quarantined_facts(
            pool, connection=connection, cause=cause, cursor=cursor, limit=LIMIT_MAX
        ))  # fmt: skip
        return [fact for fact in parked if not fact_ids or fact.fact_id in fact_ids]

    return read


def _rehearse_facts(
    connection: str, cause: str, fact_ids: tuple[int, ...], configuration: str, as_json: bool
) -> None:
    """Orders are decided as they would be now, and nothing of it is kept."""

    async def work(application: Application) -> tuple[list[QuarantinedFact], Mapping[int, Rehearsed]]:
        found = await _reading(connection, cause, fact_ids)(application.pool)
        return found, await application.control.rehearse_facts([fact.fact_id for fact in found])

    found, outcomes = finish(with_application(configuration, work))
    if as_json:
        show_json([{"fact": fact, "outcome": outcomes.get(fact.fact_id)} for fact in found])
        return
    _show_facts(found, False, outcomes)


def _show_facts(
    found: list[QuarantinedFact], as_json: bool, outcomes: Mapping[int, Rehearsed] | None = None
) -> None:
    if as_json:
        show_json(found)
        return
    rows = []
    for fact in found:
        outcome = (outcomes or {}).get(fact.fact_id)
        would = f"{outcome.state}: {' '.join(outcome.reasons)}".removesuffix(": ") if outcome else ""
        about = fact.subject or fact.business_key
        rows.append((fact.fact_id, fact.connection, fact.kind, about, fact.cause, fact.message, would))
    columns = ("fact", "connection", "kind", "of", "cause", "says", "would be")
    show_table("Parked", columns, rows)


def _tell(count: int, what: str, as_json: bool) -> None:
    if as_json:
        show_json({"replayed": count})
    else:
        say(f"{count} {what} are done again")

