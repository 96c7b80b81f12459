"""`crossdock stock`: what may be promised, and why."""

from __future__ import annotations

import click

from crossdock.app import Application
from crossdock.cli.exits import HELP
from crossdock.cli.explanation import explain_lines
from crossdock.cli.output import finish, show_json
from crossdock.cli.serve import with_application
from crossdock.kit.masking import printable
from crossdock.ledger.inventory import Holder, read_holders, read_price_group, read_stockroom
from crossdock.model.errors import Invalid
from crossdock.model.stock import ChannelAvailability
from crossdock.rules.availability import channel_terms, explain_availability


@click.group(epilog=HELP)
def stock() -> None:
    """Look at stock: what may be promised, and why."""


@stock.command()
@click.argument("sku")
@click.option("--channel", required=True, help="Whose promise it is.")
@click.option("--customer", default="", help="An account: its price group may have terms of its own.")
@click.option("--config", "configuration", default="")
@click.option("--json", "as_json", is_flag=True)
def explain(sku: str, channel: str, customer: str, configuration: str, as_json: bool) -> None:
    """Show why a channel may promise what it may, as a sum."""

    async def work(application: Application) -> tuple[ChannelAvailability, list[Holder]]:
        return await explain_sku(application, sku, channel, customer)

    why, holders = finish(with_application(configuration, work))
    if as_json:
        show_json({"availability": why, "held_by": holders})
        return
    for line in explain_lines(why, holders):
        click.echo(printable(line))


async def explain_sku(
    application: Application, sku: str, channel: str, customer: str = ""
) -> tuple[ChannelAvailability, list[Holder]]:
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
        holders = await read_holders(connection, sku)
    terms = channel_terms(policy, channel, group)
    return explain_availability(room.saleable(sku, channel), terms, room.stale, now), holders
