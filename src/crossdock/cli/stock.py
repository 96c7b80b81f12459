"""`crossdock stock`: what may be promised, and why; balances from files."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click

from crossdock.app import Application
from crossdock.cli.application import with_application
from crossdock.cli.exits import HELP, REFUSED
from crossdock.cli.explanation import explain_lines
from crossdock.cli.output import finish, say, show_json
from crossdock.cli.stock_compare import compare, drift
from crossdock.cli.stock_file import load_file
from crossdock.kit.masking import printable
from crossdock.ledger.inventory import Holder, Ordered, read_holders, read_ordered, read_price_group, read_stockroom
from crossdock.ledger.stock_load import Loaded
from crossdock.model.errors import Invalid
from crossdock.model.stock import ChannelAvailability
from crossdock.rules.availability import channel_terms, explain_availability


@click.group(epilog=HELP)
def stock() -> None:
    """Look at stock: what may be promised, and why; load balances; compare with owners and channels."""


stock.add_command(compare)
stock.add_command(drift)


@stock.command()
@click.argument("sku")
@click.option("--channel", required=True, help="Whose promise it is.")
@click.option("--customer", default="", help="An account: its price group may have terms of its own.")
@click.option("--config", "configuration", default="")
@click.option("--json", "as_json", is_flag=True)
def explain(sku: str, channel: str, customer: str, configuration: str, as_json: bool) -> None:
    """Show why a channel may promise what it may, as a sum."""

    async def work(application: Application) -> tuple[ChannelAvailability, list[Holder], list[Ordered]]:
        return await explain_sku(application, sku, channel, customer)

    why, holders, ordered = finish(with_application(configuration, work))
    if as_json:
        show_json({"availability": why, "held_by": holders, "on_order": ordered})
        return
    for line in explain_lines(why, holders, ordered):
        click.echo(printable(line))


@stock.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--source", required=True, help="The connection whose balances these are.")
@click.option("--complete", is_flag=True, help="What the file does not name is not there.")
@click.option("--as-of", "as_of", default="", help="For rows without a time of their own; default now.")
@click.option("--rejects", type=click.Path(dir_okay=False, path_type=Path), help="Default: FILE.rejects.csv.")
@click.option("--believe", is_flag=True, help="Take it although it looks too wild to be true.")
@click.option("--config", "configuration", default="")
@click.option("--json", "as_json", is_flag=True)
def load(
    file: Path, source: str, complete: bool, as_of: str, rejects: Path | None, believe: bool, configuration: str,
    as_json: bool,
) -> None:  # fmt: skip
    """Take balances from a CSV file: sku,location,on_hand,unit,as_of,quality_hold,damaged,in_transit,lot,expires_on."""
    wrong = rejects or file.with_name(f"{file.name}.rejects.csv")

    async def work(application: Application) -> Loaded:
        time = _read_time(as_of)
        return await load_file(application, file, source, time, wrong, complete=complete, believe=believe)

    loaded = finish(with_application(configuration, work))
    if not loaded.rejected:
        wrong.unlink(missing_ok=True)
    if as_json:
        show_json({"loaded": loaded, "rejects": str(wrong) if loaded.rejected else ""})
    else:
        say(f"{loaded.rows} rows: {loaded.taken} taken, {loaded.rejected} rejected, {loaded.foreign} of places that "
            f"{source} does not own, {loaded.emptied} emptied because the file does not name them")  # fmt: skip
    if loaded.rejected:
        say(f"The rejected lines with reason and fix are in {wrong}")
    if loaded.held:
        say(f"Nothing was taken: {loaded.held}")
        say("Look at the file; --believe takes it as it is.")
        raise SystemExit(REFUSED)


def _read_time(text: str) -> datetime | None:
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise Invalid("as_of_form", f"{text} is no time with its zone.", next_action="Write 2026-03-02T09:30:00Z.")
    return found


async def explain_sku(
    application: Application, sku: str, channel: str, customer: str = ""
) -> tuple[ChannelAvailability, list[Holder], list[Ordered]]:
    """Raises Invalid for a channel, customer or product that is not known."""
    policy = application.configuration.policy
    if channel not in policy.channels:
        known = ", ".join(sorted(policy.channels))
        raise Invalid("channel_unknown", f"There is no channel {channel}.", next_action=f"Name one of {known}.")
    now = application.clock()
    async with application.pool.acquire() as connection:
        group = await read_price_group(connection, customer) if customer else ""
        if group is None:
            raise Invalid("customer_unknown", f"There is no customer {customer}.", next_action="Check its code.")
        room = await read_stockroom(connection, [sku], [channel], now, with_terms=True, with_supply=True)
        if room.unknown:
            raise Invalid("sku_unknown", f"There is no product {sku}.", next_action="Check the SKU.")
        holders, ordered = await read_holders(connection, sku), await read_ordered(connection, sku)
    terms = channel_terms(policy, channel, group)
    return explain_availability(room.saleable(sku, channel), terms, room.stale, now), holders, ordered
